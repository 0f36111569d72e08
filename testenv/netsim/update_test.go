package netsim_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/agent/update/fetch"
	"hausmeister/collector/access"
	"hausmeister/collector/bus"
	"hausmeister/collector/enroll"
	"hausmeister/collector/gateway"
	"hausmeister/collector/health"
	"hausmeister/collector/pace"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
	"hausmeister/testenv/netsim"
)

// everybody lets each session in as a device of its own, and takes reports.
type everybody struct {
	gateway.Enroll
	gateway.Health

	mu sync.Mutex
	n  int // guarded by mu
}

func (e *everybody) Authenticate(context.Context, tls.ConnectionState) (enroll.Peer, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.n++
	return enroll.Peer{May: enroll.MayAll, Device: fmt.Sprint("device ", e.n), Owner: "owner"}, nil
}
func (e *everybody) Connect(context.Context, enroll.Peer, uint64) error { return nil }
func (e *everybody) TrustRoots() [][]byte                               { return nil }
func (e *everybody) Begin(context.Context, access.Caller, int64, []byte, string) (uint64, error) {
	return 0, nil
}
func (e *everybody) End(context.Context, access.Caller, int64) error { return nil }
func (e *everybody) Settings(context.Context, access.Caller) (*hmpb.Settings, error) {
	return &hmpb.Settings{}, nil
}
func (e *everybody) LooksAfter(context.Context, access.Caller, string) ([]health.Look, error) {
	return nil, nil
}

// oneUpdate is a rollout of one file to one school.
type oneUpdate struct {
	gateway.Updates
	file []byte
	line pace.Line
}

func (u *oneUpdate) Repository(context.Context) (*hmpb.Repository, error) {
	return &hmpb.Repository{}, nil
}
func (u *oneUpdate) Offer(context.Context, access.Caller, string, []byte, []string) (*hmpb.Offer, error) {
	return nil, nil
}
func (u *oneUpdate) Target(context.Context, access.Caller, string, []byte) (pace.Content, error) {
	return pace.Content{ReaderAt: bytes.NewReader(u.file), Size: int64(len(u.file)), Line: u.line}, nil
}

// pupil is a device that fetches, with a session of its own.
type pupil struct {
	endpoint *wire.Endpoint
	dial     func(*wire.Endpoint) (wire.Session, error)

	mu      sync.Mutex
	session wire.Session // guarded by mu; nil = none
}

func (p *pupil) open(ctx context.Context, h *hmpb.FetchHeader) (*wire.Framed, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session == nil || p.session.Context().Err() != nil {
		s, err := p.dial(p.endpoint)
		if err != nil {
			return nil, err
		}
		p.session = s
	}
	return wire.Open(ctx, p.session, hmpb.StreamType_STREAM_TYPE_FETCH, h)
}

func (p *pupil) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session != nil {
		p.session.Close(hmpb.Code_CODE_NORMAL, "")
	}
}

