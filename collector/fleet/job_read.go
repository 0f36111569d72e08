package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
)

// jobRow is a row of jobs.
type jobRow struct {
	id                                  string
	act                                 Act
	label, key, school, schoolName      string
	finding, quiet                      string
	filter, scope                       string
	actor, actorName                    string
	state                               JobState
	created                             int64
	ended                               *int64
	total, done, changed, same, skipped int64
	undone                              int64
	undoneBy                            string
	restored, kept                      int64
}

func (r jobRow) insert(ctx context.Context, tx *db.Tx) error {
	_, err := tx.Exec(ctx, `INSERT INTO jobs (id, act, label, label_key, school_id, filter, scope, actor, actor_name, state, created_ms,
			total, done, changed, same, skipped, undone, undone_by, restored, kept, finding, quiet)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0, 0, 0, 0, 0, '', 0, 0, $13, $14)`,
		r.id, string(r.act), r.label, r.key, r.school, r.filter, r.scope, r.actor, r.actorName, string(r.state), r.created, r.total, r.finding, r.quiet)
	return err
}

const jobColumns = `j.id, j.act, j.label, j.label_key, j.school_id, COALESCE(s.code, ''), COALESCE(s.name, ''), COALESCE(s.kind, ''), j.filter, j.scope,
	j.actor, j.actor_name, j.state, j.created_ms, j.ended_ms, j.total, j.done, j.changed, j.same, j.skipped, j.undone, j.undone_by, j.restored, j.kept, j.finding, j.quiet
	FROM jobs j LEFT JOIN schools s ON s.id = j.school_id`

