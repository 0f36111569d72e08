package rollout

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/collector/rollout/gate"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
)

// Why is the one word for why a device is not on the version that it should have.
type Why string

const (
	Current    Why = "current"
	WhyNever   Why = "never_here"  // it has not connected since the rollout began
	WhySilent  Why = "silent"      // it was here, and is not
	WhyRing    Why = "ring"        // its ring has not come, or the signed ramp not begun
	WhyWindow  Why = "window"      // lessons, or days that its owner closed
	WhySchool  Why = "school_busy" // as many of its school are under way as may be
	WhyTurn    Why = "turn"        // as many of all are under way as may be
	WhyAway    Why = "away"        // its turn comes when it is connected
	WhyBegan   Why = "under_way"
	WhyWaits   Why = "waits"   // the device waits, for what its reason says
	WhyRefused Why = "refused" // the device refused it
	WhyUndone  Why = "rolled_back"
	WhyBlocked Why = "part_blocked"
	WhyHalted  Why = "halted"
	WhyEnded   Why = "ended"       // the rollout is, for good
	WhyUnfit   Why = "unfit"       // nothing is released for such a device
	WhyOff     Why = "updates_off" // the device takes none
	WhyRevoked Why = "revoked"     // it is, and told of no end of the update before
	WhyDrift   Why = "drift"       // it had the version and has another, or a program that nobody released
)

// Whys are all of them, in the order of lists.
var Whys = []Why{Current, WhyBegan, WhyWaits, WhyRing, WhyTurn, WhyAway, WhySchool, WhyWindow, WhyHalted, WhyEnded, WhyBlocked, WhySilent, WhyNever, WhyRefused, WhyUndone, WhyUnfit, WhyOff, WhyRevoked, WhyDrift}

// member is a device in a rollout.
type member struct {
	ring                    int
	model, build, antivirus string
	owner                   string
	school                  string // that it is in today
	lease                   string
	granted, until          int64
	flight                  bool
	told                    hmpb.UpdateState
	reason                  hmpb.UpdateReason
	toldMS                  int64
	outcome                 int64
	first                   int64
	unfit                   unfit
	passed                  bool   // it had a turn, and no outcome of it
	system                  string // and processor of what it was granted last
}

const (
	outcomeOK  = 1
	outcomeBad = 2
)

// settled is after what a device that has told of its success, and comes with an older
// program, has lost it again: it gets it anew, and counts no second time.
const settled = 24 * time.Hour

func (m member) strata() []gate.Stratum {
	out := make([]gate.Stratum, 0, 4)
	for _, s := range []gate.Stratum{{Dimension: "model", Value: m.model}, {Dimension: "os_build", Value: m.build}, {Dimension: "antivirus", Value: m.antivirus}, {Dimension: "owner", Value: m.owner}} {
		if s.Value != "" { // of what is not known there is no part
			out = append(out, s)
		}
	}
	return out
}

// A device that was given to a school since it has its place keeps the lessons of that.
const schoolToday = `COALESCE((SELECT COALESCE(f.school_id, '') FROM fleet_facts f WHERE f.device_id = m.device_id), m.school_id)`

const memberColumns = `m.ring, m.model, m.os_build, m.antivirus, m.owner_id, ` + schoolToday + `, m.lease, m.granted_ms, m.until_ms, m.flight, m.told, m.reason, m.told_ms, m.outcome, COALESCE(m.first_ms, 0), m.unfit, m.passed, m.system`

func (m *member) scan(scan func(...any) error, more ...any) error {
	var ring, flight, told, reason, passed int64
	var cannot string
	err := scan(append([]any{&ring, &m.model, &m.build, &m.antivirus, &m.owner, &m.school, &m.lease, &m.granted, &m.until, &flight, &told, &reason, &m.toldMS, &m.outcome, &m.first, &cannot, &passed, &m.system}, more...)...)
	m.unfit, m.passed = unfit(cannot), passed == 1
	m.ring, m.flight, m.told, m.reason = int(ring), flight == 1, hmpb.UpdateState(told), hmpb.UpdateReason(reason)
	return err
}

func readMember(ctx context.Context, tx *db.Tx, rollout, device string) (m member, ok bool, err error) {
	err = m.scan(tx.QueryRow(ctx, `SELECT `+memberColumns+` FROM rollout_members m WHERE m.rollout_id = $1 AND m.device_id = $2`, rollout, device).Scan)
	if errors.Is(err, db.ErrNoRows) {
		return m, false, nil
	}
	return m, err == nil, err
}

