package rollout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/calendar"
	"hausmeister/collector/db"
	"hausmeister/collector/pace"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/reading"
)

// Window is when devices of an owner may begin, and what the lines of his schools bear.
type Window struct {
	Owner    string
	From, To int   // of lessons, in minutes of the day
	Rate     int64 // bytes a second and school; 0 = the collector's own default
	Parallel int64 // devices of a school that fetch at once; 0 = the default
	Days     []Days
}

// DaysKind is what days are.
type DaysKind string

const (
	Closed DaysKind = "closed" // no updates, such as exam weeks
	Free   DaysKind = "free"   // no lessons, such as movable days off
)

// DaysKinds are all of them.
var DaysKinds = []DaysKind{Closed, Free}

// Days are a run of them, of one school or of all of an owner.
type Days struct {
	ID     string
	School string // id; empty = all
	Kind   DaysKind
	calendar.Span
}

// window is what one device must keep to.
type window struct {
	lessons        calendar.Lessons
	closed         []calendar.Span
	rate, parallel int64
}

func (w window) closedOn(t time.Time) bool {
	d := calendar.DayOf(t)
	return slices.ContainsFunc(w.closed, func(s calendar.Span) bool { return s.Holds(d) })
}

func readWindow(ctx context.Context, tx *db.Tx, owner, school string) (w window, err error) {
	w.lessons = calendar.DefaultLessons()
	var from, to int64
	err = tx.QueryRow(ctx, `SELECT lessons_from, lessons_to, rate, parallel FROM rollout_owners WHERE owner_id = $1`, owner).Scan(&from, &to, &w.rate, &w.parallel)
	switch {
	case err == nil:
		w.lessons.From, w.lessons.To = int(from), int(to)
	case !errors.Is(err, db.ErrNoRows):
		return w, err
	}
	return w, eachDays(ctx, tx, `SELECT owner_id, school_id, kind, from_day, to_day FROM rollout_days WHERE owner_id = $1 AND (school_id = '' OR school_id = $2)`, []any{owner, school},
		func(_, _ string, kind DaysKind, s calendar.Span) { w.add(kind, s) })
}

func (w *window) add(kind DaysKind, s calendar.Span) {
	if kind == Free {
		w.lessons.Free = append(w.lessons.Free, s)
	} else {
		w.closed = append(w.closed, s)
	}
}

func eachDays(ctx context.Context, tx *db.Tx, query string, args []any, each func(owner, school string, kind DaysKind, s calendar.Span)) error {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var owner, school string
		var kind DaysKind
		var s calendar.Span
		if err := rows.Scan(&owner, &school, &kind, &s.From, &s.To); err != nil {
			return err
		}
		each(owner, school, kind, s)
	}
	return rows.Close()
}

// closedAt says that no update may begin then.
func (w window) closedAt(t time.Time) bool { return w.closedOn(t) || w.lessons.During(t) }

// span is a time in which nothing begins.
type span struct{ from, to time.Time }

// quietMost is how many an offer tells of, as the protocol has it.
const quietMost = 32

// quiet are the lessons and closed days that a time touches, in order; closed days do
// not count where they are passed over.
func (w window) quiet(from, to time.Time, passed bool) (out []span) {
	for d := calendar.DayOf(from); d.At(0).Before(to) && len(out) < quietMost; d = d.Next() {
		var s span
		switch at := d.At(12 * 60); {
		case w.closedOn(at) && !passed:
			s = span{d.At(0), d.Next().At(0)}
		case w.lessons.SchoolDay(d):
			s = span{d.At(w.lessons.From), d.At(w.lessons.To)}
		}
		switch n := len(out); {
		case !s.from.Before(s.to), !s.to.After(from), !s.from.Before(to):
		case n > 0 && !s.from.After(out[n-1].to):
			out[n-1].to = s.to
		default:
			out = append(out, s)
		}
	}
	return out
}

func quietAt(all []span, t time.Time) bool {
	return slices.ContainsFunc(all, func(s span) bool { return !t.Before(s.from) && t.Before(s.to) })
}

func quietOf(all []span) (out []*hmpb.Quiet) {
	for _, s := range all {
		out = append(out, hmpb.Quiet_builder{FromMs: new(s.from.UnixMilli()), ToMs: new(s.to.UnixMilli())}.Build())
	}
	return out
}

// open is for how long bytes may come, 0 = for any time, or says when they may.
func (w window) open(now time.Time, passed bool) (time.Duration, error) {
	all := w.quiet(now, now.Add(pace.MaxWait), passed)
	switch {
	case len(all) == 0:
		return 0, nil
	case all[0].from.After(now):
		return all[0].from.Sub(now), nil
	}
	return 0, &pace.LaterError{After: min(all[0].to.Sub(now), pace.MaxWait)}
}

// line is the way to a school, or to its owner where no school is known.
func (w window) line(owner, school string) pace.Line {
	return pace.Line{Key: cmp.Or(school, owner), Rate: w.rate, Parallel: int(w.parallel)}
}

// Window tells it of one owner.
func (r *Rollouts) Window(ctx context.Context, caller access.Caller, owner string) (out Window, err error) {
	if err := caller.Allow(access.ReadRollouts); err != nil {
		return Window{}, err
	}
	if !caller.Sees(owner) {
		return Window{}, access.ErrNotFound
	}
	err = r.db.Read(ctx, func(tx *db.Tx) error {
		w, err := readWindow(ctx, tx, owner, "")
		if err != nil {
			return err
		}
		out = Window{Owner: owner, From: w.lessons.From, To: w.lessons.To, Rate: w.rate, Parallel: w.parallel}
		rows, err := tx.Query(ctx, `SELECT id, school_id, kind, from_day, to_day, name FROM rollout_days WHERE owner_id = $1 ORDER BY from_day, id`, owner)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var d Days
			if err := rows.Scan(&d.ID, &d.School, &d.Kind, &d.From, &d.To, &d.Name); err != nil {
				return err
			}
			out.Days = append(out.Days, d)
		}
		return rows.Close()
	})
	if err != nil {
		return Window{}, fmt.Errorf("reading when updates may begin: %w", err)
	}
	return out, nil
}

