package rollout_test

import (
	"testing"
	"time"

	"hausmeister/collector/calendar"
	"hausmeister/collector/db"
	"hausmeister/collector/rollout"
	"hausmeister/collector/rollout/gate"
	"hausmeister/proto/hmpb"
)

// Row 44: silence is neither success nor failure, but silence after the update where
// others are there is.
func TestAttack44SilentDevices(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(60, "A3510")
		seen := map[string]bool{}
		for range 6 { // each time four get a lease, and close their lids
			for device := range w.sweep(ids, "1.0.0") {
				seen[device] = true
			}
			w.now = w.now.Add(25 * time.Hour)
			w.care()
		}
		v := w.view(id)
		if v.Ring != 1 || v.Evidence.OK+v.Evidence.Bad != 0 || v.State != rollout.Running || v.InFlight != 0 {
			t.Errorf("ring %d, %s, %d in flight, %+v: want nothing to follow from silence", v.Ring, v.State, v.InFlight, v.Evidence)
		}
		// Now they arm, and are never heard of again, on a day when all others are there.
		w.now = time.Date(2026, 12, 8, 14, 0, 0, 0, calendar.Berlin)
		for i, device := range ids {
			w.connects(device, "1.0.0", int64(1000+i))
		}
		gone := 0
		for device, o := range w.sweep(ids, "1.0.0") {
			w.tells(device, hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), State: new(hmpb.UpdateState_UPDATE_STATE_ARMED)})
			session := w.count(`SELECT session FROM health_state WHERE device_id = $1`, device)
			if err := w.health.End(t.Context(), w.caller(device), session); err != nil {
				t.Fatal(err)
			}
			gone++
		}
		w.care()
		if v := w.view(id); v.State != rollout.Running {
			t.Fatalf("%s at once, want it to wait whether they come back", v.State)
		}
		w.now = w.now.Add(3 * time.Hour)
		w.lost()
		if v := w.view(id); gone < 3 || v.State != rollout.Halted || v.Cause != gate.CauseLost {
			t.Errorf("%d lost: %s for %q, want it halted since they are lost", gone, v.State, v.Cause)
		}
	})
}

// Row 44: who was updated in the evening works late, and comes an hour after the others.
func TestAttack44LateInTheMorning(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		updated := map[string]bool{}
		for range 20 {
			for device, o := range w.sweep(ids, "1.0.0") {
				updated[device] = true
				w.ends(device, o, true)
			}
		}
		for _, device := range ids {
			if updated[device] {
				w.must(w.health.End(t.Context(), w.caller(device), w.count(`SELECT session FROM health_state WHERE device_id = $1`, device)))
			}
		}
		w.now = time.Date(2026, 11, 29, 8, 30, 0, 0, calendar.Berlin)
		for range 11 {
			w.care()
			w.now = w.now.Add(5 * time.Minute)
		}
		if v := w.view(id); v.State != rollout.Running || v.Ring != 1 {
			t.Fatalf("%s for %q in ring %d while they are late, want it to wait in ring 1", v.State, v.Cause, v.Ring)
		}
		for i, device := range ids {
			if updated[device] {
				w.connects(device, "1.1.0", int64(1000+i))
			}
		}
		for range 24 {
			w.care()
			w.now = w.now.Add(5 * time.Minute)
		}
		if v := w.view(id); v.State != rollout.Running || v.Ring < 2 {
			t.Errorf("%s for %q in ring %d with all of them here, want it to go on", v.State, v.Cause, v.Ring)
		}
	})
}

// Row 44: the morning after, who was updated and is not switched on yet is not lost,
// since others who were here yesterday are not either.
func TestAttack44NotSwitchedOnYet(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		updated := map[string]bool{}
		for range 20 {
			for device, o := range w.sweep(ids, "1.0.0") {
				updated[device] = true
				w.ends(device, o, true)
			}
		}
		sessions := map[string]int64{}
		for _, device := range ids {
			sessions[device] = w.count(`SELECT session FROM health_state WHERE device_id = $1`, device)
			if err := w.health.End(t.Context(), w.caller(device), sessions[device]); err != nil {
				t.Fatal(err)
			}
		}
		// At seven the next morning 30 of the 110 others are on, and none of the 20.
		w.now = time.Date(2026, 11, 29, 7, 0, 0, 0, calendar.Berlin)
		on := 0
		for i, device := range ids {
			if !updated[device] && on < 30 {
				on++
				w.connects(device, "1.0.0", int64(1000+i))
			}
		}
		w.care()
		if v := w.view(id); len(updated) != 20 || v.State != rollout.Running {
			t.Errorf("%d updated, %s for %q before anybody is at school, want it running", len(updated), v.State, v.Cause)
		}
		// At ten all others are, and still none of these.
		w.now = w.now.Add(3 * time.Hour)
		for i, device := range ids {
			if !updated[device] {
				w.connects(device, "1.0.0", int64(2000+i))
			}
		}
		w.lost()
		if v := w.view(id); v.State != rollout.Halted || v.Cause != gate.CauseLost {
			t.Errorf("%s for %q with none of those back that were updated, want it halted", v.State, v.Cause)
		}
	})
}