// Of a device's Hello: what it runs, and on what. An agent names its system among its
// capabilities; of an older one the program's hash tells it, or its record.
const (
	capabilitySystem  = "system:"  // system:linux/amd64
	capabilityChannel = "channel:" // channel:canary; stable without
	// An agent that takes no updates says so: without a launcher or a root of trust.
	capabilityOff = "updates:off"
)

type hello struct {
	version, hash string
	os, arch      string
	channel       string
	off           bool
}

// channelOfHello is the channel that an agent says.
func channelOfHello(capabilities []string) string {
	for _, c := range capabilities {
		if channel, ok := strings.CutPrefix(c, capabilityChannel); ok {
			return channel
		}
	}
	return manifest.RoleStable
}

// noteChannel keeps the channel that a device came with, from which on it has its places in
// the rollouts of that one; same = it is the one of before, or it is written.
func noteChannel(ctx context.Context, tx *db.Tx, device, channel string, write bool) (same bool, err error) {
	if channel = cut(channel); channel == manifest.RoleStable {
		channel = ""
	}
	var known string
	err = tx.QueryRow(ctx, `SELECT channel FROM rollout_devices WHERE device_id = $1`, device).Scan(&known)
	if err != nil && !errors.Is(err, db.ErrNoRows) {
		return false, err
	}
	if known == channel || !write {
		return known == channel, nil
	}
	_, err = tx.Exec(ctx, `INSERT INTO rollout_devices (device_id, told, reason, to_version, launcher, told_ms, repaired_ms, strange_ms, channel) VALUES ($1, 0, 0, '', '', 0, 0, 0, $2)
		ON CONFLICT (device_id) DO UPDATE SET channel = excluded.channel`, device, channel)
	return true, err
}

func (r *Rollouts) helloOf(ctx context.Context, tx *db.Tx, device, version string, hash []byte, capabilities []string) (h hello, err error) {
	h = hello{version: version, hash: hex.EncodeToString(hash), channel: channelOfHello(capabilities)}
	for _, c := range capabilities {
		if system, ok := strings.CutPrefix(c, capabilitySystem); ok {
			h.os, h.arch, _ = strings.Cut(system, "/")
		}
		h.off = h.off || c == capabilityOff
	}
	if h.os != "" {
		return h, nil
	}
	err = tx.QueryRow(ctx, `SELECT os, arch FROM rollout_targets WHERE sha256 = $1 AND kind = 'program' LIMIT 1`, h.hash).Scan(&h.os, &h.arch)
	if errors.Is(err, db.ErrNoRows) {
		err = tx.QueryRow(ctx, `SELECT os FROM fleet_facts WHERE device_id = $1`, device).Scan(&h.os)
	}
	if errors.Is(err, db.ErrNoRows) {
		err = access.ErrNotFound
	}
	return h, err
}

// program is what a rollout has for a device.
type program struct {
	manifest.Release
	path, sha256 string
}

// system is what the program runs on.
func (p program) system() string { return p.OS + "/" + p.Arch }

func programFor(ctx context.Context, tx *db.Tx, o *row, h hello, floors map[string]string) (p program, not unfit, err error) {
	rows, err := tx.Query(ctx, `SELECT path, sha256, custom, arch FROM rollout_targets WHERE release_id = $1 AND kind = 'program' AND os = $2 AND gone_ms IS NULL`, o.release, h.os)
	if err != nil {
		return p, fits, err
	}
	defer rows.Close()
	var found []program
	for rows.Next() {
		var one program
		var custom, arch string
		if err := rows.Scan(&one.path, &one.sha256, &custom, &arch); err != nil {
			return p, fits, err
		}
		if h.arch != "" && h.arch != arch {
			continue
		}
		if err := json.Unmarshal([]byte(custom), &one.Release); err != nil {
			return p, fits, fmt.Errorf("release %s: %w", one.path, err)
		}
		if one.RollbackOf != o.rollbackOf { // signed so since: a way back begins as any rollout does
			one.RollbackOf = ""
		}
		found = append(found, one)
	}
	if err := rows.Close(); err != nil || len(found) != 1 { // of two architectures nobody knows which
		return p, unfitSystem, err
	}
	p = found[0]
	return p, unfitFor(p, manifest.Device{Product: p.Product, Version: h.version, OS: p.OS, Arch: p.Arch, Channel: h.channel, Floor: floors[p.Product]}), nil
}

// verdict is what Offer finds for a device in one rollout.
type verdict struct {
	why    Why
	over   bool // a closed day of the owner was passed over, see overdue
	quiet  []span
	kept   bool // a lesson holds it up, and it has a lease
	member member
	p      program
	unfit  unfit
}

