package rollout

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/collector/rollout/gate"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
)

// State is where a rollout stands.
//
//	waiting --approve--> placing --all have a place--> running <--resume-- paused
//	                                                    |  |  \--pause------^         |
//	                                                    |  \--gate--> halted <--gate--/
//	                                                    |              \--resume--> running
//	                                                    \--all had their turn--> done --a newer one is done--> replaced
//	each but the last two --abort--> aborted
//
// What devices tell that an earlier rollout of the release had armed may halt one that is
// placing, too; who resumes it, or one that was paused then, lets it go on with placing. A
// rollout is replaced, or aborted, too when its release begins anew as a way back.
//
// Waiting is for the second person of an urgent one. Leases are granted in running, and
// in done to those who come late; they are gone in the transaction that leaves these.
type State string

const (
	Waiting  State = "waiting"
	Placing  State = "placing"
	Running  State = "running"
	Paused   State = "paused" // by somebody; what is armed may still halt it
	Halted   State = "halted" // by the gate
	Aborted  State = "aborted"
	Done     State = "done"
	Replaced State = "replaced"
)

// States are all of them.
var States = []State{Waiting, Placing, Running, Paused, Halted, Done, Replaced, Aborted}

// grants says whether devices may begin.
func (s State) grants() bool { return s == Running || s == Done }

// over says whether nothing comes any more.
func (s State) over() bool { return s == Aborted || s == Replaced }

// ways are the arrows of the drawing.
var ways = map[State][]State{
	Waiting: {Placing, Aborted},
	Placing: {Running, Paused, Halted, Aborted},
	Running: {Paused, Halted, Aborted, Done},
	Paused:  {Running, Placing, Halted, Aborted},
	Halted:  {Running, Placing, Aborted}, // a pause would let a program resume it
	Done:    {Paused, Halted, Aborted, Replaced},
}

// row is a rollout as the database has it.
type row struct {
	id, release               string
	state                     State
	ring                      int
	rings                     []step
	entered                   time.Time
	evidence                  gate.Evidence
	counts                    []ringCount
	controlBad, controls      int64
	systems                   map[string]int64 // devices of each that told of success, see room
	placed                    bool
	started                   time.Time
	startedBy, startedName    string
	approvedBy, approvedName  string
	ended                     time.Time
	silent                    time.Time // since when updated devices are silent; zero = they are not
	excused                   time.Time // who told of its update until then is not looked for, see Resume
	cause                     gate.Cause
	revision                  int64
	product, channel, version string
	urgent, gone, blocked     bool
	rollbackOf, floor         string
}

// ringCount is what became of the devices of a ring.
type ringCount struct {
	Reached int64 `json:"reached"` // ever got a lease
	OK      int64 `json:"ok"`
	Bad     int64 `json:"bad"`
	// As the rollout ended, see keepNumbers.
	Devices int64 `json:"devices,omitempty"`
	Had     int64 `json:"had,omitempty"`
}

const rowSQL = `SELECT o.id, o.release_id, o.state, o.ring, o.rings, o.entered_ms, o.evidence, o.counts, o.systems, o.control_bad, o.controls, o.placed, o.started_ms, o.started_by, o.started_name,
	o.approved_by, o.approved_name, COALESCE(o.ended_ms, 0), o.silent_ms, o.excused_ms, o.cause, o.revision, r.product, r.channel, r.version, r.urgent, o.rollback_of, r.floor,
	CASE WHEN r.gone_ms IS NULL THEN 0 ELSE 1 END, CASE WHEN r.blocked_ms IS NULL THEN 0 ELSE 1 END
	FROM rollouts o JOIN rollout_releases r ON r.id = o.release_id WHERE `

