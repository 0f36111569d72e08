package fleet

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"hausmeister/collector/db"
)

// marked is a device of a job about a label, and how it stands.
type marked struct {
	id, owner string
	outcome   int64
	held      bool
	by        string // who changed the label last; empty = nobody ever did
}

// marks reads the devices behind number from up to to. The lists of ids are
// written out: with joins PostgreSQL, whose statistics know nothing yet of a table
// that a job fills, goes through all devices at each step.
func marks(ctx context.Context, tx *db.Tx, r jobRow, from, to int64) ([]marked, error) {
	var out []marked
	at := map[string]int{}
	err := each(ctx, tx, func(rows *db.Rows) error {
		var m marked
		err := rows.Scan(&m.id, &m.outcome)
		at[m.id] = len(out)
		out = append(out, m)
		return err
	}, `SELECT device_id, outcome FROM job_devices WHERE job_id = $1 AND seq > $2 AND seq <= $3`, r.id, from, to)
	if err != nil || len(out) == 0 {
		return nil, err
	}
	in, args := listed(out)
	err = each(ctx, tx, func(rows *db.Rows) error {
		var id, owner string
		err := rows.Scan(&id, &owner)
		out[at[id]].owner = owner
		return err
	}, `SELECT id, owner_id FROM devices WHERE id IN `+in, args...)
	if err != nil {
		return nil, err
	}
	in, args = listed(out, r.key)
	return out, each(ctx, tx, func(rows *db.Rows) error {
		var id, by string
		var holds int64
		err := rows.Scan(&id, &holds, &by)
		m := &out[at[id]]
		m.held, m.by = holds == 1, by
		return err
	}, `SELECT device_id, held, changed_by FROM device_labels WHERE label_key = $1 AND device_id IN `+in, args...)
}

// listed is the list of devices for IN, behind some other arguments.
func listed(devices []marked, before ...any) (in string, args []any) {
	params := make([]string, len(devices))
	args = before
	for i, m := range devices {
		params[i] = fmt.Sprintf("$%d", len(before)+i+1)
		args = append(args, m.id)
	}
	return "(" + strings.Join(params, ", ") + ")", args
}

// relabel sets or takes a label of the devices behind number from up to to.
func relabel(ctx context.Context, tx *db.Tx, r jobRow, from, to int64) error {
	all, err := marks(ctx, tx, r, from, to)
	if err != nil {
		return err
	}
	want := r.act == ActLabel
	changed := slices.DeleteFunc(all, func(m marked) bool { return m.held == want })
	if _, err := tx.Exec(ctx, `UPDATE job_devices SET outcome = 2 WHERE job_id = $1 AND seq > $2 AND seq <= $3`, r.id, from, to); err != nil {
		return err
	}
	if len(changed) == 0 {
		return nil
	}
	in, args := listed(changed, r.id, from, to)
	if _, err := tx.Exec(ctx, `UPDATE job_devices SET outcome = 1 WHERE job_id = $1 AND seq > $2 AND seq <= $3 AND device_id IN `+in, args...); err != nil {
		return err
	}
	return mark(ctx, tx, changed, r.key, want, r.id)
}

// mark writes that devices hold a label, or do not; by names the change.
func mark(ctx context.Context, tx *db.Tx, devices []marked, key string, held bool, by string) error {
	values := make([]string, len(devices))
	args := []any{key, held, by}
	for i, m := range devices {
		values[i] = fmt.Sprintf("($%d, $%d, $1, $2, $3)", 2*i+4, 2*i+5)
		args = append(args, m.id, m.owner)
	}
	_, err := tx.Exec(ctx, `INSERT INTO device_labels (device_id, owner_id, label_key, held, changed_by) VALUES `+strings.Join(values, ", ")+`
		ON CONFLICT (device_id, label_key) DO UPDATE SET held = excluded.held, changed_by = excluded.changed_by`, args...)
	return err
}

func relabelBack(ctx context.Context, tx *db.Tx, r jobRow, from, to int64) error {
	all, err := marks(ctx, tx, r, from, to)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE job_devices SET undo = 2 WHERE job_id = $1 AND seq > $2 AND seq <= $3 AND outcome = 1`, r.id, from, to); err != nil {
		return err
	}
	mine := slices.DeleteFunc(all, func(m marked) bool { return m.outcome != 1 || m.by != r.id })
	if len(mine) == 0 {
		return nil
	}
	in, args := listed(mine, r.id, from, to)
	if _, err := tx.Exec(ctx, `UPDATE job_devices SET undo = 1 WHERE job_id = $1 AND seq > $2 AND seq <= $3 AND device_id IN `+in, args...); err != nil {
		return err
	}
	return mark(ctx, tx, mine, r.key, r.act == ActUnlabel, undoOf(r.id))
}
