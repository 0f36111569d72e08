// Package pace owns how quickly the bytes of updates leave the collector: per
// school, since a school is one line and seventy devices behind it, and in all.
// Whoever sends them (gateway over sessions, web over HTTPS) takes a Seat, and
// before each piece as many bytes as it has.
//
// Promises. In any span of time no more bytes go to one line than its rate times
// the span and one burst; the same holds for all lines together. Seats of a line
// get equal shares, whoever came first. Who finds no seat is told when to come
// back, so that a school that is switched on at eight comes as an even stream;
// who comes when it was told goes before those who were not, and of those the one
// who waits longest, so that nobody starves. A seat that others wait for is over
// after a while. Memory is bounded, whoever asks.
//
// What a line can bear and which device is behind which is said by the subjects
// (rollout). By HTTPS nobody says who he is, so that the line there is the address:
// what goes that way, to devices that get no session, is not counted for the school.
// All of it is memory: after a restart everybody asks anew.
package pace

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// DefaultRate of a line in bytes a second, where nobody set one: a quarter of
	// 16 Mbit/s, which is the line of a small school.
	DefaultRate = 500_000
	// DefaultParallel is how many devices of a line fetch at once.
	DefaultParallel = 5
	// DefaultTotal is for all lines together: 400 Mbit/s of the collector's own line.
	DefaultTotal = 50_000_000
	// DefaultSeats is how many fetch at once in all: each gets 25 kB/s at least.
	DefaultSeats = 2000
	// MinRate is below what nothing is set: a device gives a slower way up.
	MinRate = 8 << 10
	// seatRate is what a seat must get at least; a slow line has fewer of them.
	seatRate = 4 << 10
	// MaxWait bounds what somebody is told to wait.
	MaxWait = 24 * time.Hour
)

const (
	// burst is how much of a line's rate may go at once.
	burst = 100 * time.Millisecond
	// turn is after what a seat is over if others wait.
	turn = 5 * time.Minute
	// Who found no seat although his time had come is told to ask again soon, and
	// within queueMost however many are before him; he keeps his place for a quarter
	// more than that and late.
	soonMin, soonSpan = time.Second, 2 * time.Second
	queueMost         = time.Minute
	late              = 5 * time.Second
	// grace is how long a promise is kept beyond its time; agents spread long waits
	// over a quarter more.
	grace = 2 * time.Minute
	// maxPromises, those of one line, and maxLines bound memory, 100 bytes and 200
	// bytes each. Above the first two people are told to come back without a promise,
	// so that who makes up thousands of names behind his own address takes nobody
	// else's; above the third all strange lines share one.
	maxPromises, maxOfLine, maxLines = 200_000, 2000, 20_000
)

// Line is a school's way to us.
type Line struct {
	// Key is the school's id, or where a device has none its owner's.
	Key string
	// Rate is how many bytes a second may go there; 0 = Config.LineRate.
	Rate int64
	// Parallel is how many devices fetch at once; 0 = Config.LineParallel.
	Parallel int
}

// filled is l with what holds for lines of which nothing is known.
func (p *Pacer) filled(l Line) Line {
	if l.Rate <= 0 {
		l.Rate = p.normal.Rate
	}
	l.Rate = max(l.Rate, MinRate)
	if l.Parallel <= 0 {
		l.Parallel = p.normal.Parallel
	}
	l.Parallel = int(min(int64(l.Parallel), l.Rate/seatRate))
	return l
}

// Content is a file that may be fetched, and the line that it goes over. Close is
// called once nobody reads it any more; nil = nothing is to be closed.
type Content struct {
	io.ReaderAt
	Size int64
	Line Line
	// Lasts is for how long bytes may come, until the lessons begin; 0 = for any time.
	Lasts time.Duration
	Close func()
}

// LaterError says that there are no bytes now, and when there may be.
type LaterError struct{ After time.Duration }

func (e *LaterError) Error() string { return fmt.Sprintf("not before %v have gone by", e.After) }