func readRows(ctx context.Context, tx *db.Tx, where string, args ...any) (out []row, err error) {
	rows, err := tx.Query(ctx, rowSQL+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var o row
		var state, rings, evidence, counts, systems, cause string
		var ring, entered, placed, started, ended, silent, excused, urgent, gone, blocked int64
		if err := rows.Scan(&o.id, &o.release, &state, &ring, &rings, &entered, &evidence, &counts, &systems, &o.controlBad, &o.controls, &placed, &started, &o.startedBy, &o.startedName,
			&o.approvedBy, &o.approvedName, &ended, &silent, &excused, &cause, &o.revision, &o.product, &o.channel, &o.version, &urgent, &o.rollbackOf, &o.floor, &gone, &blocked); err != nil {
			return nil, err
		}
		o.state, o.ring, o.entered, o.started, o.cause = State(state), int(ring), time.UnixMilli(entered).UTC(), time.UnixMilli(started).UTC(), gate.Cause(cause)
		o.placed, o.urgent, o.gone, o.blocked = placed == 1, urgent == 1, gone == 1, blocked == 1
		o.ended, o.silent, o.excused = timeOf(ended), timeOf(silent), timeOf(excused)
		if err := json.Unmarshal([]byte(rings), &o.rings); err != nil {
			return nil, fmt.Errorf("rings of rollout %s: %w", o.id, err)
		}
		if err := json.Unmarshal([]byte(evidence), &o.evidence); err != nil {
			return nil, fmt.Errorf("evidence of rollout %s: %w", o.id, err)
		}
		if err := json.Unmarshal([]byte(counts), &o.counts); err != nil {
			return nil, fmt.Errorf("counts of rollout %s: %w", o.id, err)
		}
		if err := json.Unmarshal([]byte(systems), &o.systems); err != nil {
			return nil, fmt.Errorf("systems of rollout %s: %w", o.id, err)
		}
		o.counts = append(o.counts, make([]ringCount, max(0, len(o.rings)-len(o.counts)))...)
		out = append(out, o)
	}
	return out, rows.Close()
}

func readRow(ctx context.Context, tx *db.Tx, id string) (row, error) {
	found, err := readRows(ctx, tx, `o.id = $1`, id)
	if err == nil && len(found) == 0 {
		err = access.ErrNotFound
	}
	if err != nil {
		return row{}, err
	}
	return found[0], nil
}

// approved says whether a second person did; an earlier version took a program's word.
func (o *row) approved() bool { return personal(o.approvedBy) }

func (o *row) params(p Pace) gate.Params { return p.Gate.Baseline(o.controlBad, o.controls) }

// save writes what a transaction changed of a rollout; news = devices may begin now,
// or may no longer.
func (o *row) save(ctx context.Context, tx *db.Tx, news bool) error {
	evidence, err := json.Marshal(o.evidence)
	if err != nil {
		return err
	}
	counts, err := json.Marshal(o.counts)
	if err != nil {
		return err
	}
	systems, err := json.Marshal(o.systems)
	if err != nil {
		return err
	}
	if news {
		o.revision++
	}
	var ended any
	if !o.ended.IsZero() {
		ended = msOf(o.ended)
	}
	_, err = tx.Exec(ctx, `UPDATE rollouts SET state = $2, ring = $3, entered_ms = $4, evidence = $5, approved_by = $6, approved_name = $7, ended_ms = $8, cause = $9, revision = $10,
		placed = $11, control_bad = $12, controls = $13, counts = $14, silent_ms = $15, excused_ms = $16, systems = $17 WHERE id = $1`,
		o.id, string(o.state), int64(o.ring), o.entered.UnixMilli(), string(evidence), o.approvedBy, o.approvedName, ended, string(o.cause), o.revision, o.placed, o.controlBad, o.controls, string(counts), msOf(o.silent), msOf(o.excused), string(systems))
	return err
}

// msOf is of a time that timeOf reads: zero stays zero.
func msOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// turn is the one way to another state. Who leaves running takes the leases with him
// that no device has acted on.
func (o *row) turn(ctx context.Context, tx *db.Tx, to State, now time.Time) error {
	if !slices.Contains(ways[o.state], to) {
		return fmt.Errorf("%w: it is %s", ErrState, o.state)
	}
	if (to == Running || to == Placing) && o.state != Running {
		o.cause = ""
	}
	from := o.state
	o.state = to
	if from.grants() && !to.grants() {
		if err := revoke(ctx, tx, `rollout_id = $1`, o.id); err != nil {
			return err
		}
	}
	if to.over() {
		o.ended = now
		if err := o.keepNumbers(ctx, tx); err != nil {
			return err
		}
	}
	return o.save(ctx, tx, true)
}

