package collector

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"hausmeister/platform/layout"
)

// Names of the certificate for browsers that the collector makes itself. The
// chain file ends in its authority, so it is also what curl --cacert wants.
const (
	browserChain = "browser.crt"
	browserKey   = "browser.key"
	browserCA    = "browser-ca.crt"
)

const (
	ownLife  = 397 * 24 * time.Hour // what browsers take at most of public authorities
	ownRenew = 30 * 24 * time.Hour  // before its end
	// lookEvery bounds how often a handshake looks whether the files changed.
	lookEvery = 5 * time.Second
)

// browserCertificate is the certificate for pages and API, from files that an
// administrator or an ACME client may replace at any time.
type browserCertificate struct {
	chain, key string
	now        func() time.Time
	log        *slog.Logger

	mu sync.Mutex
	// below is guarded by mu
	current *tls.Certificate
	stamp   [2]fileStamp
	looked  time.Time
}

// fileStamp tells one content of a file from the next.
type fileStamp struct {
	modified time.Time
	size     int64
}

// openBrowserCertificate reads the files that are configured, or makes a
// certificate for localhost, with an authority of its own that can be put into
// a browser. Its key is thrown away, so that nobody can sign anything else.
func openBrowserCertificate(c Config) (*browserCertificate, error) {
	b := &browserCertificate{chain: c.Certificate, key: c.Key, now: c.Now, log: c.Log}
	if b.chain == "" {
		b.chain, b.key = c.file(browserChain), c.file(browserKey)
		if err := makeOwn(c); err != nil {
			return nil, fmt.Errorf("making a browser certificate for localhost: %w", err)
		}
	}
	if err := b.load(); err != nil {
		return nil, fmt.Errorf("reading the browser certificate: %w", err)
	}
	return b, nil
}

// get gives the certificate of the moment. Files that are half replaced or
// broken leave the one before in use.
func (b *browserCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := b.now(); now.Sub(b.looked) >= lookEvery {
		b.looked = now
		if stamp, err := b.stampNow(); err == nil && stamp != b.stamp {
			if err := b.loadLocked(); err != nil {
				b.log.Warn("browser certificate changed but is not usable, the one before stays", "error", err)
			} else {
				b.log.Info("browser certificate reloaded", "until", b.current.Leaf.NotAfter)
			}
		}
	}
	return b.current, nil
}

func (b *browserCertificate) load() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.loadLocked()
}

func (b *browserCertificate) loadLocked() error {
	stamp, err := b.stampNow()
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(b.chain, b.key)
	if err != nil {
		return err
	}
	b.current, b.stamp = &pair, stamp
	return nil
}

func (b *browserCertificate) stampNow() (out [2]fileStamp, err error) {
	for i, name := range []string{b.chain, b.key} {
		info, err := os.Stat(name)
		if err != nil {
			return out, err
		}
		out[i] = fileStamp{info.ModTime(), info.Size()}
	}
	return out, nil
}

// makeOwn makes the certificate for localhost unless a good one is there.
func makeOwn(c Config) error {
	pair, err := tls.LoadX509KeyPair(c.file(browserChain), c.file(browserKey))
	if err == nil && c.Now().Add(ownRenew).Before(pair.Leaf.NotAfter) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	start := c.Now().Add(-time.Hour) // clocks of browsers differ
	ca := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Hausmeister localhost " + start.Format(time.DateOnly)}, SerialNumber: serial(),
		NotBefore: start, NotAfter: start.Add(ownLife), IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign,
		// Whoever trusts it trusts it for this machine only.
		PermittedDNSDomainsCritical: true, PermittedDNSDomains: []string{"localhost"},
		PermittedIPRanges: []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)}, {IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)}},
	}
	leaf := &x509.Certificate{
		Subject: pkix.Name{CommonName: "localhost"}, SerialNumber: serial(),
		NotBefore: start, NotAfter: start.Add(ownLife), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return err
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	caPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
	chain := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leafDER}), caPEM...)
	// The key goes first and the chain last: a crash between leaves a pair that
	// does not fit, which is made anew.
	if err := os.Remove(c.file(browserChain)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := layout.WriteFile(c.file(browserKey), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		return err
	}
	if err := layout.WriteFile(c.file(browserCA), caPEM, 0o644); err != nil {
		return err
	}
	if err := layout.WriteFile(c.file(browserChain), chain, 0o644); err != nil {
		return err
	}
	c.Log.Info("certificate for https://localhost made; curl and browsers need its authority", "ca_file", filepath.Clean(c.file(browserCA)), "until", leaf.NotAfter)
	return nil
}

func serial() *big.Int {
	b := make([]byte, 16)
	rand.Read(b)
	b[0] &= 0x7f // positive, RFC 5280 4.1.2.2
	return new(big.Int).SetBytes(b)
}
