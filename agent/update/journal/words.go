package journal

import (
	"encoding/json"

	"hausmeister/platform/layout"
)

// What agent and launcher agree on beside the journal.
const (
	// ExitSwap is the exit code of an agent that has armed an update.
	ExitSwap = 75
	// EnvLauncher is the environment variable in which an agent finds its launcher's
	// version; without one it was started by hand, and there are no updates.
	EnvLauncher = "HAUSMEISTER_LAUNCHER"
)

// State is where an update stands; numbers as in hmpb.UpdateState.
type State uint8

const (
	Idle        State = 0
	Offered     State = 1
	Downloaded  State = 2
	Staged      State = 3
	Armed       State = 4
	Swapped     State = 5
	Trial       State = 6
	Committed   State = 7
	Pruned      State = 8
	RollingBack State = 9
	RolledBack  State = 10
	// Waiting and Refused are told, but the machine never stands there: it goes
	// on by itself from where it was, or is at rest again.
	Waiting State = 11
	Refused State = 12
)

// States are those in which the machine can stand.
var States = []State{Idle, Offered, Downloaded, Staged, Armed, Swapped, Trial, Committed, Pruned, RollingBack, RolledBack}

func (s State) String() string {
	names := []string{"idle", "offered", "downloaded", "staged", "armed", "swapped", "trial", "committed", "pruned",
		"rolling_back", "rolled_back", "waiting", "refused"}
	if int(s) < len(names) {
		return names[s]
	}
	return "unknown"
}

// Reason says why an update waits, was refused or undone; numbers as in
// hmpb.UpdateReason.
type Reason uint8

const (
	None        Reason = 0
	Signature   Reason = 1
	Stale       Reason = 2
	WrongDevice Reason = 3
	Floor       Reason = 4
	From        Reason = 5
	BarredHere  Reason = 6
	Ramp        Reason = 7
	TooMany     Reason = 8
	Withdrawn   Reason = 9
	Launcher    Reason = 10
	Space       Reason = 11
	WrongBytes  Reason = 12
	Selftest    Reason = 13
	Held        Reason = 14
	Disk        Reason = 15
	Lesson      Reason = 16
	Battery     Reason = 17
	Metered     Reason = 18
	Support     Reason = 19
	Postponed   Reason = 20
	Schedule    Reason = 21
	Unreachable Reason = 22
	Crashed     Reason = 23
	Hung        Reason = 24
	NoCollector Reason = 25
	CPU         Reason = 26
	Memory      Reason = 27
	Quarantined Reason = 28
	Damaged     Reason = 29
	Operator    Reason = 30
	Handles     Reason = 31
	Writes      Reason = 32
)

func (r Reason) String() string {
	names := []string{"", "signature", "stale", "wrong_device", "floor", "from", "barred", "ramp", "too_many", "withdrawn", "launcher",
		"space", "download", "selftest", "held", "disk", "lesson", "battery", "metered", "support", "postponed", "schedule",
		"unreachable", "crashed", "hung", "no_collector", "cpu", "memory", "quarantined", "damaged", "operator",
		"handles", "writes"}
	if int(r) < len(names) {
		return names[r]
	}
	return "unknown"
}

// A Program is a version and the sum by which it is known.
type Program struct {
	Version string     `json:"version"`
	Sum     layout.Sum `json:"sum"`
}

// Known says that there is one.
func (p Program) Known() bool { return p.Version != "" }

// A Bar keeps a program away that failed here, until another sum comes.
type Bar struct {
	Program
	Reason Reason `json:"reason"`
	At     int64  `json:"at"`
}

// A Failure is a start that came to nothing, or an end that nobody asked for.
type Failure struct {
	Reason Reason `json:"reason"`
	At     int64  `json:"at"`
}

// A Step is one thing to tell the collector, once.
type Step struct {
	At        int64   `json:"at"`
	Lease     string  `json:"lease,omitempty"`
	From      Program `json:"from"`
	To        Program `json:"to"`
	State     State   `json:"state"`
	Reason    Reason  `json:"reason,omitempty"`
	Starts    int     `json:"starts,omitempty"`
	Fetched   uint64  `json:"fetched,omitempty"`
	Signature string  `json:"signature,omitempty"`
}

