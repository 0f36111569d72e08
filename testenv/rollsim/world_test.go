package rollsim_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/agent/update/journal"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/collector/rollout"
	"hausmeister/collector/rollout/gate"
)

// scenario is what is set of a simulation.
type scenario struct {
	seed     uint64
	devices  int
	rate     float64 // share of the devices on which the build is bad
	model    string  // it is bad on all of this model, and on no other; "" = rate counts
	annoying float64 // share of the devices about which a ticket is opened once they have it
	restarts int     // of the collector, in the middle
}

// days is how long it is waited for an end.
func (s scenario) days() int { return 28 }

// pace has the rings that the design was simulated with, and all else as it is.
func (s scenario) pace() rollout.Pace {
	rings := rollout.DefaultRings()[:4]
	for i := range rings {
		rings[i].Millions = 0
	}
	return rollout.Pace{Rings: append(rings, rollout.Ring{Millions: rollout.Whole})}
}

// world is one simulation.
type world struct {
	scenario
	t       testing.TB
	fleet   *template
	c       *collector
	devices []*device
	byID    map[string]*device
	library library
	lines   lines
	epoch   time.Time // of the bubble
	left    int       // restarts to come

	mu sync.Mutex
	// below is guarded by mu
	faults []string
	busy   map[string]int64 // most of a school that were under way at once
}

// result is what a simulation ended with.
type result struct {
	state        rollout.State
	cause        gate.Cause
	blocked      []gate.Stratum
	reached      int64 // devices that ever had a lease, when it ended
	ok, bad      int64 // as counted
	rings        int
	took         time.Duration // from start to end
	told         int
	restarted    int
	lost         int   // answers that were lost with a collector
	updated      int   // devices
	unheard      int   // of these, who could not say so yet
	metaBytes    int64 // of those that were offered it, together
	requests     int64
	programBytes int64
	asked        int64 // devices that were offered it
	load1        int64 // permille of a line's rate over a second, at most
	load30       int64 // over 30 s
	busy         int64 // of a school under way at once
	seats        int   // of a school fetching at once
	real         time.Duration
	faults       []string
	back         map[string][]time.Duration // from swap to barred, by what the build does and what it was barred for
}

func (w *world) now() time.Time { return monday.Add(time.Since(w.epoch)) }

func (w *world) fault(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.faults) < 20 {
		w.faults = append(w.faults, w.now().Format("Mon 15:04:05 ")+fmt.Sprintf(format, args...))
	}
}

// simulate runs a scenario in a bubble.
func simulate(t *testing.T, s scenario) (r result) {
	t.Helper()
	fleet := fleetOf(t, s.devices)
	dir := scratch(t)
	began := time.Now()
	synctest.Test(t, func(t *testing.T) {
		path, err := fleet.copyTo(dir)
		must(t, err)
		w := &world{scenario: s, t: t, fleet: fleet, byID: map[string]*device{}, epoch: time.Now(), busy: map[string]int64{}}
		w.library.answers, w.lines.all = map[question]answer{}, map[string]*line{}
		w.c = newCollector(w, path)
		r = w.run()
	})
	r.real = time.Since(began)
	return r
}

// run is a rollout from its beginning on Monday after lessons to its end, and some
// hours behind it.
func (w *world) run() (out result) {
	ctx, cancel := context.WithCancel(context.Background())
	must(w.t, w.c.start())
	first, err := w.c.release(oldVersion, "")
	must(w.t, err)
	for i, o := range w.fleet.owners {
		if i%6 == 0 {
			must(w.t, w.c.call(func(r *running) error {
				return r.roll.SetWindow(ctx, system, rollout.Window{Owner: o, From: 7*60 + 30, To: 13*60 + 15, Rate: slowRate, Parallel: slowParallel})
			}))
		}
	}
	for i, r := range w.fleet.records {
		d := newDevice(w, i, r)
		w.devices, w.byID[r.id] = append(w.devices, d), d
	}
	w.knowTheOld(first.Path)
	_, err = w.c.release(newVersion, oldVersion)
	must(w.t, err)

	var all sync.WaitGroup
	all.Go(func() { w.c.tell(ctx) })
	for _, d := range w.devices {
		all.Go(func() { d.live(ctx) })
	}
	time.Sleep(13*time.Hour + 30*time.Minute)
	id := w.start()
	out = w.follow(ctx, id)
	cancel()
	all.Wait()
	w.c.up.Lock()
	defer w.c.up.Unlock()
	must(w.t, w.c.now.db.Close())
	out.faults = w.faults
	return out
}

