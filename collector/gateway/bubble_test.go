package gateway_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/bus"
	"hausmeister/collector/enroll"
	"hausmeister/collector/gateway"
	"hausmeister/collector/health"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
	"hausmeister/testenv/netsim"
)

// What depends on time runs in a bubble: QUIC over a network in memory, with
// subjects that answer as the test says.

// subjects stand for enroll and health.
type subjects struct {
	may     enroll.May
	device  func(n int) string // of the nth session
	connect error
	begin   error
	ingest  func(n int) error
	revoked map[string]bool
	end     func() error // called with mu held

	mu sync.Mutex
	// below is guarded by mu
	sessions, batches int
	begun, ended      []int64
}

func (f *subjects) Authenticate(context.Context, tls.ConnectionState) (enroll.Peer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sessions++
	p := enroll.Peer{May: f.may, Device: "device", Owner: "owner"}
	if f.device != nil {
		p.Device = f.device(f.sessions)
	}
	if f.revoked[p.Device] {
		return p, &wire.Error{Code: hmpb.Code_CODE_REVOKED}
	}
	return p, nil
}

func (f *subjects) Connect(context.Context, enroll.Peer, uint64) error { return f.connect }
func (f *subjects) ServeEnroll(ctx context.Context, _ wire.Session, s *wire.Framed) error {
	return s.ReadMsg(&hmpb.EnrollHeader{})
}
func (f *subjects) ServeRenew(ctx context.Context, _ wire.Session, s *wire.Framed, _ enroll.Peer) error {
	return s.ReadMsg(&hmpb.RenewHeader{})
}
func (f *subjects) TrustRoots() [][]byte { return nil }

func (f *subjects) Settings(context.Context, access.Caller) (*hmpb.Settings, error) {
	return &hmpb.Settings{}, nil
}

func (f *subjects) LooksAfter(context.Context, access.Caller, string) ([]health.Look, error) {
	return nil, nil
}

func (f *subjects) Begin(_ context.Context, _ access.Caller, session int64, _ []byte, _ string) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.begun = append(f.begun, session)
	return 0, f.begin
}

func (f *subjects) End(_ context.Context, _ access.Caller, session int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.end != nil {
		if err := f.end(); err != nil {
			return err
		}
	}
	f.ended = append(f.ended, session)
	return nil
}

func (f *subjects) Ingest(_ context.Context, _ access.Caller, b *hmpb.Batch) (*hmpb.ReportDown, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.batches++
	if f.ingest != nil {
		if err := f.ingest(f.batches); err != nil {
			return nil, err
		}
	}
	last := b.GetFirstSeq() + uint64(len(b.GetEntries())) - 1
	return hmpb.ReportDown_builder{Ack: hmpb.Ack_builder{ThroughSeq: &last}.Build()}.Build(), nil
}

// bubble is a gateway on a network in memory inside a synctest bubble.
type bubble struct {
	*gateway.Gateway
	t      *testing.T
	bus    *bus.Bus
	ca     *ident.Authority
	device *wire.Endpoint
	server net.Addr
	stop   context.CancelFunc
	wg     sync.WaitGroup
}

func inBubble(t *testing.T, f *subjects, change func(*gateway.Config), test func(t *testing.T, b *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if f.may == 0 {
			f.may = enroll.MayAll
		}
		b := &bubble{t: t, bus: bus.New()}
		network := netsim.New(netsim.Config{Latency: 5 * time.Millisecond})
		defer network.Close()
		endpoint := func(addr string) *wire.Endpoint {
			pc, err := network.Host(addr).ListenPacket(8443)
			if err != nil {
				t.Fatal(err)
			}
			return wire.NewEndpoint(pc, wire.EndpointConfig{})
		}
		collector := endpoint("192.0.2.1")
		defer collector.Close()
		b.device, b.server = endpoint("198.51.100.1"), collector.LocalAddr()
		defer b.device.Close()
		var err error
		if b.ca, err = ident.NewAuthority(time.Now()); err != nil {
			t.Fatal(err)
		}
		ln, err := collector.Listen(ident.CollectorConfig(sync.OnceValues(func() (*tls.Certificate, error) {
			return b.ca.IssueServer([]string{"c"}, time.Now())
		})))
		if err != nil {
			t.Fatal(err)
		}
		cfg := gateway.Config{Enroll: f, Health: f, Bus: b.bus, StoreID: []byte("store"), Now: time.Now, Log: slog.New(slog.DiscardHandler)}
		if change != nil {
			change(&cfg)
		}
		if b.Gateway, err = gateway.New(cfg); err != nil {
			t.Fatal(err)
		}
		var ctx context.Context
		ctx, b.stop = context.WithCancel(context.Background())
		b.wg.Go(func() { b.Run(ctx, func() {}) })
		b.wg.Go(func() {
			if err := b.Serve(ctx, ln); err != nil {
				t.Errorf("Serve = %v", err)
			}
		})
		test(t, b)
		b.stop()
		b.wg.Wait()
	})
}

func (b *bubble) dial() wire.Session {
	b.t.Helper()
	conf := ident.AgentConfig(ident.AgentTLS{Pins: []ident.Fingerprint{ident.FingerprintOf(b.ca.Root)}, ServerName: "c", Trusted: time.Now})
	s, err := b.device.Dial(context.Background(), b.server, conf)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func (b *bubble) open() (wire.Session, *wire.Framed, *hmpb.ControlDown) {
	b.t.Helper()
	s := b.dial()
	hello := hmpb.Hello_builder{VersionMin: new(uint32(1)), VersionMax: new(uint32(1)), SpoolEpoch: epochA}.Build()
	control, err := wire.Open(context.Background(), s, hmpb.StreamType_STREAM_TYPE_CONTROL, hello)
	if err != nil {
		b.t.Fatal(err)
	}
	var down hmpb.ControlDown
	if err := control.ReadMsg(&down); err != nil {
		b.t.Fatalf("reading the answer to Hello: %v", err)
	}
	return s, control, &down
}

func (b *bubble) in() (wire.Session, *wire.Framed) {
	b.t.Helper()
	s, control, down := b.open()
	if down.WhichKind() != hmpb.ControlDown_Welcome_case {
		b.t.Fatalf("answer to Hello %v, want a Welcome", down)
	}
	return s, control
}

func (b *bubble) wantEnd(s wire.Session, after, slack time.Duration, want hmpb.Code) {
	b.t.Helper()
	begin := time.Now()
	select {
	case <-s.Context().Done():
	case <-time.After(after + time.Hour): // a session that is kept alive never ends by itself, nor would the test
		b.t.Fatalf("session lives on after %v, want it ended after %v", time.Since(begin), after)
	}
	if code := wire.CodeOf(context.Cause(s.Context())); code != want {
		b.t.Errorf("session ended with %s, want %s", code, want)
	}
	if took := time.Since(begin); took < after || took > after+slack {
		b.t.Errorf("session ended after %v, want %v", took, after)
	}
}
