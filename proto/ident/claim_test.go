package ident_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"hausmeister/proto/ident"
)

func aClaim() ident.Claim {
	c := ident.Claim{Host: "hausmeister.schule.example", Port: 443}
	for i := range c.CA {
		c.CA[i] = byte(i * 7)
	}
	for i := range c.Secret {
		c.Secret[i] = byte(255 - i*11)
	}
	return c
}

func TestClaimIsOneLineThatSurvives(t *testing.T) {
	want := aClaim()
	line := ident.FormatClaim(want)
	const golden = "hausmeister://hausmeister.schule.example:443/#v=1&ca=AAcOFRwjKjE4P0ZNVFtiaXB3foWMk5qhqK-2vcTL0tk&s=ZZTE-KQPK-S2YV-59WW-J637-PW35-B97M-8E9EK"
	if line != golden { // claims are on paper: this line never changes
		t.Errorf("FormatClaim: got %s, want %s", line, golden)
	}
	i := strings.Index(line, "&s=")
	secret := line[i+len("&s="):]
	for name, text := range map[string]string{
		"as written":         line,
		"wrapped":            line[:20] + "\r\n" + line[20:61] + "\n  " + line[61:],
		"wrapped each char":  strings.Join(strings.Split(line, ""), "\n"),
		"in brackets":        "  <" + line + ">\n",
		"in quotes":          `"` + line + `"`,
		"html":               strings.ReplaceAll(line, "&", "&amp;"),
		"scheme in capitals": "HAUSMEISTER" + line[len("hausmeister"):],
		"host in capitals":   strings.Replace(line, "hausmeister.schule", "Hausmeister.SCHULE", 1),
		"no slash":           strings.Replace(line, "/#", "#", 1),
		"secret lower case":  line[:i] + strings.ToLower(line[i:]),
		"no dashes":          line[:i] + strings.ReplaceAll(line[i:], "-", ""),
		"typographic":        line[:i] + strings.ReplaceAll(line[i:], "-", "\u2013"),
		"soft hyphens":       line[:i+8] + "\u00ad" + line[i+8:],
		"other order":        fmt.Sprintf("hausmeister://%s/#s=%s&ca=%s&v=1", want.Address(), secret, want.CA),
		"unknown parameter":  line + "&note=x",
	} {
		got, err := ident.ParseClaim(text)
		if err != nil || got != want {
			t.Errorf("%s: ParseClaim(%q) = %v, %v", name, text, got, err)
		}
	}
}

func TestClaimsThatCannotBeRead(t *testing.T) {
	line := ident.FormatClaim(aClaim())
	i := strings.Index(line, "&s=") + 3
	swapped := line[:i+1] + line[i+2:i+3] + line[i+1:i+2] + line[i+3:]
	for name, test := range map[string]struct {
		text string
		want error
	}{
		"nothing":         {"", ident.ErrClaimShape},
		"another scheme":  {"https" + strings.TrimPrefix(line, "hausmeister"), ident.ErrClaimShape},
		"no port":         {strings.Replace(line, ":443", "", 1), ident.ErrClaimShape},
		"port 0":          {strings.Replace(line, ":443", ":0", 1), ident.ErrClaimShape},
		"port too large":  {strings.Replace(line, ":443", ":65536", 1), ident.ErrClaimShape},
		"port signed":     {strings.Replace(line, ":443", ":+443", 1), ident.ErrClaimShape},
		"path":            {strings.Replace(line, "/#", "/x/#", 1), ident.ErrClaimShape},
		"user":            {strings.Replace(line, "://", "://x@", 1), ident.ErrClaimShape},
		"bare IPv6":       {strings.Replace(line, "hausmeister.schule.example", "2001:db8::1", 1), ident.ErrClaimShape},
		"zone":            {strings.Replace(line, "hausmeister.schule.example", "[fe80::1%eth0]", 1), ident.ErrClaimShape},
		"no version":      {strings.Replace(line, "v=1", "w=1", 1), ident.ErrClaimShape},
		"version 0":       {strings.Replace(line, "v=1", "v=0", 1), ident.ErrClaimShape},
		"version 2":       {strings.Replace(line, "v=1", "v=2", 1), ident.ErrClaimVersion},
		"ca cut":          {strings.Replace(line, "&s=", "x&s=", 1), ident.ErrClaimShape},
		"twice":           {line + "&v=1", ident.ErrClaimShape},
		"no secret":       {line[:i-3], ident.ErrClaimTypo},
		"cut off":         {line[:len(line)-1], ident.ErrClaimTypo},
		"one too many":    {line + "0", ident.ErrClaimTypo},
		"letter U":        {line[:i] + "U" + line[i+1:], ident.ErrClaimTypo},
		"swapped":         {swapped, ident.ErrClaimTypo},
		"too long":        {line + strings.Repeat(" ", 2048), ident.ErrClaimShape},
		"not UTF-8":       {"\xff" + line, ident.ErrClaimShape},
		"secret in UTF-8": {line[:i] + "Ü" + line[i+1:], ident.ErrClaimTypo},
	} {
		got, err := ident.ParseClaim(test.text)
		if !errors.Is(err, test.want) {
			t.Errorf("%s: ParseClaim(%q) = %v, %v, want %v", name, test.text, got, err, test.want)
		}
		if got != (ident.Claim{}) {
			t.Errorf("%s: ParseClaim gave half a claim: %v", name, got)
		}
	}
}

