package fault

import (
	"errors"
	"math/rand/v2"
	"slices"
)

var (
	// ErrInjected is the error of an operation that was made to fail.
	ErrInjected = errors.New("injected fault")
	// ErrDead answers everything after Kill: the process does not live any more.
	ErrDead = errors.New("the process was killed")
)

// Fault is what happens to one operation.
type Fault int

const (
	None Fault = iota
	// Fail does nothing and returns an error.
	Fail
	// Torn does half of a write and returns an error; other operations fail.
	Torn
	// Late does it all and returns an error: only the answer was lost.
	Late
	// Kill does half of a write and ends the process: nothing works afterwards.
	Kill
	// Full finds no space, on a Tree: also for every later write, until something
	// is removed.
	Full
)

func (f Fault) String() string {
	return [...]string{"none", "fail", "torn", "late", "kill", "full"}[f]
}

// Op is one operation on a Disk.
type Op struct {
	N    int // counted from 0
	Kind string
	Name string
}

// steps count what a process does to a disk, and let its plan happen. Whoever
// embeds them guards them.
type steps struct {
	n    int
	plan func(Op) Fault
	dead bool
}

func (s *steps) begin(plan func(Op) Fault) { *s = steps{plan: plan} }

// next counts an operation. The dead count no more, and nothing of theirs is done.
func (s *steps) next(kind, name string) (Fault, Op) {
	if s.dead {
		return Fail, Op{}
	}
	op := Op{N: s.n, Kind: kind, Name: name}
	s.n++
	f := None
	if s.plan != nil {
		f = s.plan(op)
	}
	s.dead = f == Kill
	return f, op
}

// At is a plan with one fault.
func At(n int, f Fault) func(Op) Fault {
	return func(op Op) Fault {
		if op.N == n {
			return f
		}
		return None
	}
}

// lose gives what may be left of data, of which synced was synced.
func lose(r *rand.Rand, synced, data []byte) []byte {
	same := 0
	for same < len(synced) && same < len(data) && synced[same] == data[same] {
		same++
	}
	if r.IntN(4) == 0 {
		return slices.Clone(synced)
	}
	keep := same + r.IntN(len(data)-same+1)
	left := slices.Clone(data[:keep])
	if keep > same && r.IntN(2) == 0 {
		left[same+r.IntN(keep-same)] ^= byte(1 + r.IntN(255))
	}
	return left
}
