package fakes

import (
	"context"
	"math/rand/v2"
	"time"

	"hausmeister/platform/sysinfo"
)

// A Use is a stretch of true time in which a device is on and awake. Between
// uses it sleeps or, where the next one boots, is off.
type Use struct {
	From, To time.Time
	Boots    bool // it begins with a boot
	Breaks   bool // it ends without power, not in good order
	boot     time.Time
}

// A Life is a machine that lives through its past; in it all times are true,
// whatever the machine's clock says. Afterwards the machine goes on from there.
// It is for one goroutine, and nobody may Read the machine meanwhile.
type Life struct {
	m    *Machine
	now  time.Time
	uses []Use
}

// Relive begins the machine's life anew, so many days before the day on which it
// was made, up to now.
func (m *Machine) Relive(days int, now time.Time) *Life {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.random = rand.New(rand.NewPCG(seed, uint64(m.number)))
	m.boot = time.Time{}
	l := &Life{m: m}
	since := now.Add(m.since.Sub(m.now())) // m.since is by the device's clock
	uses := m.rhythm.between(m.today.AddDate(0, 0, -days), since.Add(-15*time.Minute))
	uses = append(uses, Use{From: since, To: now, Boots: !m.rhythm.awake})
	for i := range uses {
		u := &uses[i]
		day := m.day(u.From)
		if i == 0 || u.Boots || m.tale.clockError(day) != m.tale.clockError(m.day(uses[i-1].From)) {
			u.Boots, u.boot = true, l.Clock(u.From)
		} else {
			u.boot = uses[i-1].boot
		}
		if m.rhythm.awake && !u.From.Before(m.booted) {
			u.boot = m.booted
			u.Boots = i == 0 || !uses[i-1].boot.Equal(m.booted)
		}
		if i > 0 {
			uses[i-1].Breaks = u.Boots && m.tale.breaks(int(m.day(uses[i-1].From)))
		}
	}
	uses[len(uses)-1].boot = m.booted
	l.uses = uses
	return l
}

// Uses are those of the life in their order; the last one lasts.
func (l *Life) Uses() []Use { return l.uses }

// SwitchOn begins a use.
func (l *Life) SwitchOn(u Use) {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	l.m.switchOn(l.Clock(u.From), u.boot)
}

// Boot is when the use's boot was, by the machine's clock.
func (u Use) Boot() time.Time { return u.boot }

// Clock is what the machine's clock shows at a time.
func (l *Life) Clock(t time.Time) time.Time { return t.Add(l.ClockError(t)) }

// ClockError is by how much that is ahead.
func (l *Life) ClockError(t time.Time) time.Duration { return l.m.tale.clockError(l.m.day(t)) }

// Go makes it t.
func (l *Life) Go(t time.Time) { l.now = t }

// Read is the machine as it is at the life's time.
func (l *Life) Read(context.Context) sysinfo.Snapshot {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	return l.m.at(l.Clock(l.now))
}

// Minutes is a Read of what blocks hold, at a third of the cost.
func (l *Life) Minutes() sysinfo.Snapshot {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	now := l.Clock(l.now)
	l.m.pass(now)
	return l.m.fine(now, l.m.day(now))
}

// Software lists what is installed then.
func (l *Life) Software(context.Context) ([]sysinfo.Program, error) {
	return l.m.programs(l.m.day(l.now)), nil
}
