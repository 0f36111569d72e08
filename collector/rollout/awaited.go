package rollout

import (
	"context"
	"strconv"

	"hausmeister/collector/calendar"
	"hausmeister/collector/db"
	"hausmeister/collector/rollout/gate"
	"hausmeister/proto/hmpb"
)

// Whom a ring waits for. It is left once it soaked and enough of those whom it added have
// told how it ended; so who can tell nothing must not be waited for, and who merely says
// nothing must. The gate weighs what there is; here is counted what there should be.

// ready is what the gate waits for in the present ring, and how many of it must have had
// an outcome. Of the first few all count who are here: eight good ones of twenty would
// do, and the next ring began while the failures of the others were on their way.
func (r *Rollouts) ready(o *row, e expected, open int64) (gate.Wait, int64) {
	switch {
	case e.added <= 0 && e.left > 0: // else all rings would be open to them on the day when they can take it
		return gate.WaitNobody, 1
	case e.added <= 0: // nobody of it can have an outcome; the next ring has its own bounds
		return gate.Leave, 0
	}
	params, known := o.params(r.cfg.Pace), o.evidence
	known.All, known.Ring = known.All.Plus(e.earlier), known.Ring.Plus(e.inRing)
	wait, need := known.Ready(params, o.ring, e.added), max(0, params.Need(o.ring, e.added)-e.inRing.OK-e.inRing.Bad)
	if wait == gate.WaitRate && known.All.Bad == 0 && known.Ring.OK >= max(e.added-e.refused, e.later) {
		wait = gate.Leave // all have told of success, and are too few to say more, as none would be
	}
	if o.ring == 0 && len(o.rings) > 1 && open > 0 && r.now().Sub(o.entered) < r.cfg.Pace.Lease {
		return gate.WaitFresh, max(need, o.evidence.Ring.OK+o.evidence.Ring.Bad+open)
	}
	return wait, need
}

// watched says whether the present ring soaked for long enough, and whether a morning
// of lessons lay in that, where one must.
func (r *Rollouts) watched(o *row) (soaked, taught bool) {
	ring, now := o.rings[o.ring], r.now()
	return now.Sub(o.entered) >= ring.Soak, !ring.SchoolDay || calendar.DefaultLessons().Taught(o.entered, now) || now.Sub(o.entered) >= holidaysAtMost
}

// expected is whom the present ring waits for, and what is known of it from elsewhere.
type expected struct {
	added   int64 // devices that may have an outcome
	left    int64 // if there are none: those that may become able to have one, or one where nobody has a place
	later   int64 // those that the release does not fit yet: their version is too old, or it is for other systems
	refused int64 // of added: who had his turn, and refused it
	// Outcomes that devices had of the same release in a rollout that ended, and have none
	// of here: of all rings so far, and of this one.
	earlier, inRing gate.Tally
}

// expects counts of the present ring whom it waits for. What costs is counted once nothing
// but that is waited for.
func (r *Rollouts) expects(ctx context.Context, tx *db.Tx, o *row) (e expected, err error) {
	if e.added, err = r.addedBy(ctx, tx, o); err != nil {
		return e, err
	}
	if soaked, _ := r.watched(o); soaked && o.ring < len(o.rings)-1 && o.evidence.Ready(o.params(r.cfg.Pace), o.ring, e.added) != gate.Leave {
		if e.earlier, e.inRing, err = o.earlier(ctx, tx); err != nil {
			return e, err
		}
		had, err := o.had(ctx, tx)
		if e.added -= had; err != nil {
			return e, err
		}
		if e.refused, err = o.refusedIn(ctx, tx); err != nil {
			return e, err
		}
		if e.later, err = o.notYet(ctx, tx, unfitFrom, unfitSystem); err != nil {
			return e, err
		}
	}
	if e.added <= 0 { // of a channel from which nobody came yet; somebody will
		err = tx.QueryRow(ctx, `SELECT 1 - COUNT(*) FROM (SELECT 1 FROM rollout_members WHERE rollout_id = $1 LIMIT 1) x`, o.id).Scan(&e.left)
		if err != nil || e.left > 0 {
			return e, err
		}
	}
	if e.added > 0 {
		return e, nil
	}
	if e.left, err = o.notYet(ctx, tx, unfitFrom, unfitSystem, unfitChannel); err != nil || e.left > 0 {
		return e, err
	}
	if where, args := blockedSQL(o, 3); len(args) > 0 {
		err = tx.QueryRow(ctx, `SELECT COUNT(*) FROM rollout_members m WHERE m.rollout_id = $1 AND m.ring = $2 AND (m.unfit = '' OR m.outcome <> 0) AND `+where, append([]any{o.id, int64(o.ring)}, args...)...).Scan(&e.left)
	}
	return e, err
}

