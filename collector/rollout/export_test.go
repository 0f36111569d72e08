package rollout

import "context"

// Retally is the part of a round of Run that counts devices.
func (r *Rollouts) Retally(ctx context.Context) error { return r.retally(ctx) }