// Config of a Pacer.
type Config struct {
	// Rate in bytes a second and Seats for all lines together; 0 = DefaultTotal and
	// DefaultSeats.
	Rate  int64
	Seats int
	// LineRate and LineParallel are those of a line that says none; 0 = DefaultRate
	// and DefaultParallel.
	LineRate     int64
	LineParallel int
	// Random in [0, 1); nil = math/rand.
	Random func() float64
}

// Pacer says who may send how much.
type Pacer struct {
	seats  int
	normal Line
	random func() float64

	mu sync.Mutex
	// below is guarded by mu
	all      bucket
	taken    int // seats
	promises int
	number   uint64 // of the last promise
	lines    map[string]*line
	pruned   time.Time
	stats    Stats
}

// Stats are counts since the start; Seats and Waiting are of now.
type Stats struct {
	Seats, Waiting int
	Bytes, Refused uint64
}

// line is what is remembered of a Line in use.
type line struct {
	rate     int64
	parallel int
	bucket   bucket
	seats    int
	waited   time.Time // when somebody was last sent away
	free     time.Time // when all the work that was begun or promised is done
	promised map[string]*promise
	here     map[string]*promise // of these, who found no seat although his time had come
}

// promise is what somebody was told who found no seat.
type promise struct {
	number    uint64 // rises
	since, at time.Time
	here      time.Time // until when he, who came in time and found no seat, is about to ask again
}

// New makes a Pacer.
func New(cfg Config) *Pacer {
	if cfg.Rate <= 0 {
		cfg.Rate = DefaultTotal
	}
	if cfg.Seats <= 0 {
		cfg.Seats = DefaultSeats
	}
	if cfg.LineRate <= 0 {
		cfg.LineRate = DefaultRate
	}
	if cfg.LineParallel <= 0 {
		cfg.LineParallel = DefaultParallel
	}
	if cfg.Random == nil {
		cfg.Random = rand.Float64
	}
	return &Pacer{seats: cfg.Seats, normal: Line{Rate: cfg.LineRate, Parallel: cfg.LineParallel}, random: cfg.Random, all: bucket{rate: cfg.Rate}, lines: map[string]*line{}}
}

// Enter asks for a seat on a line for who, a device, and size bytes. Without one
// it says how long to wait.
func (p *Pacer) Enter(l Line, who string, size int64) (*Seat, time.Duration) {
	now := time.Now()
	l = p.filled(l)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pruneLocked(now)
	ln := p.lineLocked(l)
	ln.rate, ln.parallel, ln.bucket.rate = l.Rate, l.Parallel, l.Rate // may have been set anew
	work := time.Duration(float64(cost(size)) / float64(ln.rate) * float64(time.Second))
	mine := ln.promised[who]
	before := ln.before(mine, now)
	free := min(ln.parallel-ln.seats, p.seats-p.taken)
	switch {
	case mine != nil && now.Before(mine.at.Add(-time.Second)):
		p.stats.Refused++
		return nil, mine.at.Sub(now) // came too early
	case free > before:
		if mine != nil {
			p.forgetLocked(ln, who)
		} else {
			ln.work(work, now)
		}
		ln.seats++
		p.taken++
		return &Seat{p: p, line: ln, since: now}, 0
	}
	p.stats.Refused++
	ln.waited = now
	if mine != nil {
		wait := p.soonLocked() + min(queueMost, time.Duration(before)*work*3/8)
		mine.here, ln.here[who] = now.Add(wait+wait/4+late), mine
		return nil, wait
	}
	return nil, p.promiseLocked(ln, who, work, now)
}

// lineLocked finds or makes the memory of a line.
func (p *Pacer) lineLocked(l Line) *line {
	if p.lines[l.Key] == nil && len(p.lines) >= maxLines {
		l.Key = "" // all others together
	}
	ln := p.lines[l.Key]
	if ln == nil {
		ln = &line{promised: map[string]*promise{}, here: map[string]*promise{}}
		p.lines[l.Key] = ln
	}
	return ln
}

// before is how many are here who go before the owner of a promise, or before
// somebody without one.
func (ln *line) before(mine *promise, now time.Time) (n int) {
	for who, o := range ln.here {
		switch {
		case now.After(o.here):
			delete(ln.here, who)
		case o != mine && (mine == nil || o.number < mine.number):
			n++
		}
	}
	return n
}

