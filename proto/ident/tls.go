package ident

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// What an agent finds wrong with a collector that proved one of the pinned roots.
var (
	ErrServerName    = errors.New("collector has a certificate for another name")
	ErrServerExpired = errors.New("collector's certificate has ended")
)

// InspectionError is a chain that leads to none of the pinned roots: something on
// the way opens TLS connections and closes them again with its own certificate
// (or this is not our collector). Issuer is who it calls itself; the desk needs
// that name to find the box.
type InspectionError struct{ Issuer string }

func (e *InspectionError) Error() string {
	return fmt.Sprintf("connection is inspected by %q", e.Issuer)
}

// AgentTLS is what an agent knows when it connects.
type AgentTLS struct {
	Pins       []Fingerprint
	ServerName string
	// Trusted gives the highest time that the agent can trust: that of its
	// build, and what collectors told it. Its own clock proves nothing.
	Trusted func() time.Time
	// Certificate is the device's own; nil to enrol.
	Certificate *tls.Certificate
}

// AgentConfig is the agent's end of every session.
func AgentConfig(a AgentTLS) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{ALPN},
		ServerName: a.ServerName,
		// Go's own verification judges dates by the clock of this machine and
		// roots by a pool that we do not have yet. Ours runs in its place.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			// The chain first: a box that inspects seldom speaks our protocol,
			// and its name says more than that.
			if _, err := VerifyCollector(cs.PeerCertificates, a.Pins, a.ServerName, a.Trusted()); err != nil {
				return err
			}
			if cs.NegotiatedProtocol != ALPN {
				return fmt.Errorf("collector speaks %q", cs.NegotiatedProtocol)
			}
			return nil
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if a.Certificate == nil {
				return new(tls.Certificate), nil
			}
			return a.Certificate, nil
		},
	}
}

// VerifyCollector judges the chain of a collector, leaf first, and returns the
// fingerprint of the pinned root that it leads to.
//
// Real time is at least trusted. So a certificate that ended before trusted has
// ended, but one that begins after it proves only that the agent slept. That is
// why signatures are checked as of the latest beginning in the chain, and ends
// against trusted.
func VerifyCollector(chain []*x509.Certificate, pins []Fingerprint, name string, trusted time.Time) (Fingerprint, error) {
	if len(chain) == 0 {
		return Fingerprint{}, errors.New("collector has no certificate")
	}
	leaf := chain[0]
	opts := x509.VerifyOptions{
		Roots:         x509.NewCertPool(),
		Intermediates: x509.NewCertPool(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	pinned := make(map[Fingerprint]bool, len(pins))
	for _, p := range pins {
		pinned[p] = true
	}
	for i, c := range chain[:min(len(chain), chainMax)] {
		opts.CurrentTime = later(opts.CurrentTime, c.NotBefore)
		switch {
		case i == 0:
		case c.IsCA && pinned[FingerprintOf(c)]:
			opts.Roots.AddCert(c)
		default:
			opts.Intermediates.AddCert(c)
		}
	}
	found, err := leaf.Verify(opts)
	if err != nil {
		return Fingerprint{}, &InspectionError{Issuer: issuerName(leaf)}
	}
	path := found[0]
	for _, c := range path {
		if c.NotAfter.Before(trusted) {
			return Fingerprint{}, fmt.Errorf("%w: on %s", ErrServerExpired, c.NotAfter.Format(time.DateOnly))
		}
	}
	if err := leaf.VerifyHostname(name); err != nil {
		return Fingerprint{}, fmt.Errorf("%w, want %q", ErrServerName, name)
	}
	return FingerprintOf(path[len(path)-1]), nil
}

// issuerName is for the log, the status page and the desk. A stranger wrote it.
func issuerName(c *x509.Certificate) string {
	name := c.Issuer.String()
	if name == "" {
		name = c.Subject.String()
	}
	name = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(name, ""))
	if runes := []rune(name); len(runes) > 200 {
		name = string(runes[:200])
	}
	return name
}

// CollectorConfig is the collector's end of every session. The handshake lets in
// whoever has a TLS 1.3 of our ALPN, with or without a certificate; Go proves
// that a presented certificate's key is the peer's, and the rest is for
// Trust.VerifyDevice and the store, whose refusals need a session to be told on.
func CollectorConfig(certificate func() (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{ALPN},
		ClientAuth: tls.RequestClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return certificate()
		},
		// A resumed session would bring a certificate that was judged in another
		// life; a full handshake costs a millisecond.
		SessionTicketsDisabled: true,
	}
}
