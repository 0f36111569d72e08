package health

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"hausmeister/platform/sysinfo"
	"hausmeister/proto/hmpb"
)

const (
	// lookEvery is how often the machine is looked at; oftener only where the
	// settings want States oftener.
	lookEvery = time.Minute
	// edge is how far from the change of the minute looks stay, so that no small
	// correction of the clock moves two of them into one minute.
	edge = 5 * time.Second
	// astray is how far the clocks may differ on when the next look is due; more
	// is a jump or sleep, and then the monotonic one counts.
	astray = 10 * time.Second
	// maxWaiting blocks wait for a sink that does not take them.
	maxWaiting = 4
)

// watch is what Run knows from look to look.
type watch struct {
	onBattery bool
	lastRead  time.Time // monotonic
	device    time.Time // the device's clock at that
	lastBest  time.Time
	phase     time.Duration // of looks within the minute
	lastTold  time.Time     // zero: nothing told yet
	told      map[key]*hmpb.Reading
	trouble   []string // groups without an answer, as last logged
	lost      uint64   // Facts.SpoolLost as last said
	store     []byte   // the same of Facts.Store
	rested    time.Time
	leave     time.Time // when the program's pages are left; zero: not before the next rest
}

const (
	// restEvery is how often memory is given back at most: after each look of a minute,
	// but not of each that somebody watches live. Within a minute of a look nearly all
	// of the program's file is resident, and nothing of it is needed until the next.
	// Seldomer, Go would collect garbage by itself between looks, for which it needs
	// pages that were just left: two megabytes more, for a tenth of the processor time.
	restEvery = 45 * time.Second
	// leaveAfter a rest, sending what was seen is over, too, with the acknowledgement;
	// the next look then begins with as little as can be, and does not come on top of
	// what sending needed. Only on mains: on battery it would be a wake of its own.
	leaveAfter = 5 * time.Second
)

// restWhenDue follows each look.
func (h *Health) restWhenDue(w *watch) {
	if !w.rested.IsZero() && w.lastRead.Sub(w.rested) < restEvery {
		if w.onBattery {
			h.tidy()
		}
		return
	}
	w.rested = w.lastRead
	h.rest()
	if !w.onBattery {
		w.leave = time.Now().Add(leaveAfter)
	}
}

// leaveWhenDue says how long it is until then, at most wait.
func (h *Health) leaveWhenDue(w *watch, wait time.Duration) time.Duration {
	if w.leave.IsZero() {
		return wait
	}
	if left := time.Until(w.leave); left > 0 {
		return min(left, wait)
	}
	w.leave = time.Time{}
	h.leave()
	return wait
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
		if h.flushed() {
			h.closeBlock()
			h.tellBlocks(ctx)
		}
		wait := h.wait(w)
		if wait <= 0 {
			return ctx.Err() == nil
		}
		t := time.NewTimer(h.leaveWhenDue(w, wait))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return false
		case <-h.changed:
			t.Stop()
		}
	}
}

func (h *Health) flushed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.flush
	h.flush = false
	return was
}

// wait until the next look: a minute on, at the same second of the minute by the
// best clock, so that each minute has one.
func (h *Health) wait(w *watch) time.Duration {
	h.mu.Lock()
	every, nudged := h.settings.Interval, h.nudged
	h.mu.Unlock()
	if w.onBattery || every > lookEvery {
		every = lookEvery
	}
	best := h.clock.best(h.now().Round(0))
	if nudged && best.Sub(w.lastBest) >= every {
		return 0 // the machine slept, and the monotonic clock with it
	}
	wait := every - time.Since(w.lastRead)
	if every < lookEvery {
		return wait
	}
	if aligned := w.lastBest.Truncate(time.Minute).Add(time.Minute + w.phase).Sub(best); (aligned - wait).Abs() <= astray {
		return aligned
	}
	return wait
}

// align keeps the phase, or takes a new one after looks went astray.
func (w *watch) align() {
	if now := w.lastBest.Sub(w.lastBest.Truncate(time.Minute)); w.lastTold.IsZero() || (now-w.phase).Abs() > astray {
		w.phase = min(max(now, edge), time.Minute-edge)
	}
}

// look reads once and tells what there is to tell.
func (h *Health) look(ctx context.Context, w *watch) {
	h.lookAt(ctx, w, time.Now())
}

