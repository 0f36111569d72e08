package health_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"hausmeister/agent/health"
	"hausmeister/platform/sysinfo"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// machine is a fake one; change it between ticks.
type machine struct {
	mu    sync.Mutex
	snap  sysinfo.Snapshot
	reads []time.Time
}

func (m *machine) Read(context.Context) sysinfo.Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads = append(m.reads, time.Now())
	s := m.snap
	s.Time = time.Now()
	return s
}

func (m *machine) set(f func(*sysinfo.Snapshot)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(&m.snap)
}

// sink keeps what was told.
type sink struct {
	mu    sync.Mutex
	all   []*hmpb.Entry
	told  []*hmpb.Entry // of these, the States
	at    []time.Duration
	begin time.Time
	err   error
}

func (s *sink) Append(_ context.Context, e *hmpb.Entry) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	s.all = append(s.all, proto.CloneOf(e))
	if e.HasState() {
		s.told = append(s.told, proto.CloneOf(e))
		s.at = append(s.at, time.Since(s.begin))
	}
	return uint64(len(s.all)), nil
}

// entries gives those of one kind.
func (s *sink) entries(kind func(*hmpb.Entry) bool) (out []*hmpb.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.all {
		if kind(e) {
			out = append(out, e)
		}
	}
	return out
}

func (s *sink) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *sink) times() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]time.Duration(nil), s.at...)
}

func (s *sink) last() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return values(s.told[len(s.told)-1])
}

// values makes a State readable.
func values(e *hmpb.Entry) map[string]string {
	m := make(map[string]string)
	for _, r := range e.GetState().GetReadings() {
		row, ok := reading.ByID(r.GetId())
		if !ok {
			row.Name = "unknown"
		}
		name := row.Name
		if r.GetInstance() != "" {
			name += " " + r.GetInstance()
		}
		switch r.WhichValue() {
		case hmpb.Reading_Number_case:
			m[name] = strconv.FormatInt(r.GetNumber(), 10)
		case hmpb.Reading_Text_case:
			m[name] = r.GetText()
		default:
			m[name] = r.GetAbsent().String()
		}
	}
	return m
}

func desktop() sysinfo.Snapshot {
	n := sysinfo.Some[int64]
	none := sysinfo.None[int64](sysinfo.NoHardware)
	return sysinfo.Snapshot{
		CPU:     sysinfo.CPU{Used: n(100), Cores: n(4), Load1: sysinfo.None[int64](sysinfo.NotSupported)},
		Memory:  sysinfo.Memory{Total: n(8 << 30), Used: n(4 << 30), SwapTotal: n(0), SwapUsed: none},
		Volumes: sysinfo.Some([]sysinfo.Volume{{Name: "C:", Total: n(256e9), Free: n(100e9)}}),
		Power: sysinfo.Power{Source: sysinfo.Some(sysinfo.Mains), State: sysinfo.None[sysinfo.BatteryState](sysinfo.NoHardware),
			Charge: none, Health: none, Cycles: none},
		Temperatures: sysinfo.None[[]sysinfo.Temperature](sysinfo.Denied),
		Links:        sysinfo.Some([]sysinfo.Link{{Name: "wired"}, {Name: "wifi", Up: true, Speed: n(3e8)}}),
		BootTime:     sysinfo.Some(time.UnixMilli(1_795_000_000_000)),
		Identity: sysinfo.Identity{OSName: sysinfo.Some("Windows 11 Pro 24H2"), OSBuild: sysinfo.Some("10.0.26100.4061"),
			Architecture: sysinfo.Some("amd64"), Manufacturer: sysinfo.Some("FUJITSU"), Model: sysinfo.Some("LIFEBOOK A3510"),
			Serial: sysinfo.None[string](sysinfo.NoHardware)},
		Self: sysinfo.Self{Memory: n(12 << 20), CPU: sysinfo.None[int64](sysinfo.Unread)},
	}
}

// memory remembers as config.Memory does.
type memory struct {
	mu     sync.Mutex
	boot   time.Time
	offset *time.Duration
	hash   []byte
}

func (m *memory) ClockOffset(boot time.Time) (time.Duration, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.offset == nil || boot.Sub(m.boot).Abs() > 2*time.Minute {
		return 0, false
	}
	return *m.offset - boot.Sub(m.boot), true
}

