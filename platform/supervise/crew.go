package supervise

import (
	"context"
	"sync"
)

// A Crew is the goroutines of one function that waits for them: it makes the
// Crew, lets it Go, and calls Wait before it returns, on every path.
type Crew struct {
	// OnPanic, if set before the first Go, takes a member's panic, and the
	// others go on: for servers, where one session's fault is not the others'.
	// Without it a panic ends the crew's context, and Wait panics on with it,
	// so that the part in which this happens counts as failed.
	OnPanic func(*PanicError)

	ctx    context.Context
	cancel context.CancelCauseFunc
	places chan struct{}

	mu      sync.Mutex
	idle    *sync.Cond
	running int
	panic   *PanicError
}

// NewCrew makes a crew of at most limit goroutines at once; their context ends
// with ctx, and when Wait is through.
func NewCrew(ctx context.Context, limit int) *Crew {
	if limit < 1 {
		panic("supervise: a crew without places")
	}
	c := &Crew{places: make(chan struct{}, limit)}
	c.idle = sync.NewCond(&c.mu)
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	return c
}

// Go runs f in a goroutine of its own as soon as there is a place. When the
// crew's context ends first, f does not run and Go says why the context ended.
// Members may call Go for further members only while a place is sure to come
// free: a full crew whose members all wait in Go waits until its context ends.
func (c *Crew) Go(f func(ctx context.Context)) error {
	select {
	case <-c.ctx.Done(): // first, so that a free place does not win by chance
		return context.Cause(c.ctx)
	default:
	}
	select {
	case c.places <- struct{}{}:
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
	c.start(f)
	return nil
}

// TryGo is Go without waiting: false when there is no place now, or when the
// crew's context has ended.
func (c *Crew) TryGo(f func(ctx context.Context)) bool {
	if c.ctx.Err() != nil {
		return false
	}
	select {
	case c.places <- struct{}{}:
		c.start(f)
		return true
	default:
		return false
	}
}

func (c *Crew) start(f func(ctx context.Context)) {
	c.mu.Lock()
	c.running++
	c.mu.Unlock()
	go func() {
		defer c.leave()
		err := contain(func() error { f(c.ctx); return nil })
		if pe, ok := err.(*PanicError); ok {
			c.panicked(pe)
		}
	}()
}

func (c *Crew) panicked(pe *PanicError) {
	if c.OnPanic != nil {
		c.OnPanic(pe)
		return
	}
	c.mu.Lock()
	if c.panic == nil {
		c.panic = pe
	}
	c.mu.Unlock()
	c.cancel(pe)
}

func (c *Crew) leave() {
	<-c.places
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running--; c.running == 0 {
		c.idle.Broadcast()
	}
}

// Stop ends the crew's context; Wait is still needed.
func (c *Crew) Stop() { c.cancel(nil) }

// Wait returns when no member runs any more, and ends the crew's context.
// It does not make members stop: end their context first, or call Stop.
func (c *Crew) Wait() {
	c.mu.Lock()
	for c.running > 0 {
		c.idle.Wait()
	}
	pe := c.panic
	c.mu.Unlock()
	c.cancel(nil)
	if pe != nil {
		panic(pe)
	}
}
