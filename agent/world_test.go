package agent_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/agent"
	"hausmeister/agent/enroll"
	"hausmeister/agent/link/path"
	"hausmeister/platform/sysinfo"
	"hausmeister/platform/wake"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
	"hausmeister/testenv/fakes"
	"hausmeister/testenv/fault"
	"hausmeister/testenv/netsim"
)

const device = "01890a5d-ac96-774b-bcce-b302099a8057"

// world is one device with its whole agent, and a collector that takes everything.
type world struct {
	*testing.T
	outer    *testing.T // which the tests' own closures fail
	net      *netsim.Network
	host     *netsim.Host
	far      *netsim.Host
	endpoint *wire.Endpoint
	server   *wire.Endpoint
	files    *fakes.Disk
	keys     *fakes.Keys
	disk     *fault.Disk
	config   agent.Config
	agent    *agent.Agent
	log      bytes.Buffer
	logMu    sync.Mutex

	mu sync.Mutex
	// below is guarded by mu
	entries      []*hmpb.Entry // that the collector stored
	samples      []*hmpb.LiveUp
	control      *wire.Framed // of the newest session
	settings     *hmpb.Settings
	restored     string // names another store of the collector's
	cursor       uint64
	lost         uint64 // named as dropped
	public       map[string][]byte
	writes       int
	reads        int
	events       chan wake.Event
	serving      sync.WaitGroup
	cancel       context.CancelFunc
	ended        chan error
	ca           *ident.Authority
	devices      []string // of each session's certificate
	capabilities []string // of the last Hello
	// lastLooks are what each session's Hello named.
	lastLooks []string
}

func newWorld(t *testing.T) *world {
	w := &world{
		T: t, net: netsim.New(netsim.Config{Seed: 3, Latency: 20 * time.Millisecond}),
		files: fakes.NewDisk(), keys: fakes.NewKeys(), disk: fault.NewDisk(),
		public: map[string][]byte{}, events: make(chan wake.Event, 1),
	}
	var err error
	if w.ca, err = ident.NewAuthority(time.Now()); err != nil {
		t.Fatal(err)
	}
	w.host, w.far = w.net.Host("192.0.2.1"), w.net.Host("192.0.2.2")
	w.endpoint = w.open(w.host, 0)
	w.serve()
	machine := fakes.NewMachine(1, time.Now)
	w.config = agent.Config{
		Version: "1.2.3", Disk: w.disk, Files: w.files, Open: w.keeper,
		Dial: path.New(path.Config{Endpoint: w.endpoint, Lookup: func(context.Context, string) ([]netip.Addr, error) {
			// The first leads nowhere, as IPv6 does in many a school.
			return []netip.Addr{netip.MustParseAddr("2001:db8::9"), netip.MustParseAddr("192.0.2.2")}, nil
		}}).Dial,
		Source:  source(func(ctx context.Context) sysinfo.Snapshot { w.count(&w.reads); return machine.Read(ctx) }),
		Watcher: w,
		Publish: func(name string, data []byte) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.public[name] = bytes.Clone(data)
			w.writes++
			return nil
		},
		Log: slog.New(slog.NewTextHandler(w, nil)),
	}
	return w
}

type source func(context.Context) sysinfo.Snapshot

func (s source) Read(ctx context.Context) sysinfo.Snapshot { return s(ctx) }

func (w *world) Write(b []byte) (int, error) {
	w.logMu.Lock()
	defer w.logMu.Unlock()
	return w.log.Write(b)
}

func (w *world) count(n *int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*n++
}

// Run and Events make the world the agent's Watcher.
func (w *world) Run(ctx context.Context, ready func()) error {
	ready()
	<-ctx.Done()
	return nil
}
func (w *world) Events() <-chan wake.Event { return w.events }

func (w *world) open(h *netsim.Host, port uint16) *wire.Endpoint {
	pc, err := h.ListenPacket(port)
	if err != nil {
		w.Fatal(err)
	}
	return wire.NewEndpoint(pc, wire.EndpointConfig{})
}

func (w *world) keeper() (*enroll.Keeper, error) {
	return enroll.Open(enroll.Config{Files: w.files, Keys: w.keys, BuildTime: time.Now().Add(-time.Hour), Log: slog.New(slog.DiscardHandler)})
}

// enrol puts an identity into the state folder, as another process would.
func (w *world) enrol() { w.enrolAs(device, "device-1") }

