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
	// quietStep is how many devices one transaction makes quiet or loud.
	quietStep = 500
)

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

// Group is which devices an act is about; empty fields ask for nothing.
type Group struct {
	Owner, School string // ids
	Model, Build  string
}

// reasonOf checks what somebody gives as a reason.
func reasonOf(reason string) (string, error) {
	reason = strings.TrimSpace(reason)
	if !strings.ContainsFunc(reason, unicode.IsLetter) || len(reason) < MinReason || !reading.Printable(reason, MaxReason) {
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

// QuietGroup makes a finding quiet at all devices of a group that have it and that
// the caller may see. It goes by transactions of some devices each, so that
// reports do not wait; a crash in the middle leaves whole ones, with their audit
// entries, under one act that can be undone.
func (h *Health) QuietGroup(ctx context.Context, caller access.Caller, code string, g Group, n NewQuiet) (Quiet, error) {
	if err := h.checkQuiet(caller, code, &n); err != nil {
		return Quiet{}, err
	}
	if g.Owner != "" && !caller.Sees(g.Owner) {
		return Quiet{}, access.ErrNotFound
	}
	var q Quiet
	for after := ""; ; {
		var step quietRange
		err := h.db.Write(ctx, func(tx *db.Tx) (err error) {
			step = quietRange{after: after}
			devices, err := h.groupDevices(ctx, tx, caller, code, g, after)
			if err != nil || len(devices) == 0 {
				return err
			}
			step.devices, step.last = devices, devices[len(devices)-1]
			act := q
			if act.ID == "" {
				if act, err = h.newQuiet(ctx, tx, caller, code, n); err != nil {
					return err
				}
			}
			if err := step.quieten(ctx, tx, caller, act, g); err != nil {
				return err
			}
			step.act = act
			return step.audit(ctx, tx, act, act.action(), act.Actor, h.now().UnixMilli())
		})
		if err != nil {
			return q, fmt.Errorf("making findings quiet: %w", err)
		}
		if len(step.devices) == 0 {
			return q, nil
		}
		count := q.Devices + int64(len(step.devices))
		q, after = step.act, step.last
		q.Devices = count
		h.changed(step.devices)
	}
}

func (h *Health) changed(devices []string) {
	for _, id := range devices {
		h.bus.Publish(bus.Event{Kind: bus.Changed, Device: id})
	}
	if len(devices) > 0 {
		h.noted(devices[0], "")
	}
}

// where is the condition of a group on health_findings f, fleet_devices d,
// fleet_models m and health_state s; the parameters begin at next.
func (g Group) where(caller access.Caller, next int) (string, []any) {
	scope, args := caller.Scope("d.owner_id", next)
	for _, c := range []struct{ column, value string }{{"d.owner_id", g.Owner}, {"d.school_id", g.School}, {"m.model", g.Model}, {"s.os_build", g.Build}} {
		if c.value != "" {
			args = append(args, c.value)
			scope += " AND " + c.column + " = $" + strconv.Itoa(next+len(args)-1)
		}
	}
	return scope, args
}

const groupFrom = ` FROM health_findings f JOIN fleet_devices d ON d.device_id = f.device_id JOIN fleet_models m ON m.device_id = f.device_id
	LEFT JOIN health_state s ON s.device_id = f.device_id WHERE f.code = $1 AND f.cleared_ms IS NULL AND f.severity > f.quiet_severity AND f.device_id > $2 AND `

// groupDevices are the next devices of a group where the finding is loud.
func (h *Health) groupDevices(ctx context.Context, tx *db.Tx, caller access.Caller, code string, g Group, after string) ([]string, error) {
	where, args := g.where(caller, 4)
	return db.Texts(ctx, tx, `SELECT DISTINCT f.device_id`+groupFrom+where+` ORDER BY f.device_id LIMIT $3`, append([]any{code, after, int64(quietStep)}, args...)...)
}

// quietRange is what one transaction of an act does: devices behind after up to
// last, by their ids.
type quietRange struct {
	act         Quiet
	after, last string
	devices     []string
}

func (r quietRange) quieten(ctx context.Context, tx *db.Tx, caller access.Caller, act Quiet, g Group) error {
	where, args := g.where(caller, 6)
	// What got worse was quiet by an act before, which ends here.
	_, err := tx.Exec(ctx, `UPDATE health_quieted SET ended_ms = $1 WHERE ended_ms IS NULL AND (quiet_id, device_id, spool, seq) IN
		(SELECT quiet_id, device_id, spool, seq FROM health_findings WHERE code = $2 AND cleared_ms IS NULL AND quiet_id IS NOT NULL AND severity > quiet_severity
			AND device_id > $3 AND device_id <= $4)`, act.At.UnixMilli(), act.Code, r.after, r.last)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO health_quieted (quiet_id, device_id, spool, seq, at_ms) SELECT $3, f.device_id, f.spool, f.seq, $4`+groupFrom+where+` AND f.device_id <= $5`,
		append([]any{act.Code, r.after, act.ID, act.At.UnixMilli(), r.last}, args...)...)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE health_findings SET quiet_id = $1, quiet_severity = severity WHERE (device_id, spool, seq) IN
		(SELECT device_id, spool, seq FROM health_quieted WHERE quiet_id = $1 AND device_id > $2 AND device_id <= $3)`, act.ID, r.after, r.last)
	if err != nil {
		return err
	}
	for _, id := range r.devices {
		if err := noteChange(ctx, tx, id, act.kind(), act.Code, "", 0, act.At.UnixMilli()); err != nil {
			return err
		}
	}
	return r.noteWorst(ctx, tx, act.ID)
}

func (r quietRange) noteWorst(ctx context.Context, tx *db.Tx, act string) error {
	_, err := tx.Exec(ctx, `UPDATE health_state SET worst = `+worstSQL("health_state.device_id")+` WHERE device_id IN
		(SELECT device_id FROM health_quieted WHERE quiet_id = $1 AND device_id > $2 AND device_id <= $3)`, act, r.after, r.last)
	return err
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

// EndQuiet undoes an act at all devices that the caller may see. Devices of the
// answer is at how many it did.
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
