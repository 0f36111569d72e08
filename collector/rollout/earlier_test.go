package rollout_test

import (
	"errors"
	"testing"
	"time"

	"hausmeister/collector/rollout"
	"hausmeister/collector/rollout/gate"
	"hausmeister/proto/hmpb"
)

// What went over the whole fleet stands in the way of what is older, also after the one
// that followed it was aborted.
func TestReplacedStandsInTheWay(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		for _, version := range []string{"1.0.0", "1.1.0", "1.2.0", "1.3.0"} {
			w.release(version)
		}
		w.fleetOf(3, "1.0.0", "A3510")
		gone, last := w.start(t, "1.2.0"), w.start(t, "1.3.0")
		w.must(w.exec(`UPDATE rollouts SET state = 'replaced', ended_ms = $2 WHERE id = $1`, gone, w.now.UnixMilli()))
		w.must(w.Abort(t.Context(), person("ada"), last, "not for schools"))
		if _, err := w.Start(t.Context(), person("ada"), w.releaseID("1.1.0"), "the good old one"); !errors.Is(err, rollout.ErrOlder) {
			t.Errorf("Start of 1.1.0 after 1.2.0 = %v, want ErrOlder", err)
		}
		releases, err := w.Releases(t.Context(), person("ada"))
		w.must(err)
		list, err := w.List(t.Context(), person("ada"))
		w.must(err)
		for _, r := range releases {
			if by, yes := rollout.Passed(r, list); yes != (r.Version < "1.2.0") {
				t.Errorf("%s is passed by %q: %v", r.Version, by, yes)
			}
		}
		w.start(t, "1.2.0") // the same again may
	})
}

// What a rollout that was aborted brought to the first devices tells nothing a second
// time, and they are the first again: the ring must not wait for them.
func TestARingThatHasItAlready(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		got := map[string]bool{}
		for range 10 {
			for device, o := range w.sweep(ids, "1.0.0") {
				w.ends(device, o, true)
				w.connects(device, "1.1.0", 1000)
				got[device] = true
			}
		}
		if len(got) != 20 {
			t.Fatalf("%d devices updated, want the 20 of the first ring", len(got))
		}
		w.must(w.Abort(t.Context(), person("ada"), id, "a day early"))
		id = w.start(t, "1.1.0")
		for device, o := range w.sweep(ids, "1.0.0") {
			t.Fatalf("%s is offered %s in a ring that has it", device, o.GetVersion())
		}
		w.now = w.now.Add(2 * time.Hour)
		w.care()
		if v := w.view(id); v.Ring != 2 {
			t.Fatalf("ring %d two hours later, want 2", v.Ring)
		}
		// The next one has devices to learn from, and waits for these.
		w.now = w.now.Add(5 * time.Hour)
		w.care()
		if v := w.view(id); v.Ring != 2 || len(w.sweep(ids, "1.0.0")) == 0 {
			t.Errorf("ring %d without an outcome in it, want 2", v.Ring)
		}
	})
}

// Places that are given while a release is signed no longer are those of when it is.
func TestPlacesOfWhatIsSignedNoLonger(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.release("1.1.0")
		ids := w.fleetOf(40, "1.0.0", "A3510")
		id, err := w.Start(t.Context(), person("ada"), w.releaseID("1.1.0"), "new version for the schools")
		w.must(err)
		w.withdraw("1.1.0")
		w.care()
		w.care()
		if v := w.view(id); v.State != rollout.Halted {
			t.Errorf("%s, want it halted", v.State)
		}
		if n := w.count(`SELECT COUNT(*) FROM rollout_members WHERE unfit <> ''`); n != 0 {
			t.Errorf("%d devices count as unfit", n)
		}
		w.withdraw("")
		w.must(w.Resume(t.Context(), person("ada"), id, "it was an error"))
		w.care()
		if n := len(w.sweep(ids, "1.0.0")); n == 0 {
			t.Error("no leases after it is signed again")
		}
		if n := w.count(`SELECT COUNT(*) FROM rollout_members WHERE ring = 0`); n != 20 {
			t.Errorf("%d devices in the first ring, want 20", n)
		}
	})
}