// judge says why a device may not begin now, or WhyBegan with a lease it has, or ""
// when it may have one. It changes nothing.
func (r *Rollouts) judge(ctx context.Context, tx *db.Tx, o *row, device string, h hello, floors map[string]string) (v verdict, err error) {
	if v.p, v.unfit, err = programFor(ctx, tx, o, h, floors); err != nil {
		return v, err
	}
	p := v.p
	m, placed, err := readMember(ctx, tx, o.id, device)
	if err != nil {
		return v, err
	}
	v.member = m
	now := r.now()
	switch {
	case p.sha256 != "" && p.sha256 == h.hash:
		v.why, v.unfit = Current, fits
	case o.gone || o.blocked: // which says nothing of the device
		v.why, v.unfit = WhyHalted, m.unfit
	case v.unfit != fits:
		v.why = WhyUnfit
	case !placed:
		v.why = WhyRing
	case m.outcome == outcomeBad:
		v.why = WhyUndone
	case !o.state.grants():
		v.why = WhyHalted
	case o.evidence.IsBlocked(m.strata()):
		v.why = WhyBlocked
	case m.lease != "" && m.until > now.UnixMilli():
		v.why = WhyBegan
	case m.outcome == outcomeOK && now.UnixMilli()-m.toldMS < settled.Milliseconds():
		v.why = Current // it comes with the new one in a moment
	case m.ring > o.ring, now.Before(p.Ramp.Earliest(0)): // no device may be earlier, it would refuse
		v.why = WhyRing
	case r.refuses(&m):
		v.why = WhyRefused
	}
	if v.why != "" && v.why != WhyBegan {
		return v, nil
	}
	if !o.urgent {
		w, err := readWindow(ctx, tx, m.owner, m.school)
		if err != nil {
			return v, err
		}
		overdue := r.overdue(p.Release, h.version, floors)
		v.over = overdue && w.closedOn(now)
		v.quiet = w.quiet(now, now.Add(r.cfg.Pace.Lease), overdue)
		if quietAt(v.quiet, now) { // a lease that was given before holds no better
			v.kept = v.why == WhyBegan && (overdue || !w.closedOn(now))
			v.why = WhyWindow
		}
	}
	if v.why != "" {
		return v, nil
	}
	return v, r.room(ctx, tx, o, &v, device)
}

// refuses says that a device refused, and is not asked at once again. What it refused while
// the clock ran ahead, see endAhead, holds no longer than that.
func (r *Rollouts) refuses(m *member) bool {
	now := r.now()
	return m.told == hmpb.UpdateState_UPDATE_STATE_REFUSED && m.until > now.UnixMilli() && m.until <= now.Add(r.cfg.Pace.Lease+aheadFor).UnixMilli()
}

// overdue says that a device is below the floor, and has been for so long that closed
// days of its owner are passed over.
func (r *Rollouts) overdue(p manifest.Release, version string, floors map[string]string) bool {
	below := floors[p.Product] != "" && manifest.ValidVersion(version) && manifest.Compare(version, floors[p.Product]) < 0
	return below && r.now().After(p.Ramp.Earliest(manifest.Buckets-1).Add(r.cfg.Pace.Overdue))
}

// firstOfSystem is how many devices of one system and processor may be under way before as
// many of it have told of success. A release may be signed for one when it has gone over the
// others, and what these told says nothing of a program that is another file.
const firstOfSystem = 20

// room says whether there is room for one more: in the school, whichever rollouts it
// takes part in, of its system, and in all. Who is under way himself has his place.
func (r *Rollouts) room(ctx context.Context, tx *db.Tx, o *row, v *verdict, device string) error {
	school, now := v.member.school, r.now().UnixMilli()
	var inSchool, all int64
	if school != "" {
		err := tx.QueryRow(ctx, `SELECT COUNT(DISTINCT m.device_id) FROM rollout_members m JOIN rollouts o ON o.id = m.rollout_id
			WHERE m.school_id = $1 AND m.device_id <> $2 AND `+underWaySQL("$3"), school, device, now).Scan(&inSchool)
		if err != nil {
			return err
		}
	}
	if err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM rollout_members WHERE rollout_id = $1 AND flight = 1 AND device_id <> $2`, o.id, device).Scan(&all); err != nil {
		return err
	}
	system, ofSystem := v.p.system(), int64(0)
	if o.systems[system] < firstOfSystem {
		if err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM rollout_members WHERE rollout_id = $1 AND flight = 1 AND system = $2 AND device_id <> $3`, o.id, system, device).Scan(&ofSystem); err != nil {
			return err
		}
	}
	switch {
	case inSchool >= r.cfg.Pace.PerSchool:
		v.why = WhySchool
	case ofSystem >= firstOfSystem:
		v.why = WhyTurn
	case all >= o.params(r.cfg.Pace).Cap(o.rings[o.ring].End):
		v.why = WhyTurn
	case school != "":
		// Who came to the school under way, and no round has seen it, counts too. That goes
		// through all who are under way, for the few who would begin now.
		err := tx.QueryRow(ctx, `SELECT COUNT(DISTINCT m.device_id) FROM rollout_members m
			WHERE m.device_id <> $2 AND `+underWaySQL("$3")+` AND `+schoolToday+` = $1`, school, device, now).Scan(&inSchool)
		if err != nil {
			return err
		}
		if inSchool >= r.cfg.Pace.PerSchool {
			v.why = WhySchool
		}
	}
	return nil
}

