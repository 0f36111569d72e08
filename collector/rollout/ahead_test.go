package rollout_test

import (
	"testing"
	"time"

	"hausmeister/collector/rollout"
	"hausmeister/collector/rollout/gate"
	"hausmeister/proto/hmpb"
)

// settles lets the clock run on without a jump until times that lie ahead are set back.
func (w *world) settles() {
	w.t.Helper()
	for range 3 {
		w.now = w.now.Add(31 * time.Minute)
		w.care()
	}
}

// A ring that was entered in a moment in which the clock was a year ahead is watched from when
// the clock is right, and decisions are dated by the clock.
func TestAttack45RingEnteredWhileTheClockWasAhead(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		w.must(w.Approve(t.Context(), person("bea"), id, "I have looked"))
		w.told(id, w.firstRing(id))
		was := w.now
		w.now = was.AddDate(1, 0, 0)
		w.care()
		if v := w.view(id); v.Ring != 2 {
			t.Fatalf("ring %d, want the second to begin while the clock is ahead", v.Ring)
		}
		w.now = was.Add(time.Minute)
		w.must(w.Note(t.Context(), person("ada"), id, "the clock was wrong"))
		if n := w.count(`SELECT COUNT(*) FROM audit WHERE action = 'rollout.noted' AND at_ms = $1`, w.now.UnixMilli()); n != 1 {
			t.Errorf("%d entries of the record have the date of a decision after it", n)
		}
		if n := w.count(`SELECT COUNT(*) FROM rollout_decisions WHERE verb = 'noted' AND at_ms = $1`, w.now.UnixMilli()); n != 1 {
			t.Errorf("%d decisions after it have their date", n)
		}
		w.care()
		w.settles()
		w.told(id, w.inRing(id, 1, ids))
		w.now = w.now.Add(2 * time.Hour)
		w.care()
		if v := w.view(id); v.Ring != 2 {
			t.Errorf("ring %d before it was watched for four hours", v.Ring)
		}
		w.now = w.now.Add(2 * time.Hour)
		w.care()
		if v := w.view(id); v.Ring != 3 {
			t.Errorf("ring %d when it was watched for four hours, want the third", v.Ring)
		}
	})
}

// Nor is a rollout that was begun in such a moment of the year ahead: devices came since.
func TestAttack45BegunWhileTheClockWasAhead(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.release("1.1.0")
		was := w.now
		ids := w.fleetOf(130, "1.0.0", "A3510")
		w.now = was.AddDate(1, 0, 0)
		id := w.start(t, "1.1.0")
		w.now = was.Add(time.Minute)
		w.care()
		w.settles()
		if v := w.view(id); v.Started.After(w.now) || v.Entered.After(w.now) {
			t.Errorf("at %v it began at %v, and its ring at %v", w.now, v.Started, v.Entered)
		}
		if why := w.why(ids[0]); why == rollout.WhyNever {
			t.Error("a device that is here never was")
		}
		w.told(id, w.firstRing(id))
		w.now = w.now.Add(time.Hour)
		w.care()
		if v := w.view(id); v.Ring != 2 {
			t.Errorf("ring %d an hour after the clock was right, want the second", v.Ring)
		}
	})
}

// A halt for lost devices that somebody ended in such a moment switches their search off for no
// longer than the moment.
func TestAttack45ResumedWhileTheClockWasAhead(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(60, "A3510")
		w.fallSilent(ids, ids)
		w.lost()
		if v := w.view(id); v.State != rollout.Halted || v.Cause != gate.CauseLost {
			t.Fatalf("%s, want it halted for the lost ones", v.State)
		}
		was := w.now
		w.now = was.AddDate(1, 0, 0)
		w.must(w.Resume(t.Context(), person("ada"), id, "they are in the repair shop"))
		w.now = was.Add(time.Minute)
		w.care()
		w.settles()
		if _, err := w.forgetLeases(); err != nil {
			t.Fatal(err)
		}
		held := w.sweep(ids, "1.0.0")
		w.arm(held)
		for device := range held {
			w.leaves(device)
		}
		w.now = w.now.Add(3 * time.Hour)
		w.lost()
		if v := w.view(id); v.State != rollout.Halted {
			t.Errorf("%s with %d others lost since, want it halted", v.State, len(held))
		}
	})
}

