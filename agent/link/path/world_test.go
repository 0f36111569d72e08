package path_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/agent/config"
	"hausmeister/agent/link/path"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
	"hausmeister/testenv/fakes"
	"hausmeister/testenv/netsim"
)

const (
	port    = 8443
	address = "collector.example:8443"
)

// world is a device and a collector on a network.
type world struct {
	*testing.T
	net       *netsim.Network
	device    *netsim.Host
	collector *netsim.Host
	ca        *ident.Authority
	files     *fakes.Disk
	config    path.Config
	conf      *tls.Config
	dialer    *path.Dialer
	endpoint  *wire.Endpoint
	serving   sync.WaitGroup
	closers   []func()

	mu sync.Mutex
	// below is guarded by mu
	connects []string // what TCP was asked for
	sessions []wire.Session
	log      bytes.Buffer
}

// in runs a test in a world of its own, in a bubble.
func in(outer *testing.T, f func(*world)) {
	synctest.Test(outer, func(t *testing.T) {
		w := &world{T: t, net: netsim.New(netsim.Config{Seed: 5, Latency: 20 * time.Millisecond}), files: fakes.NewDisk()}
		var err error
		if w.ca, err = ident.NewAuthority(time.Now()); err != nil {
			t.Fatal(err)
		}
		w.device, w.collector = w.net.Host("192.0.2.1"), w.net.Host("192.0.2.2")
		pc, err := w.device.ListenPacket(0)
		if err != nil {
			t.Fatal(err)
		}
		w.endpoint = wire.NewEndpoint(pc, wire.EndpointConfig{})
		key, err := ident.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := w.ca.IssueDevice(key.Public(), ident.NewID(time.Now()), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		w.conf = ident.AgentConfig(ident.AgentTLS{
			Pins: []ident.Fingerprint{ident.FingerprintOf(w.ca.Root)}, ServerName: "collector.example", Trusted: time.Now,
			Certificate: &tls.Certificate{Certificate: w.ca.Chain(leaf), PrivateKey: key, Leaf: leaf},
		})
		w.config = path.Config{
			Endpoint: w.endpoint,
			Connect:  w.connect,
			Lookup: func(context.Context, string) ([]netip.Addr, error) {
				return []netip.Addr{netip.MustParseAddr("192.0.2.2")}, nil
			},
			Networks: config.OpenNetworks(w.files),
			Log:      slog.New(slog.NewTextHandler(w, nil)),
		}
		defer w.close()
		f(w)
	})
}

func (w *world) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}

func (w *world) close() {
	w.mu.Lock()
	sessions := w.sessions
	w.mu.Unlock()
	for _, s := range sessions {
		s.Close(hmpb.Code_CODE_NORMAL, "")
	}
	time.Sleep(time.Second) // for the frames on their way
	for _, c := range slices.Backward(w.closers) {
		c()
	}
	w.endpoint.Close()
	w.net.Close()
	w.serving.Wait()
	if w.Failed() {
		w.Logf("log:\n%s", &w.log)
	}
}

// connect is the device's TCP; names of hosts that only the test knows are their
// addresses already.
func (w *world) connect(ctx context.Context, address string) (net.Conn, error) {
	w.mu.Lock()
	w.connects = append(w.connects, address)
	w.mu.Unlock()
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	return w.device.DialTCP(ctx, to)
}

func (w *world) connected() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.connects)
}

func (w *world) keep(s wire.Session, err error) {
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sessions = append(w.sessions, s)
}

// quic opens the collector's UDP port.
func (w *world) quic(host *netsim.Host) {
	w.Helper()
	pc, err := host.ListenPacket(port)
	if err != nil {
		w.Fatal(err)
	}
	e := wire.NewEndpoint(pc, wire.EndpointConfig{})
	ln, err := e.Listen(ident.CollectorConfig(w.certificate))
	if err != nil {
		w.Fatal(err)
	}
	w.closers = append(w.closers, func() { e.Close() })
	w.serving.Go(func() {
		for {
			s, err := ln.Accept(context.Background())
			if err != nil {
				return
			}
			w.keep(s, nil)
		}
	})
}

