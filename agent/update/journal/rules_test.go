package journal_test

import (
	"errors"
	"strings"
	"testing"

	"hausmeister/agent/update/journal"
)

// lost does what a program does that crashes so often, at these moments.
func lost(t *testing.T, j journal.Journal, at ...int64) journal.Journal {
	t.Helper()
	for _, now := range at {
		j, _ = run(t, j, journal.Event{Kind: journal.End, At: now, Reason: journal.Crashed})
	}
	return j
}

// TestAttack34_FailuresOfADay: of what was settled those of a day count, by whichever
// clock; on trial all do.
func TestAttack34_FailuresOfADay(t *testing.T) {
	for name, c := range map[string]struct {
		state journal.State
		at    []int64
		want  journal.State
	}{
		"in a day":                 {journal.Committed, []int64{1, day / 2, day}, journal.RollingBack},
		"in more than a day":       {journal.Committed, []int64{1, day / 2, day + 1}, journal.Committed},
		"the clock was set back":   {journal.Committed, []int64{10 * day, 10 * day, day}, journal.Committed},
		"the clock ran back":       {journal.Committed, []int64{day, day, minute}, journal.RollingBack},
		"on trial, over days":      {journal.Trial, []int64{1, 2 * day, 4 * day}, journal.RollingBack},
		"on trial, clock set back": {journal.Trial, []int64{10 * day, 10 * day, 1}, journal.RollingBack},
	} {
		if j := lost(t, at(t, c.state), c.at...); j.State != c.want {
			t.Errorf("%s: %s after crashes at %v, want %s", name, j.State, c.at, c.want)
		}
	}
	// With nothing to go back to it does so for ever; the journal does not grow by it.
	j := at(t, journal.Idle)
	for n := range int64(100) {
		j = lost(t, j, n)
	}
	if len(j.Failures) > 10 {
		t.Errorf("%d failures are kept", len(j.Failures))
	}
	// While a swap is armed nothing else begins.
	j, _ = run(t, at(t, journal.Committed), journal.Event{Kind: journal.Offer, Program: v3, Lease: "next"}, journal.Event{Kind: journal.Download},
		journal.Event{Kind: journal.Stage}, journal.Event{Kind: journal.Arm})
	if j := lost(t, j, 1, 2, 3, 4); j.State != journal.Armed {
		t.Errorf("armed, and crashed four times: %s", j.State)
	}
}

// TestAttack34_SwapsOfADay: three installations of a clock that was ahead keep none away.
func TestAttack34_SwapsOfADay(t *testing.T) {
	j := at(t, journal.Staged)
	j.Swaps = append(j.Swaps, 10*day, 20*day, 30*day)
	if j, _ := run(t, j, journal.Event{Kind: journal.Arm, At: minute}); j.State != journal.Armed || len(j.Swaps) != 1 {
		t.Errorf("%s, swaps %v, told %s", j.State, j.Swaps, told(j))
	}
}

// TestAttack24_TriesApart: a held file is tried again an hour later, then two.
func TestAttack24_TriesApart(t *testing.T) {
	j := at(t, journal.Staged)
	now := minute
	for _, want := range []int64{60 * minute, 120 * minute} {
		j, _ = run(t, j, journal.Event{Kind: journal.Arm, At: now}, journal.Event{Kind: journal.SwapTry, At: now}, journal.Event{Kind: journal.SwapFail, At: now, Reason: journal.Held})
		if got := j.NotBefore - now; got != want {
			t.Errorf("again in %d minutes, want %d", got/minute, want/minute)
		}
		now = j.NotBefore
	}
}

// TestAttack25_NothingToSwapIn: without a whole copy it is not tried again.
func TestAttack25_NothingToSwapIn(t *testing.T) {
	for _, why := range []journal.Reason{journal.Damaged, journal.Quarantined} {
		j, _ := run(t, at(t, journal.Armed), journal.Event{Kind: journal.SwapTry}, journal.Event{Kind: journal.SwapFail, Reason: why})
		if j.State != journal.Idle || !strings.HasSuffix(told(j), "refused:"+why.String()) {
			t.Errorf("%s, told %s", j.State, told(j))
		}
	}
}

// TestAdoptEndsAll: what was under way ends with a program that came by hand, and is told.
func TestAdoptEndsAll(t *testing.T) {
	byHand := journal.Event{Kind: journal.Adopt, Program: v3, Previous: v1}
	for s, want := range map[journal.State]string{
		journal.Idle: "", journal.Offered: "offered refused:withdrawn", journal.Trial: "swapped trial refused:withdrawn",
		journal.RollingBack: "rolling_back:no_collector rolled_back:no_collector",
	} {
		j, _ := run(t, at(t, s), byHand)
		if !strings.HasSuffix(told(j), want) || want == "" && told(j) != "" || j.Good != v3 || j.Previous != v1 || j.Next.Known() {
			t.Errorf("%s: good %v, previous %v, told %s", s, j.Good, j.Previous, told(j))
		}
		if _, barred := j.BarredFor(v2.Sum); barred != (s == journal.RollingBack) {
			t.Errorf("%s: what failed is barred: %t", s, barred)
		}
	}
	// A person knows better than the bar. The same again is nothing to go back to.
	j, _ := run(t, at(t, journal.RolledBack), journal.Event{Kind: journal.Adopt, Program: v2, Previous: v2})
	if _, barred := j.BarredFor(v2.Sum); barred || j.State != journal.Idle || j.Previous.Known() {
		t.Errorf("%s, previous %v, barred %t", j.State, j.Previous, barred)
	}
}

