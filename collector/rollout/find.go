package rollout

import (
	"context"
	"fmt"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
)

// Found is a version that was searched for: a rollout of it, or the release where none
// began yet.
type Found struct {
	Release                   string // id
	Product, Channel, Version string
	Rollout                   string // id; empty = none began
	State                     State
	Started                   time.Time
	Exact                     bool // it is called so
}

// mostFound bounds what Find gives.
const mostFound = 20

// Find looks for versions that are called so, and for those that begin so: 1.4 is 1.4.2,
// too, and not 1.40.0. What is called so comes first, then the
// latest; of the same moment what began before what waits.
func (r *Rollouts) Find(ctx context.Context, caller access.Caller, version string) (out []Found, err error) {
	if err := caller.Allow(access.ReadRollouts); err != nil {
		return nil, err
	}
	if !db.Holds(version) {
		return nil, nil
	}
	err = r.db.Read(ctx, func(tx *db.Tx) error {
		out = nil
		rows, err := tx.Query(ctx, `SELECT r.id, r.product, r.channel, r.version, COALESCE(o.id, ''), COALESCE(o.state, ''), COALESCE(o.started_ms, 0)
			FROM rollout_releases r LEFT JOIN rollouts o ON o.release_id = r.id
			WHERE r.version = $1 OR substr(r.version, 1, $2) = $3
			ORDER BY CASE WHEN r.version = $1 THEN 0 ELSE 1 END, COALESCE(o.started_ms, r.imported_ms) DESC, CASE WHEN o.id IS NULL THEN 1 ELSE 0 END, r.id, o.id DESC LIMIT `+fmt.Sprint(mostFound), version, int64(len([]rune(version))+1), version+".")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var f Found
			var state string
			var started int64
			if err := rows.Scan(&f.Release, &f.Product, &f.Channel, &f.Version, &f.Rollout, &state, &started); err != nil {
				return err
			}
			f.State, f.Started, f.Exact = State(state), timeOf(started), f.Version == version
			out = append(out, f)
		}
		return rows.Close()
	})
	if err != nil {
		return nil, fmt.Errorf("looking for a version: %w", err)
	}
	return out, nil
}