// underWaySQL are the devices of all rollouts that are under way. What was armed when a
// rollout ended or was stopped goes on, for as long as its lease would have held: one
// that fell silent keeps nobody from the next version.
func underWaySQL(now string) string { return `m.flight = 1 AND m.until_ms > ` + now }

// Offer is the lease that a device holds or gets now; nil = none. It reads first: of
// tens of thousands who come at eight, few may begin. In a lesson nobody gets a lease, but
// who holds one is told it again, with the lessons as they are now, so that what was
// fetched is not thrown away. A closed day takes it.
func (g Gateway) Offer(ctx context.Context, device access.Caller, version string, hash []byte, capabilities []string) (*hmpb.Offer, error) {
	if err := device.Allow(access.FetchUpdates); err != nil {
		return nil, err
	}
	var offer *hmpb.Offer
	var grant, note string
	said := trainsOf(capabilities)
	look := func(tx *db.Tx, write bool) error {
		offer, grant, note = nil, "", ""
		if same, err := noteTrains(ctx, tx, device.ID, said, write); err != nil {
			return err
		} else if !same {
			note = "trains"
		}
		if same, err := noteChannel(ctx, tx, device.ID, channelOfHello(capabilities), write); err != nil {
			return err
		} else if !same {
			note = "channel"
		}
		open, err := readRows(ctx, tx, `o.ended_ms IS NULL AND o.state IN ('running', 'done', 'paused', 'halted') ORDER BY o.started_ms DESC, o.id DESC`)
		if err != nil || len(open) == 0 {
			return err
		}
		newestFirst(open)
		h, err := g.helloOf(ctx, tx, device.ID, version, hash, capabilities)
		if err != nil {
			return err
		}
		if same, err := g.noteStrange(ctx, tx, device.ID, h, write); err != nil {
			return err
		} else if !same {
			note = "strange"
		}
		floors := map[string]string{}
		if err := readFloors(ctx, tx, floors); err != nil {
			return err
		}
		takes := false // it can take one that is done, and no step to that
		has := false   // what stands before the rest, else a way back and what it leads away from would hand it to and fro
		for i := range open {
			o := &open[i]
			if o.product != manifest.ProductAgent || !o.placed { // who came before the others have places would get one by chance
				continue
			}
			if takes && o.state == Done {
				continue
			}
			if h.off || o.channel != h.channel { // a lease would keep a place in its ring for nothing
				why := unfitOff
				if !h.off {
					why = unfitChannel
				}
				noted, err := apart(ctx, tx, o, device.ID, why, write)
				if err != nil {
					return err
				}
				if !noted {
					note = o.id
				}
				continue
			}
			v, err := g.judge(ctx, tx, o, device.ID, h, floors)
			if err != nil {
				return err
			}
			if has && (v.why == "" || v.why == WhyBegan || v.kept) {
				v.why, v.kept, v.unfit = WhyUnfit, false, unfitNewer
			}
			has = has || v.why == Current
			takes = takes || o.state == Done && v.unfit == fits
			if v.why == WhyRing && v.member.owner == "" && !write || v.member.owner != "" && v.member.first == 0 && !write {
				note = o.id
			}
			if v.member.owner != "" && v.member.unfit != v.unfit && !write {
				note = o.id
			}
			if write {
				if err := g.arrived(ctx, tx, o, device.ID, h, &v); err != nil {
					return err
				}
			}
			switch {
			case v.why == WhyBegan, v.kept:
				offer = g.offer(o, &v)
			case v.why == "" && write:
				if err := g.grant(ctx, tx, o, device, &v); err != nil {
					return err
				}
				offer = g.offer(o, &v)
			case v.why == "":
				grant = o.id
			default:
				continue
			}
			if offer != nil {
				repo, err := repository(ctx, tx)
				offer.SetRepository(repo)
				return err
			}
			return nil
		}
		return nil
	}
	err := g.db.Read(ctx, func(tx *db.Tx) error { return look(tx, false) })
	if err == nil && (grant != "" || note != "") {
		err = g.db.Write(ctx, func(tx *db.Tx) error { return look(tx, true) })
	}
	if errors.Is(err, access.ErrNotFound) {
		return nil, nil // its record is gone
	}
	if err != nil {
		return nil, fmt.Errorf("looking for an offer: %w", err)
	}
	return offer, nil
}

