package rollout

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/collector/rollout/gate"
	"hausmeister/proto/ident"
	"hausmeister/proto/manifest"
	"hausmeister/proto/reading"
)

// What persons say to rollouts. Each verb has a reason, is authorised and audited in
// its own transaction, and concerns all owners.

const minReason, maxReason = 5, 200

// Unsaid is the reason of who stops at once, and may say later why: see Note.
const Unsaid = "not said yet"

func reasonOf(reason string) (string, error) {
	reason = strings.TrimSpace(reason)
	if !strings.ContainsFunc(reason, unicode.IsLetter) || len(reason) < minReason || !reading.Printable(reason, maxReason) {
		return "", ErrReason
	}
	return reason, nil
}

// releaser says whether the caller can be one of two persons: signed in, with the role
// for it. A program is none, since nobody knows whose it is; nor is the operator at the
// socket, where several may be the same.
func releaser(caller access.Caller) bool {
	return caller.Kind == access.KindUser && caller.Role == access.RoleRelease
}

// second says whether the caller may be the second of two persons, which is not the
// first.
func second(caller access.Caller, first string) error {
	if !releaser(caller) || caller.Actor() == first {
		return ErrSecond
	}
	return nil
}

// personal says whether an actor is a person, and not a program.
func personal(actor string) bool { return strings.HasPrefix(actor, string(access.KindUser)+":") }

// Start begins to take a release over the fleet. An urgent one waits for a second
// person; one that is on its way already, gone or blocked is ErrState. What was stopped,
// and then ended, a person begins anew: of a program that is ErrPerson.
func (r *Rollouts) Start(ctx context.Context, caller access.Caller, release, reason string) (string, error) {
	return r.start(ctx, caller, release, reason, "")
}

// RollBack starts the rollout of a release that is signed as the way back from this
// one, and aborts this one.
func (r *Rollouts) RollBack(ctx context.Context, caller access.Caller, id, release, reason string) (string, error) {
	return r.start(ctx, caller, release, reason, id)
}

func (r *Rollouts) start(ctx context.Context, caller access.Caller, release, reason, back string) (id string, err error) {
	if err := everywhere(caller); err != nil {
		return "", err
	}
	if reason, err = reasonOf(reason); err != nil {
		return "", err
	}
	now := r.now()
	err = r.db.Write(ctx, func(tx *db.Tx) error {
		id = ident.NewID(now)
		var gone, blocked int64
		var urgent int64
		var product, channel, version, rollbackOf string
		err := tx.QueryRow(ctx, `SELECT product, channel, version, urgent, rollback_of, COALESCE(gone_ms, 0), COALESCE(blocked_ms, 0) FROM rollout_releases WHERE id = $1`, release).
			Scan(&product, &channel, &version, &urgent, &rollbackOf, &gone, &blocked)
		switch {
		case errors.Is(err, db.ErrNoRows):
			return access.ErrNotFound
		case err != nil:
			return err
		case gone+blocked > 0:
			return fmt.Errorf("%w: the release is blocked, or signed no longer", ErrState)
		case product != manifest.ProductAgent:
			return fmt.Errorf("%w: devices take the %s by themselves, at its signed pace", ErrState, product)
		}
		if back != "" {
			if err := r.leaveBehind(ctx, tx, caller, back, product, channel, rollbackOf, reason); err != nil {
				return err
			}
		}
		if err := r.makeWay(ctx, tx, release, rollbackOf); err != nil {
			return err
		}
		if err := passed(ctx, tx, product, channel, version, rollbackOf); err != nil {
			return err
		}
		if err := anew(ctx, tx, caller, release); err != nil {
			return err
		}
		fleet, err := fleetSize(ctx, tx)
		if err != nil {
			return err
		}
		rings, err := json.Marshal(r.cfg.Pace.steps(fleet))
		if err != nil {
			return err
		}
		state := Placing
		if urgent == 1 {
			state = Waiting
		}
		_, err = tx.Exec(ctx, `INSERT INTO rollouts (id, release_id, state, ring, rings, entered_ms, evidence, counts, control_bad, controls, placed, started_ms, started_by, started_name, approved_by, approved_name, cause, revision, rollback_of)
			VALUES ($1, $2, $3, 0, $4, $5, '{}', '[]', 0, 0, 0, $5, $6, $7, '', '', '', 1, $8)`, id, release, string(state), string(rings), now.UnixMilli(), caller.Actor(), caller.Name, rollbackOf)
		if err != nil {
			return err
		}
		o, err := readRow(ctx, tx, id)
		if err != nil {
			return err
		}
		if releaser(caller) {
			if err := request(ctx, tx, &o, "approve", 0, caller, now); err != nil {
				return err
			}
		}
		return r.decide(ctx, tx, caller, &o, "started", reason)
	})
	if err != nil {
		return "", fmt.Errorf("starting a rollout: %w", err)
	}
	r.tell()
	return id, nil
}

