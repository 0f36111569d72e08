package fleet

import (
	"context"
	"fmt"
	"strings"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
)

// total counts the devices of the filter, its State too. found are those whatever
// their state, where they are few and had to be looked for.
func (f *Fleet) total(ctx context.Context, tx *db.Tx, caller access.Caller, filter Filter) (n int64, found []string, err error) {
	if filter.State != "" {
		c, err := f.counts(ctx, tx, caller, filter)
		return c.of(filter.State), c.found, err
	}
	q := f.query(caller, filter)
	if filter.Query != "" || filter.updated != nil {
		ids, err := f.find(ctx, tx, caller, filter)
		if n = int64(len(ids)); n <= f.looked {
			found = ids
		}
		return n, found, err
	}
	q.unstated()
	err = tx.QueryRow(ctx, "SELECT count(*) FROM devices d"+q.whereSQL(), q.args...).Scan(&n)
	return n, nil, err
}

// of counts those of a state, or without one all.
func (c Counts) of(state State) int64 {
	if state == "" {
		return c.Total
	}
	return c.States[state]
}

// Total counts the devices that the caller may see.
func (f *Fleet) Total(ctx context.Context, caller access.Caller) (n int64, err error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return 0, err
	}
	where, args := caller.Scope("owner_id", 1)
	err = f.db.Read(ctx, func(tx *db.Tx) error {
		return tx.QueryRow(ctx, `SELECT count(*) FROM devices WHERE `+where, args...).Scan(&n)
	})
	if err != nil {
		return 0, fmt.Errorf("counting devices: %w", err)
	}
	return n, nil
}

// Counts counts the devices of the filter by state.
func (f *Fleet) Counts(ctx context.Context, caller access.Caller, filter Filter) (Counts, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return Counts{}, err
	}
	filter, err := f.lookUp(ctx, caller, filter)
	if err != nil {
		return Counts{}, err
	}
	var c Counts
	err = f.db.Read(ctx, func(tx *db.Tx) (err error) {
		c, err = f.counts(ctx, tx, caller, filter)
		return err
	})
	if err != nil {
		return Counts{}, fmt.Errorf("counting devices: %w", err)
	}
	return c, nil
}

// counts adds up the states as if nothing were revoked, and then takes out the
// few devices that are: grouping by the whole rule costs four times as much.
func (f *Fleet) counts(ctx context.Context, tx *db.Tx, caller access.Caller, filter Filter) (Counts, error) {
	q := f.query(caller, filter)
	where := q.whereSQL()
	var all stateSums
	var found []string
	var err error
	if caller.Owners == nil && len(q.conditions) == 1 {
		all, err = sumsOfAll(ctx, tx, q.args[0])
	} else {
		var ids []string
		if ids, err = f.find(ctx, tx, caller, filter); err == nil {
			all, found, err = f.sumsOfSome(ctx, tx, ids, q.args[0])
		}
	}
	if err != nil {
		return Counts{}, err
	}
	// CROSS makes SQLite begin with the few that are revoked.
	revoked, err := sums(ctx, tx, "enroll_devices e CROSS JOIN devices d LEFT JOIN health_devices h ON h.device_id = d.id"+
		where+" AND d.id = e.device AND e.revoked_ms IS NOT NULL", q.args)
	if err != nil {
		return Counts{}, err
	}
	c := Counts{found: found, updated: filter.updated, Total: all.total, States: map[State]int64{
		StateRevoked:   revoked.total,
		StateCritical:  all.critical - revoked.critical,
		StateWarning:   all.warning - revoked.warning,
		StateConnected: all.connected - revoked.connected,
		StateNew:       all.fresh - revoked.fresh,
		StateSilent:    all.silent - revoked.silent,
	}}
	c.States[StateOK] = c.Total
	for _, state := range States {
		if state != StateOK {
			c.States[StateOK] -= c.States[state]
		}
	}
	return c, nil
}

