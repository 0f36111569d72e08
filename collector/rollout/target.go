package rollout

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/pace"
	"hausmeister/proto/manifest"
)

// Target is a file of the release that a device holds the lease of: the program, the
// packed one, or a patch. Without a lease it is what devices take by signed metadata
// alone, at its signed pace: launchers and policies.
func (g Gateway) Target(ctx context.Context, device access.Caller, lease string, sha256 []byte) (pace.Content, error) {
	if err := device.Allow(access.FetchUpdates); err != nil {
		return pace.Content{}, err
	}
	hash := hex.EncodeToString(sha256)
	var f fetchable
	err := g.db.Read(ctx, func(tx *db.Tx) (err error) {
		if lease == "" {
			f, err = g.unleased(ctx, tx, device.ID, hash)
		} else {
			f, err = g.leased(ctx, tx, device.ID, lease, hash)
		}
		return err
	})
	if err != nil {
		return pace.Content{}, fmt.Errorf("looking for a target: %w", err)
	}
	c, err := g.open(hash, f.length)
	c.Line, c.Lasts = f.line, f.lasts
	return c, err
}

// fetchable is what a device may fetch, by which line and for how long; lasts 0 = for
// any time.
type fetchable struct {
	length int64
	line   pace.Line
	lasts  time.Duration
}

// leased is a target of the release that a lease is for.
func (g Gateway) leased(ctx context.Context, tx *db.Tx, device, lease, hash string) (f fetchable, err error) {
	var release, owner, school, version string
	var urgent int64
	err = tx.QueryRow(ctx, `SELECT o.release_id, m.owner_id, `+schoolToday+`, r.urgent, COALESCE(v.version, '') FROM rollout_members m JOIN rollouts o ON o.id = m.rollout_id
		JOIN rollout_releases r ON r.id = o.release_id LEFT JOIN health_agent_versions v ON v.device_id = m.device_id
		WHERE m.device_id = $1 AND m.lease = $2 AND m.lease <> '' AND m.until_ms > $3 AND o.state IN ('running', 'done')`, device, lease, g.now().UnixMilli()).Scan(&release, &owner, &school, &urgent, &version)
	if errors.Is(err, db.ErrNoRows) {
		return f, access.ErrForbidden
	}
	if err != nil {
		return f, err
	}
	err = tx.QueryRow(ctx, `SELECT length FROM rollout_targets WHERE sha256 = $1 AND release_id = $2 AND gone_ms IS NULL LIMIT 1`, hash, release).Scan(&f.length)
	if errors.Is(err, db.ErrNoRows) {
		return f, access.ErrNotFound
	}
	if err != nil {
		return f, err
	}
	w, err := readWindow(ctx, tx, owner, school)
	if err != nil {
		return f, err
	}
	f.line = w.line(owner, school)
	if urgent == 1 {
		return f, nil
	}
	overdue, err := g.overdueFor(ctx, tx, w, release, version)
	if err != nil {
		return f, err
	}
	f.lasts, err = w.open(g.now(), overdue)
	return f, err
}

// unleased is a target that needs no lease, by the way of the device's school.
func (g Gateway) unleased(ctx context.Context, tx *db.Tx, device, hash string) (f fetchable, err error) {
	err = tx.QueryRow(ctx, `SELECT length FROM rollout_targets WHERE sha256 = $1 AND role IN ('`+manifest.RoleLauncher+`', '`+manifest.RolePolicy+`') AND gone_ms IS NULL
		AND NOT EXISTS (SELECT 1 FROM rollout_releases l WHERE l.id = rollout_targets.release_id AND l.blocked_ms IS NOT NULL) LIMIT 1`, hash).Scan(&f.length)
	if errors.Is(err, db.ErrNoRows) {
		return f, access.ErrForbidden
	}
	if err != nil {
		return f, err
	}
	var owner, school string
	err = tx.QueryRow(ctx, `SELECT owner_id, COALESCE(school_id, '') FROM fleet_facts WHERE device_id = $1`, device).Scan(&owner, &school)
	if errors.Is(err, db.ErrNoRows) {
		return f, access.ErrNotFound
	}
	if err != nil {
		return f, err
	}
	w, err := readWindow(ctx, tx, owner, school)
	if err != nil {
		return f, err
	}
	f.line = w.line(owner, school)
	f.lasts, err = w.open(g.now(), false)
	return f, err
}

// overdueFor is overdue for a program of a release; that is looked up on closed days only.
func (g Gateway) overdueFor(ctx context.Context, tx *db.Tx, w window, release, version string) (bool, error) {
	if !w.closedOn(g.now()) {
		return false, nil
	}
	p, ok, err := readRelease(ctx, tx, release)
	if err != nil || !ok {
		return false, err
	}
	floors := map[string]string{}
	err = readFloors(ctx, tx, floors)
	return g.overdue(p, version, floors), err
}

// readRelease is what is signed of a release as a whole, as one of its programs has it.
func readRelease(ctx context.Context, tx *db.Tx, release string) (p manifest.Release, ok bool, err error) {
	var custom string
	err = tx.QueryRow(ctx, `SELECT custom FROM rollout_targets WHERE release_id = $1 AND kind = 'program' AND gone_ms IS NULL LIMIT 1`, release).Scan(&custom)
	if errors.Is(err, db.ErrNoRows) {
		return p, false, nil
	}
	if err != nil {
		return p, false, err
	}
	if err := json.Unmarshal([]byte(custom), &p); err != nil {
		return p, false, fmt.Errorf("release %s: %w", release, err)
	}
	return p, true, nil
}
