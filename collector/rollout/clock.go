package rollout

import (
	"context"
	"fmt"
	"time"

	"hausmeister/collector/db"
)

// The collector's clock may be wrong: ahead by a year at a start, until it is set, or
// behind. What was written down in such a moment would hold until the time that it showed
// then. Whether a time lies ahead, or the clock is behind, cannot be told from one look; so
// what lies more than aheadFor ahead is set to now once the clock has run on for a while.

const (
	// aheadFor is how far ahead a time may be that another collector wrote: this clock may
	// be the wrong one, by an hour where it took UTC for local time.
	aheadFor = 24 * time.Hour
	// setBackAfter is for how long the clock has run without a jump when times are set back:
	// one that is behind for a moment ends no watch and no lease.
	setBackAfter = time.Hour
	// sweepAfter is for how long it has when something is deleted.
	sweepAfter = 6 * time.Hour
)

// steady is since when the clock has run without a jump, as far as this collector has seen.
type steady struct{ since, at time.Time }

func (s *steady) look(now time.Time) {
	now = now.Round(0) // else two looks are apart by what has gone by, and not by what the clock shows
	if s.at.IsZero() || now.Sub(s.at).Abs() > aheadFor {
		s.since = now
	}
	s.at = now
}

func (s *steady) is(long time.Duration) bool { return !s.at.IsZero() && s.at.Sub(s.since) >= long }

// leastSet is by how much a clock must have been set for a watch to move with it; less is how
// clocks are kept right.
const leastSet = time.Minute

// goneBy is what has gone by between two looks, however the clock was set.
func goneBy(from, to time.Time) time.Duration { return to.Sub(from) }

// set is by how much the clock was set since the last look of this collector.
func (r *Rollouts) set(now time.Time) (by time.Duration) {
	if r.looked.IsZero() {
		return 0
	}
	if by = now.Round(0).Sub(r.looked.Round(0)) - r.gone(r.looked, now); by.Abs() < leastSet {
		return 0
	}
	return by
}

// moveWatches moves with the clock since when rings are watched, and devices silent. Else a
// ring that was entered while it was days behind has soaked when it is right. What lay ahead
// of it then another clock said, or this one when it was right; so did, of one that was ahead,
// what does not lie ahead now.
func (r *Rollouts) moveWatches(ctx context.Context, tx *db.Tx, now time.Time, set time.Duration) error {
	from := int64(1)
	switch {
	case set == 0:
		return nil
	case set < 0:
		from = now.UnixMilli() + 1
	}
	const moved = `CASE WHEN %[1]s BETWEEN $3 AND $2 THEN %[1]s + CAST($1 AS BIGINT) ELSE %[1]s END`
	_, err := tx.Exec(ctx, `UPDATE rollouts SET entered_ms = `+fmt.Sprintf(moved, "entered_ms")+`, silent_ms = `+fmt.Sprintf(moved, "silent_ms")+` WHERE ended_ms IS NULL`,
		set.Milliseconds(), r.looked.UnixMilli(), from)
	if err != nil {
		return fmt.Errorf("moving with the clock: %w", err)
	}
	return nil
}

// setBack sets to now what lies ahead: when rollouts began and entered their rings, and
// until when nobody is looked for. The record keeps what the clock said.
func (r *Rollouts) setBack(ctx context.Context, tx *db.Tx) error {
	if !r.steady.is(setBackAfter) {
		return nil
	}
	now := r.now()
	const late = `CASE WHEN %[1]s > $1 THEN CAST($2 AS BIGINT) ELSE %[1]s END`
	_, err := tx.Exec(ctx, `UPDATE rollouts SET started_ms = `+fmt.Sprintf(late, "started_ms")+`, entered_ms = `+fmt.Sprintf(late, "entered_ms")+`, excused_ms = `+fmt.Sprintf(late, "excused_ms")+`
		WHERE started_ms > $1 OR entered_ms > $1 OR excused_ms > $1`, now.Add(aheadFor).UnixMilli(), now.UnixMilli())
	if err != nil {
		return fmt.Errorf("setting back what lies ahead: %w", err)
	}
	return nil
}

// endLeases frees the places of those whose lease is over, also in rollouts that were halted
// or are over: who was armed there is under way no longer than the lease would have held.
func (r *Rollouts) endLeases(ctx context.Context, tx *db.Tx) error {
	_, err := tx.Exec(ctx, `UPDATE rollout_members SET lease = '', flight = 0, passed = 1 WHERE flight = 1 AND until_ms <= $1`, r.now().UnixMilli())
	if err == nil && r.steady.is(setBackAfter) {
		err = r.endAhead(ctx, tx)
	}
	if err != nil {
		return fmt.Errorf("ending leases: %w", err)
	}
	return nil
}

// endAhead ends leases that were given while the clock ran ahead, and would hold until the
// time that it showed then. Who is armed is under way all the same, as in revoke.
func (r *Rollouts) endAhead(ctx context.Context, tx *db.Tx) error {
	const way = `told BETWEEN $4 AND $5`
	now := r.now()
	_, err := tx.Exec(ctx, `UPDATE rollout_members SET lease = '', granted_ms = CAST($2 AS BIGINT), flight = CASE WHEN `+way+` THEN 1 ELSE 0 END, until_ms = CASE WHEN `+way+` THEN CAST($3 AS BIGINT) ELSE CAST($2 AS BIGINT) END
		WHERE flight = 1 AND granted_ms > $1`,
		now.Add(aheadFor).UnixMilli(), now.UnixMilli(), now.Add(r.cfg.Pace.Lease).UnixMilli(), int64(armed), int64(trial))
	return err
}
