package gateway

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"hausmeister/proto/hmpb"
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

// places is how many batches of backlogs may be on their way into the store at
// once: the commit that the others wait for holds no more than these. On a disk
// that is slow today the backlog takes longer, and they do not.
const places = 2

// idlePlace is how long a place waits for its batch. An agent sends the next
// one with the acknowledgement of the last, so that it is here already.
const idlePlace = 2 * time.Second

// backlog lets the devices that have much to tell take turns. Without it two
// hundred that come back from their holidays fill each commit, and those that
// report as on any day wait seconds for theirs instead of milliseconds. Whoever
// waits is not read, so that nothing of the backlog lies in our memory.
type backlog struct {
	perSecond float64
	places    chan struct{}

	mu sync.Mutex
	// free is when all that has a turn may be read; guarded by mu.
	free time.Time
}

func newBacklog(perSecond int) *backlog {
	return &backlog{perSecond: float64(perSecond), places: make(chan struct{}, places)}
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

// place waits for a place; leave gives it back.
func (b *backlog) place(ctx context.Context) (leave func(), ok bool) {
	select {
	case b.places <- struct{}{}:
	case <-ctx.Done():
		return nil, false
	}
	once := sync.OnceFunc(func() { <-b.places })
	idle := time.AfterFunc(idlePlace, once)
	return func() { idle.Stop(); once() }, true
}

// pace is how fast one report stream is read.
type pace struct {
	backlog *backlog
	own     *rate.Limiter
	leave   func() // of its place; nil = it has none
}

func newPace(b *backlog) *pace {
	return &pace{backlog: b, own: rate.NewLimiter(entriesPerSecond, entriesBurst)}
}

// begin waits before the first batch of a device with so many entries to tell;
// false when ctx ended.
func (p *pace) begin(ctx context.Context, waiting uint64) bool {
	return waiting <= fewEntries || p.turn(ctx, firstTurn)
}

// stored is called when a batch is: its place is free for the next.
func (p *pace) stored() {
	if p.leave != nil {
		p.leave()
		p.leave = nil
	}
}

// next waits after a batch, before the next one is read.
func (p *pace) next(ctx context.Context, entries int) bool {
	if p.own.WaitN(ctx, min(entries+batchCost, entriesBurst)) != nil {
		return false
	}
	return entries <= fewEntries || p.turn(ctx, entries)
}

func (p *pace) turn(ctx context.Context, entries int) (ok bool) {
	if !sleep(ctx, p.backlog.turn(entries, time.Now())) {
		return false
	}
	p.leave, ok = p.backlog.place(ctx)
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

// waiting is how many entries a device has to tell above the cursor.
func waiting(hello *hmpb.Hello, cursor uint64) uint64 {
	last := hello.GetSpoolLast()
	return last - min(last, cursor)
}
