package rollout

import (
	"context"
	"time"
)

// Retally is the part of a round of Run that counts devices.
func (r *Rollouts) Retally(ctx context.Context) error { return r.retally(ctx) }

// ForgetOld is the part of a round of Run that deletes.
func (r *Rollouts) ForgetOld(ctx context.Context) error {
	r.steady.look(r.now())
	return r.forgetOld(ctx)
}

// HoldTally is what others see while devices are being counted.
func (r *Rollouts) HoldTally() (release func()) {
	r.tallies.turn <- struct{}{}
	return func() { <-r.tallies.turn }
}

// Steps are the rings of a fleet of so many devices.
func (p Pace) Steps(fleet int64) []step { return p.steps(fleet) }

// Gone says what has gone by between two looks at the clock.
func (r *Rollouts) Gone(by func(from, to time.Time) time.Duration) { r.gone = by }
