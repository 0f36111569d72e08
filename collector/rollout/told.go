package rollout

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/rollout/gate"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
)

// What devices tell of their updates comes with their reports, each entry once, in the
// transaction that stores it: evidence and cursor are one. What a device claims is
// believed of itself only; a device that lies can stop a rollout but not speed it up
// beyond its own one outcome.

// Told takes one step of a device's update. An agent that ends between its spool and its
// journal tells the same step again, as another entry; that one is dropped.
func (r *Rollouts) Told(ctx context.Context, tx *db.Tx, device string, u *hmpb.Update, atMS int64) error {
	if again, err := toldAgain(ctx, tx, device, u); err != nil || again {
		return err
	}
	if err := r.note(ctx, tx, device, u, atMS); err != nil {
		return err
	}
	o, m, ok, err := r.concerns(ctx, tx, device, u)
	if err != nil || !ok {
		return err
	}
	r.wake() // places may be free; Run looks again when this has been committed
	state, outcome := u.GetState(), outcomeOf(u)
	obeyed := state == hmpb.UpdateState_UPDATE_STATE_REFUSED && u.GetReason() == hmpb.UpdateReason_UPDATE_REASON_WITHDRAWN
	if obeyed && m.lease != "" && u.GetLease() != m.lease {
		return nil // it gave up what was withdrawn, and has another lease since
	}
	if m.outcome == outcomeBad || outcome == 0 {
		outcome = max(outcome, m.outcome) // bad stays, and what is no outcome changes none
	}
	told, reason, toldMS := state, u.GetReason(), atMS
	if m.outcome == outcomeBad && outcomeOf(u) == 0 {
		// That it refuses now what failed there is no news: why it failed stays. The
		// offer went out before the failure was told.
		told, reason, toldMS = m.told, m.reason, m.toldMS
	}
	flight, until, passed := int64(0), m.until, m.passed
	switch {
	case outcomeOf(u) != 0, state == hmpb.UpdateState_UPDATE_STATE_PRUNED:
	case obeyed:
		until = min(until, atMS) // it may have another as soon as there are any
	case state == hmpb.UpdateState_UPDATE_STATE_REFUSED:
		until, passed = atMS+r.cfg.Pace.Lease.Milliseconds(), true // not at once again
	case m.flight:
		flight = 1
	}
	lease := m.lease
	if flight == 0 {
		lease = ""
	}
	if m.granted == 0 && outcome != 0 { // it got the program by the rollout before
		o.counts[min(m.ring, len(o.counts)-1)].Reached++
		m.granted = atMS
	}
	_, err = tx.Exec(ctx, `UPDATE rollout_members SET told = $3, reason = $4, told_ms = $5, outcome = $6, flight = $7, lease = $8, until_ms = $9, passed = $10, granted_ms = $11 WHERE rollout_id = $1 AND device_id = $2`,
		o.id, device, int64(told), int64(reason), toldMS, outcome, flight, lease, until, passed, m.granted)
	if err == nil && outcomeOf(u) != 0 {
		err = landed(ctx, tx, &o, device)
	}
	if err != nil || outcome == m.outcome {
		return err
	}
	return r.weigh(ctx, tx, &o, m, outcome, signatureOf(u))
}

// landed frees the place that a device had kept in an earlier rollout of the same release,
// which was ended while the device was armed: it is under way no more.
func landed(ctx context.Context, tx *db.Tx, o *row, device string) error {
	_, err := tx.Exec(ctx, `UPDATE rollout_members SET flight = 0, lease = '' WHERE device_id = $1 AND rollout_id <> $2 AND flight = 1
		AND rollout_id IN (SELECT e.id FROM rollouts e WHERE e.release_id = $3 AND e.ended_ms IS NOT NULL)`, device, o.id, o.release)
	return err
}

// maxText bounds what a device says in words.
const maxText = 64

func cut(s string) string {
	if len(s) > maxText || !utf8.ValidString(s) || !db.Holds(s) {
		return ""
	}
	return s
}

