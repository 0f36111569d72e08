package health

import (
	"context"
	"fmt"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/proto/reading"
)

// A device whose credentials are all revoked is retired. What was read from it goes
// reading.KeepRetired later: it looks then like one that never reported. What names
// it in the books is fleet's, that it is revoked is enroll's, and looks, acts at
// findings and cursors of spools go by their own age.

// stillRetired holds for a device $1 as long as it was not enrolled again.
const stillRetired = ` AND EXISTS (SELECT 1 FROM enroll_devices e WHERE e.device = $1 AND e.revoked_ms < $2)`

// ofRetired deletes up to $3 rows each of a device. First nothing is its latest state
// any more, so that nobody looks for a report that is gone; blocks go before daily
// rows, so that no day is merged anew.
var ofRetired = []string{
	`UPDATE health_state SET latest_spool = NULL, latest_seq = NULL WHERE device_id IN
		(SELECT device_id FROM health_state WHERE device_id = $1 AND latest_seq IS NOT NULL LIMIT $3)` + stillRetired,
	`DELETE FROM health_reports WHERE (spool, seq) IN
		(SELECT r.spool, r.seq FROM health_spools s JOIN health_reports r ON r.spool = s.id WHERE s.device_id = $1 LIMIT $3)` + stillRetired,
	`DELETE FROM health_blocks WHERE (device_id, start_ms, step_s, spool, seq) IN
		(SELECT device_id, start_ms, step_s, spool, seq FROM health_blocks WHERE device_id = $1 LIMIT $3)` + stillRetired,
	deleteDays + ` WHERE (device_id, day) IN (SELECT device_id, day FROM health_days WHERE device_id = $1 LIMIT $3)` + stillRetired,
	`DELETE FROM health_findings WHERE (device_id, spool, seq) IN
		(SELECT device_id, spool, seq FROM health_findings WHERE device_id = $1 LIMIT $3)` + stillRetired,
	`DELETE FROM health_inventory_differences WHERE (device_id, told_ms, name, nr) IN
		(SELECT device_id, told_ms, name, nr FROM health_inventory_differences WHERE device_id = $1 LIMIT $3)` + stillRetired,
	`DELETE FROM health_inventory WHERE device_id IN (SELECT device_id FROM health_inventory WHERE device_id = $1 LIMIT $3)` + stillRetired,
	`DELETE FROM health_agents WHERE (device_id, day) IN (SELECT device_id, day FROM health_agents WHERE device_id = $1 LIMIT $3)` + stillRetired,
}

// sweepRetired deletes what was read from devices that were retired long enough ago.
func (h *Health) sweepRetired(ctx context.Context, now time.Time) (deleted int64, err error) {
	before := now.Add(-reading.KeepRetired).UnixMilli()
	for after := ""; ; {
		var part []string
		err := h.db.Read(ctx, func(tx *db.Tx) (err error) {
			part, err = db.Texts(ctx, tx, `SELECT e.device FROM enroll_devices e JOIN health_state s ON s.device_id = e.device
				WHERE e.revoked_ms < $1 AND e.device > $2 ORDER BY e.device LIMIT $3`, before, after, int64(sweepStep))
			return err
		})
		if err != nil {
			return deleted, fmt.Errorf("looking for retired devices: %w", err)
		}
		for _, device := range part {
			n, err := h.forgetRetired(ctx, device, before)
			deleted += n
			if err != nil {
				return deleted, fmt.Errorf("deleting what a retired device told: %w", err)
			}
		}
		if len(part) < sweepStep {
			return deleted, nil
		}
		after = part[len(part)-1]
	}
}

// forgetRetired deletes what there is of a device, its row last: as long as that is
// there, a sweep that was cut off is taken up again. With it goes into the audit
// record that nothing is left.
func (h *Health) forgetRetired(ctx context.Context, device string, before int64) (deleted int64, err error) {
	for _, sql := range ofRetired {
		for n := int64(sweepStep); n == sweepStep; {
			err := h.db.Write(ctx, func(tx *db.Tx) (err error) {
				n, err = deletes(ctx, tx, sql, device, before, int64(sweepStep))
				return err
			})
			if err != nil {
				return deleted, err
			}
			deleted += n
		}
	}
	var n int64
	err = h.db.Write(ctx, func(tx *db.Tx) (err error) {
		n, err = tx.Exec(ctx, `DELETE FROM health_state WHERE device_id = $1`+stillRetired, device, before)
		if err != nil || n == 0 {
			return err
		}
		var owner string
		if err := tx.QueryRow(ctx, `SELECT owner_id FROM fleet_devices WHERE device_id = $1`, device).Scan(&owner); err != nil {
			return err
		}
		return audit.Append(ctx, tx, audit.Entry{AtMS: h.now().UnixMilli(), Actor: access.System("health").Actor(), Action: "device.values_deleted", Subject: "device:" + device, Owner: owner})
	})
	return deleted + n, err
}
