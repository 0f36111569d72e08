package journal_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"hausmeister/agent/update/journal"
	"hausmeister/platform/layout"
	"hausmeister/proto/hmpb"
)

const (
	minute = int64(time.Minute / time.Millisecond)
	day    = 24 * 60 * minute
)

func program(version string) journal.Program {
	p := journal.Program{Version: version}
	p.Sum, _ = layout.SumOf(strings.NewReader(version))
	return p
}

var v1, v2, v3 = program("1.0.0"), program("1.1.0"), program("1.2.0")

// event is a fitting one of each kind.
func event(k journal.Kind) journal.Event {
	e := journal.Event{Kind: k, At: 10 * minute, Boot: "boot-2", Lease: "lease", Bytes: 1000, Size: 1000}
	switch k {
	case journal.Adopt:
		e.Program, e.Note = v3, "3"
	case journal.Offer:
		e.Program, e.Until = v3, 14*day
	case journal.Hear:
		e.Program = v2
	case journal.Wait, journal.Refuse:
		e.Reason = journal.Lesson
	case journal.SwapFail:
		e.Reason = journal.Held
	case journal.Check:
		e.Reason = journal.Selftest // a good one changes no state by itself
	case journal.End, journal.Repair:
		e.Reason = journal.Crashed
	}
	return e
}

// at is a journal in a state, as events lead there.
func at(t *testing.T, s journal.State) journal.Journal {
	t.Helper()
	j := journal.Journal{}
	do := func(e journal.Event) {
		t.Helper()
		next, _, err := j.Step(e)
		if err != nil {
			t.Fatal(err)
		}
		j = next
	}
	do(journal.Event{Kind: journal.Adopt, Program: v1, Boot: "boot-1"})
	path := map[journal.State][]journal.Event{
		journal.Offered: {{Kind: journal.Offer, Program: v2, Lease: "lease"}},
	}
	add := func(s, before journal.State, events ...journal.Event) {
		path[s] = slices.Concat(path[before], events)
	}
	add(journal.Downloaded, journal.Offered, journal.Event{Kind: journal.Download})
	add(journal.Staged, journal.Downloaded, journal.Event{Kind: journal.Stage})
	add(journal.Armed, journal.Staged, journal.Event{Kind: journal.Arm})
	add(journal.Swapped, journal.Armed, journal.Event{Kind: journal.SwapDone})
	add(journal.Trial, journal.Swapped, journal.Event{Kind: journal.Start, Boot: "boot-1"})
	good := []journal.Event{{Kind: journal.Alive}, {Kind: journal.Check}, {Kind: journal.Bound}, {Kind: journal.Hear, Program: v2, Boot: "boot-1"}}
	if s == journal.Committed || s == journal.Pruned {
		good = slices.Clone(good)
		for i := range good {
			good[i].At = 1
			good[i].Boot = "boot-1"
		}
	}
	add(journal.Committed, journal.Trial, good...)
	add(journal.Pruned, journal.Committed, ages(8*day, "boot-2")...)
	add(journal.RollingBack, journal.Trial, journal.Event{Kind: journal.GiveUp})
	add(journal.RolledBack, journal.RollingBack, journal.Event{Kind: journal.Restored})
	for _, e := range path[s] {
		do(e)
	}
	if j.State != s {
		t.Fatalf("the way to %s ends in %s", s, j.State)
	}
	return j
}

// ages are the steps in which time goes by on a machine that is on in the mornings.
func ages(until int64, boot string) (all []journal.Event) {
	for at := day; at <= until; at += day {
		all = append(all, journal.Event{Kind: journal.Age, At: at, Boot: boot}, journal.Event{Kind: journal.Age, At: at + day/6, Boot: boot})
	}
	return all
}

