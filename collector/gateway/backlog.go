package gateway

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// What one device may send without being read more slowly. After 44 days
// without network it has 21,000 states to tell, which then takes 40 s.
const (
	entriesPerSecond = 500
	entriesBurst     = 5000
	batchCost        = 10 // of a batch beside its entries
)

const (
	// fewEntries is what a device may have to tell that has been here all the
	// time; with more it has a backlog and takes turns with all others that have.
	fewEntries = 32
	// firstTurn is what the first batch of a backlog costs, of which nobody
	// knows yet how long it is: 64 kB of States.
	firstTurn = 128
	// maxTurn bounds the wait for a turn, so that an agent whose batch lies here
	// unread does not take us for dead (agent/link.ackWithin): above 15,000
	// devices in turns at 4,000 entries a second they are let in faster.
	maxTurn = 8 * time.Minute
)

// idlePlace is how long the place waits for its batch if others want it. An
// agent sends the next one with the acknowledgement of the last, so that it is
// here already.
const idlePlace = 500 * time.Millisecond

// backlog lets the devices that have much to tell take turns. Without it two
// hundred that come back from their holidays fill each commit, and those that
// report as on any day wait seconds for theirs instead of milliseconds. Whoever
// waits is not read, so that nothing of the backlog lies in our memory.
//
// A rate spreads them, and there is one place for a batch on its way into the
// store: the commit that the others wait for holds no more than that one. On a
// disk that is slow today the backlog takes longer, and they do not.
type backlog struct {
	perSecond float64
	mu        sync.Mutex
	// below is guarded by mu
	free   time.Time // when all that has a turn may be read
	seated *seat     // who has the place
	queue  []*seat   // who waits for it; empty when nobody has it
}

// seat is one use of the place.
type seat struct {
	ready chan struct{} // closed when the place is its own

	// below is guarded by backlog.mu
	since   time.Time // from when it had the place
	arrived bool      // its batch is here
}

func newBacklog(perSecond int) *backlog {
	return &backlog{perSecond: float64(perSecond)}
}

// turn gets behind all others for so many entries and says how long that is
// away.
func (b *backlog) turn(entries int, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.free.Before(now) {
		b.free = now
	}
	wait := b.free.Sub(now)
	if wait > maxTurn {
		return maxTurn
	}
	b.free = b.free.Add(time.Duration(float64(entries) / b.perSecond * float64(time.Second)))
	return wait
}

// sit waits for the place.
func (b *backlog) sit(ctx context.Context) (s *seat, ok bool) {
	s = &seat{ready: make(chan struct{})}
	b.mu.Lock()
	b.queue = append(b.queue, s)
	b.callLocked()
	b.mu.Unlock()
	idle := time.NewTicker(idlePlace)
	defer idle.Stop()
	for {
		select {
		case <-s.ready:
			return s, true
		case <-idle.C:
			b.unseat()
		case <-ctx.Done():
			b.leave(s)
			return nil, false
		}
	}
}

// callLocked gives the place to the next, if it is free.
func (b *backlog) callLocked() {
	if b.seated == nil && len(b.queue) > 0 {
		b.seated = b.queue[0]
		b.queue = slices.Delete(b.queue, 0, 1)
		b.seated.since = time.Now()
		close(b.seated.ready)
	}
}

// unseat takes the place from whom it waits for in vain.
func (b *backlog) unseat() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.seated; s != nil && !s.arrived && time.Since(s.since) >= idlePlace {
		b.seated = nil
		b.callLocked()
	}
}

// arrive keeps the place until the batch is stored.
func (b *backlog) arrive(s *seat) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.arrived = true
}

// leave frees the place, or that in the queue.
func (b *backlog) leave(s *seat) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.seated == s:
		b.seated = nil
	case !s.arrived: // else the place was taken from it
		b.queue = slices.DeleteFunc(b.queue, func(o *seat) bool { return o == s })
	}
	b.callLocked()
}

// tempo is how fast one report stream is read.
type tempo struct {
	backlog *backlog
	own     *rate.Limiter
	last    uint64 // of the spool, when the session began
	seat    *seat  // nil = it has none
}

// begin waits before the first batch of a device whose spool goes from cursor
// to last; false when ctx ended.
func (b *backlog) begin(ctx context.Context, cursor, last uint64) (*tempo, bool) {
	p := &tempo{backlog: b, own: rate.NewLimiter(entriesPerSecond, entriesBurst), last: last}
	return p, last-min(last, cursor) <= fewEntries || p.turn(ctx, firstTurn)
}

// arrived is called when a batch was read, stored when it is in the store.
func (p *tempo) arrived() {
	if p.seat != nil {
		p.backlog.arrive(p.seat)
	}
}

func (p *tempo) stored() {
	if p.seat != nil {
		p.backlog.leave(p.seat)
		p.seat = nil
	}
}

// next waits after a batch up to sequence through, before the next one is read.
// Who has told what it brought has no backlog any more.
func (p *tempo) next(ctx context.Context, entries int, through uint64) bool {
	if p.own.WaitN(ctx, min(entries+batchCost, entriesBurst)) != nil {
		return false
	}
	return entries <= fewEntries || through >= p.last || p.turn(ctx, entries)
}

func (p *tempo) turn(ctx context.Context, entries int) (ok bool) {
	if !sleep(ctx, p.backlog.turn(entries, time.Now())) {
		return false
	}
	p.seat, ok = p.backlog.sit(ctx)
	return ok
}

func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
