package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/proto/finding"
	"hausmeister/proto/ident"
	"hausmeister/proto/reading"
)

// A finding that somebody takes care of must not shout at everybody else. It stays
// in sight, with who and why, and counts no longer as the state of its device:
// until it is cleared, until a time, or until it gets worse. A finding that is
// raised anew is a new one, and loud.
const (
	// MaxSnooze is how far away the end of a quiet may be.
	MaxSnooze = 366 * 24 * time.Hour
	// wakeEvery is how late a finding may be back after its time.
	wakeEvery = time.Minute
	// quietStep is how many devices one transaction makes loud.
	quietStep = 500
)

// ErrMany: an act at more devices than one request makes loud; a job does.
var ErrMany = errors.New("the act is about too many devices at once")

// ErrUntil: a time that is over, or too far away.
var ErrUntil = errors.New("a quiet ends within a year from now")

// NewQuiet says why, and until when.
type NewQuiet struct {
	Reason string
	Until  time.Time // zero = until the finding is cleared
}

// A Quiet is one person's or program's act on one finding or on many.
type Quiet struct {
	ID, Code    string
	Actor, Name string
	Role        access.Role
	Reason      string
	At          time.Time
	Until       time.Time // zero = until the finding is cleared
	Devices     int64     // that are quiet by it now; of lists and of the act's own answer
}

// reasonOf checks what somebody gives as a reason.
func reasonOf(reason string) (string, error) {
	reason = strings.TrimSpace(reason)
	n := utf8.RuneCountInString(reason)
	if !strings.ContainsFunc(reason, unicode.IsLetter) || n < MinReason || n > MaxReason || !reading.Printable(reason, maxReasonBytes) {
		return "", ErrReason
	}
	return reason, nil
}

// newQuiet checks what is asked for and makes the act's row.
func (h *Health) newQuiet(ctx context.Context, tx *db.Tx, caller access.Caller, code string, n NewQuiet) (Quiet, error) {
	now := h.now().UTC().Truncate(time.Millisecond)
	q := Quiet{ID: ident.NewID(now), Code: code, Actor: caller.Actor(), Name: caller.Name, Role: caller.Role, Reason: n.Reason, At: now, Until: n.Until}
	_, err := tx.Exec(ctx, `INSERT INTO health_quiets (id, code, actor, actor_name, role, reason, at_ms, until_ms, over) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0)`,
		q.ID, code, q.Actor, q.Name, string(q.Role), q.Reason, now.UnixMilli(), msOrNull(n.Until))
	return q, err
}

func (h *Health) checkQuiet(caller access.Caller, code string, n *NewQuiet) (err error) {
	if err := caller.Allow(access.QuietFindings); err != nil {
		return err
	}
	if _, ok := finding.ByCode(code); !ok {
		return access.ErrNotFound
	}
	if n.Reason, err = reasonOf(n.Reason); err != nil {
		return err
	}
	if left := n.Until.Sub(h.now()); !n.Until.IsZero() && (left <= 0 || left > MaxSnooze) {
		return ErrUntil
	}
	return nil
}

func msOrNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMilli()
}