// makeWay ends what is on its way with a release that begins now, and was signed as the
// way back from something else then, or as none: both would bring the same program, each to
// devices of its own. What was signed as it is now is on its way already.
func (r *Rollouts) makeWay(ctx context.Context, tx *db.Tx, release, rollbackOf string) error {
	open, err := readRows(ctx, tx, `o.release_id = $1 AND o.ended_ms IS NULL`, release)
	if err != nil {
		return err
	}
	for i := range open {
		o := &open[i]
		if o.rollbackOf == rollbackOf {
			return fmt.Errorf("%w: this release is on its way already", ErrState)
		}
		to := Aborted
		if o.state == Done {
			to = Replaced
		}
		if err := o.turn(ctx, tx, to, r.now()); err != nil {
			return err
		}
		if err := r.decide(ctx, tx, access.System("rollouts"), o, string(to), ""); err != nil {
			return err
		}
	}
	return nil
}

// anew says whether the caller may begin a release whose last rollout was ended while it
// was halted, or left parts out, however it ended: the new one knows nothing of either, so
// that this is as Resume, and as letting the parts in again.
func anew(ctx context.Context, tx *db.Tx, caller access.Caller, release string) error {
	if caller.Kind == access.KindUser {
		return nil
	}
	last, err := readRows(ctx, tx, `o.release_id = $1 ORDER BY o.started_ms DESC, o.id DESC LIMIT 1`, release)
	if err != nil || len(last) == 0 {
		return err
	}
	if o := &last[0]; o.state.over() && (o.cause != "" || len(o.evidence.Blocked()) > 0) {
		return ErrPerson
	}
	return nil
}

// leaveBehind aborts what a signed way back leads away from.
func (r *Rollouts) leaveBehind(ctx context.Context, tx *db.Tx, caller access.Caller, id, product, channel, rollbackOf, reason string) error {
	o, err := readRow(ctx, tx, id)
	if err != nil {
		return err
	}
	if rollbackOf == "" || rollbackOf != o.version || product != o.product || channel != o.channel {
		return &InvalidError{"release", "it is not signed as the way back from " + o.version}
	}
	if o.ended.IsZero() {
		if err := o.turn(ctx, tx, Aborted, r.now()); err != nil {
			return err
		}
	}
	return r.decide(ctx, tx, caller, &o, "rolled_back", reason)
}

// verb is what the verbs of one rollout have in common.
func (r *Rollouts) verb(ctx context.Context, caller access.Caller, id, verb, reason string, act func(tx *db.Tx, o *row) error) (err error) {
	if err := everywhere(caller); err != nil {
		return err
	}
	if reason, err = reasonOf(reason); err != nil {
		return err
	}
	err = r.db.Write(ctx, func(tx *db.Tx) error {
		o, err := readRow(ctx, tx, id)
		if err != nil {
			return err
		}
		known := shown(&o, r.cfg.Pace)
		if err := act(tx, &o); err != nil {
			return err
		}
		return r.decided(ctx, tx, caller, &o, verb, reason, known)
	})
	if err != nil {
		return fmt.Errorf("rollout %s: %w", verb, err)
	}
	r.tell()
	return nil
}

