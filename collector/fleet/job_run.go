package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
)

// The running of jobs. A job's devices are written down first, so that what it
// was about stays the same while it runs; then they are worked off in their
// order, some in each transaction, which also says how far it has come. A crash
// between two of them costs nothing: the next Run goes on from there. Reports of
// devices wait for one such transaction at most, since writes take turns. Of
// several collectors on a database one runs jobs, as long as it has the lease.

// sweepStep is how many rows of old jobs one transaction deletes.
const sweepStep = 500

// pace is how many devices one transaction works off, or writes down: as many as a
// machine with this database, and what else it does, gets done in some 30 ms. It
// begins low, since the first transaction on a busy machine is one that reports
// wait for too, and is there after some ten of them.
type pace struct{ devices int64 }

// gathering has a pace as an act has one.
const gathering Act = "gathering"

// Of a school's name the text is made that is searched, which makes moving dearer.
var firstPace = map[Act]int64{gathering: 50, ActLabel: 20, ActUnlabel: 20, ActSchool: slowest, ActQuiet: slowest, ActLoud: slowest}

const (
	slowest, fastest = 10, 400
	stepFor          = 30 * time.Millisecond
)

// took learns from how long a transaction was at work. A clock that stands, as in
// tests, teaches nothing.
func (p *pace) took(d time.Duration) {
	switch {
	case d > 2*stepFor:
		p.devices = max(p.devices/2, slowest)
	case d > stepFor:
		p.devices = max(p.devices*3/4, slowest)
	case d > 0 && d < stepFor/2:
		p.devices = min(p.devices*5/4, fastest)
	}
}

const (
	// lookEvery is how often Run looks for jobs that nobody woke it for: those of
	// another collector, and those that an error stopped.
	lookEvery = 30 * time.Second
	// againEvery is how often it tries while another collector runs jobs, or died
	// when it did.
	againEvery = 5 * time.Second
	// sweepEvery is how often it deletes jobs that are old.
	sweepEvery = 6 * time.Hour
)

// Run carries out jobs until ctx ends, those first that an earlier run left.
func (f *Fleet) Run(ctx context.Context, ready func()) error {
	ready()
	look := time.NewTimer(lookEvery)
	defer look.Stop()
	swept := time.Time{}
	for {
		next := lookEvery
		err := f.RunJobs(ctx)
		if errors.Is(err, db.ErrLeased) {
			next = againEvery
		} else if err != nil && ctx.Err() == nil {
			f.log.Warn("running jobs", "error", err)
		}
		if now := f.now(); now.Sub(swept) >= sweepEvery {
			swept = now
			if err := f.jobs.Hold(ctx, f.sweepJobs); err != nil && !errors.Is(err, db.ErrLeased) && ctx.Err() == nil {
				f.log.Warn("deleting old jobs", "error", err)
			}
		}
		look.Reset(next)
		select {
		case <-ctx.Done():
			return nil
		case <-f.work:
		case <-look.C:
		}
	}
}

// wake tells Run that there is something to do.
func (f *Fleet) wake() {
	select {
	case f.work <- struct{}{}:
	default:
	}
}

// RunJobs carries out what there is to do, a step of each job in turn, so that a
// small one does not wait for a large one. While another collector does so, it
// returns db.ErrLeased.
func (f *Fleet) RunJobs(ctx context.Context) error { return f.runJobs(ctx, -1) }

// runJobs ends after so many steps, for tests of what a crash leaves; -1 = never.
func (f *Fleet) runJobs(ctx context.Context, steps int) error {
	f.running.Lock()
	defer f.running.Unlock()
	if open, err := f.openJobs(ctx); err != nil || len(open) == 0 {
		return err
	}
	return f.jobs.Hold(ctx, func(ctx context.Context) error { return f.runOpen(ctx, steps) })
}

