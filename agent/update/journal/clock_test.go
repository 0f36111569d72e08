package journal_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hausmeister/agent/update/journal"
)

// TestPutOff: a wish outlives its lease, and no other program's offer.
func TestPutOff(t *testing.T) {
	j, _ := run(t, at(t, journal.Staged), journal.Event{Kind: journal.Postpone, At: minute}, journal.Event{Kind: journal.Refuse, At: day / 2, Reason: journal.Withdrawn})
	again, _ := run(t, j, journal.Event{Kind: journal.Offer, At: day / 2, Program: v2, Lease: "next"})
	if again.NotBefore != minute+day || again.Postpones != 1 || again.Waits != journal.Postponed {
		t.Errorf("under the next lease not before %d, %d wishes, waits for %v", again.NotBefore, again.Postpones, again.Waits)
	}
	other, _ := run(t, j, journal.Event{Kind: journal.Offer, At: day / 2, Program: v3, Lease: "next"})
	if other.NotBefore > day/2 || other.Postpones != 0 {
		t.Errorf("another program not before %d, %d wishes", other.NotBefore, other.Postpones)
	}
	back, _ := run(t, other, journal.Event{Kind: journal.Offer, At: day / 2, Program: v2, Lease: "last"})
	if back.Postpones != 0 {
		t.Errorf("%d wishes after another program's offer", back.Postpones)
	}
	// It ends with the program: installed, barred, or another one by hand.
	wish := journal.Event{Kind: journal.Postpone}
	arm := journal.Event{Kind: journal.Arm, At: day}
	swapped := []journal.Event{wish, arm, {Kind: journal.SwapDone}, {Kind: journal.Start}}
	for name, events := range map[string][]journal.Event{
		"installed":   slices.Concat(swapped, []journal.Event{{Kind: journal.Alive}, {Kind: journal.Check}, {Kind: journal.Bound}, {Kind: journal.Hear, Program: v2}}),
		"rolled back": slices.Concat(swapped, []journal.Event{{Kind: journal.GiveUp}, {Kind: journal.Restored}}),
		"unfit":       {wish, {Kind: journal.Refuse, Reason: journal.Selftest}},
		"by hand":     {wish, event(journal.Adopt)},
	} {
		if j, _ := run(t, at(t, journal.Staged), events...); j.PutOff != (journal.PutOff{}) {
			t.Errorf("%s: still put off: %+v", name, j.PutOff)
		}
	}
	// A fourth wish is none, whichever leases they were said under.
	j = at(t, journal.Staged)
	for n := range 4 {
		now := int64(n) * day
		next, _, err := j.Step(journal.Event{Kind: journal.Postpone, At: now})
		if wrong := errors.Is(err, journal.ErrNotNow); wrong != (n == 3) {
			t.Fatalf("wish %d: %v", n+1, err)
		}
		if err == nil {
			j, _ = run(t, next, journal.Event{Kind: journal.Refuse, At: now + day/2, Reason: journal.Withdrawn},
				journal.Event{Kind: journal.Offer, At: now + day/2, Program: v2, Lease: fmt.Sprint("lease ", n)})
		}
	}
}

