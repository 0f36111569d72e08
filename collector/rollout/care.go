package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/collector/rollout/gate"
	"hausmeister/proto/hmpb"
)

const (
	// settle is how long after a device told something Run looks again: the word comes
	// before the commit.
	settle = 300 * time.Millisecond
	// alarmEvery is how often the end of the metadata is looked at.
	alarmEvery = time.Hour
	// keepMembers is how long it is known what became of each device in a rollout.
	keepMembers = 90 * 24 * time.Hour
	// fillMost is how many devices are told at once that there is room: fewer than a
	// subscription of the bus holds.
	fillMost = 200
	// tellAgainEvery is how often a device that says nothing of its offer is told it.
	tellAgainEvery = time.Minute
	// lostAfter is for how long updated devices must be silent while others are here.
	lostAfter = time.Hour
	// lostWithin is for how long a device that was updated is looked for, see gate.Lost.
	lostWithin = 3 * 24 * time.Hour
	// awayFor is after how long without a word nobody waits for a device's turn.
	awayFor = 3 * 24 * time.Hour
	// holidaysAtMost is how long a ring waits for a school day.
	holidaysAtMost = 7 * 24 * time.Hour
)

// Run looks after rollouts until ctx ends: it tells this collector's gateway of what
// changed, also at another collector, and, if it has the lease, moves rings.
func (r *Rollouts) Run(ctx context.Context, ready func()) error {
	ready()
	look := time.NewTimer(0)
	defer look.Stop()
	var alarmed time.Time
	known := map[string]int64{}
	soon := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.work:
			if !soon { // else devices that tell all the time would put it off for ever
				soon = true
				look.Reset(settle)
			}
			continue
		case <-look.C:
		}
		soon = false
		look.Reset(r.cfg.Pace.Every)
		if err := r.news(ctx, known); err != nil && ctx.Err() == nil {
			r.log.Warn("looking for changed rollouts", "error", err)
		}
		if err := r.retally(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("counting the devices of rollouts", "error", err)
		}
		err := r.lease.Hold(ctx, func(ctx context.Context) error {
			r.steady.look(r.now())
			if now := r.now(); now.Sub(alarmed) >= alarmEvery || now.Before(alarmed) {
				alarmed = now
				if err := r.alarms(ctx); err != nil {
					return err
				}
				if err := r.forgetOld(ctx); err != nil {
					return err
				}
			}
			return r.rounds(ctx)
		})
		if err != nil && !errors.Is(err, db.ErrLeased) && ctx.Err() == nil {
			r.log.Warn("looking after rollouts", "error", err)
		}
	}
}

// forgetOld deletes what is kept no longer. What a wrong clock has deleted is gone, and one that
// is wrong at a start is set soon: by it no certificate of a device holds.
func (r *Rollouts) forgetOld(ctx context.Context) error {
	if !r.steady.is(sweepAfter) {
		return nil
	}
	if err := r.forget(ctx); err != nil {
		return err
	}
	return r.retire(ctx)
}

// Care is one round of Run, for whoever has a clock of his own and can say that it is right.
func (r *Rollouts) Care(ctx context.Context) error {
	return r.lease.Hold(ctx, func(ctx context.Context) error {
		r.steady.look(r.now())
		return errors.Join(r.alarms(ctx), r.retire(ctx), r.rounds(ctx))
	})
}

// news tells the gateway of rollouts whose revision is not the one that it was told.
func (r *Rollouts) news(ctx context.Context, known map[string]int64) error {
	changed := false
	err := r.db.Read(ctx, func(tx *db.Tx) error {
		rows, err := tx.Query(ctx, `SELECT id, revision FROM rollouts WHERE ended_ms IS NULL OR ended_ms > $1`, r.now().Add(-time.Hour).UnixMilli())
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			var revision int64
			if err := rows.Scan(&id, &revision); err != nil {
				return err
			}
			if known[id] != revision {
				known[id], changed = revision, true
			}
		}
		return rows.Close()
	})
	if changed {
		r.bus.Publish(bus.Event{Kind: bus.Offers})
	}
	return err
}

