package rollout

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/calendar"
	"hausmeister/collector/db"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
)

// A tally is the word of every device in a rollout. Asking the database row by row costs
// a second and more for 70,000 devices, so each table is read once as one text and put
// together here, which still takes half a second; and of a large fleet the tally is kept.
// Run makes it anew each minute while a rollout is open, each round while somebody looks
// or has decided, and each ten minutes of the one that is done. Whoever looks gets the
// one that is there, be it a decision old, and has Run make the next: nobody waits for
// it but who looks before Run has made the first, or at a rollout that is over.
type tally struct {
	at    time.Time
	of    tallied
	count map[string]Compliance // by owner
	words map[Why][]owned       // by device
	fleet int                   // devices that were gone through for it
}

// tallied is what makes a tally worthless when it changes: somebody decided.
type tallied struct {
	state    State
	ring     int
	revision int64
}

type owned struct{ device, owner string }

const (
	// keepAbove is from how many devices on a tally is kept; fewer are counted at once.
	keepAbove = 5000
	// lookedFor is for how long after a look Run makes a tally anew each round.
	lookedFor = 2 * time.Minute
	// idleEvery is how often it does while nobody looks, doneEvery of a rollout that is
	// done.
	idleEvery = time.Minute
	doneEvery = 10 * time.Minute
)

// tallies are those that are kept.
type tallies struct {
	turn chan struct{} // one makes a tally at a time

	mu sync.Mutex // never held while one is made
	// below is guarded by mu
	kept         map[string]*tally
	looked, made map[string]time.Time
}

func newTallies() *tallies {
	return &tallies{turn: make(chan struct{}, 1), kept: map[string]*tally{}, looked: map[string]time.Time{}, made: map[string]time.Time{}}
}

// look gives the tally that is kept, nil = none, and notes that somebody wants it.
func (t *tallies) look(rollout string, now time.Time) *tally {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.looked[rollout] = now
	return t.kept[rollout]
}

// tally gives that of a rollout, kept or made now.
func (r *Rollouts) tally(ctx context.Context, rollout string) (*tally, error) {
	t := r.tallies.look(rollout, r.now())
	if t == nil || r.now().Sub(t.at) > doneEvery+idleEvery || r.now().Before(t.at) { // Run is at a loss, or the clock was set
		return r.tallyNow(ctx, rollout)
	}
	of, err := r.tallied(ctx, rollout)
	if err != nil {
		return nil, fmt.Errorf("counting the devices of a rollout: %w", err)
	}
	if of != t.of || r.now().Sub(t.at) > r.cfg.Pace.Every {
		r.wake()
	}
	return t, nil
}

func (r *Rollouts) tallied(ctx context.Context, rollout string) (of tallied, err error) {
	err = r.db.Read(ctx, func(tx *db.Tx) error {
		o, err := readRow(ctx, tx, rollout)
		of = tallied{o.state, o.ring, o.revision}
		return err
	})
	return of, err
}

// tallyNow makes one.
func (r *Rollouts) tallyNow(ctx context.Context, rollout string) (t *tally, err error) {
	began := r.now()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r.tallies.turn <- struct{}{}:
	}
	defer func() { <-r.tallies.turn }()
	r.tallies.mu.Lock()
	t = r.tallies.kept[rollout]
	r.tallies.mu.Unlock()
	if t != nil && t.at.After(began) && !r.now().Before(t.at) { // another made it meanwhile
		return t, nil
	}
	err = r.db.Read(ctx, func(tx *db.Tx) error {
		o, err := readRow(ctx, tx, rollout)
		if err != nil {
			return err
		}
		t, err = r.makeTally(ctx, tx, &o)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("counting the devices of a rollout: %w", err)
	}
	r.tallies.mu.Lock()
	defer r.tallies.mu.Unlock()
	r.tallies.made[rollout] = t.at
	delete(r.tallies.kept, rollout)
	if t.fleet > keepAbove {
		r.tallies.kept[rollout] = t
	}
	return t, nil
}

