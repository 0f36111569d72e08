package agent_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/agent"
	"hausmeister/agent/enroll"
	"hausmeister/agent/link"
	"hausmeister/agent/link/path"
	"hausmeister/agent/spool"
	"hausmeister/platform/sysinfo"
	"hausmeister/platform/wake"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/reading"
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

func TestTellsAndShowsWhatItTold(t *testing.T) {
	in(t, func(w *world) {
		w.enrol()
		w.run()
		time.Sleep(20 * time.Second)
		if w.told() != 1 {
			t.Fatalf("%d reports after 20 s, want 1", w.told())
		}
		st := w.status()
		if st.State != link.Connected || st.Device != device || st.Collector != "collector.example:443" || st.SpoolWaiting != 0 || st.SpoolEntries != 1 || st.Version != "1.2.3" {
			t.Errorf("status %+v", st)
		}
		time.Sleep(time.Hour)
		sent := w.stored()
		i := len(sent) - 1
		for !sent[i].HasState() {
			i--
		}
		checkLastReport(t, w, sent[i])
		w.stop()
		if st := w.status(); st.State != link.Stopped {
			t.Errorf("status after the end: %+v", st)
		}
	})
}

// checkLastReport compares the public file with what arrived, value by value.
func checkLastReport(t *testing.T, w *world, e *hmpb.Entry) {
	t.Helper()
	var r agent.Report
	w.mu.Lock()
	err := json.Unmarshal(w.public[agent.LastReportFile], &r)
	w.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	readings := e.GetState().GetReadings()
	if len(readings) != len(r.Readings) || len(readings) < 10 || r.State.DeviceTime.UnixMilli() != e.GetDeviceMs() {
		t.Fatalf("file has %d readings of %v, sent were %d of %d", len(r.Readings), r.State.DeviceTime, len(readings), e.GetDeviceMs())
	}
	for i, m := range readings {
		got := r.Readings[i]
		row, _ := reading.ByID(m.GetId())
		if got.Name != row.Name || got.Instance != m.GetInstance() || got.Unit != row.Unit || got.WordDE != row.Word.DE || got.WordEN == "" {
			t.Errorf("reading %d: %+v, sent was %s", i, got, row.Name)
		}
		switch {
		case m.HasNumber() && (got.Number == nil || *got.Number != m.GetNumber()),
			m.HasText() && (got.Text == nil || *got.Text != m.GetText()),
			m.HasAbsent() && got.Absent != m.GetAbsent().String():
			t.Errorf("reading %s: file says %+v, sent was %v", row.Name, got, m)
		}
	}
}

func TestWaitsForIdentity(t *testing.T) {
	in(t, func(w *world) {
		ready := make(chan struct{}, 2)
		w.config.Ready = func() { ready <- struct{}{} }
		w.run()
		<-ready
		time.Sleep(time.Hour)
		if st := w.status(); st.State != agent.StateNotEnrolled {
			t.Errorf("status %+v, want %s", st, agent.StateNotEnrolled)
		}
		writes, reads, _ := w.numbers()
		if reads != 0 || writes != 1 || w.disk.Bytes() != 0 {
			t.Errorf("before enrolment: %d readings, %d public writes, %d bytes in the spool; want 0, 1, 0", reads, writes, w.disk.Bytes())
		}
		if n := strings.Count(w.logged(), "not enrolled"); n != 1 {
			t.Errorf("%d log lines about it, want 1", n)
		}
		w.enrol()
		time.Sleep(time.Minute)
		if w.told() == 0 {
			t.Error("no report after the device was enrolled")
		}
	})
}

func TestWaitEndsWithContext(t *testing.T) {
	in(t, func(w *world) {
		w.run()
		time.Sleep(time.Second)
		w.stop()
	})
}

