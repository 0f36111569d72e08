package ident

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Verdict is what a collector makes of a peer's certificates, before it asks
// its store who was revoked.
type Verdict int

const (
	VerdictNone    Verdict = iota // no certificate: may enrol
	VerdictValid                  // ours: may do everything
	VerdictExpired                // ours, ended at most DeviceGrace ago: may renew
	VerdictTooOld                 // ours, ended longer ago: may not even renew
	VerdictForeign                // not ours, or not a device's
)

func (v Verdict) String() string {
	switch v {
	case VerdictNone:
		return "none"
	case VerdictValid:
		return "valid"
	case VerdictExpired:
		return "expired"
	case VerdictTooOld:
		return "too_old"
	case VerdictForeign:
		return "foreign"
	}
	return fmt.Sprintf("verdict %d", int(v))
}

// A Peer is a device as its certificate describes it.
type Peer struct {
	Verdict   Verdict
	Device    string      // record id; empty unless the certificate is ours
	Key       Fingerprint // of its public key
	NotBefore time.Time
	NotAfter  time.Time
}

// RenewAt is the half-life, from which a certificate is renewed.
func (p Peer) RenewAt() time.Time { return RenewAt(p.NotBefore, p.NotAfter) }

// RenewAt is the half-life of a certificate.
func RenewAt(notBefore, notAfter time.Time) time.Time {
	return notBefore.Add(notAfter.Sub(notBefore) / 2)
}

// Trust is the set of authorities whose devices a collector knows. It does not
// change; make another one when an intermediate is renewed.
type Trust struct {
	roots *x509.CertPool
	known *x509.CertPool // intermediates that were checked against roots already
}

// NewTrust trusts these roots. The intermediates, which must be signed by one of
// them, are checked once here, so that each handshake costs one signature less.
func NewTrust(roots []*x509.Certificate, intermediates ...*x509.Certificate) (*Trust, error) {
	t := &Trust{roots: x509.NewCertPool(), known: x509.NewCertPool()}
	for _, r := range roots {
		t.roots.AddCert(r)
	}
	for _, c := range intermediates {
		if _, err := c.Verify(x509.VerifyOptions{
			Roots: t.roots, CurrentTime: c.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		}); err != nil {
			return nil, fmt.Errorf("intermediate of another root: %w", err)
		}
		t.known.AddCert(c)
	}
	return t, nil
}

// VerifyDevice judges the certificates that a peer presented, leaf first.
//
// Signatures are checked as of a moment inside the leaf's own life: an
// intermediate that has ended since was good when it signed. A leaf from the
// future is valid, because only our own clock can have made it one by going back.
func (t *Trust) VerifyDevice(chain []*x509.Certificate, now time.Time) Peer {
	if len(chain) == 0 {
		return Peer{Verdict: VerdictNone}
	}
	leaf := chain[0]
	p := Peer{Verdict: VerdictForeign, Key: FingerprintOf(leaf)}
	device, ok := deviceOf(leaf)
	if !ok || !t.signed(chain, now) {
		return p
	}
	p.Device, p.NotBefore, p.NotAfter = device, leaf.NotBefore, leaf.NotAfter
	switch {
	case now.After(leaf.NotAfter.Add(DeviceGrace)):
		p.Verdict = VerdictTooOld
	case now.After(leaf.NotAfter):
		p.Verdict = VerdictExpired
	default:
		p.Verdict = VerdictValid
	}
	return p
}

