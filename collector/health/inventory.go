package health

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/inventory"
)

// keepChanges is how long the differences of an inventory are kept.
const keepChanges = 24 * 30 * 24 * time.Hour

// maxChanges is how many differences of one day are kept, and shown at once:
// a new operating system changes everything.
const maxChanges = 1000

// inventory reads a list, or counts a bad one.
func (p *parsed) inventory(m *hmpb.Inventory) *hmpb.Inventory {
	if _, err := inventory.Unpack(m); err != nil {
		p.badInventories++
		return nil
	}
	return m
}

// storeInventory replaces the device's list and keeps what changed, under the
// day on which the device noticed: one that comes back from the holidays tells
// weeks at once. The day is what people see, so the differences of one day stand
// under one time.
func storeInventory(ctx context.Context, tx *db.Tx, device string, m *hmpb.Inventory, atMS int64) error {
	var body []byte
	err := tx.QueryRow(ctx, `SELECT body FROM health_inventory WHERE device_id = $1`, device).Scan(&body)
	first := errors.Is(err, db.ErrNoRows)
	if err != nil && !first {
		return err
	}
	packed, err := proto.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding an inventory: %w", err)
	}
	day := toDay(atMS)
	_, err = tx.Exec(ctx, `INSERT INTO health_inventory (device_id, hash, programs, told_ms, body) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (device_id) DO UPDATE SET hash = excluded.hash, programs = excluded.programs, told_ms = excluded.told_ms, body = excluded.body`,
		device, m.GetHash(), int64(m.GetPrograms()), day, packed)
	if err != nil || first {
		return err
	}
	before, err := unpackStored(body)
	if err != nil {
		return err
	}
	now, err := inventory.Unpack(m)
	if err != nil {
		return err
	}
	for i, c := range inventory.Diff(before, now) {
		if i == maxChanges {
			break
		}
		if err := storeChange(ctx, tx, device, day, c); err != nil {
			return err
		}
	}
	// What came and went on one day did not change by the day.
	_, err = tx.Exec(ctx, `DELETE FROM health_inventory_differences WHERE device_id = $1 AND told_ms = $2
		AND (from_version = to_version OR from_version IS NULL AND to_version IS NULL)`, device, day)
	return err
}

// storeChange goes on from the difference of that day which ended where c begins,
// so that two updates of a program in a day are one; what follows no other stands
// by itself, under the same name too: two kernels are two programs.
func storeChange(ctx context.Context, tx *db.Tx, device string, day int64, c inventory.Change) error {
	nr, last, err := followed(ctx, tx, device, day, c)
	if err != nil {
		return err
	}
	from, to := versionOrNull(c.From, c.Added), versionOrNull(c.To, c.Removed)
	if nr > 0 {
		_, err = tx.Exec(ctx, `UPDATE health_inventory_differences SET to_version = $1 WHERE device_id = $2 AND told_ms = $3 AND name = $4 AND nr = $5`,
			to, device, day, c.Name, nr)
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO health_inventory_differences (device_id, told_ms, name, nr, from_version, to_version) VALUES ($1, $2, $3, $4, $5, $6)`,
		device, day, c.Name, last+1, from, to)
	return err
}

// followed is the number of the difference that c goes on from, 0 for none, and
// the last number of that name and day. Of several versions that were removed, the
// one that is back counts before one that another took the place of.
func followed(ctx context.Context, tx *db.Tx, device string, day int64, c inventory.Change) (nr, last int64, err error) {
	rows, err := tx.Query(ctx, `SELECT nr, from_version, to_version FROM health_inventory_differences
		WHERE device_id = $1 AND told_ms = $2 AND name = $3 ORDER BY nr`, device, day, c.Name)
	if err != nil {
		return 0, 0, err
	}
	defer rows.Close()
	back := false
	for rows.Next() {
		var from, to *string
		if err := rows.Scan(&last, &from, &to); err != nil {
			return 0, 0, err
		}
		goesOn := to == nil && c.Added || to != nil && !c.Added && *to == c.From
		if same := from != nil && *from == c.To && !c.Removed; goesOn && (nr == 0 || same && !back) {
			nr, back = last, same
		}
	}
	return nr, last, rows.Close()
}

func versionOrNull(version string, none bool) any {
	if none {
		return nil
	}
	return version
}

func unpackStored(body []byte) ([]inventory.Program, error) {
	var m hmpb.Inventory
	if err := proto.Unmarshal(body, &m); err != nil {
		return nil, fmt.Errorf("decoding a stored inventory: %w", err)
	}
	return inventory.Unpack(&m)
}

// Inventory is what is installed on a device, and what changed, the latest first.
type Inventory struct {
	Day      time.Time // when it was last told; zero = never
	Programs []inventory.Program
	Changes  []InventoryChange
}

// InventoryChange is a difference, by the day.
type InventoryChange struct {
	Day time.Time
	inventory.Change
}

// Inventory gives the device's list.
func (h *Health) Inventory(ctx context.Context, caller access.Caller, device string) (Inventory, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return Inventory{}, err
	}
	var inv Inventory
	var body []byte
	err := h.db.Read(ctx, func(tx *db.Tx) error {
		inv, body = Inventory{}, nil
		if err := seen(ctx, tx, caller, device); err != nil {
			return err
		}
		var told int64
		err := tx.QueryRow(ctx, `SELECT told_ms, body FROM health_inventory WHERE device_id = $1`, device).Scan(&told, &body)
		if errors.Is(err, db.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		inv.Day = dayOf(told)
		inv.Changes, err = changes(ctx, tx, device)
		return err
	})
	if err == nil && body != nil {
		inv.Programs, err = unpackStored(body)
	}
	if err != nil {
		return Inventory{}, fmt.Errorf("reading the inventory: %w", err)
	}
	return inv, nil
}

func changes(ctx context.Context, tx *db.Tx, device string) ([]InventoryChange, error) {
	rows, err := tx.Query(ctx, `SELECT told_ms, name, from_version, to_version FROM health_inventory_differences
		WHERE device_id = $1 ORDER BY told_ms DESC, name, nr LIMIT $2`, device, int64(maxChanges))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []InventoryChange
	for rows.Next() {
		var c InventoryChange
		var told int64
		var from, to *string
		if err := rows.Scan(&told, &c.Name, &from, &to); err != nil {
			return nil, err
		}
		c.Day, c.Added, c.Removed = dayOf(told), from == nil, to == nil
		if from != nil {
			c.From = *from
		}
		if to != nil {
			c.To = *to
		}
		out = append(out, c)
	}
	return out, rows.Close()
}

// toDay cuts a time to its day (UTC): what is finer would tell when somebody works.
func toDay(ms int64) int64 { return ms - ms%dayMS }

func dayOf(ms int64) time.Time { return time.UnixMilli(toDay(ms)).UTC() }
