package enroll_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hausmeister/agent/enroll"
	"hausmeister/platform/keystore"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
)

func TestIdentityOutlivesTheProgram(t *testing.T) {
	c, dir := newCollector(t), t.TempDir()
	cfg := config(nil)
	cfg.Files, cfg.Keys = enroll.Dir(dir), keystore.Open(filepath.Join(dir, "keys"))
	k, err := enroll.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, enrolled := k.Enrolled(); enrolled || k.TLSConfig() != nil || k.NeedsRenewal() {
		t.Error("enrolled before enrolment")
	}
	id, err := k.Enroll(t.Context(), c.claim())
	if err != nil {
		t.Fatal(err)
	}
	if !ident.ValidID(id.Device) || id.ServerName != "localhost" || id.NotAfter.Sub(id.NotBefore) != 180*day {
		t.Errorf("identity: %+v", id)
	}
	again, err := enroll.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got, enrolled := again.Enrolled(); !enrolled || got != id {
		t.Errorf("after a restart: %+v, %v", got, enrolled)
	}
	if got := again.Trusted(); got.Before(begin) {
		t.Errorf("trusted time after a restart: %v, want the collector's %v", got, begin)
	}
	for _, name := range []string{"identity", "install"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v, want 0600", name, info.Mode(), err)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "identity"))
	if err != nil || bytes.Contains(text, []byte(ident.FormatSecret(c.secret)[:9])) || !bytes.HasPrefix(text, []byte("hausmeister identity 1\n")) {
		t.Errorf("identity file: %v, %s", err, text)
	}
}

// Power may go before any change to the disk. Whatever is left, the next start
// with the same claim leads to the same record, and no key is left over.
func TestCrashBetweenAnyTwoSteps(t *testing.T) {
	for left := range 12 {
		c, d := newCollector(t), newDisk()
		d.left = left
		var first enroll.Identity
		k, err := enroll.Open(config(d))
		if err == nil {
			first, err = k.Enroll(t.Context(), c.claim())
		}
		if err != nil && !errors.Is(err, errCrash) {
			t.Fatalf("power cut before change %d: %v", left, err)
		}
		crashed := err != nil
		d.left = -1
		id, err := open(t, d).Enroll(t.Context(), c.claim())
		if err != nil {
			t.Fatalf("after a power cut before change %d: %v", left, err)
		}
		if !crashed && id != first {
			t.Errorf("after a power cut before change %d: %+v, had %+v", left, id, first)
		}
		if len(c.records) != 1 {
			t.Errorf("after a power cut before change %d: the collector has %d records", left, len(c.records))
		}
		if len(d.keys) != 1 {
			t.Errorf("after a power cut before change %d: %d keys", left, len(d.keys))
		}
		if left > 6 && crashed {
			t.Errorf("an enrolment takes more than %d changes: let this test count further", left)
		}
	}
}

func TestCrashBetweenAnyTwoStepsOfARenewal(t *testing.T) {
	for left := range 8 {
		c, d := newCollector(t), newDisk()
		id, err := open(t, d).Enroll(t.Context(), c.claim())
		if err != nil {
			t.Fatal(err)
		}
		c.advance(t, c.ca, begin.Add(100*day))
		renew := func() error {
			k, err := enroll.Open(config(d))
			if err != nil {
				return err
			}
			s, err := dial(t.Context(), id.Address, k.TLSConfig())
			if err != nil {
				return err
			}
			defer s.Close(hmpb.Code_CODE_NORMAL, "")
			return k.Renew(t.Context(), s)
		}
		d.left = left
		err = renew()
		crashed := errors.Is(err, errCrash)
		if err != nil && !crashed {
			t.Fatalf("power cut before change %d: %v", left, err)
		}
		d.left = -1
		if crashed {
			if err := renew(); err != nil {
				t.Fatalf("after a power cut before change %d: %v", left, err)
			}
		}
		k := open(t, d)
		if now, _ := k.Enrolled(); now.Device != id.Device || !now.NotBefore.Equal(begin.Add(100*day)) {
			t.Errorf("after a power cut before change %d: %+v", left, now)
		}
		if c.renewed != 1 {
			t.Errorf("after a power cut before change %d: %d keys for one renewal", left, c.renewed)
		}
	}
}

func TestLostAnswers(t *testing.T) {
	c, d := newCollector(t), newDisk()
	k := open(t, d)
	for _, lost := range []string{"challenge", "certificate", "certificate"} {
		c.set(func(down *hmpb.EnrollDown) *hmpb.EnrollDown {
			if (down.GetChallenge() != nil) == (lost == "challenge") {
				return nil
			}
			return down
		})
		_, err := k.Enroll(t.Context(), c.claim())
		var e *enroll.Error
		if !errors.As(err, &e) || e.Word != enroll.WordLost || !e.Again() {
			t.Errorf("%s lost: got %v, want connection_lost", lost, err)
		}
	}
	c.set(nil)
	if _, err := k.Enroll(t.Context(), c.claim()); err != nil {
		t.Fatal(err)
	}
	if len(c.records) != 1 {
		t.Errorf("%d records, want 1", len(c.records))
	}
	asked := c.asked
	if _, err := k.Enroll(t.Context(), c.claim()); err != nil || c.asked != asked {
		t.Errorf("enrolled again with the same claim: %v, asked %d times more", err, c.asked-asked)
	}
}

func TestAnswersThatAreNotInOrder(t *testing.T) {
	other, err := ident.NewAuthority(begin)
	if err != nil {
		t.Fatal(err)
	}
	issued := func(change func(*hmpb.Issued)) func(*hmpb.EnrollDown) *hmpb.EnrollDown {
		return func(down *hmpb.EnrollDown) *hmpb.EnrollDown {
			if down.GetIssued() != nil {
				change(down.GetIssued())
			}
			return down
		}
	}
	refused := func(code hmpb.Code, after uint32) func(*hmpb.EnrollDown) *hmpb.EnrollDown {
		return func(down *hmpb.EnrollDown) *hmpb.EnrollDown {
			if down.GetIssued() == nil {
				return down
			}
			return hmpb.EnrollDown_builder{Refused: hmpb.Refused_builder{Code: &code, RetryAfterS: &after}.Build()}.Build()
		}
	}
	for name, test := range map[string]struct {
		answer func(*hmpb.EnrollDown) *hmpb.EnrollDown
		want   enroll.Word
		after  time.Duration
	}{
		"other root":       {issued(func(i *hmpb.Issued) { i.SetTrustRoots([][]byte{other.Root.Raw}) }), enroll.WordFault, 0},
		"no roots":         {issued(func(i *hmpb.Issued) { i.SetTrustRoots(nil) }), enroll.WordFault, 0},
		"no chain":         {issued(func(i *hmpb.Issued) { i.SetChain(nil) }), enroll.WordFault, 0},
		"other device":     {issued(func(i *hmpb.Issued) { i.SetDeviceId(ident.NewID(begin)) }), enroll.WordFault, 0},
		"empty frames":     {func(*hmpb.EnrollDown) *hmpb.EnrollDown { return &hmpb.EnrollDown{} }, enroll.WordFault, 0},
		"claim refused":    {refused(hmpb.Code_CODE_CLAIM_REFUSED, 0), enroll.WordRefused, 0},
		"request refused":  {refused(hmpb.Code_CODE_CSR_REFUSED, 0), enroll.WordCSR, 0},
		"come back":        {refused(hmpb.Code_CODE_COME_BACK, 90), enroll.WordLater, 90 * time.Second},
		"store is away":    {refused(hmpb.Code_CODE_STORE_UNAVAILABLE, 30), enroll.WordLater, 30 * time.Second},
		"version too old":  {refused(hmpb.Code_CODE_VERSION_TOO_OLD, 0), enroll.WordVersion, 0},
		"an unknown code":  {refused(hmpb.Code(999), 0), enroll.WordFault, 0},
		"short nonce":      {func(d *hmpb.EnrollDown) *hmpb.EnrollDown { d.GetChallenge().SetNonce([]byte{1}); return d }, enroll.WordFault, 0},
		"device is banned": {refused(hmpb.Code_CODE_REVOKED, 0), enroll.WordRevoked, 0},
	} {
		c, d := newCollector(t), newDisk()
		c.set(test.answer)
		k := open(t, d)
		_, err := k.Enroll(t.Context(), c.claim())
		var e *enroll.Error
		if !errors.As(err, &e) || e.Word != test.want || e.RetryAfter != test.after {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
		if _, enrolled := k.Enrolled(); enrolled || d.files["identity"] != nil {
			t.Errorf("%s: an identity was stored", name)
		}
	}
}

func TestWhatStandsInTheWay(t *testing.T) {
	c, stranger := newCollector(t), newCollector(t)
	typo := []byte(c.claim())
	if last := &typo[len(typo)-1]; *last == '0' {
		*last = '1'
	} else {
		*last = '0'
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	swap := func(text, from, to string) string { return strings.Replace(text, from, to, 1) }
	inspected := swap(c.claim(), ident.FingerprintOf(c.ca.Root).String(), ident.FingerprintOf(stranger.ca.Root).String())
	for name, test := range map[string]struct {
		claim string
		want  enroll.Word
	}{
		"no claim":         {"https://hausmeister.example/", enroll.WordUnreadable},
		"typo":             {string(typo), enroll.WordTypo},
		"newer":            {swap(c.claim(), "v=1", "v=2"), enroll.WordNewer},
		"wrong CA":         {inspected, enroll.WordInspected},
		"other name":       {swap(c.claim(), "localhost", "127.0.0.1"), enroll.WordName},
		"nobody listening": {swap(c.claim(), c.ln.Addr().String()[len("127.0.0.1"):], closed.Addr().String()[len("127.0.0.1"):]), enroll.WordUnreachable},
	} {
		k := open(t, newDisk())
		if _, err := k.Enroll(t.Context(), test.claim); wordOf(err) != test.want {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
	_, err = open(t, newDisk()).Enroll(t.Context(), inspected)
	var box *ident.InspectionError
	if !errors.As(err, &box) || box.Issuer != "CN=Hausmeister intermediate" {
		t.Errorf("the issuer's name is lost: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := open(t, newDisk()).Enroll(ctx, c.claim()); !errors.Is(err, context.Canceled) || wordOf(err) != "" {
		t.Errorf("our own end: got %v, want context.Canceled", err)
	}
}

func TestOnlyReenrolReplacesAnIdentity(t *testing.T) {
	c, next, d := newCollector(t), newCollector(t), newDisk()
	k := open(t, d)
	id, err := k.Enroll(t.Context(), c.claim())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Enroll(t.Context(), next.claim()); wordOf(err) != enroll.WordEnrolled {
		t.Errorf("another claim: got %v, want already_enrolled", err)
	}
	next.set(func(*hmpb.EnrollDown) *hmpb.EnrollDown { return nil })
	if _, err := k.Reenroll(t.Context(), next.claim()); err == nil {
		t.Fatal("Reenroll succeeded without an answer")
	}
	if got, ok := open(t, d).Enrolled(); !ok || got != id {
		t.Errorf("a failed Reenroll lost the identity: %+v, %v", got, ok)
	}
	next.set(nil)
	got, err := k.Reenroll(t.Context(), next.claim())
	if err != nil || got.Device == id.Device {
		t.Errorf("Reenroll: got %+v, %v", got, err)
	}
	if len(d.keys) != 1 {
		t.Errorf("%d keys, want 1", len(d.keys))
	}
}

func TestExposedPendingKeyIsReplaced(t *testing.T) {
	c, dir := newCollector(t), t.TempDir()
	keys := filepath.Join(dir, "keys")
	cfg := config(nil)
	cfg.Files, cfg.Keys = enroll.Dir(dir), keystore.Open(keys)
	k, err := enroll.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.set(func(*hmpb.EnrollDown) *hmpb.EnrollDown { return nil })
	if _, err := k.Enroll(t.Context(), c.claim()); err == nil {
		t.Fatal("enrolled without an answer")
	}
	found, _ := filepath.Glob(filepath.Join(keys, "*.key"))
	if len(found) != 1 {
		t.Fatalf("pending keys: %v", found)
	}
	before, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(found[0], 0o644); err != nil {
		t.Fatal(err)
	}
	c.set(nil)
	if _, err := k.Enroll(t.Context(), c.claim()); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(found[0]); err != nil || bytes.Equal(before, after) {
		t.Errorf("a key that others could read is in use: %v", err)
	}
}

// A clock of 1970 or 2099 plays no part: neither does the agent ask for renewal
// because of it, nor does it refuse its collector.
func TestRenewalIsByTrustedTime(t *testing.T) {
	c, d := newCollector(t), newDisk()
	k := open(t, d)
	id, err := k.Enroll(t.Context(), c.claim())
	if err != nil {
		t.Fatal(err)
	}
	if k.NeedsRenewal() || !k.RenewAt().Equal(begin.Add(90*day)) {
		t.Errorf("fresh: needs renewal %v, at %v", k.NeedsRenewal(), k.RenewAt())
	}
	later := begin.Add(90 * day)
	c.advance(t, c.ca, later)
	k.Trust(later)
	if !k.NeedsRenewal() {
		t.Error("at half-life: no renewal")
	}
	s, err := dial(t.Context(), id.Address, k.TLSConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(hmpb.Code_CODE_NORMAL, "")
	before := k.TLSConfig()
	if err := k.Renew(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	now, _ := k.Enrolled()
	if now.Device != id.Device || !now.NotBefore.Equal(later) || k.NeedsRenewal() {
		t.Errorf("renewed: %+v, needs renewal %v", now, k.NeedsRenewal())
	}
	old, err := before.GetClientCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := k.TLSConfig().GetClientCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	if old.PrivateKey.(crypto.Signer).Public().(*ecdsa.PublicKey).Equal(fresh.PrivateKey.(crypto.Signer).Public()) {
		t.Error("renewed with the old key")
	}
	if err := open(t, newDisk()).Renew(t.Context(), s); wordOf(err) != enroll.WordNotEnrolled {
		t.Errorf("renewing nothing: got %v", err)
	}
}

func TestAnnouncedRoots(t *testing.T) {
	c, d := newCollector(t), newDisk()
	k := open(t, d)
	id, err := k.Enroll(t.Context(), c.claim())
	if err != nil {
		t.Fatal(err)
	}
	next, err := ident.NewAuthority(begin)
	if err != nil {
		t.Fatal(err)
	}
	session := func() tls.ConnectionState {
		s, err := dial(t.Context(), id.Address, k.TLSConfig())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close(hmpb.Code_CODE_NORMAL, "")
		return s.ConnectionState()
	}
	cs := session()
	for name, roots := range map[string][][]byte{
		"none": nil, "garbage": {{1}}, "only the next one": {next.Root.Raw},
	} {
		if err := k.SetRoots(roots, cs); err == nil {
			t.Errorf("%s: taken", name)
		}
		session() // still gets in
	}
	if err := k.SetRoots([][]byte{c.ca.Root.Raw, next.Root.Raw}, cs); err != nil {
		t.Fatal(err)
	}
	k = open(t, d)
	session()
	// The collector changes over; the old root may go only then.
	c.advance(t, next, begin)
	if err := k.SetRoots([][]byte{next.Root.Raw}, session()); err != nil {
		t.Error(err)
	}
	d.left = 0
	if err := k.SetRoots([][]byte{next.Root.Raw}, session()); err != nil {
		t.Errorf("the same set again was written again: %v", err)
	}
}
