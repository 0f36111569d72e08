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