func (f *Fleet) openJobs(ctx context.Context) (open []jobRow, err error) {
	err = f.db.Read(ctx, func(tx *db.Tx) (err error) {
		open, err = readJobRows(ctx, tx, `j.ended_ms IS NULL ORDER BY j.created_ms, j.id`)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("looking for jobs: %w", err)
	}
	return open, nil
}

// runOpen is runJobs under the lease.
func (f *Fleet) runOpen(ctx context.Context, steps int) error {
	var failed error
	stopped := map[string]bool{} // for now, by an error
	for {
		open, err := f.openJobs(ctx)
		if err != nil {
			return err
		}
		moved := false
		for _, r := range open {
			if stopped[r.id] {
				continue
			}
			if steps == 0 {
				return failed
			}
			moved = true
			steps--
			if err := f.step(ctx, r); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if errors.Is(err, db.ErrLeaseLost) {
					return fmt.Errorf("job %s: %w", r.id, err)
				}
				stopped[r.id] = true
				failed = errors.Join(failed, fmt.Errorf("job %s: %w", r.id, err))
			}
		}
		if !moved {
			return failed
		}
	}
}

// step moves a job on by one transaction, or by the whole of its gathering.
func (f *Fleet) step(ctx context.Context, r jobRow) error {
	switch {
	case r.state == JobGathering:
		return f.gather(ctx, r)
	case r.state == JobRunning && r.done < r.total:
		return f.forward(ctx, r)
	case r.state == JobUndoing && r.undone < r.done:
		return f.back(ctx, r)
	}
	return f.finish(ctx, r)
}

// paced does a transaction of a pace, which learns how long it was at work.
func (f *Fleet) paced(ctx context.Context, p *pace, fn func(*db.Tx) error) error {
	var took time.Duration
	err := f.db.Write(ctx, func(tx *db.Tx) error {
		begin := f.now()
		defer func() { took = f.now().Sub(begin) }()
		return fn(tx)
	})
	p.took(took)
	return err
}

// gather writes down the devices of a filter. What an earlier run had begun is
// begun anew.
func (f *Fleet) gather(ctx context.Context, r jobRow) error {
	pace := f.paceOf(gathering)
	for {
		var n int64
		err := f.paced(ctx, pace, func(tx *db.Tx) (err error) {
			n, err = tx.Exec(ctx, `DELETE FROM job_devices WHERE job_id = $1 AND seq IN (SELECT seq FROM job_devices WHERE job_id = $1 ORDER BY seq LIMIT $2)`, r.id, pace.devices)
			return err
		})
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
	}
	ids, owners, err := f.filtered(ctx, r)
	if err != nil {
		return err
	}
	for i := 0; i < len(ids); {
		to := min(i+int(pace.devices), len(ids))
		if err := f.paced(ctx, pace, func(tx *db.Tx) error { return gathered(ctx, tx, r, int64(i), ids[i:to]) }); err != nil {
			return err
		}
		i = to
	}
	return f.db.Write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `UPDATE jobs SET state = $2, total = $3 WHERE id = $1 AND state = $4`, r.id, string(JobRunning), int64(len(ids)), string(JobGathering))
		if err != nil || n == 0 { // undone meanwhile
			return err
		}
		return f.begun(ctx, tx, r, owners)
	})
}

