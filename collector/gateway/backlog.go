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

// backlog lets the devices that have much to tell take turns. Without it two
// hundred that come back from their holidays fill each commit, and those that
// report as on any day wait two seconds for theirs instead of ten milliseconds.
// Whoever waits is not read, so that nothing of the backlog lies in our memory.
type backlog struct {
	perSecond float64

	mu sync.Mutex
	// free is when all that has a turn is stored; guarded by mu.
	free time.Time
}

// turn takes the place behind all others for so many entries and says how long
// that is away.
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

// pace is how fast one report stream is read.
type pace struct {
	backlog *backlog
	own     *rate.Limiter
}

func newPace(b *backlog) *pace {
	return &pace{b, rate.NewLimiter(entriesPerSecond, entriesBurst)}
}

// begin waits before the first batch of a device with so many entries to tell;
// false when ctx ended.
func (p *pace) begin(ctx context.Context, waiting uint64) bool {
	return waiting <= fewEntries || sleep(ctx, p.backlog.turn(firstTurn, time.Now()))
}

// next waits after a batch, before the next one is read.
func (p *pace) next(ctx context.Context, entries int) bool {
	if entries > fewEntries && !sleep(ctx, p.backlog.turn(entries, time.Now())) {
		return false
	}
	return p.own.WaitN(ctx, min(entries+batchCost, entriesBurst)) == nil
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
