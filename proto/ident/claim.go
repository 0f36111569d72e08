package ident

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
)

// Why a claim could not be read. Each asks something else of the person who
// typed it: look again, get the whole line, or update the agent.
var (
	ErrClaimShape   = errors.New("not a claim")
	ErrClaimTypo    = errors.New("claim secret is mistyped")
	ErrClaimVersion = errors.New("claim of a newer version")
)

const (
	claimScheme = "hausmeister://"
	claimMax    = 2048 // bytes of text looked at; a claim has about 160
)

// A Claim is what admits a device: where the collector is, which root key it
// must prove, and the secret that the collector knows the hash of. Owner, school,
// cap and expiry stand on the collector's side only.
type Claim struct {
	Host   string // DNS name, IPv4, or IPv6 without brackets
	Port   uint16
	CA     Fingerprint // of the collector's root
	Secret Secret
}

// Address is HOST:PORT as net.Dial wants it.
func (c Claim) Address() string {
	host := c.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(c.Port))
}

// String is for people and logs: all but the secret. FormatClaim gives the claim.
func (c Claim) String() string { return claimScheme + c.Address() + "/#ca=" + c.CA.String() }

// LogValue keeps the secret out of logs.
func (c Claim) LogValue() slog.Value { return slog.StringValue(c.String()) }

// FormatClaim writes the one line that goes into mails, installers and on paper:
//
//	hausmeister://HOST:PORT/#v=1&ca=BASE64URL&s=SECRET
//
// It stands in the fragment because a browser that somebody pastes it into sends
// no fragment to anybody.
func FormatClaim(c Claim) string {
	return claimScheme + c.Address() + "/#v=1&ca=" + c.CA.String() + "&s=" + FormatSecret(c.Secret)
}

// ParseClaim reads what FormatClaim wrote and what mail programs, word
// processors and people make of it: wrapped over lines, in <angle brackets> or
// quotes, with &amp;, the scheme in capitals, the secret in any of the ways that
// ParseSecret knows. Parameters that it does not know are passed over, a version
// that it does not know is not.
func ParseClaim(text string) (Claim, error) {
	var c Claim
	if len(text) > claimMax {
		return c, fmt.Errorf("%w: %d bytes long", ErrClaimShape, len(text))
	}
	s := strings.Trim(strings.Map(dropInvisible, text), `<>"'`)
	s = strings.ReplaceAll(s, "&amp;", "&")
	if len(s) < len(claimScheme) || !strings.EqualFold(s[:len(claimScheme)], claimScheme) {
		return c, fmt.Errorf("%w: does not begin with %s", ErrClaimShape, claimScheme)
	}
	address, fragment, found := strings.Cut(s[len(claimScheme):], "#")
	if !found {
		return c, fmt.Errorf("%w: nothing after the address", ErrClaimShape)
	}
	var err error
	if c.Host, c.Port, err = parseAddress(strings.TrimSuffix(address, "/")); err != nil {
		return Claim{}, err
	}
	values, err := parseFragment(fragment)
	if err != nil {
		return Claim{}, err
	}
	if v := values["v"]; v != "1" {
		if n, err := strconv.ParseUint(v, 10, 16); err == nil && n > 1 {
			return Claim{}, fmt.Errorf("%w: %d", ErrClaimVersion, n)
		}
		return Claim{}, fmt.Errorf("%w: no version", ErrClaimShape)
	}
	if c.CA, err = ParseFingerprint(values["ca"]); err != nil {
		return Claim{}, fmt.Errorf("%w: ca: %w", ErrClaimShape, err)
	}
	if c.Secret, err = ParseSecret(values["s"]); err != nil {
		return Claim{}, err
	}
	return c, nil
}

func parseFragment(s string) (map[string]string, error) {
	values := make(map[string]string, 3)
	for part := range strings.SplitSeq(s, "&") {
		key, value, _ := strings.Cut(part, "=")
		if _, twice := values[key]; twice {
			return nil, fmt.Errorf("%w: %q stands there twice", ErrClaimShape, key)
		}
		values[key] = value
	}
	return values, nil
}

// ValidHost reports whether a claim can name this host: a DNS name of letters,
// digits, dots and dashes, or an IP address without zone.
func ValidHost(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Zone() == ""
	}
	if host == "" || len(host) > 253 {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			if !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-') {
				return false
			}
		}
	}
	return true
}

func parseAddress(s string) (string, uint16, error) {
	bad := fmt.Errorf("%w: address is not HOST:PORT", ErrClaimShape)
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 {
		return "", 0, bad
	}
	host, digits := s[:colon], s[colon+1:]
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host, ok = strings.CutSuffix(inner, "]")
		if a, err := netip.ParseAddr(host); !ok || err != nil || !a.Is6() {
			return "", 0, bad
		}
	} else if strings.Contains(host, ":") {
		return "", 0, bad
	}
	// ParseUint takes no sign and no spaces.
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || port == 0 || !ValidHost(host) {
		return "", 0, bad
	}
	return strings.ToLower(host), uint16(port), nil
}

// dropInvisible deletes what wrapping and copying put between characters, and
// turns the dashes of word processors back into the one of the keyboard.
func dropInvisible(r rune) rune {
	switch {
	case unicode.IsSpace(r), unicode.IsControl(r):
		return -1
	case r == '\u00ad', r == '\u200b', r == '\u200c', r == '\u200d', r == '\u2060', r == '\ufeff':
		return -1 // soft hyphen, zero-width characters, byte order mark
	case r == '\u2010', r == '\u2011', r == '\u2012', r == '\u2013', r == '\u2212':
		return '-'
	}
	return r
}