// A hundred devices of one school fetch at once, some of whose sessions end in the
// middle, over lines that lose packets. Nobody goes another way. What the collector
// puts on the line, with all headers and what was lost, stays under the school's
// share in every span of time; all get their update, none much later than the line
// needs for all of them.
func TestAttack22AHundredBehindOneLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const devices, size, rate = 100, 160 << 10, 250_000
		network := netsim.New(netsim.Config{Seed: 22, Latency: 15 * time.Millisecond})
		defer network.Close()
		ca, err := ident.NewAuthority(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		host := network.Host("192.0.2.1")
		endpoint := func(h *netsim.Host, port uint16) *wire.Endpoint {
			pc, err := h.ListenPacket(port)
			if err != nil {
				t.Fatal(err)
			}
			return wire.NewEndpoint(pc, wire.EndpointConfig{})
		}
		collector := endpoint(host, port)
		defer collector.Close()
		ln, err := collector.Listen(ident.CollectorConfig(sync.OnceValues(func() (*tls.Certificate, error) { return ca.IssueServer([]string{"c"}, time.Now()) })))
		if err != nil {
			t.Fatal(err)
		}
		u := &oneUpdate{file: make([]byte, size), line: pace.Line{Key: "school", Rate: rate}}
		rand.NewChaCha8([32]byte{22}).Read(u.file)
		e := &everybody{}
		g, err := gateway.New(gateway.Config{Enroll: e, Health: e, Updates: u, Bus: bus.New(), StoreID: []byte("store"), Now: time.Now, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		var serving sync.WaitGroup
		serving.Go(func() { g.Serve(ctx, ln) })
		conf := ident.AgentConfig(ident.AgentTLS{Pins: []ident.Fingerprint{ident.FingerprintOf(ca.Root)}, ServerName: "c", Trusted: time.Now})
		dial := func(from *wire.Endpoint) (wire.Session, error) { return comeIn(ctx, from, host.Addr(port), conf) }
		pupils := make([]*pupil, devices)
		for i := range pupils {
			h := network.Host(fmt.Sprintf("198.51.100.%d", i+1))
			h.Set(netsim.Weather{LossDown: 0.005, LossUp: 0.005})
			pupils[i] = &pupil{endpoint: endpoint(h, 0), dial: dial}
			defer pupils[i].endpoint.Close()
			if pupils[i].session, err = dial(pupils[i].endpoint); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(30 * time.Second) // until the handshakes are over and forgotten

		// The line, looked at each tenth of a second.
		const look = 100 * time.Millisecond
		var line []int64
		watching, done := sync.WaitGroup{}, make(chan struct{})
		watching.Go(func() {
			tick := time.NewTicker(look)
			defer tick.Stop()
			for {
				line = append(line, host.Sent())
				select {
				case <-tick.C:
				case <-done:
					return
				}
			}
		})
		begun, sum := time.Now(), sha256.Sum256(u.file)
		took, cost := make([]time.Duration, devices), make([]int64, devices)
		var fetching sync.WaitGroup
		for i, p := range pupils {
			fetching.Go(func() {
				random := rand.New(rand.NewPCG(22, uint64(i)))
				c := fetch.New(fetch.Config{Open: p.open, Random: random.Float64, Log: slog.New(slog.DiscardHandler), Page: func(context.Context) (net.Conn, string, error) {
					t.Errorf("device %d asks by HTTPS after %v, past the school's share", i, time.Since(begun))
					return nil, "", errors.New("no pages here")
				}})
				part := &bytesPart{}
				for {
					n, err := c.Target(ctx, fetch.Target{SHA256: sum[:], Length: size, Lease: "lease"}, part)
					cost[i] += n
					var later *fetch.ComeBack
					if errors.As(err, &later) { // as agent/update does
						time.Sleep(later.After)
						continue
					}
					if err != nil {
						t.Errorf("device %d after %v: %v", i, time.Since(begun), err)
					}
					break
				}
				took[i] = time.Since(begun)
				if !bytes.Equal(part.data, u.file) {
					t.Errorf("device %d has %d bytes", i, len(part.data))
				}
			})
			if i%10 == 3 {
				fetching.Go(func() { time.Sleep(time.Duration(i) * 700 * time.Millisecond); p.hangUp() })
			}
		}
		fetching.Wait()
		close(done)
		watching.Wait()

		needed := devices * size / rate * 17 / 16 * time.Second
		for _, span := range []time.Duration{time.Second, 5 * time.Second, 30 * time.Second} {
			n := int(span / look)
			// A session that begins anew brings its certificates beside.
			most := int64(rate*(span+100*time.Millisecond).Seconds()) + 2*6000 + 8<<10
			worst := int64(0)
			for i := n; i < len(line); i++ {
				worst = max(worst, line[i]-line[i-n])
			}
			t.Logf("in %v: %d bytes at most, %.0f %% of the share", span, worst, 100*float64(worst)/rate/span.Seconds())
			if worst > most {
				t.Errorf("%d bytes in %v, want at most %d", worst, span, most)
			}
		}
		slices.Sort(took)
		slices.Sort(cost)
		t.Logf("line needs %v: half had it after %v, the last after %v; a device fetched %d bytes at most for %d", needed, took[devices/2], took[devices-1], cost[devices-1], size)
		if took[devices-1] > 2*needed {
			t.Errorf("the last had it after %v, the line needs %v for all", took[devices-1], needed)
		}
		if cost[devices-1] > size {
			t.Errorf("%d bytes fetched for a file of %d, though sessions only ended", cost[devices-1], size)
		}
		for _, p := range pupils {
			p.hangUp()
		}
		time.Sleep(time.Second)
		stop()
		serving.Wait()
	})
}

// comeIn opens a session and says Hello.
func comeIn(ctx context.Context, from *wire.Endpoint, to net.Addr, conf *tls.Config) (wire.Session, error) {
	s, err := from.Dial(ctx, to, conf)
	if err != nil {
		return nil, err
	}
	hello := hmpb.Hello_builder{VersionMin: new(uint32(1)), VersionMax: new(uint32(1)), SpoolEpoch: make([]byte, 16)}.Build()
	control, err := wire.Open(ctx, s, hmpb.StreamType_STREAM_TYPE_CONTROL, hello)
	if err != nil {
		return nil, err
	}
	var down hmpb.ControlDown
	if err := control.ReadMsg(&down); err != nil {
		return nil, err
	}
	if !down.HasWelcome() {
		return nil, fmt.Errorf("answer to Hello %v", &down)
	}
	return s, nil
}

// bytesPart is a fetch.Part in memory.
type bytesPart struct{ data, state []byte }

func (p *bytesPart) ReadAt(b []byte, off int64) (int, error) {
	return bytes.NewReader(p.data).ReadAt(b, off)
}
func (p *bytesPart) WriteAt(b []byte, off int64) (int, error) {
	p.data = append(p.data[:off], b...)
	return len(b), nil
}
func (p *bytesPart) Size() (int64, error)    { return int64(len(p.data)), nil }
func (p *bytesPart) Truncate(n int64) error  { p.data = p.data[:n]; return nil }
func (p *bytesPart) Sync() error             { return nil }
func (p *bytesPart) State() ([]byte, error)  { return p.state, nil }
func (p *bytesPart) SetState(s []byte) error { p.state = bytes.Clone(s); return nil }
