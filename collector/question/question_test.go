package question_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/crowd"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/health"
	"hausmeister/collector/question"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// told is what one device of a test is and told on its last day.
type told struct {
	id, owner, model, kind string
	battery                int64
	build                  string
}

// fill admits n devices that told yesterday, and some a week ago too.
func (w *world) fill(n int) (all []told) {
	w.t.Helper()
	schools := w.schools()
	for i := range n {
		s := schools[[]string{"S1", "S2", "S3"}[i%3]]
		d := told{owner: s.Owner, kind: s.Kind, model: []string{"LIFEBOOK A3510", "ThinkPad X13", "MacBook Air 100%_"}[i%7%3], battery: int64(i*37) % 1000, build: fmt.Sprintf("build %d", i%4)}
		d.id = w.admit(s, d.model)
		if i%5 == 4 { // never told
			d.battery, d.build = -1, ""
		} else {
			if i%2 == 0 {
				w.tells(d.id, w.now.AddDate(0, 0, -7), number(reading.BatteryCharge, 999), text(reading.OSBuild, "old"))
			}
			w.tells(d.id, w.now.AddDate(0, 0, -1), number(reading.BatteryCharge, d.battery), text(reading.OSBuild, d.build))
		}
		all = append(all, d)
	}
	w.merges()
	return all
}

func count(all []told, is func(told) bool) (n int64) {
	for _, d := range all {
		if is(d) {
			n++
		}
	}
	return n
}

// TestAsk asks the same of the database and of the devices themselves.
func TestAsk(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		all := w.fill(90)
		ahorn := all[0].owner
		known := func(d told) bool { return d.battery >= 0 }
		for _, c := range []struct {
			if_    string
			caller access.Caller
			is, of func(told) bool // true of, what it asks for
		}{
			{"battery_charge.lt.600", system, func(d told) bool { return d.battery < 600 }, nil},
			{"battery_charge.le.37", system, func(d told) bool { return d.battery <= 37 }, nil},
			{"battery_charge.eq.74", system, func(d told) bool { return d.battery == 74 }, nil},
			{"battery_charge.ge.600", system, func(d told) bool { return d.battery >= 600 }, nil},
			{"battery_charge.gt.962", system, func(d told) bool { return d.battery > 962 }, nil},
			{"battery_charge.lt.600", user("u", access.RoleRead, ahorn), func(d told) bool { return d.battery < 600 }, func(d told) bool { return d.owner == ahorn }},
			{"battery_charge.lt.600", user("u", access.RoleRead, "nobody's"), func(d told) bool { return true }, func(d told) bool { return false }},
			{"battery_charge.lt.600 & model.is.ThinkPad X13 & school_kind.is.Gymnasium", system, func(d told) bool { return d.battery < 600 },
				func(d told) bool { return d.model == "ThinkPad X13" && d.kind == "Gymnasium" }},
			{"os_build.is.build 2", system, func(d told) bool { return d.build == "build 2" }, nil},
			{"os_build.not.build 2", system, func(d told) bool { return d.build != "build 2" }, nil},
			{"os_build.contains.LD 3", system, func(d told) bool { return d.build == "build 3" }, nil},
			{"os_build.is.old", system, func(d told) bool { return false }, nil},
			{"os_build.is.build 1 & battery_charge.ge.500", system, func(d told) bool { return d.build == "build 1" && d.battery >= 500 }, nil},
			{"battery_charge.ge.0 & model.contains.air 100%_", system, func(d told) bool { return true }, func(d told) bool { return strings.HasPrefix(d.model, "MacBook") }},
			{"battery_charge.ge.0 & model.contains.air 100_%", system, func(d told) bool { return true }, func(d told) bool { return false }},
			{"battery_charge.ge.0 & model.not.ThinkPad X13", system, func(d told) bool { return true }, func(d told) bool { return d.model != "ThinkPad X13" }},
			{"battery_charge.ge.0 & owner.is." + ahorn, system, func(d told) bool { return true }, func(d told) bool { return d.owner == ahorn }},
			{"battery_charge.ge.0 & os.is.linux", system, func(d told) bool { return true }, func(d told) bool { return false }},
		} {
			of := c.of
			if of == nil {
				of = func(told) bool { return true }
			}
			got, hits, _, err := w.Ask(t.Context(), c.caller, ask(t, strings.Split(c.if_, " & ")...), question.Page{Limit: 500})
			if err != nil {
				t.Errorf("%s: %v", c.if_, err)
				continue
			}
			want := [3]int64{count(all, of), count(all, func(d told) bool { return of(d) && known(d) }), count(all, func(d told) bool { return of(d) && known(d) && c.is(d) })}
			if have := [3]int64{got.Devices, got.Known, got.Matching}; have != want || int64(len(hits)) != want[2] {
				t.Errorf("%s = %d of %d of %d with %d devices, want %v", c.if_, have[2], have[1], have[0], len(hits), want)
			}
		}
	})
}

