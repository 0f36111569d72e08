package rollout_test

import (
	"testing"
	"time"

	"hausmeister/collector/bus"
	"hausmeister/collector/rollout"
	"hausmeister/proto/hmpb"
)

// An offer may get lost between the lease and the word of it, with its session or its
// store: a device that says nothing of it is told again.
func TestALostOfferIsToldAgain(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, _ := w.begun(10, "A3510")
		held := w.sweep(ids, "1.0.0") // whose answers nobody hears
		if len(held) == 0 {
			t.Fatal("nobody is offered anything")
		}
		sub := w.bus.Subscribe(bus.Offers)
		defer sub.Close()
		asked := func(after time.Duration) map[string]bool {
			t.Helper()
			w.now = w.now.Add(after)
			w.care()
			got := map[string]bool{}
			for len(sub.C) > 0 {
				if e := <-sub.C; held[e.Device] != nil {
					got[e.Device] = true
				}
			}
			return got
		}
		if got := asked(30 * time.Second); len(got) != 0 {
			t.Errorf("%d devices are told again after half a minute", len(got))
		}
		if got := asked(31 * time.Second); len(got) != len(held) {
			t.Errorf("%d of %d devices that said nothing are told again", len(got), len(held))
		}
		if got := asked(10 * time.Second); len(got) != 0 {
			t.Errorf("%d devices are told again some seconds later", len(got))
		}
		for device, o := range held {
			if again := w.offered(device, "1.0.0"); again.GetLease() != o.GetLease() {
				t.Errorf("told again of lease %q, want %q", again.GetLease(), o.GetLease())
			}
			w.tells(device, hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), State: new(hmpb.UpdateState_UPDATE_STATE_OFFERED)})
		}
		if got := asked(50 * time.Second); len(got) != 0 {
			t.Errorf("%d devices that know of their offer are told again", len(got))
		}
	})
}

// What a device waits for stands on its row for as long as it is so: one that goes on says
// its state once more.
func TestAReasonIsTakenBack(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(10, "A3510")
		for device, o := range w.sweep(ids, "1.0.0") {
			lesson := hmpb.UpdateReason_UPDATE_REASON_LESSON
			for i, s := range []struct {
				state  hmpb.UpdateState
				reason hmpb.UpdateReason
				why    rollout.Why
			}{
				{hmpb.UpdateState_UPDATE_STATE_OFFERED, 0, rollout.WhyBegan},
				{hmpb.UpdateState_UPDATE_STATE_WAITING, lesson, rollout.WhyWaits},
				{hmpb.UpdateState_UPDATE_STATE_OFFERED, 0, rollout.WhyBegan},
				{hmpb.UpdateState_UPDATE_STATE_WAITING, lesson, rollout.WhyWaits},
				{hmpb.UpdateState_UPDATE_STATE_OFFERED, 0, rollout.WhyBegan},
				{hmpb.UpdateState_UPDATE_STATE_DOWNLOADED, 0, rollout.WhyBegan},
				{hmpb.UpdateState_UPDATE_STATE_WAITING, lesson, rollout.WhyWaits},
				{hmpb.UpdateState_UPDATE_STATE_DOWNLOADED, 0, rollout.WhyBegan},
			} {
				w.step(device, o, s.state, s.reason)
				if d := w.state(id, device); d.Why != s.why || d.Reason != s.reason {
					t.Fatalf("after step %d, %v: %s, %v; want %s", i, s.state, d.Why, d.Reason, s.why)
				}
			}
			break
		}
	})
}

// However many hear nothing of their offers, one round tells few, and all are told within
// a minute.
func TestAllLostOffersAreToldAgain(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.cfg.Pace = rollout.DefaultPace()
		w.cfg.Pace.Gate.InFlightShare = 1
		w.cfg.Pace.Rings = []rollout.Ring{{Millions: rollout.Whole}}
		w.restart()
		ids, id := w.begun(250, "A3510")
		w.must(w.exec(`UPDATE rollouts SET systems = '{"linux/amd64": 20}' WHERE id = $1`, id)) // enough have told of success
		held := w.sweep(ids, "1.0.0")
		if len(held) != len(ids) {
			t.Fatalf("%d of %d are offered it", len(held), len(ids))
		}
		w.now = w.now.Add(55 * time.Second)
		w.care()
		sub := w.bus.Subscribe(bus.Offers)
		defer sub.Close()
		for minute := range 2 {
			told := map[string]int{}
			for range 12 {
				w.now = w.now.Add(5 * time.Second)
				w.care()
				round := 0
				for ; len(sub.C) > 0; round++ {
					told[(<-sub.C).Device]++
				}
				if round > 200 {
					t.Errorf("a round tells %d devices", round)
				}
			}
			for _, device := range ids {
				if told[device] != 1 {
					t.Fatalf("minute %d: a device is told again %d times, %d of %d are", minute, told[device], len(told), len(ids))
				}
			}
		}
	})
}

