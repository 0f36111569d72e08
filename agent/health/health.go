package health

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"hausmeister/platform/supervise"
	"hausmeister/platform/sysinfo"
	"hausmeister/platform/wake"
	"hausmeister/proto/hmpb"
)

// Source reads the machine; *sysinfo.Reader is one. It may be a Lister too.
type Source interface {
	Read(ctx context.Context) sysinfo.Snapshot
}

// Sink takes an entry and returns when it is durable; the spool is one.
type Sink interface {
	Append(ctx context.Context, e *hmpb.Entry) (seq uint64, err error)
}

// Memory is what is remembered over restarts; *config.Memory is one.
type Memory interface {
	// ClockOffset is the collector's clock minus the device's, as last heard in
	// the boot that began at boot.
	ClockOffset(boot time.Time) (time.Duration, bool)
	SetClockOffset(boot time.Time, offset time.Duration) error
	// InventoryHash names the list of programs that was told last.
	InventoryHash() []byte
	SetInventoryHash(hash []byte) error
}

// Settings are the collector's to choose, within bounds.
type Settings struct {
	Interval        time.Duration // least time between two States; 10 s to 1 h
	BatteryInterval time.Duration // the same on battery; 1 min to 2 h
}

// DefaultSettings hold until a Welcome brings others.
var DefaultSettings = Settings{Interval: time.Minute, BatteryInterval: 5 * time.Minute}

// bounded replaces what is not said by the default and moves the rest into bounds.
func (s Settings) bounded() Settings {
	if s.Interval <= 0 {
		s.Interval = DefaultSettings.Interval
	}
	if s.BatteryInterval <= 0 {
		s.BatteryInterval = DefaultSettings.BatteryInterval
	}
	s.Interval = min(max(s.Interval, 10*time.Second), time.Hour)
	s.BatteryInterval = min(max(s.BatteryInterval, time.Minute), 2*time.Hour)
	return s
}

const (
	// heartbeat is the longest time without a State.
	heartbeat = 30 * time.Minute
	// The first State comes after between firstMin and firstMax: late enough for
	// means over time, early enough for somebody who waits at the page, and
	// spread, since a school's devices start together.
	firstMin, firstMax = 5 * time.Second, 15 * time.Second
)

// Config of a Health. Source, Sink, Memory and Log are needed.
type Config struct {
	Source Source
	// Live makes another Source with means of its own, for looks each second;
	// nil = there is none.
	Live     func() Source
	Sink     Sink
	Memory   Memory
	Settings Settings // the zero value means DefaultSettings
	// Findings judges each look, KeepFindings remembers its snapshots; nil = none.
	Findings     Findings
	KeepFindings func(snapshot []byte) error
	// About says how the agent is; nil = nobody knows.
	About func() Facts
	// Rest gives back what memory is needed now and then only. It is called in the
	// wake of a look, and around the telling of a list, perhaps of both at the same
	// time; nil = nothing to do.
	Rest func()
	// Leave gives back what the program's own file takes in memory. It is called on
	// mains a few seconds after Rest, once what was seen has been sent; nil = nobody
	// wants it.
	Leave func()
	// Tidy is called after each look on battery: what the process would do by timers
	// of its own is done while the machine is awake; nil = nothing to do.
	Tidy func()
	// Pulse is beaten at the end of each look; nil = nobody follows.
	Pulse *wake.Pulse
	Now   func() time.Time // the device's clock
	Log   *slog.Logger
	// Random gives numbers in [0, 1); nil means math/rand.
	Random func() float64
}

// Health is the part of the agent that watches the machine.
type Health struct {
	source Source
	live   func() Source
	sink   Sink
	memory Memory
	about  func() Facts
	rest   func()
	rests  bool // somebody wants it
	leave  func()
	tidy   func()
	pulse  *wake.Pulse
	now    func() time.Time
	log    *slog.Logger
	random func() float64

	findings     Findings
	keepFindings func([]byte) error

	changed chan struct{} // settings, a nudge or a flush; holds one

	onBattery, batteryLow, metered atomic.Bool // at the last look

	// below is Run's
	clock   clock
	minutes minutes
	waiting []*hmpb.Entry // blocks that the sink did not take yet, oldest first
	path    string        // Facts.Path as last known
	trouble string        // the same of Facts.Trouble
	judged  judgement

	mu       sync.Mutex
	settings Settings
	nudged   bool
	flush    bool
	required []*hmpb.StandardSoftware // not yet seen by the findings
	software software
}