// TestAskForFindings: what is open about a device is asked of now.
func TestAskForFindings(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		all := w.fill(20)
		severity := hmpb.Severity_SEVERITY_WARNING
		w.sends(all[3].id, hmpb.Entry_builder{Finding: hmpb.Finding_builder{Code: new("disk_low"), Instance: new("/"), Severity: &severity, Raised: new(true), Arguments: []*hmpb.Argument{
			hmpb.Argument_builder{Name: new("free"), Number: new(int64(1))}.Build(), hmpb.Argument_builder{Name: new("total"), Number: new(int64(2))}.Build()}}.Build()}.Build())
		a, hits, _, err := w.Ask(t.Context(), system, ask(t, "finding.is.disk_low"), question.Page{})
		if err != nil || a.Matching != 1 || len(hits) != 1 || hits[0].Device != all[3].id {
			t.Errorf("Ask(finding.is.disk_low) = %+v, %+v, %v, want the one device", a, hits, err)
		}
		a, _, _, err = w.Ask(t.Context(), system, ask(t, "finding.not.disk_low"), question.Page{})
		if err != nil || a.Matching != 19 {
			t.Errorf("Ask(finding.not.disk_low) = %+v, %v, want 19", a, err)
		}
		// What is open about a device that is revoked is part of its past.
		w.must(d.Write(t.Context(), func(tx *db.Tx) error {
			_, err := tx.Exec(t.Context(), `INSERT INTO enrolled (device, revoked_ms) VALUES ($1, 1)`, all[3].id)
			return err
		}))
		if a, _, _, err = w.Ask(t.Context(), system, ask(t, "finding.is.disk_low"), question.Page{}); err != nil || a.Matching != 0 {
			t.Errorf("Ask(finding.is.disk_low) after it was revoked = %+v, %v, want none", a, err)
		}
	})
}

// TestAskForAgents: the version that a device came with last counts.
func TestAskForAgents(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		all := w.fill(9)
		come := func(i int, session int64, version string) {
			_, err := w.health.Begin(t.Context(), access.ForDevice(all[i].id, all[i].owner), session, []byte(all[i].id)[:16], version)
			w.must(err)
		}
		come(0, 1, "1.8.1")
		come(1, 2, "1.8.1")
		come(2, 3, "1.8.2")
		w.now = w.now.AddDate(0, 0, 1)
		come(0, 4, "1.8.2")
		for asked, want := range map[string]int64{"agent.is.1.8.1": 1, "agent.is.1.8.2": 2, "agent.not.1.8.2": 7, "agent.is.1.9": 0} {
			a, _, _, err := w.Ask(t.Context(), system, ask(t, asked), question.Page{})
			if err != nil || a.Matching != want {
				t.Errorf("Ask(%s) = %+v, %v, want %d", asked, a, err, want)
			}
		}
		if got, err := w.Choices(t.Context(), system, "agent"); err != nil || !slices.Equal(got, []string{"1.8.1", "1.8.2"}) {
			t.Errorf("Choices(agent) = %q, %v", got, err)
		}
		if got, err := w.Choices(t.Context(), user("u", access.RoleRead, all[1].owner), "agent"); err != nil || len(got) == 0 || all[1].owner == all[2].owner && len(got) != 2 {
			t.Errorf("Choices(agent) of one owner = %q, %v", got, err)
		}
	})
}

