package rollout

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/collector/pace"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
)

// alarmDays are the steps of the countdown to the end of a role. Those that the online
// process signs again have shorter ones: a snapshot with at least three and a half
// days left, a timestamp with 36 hours, so that an alarm says that it does not.
var (
	alarmDays      = []int64{180, 90, 30, 14, 7}
	alarmSnapshot  = []int64{3, 1}
	alarmTimestamp = []int64{1}
)

// RoleState is when what a role signed ends.
type RoleState struct {
	Role    string
	Expires time.Time
	Days    int64 // whole days left; negative = over
	Alarm   int64 // the step of the countdown that was reached, in days; 0 = none; -1 = over
}

// Repository is how the signed metadata stands.
type Repository struct {
	Root, Timestamp, Snapshot, Targets int64
	Imported                           time.Time
	// NewerRoot is the root that a device says it trusts, if that is newer than ours:
	// somebody shows devices another repository, or this one is behind. 0 = none.
	NewerRoot int64
	Roles     []RoleState
	Floors    map[string]string // lowest version that may run, by product
}

func alarmOf(role string, left time.Duration) int64 {
	if left <= 0 {
		return -1
	}
	steps := alarmDays
	switch role {
	case manifest.Timestamp:
		steps = alarmTimestamp
	case manifest.Snapshot:
		steps = alarmSnapshot
	}
	var alarm int64
	for _, days := range steps {
		if left <= time.Duration(days)*24*time.Hour {
			alarm = days
		}
	}
	return alarm
}

// RepositoryState tells it, or ErrNoRepository before the first import.
func (r *Rollouts) RepositoryState(ctx context.Context, caller access.Caller) (out Repository, err error) {
	if err := caller.Allow(access.ReadRollouts); err != nil {
		return Repository{}, err
	}
	err = r.db.Read(ctx, func(tx *db.Tx) error {
		out, err = r.readRepository(ctx, tx)
		return err
	})
	if err != nil {
		return Repository{}, fmt.Errorf("reading the repository's state: %w", err)
	}
	return out, nil
}

func (r *Rollouts) readRepository(ctx context.Context, tx *db.Tx) (Repository, error) {
	out := Repository{Floors: map[string]string{}}
	var at, told int64
	err := tx.QueryRow(ctx, `SELECT root, timestamp, snapshot, targets, imported_ms, told_root FROM rollout_repository WHERE id = 1`).
		Scan(&out.Root, &out.Timestamp, &out.Snapshot, &out.Targets, &at, &told)
	if errors.Is(err, db.ErrNoRows) {
		return out, ErrNoRepository
	}
	if err != nil {
		return out, err
	}
	out.Imported = time.UnixMilli(at).UTC()
	if told > out.Root {
		out.NewerRoot = told
	}
	rows, err := tx.Query(ctx, `SELECT role, expires_ms FROM rollout_roles ORDER BY expires_ms, role`)
	if err != nil {
		return out, err
	}
	defer rows.Close()
	for rows.Next() {
		var role string
		var expires int64
		if err := rows.Scan(&role, &expires); err != nil {
			return out, err
		}
		end := time.UnixMilli(expires).UTC()
		left := end.Sub(r.now())
		out.Roles = append(out.Roles, RoleState{Role: role, Expires: end, Days: int64(math.Floor(left.Hours() / 24)), Alarm: alarmOf(role, left)})
	}
	if err := rows.Close(); err != nil {
		return out, err
	}
	return out, readFloors(ctx, tx, out.Floors)
}

func readFloors(ctx context.Context, tx *db.Tx, floors map[string]string) error {
	rows, err := tx.Query(ctx, `SELECT product, version FROM rollout_floors`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var product, version string
		if err := rows.Scan(&product, &version); err != nil {
			return err
		}
		floors[product] = version
	}
	return rows.Close()
}