// retally makes those anew whose time has come, and forgets those that nobody needs.
func (r *Rollouts) retally(ctx context.Context) error {
	var open []row
	err := r.db.Read(ctx, func(tx *db.Tx) (err error) {
		open, err = readRows(ctx, tx, `o.state IN ('placing', 'running', 'paused', 'halted', 'done')`)
		return err
	})
	if err != nil {
		return fmt.Errorf("looking for open rollouts: %w", err)
	}
	for _, rollout := range r.tallies.due(open, r.now(), r.cfg.Pace.Every) {
		if _, err := r.tallyNow(ctx, rollout); err != nil {
			return err
		}
	}
	return nil
}

// due are the rollouts of which a tally is to be made, of those that are open.
func (t *tallies) due(open []row, now time.Time, round time.Duration) (out []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	every, decided := map[string]time.Duration{}, map[string]bool{}
	for _, o := range open {
		every[o.id] = idleEvery
		if o.state == Done {
			every[o.id] = doneEvery
		}
		kept := t.kept[o.id]
		decided[o.id] = kept != nil && kept.of != tallied{o.state, o.ring, o.revision}
	}
	for rollout, at := range t.looked {
		if now.Sub(at) > lookedFor {
			delete(t.looked, rollout)
		} else if t.kept[rollout] != nil { // few devices are counted at each look
			every[rollout] = round
		}
	}
	for rollout := range t.made {
		if every[rollout] == 0 {
			delete(t.made, rollout)
			delete(t.kept, rollout)
		}
	}
	for rollout, after := range every {
		if made, ok := t.made[rollout]; decided[rollout] || !ok || now.Sub(made) >= after || now.Before(made) {
			out = append(out, rollout)
		}
	}
	return out
}

// seenBy sums up what a caller may see.
func (t *tally) seenBy(caller access.Caller) Compliance {
	out := Compliance{Counts: map[Why]int64{}}
	for owner, c := range t.count {
		if !caller.Sees(owner) {
			continue
		}
		out.Devices, out.Due, out.Current = out.Devices+c.Devices, out.Due+c.Due, out.Current+c.Current
		for why, n := range c.Counts {
			out.Counts[why] += n
		}
		for ring, counts := range c.Rings {
			for why, n := range counts {
				out.inRing(ring, why, n)
			}
		}
	}
	return out
}

// with are up to limit devices that have a word, behind one of them.
func (t *tally) with(caller access.Caller, why Why, after string, limit int) (ids []string) {
	all := t.words[why]
	from, found := slices.BinarySearchFunc(all, after, func(o owned, id string) int { return cmp.Compare(o.device, id) })
	if found {
		from++
	}
	for _, o := range all[from:] {
		if len(ids) == limit {
			break
		}
		if caller.Sees(o.owner) {
			ids = append(ids, o.device)
		}
	}
	return ids
}

func (r *Rollouts) makeTally(ctx context.Context, tx *db.Tx, o *row) (*tally, error) {
	devices, err := readFleet(ctx, tx, o)
	if err != nil {
		return nil, err
	}
	fleet := len(devices)
	if devices, err = ofRollout(ctx, tx, o, devices); err != nil {
		return nil, err
	}
	b, err := r.readBusy(ctx, tx, o)
	if err != nil {
		return nil, err
	}
	windows, err := readWindows(ctx, tx)
	if err != nil {
		return nil, err
	}
	now := r.now()
	t := &tally{at: now, of: tallied{o.state, o.ring, o.revision}, count: map[string]Compliance{}, words: map[Why][]owned{}, fleet: fleet}
	for i := range devices {
		d := &devices[i]
		d.Why = r.why(o, d, &b, !o.urgent && windows.closed(d.m.owner, d.m.school, now))
		t.words[d.Why] = append(t.words[d.Why], owned{d.Device, d.m.owner})
		c := t.count[d.m.owner]
		if c.Counts == nil {
			c.Counts = map[Why]int64{}
		}
		c.add(d, now)
		t.count[d.m.owner] = c
	}
	return t, nil
}

