package health

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/proto/hmpb"
)

// DeviceAppeared is the first contact of a device. Of the other kinds of events only
// those of findings are told as changes: what comes with every report, and when a
// device is on, would tell by the minute when somebody works.
const DeviceAppeared EventKind = "device_appeared"

// ChangeKinds are the kinds of changes.
var ChangeKinds = []EventKind{DeviceAppeared, FindingRaised, FindingCleared, FindingAcknowledged, FindingSnoozed, FindingReopened}

// keepChangeLog is how long a listener may be away and still hear what it missed.
const keepChangeLog = 7 * 24 * time.Hour

// Change is something that just happened to a device.
type Change struct {
	Mark     Mark
	Device   string
	Owner    string
	Kind     EventKind
	Code     string
	Instance string
	Severity hmpb.Severity // of the finding
	Worst    hmpb.Severity // of what is open and loud about the device now
	Day      time.Time
}

// Mark is a place in the order of changes. The zero Mark is before all.
type Mark struct{ id, mark int64 }

func (m Mark) String() string {
	return strconv.FormatInt(m.id, 10) + "." + strconv.FormatInt(m.mark, 36)
}

// ParseMark reads what String wrote.
func ParseMark(s string) (Mark, bool) {
	id, mark, ok := strings.Cut(s, ".")
	n, err := strconv.ParseInt(id, 10, 64)
	r, err2 := strconv.ParseInt(mark, 36, 64)
	return Mark{n, r}, ok && err == nil && err2 == nil && n >= 0
}

// ErrMark: a mark that is too old, or of the time before a restore. Who comes with
// it missed something and looks at everything anew.
var ErrMark = errors.New("what happened since this mark is not known any more")

// noteChange appends to what happened, in the transaction of the change. Writes are
// serial, so nobody else takes this number and the order is that of the commits.
func noteChange(ctx context.Context, tx *db.Tx, device string, kind EventKind, code, instance string, severity, atMS int64) error {
	_, err := tx.Exec(ctx, `INSERT INTO health_changes (id, mark, at_ms, device_id, kind, code, instance, severity)
		SELECT COALESCE(MAX(id), 0) + 1, CAST($1 AS BIGINT), CAST($2 AS BIGINT), $3, $4, $5, $6, CAST($7 AS BIGINT) FROM health_changes`,
		rand.Int64N(1<<40), atMS, device, string(kind), code, instance, severity)
	return err
}

// noted says on the bus that there are changes.
func (h *Health) noted(device, owner string) {
	h.bus.Publish(bus.Event{Kind: bus.Noted, Device: device, Owner: owner})
}

// LastChange is where the order of changes ends now.
func (h *Health) LastChange(ctx context.Context, caller access.Caller) (m Mark, err error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return Mark{}, err
	}
	err = h.db.Read(ctx, func(tx *db.Tx) error {
		m, err = lastChange(ctx, tx)
		return err
	})
	if err != nil {
		return Mark{}, fmt.Errorf("looking for the last change: %w", err)
	}
	return m, nil
}

func lastChange(ctx context.Context, tx *db.Tx) (m Mark, err error) {
	err = tx.QueryRow(ctx, `SELECT id, mark FROM health_changes ORDER BY id DESC LIMIT 1`).Scan(&m.id, &m.mark)
	if errors.Is(err, db.ErrNoRows) {
		return Mark{}, nil
	}
	return m, err
}

// Changes lists what happened after a mark to devices that the caller may see, in
// its order, at most limit; next is the mark to go on from. A mark that is not known
// is ErrMark.
func (h *Health) Changes(ctx context.Context, caller access.Caller, after Mark, limit int) (list []Change, next Mark, err error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return nil, Mark{}, err
	}
	scope, args := caller.Scope("d.owner_id", 3)
	err = h.db.Read(ctx, func(tx *db.Tx) error {
		list = nil
		if err := stands(ctx, tx, after); err != nil {
			return err
		}
		// Where it ends is read before what there is: nothing falls in between.
		if next, err = lastChange(ctx, tx); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT c.id, c.mark, c.device_id, d.owner_id, c.kind, c.code, c.instance, c.severity, COALESCE(s.worst, 0), c.at_ms
			FROM health_changes c JOIN fleet_devices d ON d.device_id = c.device_id LEFT JOIN health_state s ON s.device_id = c.device_id
			WHERE c.id > $1 AND `+scope+` ORDER BY c.id LIMIT $2`, append([]any{after.id, int64(limit)}, args...)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var c Change
			var kind string
			var severity, worst, at int64
			if err := rows.Scan(&c.Mark.id, &c.Mark.mark, &c.Device, &c.Owner, &kind, &c.Code, &c.Instance, &severity, &worst, &at); err != nil {
				return err
			}
			c.Kind, c.Severity, c.Worst, c.Day = EventKind(kind), hmpb.Severity(severity), hmpb.Severity(worst), dayOf(at)
			list = append(list, c)
		}
		return rows.Close()
	})
	if err != nil {
		return nil, Mark{}, fmt.Errorf("listing changes: %w", err)
	}
	if n := len(list); n > 0 && (n == limit || list[n-1].Mark.id > next.id) {
		next = list[n-1].Mark
	}
	return list, next, nil
}

// stands says whether a mark is one of the order as it is now, so that what came
// after it is all there.
func stands(ctx context.Context, tx *db.Tx, m Mark) error {
	if m == (Mark{}) {
		// Before all: good as long as nothing was forgotten.
		var first int64
		err := tx.QueryRow(ctx, `SELECT COALESCE(MIN(id), 1) FROM health_changes`).Scan(&first)
		if err == nil && first > 1 {
			err = ErrMark
		}
		return err
	}
	var mark int64
	err := tx.QueryRow(ctx, `SELECT mark FROM health_changes WHERE id = $1`, m.id).Scan(&mark)
	if errors.Is(err, db.ErrNoRows) || err == nil && mark != m.mark {
		return ErrMark
	}
	return err
}

// Next is the number of the first change after a mark, for fleet's filter.
func (m Mark) Next() int64 { return m.id + 1 }