// TestFullDisk: the agent goes on, says so, and names what was lost.
func TestFullDisk(t *testing.T) {
	in(t, func(w *world) {
		w.enrol()
		w.run()
		time.Sleep(10 * time.Minute)
		before := w.told()
		for range 120 {
			w.disk.Space(0) // what the spool frees, somebody else takes
			time.Sleep(30 * time.Second)
		}
		st := w.agent.Status()
		if !st.SpoolFailing || st.State != link.Connected {
			t.Errorf("status on a full disk: %+v", st)
		}
		if !strings.Contains(w.logged(), "no space left") {
			t.Error("the log does not say that the disk is full")
		}
		w.disk.Space(-1)
		time.Sleep(10 * time.Minute)
		if st := w.agent.Status(); st.SpoolFailing || st.SpoolDropped == 0 {
			t.Errorf("status after space was made: %+v", st)
		}
		_, _, lost := w.numbers()
		if w.told() <= before || lost != w.agent.Status().SpoolDropped {
			t.Errorf("%d reports before and %d after; collector knows of %d lost, agent of %d", before, w.told(), lost, w.agent.Status().SpoolDropped)
		}
	})
}

// TestStateFolderFull: no connection epoch, no session; but nothing ends.
func TestStateFolderFull(t *testing.T) {
	in(t, func(w *world) {
		w.enrol()
		full := &fullFiles{Disk: w.files}
		w.config.Files = full
		w.config.Open = func() (*enroll.Keeper, error) {
			return enroll.Open(enroll.Config{Files: full, Keys: w.keys, Log: slog.New(slog.DiscardHandler)})
		}
		w.run()
		time.Sleep(5 * time.Minute)
		full.set(true)
		w.server.Close()
		w.serving.Wait()
		time.Sleep(time.Hour)
		if p := w.agent.Status().Problem; p != link.DiskTrouble {
			t.Errorf("problem %q, want %q", p, link.DiskTrouble)
		}
		w.serve()
		full.set(false)
		before := w.told()
		time.Sleep(5 * time.Minute)
		if w.told() <= before || w.agent.Status().SpoolWaiting != 0 {
			t.Errorf("%d reports before, %d after; status %+v", before, w.told(), w.agent.Status())
		}
	})
}

type fullFiles struct {
	*fakes.Disk
	mu   sync.Mutex
	full bool
}

func (f *fullFiles) set(full bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.full = full
}

func (f *fullFiles) Write(name string, data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full {
		return errors.New("no space left on device")
	}
	return f.Disk.Write(name, data)
}

func TestWrongClock(t *testing.T) {
	for _, year := range []int{1970, 2099} {
		t.Run(fmt.Sprint(year), func(t *testing.T) {
			in(t, func(w *world) {
				off := time.Until(time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC))
				w.config.Now = func() time.Time { return time.Now().Add(off) }
				w.enrol()
				w.run()
				time.Sleep(2 * time.Hour)
				entries := w.stored()
				if len(entries) < 4 {
					t.Fatalf("%d reports in two hours", len(entries))
				}
				if got := time.UnixMilli(entries[0].GetDeviceMs()).UTC().Year(); got != year {
					t.Errorf("report bears the year %d, want the device's own %d", got, year)
				}
				st := w.agent.Status()
				if got := time.Duration(st.ClockOffset) * time.Millisecond; (got+off).Abs() > time.Second || st.SpoolDropped != 0 {
					t.Errorf("status %+v; clock is off by %v", st, off)
				}
			})
		})
	}
}

func TestNewerSpool(t *testing.T) {
	in(t, func(w *world) {
		w.enrol()
		f, err := w.disk.Open("0000000000000001.seg", true)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteAt(append([]byte("HMSPOOL\n\x09\x00"), make([]byte, 100)...), 0)
		f.Close()
		w.run()
		if err := <-w.ended; !errors.Is(err, spool.ErrNewer) {
			t.Errorf("Run = %v, want %v", err, spool.ErrNewer)
		}
		w.cancel()
		w.cancel = nil
	})
}

