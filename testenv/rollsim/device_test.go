package rollsim_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"hausmeister/agent/launcher"
	"hausmeister/agent/update/journal"
	"hausmeister/collector/access"
	"hausmeister/proto/hmpb"
)

type journalProgram = journal.Program

// device is a notebook: its disk, its collector's view of it, and, while something is
// to be done, a launcher with an agent.
type device struct {
	w      *world
	number int
	record
	caller access.Caller
	disk   *disk
	spans  []span
	wake   chan struct{} // holds one: a launcher is to be run
	again  chan struct{} // holds one: the collector is back
	boots  int           // of live

	shelf *shelf // of the updater's goroutine

	asking sync.Mutex // held while the collector is asked for an offer

	mu sync.Mutex
	// below is guarded by mu
	r            *rand.Rand
	on           bool
	online       int64 // the session; 0 = none
	sessionOf    journal.Program
	offer        *hmpb.Offer // that is to be given to the agent which starts for it
	agent        *agent
	lease        string    // as the gateway told it last
	until        time.Time // of it
	seq          uint64    // of the first entry of the spool
	spool        []*hmpb.Entry
	fetchedBytes int64
	metaBytes    int64
	requests     int64
	offered      time.Time // first
	settled      time.Time // outcome was told
}

func newDevice(w *world, number int, r record) *device {
	return &device{
		w: w, number: number, record: r, caller: access.ForDevice(r.id, r.owner), disk: newDisk(monday.AddDate(0, -1, 0)),
		spans: rhythm(w.seed, number, w.days()), wake: make(chan struct{}, 1), again: make(chan struct{}, 1), seq: 1,
		r: rand.New(rand.NewPCG(w.seed, uint64(number)+1<<32)),
	}
}

func (d *device) epoch() []byte { return []byte(d.id)[:16] }

func (d *device) random() float64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.Float64()
}

// verifies: it does so itself each time.
func (d *device) verifies() bool { return d.number%200 == 0 }

func (d *device) count(bytes, requests int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.metaBytes, d.requests = d.metaBytes+bytes, d.requests+requests
}

func (d *device) session(n int64, of journal.Program) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.online, d.sessionOf = n, of
}

// attach makes an agent the one that is told of offers. One that was not stepped so far
// has its session and its offer already: then it is true.
func (d *device) attach(a *agent) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.agent = a
	if d.online == 0 || d.sessionOf != a.program || a.does == deaf {
		return false
	}
	if d.offer != nil {
		a.updater.Offered(d.offer)
	}
	return true
}

func (d *device) connected() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.online != 0
}

func (d *device) leased() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.online != 0 && d.lease != ""
}

// runs is the program that is in bin/.
func (d *device) runs() journal.Program {
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	return d.disk.bin
}

// sleep is false when ctx ended.
func sleep(ctx context.Context, t time.Duration) bool {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// live is a device over all its days.
func (d *device) live(ctx context.Context) {
	for _, s := range d.spans {
		if !sleep(ctx, s.from.Sub(d.w.now())) {
			return
		}
		d.day(ctx, s)
	}
}

// day is from where it is switched on until it is switched off.
func (d *device) day(ctx context.Context, s span) {
	left := s.to.Sub(d.w.now())
	if left <= 0 {
		return
	}
	d.boots++
	off := time.Time{}
	if s.hard {
		off = time.Now().Add(left)
	}
	d.disk.powered(off)
	ctx, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	d.mu.Lock()
	d.on = true
	d.mu.Unlock()
	defer d.off()
	if !sleep(ctx, time.Duration(d.random()*float64(time.Minute))) {
		return
	}
	if j, _ := d.disk.Load(); !resting(j) || len(j.Untold) > 0 || d.unsent() {
		d.machine(ctx)
	} else {
		d.connect(d.runs())
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.again:
			if sleep(ctx, time.Duration(d.random()*float64(2*time.Minute))) && !d.connected() {
				d.connect(d.runs())
			}
		case <-d.wake:
			d.machine(ctx)
		}
	}
}

func (d *device) off() {
	d.hangUp()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.on = false
}

// connect begins a session and asks for an offer, as the gateway does for it.
func (d *device) connect(p journal.Program) bool {
	if err := d.w.c.begins(d, p); err != nil {
		if !errors.Is(err, errAway) {
			d.w.fault("beginning a session: %v", err)
		}
		return false
	}
	d.ask()
	return true
}

func (d *device) hangUp() {
	d.mu.Lock()
	session := d.online
	d.online = 0
	d.mu.Unlock()
	if session != 0 {
		d.w.c.ends(d, session)
	}
}

