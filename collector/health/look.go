package health

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/proto/ident"
)

// What is finer than a day tells when somebody works. It opens to who says why,
// for a while, and that stays written down (requirements TE-3, PR-6).
const (
	LookFor = time.Hour
	// MinReason and MaxReason bound a reason in characters.
	MinReason, MaxReason = 3, 250
	maxReasonBytes       = utf8.UTFMax * MaxReason
	// keepLooks is how long a look stands in the device's list.
	keepLooks = 365 * 24 * time.Hour
	maxLooks  = 500
)

var (
	// ErrReason: no reason, or one that says nothing.
	ErrReason = errors.New("a reason of 3 to 250 characters, letters among them, is needed")
	// ErrLookNeeded: what was asked for is finer than a day and no look is open.
	ErrLookNeeded = errors.New("finer than a day needs a look with a reason")
)

// A Look is one person's or program's access to what is finer than a day.
type Look struct {
	ID, Device  string
	Actor, Name string // access.Caller.Actor, and the name that people know
	Role        access.Role
	Reason      string
	Opened      time.Time // device pages show its day and time: this is about who looked, not about who teaches
	Until       time.Time
}

// OpenLook lets caller see device by the minute for LookFor from now on, writes
// that into the audit record and into the device's own list, and asks the
// device for its running block. A second look before the first is over is a new
// one, with a reason of its own.
func (h *Health) OpenLook(ctx context.Context, caller access.Caller, device, reason string) (Look, error) {
	if err := caller.Allow(access.LookDevices); err != nil {
		return Look{}, err
	}
	reason, err := reasonOf(reason)
	if err != nil {
		return Look{}, err
	}
	now := h.now().UTC().Truncate(time.Millisecond)
	l := Look{ID: ident.NewID(now), Device: device, Actor: caller.Actor(), Name: caller.Name, Role: caller.Role, Reason: reason, Opened: now, Until: now.Add(LookFor)}
	err = h.db.Write(ctx, func(tx *db.Tx) error {
		owner, err := ownerOf(ctx, tx, caller, device)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO health_looks (id, device_id, actor, actor_name, role, reason, opened_ms, until_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			l.ID, device, l.Actor, l.Name, string(l.Role), reason, l.Opened.UnixMilli(), l.Until.UnixMilli())
		if err != nil {
			return err
		}
		return audit.Append(ctx, tx, audit.Entry{AtMS: now.UnixMilli(), Actor: l.Actor, Action: "look.opened", Subject: "device:" + device, Owner: owner,
			Details: map[string]string{"look": l.ID}})
	})
	if err != nil {
		return Look{}, fmt.Errorf("opening a look: %w", err)
	}
	h.bus.Publish(bus.Event{Kind: bus.Watch, Device: device, Flush: true})
	return l, nil
}

// Looks lists who looked at a device, the latest first. Whoever may see the
// device may see that.
func (h *Health) Looks(ctx context.Context, caller access.Caller, device string) ([]Look, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return nil, err
	}
	return h.looks(ctx, caller, device, 0)
}

// LookMonth is how often somebody looked at devices by the minute in a month.
type LookMonth struct {
	Month          time.Time // its first day, UTC
	Looks, Devices int64
}

// LookMonths counts the looks at the devices that the caller may see, the latest
// month first. It names nobody: whoever reads it wants to know how often, not who.
func (h *Health) LookMonths(ctx context.Context, caller access.Caller) ([]LookMonth, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return nil, err
	}
	scope, args := caller.Scope("d.owner_id", 3)
	var out []LookMonth
	err := h.db.Read(ctx, func(tx *db.Tx) error {
		out = nil
		now := h.now().UTC()
		for month := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC); len(out) < lookMonths; month = month.AddDate(0, -1, 0) {
			m := LookMonth{Month: month}
			err := tx.QueryRow(ctx, `SELECT COUNT(*), COUNT(DISTINCT l.device_id) FROM health_looks l JOIN fleet_devices d ON d.device_id = l.device_id
				WHERE l.opened_ms >= $1 AND l.opened_ms < $2 AND `+scope, append([]any{month.UnixMilli(), month.AddDate(0, 1, 0).UnixMilli()}, args...)...).
				Scan(&m.Looks, &m.Devices)
			if err != nil {
				return err
			}
			out = append(out, m)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("counting looks: %w", err)
	}
	return out, nil
}

