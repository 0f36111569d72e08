package health

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/proto/reading"
)

// KeptClass is a class of values that are kept equally long.
type KeptClass string

const (
	KeptReports  KeptClass = "reports"  // each State as it came
	KeptMinutes  KeptClass = "minutes"  // blocks
	KeptDays     KeptClass = "days"     // a row a day
	KeptFindings KeptClass = "findings" // after they were cleared
	KeptSoftware KeptClass = "software" // changes of the list of programs
	KeptLooks    KeptClass = "looks"    // who looked, after the look
)

// KeptClasses are all classes.
var KeptClasses = []KeptClass{KeptReports, KeptMinutes, KeptDays, KeptFindings, KeptSoftware, KeptLooks}

// retention says what the field catalogue allows, and how short an owner may make
// it. What an owner may not shorten has the same bound twice: reports are needed
// until their day is merged, and looks are what a teacher may read.
var retention = []struct {
	class       KeptClass
	least, most time.Duration
	// sql deletes what is older than $1 (of blocks only those whose day is merged) of the devices of owner $2 behind $3 up to $4.
	sql   string
	limit func(before int64) int64 // what $1 is
}{
	{class: KeptReports, least: reading.KeepReports, most: reading.KeepReports},
	{KeptMinutes, 2 * Day, reading.KeepBlocks, `DELETE FROM health_blocks WHERE start_ms < $1 AND spool <= 0 AND ` + ownDevices, asMS},
	{KeptDays, 30 * Day, reading.KeepDays, deleteDays + ` WHERE day < $1 AND ` + ownDevices, asDay},
	{KeptFindings, 30 * Day, keepFindings, `DELETE FROM health_findings WHERE cleared_ms < $1 AND ` + ownDevices, asMS},
	{KeptSoftware, 30 * Day, keepChanges, `DELETE FROM health_inventory_differences WHERE told_ms < $1 AND ` + ownDevices, asMS},
	{class: KeptLooks, least: keepLooks, most: keepLooks},
}

const ownDevices = `device_id IN (SELECT device_id FROM fleet_devices WHERE owner_id = $2 AND device_id > $3 AND device_id <= $4)`

// ErrRetention: not within the bounds of the class.
var ErrRetention = errors.New("not a retention that can be")

// Kept is how long a class of values is kept for an owner.
type Kept struct {
	Class       KeptClass
	Days        int64 // now
	Least, Most int64 // equal = it cannot be changed
	Catalogue   int64 // the most that the field catalogue allows
	Changed     time.Time
	By          string // access.Caller.Actor of the last change; empty = never changed
}

func days(d time.Duration) int64 { return int64(d / Day) }

// Retention lists how long each class is kept for an owner.
func (h *Health) Retention(ctx context.Context, caller access.Caller, owner string) ([]Kept, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return nil, err
	}
	if !caller.Sees(owner) {
		return nil, access.ErrNotFound
	}
	var out []Kept
	err := h.db.Read(ctx, func(tx *db.Tx) (err error) {
		out, err = h.kept(ctx, tx, owner)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading how long values are kept: %w", err)
	}
	return out, nil
}

// Retentions lists how long each class is kept where an owner changed nothing, and for
// each owner within the caller's scope that changed something those classes, by the
// owner's id. The field catalogue names the longest times only; this says what holds.
func (h *Health) Retentions(ctx context.Context, caller access.Caller) (usual []Kept, changed map[string][]Kept, err error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return nil, nil, err
	}
	scope, args := caller.Scope("owner_id", 1)
	err = h.db.Read(ctx, func(tx *db.Tx) error {
		changed = map[string][]Kept{}
		rows, err := tx.Query(ctx, `SELECT owner_id, class, days, changed_ms, actor FROM health_retention WHERE `+scope+` ORDER BY owner_id, class`, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var owner, class, by string
			var set, at int64
			if err := rows.Scan(&owner, &class, &set, &at, &by); err != nil {
				return err
			}
			for _, k := range h.usual() {
				if string(k.Class) == class {
					changed[owner] = append(changed[owner], k.changed(set, at, by))
				}
			}
		}
		return rows.Close()
	})
	if err != nil {
		return nil, nil, fmt.Errorf("reading how long owners keep values: %w", err)
	}
	return h.usual(), changed, nil
}

// usual is how long each class is kept for an owner that changed nothing.
func (h *Health) usual() (out []Kept) {
	for _, r := range retention {
		k := Kept{Class: r.class, Days: days(r.most), Least: days(r.least), Most: days(r.most), Catalogue: days(r.most)}
		if r.class == KeptReports {
			k.Days = days(h.keep) // the operator's setting
			k.Least, k.Most = k.Days, k.Days
		}
		out = append(out, k)
	}
	return out
}

// changed is k after an owner's change to so many days.
func (k Kept) changed(set, atMS int64, by string) Kept {
	k.Changed, k.By = time.UnixMilli(atMS).UTC(), by
	if set >= k.Least && set < k.Most {
		k.Days = set // a newer version may have other bounds
	}
	return k
}

