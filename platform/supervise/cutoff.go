package supervise

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// ErrCutOff is the answer for a call that was given up, or not begun because an
// earlier one was given up and still hangs.
var ErrCutOff = errors.New("cut off")

// A Cutoff runs calls that may hang beyond any context (WMI, a driver behind
// /sys, a dead network drive), one at a time: a call that hangs is given up and
// keeps its one goroutine, and until it ends further calls are refused at once.
// So a stuck call costs one goroutine however often it is asked for.
type Cutoff[T any] struct{ busy atomic.Bool }

// Do calls f, whose context ends after within, and gives up a little later
// should f not return: the result is thrown away and the error is ErrCutOff.
// The end of ctx is not waited out either. So f may outlive Do and must not
// write to anything that the caller reads.
func (c *Cutoff[T]) Do(ctx context.Context, within time.Duration, f func(ctx context.Context) (T, error)) (T, error) {
	var none T
	if !c.busy.CompareAndSwap(false, true) {
		return none, ErrCutOff
	}
	fctx, cancel := context.WithTimeout(ctx, within)
	type result struct {
		v   T
		err error
	}
	got := make(chan result, 1)
	go func() {
		defer cancel()
		r := result{err: errVanished}
		defer func() { c.busy.Store(false); got <- r }()
		r.err = contain(func() (err error) { r.v, err = f(fctx); return err })
	}()
	// A call that obeys its context ends with its own error just after that.
	grace := time.NewTimer(within + within/4)
	defer grace.Stop()
	select {
	case r := <-got:
		if errors.Is(r.err, context.DeadlineExceeded) {
			return none, ErrCutOff
		}
		return r.v, r.err
	case <-ctx.Done():
		return none, context.Cause(ctx)
	case <-grace.C:
		return none, ErrCutOff
	}
}