func (t *Trust) signed(chain []*x509.Certificate, now time.Time) bool {
	leaf := chain[0]
	opts := x509.VerifyOptions{
		Roots:       t.known,
		CurrentTime: later(leaf.NotBefore, earlier(now, leaf.NotAfter)),
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if _, err := leaf.Verify(opts); err == nil {
		return true
	}
	// One of our earlier intermediates, which the device brings along.
	opts.Roots, opts.Intermediates = t.roots, x509.NewCertPool()
	for _, c := range chain[1:min(len(chain), chainMax)] {
		opts.Intermediates.AddCert(c)
	}
	_, err := leaf.Verify(opts)
	return err == nil
}

// chainMax bounds the certificates of a peer that are looked at.
const chainMax = 4

// deviceOf reads the record id of a certificate that has our profile.
func deviceOf(c *x509.Certificate) (string, bool) {
	if c.IsCA || !isP256(c.PublicKey) || len(c.URIs) != 1 ||
		len(c.DNSNames)+len(c.EmailAddresses)+len(c.IPAddresses) != 0 ||
		len(c.ExtKeyUsage) != 1 || c.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
		return "", false
	}
	id, ok := strings.CutPrefix(c.URIs[0].String(), "urn:uuid:")
	return id, ok && ValidID(id)
}

// Issued is what an agent got, after CheckIssued has found it in order.
type Issued struct {
	Leaf  *x509.Certificate
	Chain [][]byte // DER, leaf first
	Roots [][]byte // DER
}

// CheckIssued judges an answer to a certificate request before it is stored: the
// certificate must be for our key and the named device, signed under one of the
// roots, and the roots must include the one that this session was judged by.
// Without it a collector's fault would only show when the device is locked out.
func CheckIssued(chain, roots [][]byte, pub crypto.PublicKey, device string, pinned Fingerprint) (*Issued, error) {
	certs, err := parseAll(chain)
	if err != nil {
		return nil, fmt.Errorf("issued chain: %w", err)
	}
	rootCerts, err := parseRoots(roots)
	if err != nil {
		return nil, err
	}
	found := false
	for _, r := range rootCerts {
		found = found || FingerprintOf(r) == pinned
	}
	if !found {
		return nil, errors.New("issued roots: the one of this session is missing")
	}
	trust, err := NewTrust(rootCerts)
	if err != nil {
		return nil, err
	}
	if len(certs) == 0 {
		return nil, errors.New("issued chain: empty")
	}
	peer := trust.VerifyDevice(certs, certs[0].NotBefore)
	if peer.Verdict != VerdictValid || peer.Device != device {
		return nil, fmt.Errorf("issued chain: %s, for device %q, want %q", peer.Verdict, peer.Device, device)
	}
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(spki, certs[0].RawSubjectPublicKeyInfo) {
		return nil, errors.New("issued chain: for another key")
	}
	return &Issued{Leaf: certs[0], Chain: chain, Roots: roots}, nil
}

// Pins are the fingerprints of a set of roots in DER, as they come with a Welcome.
// An empty set or one with anything but a certificate authority is an error.
func Pins(roots [][]byte) ([]Fingerprint, error) {
	certs, err := parseRoots(roots)
	if err != nil {
		return nil, err
	}
	pins := make([]Fingerprint, len(certs))
	for i, c := range certs {
		pins[i] = FingerprintOf(c)
	}
	return pins, nil
}

// rootsMax bounds the set that agents pin: the present root, the next, and room.
const rootsMax = 8

func parseRoots(roots [][]byte) ([]*x509.Certificate, error) {
	if len(roots) == 0 || len(roots) > rootsMax {
		return nil, fmt.Errorf("set of %d roots, want 1 to %d", len(roots), rootsMax)
	}
	certs, err := parseAll(roots)
	if err != nil {
		return nil, fmt.Errorf("set of roots: %w", err)
	}
	for _, c := range certs {
		if !c.IsCA {
			return nil, errors.New("set of roots: not an authority")
		}
	}
	return certs, nil
}

func parseAll(ders [][]byte) ([]*x509.Certificate, error) {
	if len(ders) > rootsMax {
		return nil, fmt.Errorf("%d certificates", len(ders))
	}
	certs := make([]*x509.Certificate, 0, len(ders))
	for _, der := range ders {
		if len(der) > certMax {
			return nil, fmt.Errorf("certificate of %d bytes", len(der))
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
	}
	return certs, nil
}

// certMax bounds a certificate that is parsed; ours have about 500 bytes.
const certMax = 8 << 10
