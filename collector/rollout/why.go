package rollout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
)

// DeviceState is how far a device is on its way to a version, and why no further.
type DeviceState struct {
	Device  string
	Version string // that it came with last; empty = unknown
	Why     Why
	Reason  hmpb.UpdateReason // of waits, refused, rolled_back and unfit
	Newer   bool              // it is unfit because its version is newer, for which devices have no word
	Ring    int               // from 1; 0 = it has none yet
	Day     time.Time         // of what it told last of the update; zero = nothing yet
}

// Because is the word for the reason: space, selftest, crashed; "" = none is known.
func (d DeviceState) Because() string {
	switch {
	case d.Newer:
		return string(unfitNewer)
	case d.Reason == hmpb.UpdateReason_UPDATE_REASON_UNSPECIFIED:
		return ""
	}
	return strings.ToLower(strings.TrimPrefix(d.Reason.String(), "UPDATE_REASON_"))
}

// whyDay is how many days without contact are silence.
const whyDays = 14

// stateSQL reads what the word for a device is made of. $1 is the rollout.
const stateSQL = `SELECT f.device_id, COALESCE(v.version, ''), COALESCE(h.last_contact_day, -1), COALESCE(m.lease, ''), COALESCE(m.until_ms, 0), COALESCE(m.flight, 0), COALESCE(m.told, 0),
	COALESCE(m.reason, 0), COALESCE(m.told_ms, 0), COALESCE(m.outcome, 0), COALESCE(m.ring, -1), COALESCE(m.model, ''), COALESCE(m.os_build, ''), COALESCE(m.antivirus, ''), f.owner_id, COALESCE(f.school_id, ''), COALESCE(m.first_ms, 0), COALESCE(m.unfit, ''), COALESCE(x.strange_ms, 0),
	COALESCE(h.connected, 0), CASE WHEN e.revoked_ms IS NULL THEN 0 ELSE 1 END
	FROM fleet_facts f LEFT JOIN rollout_members m ON m.device_id = f.device_id AND m.rollout_id = $1
	LEFT JOIN health_devices h ON h.device_id = f.device_id LEFT JOIN health_agent_versions v ON v.device_id = f.device_id LEFT JOIN rollout_devices x ON x.device_id = f.device_id LEFT JOIN enroll_devices e ON e.device = f.device_id`

type deviceRow struct {
	DeviceState
	contact   int64 // day; -1 = never
	connected bool
	revoked   bool
	m         member
	placed    bool
	blocked   bool // its part is; where the strata are not read
	strangeMS int64
}

func readStates(ctx context.Context, tx *db.Tx, rollout, where string, args []any, each func(deviceRow)) error {
	rows, err := tx.Query(ctx, stateSQL+where, append([]any{rollout}, args...)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var d deviceRow
		var flight, told, reason, ring, connected, revoked int64
		var cannot string
		if err := rows.Scan(&d.Device, &d.Version, &d.contact, &d.m.lease, &d.m.until, &flight, &told, &reason, &d.m.toldMS, &d.m.outcome, &ring, &d.m.model, &d.m.build, &d.m.antivirus,
			&d.m.owner, &d.m.school, &d.m.first, &cannot, &d.strangeMS, &connected, &revoked); err != nil {
			return err
		}
		d.m.flight, d.m.told, d.m.reason, d.m.ring = flight == 1, hmpb.UpdateState(told), hmpb.UpdateReason(reason), int(ring)
		d.m.unfit, d.connected, d.revoked = unfit(cannot), connected == 1, revoked == 1
		d.placed, d.Ring = ring >= 0, int(ring)+1
		d.Day = timeOf(d.m.toldMS - d.m.toldMS%dayMS)
		each(d)
	}
	return rows.Close()
}

// busy is what is the same for all devices of a list: how many are under way in each
// school over all rollouts, the windows, and when the signed ramp begins.
type busy struct {
	begins  time.Time
	school  map[string]int64
	windows map[[2]string]window
}

func (r *Rollouts) readBusy(ctx context.Context, tx *db.Tx, o *row) (b busy, err error) {
	b = busy{school: map[string]int64{}, windows: map[[2]string]window{}}
	p, ok, err := readRelease(ctx, tx, o.release)
	if err != nil {
		return b, err
	}
	if ok {
		b.begins = p.Ramp.Earliest(0)
	}
	rows, err := tx.Query(ctx, `SELECT m.school_id, COUNT(DISTINCT m.device_id) FROM rollout_members m JOIN rollouts o ON o.id = m.rollout_id WHERE m.school_id <> '' AND `+underWaySQL("$1")+` GROUP BY m.school_id`, r.now().UnixMilli())
	if err != nil {
		return b, err
	}
	defer rows.Close()
	for rows.Next() {
		var school string
		var n int64
		if err := rows.Scan(&school, &n); err != nil {
			return b, err
		}
		b.school[school] = n
	}
	return b, rows.Close()
}

