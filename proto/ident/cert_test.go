package ident_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"hausmeister/proto/ident"
)

var begin = time.Date(2026, 11, 24, 7, 45, 0, 0, time.UTC)

const day = 24 * time.Hour

func authority(t testing.TB, now time.Time) *ident.Authority {
	t.Helper()
	a, err := ident.NewAuthority(now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ident.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func trustOf(t testing.TB, a *ident.Authority) *ident.Trust {
	t.Helper()
	trust, err := ident.NewTrust([]*x509.Certificate{a.Root}, a.Intermediate)
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

func issue(t testing.TB, a *ident.Authority, key crypto.Signer, device string, now time.Time) *x509.Certificate {
	t.Helper()
	c, err := a.IssueDevice(key.Public(), device, now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDeviceCertificateProfile(t *testing.T) {
	a, key, id := authority(t, begin), newKey(t), ident.NewID(begin)
	c := issue(t, a, key, id, begin)
	if got := c.URIs[0].String(); len(c.URIs) != 1 || got != "urn:uuid:"+id {
		t.Errorf("URIs: got %v", c.URIs)
	}
	if c.Subject.String() != "" || len(c.DNSNames)+len(c.EmailAddresses)+len(c.IPAddresses) != 0 {
		t.Errorf("certificate says more than the id: subject %q", c.Subject)
	}
	if len(c.ExtKeyUsage) != 1 || c.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth || c.KeyUsage != x509.KeyUsageDigitalSignature || c.IsCA {
		t.Errorf("usage: got %v, %v, CA %v", c.ExtKeyUsage, c.KeyUsage, c.IsCA)
	}
	if !c.NotBefore.Equal(begin) || c.NotAfter.Sub(c.NotBefore) != 180*day {
		t.Errorf("life: got %s to %s", c.NotBefore, c.NotAfter)
	}
	if other := issue(t, a, key, id, begin); c.SerialNumber.BitLen() != 127 || c.SerialNumber.Cmp(other.SerialNumber) == 0 {
		t.Errorf("serial numbers %x and %x are not 127 random bits", c.SerialNumber, other.SerialNumber)
	}
	if late := issue(t, a, key, id, a.Intermediate.NotAfter.Add(-day)); late.NotAfter.After(a.Intermediate.NotAfter) {
		t.Errorf("certificate ends %s, after its signer's end %s", late.NotAfter, a.Intermediate.NotAfter)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.IssueDevice(p384.Public(), id, begin); err == nil {
		t.Error("issued for a P-384 key")
	}
	if _, err := a.IssueDevice(key.Public(), "x", begin); err == nil {
		t.Error("issued for an id that is none")
	}
}

func TestVerdicts(t *testing.T) {
	a, stranger, key, id := authority(t, begin), authority(t, begin), newKey(t), ident.NewID(begin)
	trust := trustOf(t, a)
	leaf := issue(t, a, key, id, begin)
	end := leaf.NotAfter
	server, err := a.IssueServer([]string{"localhost"}, begin)
	if err != nil {
		t.Fatal(err)
	}
	chain := func(leaf *x509.Certificate, a *ident.Authority) []*x509.Certificate {
		return []*x509.Certificate{leaf, a.Intermediate}
	}
	for name, test := range map[string]struct {
		chain []*x509.Certificate
		now   time.Time
		want  ident.Verdict
	}{
		"none":                      {nil, begin, ident.VerdictNone},
		"fresh":                     {chain(leaf, a), begin, ident.VerdictValid},
		"without intermediate":      {chain(leaf, a)[:1], begin, ident.VerdictValid},
		"last second":               {chain(leaf, a), end, ident.VerdictValid},
		"collector clock went back": {chain(leaf, a), begin.Add(-30 * day), ident.VerdictValid},
		"collector clock says 1970": {chain(leaf, a), time.Unix(0, 0), ident.VerdictValid},
		"44 days":                   {chain(leaf, a), end.Add(44 * day), ident.VerdictExpired},
		"399 days":                  {chain(leaf, a), end.Add(399 * day), ident.VerdictExpired},
		"400 days":                  {chain(leaf, a), end.Add(400 * day), ident.VerdictExpired},
		"401 days":                  {chain(leaf, a), end.Add(401 * day), ident.VerdictTooOld},
		"intermediate ended too":    {chain(issue(t, a, key, id, begin.Add(560*day)), a), begin.Add(1000 * day), ident.VerdictExpired},
		"stranger":                  {chain(issue(t, stranger, key, id, begin), stranger), begin, ident.VerdictForeign},
		"stranger with our chain":   {chain(issue(t, stranger, key, id, begin), a), begin, ident.VerdictForeign},
		"our server certificate":    {chain(server.Leaf, a), begin, ident.VerdictForeign},
		"our intermediate":          {chain(a.Intermediate, a), begin, ident.VerdictForeign},
		"our root":                  {[]*x509.Certificate{a.Root}, begin, ident.VerdictForeign},
		"self-signed":               {[]*x509.Certificate{selfSigned(t, id)}, begin, ident.VerdictForeign},
	} {
		p := trust.VerifyDevice(test.chain, test.now)
		if p.Verdict != test.want {
			t.Errorf("%s: got %v, want %v", name, p.Verdict, test.want)
		}
		ours := test.want == ident.VerdictValid || test.want == ident.VerdictExpired || test.want == ident.VerdictTooOld
		if (p.Device == id) != ours || (p.Device != "") != ours {
			t.Errorf("%s: device %q", name, p.Device)
		}
	}
}

// A device keeps the intermediate that signed for it after a newer one took over.
func TestEarlierIntermediateIsStillOurs(t *testing.T) {
	rootKey := newKey(t)
	root, err := ident.NewRoot(rootKey, begin)
	if err != nil {
		t.Fatal(err)
	}
	make := func(now time.Time) *ident.Authority {
		key := newKey(t)
		c, err := ident.NewIntermediate(root, rootKey, key.Public(), now)
		if err != nil {
			t.Fatal(err)
		}
		return &ident.Authority{Root: root, Intermediate: c, Key: key}
	}
	earlier, now := make(begin), make(begin.Add(365*day))
	leaf := issue(t, earlier, newKey(t), ident.NewID(begin), begin.Add(360*day))
	p := trustOf(t, now).VerifyDevice([]*x509.Certificate{leaf, earlier.Intermediate}, begin.Add(400*day))
	if p.Verdict != ident.VerdictValid {
		t.Errorf("got %v", p.Verdict)
	}
	if _, err := ident.NewTrust([]*x509.Certificate{authority(t, begin).Root}, now.Intermediate); err == nil {
		t.Error("NewTrust took an intermediate of another root")
	}
}

func TestProfileIsPartOfTheVerdict(t *testing.T) {
	a := authority(t, begin)
	id := ident.NewID(begin)
	urn := &url.URL{Scheme: "urn", Opaque: "uuid:" + id}
	client := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	for name, template := range map[string]*x509.Certificate{
		"good":         {URIs: []*url.URL{urn}, ExtKeyUsage: client},
		"no id":        {ExtKeyUsage: client},
		"two ids":      {URIs: []*url.URL{urn, urn}, ExtKeyUsage: client},
		"other scheme": {URIs: []*url.URL{{Scheme: "urn", Opaque: "oid:" + id}}, ExtKeyUsage: client},
		"upper case":   {URIs: []*url.URL{{Scheme: "urn", Opaque: "uuid:" + strings.ToUpper(id)}}, ExtKeyUsage: client},
		"a name too":   {URIs: []*url.URL{urn}, DNSNames: []string{"x"}, ExtKeyUsage: client},
		"server too":   {URIs: []*url.URL{urn}, ExtKeyUsage: append(client, x509.ExtKeyUsageServerAuth)},
		"no usage":     {URIs: []*url.URL{urn}},
	} {
		template.SerialNumber = big.NewInt(1)
		template.NotBefore, template.NotAfter = begin, begin.Add(day)
		der, err := x509.CreateCertificate(rand.Reader, template, a.Intermediate, newKey(t).Public(), a.Key)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		want := ident.VerdictForeign
		if name == "good" {
			want = ident.VerdictValid
		}
		if p := trustOf(t, a).VerifyDevice([]*x509.Certificate{c}, begin); p.Verdict != want {
			t.Errorf("%s: got %v, want %v", name, p.Verdict, want)
		}
	}
}

func TestAgentJudgesCollector(t *testing.T) {
	a, proxy := authority(t, begin), authority(t, begin)
	pin := ident.FingerprintOf(a.Root)
	parse := func(c *tls.Certificate) (chain []*x509.Certificate) {
		for _, der := range c.Certificate {
			x, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			chain = append(chain, x)
		}
		return chain
	}
	server := func(a *ident.Authority, now time.Time, names ...string) []*x509.Certificate {
		c, err := a.IssueServer(names, now)
		if err != nil {
			t.Fatal(err)
		}
		return parse(c)
	}
	good := server(a, begin, "hm.example", "10.0.0.1")
	borrowed := append(server(proxy, begin, "hm.example")[:2:2], a.Root)
	device := []*x509.Certificate{issue(t, a, newKey(t), ident.NewID(begin), begin), a.Intermediate, a.Root}
	for name, test := range map[string]struct {
		chain   []*x509.Certificate
		host    string
		trusted time.Time
		want    string
	}{
		"good":                          {good, "hm.example", begin, ""},
		"address":                       {good, "10.0.0.1", begin, ""},
		"trusted time is 1970":          {good, "hm.example", time.Unix(0, 0), ""},
		"agent slept for three years":   {server(a, begin.Add(600*day), "hm.example"), "hm.example", begin.Add(-400 * day), ""},
		"collector's certificate ended": {good, "hm.example", begin.Add(31 * day), "ended"},
		"other name":                    {good, "evil.example", begin, "another name"},
		"inspected":                     {server(proxy, begin, "hm.example"), "hm.example", begin, "inspected"},
		"inspected, with our root":      {borrowed, "hm.example", begin, "inspected"},
		"inspected, ended":              {server(proxy, begin, "hm.example"), "hm.example", begin.Add(60 * day), "inspected"},
		"root not sent":                 {good[:2], "hm.example", begin, "inspected"},
		"a device as collector":         {device, "hm.example", begin, "inspected"},
		"nothing":                       {nil, "hm.example", begin, "no certificate"},
	} {
		got, err := ident.VerifyCollector(test.chain, []ident.Fingerprint{{1}, pin}, test.host, test.trusted)
		switch {
		case test.want == "" && (err != nil || got != pin):
			t.Errorf("%s: got %v, %v", name, got, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: got %v, want ... %s", name, err, test.want)
		}
	}
	_, err := ident.VerifyCollector(server(proxy, begin, "hm.example"), []ident.Fingerprint{pin}, "hm.example", begin)
	var inspected *ident.InspectionError
	if !errors.As(err, &inspected) || inspected.Issuer != "CN=Hausmeister intermediate" {
		t.Errorf("issuer of the inspecting box: got %v", err)
	}
}

func TestIssuerNameOfAStrangerIsCleaned(t *testing.T) {
	c := selfSigned(t, "Schulfilter\x1b[31m\u202e"+strings.Repeat("ü", 300))
	_, err := ident.VerifyCollector([]*x509.Certificate{c}, nil, "x", begin)
	var inspected *ident.InspectionError
	if !errors.As(err, &inspected) {
		t.Fatal(err)
	}
	if n := len([]rune(inspected.Issuer)); n != 200 || strings.ContainsAny(inspected.Issuer, "\x1b\u202e") || !strings.HasPrefix(inspected.Issuer, "CN=Schulfilter") {
		t.Errorf("issuer of %d runes: %q", n, inspected.Issuer)
	}
}

func selfSigned(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: begin, NotAfter: begin.Add(day), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if ident.ValidID(name) {
		template.URIs = []*url.URL{{Scheme: "urn", Opaque: "uuid:" + name}}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// handshake gives the two ends' states of a TLS connection in memory.
func handshake(t testing.TB, agent, collector *tls.Config) (atAgent, atCollector tls.ConnectionState, err error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	server := tls.Server(b, collector)
	done := make(chan error, 1)
	go func() {
		err := server.Handshake()
		if err == nil {
			_, err = server.Write([]byte{1})
		}
		done <- err
	}()
	client := tls.Client(a, agent)
	if err = client.Handshake(); err == nil {
		_, err = client.Read(make([]byte, 1)) // server's part is over
	}
	a.Close()
	return client.ConnectionState(), server.ConnectionState(), errors.Join(err, <-done)
}

func TestBothConfigsMeet(t *testing.T) {
	a, id, key := authority(t, begin), ident.NewID(begin), newKey(t)
	server, err := a.IssueServer([]string{"hm.example"}, begin)
	if err != nil {
		t.Fatal(err)
	}
	collector := ident.CollectorConfig(func() (*tls.Certificate, error) { return server, nil })
	agent := ident.AgentTLS{
		Pins: []ident.Fingerprint{ident.FingerprintOf(a.Root)}, ServerName: "hm.example",
		Trusted: func() time.Time { return begin.Add(-1000 * day) },
	}
	_, cs, err := handshake(t, ident.AgentConfig(agent), collector)
	if err != nil || len(cs.PeerCertificates) != 0 || cs.NegotiatedProtocol != ident.ALPN || cs.Version != tls.VersionTLS13 {
		t.Errorf("without certificate: got %d certificates, ALPN %q, %v", len(cs.PeerCertificates), cs.NegotiatedProtocol, err)
	}
	leaf := issue(t, a, key, id, begin)
	agent.Certificate = &tls.Certificate{Certificate: a.Chain(leaf), PrivateKey: key}
	_, cs, err = handshake(t, ident.AgentConfig(agent), collector)
	if err != nil {
		t.Fatal(err)
	}
	if p := trustOf(t, a).VerifyDevice(cs.PeerCertificates, begin); p.Verdict != ident.VerdictValid || p.Device != id {
		t.Errorf("with certificate: got %+v", p)
	}
	// Who has the certificate without its key does not get in.
	agent.Certificate = &tls.Certificate{Certificate: a.Chain(leaf), PrivateKey: newKey(t)}
	if _, _, err = handshake(t, ident.AgentConfig(agent), collector); err == nil {
		t.Error("handshake with another's certificate went through")
	}
	agent.Certificate = nil
	old := ident.AgentConfig(agent)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, _, err = handshake(t, old, collector); err == nil {
		t.Error("TLS 1.2 went through")
	}
	web := ident.AgentConfig(agent)
	web.NextProtos = []string{"h2"}
	if _, _, err = handshake(t, web, collector); err == nil {
		t.Error("a browser's ALPN went through")
	}
}

func TestRequestIsBoundToNonceAndSession(t *testing.T) {
	a := authority(t, begin)
	server, err := a.IssueServer([]string{"hm.example"}, begin)
	if err != nil {
		t.Fatal(err)
	}
	session := func() (tls.ConnectionState, tls.ConnectionState) {
		agent, collector, err := handshake(t, ident.AgentConfig(ident.AgentTLS{
			Pins: []ident.Fingerprint{ident.FingerprintOf(a.Root)}, ServerName: "hm.example",
			Trusted: func() time.Time { return begin },
		}), ident.CollectorConfig(func() (*tls.Certificate, error) { return server, nil }))
		if err != nil {
			t.Fatal(err)
		}
		return agent, collector
	}
	agent, collector := session()
	_, other := session()
	nonce, otherNonce := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	challenge := func(nonce []byte, cs tls.ConnectionState) string {
		c, err := ident.Challenge(nonce, cs)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	key := newKey(t)
	csr, err := ident.CreateCSR(key, challenge(nonce, agent))
	if err != nil {
		t.Fatal(err)
	}
	pub, print, err := ident.CheckCSR(csr, challenge(nonce, collector))
	if err != nil || !pub.Equal(key.Public()) {
		t.Fatalf("CheckCSR: got %v, %v", pub, err)
	}
	if want := ident.FingerprintOf(issue(t, a, key, ident.NewID(begin), begin)); print != want {
		t.Errorf("fingerprint: got %s, want %s", print, want)
	}
	for name, c := range map[string]string{
		"replayed with another nonce": challenge(otherNonce, collector),
		"for another session":         challenge(nonce, other),
		"for no session":              "",
	} {
		if _, _, err := ident.CheckCSR(csr, c); !errors.Is(err, ident.ErrCSR) {
			t.Errorf("%s: got %v, want ErrCSR", name, err)
		}
	}
	if _, err := ident.Challenge(nonce[:31], collector); err == nil {
		t.Error("Challenge took a short nonce")
	}
}

func TestRequestsThatAreNotOfOurProfile(t *testing.T) {
	key := newKey(t)
	good, err := ident.CreateCSR(key, "c")
	if err != nil {
		t.Fatal(err)
	}
	if parsed, err := x509.ParseCertificateRequest(good); err != nil || parsed.CheckSignature() != nil {
		t.Fatalf("crypto/x509 does not read our request: %v", err)
	}
	bad := bytes.Clone(good)
	bad[len(bad)-1] ^= 1
	plain, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	named, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "x"}, URIs: []*url.URL{{Scheme: "urn", Opaque: "uuid:" + ident.NewID(begin)}},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Value: []byte{0x30, 3, 1, 1, 0xff}}}, // CA
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	for name, der := range map[string][]byte{
		"empty": nil, "cut": good[:len(good)-1], "trailing": append(bytes.Clone(good), 0), "signature": bad,
		"no challenge": plain, "names and CA": named, "long": bytes.Repeat([]byte{0x30}, 5000),
	} {
		if _, _, err := ident.CheckCSR(der, "c"); !errors.Is(err, ident.ErrCSR) {
			t.Errorf("%s: got %v, want ErrCSR", name, err)
		}
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ident.CreateCSR(p384, "c"); err == nil {
		t.Error("CreateCSR took a P-384 key")
	}
}

func TestIssuedAnswersAreChecked(t *testing.T) {
	a, other, key, id := authority(t, begin), authority(t, begin), newKey(t), ident.NewID(begin)
	chain, roots := a.Chain(issue(t, a, key, id, begin)), [][]byte{a.Root.Raw}
	pin := ident.FingerprintOf(a.Root)
	if got, err := ident.CheckIssued(chain, roots, key.Public(), id, pin); err != nil || got.Leaf == nil {
		t.Fatalf("good answer: %v", err)
	}
	for name, test := range map[string]struct {
		chain, roots [][]byte
		key          crypto.PublicKey
		id           string
	}{
		"no chain":        {nil, roots, key.Public(), id},
		"other key":       {chain, roots, newKey(t).Public(), id},
		"other device":    {chain, roots, key.Public(), ident.NewID(begin)},
		"no roots":        {chain, nil, key.Public(), id},
		"other root":      {chain, [][]byte{other.Root.Raw}, key.Public(), id},
		"other signer":    {other.Chain(issue(t, other, key, id, begin)), roots, key.Public(), id},
		"garbage":         {[][]byte{{1, 2}}, roots, key.Public(), id},
		"leaf as root":    {chain, [][]byte{a.Root.Raw, chain[0]}, key.Public(), id},
		"too many roots":  {chain, [][]byte{a.Root.Raw, a.Root.Raw, a.Root.Raw, a.Root.Raw, a.Root.Raw, a.Root.Raw, a.Root.Raw, a.Root.Raw, a.Root.Raw}, key.Public(), id},
		"huge root":       {chain, [][]byte{a.Root.Raw, make([]byte, 1<<20)}, key.Public(), id},
		"no intermediate": {chain[:1], roots, key.Public(), id},
	} {
		if _, err := ident.CheckIssued(test.chain, test.roots, test.key, test.id, pin); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzCheckCSR(f *testing.F) {
	good, err := ident.CreateCSR(newKey(f), "c")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, der []byte) {
		pub, _, err := ident.CheckCSR(der, "c")
		if err == nil && pub == nil {
			t.Fatal("CheckCSR gave neither key nor error")
		}
	})
}

func FuzzCertificates(f *testing.F) {
	a := authority(f, begin)
	leaf := issue(f, a, newKey(f), ident.NewID(begin), begin)
	f.Add(leaf.Raw, a.Intermediate.Raw)
	f.Add(a.Root.Raw, leaf.Raw)
	trust := trustOf(f, a)
	f.Fuzz(func(t *testing.T, first, second []byte) {
		if _, err := ident.Pins([][]byte{first, second}); err == nil && (len(first) == 0 || len(second) == 0) {
			t.Fatal("Pins took an empty certificate")
		}
		var chain []*x509.Certificate
		for _, der := range [][]byte{first, second} {
			if c, err := x509.ParseCertificate(der); err == nil {
				chain = append(chain, c)
			}
		}
		if p := trust.VerifyDevice(chain, begin); p.Verdict == ident.VerdictValid && !bytes.Equal(chain[0].RawTBSCertificate, leaf.RawTBSCertificate) {
			t.Fatalf("a certificate that we did not sign is valid: %x", first)
		}
		if _, err := ident.VerifyCollector(chain, []ident.Fingerprint{ident.FingerprintOf(a.Root)}, "x", begin); err == nil {
			t.Fatal("a collector's chain without a collector's certificate was taken")
		}
	})
}
