package wire_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
	"hausmeister/testenv/netsim"
)

const port = 8443

// pair is the two ends of one session.
type pair struct {
	agent, collector wire.Session
	agentHost        *netsim.Host // nil on real sockets
}

// transport makes a pair, runs body with it and takes it down. Those in a
// bubble prove by the bubble's end that no goroutine is left.
type transport struct {
	name   string
	bubble bool
	run    func(t *testing.T, body func(*testing.T, *pair))
}

var transports = []transport{
	{"quic/simulated", true, func(t *testing.T, body func(*testing.T, *pair)) { inBubble(t, simulatedQUIC, body) }},
	{"tcp/simulated", true, func(t *testing.T, body func(*testing.T, *pair)) { inBubble(t, simulatedTCP, body) }},
	{"quic/sockets", false, socketQUIC},
	{"tcp/sockets", false, socketTCP},
}

// onBoth runs body over both transports, simulated and on real sockets.
func onBoth(t *testing.T, body func(*testing.T, *pair)) {
	t.Helper()
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) { tr.run(t, body) })
	}
}

// simulated runs body over both transports in a bubble, for what takes time.
func simulated(t *testing.T, body func(*testing.T, *pair)) {
	t.Helper()
	for _, tr := range transports {
		if tr.bubble {
			t.Run(tr.name, func(t *testing.T) { tr.run(t, body) })
		}
	}
}

func inBubble(t *testing.T, connect func(*testing.T, *netsim.Host, *netsim.Host) (agent, collector wire.Session, end func()), body func(*testing.T, *pair)) {
	synctest.Test(t, func(t *testing.T) {
		n := netsim.New(netsim.Config{Seed: 1, Latency: 10 * time.Millisecond})
		defer n.Close()
		host := n.Host("10.0.0.1")
		agent, collector, end := connect(t, host, n.Host("10.0.0.2"))
		defer end()
		defer collector.Close(hmpb.Code_CODE_NORMAL, "")
		defer agent.Close(hmpb.Code_CODE_NORMAL, "")
		body(t, &pair{agent, collector, host})
	})
}

func simulatedQUIC(t *testing.T, agentHost, collectorHost *netsim.Host) (agent, collector wire.Session, end func()) {
	a := wire.NewEndpoint(must(agentHost.ListenPacket(0))(t), wire.EndpointConfig{})
	c := wire.NewEndpoint(must(collectorHost.ListenPacket(port))(t), wire.EndpointConfig{})
	ln := must(c.Listen(serverTLS(t)))(t)
	dialled, accepted := connectQUIC(t, a, ln, collectorHost.Addr(port))
	return dialled, accepted, func() { ln.Close(); a.Close(); c.Close() }
}

func connectQUIC(t *testing.T, a *wire.Endpoint, ln wire.Listener, to net.Addr) (dialled, accepted wire.Session) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	dialled, err := a.Dial(ctx, to, clientTLS(t))
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	accepted, err = ln.Accept(ctx)
	if err != nil {
		t.Fatalf("Accept: %v", err)
	}
	return dialled, accepted
}

func simulatedTCP(t *testing.T, agentHost, collectorHost *netsim.Host) (agent, collector wire.Session, end func()) {
	ln := must(collectorHost.ListenTCP(port))(t)
	agent, collector = connectTCP(t, ln, func() (net.Conn, error) {
		return agentHost.DialTCP(t.Context(), collectorHost.Addr(port).AddrPort())
	})
	return agent, collector, func() { ln.Close() }
}

