package health

import (
	"context"
	"time"
)

// A Replay is a Health for times that are past. Whoever lets a machine live
// through weeks in seconds says when the looks are, and what an agent would have
// told then is told by the same code. It has no goroutine and no timer, and is
// for one goroutine at a time; a machine that is switched on again needs a new one.
type Replay struct {
	h *Health
	w watch
}

// NewReplay makes one that has not looked yet. c.Now must give the device's
// clock as of each call.
func NewReplay(c Config) *Replay { return &Replay{h: New(c)} }

// Look is one look of Run's; monotonic rises from look to look by the time that
// passed. Run looks once a minute.
func (r *Replay) Look(ctx context.Context, monotonic time.Time) {
	if r.w.lastRead.IsZero() {
		r.h.judged.keptAt = monotonic
	}
	r.h.lookAt(ctx, &r.w, monotonic)
}

// Minute is a look that sees only what blocks hold, and is for nobody but the
// block: weeks of minutes cost a third so. Before it there was a Look.
func (r *Replay) Minute(ctx context.Context, monotonic time.Time) {
	r.w.lastRead, r.w.device = monotonic, r.h.now().Round(0)
	s := r.h.source.Read(ctx)
	r.w.lastBest = r.h.clock.best(r.w.device)
	r.h.minute(ctx, &r.w, readings(s, own{}), r.h.settings)
}

// List reads what is installed, if the source is a Lister, and tells it when it
// is another than was told. Run does so some minutes after its start and each 6
// hours.
func (r *Replay) List(ctx context.Context) {
	if _, ok := r.h.source.(Lister); ok {
		r.h.list(ctx)
	}
}

// End tells what is left, as Run does when the machine is shut down. Without it
// the machine crashed.
func (r *Replay) End(ctx context.Context) { r.h.finish(ctx) }