// QuietFinding makes the open finding of a device quiet. One that is quiet
// already gets the new reason and time.
func (h *Health) QuietFinding(ctx context.Context, caller access.Caller, device, code, instance string, n NewQuiet) (q Quiet, err error) {
	if err := h.checkQuiet(caller, code, &n); err != nil {
		return Quiet{}, err
	}
	var owner string
	err = h.db.Write(ctx, func(tx *db.Tx) error {
		if owner, err = ownerOf(ctx, tx, caller, device); err != nil {
			return err
		}
		if q, err = h.newQuiet(ctx, tx, caller, code, n); err != nil {
			return err
		}
		q.Devices = 1
		if err := h.endOf(ctx, tx, device, code, instance); err != nil {
			return err
		}
		changed, err := tx.Exec(ctx, `UPDATE health_findings SET quiet_id = $4, quiet_severity = severity WHERE device_id = $1 AND code = $2 AND instance = $3 AND cleared_ms IS NULL`,
			device, code, instance, q.ID)
		if err != nil {
			return err
		}
		if changed == 0 {
			return access.ErrNotFound
		}
		_, err = tx.Exec(ctx, `INSERT INTO health_quieted (quiet_id, device_id, spool, seq, at_ms) SELECT $1, device_id, spool, seq, $2 FROM health_findings
			WHERE device_id = $3 AND quiet_id = $1`, q.ID, q.At.UnixMilli(), device)
		if err != nil {
			return err
		}
		if err := noteWorst(ctx, tx, device); err != nil {
			return err
		}
		if err := noteChange(ctx, tx, device, q.kind(), code, instance, 0, q.At.UnixMilli()); err != nil {
			return err
		}
		return audit.Append(ctx, tx, audit.Entry{AtMS: q.At.UnixMilli(), Actor: q.Actor, Action: q.action(), Subject: "device:" + device, Owner: owner,
			Details: map[string]string{"finding": code, "quiet": q.ID}})
	})
	if err != nil {
		return Quiet{}, fmt.Errorf("making a finding quiet: %w", err)
	}
	h.bus.Publish(bus.Event{Kind: bus.Changed, Device: device, Owner: owner})
	h.noted(device, owner)
	return q, nil
}

func (q Quiet) kind() EventKind {
	if q.Until.IsZero() {
		return FindingAcknowledged
	}
	return FindingSnoozed
}

func (q Quiet) action() string {
	if q.Until.IsZero() {
		return "finding.acknowledged"
	}
	return "finding.snoozed"
}

// endOf notes the end of the act that an open finding was quiet by, if any.
func (h *Health) endOf(ctx context.Context, tx *db.Tx, device, code, instance string) error {
	_, err := tx.Exec(ctx, `UPDATE health_quieted SET ended_ms = $4 WHERE device_id = $1 AND ended_ms IS NULL AND (quiet_id, spool, seq) IN
		(SELECT quiet_id, spool, seq FROM health_findings WHERE device_id = $1 AND code = $2 AND instance = $3 AND cleared_ms IS NULL AND quiet_id IS NOT NULL)`,
		device, code, instance, h.now().UnixMilli())
	return err
}

// LoudFinding undoes what made the open finding of a device quiet, at this device
// only; one that is loud stays so.
func (h *Health) LoudFinding(ctx context.Context, caller access.Caller, device, code, instance string) error {
	if err := caller.Allow(access.QuietFindings); err != nil {
		return err
	}
	var owner string
	err := h.db.Write(ctx, func(tx *db.Tx) (err error) {
		if owner, err = ownerOf(ctx, tx, caller, device); err != nil {
			return err
		}
		if err := h.endOf(ctx, tx, device, code, instance); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `UPDATE health_findings SET quiet_id = NULL, quiet_severity = 0 WHERE device_id = $1 AND code = $2 AND instance = $3 AND cleared_ms IS NULL`,
			device, code, instance)
		if err != nil {
			return err
		}
		if n == 0 {
			return access.ErrNotFound
		}
		if err := noteWorst(ctx, tx, device); err != nil {
			return err
		}
		if err := noteChange(ctx, tx, device, FindingReopened, code, instance, 0, h.now().UnixMilli()); err != nil {
			return err
		}
		return audit.Append(ctx, tx, audit.Entry{AtMS: h.now().UnixMilli(), Actor: caller.Actor(), Action: "finding.reopened", Subject: "device:" + device, Owner: owner,
			Details: map[string]string{"finding": code}})
	})
	if err != nil {
		return fmt.Errorf("making a finding loud: %w", err)
	}
	h.bus.Publish(bus.Event{Kind: bus.Changed, Device: device, Owner: owner})
	h.noted(device, owner)
	return nil
}

// The next three are what a job of many devices asks for, some devices in each of
// its transactions, so that reports do not wait.

// BeginQuiet checks and notes an act of the caller on a finding, and gives its id.
func (h *Health) BeginQuiet(ctx context.Context, tx *db.Tx, caller access.Caller, code, reason string, until time.Time) (string, error) {
	n := NewQuiet{Reason: reason, Until: until}
	if err := h.checkQuiet(caller, code, &n); err != nil {
		return "", err
	}
	q, err := h.newQuiet(ctx, tx, caller, code, n)
	return q.ID, err
}