type stateSums struct{ total, critical, warning, connected, fresh, silent int64 }

func sums(ctx context.Context, tx *db.Tx, from string, args []any) (s stateSums, err error) {
	err = tx.QueryRow(ctx, `SELECT count(*),
		count(CASE WHEN h.worst >= 3 AND (`+heardSQL+`) THEN 1 END),
		count(CASE WHEN h.worst = 2 AND (`+heardSQL+`) THEN 1 END),
		count(CASE WHEN h.connected = 1 AND h.worst < 2 THEN 1 END),
		count(CASE WHEN h.connected = 1 THEN NULL WHEN h.reported = 1 THEN NULL ELSE 1 END),
		count(CASE WHEN h.connected = 1 OR h.reported = 0 THEN NULL WHEN h.last_contact_day < $1 THEN 1 END)
		FROM `+from, args...).Scan(&s.total, &s.critical, &s.warning, &s.connected, &s.fresh, &s.silent)
	return s, err
}

// mostLooked is how many devices' states are looked up one by one; of more than
// this it is quicker to read the states of all.
const mostLooked = 500

// sumsOfSome is sums of these devices, which were looked for once: that is what costs
// most. found are they, where they are few.
func (f *Fleet) sumsOfSome(ctx context.Context, tx *db.Tx, ids []string, firstDay any) (s stateSums, found []string, err error) {
	if len(ids) == 0 {
		return s, nil, nil
	}
	if int64(len(ids)) <= f.looked {
		s, err = sumsOfFew(ctx, tx, firstDay, ids)
		return s, ids, err
	}
	s = stateSums{total: int64(len(ids)), fresh: int64(len(ids))}
	// A letter before each id is quicker than groups, which the database would sort.
	// Who is new is among those that health has never heard of, and left out.
	var marked string
	err = tx.QueryRow(ctx, `SELECT COALESCE(`+inOne(tx, `CASE
		WHEN h.worst >= 2 AND (`+heardSQL+`) THEN CASE WHEN h.worst >= 3 THEN 'c' ELSE 'w' END
		WHEN h.connected = 1 THEN 'l' WHEN h.last_contact_day < $1 THEN 's' ELSE 'o' END || h.device_id`)+`, '')
		FROM health_devices h WHERE h.connected = 1 OR h.reported <> 0`, firstDay).Scan(&marked)
	if err != nil {
		return s, nil, err
	}
	counted := map[byte]*int64{'c': &s.critical, 'w': &s.warning, 'l': &s.connected, 's': &s.silent, 'o': new(int64)}
	err = f.facts.read(ctx, tx, func() {
		some := f.facts.among(ids)
		for one := range strings.SplitSeq(marked, ",") {
			if one == "" {
				continue
			}
			if i, known := f.facts.at[one[1:]]; known && some[i] {
				*counted[one[0]]++
				s.fresh--
			}
		}
	})
	return s, nil, err
}

// sumsOfFew is sums of these devices, by what health knows of them.
func sumsOfFew(ctx context.Context, tx *db.Tx, firstDay any, ids []string) (stateSums, error) {
	q := query{args: []any{firstDay}}
	q.among(ids)
	s, err := sums(ctx, tx, "health_devices h WHERE "+strings.Replace(q.conditions[0], "d.id", "h.device_id", 1), q.args)
	n := int64(len(ids))
	s.total, s.fresh = n, s.fresh+n-s.total
	return s, err
}

// sumsOfAll is sums of every device there is, without joining one with the
// other: the first thing that a page over all of Hesse asks.
func sumsOfAll(ctx context.Context, tx *db.Tx, firstDay any) (stateSums, error) {
	s, err := sums(ctx, tx, "health_devices h", []any{firstDay})
	if err != nil {
		return stateSums{}, err
	}
	known := s.total
	err = tx.QueryRow(ctx, `SELECT count(*) FROM devices`).Scan(&s.total)
	s.fresh += s.total - known // devices that health has never heard of
	return s, err
}
