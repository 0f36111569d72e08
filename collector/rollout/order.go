package rollout

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"hausmeister/collector/db"
	"hausmeister/proto/manifest"
)

// Which of several rollouts of a channel devices should follow is a question of the
// versions, and not of who began later: an older release begun by mistake must not
// become what everybody is to have.

// stands is the version that a release counts as: a way back counts as what it leads
// back from, and stands above it.
func stands(version, rollbackOf string) string { return cmp.Or(rollbackOf, version) }

func compareReleases(aVersion, aBack, bVersion, bBack string) int {
	if c := manifest.Compare(stands(aVersion, aBack), stands(bVersion, bBack)); c != 0 {
		return c
	}
	switch {
	case (aBack == "") == (bBack == ""):
		return 0
	case aBack == "":
		return -1
	}
	return 1
}

// newestFirst puts the rollouts of channels into the order in which devices follow them.
// One that halted stands before those that began earlier and behind those that began
// since: somebody went on with these, though the version be an older one.
func newestFirst(rows []row) {
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(compareReleases(b.version, b.rollbackOf, a.version, a.rollbackOf), b.started.Compare(a.started), cmp.Compare(b.id, a.id))
	})
	var going, halted []row
	for _, o := range rows {
		if o.state == Halted {
			halted = append(halted, o)
		} else {
			going = append(going, o)
		}
	}
	slices.SortStableFunc(halted, func(a, b row) int { return b.started.Compare(a.started) })
	for i := range rows {
		if len(going) == 0 || len(halted) > 0 && halted[0].started.After(going[0].started) {
			rows[i], halted = halted[0], halted[1:]
		} else {
			rows[i], going = going[0], going[1:]
		}
	}
}

// Wanted is the rollout, of those of List, that devices should have followed.
func Wanted(rollouts []Rollout) (Rollout, bool) {
	var rows []row
	byID := map[string]Rollout{}
	for _, o := range rollouts {
		if o.State != Aborted && o.State != Waiting {
			rows, byID[o.ID] = append(rows, row{id: o.ID, state: o.State, started: o.Started, version: o.Version, rollbackOf: o.RollbackOf}), o
		}
	}
	if len(rows) == 0 {
		return Rollout{}, false
	}
	newestFirst(rows)
	return byID[rows[0].id], true
}

// passed says that a release may not begin: a newer one goes over its channel, or went.
func passed(ctx context.Context, tx *db.Tx, product, channel, version, rollbackOf string) error {
	rows, err := readRows(ctx, tx, `o.state IN ('placing', 'running', 'paused', 'done', 'replaced') AND r.product = $1 AND r.channel = $2`, product, channel)
	if err != nil {
		return err
	}
	for _, o := range rows {
		if compareReleases(version, rollbackOf, o.version, o.rollbackOf) < 0 {
			return fmt.Errorf("%w: %s %w", ErrState, o.version, ErrOlder)
		}
	}
	return nil
}

// Passed says whether a release cannot begin for that reason, and which version stands
// in its way. The rollouts are those of List.
func Passed(rel Release, rollouts []Rollout) (by string, yes bool) {
	for _, o := range rollouts {
		if o.Product != rel.Product || o.Channel != rel.Channel || !slices.Contains([]State{Placing, Running, Paused, Done, Replaced}, o.State) {
			continue
		}
		if compareReleases(rel.Version, rel.RollbackOf, o.Version, o.RollbackOf) < 0 && (by == "" || manifest.Compare(o.Version, by) > 0) {
			by = o.Version
		}
	}
	return by, by != ""
}

// steps are of done rollouts, the newest first, that one and those by which devices come to
// it that are too old to go there directly: each is for older ones than the one kept before.
func steps(ctx context.Context, tx *db.Tx, done []row) (map[string]bool, error) {
	kept, from, last := map[string]bool{}, "", ""
	for i, o := range done {
		p, _, err := readRelease(ctx, tx, o.release)
		if err != nil {
			return nil, err
		}
		leads := from != "" && manifest.Compare(o.version, from) >= 0 && manifest.Compare(o.version, last) < 0
		if i == 0 || leads && (p.MinFrom == "" || manifest.Compare(p.MinFrom, from) < 0) {
			kept[o.id], from, last = true, p.MinFrom, o.version
		}
	}
	return kept, nil
}
