package rollout_test

import (
	"context"
	"testing"
	"time"

	"hausmeister/collector/db"
	"hausmeister/collector/rollout"
	"hausmeister/collector/rollout/gate"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
)

// What is told, or said, between two steps of a round.

// A device that told of its success before the new rollout had a place for it, and of its
// failure after that, counts once, and as what it said last.
func TestToldBeforeItsPlaceAndAfter(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		held := w.sweep(ids, "1.0.0")
		w.arm(held)
		w.must(w.Abort(t.Context(), person("ada"), id, "a day early"))
		w.now = w.now.Add(time.Minute)
		anew, err := w.Start(t.Context(), person("ada"), w.releaseID("1.1.0"), "new version for the schools")
		w.must(err)
		var first string
		for device, o := range held {
			first = device
			w.ends(device, o, true)
			break
		}
		// Its collector ended right before it said that all have their place.
		w.must(w.exec(`INSERT INTO rollout_members (rollout_id, device_id, ring, model, os_build, antivirus, owner_id, school_id, unfit)
			SELECT $1, device_id, ring, model, os_build, antivirus, owner_id, school_id, unfit FROM rollout_members WHERE rollout_id = $2`, anew, id))
		w.now = w.now.Add(time.Minute)
		w.step(first, held[first], hmpb.UpdateState_UPDATE_STATE_COMMITTED, hmpb.UpdateReason_UPDATE_REASON_QUARANTINED)
		w.care()
		v := w.view(anew)
		if v.State != rollout.Running || v.Evidence.OK != 0 || v.Evidence.Bad != 1 || v.Rings[0].OK != 0 || v.Rings[0].Bad != 1 || v.Rings[0].Reached != 1 {
			t.Errorf("%s with %d well and %d not, ring 1 is %+v; want it to run with one that failed", v.State, v.Evidence.OK, v.Evidence.Bad, v.Rings[0])
		}
		if st := w.state(anew, first); st.Why != rollout.WhyUndone || st.Reason != hmpb.UpdateReason_UPDATE_REASON_QUARANTINED {
			t.Errorf("its row says %s for %v, want that it failed", st.Why, st.Reason)
		}
	})
}

// meanwhile does something while a round looks at a rollout.
type meanwhile func()

func (m *meanwhile) Opened(context.Context, *db.Tx, string, time.Time) (int64, error) {
	if do := *m; do != nil {
		*m = nil
		do()
	}
	return 0, nil
}

// What somebody says of a rollout while a round gives its places holds: it is not begun.
func TestSaidWhileThePlacesAreGiven(t *testing.T) {
	for name, say := range map[string]func(w *world, id string) rollout.State{
		"pause": func(w *world, id string) rollout.State {
			w.must(w.Pause(w.t.Context(), person("ada"), id, "the helpdesk asks"))
			return rollout.Paused
		},
		"abort": func(w *world, id string) rollout.State {
			w.must(w.Abort(w.t.Context(), person("ada"), id, "that was wrong"))
			return rollout.Aborted
		},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, w *world) {
				var between meanwhile
				w.cfg.Tickets = &between
				w.restart()
				ids, _ := w.begun(30, "A3510")
				w.repo.Release(manifest.RoleStable, manifest.Release{Version: "1.2.0"}, []byte("program 1.2.0"))
				w.imported()
				w.now = w.now.Add(time.Minute)
				id, err := w.Start(t.Context(), person("ada"), w.releaseID("1.2.0"), "new version for the schools")
				w.must(err)
				var want rollout.State
				between = func() { want = say(w, id) }
				w.care()
				w.care()
				if v := w.view(id); want == "" || v.State != want {
					t.Fatalf("%s, want it %s", v.State, want)
				}
				for _, o := range w.sweep(ids, "1.0.0") {
					if o.GetVersion() == "1.2.0" {
						t.Fatal("a device is offered what was stopped")
					}
				}
				if want != rollout.Paused {
					return
				}
				w.must(w.Resume(t.Context(), person("ada"), id, "it was the network"))
				w.care()
				if n := w.count(`SELECT COUNT(*) FROM rollout_members WHERE rollout_id = $1 AND ring = 0`, id); n != 20 || w.view(id).State != rollout.Running {
					t.Errorf("%s with %d devices in the first ring after the pause, want it to run with 20", w.view(id).State, n)
				}
			})
		})
	}
}

// What a device says late of a lease that was withdrawn neither takes its new one, nor says
// of that how far it is.
func TestALateWordOfWhatWasWithdrawn(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(30, "A3510")
		for device, o := range w.sweep(ids, "1.0.0") {
			w.must(w.Pause(t.Context(), person("ada"), id, "just a moment"))
			w.must(w.Resume(t.Context(), person("ada"), id, "it was the network"))
			again := w.offered(device, "1.0.0")
			w.step(device, again, hmpb.UpdateState_UPDATE_STATE_ARMED, 0)
			w.step(device, o, hmpb.UpdateState_UPDATE_STATE_REFUSED, hmpb.UpdateReason_UPDATE_REASON_WITHDRAWN)
			if st := w.state(id, device); st.Why != rollout.WhyBegan {
				t.Errorf("the row says %s for %v, want that it is under way", st.Why, st.Reason)
			}
			w.must(w.Pause(t.Context(), person("ada"), id, "just a moment"))
			if v := w.view(id); v.InFlight != 1 {
				t.Errorf("%d devices are under way in the pause, want the one that is armed", v.InFlight)
			}
			break
		}
	})
}