func (h *Health) kept(ctx context.Context, tx *db.Tx, owner string) (out []Kept, err error) {
	for _, k := range h.usual() {
		var set, at int64
		var by string
		err := tx.QueryRow(ctx, `SELECT days, changed_ms, actor FROM health_retention WHERE owner_id = $1 AND class = $2`, owner, string(k.Class)).Scan(&set, &at, &by)
		if err != nil && !errors.Is(err, db.ErrNoRows) {
			return nil, err
		}
		if err == nil {
			k = k.changed(set, at, by)
		}
		out = append(out, k)
	}
	return out, nil
}

// SetRetention changes how many days an owner keeps the classes given; the most that
// the catalogue allows is the way back. The job deletes what is older within hours.
func (h *Health) SetRetention(ctx context.Context, caller access.Caller, owner string, set map[KeptClass]int64) error {
	if err := caller.Allow(access.WriteSettings); err != nil {
		return err
	}
	if !caller.Sees(owner) {
		return access.ErrNotFound
	}
	now := h.now().UnixMilli()
	err := h.db.Write(ctx, func(tx *db.Tx) error {
		var id string
		err := tx.QueryRow(ctx, `SELECT id FROM fleet_owners WHERE id = $1`, owner).Scan(&id)
		if errors.Is(err, db.ErrNoRows) {
			return access.ErrNotFound
		}
		if err != nil {
			return err
		}
		was, err := h.kept(ctx, tx, owner)
		if err != nil {
			return err
		}
		known := 0
		for _, k := range was {
			n, asked := set[k.Class]
			if !asked {
				continue
			}
			if known++; n == k.Days {
				continue
			}
			if n < k.Least || n > k.Most {
				return fmt.Errorf("%w: %s must be %d to %d days", ErrRetention, k.Class, k.Least, k.Most)
			}
			if err := h.setKept(ctx, tx, caller, owner, k, n, now); err != nil {
				return err
			}
		}
		if known < len(set) {
			return fmt.Errorf("%w: no such class", ErrRetention)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("changing how long values are kept: %w", err)
	}
	return nil
}

func (h *Health) setKept(ctx context.Context, tx *db.Tx, caller access.Caller, owner string, k Kept, n, nowMS int64) error {
	stored := n
	if n == k.Most {
		stored = 0
	}
	_, err := tx.Exec(ctx, `INSERT INTO health_retention (owner_id, class, days, changed_ms, actor) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (owner_id, class) DO UPDATE SET days = excluded.days, changed_ms = excluded.changed_ms, actor = excluded.actor`,
		owner, string(k.Class), stored, nowMS, caller.Actor())
	if err != nil {
		return err
	}
	return audit.Append(ctx, tx, audit.Entry{AtMS: nowMS, Actor: caller.Actor(), Action: "retention.set", Subject: "owner:" + owner, Owner: owner,
		Details: map[string]string{"class": string(k.Class), "days": fmt.Sprint(n), "before": fmt.Sprint(k.Days)}})
}

// sweepOwners deletes what owners keep for a shorter time than the catalogue allows.
// It goes by devices: by age it would read through everybody's.
func (h *Health) sweepOwners(ctx context.Context, now time.Time) (deleted int64, err error) {
	for _, r := range retention {
		if r.sql == "" {
			continue
		}
		shorter := map[string]int64{}
		err := h.db.Read(ctx, func(tx *db.Tx) error {
			rows, err := tx.Query(ctx, `SELECT owner_id, days FROM health_retention WHERE class = $1 AND days >= $2 AND days < $3`, string(r.class), days(r.least), days(r.most))
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var owner string
				var n int64
				if err := rows.Scan(&owner, &n); err != nil {
					return err
				}
				shorter[owner] = n
			}
			return rows.Close()
		})
		if err != nil {
			return deleted, fmt.Errorf("reading how long owners keep %s: %w", r.class, err)
		}
		for owner, n := range shorter {
			gone, err := h.sweepOwner(ctx, r.sql, owner, r.limit(now.Add(-time.Duration(n)*Day).UnixMilli()))
			deleted += gone
			if err != nil {
				return deleted, fmt.Errorf("deleting %s that an owner keeps no longer: %w", r.class, err)
			}
		}
	}
	return deleted, nil
}

// ownStep is how many devices' values one transaction deletes.
const ownStep = 50

func (h *Health) sweepOwner(ctx context.Context, sql, owner string, before int64) (deleted int64, err error) {
	for after := ""; ; {
		var part []string
		var n int64
		err := h.db.Write(ctx, func(tx *db.Tx) (err error) {
			part, err = db.Texts(ctx, tx, `SELECT device_id FROM fleet_devices WHERE owner_id = $1 AND device_id > $2 ORDER BY device_id LIMIT $3`, owner, after, int64(ownStep))
			if err != nil || len(part) == 0 {
				return err
			}
			n, err = deletes(ctx, tx, sql, before, owner, after, part[len(part)-1])
			return err
		})
		deleted += n
		if err != nil || len(part) == 0 {
			return deleted, err
		}
		after = part[len(part)-1]
	}
}