// TestPages: every matching device once, by its value, however the pages are cut;
// an export gives the same.
func TestPages(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.fill(60)
		for _, asked := range []string{"battery_charge.lt.700", "os_build.not.build 0", "model.is.ThinkPad X13"} {
			q := ask(t, asked)
			for _, desc := range []bool{false, true} {
				a, want, _, err := w.Ask(t.Context(), system, q, question.Page{Desc: desc, Limit: 500})
				w.must(err)
				if int64(len(want)) != a.Matching || a.Matching < 10 {
					t.Fatalf("%s has %d devices on one page of %d", asked, len(want), a.Matching)
				}
				if !slices.IsSortedFunc(want, func(a, b question.Hit) int {
					c := int(a.Number-b.Number) + strings.Compare(a.Text, b.Text)
					if desc {
						return -c
					}
					return c
				}) {
					t.Errorf("%s, desc %v, is not in order: %+v", asked, desc, want)
				}
				var got []question.Hit
				cursor := ""
				for range 100 {
					_, hits, next, err := w.Ask(t.Context(), system, q, question.Page{Desc: desc, Limit: 7, Cursor: cursor})
					w.must(err)
					got = append(got, hits...)
					if cursor = next; cursor == "" {
						break
					}
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s, desc %v, by pages of 7: %d devices, want the %d of one page in their order", asked, desc, len(got), len(want))
				}
				got = nil
				w.must(w.Export(t.Context(), system, q, desc, func(hits []question.Hit) error { got = append(got, hits...); return nil }))
				if !slices.Equal(got, want) {
					t.Errorf("%s, desc %v, exported: %d devices, want %d", asked, desc, len(got), len(want))
				}
			}
		}
		_, _, next, err := w.Ask(t.Context(), system, ask(t, "battery_charge.lt.700"), question.Page{Limit: 7})
		w.must(err)
		for _, cursor := range []string{next, "x", "e30"} {
			if _, _, _, err := w.Ask(t.Context(), system, ask(t, "battery_charge.lt.701"), question.Page{Cursor: cursor}); !errors.Is(err, question.ErrCursor) {
				t.Errorf("the cursor %q of another question: %v, want ErrCursor", cursor, err)
			}
		}
	})
}

// TestTrend: each week counts what was told in it, its last day's value.
func TestTrend(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		s := w.schools()["S1"]
		for i := range 12 {
			id := w.admit(s, "LIFEBOOK")
			for week := range 14 {
				if i >= 6 && week%2 == 1 {
					continue // away
				}
				monday := noon.AddDate(0, 0, -3-7*week)
				w.tells(id, monday, number(reading.BatteryHealth, 900))
				w.tells(id, monday.AddDate(0, 0, 2), number(reading.BatteryHealth, int64(600+10*week))) // 600 now, 740 then
			}
		}
		w.now = noon.Add(24 * time.Hour)
		w.merges()
		a, _, _, err := w.Ask(t.Context(), system, ask(t, "battery_health.lt.655"), question.Page{})
		w.must(err)
		if len(a.Trend) != question.TrendWeeks || a.Matching != 12 || a.Known != 12 {
			t.Fatalf("Ask = %+v, want a trend of %d weeks and 12 of 12", a, question.TrendWeeks)
		}
		for i, p := range a.Trend {
			week := question.TrendWeeks - 1 - i
			want := question.Point{Week: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC).AddDate(0, 0, -7*week), Known: 12}
			if week%2 == 1 {
				want.Known = 6
			}
			if week <= 5 {
				want.Matching = want.Known
			}
			if p != want {
				t.Errorf("the week %d ago is %+v, want %+v", week, p, want)
			}
		}
	})
}