// New makes a Health that Run then runs.
func New(c Config) *Health {
	if c.About == nil {
		c.About = func() Facts { return Facts{} }
	}
	rests := c.Rest != nil
	if !rests {
		c.Rest = func() {}
	}
	if c.Leave == nil {
		c.Leave = func() {}
	}
	if c.Tidy == nil {
		c.Tidy = func() {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Float64
	}
	if c.KeepFindings == nil {
		c.KeepFindings = func([]byte) error { return nil }
	}
	return &Health{
		findings: c.Findings, keepFindings: c.KeepFindings,
		source: c.Source, live: c.Live, sink: c.Sink, memory: c.Memory, about: c.About, rest: c.Rest, rests: rests, leave: c.Leave, tidy: c.Tidy, pulse: c.Pulse, now: c.Now, log: c.Log, random: c.Random,
		settings: c.Settings.bounded(), changed: make(chan struct{}, 1),
	}
}

// Apply takes new settings; they hold from the running wait on.
func (h *Health) Apply(s Settings) {
	h.mu.Lock()
	h.settings = s.bounded()
	h.mu.Unlock()
	h.wake()
}

// Nudge asks for a look before its time has come, for instance after sleep.
// States still keep their distance.
func (h *Health) Nudge() {
	h.mu.Lock()
	h.nudged = true
	h.mu.Unlock()
	h.wake()
}

// OnBattery says whether the machine was on battery at the last look.
func (h *Health) OnBattery() bool { return h.onBattery.Load() }

// lowCharge in permille is where a battery is low.
const lowCharge = 300

// BatteryLow says whether the machine was on a battery at the last look that is low,
// or of which nobody knows.
func (h *Health) BatteryLow() bool { return h.batteryLow.Load() }

// Metered says whether its connection cost by volume at the last look.
func (h *Health) Metered() bool { return h.metered.Load() }

// Flush asks for the minutes that are not told yet, because somebody looks.
func (h *Health) Flush() {
	h.mu.Lock()
	h.flush = true
	h.mu.Unlock()
	h.wake()
}

func (h *Health) wake() {
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// Live begins looks that somebody watches: each call of sample gives one, with
// what blocks hold. It is nil where there is no source for that. Means are
// those since the call before; they and the minutes' do not mix.
func (h *Health) Live() (sample func(ctx context.Context) []*hmpb.Reading) {
	if h.live == nil {
		return nil
	}
	source := h.live()
	return func(ctx context.Context) []*hmpb.Reading { return fine(readings(source.Read(ctx), own{})) }
}

// Run looks and tells until ctx ends, and then tells the minutes that are left.
func (h *Health) Run(ctx context.Context, ready func()) error {
	ready()
	crew := supervise.NewCrew(ctx, 1)
	defer crew.Wait()
	defer crew.Stop() // also when something panics
	// Counters need a beginning before there is a mean over time.
	w := &watch{}
	s := h.source.Read(ctx)
	h.power(w, s)
	h.clock.recall(h.memory, s.BootTime)
	h.judged.keptAt = time.Now()
	h.mu.Lock()
	h.software.next = time.Now().Add(listMin + spread(h.random, listMax-listMin))
	h.mu.Unlock()
	if !h.sleep(ctx, firstMin+spread(h.random, firstMax-firstMin)) {
		return nil
	}
	for {
		h.look(ctx, w)
		h.restWhenDue(w)
		h.pulse.Beat()
		if h.listDue(w.lastRead) {
			crew.TryGo(h.list)
		}
		if !h.pause(ctx, w) {
			break
		}
	}
	h.finish(context.WithoutCancel(ctx))
	return nil
}

// finish tells what is left at the end.
func (h *Health) finish(ctx context.Context) {
	h.closeBlock()
	h.tellBlocks(ctx)
	h.tellFindings(ctx)
	h.keepJudgement()
}

func spread(random func() float64, d time.Duration) time.Duration {
	return time.Duration(random() * float64(d))
}