// stepOf names a step: the same one of another lease or start of the program is another.
// Empty = it may be told any number of times: that a device waits, behind which the step
// before comes again when it goes on, and repairs, which belong to no lease.
func stepOf(u *hmpb.Update) string {
	if u.GetLease() == "" || u.GetState() == hmpb.UpdateState_UPDATE_STATE_WAITING {
		return ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %x %d %d %d", u.GetLease(), u.GetToSha256(), u.GetState(), u.GetReason(), u.GetStarts()))
	return hex.EncodeToString(sum[:16])
}

// toldAgain says whether it is the step that the device told last.
func toldAgain(ctx context.Context, tx *db.Tx, device string, u *hmpb.Update) (bool, error) {
	step, last := stepOf(u), ""
	if step == "" {
		return false, nil
	}
	err := tx.QueryRow(ctx, `SELECT step FROM rollout_devices WHERE device_id = $1`, device).Scan(&last)
	if errors.Is(err, db.ErrNoRows) {
		err = nil
	}
	return step == last, err
}

// note keeps what a device said last, whatever it is about.
func (r *Rollouts) note(ctx context.Context, tx *db.Tx, device string, u *hmpb.Update, atMS int64) error {
	repaired := int64(0)
	if u.GetLease() == "" && (u.GetReason() == hmpb.UpdateReason_UPDATE_REASON_QUARANTINED || u.GetReason() == hmpb.UpdateReason_UPDATE_REASON_DAMAGED) {
		repaired = atMS
	}
	_, err := tx.Exec(ctx, `INSERT INTO rollout_devices (device_id, told, reason, to_version, launcher, told_ms, repaired_ms, strange_ms, step) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8)
		ON CONFLICT (device_id) DO UPDATE SET step = excluded.step, told = excluded.told, reason = excluded.reason, to_version = excluded.to_version, launcher = excluded.launcher, told_ms = excluded.told_ms,
			repaired_ms = CASE WHEN excluded.repaired_ms > 0 THEN excluded.repaired_ms ELSE rollout_devices.repaired_ms END`,
		device, int64(u.GetState()), int64(u.GetReason()), cut(u.GetToVersion()), cut(u.GetLauncherVersion()), atMS, repaired, stepOf(u))
	return err
}

// concerns finds the rollout that an entry is about: that of the lease, or the latest
// of the program to which the device went, if it ever was granted one there. Where that
// one is over and the release goes out anew, an outcome is the new one's: what became of
// a device that got the program before speaks for it or against it, too.
func (r *Rollouts) concerns(ctx context.Context, tx *db.Tx, device string, u *hmpb.Update) (o row, m member, ok bool, err error) {
	if len(u.GetToSha256()) == 0 {
		return o, m, false, nil
	}
	var id string
	err = tx.QueryRow(ctx, `SELECT m.rollout_id FROM rollout_members m JOIN rollouts o ON o.id = m.rollout_id
		WHERE m.device_id = $1 AND o.release_id IN (SELECT t.release_id FROM rollout_targets t WHERE t.sha256 = $2 AND t.kind = 'program')
			AND (m.granted_ms > 0 OR $4 <> 0 AND o.ended_ms IS NULL AND EXISTS (SELECT 1 FROM rollout_members g JOIN rollouts e ON e.id = g.rollout_id
				WHERE g.device_id = m.device_id AND e.release_id = o.release_id AND e.ended_ms IS NOT NULL AND g.granted_ms > 0))
		ORDER BY CASE WHEN m.lease = $3 AND m.lease <> '' THEN 0 ELSE 1 END, CASE WHEN o.ended_ms IS NULL THEN 0 ELSE 1 END, o.started_ms DESC LIMIT 1`, device, hex.EncodeToString(u.GetToSha256()), cut(u.GetLease()), outcomeOf(u)).Scan(&id)
	if errors.Is(err, db.ErrNoRows) {
		return o, m, false, nil
	}
	if err != nil {
		return o, m, false, err
	}
	if o, err = readRow(ctx, tx, id); err != nil {
		return o, m, false, err
	}
	m, ok, err = readMember(ctx, tx, id, device)
	return o, m, ok, err
}

// outcomeOf says whether a step is an outcome. What a device refuses for reasons of
// its own, or of ours, says nothing about the program; that the program itself says it
// cannot run there does, and that a scanner takes it away.
func outcomeOf(u *hmpb.Update) int64 {
	if mended(u) {
		return outcomeBad
	}
	switch u.GetState() {
	case hmpb.UpdateState_UPDATE_STATE_COMMITTED:
		if u.GetReason() == hmpb.UpdateReason_UPDATE_REASON_UNSPECIFIED {
			return outcomeOK
		}
	case hmpb.UpdateState_UPDATE_STATE_ROLLED_BACK:
		if u.GetReason() != hmpb.UpdateReason_UPDATE_REASON_OPERATOR {
			return outcomeBad
		}
	case hmpb.UpdateState_UPDATE_STATE_REFUSED:
		switch u.GetReason() {
		case hmpb.UpdateReason_UPDATE_REASON_SELFTEST, hmpb.UpdateReason_UPDATE_REASON_QUARANTINED:
			return outcomeBad
		}
	}
	return 0
}

// mended says that the launcher had to restore the program: a scanner took it away, or
// what lay there was not what was released. It tells so in the state that the update is
// in; before the swap that is of the program before.
func mended(u *hmpb.Update) bool {
	switch u.GetReason() {
	case hmpb.UpdateReason_UPDATE_REASON_QUARANTINED, hmpb.UpdateReason_UPDATE_REASON_DAMAGED:
	default:
		return false
	}
	switch u.GetState() {
	case hmpb.UpdateState_UPDATE_STATE_SWAPPED, hmpb.UpdateState_UPDATE_STATE_TRIAL, hmpb.UpdateState_UPDATE_STATE_COMMITTED, hmpb.UpdateState_UPDATE_STATE_PRUNED:
		return true
	}
	return false
}

// signatureOf tells failures apart that the gate counts by kind.
func signatureOf(u *hmpb.Update) string {
	if s := cut(u.GetSignature()); s != "" {
		return s
	}
	switch u.GetReason() {
	case hmpb.UpdateReason_UPDATE_REASON_SELFTEST:
		return "selftest"
	case hmpb.UpdateReason_UPDATE_REASON_QUARANTINED:
		return "quarantined"
	}
	return ""
}

// weigh gives an outcome to the gate and does what it says.
func (r *Rollouts) weigh(ctx context.Context, tx *db.Tx, o *row, m member, outcome int64, signature string) error {
	count := &o.counts[min(m.ring, len(o.counts)-1)]
	if m.outcome == outcomeOK {
		count.OK--
	}
	if outcome == outcomeBad {
		count.Bad++
	} else {
		count.OK++
		if m.system != "" {
			if o.systems == nil {
				o.systems = map[string]int64{}
			}
			o.systems[m.system]++
		}
	}
	if o.state.over() {
		return o.save(ctx, tx, false) // told, and weighed no more
	}
	what := gate.Outcome{Bad: outcome == outcomeBad, Ring: m.ring, Now: o.ring, Strata: m.strata()}
	if what.Bad {
		what.Signature = signature
	}
	if m.outcome == outcomeOK {
		o.evidence.Turn(what)
	}
	params := o.params(r.cfg.Pace)
	verdict := o.evidence.Weigh(params, what)
	system := access.System("gate")
	switch verdict.Act {
	case gate.Block:
		s, known := verdict.Stratum, shown(o, r.cfg.Pace)
		if err := o.leaveOut(ctx, tx, s, func(inRing gate.Tally) { o.evidence.Blame(params, s, inRing) }); err != nil {
			return err
		}
		if err := o.save(ctx, tx, true); err != nil {
			return err
		}
		return r.decided(ctx, tx, system, o, "part_blocked", s.Dimension+": "+s.Value, known)
	case gate.Stop:
		return r.halt(ctx, tx, o, verdict.Cause)
	}
	return o.save(ctx, tx, false)
}

// halt stops a rollout by what the gate says, also one that is paused or placing: what is
// armed goes on, and whoever takes it further must know what came of it. One that is
// halted already stays so, and keeps the evidence.
func (r *Rollouts) halt(ctx context.Context, tx *db.Tx, o *row, cause gate.Cause) error {
	if !slices.Contains(ways[o.state], Halted) {
		return o.save(ctx, tx, false)
	}
	o.cause = cause
	if err := o.turn(ctx, tx, Halted, r.now()); err != nil {
		return err
	}
	return r.decide(ctx, tx, access.System("gate"), o, "halted", string(cause))
}

// strange says whether a device came with a program that says it is a version of ours
// and is not.
func strange(ctx context.Context, tx *db.Tx, h hello) (bool, error) {
	if h.hash == "" || !manifest.ValidVersion(h.version) {
		return false, nil
	}
	var same, known int64
	err := tx.QueryRow(ctx, `SELECT COUNT(*), COALESCE(SUM(CASE WHEN t.sha256 = $1 THEN 1 ELSE 0 END), 0) FROM rollout_targets t JOIN rollout_releases r ON r.id = t.release_id
		WHERE t.kind = 'program' AND r.product = 'agent' AND r.version = $2`, h.hash, h.version).Scan(&same, &known)
	return same > 0 && known == 0, err
}

// noteStrange keeps since when it is so; false = it changed and write is not set.
func (r *Rollouts) noteStrange(ctx context.Context, tx *db.Tx, device string, h hello, write bool) (bool, error) {
	is, err := strange(ctx, tx, h)
	if err != nil {
		return false, err
	}
	var since int64
	err = tx.QueryRow(ctx, `SELECT strange_ms FROM rollout_devices WHERE device_id = $1`, device).Scan(&since)
	if err != nil && !errors.Is(err, db.ErrNoRows) {
		return false, err
	}
	if is == (since > 0) {
		return true, nil
	}
	if !write {
		return false, nil
	}
	since = 0
	if is {
		since = r.now().UnixMilli()
	}
	_, err = tx.Exec(ctx, `INSERT INTO rollout_devices (device_id, told, reason, to_version, launcher, told_ms, repaired_ms, strange_ms) VALUES ($1, 0, 0, '', '', 0, 0, $2)
		ON CONFLICT (device_id) DO UPDATE SET strange_ms = excluded.strange_ms`, device, since)
	return true, err
}