// leads says whether a rollout leads away from a version: an older one, and of a way back
// also what it leads back from, and all between.
func (o *row) leads(version string) bool {
	return version != o.version && manifest.ValidVersion(version) &&
		(manifest.Compare(version, o.version) < 0 || o.rollbackOf != "" && manifest.Compare(version, o.rollbackOf) <= 0)
}

// why is the word for a device, from what is stored of it.
func (r *Rollouts) why(o *row, d *deviceRow, b *busy, closed bool) Why {
	now, m := r.now(), &d.m
	silent := d.contact >= 0 && d.contact < now.UnixMilli()/dayMS-whyDays
	switch {
	case d.strangeMS > 0, m.outcome == outcomeOK && o.leads(d.Version) && d.contact*dayMS > m.toldMS:
		return WhyDrift
	case m.outcome == outcomeOK, d.Version == o.version:
		return Current
	case m.outcome == outcomeBad:
		d.Reason = m.reason
		return WhyUndone
	case d.revoked: // what it has told stays, and nothing is to come
		return WhyRevoked
	case d.contact < 0, d.contact < o.started.UnixMilli()/dayMS && m.first == 0:
		return WhyNever
	case silent:
		return WhySilent
	case m.unfit == unfitOff && !m.flight:
		return WhyOff
	case m.unfit != fits && !m.flight:
		d.Reason, d.Newer = m.unfit.reason(), m.unfit == unfitNewer
		return WhyUnfit
	case d.Version != "" && manifest.ValidVersion(d.Version) && o.rollbackOf == "" && manifest.Compare(d.Version, o.version) > 0:
		d.Newer = true
		return WhyUnfit
	case r.refuses(m):
		d.Reason = m.reason
		return WhyRefused
	case m.flight && m.told == hmpb.UpdateState_UPDATE_STATE_WAITING:
		d.Reason = m.reason
		return WhyWaits
	case m.flight:
		return WhyBegan
	case o.state.over():
		return WhyEnded
	case !o.state.grants(), o.gone, o.blocked: // the next round halts it
		return WhyHalted
	case d.placed && (d.blocked || o.evidence.IsBlocked(m.strata())):
		return WhyBlocked
	case !d.placed, m.ring > o.ring, now.Before(b.begins):
		return WhyRing
	case !d.connected:
		return WhyAway
	case closed:
		return WhyWindow
	case m.school != "" && b.school[m.school] >= r.cfg.Pace.PerSchool:
		return WhySchool
	}
	return WhyTurn
}