func (r *Rollouts) rounds(ctx context.Context) error {
	var open []row
	now := r.now()
	set := r.set(now)
	err := r.db.Write(ctx, func(tx *db.Tx) (err error) {
		if err := r.moveWatches(ctx, tx, now, set); err != nil {
			return err
		}
		if err := r.setBack(ctx, tx); err != nil {
			return err
		}
		if err := r.endLeases(ctx, tx); err != nil {
			return err
		}
		if err := r.haltGone(ctx, tx, access.System("rollouts"), string(gate.CauseRelease)); err != nil {
			return err
		}
		open, err = readRows(ctx, tx, `o.ended_ms IS NULL ORDER BY o.started_ms, o.id`)
		return err
	})
	if err != nil {
		return err
	}
	r.looked = now
	errs := []error{r.moved(ctx), r.leave(ctx)}
	for _, o := range open {
		if err := r.round(ctx, o); err != nil {
			errs = append(errs, fmt.Errorf("rollout %s: %w", o.id, err))
		}
	}
	return errors.Join(errs...)
}

func (r *Rollouts) round(ctx context.Context, o row) error {
	if !o.placed && (o.state == Placing || o.state == Paused) {
		return r.place(ctx, o)
	}
	if !o.state.grants() {
		return nil
	}
	seen, err := r.look(ctx, &o)
	if err != nil {
		return err
	}
	err = r.db.Write(ctx, func(tx *db.Tx) error {
		// Read anew: outcomes may have come since.
		now, err := readRow(ctx, tx, o.id)
		if err != nil || !now.state.grants() || now.ring != o.ring {
			return err
		}
		return r.move(ctx, tx, &now, seen)
	})
	if err != nil {
		return err
	}
	return errors.Join(r.fill(ctx, o.id), r.tellAgain(ctx, o.id))
}

// suspect notes since when updated devices are silent, and says whether they have been for
// long. In a morning some come earlier than others for a while: who was updated in the
// evening before is of those that work late, and all are here an hour later.
func (o *row) suspect(silent bool, now time.Time) (lost bool) {
	switch {
	case !silent:
		o.silent = time.Time{}
	case o.silent.IsZero() || now.Before(o.silent):
		o.silent = now
	}
	return silent && now.Sub(o.silent) >= lostAfter
}

// sight is what a round sees of a fleet, outside of the transaction that acts on it.
type sight struct {
	updated, control gate.Silent
	silent           bool // updated devices are, others are not
	bad, controls    int64
	ring             expected
	open             int64 // of the first ring and the last: who is under way, or still has his turn
	tried            bool  // of the last ring: nobody is waited for, and not because nobody has been here
	tickets          int64
}