// TestClockSetWhilePutOff: what was put off is neither for years nor over because the
// clock was set, and one wish is not one for each time that the clock is set.
func TestClockSetWhilePutOff(t *testing.T) {
	const far = 9000 * day
	offer := func(at int64) journal.Event {
		return journal.Event{Kind: journal.Offer, At: at, Program: v2, Lease: fmt.Sprint("lease ", at), Until: at + 3*day}
	}
	refuse := func(at int64) journal.Event {
		return journal.Event{Kind: journal.Refuse, At: at, Reason: journal.Withdrawn}
	}
	wish := func(at int64) journal.Event { return journal.Event{Kind: journal.Postpone, At: at} }
	for name, c := range map[string]struct {
		events []journal.Event
		now    int64
		least  int64 // is still to be waited for, and at most
		most   int64
	}{
		"back, the same lease":      {[]journal.Event{wish(far), offer(day)}, day, day, day},
		"back, nothing is said":     {[]journal.Event{wish(far), {Kind: journal.Wait, At: day, Reason: journal.Postponed}}, day, day, day},
		"back, another lease":       {[]journal.Event{wish(far), refuse(far), offer(day)}, day, day, day},
		"back, leases day by day":   {[]journal.Event{wish(far), refuse(day), offer(day), refuse(3 * day), offer(3 * day)}, 3 * day, -2 * day, 0},
		"forward, the same lease":   {[]journal.Event{wish(day), offer(far)}, far, day, day},
		"forward, another lease":    {[]journal.Event{wish(day), refuse(day), offer(far)}, far, day, day},
		"forward and back, 5 times": {[]journal.Event{wish(day), offer(far), offer(day), offer(far), offer(day), offer(far)}, far, -far, 0},
		"three weeks later":         {[]journal.Event{wish(day), refuse(day), offer(22 * day)}, 22 * day, -20 * day, 0},
		"three wishes, back":        {[]journal.Event{wish(far), wish(far), wish(far), offer(day)}, day, 3 * day, 3 * day},
		"three wishes, forward":     {[]journal.Event{wish(day), wish(day), wish(day), offer(far)}, far, 3 * day, 3 * day},
		"three wishes, five times":  {[]journal.Event{wish(day), wish(day), wish(day), offer(far), offer(day), offer(far), offer(day)}, day, -far, 0},
		"a held file, back": {[]journal.Event{{Kind: journal.Arm, At: far}, {Kind: journal.SwapTry, At: far},
			{Kind: journal.SwapFail, At: far, Reason: journal.Held}, offer(day)}, day, 0, 25 * 60 * minute},
	} {
		j, _ := run(t, at(t, journal.Staged), c.events...)
		if left := j.NotBefore - c.now; left < c.least || left > c.most {
			t.Errorf("%s: %d h are left, want %d to %d", name, left/(60*minute), c.least/(60*minute), c.most/(60*minute))
		}
		said := 0
		for _, e := range c.events {
			if e.Kind == journal.Postpone {
				said++
			}
		}
		if j.PutOff.Times > said || j.Postpones > said {
			t.Errorf("%s: %d wishes count as %d and %d", name, said, j.PutOff.Times, j.Postpones)
		}
	}
	// A clock that was set right behind the wish does not keep it from being armed.
	j, _ := run(t, at(t, journal.Staged), wish(far), journal.Event{Kind: journal.Wait, At: day, Reason: journal.Postponed},
		journal.Event{Kind: journal.Arm, At: 2 * day})
	if j.State != journal.Armed {
		t.Errorf("a day later: %s", j.State)
	}
}

func TestAttack34_DiesAfterTheCommit(t *testing.T) {
	j := at(t, journal.Committed)
	crash := journal.Event{Kind: journal.End, Reason: journal.Crashed, Signature: "exit 2"}
	for i := range 3 {
		crash.At = int64(i+1) * 3 * 60 * minute // each time after three hours
		j, _ = run(t, j, journal.Event{Kind: journal.Start, At: crash.At}, journal.Event{Kind: journal.Alive, At: crash.At}, crash)
	}
	if j.State != journal.RollingBack || j.Good != v1 || j.Next != v2 {
		t.Fatalf("after three crashes in nine hours: %s, good %v", j.State, j.Good)
	}
	j, _ = run(t, j, journal.Event{Kind: journal.Restored})
	if _, barred := j.BarredFor(v2.Sum); !barred || j.State != journal.RolledBack {
		t.Errorf("%s, barred %v", j.State, j.Barred)
	}
	// One a day is bad luck, not a bad build.
	j = at(t, journal.Committed)
	for i := range 6 {
		crash.At = int64(i+1) * (day + minute)
		if j, _ = run(t, j, crash); j.State != journal.Committed {
			t.Fatalf("rolled back after %d crashes, one a day", i+1)
		}
	}
	// The previous one stays for a week and a restart, both.
	for name, events := range map[string][]journal.Event{
		"six days": ages(6*day, "boot-2"), "no restart": ages(9*day, "boot-1"), "restarts unknown": ages(9*day, ""),
		"many looks in six days": slices.Concat(ages(6*day, "boot-2"), ages(6*day, "boot-2"), ages(6*day, "boot-2")),
	} {
		if j, _ = run(t, at(t, journal.Committed), events...); j.Previous != v1 || !slices.Contains(j.Kept(), v1.Version) {
			t.Errorf("%s: the previous program may go", name)
		}
	}
	week := ages(8*day, "boot-2")
	if j, _ = run(t, at(t, journal.Committed), week[:len(week)-2]...); j.State != journal.Committed {
		t.Fatalf("after seven days less a moment: %s", j.State)
	}
	j, effects := run(t, j, week[len(week)-2])
	if j.State != journal.Pruned || j.Previous.Known() || !slices.Contains(effects, journal.DoPrune) {
		t.Errorf("after a week and a restart: %s, previous %v, %v", j.State, j.Previous, effects)
	}
	// Without one to go back to, the service goes on trying for ever.
	for i := range 50 {
		crash.At = 10*day + int64(i)
		if j, _ = run(t, j, crash); j.State != journal.Pruned {
			t.Fatalf("%s with nothing to go back to", j.State)
		}
	}
}