func (m *memory) SetClockOffset(boot time.Time, d time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.boot, m.offset = boot, &d
	return nil
}

func (m *memory) InventoryHash() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hash
}

func (m *memory) SetInventoryHash(hash []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hash = hash
	return nil
}

// run starts a Health on the machine in a bubble; stop ends it.
type run struct {
	*health.Health
	m    *machine
	s    *sink
	log  *bytes.Buffer
	stop func()
}

func start(t *testing.T, snap sysinfo.Snapshot) *run {
	return startWith(t, &machine{snap: snap}, func(*health.Config) {})
}

func startWith(t *testing.T, m *machine, change func(*health.Config)) *run {
	r := &run{m: m, s: &sink{begin: time.Now()}, log: &bytes.Buffer{}}
	c := health.Config{
		Source: r.m, Sink: r.s, Memory: &memory{}, Log: slog.New(slog.NewTextHandler(r.log, nil)),
		Now: time.Now, Random: func() float64 { return 0.5 },
	}
	change(&c)
	if s, ok := c.Sink.(*sink); ok {
		r.s = s
	}
	r.Health = health.New(c)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	ready := make(chan struct{})
	go func() { done <- r.Run(ctx, func() { close(ready) }) }()
	<-ready
	r.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	}
	return r
}

func (r *run) wantTimes(t *testing.T, want ...time.Duration) {
	t.Helper()
	synctest.Wait()
	if d := cmp.Diff(want, r.s.times()); d != "" {
		t.Errorf("States were told at (-want +got):\n%s", d)
	}
}

const (
	s10 = 10 * time.Second // the first State, with Random in the middle
	min = time.Minute
)

func TestFirstStateIsWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, desktop())
		defer r.stop()
		time.Sleep(s10)
		r.wantTimes(t, s10)
		want := map[string]string{
			"cpu_used": "100", "cpu_cores": "4", "load_1": "ABSENT_NOT_SUPPORTED",
			"memory_total": "8589934592", "memory_used": "4294967296", "swap_total": "0", "swap_used": "ABSENT_NO_HARDWARE",
			"volume_total C:": "256000000000", "volume_free C:": "100000000000",
			"battery_charge": "ABSENT_NO_HARDWARE", "battery_state": "ABSENT_NO_HARDWARE", "battery_health": "ABSENT_NO_HARDWARE",
			"battery_cycles": "ABSENT_NO_HARDWARE", "power_source": "mains", "temperature": "ABSENT_DENIED",
			"link_state wired": "down", "link_state wifi": "up", "link_speed wifi": "300000000",
			"boot_time": "1795000000000", "os_name": "Windows 11 Pro 24H2", "os_build": "10.0.26100.4061", "architecture": "amd64",
			"manufacturer": "FUJITSU", "model": "LIFEBOOK A3510", "serial": "ABSENT_NO_HARDWARE", "agent_memory": "12582912",
			"spool_waiting": "0",
		}
		if d := cmp.Diff(want, r.s.last()); d != "" {
			t.Errorf("State (-want +got):\n%s", d)
		}
		if got := r.s.told[0].GetDeviceMs(); got != time.Now().UnixMilli() {
			t.Errorf("device_ms = %d, want now", got)
		}
		if len(r.m.reads) != 2 {
			t.Errorf("%d reads before the first State, want 2: means over time need a beginning", len(r.m.reads))
		}
	})
}

func TestQuietMachineOnlyBeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, desktop())
		defer r.stop()
		time.Sleep(s10 + 95*min)
		r.wantTimes(t, s10, s10+30*min, s10+60*min, s10+90*min)
	})
}

func TestDeadBand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, desktop())
		defer r.stop()
		time.Sleep(s10 + min/2)
		used := func(permille int64) {
			r.m.set(func(s *sysinfo.Snapshot) { s.CPU.Used = sysinfo.Some(permille) })
			time.Sleep(min)
		}
		used(200) // at the band's edge: not beyond
		r.wantTimes(t, s10)
		used(201)
		r.wantTimes(t, s10, s10+2*min)
		// A slow drift is measured from what was told, not from the look before.
		for _, v := range []int64{251, 301} {
			used(v)
		}
		r.wantTimes(t, s10, s10+2*min)
		used(302)
		r.wantTimes(t, s10, s10+2*min, s10+5*min)
	})
}