// A clock that is behind by however much, and for a moment, ends no watch.
func TestAttack45ClockFarBehindForAMoment(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		_, id := w.begun(130, "A3510")
		w.told(id, w.firstRing(id))
		was := w.now
		for _, behind := range []time.Duration{30 * 24 * time.Hour, 30*24*time.Hour - time.Minute} {
			w.now = was.Add(-behind)
			w.care()
		}
		w.now = was.Add(time.Minute)
		w.care()
		if v := w.view(id); v.Ring != 1 {
			t.Errorf("ring %d a minute after it began", v.Ring)
		}
	})
}

// A collector that starts while its clock is a year ahead deletes neither what became of each
// device in rollouts that ended, nor what a revoked one told; nor does one whose clock jumps.
func TestAttack45ClockAheadForgetsNothing(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		first := w.firstRing(id)
		w.told(id, first)
		w.must(w.Abort(t.Context(), person("ada"), id, "enough of it"))
		w.revoked(first[0], w.now)
		sweep := func(after time.Duration) (places int64, known bool) {
			t.Helper()
			w.now = w.now.Add(after)
			w.must(w.ForgetOld(t.Context()))
			return w.count(`SELECT COUNT(*) FROM rollout_members`), w.rowsOf(first[0]) > 0
		}
		was := w.now
		for _, restart := range []bool{false, true} {
			w.now = was.AddDate(1, 0, 0)
			if restart {
				w.restart()
			}
			for range 3 {
				if places, known := sweep(time.Hour); places != int64(len(ids)) || !known {
					t.Fatalf("restart %v: %d of %d places are left while the clock is ahead, the revoked device is known: %v", restart, places, len(ids), known)
				}
			}
			w.now = was
			sweep(time.Minute)
		}
		w.now = was.AddDate(1, 0, 0) // it has come
		for range 6 {
			sweep(time.Hour)
		}
		if places, known := sweep(time.Hour); places != 0 || known {
			t.Errorf("%d places are left a year later, the revoked device is known: %v", places, known)
		}
	})
}

// Nor does it end a lease, or the way of who is armed.
func TestAttack45ClockFarBehindEndsNoLease(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		held := w.sweep(ids, "1.0.0")
		for device, o := range held {
			w.arm(map[string]*hmpb.Offer{device: o})
			break
		}
		was := w.now
		w.now = was.AddDate(0, 0, -30)
		w.care()
		w.now = was.Add(time.Minute)
		w.care()
		if v := w.view(id); len(held) < 2 || v.InFlight != int64(len(held)) {
			t.Errorf("%d of %d are under way after a moment 30 days behind", v.InFlight, len(held))
		}
		for device, o := range held {
			if again := w.offered(device, "1.0.0"); again.GetLease() != o.GetLease() {
				t.Errorf("the lease of %s is %q, want %q", device, again.GetLease(), o.GetLease())
			}
		}
	})
}

// setsClock gives a way to set the clock, which a collector sees by what has gone by since.
func (w *world) setsClock() (set func(by time.Duration)) {
	var unseen time.Duration
	w.Gone(func(from, to time.Time) time.Duration {
		gone := to.Sub(from) - unseen
		unseen = 0
		return gone
	})
	w.care()
	return func(by time.Duration) {
		unseen, w.now = unseen+by, w.now.Add(by)
	}
}

// A ring that began while the clock was days behind is watched for as long as any other, and
// so is one whose devices told meanwhile.
func TestAttack45BegunWhileTheClockWasBehind(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.release("1.1.0")
		w.fleetOf(130, "1.0.0", "A3510")
		w.now = w.now.Add(-72 * time.Hour)
		set := w.setsClock()
		w.now = w.now.Add(time.Minute)
		id := w.start(t, "1.1.0")
		w.must(w.Approve(t.Context(), person("bea"), id, "I have looked"))
		w.told(id, w.firstRing(id))
		w.now = w.now.Add(10 * time.Minute)
		w.care()
		set(72 * time.Hour)
		for _, after := range []time.Duration{0, 30 * time.Minute, 19 * time.Minute} {
			w.now = w.now.Add(after)
			w.care()
			if v := w.view(id); v.Ring != 1 {
				t.Fatalf("ring %d before the first was watched for an hour", v.Ring)
			}
		}
		w.now = w.now.Add(2 * time.Minute)
		w.restart()
		w.care()
		if v := w.view(id); v.Ring != 2 {
			t.Errorf("ring %d after an hour, want the second", v.Ring)
		}
	})
}

