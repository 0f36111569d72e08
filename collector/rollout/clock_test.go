package rollout_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"hausmeister/collector/db"
	"hausmeister/collector/rollout"
	"hausmeister/proto/hmpb"
)

// Row 45: restart, the same report again, another collector, a clock that jumps.
func TestAttack45RestartRepeatAndClock(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(60, "A3510")
		held := w.sweep(ids, "1.0.0")
		for device, o := range held {
			w.ends(device, o, true)
			w.restart()
			// The acknowledgement was lost: the device tells it again, and once more under
			// another sequence, as after a restored spool.
			u := hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), State: new(hmpb.UpdateState_UPDATE_STATE_COMMITTED)}
			w.tellsAgain(device, w.seqs[device], u)
			w.tells(device, u)
		}
		was := w.view(id)
		if was.Evidence.OK != int64(len(held)) {
			t.Errorf("evidence = %+v after %d outcomes told three times, want each once", was.Evidence, len(held))
		}
		w.restart()
		if is := w.view(id); is.Evidence.OK != was.Evidence.OK || is.Evidence.Sum != was.Evidence.Sum || is.Ring != was.Ring || is.State != was.State {
			t.Errorf("after a restart %+v, want %+v", is, was)
		}
		// The ring is left for its evidence, then nothing follows from time alone, whatever
		// the clock does.
		w.now = w.now.Add(2 * time.Hour)
		w.care()
		ring := w.view(id).Ring
		for _, jump := range []time.Duration{30 * 24 * time.Hour, -60 * 24 * time.Hour, 400 * 24 * time.Hour} {
			w.now = w.now.Add(jump)
			w.restart()
			w.care()
			if v := w.view(id); v.Ring != ring || v.State != rollout.Running {
				t.Errorf("ring %d, %s after a jump of %v without evidence, want ring %d", v.Ring, v.State, jump, ring)
			}
		}
		// Another collector on the same database does nothing while this one does.
		other, err := rollout.New(w.cfg)
		if err != nil {
			t.Fatal(err)
		}
		lease := w.db.Lease("rollouts", w.cfg.Now)
		err = lease.Hold(t.Context(), func(context.Context) error { return other.Care(t.Context()) })
		if !errors.Is(err, db.ErrLeased) {
			t.Errorf("Care of a second collector = %v, want ErrLeased", err)
		}
		// A late failure takes the success of the same device back.
		for device, o := range held {
			before := w.view(id).Evidence
			w.ends(device, o, false)
			after := w.view(id).Evidence
			if after.OK != before.OK-1 || after.Bad != before.Bad+1 {
				t.Errorf("evidence went from %+v to %+v, want one good turned bad", before, after)
			}
			break
		}
	})
}

// Leases of a moment in which the clock was a year ahead end with it, but for who is armed;
// what another collector did whose clock is an hour ahead does not.
func TestAttack45ClockAheadAndBack(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		was := w.now
		w.now = was.AddDate(1, 0, 0)
		held := w.sweep(ids, "1.0.0")
		for device, o := range held {
			w.tells(device, hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), State: new(hmpb.UpdateState_UPDATE_STATE_ARMED)})
			break
		}
		w.now = was.Add(time.Hour)
		w.care()
		if v := w.view(id); v.InFlight != 1 || len(held) < 2 {
			t.Errorf("%d of %d leases of a year ahead hold, want that of the one that is armed", v.InFlight, len(held))
		}
		again := w.sweep(ids, "1.0.0")
		w.now = w.now.Add(-time.Hour)
		w.care()
		if v := w.view(id); len(again) == 0 || v.InFlight != int64(len(again)) { // who is armed asked, too
			t.Errorf("%d of %d leases hold whose clock was an hour ahead", v.InFlight, len(again))
		}
	})
}

// What devices refused in a moment in which the clock was a year ahead is offered to them
// again when it is right; what they refused under a right clock is not at once.
func TestAttack45RefusedWhileTheClockWasAhead(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, _ := w.begun(130, "A3510")
		refuse := func() (refused []string) {
			for device, o := range w.sweep(ids, "1.0.0") {
				w.step(device, o, hmpb.UpdateState_UPDATE_STATE_REFUSED, hmpb.UpdateReason_UPDATE_REASON_DISK)
				refused = append(refused, device)
			}
			return refused
		}
		refused := refuse()
		if again := w.sweep(refused, "1.0.0"); len(refused) == 0 || len(again) != 0 {
			t.Fatalf("%d of %d who refused are asked at once again", len(again), len(refused))
		}
		was := w.now
		w.now = was.AddDate(1, 0, 0)
		refused = refuse()
		w.now = was.Add(time.Hour)
		w.care()
		for _, device := range refused {
			if why := w.why(device); why == rollout.WhyRefused {
				t.Fatalf("the row of %s says that it refused", device)
			}
		}
		if again := w.sweep(refused, "1.0.0"); len(refused) == 0 || len(again) == 0 {
			t.Errorf("%d of %d who refused while the clock was ahead are asked again", len(again), len(refused))
		}
	})
}

// A clock that is behind for a moment takes nothing of the time for which a ring is watched.
func TestAttack45ClockBehindForAMoment(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		was := w.now
		for _, behind := range []time.Duration{time.Hour, 12 * time.Hour} {
			w.now = was.Add(-behind)
			w.care()
		}
		w.now = was
		for range 10 {
			for device, o := range w.sweep(ids, "1.0.0") {
				w.ends(device, o, true)
			}
		}
		w.now = w.now.Add(time.Minute)
		w.care()
		if v := w.view(id); v.Ring != 1 {
			t.Errorf("ring %d a minute after the start", v.Ring)
		}
	})
}