func TestClaimAddresses(t *testing.T) {
	for _, test := range []struct{ host, address string }{
		{"localhost", "localhost:8443"},
		{"10.1.2.3", "10.1.2.3:8443"},
		{"2001:db8::1", "[2001:db8::1]:8443"},
	} {
		c := aClaim()
		c.Host, c.Port = test.host, 8443
		if got := c.Address(); got != test.address {
			t.Errorf("Address of %s: got %q, want %q", test.host, got, test.address)
		}
		if got, err := ident.ParseClaim(ident.FormatClaim(c)); err != nil || got != c {
			t.Errorf("%s: got %v, %v back", test.host, got, err)
		}
	}
}

// One wrong symbol and two swapped neighbours are what people do when they type.
func TestCheckCharacterFindsEveryTypo(t *testing.T) {
	const symbols = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	for range 20 {
		text := strings.ReplaceAll(ident.FormatSecret(ident.NewSecret()), "-", "")
		for i := range text {
			for _, r := range symbols {
				if typo := text[:i] + string(r) + text[i+1:]; typo != text {
					if _, err := ident.ParseSecret(typo); !errors.Is(err, ident.ErrClaimTypo) {
						t.Fatalf("ParseSecret(%q) for %q: got %v, want ErrClaimTypo", typo, text, err)
					}
				}
			}
			if i > 0 && text[i] != text[i-1] {
				typo := text[:i-1] + text[i:i+1] + text[i-1:i] + text[i+1:]
				if _, err := ident.ParseSecret(typo); !errors.Is(err, ident.ErrClaimTypo) {
					t.Fatalf("ParseSecret(%q) for %q: got %v, want ErrClaimTypo", typo, text, err)
				}
			}
		}
	}
}

func TestSecretReadsAsPeopleWriteIt(t *testing.T) {
	var s ident.Secret // all zero: every symbol is 0, the check too
	for _, text := range []string{
		ident.FormatSecret(s),
		strings.Repeat("O", 33),
		strings.Repeat("o", 33),
		strings.Repeat("0 ", 33),
	} {
		if got, err := ident.ParseSecret(text); err != nil || got != s {
			t.Errorf("ParseSecret(%q) = %v, %v", text, got, err)
		}
	}
	s[0] = 0b00001_000 // first symbol 1
	text := ident.FormatSecret(s)
	for _, one := range []string{"1", "I", "l", "i", "L"} {
		if got, err := ident.ParseSecret(one + text[1:]); err != nil || got != s {
			t.Errorf("ParseSecret(%q) = %v, %v", one+text[1:], got, err)
		}
	}
}

func TestSecretsStayOutOfLogs(t *testing.T) {
	c := aClaim()
	secret := ident.FormatSecret(c.Secret)
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "claim", c, "secret", c.Secret)
	fmt.Fprintf(&out, "%v %+v %s %v", c, c, c, c.Secret)
	for _, leak := range []string{secret, secret[:9], fmt.Sprint([20]byte(c.Secret))} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("secret %q leaked into %q", leak, out.String())
		}
	}
}

func FuzzParseClaim(f *testing.F) {
	f.Add(ident.FormatClaim(aClaim()))
	f.Add("hausmeister://[::1]:1/#v=1&ca=&s=")
	f.Add("<HAUSMEISTER://h:65535#s=&amp;v=9>")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ident.ParseClaim(text)
		if err != nil {
			return
		}
		again, err := ident.ParseClaim(ident.FormatClaim(c))
		if err != nil || again != c {
			t.Fatalf("ParseClaim(%q) = %v, which comes back as %v, %v", text, c, again, err)
		}
	})
}

func FuzzParseSecret(f *testing.F) {
	f.Add(ident.FormatSecret(aClaim().Secret))
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ident.ParseSecret(text)
		if err != nil {
			return
		}
		if again, err := ident.ParseSecret(ident.FormatSecret(s)); err != nil || again != s {
			t.Fatalf("ParseSecret(%q) comes back as %v, %v", text, again, err)
		}
	})
}

func FuzzParseFingerprint(f *testing.F) {
	f.Add(aClaim().CA.String())
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ident.ParseFingerprint(text)
		if err == nil && p.String() != text {
			t.Fatalf("ParseFingerprint(%q) has a second spelling %q", text, p)
		}
	})
}
