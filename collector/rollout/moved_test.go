package rollout_test

import (
	"slices"
	"testing"

	"hausmeister/collector/bus"
	"hausmeister/collector/calendar"
	"hausmeister/collector/rollout"
	"hausmeister/proto/hmpb"
)

// The lessons are those of the school that a device is in today, and so is the number of
// those that go on at once.
func TestSchoolOfToday(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		if _, err := w.fleet.ImportSchools(t.Context(), system, schools()); err != nil {
			t.Fatal(err)
		}
		list, err := w.fleet.Schools(t.Context(), system)
		w.must(err)
		ids, _ := w.begun(60, "A3510")                 // of no school
		w.must(w.exec(`UPDATE rollouts SET ring = 1`)) // of which more may be under way than of a school
		if _, err := w.AddDays(t.Context(), root, w.owner, rollout.Days{Kind: rollout.Closed, School: list[0].ID, Span: calendar.Span{From: calendar.DayOf(w.now), To: calendar.DayOf(w.now), Name: "Prüfungen"}}); err != nil {
			t.Fatal(err)
		}
		var first string
		for first = range w.sweep(ids, "1.0.0") {
		}
		for _, id := range ids {
			w.must(w.fleet.SetSchool(t.Context(), root, id, list[0].ID))
		}
		if _, err := w.forgetLeases(); err != nil {
			t.Fatal(err)
		}
		if held := w.sweep(ids, "1.0.0"); len(held) != 0 {
			t.Errorf("%d devices begin on a day that their new school closed", len(held))
		}
		if why := w.why(first); why != rollout.WhyWindow {
			t.Errorf("why = %s, want %s", why, rollout.WhyWindow)
		}
		for _, id := range ids {
			w.must(w.fleet.SetSchool(t.Context(), root, id, list[1].ID))
		}
		held := w.sweep(ids, "1.0.0")
		if most := int(rollout.DefaultPace().PerSchool); len(held) != most {
			t.Fatalf("%d of the other school under way, want %d", len(held), most)
		}
		for _, id := range ids { // counted there from the lease on, and not only by a round
			if why := w.why(id); held[id] == nil && why != rollout.WhySchool {
				t.Fatalf("a device of the other school: %s, want %s", why, rollout.WhySchool)
			}
		}
		for device, o := range held {
			w.must(w.fetches(device, o.GetLease(), o.GetSha256()))
			w.must(w.fleet.SetSchool(t.Context(), root, device, list[0].ID))
			if err := w.fetches(device, o.GetLease(), o.GetSha256()); err == nil {
				t.Error("bytes come on a day that the school of now closed")
			}
		}
	})
}

// Who was under way when he was given to another school counts there, and hears of its
// lessons.
func TestMovedWhileUnderWay(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		if _, err := w.fleet.ImportSchools(t.Context(), system, schools()); err != nil {
			t.Fatal(err)
		}
		list, err := w.fleet.Schools(t.Context(), system)
		w.must(err)
		w.release("1.0.0")
		w.release("1.1.0")
		var ids []string
		for i := range 60 {
			id := w.device(i, list[i%2].ID, "A3510")
			w.connects(id, "1.0.0", int64(i+1))
			ids = append(ids, id)
		}
		w.start(t, "1.1.0")
		w.must(w.exec(`UPDATE rollouts SET ring = 1`)) // of which more may be under way than a school
		school := map[string]string{}
		for i, id := range ids {
			school[id] = list[i%2].ID
		}
		of := func(at string, held map[string]*hmpb.Offer) (n int64) {
			for device := range held {
				if school[device] == at {
					n++
				}
			}
			return n
		}
		held := w.sweep(ids, "1.0.0")
		most := rollout.DefaultPace().PerSchool
		if of(list[0].ID, held) != most || of(list[1].ID, held) != most {
			t.Fatalf("%d and %d of the schools under way, want %d each", of(list[0].ID, held), of(list[1].ID, held), most)
		}
		sub := w.bus.Subscribe(bus.Offers)
		defer sub.Close()
		for device := range held {
			if school[device] == list[0].ID {
				w.must(w.fleet.SetSchool(t.Context(), root, device, list[1].ID))
				school[device] = list[1].ID
			}
		}
		w.care()
		told := map[string]bool{}
		for len(sub.C) > 0 {
			if e := <-sub.C; held[e.Device] != nil {
				told[e.Device] = true
			}
		}
		if int64(len(told)) != most {
			t.Errorf("%d of those that were moved are told what holds now, want %d", len(told), most)
		}
		again := w.sweep(ids, "1.0.0")
		if n := of(list[1].ID, again); n != 2*most {
			t.Errorf("%d of the second school under way, want the %d that are and none more", n, 2*most)
		}
		if n := of(list[0].ID, again); n == 0 || n > most {
			t.Errorf("%d of the first school under way, want 1 to %d anew", n, most)
		}
	})
}

// Who was moved counts where he is now before any round has seen it, also when the
// rollout that he is under way in stands still.
func TestMovedCountsAtOnce(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		if _, err := w.fleet.ImportSchools(t.Context(), system, schools()); err != nil {
			t.Fatal(err)
		}
		list, err := w.fleet.Schools(t.Context(), system)
		w.must(err)
		w.release("1.0.0")
		w.release("1.1.0")
		var here, there []string
		for i := range 60 {
			id := w.device(i, list[i%2].ID, "A3510")
			w.connects(id, "1.0.0", int64(i+1))
			if i%2 == 0 {
				here = append(here, id)
			} else {
				there = append(there, id)
			}
		}
		stable := w.start(t, "1.1.0")
		w.must(w.exec(`UPDATE rollouts SET ring = 1`)) // of which more may be under way than a school
		most := int(rollout.DefaultPace().PerSchool)
		held := w.sweep(here, "1.0.0")
		if len(held) != most {
			t.Fatalf("%d of a school under way, want %d", len(held), most)
		}
		for device, o := range held {
			w.must(w.fleet.SetSchool(t.Context(), root, device, list[1].ID))
			w.tells(device, hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), State: new(hmpb.UpdateState_UPDATE_STATE_ARMED)})
		}
		if n := len(w.sweep(there, "1.0.0")); n != 0 {
			t.Errorf("%d more of the school to which %d under way were moved", n, most)
		}
		w.must(w.Pause(t.Context(), person("ada"), stable, "somebody called"))
		w.care()
		if n := w.count(`SELECT COUNT(*) FROM rollout_members WHERE flight = 1 AND school_id = $1`, list[1].ID); n != int64(most) {
			t.Errorf("%d armed ones count in their new school while the rollout is paused, want %d", n, most)
		}
		w.must(w.Resume(t.Context(), person("ada"), stable, "it was nothing"))
		if n := len(w.sweep(there, "1.0.0")); n != 0 {
			t.Errorf("%d more of the new school after a round", n)
		}
		left := slices.DeleteFunc(here, func(device string) bool { return held[device] != nil })
		if n := len(w.sweep(left, "1.0.0")); n != most {
			t.Errorf("%d of the old school after a round, want %d", n, most)
		}
	})
}