func (w *world) enrolAs(device, name string) {
	key, err := w.keys.Create(name)
	if err != nil {
		w.Fatal(err)
	}
	leaf, err := w.ca.IssueDevice(key.Public(), device, time.Now())
	if err != nil {
		w.Fatal(err)
	}
	body, err := json.Marshal(map[string]any{
		"device": device, "address": "collector.example:443", "host": "collector.example", "key": name,
		"claim": hex.EncodeToString([]byte("claim")), "chain": w.ca.Chain(leaf), "roots": [][]byte{w.ca.Root.Raw},
	})
	if err == nil {
		err = w.files.Write("identity", append([]byte("hausmeister identity 1\n"), body...))
	}
	if err != nil {
		w.Fatal(err)
	}
}

// serve is the collector.
func (w *world) serve() {
	cert, err := w.ca.IssueServer([]string{"collector.example"}, time.Now())
	if err != nil {
		w.Fatal(err)
	}
	w.server = w.open(w.far, 443)
	ln, err := w.server.Listen(ident.CollectorConfig(func() (*tls.Certificate, error) { return cert, nil }))
	if err != nil {
		w.Fatal(err)
	}
	w.serving.Go(func() {
		for {
			s, err := ln.Accept(context.Background())
			if err != nil {
				return
			}
			w.serving.Go(func() {
				for {
					t, f, err := wire.Accept(context.Background(), s)
					if err != nil {
						return
					}
					w.serving.Go(func() { w.stream(s, t, f) })
				}
			})
		}
	})
}

func (w *world) stream(s wire.Session, t hmpb.StreamType, f *wire.Framed) {
	now := func() *int64 { return proto.Int64(time.Now().UnixMilli()) }
	if t == hmpb.StreamType_STREAM_TYPE_CONTROL {
		var hello hmpb.Hello
		if f.ReadMsg(&hello) != nil {
			return
		}
		w.mu.Lock()
		w.devices = append(w.devices, s.ConnectionState().PeerCertificates[0].URIs[0].String())
		w.lastLooks = append(w.lastLooks, hello.GetLastLook())
		w.capabilities = hello.GetCapabilities()
		w.control = f
		welcome := hmpb.Welcome_builder{Settings: w.settings, Version: proto.Uint32(1), TimeMs: now(), StoreId: []byte("store" + w.restored), Cursor: proto.Uint64(w.cursor)}.Build()
		w.mu.Unlock()
		f.WriteMsg(hmpb.ControlDown_builder{Welcome: welcome}.Build())
		for f.ReadMsg(&hmpb.ControlUp{}) == nil {
		}
		s.Close(hmpb.Code_CODE_NORMAL, "")
		return
	}
	if t == hmpb.StreamType_STREAM_TYPE_LIVE {
		w.live(f)
		return
	}
	if f.ReadMsg(&hmpb.ReportHeader{}) != nil {
		return
	}
	for {
		b, err := f.ReadBatch()
		if err != nil {
			return
		}
		w.mu.Lock()
		for _, r := range b.GetDropped() {
			w.lost += r.GetTo() - r.GetFrom() + 1
		}
		for _, e := range b.GetEntries() {
			if seq := b.GetFirstSeq() + uint64(e.GetOffset()); seq > w.cursor {
				w.cursor = seq
				w.entries = append(w.entries, e)
			}
		}
		through := w.cursor
		w.mu.Unlock()
		f.WriteMsg(hmpb.ReportDown_builder{Ack: hmpb.Ack_builder{ThroughSeq: &through, TimeMs: now()}.Build()}.Build())
	}
}

func (w *world) run() {
	w.agent = agent.New(w.config)
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel, w.ended = cancel, make(chan error, 1)
	go func() { w.ended <- w.agent.Run(ctx) }()
}

func (w *world) stop() {
	w.Helper()
	w.cancel()
	w.cancel = nil
	select {
	case err := <-w.ended:
		if err != nil {
			w.Errorf("Run = %v", err)
		}
	case <-time.After(10 * time.Second):
		w.Fatal("Run does not end")
	}
}

func (w *world) close() {
	if w.cancel != nil {
		w.stop()
	}
	w.server.Close()
	w.serving.Wait()
	w.endpoint.Close()
	w.net.Close()
	if w.Failed() || w.outer.Failed() {
		w.Logf("log:\n%s", w.log.String())
	}
}

func (w *world) logged() string {
	w.logMu.Lock()
	defer w.logMu.Unlock()
	return w.log.String()
}

// status reads the public file.
func (w *world) status() (st agent.Status) {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := json.Unmarshal(w.public[agent.StatusFile], &st); err != nil {
		w.Fatal(err)
	}
	return st
}

func (w *world) stored() []*hmpb.Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.entries
}

func (w *world) told() int { return len(w.stored()) }

func (w *world) numbers() (writes, reads int, lost uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.writes, w.reads, w.lost
}

func in(outer *testing.T, f func(*world)) {
	synctest.Test(outer, func(t *testing.T) {
		w := newWorld(t)
		w.outer = outer
		defer w.close()
		f(w)
	})
}
