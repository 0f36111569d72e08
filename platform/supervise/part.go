package supervise

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"
)

// A Part is one long-lived job.
type Part struct {
	Name string
	// Run does the job until ctx ends and calls ready once the parts after this
	// one may start; calling it again does nothing. An error is a failure, also
	// with ctx ended unless it is the context's own; nil before that means the
	// job is done for good, which is no failure.
	Run func(ctx context.Context, ready func()) error
	// StartWithin is how long a start may take until ready; 0 means 30 s.
	StartWithin time.Duration
	// StopWithin is how long Run may take to return after ctx ended; 0 means 5 s.
	StopWithin time.Duration
	// Restart says what happens after a failure; the zero Policy ends everything.
	Restart Policy
}

// Policy says how often and how soon a failed part is run again. The waits
// double from Min to Max, each with full jitter: between 0 and that wait.
type Policy struct {
	// Tries is how many failures in a row are answered by a restart; the next
	// one is for good. Below 0: no limit.
	Tries int
	// Min and Max bound the wait; 0 means 1 s and 1 min.
	Min, Max time.Duration
	// Forget is how long a part must have been ready without a failure for
	// earlier ones not to count any more; 0 means ten times Max.
	Forget time.Duration
}

// Always restarts without limit, at most once a minute in the long run.
var Always = Policy{Tries: -1}

var (
	// ErrNotReady is the failure of a part that was not ready within StartWithin.
	ErrNotReady = errors.New("not ready in time")
	// ErrLate is the failure of a part that did not return within StopWithin.
	ErrLate = errors.New("did not stop in time")
	// errVanished: runtime.Goexit in a part, which no part should call.
	errVanished = errors.New("goroutine ended without returning")
)

// PanicError is a panic that was contained.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap gives the error that was panicked with, if it was one.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Permanent marks a failure that a restart cannot cure (a port that is taken,
// a folder of a newer version): the restart policy is not asked.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

// Wanted marks an end that a part comes to on purpose, and the others with it. It is
// no failure, and not logged as one; Run returns it so that the program knows.
func Wanted(why error) error { return wanted{permanent{why}} }

type wanted struct{ error }

func (w wanted) Unwrap() error { return w.error }

type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// contain calls f and turns a panic into an error.
func contain(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return f()
}

func (p Part) withDefaults() Part {
	orDefault(&p.StartWithin, 30*time.Second)
	orDefault(&p.StopWithin, 5*time.Second)
	orDefault(&p.Restart.Min, time.Second)
	orDefault(&p.Restart.Max, time.Minute)
	p.Restart.Max = max(p.Restart.Max, p.Restart.Min)
	orDefault(&p.Restart.Forget, 10*p.Restart.Max)
	return p
}

func orDefault(d *time.Duration, v time.Duration) {
	if *d <= 0 {
		*d = v
	}
}

// ceiling is the longest wait before the restart after the nth failure in a row.
func (p Policy) ceiling(n int) time.Duration {
	d := p.Min
	for i := 1; i < n && d < p.Max; i++ {
		d *= 2
	}
	return min(d, p.Max)
}

// wait is the jittered wait after the nth failure in a row.
func (p Policy) wait(n int) time.Duration {
	return time.Duration(rand.Int64N(int64(p.ceiling(n)) + 1))
}