// DeviceStates are devices of a rollout with the word for each, by device; why ""
// = all. Those with a word are those of the tally that have it still.
func (r *Rollouts) DeviceStates(ctx context.Context, caller access.Caller, rollout string, why Why, after string, limit int) (out []DeviceState, err error) {
	if err := caller.Allow(access.ReadRollouts); err != nil {
		return nil, err
	}
	limit = max(1, min(limit, 500))
	if why == "" {
		err = r.states(ctx, caller, rollout, ` AND f.device_id > $2`, []any{after}, limit, func(d DeviceState) { out = append(out, d) })
		return out, err
	}
	t, err := r.tally(ctx, rollout)
	if err != nil {
		return nil, err
	}
	for len(out) < limit {
		ids := t.with(caller, why, after, limit-len(out))
		if len(ids) == 0 {
			break
		}
		after = ids[len(ids)-1]
		where, args := "", []any{}
		for i, id := range ids {
			where += ", $" + strconv.Itoa(i+2)
			args = append(args, id)
		}
		err = r.states(ctx, caller, rollout, ` AND f.device_id IN (`+where[2:]+`)`, args, limit, func(d DeviceState) {
			if d.Why == why {
				out = append(out, d)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// DeviceState is that of one device in the latest rollout of its channel, or
// ErrNoRollout when there is none.
func (r *Rollouts) DeviceState(ctx context.Context, caller access.Caller, device string) (out DeviceState, rollout string, err error) {
	if err := caller.Allow(access.ReadRollouts); err != nil {
		return out, "", err
	}
	err = r.db.Read(ctx, func(tx *db.Tx) error {
		channel, err := channelOf(ctx, tx, device)
		if err != nil {
			return err
		}
		found, err := readRows(ctx, tx, `r.product = 'agent' AND r.channel = $1 AND o.state NOT IN ('aborted', 'waiting')`, channel)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return ErrNoRollout
		}
		newestFirst(found)
		rollout = found[0].id
		return nil
	})
	if err != nil {
		return out, "", fmt.Errorf("looking for the latest rollout: %w", err)
	}
	seen := false
	err = r.states(ctx, caller, rollout, ` AND f.device_id = $2`, []any{device}, 1, func(d DeviceState) { out, seen = d, true })
	if err == nil && !seen {
		err = access.ErrNotFound
	}
	return out, rollout, err
}

// channelOf is the channel that a device came with last; of who said none it is the usual
// one.
func channelOf(ctx context.Context, tx *db.Tx, device string) (channel string, err error) {
	err = tx.QueryRow(ctx, `SELECT channel FROM rollout_devices WHERE device_id = $1`, device).Scan(&channel)
	if errors.Is(err, db.ErrNoRows) {
		err = nil
	}
	return cmp.Or(channel, manifest.RoleStable), err
}

// Compliance is how many devices are current, in the words of the requirement: of those
// that came since the rollout began, of how many 14 days have gone by, and how many of
// these are current.
type Compliance struct {
	Counts       map[Why]int64
	Rings        []map[Why]int64 // of those that have a place, by ring
	Devices      int64
	Due, Current int64
}

// Permille of those due that are current; -1 = none is due.
func (c Compliance) Permille() int64 {
	if c.Due == 0 {
		return -1
	}
	return c.Current * 1000 / c.Due
}

// dueAfter is from when on a device that came should be current.
const dueAfter = 14 * 24 * time.Hour

// took says whether something became of a device here, or is about to: then it is of the
// rollout, whichever channel it is on by now.
func (d *deviceRow) took() bool { return d.m.outcome != 0 || d.m.flight }

// Compliance counts the devices of a rollout that the caller may see: those of its channel.
func (r *Rollouts) Compliance(ctx context.Context, caller access.Caller, rollout string) (c Compliance, err error) {
	if err := caller.Allow(access.ReadRollouts); err != nil {
		return c, err
	}
	t, err := r.tally(ctx, rollout)
	if err != nil {
		return c, err
	}
	return t.seenBy(caller), nil
}

// states gives at most so many devices with the word of each, by device.
func (r *Rollouts) states(ctx context.Context, caller access.Caller, rollout, where string, args []any, most int, each func(DeviceState)) error {
	end := " LIMIT " + strconv.Itoa(most)
	err := r.db.Read(ctx, func(tx *db.Tx) error {
		o, err := readRow(ctx, tx, rollout)
		if err != nil {
			return err
		}
		b, err := r.readBusy(ctx, tx, &o)
		if err != nil {
			return err
		}
		scope, scoped := caller.Scope("f.owner_id", 3+len(args))
		of := ` AND (COALESCE(m.outcome, 0) <> 0 OR COALESCE(m.flight, 0) = 1 OR ` + inChannel("f.device_id", o.channel, "$"+strconv.Itoa(2+len(args))) + `)` // see took
		var all []deviceRow
		err = readStates(ctx, tx, rollout, ` WHERE `+scope+where+of+` ORDER BY f.device_id`+end, append(append(slices.Clone(args), o.channel), scoped...), func(d deviceRow) { all = append(all, d) })
		if err != nil {
			return err
		}
		for i := range all {
			d := &all[i]
			closed, err := r.closed(ctx, tx, &o, &b, d)
			if err != nil {
				return err
			}
			d.Why = r.why(&o, d, &b, closed)
			each(d.DeviceState)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("looking why devices are not current: %w", err)
	}
	return nil
}

// closed says whether the window of a device's owner and school is closed now.
func (r *Rollouts) closed(ctx context.Context, tx *db.Tx, o *row, b *busy, d *deviceRow) (bool, error) {
	if o.urgent {
		return false, nil
	}
	key := [2]string{d.m.owner, d.m.school}
	w, ok := b.windows[key]
	if !ok {
		var err error
		if w, err = readWindow(ctx, tx, d.m.owner, cmp.Or(d.m.school, "-")); err != nil {
			return false, err
		}
		b.windows[key] = w
	}
	return w.closedAt(r.now()), nil
}
