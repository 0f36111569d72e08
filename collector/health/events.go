package health

import (
	"context"
	"fmt"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// EventKind is what happened to a device.
type EventKind string

const (
	FindingRaised       EventKind = "finding_raised"
	FindingCleared      EventKind = "finding_cleared"
	FindingAcknowledged EventKind = "finding_acknowledged"
	FindingSnoozed      EventKind = "finding_snoozed"
	FindingReopened     EventKind = "finding_reopened" // undone, or the time of a snooze was up
	SoftwareChanged     EventKind = "software_changed"
	SystemChanged       EventKind = "system_changed"
	AgentChanged        EventKind = "agent_changed"
	Looked              EventKind = "looked"
)

// EventKinds are all of them.
var EventKinds = []EventKind{FindingRaised, FindingCleared, FindingAcknowledged, FindingSnoozed, FindingReopened, SoftwareChanged, SystemChanged, AgentChanged, Looked}

// Event is something that happened to a device on a day; when on it is not told,
// nor in which order the events of a day came.
type Event struct {
	Day     time.Time // midnight UTC
	Kind    EventKind
	Finding Finding // of findings: code, instance, severity and arguments
	Name    string  // who
	Role    access.Role
	Reason  string
	Until   time.Time // of a snooze
	// From and To are versions of the system or of the agent; From may be unknown.
	From, To string
	// Open: the finding that was raised is open still. Such come first in their day, or
	// one that got worse would stand below the end of its milder forerunner.
	Open bool
	// Programs of a day.
	Added, Removed, Changed int64
}

// Events are what happened to a device. They are whole from the day From on (zero
// = all there ever was), the latest first.
type Events struct {
	Items []Event
	From  time.Time
}

// MaxEvents bounds what Events gives at once.
const MaxEvents = 500

// eventsSQL puts the events of a device that are older than $2 under one another:
// day, kind, and what is told of it.
const eventsSQL = `SELECT day, kind, code, instance, severity, arguments, name, role, reason, until_ms, one, two, three, still_open FROM ` + eventsOf + `
	ORDER BY day DESC, still_open DESC, kind, code, instance, reason LIMIT $4`

const eventsOf = `(
	SELECT raised_ms / 86400000 AS day, 'finding_raised' AS kind, code, instance, severity, arguments, '' AS name, '' AS role, '' AS reason, CAST(NULL AS BIGINT) AS until_ms, 0 AS one, 0 AS two, 0 AS three, CASE WHEN cleared_ms IS NULL THEN 1 ELSE 0 END AS still_open
		FROM health_findings WHERE device_id = $1 AND raised_ms < $2
	UNION ALL SELECT cleared_ms / 86400000, 'finding_cleared', code, instance, severity, arguments, '', '', '', NULL, 0, 0, 0, 0
		FROM health_findings WHERE device_id = $1 AND cleared_ms < $2
	UNION ALL SELECT q.at_ms / 86400000, CASE WHEN a.until_ms IS NULL THEN 'finding_acknowledged' ELSE 'finding_snoozed' END, f.code, f.instance, f.severity, f.arguments, a.actor_name, a.role, a.reason, a.until_ms, 0, 0, 0, 0
		FROM health_quieted q JOIN health_quiets a ON a.id = q.quiet_id JOIN health_findings f ON f.device_id = q.device_id AND f.spool = q.spool AND f.seq = q.seq
		WHERE q.device_id = $1 AND q.at_ms < $2
	UNION ALL SELECT q.ended_ms / 86400000, 'finding_reopened', f.code, f.instance, f.severity, f.arguments, '', '', '', NULL, 0, 0, 0, 0
		FROM health_quieted q JOIN health_findings f ON f.device_id = q.device_id AND f.spool = q.spool AND f.seq = q.seq
		WHERE q.device_id = $1 AND q.ended_ms < $2
	UNION ALL SELECT told_ms / 86400000, 'software_changed', '', '', 0, '{}', '', '', '', NULL,
			SUM(CASE WHEN from_version IS NULL THEN 1 ELSE 0 END), SUM(CASE WHEN to_version IS NULL THEN 1 ELSE 0 END), SUM(CASE WHEN from_version IS NULL OR to_version IS NULL THEN 0 ELSE 1 END), 0
		FROM health_inventory_differences WHERE device_id = $1 AND told_ms < $2 GROUP BY told_ms / 86400000
	UNION ALL SELECT opened_ms / 86400000, 'looked', '', '', 0, '{}', actor_name, role, reason, NULL, 0, 0, 0, 0
		FROM health_looks WHERE device_id = $1 AND opened_ms < $2
	UNION ALL SELECT day, 'agent_changed', COALESCE(before, ''), version, 0, '{}', '', '', '', NULL, 0, 0, 0, 0
		FROM (SELECT day, version, LAG(version) OVER (ORDER BY day) AS before FROM health_agents WHERE device_id = $1) v WHERE day < $3
	UNION ALL SELECT day, 'system_changed', before, build, 0, '{}', '', '', '', NULL, 0, 0, 0, 0
		FROM (SELECT day, build, LAG(build) OVER (ORDER BY day) AS before FROM
			(SELECT day, COALESCE(os_name, '') || ' ' || os_build AS build FROM health_days WHERE device_id = $1 AND os_build IS NOT NULL) b) s
		WHERE before <> build AND day < $3
	) e`

// Events lists what happened to a device before a day (zero = up to now).
func (h *Health) Events(ctx context.Context, caller access.Caller, device string, before time.Time, limit int) (Events, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return Events{}, err
	}
	if before.IsZero() {
		before = h.now().Add(Day)
	}
	endDay := before.UnixMilli() / dayMS
	limit = max(1, min(limit, MaxEvents))
	var out Events
	err := h.db.Read(ctx, func(tx *db.Tx) error {
		out = Events{}
		if err := seen(ctx, tx, caller, device); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, eventsSQL, device, endDay*dayMS, endDay, int64(limit)+1)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			e, err := scanEvent(rows)
			if err != nil {
				return err
			}
			out.Items = append(out.Items, e)
		}
		return rows.Close()
	})
	if err != nil {
		return Events{}, fmt.Errorf("listing events: %w", err)
	}
	if len(out.Items) > limit {
		out.cut(limit)
	}
	return out, nil
}

