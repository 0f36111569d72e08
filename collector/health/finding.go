package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
)

// keepFindings is how long a finding is kept after it was cleared.
const keepFindings = 365 * 24 * time.Hour

const maxFindings = 500

// finding takes one that the table knows, or counts a bad one.
func (p *parsed) finding(m *hmpb.Finding) *hmpb.Finding {
	if err := finding.Check(m); err != nil {
		p.badFindings++
		return nil
	}
	return m
}

// storeFinding opens or closes a finding. A second raise of an open one
// replaces its arguments: they moved, or the device was set anew and does not know
// that it had told. A clear of none that is open changes nothing.
func storeFinding(ctx context.Context, tx *db.Tx, device string, spool int64, r *report, nowMS int64) error {
	f := r.finding
	at := r.atMS
	was, err := openSeverity(ctx, tx, device, f)
	if err != nil {
		return err
	}
	note := func(kind EventKind, severity int64) error {
		return noteChange(ctx, tx, device, kind, f.GetCode(), f.GetInstance(), severity, nowMS)
	}
	if !f.GetRaised() {
		if was == 0 {
			return nil
		}
		_, err := tx.Exec(ctx, `UPDATE health_findings SET cleared_ms = $4 WHERE device_id = $1 AND code = $2 AND instance = $3 AND cleared_ms IS NULL`,
			device, f.GetCode(), f.GetInstance(), at)
		if err != nil {
			return err
		}
		return note(FindingCleared, was)
	}
	arguments, err := json.Marshal(finding.Values(f))
	if err != nil {
		return fmt.Errorf("encoding a finding's arguments: %w", err)
	}
	now := int64(f.GetSeverity())
	if was == 0 {
		_, err = tx.Exec(ctx, `INSERT INTO health_findings (device_id, spool, seq, code, instance, severity, arguments, raised_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			device, spool, r.seq, f.GetCode(), f.GetInstance(), now, string(arguments), at)
	} else {
		_, err = tx.Exec(ctx, `UPDATE health_findings SET severity = $4, arguments = $5 WHERE device_id = $1 AND code = $2 AND instance = $3 AND cleared_ms IS NULL`,
			device, f.GetCode(), f.GetInstance(), now, string(arguments))
	}
	if err != nil || was == now {
		return err
	}
	return note(FindingRaised, now)
}

// openSeverity is that of a finding that is open, 0 = none is.
func openSeverity(ctx context.Context, tx *db.Tx, device string, f *hmpb.Finding) (severity int64, err error) {
	err = tx.QueryRow(ctx, `SELECT severity FROM health_findings WHERE device_id = $1 AND code = $2 AND instance = $3 AND cleared_ms IS NULL`,
		device, f.GetCode(), f.GetInstance()).Scan(&severity)
	if errors.Is(err, db.ErrNoRows) {
		return 0, nil
	}
	return severity, err
}

// Reimaged closes what is open about a device that was set up anew, in the
// transaction of its enrolment: its agent knows nothing of what the one before
// told, and raises again what still holds.
func (h *Health) Reimaged(ctx context.Context, tx *db.Tx, device string) error {
	n, err := tx.Exec(ctx, `UPDATE health_findings SET cleared_ms = $2 WHERE device_id = $1 AND cleared_ms IS NULL`, device, h.now().UnixMilli())
	if err == nil && n > 0 {
		err = noteWorst(ctx, tx, device)
	}
	if err != nil {
		return fmt.Errorf("closing the findings of a device that was set up anew: %w", err)
	}
	return nil
}

// noteWorst brings the device's row, which is there, to what its findings are now.
func noteWorst(ctx context.Context, tx *db.Tx, device string) error {
	_, err := tx.Exec(ctx, `UPDATE health_state SET worst = `+worstSQL("$1")+` WHERE device_id = $1`, device)
	return err
}

// worstSQL is the severity of the worst finding of a device that is open and loud.
func worstSQL(device string) string {
	return `COALESCE((SELECT MAX(severity) FROM health_findings WHERE device_id = ` + device + ` AND cleared_ms IS NULL AND severity > quiet_severity), 0)`
}

// A Finding is something about a device that somebody should know. Days only:
// when it was noticed would tell when somebody worked.
type Finding struct {
	Code, Instance string
	Severity       hmpb.Severity
	Arguments      map[string]any // int64 or string, as proto/finding declares them
	Raised         time.Time      // midnight UTC
	Cleared        time.Time      // zero = open
	Quiet          *Quiet         // nil = loud; who takes care of it
}

// Loud says that it is open and counts.
func (f Finding) Loud() bool { return f.Cleared.IsZero() && f.Quiet == nil }

// Findings lists a device's findings: the open ones that are loud first, then the
// quiet ones, then the cleared ones, the latest first.
func (h *Health) Findings(ctx context.Context, caller access.Caller, device string) ([]Finding, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return nil, err
	}
	var out []Finding
	err := h.db.Read(ctx, func(tx *db.Tx) error {
		out = nil
		if err := seen(ctx, tx, caller, device); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT f.code, f.instance, f.severity, f.arguments, f.raised_ms, f.cleared_ms,
				COALESCE(a.id, ''), COALESCE(a.actor, ''), COALESCE(a.actor_name, ''), COALESCE(a.role, ''), COALESCE(a.reason, ''), COALESCE(a.at_ms, 0), a.until_ms
			FROM health_findings f LEFT JOIN health_quiets a ON a.id = f.quiet_id AND f.cleared_ms IS NULL AND f.severity <= f.quiet_severity WHERE f.device_id = $1
			ORDER BY CASE WHEN f.cleared_ms IS NOT NULL THEN 2 WHEN a.id IS NOT NULL THEN 1 ELSE 0 END, f.severity DESC, f.raised_ms DESC, f.code, f.instance LIMIT $2`,
			device, int64(maxFindings))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			f, err := scanFinding(rows)
			if err != nil {
				return err
			}
			out = append(out, f)
		}
		return rows.Close()
	})
	if err != nil {
		return nil, fmt.Errorf("listing findings: %w", err)
	}
	return out, nil
}

func scanFinding(rows *db.Rows) (Finding, error) {
	var f Finding
	var arguments string
	var severity, raised, at int64
	var cleared, until *int64
	var q Quiet
	if err := rows.Scan(&f.Code, &f.Instance, &severity, &arguments, &raised, &cleared, &q.ID, &q.Actor, &q.Name, &q.Role, &q.Reason, &at, &until); err != nil {
		return f, err
	}
	if q.ID != "" {
		q.Code, q.Devices = f.Code, 1
		q.times(at, until)
		f.Quiet = &q
	}
	f.Severity, f.Raised = hmpb.Severity(severity), dayOf(raised)
	if cleared != nil {
		f.Cleared = dayOf(*cleared)
	}
	return f, f.decode(arguments)
}

func (f *Finding) decode(arguments string) error {
	raw := map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte(arguments), &raw); err != nil {
		return fmt.Errorf("decoding a finding's arguments: %w", err)
	}
	f.Arguments = make(map[string]any, len(raw))
	for name, v := range raw {
		var n int64
		var text string
		switch {
		case json.Unmarshal(v, &n) == nil:
			f.Arguments[name] = n
		case json.Unmarshal(v, &text) == nil:
			f.Arguments[name] = text
		default:
			return errors.New("decoding a finding's arguments: neither number nor text")
		}
	}
	return nil
}