// TestAttack34_ClockThatJumps: the week in which the previous program is kept is none of a
// clock that is set.
func TestAttack34_ClockThatJumps(t *testing.T) {
	const years = 56 * 365 * day
	age := func(at int64) journal.Event { return journal.Event{Kind: journal.Age, At: at, Boot: "boot-2"} }
	shifted := func(by int64, events []journal.Event) []journal.Event {
		for i := range events {
			events[i].At += by
		}
		return events
	}
	// Committed in 1970, set right, and on for an hour; each morning begins in 1970.
	mornings := []journal.Event{}
	for i := range int64(6) {
		mornings = append(mornings, age(minute), age(years+i*day), age(years+i*day+60*minute))
	}
	// Several boots a day do not make it go faster.
	lessons := []journal.Event{}
	for i := range int64(20) {
		lessons = append(lessons, age(minute), age(years+i*120*minute))
	}
	for name, events := range map[string][]journal.Event{
		"ahead": {age(years), age(years + 60*minute)}, "each morning": mornings, "each lesson": lessons,
		"to 2099 and back": slices.Concat([]journal.Event{age(2 * years)}, ages(5*day, "boot-2")),
	} {
		if j, _ := run(t, at(t, journal.Committed), events...); j.State != journal.Committed || j.Previous != v1 {
			t.Errorf("%s: %s, previous %v", name, j.State, j.Previous)
		}
	}
	// Then it is a week as any other.
	j, _ := run(t, at(t, journal.Committed), slices.Concat([]journal.Event{age(years)}, shifted(years, ages(6*day, "boot-2")))...)
	if j.State != journal.Pruned {
		t.Errorf("a week after it was set right: %s", j.State)
	}
	// Committed, or once looked at, by a clock that was ahead.
	ahead := at(t, journal.Committed)
	ahead.CommittedAt, ahead.AgedAt = 2*years, 2*years
	if j, _ := run(t, ahead, shifted(years, ages(6*day, "boot-2"))...); j.State != journal.Committed || j.Previous != v1 {
		t.Errorf("six days after a commit in 2082: %s, previous %v", j.State, j.Previous)
	}
	if j, _ := run(t, ahead, shifted(years, ages(9*day, "boot-2"))...); j.State != journal.Pruned {
		t.Errorf("a week after a commit in 2082: %s", j.State)
	}
	if j, _ := run(t, ahead, lessons...); j.State != journal.Committed {
		t.Errorf("many boots after a commit in 2082: %s", j.State)
	}
	if j, _ := run(t, at(t, journal.Committed), slices.Concat([]journal.Event{age(2 * years)}, ages(9*day, "boot-2"))...); j.State != journal.Pruned {
		t.Errorf("a week after a look in 2082: %s", j.State)
	}
	// The next update has a week of its own.
	j, _ = run(t, at(t, journal.Committed), ages(5*day, "boot-2")...)
	for _, e := range []journal.Event{
		{Kind: journal.Offer, Program: v3, Lease: "next"}, {Kind: journal.Download}, {Kind: journal.Stage}, {Kind: journal.Arm}, {Kind: journal.SwapTry},
		{Kind: journal.SwapDone}, {Kind: journal.Start}, {Kind: journal.Alive}, {Kind: journal.Check}, {Kind: journal.Bound}, {Kind: journal.Hear, Program: v3},
	} {
		e.At, e.Boot = 6*day, "boot-2"
		j, _ = run(t, j, e)
	}
	next := ages(7*day, "boot-3")
	if j, _ = run(t, j, shifted(6*day, next[:len(next)-2])...); j.State != journal.Committed || j.Previous != v2 {
		t.Errorf("six days after the next update: %s, previous %v", j.State, j.Previous)
	}
	if j, _ = run(t, j, age(13*day)); j.State != journal.Committed { // boot-2 it was
		t.Errorf("without a restart: %s", j.State)
	}
	if j, _ = run(t, j, journal.Event{Kind: journal.Age, At: 13*day + 1, Boot: "boot-3"}); j.State != journal.Pruned {
		t.Errorf("a week after the next update: %s", j.State)
	}
	// A journal of an older launcher, which did not count, is kept a week from its next step.
	j = at(t, journal.Committed)
	j.AgedAt = 0
	if j, _ = run(t, j, age(30*day)); j.State != journal.Committed {
		t.Errorf("an older launcher's: %s", j.State)
	}
	if j, _ = run(t, j, shifted(30*day, ages(6*day, "boot-2"))...); j.State != journal.Pruned {
		t.Errorf("an older launcher's, a week later: %s", j.State)
	}
}