// TestStepToldTwice: an agent that ends between spool and journal tells a step again, as
// another entry. It takes neither time nor a later lease from the device.
func TestStepToldTwice(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, _ := w.begun(3, "A3510")
		device := ids[0]
		first := w.offered(device, "1.0.0")
		if first == nil {
			t.Fatal("no offer")
		}
		refuse := func(o *hmpb.Offer) {
			t.Helper()
			w.tells(device, hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), ToVersion: new(o.GetVersion()),
				State: new(hmpb.UpdateState_UPDATE_STATE_REFUSED), Reason: new(hmpb.UpdateReason_UPDATE_REASON_SPACE)})
		}
		refuse(first)
		w.now = w.now.Add(10 * time.Hour)
		refuse(first)
		if o := w.offered(device, "1.0.0"); o != nil {
			t.Errorf("an offer 10 h after a refusal, want a day between")
		}
		w.now = w.now.Add(15 * time.Hour)
		second := w.offered(device, "1.0.0")
		if second == nil {
			t.Fatal("no offer a day after the refusal: the second telling counted anew")
		}
		refuse(first)
		if o := w.offered(device, "1.0.0"); o.GetLease() != second.GetLease() {
			t.Errorf("lease %q after the first refusal was told again, want it still to be %q", o.GetLease(), second.GetLease())
		}
		refuse(second) // the same words about another lease are another step
		if got := w.why(device); got != rollout.WhyRefused {
			t.Errorf("why = %s after the second refusal, want %s", got, rollout.WhyRefused)
		}
	})
}

// A device that was offered again before it could tell of its failure refuses that
// offer; why it failed is what stays.
func TestWhyItFailedStays(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(30, "A3510")
		for device, o := range w.sweep(ids, "1.0.0") {
			w.ends(device, o, false)
			w.tells(device, hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), State: new(hmpb.UpdateState_UPDATE_STATE_REFUSED), Reason: new(hmpb.UpdateReason_UPDATE_REASON_BARRED)})
			d, _, err := w.DeviceState(t.Context(), person("ada"), device)
			if err != nil || d.Why != rollout.WhyUndone || d.Reason != hmpb.UpdateReason_UPDATE_REASON_CRASHED {
				t.Errorf("DeviceState = %+v, %v, want it undone because it crashed", d, err)
			}
			break
		}
		if v := w.view(id); v.Evidence.Bad != 1 || v.InFlight > v.Rings[0].Reached-1 {
			t.Errorf("%+v, %d under way", v.Evidence, v.InFlight)
		}
	})
}

// What a device refuses for its own reasons says nothing about the program.
func TestRefusalsAreNoOutcome(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(30, "A3510")
		for device, o := range w.sweep(ids, "1.0.0") {
			w.tells(device, hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), State: new(hmpb.UpdateState_UPDATE_STATE_REFUSED), Reason: new(hmpb.UpdateReason_UPDATE_REASON_SPACE)})
			d, _, err := w.DeviceState(t.Context(), person("ada"), device)
			if err != nil || d.Why != rollout.WhyRefused || d.Reason != hmpb.UpdateReason_UPDATE_REASON_SPACE {
				t.Errorf("DeviceState = %+v, %v, want refused for want of space", d, err)
			}
			if o := w.offered(device, "1.0.0"); o != nil {
				t.Errorf("it is offered %v again at once", o)
			}
		}
		if v := w.view(id); v.Evidence.OK+v.Evidence.Bad != 0 || v.InFlight != 0 || v.State != rollout.Running {
			t.Errorf("%s with %+v, want no outcome", v.State, v.Evidence)
		}
		if len(w.sweep(ids, "1.0.0")) == 0 {
			t.Error("nobody else may begin")
		}
	})
}
