package fakes

import (
	"math/rand/v2"
	"slices"
	"time"
)

// rhythm is when somebody works, as days go by.
type rhythm struct {
	number  int
	freeDay time.Weekday // of a part-time teacher; Sunday for all others
	early   time.Duration
	evening float64 // how likely
	// awake: the device is never shut down, its lid is closed.
	awake bool
}

func newRhythm(number int, awake bool) rhythm {
	r := rand.New(rand.NewPCG(seed+2, uint64(number)))
	y := rhythm{number: number, early: time.Duration(r.IntN(50)) * time.Minute, evening: 0.25 + 0.35*r.Float64(), awake: awake}
	if r.IntN(4) == 0 {
		y.freeDay = time.Monday + time.Weekday(r.IntN(5))
	}
	return y
}

// day is what the device is used for on the day of t.
func (y rhythm) day(t time.Time) []Use {
	begin := midnight(t)
	r := rand.New(rand.NewPCG(seed+3, uint64(y.number)<<32|uint64(dateOf(begin))))
	at := func(hours float64) time.Time {
		return begin.Add(time.Duration(hours * float64(time.Hour))).Truncate(time.Second)
	}
	var uses []Use
	add := func(from, hours float64) {
		if hours > 0 {
			uses = append(uses, Use{From: at(from), To: at(from + hours)})
		}
	}
	chance, evening := r.Float64(), r.Float64()
	kind := KindOf(begin)
	switch {
	case kind == SchoolDay && (chance < 0.05 || begin.Weekday() == y.freeDay): // ill, or off
		if evening < 0.3 {
			add(10+4*r.Float64(), 1+1.5*r.Float64())
		}
	case kind == SchoolDay:
		first := 6.75 + y.early.Hours() + 0.4*r.Float64()
		pause := first + 2 + 0.8*r.Float64()
		length := 0.25 + 0.4*r.Float64()
		noon := 12.8 + 1.2*r.Float64()
		add(first, pause-first)
		add(pause+length, noon-pause-length)
		if r.Float64() < 0.5 {
			add(noon+0.5, 1.2+1.6*r.Float64())
		}
		if evening < y.evening {
			add(18.6+1.5*r.Float64(), 0.7+1.3*r.Float64())
		}
	case kind == Weekend && begin.Weekday() == time.Sunday:
		if chance < 0.3 { // Monday's lessons
			add(15.5+3*r.Float64(), 0.8+1.4*r.Float64())
		}
	case kind == SchoolHoliday:
		if chance < 0.2 {
			add(9.5+4*r.Float64(), 0.8+1.8*r.Float64())
		}
	case chance < 0.07:
		add(10+5*r.Float64(), 0.6+r.Float64())
	}
	for i := range uses { // whoever pauses closes the lid, most shut down at the end of the day's part
		uses[i].Boots = !y.awake && (i == 0 && r.IntN(5) > 0 || i > 1 && r.IntN(3) > 0)
	}
	return uses
}

// between gives the uses that begin in [from, to), cut off at to.
func (y rhythm) between(from, to time.Time) []Use {
	var uses []Use
	for day := midnight(from); day.Before(to); day = midnight(day.Add(36 * time.Hour)) {
		uses = append(uses, y.day(day)...)
	}
	uses = slices.DeleteFunc(uses, func(u Use) bool { return u.From.Before(from) || !u.From.Before(to) })
	if n := len(uses); n > 0 && uses[n-1].To.After(to) {
		uses[n-1].To = to
	}
	return uses
}

// awakeSince is since when a device is in use that is on now: some hours, but
// by day not from before the morning.
func awakeSince(now time.Time, hours float64) time.Time {
	since := now.Add(-time.Duration(hours * float64(time.Hour)))
	if morning := midnight(now).Add(6*time.Hour + 45*time.Minute + time.Duration(hours*9)*time.Minute); since.Before(morning) && now.Sub(morning) > 20*time.Minute {
		return morning
	}
	return since
}