// filtered are the devices of a job's filter within the scope of who made it.
func (f *Fleet) filtered(ctx context.Context, r jobRow) (ids []string, owners map[string]int64, err error) {
	caller := access.System("jobs")
	var filter Filter
	if err := errors.Join(json.Unmarshal([]byte(r.filter), &filter), json.Unmarshal([]byte(r.scope), &caller.Owners)); err != nil {
		return nil, nil, fmt.Errorf("reading what it is about: %w", err)
	}
	if r.act == ActLoud {
		filter = Filter{}
	}
	if filter, err = f.lookUp(ctx, caller, filter); err != nil {
		return nil, nil, err
	}
	err = f.db.Read(ctx, func(tx *db.Tx) error {
		ids, owners = nil, map[string]int64{}
		q := f.query(caller, filter)
		if r.act == ActLoud {
			q.where("d.id IN (SELECT device_id FROM health_quiet_devices WHERE quiet_id = ?)", r.quiet)
		}
		q.state(filter.State)
		from := "devices d"
		if q.byState {
			from += " LEFT JOIN health_devices h ON h.device_id = d.id"
		} else {
			q.unstated()
		}
		var all []string
		ownerOf := map[string]string{}
		rows, err := tx.Query(ctx, `SELECT d.id, d.owner_id FROM `+from+q.whereSQL()+` ORDER BY d.label_key, d.id`, q.args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id, owner string
			if err := rows.Scan(&id, &owner); err != nil {
				return err
			}
			all = append(all, id)
			ownerOf[id] = owner
		}
		if err := rows.Close(); err != nil {
			return err
		}
		ids = filter.updated.only(all)
		for _, id := range ids {
			owners[ownerOf[id]]++
		}
		return nil
	})
	return ids, owners, err
}

// gathered writes down devices behind number after.
func gathered(ctx context.Context, tx *db.Tx, r jobRow, after int64, ids []string) error {
	values := make([]string, len(ids))
	args := []any{r.id, after}
	for i, id := range ids {
		values[i] = fmt.Sprintf("($1, $2 + %d, $%d, 0, '', 0)", i+1, i+3)
		args = append(args, id)
	}
	_, err := tx.Exec(ctx, `INSERT INTO job_devices (job_id, seq, device_id, outcome, before, undo) VALUES `+strings.Join(values, ", "), args...)
	return err
}

// forward works off the next devices.
func (f *Fleet) forward(ctx context.Context, r jobRow) error {
	pace := f.paceOf(r.act)
	to := min(r.done+pace.devices, r.total)
	var quiet []string // now
	err := f.paced(ctx, pace, func(tx *db.Tx) error {
		quiet = nil
		// The guard against an undo meanwhile.
		n, err := tx.Exec(ctx, `UPDATE jobs SET done = $3 WHERE id = $1 AND done = $2 AND state = $4`, r.id, r.done, to, string(JobRunning))
		if err != nil || n == 0 {
			return err
		}
		switch r.act {
		case ActSchool:
			err = move(ctx, tx, r, r.done, to)
		case ActQuiet, ActLoud:
			quiet, err = f.quieten(ctx, tx, r, r.done, to)
		default:
			err = relabel(ctx, tx, r, r.done, to)
		}
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE jobs SET changed = jobs.changed + t.changed, same = jobs.same + t.same, skipped = jobs.skipped + t.skipped
			FROM (SELECT count(CASE WHEN outcome = 1 THEN 1 END) AS changed, count(CASE WHEN outcome = 2 THEN 1 END) AS same, count(CASE WHEN outcome = 3 THEN 1 END) AS skipped
				FROM job_devices WHERE job_id = $1 AND seq > $2 AND seq <= $3) t WHERE id = $1`, r.id, r.done, to)
		return err
	})
	if err == nil && r.act.quiets() {
		f.quieter.Told(quiet)
	}
	return err
}

// paceOf is the pace of an act; f.running is held.
func (f *Fleet) paceOf(act Act) *pace {
	if f.paces[act] == nil {
		f.paces[act] = &pace{firstPace[act]}
	}
	return f.paces[act]
}

// each calls f with each row of a query.
func each(ctx context.Context, tx *db.Tx, f func(*db.Rows) error, query string, args ...any) error {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return rows.Close()
}

// back puts back what the next devices had before.
func (f *Fleet) back(ctx context.Context, r jobRow) error {
	pace := f.paceOf(r.act)
	to := min(r.undone+pace.devices, r.done)
	var loud []string // again
	err := f.paced(ctx, pace, func(tx *db.Tx) error {
		loud = nil
		n, err := tx.Exec(ctx, `UPDATE jobs SET undone = $3 WHERE id = $1 AND undone = $2 AND state = $4`, r.id, r.undone, to, string(JobUndoing))
		if err != nil || n == 0 {
			return err
		}
		switch r.act {
		case ActSchool:
			err = moveBack(ctx, tx, r, r.undone, to)
		case ActQuiet, ActLoud:
			loud, err = f.quietenBack(ctx, tx, r, r.undone, to)
		default:
			err = relabelBack(ctx, tx, r, r.undone, to)
		}
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE jobs SET restored = jobs.restored + t.restored, kept = jobs.kept + t.kept
			FROM (SELECT count(CASE WHEN undo = 1 THEN 1 END) AS restored, count(CASE WHEN undo = 2 THEN 1 END) AS kept
				FROM job_devices WHERE job_id = $1 AND seq > $2 AND seq <= $3) t WHERE id = $1`, r.id, r.undone, to)
		return err
	})
	if err == nil && r.act.quiets() {
		f.quieter.Told(loud)
	}
	return err
}