// lookAt is a look at a monotonic time.
func (h *Health) lookAt(ctx context.Context, w *watch, monotonic time.Time) {
	h.mu.Lock()
	settings, nudged := h.settings, h.nudged
	h.nudged = false
	h.mu.Unlock()
	w.lastRead, w.device = monotonic, h.now().Round(0)
	s := h.source.Read(ctx)
	if ctx.Err() != nil {
		return // what was cut short by our own end is not told
	}
	// The first State on battery still comes as on mains: the desk should see
	// that the charger was taken out.
	saving := w.onBattery && onBattery(s) && !nudged
	h.power(w, s)
	h.logTrouble(w, s)
	facts := h.facts()
	h.doubtList(w, facts)
	if jump := h.clock.look(w.device, w.lastRead, s.BootTime, facts); jump.Abs() > shaky {
		h.closeBlock()
	}
	if err := h.clock.keep(h.memory); err != nil {
		h.log.Warn("offset of the clock not remembered", "error", err)
	}
	w.lastBest = h.clock.best(w.device)
	w.align()
	rs := readings(s, h.own(facts))
	h.minute(ctx, w, rs, settings)
	h.judge(ctx, w, s, rs, facts)
	interval := settings.Interval
	if saving {
		interval = settings.BatteryInterval
	}
	h.state(ctx, w, rs, interval)
}

// power takes over where the machine has its power from, and what its connection
// costs.
func (h *Health) power(w *watch, s sysinfo.Snapshot) {
	w.onBattery = onBattery(s)
	h.onBattery.Store(w.onBattery)
	charge, known := s.Power.Charge.Get()
	h.batteryLow.Store(w.onBattery && (!known || charge < lowCharge))
	h.metered.Store(s.Metered == sysinfo.Some(true))
}

// facts with path and trouble as last known: a session that is being replaced,
// or a night without a network, is no news about either.
func (h *Health) facts() Facts {
	f := h.about()
	f.Path, f.Trouble = cmp.Or(f.Path, h.path), cmp.Or(f.Trouble, h.trouble)
	h.path, h.trouble = f.Path, f.Trouble
	return f
}

func (h *Health) own(f Facts) own {
	h.mu.Lock()
	defer h.mu.Unlock()
	return own{facts: f, offset: h.clock.offset, software: h.software.count, waiting: sysinfo.Some(int64(f.SpoolWaiting))}
}

// state tells the readings when they moved and it is time, or when it is high time.
func (h *Health) state(ctx context.Context, w *watch, rs []*hmpb.Reading, interval time.Duration) {
	since := w.lastRead.Sub(w.lastTold)
	slack := min(interval/10, astray) // looks follow the clock, which is put right now and then
	due := w.lastTold.IsZero() || since >= max(heartbeat, interval)-slack
	if !due && (since < interval-slack || !moved(w.told, rs)) {
		return
	}
	state, entry := &hmpb.State{}, h.entry()
	state.SetReadings(rs)
	entry.SetState(state)
	if _, err := h.sink.Append(ctx, entry); err != nil {
		h.log.Warn("state was not stored, will be told again", "error", err)
		return
	}
	w.lastTold, w.told = w.lastRead, byKey(rs)
}

// entry bears the device's own clock.
func (h *Health) entry() *hmpb.Entry {
	e := &hmpb.Entry{}
	e.SetDeviceMs(h.now().UnixMilli())
	return e
}

// minute puts a look into the running block, and tells blocks that are over.
func (h *Health) minute(ctx context.Context, w *watch, rs []*hmpb.Reading, s Settings) {
	ms := w.lastBest.UnixMilli()
	if h.minutes.over(ms) {
		h.closeBlock()
	}
	if err := h.minutes.put(ms, rs); err != nil {
		h.log.Debug("minute not kept", "error", err)
	}
	if h.minutes.full() && (w.onBattery || s.Interval >= lookEvery) { // else its minute may have more looks
		h.closeBlock()
	}
	h.tellBlocks(ctx)
}

// closeBlock ends the running block.
func (h *Health) closeBlock() {
	b, err := h.minutes.close()
	if err != nil {
		h.log.Error("minutes lost", "error", err)
	}
	if b == nil {
		return
	}
	e := h.entry()
	e.SetBlock(b)
	h.waiting = append(h.waiting, e)
	if over := len(h.waiting) - maxWaiting; over > 0 {
		h.waiting = slices.Delete(h.waiting, 0, over)
		h.log.Warn("minutes lost: they could not be stored", "blocks", over)
	}
}

// tellBlocks tells the blocks that are over, oldest first.
func (h *Health) tellBlocks(ctx context.Context) {
	for len(h.waiting) > 0 {
		if _, err := h.sink.Append(ctx, h.waiting[0]); err != nil {
			h.log.Warn("minutes were not stored, will be told again", "blocks", len(h.waiting), "error", err)
			return
		}
		h.waiting = slices.Delete(h.waiting, 0, 1)
	}
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
