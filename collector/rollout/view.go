package rollout

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/rollout/gate"
)

// Rollout is one as pages and the API show it.
type Rollout struct {
	ID                        string
	Release                   string // id
	Product, Channel, Version string
	Urgent                    bool
	RollbackOf                string
	State                     State
	Cause                     gate.Cause // of halted
	Ring                      int        // from 1
	Rings                     []RingView
	Entered, Started, Ended   time.Time
	StartedBy, ApprovedBy     string // names
	NeedsSecond               bool   // it waits for a second person, or will before the next ring
	First                     string // of one rollout only: the first of two persons by name; empty = nobody of the role began it, and two must approve
	MayApprove                bool   // the caller can be that person
	Evidence                  Evidence
	InFlight, Cap             int64
	Decisions                 []Decision // of one rollout only, the latest first
}

// RingView is a ring of a rollout.
type RingView struct {
	Devices, Adds int64 // with a place in it and the rings before; in it
	Soak          time.Duration
	SchoolDay     bool
	Wide          bool
	Reached       int64 // devices that ever got a lease
	// These add up to Adds.
	OK, Bad  int64
	InFlight int64
	Had      int64     // have the version, and not by this rollout
	Silent   int64     // had a whole turn, and told of no end of it
	Open     int64     // none of these
	Wait     gate.Wait // of the present ring: what the gate waits for
	Need     int64     // of the present ring: outcomes that it must have
	Soaked   bool      // the present ring was watched for long enough
	Taught   bool      // and a morning of lessons lay in that, or need not
}

// Decision is what was decided, and what was known then.
type Decision struct {
	ID       string
	At       time.Time
	Verb     string
	Ring     int    // from 1
	By       string // a person's name, or the part that decided
	Actor    string // as the record calls him or it
	Reason   string
	Evidence Evidence
}

// List are the rollouts, the latest first, at most 100.
func (r *Rollouts) List(ctx context.Context, caller access.Caller) ([]Rollout, error) {
	return r.Page(ctx, caller, "", 100)
}

// Count says how many rollouts there are.
func (r *Rollouts) Count(ctx context.Context, caller access.Caller) (n int64, err error) {
	if err := caller.Allow(access.ReadRollouts); err != nil {
		return 0, err
	}
	err = r.db.Read(ctx, func(tx *db.Tx) error { return tx.QueryRow(ctx, `SELECT COUNT(*) FROM rollouts`).Scan(&n) })
	if err != nil {
		return 0, fmt.Errorf("counting rollouts: %w", err)
	}
	return n, nil
}

