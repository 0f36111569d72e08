package fleet

import (
	"context"
	"fmt"

	"hausmeister/collector/db"
)

// movable is a device of a job about its school.
type movable struct {
	Device
	seq     int64
	outcome int64
	by      string // who changed its school last
	before  string
}

func movables(ctx context.Context, tx *db.Tx, r jobRow, from, to int64) ([]movable, error) {
	var out []movable
	at := map[string]int{}
	var ids []Device
	err := each(ctx, tx, func(rows *db.Rows) error {
		var m movable
		err := rows.Scan(&m.seq, &m.ID, &m.outcome, &m.before)
		at[m.ID] = len(out)
		out, ids = append(out, m), append(ids, m.Device)
		return err
	}, `SELECT seq, device_id, outcome, before FROM job_devices WHERE job_id = $1 AND seq > $2 AND seq <= $3 ORDER BY seq`, r.id, from, to)
	if err != nil || len(out) == 0 {
		return nil, err
	}
	in, args, _ := among(ids)
	return out, each(ctx, tx, func(rows *db.Rows) error {
		var d Device
		var by string
		err := rows.Scan(&d.ID, &d.Owner, &d.School, &by, &d.Manufacturer, &d.Model, &d.Serial, &d.Inventory)
		m := &out[at[d.ID]]
		m.Device, m.by = d, by
		return err
	}, `SELECT id, owner_id, COALESCE(school_id, ''), school_by, manufacturer, model, serial, COALESCE(inventory, '') FROM devices WHERE id IN `+in, args...)
}

// move brings devices to the job's school.
func move(ctx context.Context, tx *db.Tx, r jobRow, from, to int64) error {
	var s School
	if r.school != "" {
		s.ID = r.school
		if err := tx.QueryRow(ctx, `SELECT owner_id, code, name, kind FROM schools WHERE id = $1`, r.school).Scan(&s.Owner, &s.Code, &s.Name, &s.Kind); err != nil {
			return err
		}
	}
	devices, err := movables(ctx, tx, r, from, to)
	if err != nil {
		return err
	}
	for _, m := range devices {
		outcome := int64(1)
		switch {
		case s.ID != "" && s.Owner != m.Owner:
			outcome = 3
		case s.ID == m.School:
			outcome = 2
		default:
			if err := moveTo(ctx, tx, m.Device, s, r.id); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, `UPDATE job_devices SET outcome = $3, before = $4 WHERE job_id = $1 AND seq = $2`, r.id, m.seq, outcome, m.School); err != nil {
			return err
		}
	}
	return nil
}

// moveTo writes a device's school; by names the change.
func moveTo(ctx context.Context, tx *db.Tx, d Device, s School, by string) error {
	_, err := tx.Exec(ctx, `UPDATE devices SET school_id = $2, school_by = $3, search = $4, revision = `+nextRevision+` WHERE id = $1`,
		d.ID, orNull(s.ID), by, searchText(d.Inventory, d.Serial, d.Manufacturer, d.Model, s))
	if err != nil {
		return fmt.Errorf("moving the device: %w", err)
	}
	return nil
}

func moveBack(ctx context.Context, tx *db.Tx, r jobRow, from, to int64) error {
	devices, err := movables(ctx, tx, r, from, to)
	if err != nil {
		return err
	}
	for _, m := range devices {
		if m.outcome != 1 {
			continue
		}
		undo := int64(2)
		if m.by == r.id {
			undo = 1
			s, err := schoolOf(ctx, tx, m.Owner, m.before)
			if err != nil {
				return err
			}
			if err := moveTo(ctx, tx, m.Device, s, undoOf(r.id)); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, `UPDATE job_devices SET undo = $3 WHERE job_id = $1 AND seq = $2`, r.id, m.seq, undo); err != nil {
			return err
		}
	}
	return nil
}
