package question

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"hausmeister/collector/db"
	"hausmeister/proto/reading"
)

// patience is how many times as long as it took to make a week's columns they
// are left alone: devices tell of yesterday all day long, and in a small fleet
// nobody should wait for what costs nothing.
const patience = 100

// together is how many columns one transaction stores: reports wait meanwhile.
const together = 4

// weekOf is the number of a day's week.
func weekOf(day int64) int64 { return (day + 3) / 7 }

// firstDay is the Monday of a week.
func firstDay(week int64) int64 { return week*7 - 3 }

// Monday is the first day of a week.
func Monday(week int64) time.Time { return time.UnixMilli(firstDay(week) * dayMS).UTC() }

func (q *Questions) thisWeek() int64 { return weekOf(q.now().UnixMilli() / dayMS) }

// Refresh makes the columns of the weeks whose daily rows changed, the newest
// first, and returns how many it made. Those that were made a moment ago have
// to wait. While another collector makes them, it returns db.ErrLeased.
func (q *Questions) Refresh(ctx context.Context) (made int, err error) {
	err = q.lease.Hold(ctx, func(ctx context.Context) (err error) { made, err = q.refresh(ctx); return err })
	return made, err
}

func (q *Questions) refresh(ctx context.Context) (made int, err error) {
	oldest := q.thisWeek() - TrendWeeks + 1
	due, err := q.dueWeeks(ctx, oldest)
	if err != nil {
		return 0, fmt.Errorf("looking for weeks that changed: %w", err)
	}
	for _, w := range due {
		if err := q.build(ctx, w); err != nil {
			return made, fmt.Errorf("making the columns of the week of %s: %w", Monday(w.week).Format(time.DateOnly), err)
		}
		made++
	}
	err = q.db.Write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM question_weeks WHERE week < $1`, oldest)
		if err == nil && n > 0 {
			_, err = tx.Exec(ctx, `DELETE FROM question_columns WHERE week < $1`, oldest)
		}
		return err
	})
	return made, err
}

// dueWeek is a week and how often it had changed when it was found.
type dueWeek struct{ week, changes int64 }

func (q *Questions) dueWeeks(ctx context.Context, oldest int64) (due []dueWeek, err error) {
	err = q.db.Read(ctx, func(tx *db.Tx) error {
		due = nil
		rows, err := tx.Query(ctx, `SELECT c.week, c.changes FROM health_changed_weeks c LEFT JOIN question_weeks w ON w.week = c.week
			WHERE c.week >= $1 AND c.week <= $2 AND (w.week IS NULL OR w.changes <> c.changes AND w.built_ms + $3 * w.took_ms <= $4) ORDER BY c.week DESC`,
			oldest, q.thisWeek(), int64(patience), q.now().UnixMilli())
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var w dueWeek
			if err := rows.Scan(&w.week, &w.changes); err != nil {
				return err
			}
			due = append(due, w)
		}
		return rows.Close()
	})
	return due, err
}

// build makes the columns of one week.
func (q *Questions) build(ctx context.Context, w dueWeek) error {
	begin := q.now()
	all := Readings()
	columns := make([]*column, len(all))
	// From the last day back, a transaction each: what is known already is newer.
	for day := firstDay(w.week) + 6; day >= firstDay(w.week); day-- {
		if err := q.db.Read(ctx, func(tx *db.Tx) error { return takeDay(ctx, tx, day, all, columns) }); err != nil {
			return err
		}
	}
	places := make([]int, len(all))
	for i := range places {
		places[i] = i
	}
	for part := range slices.Chunk(places, together) {
		err := q.db.Write(ctx, func(tx *db.Tx) error {
			for _, i := range part {
				if err := storeColumn(ctx, tx, w.week, all[i].Name, columns[i]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return q.db.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO question_weeks (week, changes, built_ms, took_ms) VALUES ($1, $2, $3, $4)
			ON CONFLICT (week) DO UPDATE SET changes = excluded.changes, built_ms = excluded.built_ms, took_ms = excluded.took_ms`,
			w.week, w.changes, q.now().UnixMilli(), q.now().Sub(begin).Milliseconds())
		return err
	})
}

func storeColumn(ctx context.Context, tx *db.Tx, week int64, name string, c *column) error {
	if c == nil {
		_, err := tx.Exec(ctx, `DELETE FROM question_columns WHERE reading = $1 AND week = $2`, name, week)
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO question_columns (week, reading, body) VALUES ($1, $2, $3)
		ON CONFLICT (reading, week) DO UPDATE SET body = excluded.body`, week, name, c.encode())
	return err
}

// takeDay puts the rows of a day into the columns, where no later day has.
func takeDay(ctx context.Context, tx *db.Tx, day int64, all []reading.Reading, columns []*column) error {
	var most int64
	if err := tx.QueryRow(ctx, `SELECT COALESCE(MAX(number), 0) FROM fleet_facts`).Scan(&most); err != nil {
		return err
	}
	names := make([]string, len(all))
	row := make([]any, len(all))
	into := make([]any, len(all)+1)
	var number int64
	into[0] = &number
	for i, r := range all {
		names[i], into[i+1] = "h."+r.Name, &row[i]
	}
	rows, err := tx.Query(ctx, `SELECT f.number, `+strings.Join(names, ", ")+` FROM health_daily h JOIN fleet_facts f ON f.device_id = h.device_id WHERE h.day = $1`, day)
	if err != nil {
		return err
	}
	defer rows.Close()
	places := make([]map[string]int64, len(all))
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		for i, value := range row {
			if value == nil {
				continue
			}
			if columns[i] == nil {
				columns[i] = newColumn(int(most) + 1)
			}
			columns[i].take(int(number), value, &places[i])
		}
	}
	return rows.Close()
}

// take puts in a value that the database gave; places finds the words again.
func (c *column) take(number int, value any, places *map[string]int64) {
	if number >= len(c.values) {
		// Admitted since the first day of the week was read; the next build has it.
		return
	}
	if c.known.has(number) {
		return
	}
	switch v := value.(type) {
	case int64:
		c.values[number] = v
	case string:
		if *places == nil {
			*places = map[string]int64{}
			for i, word := range c.words {
				(*places)[word] = int64(i)
			}
		}
		at, ok := (*places)[v]
		if !ok {
			at = int64(len(c.words))
			c.words = append(c.words, v)
			(*places)[v] = at
		}
		c.values[number] = at
	default:
		return
	}
	c.known.add(number)
}