// TestEveryPair: each event in each state leads where the drawing says, or is
// refused without a change ("-").
func TestEveryPair(t *testing.T) {
	const table = `
             idle       offered    downloaded staged     armed      swapped    trial       committed   pruned     rolling_back rolled_back
adopt        idle       idle       idle       idle       idle       idle       idle        idle        idle       idle         idle
offer        offered    offered    offered    offered    -          -          -           offered     offered    -            offered
wait         -          offered    downloaded staged     -          -          -           -           -          -            -
refuse       -          idle       idle       idle       -          -          -           -           -          -            -
withdraw     -          idle       idle       idle       -          -          -           -           -          -            -
postpone     -          offered    downloaded staged     -          -          -           -           -          -            -
fetch        -          offered    downloaded staged     -          -          -           -           -          -            -
download     -          downloaded -          -          -          -          -           -           -          -            -
stage        -          -          staged     -          -          -          -           -           -          -            -
arm          -          -          -          armed      -          -          -           -           -          -            -
swap_try     -          -          -          -          armed      -          -           -           -          -            -
swap_done    -          -          -          -          swapped    -          -           -           -          -            -
swap_fail    -          -          -          -          staged     -          -           -           -          -            -
start        idle       offered    downloaded staged     -          trial      trial       committed   pruned     -            rolled_back
alive        idle       offered    downloaded staged     -          swapped    trial       committed   pruned     -            rolled_back
check        idle       offered    downloaded staged     -          swapped    rolling_back committed  pruned     -            rolled_back
hear         idle       offered    downloaded staged     armed      swapped    trial       committed   pruned     -            rolled_back
reach        idle       offered    downloaded staged     armed      swapped    trial       committed   pruned     -            rolled_back
bound        idle       offered    downloaded staged     -          swapped    trial       committed   pruned     -            rolled_back
end          idle       offered    downloaded staged     armed      swapped    trial       committed   pruned     -            rolled_back
stop         idle       offered    downloaded staged     armed      swapped    trial       committed   pruned     -            rolled_back
give_up      -          -          -          -          -          -          rolling_back -          -          -            -
restored     -          -          -          -          -          -          -           -           -          rolled_back  -
repair       idle       offered    downloaded staged     armed      swapped    trial       committed   pruned     -            rolled_back
age          idle       offered    downloaded staged     armed      swapped    trial       committed   pruned     rolling_back rolled_back
measure      idle       offered    downloaded staged     armed      swapped    trial       committed   pruned     rolling_back rolled_back
tell         idle       offered    downloaded staged     armed      swapped    trial       committed   pruned     rolling_back rolled_back`
	lines := strings.Split(strings.TrimSpace(table), "\n")
	heads := strings.Fields(lines[0])
	pairs := 0
	for _, line := range lines[1:] {
		cells := strings.Fields(line)
		i := slices.IndexFunc(journal.Kinds, func(k journal.Kind) bool { return k.String() == cells[0] })
		if i < 0 || len(cells) != 1+len(journal.States) {
			t.Fatalf("line %q", line)
		}
		for n, s := range journal.States {
			if heads[n] != s.String() {
				t.Fatalf("column %s, want %s", heads[n], s)
			}
			j := at(t, s)
			before := fmt.Sprint(j)
			next, _, err := j.Step(event(journal.Kinds[i]))
			got := next.State.String()
			if err != nil {
				got = "-"
				if !errors.Is(err, journal.ErrNotNow) {
					t.Errorf("%s in %s: %v", cells[0], s, err)
				}
			}
			if got != cells[1+n] {
				t.Errorf("%s in %s leads to %s, want %s (%v)", cells[0], s, got, cells[1+n], err)
			}
			if fmt.Sprint(j) != before {
				t.Errorf("%s in %s changed the journal that it was asked of", cells[0], s)
			}
			pairs++
		}
	}
	if want := len(journal.Kinds) * len(journal.States); pairs != want {
		t.Errorf("%d pairs, want %d", pairs, want)
	}
	t.Logf("%d pairs", pairs)
}

// TestWords: states and reasons have the wire's numbers and names.
func TestWords(t *testing.T) {
	for n, name := range hmpb.UpdateState_name {
		if want := strings.ToLower(strings.TrimPrefix(name, "UPDATE_STATE_")); n > 0 && journal.State(n).String() != want {
			t.Errorf("state %d is %s, on the wire %s", n, journal.State(n), want)
		}
	}
	if n := len(hmpb.UpdateState_name); journal.State(n-1).String() == "unknown" || journal.State(n).String() != "unknown" {
		t.Errorf("the wire knows %d states, the journal others", n)
	}
	for n, name := range hmpb.UpdateReason_name {
		if want := strings.ToLower(strings.TrimPrefix(name, "UPDATE_REASON_")); n > 0 && journal.Reason(n).String() != want {
			t.Errorf("reason %d is %s, on the wire %s", n, journal.Reason(n), want)
		}
	}
	if n := len(hmpb.UpdateReason_name); journal.Reason(n-1).String() == "unknown" || journal.Reason(n).String() != "unknown" {
		t.Errorf("the wire knows %d reasons, the journal others", n)
	}
}