func TestComingAndGoingIsAMove(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*sysinfo.Snapshot)
	}{
		{"a volume more", func(s *sysinfo.Snapshot) {
			s.Volumes = sysinfo.Some([]sysinfo.Volume{
				{Name: "C:", Total: sysinfo.Some[int64](256e9), Free: sysinfo.Some[int64](100e9)},
				{Name: "D:", Total: sysinfo.Some[int64](1e9), Free: sysinfo.Some[int64](1e9)}})
		}},
		{"a text", func(s *sysinfo.Snapshot) { s.Identity.OSBuild = sysinfo.Some("10.0.26100.9999") }},
		{"a code", func(s *sysinfo.Snapshot) { s.Power.Source = sysinfo.Some(sysinfo.Battery) }},
		{"another reason", func(s *sysinfo.Snapshot) { s.CPU.Load1.Why = sysinfo.TimedOut }},
		{"a value gone", func(s *sysinfo.Snapshot) { s.CPU.Used = sysinfo.None[int64](sysinfo.Failed) }},
		{"a renamed instance", func(s *sysinfo.Snapshot) {
			s.Links = sysinfo.Some([]sysinfo.Link{{Name: "wired"}, {Name: "mobile", Up: true, Speed: sysinfo.Some[int64](3e8)}})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, desktop())
				defer r.stop()
				time.Sleep(s10)
				synctest.Wait()
				r.m.set(c.change)
				time.Sleep(min)
				r.wantTimes(t, s10, s10+min)
			})
		})
	}
}

func TestOnBattery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		snap := desktop()
		snap.Power.Source = sysinfo.Some(sysinfo.Battery)
		r := start(t, snap)
		defer r.stop()
		for i := range 20 { // something moves all the time
			r.m.set(func(s *sysinfo.Snapshot) { s.Memory.Used = sysinfo.Some(int64(i) << 30 % (8 << 30)) })
			time.Sleep(min)
		}
		r.wantTimes(t, s10, s10+5*min, s10+10*min, s10+15*min)
		// Plugged in: noticed at the next look, then each minute again.
		r.m.set(func(s *sysinfo.Snapshot) { s.Power.Source = sysinfo.Some(sysinfo.Mains) })
		for i := range 3 {
			time.Sleep(min)
			synctest.Wait()
			r.m.set(func(s *sysinfo.Snapshot) { s.Memory.Used = sysinfo.Some(int64(i) << 30) })
		}
		r.wantTimes(t, s10, s10+5*min, s10+10*min, s10+15*min, s10+20*min, s10+21*min, s10+22*min)
	})
}

func TestSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, desktop())
		defer r.stop()
		move := func() {
			r.m.set(func(s *sysinfo.Snapshot) { s.Memory.Used.Value ^= 1 << 30 })
		}
		time.Sleep(s10)
		synctest.Wait()
		r.Apply(health.Settings{Interval: time.Second}) // below the bound of 10 s
		for range 4 {
			move()
			time.Sleep(10 * time.Second)
			synctest.Wait()
		}
		r.wantTimes(t, s10, 2*s10, 3*s10, 4*s10, 5*s10)
		r.Apply(health.Settings{Interval: 100 * time.Hour}) // above the bound of 1 h
		move()
		time.Sleep(59 * min)
		r.wantTimes(t, s10, 2*s10, 3*s10, 4*s10, 5*s10)
		time.Sleep(min)
		r.wantTimes(t, s10, 2*s10, 3*s10, 4*s10, 5*s10, 5*s10+60*min)
		// What is not said is the default; the running wait is shortened to it.
		r.Apply(health.Settings{})
		move()
		time.Sleep(min)
		r.wantTimes(t, s10, 2*s10, 3*s10, 4*s10, 5*s10, 5*s10+60*min, 5*s10+61*min)
	})
}

func TestNudge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		snap := desktop()
		snap.Power.Source = sysinfo.Some(sysinfo.Battery)
		r := start(t, snap)
		defer r.stop()
		time.Sleep(s10 + 2*min + min/2)
		r.m.set(func(s *sysinfo.Snapshot) { s.Memory.Used.Value = 1 << 30 })
		r.Nudge() // woken: not after five minutes, but at the next look
		r.wantTimes(t, s10)
		time.Sleep(min / 2)
		r.wantTimes(t, s10, s10+3*min)
		r.m.set(func(s *sysinfo.Snapshot) { s.Memory.Used.Value = 2 << 30 })
		r.Nudge() // but never nearer than the ordinary interval
		time.Sleep(min - time.Nanosecond)
		r.wantTimes(t, s10, s10+3*min)
		time.Sleep(time.Nanosecond)
		r.wantTimes(t, s10, s10+3*min, s10+4*min)
	})
}

