package journal

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"hausmeister/platform/layout"
)

// The machine of an update. The agent goes down the left side, by itself, and
// ends with Armed and exit code 75; the launcher does all from there on.
//
//	      Idle, Committed, Pruned, RolledBack      at rest: Good runs
//	        | Offer     ^ Refuse, Withdraw: what the person at the device put off
//	        v           |   stays so under the next Offer of the same program
//	     Offered -------+   Wait, Postpone: stays, and says why
//	        | Download  |
//	        v           |
//	    Downloaded -----+
//	        | Stage     |   the copy in versions/ is durable, hashed, tested
//	        v           |
//	      Staged -------+<---------------+
//	        | Arm                        | SwapFail: Good runs on, again later;
//	        v                            |   the third time, or without a copy
//	      Armed -------------------------+   to swap in, it is refused
//	        | SwapDone, after SwapTry: each try counts before it is made
//	        v
//	     Swapped                  bin/ holds Next
//	        | Start
//	        v
//	      Trial  -----------------> RollingBack    bin/ is made to hold Good
//	        |    3 starts or ends        |  ^
//	        |    without success,        |  | what was committed fails the same
//	        |    2 kills for CPU or      |  | way, and there still is a Previous
//	        |    memory, bad Check,      |  | that did get on here
//	        |    GiveUp                  |  +--- any state in which Good runs
//	        | Alive, Check, Hear, Bound  |
//	        v                            v Restored
//	    Committed                    RolledBack    the failed sum is barred
//	        | Age: a week and a restart of the machine
//	        v
//	      Pruned                     Previous is gone
//
// Adopt, of a program that somebody installed by hand, ends everything from
// anywhere: that one is Good.

// Kind is what happened.
type Kind uint8

const (
	Adopt    Kind = iota + 1 // Program runs from now on, came by hand; Note, Previous
	Offer                    // Program, Lease, Until, Size
	Wait                     // Reason, None = it goes on
	Refuse                   // Reason
	Withdraw                 // Lease
	Postpone                 // Wish
	Fetch                    // Bytes came
	Download                 // all of Program is here
	Stage                    // its copy is kept and tested
	Arm                      // the agent is about to end for it
	SwapTry                  // it is about to be tried
	SwapDone                 // bin/ holds Next
	SwapFail                 // it does not; Reason
	Start                    // of what runs; Boot
	Alive                    // it told that it gets on
	Check                    // its checks of itself; Reason, None = well
	Hear                     // the collector named Program to it
	Reach                    // it has a session with the collector
	Bound                    // it stayed within its bounds for long enough
	End                      // it ended unasked, or had to be killed; Reason, Signature
	Stop                     // it ended as it was asked to
	GiveUp                   // the old program reaches the collector, this one does not
	Restored                 // bin/ holds Good again
	Repair                   // bin/ was mended; Reason
	Age                      // time goes by; Boot
	Measure                  // Bytes of memory of Good
	Tell                     // the first Count steps were told
)

// Kinds are all of them.
var Kinds = []Kind{Adopt, Offer, Wait, Refuse, Withdraw, Postpone, Fetch, Download, Stage, Arm, SwapTry, SwapDone, SwapFail, Start, Alive,
	Check, Hear, Reach, Bound, End, Stop, GiveUp, Restored, Repair, Age, Measure, Tell}

