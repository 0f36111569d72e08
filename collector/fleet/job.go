package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
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
	if err := f.check(*n.Filter); err != nil {
		return r, err
	}
	which := n.Filter.which()
	filter, err := json.Marshal(which)
	r.filter = string(filter)
	return r, err
}

// which leaves of a filter what says which devices there are.
func (f Filter) which() Filter {
	return Filter{Query: f.Query, State: f.State, School: f.School, Finding: f.Finding, Label: f.Label, Owner: f.Owner, Model: f.Model, Build: f.Build, Update: f.Update}
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