// undoOf names the undoing of a job where the job itself would be named.
func undoOf(job string) string { return job + "/undo" }

// finish ends a job that has come through, and audits what became of it.
func (f *Fleet) finish(ctx context.Context, r jobRow) error {
	state, action, actor := JobDone, "job.finished", r.actor
	if r.state == JobUndoing {
		state, action, actor = JobUndone, "job.undone", r.undoneBy
	}
	var owners map[string]map[string]string
	err := f.db.Read(ctx, func(tx *db.Tx) (err error) {
		owners, err = sumsByOwner(ctx, tx, r)
		return err
	})
	if err != nil {
		return err
	}
	return f.db.Write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `UPDATE jobs SET state = $3, ended_ms = $4 WHERE id = $1 AND state = $2 AND ended_ms IS NULL`, r.id, string(r.state), string(state), f.now().UnixMilli())
		if err != nil || n == 0 {
			return err
		}
		for owner, details := range owners {
			if err := f.auditJob(ctx, tx, r, actor, action, owner, maps.Clone(details)); err != nil {
				return err
			}
		}
		return nil
	})
}

// sumsByOwner is what became of a job's devices, for the record.
func sumsByOwner(ctx context.Context, tx *db.Tx, r jobRow) (map[string]map[string]string, error) {
	rows, err := tx.Query(ctx, `SELECT d.owner_id, j.outcome, j.undo, count(*) FROM job_devices j JOIN devices d ON d.id = j.device_id
		WHERE j.job_id = $1 GROUP BY d.owner_id, j.outcome, j.undo`, r.id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	owners := map[string]map[string]string{}
	for rows.Next() {
		var owner string
		var outcome, undo, n int64
		if err := rows.Scan(&owner, &outcome, &undo, &n); err != nil {
			return nil, err
		}
		if owners[owner] == nil {
			owners[owner] = map[string]string{}
		}
		owners[owner][string(outcomeOf(outcome, undo))] = fmt.Sprint(n)
	}
	return owners, rows.Close()
}

// sweepJobs deletes jobs that ended long ago, some rows in each transaction.
func (f *Fleet) sweepJobs(ctx context.Context) error {
	before := f.now().Add(-keepJobs).UnixMilli()
	for {
		var n int64
		err := f.db.Write(ctx, func(tx *db.Tx) (err error) {
			n, err = tx.Exec(ctx, `DELETE FROM job_devices WHERE (job_id, seq) IN (SELECT d.job_id, d.seq FROM job_devices d
				JOIN jobs j ON j.id = d.job_id WHERE j.ended_ms < $1 LIMIT $2)`, before, int64(sweepStep))
			if err != nil || n > 0 {
				return err
			}
			if _, err = tx.Exec(ctx, `DELETE FROM job_owners WHERE job_id IN (SELECT id FROM jobs WHERE ended_ms < $1)`, before); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `DELETE FROM jobs WHERE ended_ms < $1`, before)
			return err
		})
		if err != nil || n == 0 {
			return err
		}
	}
}
