package rollout

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/proto/hmpb"
)

// Who comes when. The fleet is put into an order by its strata, and in each by a hash
// of release and device; walking it in steps of the golden section spreads every
// beginning of the walk evenly over that order. So a ring has of each model, build,
// antivirus and owner what is its share, the same devices as often as it is asked, and
// others for the next release: nobody is always the first.

// placeStep is how many devices get their places in one transaction: others wait for
// it.
const placeStep = 500

// spot is a device before it has its place.
type spot struct {
	device, owner, school   string
	model, build, antivirus string
	hash                    uint64
	unfit                   unfit
	ring                    int
}

func spotHash(release, device string) uint64 {
	mac := hmac.New(sha256.New, []byte(release))
	mac.Write([]byte(device))
	return binary.BigEndian.Uint64(mac.Sum(nil))
}

// ringOf is the first ring that a place lies in, being part of the whole fleet.
func ringOf(rings []step, place float64) int {
	fleet := rings[len(rings)-1].End
	at := int64(place * float64(fleet))
	for i, s := range rings {
		if at < s.End {
			return i
		}
	}
	return len(rings) - 1
}

const spotSQL = `SELECT f.device_id, f.owner_id, COALESCE(f.school_id, ''), f.model, f.os, COALESCE(h.os_build, '') AS os_build,
	COALESCE((SELECT d.antivirus FROM health_daily d WHERE d.device_id = f.device_id AND d.antivirus IS NOT NULL ORDER BY d.day DESC LIMIT 1), '') AS antivirus
	FROM fleet_facts f LEFT JOIN health_devices h ON h.device_id = f.device_id WHERE ` + enrolled

// enrolled are devices f that may come: of a revoked one its record is left. As all
// conditions on f it is one that PostgreSQL holds for true of many also while it knows
// nothing of the tables, after a restore: else it joins the fleet row by row.
const enrolled = `f.device_id NOT IN (SELECT e.device FROM enroll_devices e WHERE e.revoked_ms IS NOT NULL)`

// ofChannel are devices f that came with a channel last; of who said none it is the usual
// one. The others would keep places in small rings for nothing, and get theirs when they
// come. The rings are cut for all, since nobody knows how many a channel will have.
func ofChannel(channel, param string) string {
	return ` AND ` + inChannel("f.device_id", channel, param)
}

// fleetSize is how many devices there are to place.
func fleetSize(ctx context.Context, tx *db.Tx) (n int64, err error) {
	err = tx.QueryRow(ctx, `SELECT COUNT(*) FROM fleet_facts f WHERE `+enrolled).Scan(&n)
	return n, err
}

func readSpots(ctx context.Context, tx *db.Tx, release, where string, args ...any) (out []spot, err error) {
	systems, err := readSystems(ctx, tx, release)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, spotSQL+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s spot
		var os string
		if err := rows.Scan(&s.device, &s.owner, &s.school, &s.model, &os, &s.build, &s.antivirus); err != nil {
			return nil, err
		}
		if !systems[os] {
			s.unfit = unfitSystem
		}
		s.hash = spotHash(release, s.device)
		out = append(out, s)
	}
	return out, rows.Close()
}

// deal gives each its ring: whom nothing was released for the last one, so that the
// small ones have devices to learn from.
func deal(spots []spot, release string, rings []step) {
	slices.SortFunc(spots, func(a, b spot) int {
		return cmp.Or(cmp.Compare(a.model, b.model), cmp.Compare(a.build, b.build), cmp.Compare(a.antivirus, b.antivirus), cmp.Compare(a.owner, b.owner), cmp.Compare(a.hash, b.hash))
	})
	start := float64(spotHash(release, "")) / math.MaxUint64
	places := make([]float64, len(spots))
	for i := range spots {
		_, places[i] = math.Modf(start + float64(i)*(math.Phi-1))
	}
	// By rank and not by the place itself, so that a ring has exactly its number.
	ranked := make([]int, len(spots))
	for i := range ranked {
		ranked[i] = i
	}
	slices.SortFunc(ranked, func(a, b int) int {
		if apart := spots[a].unfit != fits; apart != (spots[b].unfit != fits) {
			if apart {
				return 1
			}
			return -1
		}
		return cmp.Compare(places[a], places[b])
	})
	ring := 0
	for rank, i := range ranked {
		for ring < len(rings)-1 && int64(rank) >= rings[ring].End {
			ring++
		}
		spots[i].ring = ring
	}
	slices.SortFunc(spots, func(a, b spot) int { return cmp.Compare(a.device, b.device) })
}

