package health

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"hausmeister/collector/db"
	"hausmeister/proto/reading"
)

const (
	sweepEvery = 6 * time.Hour
	// mergeEvery is how often the daily job looks for days that are over, and
	// for what came late.
	mergeEvery = 20 * time.Minute
	// lateQuiet is how long nobody must have told of a day that is over before
	// such days are merged without waiting for the daily job: a device that comes
	// back from the holidays has its weeks in the lists then, and no day of it is
	// merged twice while it tells. When a whole fleet comes back there is no such
	// quiet, and days are merged by the job.
	lateQuiet = 3 * time.Second
	// sweepStep bounds what one transaction deletes or one query reads, so
	// that reports do not wait for the sweep.
	sweepStep = 500
	// forget is after how long without a report a spool's cursor goes too, counted
	// from the end of the day of the last one. An agent keeps its reports for 44 days.
	forget = 400 * 24 * time.Hour
)

// Run clears what an earlier run left, says ready, and then merges days, deletes
// reports that are older than they are kept and wakes findings, until ctx ends. Of
// several collectors on a database one does that, as long as it has the lease.
func (h *Health) Run(ctx context.Context, ready func()) error {
	if err := h.ClearSessions(ctx); err != nil {
		return err
	}
	ready()
	for swept := h.now(); ; {
		if !h.due(ctx, h.wake) {
			return nil
		}
		if days, err := h.MergeDays(ctx); trouble(ctx, err) {
			h.log.Warn("merging days", "error", err)
		} else if days > 0 {
			h.log.Info("days merged", "days", days)
		}
		if h.now().Sub(swept) < sweepEvery {
			continue
		}
		swept = h.now()
		n, err := h.Sweep(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case trouble(ctx, err):
			h.log.Warn("deleting old reports", "error", err)
		case n > 0:
			h.log.Info("old reports deleted", "reports", n)
		}
	}
}

// wake is WakeFindings, told in the log.
func (h *Health) wake(ctx context.Context) {
	if n, err := h.WakeFindings(ctx); trouble(ctx, err) {
		h.log.Warn("waking findings", "error", err)
	} else if n > 0 {
		h.log.Info("findings are loud again", "devices", n)
	}
}

// trouble says of an error that it is one: not the end, nor that another
// collector sees to it.
func trouble(ctx context.Context, err error) bool {
	return err != nil && ctx.Err() == nil && !errors.Is(err, db.ErrLeased)
}

// due waits until days are to be merged, and says false when ctx ended first; each
// minute of that it calls wake. Not at fixed times, so that several collectors do
// not meet.
func (h *Health) due(ctx context.Context, wake func(context.Context)) bool {
	job := time.NewTimer(mergeEvery/2 + rand.N(mergeEvery))
	defer job.Stop()
	minute := time.NewTicker(wakeEvery)
	defer minute.Stop()
	var quiet *time.Timer
	var over <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return false
		case <-job.C:
			return true
		case <-minute.C:
			wake(ctx)
		case <-over:
			return true
		case <-h.late:
			if quiet != nil {
				quiet.Stop()
			}
			quiet = time.NewTimer(lateQuiet + rand.N(lateQuiet/2))
			over = quiet.C
		}
	}
}

// Sweep deletes the reports that are older than they are kept, but never a
// device's latest state as long as it is enrolled, spools that nobody used for 400
// days, and what else is over. While another collector does so, it returns
// db.ErrLeased.
func (h *Health) Sweep(ctx context.Context) (deleted int64, err error) {
	err = h.lease.Hold(ctx, func(ctx context.Context) (err error) { deleted, err = h.sweep(ctx); return err })
	return deleted, err
}