// Pause stops that devices begin. What is armed goes on.
func (r *Rollouts) Pause(ctx context.Context, caller access.Caller, id, reason string) error {
	return r.verb(ctx, caller, id, "paused", reason, func(tx *db.Tx, o *row) error { return o.turn(ctx, tx, Paused, r.now()) })
}

// Resume goes on after a pause, or after a halt of the gate. The evidence stays, but a
// halt's alarm is taken back half, who was lost is looked for no more, and tickets that
// halted it are not counted again: the person knows something that the gate does not. A
// program knows nothing, and would say it each time: of it a halt's end is ErrPerson. Of a
// release that has a newer one by now it is ErrOlder.
func (r *Rollouts) Resume(ctx context.Context, caller access.Caller, id, reason string) error {
	return r.verb(ctx, caller, id, "resumed", reason, func(tx *db.Tx, o *row) error {
		if o.state != Paused && o.state != Halted {
			return fmt.Errorf("%w: it is %s", ErrState, o.state)
		}
		if o.state == Halted && caller.Kind != access.KindUser {
			return ErrPerson
		}
		if o.gone || o.blocked {
			return fmt.Errorf("%w: the release is blocked, or signed no longer", ErrState)
		}
		if err := passed(ctx, tx, o.product, o.channel, o.version, o.rollbackOf); err != nil {
			return err
		}
		to := Running
		if !o.placed {
			to = Placing
		}
		if o.state == Halted {
			o.evidence.Resume(o.params(r.cfg.Pace))
		}
		if o.cause == gate.CauseLost {
			o.excused = r.now()
		}
		o.entered, o.silent = r.now(), time.Time{} // what was before the stop is no soak
		return o.turn(ctx, tx, to, r.now())
	})
}

// Abort ends it for good.
func (r *Rollouts) Abort(ctx context.Context, caller access.Caller, id, reason string) error {
	return r.verb(ctx, caller, id, "aborted", reason, func(tx *db.Tx, o *row) error { return o.turn(ctx, tx, Aborted, r.now()) })
}

// Approve is the second person's word: an urgent rollout begins, and rings of more
// than 10 % of the fleet come by themselves when the gate finds them due. Where no
// person of the role began it, two must approve: the first word only stands.
func (r *Rollouts) Approve(ctx context.Context, caller access.Caller, id, reason string) error {
	if err := everywhere(caller); err != nil {
		return err
	}
	first := false
	err := r.db.Read(ctx, func(tx *db.Tx) error {
		o, err := readRow(ctx, tx, id)
		if err != nil {
			return err
		}
		who, _, err := firstPerson(ctx, tx, &o)
		first = who == ""
		return err
	})
	if err != nil {
		return fmt.Errorf("rollout approved: %w", err)
	}
	verb := "approved"
	if first {
		verb = "approval_first"
	}
	return r.verb(ctx, caller, id, verb, reason, func(tx *db.Tx, o *row) error {
		who, _, err := firstPerson(ctx, tx, o)
		if err != nil {
			return err
		}
		if err := second(caller, who); err != nil {
			return err
		}
		if !o.ended.IsZero() || o.approved() || first != (who == "") {
			return fmt.Errorf("%w: it is approved, or over", ErrState)
		}
		if o.gone || o.blocked {
			return fmt.Errorf("%w: the release is blocked, or signed no longer", ErrState)
		}
		if first {
			return request(ctx, tx, o, "approve", 0, caller, r.now())
		}
		if o.state == Waiting {
			if err := passed(ctx, tx, o.product, o.channel, o.version, o.rollbackOf); err != nil {
				return err
			}
		}
		o.approvedBy, o.approvedName = caller.Actor(), caller.Name
		if o.state == Waiting {
			o.entered = r.now()
			return o.turn(ctx, tx, Placing, r.now())
		}
		return o.save(ctx, tx, true)
	})
}

// Note adds to the decisions what became known later: why somebody stopped at once.
func (r *Rollouts) Note(ctx context.Context, caller access.Caller, id, reason string) error {
	return r.verb(ctx, caller, id, "noted", reason, func(*db.Tx, *row) error { return nil })
}