// add counts a device.
func (c *Compliance) add(d *deviceRow, now time.Time) {
	c.Counts[d.Why]++
	c.Devices++
	if d.placed {
		c.inRing(d.m.ring, d.Why, 1)
	}
	if d.m.first > 0 && !d.revoked && now.Sub(time.UnixMilli(d.m.first)) >= dueAfter {
		c.Due++
		if d.Why == Current {
			c.Current++
		}
	}
}

// inRing counts devices of a ring.
func (c *Compliance) inRing(ring int, why Why, n int64) {
	for len(c.Rings) <= ring {
		c.Rings = append(c.Rings, map[Why]int64{})
	}
	c.Rings[ring][why] += n
}

// readFleet is readStates of all devices, in the order of their ids, without the reason
// and the strata: of these it knows only whether one is blocked.
func readFleet(ctx context.Context, tx *db.Tx, o *row) ([]deviceRow, error) {
	var devices []deviceRow
	at := map[string]int{}
	err := eachIn(ctx, tx, `f.device_id || ';' || f.owner_id || ';' || COALESCE(f.school_id, '')`, `fleet_facts f`, nil, func(f []string) error {
		d := deviceRow{contact: -1}
		d.Device, d.m.owner, d.m.school, d.m.ring = f[0], f[1], f[2], -1
		devices = append(devices, d)
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(devices, func(a, b deviceRow) int { return cmp.Compare(a.Device, b.Device) })
	for i := range devices {
		at[devices[i].Device] = i
	}
	blocked, args := blockedSQL(o, 2)
	if len(args) == 0 {
		blocked = `1 = 0`
	}
	err = eachIn(ctx, tx, `m.device_id || ';' || m.ring || ';' || m.told || ';' || m.outcome || ';' || m.flight || ';' || m.until_ms || ';' || m.told_ms || ';' || COALESCE(m.first_ms, 0) || ';' || m.unfit || ';' || CASE WHEN `+blocked+` THEN 1 ELSE 0 END`,
		`rollout_members m WHERE m.rollout_id = $1`, append([]any{o.id}, args...), func(f []string) error {
			i, known := at[f[0]]
			if !known {
				return nil // its record is gone
			}
			var n [8]int64
			for k, text := range append(f[1:8:8], f[9]) {
				var err error
				if n[k], err = strconv.ParseInt(text, 10, 64); err != nil {
					return err
				}
			}
			d := &devices[i]
			d.m.unfit = unfit(f[8])
			d.placed, d.m.ring, d.m.told, d.m.outcome, d.m.flight, d.m.until, d.m.toldMS, d.m.first, d.blocked = true, int(n[0]), hmpb.UpdateState(n[1]), n[2], n[3] == 1, n[4], n[5], n[6], n[7] == 1
			return nil
		})
	if err != nil {
		return nil, err
	}
	err = eachIn(ctx, tx, `h.device_id || ';' || COALESCE(h.last_contact_day, -1) || ';' || h.connected`, `health_devices h`, nil, func(f []string) (err error) {
		if i, known := at[f[0]]; known {
			devices[i].connected = f[2] == "1"
			devices[i].contact, err = strconv.ParseInt(f[1], 10, 64)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	err = eachIn(ctx, tx, `e.device`, `enroll_devices e WHERE e.revoked_ms IS NOT NULL`, nil, func(f []string) error {
		if i, known := at[f[0]]; known {
			devices[i].revoked = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = eachIn(ctx, tx, `x.device_id`, `rollout_devices x WHERE x.strange_ms > 0`, nil, func(f []string) error {
		if i, known := at[f[0]]; known {
			devices[i].strangeMS = 1
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return devices, readVersions(ctx, tx, func(device, version string) {
		if i, known := at[device]; known {
			devices[i].Version = version
		}
	})
}

// ofRollout are the devices of the channel of a rollout, of all.
func ofRollout(ctx context.Context, tx *db.Tx, o *row, all []deviceRow) ([]deviceRow, error) {
	which, stable := `= $1`, o.channel == manifest.RoleStable
	if stable {
		which = `<> $1`
	}
	named := map[string]bool{} // of the usual channel those that are not of it
	err := eachIn(ctx, tx, `c.device_id`, `rollout_devices c WHERE c.channel <> '' AND c.channel `+which, []any{o.channel}, func(f []string) error {
		named[f[0]] = true
		return nil
	})
	return slices.DeleteFunc(all, func(d deviceRow) bool { return named[d.Device] == stable && !d.took() }), err
}

// eachIn gives the fields, with semicolons between, that a query has of each of its
// rows, read as one text: 70,000 rows would take ten times as long. What a device says
// in words may not be among them.
func eachIn(ctx context.Context, tx *db.Tx, fields, from string, args []any, each func([]string) error) error {
	var all string
	if err := tx.QueryRow(ctx, `SELECT COALESCE(`+inOne(tx, fields)+`, '') FROM `+from, args...).Scan(&all); err != nil || all == "" {
		return err
	}
	for one := range strings.SplitSeq(all, ",") {
		if err := each(strings.Split(one, ";")); err != nil {
			return err
		}
	}
	return nil
}

// inOne is an aggregate: all values with commas between.
func inOne(tx *db.Tx, value string) string {
	if tx.Dialect() == db.Postgres {
		return "string_agg(" + value + ", ',')"
	}
	return "group_concat(" + value + ")"
}

func readVersions(ctx context.Context, tx *db.Tx, each func(device, version string)) error {
	rows, err := tx.Query(ctx, `SELECT version, `+inOne(tx, "device_id")+` FROM health_agent_versions GROUP BY version`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var version, ids string
		if err := rows.Scan(&version, &ids); err != nil {
			return err
		}
		for id := range strings.SplitSeq(ids, ",") {
			each(id, version)
		}
	}
	return rows.Close()
}

// windows are those of all owners and schools.
type windows struct {
	owners map[string]calendar.Lessons
	days   map[[2]string]*window // of an owner for a school, "" = for all of them
	known  map[[2]string]bool
}

func readWindows(ctx context.Context, tx *db.Tx) (windows, error) {
	all := windows{owners: map[string]calendar.Lessons{}, days: map[[2]string]*window{}, known: map[[2]string]bool{}}
	rows, err := tx.Query(ctx, `SELECT owner_id, lessons_from, lessons_to FROM rollout_owners`)
	if err != nil {
		return all, err
	}
	defer rows.Close()
	for rows.Next() {
		var owner string
		var from, to int64
		if err := rows.Scan(&owner, &from, &to); err != nil {
			return all, err
		}
		lessons := calendar.DefaultLessons()
		lessons.From, lessons.To = int(from), int(to)
		all.owners[owner] = lessons
	}
	if err := rows.Close(); err != nil {
		return all, err
	}
	return all, eachDays(ctx, tx, `SELECT owner_id, school_id, kind, from_day, to_day FROM rollout_days`, nil, func(owner, school string, kind DaysKind, s calendar.Span) {
		key := [2]string{owner, school}
		if all.days[key] == nil {
			all.days[key] = &window{}
		}
		all.days[key].add(kind, s)
	})
}

// closed says whether the window of an owner and school is closed at a time, which is
// the same for all of a tally.
func (w windows) closed(owner, school string, now time.Time) bool {
	key := [2]string{owner, school}
	closed, known := w.known[key]
	if known {
		return closed
	}
	lessons, ok := w.owners[owner]
	if !ok {
		lessons = calendar.DefaultLessons()
	}
	one := window{lessons: lessons}
	of := [][2]string{{owner, ""}}
	if school != "" {
		of = append(of, key)
	}
	for _, of := range of {
		if days := w.days[of]; days != nil {
			one.closed, one.lessons.Free = append(one.closed, days.closed...), append(one.lessons.Free, days.lessons.Free...)
		}
	}
	w.known[key] = one.closedAt(now)
	return w.known[key]
}