// TestRefresh: what comes late counts, what is too old goes, and a week that did
// not change is left alone.
func TestRefresh(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		s := w.schools()["S1"]
		var ids []string
		for range 6 {
			ids = append(ids, w.admit(s, "LIFEBOOK"))
			w.tells(ids[len(ids)-1], noon.AddDate(0, 0, -2), number(reading.BatteryCharge, 500))
		}
		w.merges()
		if n, err := w.Refresh(t.Context()); n != 0 || err != nil {
			t.Errorf("Refresh of what did not change = %d, %v", n, err)
		}
		matching := func() int64 {
			a, _, _, err := w.Ask(t.Context(), system, ask(t, "battery_charge.lt.400"), question.Page{})
			w.must(err)
			return a.Matching
		}
		if n := matching(); n != 0 {
			t.Fatalf("%d devices below 40 %%, want none", n)
		}
		w.tells(ids[0], noon.AddDate(0, 0, -1), number(reading.BatteryCharge, 100)) // newer
		w.tells(ids[1], noon.AddDate(0, 0, -3), number(reading.BatteryCharge, 100)) // older than what is known
		w.tells(w.admit(s, "LIFEBOOK"), noon.AddDate(0, 0, -1), number(reading.BatteryCharge, 100))
		w.merges()
		if n := matching(); n != 2 {
			t.Errorf("after late days %d devices are below 40 %%, want the two whose last day says so", n)
		}
		w.now = noon.AddDate(0, 0, 7*question.FreshWeeks)
		w.merges()
		a, _, _, err := w.Ask(t.Context(), system, ask(t, "battery_charge.lt.400"), question.Page{})
		if err != nil || a.Known != 0 || a.Devices != 7 || len(a.Trend) != 1 {
			t.Errorf("weeks later the answer is %+v, %v, want nothing known and one week of trend", a, err)
		}
		w.now = noon.AddDate(0, 0, 7*question.TrendWeeks)
		w.merges()
		var rows int64
		w.must(w.db.Read(t.Context(), func(tx *db.Tx) error {
			return tx.QueryRow(t.Context(), `SELECT count(*) FROM question_columns`).Scan(&rows)
		}))
		if rows != 0 {
			t.Errorf("%d columns are left of a week that no question asks for", rows)
		}
	})
}

// TestRefused: what cannot be asked is said, with the condition that is wrong.
func TestRefused(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations))
	for _, c := range []struct {
		at         int
		conditions []string
	}{
		{-1, nil},
		{0, []string{"no_such.lt.1"}},
		{0, []string{"battery_charge.is.1"}},
		{0, []string{"battery_charge.lt.half"}},
		{0, []string{"battery_charge.lt.1001"}},
		{0, []string{"battery_charge.lt."}},
		{1, []string{"battery_charge.lt.1", "firewall.is.burning"}},
		{0, []string{"updates_last.lt.24.11.2026"}},
		{0, []string{"model.is.\x00"}},
		{0, []string{"battery_state.is.charging"}}, // no daily row has it
		{-1, slices.Repeat([]string{"battery_charge.lt.1"}, question.MaxConditions+1)},
	} {
		_, _, _, err := w.Ask(t.Context(), system, ask(t, c.conditions...), question.Page{})
		if invalid := (*question.Invalid)(nil); !errors.As(err, &invalid) || !errors.Is(err, question.ErrInvalid) || invalid.At != c.at {
			t.Errorf("Ask(%q) = %v, want ErrInvalid at %d", c.conditions, err, c.at)
		}
	}
	if _, _, _, err := w.Ask(t.Context(), access.Caller{}, ask(t, "battery_charge.lt.1"), question.Page{}); !errors.Is(err, access.ErrForbidden) {
		t.Errorf("nobody asks: %v, want ErrForbidden", err)
	}
	if _, err := question.ParseCondition("battery_charge"); !errors.Is(err, question.ErrInvalid) {
		t.Errorf("ParseCondition of half of one: %v", err)
	}
}