// Promotion says what a promotion did or would do.
type Promotion struct {
	Ring     int    // from 1
	Devices  int64  // that rings up to it hold
	Adds     int64  // devices
	Waiting  bool   // for a second person; nothing changed
	Wide     bool   // it takes two persons
	May      bool   // the caller can be one of them, or none is needed
	Asked    string // who asked for it first, where two persons are needed
	Evidence Evidence
}

// Preview tells what Promote would do, and that by how many devices.
func (r *Rollouts) Preview(ctx context.Context, caller access.Caller, id string) (p Promotion, err error) {
	if err := caller.Allow(access.ReadRollouts); err != nil {
		return p, err
	}
	err = r.db.Read(ctx, func(tx *db.Tx) error {
		o, err := readRow(ctx, tx, id)
		if err != nil {
			return err
		}
		if p, err = r.promotion(ctx, tx, &o); err != nil || !p.Wide {
			p.May = true
			return err
		}
		p.May = releaser(caller)
		var first string
		first, p.Asked, err = asked(ctx, tx, &o, "promote", o.ring)
		p.Waiting = first == "" || second(caller, first) != nil
		return err
	})
	if err != nil {
		return Promotion{}, fmt.Errorf("looking at the next ring: %w", err)
	}
	return p, nil
}

func (r *Rollouts) promotion(ctx context.Context, tx *db.Tx, o *row) (Promotion, error) {
	if o.state != Running || o.ring+1 >= len(o.rings) {
		return Promotion{}, fmt.Errorf("%w: there is no next ring", ErrState)
	}
	counted, err := r.counted(ctx, tx, o)
	if err != nil {
		return Promotion{}, err
	}
	next := counted.Rings[o.ring+1]
	return Promotion{Ring: o.ring + 2, Devices: next.Devices, Adds: next.Adds, Wide: next.Wide, Evidence: shown(o, r.cfg.Pace)}, nil
}

// Promote goes on to the next ring before the gate finds it due. Above 10 % of the
// fleet it needs two persons: the first only asks (Waiting), the second promotes.
func (r *Rollouts) Promote(ctx context.Context, caller access.Caller, id, reason string) (Promotion, error) {
	return r.PromoteTo(ctx, caller, id, 0, reason)
}

// PromoteTo is Promote of whoever has looked at a ring: where another one is the next
// meanwhile, it is ErrState. 0 = whichever comes next.
func (r *Rollouts) PromoteTo(ctx context.Context, caller access.Caller, id string, ring int, reason string) (p Promotion, err error) {
	if err := everywhere(caller); err != nil {
		return p, err
	}
	if reason, err = reasonOf(reason); err != nil {
		return p, err
	}
	err = r.db.Write(ctx, func(tx *db.Tx) error {
		o, err := readRow(ctx, tx, id)
		if err != nil {
			return err
		}
		if p, err = r.promotion(ctx, tx, &o); err != nil {
			return err
		}
		if ring != 0 && ring != p.Ring {
			return fmt.Errorf("%w: ring %d is the next", ErrState, p.Ring)
		}
		if o.rings[o.ring+1].Wide {
			if p.Waiting, err = r.first(ctx, tx, caller, &o); err != nil {
				return err
			}
			if p.Waiting {
				return r.decide(ctx, tx, caller, &o, "promotion_asked", reason)
			}
		}
		return r.enter(ctx, tx, caller, &o, "promoted", reason)
	})
	if err != nil {
		return Promotion{}, fmt.Errorf("promoting a rollout: %w", err)
	}
	r.tell()
	return p, nil
}

// asked is which person asked for something first that takes two, such as the ring after
// this one, and by which name; empty = nobody who may still.
func asked(ctx context.Context, tx *db.Tx, o *row, verb string, ring int) (actor, name string, err error) {
	err = tx.QueryRow(ctx, `SELECT q.actor, COALESCE((SELECT d.actor_name FROM rollout_decisions d WHERE d.rollout_id = q.rollout_id AND d.actor = q.actor AND d.actor_name <> ''
		ORDER BY d.at_ms DESC LIMIT 1), '') FROM rollout_requests q WHERE q.rollout_id = $1 AND q.verb = $2 AND q.ring = $3`, o.id, verb, int64(ring)).Scan(&actor, &name)
	if errors.Is(err, db.ErrNoRows) {
		err = nil
	}
	if err != nil || !personal(actor) { // an earlier version took programs
		return "", "", err
	}
	lost, err := access.Lost(ctx, tx, strings.TrimPrefix(actor, string(access.KindUser)+":"), access.RoleRelease)
	if err != nil || lost {
		return "", "", err
	}
	return actor, cmp.Or(name, actor), nil
}