// Page are at most limit rollouts, the latest first, behind one of them; "" = from the
// latest on.
func (r *Rollouts) Page(ctx context.Context, caller access.Caller, after string, limit int) (out []Rollout, err error) {
	if err := caller.Allow(access.ReadRollouts); err != nil {
		return nil, err
	}
	err = r.db.Read(ctx, func(tx *db.Tx) error {
		out = nil
		where, args := `1 = 1`, []any{}
		if after != "" {
			last, err := readRow(ctx, tx, after)
			if err != nil {
				return err
			}
			where, args = `(o.started_ms, o.id) < ($1, $2)`, []any{last.started.UnixMilli(), after}
		}
		rows, err := readRows(ctx, tx, where+` ORDER BY o.started_ms DESC, o.id DESC LIMIT `+strconv.Itoa(max(1, min(limit, 500))), args...)
		if err != nil {
			return err
		}
		for i := range rows {
			v, err := r.view(ctx, tx, &rows[i])
			if err != nil {
				return err
			}
			out = append(out, v)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing rollouts: %w", err)
	}
	return out, nil
}

// Rollout is one with its decisions.
func (r *Rollouts) Rollout(ctx context.Context, caller access.Caller, id string) (out Rollout, err error) {
	if err := caller.Allow(access.ReadRollouts); err != nil {
		return Rollout{}, err
	}
	err = r.db.Read(ctx, func(tx *db.Tx) error {
		o, err := readRow(ctx, tx, id)
		if err != nil {
			return err
		}
		if out, err = r.view(ctx, tx, &o); err != nil {
			return err
		}
		first, name, err := firstPerson(ctx, tx, &o)
		if err != nil {
			return err
		}
		out.First = name
		out.MayApprove = out.NeedsSecond && everywhere(caller) == nil && second(caller, first) == nil
		out.Decisions, err = readDecisions(ctx, tx, id)
		return err
	})
	if err != nil {
		return Rollout{}, fmt.Errorf("reading a rollout: %w", err)
	}
	return out, nil
}

func (r *Rollouts) view(ctx context.Context, tx *db.Tx, o *row) (Rollout, error) {
	params := o.params(r.cfg.Pace)
	v := Rollout{ID: o.id, Release: o.release, Product: o.product, Channel: o.channel, Version: o.version, Urgent: o.urgent, RollbackOf: o.rollbackOf, State: o.state, Cause: o.cause,
		Ring: o.ring + 1, Entered: o.entered, Started: o.started, Ended: o.ended, StartedBy: o.startedName, ApprovedBy: o.approvedName, Evidence: shown(o, r.cfg.Pace), Cap: params.Cap(o.rings[o.ring].End)}
	if v.StartedBy == "" {
		v.StartedBy = o.startedBy
	}
	v.NeedsSecond = o.ended.IsZero() && !o.approved() && (o.state == Waiting || o.ring+1 < len(o.rings) && o.rings[o.ring+1].Wide)
	counted, err := r.counted(ctx, tx, o)
	if err != nil {
		return v, err
	}
	v.Rings, v.InFlight = counted.Rings, counted.InFlight
	v.Rings[o.ring].Soaked, v.Rings[o.ring].Taught = r.watched(o)
	if o.state == Running {
		ring, err := r.expects(ctx, tx, o)
		if err != nil {
			return v, err
		}
		open := int64(0)
		if o.ring == 0 {
			if open, err = r.openIn(ctx, tx, o); err != nil {
				return v, err
			}
		}
		v.Rings[o.ring].Wait, v.Rings[o.ring].Need = r.ready(o, ring, open)
	}
	return v, nil
}

// readFlights counts who is under way, by ring: here and not by the database, which
// would go through all members in the order of rings for it.
func readFlights(ctx context.Context, tx *db.Tx, id string, v *Rollout) error {
	rows, err := tx.Query(ctx, `SELECT ring FROM rollout_members WHERE rollout_id = $1 AND flight = 1`, id)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var ring int64
		if err := rows.Scan(&ring); err != nil {
			return err
		}
		if ring < int64(len(v.Rings)) {
			v.Rings[ring].InFlight++
			v.InFlight++
		}
	}
	return rows.Close()
}

func readDecisions(ctx context.Context, tx *db.Tx, id string) (out []Decision, err error) {
	rows, err := tx.Query(ctx, `SELECT id, at_ms, verb, ring, actor, actor_name, reason, evidence FROM rollout_decisions WHERE rollout_id = $1 ORDER BY at_ms DESC, id DESC LIMIT 500`, id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var d Decision
		var at, ring int64
		var evidence string
		if err := rows.Scan(&d.ID, &at, &d.Verb, &ring, &d.Actor, &d.By, &d.Reason, &evidence); err != nil {
			return nil, err
		}
		d.At, d.Ring = time.UnixMilli(at).UTC(), int(ring)+1
		if d.By == "" {
			d.By = d.Actor
		}
		if err := json.Unmarshal([]byte(evidence), &d.Evidence); err != nil {
			return nil, fmt.Errorf("evidence of decision %s: %w", d.ID, err)
		}
		out = append(out, d)
	}
	return out, rows.Close()
}

// endedHalt is when a halt of this cause was ended last; zero = none was. It is written
// down with what was known just before. One that lies ahead a clock dated that was wrong.
func endedHalt(ctx context.Context, tx *db.Tx, id string, cause gate.Cause, now time.Time) (time.Time, error) {
	rows, err := tx.Query(ctx, `SELECT at_ms, evidence FROM rollout_decisions WHERE rollout_id = $1 AND verb = 'resumed' AND at_ms <= $2 ORDER BY at_ms DESC`, id, now.UnixMilli())
	if err != nil {
		return time.Time{}, err
	}
	defer rows.Close()
	for rows.Next() {
		var at int64
		var evidence string
		if err := rows.Scan(&at, &evidence); err != nil {
			return time.Time{}, err
		}
		var known Evidence
		if err := json.Unmarshal([]byte(evidence), &known); err != nil {
			return time.Time{}, fmt.Errorf("evidence of a decision of rollout %s: %w", id, err)
		}
		if known.Cause == cause {
			return time.UnixMilli(at), nil
		}
	}
	return time.Time{}, rows.Close()
}
