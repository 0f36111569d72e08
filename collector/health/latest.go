package health

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// Value is one reading of a device.
type Value struct {
	Reading  reading.Reading
	Instance string
	Number   int64       // of a number; a time is cut to its day (UTC)
	Text     string      // of a text or code
	Absent   hmpb.Absent // why there is no value; unspecified = there is one
}

// Latest is the newest state of a device. It knows days only, but for what opens
// with a look.
type Latest struct {
	Device    string
	Day       time.Time // midnight UTC of the last contact's day; zero = never
	Connected bool
	// Version changes with each new state; empty as long as there is none.
	Version string
	Values  []Value // in the order of the table, then by instance
	// Booted, Began and Contact are known while the caller has a look open, else zero:
	// when the device was started, when its last session began, and when it was last
	// heard of: while it is connected its newest state, then the end of the session.
	Booted, Began, Contact time.Time
}

// Latest gives a device's newest state. A device that never reported has no
// Values; one that there is not, or not for this caller, is access.ErrNotFound.
func (h *Health) Latest(ctx context.Context, caller access.Caller, device string) (Latest, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return Latest{}, err
	}
	l := Latest{Device: device}
	var body []byte
	var fine bool
	err := h.db.Read(ctx, func(tx *db.Tx) error {
		if err := seen(ctx, tx, caller, device); err != nil {
			return err
		}
		var session, day, spool, seq, began, contact int64
		err := tx.QueryRow(ctx, `SELECT session, last_contact_day, COALESCE(latest_spool, 0), COALESCE(latest_seq, 0), COALESCE(began_ms, 0), COALESCE(contact_ms, 0)
			FROM health_state WHERE device_id = $1`, device).Scan(&session, &day, &spool, &seq, &began, &contact)
		if errors.Is(err, db.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		l.Connected, l.Day = session > 0, time.UnixMilli(day*dayMS).UTC()
		until, err := h.looking(ctx, tx, caller, device)
		if err != nil {
			return err
		}
		if fine = !until.IsZero(); fine {
			l.Began, l.Contact = moment(began), moment(contact)
		}
		if seq == 0 {
			return nil
		}
		l.Version = fmt.Sprintf("%d-%d", spool, seq)
		return tx.QueryRow(ctx, `SELECT body FROM health_reports WHERE spool = $1 AND seq = $2`, spool, seq).Scan(&body)
	})
	if err != nil {
		return Latest{}, fmt.Errorf("reading the latest state: %w", err)
	}
	var state hmpb.State
	if err := proto.Unmarshal(body, &state); err != nil {
		return Latest{}, fmt.Errorf("decoding a stored state: %w", err)
	}
	l.Values = ValuesOf(state.GetReadings())
	for _, m := range state.GetReadings() {
		if fine && m.GetId() == reading.BootTime && m.WhichValue() == hmpb.Reading_Number_case {
			l.Booted = time.UnixMilli(m.GetNumber()).UTC()
		}
	}
	return l, nil
}

// moment is a time that may be unknown, as 0.
func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// seen is access.ErrNotFound unless the caller may see the device.
func seen(ctx context.Context, tx *db.Tx, caller access.Caller, device string) error {
	var owner string
	err := tx.QueryRow(ctx, `SELECT owner_id FROM fleet_devices WHERE device_id = $1`, device).Scan(&owner)
	if errors.Is(err, db.ErrNoRows) || err == nil && !caller.Sees(owner) {
		return access.ErrNotFound
	}
	return err
}

// ValuesOf gives readings as values, in the order of the table.
func ValuesOf(readings []*hmpb.Reading) []Value {
	out := make([]Value, 0, len(readings))
	for _, m := range readings {
		r, ok := reading.ByID(m.GetId())
		if !ok {
			continue // stored by a newer version of this program
		}
		v := Value{Reading: r, Instance: m.GetInstance(), Number: m.GetNumber(), Text: m.GetText(), Absent: m.GetAbsent()}
		if r.Unit == reading.UnixMilli {
			v.Number -= v.Number % dayMS
		}
		out = append(out, v)
	}
	slices.SortStableFunc(out, func(a, b Value) int {
		if a.Reading.ID != b.Reading.ID {
			return int(a.Reading.ID) - int(b.Reading.ID)
		}
		return strings.Compare(a.Instance, b.Instance)
	})
	return out
}

// Tally is how much of a device is stored, for checks that nothing got lost.
type Tally struct {
	Reports uint64 // kept now
	Last    uint64 // highest sequence of the spool that the device uses
	Dropped uint64 // sequences that the device named as dropped, of all its spools
}

// Tally counts a device's reports.
func (h *Health) Tally(ctx context.Context, caller access.Caller, device string) (Tally, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return Tally{}, err
	}
	var t Tally
	err := h.db.Read(ctx, func(tx *db.Tx) error {
		if err := seen(ctx, tx, caller, device); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, `SELECT (SELECT count(*) FROM health_reports r JOIN health_spools s ON s.id = r.spool WHERE s.device_id = $1),
				(SELECT CAST(COALESCE(SUM(dropped), 0) AS BIGINT) FROM health_spools WHERE device_id = $1)`, device).Scan(&t.Reports, &t.Dropped)
		if err != nil {
			return err
		}
		err = tx.QueryRow(ctx, `SELECT p.last_seq FROM health_state s JOIN health_spools p ON p.device_id = s.device_id AND p.epoch = s.epoch WHERE s.device_id = $1`, device).
			Scan(&t.Last)
		if errors.Is(err, db.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil {
		return Tally{}, fmt.Errorf("counting reports: %w", err)
	}
	return t, nil
}
