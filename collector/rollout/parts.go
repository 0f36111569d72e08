package rollout

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/rollout/gate"
	"hausmeister/proto/reading"
)

// Parts of the fleet that a rollout leaves out: those of a model, a build, an antivirus or
// an owner. The gate blocks one by itself, and people do; its devices are offered nothing,
// and what they did is weighed no more.

// Block leaves a part of the fleet out of a rollout, or lets it in again; the latter is
// ErrPerson for a program. What the gate has seen against the release stays.
func (r *Rollouts) Block(ctx context.Context, caller access.Caller, id string, s gate.Stratum, blocked bool, reason string) error {
	if err := everywhere(caller); err != nil {
		return err // before anything is said of what was asked
	}
	verb := "part_blocked"
	if !blocked {
		verb = "part_freed"
	}
	if strata[s.Dimension] == "" {
		return &InvalidError{"dimension", "want one of " + strings.Join(gate.Dimensions, ", ")}
	}
	if !reading.Printable(s.Value, maxReason) {
		return &InvalidError{"value", fmt.Sprintf("want printable text of at most %d bytes", maxReason)}
	}
	return r.verb(ctx, caller, id, verb, reason, func(tx *db.Tx, o *row) error {
		if !o.ended.IsZero() {
			return fmt.Errorf("%w: it is over", ErrState)
		}
		if !blocked && caller.Kind != access.KindUser { // as with Resume
			return ErrPerson
		}
		news := blocked && !o.evidence.IsBlocked([]gate.Stratum{s})
		if news {
			if n, err := o.holds(ctx, tx, s); err != nil {
				return err
			} else if n == 0 {
				return &InvalidError{"value", "no device of this rollout has it"}
			}
		}
		if news {
			if err := o.leaveOut(ctx, tx, s, func(inRing gate.Tally) { o.evidence.Block(s, inRing) }); err != nil {
				return err
			}
		}
		if !blocked {
			if err := o.letIn(ctx, tx, s); err != nil {
				return err
			}
		}
		return o.save(ctx, tx, true)
	})
}

// holds is how many devices of a rollout a part has; before they have their places,
// how many of the fleet.
func (o *row) holds(ctx context.Context, tx *db.Tx, s gate.Stratum) (n int64, err error) {
	if o.placed {
		err = tx.QueryRow(ctx, `SELECT COUNT(*) FROM rollout_members WHERE rollout_id = $1 AND `+strata[s.Dimension]+` = $2`, o.id, s.Value).Scan(&n)
		return n, err
	}
	err = tx.QueryRow(ctx, `SELECT COUNT(*) FROM (`+spotSQL+ofChannel(o.channel, "$2")+`) f WHERE f.`+strata[s.Dimension]+` = $1`, s.Value, o.channel).Scan(&n)
	return n, err
}

// leaveOut blocks a part, which is told how many outcomes of it the present ring has,
// takes its leases, and what its devices did out of the other parts that they are in.
func (o *row) leaveOut(ctx context.Context, tx *db.Tx, s gate.Stratum, block func(inRing gate.Tally)) error {
	if err := revoke(ctx, tx, `rollout_id = $1 AND `+strata[s.Dimension]+` = $2`, o.id, s.Value); err != nil {
		return err
	}
	did, err := o.did(ctx, tx, s)
	if err != nil {
		return err
	}
	var inRing gate.Tally
	for _, d := range did {
		inRing = inRing.Plus(d.inRing)
	}
	block(inRing)
	for _, d := range did {
		o.evidence.Without(d.strata, d.all)
	}
	return nil
}

// letIn takes leaveOut back: what its devices did counts again, since none of them does it
// a second time, and the ring would wait for it.
func (o *row) letIn(ctx context.Context, tx *db.Tx, s gate.Stratum) error {
	if !o.evidence.IsBlocked([]gate.Stratum{s}) {
		return nil
	}
	did, err := o.did(ctx, tx, s)
	if err != nil {
		return err
	}
	o.evidence.Free(s)
	for _, d := range did {
		o.evidence.With(d.strata, d.all, d.inRing)
	}
	return nil
}

// deeds is what devices did that are in the same parts: in all, and in the present ring.
type deeds struct {
	strata      []gate.Stratum
	all, inRing gate.Tally
}

// did is what the devices of a part did, without those that another part which is left out
// has as well.
func (o *row) did(ctx context.Context, tx *db.Tx, s gate.Stratum) (out []deeds, err error) {
	others, args := "", []any{o.id, s.Value, int64(o.ring)}
	for _, other := range o.evidence.Blocked() {
		if other != s {
			args = append(args, other.Value)
			others += ` AND ` + strata[other.Dimension] + ` <> $` + strconv.Itoa(len(args))
		}
	}
	rows, err := tx.Query(ctx, `SELECT model, os_build, antivirus, owner_id, SUM(CASE WHEN outcome = 1 THEN 1 ELSE 0 END), SUM(CASE WHEN outcome = 2 THEN 1 ELSE 0 END),
		SUM(CASE WHEN outcome = 1 AND ring = $3 THEN 1 ELSE 0 END), SUM(CASE WHEN outcome = 2 AND ring = $3 THEN 1 ELSE 0 END)
		FROM rollout_members WHERE rollout_id = $1 AND outcome <> 0 AND `+strata[s.Dimension]+` = $2`+others+` GROUP BY model, os_build, antivirus, owner_id`, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var m member
		var d deeds
		if err := rows.Scan(&m.model, &m.build, &m.antivirus, &m.owner, &d.all.OK, &d.all.Bad, &d.inRing.OK, &d.inRing.Bad); err != nil {
			return nil, err
		}
		d.strata = m.strata()
		out = append(out, d)
	}
	return out, rows.Close()
}

// strata are the dimensions of package gate, and the columns that hold them.
var strata = map[string]string{"model": "model", "os_build": "os_build", "antivirus": "antivirus", "owner": "owner_id"}

// blockedSQL is the condition of members m that are in a blocked part; a view joined to
// them has columns of these names too.
func blockedSQL(o *row, next int) (string, []any) {
	where, args := "1 = 0", []any{}
	for _, s := range o.evidence.Blocked() {
		where += ` OR m.` + strata[s.Dimension] + ` = $` + strconv.Itoa(next+len(args))
		args = append(args, s.Value)
	}
	return `(` + where + `)`, args
}