// Row 44: those who were away for a week and are on again are not the only ones that
// updated devices are held against.
func TestAttack44BackAfterAWeek(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		for device, o := range w.sweep(ids, "1.0.0") { // all were here once
			w.ends(device, o, true)
		}
		w.now = w.now.Add(7 * 24 * time.Hour)
		updated, first := map[string]bool{}, w.firstRing(id) // who is in it is by chance
		for range 10 {
			for device, o := range w.sweep(first, "1.0.0") {
				updated[device] = true
				w.ends(device, o, true)
			}
		}
		at := w.now
		for i, device := range ids {
			w.now = at
			if !updated[device] {
				w.now = at.Add(-7 * 24 * time.Hour)
			}
			if err := w.health.End(t.Context(), w.caller(device), int64(i+1)); err != nil {
				t.Fatal(err)
			}
		}
		w.now = time.Date(2026, 12, 7, 7, 0, 0, 0, calendar.Berlin)
		on := 0
		for i, device := range ids {
			if w.runs[device] == "" && on < 25 {
				on++
				w.connects(device, "1.0.0", int64(1000+i))
			}
		}
		w.lost()
		if v := w.view(id); len(updated) != 16 || on != 25 || v.State != rollout.Running {
			t.Errorf("%d updated, %d others on of 130: %s for %q, want it running", len(updated), on, v.State, v.Cause)
		}
	})
}

// Row 44: a rollout is done when all had their turn that still come.
func TestAttack44DoneWithoutTheSilent(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(20, "A3510")
		gone := ids[0]
		w.offered(gone, "1.0.0")
		if _, err := w.forgetLeases(); err != nil {
			t.Fatal(err)
		}
		if n := w.count(`SELECT COUNT(*) FROM rollout_members WHERE device_id = $1 AND first_ms IS NOT NULL`, gone); n != 1 {
			t.Fatal("nobody noted that it came")
		}
		if err := w.db.Write(t.Context(), func(tx *db.Tx) error {
			_, err := tx.Exec(t.Context(), `UPDATE rollout_members SET granted_ms = 0 WHERE device_id = $1`, gone)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if err := w.health.End(t.Context(), w.caller(gone), 1); err != nil {
			t.Fatal(err)
		}
		byHand := ids[19]
		w.connects(byHand, "1.1.0", 800)
		w.runs[byHand] = "1.1.0"
		for range 20 {
			for device, o := range w.sweep(ids[1:], "1.0.0") {
				w.ends(device, o, true)
			}
		}
		w.now = w.now.Add(2 * 24 * time.Hour)
		w.care()
		if v := w.view(id); v.State != rollout.Running || v.Evidence.OK != 18 {
			t.Fatalf("%s with %d well while one of 20 was here two days ago, want it to wait for that", v.State, v.Evidence.OK)
		}
		w.now = w.now.Add(2 * 24 * time.Hour)
		w.care()
		if v := w.view(id); v.State != rollout.Done {
			t.Errorf("%s while the last one is silent for four days, want it done", v.State)
		}
		w.now = w.now.Add(3 * time.Hour) // after lessons
		w.connects(gone, "1.0.0", 900)
		if w.offered(gone, "1.0.0") == nil {
			t.Error("who comes back has no offer")
		}
	})
}

// A rollout that is done goes on to whom it finds later, and halts where these are lost.
func TestAttack44LostOfWhatIsDone(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(60, "A3510")
		w.fallSilent(ids, ids)
		w.must(w.exec(`UPDATE rollouts SET state = 'done', ring = 1 WHERE id = $1`, id))
		w.lost()
		if v := w.view(id); v.State != rollout.Halted || v.Cause != gate.CauseLost {
			t.Errorf("%s for %q, want it halted for the lost ones", v.State, v.Cause)
		}
		if held := w.sweep(ids, "1.0.0"); len(held) != 0 {
			t.Errorf("%d leases of what is halted", len(held))
		}
	})
}
