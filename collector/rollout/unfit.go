package rollout

import (
	"context"
	"fmt"
	"time"

	"hausmeister/collector/db"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
)

// A device that can never take a release, and yet connects every day, is neither a
// success nor a failure, and nobody waits for it: it counts among the devices of no
// ring and holds no rollout open. Nor is anybody waited for who had a whole turn and
// made nothing of it; he gets others.

// unfit is why a device cannot take what a rollout brings; each of its Hellos says it
// anew.
type unfit string

const (
	fits         unfit = ""
	unfitOff     unfit = "off"     // it takes no updates
	unfitChannel unfit = "channel" // it is on another one by now
	unfitSystem  unfit = "system"  // nothing was released for its system or processor
	unfitFrom    unfit = "from"    // its version is too old to go there directly
	unfitFloor   unfit = "floor"   // the release is below what may run
	unfitNewer   unfit = "newer"   // it has a newer one, and this is no way back from that
	unfitGone    unfit = "gone"    // it was revoked, and may be enrolled again
)

// reason is the word that a device has for the same; several have none.
func (u unfit) reason() hmpb.UpdateReason {
	switch u {
	case unfitChannel, unfitSystem:
		return hmpb.UpdateReason_UPDATE_REASON_WRONG_DEVICE
	case unfitFrom:
		return hmpb.UpdateReason_UPDATE_REASON_FROM
	case unfitFloor:
		return hmpb.UpdateReason_UPDATE_REASON_FLOOR
	}
	return hmpb.UpdateReason_UPDATE_REASON_UNSPECIFIED
}

// unfitFor says why a program is nothing for a device, both being of one system.
func unfitFor(p program, d manifest.Device) unfit {
	switch known := manifest.ValidVersion(d.Version); {
	case p.Match(d) == nil:
		return fits
	case d.Floor != "" && manifest.Compare(p.Version, d.Floor) < 0:
		return unfitFloor
	case known && manifest.Compare(p.Version, d.Version) < 0:
		return unfitNewer
	case known && p.MinFrom != "" && manifest.Compare(d.Version, p.MinFrom) < 0:
		return unfitFrom
	}
	return unfitSystem
}

// apart is what is known of a device in a rollout of which it hears nothing: it takes
// no updates, or those of another channel. It says whether that stands there.
func apart(ctx context.Context, tx *db.Tx, o *row, device string, why unfit, write bool) (noted bool, err error) {
	m, placed, err := readMember(ctx, tx, o.id, device)
	if err != nil || !placed || m.unfit == why {
		return err == nil, err
	}
	if !write {
		return false, nil
	}
	return true, noteUnfit(ctx, tx, o, device, why)
}

// notRevoked are places m of devices that still may come: the others are neither lost nor
// here.
const notRevoked = `m.device_id NOT IN (SELECT e.device FROM enroll_devices e WHERE e.revoked_ms IS NOT NULL)`

// revokedSeen is what leave knew of the revoked devices at its last look.
type revokedSeen struct {
	devices, last int64
	at            time.Time
}

// leaveAgain is after how long leave looks also where nobody was revoked: some places may
// have been given in the moment in which somebody was.
const leaveAgain = 10 * time.Minute

// covers says that a look is not needed: it goes through all places.
func (s revokedSeen) covers(now revokedSeen) bool {
	since := now.at.Sub(s.at)
	return now.devices == s.devices && now.last == s.last && since >= 0 && since < leaveAgain
}

// leave notes which devices of open rollouts were revoked, and frees the places that they held
// under way: they can fetch nothing, nor tell of an end. One that is enrolled again says itself
// what it can take.
func (r *Rollouts) leave(ctx context.Context) error {
	const places = `(m.unfit <> 'gone' AND m.outcome = 0 OR m.flight = 1) AND m.rollout_id IN (SELECT o.id FROM rollouts o WHERE o.ended_ms IS NULL)
		AND m.device_id IN (SELECT e.device FROM enroll_devices e WHERE e.revoked_ms IS NOT NULL)`
	seen, n := revokedSeen{at: r.now()}, int64(0)
	err := r.db.Read(ctx, func(tx *db.Tx) error {
		err := tx.QueryRow(ctx, `SELECT COUNT(*), COALESCE(MAX(revoked_ms), 0) FROM enroll_devices WHERE revoked_ms IS NOT NULL`).Scan(&seen.devices, &seen.last)
		if err != nil || r.revoked.covers(seen) {
			return err
		}
		return tx.QueryRow(ctx, `SELECT COUNT(*) FROM rollout_members m WHERE `+places).Scan(&n)
	})
	if err == nil && n > 0 {
		err = r.db.Write(ctx, func(tx *db.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE rollout_members AS m SET unfit = CASE WHEN outcome = 0 THEN $1 ELSE unfit END, flight = 0, lease = '' WHERE `+places, string(unfitGone))
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("looking for revoked devices: %w", err)
	}
	if !r.revoked.covers(seen) {
		r.revoked = seen
	}
	return nil
}

func noteUnfit(ctx context.Context, tx *db.Tx, o *row, device string, why unfit) error {
	_, err := tx.Exec(ctx, `UPDATE rollout_members SET unfit = $3 WHERE rollout_id = $1 AND device_id = $2`, o.id, device, string(why))
	return err
}

// readSystems are the systems that a release has programs for; of one that is signed no
// longer as a whole, those that it had: that it is halted says nothing of the devices.
func readSystems(ctx context.Context, tx *db.Tx, release string) (map[string]bool, error) {
	rows, err := tx.Query(ctx, `SELECT DISTINCT t.os FROM rollout_targets t JOIN rollout_releases r ON r.id = t.release_id
		WHERE t.release_id = $1 AND t.kind = 'program' AND (t.gone_ms IS NULL OR r.gone_ms IS NOT NULL)`, release)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string]bool{"": true} // of what is not known nobody says that it does not fit
	for rows.Next() {
		var os string
		if err := rows.Scan(&os); err != nil {
			return nil, err
		}
		out[os] = true
	}
	return out, rows.Close()
}