// TestAgeWritesSeldom: counting is a few writes a day, and none once nothing is kept.
func TestAgeWritesSeldom(t *testing.T) {
	for s, most := range map[journal.State]int{journal.Idle: 0, journal.Pruned: 0, journal.Committed: 4} {
		j, changes := at(t, s), 0
		for hour := range int64(24) {
			next, _ := run(t, j, journal.Event{Kind: journal.Age, At: 10*day + hour*60*minute, Boot: "boot-1"})
			if cmp.Diff(next, j) != "" {
				changes++
			}
			j = next
		}
		if changes > most {
			t.Errorf("%s: %d changes in a day, want %d at most", s, changes, most)
		}
	}
}

// TestNothingGoesWhileItMayBeNeeded: a week that ends in a trial takes nothing away.
func TestNothingGoesWhileItMayBeNeeded(t *testing.T) {
	j, _ := run(t, at(t, journal.Committed), journal.Event{Kind: journal.Offer, Program: v3, Lease: "next"}, journal.Event{Kind: journal.Download},
		journal.Event{Kind: journal.Stage}, journal.Event{Kind: journal.Arm}, journal.Event{Kind: journal.SwapDone}, journal.Event{Kind: journal.Start})
	j, effects := run(t, j, ages(9*day, "boot-2")...)
	if j.State != journal.Trial || j.Previous != v1 || len(effects) != 0 {
		t.Errorf("%s, previous %v, effects %v", j.State, j.Previous, effects)
	}
}

// TestDaysBehindInARow: of a clock that is far behind only days count between which it was
// not right: it may be of 1970 at each start.
func TestDaysBehindInARow(t *testing.T) {
	for _, right := range []bool{false, true} {
		j := at(t, journal.Committed)
		j.AgedAt = 100 * day
		for n := range int64(20) {
			j, _ = run(t, j, journal.Event{Kind: journal.Age, At: (n + 20) * day, Boot: "boot-2"})
			if right {
				j, _ = run(t, j, journal.Event{Kind: journal.Age, At: 100*day + n*minute, Boot: "boot-2"})
			}
		}
		if gone := !j.Previous.Known(); gone == right {
			t.Errorf("right in between %t: previous is gone %t", right, gone)
		}
	}
}
