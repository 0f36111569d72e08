package ident

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"strings"
	"time"
)

// How long certificates live, and what follows from it.
const (
	day = 24 * time.Hour

	// RootLife is long because a root's end would cut off every device that was
	// away while the next one was announced.
	RootLife = 20 * 365 * day
	// IntermediateLife bounds what a stolen signing key is good for.
	IntermediateLife = 2 * 365 * day
	// IntermediateSpare is what an intermediate has left when it is replaced: what
	// it signs until then ends before it, and a year is time to fetch the root's key.
	IntermediateSpare = IntermediateLife / 2
	// DeviceLife outlasts summer holidays and a term of sick leave.
	DeviceLife = 180 * day
	// DeviceGrace is how long after its end a certificate still renews.
	DeviceGrace = 400 * day
	// ServerLife is short, for the collector makes a new one by itself.
	ServerLife = 30 * day
)

// AuthorityBegin is when every authority's certificate begins, whenever it was
// made. One that was made while the collector's clock was ahead would otherwise be
// "not yet valid" when the clock is right again, and lock the whole fleet out.
var AuthorityBegin = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// NewKey makes a P-256 key, the one kind that certificates of ours have.
func NewKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// An Authority signs for devices and for the collector itself. Its root's key is
// not here: that signs an intermediate every year and can lie in a safe between.
type Authority struct {
	Root         *x509.Certificate
	Intermediate *x509.Certificate
	Key          crypto.Signer // of the intermediate
}

// NewAuthority makes root and intermediate in memory and forgets the root's key:
// for a test or a rehearsal. A collector keeps its own by NewRoot and NewIntermediate.
func NewAuthority(now time.Time) (*Authority, error) {
	rootKey, err := NewKey()
	if err != nil {
		return nil, err
	}
	root, err := NewRoot(rootKey, now)
	if err != nil {
		return nil, err
	}
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	intermediate, err := NewIntermediate(root, rootKey, key.Public(), now)
	if err != nil {
		return nil, err
	}
	return &Authority{Root: root, Intermediate: intermediate, Key: key}, nil
}

// NewRoot makes the self-signed certificate of a root key.
func NewRoot(key crypto.Signer, now time.Time) (*x509.Certificate, error) {
	t := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Hausmeister root"},
		NotBefore:             AuthorityBegin,
		NotAfter:              now.Add(RootLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLen:            1,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return sign(t, t, key.Public(), key)
}

// NewIntermediate makes the certificate of the key that signs from day to day.
func NewIntermediate(root *x509.Certificate, rootKey crypto.Signer, pub crypto.PublicKey, now time.Time) (*x509.Certificate, error) {
	t := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Hausmeister intermediate"},
		NotBefore:             AuthorityBegin,
		NotAfter:              earlier(now.Add(IntermediateLife), root.NotAfter),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return sign(t, root, pub, rootKey)
}

// IssueDevice makes a device's certificate: its id, the right to be a client,
// 180 days, a random serial number and nothing else.
func (a *Authority) IssueDevice(pub crypto.PublicKey, device string, now time.Time) (*x509.Certificate, error) {
	if !ValidID(device) {
		return nil, fmt.Errorf("device id %q is no UUID", device)
	}
	if !isP256(pub) {
		return nil, errors.New("device key is not P-256")
	}
	return sign(&x509.Certificate{
		NotBefore:   now,
		NotAfter:    a.DeviceUntil(now),
		URIs:        []*url.URL{{Scheme: "urn", Opaque: "uuid:" + device}},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, a.Intermediate, pub, a.Key)
}

// DeviceUntil is when a device certificate made now ends: not after the one that
// signs it.
func (a *Authority) DeviceUntil(now time.Time) time.Time {
	return earlier(now.Add(DeviceLife), a.Intermediate.NotAfter).UTC().Truncate(time.Second)
}

// IssueServer makes the certificate with which a collector meets devices, with a
// key of its own. The chain includes the root, because a device that has only a
// claim knows no more of it than its fingerprint.
func (a *Authority) IssueServer(names []string, now time.Time) (*tls.Certificate, error) {
	t := &x509.Certificate{
		NotBefore:   now,
		NotAfter:    earlier(now.Add(ServerLife), a.Intermediate.NotAfter),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if !ValidHost(name) {
			return nil, fmt.Errorf("server name %q is neither a DNS name nor an address", name)
		}
		if ip := net.ParseIP(name); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, strings.ToLower(name))
		}
	}
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	leaf, err := sign(t, a.Intermediate, key.Public(), a.Key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{
		Certificate: [][]byte{leaf.Raw, a.Intermediate.Raw, a.Root.Raw},
		PrivateKey:  key,
		Leaf:        leaf,
	}, nil
}

// Chain is what a device presents: its certificate and the intermediate.
func (a *Authority) Chain(leaf *x509.Certificate) [][]byte {
	return [][]byte{leaf.Raw, a.Intermediate.Raw}
}

// sign adds a random serial number and signs.
func sign(t, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	serial := make([]byte, 16)
	rand.Read(serial)
	serial[0] = serial[0]&0x7f | 0x40 // positive, and always 16 bytes long
	t.SerialNumber = new(big.Int).SetBytes(serial)
	t.NotBefore, t.NotAfter = t.NotBefore.UTC().Truncate(time.Second), t.NotAfter.UTC().Truncate(time.Second)
	der, err := x509.CreateCertificate(rand.Reader, t, parent, pub, key)
	if err != nil {
		return nil, fmt.Errorf("signing certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

func isP256(pub crypto.PublicKey) bool {
	k, ok := pub.(*ecdsa.PublicKey)
	return ok && k.Curve == elliptic.P256()
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