func (w Window) check() error {
	switch {
	case w.From < 0 || w.From > 24*60:
		return &InvalidError{"lessons_from", "want a time within a day"}
	case w.To > 24*60:
		return &InvalidError{"lessons_to", "want a time within a day"}
	case w.To < w.From:
		return &InvalidError{"lessons_to", "want a time that is not before lessons_from"}
	case w.Rate < 0:
		return &InvalidError{"bytes_per_second", "want 0 or more"}
	case w.Parallel < 0 || w.Parallel > 1000:
		return &InvalidError{"parallel", "want 0 to 1000"}
	}
	return nil
}

// SetWindow changes the hours and the lines of an owner; its Days are not looked at.
func (r *Rollouts) SetWindow(ctx context.Context, caller access.Caller, w Window) error {
	if err := caller.Allow(access.WriteSettings); err != nil {
		return err
	}
	if !caller.Sees(w.Owner) {
		return access.ErrNotFound
	}
	if err := w.check(); err != nil {
		return err
	}
	return r.setting(ctx, caller, w.Owner, "window.set", func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO rollout_owners (owner_id, lessons_from, lessons_to, rate, parallel) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (owner_id) DO UPDATE SET lessons_from = excluded.lessons_from, lessons_to = excluded.lessons_to, rate = excluded.rate, parallel = excluded.parallel`,
			w.Owner, int64(w.From), int64(w.To), w.Rate, w.Parallel)
		return err
	})
}

// maxDays bounds a run of days: an owner who closes a year has no updates.
const maxDays = 92

func (d Days) check() error {
	switch {
	case d.Kind != Closed && d.Kind != Free:
		return &InvalidError{"kind", fmt.Sprintf("want %s or %s", Closed, Free)}
	case !d.From.Valid():
		return &InvalidError{"from", "want a day such as 2026-12-24"}
	case !d.To.Valid():
		return &InvalidError{"to", "want a day such as 2026-12-24"}
	case d.To < d.From:
		return &InvalidError{"to", "want a day that is not before from"}
	case !withinDays(d.Span, maxDays):
		return &InvalidError{"to", fmt.Sprintf("want a day that is at most %d days after from", maxDays)}
	case !reading.Printable(d.Name, maxReason):
		return &InvalidError{"name", fmt.Sprintf("want printable text of at most %d bytes", maxReason)}
	}
	return nil
}

// withinDays says whether a span ends at most so many days after its first: by the
// calendar, since the night in which the clocks go back has an hour more.
func withinDays(s calendar.Span, most int) bool {
	from, err1 := time.Parse(time.DateOnly, string(s.From))
	to, err2 := time.Parse(time.DateOnly, string(s.To))
	return err1 == nil && err2 == nil && !to.After(from.AddDate(0, 0, most))
}

// AddDays closes days, or says that a school has them off.
func (r *Rollouts) AddDays(ctx context.Context, caller access.Caller, owner string, d Days) (id string, err error) {
	if err := caller.Allow(access.WriteSettings); err != nil {
		return "", err
	}
	if !caller.Sees(owner) {
		return "", access.ErrNotFound
	}
	if err := d.check(); err != nil {
		return "", err
	}
	err = r.setting(ctx, caller, owner, "window.days_added", func(tx *db.Tx) error {
		if d.School != "" {
			var n int64
			if err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM fleet_schools WHERE school_id = $1 AND owner_id = $2`, d.School, owner).Scan(&n); err != nil {
				return err
			}
			if n == 0 {
				return access.ErrNotFound
			}
		}
		id = ident.NewID(r.now())
		_, err := tx.Exec(ctx, `INSERT INTO rollout_days (id, owner_id, school_id, kind, from_day, to_day, name) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			id, owner, d.School, string(d.Kind), string(d.From), string(d.To), d.Name)
		return err
	})
	return id, err
}

// RemoveDays takes them back.
func (r *Rollouts) RemoveDays(ctx context.Context, caller access.Caller, owner, id string) error {
	if err := caller.Allow(access.WriteSettings); err != nil {
		return err
	}
	if !caller.Sees(owner) {
		return access.ErrNotFound
	}
	return r.setting(ctx, caller, owner, "window.days_removed", func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM rollout_days WHERE id = $1 AND owner_id = $2`, id, owner)
		if err == nil && n == 0 {
			err = access.ErrNotFound
		}
		return err
	})
}

func (r *Rollouts) setting(ctx context.Context, caller access.Caller, owner, action string, change func(tx *db.Tx) error) error {
	err := r.db.Write(ctx, func(tx *db.Tx) error {
		var n int64
		if err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM fleet_owners WHERE id = $1`, owner).Scan(&n); err != nil {
			return err
		}
		if n == 0 {
			return access.ErrNotFound
		}
		if err := change(tx); err != nil {
			return err
		}
		return audit.Append(ctx, tx, audit.Entry{AtMS: r.now().UnixMilli(), Actor: caller.Actor(), Action: action, Subject: "owner:" + owner, Owner: owner})
	})
	if err != nil {
		return fmt.Errorf("changing when updates may begin: %w", err)
	}
	r.tell()
	return nil
}
