package rollout

import (
	"context"
	"strconv"

	"hausmeister/collector/db"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
)

// The numbers of a ring. Each device with a place in it stands in one of them, and they
// add up to its devices: it came through by this rollout or did not, is under way, has the
// version from elsewhere, has told of no end, or is open. A rollout is for the devices of
// its channel: who went to another one before anything became of him here has left the ring.
//
// The rings are cut for the whole fleet, and that bounds what begins; here is counted who
// is in them.

const refusedState = int64(hmpb.UpdateState_UPDATE_STATE_REFUSED)

// inChannel are devices that came with a channel last, of who said none the usual one:
// column is their id, param the channel.
func inChannel(column, channel, param string) string {
	if channel == manifest.RoleStable {
		return column + ` NOT IN (SELECT c.device_id FROM rollout_devices c WHERE c.channel <> '' AND c.channel <> ` + param + `)`
	}
	return column + ` IN (SELECT c.device_id FROM rollout_devices c WHERE c.channel <> '' AND c.channel = ` + param + `)`
}

// counted are the rings with all numbers, and how many are under way. Before all devices
// have their places the rings are as they were cut, and of a rollout whose devices are
// forgotten as it ended.
func (r *Rollouts) counted(ctx context.Context, tx *db.Tx, o *row) (v Rollout, err error) {
	v.Rings = ringsOf(o)
	if err := readFlights(ctx, tx, o.id, &v); err != nil {
		return v, err
	}
	switch {
	case !o.placed:
		for i := range v.Rings {
			v.Rings[i].Open = v.Rings[i].Adds
		}
		return v, nil
	case !o.ended.IsZero() && r.now().Sub(o.ended) > keepMembers:
		for i := range v.Rings {
			ring, c := &v.Rings[i], o.counts[i]
			if c.Devices == 0 && c.OK+c.Bad == 0 { // as of an earlier version, which noted none
				c.Devices = ring.Adds
			}
			ring.Had = c.Had
			ring.Open = max(0, c.Devices-c.OK-c.Bad-c.Had)
		}
	default:
		if err := readOpen(ctx, tx, o, v.Rings); err != nil {
			return v, err
		}
	}
	addUp(v.Rings)
	return v, nil
}

// addUp makes the devices of the rings of their numbers.
func addUp(rings []RingView) {
	all := int64(0)
	for i := range rings {
		ring := &rings[i]
		ring.Adds = ring.OK + ring.Bad + ring.InFlight + ring.Had + ring.Silent + ring.Open
		all += ring.Adds
		ring.Devices = all
	}
}

// readOpen counts the devices that have no outcome and are not under way. There is an
// index of just these, and one of the devices by version: of a rollout that has come far
// the former are fewer, else the latter.
func readOpen(ctx context.Context, tx *db.Tx, o *row, rings []RingView) error {
	const open = `m.rollout_id = $1 AND m.flight = 0 AND m.outcome = 0 AND `
	here := inChannel("m.device_id", o.channel, "$2")
	var left, ended int64
	err := perRing(ctx, tx, `SELECT m.ring, COUNT(*) FROM rollout_members m WHERE `+open+here+` GROUP BY m.ring`, rings, func(ring *RingView, n int64) {
		ring.Open = n
		left, ended = left+n, ended+ring.OK+ring.Bad
	}, o.id, o.channel)
	if err != nil {
		return err
	}
	const has = `v.device_id = m.device_id AND v.version = $3`
	from := `health_agent_versions v CROSS JOIN rollout_members m` // SQLite keeps this order, PostgreSQL finds its own
	if left < ended {
		from = `rollout_members m CROSS JOIN health_agent_versions v`
	}
	err = perRing(ctx, tx, `SELECT m.ring, COUNT(*) FROM `+from+` WHERE `+has+` AND `+open+here+` GROUP BY m.ring`, rings, func(ring *RingView, n int64) {
		ring.Had = n
		ring.Open -= n
	}, o.id, o.channel, o.version)
	if err != nil {
		return err
	}
	// Whose lease was taken back, as by a halt, had no turn, and who refused has answered.
	return perRing(ctx, tx, `SELECT m.ring, COUNT(*) FROM rollout_members m WHERE `+open+`m.passed = 1 AND m.told <> `+strconv.FormatInt(refusedState, 10)+` AND `+here+`
		AND NOT EXISTS (SELECT 1 FROM health_agent_versions v WHERE `+has+`) GROUP BY m.ring`, rings, func(ring *RingView, n int64) {
		ring.Silent = n
		ring.Open -= n
	}, o.id, o.channel, o.version)
}

// perRing gives the second column of each row, by the ring in the first.
func perRing(ctx context.Context, tx *db.Tx, query string, rings []RingView, each func(ring *RingView, n int64), args ...any) error {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var ring, n int64
		if err := rows.Scan(&ring, &n); err != nil {
			return err
		}
		if ring < int64(len(rings)) {
			each(&rings[ring], n)
		}
	}
	return rows.Close()
}

// ringsOf are the rings as they were cut, with what was counted of them.
func ringsOf(o *row) (rings []RingView) {
	before := int64(0)
	for i, s := range o.rings {
		c := o.counts[i]
		rings = append(rings, RingView{Devices: s.End, Adds: s.End - before, Soak: s.Soak, SchoolDay: s.SchoolDay, Wide: s.Wide, OK: c.OK, Bad: c.Bad, Reached: c.Reached})
		before = s.End
	}
	return rings
}

// keepNumbers notes what is known of a rollout as it ends, for when its devices are
// forgotten.
func (o *row) keepNumbers(ctx context.Context, tx *db.Tx) error {
	if !o.placed {
		return nil
	}
	v := Rollout{Rings: ringsOf(o)}
	if err := readFlights(ctx, tx, o.id, &v); err != nil {
		return err
	}
	if err := readOpen(ctx, tx, o, v.Rings); err != nil {
		return err
	}
	addUp(v.Rings)
	for i, ring := range v.Rings {
		o.counts[i].Devices, o.counts[i].Had = ring.Adds, ring.Had
	}
	return nil
}
