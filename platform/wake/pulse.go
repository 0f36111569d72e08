package wake

import (
	"slices"
	"sync"
	"time"
)

// A Pulse lets what several parts do each minute be done in one wake of the
// machine: each timer of its own would be another. Whoever has to be up anyway
// beats it; the others wait by its timers. A nil Pulse never beats.
type Pulse struct {
	mu     sync.Mutex
	timers []*Timer
	beats  uint64
}

// Beats is how often it was beaten.
func (p *Pulse) Beats() uint64 {
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.beats
}

// Beat says that the machine is awake now. It never waits.
func (p *Pulse) Beat() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.beats++
	now := time.Now()
	for _, t := range p.timers {
		t.beat(now)
	}
}

// A Timer fires once, as time.Timer does, but with a Pulse.
type Timer struct {
	C <-chan time.Time

	pulse       *Pulse
	least, most time.Duration
	timer       *time.Timer
	// below is guarded by pulse.mu
	armed time.Time
	fired bool // by a beat
}

// Timer fires at the beat that comes after about wait, a quarter of that sooner at
// most. Half as long again without a beat makes it fire by itself, and where there
// is no Pulse it does after wait.
func (p *Pulse) Timer(wait time.Duration) *Timer {
	if p == nil {
		return p.Between(wait, wait)
	}
	return p.Between(wait-wait/4, wait+wait/2)
}

// Between fires at the first beat that comes after least, and by itself after most.
// Where there is no Pulse it does after least.
func (p *Pulse) Between(least, most time.Duration) *Timer {
	if p == nil {
		most = least
	}
	t := &Timer{pulse: p, least: least, most: most, armed: time.Now()}
	t.timer = time.NewTimer(most)
	t.C = t.timer.C
	if p != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.timers = append(p.timers, t)
	}
	return t
}

// Again begins anew, with nothing left in C.
func (t *Timer) Again() {
	if t.pulse != nil {
		t.pulse.mu.Lock()
		defer t.pulse.mu.Unlock()
		t.armed, t.fired = time.Now(), false
	}
	t.timer.Reset(t.most)
}

// Stop ends it. C is not closed.
func (t *Timer) Stop() {
	if t.pulse != nil {
		t.pulse.mu.Lock()
		defer t.pulse.mu.Unlock()
		t.pulse.timers = slices.DeleteFunc(t.pulse.timers, func(other *Timer) bool { return other == t })
	}
	t.timer.Stop()
}

func (t *Timer) beat(now time.Time) {
	if !t.fired && now.Sub(t.armed) >= t.least {
		t.fired = true
		t.timer.Reset(0)
	}
}
