package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/proto/ident"
)

// Act is what a job does to each of its devices.
type Act string

const (
	ActLabel   Act = "label"   // give it Job.Label
	ActUnlabel Act = "unlabel" // take Job.Label away
	ActSchool  Act = "school"  // move it to Job.School, if that is of its owner; empty = to none
	ActQuiet   Act = "quiet"   // make Job.Finding quiet, where it is loud
	ActLoud    Act = "loud"    // undo an act by which Job.Finding is quiet
)

// Acts are all acts.
var Acts = []Act{ActLabel, ActUnlabel, ActSchool, ActQuiet, ActLoud}

// quiets says that it is about findings that somebody takes care of.
func (a Act) quiets() bool { return a == ActQuiet || a == ActLoud }

// may is what somebody needs to do it to devices.
func (a Act) may(caller access.Caller) error {
	if a.quiets() {
		return caller.Allow(access.QuietFindings)
	}
	return caller.Allow(access.WriteDevices)
}

// JobState is how far a job has come. See job_run.go for who changes it.
//
//	gathering -> running -> done
//	    |           |        |
//	    +-----------+--------+-> undoing -> undone
type JobState string

const (
	JobGathering JobState = "gathering" // its devices are being written down
	JobRunning   JobState = "running"
	JobDone      JobState = "done"
	JobUndoing   JobState = "undoing"
	JobUndone    JobState = "undone"
)

// JobStates are all states of a job.
var JobStates = []JobState{JobGathering, JobRunning, JobDone, JobUndoing, JobUndone}

const (
	// MaxNamed is how many devices a job can be given by name.
	MaxNamed = 500
	// undoFor is how long a job that is done can be undone.
	undoFor = 7 * 24 * time.Hour
	// keepJobs is how long a job and its devices are kept.
	keepJobs = 90 * 24 * time.Hour
)

// ErrUndo: a job that is undone already, or was done too long ago.
var ErrUndo = errors.New("the job cannot be undone")

// Job is one change of many devices.
type Job struct {
	ID         string
	Act        Act
	Label      string
	School     string // id; empty = none
	SchoolName string // its Title
	Finding    string // code
	Filter     *Filter
	Actor      string // as access.Caller.Actor
	ActorName  string
	State      JobState
	Created    time.Time
	Ended      time.Time // zero = it is under way
	UndoUntil  time.Time // zero = it cannot be undone, or not any more
	// Total devices, Done of them so far: Changed, Same already, or Skipped
	// because they are of another owner than the school.
	Total, Done, Changed, Same, Skipped int64
	// Of an undo: looked at so far, put back, and Kept as somebody else changed
	// them since.
	Undone, Restored, Kept int64
}

// Of says how many devices have an outcome; empty = all of the job.
func (j Job) Of(o Outcome) int64 {
	switch o {
	case OutcomeWaiting:
		return j.Total - j.Done
	case OutcomeChanged:
		return j.Changed - j.Restored - j.Kept
	case OutcomeSame:
		return j.Same
	case OutcomeOtherOwner:
		return j.Skipped
	case OutcomeRestored:
		return j.Restored
	case OutcomeKept:
		return j.Kept
	}
	return j.Total
}

// Open says that the job is under way.
func (j Job) Open() bool { return j.Ended.IsZero() }

// NewJob says what StartJob shall do: to the devices that are named, or else to
// all of a filter.
type NewJob struct {
	Act     Act
	Label   string
	School  string // id
	Devices []string
	Filter  *Filter // only which devices, not their order
	// Of ActQuiet, which is about the devices that have Filter.Finding: why, and until
	// when; zero = until it is cleared.
	Reason string
	Until  time.Time
	Quiet  string // of ActLoud, which is about the devices where a finding is quiet by this act
}

// StartJob writes down a job, which Run then carries out. It works on the devices
// that the caller sees now, whatever the caller may see later.
func (f *Fleet) StartJob(ctx context.Context, caller access.Caller, n NewJob) (Job, error) {
	if err := n.Act.may(caller); err != nil {
		return Job{}, err
	}
	row, err := f.newJob(caller, &n)
	if err != nil {
		return Job{}, err
	}
	var job Job
	err = f.db.Write(ctx, func(tx *db.Tx) error {
		row := row
		if n.Act == ActSchool && n.School != "" {
			var owner string
			err := tx.QueryRow(ctx, `SELECT owner_id FROM schools WHERE id = $1`, n.School).Scan(&owner)
			if errors.Is(err, db.ErrNoRows) || err == nil && !caller.Sees(owner) {
				return fmt.Errorf("school %q: %w", n.School, unknownHere)
			}
			if err != nil {
				return err
			}
		}
		if len(n.Devices) > 0 {
			row.state, row.total = JobRunning, int64(len(n.Devices))
		}
		if n.Act == ActQuiet {
			var err error
			if row.quiet, err = f.quieter.BeginQuiet(ctx, tx, caller, row.finding, n.Reason, n.Until); err != nil {
				return err
			}
		}
		if n.Act == ActLoud {
			if err := row.ofQuiet(ctx, tx, caller); err != nil {
				return err
			}
		}
		if err := row.insert(ctx, tx); err != nil {
			return fmt.Errorf("starting a job: %w", err)
		}
		if len(n.Devices) > 0 {
			owners, err := named(ctx, tx, caller, n.Devices)
			if err != nil {
				return err
			}
			if err := gathered(ctx, tx, row, 0, n.Devices); err != nil {
				return err
			}
			if err := f.begun(ctx, tx, row, owners); err != nil {
				return err
			}
		}
		job, err = f.readJob(ctx, tx, caller, row.id)
		return err
	})
	if err != nil {
		return Job{}, err
	}
	f.wake()
	return job, nil
}