// A Journal is all that is remembered. The zero Journal knows nothing.
type Journal struct {
	State State `json:"state"`
	Since int64 `json:"since"` // when that state began, ms

	Good     Program `json:"good"`               // runs, or is what is gone back to
	Next     Program `json:"next"`               // of the update that goes on; while rolling back, what failed
	Previous Program `json:"previous"`           // was Good before Good
	Packaged string  `json:"packaged,omitempty"` // what the package's note said when it was last followed

	Lease     string  `json:"lease,omitempty"`
	Until     int64   `json:"until,omitempty"` // the lease's end
	Waits     Reason  `json:"waits,omitempty"` // for what, as told last
	NotBefore int64   `json:"not_before,omitempty"`
	Postpones int     `json:"postpones,omitempty"` // by the person at the device, for this update
	PutOff    PutOff  `json:"put_off,omitzero"`
	Fetched   uint64  `json:"fetched,omitempty"`
	Size      uint64  `json:"size,omitempty"` // of Next
	Swaps     []int64 `json:"swaps,omitempty"`
	Tries     int     `json:"tries,omitempty"` // of this swap

	Starts   int       `json:"starts,omitempty"`  // of what runs, since it was swapped in
	Pending  bool      `json:"pending,omitempty"` // started, and not alive yet
	Failures []Failure `json:"failures,omitempty"`
	Alive    bool      `json:"alive,omitempty"`    // in this start
	Checked  bool      `json:"checked,omitempty"`  // in this start
	Bounded  bool      `json:"bounded,omitempty"`  // in this start
	Heard    bool      `json:"heard,omitempty"`    // the collector named Next's version and sum
	Reached  bool      `json:"reached,omitempty"`  // Good reached the collector
	Why      Reason    `json:"why,omitempty"`      // of rolling back
	Crash    string    `json:"crash,omitempty"`    // signature of the last crash
	Baseline uint64    `json:"baseline,omitempty"` // bytes of memory of Good

	CommittedAt   int64  `json:"committed_at,omitempty"`
	CommittedBoot string `json:"committed_boot,omitempty"`
	Aged          int64  `json:"aged,omitempty"`      // ms that went by since, jumps of the clock left out
	AgedAt        int64  `json:"aged_at,omitempty"`   // up to when they are counted
	AgedBack      int64  `json:"aged_back,omitempty"` // the same by a clock that is behind that

	Barred []Bar  `json:"barred,omitempty"`
	Untold []Step `json:"untold,omitempty"`
	Lost   int    `json:"lost,omitempty"` // steps that found no room in Untold

	// Unknown are fields of a newer version, kept as they were for its next turn. What
	// such a field says of Next must name its sum, as PutOff does: the machine here does
	// not know when it ends.
	Unknown map[string]json.RawMessage `json:"-"`
}

// PutOff is what the person at the device said of a program. It outlives the lease: a
// new one of the same program is put off until then, too, and not anew three times.
type PutOff struct {
	Sum   layout.Sum `json:"sum"`
	Times int        `json:"times"`
	Until int64      `json:"until"` // ms
	// Moved: the clock was set, and Until with it.
	Moved bool   `json:"moved,omitempty"`
	Wish  string `json:"wish,omitempty"` // the last one, which is not to count twice
}

// Expected is what must lie in bin/ in this state.
func (j Journal) Expected() Program {
	switch j.State {
	case Swapped, Trial:
		return j.Next
	}
	return j.Good
}

// Kept are the versions whose copies must stay.
func (j Journal) Kept() []string {
	var all []string
	for _, p := range []Program{j.Good, j.Next, j.Previous} {
		if p.Known() {
			all = append(all, p.Version)
		}
	}
	return all
}

// BarredFor says whether a program failed here before, and why.
func (j Journal) BarredFor(sum layout.Sum) (Reason, bool) {
	for _, b := range j.Barred {
		if b.Sum == sum {
			return b.Reason, true
		}
	}
	return None, false
}
