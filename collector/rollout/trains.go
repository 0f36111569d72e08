package rollout

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/proto/manifest"
)

// Launchers and policies have no rollout: each device takes them by itself at the pace
// that was signed, and leaves one by itself that it is not well with. What stands here
// is what devices say of that, for people; nothing is decided by it. Who wants to stop
// one blocks its release, or has it blocked by signature.

// ProductPolicy is the settings of all agents.
const ProductPolicy = "policy"

// trainProducts are those that devices tell of among their capabilities, as in
// launcher:1.2.0 and launcher-left:1.3.0.
var trainProducts = []string{manifest.ProductLauncher, ProductPolicy}

// Train is a version of a launcher or of a policy, and how far it has come.
type Train struct {
	Product, Version string
	Release          string    // id; empty = it has none, as policies, or was never signed here
	Signed           bool      // at present
	Known            bool      // at present, or was: devices may have come with one that was never published
	Blocked          time.Time // somebody took it off; zero = nobody
	Ramp             int64     // permille of the devices that may have it by now, by signature; with Signed
	Devices          int64     // that came with it last
	Left             int64     // that left it again by themselves
}

// train is what a device says of one product.
type train struct{ version, left string }

// trainsOf reads a Hello. What is no version is passed over.
func trainsOf(capabilities []string) map[string]train {
	var out map[string]train
	for _, c := range capabilities {
		what, version, _ := strings.Cut(c, ":")
		product, left := strings.CutSuffix(what, "-left")
		if !slices.Contains(trainProducts, product) || len(version) > maxText || !manifest.ValidVersion(version) {
			continue
		}
		if out == nil {
			out = map[string]train{}
		}
		t := out[product]
		if left {
			t.left = version
		} else {
			t.version = version
		}
		out[product] = t
	}
	return out
}

// noteTrains keeps what a device said; same = it said nothing new, or it is written.
func noteTrains(ctx context.Context, tx *db.Tx, device string, said map[string]train, write bool) (same bool, err error) {
	if len(said) == 0 { // an older agent, or one that somebody started by hand
		return true, nil
	}
	rows, err := tx.Query(ctx, `SELECT product, version, left_version FROM rollout_trains WHERE device_id = $1`, device)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	known := map[string]train{}
	for rows.Next() {
		var product string
		var t train
		if err := rows.Scan(&product, &t.version, &t.left); err != nil {
			return false, err
		}
		known[product] = t
	}
	if err := rows.Close(); err != nil {
		return false, err
	}
	for product, t := range said {
		if known[product] == t {
			continue
		}
		if !write {
			return false, nil
		}
		_, err := tx.Exec(ctx, `INSERT INTO rollout_trains (device_id, product, version, left_version) VALUES ($1, $2, $3, $4)
			ON CONFLICT (device_id, product) DO UPDATE SET version = excluded.version, left_version = excluded.left_version`, device, product, t.version, t.left)
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// Trains are all versions of launchers and policies that are signed or that devices of
// the caller have or left, by product, the newest first.
func (r *Rollouts) Trains(ctx context.Context, caller access.Caller) (out []Train, err error) {
	if err := caller.Allow(access.ReadRollouts); err != nil {
		return nil, err
	}
	err = r.db.Read(ctx, func(tx *db.Tx) error {
		all := map[[2]string]*Train{}
		if err := r.signedTrains(ctx, tx, all); err != nil {
			return err
		}
		for _, column := range []string{"version", "left_version"} {
			if err := countTrains(ctx, tx, caller, column, all); err != nil {
				return err
			}
		}
		out = make([]Train, 0, len(all))
		for _, t := range all {
			out = append(out, *t)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("counting launchers and policies: %w", err)
	}
	slices.SortFunc(out, func(a, b Train) int {
		if a.Product != b.Product {
			return strings.Compare(a.Product, b.Product)
		}
		return manifest.Compare(b.Version, a.Version)
	})
	return out, nil
}

// of is the one of a version, made where there is none.
func of(all map[[2]string]*Train, product, version string) *Train {
	key := [2]string{product, version}
	if all[key] == nil {
		all[key] = &Train{Product: product, Version: version}
	}
	return all[key]
}

// signedTrains are those that are or were signed here; of these that are no longer, the
// ones with a release.
func (r *Rollouts) signedTrains(ctx context.Context, tx *db.Tx, all map[[2]string]*Train) error {
	rows, err := tx.Query(ctx, `SELECT t.role, t.custom, COALESCE(t.gone_ms, 0), COALESCE(l.id, ''), COALESCE(l.blocked_ms, 0) FROM rollout_targets t LEFT JOIN rollout_releases l ON l.id = t.release_id
		WHERE t.kind = '`+kindPolicy+`' OR t.kind = '`+kindProgram+`' AND t.role = '`+manifest.RoleLauncher+`'`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var role, custom, id string
		var gone, blocked int64
		if err := rows.Scan(&role, &custom, &gone, &id, &blocked); err != nil {
			return err
		}
		var says struct {
			Version string        `json:"version"`
			Ramp    manifest.Ramp `json:"ramp"`
		}
		if json.Unmarshal([]byte(custom), &says) != nil || !manifest.ValidVersion(says.Version) {
			continue // a file of that role that no device takes
		}
		product := manifest.ProductLauncher
		if role == manifest.RolePolicy {
			product = ProductPolicy
		}
		t := of(all, product, says.Version)
		t.Release, t.Blocked, t.Known = id, timeOf(blocked), true
		if gone == 0 {
			t.Signed, t.Ramp = true, max(t.Ramp, reached(says.Ramp, r.now()))
		}
	}
	return rows.Close()
}

// reached is how much of a fleet a ramp lets have it, in permille.
func reached(ramp manifest.Ramp, now time.Time) int64 {
	return int64(sort.Search(manifest.Buckets, func(bucket int) bool { return ramp.Earliest(bucket).After(now) })) * 1000 / manifest.Buckets
}

// countTrains counts devices by what they have, or left.
func countTrains(ctx context.Context, tx *db.Tx, caller access.Caller, column string, all map[[2]string]*Train) error {
	scope, args := caller.Scope("f.owner_id", 1)
	rows, err := tx.Query(ctx, `SELECT x.product, x.`+column+`, COUNT(*) FROM rollout_trains x JOIN fleet_facts f ON f.device_id = x.device_id
		WHERE `+scope+` AND x.`+column+` <> '' GROUP BY x.product, x.`+column, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var product, version string
		var n int64
		if err := rows.Scan(&product, &version, &n); err != nil {
			return err
		}
		if t := of(all, product, version); column == "version" {
			t.Devices = n
		} else {
			t.Left = n
		}
	}
	return rows.Close()
}