// knowTheOld gives each device the metadata that it trusts since its last update.
func (w *world) knowTheOld(path string) {
	d := w.devices[0]
	d.shelf = &shelf{}
	d.online = -1
	a, err := d.verify(context.Background(), path)
	must(w.t, err)
	d.online = 0
	w.library.shelves++
	a.after.number = w.library.shelves
	for _, d := range w.devices {
		d.shelf = a.after
	}
}

func (w *world) start() (id string) {
	ctx := context.Background()
	must(w.t, w.c.call(func(r *running) error {
		releases, err := r.roll.Releases(ctx, system)
		if err != nil {
			return err
		}
		for _, rel := range releases {
			if rel.Version == newVersion {
				if id, err = r.roll.Start(ctx, ada, rel.ID, "new version for the schools"); err != nil {
					return err
				}
			}
		}
		if err := r.roll.Care(ctx); err != nil {
			return err
		}
		return r.roll.Approve(ctx, bea, id, "as we agreed")
	}))
	for _, d := range w.devices { // the gateway asks for all who are here when one begins
		d.ask()
	}
	return id
}

// A collector looks at rings each few seconds; here it does so while something is told,
// and a little less often, since looks are what costs most.
const roundEvery, lookEvery = 5 * time.Minute, 30 * time.Minute

// follow does what the collector does of itself, until the rollout ends.
func (w *world) follow(ctx context.Context, id string) (out result) {
	const after = 6 * time.Hour // until what was under way has come to its end
	began, cared, published := w.now(), time.Time{}, w.now()
	var ended time.Time
	w.left = w.restarts
	var revision int64
	for w.now().Sub(monday) < time.Duration(w.days())*24*time.Hour {
		time.Sleep(time.Minute)
		now := w.now()
		if now.Sub(published) > 24*time.Hour {
			published = now
			must(w.t, w.c.publish())
		}
		if since := now.Sub(cared); since < roundEvery || since < lookEvery && !w.c.wasDirty() {
			continue
		}
		cared = now
		var v rollout.Rollout
		err := w.c.call(func(r *running) (err error) {
			if err := r.roll.Care(ctx); err != nil {
				return err
			}
			if v, err = r.roll.Rollout(ctx, system, id); err != nil {
				return err
			}
			return w.look(ctx, r, id, &revision)
		})
		must(w.t, err)
		if w.left > 0 && v.InFlight > 20 && v.Ring > 2 {
			w.left--
			w.restart()
		}
		switch over := v.State == rollout.Done || v.State == rollout.Halted; {
		case over && ended.IsZero():
			ended = now
			out = result{state: v.State, cause: v.Cause, took: now.Sub(began), rings: v.Ring, blocked: v.Evidence.Blocked}
			for _, r := range v.Rings {
				out.reached += r.Reached
			}
		case over && now.Sub(ended) > after, !over && w.now().Sub(monday) > time.Duration(w.days()-1)*24*time.Hour:
			if ended.IsZero() {
				out = result{state: v.State, took: now.Sub(began), rings: v.Ring, blocked: v.Evidence.Blocked}
			}
			for _, r := range v.Rings {
				out.ok, out.bad = out.ok+r.OK, out.bad+r.Bad
			}
			out.unheard = w.compare(id)
			w.sum(&out)
			return out
		}
	}
	w.fault("no end")
	return out
}

// look is the news of Run, for which nobody waits here, and counts who is under way.
func (w *world) look(ctx context.Context, r *running, id string, revision *int64) error {
	return r.db.Read(ctx, func(tx *db.Tx) error {
		var now int64
		if err := tx.QueryRow(ctx, `SELECT revision FROM rollouts WHERE id = $1`, id).Scan(&now); err != nil {
			return err
		}
		if now != *revision {
			*revision = now
			w.c.bus.Publish(bus.Event{Kind: bus.Offers})
		}
		rows, err := tx.Query(ctx, `SELECT school_id, COUNT(*) FROM rollout_members WHERE rollout_id = $1 AND flight = 1 GROUP BY school_id`, id)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var school string
			var n int64
			if err := rows.Scan(&school, &n); err != nil {
				return err
			}
			w.busy[school] = max(w.busy[school], n)
		}
		return rows.Close()
	})
}