func connectTCP(t *testing.T, ln net.Listener, dial func() (net.Conn, error)) (dialled, accepted wire.Session) {
	t.Helper()
	type result struct {
		s   wire.Session
		err error
	}
	served := make(chan result, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			served <- result{nil, err}
			return
		}
		tc := tls.Server(conn, serverTLS(t))
		if err := tc.HandshakeContext(t.Context()); err != nil {
			served <- result{nil, err}
			return
		}
		s, err := wire.ServeTCP(tc)
		served <- result{s, err}
	}()
	conn, err := dial()
	if err != nil {
		t.Fatalf("dialling: %v", err)
	}
	dialled, err = wire.DialTCP(t.Context(), conn, clientTLS(t))
	if err != nil {
		t.Fatalf("DialTCP: %v", err)
	}
	r := <-served
	if r.err != nil {
		t.Fatalf("ServeTCP: %v", r.err)
	}
	return dialled, r.s
}

func socketQUIC(t *testing.T, body func(*testing.T, *pair)) {
	a := wire.NewEndpoint(loopbackUDP(t), wire.EndpointConfig{})
	c := wire.NewEndpoint(loopbackUDP(t), wire.EndpointConfig{})
	defer a.Close()
	defer c.Close()
	dialled, accepted := connectQUIC(t, a, must(c.Listen(serverTLS(t)))(t), c.LocalAddr())
	body(t, &pair{agent: dialled, collector: accepted})
	dialled.Close(hmpb.Code_CODE_NORMAL, "")
	accepted.Close(hmpb.Code_CODE_NORMAL, "")
}

func socketTCP(t *testing.T, body func(*testing.T, *pair)) {
	ln := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer ln.Close()
	dialled, accepted := connectTCP(t, ln, func() (net.Conn, error) { return net.Dial("tcp", ln.Addr().String()) })
	body(t, &pair{agent: dialled, collector: accepted})
	dialled.Close(hmpb.Code_CODE_NORMAL, "")
	accepted.Close(hmpb.Code_CODE_NORMAL, "")
}

func loopbackUDP(t testing.TB) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// open opens a report stream at the agent and accepts it at the collector.
func (p *pair) open(t *testing.T) (agent, collector *wire.Framed) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	agent, err := wire.Open(ctx, p.agent, hmpb.StreamType_STREAM_TYPE_REPORT, &hmpb.ReportHeader{})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	typ, collector, err := wire.Accept(ctx, p.collector)
	if err != nil || typ != hmpb.StreamType_STREAM_TYPE_REPORT {
		t.Fatalf("Accept = %v, %v, want a report stream", typ, err)
	}
	if err := collector.ReadMsg(&hmpb.ReportHeader{}); err != nil {
		t.Fatalf("reading the header: %v", err)
	}
	return agent, collector
}

// ended waits for a session's end and returns why.
func ended(t *testing.T, s wire.Session) *wire.Error {
	t.Helper()
	select {
	case <-s.Context().Done():
	case <-time.After(time.Hour): // virtual, or the test's own timeout
		t.Fatal("session did not end")
	}
	return asError(t, context.Cause(s.Context()))
}

func asError(t *testing.T, err error) *wire.Error {
	t.Helper()
	var e *wire.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v (%T), want a *wire.Error", err, err)
	}
	return e
}

func wantError(t *testing.T, call string, err error, code hmpb.Code, remote, stream bool) {
	t.Helper()
	e := asError(t, err)
	if e.Code != code || e.Remote != remote || e.Stream != stream {
		t.Errorf("%s: got %v (remote %t, stream %t), want %v (remote %t, stream %t)", call, e, e.Remote, e.Stream, code, remote, stream)
	}
}

// must turns a call's error into the test's end: must(f())(t).
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("reading: %v", err)
	}
	return string(b)
}

// testCert is good at any time, also at a bubble's, which begins in 2000.
var testCert, testRoots = func() (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"collector.test"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}()

func serverTLS(testing.TB) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{testCert}, MinVersion: tls.VersionTLS13, NextProtos: []string{wire.ALPN},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: testRoots, SessionTicketsDisabled: true,
	}
}

func clientTLS(testing.TB) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{testCert}, RootCAs: testRoots, ServerName: "collector.test",
		MinVersion: tls.VersionTLS13,
	}
}