// TestBounds: a question waits for its turn only so long, and takes only so long.
func TestBounds(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.fill(10)
		q, err := question.New(question.Config{DB: d, Now: func() time.Time { return w.now }, Log: discard, Most: 1, Wait: time.Millisecond, Limit: time.Nanosecond})
		w.must(err)
		if _, _, _, err := q.Ask(t.Context(), system, ask(t, "battery_charge.lt.1"), question.Page{}); !errors.Is(err, question.ErrTooLong) {
			t.Errorf("a question without time: %v, want ErrTooLong", err)
		}
		if q, err = question.New(question.Config{DB: d, Now: func() time.Time { return w.now }, Log: discard, Most: 1, Wait: time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		release := question.TakeTurn(q)
		if _, _, _, err := q.Ask(t.Context(), system, ask(t, "battery_charge.lt.1"), question.Page{}); !errors.Is(err, question.ErrBusy) {
			t.Errorf("a question beside another: %v, want ErrBusy", err)
		}
		release()
		if _, _, _, err := q.Ask(t.Context(), system, ask(t, "battery_charge.lt.1"), question.Page{}); err != nil {
			t.Errorf("a question afterwards: %v", err)
		}
	})
}

func second[T any](_ T, err error) error { return err }

func last(_ question.Answer, _ []question.Hit, _ string, err error) error { return err }

// TestChoices: values of the caller's devices only.
func TestChoices(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		schools := w.schools()
		w.tells(w.admit(schools["S1"], "LIFEBOOK"), noon.AddDate(0, 0, -1), text(reading.OSBuild, "b"))
		w.tells(w.admit(schools["S3"], "ThinkPad"), noon.AddDate(0, 0, -1), text(reading.OSBuild, "a"))
		w.merges()
		topas := user("u", access.RoleRead, schools["S3"].Owner)
		for _, c := range []struct {
			name   string
			caller access.Caller
			want   []string
		}{
			{"model", system, []string{"LIFEBOOK", "ThinkPad"}}, {"model", topas, []string{"ThinkPad"}}, {"school_kind", topas, []string{"Gymnasium"}},
			{"os_build", system, []string{"a", "b"}}, {"os_build", topas, []string{"a"}}, {"battery_charge", system, nil}, {"school", system, nil}, {"no_such", system, nil},
		} {
			if got, err := w.Choices(t.Context(), c.caller, c.name); err != nil || !slices.Equal(got, c.want) {
				t.Errorf("Choices(%s) = %q, %v, want %q", c.name, got, err, c.want)
			}
		}
	})
}

// TestEveryReadingCanBeAsked: each has a column, as the table of readings says.
func TestEveryReadingCanBeAsked(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		id := w.admit(w.schools()["S1"], "LIFEBOOK")
		rng := rand.New(rand.NewPCG(1, 2))
		values := map[string]any{}
		names, marks, args := []string{"device_id", "day"}, []string{"$1", "$2"}, []any{id, noon.AddDate(0, 0, -1).Unix() / 86400}
		for _, r := range question.Readings() {
			var v any = "some text"
			if r.Kind == reading.Number {
				v = r.Min + rng.Int64N(min(r.Max-r.Min, 1<<50))
			} else if r.Kind == reading.Code {
				v = r.Codes[0].Code
			}
			values[r.Name] = v
			args = append(args, v)
			names, marks = append(names, r.Name), append(marks, fmt.Sprintf("$%d", len(args)))
		}
		w.must(d.Write(t.Context(), func(tx *db.Tx) error {
			if _, err := tx.Exec(t.Context(), `INSERT INTO health_days (`+strings.Join(names, ", ")+`) VALUES (`+strings.Join(marks, ", ")+`)`, args...); err != nil {
				return err
			}
			_, err := tx.Exec(t.Context(), `INSERT INTO health_weeks (week, changes) VALUES ($1, 1)`, (noon.AddDate(0, 0, -1).Unix()/86400+3)/7)
			return err
		}))
		_, err := w.Refresh(t.Context())
		w.must(err)
		for name, v := range values {
			_, hits, _, err := w.Ask(t.Context(), system, question.Question{Show: name}, question.Page{})
			if err != nil || len(hits) != 1 || v != any(hits[0].Number) && v != any(hits[0].Text) {
				t.Errorf("%s of the device is %+v, %v, want %v", name, hits, err, v)
			}
		}
	})
}