// SetQuiet makes the finding of an act quiet at those of these devices where it is
// loud, or loud again at those where it is quiet by this act, and names them. An act
// whose time is over makes nothing quiet any more.
func (h *Health) SetQuiet(ctx context.Context, tx *db.Tx, id string, devices []string, quiet bool) ([]string, error) {
	if len(devices) == 0 {
		return nil, nil
	}
	q := Quiet{ID: id}
	var until *int64
	if err := tx.QueryRow(ctx, `SELECT code, until_ms FROM health_quiets WHERE id = $1`, id).Scan(&q.Code, &until); err != nil {
		return nil, fmt.Errorf("reading an act on a finding: %w", err)
	}
	now := h.now().UnixMilli()
	q.times(now, until)
	if !quiet {
		in, args := listed(devices, id)
		changed, err := db.Texts(ctx, tx, `SELECT DISTINCT device_id FROM health_findings WHERE quiet_id = $1 AND cleared_ms IS NULL AND device_id IN `+in, args...)
		for _, device := range changed {
			if err := h.loud(ctx, tx, q, device); err != nil {
				return nil, err
			}
		}
		return changed, err
	}
	if until != nil && *until <= now {
		return nil, nil
	}
	in, args := listed(devices, q.Code)
	changed, err := db.Texts(ctx, tx, `SELECT DISTINCT device_id FROM health_findings WHERE code = $1 AND cleared_ms IS NULL AND severity > quiet_severity AND device_id IN `+in, args...)
	if err != nil || len(changed) == 0 {
		return nil, err
	}
	return changed, q.quieten(ctx, tx, changed, now)
}

// Told says that a transaction of SetQuiet holds.
func (h *Health) Told(changed []string) { h.changed(changed) }

// listed is the list of devices for IN, behind some other arguments.
func listed(devices []string, before ...any) (in string, args []any) {
	params := make([]string, len(devices))
	args = before
	for i, id := range devices {
		params[i] = "$" + strconv.Itoa(len(before)+i+1)
		args = append(args, id)
	}
	return "(" + strings.Join(params, ", ") + ")", args
}

// quieten makes the finding quiet where it is loud, at these devices.
func (q Quiet) quieten(ctx context.Context, tx *db.Tx, devices []string, now int64) error {
	// What got worse was quiet by an act before, which ends here.
	in, args := listed(devices, now, q.Code)
	_, err := tx.Exec(ctx, `UPDATE health_quieted SET ended_ms = $1 WHERE ended_ms IS NULL AND (quiet_id, device_id, spool, seq) IN
		(SELECT quiet_id, device_id, spool, seq FROM health_findings WHERE code = $2 AND cleared_ms IS NULL AND quiet_id IS NOT NULL AND severity > quiet_severity AND device_id IN `+in+`)`, args...)
	if err != nil {
		return err
	}
	in, args = listed(devices, q.Code, q.ID, now)
	_, err = tx.Exec(ctx, `INSERT INTO health_quieted (quiet_id, device_id, spool, seq, at_ms) SELECT $2, device_id, spool, seq, CAST($3 AS BIGINT) FROM health_findings
		WHERE code = $1 AND cleared_ms IS NULL AND severity > quiet_severity AND device_id IN `+in+` ON CONFLICT (quiet_id, device_id, spool, seq) DO UPDATE SET ended_ms = NULL`, args...)
	if err != nil {
		return err
	}
	in, args = listed(devices, q.Code, q.ID)
	_, err = tx.Exec(ctx, `UPDATE health_findings SET quiet_id = $2, quiet_severity = severity WHERE code = $1 AND cleared_ms IS NULL AND severity > quiet_severity AND device_id IN `+in, args...)
	if err != nil {
		return err
	}
	for _, id := range devices {
		if err := noteChange(ctx, tx, id, q.kind(), q.Code, "", 0, now); err != nil {
			return err
		}
	}
	in, args = listed(devices)
	_, err = tx.Exec(ctx, `UPDATE health_state SET worst = `+worstSQL("health_state.device_id")+` WHERE device_id IN `+in, args...)
	return err
}