// run does events in a row; all must fit.
func run(t *testing.T, j journal.Journal, events ...journal.Event) (journal.Journal, []journal.Effect) {
	t.Helper()
	var effects []journal.Effect
	for _, e := range events {
		next, eff, err := j.Step(e)
		if err != nil {
			t.Fatal(err)
		}
		j, effects = next, append(effects, eff...)
	}
	return j, effects
}

func told(j journal.Journal) string {
	var all []string
	for _, s := range j.Untold {
		text := s.State.String()
		if s.Reason != journal.None {
			text += ":" + s.Reason.String()
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

func TestGoodUpdate(t *testing.T) {
	j := at(t, journal.Committed)
	if j.Good != v2 || j.Previous != v1 || j.Next.Known() {
		t.Errorf("after the commit good is %v, previous %v, next %v", j.Good, j.Previous, j.Next)
	}
	if got, want := told(j), "offered downloaded staged armed swapped trial committed"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
	last := j.Untold[len(j.Untold)-1]
	if last.From != v1 || last.To != v2 || last.Lease != "lease" {
		t.Errorf("the commit is told as %+v", last)
	}
	j, _ = run(t, j, journal.Event{Kind: journal.Tell, Count: len(j.Untold)})
	if len(j.Untold) != 0 {
		t.Errorf("%d steps left", len(j.Untold))
	}
}

// TestNoCommitWithout: each of the four is needed, whatever the order.
func TestNoCommitWithout(t *testing.T) {
	all := []journal.Event{{Kind: journal.Alive}, {Kind: journal.Check}, {Kind: journal.Bound}, {Kind: journal.Hear, Program: v2}}
	for missing := range all {
		j := at(t, journal.Trial)
		for i, e := range all {
			if i != missing {
				j, _ = run(t, j, e)
			}
		}
		if j.State != journal.Trial {
			t.Errorf("without %s it is %s", all[missing].Kind, j.State)
		}
		if j, _ = run(t, j, all[missing]); j.State != journal.Committed {
			t.Errorf("with %s last it is %s", all[missing].Kind, j.State)
		}
	}
	// The echo of another program is none; one that was heard lasts over restarts, the rest does not.
	j, _ := run(t, at(t, journal.Trial), all[0], all[1], all[2], journal.Event{Kind: journal.Hear, Program: journal.Program{Version: v2.Version, Sum: v1.Sum}})
	if j.State != journal.Trial {
		t.Error("committed by the echo of another hash")
	}
	j, _ = run(t, at(t, journal.Trial), all[3], all[0], all[1], journal.Event{Kind: journal.Stop}, journal.Event{Kind: journal.Start}, all[2])
	if j.State != journal.Trial || !j.Heard || j.Checked {
		t.Errorf("after a restart: %s, heard %t, checked %t", j.State, j.Heard, j.Checked)
	}
}

func TestAttack25_TakenAwayWhileTheNextIsPrepared(t *testing.T) {
	for _, s := range []journal.State{journal.Offered, journal.Downloaded, journal.Staged} {
		j := at(t, s)
		was := j
		j, _ = run(t, j, journal.Event{Kind: journal.Repair, Reason: journal.Quarantined})
		last := j.Untold[len(j.Untold)-1]
		if last.State != journal.Committed || last.Reason != journal.Quarantined || last.To != v1 || last.Lease != "" {
			t.Errorf("%s: told as %+v, want it of the program that runs", s, last)
		}
		if j.State != s || j.Next != was.Next || j.Lease != was.Lease {
			t.Errorf("%s: afterwards %s to %v under %q, want the update to go on", s, j.State, j.Next, j.Lease)
		}
	}
}

// TestAttack25_CountsAsAKill: a scanner that takes the new program away a second time has
// the last word, as if that had eaten the machine. Once is not enough.
func TestAttack25_CountsAsAKill(t *testing.T) {
	taken := journal.Event{Kind: journal.Repair, Reason: journal.Quarantined}
	for name, other := range map[string]journal.Event{
		"taken away twice":           taken,
		"taken away, after a kill":   {Kind: journal.End, Reason: journal.CPU},
		"taken away, after a crash":  {Kind: journal.End, Reason: journal.Crashed},
		"taken away, after one hang": {Kind: journal.End, Reason: journal.Hung},
	} {
		want := journal.RollingBack
		if other.Reason == journal.Crashed || other.Reason == journal.Hung {
			want = journal.Trial
		}
		for _, s := range []journal.State{journal.Trial, journal.Committed} {
			j, _ := run(t, at(t, s), other)
			if j.State != s {
				t.Fatalf("%s: %s after the first", name, j.State)
			}
			j, _ = run(t, j, taken)
			if want == journal.Trial && j.State != s || want == journal.RollingBack && (j.State != want || j.Why != journal.Quarantined) {
				t.Errorf("%s in %s: %s for %s", name, s, j.State, j.Why)
			}
		}
	}
}

func TestAttack25_TakenAwayAfterARollback(t *testing.T) {
	j := at(t, journal.RolledBack)
	j, _ = run(t, j, journal.Event{Kind: journal.Repair, Reason: journal.Quarantined})
	if last := j.Untold[len(j.Untold)-1]; last.State != journal.Committed || last.To != v1 || last.Reason != journal.Quarantined {
		t.Errorf("told as %+v, want it of the program that runs", last)
	}
}

// TestCrashOfTheOld: how the program before crashed is nothing of the next one's.
func TestCrashOfTheOld(t *testing.T) {
	j := at(t, journal.Committed)
	j, _ = run(t, j, journal.Event{Kind: journal.End, Reason: journal.Crashed, Signature: "exit 2"},
		journal.Event{Kind: journal.Offer, Program: v3, Lease: "lease"}, journal.Event{Kind: journal.Refuse, Reason: journal.Selftest})
	if last := j.Untold[len(j.Untold)-1]; last.State != journal.Refused || last.Signature != "" {
		t.Errorf("told as %+v, want no crash", last)
	}
	// Nor is one that comes while the next is prepared.
	j, _ = run(t, at(t, journal.Downloaded), journal.Event{Kind: journal.Start}, journal.Event{Kind: journal.End, Reason: journal.Crashed, Signature: "exit 2"},
		journal.Event{Kind: journal.Refuse, Reason: journal.Selftest})
	if last := j.Untold[len(j.Untold)-1]; last.State != journal.Refused || last.Signature != "" {
		t.Errorf("told as %+v, want no crash", last)
	}
	// Nor the reason why a scanner took away what crashed days ago.
	j, _ = run(t, at(t, journal.Committed), journal.Event{Kind: journal.End, Reason: journal.Crashed, Signature: "exit 2"},
		journal.Event{Kind: journal.Repair, At: 3 * day, Reason: journal.Quarantined})
	if last := j.Untold[len(j.Untold)-1]; last.Reason != journal.Quarantined || last.Signature != "" {
		t.Errorf("told as %+v, want no crash", last)
	}
	// Its own is told.
	j, _ = run(t, at(t, journal.Trial), journal.Event{Kind: journal.End, Reason: journal.CPU, Signature: "exit 1"},
		journal.Event{Kind: journal.End, Reason: journal.CPU, Signature: "exit 3"}, journal.Event{Kind: journal.Restored})
	for _, s := range j.Untold[len(j.Untold)-2:] {
		if s.Signature != "exit 3" {
			t.Errorf("told as %+v, want the last crash", s)
		}
	}
}

// TestAttack38_NotBackToWhatFailed: where a signed way back to the one before failed here,
// what is good is not gone back from to that one.
func TestAttack38_NotBackToWhatFailed(t *testing.T) {
	for _, why := range []journal.Reason{journal.Crashed, journal.Hung} {
		j := at(t, journal.Committed)
		crash := journal.Event{Kind: journal.End, Reason: why}
		for _, e := range []journal.Event{
			{Kind: journal.Offer, Program: v1, Lease: "back"}, {Kind: journal.Download}, {Kind: journal.Stage}, {Kind: journal.Arm}, {Kind: journal.SwapTry},
			{Kind: journal.SwapDone}, {Kind: journal.Start}, crash, {Kind: journal.Start}, crash, {Kind: journal.Start}, crash, {Kind: journal.Restored},
		} {
			j, _ = run(t, j, e)
		}
		if _, barred := j.BarredFor(v1.Sum); !barred || j.Good != v2 || j.Previous != v1 {
			t.Fatalf("%s, good %v, previous %v, barred %v", j.State, j.Good, j.Previous, j.Barred)
		}
		for range 10 {
			j, _ = run(t, j, journal.Event{Kind: journal.Start}, crash)
		}
		if j.State != journal.RolledBack || j.Good != v2 {
			t.Errorf("%s, good %v", j.State, j.Good)
		}
	}
}

// TestAttack38_BackToWhatHadNoCollector: a way back to the one before was given up for want
// of a collector alone. That one gets on, and is better than one that crashes.
func TestAttack38_BackToWhatHadNoCollector(t *testing.T) {
	j := at(t, journal.Committed)
	for _, e := range []journal.Event{
		{Kind: journal.Offer, Program: v1, Lease: "back"}, {Kind: journal.Download}, {Kind: journal.Stage}, {Kind: journal.Arm}, {Kind: journal.SwapTry},
		{Kind: journal.SwapDone}, {Kind: journal.Start}, {Kind: journal.Alive}, {Kind: journal.GiveUp}, {Kind: journal.Restored},
	} {
		j, _ = run(t, j, e)
	}
	if why, barred := j.BarredFor(v1.Sum); !barred || why != journal.NoCollector || j.Good != v2 || j.Previous != v1 {
		t.Fatalf("%s, good %v, previous %v, barred %v", j.State, j.Good, j.Previous, j.Barred)
	}
	for range 3 {
		j, _ = run(t, j, journal.Event{Kind: journal.Start}, journal.Event{Kind: journal.End, Reason: journal.Crashed})
	}
	if j.State != journal.RollingBack || j.Good != v1 {
		t.Errorf("%s, good %v", j.State, j.Good)
	}
}

func TestAttack38_NoLoop(t *testing.T) {
	// The same sum is no update.
	j := at(t, journal.Idle)
	if _, _, err := j.Step(journal.Event{Kind: journal.Offer, Program: journal.Program{Version: "9.0.0", Sum: v1.Sum}}); !errors.Is(err, journal.ErrNotNow) {
		t.Errorf("an offer of the program that runs = %v", err)
	}
	// What failed is barred, also under another version's name, until another sum comes.
	j = at(t, journal.RolledBack)
	j, _ = run(t, j, journal.Event{Kind: journal.Offer, Program: journal.Program{Version: "1.1.1", Sum: v2.Sum}, Lease: "again"})
	if j.State != journal.RolledBack || !strings.HasSuffix(told(j), "refused:barred") || j.Untold[len(j.Untold)-1].Lease != "again" {
		t.Errorf("an offer of the barred program: %s, told %s", j.State, told(j))
	}
	if j, _ = run(t, j, journal.Event{Kind: journal.Offer, Program: v3}); j.State != journal.Offered {
		t.Errorf("an offer of another program: %s", j.State)
	}
	// Three installations a day, whatever they are.
	j = at(t, journal.Idle)
	for i := range 4 {
		p := program(fmt.Sprintf("2.0.%d", i))
		at := int64(i) * 60 * minute
		j, _ = run(t, j, journal.Event{Kind: journal.Offer, At: at, Program: p}, journal.Event{Kind: journal.Download, At: at},
			journal.Event{Kind: journal.Stage, At: at}, journal.Event{Kind: journal.Arm, At: at})
		if i == 3 {
			if j.State != journal.Idle && j.State != journal.Committed || !strings.HasSuffix(told(j), "refused:too_many") {
				t.Errorf("the fourth installation in a day: %s, told %s", j.State, told(j))
			}
			break
		}
		j, _ = run(t, j, journal.Event{Kind: journal.SwapDone, At: at}, journal.Event{Kind: journal.Start, At: at}, journal.Event{Kind: journal.Alive, At: at},
			journal.Event{Kind: journal.Check, At: at}, journal.Event{Kind: journal.Bound, At: at}, journal.Event{Kind: journal.Hear, At: at, Program: p})
		if j.Good != p {
			t.Fatalf("installation %d: %s", i, j.State)
		}
	}
}

func TestAttack26_UpdateInAnUpdate(t *testing.T) {
	for _, s := range []journal.State{journal.Armed, journal.Swapped, journal.Trial, journal.RollingBack} {
		if _, _, err := at(t, s).Step(event(journal.Offer)); !errors.Is(err, journal.ErrNotNow) {
			t.Errorf("an offer in %s = %v", s, err)
		}
	}
	// Before that the newest offer wins, and the other one is told as refused.
	j, effects := run(t, at(t, journal.Staged), event(journal.Offer))
	if j.Next != v3 || !strings.HasSuffix(told(j), "refused:withdrawn offered") || !slices.Contains(effects, journal.DoPrune) {
		t.Errorf("a second offer: next %v, told %s", j.Next, told(j))
	}
}

// TestAttack26_StandingUnderAnotherLease: the collector knows nothing yet of a lease that
// replaces another one in the middle: it is told how far the update is, and what for it waits.
func TestAttack26_StandingUnderAnotherLease(t *testing.T) {
	for _, s := range []journal.State{journal.Offered, journal.Downloaded, journal.Staged} {
		for waits, want := range map[journal.Reason]string{journal.None: s.String(), journal.Lesson: s.String() + " waiting:lesson"} {
			j, _ := run(t, at(t, s), journal.Event{Kind: journal.Wait, Reason: waits})
			j, _ = run(t, j, journal.Event{Kind: journal.Tell, Count: len(j.Untold)}, journal.Event{Kind: journal.Offer, Program: v2, Lease: "next"})
			if got := told(j); got != want || j.Untold[len(j.Untold)-1].Lease != "next" {
				t.Errorf("%s, waiting for %s: told %q, want %q, of the new lease", s, waits, got, want)
			}
			j, _ = run(t, j, journal.Event{Kind: journal.Tell, Count: len(j.Untold)}, journal.Event{Kind: journal.Offer, Program: v2, Lease: "next"})
			if got := told(j); got != "" {
				t.Errorf("%s, waiting for %s: told %q of a lease that is known", s, waits, got)
			}
		}
	}
}

func TestSwapThatFails(t *testing.T) {
	j := at(t, journal.Staged)
	for try := 1; try <= 3; try++ {
		now := int64(try) * day
		j, _ = run(t, j, journal.Event{Kind: journal.Arm, At: now}, journal.Event{Kind: journal.SwapTry, At: now},
			journal.Event{Kind: journal.SwapFail, At: now, Reason: journal.Held})
		want := journal.Staged
		if try == 3 {
			want = journal.Idle
		}
		if j.State != want || j.Expected() != v1 {
			t.Errorf("after try %d: %s, expected in bin %v", try, j.State, j.Expected())
		}
		if _, _, err := j.Step(journal.Event{Kind: journal.Arm, At: now + 1}); !errors.Is(err, journal.ErrNotNow) {
			t.Errorf("armed again at once: %v", err)
		}
	}
	if got := told(j); !strings.HasSuffix(got, "refused:held") || strings.Count(got, "waiting:held") != 2 {
		t.Errorf("told %s", got)
	}
}

// TestAttack23_SwapThatNeverEnds: a launcher that ends in the middle of the swap each
// time does not try for ever.
func TestAttack23_SwapThatNeverEnds(t *testing.T) {
	j := at(t, journal.Armed)
	for range 3 {
		if j, _ = run(t, j, journal.Event{Kind: journal.SwapTry}); j.State != journal.Armed {
			t.Fatalf("after %d tries: %s", j.Tries, j.State)
		}
	}
	j, effects := run(t, j, journal.Event{Kind: journal.SwapTry})
	if j.State != journal.Idle || !slices.Contains(effects, journal.DoRestore) || !strings.HasSuffix(told(j), "refused:disk") {
		t.Errorf("%s, %v, told %s", j.State, effects, told(j))
	}
}

// TestFailedStarts: the third start without success goes back, however it fails.
func TestFailedStarts(t *testing.T) {
	start, alive := journal.Event{Kind: journal.Start}, journal.Event{Kind: journal.Alive}
	end := func(r journal.Reason) journal.Event { return journal.Event{Kind: journal.End, Reason: r} }
	for name, c := range map[string]struct {
		events []journal.Event
		starts int
	}{
		"dies at once":              {[]journal.Event{end(journal.Crashed), start, end(journal.Crashed), start, end(journal.Crashed)}, 3},
		"dies after it was alive":   {[]journal.Event{alive, end(journal.Crashed), start, alive, end(journal.Crashed), start, alive, end(journal.Crashed)}, 3},
		"takes the machine with it": {[]journal.Event{start, start, start}, 3},
		"is never alive":            {[]journal.Event{end(journal.Hung), start, end(journal.Hung), start, end(journal.Hung)}, 3},
		"eats a core twice":         {[]journal.Event{alive, end(journal.CPU), start, alive, end(journal.CPU)}, 2},
		"eats memory, then a core":  {[]journal.Event{alive, end(journal.Memory), start, alive, end(journal.CPU)}, 2},
		"open files, then writes":   {[]journal.Event{alive, end(journal.Handles), start, alive, end(journal.Writes)}, 2},
		"is taken away twice":       {[]journal.Event{{Kind: journal.Repair, Reason: journal.Quarantined}, {Kind: journal.Repair, Reason: journal.Quarantined}}, 1},
	} {
		j, effects := run(t, at(t, journal.Trial), c.events...)
		if j.State != journal.RollingBack || j.Starts != c.starts || !slices.Contains(effects, journal.DoRestore) {
			t.Errorf("%s: %s after %d starts, %v", name, j.State, j.Starts, effects)
		}
		before, _ := run(t, at(t, journal.Trial), c.events[:len(c.events)-1]...)
		if before.State != journal.Trial {
			t.Errorf("%s: rolled back too early", name)
		}
	}
	// Switched off three times while it starts well is no failure.
	j, _ := run(t, at(t, journal.Trial), journal.Event{Kind: journal.Stop}, start, journal.Event{Kind: journal.Stop}, start, alive, start, alive, start, alive, start)
	if j.State != journal.Trial || j.Starts != 6 {
		t.Errorf("%s after %d starts that were not failures", j.State, j.Starts)
	}
}

// TestPostpone: three wishes are three days, said one behind the other or each at the end
// of the one before, and never more than what is left of them.
func TestPostpone(t *testing.T) {
	for name, c := range map[string]struct{ at, until []int64 }{
		"at once":          {[]int64{0, minute, 2 * minute}, []int64{day, 2 * day, 3 * day}},
		"day by day":       {[]int64{0, day, 2 * day}, []int64{day, 2 * day, 3 * day}},
		"each a day later": {[]int64{0, 2 * day, 4 * day}, []int64{day, 3 * day, 5 * day}},
		"clock set back":   {[]int64{60 * minute, 0, minute}, []int64{day + 60*minute, 2 * day, 3 * day}},
	} {
		j := at(t, journal.Staged)
		for i, now := range c.at {
			j, _ = run(t, j, journal.Event{Kind: journal.Postpone, At: now})
			if j.NotBefore != c.until[i] || j.Postpones != i+1 || j.PutOff.Until != j.NotBefore {
				t.Errorf("%s: wish %d of minute %d is for minute %d, want %d", name, i+1, now/minute, j.NotBefore/minute, c.until[i]/minute)
			}
			if _, _, err := j.Step(journal.Event{Kind: journal.Arm, At: c.until[i] - 1}); !errors.Is(err, journal.ErrNotNow) {
				t.Errorf("%s: armed while postponed: %v", name, err)
			}
		}
		if _, _, err := j.Step(journal.Event{Kind: journal.Postpone, At: c.at[2]}); !errors.Is(err, journal.ErrNotNow) {
			t.Errorf("%s: postponed a fourth time: %v", name, err)
		}
		if armed, _ := run(t, j, journal.Event{Kind: journal.Arm, At: c.until[2]}); armed.State != journal.Armed {
			t.Errorf("%s: three days later %s", name, armed.State)
		}
	}
}

// TestNothingWithoutGood: where nothing is known to go back to, nothing begins.
func TestNothingWithoutGood(t *testing.T) {
	for _, e := range []journal.Event{
		event(journal.Offer), {Kind: journal.Adopt}, {Kind: journal.Adopt, Program: journal.Program{Version: "../x", Sum: v1.Sum}},
	} {
		if _, _, err := (journal.Journal{}).Step(e); !errors.Is(err, journal.ErrNotNow) {
			t.Errorf("%+v = %v", e, err)
		}
	}
}

func TestBounds(t *testing.T) {
	j := at(t, journal.Idle)
	for i := range 200 {
		p := program(fmt.Sprintf("3.0.%d", i))
		j, _ = run(t, j, journal.Event{Kind: journal.Offer, At: int64(i), Program: p}, journal.Event{Kind: journal.Refuse, At: int64(i), Reason: journal.Selftest})
	}
	if len(j.Untold) > 64 || len(j.Barred) > 64 || j.Lost == 0 {
		t.Errorf("%d untold, %d barred, %d lost", len(j.Untold), len(j.Barred), j.Lost)
	}
	// What was decided last is what is kept.
	if _, barred := j.BarredFor(program("3.0.199").Sum); !barred || j.Untold[len(j.Untold)-1].To != program("3.0.199") {
		t.Error("the newest was dropped")
	}
}