// refusedIn counts who of the present ring had a turn and refused, as for a full disk, and
// has not got the version otherwise. He may do so each day; who says nothing may have begun.
func (o *row) refusedIn(ctx context.Context, tx *db.Tx) (n int64, err error) {
	where, args := blockedSQL(o, 5)
	err = tx.QueryRow(ctx, `SELECT COUNT(*) FROM rollout_members m LEFT JOIN health_agent_versions v ON v.device_id = m.device_id
		WHERE m.rollout_id = $1 AND m.ring = $2 AND m.outcome = 0 AND m.passed = 1 AND m.flight = 0 AND m.unfit = '' AND m.told = $3 AND COALESCE(v.version, '') <> $4 AND NOT `+where,
		append([]any{o.id, int64(o.ring), int64(hmpb.UpdateState_UPDATE_STATE_REFUSED), o.version}, args...)...).Scan(&n)
	return n, err
}

// notYet counts who of the present ring cannot take the release for one of these reasons,
// each of which may pass: another release comes first, a program for its system is signed,
// it comes back to the channel. Nobody is counted who was revoked, takes no updates, or has
// a newer version: a ring of these alone is left.
func (o *row) notYet(ctx context.Context, tx *db.Tx, why ...unfit) (n int64, err error) {
	args := []any{o.id, int64(o.ring)}
	for _, u := range why {
		args = append(args, string(u))
	}
	err = tx.QueryRow(ctx, `SELECT COUNT(*) FROM rollout_members WHERE rollout_id = $1 AND ring = $2 AND unfit <> '' AND outcome = 0 AND unfit IN (`+params(3, len(why))+`)`, args...).Scan(&n)
	return n, err
}

// earlierSQL are the outcomes g that members m had in a rollout which is over, of the
// release $2, whose version is $3. A good one says no more of a device that has another
// version since: a way back leads all of these to what they had well before.
const earlierSQL = ` JOIN rollout_members g ON g.device_id = m.device_id AND g.rollout_id <> m.rollout_id AND g.outcome <> 0 JOIN rollouts e ON e.id = g.rollout_id AND e.release_id = $2 AND e.ended_ms IS NOT NULL
	AND (g.outcome = 2 OR EXISTS (SELECT 1 FROM health_agent_versions v WHERE v.device_id = m.device_id AND v.version = $3))`

// earlier counts what rollouts of the same release brought that were ended: who has the
// program by one of them tells nothing more of it. Who failed in any of them has failed,
// also when he had a lease here since: his device refuses what failed there.
func (o *row) earlier(ctx context.Context, tx *db.Tx) (all, inRing gate.Tally, err error) {
	var n int64
	if err = tx.QueryRow(ctx, `SELECT COUNT(*) FROM rollouts WHERE release_id = $1 AND ended_ms IS NOT NULL`, o.release).Scan(&n); err != nil || n == 0 {
		return all, inRing, err
	}
	where, args := blockedSQL(o, 5)
	rows, err := tx.Query(ctx, `SELECT x.ring, x.outcome, COUNT(*) FROM (SELECT m.device_id, m.ring, MAX(g.outcome) AS outcome FROM rollout_members m`+earlierSQL+`
		WHERE m.rollout_id = $1 AND m.ring <= $4 AND m.outcome = 0 AND (m.granted_ms = 0 OR g.outcome = 2) AND m.unfit = '' AND NOT `+where+` GROUP BY m.device_id, m.ring) x GROUP BY x.ring, x.outcome`,
		append([]any{o.id, o.release, o.version, int64(o.ring)}, args...)...)
	if err != nil {
		return all, inRing, err
	}
	defer rows.Close()
	for rows.Next() {
		var ring, outcome int64
		var t gate.Tally
		if err := rows.Scan(&ring, &outcome, &n); err != nil {
			return all, inRing, err
		}
		if t.OK = n; outcome == outcomeBad {
			t = gate.Tally{Bad: n}
		}
		if all = all.Plus(t); int(ring) == o.ring {
			inRing = inRing.Plus(t)
		}
	}
	return all, inRing, rows.Close()
}

// addedBy is how many devices of the ring had an outcome that was weighed, or may have one.
// They are counted, and not what the ring was cut for: some came later, and of these too
// some can take nothing.
func (r *Rollouts) addedBy(ctx context.Context, tx *db.Tx, o *row) (n int64, err error) {
	where, args := blockedSQL(o, 3)
	if len(args) == 0 { // there is an index for each, and a ring may have 50,000
		err = tx.QueryRow(ctx, `SELECT (SELECT COUNT(*) FROM rollout_members WHERE rollout_id = $1 AND ring = $2 AND flight = 0 AND outcome = 0)
			+ (SELECT COUNT(*) FROM rollout_members WHERE rollout_id = $1 AND ring = $2 AND flight = 1 AND outcome = 0)
			- (SELECT COUNT(*) FROM rollout_members WHERE rollout_id = $1 AND ring = $2 AND unfit <> '' AND outcome = 0)`, o.id, int64(o.ring)).Scan(&n)
	} else {
		err = tx.QueryRow(ctx, `SELECT COUNT(*) FROM rollout_members m WHERE m.rollout_id = $1 AND m.ring = $2 AND m.outcome = 0 AND m.unfit = '' AND NOT `+where, append([]any{o.id, int64(o.ring)}, args...)...).Scan(&n)
	}
	return n + o.evidence.Ring.OK + o.evidence.Ring.Bad, err
}