// newJob checks what is asked for.
func (f *Fleet) newJob(caller access.Caller, n *NewJob) (jobRow, error) {
	now := f.now()
	r := jobRow{id: ident.NewID(now), act: n.Act, actor: caller.Actor(), actorName: caller.Name, state: JobGathering, created: now.UnixMilli()}
	switch n.Act {
	case ActLabel, ActUnlabel:
		var err error
		if r.label, r.key, err = checkLabel(n.Label); err != nil {
			return r, err
		}
		n.School = ""
	case ActSchool:
		r.school = n.School
	case ActQuiet:
		if f.quieter == nil || n.Filter == nil || n.Filter.Finding == "" {
			return r, fmt.Errorf("%w: a finding is made quiet at all devices of a filter for it", ErrInvalid)
		}
		r.finding = n.Filter.Finding
	case ActLoud:
		if f.quieter == nil || n.Quiet == "" || n.Filter != nil || len(n.Devices) > 0 {
			return r, fmt.Errorf("%w: an act on a finding is undone at all its devices", ErrInvalid)
		}
		r.quiet = n.Quiet
	default:
		return r, fmt.Errorf("%w: no such act: %q", ErrInvalid, n.Act)
	}
	scope, err := json.Marshal(caller.Owners)
	if err != nil {
		return r, err
	}
	r.scope = string(scope)
	if n.Act == ActLoud {
		return r, nil
	}
	if n.Filter == nil {
		n.Devices = slices.Compact(slices.Sorted(slices.Values(n.Devices)))
		if len(n.Devices) == 0 || len(n.Devices) > MaxNamed {
			return r, fmt.Errorf("%w: name 1 to %d devices", ErrInvalid, MaxNamed)
		}
		return r, nil
	}
	if err := n.Filter.check(); err != nil {
		return r, err
	}
	which := n.Filter.which()
	filter, err := json.Marshal(which)
	r.filter = string(filter)
	return r, err
}

// which leaves of a filter what says which devices there are.
func (f Filter) which() Filter {
	return Filter{Query: f.Query, State: f.State, School: f.School, Finding: f.Finding, Label: f.Label, Owner: f.Owner, Model: f.Model, Build: f.Build}
}

// named gives the owners of these devices, if the caller sees all of them.
func named(ctx context.Context, tx *db.Tx, caller access.Caller, ids []string) (map[string]int64, error) {
	owners := map[string]int64{}
	for _, id := range ids {
		d, err := ownDevice(ctx, tx, caller, id)
		if err != nil {
			return nil, fmt.Errorf("device %q: %w", id, err)
		}
		owners[d.Owner]++
	}
	return owners, nil
}

// begun notes whose devices a job changes, before it changes any.
func (f *Fleet) begun(ctx context.Context, tx *db.Tx, r jobRow, owners map[string]int64) error {
	for _, owner := range slices.Sorted(maps.Keys(owners)) {
		if _, err := tx.Exec(ctx, `INSERT INTO job_owners (job_id, owner_id) VALUES ($1, $2)`, r.id, owner); err != nil {
			return err
		}
		if r.act == ActLabel {
			if err := spell(ctx, tx, owner, r.key, r.label); err != nil {
				return err
			}
		}
		if err := f.auditJob(ctx, tx, r, r.actor, "job.started", owner, map[string]string{"devices": fmt.Sprint(owners[owner])}); err != nil {
			return err
		}
	}
	return nil
}

func (f *Fleet) auditJob(ctx context.Context, tx *db.Tx, r jobRow, actor, action, owner string, details map[string]string) error {
	details["act"] = string(r.act)
	if r.label != "" {
		details["label"] = r.label
	}
	if r.act == ActSchool {
		details["school"] = r.school
	}
	if r.act.quiets() {
		details["finding"], details["quiet"] = r.finding, r.quiet
	}
	return audit.Append(ctx, tx, audit.Entry{Actor: actor, Action: action, Subject: "job:" + r.id, Owner: owner, AtMS: f.now().UnixMilli(), Details: details})
}

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

// Outcome is what became of a device in a job.
type Outcome string

const (
	OutcomeWaiting    Outcome = "waiting"
	OutcomeChanged    Outcome = "changed"
	OutcomeSame       Outcome = "same"        // it was so already
	OutcomeOtherOwner Outcome = "other_owner" // than the school's
	OutcomeRestored   Outcome = "restored"    // undone
	OutcomeKept       Outcome = "kept"        // changed since by somebody else, therefore not undone
)

// Outcomes are all outcomes.
var Outcomes = []Outcome{OutcomeWaiting, OutcomeChanged, OutcomeSame, OutcomeOtherOwner, OutcomeRestored, OutcomeKept}

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

// UndoJob puts back what each device had before, unless somebody else changed it
// since. A job that is under way stops, and what it has done is put back.
func (f *Fleet) UndoJob(ctx context.Context, caller access.Caller, id string) (Job, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return Job{}, err
	}
	var job Job
	err := f.db.Write(ctx, func(tx *db.Tx) error {
		r, err := ownJob(ctx, tx, caller, id)
		if err != nil {
			return err
		}
		if err := r.act.may(caller); err != nil {
			return err
		}
		if !r.undoable(f.now()) {
			return ErrUndo
		}
		if _, err := tx.Exec(ctx, `UPDATE jobs SET state = $2, undone_by = $3, ended_ms = NULL WHERE id = $1`, id, string(JobUndoing), caller.Actor()); err != nil {
			return err
		}
		job, err = f.readJob(ctx, tx, caller, id)
		return err
	})
	if err != nil {
		return Job{}, err
	}
	f.wake()
	return job, nil
}