// request notes that the caller is the first of two persons.
func request(ctx context.Context, tx *db.Tx, o *row, verb string, ring int, caller access.Caller, now time.Time) error {
	_, err := tx.Exec(ctx, `INSERT INTO rollout_requests (rollout_id, verb, ring, actor, at_ms) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (rollout_id, verb, ring) DO UPDATE SET actor = excluded.actor, at_ms = excluded.at_ms`, o.id, verb, int64(ring), caller.Actor(), now.UnixMilli())
	return err
}

// firstPerson is who began a rollout with the role for it, or approved what somebody
// else began.
func firstPerson(ctx context.Context, tx *db.Tx, o *row) (actor, name string, err error) {
	return asked(ctx, tx, o, "approve", 0)
}

// first notes who asks for a wide ring, unless another person did; true: it waits.
func (r *Rollouts) first(ctx context.Context, tx *db.Tx, caller access.Caller, o *row) (bool, error) {
	actor, _, err := asked(ctx, tx, o, "promote", o.ring)
	if err != nil {
		return false, err
	}
	if err := second(caller, actor); err != nil {
		return false, err
	}
	if actor != "" {
		return false, nil
	}
	return true, request(ctx, tx, o, "promote", o.ring, caller, r.now())
}

// enter goes to the next ring, whose evidence is counted from nothing; what is written
// down with it is that of the ring which was left for it.
func (r *Rollouts) enter(ctx context.Context, tx *db.Tx, caller access.Caller, o *row, verb, reason string) error {
	known := shown(o, r.cfg.Pace)
	o.ring++
	o.entered = r.now()
	had, err := o.ringTally(ctx, tx)
	if err != nil {
		return err
	}
	o.evidence.NextRing(had)
	if err := o.save(ctx, tx, true); err != nil {
		return err
	}
	return r.decided(ctx, tx, caller, o, verb, reason, known)
}

// BlockRelease takes a release off: nobody is offered it any more, by whichever
// rollout. (That devices refuse it must be signed, by hausmeister-release block.)
func (r *Rollouts) BlockRelease(ctx context.Context, caller access.Caller, release, reason string) (err error) {
	if err := everywhere(caller); err != nil {
		return err
	}
	if reason, err = reasonOf(reason); err != nil {
		return err
	}
	now := r.now()
	err = r.db.Write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `UPDATE rollout_releases SET blocked_ms = $2 WHERE id = $1 AND blocked_ms IS NULL`, release, now.UnixMilli())
		if err != nil {
			return err
		}
		if n == 0 {
			return access.ErrNotFound
		}
		if err := audit.Append(ctx, tx, audit.Entry{AtMS: now.UnixMilli(), Actor: caller.Actor(), Action: "release.blocked", Subject: "release:" + release}); err != nil {
			return err
		}
		return r.haltGone(ctx, tx, caller, reason)
	})
	if err != nil {
		return fmt.Errorf("blocking a release: %w", err)
	}
	r.tell()
	return nil
}

// haltGone halts what is on its way and may be installed no longer.
func (r *Rollouts) haltGone(ctx context.Context, tx *db.Tx, caller access.Caller, reason string) error {
	open, err := readRows(ctx, tx, `o.ended_ms IS NULL AND o.state IN ('running', 'done', 'paused') AND (r.gone_ms IS NOT NULL OR r.blocked_ms IS NOT NULL)`)
	if err != nil {
		return err
	}
	for _, o := range open {
		o.cause = gate.CauseRelease
		if err := o.turn(ctx, tx, Halted, r.now()); err != nil {
			return err
		}
		if err := r.decide(ctx, tx, caller, &o, "halted", reason); err != nil {
			return err
		}
	}
	return nil
}
