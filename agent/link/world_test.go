package link_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/agent/link"
	"hausmeister/agent/spool"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
	"hausmeister/testenv/fault"
	"hausmeister/testenv/netsim"
)

// identity is a device's.
type identity struct {
	conf *tls.Config

	mu sync.Mutex
	// below is guarded by mu
	none    bool
	epoch   uint64
	full    error // of the state folder
	trusted time.Time
	due     bool
	renewed int
	renew   func() error
	roots   []announcement
}

func newIdentity(t *testing.T, ca *ident.Authority) *identity {
	key, err := ident.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return &identity{conf: agentTLS(t, ca, key, time.Now())}
}

func agentTLS(t *testing.T, ca *ident.Authority, key *ecdsa.PrivateKey, now time.Time) *tls.Config {
	leaf, err := ca.IssueDevice(key.Public(), ident.NewID(now), now)
	if err != nil {
		t.Fatal(err)
	}
	return ident.AgentConfig(ident.AgentTLS{
		Pins:        []ident.Fingerprint{ident.FingerprintOf(ca.Root)},
		ServerName:  "collector.example",
		Trusted:     func() time.Time { return now },
		Certificate: &tls.Certificate{Certificate: ca.Chain(leaf), PrivateKey: key, Leaf: leaf},
	})
}

func (i *identity) TLSConfig() *tls.Config {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.none {
		return nil
	}
	return i.conf
}

func (i *identity) RaiseEpoch() (uint64, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.full != nil {
		return 0, i.full
	}
	i.epoch++
	return i.epoch, nil
}

func (i *identity) Trust(t time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.trusted = t
}

// announcement is what SetRoots was called with.
type announcement struct {
	roots [][]byte
	cs    tls.ConnectionState
}

func (i *identity) SetRoots(roots [][]byte, cs tls.ConnectionState) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.roots = append(i.roots, announcement{roots, cs})
	return nil
}

func (i *identity) announced() []announcement {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.roots)
}

func (i *identity) NeedsRenewal() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.due
}

func (i *identity) Renew(ctx context.Context, s wire.Session) error {
	i.mu.Lock()
	renew := i.renew
	i.mu.Unlock()
	f, err := wire.Open(ctx, s, hmpb.StreamType_STREAM_TYPE_RENEW, &hmpb.RenewHeader{})
	if err != nil {
		return err
	}
	if err := f.Finish(5 * time.Second); err != nil {
		return err
	}
	if renew != nil {
		if err := renew(); err != nil {
			return err
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.due = false
	i.renewed++
	return nil
}

// memory remembers the store id.
type memory struct {
	mu sync.Mutex
	id []byte
}

func (m *memory) StoreID() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.id
}

func (m *memory) SetStoreID(id []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.id = bytes.Clone(id)
	return nil
}

// world is a device and its collector on a network.
type world struct {
	*testing.T
	outer     *testing.T // which the tests' own closures fail
	net       *netsim.Network
	device    *netsim.Host
	collector *collector
	identity  *identity
	disk      *fault.Disk
	spool     *spool.Spool
	endpoint  *wire.Endpoint
	link      *link.Link
	config    link.Config
	log       *bytes.Buffer

	cancel context.CancelFunc
	ended  chan error
	n      int
	dials  []time.Time
}

// newWorld must be called in a bubble. Its collector and link do not run yet.
func newWorld(t *testing.T) *world {
	w := &world{T: t, net: netsim.New(netsim.Config{Seed: 1, Latency: 25 * time.Millisecond}), log: &bytes.Buffer{}}
	ca, err := ident.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w.device = w.net.Host("192.0.2.1")
	w.collector = newCollector(t, ca, w.net.Host("192.0.2.2"))
	w.identity = newIdentity(t, ca)
	w.disk = fault.NewDisk()
	pc, err := w.device.ListenPacket(0)
	if err != nil {
		t.Fatal(err)
	}
	w.endpoint = wire.NewEndpoint(pc, wire.EndpointConfig{})
	w.openSpool()
	w.config = link.Config{
		Dialer: link.DialFunc(func(ctx context.Context, conf *tls.Config) (wire.Session, error) {
			w.collector.set(func() { w.dials = append(w.dials, time.Now()) })
			return w.endpoint.Dial(ctx, w.collector.host.Addr(port), conf)
		}),
		Identity: w.identity, Memory: &memory{},
		About: link.About{Version: "1.2.3", Hash: make([]byte, 32), BootID: []byte("boot 00000000001"), Capabilities: []string{"state"}},
		Log:   slog.New(slog.NewTextHandler(&lockedWriter{w: w.log}, nil)),
	}
	return w
}

type lockedWriter struct {
	mu sync.Mutex
	w  *bytes.Buffer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func (w *world) openSpool() {
	w.Helper()
	s, err := spool.Open(spool.Config{Disk: w.disk, MaxBytes: 1 << 20})
	if err != nil {
		w.Fatal(err)
	}
	w.spool = s
}

// run starts the link; stop ends it.
func (w *world) run() {
	w.Helper()
	w.config.Spool = w.spool
	w.link = link.New(w.config)
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel, w.ended = cancel, make(chan error, 1)
	go func() { w.ended <- w.link.Run(ctx, func() {}) }()
}

// stop ends the link and says how long that took.
func (w *world) stop() time.Duration {
	w.Helper()
	began := time.Now()
	w.cancel()
	w.cancel = nil
	select {
	case err := <-w.ended:
		if err != nil {
			w.Errorf("Run = %v, want nil at the end of its context", err)
		}
	case <-time.After(time.Minute):
		w.Fatal("Run does not end")
	}
	if st := w.link.Status().State; st != link.Stopped {
		w.Errorf("State = %s after Run, want %s", st, link.Stopped)
	}
	return time.Since(began)
}

// close ends the world; a goroutine that is left makes the bubble fail.
func (w *world) close() {
	w.Helper()
	if w.cancel != nil {
		w.stop()
	}
	if w.collector.endpoint != nil {
		w.collector.stop()
	}
	w.endpoint.Close()
	w.net.Close()
	if w.Failed() || w.outer.Failed() {
		w.Logf("log of the link:\n%s", w.log)
	}
}

// add appends n reports.
func (w *world) add(n int) {
	w.Helper()
	for range n {
		w.n++
		text := fmt.Sprintf("report %d", w.n)
		r := hmpb.Reading_builder{Id: proto.Uint32(1), Text: &text, Instance: proto.String(strings.Repeat("x", 200))}.Build()
		e := hmpb.Entry_builder{State: hmpb.State_builder{Readings: []*hmpb.Reading{r}}.Build()}.Build()
		if _, err := w.spool.Append(context.Background(), e); err != nil {
			w.Fatal(err)
		}
	}
}

// all are the texts of everything that was added.
func (w *world) all() []string {
	var texts []string
	for i := range w.n {
		texts = append(texts, fmt.Sprintf("report %d", i+1))
	}
	return texts
}

// until waits for a condition and says how long that took.
func (w *world) until(what string, most time.Duration, is func() bool) time.Duration {
	w.Helper()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if is() {
			return time.Since(began)
		}
		if time.Since(began) > most {
			w.Fatalf("%s: not within %v; status %+v\nlog:\n%s", what, most, w.link.Status(), w.log)
		}
	}
}

func (w *world) connected() bool { return w.link.Status().State == link.Connected }

func (w *world) toldAll() bool { return len(w.collector.texts()) == w.n }
