package fleet

import (
	"context"
	"fmt"
	"slices"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
)

// updated are the devices that have the word of a filter's Update. No query can ask for
// them, so they are found before, and taken out of what the rest of the filter leaves.
type updated struct{ ids []string }

// check refuses what says of no device whether it is one of the filter's.
func (f *Fleet) check(filter Filter) error {
	if filter.Update != "" && (f.updates == nil || !f.updates.Knows(filter.Update)) {
		return fmt.Errorf("%w: no such word for an update: %q", ErrInvalid, filter.Update)
	}
	return filter.check()
}

// few are all of them, if they are so few; ok is false of none, too.
func (u *updated) few(most int64) (ids []string, ok bool) {
	if u == nil || int64(len(u.ids)) > most {
		return nil, false
	}
	return append([]string{}, u.ids...), true
}

// only leaves of ids those that are among the updated.
func (u *updated) only(ids []string) []string {
	if u == nil || len(ids) == 0 {
		return ids
	}
	among := make(map[string]bool, len(u.ids))
	for _, id := range u.ids {
		among[id] = true
	}
	return slices.DeleteFunc(ids, func(id string) bool { return !among[id] })
}

// along finds the first of the updated by going along the devices of the rest of the
// filter in the list's order, which find gives: as many as should hold enough, then more.
func (f *Fleet) along(ctx context.Context, tx *db.Tx, u *updated, enough int, find func(most int) ([]string, error)) ([]string, error) {
	var isOne []bool
	all := 0
	err := f.facts.read(ctx, tx, func() { isOne, all = f.facts.among(u.ids), len(f.facts.all) })
	if err != nil {
		return nil, err
	}
	for most := 2 * enough * (all/len(u.ids) + 1); ; most *= 8 {
		ids, err := find(most)
		if err != nil {
			return nil, err
		}
		found := len(ids)
		err = f.facts.read(ctx, tx, func() {
			ids = slices.DeleteFunc(ids, func(id string) bool {
				i, known := f.facts.at[id]
				return !known || i >= len(isOne) || !isOne[i]
			})
		})
		if err != nil || len(ids) >= enough || found < most {
			return ids[:min(len(ids), enough)], err
		}
	}
}

// lookUp checks a filter and finds what its Update asks for: before a transaction begins,
// for whoever knows reads in his own.
func (f *Fleet) lookUp(ctx context.Context, caller access.Caller, filter Filter) (Filter, error) {
	if err := f.check(filter); err != nil || filter.Update == "" {
		return filter, err
	}
	if c := filter.Counted; c != nil && c.updated != nil {
		filter.updated = c.updated
		return filter, nil
	}
	ids, err := f.updates.DevicesWith(ctx, caller, filter.Update)
	if err != nil {
		return filter, fmt.Errorf("looking how far updates are: %w", err)
	}
	err = f.db.Read(ctx, func(tx *db.Tx) error {
		revoked, err := oneText(ctx, tx, `SELECT COALESCE(`+inOne(tx, "device")+`, '') FROM enroll_devices WHERE revoked_ms IS NOT NULL`)
		if err != nil {
			return err
		}
		gone := make(map[string]bool, len(revoked))
		for _, id := range revoked {
			gone[id] = true
		}
		ids = slices.DeleteFunc(ids, func(id string) bool { return gone[id] })
		return nil
	})
	if err != nil {
		return filter, fmt.Errorf("looking which devices are revoked: %w", err)
	}
	filter.updated = &updated{ids}
	return filter, nil
}