// One that began before is not watched for longer by a collector whose clock is behind when it
// starts, and is set.
func TestAttack45StartedWhileTheClockWasBehind(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		_, id := w.begun(130, "A3510")
		w.must(w.Approve(t.Context(), person("bea"), id, "I have looked"))
		w.told(id, w.firstRing(id))
		w.now = w.now.Add(30*time.Minute - 72*time.Hour)
		w.restart()
		set := w.setsClock()
		set(72 * time.Hour)
		w.care()
		if v := w.view(id); v.Ring != 1 {
			t.Fatalf("ring %d after half an hour", v.Ring)
		}
		w.now = w.now.Add(31 * time.Minute)
		w.care()
		if v := w.view(id); v.Ring != 2 {
			t.Errorf("ring %d after an hour, want the second", v.Ring)
		}
	})
}

// A moment in which the clock is ahead neither ends the watch of a ring nor begins it anew.
func TestAttack45ClockAheadEndsNoWatch(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.release("1.1.0")
		w.fleetOf(130, "1.0.0", "A3510")
		id := w.start(t, "1.1.0")
		w.must(w.Approve(t.Context(), person("bea"), id, "I have looked"))
		w.told(id, w.firstRing(id))
		w.now = w.now.Add(30 * time.Minute)
		w.restart()
		set := w.setsClock()
		set(365 * 24 * time.Hour)
		w.care()
		w.now = w.now.Add(time.Minute)
		w.care()
		set(-365 * 24 * time.Hour)
		w.care()
		if v := w.view(id); v.Ring != 1 {
			t.Fatalf("ring %d after half an hour and a moment ahead", v.Ring)
		}
		w.now = w.now.Add(30 * time.Minute)
		w.care()
		if v := w.view(id); v.Ring != 2 {
			t.Errorf("ring %d an hour after it began, want the second", v.Ring)
		}
	})
}

// Who resumes right after the clock was set back begins a watch that is whole.
func TestAttack45ResumedRightAfterTheClockWasSet(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		_, id := w.begun(130, "A3510")
		w.must(w.Approve(t.Context(), person("bea"), id, "I have looked"))
		w.told(id, w.firstRing(id))
		w.must(w.Pause(t.Context(), person("ada"), id, "the helpdesk asks"))
		set := w.setsClock()
		set(365 * 24 * time.Hour)
		w.care()
		set(-365 * 24 * time.Hour)
		w.must(w.Resume(t.Context(), person("ada"), id, "it was the clock"))
		w.now = w.now.Add(5 * time.Second)
		w.care()
		w.now = w.now.Add(5 * time.Second)
		w.care()
		if v := w.view(id); v.Ring != 1 {
			t.Errorf("ring %d ten seconds after the pause", v.Ring)
		}
	})
}

// Nor are updated devices lost for an hour that only the clock has seen.
func TestAttack45NobodyIsLostByTheClock(t *testing.T) {
	for name, seen := range map[string]bool{"seen before": true, "seen after": false} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, w *world) {
				ids, id := w.begun(60, "A3510")
				set := w.setsClock()
				w.fallSilent(ids, ids)
				if seen {
					w.care()
				}
				set(3 * time.Hour)
				w.care()
				w.now = w.now.Add(55 * time.Minute)
				w.care()
				if v := w.view(id); v.State != rollout.Running {
					t.Fatalf("%s for %q before they were silent for an hour", v.State, v.Cause)
				}
				w.now = w.now.Add(6 * time.Minute)
				w.care()
				if v := w.view(id); v.State != rollout.Halted || v.Cause != gate.CauseLost {
					t.Errorf("%s for %q after an hour, want it halted for the lost ones", v.State, v.Cause)
				}
			})
		})
	}
}
