package collector_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"hausmeister/collector"
	"hausmeister/collector/admin"
	"hausmeister/collector/db/dbtest"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
)

// config is that of a collector in a fresh folder on any free port of loopback.
func config(t *testing.T) collector.Config {
	t.Helper()
	cfg := collector.DefaultConfig()
	// Not t.TempDir: its path is too long for a socket's in some tests.
	dir, err := os.MkdirTemp("", "hmc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cfg.DataDir, cfg.Listen, cfg.Public = dir, "127.0.0.1:0", "localhost:0"
	cfg.Version = "test"
	cfg.Log = slog.New(slog.DiscardHandler)
	return cfg
}

// running is a collector that serves.
type running struct {
	t      *testing.T
	cfg    collector.Config
	listen string
	cancel context.CancelFunc
	done   chan error
	admin  *admin.Client
	ends   []func() // of this test's own connections
}

func start(t *testing.T, cfg collector.Config) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: t, cfg: cfg, cancel: cancel, done: make(chan error, 1), admin: admin.NewClient(cfg.SocketPath())}
	ready := make(chan string, 1)
	cfg.Ready = func(listen string) { ready <- listen }
	c, err := collector.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	go func() { r.done <- c.Run(ctx) }()
	select {
	case r.listen = <-ready:
	case err := <-r.done:
		t.Fatalf("Run ended at its start: %v", err)
	}
	t.Cleanup(func() { r.stop() })
	return r
}

// stop ends the collector and fails the test unless that went well and left no
// goroutine.
func (r *running) stop() {
	r.t.Helper()
	if r.cancel == nil {
		return
	}
	r.cancel()
	r.cancel = nil
	select {
	case err := <-r.done:
		if err != nil {
			r.t.Errorf("Run = %v, want nil after its context ended", err)
		}
	case <-time.After(20 * time.Second):
		r.t.Fatal("Run did not return")
	}
	for _, end := range r.ends {
		end()
	}
	noGoroutines(r.t)
}

// noGoroutines waits for the goroutines of the collector to be gone; those of
// libraries may take a moment to notice.
func noGoroutines(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		var left []string
		for g := range strings.SplitSeq(string(buf), "\n\n") {
			ours := strings.Contains(g, "hausmeister/collector.") || strings.Contains(g, "hausmeister/collector/") ||
				strings.Contains(g, "hausmeister/proto/wire.") || strings.Contains(g, "quic-go.")
			if ours && !strings.Contains(g, "testing.tRunner") && !strings.Contains(g, "dbtest") {
				left = append(left, g)
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines left after Run, the first:\n%s", len(left), left[0])
		}
		runtime.Gosched()
	}
}

// client trusts what curl --cacert with the collector's own file trusts.
func (r *running) client(protocols ...string) *http.Client {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.cfg.DataDir, "browser.crt"))
	if err != nil {
		r.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		r.t.Fatal("browser.crt holds no certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, NextProtos: protocols}, ForceAttemptHTTP2: len(protocols) == 0}
	r.ends = append(r.ends, transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

func (r *running) url(path string) string {
	_, port, _ := net.SplitHostPort(r.listen)
	return "https://localhost:" + port + path
}

func (r *running) get(client *http.Client, path string) (*http.Response, string) {
	r.t.Helper()
	resp, err := client.Get(r.url(path))
	if err != nil {
		r.t.Fatalf("GET %s: %v", path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatalf("GET %s: %v", path, err)
	}
	return resp, string(body)
}

// deviceTLS pins the collector's own root, as a claim would.
func (r *running) deviceTLS() *tls.Config {
	r.t.Helper()
	var claim admin.Claim
	r.do("claim/create", admin.NewClaim{Owner: "Stadt Beispiel", NewOwner: true, Cap: 1, Life: time.Hour}, &claim)
	c, err := ident.ParseClaim(claim.Text)
	if err != nil {
		r.t.Fatal(err)
	}
	return ident.AgentConfig(ident.AgentTLS{Pins: []ident.Fingerprint{c.CA}, ServerName: c.Host, Trusted: time.Now})
}

func (r *running) do(verb string, in, out any) {
	r.t.Helper()
	if err := r.admin.Do(r.t.Context(), verb, in, out); err != nil {
		r.t.Fatalf("%s: %v", verb, err)
	}
}

// session opens a device's session over "tcp" or "quic".
func (r *running) session(network string, cfg *tls.Config) wire.Session {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	var session wire.Session
	var err error
	if network == "tcp" {
		var conn net.Conn
		if conn, err = net.Dial("tcp", r.listen); err == nil {
			session, err = wire.DialTCP(ctx, conn, cfg)
		}
	} else {
		var socket *net.UDPConn
		if socket, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err == nil {
			endpoint := wire.NewEndpoint(socket, wire.EndpointConfig{})
			r.ends = append(r.ends, func() { endpoint.Close() })
			addr, _ := net.ResolveUDPAddr("udp", r.listen)
			session, err = endpoint.Dial(ctx, addr, cfg)
		}
	}
	if err != nil {
		r.t.Fatalf("session over %s: %v", network, err)
	}
	r.ends = append([]func(){func() { session.Close(hmpb.Code_CODE_NORMAL, "") }}, r.ends...)
	return session
}

// onBoth runs a test with each kind of database.
func onBoth(t *testing.T, test func(t *testing.T, cfg collector.Config)) {
	t.Run("sqlite", func(t *testing.T) { test(t, config(t)) })
	t.Run("postgres", func(t *testing.T) {
		cfg := config(t)
		cfg.Database = dbtest.Postgres(t, nil).URL
		test(t, cfg)
	})
}