func readJobRows(ctx context.Context, tx *db.Tx, where string, args ...any) (out []jobRow, err error) {
	rows, err := tx.Query(ctx, `SELECT `+jobColumns+` WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r jobRow
		var act, state, code, name, kind string
		err := rows.Scan(&r.id, &act, &r.label, &r.key, &r.school, &code, &name, &kind, &r.filter, &r.scope, &r.actor, &r.actorName, &state, &r.created, &r.ended,
			&r.total, &r.done, &r.changed, &r.same, &r.skipped, &r.undone, &r.undoneBy, &r.restored, &r.kept, &r.finding, &r.quiet)
		if err != nil {
			return nil, err
		}
		r.act, r.state = Act(act), JobState(state)
		if r.school != "" {
			r.schoolName = schoolTitle(name, kind, code)
		}
		out = append(out, r)
	}
	return out, rows.Close()
}

func (f *Fleet) job(r jobRow) (Job, error) {
	j := Job{ID: r.id, Act: r.act, Label: r.label, School: r.school, SchoolName: r.schoolName, Finding: r.finding, Actor: r.actor, ActorName: r.actorName, State: r.state,
		Created: time.UnixMilli(r.created), Total: r.total, Done: r.done, Changed: r.changed, Same: r.same, Skipped: r.skipped,
		Undone: r.undone, Restored: r.restored, Kept: r.kept}
	if r.ended != nil {
		j.Ended = time.UnixMilli(*r.ended)
	}
	if r.undoable(f.now()) {
		j.UndoUntil = f.now().Add(undoFor)
		if r.ended != nil {
			j.UndoUntil = j.Ended.Add(undoFor)
		}
	}
	if r.filter == "" {
		return j, nil
	}
	j.Filter = new(Filter)
	return j, json.Unmarshal([]byte(r.filter), j.Filter)
}

func (r jobRow) undoable(now time.Time) bool {
	switch r.state {
	case JobGathering, JobRunning:
		return true
	case JobDone:
		return r.changed > 0 && now.Before(time.UnixMilli(*r.ended).Add(undoFor))
	}
	return false
}

// jobScope is the condition that the caller sees a job: all whose devices it
// concerns are within his scope, and while nobody knows whose they are, it is his.
func jobScope(caller access.Caller, next int) (where string, args []any) {
	scope, args := caller.Scope("o.owner_id", next+1)
	return fmt.Sprintf(`NOT EXISTS (SELECT 1 FROM job_owners o WHERE o.job_id = j.id AND NOT (%s))
		AND (j.actor = $%d OR EXISTS (SELECT 1 FROM job_owners o WHERE o.job_id = j.id))`, scope, next), append([]any{caller.Actor()}, args...)
}

func (f *Fleet) readJob(ctx context.Context, tx *db.Tx, caller access.Caller, id string) (Job, error) {
	r, err := ownJob(ctx, tx, caller, id)
	if err != nil {
		return Job{}, err
	}
	return f.job(r)
}

func ownJob(ctx context.Context, tx *db.Tx, caller access.Caller, id string) (jobRow, error) {
	scope, args := jobScope(caller, 2)
	rows, err := readJobRows(ctx, tx, `j.id = $1 AND `+scope, append([]any{id}, args...)...)
	if err == nil && len(rows) == 0 {
		err = unknownHere
	}
	if err != nil {
		return jobRow{}, fmt.Errorf("job %q: %w", id, err)
	}
	return rows[0], nil
}

// Job gives one job, or access.ErrNotFound.
func (f *Fleet) Job(ctx context.Context, caller access.Caller, id string) (Job, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return Job{}, err
	}
	var job Job
	err := f.db.Read(ctx, func(tx *db.Tx) (err error) {
		job, err = f.readJob(ctx, tx, caller, id)
		return err
	})
	return job, err
}

// CountJobs says how many jobs there are in the list.
func (f *Fleet) CountJobs(ctx context.Context, caller access.Caller) (n int64, err error) {
	if err := caller.Allow(access.WriteDevices); err != nil {
		return 0, err
	}
	scope, args := jobScope(caller, 1)
	err = f.db.Read(ctx, func(tx *db.Tx) error {
		return tx.QueryRow(ctx, `SELECT COUNT(*) FROM jobs j WHERE `+scope, args...).Scan(&n)
	})
	if err != nil {
		return 0, fmt.Errorf("counting jobs: %w", err)
	}
	return n, nil
}

// Jobs are the jobs that the caller sees, the latest first; before is the id of
// the last one of the page before, empty for the first. The list is for those who
// start jobs; whoever sees a device is led from it to the single job that changed it.
func (f *Fleet) Jobs(ctx context.Context, caller access.Caller, before string, limit int) ([]Job, error) {
	if err := caller.Allow(access.WriteDevices); err != nil {
		return nil, err
	}
	if limit < 1 || limit > MaxLimit {
		return nil, fmt.Errorf("%w: limit must be 1 to %d", ErrInvalid, MaxLimit)
	}
	if before == "" {
		before = "g" // after each id
	}
	scope, args := jobScope(caller, 3)
	var jobs []Job
	err := f.db.Read(ctx, func(tx *db.Tx) error {
		jobs = nil
		rows, err := readJobRows(ctx, tx, `j.id < $1 AND `+scope+` ORDER BY j.id DESC LIMIT $2`, append([]any{before, int64(limit)}, args...)...)
		for _, r := range rows {
			job, err := f.job(r)
			if err != nil {
				return err
			}
			jobs = append(jobs, job)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing jobs: %w", err)
	}
	return jobs, nil
}

var outcomeSQL = map[Outcome]string{
	OutcomeWaiting: "outcome = 0 AND undo = 0", OutcomeChanged: "outcome = 1 AND undo = 0", OutcomeSame: "outcome = 2", OutcomeOtherOwner: "outcome = 3",
	OutcomeRestored: "undo = 1", OutcomeKept: "undo = 2",
}

func outcomeOf(outcome, undo int64) Outcome {
	switch {
	case undo == 1:
		return OutcomeRestored
	case undo == 2:
		return OutcomeKept
	case outcome == 1:
		return OutcomeChanged
	case outcome == 2:
		return OutcomeSame
	case outcome == 3:
		return OutcomeOtherOwner
	}
	return OutcomeWaiting
}

// JobDevice is one device of a job.
type JobDevice struct {
	Seq     int64 // its number in the job
	ID      string
	Name    string // as Device.Label
	Outcome Outcome
}

// JobDevices are devices of a job behind number after; with an outcome only those.
func (f *Fleet) JobDevices(ctx context.Context, caller access.Caller, id string, outcome Outcome, after int64, limit int) ([]JobDevice, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return nil, err
	}
	if limit < 1 || limit > MaxLimit || outcome != "" && outcomeSQL[outcome] == "" {
		return nil, fmt.Errorf("%w: want a limit of 1 to %d, and an outcome that there is", ErrInvalid, MaxLimit)
	}
	where := ""
	if outcome != "" {
		where = " AND " + outcomeSQL[outcome]
	}
	var out []JobDevice
	err := f.db.Read(ctx, func(tx *db.Tx) error {
		out = nil
		if _, err := ownJob(ctx, tx, caller, id); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT j.seq, d.id, COALESCE(d.inventory, ''), d.serial, j.outcome, j.undo FROM job_devices j JOIN devices d ON d.id = j.device_id
			WHERE j.job_id = $1 AND j.seq > $2`+where+` ORDER BY j.seq LIMIT $3`, id, after, int64(limit))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var d JobDevice
			var inventory, serial string
			var outcome, undo int64
			if err := rows.Scan(&d.Seq, &d.ID, &inventory, &serial, &outcome, &undo); err != nil {
				return err
			}
			d.Name, d.Outcome = label(inventory, serial, d.ID), outcomeOf(outcome, undo)
			out = append(out, d)
		}
		return rows.Close()
	})
	if err != nil {
		return nil, fmt.Errorf("listing the devices of a job: %w", err)
	}
	return out, nil
}