func (r *Rollouts) look(ctx context.Context, o *row) (s sight, err error) {
	now := r.now()
	err = r.db.Read(ctx, func(tx *db.Tx) error {
		s = sight{}
		begun, since := now.Add(-r.cfg.Pace.Silent).UnixMilli(), max(now.Add(-lostWithin).UnixMilli(), msOf(o.excused))
		where, args := blockedSQL(o, 4)
		err := tx.QueryRow(ctx, `SELECT COALESCE(SUM(h.connected), 0), COALESCE(SUM(1 - h.connected), 0) FROM rollout_members m JOIN health_devices h ON h.device_id = m.device_id
			WHERE m.rollout_id = $1 AND m.told BETWEEN 4 AND 7 AND m.told_ms < $2 AND m.told_ms > $3 AND `+notRevoked+` AND NOT `+where, append([]any{o.id, begun, since}, args...)...).Scan(&s.updated.Here, &s.updated.Silent)
		if err != nil {
			return err
		}
		if s.updated.Silent >= 3 { // else nothing follows, and counting the fleet costs
			// All who were here on an earlier day since it began, also those who were not for
			// days: who came today for the first time is here by that alone, and each morning
			// those would be missed who were updated the day before and are not on yet.
			err = tx.QueryRow(ctx, `SELECT COALESCE(SUM(h.connected), 0), COALESCE(SUM(1 - h.connected), 0) FROM rollout_members m JOIN health_devices h ON h.device_id = m.device_id
				WHERE m.rollout_id = $1 AND m.granted_ms = 0 AND m.first_ms < $2 AND `+notRevoked, o.id, min(begun, now.UnixMilli()/dayMS*dayMS)).Scan(&s.control.Here, &s.control.Silent)
			if err != nil {
				return err
			}
		}
		s.silent = gate.Lost(s.updated, s.control)
		err = tx.QueryRow(ctx, `SELECT COUNT(*) FROM rollout_devices d WHERE d.repaired_ms > 0 AND d.repaired_ms > $2
			AND NOT EXISTS (SELECT 1 FROM rollout_members m WHERE m.rollout_id = $1 AND m.device_id = d.device_id AND m.granted_ms > 0)`, o.id, now.Add(-24*time.Hour).UnixMilli()).Scan(&s.bad)
		if err != nil {
			return err
		}
		s.controls = max(0, o.rings[len(o.rings)-1].End-o.evidence.All.OK-o.evidence.All.Bad)
		if s.ring, err = r.expects(ctx, tx, o); err != nil {
			return err
		}
		if o.ring == 0 || o.ring == len(o.rings)-1 {
			if s.open, err = r.openIn(ctx, tx, o); err != nil {
				return err
			}
		}
		if o.ring == len(o.rings)-1 && s.open == 0 {
			if s.tried, err = tried(ctx, tx, o, s.ring); err != nil {
				return err
			}
		}
		if r.cfg.Tickets != nil {
			s.tickets, err = r.ticketsOf(ctx, tx, o)
		}
		return err
	})
	if err != nil {
		return s, fmt.Errorf("looking at the fleet: %w", err)
	}
	return s, nil
}

// ticketsOf are those of a day, but not those that a person knew who ended a halt of theirs.
func (r *Rollouts) ticketsOf(ctx context.Context, tx *db.Tx, o *row) (int64, error) {
	since := r.now().Add(-24 * time.Hour)
	known, err := endedHalt(ctx, tx, o.id, gate.CauseTickets, r.now())
	if err != nil {
		return 0, err
	}
	if known.After(since) {
		since = known
	}
	return r.cfg.Tickets.Opened(ctx, tx, o.id, since)
}

const dayMS = 24 * 60 * 60 * 1000

// move is what a round changes of one rollout: the base rate, a halt, the next ring, the
// end.
func (r *Rollouts) move(ctx context.Context, tx *db.Tx, o *row, s sight) error {
	now := r.now()
	since := o.silent
	lost := o.suspect(s.silent, now)
	changed := o.controlBad != s.bad || o.silent != since
	if o.controlBad != s.bad {
		o.controlBad, o.controls = s.bad, s.controls
	}
	outcomes := o.evidence.All.OK + o.evidence.All.Bad
	switch {
	case lost:
		return r.halt(ctx, tx, o, gate.CauseLost)
	case r.cfg.Tickets != nil && gate.Spike(s.tickets, ticketsExpected(outcomes)):
		return r.halt(ctx, tx, o, gate.CauseTickets)
	}
	last := o.ring == len(o.rings)-1
	if last && o.state == Running && s.open == 0 && (s.tried || o.evidence.Ready(o.params(r.cfg.Pace), o.ring, 1) != gate.WaitFresh) {
		return r.done(ctx, tx, o)
	}
	if !last && o.state == Running && r.due(o, s) {
		return r.enter(ctx, tx, access.System("gate"), o, "ring_entered", "")
	}
	if changed {
		return o.save(ctx, tx, false)
	}
	return nil
}

// ticketsExpected is how many tickets so many devices have in a day: the customer's
// desk counts 420 an hour at its peak of 70,000 devices, six hours of that.
func ticketsExpected(devices int64) float64 { return max(0.05, float64(devices)*420*6/70_000) }