// TestDeletedDays: what was deleted of daily rows is gone from columns and trends as
// well, of devices that were revoked long ago and where an owner keeps days for less
// long; the rest stays.
func TestDeletedDays(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		s := w.schools()
		const each = 2 * crowd.FewPersons // of fewer a trend has no numbers
		some := func(school, model string) (ids []string) {
			for range each {
				id := w.admit(s[school], model)
				w.tells(id, noon.AddDate(0, 0, -1), number(reading.BatteryCharge, 500))
				ids = append(ids, id)
			}
			return ids
		}
		kept, gone := some("S1", "LIFEBOOK"), some("S1", "LIFEBOOK")
		some("S3", "ThinkPad")
		revoked := func(ids []string) {
			t.Helper()
			w.must(d.Write(t.Context(), func(tx *db.Tx) error {
				for _, id := range ids {
					if _, err := tx.Exec(t.Context(), `INSERT INTO enrolled (device, revoked_ms) VALUES ($1, $2)`, id, noon.UnixMilli()); err != nil {
						return err
					}
				}
				return nil
			}))
		}
		w.merges()
		known := func() (n int64) {
			t.Helper()
			a, _, _, err := w.Ask(t.Context(), system, ask(t, "battery_charge.ge.0"), question.Page{})
			w.must(err)
			for _, p := range a.Trend {
				n += p.Known
			}
			return n
		}
		if n := known(); n != 3*each {
			t.Fatalf("the trend has %d values, want %d", n, 3*each)
		}
		revoked(gone)
		swept := func(after time.Duration) {
			t.Helper()
			w.now = noon.Add(after)
			_, err := w.health.Sweep(t.Context())
			w.must(err)
			_, err = w.Refresh(t.Context())
			w.must(err)
		}
		swept(reading.KeepRetired)
		if n := known(); n != 3*each {
			t.Errorf("30 days after the revocation the trend has %d values, want %d still", n, 3*each)
		}
		swept(reading.KeepRetired + time.Hour)
		if n := known(); n != 2*each {
			t.Errorf("after that the trend has %d values, want %d of the others", n, 2*each)
		}
		w.must(w.health.SetRetention(t.Context(), user("u", access.RoleAdmin), s["S3"].Owner, map[health.KeptClass]int64{health.KeptDays: 30}))
		swept(reading.KeepRetired + 2*health.Day)
		if n := known(); n != each {
			t.Errorf("once an owner keeps days for 30 days the trend has %d values, want %d of the other", n, each)
		}
		revoked(kept)
		swept(reading.KeepRetired + 3*health.Day)
		var columns int64
		w.must(d.Read(t.Context(), func(tx *db.Tx) error {
			return tx.QueryRow(t.Context(), `SELECT COUNT(*) FROM question_columns`).Scan(&columns)
		}))
		if n := known(); n != 0 || columns != 0 {
			t.Errorf("without a daily row there are %d columns and a trend of %d values, want none", columns, n)
		}
	})
}

// TestRunEnds with its context, having made what there is.
func TestRunEnds(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations))
	w.fill(3)
	ctx, cancel := context.WithCancel(t.Context())
	if err := w.Run(ctx, cancel); err != nil {
		t.Errorf("Run = %v", err)
	}
}
