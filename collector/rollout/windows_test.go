package rollout_test

import (
	"errors"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/calendar"
	"hausmeister/collector/rollout"
	"hausmeister/proto/manifest"
)

// UP-3: nothing begins in lessons of that school.
func TestLessonsAndSchoolsOwnDays(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, _ := w.begun(10, "A3510")
		at := func(day calendar.Day, hour int) int {
			w.now = day.At(hour * 60)
			n := len(w.sweep(ids, "1.0.0"))
			w.now = w.now.Add(-time.Minute) // give them back
			if _, err := w.forgetLeases(); err != nil {
				t.Fatal(err)
			}
			return n
		}
		if n := at("2026-12-01", 9); n != 0 {
			t.Errorf("%d leases in a lesson", n)
		}
		if d := w.why(ids[0]); d != rollout.WhyWindow {
			t.Errorf("why = %s, want %s", d, rollout.WhyWindow)
		}
		if n := at("2026-12-01", 14); n == 0 {
			t.Error("no lease in the afternoon")
		}
		if n := at("2026-12-25", 9); n == 0 {
			t.Error("no lease at Christmas")
		}
		admin := access.Caller{Kind: access.KindUser, ID: "root", Role: access.RoleAdmin, Owners: []string{w.owner}}
		if _, err := w.AddDays(t.Context(), admin, w.owner, rollout.Days{Kind: rollout.Free, Span: calendar.Span{From: "2026-12-02", To: "2026-12-02", Name: "Studientag"}}); err != nil {
			t.Fatal(err)
		}
		if n := at("2026-12-02", 9); n == 0 {
			t.Error("no lease on a day that the schools have off")
		}
		if err := w.SetWindow(t.Context(), admin, rollout.Window{Owner: w.owner, From: 8 * 60, To: 16 * 60, Rate: 100_000, Parallel: 2}); err != nil {
			t.Fatal(err)
		}
		if n := at("2026-12-01", 14); n != 0 {
			t.Errorf("%d leases in a lesson of the afternoon", n)
		}
		stranger := admin
		stranger.Owners = []string{"another"}
		if err := w.SetWindow(t.Context(), stranger, rollout.Window{Owner: w.owner, From: 0, To: 0}); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("SetWindow by a stranger = %v, want ErrNotFound", err)
		}
		if err := w.SetWindow(t.Context(), person("ada"), rollout.Window{Owner: w.owner}); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("SetWindow as release = %v, want ErrForbidden", err)
		}
	})
}

// Row 49: an owner's exam weeks win until the floor is overdue; then that does, and it
// stands in the record.
func TestAttack49ExamWeeksAndTheFloor(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, _ := w.begun(10, "A3510")
		admin := access.Caller{Kind: access.KindUser, ID: "root", Role: access.RoleAdmin}
		days, err := w.AddDays(t.Context(), admin, w.owner, rollout.Days{Kind: rollout.Closed, Span: calendar.Span{From: "2026-11-20", To: "2027-01-20", Name: "Prüfungen"}})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(w.sweep(ids, "1.0.0")); n != 0 {
			t.Errorf("%d leases in exam weeks", n)
		}
		floor := func(version string) {
			w.must(w.repo.Drafts[manifest.Targets].SetRules(manifest.Rules{Floors: map[string]string{manifest.ProductAgent: version}}))
			w.repo.Publish(manifest.Targets)
			w.imported()
		}
		began := w.now
		w.now = began.Add(21 * 24 * time.Hour) // a Saturday again
		if n := len(w.sweep(ids, "1.0.0")); n != 0 {
			t.Errorf("%d leases in exam weeks without a floor", n)
		}
		floor("1.0.0")
		if n := len(w.sweep(ids, "1.0.0")); n != 0 {
			t.Errorf("%d leases in exam weeks for devices that are not below the floor", n)
		}
		floor("1.1.0")
		w.now = began.Add(7 * 24 * time.Hour)
		if n := len(w.sweep(ids, "1.0.0")); n != 0 {
			t.Errorf("%d leases in exam weeks before the floor is overdue", n)
		}
		w.now = began.Add(21 * 24 * time.Hour)
		held := len(w.sweep(ids, "1.0.0"))
		if held == 0 {
			t.Error("no lease although the floor is overdue")
		}
		if n := w.count(`SELECT COUNT(*) FROM audit WHERE action = 'rollout.window_passed' AND owner = $1`, w.owner); n != int64(held) {
			t.Errorf("%d entries of audit for %d leases", n, held)
		}
		w.now = time.Date(2026, 12, 21, 9, 0, 0, 0, calendar.Berlin) // but never a lesson
		if _, err := w.forgetLeases(); err != nil {
			t.Fatal(err)
		}
		if n := len(w.sweep(ids, "1.0.0")); n != 0 {
			t.Errorf("%d leases in a lesson", n)
		}
		if err := w.RemoveDays(t.Context(), admin, w.owner, days); err != nil {
			t.Error(err)
		}
	})
}

// A school's devices do not all begin at once.
func TestFewOfASchoolAtOnce(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.cfg.Pace.PerSchool = 2
		w.restart()
		w.release("1.0.0")
		w.release("1.1.0")
		if _, err := w.fleet.ImportSchools(t.Context(), system, schools()); err != nil {
			t.Fatal(err)
		}
		list, err := w.fleet.Schools(t.Context(), system)
		if err != nil || len(list) != 2 {
			t.Fatalf("Schools = %v, %v", list, err)
		}
		var ids []string
		for i := range 20 {
			d := w.device(i, list[i%2].ID, "A3510")
			w.connects(d, "1.0.0", int64(i+1))
			ids = append(ids, d)
		}
		w.start(t, "1.1.0")
		held := w.sweep(ids, "1.0.0")
		for _, s := range list {
			n := w.count(`SELECT COUNT(*) FROM rollout_members WHERE flight = 1 AND school_id = $1`, s.ID)
			if n > 2 {
				t.Errorf("%d of a school are under way, want 2 at most", n)
			}
		}
		if len(held) != 4 {
			t.Errorf("%d leases, want 4", len(held))
		}
	})
}