// What a rollout that was aborted brought to a device and fails later is weighed in the
// one that takes the release out anew.
func TestWhatTheAbortedOneBroughtCounts(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		held := w.sweep(ids, "1.0.0")
		w.must(w.Abort(t.Context(), person("ada"), id, "a day early"))
		anew := w.start(t, "1.1.0")
		n := int64(0)
		for device, o := range held {
			w.ends(device, o, n > 0)
			n++
		}
		v := w.view(anew)
		if v.Evidence.Bad != 1 || v.Evidence.OK != n-1 {
			t.Errorf("the new rollout has %d good and %d bad, want %d and 1", v.Evidence.OK, v.Evidence.Bad, n-1)
		}
		if r := v.Rings[0]; r.Reached != n || r.OK+r.Bad != n {
			t.Errorf("its first ring: %+v, want %d reached", r, n)
		}
		if old := w.view(id); old.Evidence.OK+old.Evidence.Bad != 0 {
			t.Errorf("the aborted one has %+v, want nothing", old.Evidence)
		}
		for device, o := range held { // told twice is once
			w.ends(device, o, true)
			break
		}
		if e := w.view(anew).Evidence; e.OK+e.Bad != n {
			t.Errorf("%d outcomes of %d devices", e.OK+e.Bad, n)
		}
	})
}

// What an aborted rollout brought is under way there until it has an outcome, and nowhere
// afterwards; what is no outcome is nothing to the new rollout. A ring of none but
// devices that had theirs before it began does not wait for more.
func TestARingWhoseOutcomesCameBefore(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		w.must(w.Approve(t.Context(), person("bea"), id, "I have looked"))
		updated := int64(0)
		well := func(held map[string]*hmpb.Offer) {
			for device, o := range held {
				w.ends(device, o, true)
				w.connects(device, "1.1.0", 1000)
				updated++
			}
		}
		for w.view(id).Ring == 1 {
			well(w.sweep(ids, "1.0.0"))
			w.now = w.now.Add(30 * time.Minute)
			w.care()
		}
		for updated < 80 {
			well(w.sweep(ids, "1.0.0"))
		}
		armed := w.sweep(ids, "1.0.0")
		if updated+int64(len(armed)) != 100 {
			t.Fatalf("%d updated and %d under way, want the 100 of two rings", updated, len(armed))
		}
		tell := func(state hmpb.UpdateState) {
			for device, o := range armed {
				w.tells(device, hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), State: new(state)})
			}
		}
		tell(hmpb.UpdateState_UPDATE_STATE_ARMED)
		w.must(w.Abort(t.Context(), person("ada"), id, "a day early"))
		w.now = w.now.Add(time.Minute)
		anew := w.start(t, "1.1.0")
		w.must(w.Approve(t.Context(), person("bea"), anew, "I have looked"))
		tell(hmpb.UpdateState_UPDATE_STATE_TRIAL)
		if n := w.count(`SELECT COUNT(*) FROM rollout_members WHERE rollout_id = $1 AND flight = 1`, id); n != int64(len(armed)) {
			t.Errorf("%d under way in the aborted one, want %d", n, len(armed))
		}
		if n := w.count(`SELECT COUNT(*) FROM rollout_members WHERE rollout_id = $1 AND (told <> 0 OR granted_ms <> 0)`, anew); n != 0 {
			t.Errorf("%d devices have come in the new rollout, want none before they end", n)
		}
		for device, o := range armed {
			w.ends(device, o, true)
			w.connects(device, "1.1.0", 1000)
		}
		if n := w.count(`SELECT COUNT(*) FROM rollout_members WHERE flight = 1`); n != 0 {
			t.Errorf("%d under way when all have ended", n)
		}
		if v := w.view(anew); v.Ring != 1 || v.Evidence.OK != int64(len(armed)) {
			t.Fatalf("ring %d with %d good ones, want 1 with the %d of the aborted rollout", v.Ring, v.Evidence.OK, len(armed))
		}
		for range 2 {
			w.now = w.now.Add(5 * time.Hour)
			w.care()
		}
		if v := w.view(anew); v.Ring != 3 {
			t.Errorf("ring %d, want 3: who is in the first two has told all that there is", v.Ring)
		}
	})
}