// due says whether the next ring may begin: soaked, weighed, and said twice where it is
// wide.
func (r *Rollouts) due(o *row, s sight) bool {
	if soaked, taught := r.watched(o); !soaked || !taught || s.silent || o.rings[o.ring+1].Wide && !o.approved() {
		return false
	}
	wait, _ := r.ready(o, s.ring, s.open)
	return wait == gate.Leave
}

// done ends a rollout. Of those that are, the newest version stays offered to who comes
// late, and what leads to it.
func (r *Rollouts) done(ctx context.Context, tx *db.Tx, o *row) error {
	if err := o.turn(ctx, tx, Done, r.now()); err != nil {
		return err
	}
	system := access.System("rollouts")
	if err := r.decide(ctx, tx, system, o, "done", ""); err != nil {
		return err
	}
	all, err := readRows(ctx, tx, `o.state = 'done' AND r.product = $1 AND r.channel = $2`, o.product, o.channel)
	if err != nil {
		return err
	}
	newestFirst(all)
	kept, err := steps(ctx, tx, all)
	if err != nil {
		return err
	}
	for i := range all {
		old := &all[i]
		if kept[old.id] {
			continue
		}
		if err := old.turn(ctx, tx, Replaced, r.now()); err != nil {
			return err
		}
		if err := r.decide(ctx, tx, system, old, "replaced", ""); err != nil {
			return err
		}
	}
	return nil
}