// From armed to trial a device changes its program whatever we say.
const (
	armed = int(hmpb.UpdateState_UPDATE_STATE_ARMED)
	trial = int(hmpb.UpdateState_UPDATE_STATE_TRIAL)
)

// revoke takes leases back that were not acted on. An update that is armed goes on,
// and what becomes of it counts.
func revoke(ctx context.Context, tx *db.Tx, where string, args ...any) error {
	_, err := tx.Exec(ctx, `UPDATE rollout_members SET lease = '', flight = CASE WHEN told BETWEEN `+strconv.Itoa(armed)+` AND `+strconv.Itoa(trial)+` THEN 1 ELSE 0 END WHERE `+where+` AND flight = 1`, args...)
	return err
}

// decide writes a decision down, with what is known, in record and in the rollout's
// own list.
func (r *Rollouts) decide(ctx context.Context, tx *db.Tx, caller access.Caller, o *row, verb, reason string) error {
	return r.decided(ctx, tx, caller, o, verb, reason, shown(o, r.cfg.Pace))
}

// decided is decide of what changed the evidence by itself: known is from before.
func (r *Rollouts) decided(ctx context.Context, tx *db.Tx, caller access.Caller, o *row, verb, reason string, known Evidence) error {
	evidence, err := json.Marshal(known)
	if err != nil {
		return err
	}
	// Each has a millisecond of its own, so that they stay in their order. One of a clock
	// that was far ahead dates none of those behind it.
	var last int64
	now := r.now()
	if err := tx.QueryRow(ctx, `SELECT COALESCE(MAX(at_ms), 0) FROM rollout_decisions WHERE rollout_id = $1 AND at_ms <= $2`, o.id, now.Add(aheadFor).UnixMilli()).Scan(&last); err != nil {
		return err
	}
	if now.UnixMilli() <= last {
		now = time.UnixMilli(last + 1)
	}
	_, err = tx.Exec(ctx, `INSERT INTO rollout_decisions (id, rollout_id, at_ms, verb, ring, actor, actor_name, reason, evidence) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		ident.NewID(now), o.id, now.UnixMilli(), verb, int64(o.ring), caller.Actor(), caller.Name, reason, string(evidence))
	if err != nil {
		return err
	}
	return audit.Append(ctx, tx, audit.Entry{AtMS: now.UnixMilli(), Actor: caller.Actor(), Action: "rollout." + verb, Subject: "rollout:" + o.id,
		Details: map[string]string{"release": o.product + " " + o.version, "ring": strconv.Itoa(o.ring + 1)}})
}

// Verbs are all by which decisions are called; the record has them behind "rollout.".
var Verbs = []string{"started", "began", "ring_entered", "promotion_asked", "promoted", "approval_first", "approved", "paused", "resumed", "halted", "aborted", "rolled_back", "noted", "part_blocked", "part_freed", "done", "replaced"}

// Evidence is what was known when something was decided.
type Evidence struct {
	OK, Bad         int64 // outcomes of what is not blocked
	Ring            int   // from 1, that the numbers below are of; 0 = an earlier version did not note it
	RingOK, RingBad int64
	Sum, Bound      float64 // of the cumulated log-likelihood; above the bound it stops
	Limit, Risk     float64 // the ring's limit of the rate, and the probability that it is above
	Doubt           float64 // below which that must be
	Blocked         []gate.Stratum
	Cause           gate.Cause
}

func shown(o *row, p Pace) Evidence {
	params := o.params(p)
	e := Evidence{Ring: o.ring + 1, OK: o.evidence.All.OK, Bad: o.evidence.All.Bad, RingOK: o.evidence.Ring.OK, RingBad: o.evidence.Ring.Bad, Sum: o.evidence.Sum, Bound: params.Bound,
		Limit: params.Limit(o.ring), Risk: o.evidence.Risk(params, o.ring), Doubt: params.Doubt, Blocked: o.evidence.Blocked(), Cause: o.cause}
	if e.OK+e.Bad > params.LateAfter {
		e.Bound = params.LateBound
	}
	return e
}

// wake tells Run that there is something to do.
func (r *Rollouts) wake() {
	select {
	case r.work <- struct{}{}:
	default:
	}
}

// tell lets the gateways ask anew.
func (r *Rollouts) tell() {
	r.bus.Publish(bus.Event{Kind: bus.Offers})
	r.wake()
}
