package rollout

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/proto/reading"
)

// What a device told of updates is kept as long as what was read from it: it goes
// reading.KeepRetired after the last of its credentials was revoked. The device looks
// then like one that never reported, and gets a new place if it is enrolled again.
//
// What the rollouts counted stays, as numbers. A place of which the device told
// something is parted from the device: nobody can say any more whose it was. It keeps its
// ring and what became of it, and while the rollout is not over also the parts of the
// fleet that it counts in, since the gate may have to take one of them out of its sums.

// ofDevice are places m, in rollouts o, of a device that told something of them. Those
// that are still being given out name everybody, told or not.
const ofDevice = `rollout_members m JOIN rollouts o ON o.id = m.rollout_id WHERE (o.placed = 1 OR o.ended_ms IS NOT NULL)
	AND (m.first_ms IS NOT NULL OR m.granted_ms > 0 OR m.told > 0 OR m.outcome > 0 OR m.os_build <> '' OR m.antivirus <> '' OR m.unfit NOT IN ('', '` + string(unfitSystem) + `', '` + string(unfitGone) + `'))
	AND m.device_id = `

const retiredSQL = `SELECT e.device FROM enroll_devices e WHERE e.revoked_ms < $1 AND e.device > $2
	AND (EXISTS (SELECT 1 FROM rollout_devices x WHERE x.device_id = e.device) OR EXISTS (SELECT 1 FROM rollout_trains x WHERE x.device_id = e.device)
		OR EXISTS (SELECT 1 FROM ` + ofDevice + `e.device)) ORDER BY e.device LIMIT $3`

// retire deletes what devices told that were revoked long ago.
func (r *Rollouts) retire(ctx context.Context) error {
	before := r.now().Add(-reading.KeepRetired).UnixMilli()
	for after := ""; ; {
		var part []string
		err := r.db.Read(ctx, func(tx *db.Tx) (err error) {
			part, err = db.Texts(ctx, tx, retiredSQL, before, after, int64(placeStep))
			return err
		})
		if err != nil {
			return fmt.Errorf("looking for retired devices: %w", err)
		}
		for _, device := range part {
			if err := r.forgetDevice(ctx, device, before); err != nil {
				return fmt.Errorf("deleting what a retired device told of updates: %w", err)
			}
		}
		if len(part) < placeStep {
			return nil
		}
		after = part[len(part)-1]
	}
}

// forgetDevice deletes all there is of a device, in one transaction with the word of it:
// that is a row of each rollout in which it had a place.
func (r *Rollouts) forgetDevice(ctx context.Context, device string, before int64) error {
	return r.db.Write(ctx, func(tx *db.Tx) error {
		var owner string
		err := tx.QueryRow(ctx, `SELECT COALESCE(f.owner_id, '') FROM enroll_devices e LEFT JOIN fleet_devices f ON f.device_id = e.device WHERE e.device = $1 AND e.revoked_ms < $2`, device, before).Scan(&owner)
		if errors.Is(err, db.ErrNoRows) {
			return nil // it was enrolled again
		}
		if err != nil {
			return err
		}
		for _, table := range []string{"rollout_devices", "rollout_trains"} {
			if _, err := tx.Exec(ctx, `DELETE FROM `+table+` WHERE device_id = $1`, device); err != nil {
				return err
			}
		}
		for over, parts := range map[string]string{`IS NULL`: ``, `IS NOT NULL`: `, model = '', os_build = '', antivirus = '', owner_id = '', system = ''`} {
			rollouts, err := db.Texts(ctx, tx, `SELECT m.rollout_id FROM `+ofDevice+`$1 AND o.ended_ms `+over, device)
			if err != nil {
				return err
			}
			for _, rollout := range rollouts { // under a name of its own in each, so that no two are known to be of one device
				_, err := tx.Exec(ctx, `UPDATE rollout_members SET device_id = $3, school_id = '', first_ms = NULL, lease = '', granted_ms = 0, until_ms = 0,
					passed = CASE WHEN flight = 1 THEN 1 ELSE passed END, flight = 0, told = 0, reason = 0, told_ms = 0`+parts+` WHERE rollout_id = $1 AND device_id = $2`, rollout, device, "retired-"+rand.Text())
				if err != nil {
					return err
				}
			}
		}
		return audit.Append(ctx, tx, audit.Entry{AtMS: r.now().UnixMilli(), Actor: access.System("rollouts").Actor(), Action: "device.updates_deleted", Subject: "device:" + device, Owner: owner})
	})
}