// fill tells connected devices that there is room for them. It asks twice as many as
// there is room for, since of some the owner's window is closed or the school is busy,
// and goes on each time from where it stopped, so that these do not keep others away.
func (r *Rollouts) fill(ctx context.Context, id string) error {
	var next []spotRef
	after := r.filled[id]
	err := r.db.Read(ctx, func(tx *db.Tx) error {
		next = nil
		o, err := readRow(ctx, tx, id)
		if err != nil || !o.state.grants() {
			return err
		}
		var flying int64
		if err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM rollout_members WHERE rollout_id = $1 AND flight = 1`, id).Scan(&flying); err != nil {
			return err
		}
		most := min(2*(o.params(r.cfg.Pace).Cap(o.rings[o.ring].End)-flying), fillMost)
		if most <= 0 {
			return nil
		}
		if next, err = r.mayBegin(ctx, tx, &o, after, most); err != nil || after == (spotRef{}) || int64(len(next)) == most {
			return err
		}
		next, err = r.mayBegin(ctx, tx, &o, spotRef{}, most)
		return err
	})
	if err != nil {
		return fmt.Errorf("looking for who may begin: %w", err)
	}
	delete(r.filled, id)
	for _, s := range next {
		r.bus.Publish(bus.Event{Kind: bus.Offers, Device: s.device})
		r.filled[id] = s
	}
	return nil
}

// moved are devices under way, of whichever rollout, that were given to another school:
// they count there from now on, and are told its lessons.
func (r *Rollouts) moved(ctx context.Context) error {
	const elsewhere = `m.flight = 1 AND m.school_id <> ` + schoolToday
	var devices []string
	look := func(tx *db.Tx) (err error) {
		devices, err = db.Texts(ctx, tx, `SELECT DISTINCT m.device_id FROM rollout_members m WHERE `+elsewhere+` LIMIT $1`, int64(fillMost))
		return err
	}
	err := r.db.Read(ctx, look)
	if err == nil && len(devices) > 0 {
		err = r.db.Write(ctx, func(tx *db.Tx) error {
			if err := look(tx); err != nil {
				return err
			}
			for _, device := range devices {
				if _, err := tx.Exec(ctx, `UPDATE rollout_members AS m SET school_id = `+schoolToday+` WHERE m.device_id = $1 AND m.flight = 1`, device); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("looking for who is in another school: %w", err)
	}
	for _, device := range devices {
		r.bus.Publish(bus.Event{Kind: bus.Offers, Device: device})
	}
	return nil
}

// again are the offers of which a minute ended in a time, and the last device that was
// told: the next rounds tell those behind it.
type again struct {
	since, until int64 // ms
	after        string
}

// tellAgain tells connected devices their offer once more, after each minute until they say
// something of it: a session may end, or a store be away, between the lease and the word
// of it, and who never heard of his would keep a place for as long as it holds. Where more
// are to be told than a round tells, the next ones go on before they look for others.
func (r *Rollouts) tellAgain(ctx context.Context, id string) error {
	// A minute that was over at the last round has been said, however often rounds come.
	now, every := r.now().UnixMilli(), tellAgainEvery.Milliseconds()
	a, known := r.toldAgain[id]
	switch {
	case !known, a.until > now:
		a = again{since: now - r.cfg.Pace.Every.Milliseconds(), until: now}
	case a.after == "":
		a = again{since: a.until, until: now}
	}
	var silent []string
	err := r.db.Read(ctx, func(tx *db.Tx) (err error) {
		silent, err = db.Texts(ctx, tx, `SELECT m.device_id FROM rollout_members m JOIN health_devices h ON h.device_id = m.device_id
			WHERE m.rollout_id = $1 AND m.flight = 1 AND m.lease <> '' AND m.told IN (0, $2) AND m.told_ms < m.granted_ms AND h.connected = 1
				AND ($3 - m.granted_ms) / $4 > CASE WHEN $5 > m.granted_ms THEN ($5 - m.granted_ms) / $4 ELSE 0 END`,
			id, int64(hmpb.UpdateState_UPDATE_STATE_WAITING), a.until, every, a.since)
		return err
	})
	if err != nil {
		return fmt.Errorf("looking for who has not heard of his offer: %w", err)
	}
	slices.Sort(silent) // here, since all that are under way are few
	at, told := slices.BinarySearch(silent, a.after)
	if told {
		at++
	}
	silent, a.after = silent[at:], ""
	if len(silent) > fillMost {
		silent = silent[:fillMost]
		a.after = silent[fillMost-1]
	}
	r.toldAgain[id] = a
	for _, device := range silent {
		r.bus.Publish(bus.Event{Kind: bus.Offers, Device: device})
	}
	return nil
}

// spotRef is a device in the order of rings.
type spotRef struct {
	ring   int64
	device string
}

func (r *Rollouts) mayBegin(ctx context.Context, tx *db.Tx, o *row, after spotRef, most int64) (out []spotRef, err error) {
	now := r.now() // what was refused holds as refuses says
	where, args := blockedSQL(o, 8)
	rows, err := tx.Query(ctx, `SELECT m.ring, m.device_id FROM rollout_members m JOIN health_devices h ON h.device_id = m.device_id
		WHERE m.rollout_id = $1 AND m.ring <= $2 AND m.flight = 0 AND m.outcome = 0 AND m.unfit = '' AND (m.until_ms <= $3 OR m.until_ms > $7) AND h.connected = 1 AND (m.ring, m.device_id) > ($4, $5) AND NOT `+where+`
		ORDER BY m.ring, m.device_id LIMIT $6`,
		append([]any{o.id, int64(o.ring), now.UnixMilli(), after.ring, after.device, most, now.Add(r.cfg.Pace.Lease + aheadFor).UnixMilli()}, args...)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s spotRef
		if err := rows.Scan(&s.ring, &s.device); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Close()
}

// forget deletes what became of each device in rollouts that ended long ago; their
// decisions stay.
func (r *Rollouts) forget(ctx context.Context) error {
	before := r.now().Add(-keepMembers).UnixMilli()
	for {
		var n int64
		err := r.db.Write(ctx, func(tx *db.Tx) (err error) {
			n, err = tx.Exec(ctx, `DELETE FROM rollout_members WHERE (rollout_id, device_id) IN
				(SELECT m.rollout_id, m.device_id FROM rollout_members m JOIN rollouts o ON o.id = m.rollout_id WHERE o.ended_ms < $1 LIMIT $2)`, before, int64(placeStep))
			return err
		})
		if err != nil || n < placeStep {
			return err
		}
	}
}