func (k Kind) String() string {
	names := []string{"", "adopt", "offer", "wait", "refuse", "withdraw", "postpone", "fetch", "download", "stage", "arm", "swap_try", "swap_done",
		"swap_fail", "start", "alive", "check", "hear", "reach", "bound", "end", "stop", "give_up", "restored", "repair", "age",
		"measure", "tell"}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// agents says that the agent makes this step, and not the launcher.
func (k Kind) agents() bool {
	switch k {
	case Offer, Wait, Refuse, Withdraw, Postpone, Fetch, Download, Stage, Arm, Tell:
		return true
	}
	return false
}

// An Event is something that happened; the Kind says what else of it counts.
type Event struct {
	Kind      Kind
	At        int64 // ms
	Boot      string
	Program   Program
	Previous  Program
	Note      string
	Lease     string
	Until     int64
	Wish      string // by which it is told from the one before
	Size      uint64
	Bytes     uint64
	Reason    Reason
	Signature string
	Count     int
}

// Effect is what must be done once the new journal is on the disk.
type Effect uint8

const (
	DoRestore Effect = iota + 1 // make bin/ hold Good
	DoPrune                     // keep the copies of Kept only
	DoSettle                    // note that Good was settled, tell it so
)

// ErrNotNow: such a thing cannot happen in this state.
var ErrNotNow = errors.New("not in this state")

// Limits of the machine.
const (
	maxSwaps     = 3 // in swapWindow
	swapWindow   = int64(24 * time.Hour / time.Millisecond)
	maxTries     = 3 // of one swap
	triesApart   = int64(time.Hour / time.Millisecond)
	maxPostpones = 3
	postponeFor  = int64(24 * time.Hour / time.Millisecond)
	maxFailures  = 3 // in a trial, or in failWindow
	maxKills     = 2 // for CPU or memory, or for being taken away
	failWindow   = int64(24 * time.Hour / time.Millisecond)
	maxUntold    = 64 // the oldest is dropped
	maxBarred    = 64 // the oldest is dropped
	repairsApart = int64(24 * time.Hour / time.Millisecond)
)

// Step is the machine: what the journal is after an event, and what is to be
// done once that is on the disk. After an error nothing has changed.
func (j Journal) Step(e Event) (Journal, []Effect, error) {
	j = j.clone()
	effects, err := j.step(e)
	if err != nil {
		return Journal{}, nil, fmt.Errorf("%s while %s: %w", e.Kind, j.State, err)
	}
	return j, effects, nil
}

func (j *Journal) clone() Journal {
	c := *j
	c.Swaps, c.Failures = slices.Clone(j.Swaps), slices.Clone(j.Failures)
	c.Barred, c.Untold = slices.Clone(j.Barred), slices.Clone(j.Untold)
	return c
}

// step changes j, a copy.
func (j *Journal) step(e Event) ([]Effect, error) {
	if e.Kind == Adopt || e.Kind == Offer {
		if err := layout.CheckVersion(e.Program.Version); err != nil {
			return nil, errors.Join(ErrNotNow, err)
		}
	}
	switch e.Kind {
	case Adopt:
		if e.Previous.Known() && layout.CheckVersion(e.Previous.Version) != nil {
			return nil, ErrNotNow
		}
		return j.adopt(e), nil
	case Measure:
		if !j.trying() {
			j.Baseline = e.Bytes
		}
		return nil, nil
	case Tell:
		if e.Count < 0 || e.Count > len(j.Untold) {
			return nil, ErrNotNow
		}
		j.Untold = j.Untold[e.Count:]
		return nil, nil
	case Offer, Wait, Refuse, Withdraw, Postpone, Fetch, Download, Stage, Arm:
		return j.agentStep(e)
	case SwapTry, SwapDone, SwapFail, Restored, GiveUp:
		return j.launcherStep(e)
	case Start, Alive, Check, Hear, Reach, Bound, End, Stop, Repair:
		return j.runStep(e)
	case Age:
		return j.age(e), nil
	}
	return nil, ErrNotNow
}

// resting: nothing is under way.
func (j *Journal) resting() bool {
	return j.State == Idle || j.State == Committed || j.State == Pruned || j.State == RolledBack
}

// preparing: the agent is at it, and may leave off.
func (j *Journal) preparing() bool {
	return j.State == Offered || j.State == Downloaded || j.State == Staged
}

// trying: Next is in bin/.
func (j *Journal) trying() bool { return j.State == Swapped || j.State == Trial }

// enter changes the state.
func (j *Journal) enter(s State, e Event) { j.State, j.Since = s, e.At }

// tell notes a step for the collector.
func (j *Journal) tell(e Event, s State, r Reason) {
	step := Step{
		At: e.At, Lease: j.Lease, From: j.Good, To: j.Next, State: s, Reason: r,
		Starts: j.Starts, Fetched: j.Fetched,
	}
	if s == RollingBack || s == RolledBack { // else it would be the crash of another program
		step.Signature = j.Crash
	}
	if s == Committed || s == Pruned { // Good is what came
		step.From, step.To = j.Previous, j.Good
	}
	j.Untold = append(j.Untold, step)
	if n := len(j.Untold) - maxUntold; n > 0 {
		j.Untold = j.Untold[n:]
		j.Lost += n
	}
}

// rest ends an update that has not begun to change anything.
func (j *Journal) rest(e Event) {
	j.Next, j.Lease, j.Until, j.Waits, j.NotBefore = Program{}, "", 0, None, 0
	j.Postpones, j.Fetched, j.Size, j.Tries = 0, 0, 0, 0
	if j.CommittedAt != 0 {
		j.enter(Committed, e)
	} else {
		j.enter(Idle, e)
	}
}

// newRun forgets what is known of the program that ran.
func (j *Journal) newRun() {
	j.Starts, j.Pending, j.Failures = 0, false, nil
	j.Alive, j.Checked, j.Bounded, j.Heard, j.Crash = false, false, false, false, ""
}

func (j *Journal) bar(e Event, p Program, r Reason) {
	if j.PutOff.Sum == p.Sum {
		j.PutOff = PutOff{} // it does not come any more
	}
	j.Barred = append(j.Barred, Bar{Program: p, Reason: r, At: e.At})
	if n := len(j.Barred) - maxBarred; n > 0 {
		j.Barred = j.Barred[n:]
	}
}

func (j *Journal) adopt(e Event) []Effect {
	switch {
	case j.State == RollingBack: // its copy could not be had, another one could
		j.bar(e, j.Next, j.Why)
		j.tell(e, RolledBack, j.Why)
	case !j.resting():
		j.tell(e, Refused, Withdrawn)
	}
	j.rest(e)
	j.newRun()
	j.Why, j.Reached, j.Baseline, j.PutOff = None, false, 0, PutOff{}
	j.Good, j.Previous, j.Packaged = e.Program, Program{}, e.Note
	j.Barred = slices.DeleteFunc(j.Barred, func(b Bar) bool { return b.Sum == e.Program.Sum })
	j.keep(0, "")
	j.enter(Idle, e)
	if e.Previous.Known() && e.Previous.Sum != e.Program.Sum {
		j.Previous = e.Previous
		j.keep(e.At, e.Boot)
		j.enter(Committed, e)
	}
	// Nothing is pruned: who installs by hand may want to go back by hand.
	return []Effect{DoRestore, DoSettle}
}

// agentStep is what the agent does before anything changes.
func (j *Journal) agentStep(e Event) ([]Effect, error) {
	j.reckon(e.At)
	if e.Kind == Offer {
		return j.offer(e)
	}
	if !j.preparing() {
		return nil, ErrNotNow
	}
	switch e.Kind {
	case Wait:
		switch {
		case j.Waits == e.Reason:
		case e.Reason == None: // it goes on: what was told last is true no more
			j.Waits = None
			j.tell(e, j.State, None)
		default:
			j.Waits = e.Reason
			j.tell(e, Waiting, e.Reason)
		}
	case Refuse:
		return j.refuse(e, e.Reason), nil
	case Withdraw:
		if e.Lease != j.Lease {
			return nil, ErrNotNow
		}
		return j.refuse(e, Withdrawn), nil
	case Postpone:
		if j.Postpones >= maxPostpones {
			return nil, ErrNotNow
		}
		j.Postpones++
		// A day from when it could have begun: several wishes at once are as many days.
		j.NotBefore = min(max(e.At, j.NotBefore)+postponeFor, e.At+int64(j.Postpones)*postponeFor)
		j.Waits = Postponed
		j.PutOff = PutOff{Sum: j.Next.Sum, Times: j.Postpones, Until: j.NotBefore, Wish: e.Wish}
		j.tell(e, Waiting, Postponed)
	case Fetch:
		j.Fetched += e.Bytes
	case Download:
		if j.State != Offered {
			return nil, ErrNotNow
		}
		j.advance(e, Downloaded)
	case Stage:
		if j.State != Downloaded {
			return nil, ErrNotNow
		}
		j.advance(e, Staged)
	case Arm:
		return j.arm(e)
	}
	return nil, nil
}

// advance goes on and says so.
func (j *Journal) advance(e Event, s State) {
	j.Waits = None
	j.enter(s, e)
	j.tell(e, s, None)
}

// standing tells of a new lease where the update stands, and for what it waits.
func (j *Journal) standing(e Event) {
	j.tell(e, j.State, None)
	if j.Waits != None {
		j.tell(e, Waiting, j.Waits)
	}
}

func (j *Journal) offer(e Event) ([]Effect, error) {
	switch {
	case !j.resting() && !j.preparing(), !j.Good.Known(), e.Program.Sum == j.Good.Sum:
		return nil, ErrNotNow
	case j.preparing() && e.Program.Sum == j.Next.Sum:
		known := e.Lease == j.Lease
		j.Lease, j.Until = e.Lease, e.Until // the same again: what is here counts
		if !known {
			j.standing(e)
		}
		return nil, nil
	}
	var effects []Effect
	if j.preparing() {
		effects = j.refuse(e, Withdrawn) // the latest word counts
	}
	if _, barred := j.BarredFor(e.Program.Sum); barred { // why was told when it was
		j.Next, j.Lease, j.Crash = e.Program, e.Lease, ""
		j.tell(e, Refused, BarredHere)
		j.Next, j.Lease = Program{}, ""
		return effects, nil
	}
	j.Next, j.Lease, j.Until, j.Size, j.Crash = e.Program, e.Lease, e.Until, e.Size, ""
	j.advance(e, Offered)
	if j.PutOff.Sum != e.Program.Sum {
		j.PutOff = PutOff{}
	}
	j.Postpones, j.NotBefore = j.PutOff.Times, j.PutOff.Until
	if j.NotBefore > e.At {
		j.Waits = Postponed
		j.tell(e, Waiting, Postponed)
	}
	return effects, nil
}

func (j *Journal) refuse(e Event, r Reason) []Effect {
	if r == Selftest {
		j.bar(e, j.Next, r)
	}
	j.tell(e, Refused, r)
	j.rest(e)
	return []Effect{DoPrune}
}

func (j *Journal) arm(e Event) ([]Effect, error) {
	if j.State != Staged || e.At < j.NotBefore {
		return nil, ErrNotNow
	}
	j.Swaps = slices.DeleteFunc(j.Swaps, func(at int64) bool { return at <= e.At-swapWindow || at > e.At+swapWindow })
	switch { // that it is not barred was asked at its offer
	case len(j.Swaps) >= maxSwaps:
		return j.refuse(e, TooMany), nil
	case j.Until != 0 && e.At > j.Until:
		return j.refuse(e, Withdrawn), nil
	}
	j.Swaps = append(j.Swaps, e.At)
	j.advance(e, Armed)
	return nil, nil
}

// launcherStep is what changes bin/.
func (j *Journal) launcherStep(e Event) ([]Effect, error) {
	switch {
	case e.Kind == SwapTry && j.State == Armed:
		// Tries that nobody saw the end of: whatever it is that ends the launcher in
		// the middle, it must not do so for ever, with no agent running.
		if j.Tries >= maxTries {
			return append(j.refuse(e, Disk), DoRestore), nil
		}
		j.Tries++
		return nil, nil
	case e.Kind == SwapDone && j.State == Armed:
		j.newRun()
		j.advance(e, Swapped)
		return nil, nil
	case e.Kind == SwapFail && j.State == Armed:
		if e.Reason == Damaged || e.Reason == Quarantined || j.Tries >= maxTries {
			return append(j.refuse(e, e.Reason), DoRestore), nil
		}
		j.Waits, j.NotBefore = e.Reason, e.At+int64(j.Tries)*triesApart
		j.enter(Staged, e)
		j.tell(e, Waiting, e.Reason)
		return []Effect{DoRestore}, nil
	case e.Kind == GiveUp && j.State == Trial:
		return j.rollBack(e, NoCollector), nil
	case e.Kind == Restored && j.State == RollingBack:
		j.bar(e, j.Next, j.Why)
		j.enter(RolledBack, e)
		j.tell(e, RolledBack, j.Why)
		j.Next, j.Lease, j.Until, j.Waits, j.NotBefore = Program{}, "", 0, None, 0
		j.Postpones, j.Fetched, j.Size, j.Tries, j.Why = 0, 0, 0, 0, None
		j.newRun()
		return []Effect{DoPrune}, nil
	}
	return nil, ErrNotNow
}

// rollBack goes back from Next, or, where that was settled already, from Good to
// Previous.
func (j *Journal) rollBack(e Event, r Reason) []Effect {
	if !j.trying() {
		if j.preparing() {
			j.tell(e, Refused, Withdrawn)
			j.rest(e)
		}
		j.Next, j.Good, j.Previous = j.Good, j.Previous, Program{}
		j.keep(0, "")
	}
	j.Why, j.Pending = r, false
	j.enter(RollingBack, e)
	j.tell(e, RollingBack, r)
	return []Effect{DoRestore}
}

// runStep is what the program that runs does.
func (j *Journal) runStep(e Event) ([]Effect, error) {
	if j.State == Armed && e.Kind != End && e.Kind != Stop && e.Kind != Repair && e.Kind != Reach && e.Kind != Hear || j.State == RollingBack {
		return nil, ErrNotNow // nothing runs, or what runs is about to end
	}
	switch e.Kind {
	case Start:
		return j.start(e), nil
	case Alive:
		j.Pending, j.Alive = false, true
		return j.settle(e), nil
	case Check:
		if e.Reason != None && j.State == Trial {
			return j.rollBack(e, e.Reason), nil
		}
		j.Checked = e.Reason == None
		return j.settle(e), nil
	case Hear:
		if e.Program == j.Next && j.State == Trial {
			j.Heard = true
		} else if e.Program == j.Good && !j.trying() {
			j.Reached = true
		}
		return j.settle(e), nil
	case Reach:
		j.Reached = j.Reached || !j.trying()
	case Bound:
		j.Bounded = true
		return j.settle(e), nil
	case Stop:
		j.Pending, j.Alive = false, false
	case End:
		j.Crash = e.Signature
		return j.fail(e, e.Reason), nil
	case Repair:
		told := slices.ContainsFunc(j.Failures, func(f Failure) bool { return f.Reason == e.Reason && f.At > e.At-repairsApart })
		if !told {
			j.repaired(e)
		}
		return j.fail(e, e.Reason), nil
	}
	return nil, nil
}

// repaired tells that bin/ was mended. While the next program is only prepared that was
// Good, which the next is not to be blamed for.
func (j *Journal) repaired(e Event) {
	next, lease, s := j.Next, j.Lease, j.State
	if s == Idle || s == RolledBack || j.preparing() {
		j.Next, j.Lease, s = Program{}, "", Committed
	}
	j.tell(e, s, e.Reason)
	j.Next, j.Lease = next, lease
}

func (j *Journal) start(e Event) []Effect {
	if j.State == Swapped {
		j.advance(e, Trial)
	}
	if j.Pending { // neither alive nor ended: the machine went down with it
		if effects := j.fail(e, Crashed); len(effects) > 0 {
			return effects
		}
	}
	j.Starts++
	j.Pending, j.Alive, j.Checked, j.Bounded = true, false, false, false
	return nil
}

// fail counts, and goes back when it is enough and there is something to go back to.
func (j *Journal) fail(e Event, r Reason) []Effect {
	j.Pending, j.Alive, j.Checked, j.Bounded = false, false, false, false
	// A clock that jumped must not make a failure count for ever.
	j.Failures = slices.DeleteFunc(j.Failures, func(f Failure) bool {
		return !j.trying() && (f.At <= e.At-failWindow || f.At > e.At+failWindow)
	})
	j.Failures = append(j.Failures, Failure{Reason: r, At: e.At})
	if n := len(j.Failures) - 2*maxFailures; n > 0 {
		j.Failures = j.Failures[n:]
	}
	kills := 0
	for _, f := range j.Failures {
		switch f.Reason {
		case CPU, Memory, Handles, Writes, Quarantined:
			kills++
		}
	}
	enough := len(j.Failures) >= maxFailures || kills >= maxKills
	if !enough || !j.trying() && (!j.Previous.Known() || j.neverRan(j.Previous)) || j.State == Armed {
		return nil
	}
	return j.rollBack(e, r)
}

// settle commits when nothing is missing any more.
func (j *Journal) settle(e Event) []Effect {
	if j.State != Trial || !j.Alive || !j.Checked || !j.Heard || !j.Bounded {
		return nil
	}
	j.Previous, j.Good = j.Good, j.Next
	j.keep(e.At, e.Boot)
	j.Failures, j.Baseline, j.Reached, j.PutOff = nil, 0, true, PutOff{}
	j.enter(Committed, e)
	j.tell(e, Committed, None)
	j.Next, j.Lease, j.Until, j.Waits, j.NotBefore = Program{}, "", 0, None, 0
	j.Postpones, j.Fetched, j.Size, j.Tries = 0, 0, 0, 0
	return []Effect{DoSettle, DoPrune}
}

// neverRan says that a program did not get on here at all: a signed way back to it was
// tried. One that was given up for anything else, as for want of a collector, is better
// than one that fails.
func (j *Journal) neverRan(p Program) bool {
	switch why, _ := j.BarredFor(p.Sum); why {
	case Crashed, Hung, Selftest:
		return true
	}
	return false
}
