package journal_test

import (
	"strings"
	"testing"

	"hausmeister/agent/update/journal"
)

// What the end of an update must not leave to the next one.

// armed are the steps that an agent makes for a program.
func armed(p journal.Program, at int64) []journal.Event {
	return []journal.Event{
		{Kind: journal.Offer, Program: p, Lease: "lease-" + p.Version, At: at}, {Kind: journal.Download, At: at},
		{Kind: journal.Stage, At: at}, {Kind: journal.Arm, At: at},
	}
}

// passes are the steps of a program's good trial.
func passes(p journal.Program, at int64) []journal.Event {
	return []journal.Event{
		{Kind: journal.SwapTry, At: at}, {Kind: journal.SwapDone, At: at}, {Kind: journal.Start, At: at}, {Kind: journal.Alive, At: at},
		{Kind: journal.Check, At: at}, {Kind: journal.Bound, At: at}, {Kind: journal.Hear, Program: p, At: at},
	}
}

// TestAttack23_TriesAreOfOneSwap: an update that was hard to swap in, whatever became of
// it, takes no tries, wishes or bytes from the next one.
func TestAttack23_TriesAreOfOneSwap(t *testing.T) {
	wish := []journal.Event{{Kind: journal.Postpone}, {Kind: journal.Fetch, Bytes: 1000}}
	hard := []journal.Event{{Kind: journal.SwapTry}, {Kind: journal.SwapTry}}
	for name, end := range map[string][]journal.Event{
		"goes back": {{Kind: journal.SwapTry, At: day}, {Kind: journal.SwapDone, At: day}, {Kind: journal.Start, At: day},
			{Kind: journal.GiveUp, At: day}, {Kind: journal.Restored, At: day}},
		"is good": passes(v2, day),
	} {
		j := at(t, journal.Staged)
		j, _ = run(t, j, wish...)
		j, _ = run(t, j, journal.Event{Kind: journal.Arm, At: day})
		j, _ = run(t, j, hard...)
		j, _ = run(t, j, end...)
		if j.Next.Known() || j.Size != 0 {
			t.Errorf("one that %s leaves %v, %d bytes", name, j.Next, j.Size)
		}
		j, _ = run(t, j, armed(v3, 3*day)...)
		if j.Postpones != 0 || j.Fetched != 0 {
			t.Errorf("after one that %s the next begins with %d wishes and %d bytes", name, j.Postpones, j.Fetched)
		}
		for try := 1; try <= 3; try++ {
			if j, _ = run(t, j, journal.Event{Kind: journal.SwapTry, At: 3 * day}); j.State != journal.Armed {
				t.Fatalf("after one that %s, try %d of the next: %s, told %s", name, try, j.State, told(j))
			}
		}
	}
}

// TestAttack34_FailuresOfTheTrialAreOver: a program that was settled has its three failures
// in a day anew.
func TestAttack34_FailuresOfTheTrialAreOver(t *testing.T) {
	end, start := journal.Event{Kind: journal.End, Reason: journal.Crashed}, journal.Event{Kind: journal.Start}
	j, _ := run(t, at(t, journal.Trial), end, start, end, start)
	j, _ = run(t, j, journal.Event{Kind: journal.Alive}, journal.Event{Kind: journal.Check}, journal.Event{Kind: journal.Bound}, journal.Event{Kind: journal.Hear, Program: v2})
	if j.State != journal.Committed || len(j.Failures) != 0 {
		t.Fatalf("%s with %d failures", j.State, len(j.Failures))
	}
	for n := 1; n <= 3; n++ {
		want := journal.Committed
		if n == 3 {
			want = journal.RollingBack
		}
		if j, _ = run(t, j, end); j.State != want {
			t.Fatalf("after crash %d behind the commit: %s, want %s", n, j.State, want)
		}
		if n < 3 {
			j, _ = run(t, j, start)
		}
	}
}

// TestByHandIsNotBarred: what somebody installs by hand is wanted here, also if it failed
// before: it may be offered again, and be gone back to. What else failed stays barred.
func TestByHandIsNotBarred(t *testing.T) {
	crashed := []journal.Event{{Kind: journal.End, Reason: journal.Crashed}, {Kind: journal.Start}, {Kind: journal.End, Reason: journal.Crashed}, {Kind: journal.Start}, {Kind: journal.End, Reason: journal.Crashed}}
	j, _ := run(t, at(t, journal.Idle), armed(v3, 0)...)
	j, _ = run(t, j, journal.Event{Kind: journal.SwapDone}, journal.Event{Kind: journal.Start}, journal.Event{Kind: journal.GiveUp}, journal.Event{Kind: journal.Restored})
	j, _ = run(t, j, armed(v2, 0)...)
	j, _ = run(t, j, journal.Event{Kind: journal.SwapDone}, journal.Event{Kind: journal.Start})
	j, _ = run(t, j, crashed...)
	j, _ = run(t, j, journal.Event{Kind: journal.Restored})
	if why, barred := j.BarredFor(v2.Sum); !barred || why != journal.Crashed {
		t.Fatalf("%s is barred for %s (%t)", v2.Version, why, barred)
	}
	j, _ = run(t, j, journal.Event{Kind: journal.Adopt, Program: v2, Previous: v1, Note: "by hand"})
	if why, barred := j.BarredFor(v2.Sum); barred {
		t.Errorf("what was installed by hand is barred for %s", why)
	}
	if _, barred := j.BarredFor(v3.Sum); !barred {
		t.Error("what failed beside it is barred no more")
	}
	// It is what the next one goes back to.
	v4 := program("1.3.0")
	next, _ := run(t, j, append(armed(v4, 2*day), passes(v4, 2*day)...)...)
	next, _ = run(t, next, crashed...)
	if next.State != journal.RollingBack || next.Good != v2 {
		t.Errorf("a bad one after it: %s, good %v", next.State, next.Good)
	}
	// And it may be offered again, once another one was installed by hand.
	j, _ = run(t, j, journal.Event{Kind: journal.Adopt, Program: v1, Note: "by hand again"})
	if j, _ = run(t, j, journal.Event{Kind: journal.Offer, Program: v2, Lease: "again"}); j.State != journal.Offered || strings.HasSuffix(told(j), "refused:barred") {
		t.Errorf("an offer of it: %s, told %s", j.State, told(j))
	}
}