// alarms notes each step of a countdown once, in the record and in the log.
func (r *Rollouts) alarms(ctx context.Context) error {
	var raised []RoleState
	err := r.db.Write(ctx, func(tx *db.Tx) error {
		raised = nil
		state, err := r.readRepository(ctx, tx)
		if errors.Is(err, access.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, role := range state.Roles {
			n, err := tx.Exec(ctx, `UPDATE rollout_roles SET alarm = $2 WHERE role = $1 AND alarm <> $2`, role.Role, role.Alarm)
			if err != nil {
				return err
			}
			if n == 0 || role.Alarm == 0 {
				continue
			}
			raised = append(raised, role)
			action := "repository.expiring"
			if role.Alarm < 0 {
				action = "repository.expired"
			}
			err = audit.Append(ctx, tx, audit.Entry{AtMS: r.now().UnixMilli(), Actor: access.System("rollouts").Actor(), Action: action, Subject: "repository:" + role.Role,
				Details: map[string]string{"days": strconv.FormatInt(role.Days, 10)}})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("looking at the end of the metadata: %w", err)
	}
	for _, role := range raised {
		r.log.Warn("signed metadata must be renewed", "role", role.Role, "days_left", role.Days)
	}
	return nil
}

// Repository says how new the metadata is; nil before the first import.
func (r *Rollouts) Repository(ctx context.Context) (out *hmpb.Repository, err error) {
	err = r.db.Read(ctx, func(tx *db.Tx) error {
		out, err = repository(ctx, tx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the repository's versions: %w", err)
	}
	return out, nil
}

func repository(ctx context.Context, tx *db.Tx) (*hmpb.Repository, error) {
	var root, timestamp uint64
	err := tx.QueryRow(ctx, `SELECT root, timestamp FROM rollout_repository WHERE id = 1`).Scan(&root, &timestamp)
	if errors.Is(err, db.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return hmpb.Repository_builder{RootVersion: &root, TimestampVersion: &timestamp}.Build(), nil
}

// For devices over their sessions there is Gateway, for anybody by HTTPS Public: the
// same files, with and without a lease.

// Gateway is what collector/gateway asks.
type Gateway struct{ *Rollouts }

// Public is what collector/web asks.
type Public struct{ *Rollouts }

// Metadata is a file of signed metadata, and with a nonce the statement that it is
// the newest.
func (g Gateway) Metadata(ctx context.Context, device access.Caller, name string, nonce []byte, root uint64) (data, freshness []byte, err error) {
	if err := device.Allow(access.FetchUpdates); err != nil {
		return nil, nil, err
	}
	return g.metadata(ctx, name, nonce, root)
}

// Metadata is the same for whoever asks.
func (p Public) Metadata(ctx context.Context, name string, nonce []byte, root uint64) (data, freshness []byte, err error) {
	return p.metadata(ctx, name, nonce, 0)
}

func (r *Rollouts) metadata(ctx context.Context, name string, nonce []byte, root uint64) (data, freshness []byte, err error) {
	var ours int64
	err = r.db.Read(ctx, func(tx *db.Tx) error {
		ours = 0
		err := tx.QueryRow(ctx, `SELECT body FROM rollout_metadata WHERE name = $1`, name).Scan(&data)
		if err != nil || name != timestampName {
			return err
		}
		return tx.QueryRow(ctx, `SELECT root FROM rollout_repository WHERE id = 1`).Scan(&ours)
	})
	if errors.Is(err, db.ErrNoRows) {
		return nil, nil, access.ErrNotFound
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading metadata: %w", err)
	}
	if name != timestampName {
		return data, nil, nil
	}
	if root > uint64(ours) && root < math.MaxInt64 {
		r.newerRoot(ctx, int64(root))
	}
	if len(nonce) == len(manifest.Nonce{}) && r.cfg.Fresh != nil {
		// Without a statement the device judges by its clocks; it is better off with
		// the file than with an error.
		if freshness, err = r.cfg.Fresh(ctx, manifest.Nonce(nonce), ours); err != nil {
			r.log.Warn("no statement of freshness", "error", err)
			freshness = nil
		}
	}
	return data, freshness, nil
}

const timestampName = manifest.Timestamp + ".json"

// newerRoot notes once that devices trust a root which this collector has not.
func (r *Rollouts) newerRoot(ctx context.Context, root int64) {
	var news bool
	err := r.db.Write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `UPDATE rollout_repository SET told_root = $1 WHERE id = 1 AND root < $1 AND told_root < $1`, root)
		if news = n > 0; err != nil || !news {
			return err
		}
		return audit.Append(ctx, tx, audit.Entry{AtMS: r.now().UnixMilli(), Actor: access.System("rollouts").Actor(), Action: "repository.behind", Subject: "repository:" + strconv.FormatInt(root, 10)})
	})
	switch {
	case err != nil:
		r.log.Warn("noting a newer root", "error", err)
	case news:
		r.log.Error("a device trusts a newer root than this collector has: import the repository, or find out who shows it another one", "root", root)
	}
}

// Published is the file of a target that is signed now: of an agent's once a rollout
// of it has begun, so that nothing is fetched before its time. Launchers have no
// rollouts, devices take them at the signed pace.
func (p Public) Published(ctx context.Context, sha256 []byte) (pace.Content, error) {
	hash := hex.EncodeToString(sha256)
	var length int64
	err := p.db.Read(ctx, func(tx *db.Tx) error {
		return tx.QueryRow(ctx, `SELECT t.length FROM rollout_targets t WHERE t.sha256 = $1 AND t.gone_ms IS NULL
			AND NOT EXISTS (SELECT 1 FROM rollout_releases l WHERE l.id = t.release_id AND l.blocked_ms IS NOT NULL)
			AND (t.release_id IS NULL OR t.role = '`+manifest.RoleLauncher+`' OR EXISTS (SELECT 1 FROM rollouts o WHERE o.release_id = t.release_id AND o.state IN ('running', 'done'))) LIMIT 1`, hash).Scan(&length)
	})
	if errors.Is(err, db.ErrNoRows) {
		return pace.Content{}, access.ErrNotFound
	}
	if err != nil {
		return pace.Content{}, fmt.Errorf("looking for a target: %w", err)
	}
	return p.open(hash, length)
}