// lookMonths is how many months LookMonths gives, all that looks are kept for.
const lookMonths = 12

// looksAgain is how far before the newest look that a device has others may
// have been opened that it does not have: two that are opened at the same time
// may be stored in either order, by collectors whose clocks differ.
const looksAgain = time.Minute

// LooksAfter lists the looks at the calling device that it may not have when its
// newest is the one with the id known (empty = none), the oldest first. It is
// told no more of them than whoever may see the device can read in Looks.
func (h *Health) LooksAfter(ctx context.Context, device access.Caller, known string) ([]Look, error) {
	if err := device.Allow(access.SendReports); err != nil {
		return nil, err
	}
	since := int64(0)
	if at, ok := ident.TimeOf(known); ok {
		since = at.Add(-looksAgain).UnixMilli()
	}
	list, err := h.looks(ctx, device, device.ID, since)
	list = slices.DeleteFunc(list, func(l Look) bool { return l.ID == known })
	slices.Reverse(list)
	return list, err
}

// looks lists the newest looks from a time on, the latest first.
func (h *Health) looks(ctx context.Context, caller access.Caller, device string, sinceMS int64) ([]Look, error) {
	var out []Look
	err := h.db.Read(ctx, func(tx *db.Tx) error {
		out = nil
		if err := seen(ctx, tx, caller, device); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT id, actor, actor_name, role, reason, opened_ms, until_ms FROM health_looks
			WHERE device_id = $1 AND opened_ms >= $2 ORDER BY opened_ms DESC, id DESC LIMIT $3`, device, sinceMS, int64(maxLooks))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			l := Look{Device: device}
			var opened, until int64
			if err := rows.Scan(&l.ID, &l.Actor, &l.Name, &l.Role, &l.Reason, &opened, &until); err != nil {
				return err
			}
			l.Opened, l.Until = time.UnixMilli(opened).UTC(), time.UnixMilli(until).UTC()
			out = append(out, l)
		}
		return rows.Close()
	})
	if err != nil {
		return nil, fmt.Errorf("listing looks: %w", err)
	}
	return out, nil
}

// Looking says until when caller may see device by the minute; zero = not now.
func (h *Health) Looking(ctx context.Context, caller access.Caller, device string) (until time.Time, err error) {
	err = h.db.Read(ctx, func(tx *db.Tx) error {
		if err := seen(ctx, tx, caller, device); err != nil {
			return err
		}
		until, err = h.looking(ctx, tx, caller, device)
		return err
	})
	return until, err
}

// looking is asked inside the transaction that then reads: a look that ended in
// between shows nothing. A role that was taken away ends it too.
func (h *Health) looking(ctx context.Context, tx *db.Tx, caller access.Caller, device string) (time.Time, error) {
	if caller.Allow(access.LookDevices) != nil {
		return time.Time{}, nil
	}
	var until int64
	now := h.now().UnixMilli()
	err := tx.QueryRow(ctx, `SELECT COALESCE(MAX(until_ms), 0) FROM health_looks WHERE device_id = $1 AND opened_ms > $2 AND actor = $3 AND until_ms > $4`,
		device, now-LookFor.Milliseconds()-1, caller.Actor(), now).Scan(&until)
	if err != nil || until == 0 {
		return time.Time{}, err
	}
	return time.UnixMilli(until).UTC(), nil
}

// ownerOf is seen, and says whose the device is.
func ownerOf(ctx context.Context, tx *db.Tx, caller access.Caller, device string) (owner string, err error) {
	err = tx.QueryRow(ctx, `SELECT owner_id FROM fleet_devices WHERE device_id = $1`, device).Scan(&owner)
	if errors.Is(err, db.ErrNoRows) || err == nil && !caller.Sees(owner) {
		return "", access.ErrNotFound
	}
	return owner, err
}