// ask is what the gateway does for a device that is connected.
func (d *device) ask() {
	d.asking.Lock()
	defer d.asking.Unlock()
	if !d.connected() {
		return
	}
	d.mu.Lock()
	p := journal.Program{}
	if d.agent != nil {
		p = d.agent.program
	}
	d.mu.Unlock()
	if !p.Known() {
		p = d.runs()
	}
	o, err := d.w.c.offers(d, p)
	if err != nil {
		if !errors.Is(err, errAway) {
			d.w.fault("asking for an offer: %v", err)
		}
		return
	}
	d.hear(o)
}

// hear tells the agent, if one is stepped; else an offer wakes it.
func (d *device) hear(o *hmpb.Offer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if o == nil {
		if d.agent != nil {
			d.agent.updater.Withdrawn(d.lease)
		}
		d.lease, d.offer = "", nil
		return
	}
	if d.lease != "" && d.lease != o.GetLease() && now.Before(d.until) {
		d.w.fault("%s has lease %s until %v, and is given %s", d.id, d.lease, d.until, o.GetLease())
	}
	if d.offered.IsZero() {
		d.offered = d.w.now()
	}
	d.lease, d.offer, d.until = o.GetLease(), o, now.Add(time.Duration(o.GetValidS())*time.Second)
	if d.agent != nil {
		d.agent.updater.Offered(o)
		return
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func resting(j journal.Journal) bool {
	return j.State == journal.Idle || j.State == journal.Committed || j.State == journal.Pruned || j.State == journal.RolledBack
}

// machine runs the launcher until there is nothing more to be seen, or ctx ends.
func (d *device) machine(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := launcher.New(launcher.Config{
		Journal: d.disk, Programs: programs{d.disk}, Start: d.start, Probe: d.probe, Boot: d.id + string(rune('a'+d.boots%26)),
		Now: d.w.now, Log: nolog,
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := l.Run(ctx); err != nil {
			d.w.fault("launcher: %v", err)
		}
	}()
	for quiet := 0; quiet < 3; {
		if !sleep(ctx, time.Minute) {
			break
		}
		if quiet++; !d.atRest() {
			quiet = 0
		}
	}
	d.mu.Lock()
	if d.agent != nil {
		d.agent.kept = ctx.Err() == nil // its session stays, since it is on
	}
	d.mu.Unlock()
	cancel()
	<-done
}

// atRest: nothing is under way and all was told.
func (d *device) atRest() bool {
	j, err := d.disk.Load()
	d.mu.Lock()
	defer d.mu.Unlock()
	return err == nil && resting(j) && len(j.Untold) == 0 && len(d.spool) == 0 && d.online != 0 &&
		(d.lease == "" || !time.Now().Before(d.until))
}

func (d *device) unsent() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.spool) > 0
}

// probe is what the launcher does with the old program's copy.
func (d *device) probe(context.Context, journal.Program) error {
	return d.w.c.call(func(*running) error { return nil })
}

// Append is update.Sink's: into the spool.
func (d *device) Append(_ context.Context, e *hmpb.Entry) (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.disk.writable(); err != nil {
		return 0, err
	}
	d.spool = append(d.spool, e)
	if d.agent != nil {
		d.agent.spooled()
	}
	return d.seq + uint64(len(d.spool)) - 1, nil
}

// send tells the collector what the spool holds.
func (d *device) send() {
	d.mu.Lock()
	first, entries := d.seq, d.spool
	for i, e := range entries {
		e.SetOffset(uint32(i))
	}
	online := d.online != 0
	d.mu.Unlock()
	if len(entries) == 0 || !online {
		return
	}
	through, err := d.w.c.ingest(d, first, entries)
	if err != nil {
		if !errors.Is(err, errAway) {
			d.w.fault("telling: %v", err)
		}
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n := int(through + 1 - d.seq)
	if n != len(entries) {
		d.w.fault("%s told up to entry %d, acknowledged is %d", d.id, first+uint64(len(entries))-1, through)
		return
	}
	for _, e := range d.spool[:n] {
		switch u := e.GetUpdate(); u.GetState() {
		case hmpb.UpdateState_UPDATE_STATE_COMMITTED:
			if share("annoyed", d.w.seed, d.number) < d.w.annoying {
				d.w.c.ticket()
			}
			d.lease, d.settled = "", d.w.now()
		case hmpb.UpdateState_UPDATE_STATE_ROLLED_BACK, hmpb.UpdateState_UPDATE_STATE_REFUSED:
			d.lease, d.settled = "", d.w.now()
		}
	}
	d.spool, d.seq = d.spool[n:], through+1
}