// TestSinkFull: a State that was not stored is told at the next look, also if
// nothing moves any more.
func TestSinkFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, desktop())
		defer r.stop()
		r.s.fail(errors.New("no space left on device"))
		time.Sleep(s10 + min/2)
		synctest.Wait()
		if !strings.Contains(r.log.String(), "no space left on device") {
			t.Errorf("the log does not say why:\n%s", r.log)
		}
		r.s.fail(nil)
		time.Sleep(min)
		r.wantTimes(t, s10+min)
	})
}

func TestTroubleIsNamedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		snap := desktop()
		snap.CutOff = []string{"volumes"}
		snap.CouldNot = map[string]error{"links": errors.New("permission denied")}
		r := start(t, snap)
		defer r.stop()
		time.Sleep(s10 + 5*min)
		synctest.Wait()
		log := r.log.String()
		if strings.Count(log, "volumes: took too long and was cut off") != 1 || strings.Count(log, "links: permission denied") != 1 {
			t.Errorf("log, want each name once:\n%s", log)
		}
		r.m.set(func(s *sysinfo.Snapshot) { s.CutOff, s.CouldNot = nil, nil })
		time.Sleep(2 * min)
		synctest.Wait()
		if strings.Count(r.log.String(), "all readings answer again") != 1 {
			t.Errorf("log, want the end of the trouble once:\n%s", r.log)
		}
	})
}

// TestOnlyTheTableLeaves: whatever a source says, each reading that leaves
// passes the table's check, and what is out of range says so.
func TestOnlyTheTableLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := sysinfo.Some[int64]
		snap := desktop()
		snap.CPU.Used = n(1001)
		snap.CPU.Cores = n(0)
		snap.Memory.Total = n(-5)
		snap.Power.Source = sysinfo.Some(sysinfo.PowerSource("wind"))
		snap.Identity.Model = sysinfo.Some("evil\x1b[31m\u202e")
		snap.Identity.OSName = sysinfo.Some(strings.Repeat("x", 1000))
		snap.BootTime = sysinfo.Some(time.Time{})
		snap.Temperatures = sysinfo.Some([]sysinfo.Temperature{{Place: "cpu", MilliCelsius: 1 << 40}, {Place: "a\nb", MilliCelsius: 1}})
		vs := make([]sysinfo.Volume, 1000)
		for i := range vs {
			vs[i] = sysinfo.Volume{Name: "other " + strconv.Itoa(i), Total: n(1), Free: n(1)}
		}
		snap.Volumes = sysinfo.Some(vs)
		r := start(t, snap)
		defer r.stop()
		time.Sleep(s10)
		synctest.Wait()
		for _, m := range r.s.told[0].GetState().GetReadings() {
			if err := reading.Check(m); err != nil {
				t.Errorf("%v left: %v", m, err)
			}
		}
		got := r.s.last()
		for _, name := range []string{"cpu_used", "cpu_cores", "memory_total", "power_source", "boot_time", "temperature cpu"} {
			if got[name] != "ABSENT_OUT_OF_RANGE" {
				t.Errorf("%s = %q, want out of range", name, got[name])
			}
		}
		for _, name := range []string{"model", "os_name", "temperature a\nb"} {
			if v, ok := got[name]; ok {
				t.Errorf("%s = %q left", name, v)
			}
		}
		if size := proto.Size(r.s.told[0]); size > 4<<10 {
			t.Errorf("a State of %d bytes", size)
		}
	})
}

// TestSize: what one State costs; the budget is 0.6 kB of IP bytes for 20 values.
func TestSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, desktop())
		defer r.stop()
		time.Sleep(s10)
		synctest.Wait()
		if size := proto.Size(r.s.told[0]); size > 350 {
			t.Errorf("a State of %d bytes, want at most 350", size)
		} else {
			t.Logf("%d readings in %d bytes", len(r.s.told[0].GetState().GetReadings()), size)
		}
	})
}