// work puts some behind all that is to be done on the line.
func (ln *line) work(d time.Duration, now time.Time) {
	if ln.free.Before(now) {
		ln.free = now
	}
	ln.free = ln.free.Add(d)
}

// promiseLocked gives somebody a time: when the work of all before him is done but
// for as much as runs beside his own.
func (p *Pacer) promiseLocked(ln *line, who string, work time.Duration, now time.Time) time.Duration {
	ln.work(0, now)
	wait := ln.free.Sub(now) - time.Duration(ln.parallel-1)*work
	wait = max(wait, time.Second) + time.Duration(p.random()*float64(max(work, time.Second)))
	if wait > MaxWait {
		return MaxWait - time.Duration(p.random()*float64(MaxWait/4))
	}
	if p.promises >= maxPromises || len(ln.promised) >= maxOfLine {
		return min(MaxWait, wait+time.Duration(p.random()*float64(wait))) // not all at once
	}
	ln.work(work, now)
	p.promises++
	p.number++
	ln.promised[who] = &promise{number: p.number, since: now, at: now.Add(wait)}
	return wait
}

func (p *Pacer) soonLocked() time.Duration {
	return soonMin + time.Duration(p.random()*float64(soonSpan))
}

func (p *Pacer) forgetLocked(ln *line, who string) {
	delete(ln.promised, who)
	delete(ln.here, who)
	p.promises--
}

// pruneLocked forgets those who did not come, and lines about which there is
// nothing to remember.
func (p *Pacer) pruneLocked(now time.Time) {
	if now.Sub(p.pruned) < 10*time.Second {
		return
	}
	p.pruned = now
	for key, ln := range p.lines {
		for who, o := range ln.promised {
			if now.Sub(o.at) > grace+o.at.Sub(o.since)/3 && now.After(o.here) {
				p.forgetLocked(ln, who)
			}
		}
		if ln.seats == 0 && len(ln.promised) == 0 && ln.bucket.next.Before(now) && ln.free.Before(now) {
			delete(p.lines, key)
		}
	}
}

// Stats gives the counts.
func (p *Pacer) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Seats, s.Waiting = p.taken, p.promises
	return s
}

// Seat is the right to send over a line until Leave. It is of one goroutine.
type Seat struct {
	p     *Pacer
	line  *line
	since time.Time
	left  bool
}

// Take waits until n bytes may go. Nobody has more than one piece in the queue, so
// that all seats of a line get the same.
func (s *Seat) Take(ctx context.Context, n int) error {
	s.p.mu.Lock()
	now := time.Now()
	wait := max(s.line.bucket.take(cost(int64(n)), now), s.p.all.take(cost(int64(n)), now))
	s.p.stats.Bytes += uint64(n)
	s.p.mu.Unlock()
	if wait <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Over says that this seat had its turn and others wait: who has it ends and asks
// for another.
func (s *Seat) Over() bool {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	now := time.Now()
	return now.Sub(s.since) > turn && now.Sub(s.line.waited) < turn
}

// Leave gives the seat back; it may be called more than once.
func (s *Seat) Leave() {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if s.left {
		return
	}
	s.left = true
	s.line.seats--
	s.p.taken--
}

// Again is how long somebody waits whose seat was over, or for whom there is
// nothing just now.
func (p *Pacer) Again() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.soonLocked()
}

// cost is what n bytes are on the line, with the headers of UDP, QUIC and frames.
func cost(n int64) int64 { return n + n/16 }

// bucket holds a rate: a generic cell rate algorithm, one time and no ticks.
type bucket struct {
	rate int64
	next time.Time // when all that was taken has gone at that rate
}

// take says how long to wait before n bytes may go.
func (b *bucket) take(n int64, now time.Time) time.Duration {
	if full := now.Add(-burst); b.next.Before(full) {
		b.next = full
	}
	b.next = b.next.Add(time.Duration(float64(n) / float64(b.rate) * float64(time.Second)))
	return b.next.Sub(now)
}
