package collector_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hausmeister/collector"
)

// served is the certificate that a browser gets.
func (r *running) served() *x509.Certificate {
	r.t.Helper()
	conn, err := tls.Dial("tcp", r.listen, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}

// clock is a time that a test moves while a collector reads it.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.t }
func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// The certificate made for localhost verifies with the file beside it, is kept
// over restarts, is closed to others, and is renewed before it ends.
func TestOwnCertificate(t *testing.T) {
	cfg := config(t)
	now := &clock{t: time.Now()}
	cfg.Now = now.now
	r := start(t, cfg)
	r.get(r.client(), "/healthz")
	first := r.served()
	pool := x509.NewCertPool()
	ca, err := os.ReadFile(filepath.Join(cfg.DataDir, "browser-ca.crt"))
	if err != nil || !pool.AppendCertsFromPEM(ca) {
		t.Fatalf("browser-ca.crt: %v", err)
	}
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
		if _, err := first.Verify(x509.VerifyOptions{Roots: pool, DNSName: name}); err != nil {
			t.Errorf("verifying for %s: %v", name, err)
		}
	}
	if info, err := os.Stat(filepath.Join(cfg.DataDir, "browser.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("browser.key = %v, %v, want it closed to others", info, err)
	}
	r.stop()
	r = start(t, cfg)
	if !r.served().Equal(first) {
		t.Error("a restart made a new certificate")
	}
	r.stop()
	now.add(370 * 24 * time.Hour)
	if r = start(t, cfg); r.served().Equal(first) {
		t.Error("27 days before its end the certificate was not renewed")
	}
	r.stop()
	// A crash between key and chain.
	if err := os.Remove(filepath.Join(cfg.DataDir, "browser.crt")); err != nil {
		t.Fatal(err)
	}
	start(t, cfg).served()
}

// Given files are used, read again when they change, and a broken change
// leaves the one before in use.
func TestGivenCertificate(t *testing.T) {
	make := func() (chain, key []byte) { // by the collector's own code, in another folder
		cfg := config(t)
		start(t, cfg).stop()
		chain, err := os.ReadFile(filepath.Join(cfg.DataDir, "browser.crt"))
		if err != nil {
			t.Fatal(err)
		}
		if key, err = os.ReadFile(filepath.Join(cfg.DataDir, "browser.key")); err != nil {
			t.Fatal(err)
		}
		return chain, key
	}
	cfg := config(t)
	now := &clock{t: time.Now()}
	cfg.Now = now.now
	var log lockedBuffer
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	dir := t.TempDir()
	cfg.Certificate, cfg.Key = filepath.Join(dir, "chain.pem"), filepath.Join(dir, "key.pem")
	write := func(path string, content []byte) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		now.add(time.Minute)
	}
	chain, key := make()
	nextChain, nextKey := make()
	write(cfg.Certificate, chain)
	write(cfg.Key, key)
	r := start(t, cfg)
	first := r.served()
	if _, err := os.Stat(filepath.Join(cfg.DataDir, "browser.crt")); err == nil {
		t.Error("a certificate for localhost was made although one is given")
	}
	write(cfg.Certificate, nextChain) // its key is still the old one
	if !r.served().Equal(first) {
		t.Error("a half replaced pair is served")
	}
	if !strings.Contains(log.String(), "not usable") {
		t.Errorf("the log does not tell of the broken change:\n%s", log.String())
	}
	write(cfg.Key, nextKey)
	if r.served().Equal(first) {
		t.Error("the new certificate is not served")
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}
func (l *lockedBuffer) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

// A connection that never finishes its handshake is closed, and a stop does
// not wait for it.
func TestHandshakeTimesOut(t *testing.T) {
	serve := func(within time.Duration) (conn net.Conn, stop func()) {
		ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- collector.RunSplitter(ctx, ln, within) }()
		if conn, err = net.Dial("tcp", ln.Addr().String()); err != nil {
			t.Fatal(err)
		}
		return conn, func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run = %v", err)
			}
		}
	}
	conn, stop := serve(50 * time.Millisecond)
	defer conn.Close()
	conn.Write([]byte{22, 3, 1})
	conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadAll(conn); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("stalled connection = %v, want it closed by the other side", err)
	}
	stop()
	conn, stop = serve(time.Hour)
	defer conn.Close()
	stop()
	noGoroutines(t)
}

// The keys by which devices notice a restart stay, and are closed to others.
func TestTransportKeysStay(t *testing.T) {
	cfg := config(t)
	var before []byte
	for range 2 {
		start(t, cfg).stop()
		path := filepath.Join(cfg.DataDir, "transport.keys")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
			t.Errorf("transport.keys is %v", info.Mode())
		}
		if before != nil && !bytes.Equal(before, text) {
			t.Error("the restart changed the keys")
		}
		before = text
	}
}