// CountEvents says how many events there are in all.
func (h *Health) CountEvents(ctx context.Context, caller access.Caller, device string) (n int64, err error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return 0, err
	}
	endDay := h.now().Add(Day).UnixMilli() / dayMS
	err = h.db.Read(ctx, func(tx *db.Tx) error {
		if err := seen(ctx, tx, caller, device); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT COUNT(*) FROM `+eventsOf, device, endDay*dayMS, endDay).Scan(&n)
	})
	if err != nil {
		return 0, fmt.Errorf("counting events: %w", err)
	}
	return n, nil
}

// cut leaves whole days. A day of more events than are asked for stays as it is:
// without it there would be no way on.
func (e *Events) cut(limit int) {
	last := e.Items[limit].Day
	n := limit
	for n > 0 && e.Items[n-1].Day.Equal(last) {
		n--
	}
	if n == 0 {
		n = limit
	}
	e.Items = e.Items[:n]
	e.From = e.Items[n-1].Day
}

func scanEvent(rows *db.Rows) (Event, error) {
	var e Event
	var day, severity, open int64
	var kind, role, arguments string
	var until *int64
	f := &e.Finding
	if err := rows.Scan(&day, &kind, &f.Code, &f.Instance, &severity, &arguments, &e.Name, &role, &e.Reason, &until, &e.Added, &e.Removed, &e.Changed, &open); err != nil {
		return e, err
	}
	e.Day, e.Kind, e.Role, f.Severity, e.Open = dayOf(day*dayMS), EventKind(kind), access.Role(role), hmpb.Severity(severity), open == 1
	if until != nil {
		e.Until = time.UnixMilli(*until).UTC()
	}
	if e.Kind == AgentChanged || e.Kind == SystemChanged {
		e.From, e.To, f.Code, f.Instance = f.Code, f.Instance, "", ""
		return e, nil
	}
	return e, f.decode(arguments)
}

// noteAgent keeps the version that a device comes with, if it is another one.
func noteAgent(ctx context.Context, tx *db.Tx, device, version string, day int64) error {
	if version == "" || !reading.Printable(version, maxVersion) {
		return nil // of no use to anybody
	}
	var known int64
	err := tx.QueryRow(ctx, `SELECT count(*) FROM health_agents WHERE device_id = $1 AND version = $2 AND latest = 1`, device, version).Scan(&known)
	if err != nil || known > 0 {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE health_agents SET latest = 0 WHERE device_id = $1 AND latest = 1`, device); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO health_agents (device_id, day, version, latest) VALUES ($1, $2, $3, 1)
		ON CONFLICT (device_id, day) DO UPDATE SET version = excluded.version, latest = 1`, device, day, version)
	return err
}

// maxVersion is the longest version of an agent that is kept.
const maxVersion = 64
