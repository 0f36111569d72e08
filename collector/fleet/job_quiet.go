package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
)

// Quieter is who owns findings, and what makes them count no longer; a job brings it
// the devices, some in each transaction.
type Quieter interface {
	// BeginQuiet checks and notes an act of the caller on a finding, and gives its id.
	BeginQuiet(ctx context.Context, tx *db.Tx, caller access.Caller, code, reason string, until time.Time) (id string, err error)
	// SetQuiet makes the finding of an act quiet at those of these devices where it is
	// loud, or loud again at those where it is quiet by this act, and names them.
	SetQuiet(ctx context.Context, tx *db.Tx, id string, devices []string, quiet bool) (changed []string, err error)
	// Told says that a transaction of SetQuiet holds.
	Told(changed []string)
}

// UndoQuiet undoes the job that an act on a finding was; else access.ErrNotFound.
func (f *Fleet) UndoQuiet(ctx context.Context, caller access.Caller, act string) (Job, error) {
	var id string
	err := f.db.Read(ctx, func(tx *db.Tx) error {
		return each(ctx, tx, func(rows *db.Rows) error { return rows.Scan(&id) }, `SELECT id FROM jobs WHERE quiet = $1 AND act = $2`, act, string(ActQuiet))
	})
	if err != nil {
		return Job{}, fmt.Errorf("looking for the job of an act: %w", err)
	}
	if act == "" || id == "" {
		return Job{}, fmt.Errorf("job of act %q: %w", act, unknownHere)
	}
	return f.UndoJob(ctx, caller, id)
}

// ofQuiet fills in which finding the job's act is about, if it still makes one quiet
// at a device that the caller sees.
func (r *jobRow) ofQuiet(ctx context.Context, tx *db.Tx, caller access.Caller) error {
	scope, args := caller.Scope("d.owner_id", 2)
	codes, err := db.Texts(ctx, tx, `SELECT q.code FROM health_quiet_devices q JOIN devices d ON d.id = q.device_id WHERE q.quiet_id = $1 AND `+scope+` LIMIT 1`,
		append([]any{r.quiet}, args...)...)
	if err == nil && len(codes) == 0 {
		err = unknownHere
	}
	if err != nil {
		return fmt.Errorf("act %q on a finding: %w", r.quiet, err)
	}
	r.finding = codes[0]
	filter, err := json.Marshal(Filter{Finding: r.finding}) // for people; filtered takes the act's devices
	r.filter = string(filter)
	return err
}

// quieten makes a finding quiet, or loud again, at the devices behind number from up
// to to, and says at which it did.
func (f *Fleet) quieten(ctx context.Context, tx *db.Tx, r jobRow, from, to int64) ([]string, error) {
	ids, err := numbered(ctx, tx, r, from, to, "")
	if err != nil {
		return nil, err
	}
	changed, err := f.quieter.SetQuiet(ctx, tx, r.quiet, ids, r.act == ActQuiet)
	if err != nil {
		return nil, err
	}
	return changed, settle(ctx, tx, r, from, to, "outcome", "", changed)
}

// quietenBack makes it loud where it still is quiet by the job, or quiet where it
// still is loud.
func (f *Fleet) quietenBack(ctx context.Context, tx *db.Tx, r jobRow, from, to int64) ([]string, error) {
	ids, err := numbered(ctx, tx, r, from, to, " AND outcome = 1")
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	restored, err := f.quieter.SetQuiet(ctx, tx, r.quiet, ids, r.act == ActLoud)
	if err != nil {
		return nil, err
	}
	return restored, settle(ctx, tx, r, from, to, "undo", " AND outcome = 1", restored)
}

// numbered are the devices behind number from up to to.
func numbered(ctx context.Context, tx *db.Tx, r jobRow, from, to int64, and string) (ids []string, err error) {
	return ids, each(ctx, tx, func(rows *db.Rows) error {
		var id string
		err := rows.Scan(&id)
		ids = append(ids, id)
		return err
	}, `SELECT device_id FROM job_devices WHERE job_id = $1 AND seq > $2 AND seq <= $3`+and, r.id, from, to)
}

// settle writes what became of the devices behind number from up to to: 1 of those
// that are named, 2 of the others.
func settle(ctx context.Context, tx *db.Tx, r jobRow, from, to int64, column, and string, named []string) error {
	where := ` WHERE job_id = $1 AND seq > $2 AND seq <= $3` + and
	if _, err := tx.Exec(ctx, `UPDATE job_devices SET `+column+` = 2`+where, r.id, from, to); err != nil || len(named) == 0 {
		return err
	}
	args, params := []any{r.id, from, to}, make([]string, len(named))
	for i, id := range named {
		args, params[i] = append(args, id), fmt.Sprintf("$%d", i+4)
	}
	_, err := tx.Exec(ctx, `UPDATE job_devices SET `+column+` = 1`+where+` AND device_id IN (`+strings.Join(params, ", ")+`)`, args...)
	return err
}
