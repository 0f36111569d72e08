package fleet

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
)

// facts is what searches and distributions ask of every device, in memory: some
// 20 MB for 70,000 of them. Each write of a device gives it the highest revision of
// all (nextRevision), so that whoever asks reads what was written since, in his own
// transaction, and finds what the database holds, whichever collector wrote it.
type facts struct {
	mu sync.RWMutex
	// below is guarded by mu
	revision int64
	at       map[string]int // index of an id
	all      []fact
	words    map[string]string // of fact, each once
}

type fact struct{ id, owner, school, model, search string }

// nextRevision is the revision of a device that is written.
const nextRevision = "(SELECT COALESCE(MAX(revision), 0) + 1 FROM devices)"

// read looks at the facts as they are in this transaction. Devices are never
// deleted, so none is there too many.
func (f *facts) read(ctx context.Context, tx *db.Tx, look func()) error {
	var now int64
	if err := tx.QueryRow(ctx, `SELECT COALESCE(MAX(revision), 0) FROM devices`).Scan(&now); err != nil {
		return err
	}
	f.mu.RLock()
	if f.revision < now {
		f.mu.RUnlock()
		if err := f.catchUp(ctx, tx); err != nil {
			return fmt.Errorf("reading what is new of the devices: %w", err)
		}
		f.mu.RLock()
	}
	defer f.mu.RUnlock()
	look()
	return nil
}

// catchUp reads what was written since the last time.
func (f *facts) catchUp(ctx context.Context, tx *db.Tx) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.at == nil {
		f.at, f.words = map[string]int{}, map[string]string{}
	}
	rows, err := tx.Query(ctx, `SELECT id, owner_id, COALESCE(school_id, ''), model, search, revision FROM devices WHERE revision > $1 ORDER BY revision`, f.revision)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var d fact
		var revision int64
		if err := rows.Scan(&d.id, &d.owner, &d.school, &d.model, &d.search, &revision); err != nil {
			return err
		}
		d.owner, d.school, d.model = f.once(d.owner), f.once(d.school), f.once(d.model)
		if i, known := f.at[d.id]; known {
			f.all[i] = d
		} else {
			f.at[d.id] = len(f.all)
			f.all = append(f.all, d)
		}
		f.revision = revision
	}
	return rows.Close()
}

// once gives the same text in the same memory.
func (f *facts) once(s string) string {
	if known, ok := f.words[s]; ok {
		return known
	}
	f.words[s] = s
	return s
}

// among says of each device whether it is one of these; for read's look.
func (f *facts) among(ids []string) []bool {
	out := make([]bool, len(f.all))
	for _, id := range ids {
		if i, known := f.at[id]; known {
			out[i] = true
		}
	}
	return out
}

// answers says whether facts know all that a filter asks but its state.
func (f Filter) answers() bool {
	return (f.Query != "" || f.updated != nil) && f.Finding == "" && f.Label == "" && f.Build == "" && f.Changed == 0
}

// holds says whether the device is one of a filter that facts can answer.
func (d fact) holds(caller access.Caller, f Filter, words []string) bool {
	if !caller.Sees(d.owner) || f.Owner != "" && f.Owner != d.owner || f.School != "" && f.School != d.school || f.Model != "" && f.Model != d.model {
		return false
	}
	for _, w := range words {
		if !strings.Contains(d.search, w) {
			return false
		}
	}
	return true
}

// find gives the ids of all devices of a filter, whatever its state.
func (f *Fleet) find(ctx context.Context, tx *db.Tx, caller access.Caller, filter Filter) (ids []string, err error) {
	switch q := f.query(caller, filter); {
	case filter.answers():
		words := words(filter.Query)
		err = f.facts.read(ctx, tx, func() {
			take := func(d fact) {
				if d.holds(caller, filter, words) {
					ids = append(ids, d.id)
				}
			}
			if filter.updated == nil {
				for _, d := range f.facts.all {
					take(d)
				}
				return
			}
			for _, id := range filter.updated.ids {
				if i, known := f.facts.at[id]; known {
					take(f.facts.all[i])
				}
			}
		})
		return ids, err
	case caller.Owners == nil && caller.Kind != "" && filter.Finding != "" && len(q.conditions) == 2:
		return withFinding(ctx, tx, filter.Finding)
	default:
		ids, err = oneText(ctx, tx, `SELECT COALESCE(`+inOne(tx, "d.id")+`, '') FROM devices d`+q.whereSQL()+` AND CAST($1 AS BIGINT) IS NOT NULL`, q.args...)
		return filter.updated.only(ids), err
	}
}

// withFinding are the devices that this is open about and that are not revoked, without a
// look at each.
func withFinding(ctx context.Context, tx *db.Tx, code string) ([]string, error) {
	return oneText(ctx, tx, `SELECT COALESCE(`+inOne(tx, "o.device_id")+`, '') FROM (SELECT DISTINCT device_id FROM health_open_findings
		WHERE code = $1 AND device_id NOT IN `+revokedSQL+`) o`, code)
}

// oneText gives what a query gives as one text with commas: 70,000 rows would take
// ten times as long.
func oneText(ctx context.Context, tx *db.Tx, query string, args ...any) ([]string, error) {
	var all string
	if err := tx.QueryRow(ctx, query, args...).Scan(&all); err != nil || all == "" {
		return nil, err
	}
	return strings.Split(all, ","), nil
}

// inOne is an aggregate: all values with commas between.
func inOne(tx *db.Tx, value string) string {
	if tx.Dialect() == db.Postgres {
		return "string_agg(" + value + ", ',')"
	}
	return "group_concat(" + value + ")"
}
