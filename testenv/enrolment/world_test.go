package enrolment

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	agent "hausmeister/agent/enroll"
	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/collector/enroll"
	"hausmeister/collector/fleet"
	"hausmeister/collector/gateway"
	"hausmeister/collector/health"
	"hausmeister/platform/keystore"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
)

var (
	migrations = []db.Migrations{audit.Migrations, fleet.Migrations, enroll.Migrations, health.Migrations}
	operator   = access.System("test")
)

const day = 24 * time.Hour

// world is a collector without its pages, on loopback.
type world struct {
	enroll *enroll.Enroll
	fleet  *fleet.Fleet
	owner  string
	udp    net.Addr
	tcp    net.Addr
	quic   *wire.Endpoint // of the agents

	mu  sync.Mutex
	now time.Time
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func endpoint(t testing.TB) *wire.Endpoint {
	t.Helper()
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	return wire.NewEndpoint(pc, wire.EndpointConfig{})
}

func newWorld(t testing.TB, d *db.DB) *world {
	t.Helper()
	w := &world{now: time.Date(2026, 11, 24, 7, 45, 0, 0, time.UTC)}
	b, log := bus.New(), slog.New(slog.DiscardHandler)
	var err error
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w.fleet, err = fleet.New(fleet.Config{DB: d, Now: w.clock})
	check(err)
	h, err := health.New(health.Config{DB: d, Bus: b, Now: w.clock, Log: log})
	check(err)
	w.enroll, err = enroll.New(t.Context(), enroll.Config{
		DB: d, Bus: b, Records: w.fleet, Dir: filepath.Join(t.TempDir(), "ca"), Address: "localhost:8443", Now: w.clock, Log: log,
	})
	check(err)
	g, err := gateway.New(gateway.Config{Enroll: w.enroll, Health: h, Bus: b, StoreID: d.StoreID(), Now: w.clock, Log: log, AdmitRate: 100_000})
	check(err)
	o, err := w.fleet.AddOwner(t.Context(), operator, "Landkreis Ahorn")
	check(err)
	w.owner = o.ID

	e := endpoint(t)
	udp, err := e.Listen(w.enroll.TLSConfig())
	check(err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	w.udp, w.tcp, w.quic = udp.Addr(), ln.Addr(), endpoint(t)
	ctx, cancel := context.WithCancel(context.Background())
	tcp := &overTCP{ln: ln, conf: w.enroll.TLSConfig()}
	var running sync.WaitGroup
	started := make(chan struct{})
	for name, part := range map[string]func() error{
		"gateway": func() error { return g.Run(ctx, func() { close(started) }) },
		"quic":    func() error { return g.Serve(ctx, udp) },
		"tcp":     func() error { return g.Serve(ctx, tcp) },
	} {
		running.Go(func() {
			if err := part(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	<-started
	t.Cleanup(func() {
		cancel()
		ln.Close()
		running.Wait()
		w.quic.Close()
		e.Close()
	})
	return w
}

// overTCP is a wire.Listener that takes one handshake after the other.
type overTCP struct {
	ln   net.Listener
	conf *tls.Config
}

func (l *overTCP) Accept(ctx context.Context) (wire.Session, error) {
	for {
		conn, err := l.ln.Accept()
		if err != nil {
			return nil, err
		}
		tc := tls.Server(conn, l.conf)
		if tc.HandshakeContext(ctx) != nil {
			conn.Close()
			continue
		}
		return wire.ServeTCP(tc)
	}
}

func (l *overTCP) Addr() net.Addr { return l.ln.Addr() }
func (l *overTCP) Close() error   { return l.ln.Close() }

func (w *world) claim(t testing.TB, n enroll.NewClaim) string {
	t.Helper()
	if n.Owner == "" {
		n.Owner = w.owner
	}
	if n.Cap == 0 {
		n.Cap = 100
	}
	n.Expires = w.clock().Add(30 * day)
	_, text, err := w.enroll.CreateClaim(context.Background(), operator, n)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// device is an agent's identity on a disk in memory.
type device struct {
	*agent.Keeper
	disk *disk
	w    *world
	via  string // "quic" or "tcp"
}

func (w *world) device(t testing.TB, via, serial string) *device {
	t.Helper()
	return w.boot(t, via, serial, &disk{files: map[string][]byte{}, keys: map[string]crypto.Signer{}})
}

func (w *world) boot(t testing.TB, via, serial string, d *disk) *device {
	t.Helper()
	v := &device{disk: d, w: w, via: via}
	var err error
	v.Keeper, err = agent.Open(agent.Config{
		Files: d, Keys: d, Dial: v.dial, Log: slog.New(slog.DiscardHandler),
		Hardware: func(context.Context) ident.Hardware {
			return ident.Hardware{Manufacturer: "LENOVO", Model: "20Y5", Serial: serial, OS: "linux"}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (v *device) dial(ctx context.Context, _ string, conf *tls.Config) (wire.Session, error) {
	if v.via == "quic" {
		return v.w.quic.Dial(ctx, v.w.udp, conf)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", v.w.tcp.String())
	if err != nil {
		return nil, err
	}
	return wire.DialTCP(ctx, conn, conf)
}

// connect says Hello and returns the session and the collector's first answer.
func (v *device) connect(t testing.TB) (wire.Session, *hmpb.ControlDown, error) {
	t.Helper()
	epoch, err := v.RaiseEpoch()
	if err != nil {
		t.Fatal(err)
	}
	s, err := v.dial(t.Context(), "", v.TLSConfig())
	if err != nil {
		return nil, nil, err
	}
	f, err := wire.Open(t.Context(), s, hmpb.StreamType_STREAM_TYPE_CONTROL, hmpb.Hello_builder{
		VersionMin: proto.Uint32(wire.VersionMin), VersionMax: proto.Uint32(wire.VersionMax),
		ConnectionEpoch: &epoch, SpoolEpoch: bytes.Repeat([]byte{1}, 16), BootId: bytes.Repeat([]byte{2}, 16),
		TimeMs: proto.Int64(0), // a clock of 1970
	}.Build())
	if err != nil {
		return s, nil, err
	}
	var down hmpb.ControlDown
	return s, &down, f.ReadMsg(&down)
}

// endsWithin is above what an end takes, which is milliseconds, on a machine that does
// much else; collector/gateway times the ends of revoked sessions.
const endsWithin = time.Minute

// ends waits for the end of a session and returns its code.
func ends(t testing.TB, s wire.Session) hmpb.Code {
	t.Helper()
	select {
	case <-s.Context().Done():
		return wire.CodeOf(context.Cause(s.Context()))
	case <-time.After(endsWithin):
		t.Errorf("the session lives on after %v", endsWithin)
		s.Close(hmpb.Code_CODE_NORMAL, "")
		return hmpb.Code_CODE_UNSPECIFIED
	}
}

type disk struct {
	files map[string][]byte
	keys  map[string]crypto.Signer
}

func (d *disk) copy() *disk { return &disk{files: maps.Clone(d.files), keys: maps.Clone(d.keys)} }

func (d *disk) Read(name string) ([]byte, error) {
	data, ok := d.files[name]
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return data, nil
}

func (d *disk) Write(name string, data []byte) error {
	d.files[name] = bytes.Clone(data)
	return nil
}

func (d *disk) Create(name string) (crypto.Signer, error) {
	k, err := ident.NewKey()
	d.keys[name] = k
	return k, err
}

func (d *disk) Signer(name string) (crypto.Signer, error) {
	k, ok := d.keys[name]
	if !ok {
		return nil, keystore.ErrNoKey
	}
	return k, nil
}

func (d *disk) Delete(name string) error {
	delete(d.keys, name)
	return nil
}

func (d *disk) Names() ([]string, error) { return slices.Sorted(maps.Keys(d.keys)), nil }