// TestLeaseOver: a lease ends by its own name alone, and arms nothing behind its end.
func TestLeaseOver(t *testing.T) {
	if _, _, err := at(t, journal.Staged).Step(journal.Event{Kind: journal.Withdraw, Lease: "another"}); !errors.Is(err, journal.ErrNotNow) {
		t.Errorf("another lease's end = %v", err)
	}
	for now, want := range map[int64]string{day: "armed", day + 1: "refused:withdrawn"} {
		j, _ := run(t, at(t, journal.Staged), journal.Event{Kind: journal.Offer, Program: v2, Lease: "lease", Until: day}, journal.Event{Kind: journal.Arm, At: now})
		if !strings.HasSuffix(told(j), want) {
			t.Errorf("armed %d ms behind its end: told %s, want %s", now-day, told(j), want)
		}
	}
}

// TestBackWhileTheNextIsPrepared: what was settled fails: the next one is given up, and the
// way back is told of no lease.
func TestBackWhileTheNextIsPrepared(t *testing.T) {
	j, _ := run(t, at(t, journal.Committed), journal.Event{Kind: journal.Offer, Program: v3, Lease: "next"}, journal.Event{Kind: journal.Wait, Reason: journal.Lesson})
	j = lost(t, j, 1, 2, 3)
	last := j.Untold[len(j.Untold)-1]
	if !strings.HasSuffix(told(j), "waiting:lesson refused:withdrawn rolling_back:crashed") || last.Lease != "" || last.To != v2 {
		t.Errorf("told %s, at last %+v", told(j), last)
	}
	// There is nothing behind it to go back to: it is as if nothing had been installed.
	j, _ = run(t, j, journal.Event{Kind: journal.Restored}, journal.Event{Kind: journal.Offer, Program: v3, Lease: "next"}, journal.Event{Kind: journal.Refuse, Reason: journal.Space})
	if j.State != journal.Idle || j.Good != v1 || j.Previous.Known() {
		t.Errorf("%s, good %v, previous %v", j.State, j.Good, j.Previous)
	}
}

// TestAttack38_NotBackToWhatIsUnfit: where the one before says itself that it cannot run here
// any more, what is good is not gone back from to that one.
func TestAttack38_NotBackToWhatIsUnfit(t *testing.T) {
	j, _ := run(t, at(t, journal.Committed), journal.Event{Kind: journal.Offer, Program: v1, Lease: "back"}, journal.Event{Kind: journal.Download},
		journal.Event{Kind: journal.Refuse, Reason: journal.Selftest})
	if j = lost(t, j, 1, 2, 3, 4); j.State != journal.Committed || j.Good != v2 {
		t.Errorf("%s, good %v", j.State, j.Good)
	}
}

// TestMendedAfterACrash: that bin/ was mended is told once a day, whatever else failed.
func TestMendedAfterACrash(t *testing.T) {
	mended := journal.Event{Kind: journal.Repair, At: 2, Reason: journal.Quarantined}
	j := lost(t, at(t, journal.Idle), 1)
	if j, _ = run(t, j, mended, mended); told(j) != "committed:quarantined" {
		t.Errorf("told %q", told(j))
	}
}

// TestMeasuredAndReached: what is known of the program that is good is not said by the next
// one, which takes its place with nothing known of its memory.
func TestMeasuredAndReached(t *testing.T) {
	j, _ := run(t, at(t, journal.Idle), journal.Event{Kind: journal.Measure, Bytes: 1000})
	j.Reached = false
	j, _ = run(t, j, journal.Event{Kind: journal.Offer, Program: v2, Lease: "lease"}, journal.Event{Kind: journal.Download}, journal.Event{Kind: journal.Stage},
		journal.Event{Kind: journal.Arm}, journal.Event{Kind: journal.SwapDone}, journal.Event{Kind: journal.Start},
		journal.Event{Kind: journal.Measure, Bytes: 9000}, journal.Event{Kind: journal.Reach})
	if j.Baseline != 1000 || j.Reached {
		t.Errorf("on trial: %d bytes, reached %t", j.Baseline, j.Reached)
	}
	j, _ = run(t, j, journal.Event{Kind: journal.Alive}, journal.Event{Kind: journal.Check}, journal.Event{Kind: journal.Bound}, journal.Event{Kind: journal.Hear, Program: v2})
	if j.State != journal.Committed || j.Baseline != 0 || !j.Reached {
		t.Errorf("%s: %d bytes, reached %t", j.State, j.Baseline, j.Reached)
	}
}

// TestPrunedIsToldOfBoth: which one went, and which one stays.
func TestPrunedIsToldOfBoth(t *testing.T) {
	j := at(t, journal.Pruned)
	if last := j.Untold[len(j.Untold)-1]; last.State != journal.Pruned || last.From != v1 || last.To != v2 {
		t.Errorf("told as %+v", last)
	}
}