// place writes down who comes in which ring, before the first may begin. A crash in
// the middle leaves some of it, which the next run finds and goes on from: the order
// is the same as long as the fleet is, and who has a place keeps it.
func (r *Rollouts) place(ctx context.Context, o row) error {
	var spots []spot
	err := r.db.Read(ctx, func(tx *db.Tx) (err error) {
		spots, err = readSpots(ctx, tx, o.release, ofChannel(o.channel, "$1"), o.channel)
		return err
	})
	if err != nil {
		return fmt.Errorf("reading the fleet: %w", err)
	}
	if err := r.cut(ctx, &o); err != nil {
		return fmt.Errorf("cutting the rings: %w", err)
	}
	deal(spots, o.release, o.rings)
	for chunk := range slices.Chunk(spots, placeStep) {
		err := r.db.Write(ctx, func(tx *db.Tx) error {
			for _, s := range chunk {
				if err := s.insert(ctx, tx, o.id); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("giving devices their places: %w", err)
		}
	}
	return r.db.Write(ctx, func(tx *db.Tx) error {
		now, err := readRow(ctx, tx, o.id)
		if err != nil || now.state != Placing && now.state != Paused {
			return err
		}
		now.placed = true
		if now.state == Paused {
			if err := now.save(ctx, tx, false); err != nil {
				return err
			}
			return r.inherit(ctx, tx, &now)
		}
		now.entered = r.now()
		if err := now.turn(ctx, tx, Running, r.now()); err != nil {
			return err
		}
		if err := r.decide(ctx, tx, access.System("rollouts"), &now, "began", ""); err != nil {
			return err
		}
		return r.inherit(ctx, tx, &now)
	})
}

// cut cuts the rings anew for the fleet as it is when the first gets a place: one that
// waited for its second person may have been started for a few devices.
func (r *Rollouts) cut(ctx context.Context, o *row) error {
	return r.db.Write(ctx, func(tx *db.Tx) error {
		var places int64
		if err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM rollout_members WHERE rollout_id = $1 LIMIT 1) x`, o.id).Scan(&places); err != nil || places > 0 {
			return err
		}
		fleet, err := fleetSize(ctx, tx)
		if err != nil {
			return err
		}
		o.rings = r.cfg.Pace.steps(fleet)
		rings, err := json.Marshal(o.rings)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE rollouts SET rings = $2 WHERE id = $1`, o.id, string(rings))
		return err
	})
}

// inherit weighs what devices told since the rollout was started of an update that an
// ended rollout of the same release began, and for which they had no place here yet: what
// is told later concerns finds.
func (r *Rollouts) inherit(ctx context.Context, tx *db.Tx, o *row) error {
	rows, err := tx.Query(ctx, `SELECT g.device_id, g.told, g.reason, g.told_ms, g.outcome FROM rollout_members g JOIN rollouts e ON e.id = g.rollout_id
		WHERE e.release_id = $1 AND e.id <> $2 AND e.ended_ms IS NOT NULL AND g.outcome <> 0 AND g.told <> $3 AND g.told_ms >= $4 ORDER BY g.told_ms, g.device_id`,
		o.release, o.id, int64(hmpb.UpdateState_UPDATE_STATE_PRUNED), o.started.UnixMilli())
	if err != nil {
		return err
	}
	defer rows.Close()
	type end struct {
		device                        string
		told, reason, toldMS, outcome int64
	}
	var ends []end
	for rows.Next() {
		var e end
		if err := rows.Scan(&e.device, &e.told, &e.reason, &e.toldMS, &e.outcome); err != nil {
			return err
		}
		ends = append(ends, e)
	}
	if err := rows.Close(); err != nil {
		return err
	}
	for _, e := range ends {
		m, ok, err := readMember(ctx, tx, o.id, e.device)
		if err != nil {
			return err
		}
		if !ok || m.outcome != 0 {
			continue
		}
		o.counts[min(m.ring, len(o.counts)-1)].Reached++
		_, err = tx.Exec(ctx, `UPDATE rollout_members SET told = $3, reason = $4, told_ms = $5, outcome = $6, granted_ms = $5 WHERE rollout_id = $1 AND device_id = $2`, o.id, e.device, e.told, e.reason, e.toldMS, e.outcome)
		if err != nil {
			return err
		}
		if err := r.weigh(ctx, tx, o, m, e.outcome, ""); err != nil {
			return err
		}
	}
	return nil
}

func (s spot) insert(ctx context.Context, tx *db.Tx, rollout string) error {
	_, err := tx.Exec(ctx, `INSERT INTO rollout_members (rollout_id, device_id, ring, model, os_build, antivirus, owner_id, school_id, unfit) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (rollout_id, device_id) DO NOTHING`, rollout, s.device, int64(s.ring), s.model, s.build, s.antivirus, s.owner, s.school, string(s.unfit))
	return err
}

// late gives a device a place that was not there when the others got theirs.
func late(ctx context.Context, tx *db.Tx, o *row, device string) error {
	found, err := readSpots(ctx, tx, o.release, ` AND f.device_id = $1`, device)
	if err != nil || len(found) == 0 {
		return err
	}
	s := found[0]
	if s.ring = ringOf(o.rings, float64(s.hash)/math.MaxUint64); s.unfit != fits {
		s.ring = len(o.rings) - 1
	}
	return s.insert(ctx, tx, o.id)
}