func (w *world) certificate() (*tls.Certificate, error) {
	return w.ca.IssueServer([]string{"collector.example"}, time.Now())
}

// listen serves each TCP connection to a port of a host.
func (w *world) listen(host *netsim.Host, port uint16, serve func(net.Conn)) {
	w.Helper()
	ln, err := host.ListenTCP(port)
	if err != nil {
		w.Fatal(err)
	}
	w.closers = append(w.closers, func() { ln.Close() })
	w.serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			w.serving.Go(func() {
				serve(conn)
			})
		}
	})
}

// tcp is the collector's TCP port, as collector/listen.go splits it.
func (w *world) tcp() {
	w.listen(w.collector, port, func(conn net.Conn) {
		tc := tls.Server(conn, ident.CollectorConfig(w.certificate))
		if tc.Handshake() != nil {
			conn.Close()
			return
		}
		w.keep(wire.ServeTCP(tc))
	})
}

// proxy is one at a host of its own; answer is said instead of letting through,
// if it is not empty.
func (w *world) proxy(addr, answer string) (*url.URL, *[]string) {
	host := w.net.Host(addr)
	var asked []string
	w.listen(host, 3128, func(conn net.Conn) {
		defer conn.Close()
		r := bufio.NewReader(conn)
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		w.mu.Lock()
		asked = append(asked, req.Method+" "+req.Host+" "+req.Header.Get("Proxy-Authorization"))
		w.mu.Unlock()
		if answer != "" {
			io.WriteString(conn, answer)
			conn.SetReadDeadline(time.Now().Add(time.Second))
			io.Copy(io.Discard, r)
			return
		}
		there, err := host.DialTCP(context.Background(), netip.MustParseAddrPort("192.0.2.2:8443"))
		if err != nil {
			io.WriteString(conn, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
			return
		}
		defer there.Close()
		io.WriteString(conn, "HTTP/1.1 200 Connection established\r\nVia: 1.1 schule\r\n\r\n")
		both(conn, there, r)
	})
	u, err := url.Parse("http://" + addr + ":3128")
	if err != nil {
		w.Fatal(err)
	}
	return u, &asked
}

// both copies both ways until one ends.
func both(conn, there net.Conn, r io.Reader) {
	var wg sync.WaitGroup
	wg.Go(func() { io.Copy(there, r); there.Close() })
	wg.Go(func() { io.Copy(conn, there); conn.Close() })
	wg.Wait()
}

func (w *world) proxies(all ...*url.URL) {
	w.config.Proxies = func(context.Context, string) ([]*url.URL, error) { return all, nil }
}

// dial dials as the link does and says how long it took.
func (w *world) dial() (wire.Session, time.Duration, error) {
	if w.dialer == nil {
		w.dialer = path.New(w.config)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	began := time.Now()
	s, err := w.dialer.Dial(ctx, address, w.conf)
	w.keep(s, err)
	return s, time.Since(began), err
}

// gets dials, wants a transport within a time, and has that remembered.
func (w *world) gets(transport string, within time.Duration) {
	w.Helper()
	s, took, err := w.dial()
	if err != nil {
		w.Fatalf("Dial: %v", err)
	}
	if s.Transport() != transport || took > within {
		w.Errorf("Dial came over %s in %v, want %s within %v", s.Transport(), took, transport, within)
	}
	w.dialer.Worked(s)
}

// fails dials and gives the error.
func (w *world) fails() error {
	w.Helper()
	s, took, err := w.dial()
	if err == nil {
		w.Fatalf("Dial works, over %s", s.Transport())
	}
	if took > 21*time.Second {
		w.Errorf("Dial failed after %v", took)
	}
	return err
}

func issuerOf(err error) string {
	var inspected *ident.InspectionError
	if errors.As(err, &inspected) {
		return inspected.Issuer
	}
	return ""
}