func (h *Health) changed(devices []string) {
	for _, id := range devices {
		h.bus.Publish(bus.Event{Kind: bus.Changed, Device: id})
	}
	if len(devices) > 0 {
		h.noted(devices[0], "")
	}
}

// quietRange is what one transaction of release does: devices behind after up to
// last, by their ids.
type quietRange struct {
	after, last string
	devices     []string
}

// audit writes one entry for each owner whose devices a transaction changed.
func (r quietRange) audit(ctx context.Context, tx *db.Tx, act Quiet, action, actor string, atMS int64) error {
	owners := map[string]int64{}
	for _, id := range r.devices {
		var owner string
		if err := tx.QueryRow(ctx, `SELECT owner_id FROM fleet_devices WHERE device_id = $1`, id).Scan(&owner); err != nil {
			return err
		}
		owners[owner]++
	}
	for _, owner := range sortedKeys(owners) {
		err := audit.Append(ctx, tx, audit.Entry{AtMS: atMS, Actor: actor, Action: action, Subject: "finding:" + act.Code, Owner: owner,
			Details: map[string]string{"quiet": act.ID, "devices": strconv.FormatInt(owners[owner], 10)}})
		if err != nil {
			return err
		}
	}
	return nil
}

func sortedKeys(m map[string]int64) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Quiets lists the acts by which a finding is quiet now at devices that the caller
// may see, the latest first.
func (h *Health) Quiets(ctx context.Context, caller access.Caller, code string) ([]Quiet, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return nil, err
	}
	scope, args := caller.Scope("d.owner_id", 2)
	var out []Quiet
	err := h.db.Read(ctx, func(tx *db.Tx) (err error) {
		out, err = quiets(ctx, tx, `f.code = $1 AND `+scope, append([]any{code}, args...)...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing quiet findings: %w", err)
	}
	slices.SortFunc(out, func(a, b Quiet) int { return cmp.Or(b.At.Compare(a.At), cmp.Compare(b.ID, a.ID)) })
	return out, nil
}

// quiets are the acts by which findings are quiet now, with how many devices.
func quiets(ctx context.Context, tx *db.Tx, where string, args ...any) (out []Quiet, err error) {
	rows, err := tx.Query(ctx, `SELECT a.id, a.code, a.actor, a.actor_name, a.role, a.reason, a.at_ms, a.until_ms, x.devices FROM
		(SELECT f.quiet_id, COUNT(DISTINCT f.device_id) AS devices FROM health_findings f JOIN fleet_devices d ON d.device_id = f.device_id
			WHERE f.quiet_id IS NOT NULL AND f.cleared_ms IS NULL AND f.severity <= f.quiet_severity AND `+where+` GROUP BY f.quiet_id) x
		JOIN health_quiets a ON a.id = x.quiet_id`, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var q Quiet
		var at int64
		var until *int64
		if err := rows.Scan(&q.ID, &q.Code, &q.Actor, &q.Name, &q.Role, &q.Reason, &at, &until, &q.Devices); err != nil {
			return nil, err
		}
		q.times(at, until)
		out = append(out, q)
	}
	return out, rows.Close()
}

func (q *Quiet) times(at int64, until *int64) {
	q.At = time.UnixMilli(at).UTC()
	if until != nil {
		q.Until = time.UnixMilli(*until).UTC()
	}
}

// EndQuiet undoes an act at all devices that the caller may see, unless they are more
// than one transaction makes loud: then it says ErrMany. Devices of the answer is at
// how many it did.
func (h *Health) EndQuiet(ctx context.Context, caller access.Caller, id string) (Quiet, error) {
	if err := caller.Allow(access.QuietFindings); err != nil {
		return Quiet{}, err
	}
	scope, args := caller.Scope("d.owner_id", 2)
	var found []Quiet
	err := h.db.Read(ctx, func(tx *db.Tx) (err error) {
		found, err = quiets(ctx, tx, `f.quiet_id = $1 AND `+scope, append([]any{id}, args...)...)
		return err
	})
	if err != nil && !errors.Is(err, db.ErrText) {
		return Quiet{}, fmt.Errorf("looking for what is quiet: %w", err)
	}
	if len(found) == 0 {
		return Quiet{}, access.ErrNotFound
	}
	q := found[0]
	if q.Devices > quietStep {
		return q, fmt.Errorf("%w: %d", ErrMany, q.Devices)
	}
	if q.Devices, err = h.release(ctx, caller, q, "finding.reopened"); err != nil {
		return Quiet{}, err
	}
	return q, nil
}

// release makes loud what is quiet by an act, as far as the caller sees. Without
// an action it writes no audit entries.
func (h *Health) release(ctx context.Context, caller access.Caller, q Quiet, action string) (devices int64, err error) {
	scope, args := caller.Scope("d.owner_id", 4)
	for after := ""; ; {
		var step quietRange
		err := h.db.Write(ctx, func(tx *db.Tx) (err error) {
			step = quietRange{after: after}
			step.devices, err = db.Texts(ctx, tx, `SELECT DISTINCT f.device_id FROM health_findings f JOIN fleet_devices d ON d.device_id = f.device_id
				WHERE f.quiet_id = $1 AND f.device_id > $2 AND f.cleared_ms IS NULL AND `+scope+` ORDER BY f.device_id LIMIT $3`, append([]any{q.ID, after, int64(quietStep)}, args...)...)
			if err != nil || len(step.devices) == 0 {
				return err
			}
			step.last = step.devices[len(step.devices)-1]
			for _, id := range step.devices { // one by one: in between are devices of others
				if err := h.loud(ctx, tx, q, id); err != nil {
					return err
				}
			}
			if action == "" {
				return nil
			}
			return step.audit(ctx, tx, q, action, caller.Actor(), h.now().UnixMilli())
		})
		if err != nil {
			return devices, fmt.Errorf("making findings loud: %w", err)
		}
		if len(step.devices) == 0 {
			return devices, nil
		}
		devices += int64(len(step.devices))
		after = step.last
		h.changed(step.devices)
	}
}

func (h *Health) loud(ctx context.Context, tx *db.Tx, q Quiet, device string) error {
	_, err := tx.Exec(ctx, `UPDATE health_quieted SET ended_ms = $3 WHERE quiet_id = $1 AND device_id = $2 AND ended_ms IS NULL`, q.ID, device, h.now().UnixMilli())
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE health_findings SET quiet_id = NULL, quiet_severity = 0 WHERE quiet_id = $1 AND device_id = $2 AND cleared_ms IS NULL`, q.ID, device)
	if err != nil {
		return err
	}
	if err := noteChange(ctx, tx, device, FindingReopened, q.Code, "", 0, h.now().UnixMilli()); err != nil {
		return err
	}
	return noteWorst(ctx, tx, device)
}

// WakeFindings makes loud what was quiet until a time that is over, and says at
// how many devices. While another collector does so, it returns db.ErrLeased.
func (h *Health) WakeFindings(ctx context.Context) (devices int64, err error) {
	var due []string // id and code, a blank between
	err = h.db.Read(ctx, func(tx *db.Tx) (err error) {
		due, err = db.Texts(ctx, tx, `SELECT id || ' ' || code FROM health_quiets WHERE over = 0 AND until_ms <= $1 ORDER BY until_ms`, h.now().UnixMilli())
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("looking for findings to wake: %w", err)
	}
	if len(due) == 0 {
		return 0, nil
	}
	err = h.lease.Hold(ctx, func(ctx context.Context) (err error) { devices, err = h.wakeAll(ctx, due); return err })
	return devices, err
}

func (h *Health) wakeAll(ctx context.Context, due []string) (devices int64, err error) {
	for _, act := range due {
		id, code, _ := strings.Cut(act, " ")
		n, err := h.release(ctx, access.System("health"), Quiet{ID: id, Code: code}, "")
		devices += n
		if err != nil {
			return devices, err
		}
		err = h.db.Write(ctx, func(tx *db.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE health_quiets SET over = 1 WHERE id = $1`, id)
			return err
		})
		if err != nil {
			return devices, fmt.Errorf("noting the end of a quiet: %w", err)
		}
	}
	return devices, nil
}
