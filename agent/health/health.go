package health

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"hausmeister/platform/sysinfo"
	"hausmeister/proto/hmpb"
)

// Source reads the machine; *sysinfo.Reader is one.
type Source interface {
	Read(ctx context.Context) sysinfo.Snapshot
}

// Sink takes an entry and returns when it is durable; the spool is one.
type Sink interface {
	Append(ctx context.Context, e *hmpb.Entry) (seq uint64, err error)
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

// Config of a Health.
type Config struct {
	Source   Source
	Sink     Sink
	Settings Settings // the zero value means DefaultSettings
	Now      func() time.Time
	Log      *slog.Logger
	// Random gives numbers in [0, 1); nil means math/rand.
	Random func() float64
}

// Health is the part of the agent that watches the machine.
type Health struct {
	source Source
	sink   Sink
	now    func() time.Time
	log    *slog.Logger
	random func() float64

	changed chan struct{} // settings or a nudge; holds one

	mu       sync.Mutex
	settings Settings
	nudged   bool
}

// New makes a Health that Run then runs.
func New(c Config) *Health {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Float64
	}
	return &Health{
		source: c.Source, sink: c.Sink, now: c.Now, log: c.Log, random: c.Random,
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

// Nudge asks for a look before the interval is over, for instance after sleep.
// States still keep their distance.
func (h *Health) Nudge() {
	h.mu.Lock()
	h.nudged = true
	h.mu.Unlock()
	h.wake()
}

func (h *Health) wake() {
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// watch is what Run knows from tick to tick.
type watch struct {
	onBattery bool
	lastRead  time.Time
	lastTold  time.Time // zero: nothing told yet
	told      map[key]*hmpb.Reading
	trouble   []string // groups without an answer, as last logged
}

// Run reads and tells until ctx ends. A State that the sink does not take is
// told anew at the next look.
func (h *Health) Run(ctx context.Context, ready func()) error {
	ready()
	// Counters need a beginning before there is a mean over time.
	w := &watch{}
	s := h.source.Read(ctx)
	w.onBattery = onBattery(s)
	first := firstMin + time.Duration(h.random()*float64(firstMax-firstMin))
	if !h.sleep(ctx, first) {
		return nil
	}
	for {
		h.look(ctx, w)
		if !h.pause(ctx, w) {
			return nil
		}
	}
}

// sleep waits, and says false when ctx ended first.
func (h *Health) sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// pause waits until the next look is due, and says false when ctx ended first.
func (h *Health) pause(ctx context.Context, w *watch) bool {
	for {
		// Monotonic: the clock may jump, the distance between looks must not.
		wait := time.Until(w.lastRead.Add(h.interval(w)))
		if wait <= 0 {
			return true
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
			return true
		case <-ctx.Done():
			t.Stop()
			return false
		case <-h.changed:
			t.Stop()
		}
	}
}

// interval is the wait from one look to the next.
func (h *Health) interval(w *watch) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.nudged || !w.onBattery {
		// A nudge on battery shortens to the ordinary interval, no further.
		return h.settings.Interval
	}
	return h.settings.BatteryInterval
}

// look reads once and tells when there is something to tell.
func (h *Health) look(ctx context.Context, w *watch) {
	h.mu.Lock()
	h.nudged = false
	h.mu.Unlock()
	w.lastRead = time.Now()
	s := h.source.Read(ctx)
	if ctx.Err() != nil {
		return // what was cut short by our own end is not told
	}
	w.onBattery = onBattery(s)
	h.logTrouble(w, s)
	rs := readings(s)
	due := w.lastTold.IsZero() || w.lastRead.Sub(w.lastTold) >= heartbeat
	if !due && !moved(w.told, rs) {
		return
	}
	state, entry := &hmpb.State{}, &hmpb.Entry{}
	state.SetReadings(rs)
	entry.SetDeviceMs(h.now().UnixMilli())
	entry.SetState(state)
	if _, err := h.sink.Append(ctx, entry); err != nil {
		h.log.Warn("state was not stored, will be told again", "error", err)
		return
	}
	w.lastTold, w.told = w.lastRead, byKey(rs)
}

// logTrouble names the groups that gave no answer, once per change.
func (h *Health) logTrouble(w *watch, s sysinfo.Snapshot) {
	var names []string
	for _, g := range s.CutOff {
		names = append(names, g+": took too long and was cut off")
	}
	for g, err := range s.CouldNot {
		names = append(names, fmt.Sprintf("%s: %v", g, err))
	}
	slices.Sort(names)
	if !slices.Equal(names, w.trouble) {
		w.trouble = names
		if len(names) == 0 {
			h.log.Info("all readings answer again")
			return
		}
		h.log.Warn("some readings do not answer", "readings", names)
	}
}

func onBattery(s sysinfo.Snapshot) bool { return s.Power.Source == sysinfo.Some(sysinfo.Battery) }