func (h *Health) sweep(ctx context.Context) (deleted int64, err error) {
	now := h.now()
	before := now.Add(-h.keep).UnixMilli()
	for after := int64(0); ; {
		spools, last, err := h.oldSpools(ctx, after, before)
		if err != nil {
			return deleted, fmt.Errorf("looking for old reports: %w", err)
		}
		for _, spool := range spools {
			n, err := h.sweepSpool(ctx, spool, before)
			deleted += n
			if err != nil {
				return deleted, fmt.Errorf("deleting old reports: %w", err)
			}
		}
		if last == 0 {
			break
		}
		after = last
	}
	err = h.db.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM health_spools WHERE used_ms < $1
			AND NOT EXISTS (SELECT 1 FROM health_reports r WHERE r.spool = health_spools.id)`, toDay(now.Add(-forget).UnixMilli()))
		return err
	})
	if err != nil {
		return deleted, fmt.Errorf("deleting old spools: %w", err)
	}
	for _, o := range h.blunted() {
		if _, err := h.sweepTable(ctx, o, now); err != nil {
			return deleted, fmt.Errorf("cutting %s to the day: %w", o.what, err)
		}
	}
	for _, o := range outlived {
		n, err := h.sweepTable(ctx, o, now)
		deleted += n
		if err != nil {
			return deleted, fmt.Errorf("deleting old %s: %w", o.what, err)
		}
	}
	n, err := h.sweepOwners(ctx, now)
	deleted += n
	if err != nil {
		return deleted, err
	}
	n, err = h.sweepRetired(ctx, now)
	return deleted + n, err
}

// outlived are the tables whose rows go by their age alone, and columns that do.
// Each statement deletes from a bounded number of rows what is older than $1.
var outlived = []lifetime{
	// Minutes that came late, from before the limit, make their daily row first.
	{"blocks", reading.KeepBlocks, asMS, `DELETE FROM health_blocks WHERE (device_id, start_ms, step_s, spool, seq) IN
		(SELECT device_id, start_ms, step_s, spool, seq FROM health_blocks WHERE start_ms < $1 AND spool <= 0 ORDER BY start_ms LIMIT $2)`},
	{"daily rows", reading.KeepDays, asDay, deleteDays + ` WHERE (device_id, day) IN
		(SELECT device_id, day FROM health_days WHERE day < $1 ORDER BY day LIMIT $2)`},
	{"findings", keepFindings, asMS, `DELETE FROM health_findings WHERE (device_id, spool, seq) IN
		(SELECT device_id, spool, seq FROM health_findings WHERE cleared_ms < $1 LIMIT $2)`},
	{"differences of inventories", keepChanges, asMS, `DELETE FROM health_inventory_differences WHERE (device_id, told_ms, name, nr) IN
		(SELECT device_id, told_ms, name, nr FROM health_inventory_differences WHERE told_ms < $1 LIMIT $2)`},
	{"quieted findings", keepFindings, asMS, `DELETE FROM health_quieted WHERE (quiet_id, device_id, spool, seq) IN (SELECT q.quiet_id, q.device_id, q.spool, q.seq
		FROM health_quieted q LEFT JOIN health_findings f ON f.device_id = q.device_id AND f.spool = q.spool AND f.seq = q.seq
		WHERE q.at_ms < $1 AND f.device_id IS NULL LIMIT $2)`},
	{"quiets", keepFindings, asMS, `DELETE FROM health_quiets WHERE id IN (SELECT a.id FROM health_quiets a WHERE a.at_ms < $1
		AND NOT EXISTS (SELECT 1 FROM health_quieted q WHERE q.quiet_id = a.id) LIMIT $2)`},
	{"versions of agents", keepChanges, asDay, `DELETE FROM health_agents WHERE (device_id, day) IN (SELECT a.device_id, a.day FROM health_agents a
		WHERE a.day < $1 AND EXISTS (SELECT 1 FROM health_agents b WHERE b.device_id = a.device_id AND b.day > a.day AND b.day < $1) LIMIT $2)`},
	// The last one stays: it says where the order goes on.
	{"changes", keepChangeLog, asMS, `DELETE FROM health_changes WHERE id IN (SELECT id FROM health_changes
		WHERE at_ms < $1 AND id < (SELECT MAX(id) FROM health_changes) ORDER BY id LIMIT $2)`},
	{"times of connections", reading.KeepBlocks, asMS, `UPDATE health_state SET began_ms = NULL, contact_ms = NULL WHERE device_id IN
		(SELECT device_id FROM health_state WHERE session = 0 AND contact_ms < $1 LIMIT $2)`},
	{"looks", keepLooks, asMS, `DELETE FROM health_looks WHERE id IN (SELECT id FROM health_looks WHERE until_ms < $1 LIMIT $2)`},
}

// blunted are the times that stay longer than they may be exact: the latest report
// of a device is kept as long as the device, and the clock of a spool as long as its
// cursor. The day is what is left of them; it still orders what comes later.
func (h *Health) blunted() []lifetime {
	return []lifetime{
		{"times of the latest reports", h.keep, asMS, `UPDATE health_reports SET device_ms = device_ms - device_ms % 86400000, collector_ms = collector_ms - collector_ms % 86400000
			WHERE (spool, seq) IN (SELECT r.spool, r.seq FROM health_state st JOIN health_reports r ON r.spool = st.latest_spool AND r.seq = st.latest_seq
				WHERE r.collector_ms < $1 AND (r.device_ms % 86400000 <> 0 OR r.collector_ms % 86400000 <> 0) LIMIT $2)`},
		{"clocks of spools", reading.KeepReports, asMS, `UPDATE health_spools SET at_ms = at_ms - at_ms % 86400000 WHERE id IN
			(SELECT id FROM health_spools WHERE at_ms < $1 AND at_ms % 86400000 <> 0 LIMIT $2)`},
	}
}

func asMS(before int64) int64  { return before }
func asDay(before int64) int64 { return before / dayMS }

type lifetime struct {
	what  string
	keep  time.Duration
	limit func(before int64) int64 // what $1 is
	sql   string
}

func (h *Health) sweepTable(ctx context.Context, o lifetime, now time.Time) (deleted int64, err error) {
	before := o.limit(now.Add(-o.keep).UnixMilli())
	for {
		var n int64
		err := h.db.Write(ctx, func(tx *db.Tx) (err error) {
			n, err = deletes(ctx, tx, o.sql, before, int64(sweepStep))
			return err
		})
		deleted += n
		if err != nil || n < sweepStep {
			return deleted, err
		}
	}
}

// oldSpools looks through some spools behind the one given for those whose
// first report is old; last is where to go on, 0 at the end.
func (h *Health) oldSpools(ctx context.Context, after, before int64) (spools []int64, last int64, err error) {
	err = h.db.Read(ctx, func(tx *db.Tx) error {
		spools, last = nil, 0
		rows, err := tx.Query(ctx, `SELECT s.id, COALESCE((SELECT r.collector_ms FROM health_reports r WHERE r.spool = s.id ORDER BY r.seq LIMIT 1), $2)
			FROM health_spools s WHERE s.id > $1 ORDER BY s.id LIMIT $3`, after, before, sweepStep)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var first int64
			if err := rows.Scan(&last, &first); err != nil {
				return err
			}
			if first < before {
				spools = append(spools, last)
			}
		}
		return rows.Close()
	})
	return spools, last, err
}

// sweepSpool deletes a spool's old reports step by step. In one spool the
// collector's times rise with the sequences, so the old ones are the first.
func (h *Health) sweepSpool(ctx context.Context, spool, before int64) (deleted int64, err error) {
	for {
		var n int64
		err := h.db.Write(ctx, func(tx *db.Tx) (err error) {
			n, err = tx.Exec(ctx, `DELETE FROM health_reports WHERE spool = $1 AND seq IN (
					SELECT r.seq FROM health_reports r WHERE r.spool = $1
						AND r.seq < COALESCE((SELECT k.seq FROM health_reports k WHERE k.spool = $1 AND k.collector_ms >= $2 ORDER BY k.seq LIMIT 1), $3)
						AND r.seq <> COALESCE((SELECT st.latest_seq FROM health_state st JOIN health_spools sp ON sp.device_id = st.device_id
							WHERE sp.id = $1 AND st.latest_spool = $1), 0)
					ORDER BY r.seq LIMIT $4)`, spool, before, int64(math.MaxInt64), sweepStep)
			return err
		})
		deleted += n
		if err != nil || n < sweepStep {
			return deleted, err
		}
	}
}
