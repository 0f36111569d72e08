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
}

// Beat says that the machine is awake now. It never waits.
func (p *Pulse) Beat() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for _, t := range p.timers {
		t.beat(now)
	}
}

// A Timer fires once, as time.Timer does, but with a Pulse.
type Timer struct {
	C <-chan time.Time

	pulse *Pulse
	wait  time.Duration
	timer *time.Timer
	// below is guarded by pulse.mu
	armed time.Time
	fired bool // by a beat
}

// Timer fires at the beat that comes after about wait, a quarter of that sooner at
// most. Half as long again without a beat makes it fire by itself, and where there
// is no Pulse it does after wait.
func (p *Pulse) Timer(wait time.Duration) *Timer {
	t := &Timer{pulse: p, wait: wait, armed: time.Now()}
	t.timer = time.NewTimer(t.most())
	t.C = t.timer.C
	if p != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.timers = append(p.timers, t)
	}
	return t
}

func (t *Timer) most() time.Duration {
	if t.pulse == nil {
		return t.wait
	}
	return t.wait + t.wait/2
}

// Again begins anew, with nothing left in C.
func (t *Timer) Again() {
	if t.pulse != nil {
		t.pulse.mu.Lock()
		defer t.pulse.mu.Unlock()
		t.armed, t.fired = time.Now(), false
	}
	t.timer.Reset(t.most())
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
	if !t.fired && now.Sub(t.armed) >= t.wait-t.wait/4 {
		t.fired = true
		t.timer.Reset(0)
	}
}