// Nor does the last ring: the rollout is done.
func TestTheLastRingWhoseOutcomesCameBefore(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(30, "A3510")
		well := func(held map[string]*hmpb.Offer) {
			for device, o := range held {
				w.ends(device, o, true)
				w.connects(device, "1.1.0", 1000)
			}
		}
		for w.view(id).Ring == 1 {
			well(w.sweep(ids, "1.0.0"))
			w.now = w.now.Add(30 * time.Minute)
			w.care()
		}
		well(w.sweep(ids, "1.0.0"))
		armed := w.sweep(ids, "1.0.0")
		for device, o := range armed {
			w.tells(device, hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), State: new(hmpb.UpdateState_UPDATE_STATE_ARMED)})
		}
		if v := w.view(id); v.State != rollout.Running || len(armed) == 0 {
			t.Fatalf("%s with %d armed, want it to run", v.State, len(armed))
		}
		w.must(w.Abort(t.Context(), person("ada"), id, "a day early"))
		w.now = w.now.Add(time.Minute)
		anew := w.start(t, "1.1.0")
		well(armed)
		for range 2 {
			w.now = w.now.Add(5 * time.Hour)
			w.care()
		}
		if v := w.view(anew); v.State != rollout.Done || v.Evidence.OK != int64(len(armed)) {
			t.Errorf("%s in ring %d with %d good ones, want it done with %d", v.State, v.Ring, v.Evidence.OK, len(armed))
		}
	})
}

// Who failed in a rollout that was ended, and refuses the same release now that it goes out
// anew, has failed: a ring is not left on what the others told alone.
func TestAttack45WhoFailedBeforeAndRefusesNow(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510", "B1", "C1")
		first := w.inRing(id, 0, ids)
		bad := map[string]bool{}
		for n := 0; n < 20; {
			held := w.sweep(first, "1.0.0")
			if len(held) == 0 {
				t.Fatalf("nobody is offered it, %d ended", n)
			}
			for device, o := range held {
				if w.runs[device] == "" && !bad[device] {
					n++
					bad[device] = n > 14
					w.ends(device, o, n <= 14)
					w.connects(device, map[bool]string{true: "1.1.0", false: "1.0.0"}[n <= 14], int64(1000+n))
				}
			}
			if v := w.view(id); v.State == rollout.Halted {
				w.must(w.Resume(t.Context(), person("ada"), id, "it was the network"))
			}
		}
		w.must(w.Abort(t.Context(), person("ada"), id, "once more from the start"))
		w.now = w.now.Add(time.Minute)
		id = w.start(t, "1.1.0")
		for range 3 {
			for device, o := range w.sweep(first, "1.0.0") {
				if !bad[device] {
					t.Fatalf("who has it is offered %v", o)
				}
				w.step(device, o, hmpb.UpdateState_UPDATE_STATE_REFUSED, hmpb.UpdateReason_UPDATE_REASON_BARRED)
			}
		}
		w.now = w.now.Add(25 * time.Hour)
		w.care()
		if v := w.view(id); v.Ring != 1 || v.Rings[0].Wait != gate.WaitRate {
			t.Errorf("ring %d, waiting for %q, with 6 of 20 that failed; want the first to wait for the rate", v.Ring, v.Rings[0].Wait)
		}
	})
}