// arrived notes that a device came since the rollout began, and gives it a place if it
// is new.
func (r *Rollouts) arrived(ctx context.Context, tx *db.Tx, o *row, device string, h hello, v *verdict) error {
	if v.member.owner == "" {
		if v.why != WhyRing { // nothing is released for it
			return nil
		}
		if err := late(ctx, tx, o, device); err != nil {
			return err
		}
		floors := map[string]string{}
		if err := readFloors(ctx, tx, floors); err != nil {
			return err
		}
		anew, err := r.judge(ctx, tx, o, device, h, floors)
		if err != nil {
			return err
		}
		*v = anew
	}
	if v.member.unfit != v.unfit {
		if err := noteUnfit(ctx, tx, o, device, v.unfit); err != nil {
			return err
		}
	}
	if v.member.first != 0 {
		return nil
	}
	_, err := tx.Exec(ctx, `UPDATE rollout_members SET first_ms = $3 WHERE rollout_id = $1 AND device_id = $2 AND first_ms IS NULL`, o.id, device, r.now().UnixMilli())
	return err
}

// grant gives a lease. That the window of an owner was passed over stands in the record.
func (r *Rollouts) grant(ctx context.Context, tx *db.Tx, o *row, device access.Caller, v *verdict) error {
	now := r.now()
	m := &v.member
	if m.granted == 0 {
		o.counts[min(m.ring, len(o.counts)-1)].Reached++
		if err := o.save(ctx, tx, false); err != nil {
			return err
		}
	}
	m.lease, m.granted, m.until = rand.Text(), now.UnixMilli(), now.Add(r.cfg.Pace.Lease).UnixMilli()
	// One that waited goes on waiting for the same, and does not tell that again; one that
	// was armed before a pause still is. A lease that ended a moment ago no round has seen.
	goesOn := `told = $6 OR flight = 1 AND until_ms > $4 AND told BETWEEN ` + strconv.Itoa(armed) + ` AND ` + strconv.Itoa(trial)
	_, err := tx.Exec(ctx, `UPDATE rollout_members SET passed = CASE WHEN flight = 1 AND until_ms <= $4 THEN 1 ELSE passed END, lease = $3, granted_ms = $4, until_ms = $5, school_id = $7, system = $8, flight = 1,
			told = CASE WHEN `+goesOn+` THEN told ELSE 0 END, reason = CASE WHEN `+goesOn+` THEN reason ELSE 0 END
		WHERE rollout_id = $1 AND device_id = $2`, o.id, device.ID, m.lease, m.granted, m.until, int64(hmpb.UpdateState_UPDATE_STATE_WAITING), m.school, v.p.system())
	if err != nil || !v.over {
		return err
	}
	return audit.Append(ctx, tx, audit.Entry{AtMS: now.UnixMilli(), Actor: access.System("rollouts").Actor(), Action: "rollout.window_passed", Subject: "device:" + device.ID, Owner: m.owner,
		Details: map[string]string{"rollout": o.id, "release": o.product + " " + o.version}})
}

func (r *Rollouts) offer(o *row, v *verdict) *hmpb.Offer {
	p, m := v.p, v.member
	hash, _ := hex.DecodeString(p.sha256) // hex of 32 bytes, or it would not be imported
	left := time.UnixMilli(m.until).Sub(r.now())
	valid := uint32(max(left, 0).Seconds())
	within := min(uint32(r.cfg.Pace.Spread.Seconds()), valid/2)
	if o.urgent {
		within = min(within, 60)
	}
	offer := hmpb.Offer_builder{Lease: &m.lease, Target: &p.path, Sha256: hash, Version: &o.version, ValidS: &valid, WithinS: &within}.Build()
	offer.SetQuiet(quietOf(v.quiet))
	return offer
}