// TestPublicFilesWearNothingOut: a day of flapping network.
func TestPublicFilesWearNothingOut(t *testing.T) {
	in(t, func(w *world) {
		w.enrol()
		w.run()
		for range 8 * 60 {
			w.host.Set(netsim.Weather{CutUp: true, CutDown: true})
			w.events <- wake.Event{Network: true}
			time.Sleep(30 * time.Second)
			w.host.Set(netsim.Weather{})
			w.events <- wake.Event{Network: true}
			time.Sleep(30 * time.Second)
		}
		writes, _, _ := w.numbers()
		if most := 2*(8*60+6) + 1; writes > most {
			t.Errorf("%d writes in 8 hours, want %d at most: two files a minute", writes, most)
		}
		time.Sleep(time.Minute)
		if st := w.status(); st.State != link.Connected {
			t.Errorf("status %+v", st)
		}
	})
}

// TestPublicFolderBroken: it is for people; the agent goes on.
func TestPublicFolderBroken(t *testing.T) {
	in(t, func(w *world) {
		w.config.Publish = func(string, []byte) error { return errors.New("read-only file system") }
		w.enrol()
		w.run()
		time.Sleep(time.Hour)
		if w.told() < 2 {
			t.Errorf("%d reports", w.told())
		}
		if n := strings.Count(w.logged(), "public files not written"); n != 1 {
			t.Errorf("%d log lines about it, want 1", n)
		}
	})
}

// power makes the machine run on battery or not, whatever it invents.
func (w *world) power(from sysinfo.PowerSource) {
	read := w.config.Source
	w.config.Source = source(func(ctx context.Context) sysinfo.Snapshot {
		s := read.Read(ctx)
		s.Power.Source = sysinfo.Some(from)
		return s
	})
}

// TestEvents: what happens to the machine reaches the link, which finds out
// whether its session lives, and health, which looks before its time.
func TestEvents(t *testing.T) {
	t.Run("link", func(t *testing.T) {
		in(t, func(w *world) {
			w.enrol()
			w.run()
			time.Sleep(5 * time.Minute)
			w.host.Set(netsim.Weather{CutDown: true})
			w.events <- wake.Event{Network: true}
			time.Sleep(6 * time.Second)
			if st := w.agent.Status(); st.State == link.Connected {
				t.Errorf("6 s after a change of network without answers: %s", st.State)
			}
		})
	})
	t.Run("health", func(t *testing.T) {
		in(t, func(w *world) {
			w.power(sysinfo.Battery)
			w.enrol()
			w.run()
			time.Sleep(30 * time.Second)
			_, before, _ := w.numbers()
			w.events <- wake.Event{Slept: time.Hour}
			time.Sleep(50 * time.Second)
			if _, after, _ := w.numbers(); after != before+1 {
				t.Errorf("%d looks within 50 s after waking up on battery, want 1", after-before)
			}
		})
	})
}

// TestIdentityReplaced: enroll --replace beside a running agent.
func TestIdentityReplaced(t *testing.T) {
	in(t, func(w *world) {
		w.enrol()
		w.run()
		time.Sleep(5 * time.Minute)
		const next = "01890a5d-ac96-774b-bcce-b302099a8058"
		w.enrolAs(next, "device-2")
		time.Sleep(65 * time.Second)
		w.mu.Lock()
		got := w.devices
		w.mu.Unlock()
		if want := []string{"urn:uuid:" + device, "urn:uuid:" + next}; !slices.Equal(got, want) {
			t.Errorf("sessions of %v, want %v", got, want)
		}
		if st := w.agent.Status(); st.Device != next || st.State != link.Connected {
			t.Errorf("status %+v, want %s connected", st, next)
		}
	})
}

// TestPolicy: what the Welcome says holds for health.
func TestPolicy(t *testing.T) {
	in(t, func(w *world) {
		w.settings = hmpb.Settings_builder{StateIntervalS: proto.Uint32(600)}.Build()
		w.power(sysinfo.Mains)
		w.enrol()
		w.run()
		time.Sleep(time.Minute)
		states := func() (n int) {
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, e := range w.entries {
				if e.HasState() {
					n++
				}
			}
			return n
		}
		before := states()
		time.Sleep(time.Hour)
		if n := states() - before; n < 2 || n > 6 {
			t.Errorf("%d States in an hour, want at most one each 600 s and one each half hour", n)
		}
	})
}