// restart takes the collector away for some minutes.
func (w *world) restart() {
	must(w.t, w.c.stop())
	for _, d := range w.devices {
		d.session(0, journal.Program{})
	}
	time.Sleep(3 * time.Minute)
	must(w.t, w.c.start())
	for _, d := range w.devices {
		select {
		case d.again <- struct{}{}:
		default:
		}
	}
}

// compare holds what the collector counts against what is on the devices' disks, but
// for those who have still to tell of it: of these it counts who are updated.
func (w *world) compare(id string) (unheard int) {
	ctx := context.Background()
	must(w.t, w.c.call(func(r *running) error {
		return r.db.Read(ctx, func(tx *db.Tx) error {
			rows, err := tx.Query(ctx, `SELECT device_id, outcome FROM rollout_members WHERE rollout_id = $1`, id)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var device string
				var is int64
				if err := rows.Scan(&device, &is); err != nil {
					return err
				}
				d := w.byID[device]
				j, _ := d.disk.Load()
				d.mu.Lock()
				switch want := outcome(j); {
				case is == want:
				case len(j.Untold)+len(d.spool) == 0:
					w.fault("%s (%s): the collector counts outcome %d, its journal says %d: %+v", d.id, d.w.does(newVersion, d.number), is, want, j)
				case want == 1:
					unheard++
				}
				d.mu.Unlock()
			}
			return rows.Close()
		})
	}))
	return unheard
}

// outcome of a device by its journal: 0 none, 1 it runs the new version, 2 that failed.
func outcome(j journal.Journal) int64 {
	if _, barred := j.BarredFor(v2.Sum); barred {
		return 2
	}
	if j.Good == v2 {
		return 1
	}
	return 0
}

// sum adds up what the devices counted.
func (w *world) sum(out *result) {
	for _, d := range w.devices {
		j, _ := d.disk.Load()
		d.mu.Lock()
		if j.Good == v2 {
			out.updated++
		}
		if r, barred := j.BarredFor(v2.Sum); barred {
			w.barred(out, d.number, r, j)
		}
		if !d.offered.IsZero() {
			out.asked++
		}
		out.metaBytes, out.requests, out.programBytes = out.metaBytes+d.metaBytes, out.requests+d.requests, out.programBytes+d.fetchedBytes
		d.mu.Unlock()
	}
	for _, n := range w.busy {
		out.busy = max(out.busy, n)
	}
	w.lines.mu.Lock()
	defer w.lines.mu.Unlock()
	for _, l := range w.lines.all {
		out.load1, out.load30, out.seats = max(out.load1, l.load(1)), max(out.load30, l.load(30)), max(out.seats, l.most)
	}
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	out.told, out.lost, out.restarted = w.c.told, w.c.lost, w.restarts-w.left
}

// reasons are what a build must be barred for.
var reasons = map[behaviour]journal.Reason{crash: journal.Crashed, hang: journal.Hung, deaf: journal.NoCollector, greedy: journal.CPU, unfit: journal.Selftest}

func (w *world) barred(out *result, device int, r journal.Reason, j journal.Journal) {
	does := w.does(newVersion, device)
	if want := reasons[does]; r != want {
		w.fault("a build that is %s was barred for %s", does, r)
	}
	took := time.Duration(0)
	if n := len(j.Swaps); n > 0 {
		took = time.Duration(j.Barred[len(j.Barred)-1].At-j.Swaps[n-1]) * time.Millisecond
	}
	if out.back == nil {
		out.back = map[string][]time.Duration{}
	}
	out.back[string(does)] = append(out.back[string(does)], took)
}

// each is the quotient, for those that were offered it.
func (r result) each(n int64) int64 { return n / max(1, r.asked) }

func (r result) String() string {
	return fmt.Sprintf("%s %s in ring %d after %s: reached %d, ok %d, bad %d; each %d B metadata in %d requests, %d kB program; line at most %d.%d %% over 1 s, %d.%d %% over 30 s; of a school %d under way, %d fetching; %d entries; %s",
		r.state, r.cause, r.rings, r.took.Round(time.Minute), r.reached, r.ok, r.bad, r.each(r.metaBytes), r.each(r.requests), r.each(r.programBytes)/1000,
		r.load1/10, r.load1%10, r.load30/10, r.load30%10, r.busy, r.seats, r.told, r.real.Round(10*time.Millisecond))
}

// at is a quantile by the nearest rank: of 20 the 10th, and the 19th.
func at(all []int64, part float64) int64 {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[max(0, int(math.Ceil(part*float64(len(all))))-1)]
}
