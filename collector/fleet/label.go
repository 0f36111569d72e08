package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/proto/ident"
)

// MaxLabel is the longest label in characters: it stands in a row of the list.
const MaxLabel = 40

// LabelCount is a label that some devices hold.
type LabelCount struct {
	Label   string
	Devices int64
}

// ErrLabel: what is invalid is the text of a label.
var ErrLabel = fmt.Errorf("%w label", ErrInvalid)

// checkLabel trims a label. A comma would part it in lists and files.
func checkLabel(s string) (label, key string, err error) {
	if label, err = text("label", s, MaxLabel); err != nil {
		return "", "", fmt.Errorf("%w: %w", ErrLabel, err)
	}
	key = fold(label)
	if key == "" || strings.Contains(label, ",") {
		return "", "", fmt.Errorf("%w: a label is text without a comma", ErrLabel)
	}
	return label, key, nil
}

// Labels are the labels that devices of the caller's owners hold, by name.
func (f *Fleet) Labels(ctx context.Context, caller access.Caller) ([]LabelCount, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return nil, err
	}
	scope, args := caller.Scope("l.owner_id", 1)
	var out []LabelCount
	err := f.db.Read(ctx, func(tx *db.Tx) error {
		out = nil
		rows, err := tx.Query(ctx, `SELECT MIN(label), SUM(devices) FROM (SELECT l.label_key AS label_key, l.label AS label,
				(SELECT count(*) FROM device_labels h WHERE h.label_key = l.label_key AND h.owner_id = l.owner_id AND h.held = 1) AS devices
				FROM labels l WHERE `+scope+`) counted
			WHERE devices > 0 GROUP BY label_key ORDER BY label_key`, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var c LabelCount
			if err := rows.Scan(&c.Label, &c.Devices); err != nil {
				return err
			}
			out = append(out, c)
		}
		return rows.Close()
	})
	if err != nil {
		return nil, fmt.Errorf("listing labels: %w", err)
	}
	return out, nil
}

// LabelNames are Labels without their numbers, for suggestions and filters.
func (f *Fleet) LabelNames(ctx context.Context, caller access.Caller) ([]string, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return nil, err
	}
	scope, args := caller.Scope("l.owner_id", 1)
	var out []string
	err := f.db.Read(ctx, func(tx *db.Tx) (err error) {
		out, err = db.Texts(ctx, tx, `SELECT MIN(l.label) FROM labels l WHERE `+scope+` AND EXISTS
			(SELECT 1 FROM device_labels h WHERE h.label_key = l.label_key AND h.owner_id = l.owner_id AND h.held = 1)
			GROUP BY l.label_key ORDER BY l.label_key`, args...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing labels: %w", err)
	}
	return out, nil
}

// SetLabel gives a device a label, or takes it away. What is so already is no error.
func (f *Fleet) SetLabel(ctx context.Context, caller access.Caller, device, label string, held bool) error {
	if err := caller.Allow(access.WriteDevices); err != nil {
		return err
	}
	label, key, err := checkLabel(label)
	if err != nil {
		return err
	}
	return f.db.Write(ctx, func(tx *db.Tx) error {
		d, err := ownDevice(ctx, tx, caller, device)
		if err != nil {
			return err
		}
		had, err := holds(ctx, tx, device, key)
		if err != nil || had == held {
			return err
		}
		now, action := f.now(), "device.unlabelled"
		if held {
			action = "device.labelled"
			if err := spell(ctx, tx, d.Owner, key, label); err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx, `INSERT INTO device_labels (device_id, owner_id, label_key, held, changed_by) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (device_id, label_key) DO UPDATE SET held = excluded.held, changed_by = excluded.changed_by`,
			device, d.Owner, key, held, ident.NewID(now))
		if err != nil {
			return fmt.Errorf("labelling the device: %w", err)
		}
		return audit.Append(ctx, tx, audit.Entry{Actor: caller.Actor(), Action: action, Subject: "device:" + device, Owner: d.Owner,
			AtMS: now.UnixMilli(), Details: map[string]string{"label": label}})
	})
}

func holds(ctx context.Context, tx *db.Tx, device, key string) (bool, error) {
	var held int64
	err := tx.QueryRow(ctx, `SELECT held FROM device_labels WHERE device_id = $1 AND label_key = $2`, device, key).Scan(&held)
	if errors.Is(err, db.ErrNoRows) {
		return false, nil
	}
	return held == 1, err
}

// spell notes how a label is written, unless devices of the owner hold it already.
func spell(ctx context.Context, tx *db.Tx, owner, key, label string) error {
	_, err := tx.Exec(ctx, `INSERT INTO labels (owner_id, label_key, label) VALUES ($1, $2, $3)
		ON CONFLICT (owner_id, label_key) DO UPDATE SET label = excluded.label
		WHERE NOT EXISTS (SELECT 1 FROM device_labels h WHERE h.label_key = excluded.label_key AND h.owner_id = excluded.owner_id AND h.held = 1)`,
		owner, key, label)
	return err
}

// fillLabels reads the labels of some devices.
func fillLabels(ctx context.Context, tx *db.Tx, devices []Device) error {
	in, args, at := among(devices)
	rows, err := tx.Query(ctx, `SELECT h.device_id, l.label FROM device_labels h JOIN labels l ON l.owner_id = h.owner_id AND l.label_key = h.label_key
		WHERE h.held = 1 AND h.device_id IN `+in+` ORDER BY h.device_id, h.label_key`, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id, label string
		if err := rows.Scan(&id, &label); err != nil {
			return err
		}
		d := &devices[at[id]]
		d.Labels = append(d.Labels, label)
	}
	return rows.Close()
}

// among is the condition for these devices, and where each of them stands.
func among(devices []Device) (in string, args []any, at map[string]int) {
	at = make(map[string]int, len(devices))
	params := make([]string, len(devices))
	for i, d := range devices {
		at[d.ID] = i
		params[i] = fmt.Sprintf("$%d", i+1)
		args = append(args, d.ID)
	}
	return "(" + strings.Join(params, ", ") + ")", args, at
}