// DeviceJob is what a job did to a device.
type DeviceJob struct {
	Job, Act          string
	Label, SchoolName string
	Finding           string
	ActorName         string
	Created           time.Time
	Outcome           Outcome
	Seen              bool // the caller may see the job itself
}

// DeviceJobs is what jobs did to a device, the latest first, at most limit.
func (f *Fleet) DeviceJobs(ctx context.Context, caller access.Caller, device string, limit int) ([]DeviceJob, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return nil, err
	}
	scope, args := jobScope(caller, 3)
	var out []DeviceJob
	err := f.db.Read(ctx, func(tx *db.Tx) error {
		out = nil
		if _, err := ownDevice(ctx, tx, caller, device); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT j.id, j.act, j.label, COALESCE(s.code, ''), COALESCE(s.name, ''), COALESCE(s.kind, ''), j.actor_name, j.created_ms, d.outcome, d.undo, j.finding,
				CASE WHEN `+scope+` THEN 1 ELSE 0 END
			FROM job_devices d JOIN jobs j ON j.id = d.job_id LEFT JOIN schools s ON s.id = j.school_id
			WHERE d.device_id = $1 AND d.outcome = 1 ORDER BY d.job_id DESC LIMIT $2`, append([]any{device, int64(limit)}, args...)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var e DeviceJob
			var code, name, kind string
			var created, outcome, undo, seen int64
			if err := rows.Scan(&e.Job, &e.Act, &e.Label, &code, &name, &kind, &e.ActorName, &created, &outcome, &undo, &e.Finding, &seen); err != nil {
				return err
			}
			e.SchoolName, e.Created, e.Outcome, e.Seen = strings.TrimSpace(schoolTitle(name, kind, code)), time.UnixMilli(created), outcomeOf(outcome, undo), seen == 1
			out = append(out, e)
		}
		return rows.Close()
	})
	if err != nil {
		return nil, fmt.Errorf("listing the jobs of a device: %w", err)
	}
	return out, nil
}