// had is how many devices of the present ring have the version and never began an update to
// it, as those that were set up with it: they tell nothing, and a ring of none but these
// would wait for ever. Who had a lease that is over, and said last that it waits or takes
// nothing, did not begin. Who began and has told of no end, or had a lease and said nothing,
// is silent, and waited for.
func (o *row) had(ctx context.Context, tx *db.Tx) (n int64, err error) {
	where, args := blockedSQL(o, 7)
	err = tx.QueryRow(ctx, `SELECT COUNT(*) FROM rollout_members m JOIN health_agent_versions v ON v.device_id = m.device_id
		WHERE m.rollout_id = $1 AND m.ring = $2 AND m.outcome = 0 AND m.unfit = '' AND v.version = $3 AND NOT `+where+`
			AND NOT EXISTS (SELECT 1 FROM rollout_members g JOIN rollouts e ON e.id = g.rollout_id WHERE g.device_id = m.device_id AND e.release_id = $4
				AND g.granted_ms > 0 AND (g.flight = 1 OR g.told NOT IN ($5, $6)))`,
		append([]any{o.id, int64(o.ring), o.version, o.release, int64(hmpb.UpdateState_UPDATE_STATE_WAITING), int64(hmpb.UpdateState_UPDATE_STATE_REFUSED)}, args...)...).Scan(&n)
	return n, err
}

// openIn is how many devices of the rings so far are under way, or have had no turn and
// still come: whoever has been silent for days gets his when he is back, and nobody
// waits for that. Nor for one that has the version from elsewhere, or is unfit, or had a
// whole turn: of his second one only what is armed is waited for.
func (r *Rollouts) openIn(ctx context.Context, tx *db.Tx, o *row) (n int64, err error) {
	where, args := blockedSQL(o, 5)
	err = tx.QueryRow(ctx, `SELECT COUNT(*) FROM rollout_members m LEFT JOIN health_devices h ON h.device_id = m.device_id LEFT JOIN health_agent_versions v ON v.device_id = m.device_id
		WHERE m.rollout_id = $1 AND m.ring <= $2 AND (m.flight = 1 AND (m.passed = 0 OR m.told BETWEEN `+strconv.Itoa(armed)+` AND `+strconv.Itoa(trial)+`)
			OR m.flight = 0 AND m.outcome = 0 AND m.passed = 0 AND m.unfit = '' AND m.first_ms IS NOT NULL AND h.last_contact_day >= $3 AND COALESCE(v.version, '') <> $4 AND NOT `+where+`)`,
		append([]any{o.id, int64(o.ring), r.now().Add(-awayFor).UnixMilli() / dayMS, o.version}, args...)...).Scan(&n)
	return n, err
}

// tried says whether somebody of the present ring had a turn without an outcome, or an
// outcome before the ring or the rollout began, or nobody of it can have one.
func tried(ctx context.Context, tx *db.Tx, o *row, e expected) (bool, error) {
	if e.added <= 0 {
		return e.left == 0 || o.evidence.All.OK+o.evidence.All.Bad > 0, nil
	}
	var n int64
	where, args := blockedSQL(o, 3)
	err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM rollout_members m WHERE m.rollout_id = $1 AND m.ring = $2 AND (m.outcome = 0 AND m.passed = 1 OR m.outcome <> 0 AND NOT `+where+`) LIMIT 1) x`,
		append([]any{o.id, int64(o.ring)}, args...)...).Scan(&n)
	if err != nil || n > 0 {
		return n > 0, err
	}
	where, args = blockedSQL(o, 5)
	err = tx.QueryRow(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM rollout_members m`+earlierSQL+` WHERE m.rollout_id = $1 AND m.ring = $4 AND NOT `+where+` LIMIT 1) x`,
		append([]any{o.id, o.release, o.version, int64(o.ring)}, args...)...).Scan(&n)
	return n > 0, err
}

// ringTally counts the outcomes that devices of the present ring had already, such as those
// of an update that a rollout before this one began.
func (o *row) ringTally(ctx context.Context, tx *db.Tx) (t gate.Tally, err error) {
	where, args := blockedSQL(o, 3)
	err = tx.QueryRow(ctx, `SELECT COALESCE(SUM(CASE WHEN m.outcome = 1 THEN 1 ELSE 0 END), 0), COALESCE(SUM(CASE WHEN m.outcome = 2 THEN 1 ELSE 0 END), 0)
		FROM rollout_members m WHERE m.rollout_id = $1 AND m.ring = $2 AND m.outcome <> 0 AND NOT `+where, append([]any{o.id, int64(o.ring)}, args...)...).Scan(&t.OK, &t.Bad)
	return t, err
}