// What became of the devices of a ring stays with it when the next one begins, and what
// becomes of one later counts there.
func TestRingsKeepTheirNumbers(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		first := w.inRing(id, 0, ids)
		w.must(w.Approve(t.Context(), person("bea"), id, "I have looked"))
		held := w.sweep(first, "1.0.0")
		for len(w.runs) < 19 {
			for device, o := range held {
				if device != first[0] && w.runs[device] == "" {
					w.ends(device, o, true)
				}
			}
			held = w.sweep(first, "1.0.0")
		}
		w.now = w.now.Add(25 * time.Hour)
		w.care()
		v := w.view(id)
		if v.Ring != 2 || v.Rings[0].OK != 19 || v.Rings[0].Reached != 20 || v.Evidence.RingOK != 0 {
			t.Fatalf("in ring %d the first is %+v, and %d of the second are known; want 19 of 20 well, and none", v.Ring, v.Rings[0], v.Evidence.RingOK)
		}
		w.ends(first[0], held[first[0]], true)
		if v := w.view(id); v.Rings[0].OK != 20 || v.Rings[1].OK != 0 || v.Evidence.OK != 20 || v.Evidence.RingOK != 0 {
			t.Errorf("one of the first ring told late: the rings are %+v and %+v, %d in all", v.Rings[0], v.Rings[1], v.Evidence.OK)
		}
	})
}

// What is told of a rollout that is over stands in its numbers, and changes no evidence of
// what was decided, nor anything else.
func TestToldAfterTheEnd(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(60, "A3510", "B1")
		held := w.sweep(ids, "1.0.0")
		w.arm(held)
		w.must(w.Abort(t.Context(), person("ada"), id, "that was wrong"))
		said := len(w.view(id).Decisions)
		bad, good := int64(0), int64(0)
		for device, o := range held {
			if bad < 5 {
				w.ends(device, o, false)
				bad++
			} else {
				w.ends(device, o, true)
				good++
			}
		}
		v := w.view(id)
		if v.Rings[0].Bad != bad || v.Rings[0].OK != good || v.InFlight != 0 {
			t.Errorf("ring 1 is %+v with %d under way, want %d well and %d not", v.Rings[0], v.InFlight, good, bad)
		}
		if v.State != rollout.Aborted || v.Cause != "" || len(v.Decisions) != said || v.Evidence.OK+v.Evidence.Bad != 0 || v.Evidence.Sum != 0 {
			t.Errorf("%s for %q with %d decisions and %+v; want nothing of it changed", v.State, v.Cause, len(v.Decisions), v.Evidence)
		}
	})
}

// The clock runs ahead when updated devices fall silent, and is set: they are lost an hour
// later, and not when the clock is there again.
func TestAttack45SilentSinceTheClockWasAhead(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(60, "A3510")
		w.fallSilent(ids, ids)
		was := w.now
		w.now = was.Add(5 * time.Hour)
		w.care()
		w.now = was
		w.care()
		w.now = was.Add(50 * time.Minute)
		w.care()
		if v := w.view(id); v.State != rollout.Running {
			t.Fatalf("%s before the hour is over", v.State)
		}
		w.now = was.Add(65 * time.Minute)
		w.care()
		if v := w.view(id); v.State != rollout.Halted || v.Cause != gate.CauseLost {
			t.Errorf("%s for %q an hour after the clock was set, want it halted for the lost ones", v.State, v.Cause)
		}
	})
}

// A halt for tickets that was ended while the clock ran ahead says nothing of when that was.
// Tickets that came since halt it again, and those that an earlier end knew do not.
func TestAttack45TicketsReadWhileTheClockWasAhead(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		calls := &desk{}
		w.cfg.Tickets = calls
		w.restart()
		_, id := w.begun(30, "A3510")
		halts := func(what string, want rollout.State) {
			t.Helper()
			w.now = w.now.Add(5 * time.Second)
			w.care()
			if v := w.view(id); v.State != want {
				t.Fatalf("%s: %s for %q, want it %s", what, v.State, v.Cause, want)
			}
		}
		calls.opens(9, w.now)
		halts("nine tickets", rollout.Halted)
		w.must(w.Resume(t.Context(), person("ada"), id, "they were all about a printer"))
		halts("the same tickets", rollout.Running)
		was := w.now
		w.now = was.AddDate(0, 0, 3)
		calls.opens(9, w.now)
		halts("nine more, by a clock that is ahead", rollout.Halted)
		w.must(w.Resume(t.Context(), person("ada"), id, "they were all about a printer"))
		calls.opened = calls.opened[:9] // the desk has a clock of its own
		w.now = was.Add(time.Minute)
		halts("what was read before", rollout.Running)
		calls.opens(9, w.now)
		halts("nine others", rollout.Halted)
	})
}
