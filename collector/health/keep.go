package health

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"hausmeister/collector/db"
)

const (
	sweepEvery = 6 * time.Hour
	// sweepStep bounds what one transaction deletes or one query reads, so
	// that reports do not wait for the sweep.
	sweepStep = 500
	// forget is after how long without a report a spool's cursor goes too. An
	// agent keeps its reports for 44 days.
	forget = 400 * 24 * time.Hour
)

// Run clears what an earlier run left, says ready, and then deletes reports
// that are older than they are kept, until ctx ends.
func (h *Health) Run(ctx context.Context, ready func()) error {
	if err := h.ClearSessions(ctx); err != nil {
		return err
	}
	ready()
	for {
		// Not at a fixed time, so that several collectors do not meet.
		wait := time.NewTimer(sweepEvery/2 + rand.N(sweepEvery))
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil
		case <-wait.C:
		}
		n, err := h.Sweep(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			h.log.Warn("deleting old reports", "error", err)
		case n > 0:
			h.log.Info("old reports deleted", "reports", n)
		}
	}
}

// Sweep deletes the reports that are older than they are kept, but never a
// device's latest state, and spools that nobody used for 400 days.
func (h *Health) Sweep(ctx context.Context) (deleted int64, err error) {
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
			AND NOT EXISTS (SELECT 1 FROM health_reports r WHERE r.spool = health_spools.id)`, now.Add(-forget).UnixMilli())
		return err
	})
	if err != nil {
		return deleted, fmt.Errorf("deleting old spools: %w", err)
	}
	return deleted, nil
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
