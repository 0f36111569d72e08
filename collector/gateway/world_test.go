package gateway_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/collector/enroll"
	"hausmeister/collector/fleet"
	"hausmeister/collector/gateway"
	"hausmeister/collector/health"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/reading"
	"hausmeister/proto/wire"
)

var (
	migrations = []db.Migrations{access.Migrations, audit.Migrations, enroll.Migrations, fleet.Migrations, health.Migrations}
	system     = access.System("test")
	epochA     = []byte("epoch A 16 bytes")
)

// world is a collector without pages, on loopback, with all that devices need.
type world struct {
	db      *db.DB
	fleet   *fleet.Fleet
	health  *health.Health
	enroll  *enroll.Enroll
	gateway *gateway.Gateway
	quic    net.Addr
	tcp     net.Addr
	claim   ident.Claim
	log     *logBook

	mu  sync.Mutex
	now time.Time // guarded by mu
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) later(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func newWorld(t *testing.T, d *db.DB, change func(*gateway.Config)) *world {
	t.Helper()
	w := &world{db: d, now: time.Now(), log: &logBook{}}
	b, log := bus.New(), slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w.fleet, err = fleet.New(fleet.Config{DB: d, Now: w.clock})
	check(err)
	w.health, err = health.New(health.Config{DB: d, Bus: b, Now: w.clock, Log: log})
	check(err)
	w.enroll, err = enroll.New(t.Context(), enroll.Config{DB: d, Bus: b, Records: w.fleet, Dir: filepath.Join(t.TempDir(), "ca"),
		Address: "127.0.0.1:8443", Now: w.clock, Log: log})
	check(err)
	cfg := gateway.Config{Enroll: w.enroll, Health: w.health, Bus: b, StoreID: d.StoreID(), Now: w.clock, Log: log}
	if change != nil {
		change(&cfg)
	}
	w.gateway, err = gateway.New(cfg)
	check(err)
	w.serve(t)
	o, err := w.fleet.AddOwner(t.Context(), system, "Landkreis Ahorn")
	check(err)
	_, text, err := w.enroll.CreateClaim(t.Context(), system, enroll.NewClaim{Owner: o.ID, Cap: 1000, Expires: w.clock().Add(time.Hour)})
	check(err)
	w.claim, err = ident.ParseClaim(text)
	check(err)
	return w
}

// serve runs the gateway on both transports until the test ends.
func (w *world) serve(t *testing.T) {
	t.Helper()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	endpoint := wire.NewEndpoint(udp, wire.EndpointConfig{})
	q, err := endpoint.Listen(w.enroll.TLSConfig())
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.quic, w.tcp = q.Addr(), tcp.Addr()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	ready := make(chan struct{})
	serve := func(what string, f func() error) {
		wg.Go(func() {
			if err := f(); err != nil {
				t.Errorf("%s = %v", what, err)
			}
		})
	}
	serve("Run", func() error { return w.gateway.Run(ctx, func() { close(ready) }) })
	<-ready
	serve("Serve QUIC", func() error { return w.gateway.Serve(ctx, q) })
	serve("Serve TCP", func() error { return w.gateway.Serve(ctx, &tcpListener{ln: tcp, conf: w.enroll.TLSConfig()}) })
	t.Cleanup(func() {
		cancel()
		tcp.Close()
		wg.Wait()
		endpoint.Close()
	})
}

// tcpListener does the handshake in Accept: enough for a few test devices.
type tcpListener struct {
	ln   net.Listener
	conf *tls.Config
}

func (l *tcpListener) Accept(ctx context.Context) (wire.Session, error) {
	stop := context.AfterFunc(ctx, func() { l.ln.Close() })
	defer stop()
	for {
		conn, err := l.ln.Accept()
		if err != nil {
			return nil, err
		}
		tc := tls.Server(conn, l.conf)
		if err := tc.HandshakeContext(ctx); err != nil {
			conn.Close()
			continue
		}
		return wire.ServeTCP(tc)
	}
}
func (l *tcpListener) Addr() net.Addr { return l.ln.Addr() }
func (l *tcpListener) Close() error   { return l.ln.Close() }

// device is an agent in short: what the tests need, honest or not.
type device struct {
	t     *testing.T
	w     *world
	id    string
	cert  *tls.Certificate
	key   *ecdsa.PrivateKey
	epoch uint64
}

// dial opens a session by "quic" or "tcp".
func (w *world) dial(t *testing.T, transport string, cert *tls.Certificate) wire.Session {
	t.Helper()
	conf := ident.AgentConfig(ident.AgentTLS{Pins: []ident.Fingerprint{w.claim.CA}, ServerName: "127.0.0.1", Trusted: func() time.Time { return time.Time{} }, Certificate: cert})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var s wire.Session
	var err error
	if transport == "tcp" {
		var conn net.Conn
		if conn, err = net.Dial("tcp", w.tcp.String()); err == nil {
			s, err = wire.DialTCP(ctx, conn, conf)
		}
	} else {
		var pc net.PacketConn
		if pc, err = net.ListenPacket("udp", "127.0.0.1:0"); err == nil {
			e := wire.NewEndpoint(pc, wire.EndpointConfig{})
			t.Cleanup(func() { e.Close() })
			s, err = e.Dial(ctx, w.quic, conf)
		}
	}
	if err != nil {
		t.Fatalf("dialling by %s: %v", transport, err)
	}
	t.Cleanup(func() { s.Close(hmpb.Code_CODE_NORMAL, "") })
	return s
}

// enrol admits a new device over the wire.
func (w *world) enrol(t *testing.T, transport, serial string) *device {
	t.Helper()
	d, code := w.tryEnrol(t, transport, serial, ident.FormatSecret(w.claim.Secret))
	if code != hmpb.Code_CODE_UNSPECIFIED {
		t.Fatalf("enrolling: refused with %s", code)
	}
	return d
}

func (w *world) tryEnrol(t *testing.T, transport, serial, secret string) (*device, hmpb.Code) {
	t.Helper()
	s := w.dial(t, transport, nil)
	f, err := wire.Open(t.Context(), s, hmpb.StreamType_STREAM_TYPE_ENROLL, hmpb.EnrollHeader_builder{VersionMin: new(uint32(1)), VersionMax: new(uint32(1))}.Build())
	if err != nil {
		t.Fatal(err)
	}
	var down hmpb.EnrollDown
	if err := f.ReadMsg(&down); err != nil {
		t.Fatalf("reading the challenge: %v", err)
	}
	key, err := ident.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	challenge, err := ident.Challenge(down.GetChallenge().GetNonce(), s.ConnectionState())
	if err != nil {
		t.Fatal(err)
	}
	csr, err := ident.CreateCSR(key, challenge)
	if err != nil {
		t.Fatal(err)
	}
	hw := ident.Hardware{Manufacturer: "FUJITSU", Model: "LIFEBOOK A3510", Serial: serial, OS: "linux"}
	if err := f.WriteMsg(hmpb.EnrollRequest_builder{ClaimSecret: &secret, Hardware: hw.Message(), Csr: csr}.Build()); err != nil {
		t.Fatal(err)
	}
	if err := f.ReadMsg(&down); err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	if down.WhichKind() == hmpb.EnrollDown_Refused_case {
		return nil, down.GetRefused().GetCode()
	}
	d := &device{t: t, w: w, id: down.GetIssued().GetDeviceId(), key: key,
		cert: &tls.Certificate{Certificate: down.GetIssued().GetChain(), PrivateKey: key}}
	f.CloseWrite()
	return d, hmpb.Code_CODE_UNSPECIFIED
}

// hello is what an honest agent says next.
func (d *device) hello() *hmpb.Hello {
	d.epoch++
	return hmpb.Hello_builder{VersionMin: new(uint32(1)), VersionMax: new(uint32(1)), AgentVersion: new("test"),
		ConnectionEpoch: &d.epoch, SpoolEpoch: epochA}.Build()
}

// open dials and says hello; the answer is a Welcome, a Refused or an error.
func (d *device) open(transport string, hello *hmpb.Hello) (wire.Session, *wire.Framed, *hmpb.ControlDown, error) {
	d.t.Helper()
	s := d.w.dial(d.t, transport, d.cert)
	control, err := wire.Open(d.t.Context(), s, hmpb.StreamType_STREAM_TYPE_CONTROL, hello)
	if err != nil {
		return s, nil, nil, err
	}
	var down hmpb.ControlDown
	control.SetReadDeadline(time.Now().Add(time.Minute))
	if err = control.ReadMsg(&down); down.WhichKind() == hmpb.ControlDown_Refused_case {
		control.CloseWrite()
	}
	return s, control, &down, err
}

// in opens a session that must be welcomed.
func (d *device) in(transport string) (wire.Session, *wire.Framed, *hmpb.Welcome) {
	d.t.Helper()
	s, control, down, err := d.open(transport, d.hello())
	if err != nil || down.WhichKind() != hmpb.ControlDown_Welcome_case {
		d.t.Fatalf("saying hello by %s = %v, %v, want a Welcome", transport, down, err)
	}
	return s, control, down.GetWelcome()
}

func (d *device) reports(s wire.Session) *wire.Framed {
	d.t.Helper()
	f, err := wire.Open(d.t.Context(), s, hmpb.StreamType_STREAM_TYPE_REPORT, &hmpb.ReportHeader{})
	if err != nil {
		d.t.Fatal(err)
	}
	return f
}

// send sends reports from first on and returns the ack.
func (d *device) send(f *wire.Framed, first uint64, n int) uint64 {
	d.t.Helper()
	if err := f.WriteBatch(batch(first, n)); err != nil {
		d.t.Fatalf("sending a batch: %v", err)
	}
	var down hmpb.ReportDown
	f.SetReadDeadline(time.Now().Add(time.Minute))
	if err := f.ReadMsg(&down); err != nil {
		d.t.Fatalf("reading the ack: %v", err)
	}
	return down.GetAck().GetThroughSeq()
}

func batch(first uint64, n int) *hmpb.Batch {
	b := hmpb.Batch_builder{SpoolEpoch: epochA, FirstSeq: &first}
	for i := range uint32(n) {
		b.Entries = append(b.Entries, hmpb.Entry_builder{Offset: &i, DeviceMs: new(time.Now().UnixMilli()), State: hmpb.State_builder{Readings: []*hmpb.Reading{
			hmpb.Reading_builder{Id: new(uint32(reading.MemoryUsed)), Number: new(int64(first) + int64(i))}.Build(),
		}}.Build()}.Build())
	}
	return b.Build()
}

func (d *device) tally() health.Tally {
	d.t.Helper()
	got, err := d.w.health.Tally(d.t.Context(), system, d.id)
	if err != nil {
		d.t.Fatal(err)
	}
	return got
}

// ending waits for a session's end and gives its code.
func ending(t *testing.T, s wire.Session, most time.Duration) hmpb.Code {
	t.Helper()
	select {
	case <-s.Context().Done():
		return wire.CodeOf(context.Cause(s.Context()))
	case <-time.After(most):
		t.Errorf("session lives on after %v", most)
		return hmpb.Code_CODE_UNSPECIFIED
	}
}

// readEnd reads from a stream until it ends and gives the code of its reset.
func readEnd(t *testing.T, f *wire.Framed) hmpb.Code {
	t.Helper()
	f.SetReadDeadline(time.Now().Add(time.Minute))
	_, err := io.Copy(io.Discard, f)
	return wire.CodeOf(err)
}

// logBook keeps what is logged, for tests of what must and must not be there.
type logBook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logBook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// both runs a test on both transports.
func both(t *testing.T, test func(t *testing.T, transport string)) {
	for _, transport := range []string{"quic", "tcp"} {
		t.Run(transport, func(t *testing.T) { test(t, transport) })
	}
}
