package rollout_test

import (
	"errors"
	"testing"
	"time"

	"hausmeister/collector/bus"
	"hausmeister/collector/rollout"
	"hausmeister/collector/rollout/gate"
	"hausmeister/proto/hmpb"
)

// What takes a rollout further is evidence: silence is none, and nobody but a person takes
// back what devices have shown.

// A build that connects with its version and says nothing more goes no further than the
// first ring.
func TestAttack45NoOutcomeNoRing(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		w.must(w.Approve(t.Context(), person("bea"), id, "I have looked"))
		for range 30 { // over the ends of leases
			held := w.sweep(ids, "1.0.0")
			w.arm(held)
			for device := range held { // it swaps, connects, and tells nothing more
				w.runs[device] = "1.1.0"
				w.connects(device, "1.1.0", 1000)
			}
			w.now = w.now.Add(8 * time.Hour)
			w.care()
		}
		if v := w.view(id); v.Ring != 1 || v.State != rollout.Running || len(w.runs) != 20 {
			t.Errorf("%s in ring %d with no outcome at all, %d devices have it; want the 20 of ring 1", v.State, v.Ring, len(w.runs))
		}
	})
}

// Who has the program by this rollout and is silent is waited for, though he runs it.
func TestAttack45SilentOnesAreWaitedFor(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		w.must(w.Approve(t.Context(), person("bea"), id, "I have looked"))
		for w.view(id).Ring == 1 {
			for device, o := range w.sweep(ids, "1.0.0") {
				w.ends(device, o, true)
				w.connects(device, "1.1.0", 1000)
			}
			w.now = w.now.Add(30 * time.Minute)
			w.care()
		}
		n := 0
		for range 8 {
			for device, o := range w.sweep(ids, "1.0.0") {
				if n++; n <= 6 {
					w.ends(device, o, true)
				} else {
					w.tells(device, hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), State: new(hmpb.UpdateState_UPDATE_STATE_TRIAL)})
					w.runs[device] = "1.1.0"
				}
				w.connects(device, "1.1.0", 1000)
			}
			w.now = w.now.Add(25 * time.Hour)
			w.care()
		}
		if v := w.view(id); v.Ring != 2 || v.Rings[1].Need != 40 || v.Rings[1].Wait != gate.WaitFresh {
			t.Errorf("ring %d after %d outcomes of the 80 of ring 2, which waits for %q of %d; want 40", v.Ring, v.Rings[1].OK+v.Rings[1].Bad, v.Rings[1].Wait, v.Rings[1].Need)
		}
	})
}

// So is who got it by a rollout that was aborted, and has told of no end.
func TestAttack45TrialsOfAnAbortedRollout(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		got := map[string]bool{}
		for len(got) < 20 {
			for device, o := range w.sweep(ids, "1.0.0") {
				w.tells(device, hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), State: new(hmpb.UpdateState_UPDATE_STATE_TRIAL)})
				w.connects(device, "1.1.0", 1000)
				got[device], w.runs[device] = true, "1.1.0"
			}
			w.now = w.now.Add(25 * time.Hour)
			w.care()
		}
		w.must(w.Abort(t.Context(), person("ada"), id, "a day early"))
		w.now = w.now.Add(time.Minute)
		id = w.start(t, "1.1.0")
		w.now = w.now.Add(2 * time.Hour)
		w.care()
		if v := w.view(id); v.Ring != 1 {
			t.Errorf("ring %d of the new rollout, ok %d bad %d, and all 20 of the first ring are on trial since", v.Ring, v.Evidence.OK, v.Evidence.Bad)
		}
	})
}

// What an earlier rollout of the release had armed may fail while the new one gives out its
// places: that halts it as at any other time, and a person lets it go on with them.
func TestAttack42FailuresWhilePlacing(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		held := w.sweep(ids, "1.0.0")
		w.arm(held)
		w.must(w.Abort(t.Context(), person("ada"), id, "a day early"))
		w.now = w.now.Add(time.Minute)
		anew, err := w.Start(t.Context(), person("ada"), w.releaseID("1.1.0"), "new version for the schools")
		w.must(err)
		// Its collector ended right before it said that all have their place.
		w.must(w.exec(`INSERT INTO rollout_members (rollout_id, device_id, ring, model, os_build, antivirus, owner_id, school_id, unfit)
			SELECT $1, device_id, ring, model, os_build, antivirus, owner_id, school_id, unfit FROM rollout_members WHERE rollout_id = $2`, anew, id))
		for device, o := range held {
			w.ends(device, o, false)
		}
		w.care()
		if v := w.view(anew); v.State != rollout.Halted || v.Cause != gate.CauseRate {
			t.Errorf("%s for %q with a sum of %.1f and a bound of %.1f, want it halted for its rate", v.State, v.Cause, v.Evidence.Sum, v.Evidence.Bound)
		} else if v.Evidence.Bad != int64(len(held)) {
			t.Errorf("%d failures are counted, want each of %d once", v.Evidence.Bad, len(held))
		}
		w.must(w.Resume(t.Context(), person("ada"), anew, "it was the network"))
		w.care()
		if v := w.view(anew); v.State != rollout.Running || len(w.sweep(ids, "1.0.0")) == 0 {
			t.Errorf("%s after a person ended the halt, want it to go on", v.State)
		}
	})
}

// While all are left out no ring opens: they would all begin on the day when they are let
// in.
func TestAllLeftOut(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		_, id := w.begun(130, "A3510")
		w.must(w.Approve(t.Context(), person("bea"), id, "I have looked"))
		part := gate.Stratum{Dimension: "model", Value: "A3510"}
		w.must(w.Block(t.Context(), programs[0], id, part, true, "their firmware is old"))
		for range 30 {
			w.now = w.now.Add(6 * time.Hour)
			w.care()
		}
		if v := w.view(id); v.Ring != 1 || v.State != rollout.Running || v.Rings[0].Wait != gate.WaitNobody {
			t.Errorf("%s in ring %d with all left out, want it to wait in ring 1", v.State, v.Ring)
		}
	})
}

// Once a part is left out, the outcomes of the ring are those of the others in it.
func TestARingCountsItsOwnAfterABlock(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.release("1.1.0")
		ids := w.fleetOf(260, "1.0.0", "A3510", "T490")
		model := map[string]string{}
		for i, d := range ids {
			model[d] = []string{"A3510", "T490"}[i%2]
		}
		id := w.start(t, "1.1.0")
		for w.view(id).Ring == 1 {
			for device, o := range w.sweep(ids, "1.0.0") {
				w.ends(device, o, true)
			}
			w.now = w.now.Add(30 * time.Minute)
			w.care()
		}
		for range 6 {
			for device, o := range w.sweep(ids, "1.0.0") {
				if model[device] == "A3510" {
					w.ends(device, o, true)
				}
			}
		}
		inRing := func() int64 {
			return w.count(`SELECT COUNT(*) FROM rollout_members WHERE rollout_id = $1 AND ring = 1 AND outcome <> 0 AND model = 'T490'`, id)
		}
		if of := w.view(id).Evidence.RingOK; of < 5 {
			t.Fatalf("%d good ones in ring 2, want some of one model", of)
		}
		w.must(w.Block(t.Context(), person("ada"), id, gate.Stratum{Dimension: "model", Value: "A3510"}, true, "their firmware is old"))
		if v := w.view(id); v.Evidence.RingOK != inRing() {
			t.Errorf("after the block the ring has %d good ones, of the part that is left are %d", v.Evidence.RingOK, inRing())
		}
	})
}

// The page says what the gate waits for, also where a ring has the program already.
func TestThePageSaysWhatTheGateWaitsFor(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		for range 10 {
			for device, o := range w.sweep(ids, "1.0.0") {
				w.ends(device, o, true)
				w.connects(device, "1.1.0", 1000)
			}
		}
		w.must(w.Abort(t.Context(), person("ada"), id, "a day early"))
		w.now = w.now.Add(time.Minute)
		id = w.start(t, "1.1.0")
		w.now = w.now.Add(61 * time.Minute)
		said := w.view(id)
		w.care()
		if v := w.view(id); v.Ring != 2 || said.Rings[0].Wait != gate.Leave || said.Rings[0].Need != 0 {
			t.Errorf("ring %d, and right before it said to wait for %q, %d more; want ring 2 and nothing", v.Ring, said.Rings[0].Wait, said.Rings[0].Need)
		}
	})
}

// What armed devices tell after a rollout was started anew, and before it has its places,
// counts in it.
func TestOutcomesBeforeThePlaces(t *testing.T) {
	for name, paused := range map[string]bool{"begun": false, "paused": true} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, w *world) {
				ids, id := w.begun(130, "A3510")
				held := w.sweep(ids, "1.0.0")
				w.arm(held)
				w.must(w.Abort(t.Context(), person("ada"), id, "a day early"))
				w.now = w.now.Add(time.Minute)
				anew, err := w.Start(t.Context(), person("ada"), w.releaseID("1.1.0"), "new version for the schools")
				w.must(err)
				if paused {
					w.must(w.Pause(t.Context(), person("ada"), anew, "a moment please"))
				}
				for device, o := range held {
					w.ends(device, o, false)
				}
				w.care()
				if v := w.view(anew); v.Evidence.Bad != int64(len(held)) {
					t.Errorf("%d of %d failures are known to the new rollout, which is %s", v.Evidence.Bad, len(held), v.State)
				}
			})
		})
	}
}

// A program that pauses and resumes takes nothing of the alarm back.
func TestAProgramPausesNoAlarmAway(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		bad := 0
		for range 40 {
			held := w.sweep(ids, "1.0.0")
			// armed ones go on in the pause
			w.arm(held)
			w.must(w.Pause(t.Context(), programs[0], id, "every hour"))
			for device, o := range held {
				w.ends(device, o, false)
				bad++
			}
			if err := w.Resume(t.Context(), programs[0], id, "every hour"); err != nil {
				break
			}
			w.now = w.now.Add(time.Hour)
			w.care()
			if w.view(id).State == rollout.Halted {
				break
			}
		}
		v := w.view(id)
		if v.State == rollout.Running || bad > 6 {
			t.Errorf("%s after %d failures of %d, a program having resumed it each time; want the gate to hold it", v.State, bad, bad)
		}
	})
}

// Failures of what was armed halt a rollout that is paused.
func TestFailuresInAPauseHalt(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		held := w.sweep(ids, "1.0.0")
		w.arm(held)
		w.must(w.Pause(t.Context(), person("ada"), id, "the helpdesk asks"))
		for device, o := range held {
			w.ends(device, o, false)
		}
		w.care()
		if v := w.view(id); v.State != rollout.Halted || v.Cause != gate.CauseRate || v.Decisions[0].Verb != "halted" {
			t.Errorf("%s for %q, decided: %s; want it halted for the rate", v.State, v.Cause, v.Decisions[0].Verb)
		}
		if err := w.Resume(t.Context(), programs[0], id, "go on please"); !errors.Is(err, rollout.ErrPerson) {
			t.Errorf("Resume by a program = %v, want ErrPerson", err)
		}
		w.must(w.Resume(t.Context(), person("ada"), id, "it was the helpdesk's own"))
	})
}

// Nor does leaving parts out.
func TestABlockTakesNoAlarmBack(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		models := []string{"M0", "M1", "M2", "M3", "M4", "M5", "M6", "M7", "M8", "M9"}
		for _, m := range models { // of the last ring
			w.must(w.exec(`UPDATE rollout_members SET model = $1 WHERE device_id = (SELECT device_id FROM rollout_members WHERE ring = 2 AND model = 'A3510' LIMIT 1)`, m))
		}
		bad := 0
		for range 10 {
			for device, o := range w.sweep(ids, "1.0.0") {
				if w.view(id).State != rollout.Running || bad >= len(models) {
					break
				}
				w.ends(device, o, false)
				w.must(w.Block(t.Context(), programs[0], id, gate.Stratum{Dimension: "model", Value: models[bad]}, true, "each time"))
				bad++
			}
		}
		if v := w.view(id); v.State == rollout.Running {
			t.Errorf("%d failures of %d, and it is %s: sum %.1f, a program having left out %d parts of a device each", bad, bad, v.State, v.Evidence.Sum, bad)
		}
	})
}

// Whatever a rollout that left a part out ended as, a program does not begin it anew.
func TestAProgramBeginsNothingReplacedAnew(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		for _, v := range []string{"1.0.0", "1.1.0", "1.2.0"} {
			w.release(v)
		}
		ids := w.fleetOf(40, "1.0.0", "A3510", "T490")
		id := w.start(t, "1.1.0")
		part := gate.Stratum{Dimension: "model", Value: "A3510"}
		w.must(w.Block(t.Context(), person("ada"), id, part, true, "their firmware is old"))
		goes := func(id string) {
			for range 100 {
				for device, o := range w.sweep(ids, "1.0.0") {
					w.ends(device, o, true)
					w.connects(device, o.GetVersion(), 1000)
				}
				w.now = w.now.Add(3 * time.Hour)
				w.care()
				if w.view(id).State == rollout.Done {
					return
				}
			}
			t.Fatalf("%s", w.view(id).State)
		}
		goes(id)
		next := w.start(t, "1.2.0")
		w.must(w.Block(t.Context(), person("ada"), next, part, true, "their firmware is old"))
		goes(next)
		if v := w.view(id); v.State != rollout.Replaced {
			t.Fatalf("1.1.0 is %s", v.State)
		}
		w.must(w.Abort(t.Context(), programs[0], next, "not for schools"))
		w.now = w.now.Add(time.Hour)
		anew, err := w.Start(t.Context(), programs[0], w.releaseID("1.1.0"), "the old one again")
		if !errors.Is(err, rollout.ErrPerson) {
			t.Errorf("Start by a program of a release whose last rollout left a part out = %v, want ErrPerson", err)
			w.care()
			n := 0
			for i, device := range ids {
				if i%2 == 0 && w.offered(device, "1.0.0") != nil {
					n++
				}
			}
			t.Errorf("%d of the part are offered it by %s", n, anew)
		}
	})
}

// Who was lost when a person went on is not looked for any more.
func TestLostIsTakenBackByAPerson(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(60, "A3510")
		w.fallSilent(ids, ids)
		w.lost()
		if v := w.view(id); v.State != rollout.Halted || v.Cause != gate.CauseLost {
			t.Fatalf("%s", v.State)
		}
		w.now = w.now.Add(time.Minute)
		w.must(w.Resume(t.Context(), person("ada"), id, "they are in the repair shop"))
		w.now = w.now.Add(5 * time.Second)
		w.care()
		if v := w.view(id); v.State != rollout.Running {
			t.Errorf("%s for %q 5 seconds after a person resumed it", v.State, v.Cause)
		}
		for range 4 {
			w.now = w.now.Add(30 * time.Minute)
			w.care()
		}
		if v := w.view(id); v.State != rollout.Running {
			t.Errorf("%s for %q two hours after a person resumed it", v.State, v.Cause)
		}
	})
}

// Nor is who is in a part that was left out.
func TestLostOfAPartThatIsLeftOut(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.release("1.1.0")
		ids := w.fleetOf(60, "1.0.0", "A3510", "T490")
		id := w.start(t, "1.1.0")
		var bad []string
		for i, device := range ids {
			if i%2 == 0 {
				bad = append(bad, device)
			}
		}
		w.fallSilent(ids, bad)
		w.lost()
		if v := w.view(id); v.State != rollout.Halted || v.Cause != gate.CauseLost {
			t.Fatalf("%s, want it halted for the lost ones", v.State)
		}
		w.must(w.Block(t.Context(), person("ada"), id, gate.Stratum{Dimension: "model", Value: "A3510"}, true, "they die of it"))
		w.must(w.Resume(t.Context(), person("ada"), id, "the others are well"))
		for range 4 {
			w.now = w.now.Add(30 * time.Minute)
			w.care()
		}
		if v := w.view(id); v.State != rollout.Running {
			t.Errorf("%s for %q two hours after the part was left out and a person resumed it", v.State, v.Cause)
		}
	})
}

// Since when devices are lost is known over restarts.
func TestAttack45LostOverRestarts(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(60, "A3510")
		w.fallSilent(ids, ids)
		w.care()
		w.now = w.now.Add(50 * time.Minute)
		w.restart()
		w.care()
		if v := w.view(id); v.State != rollout.Running {
			t.Fatalf("%s before the hour is over", v.State)
		}
		w.now = w.now.Add(15 * time.Minute)
		w.restart()
		w.care()
		if v := w.view(id); v.State != rollout.Halted || v.Cause != gate.CauseLost {
			t.Errorf("%s for %q after an hour with two restarts, want it halted for the lost ones", v.State, v.Cause)
		}
	})
}

// A scanner that takes the new program before the swap is a failure as one that does after
// it.
func TestAttack25QuarantinedBeforeTheSwapIsAFailure(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(20, "A3510")
		for range 5 {
			held := w.sweep(ids, "1.0.0")
			w.arm(held)
			for device, o := range held {
				w.tells(device, hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), ToVersion: new("1.1.0"), State: new(hmpb.UpdateState_UPDATE_STATE_REFUSED), Reason: new(hmpb.UpdateReason_UPDATE_REASON_QUARANTINED)})
			}
		}
		if v := w.view(id); v.State != rollout.Halted || v.Evidence.Bad < 3 {
			t.Errorf("%s with %d failures, want it halted", v.State, v.Evidence.Bad)
		}
	})
}

// A device that is armed has another lease after a pause, and is armed still.
func TestArmedThroughTwoPauses(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(60, "A3510")
		held := w.sweep(ids, "1.0.0")
		w.arm(held)
		w.must(w.exec(`UPDATE rollouts SET ring = 1`))
		for range 2 {
			w.must(w.Pause(t.Context(), person("ada"), id, "somebody called"))
			w.must(w.Resume(t.Context(), person("ada"), id, "it was nothing"))
			for device := range held {
				if w.offered(device, "1.0.0") == nil {
					t.Fatal("an armed device has no lease after a pause")
				}
			}
		}
		w.must(w.Pause(t.Context(), person("ada"), id, "somebody called"))
		if n := w.view(id).InFlight; n != int64(len(held)) {
			t.Errorf("%d under way in the pause, want the %d that are armed", n, len(held))
		}
	})
}

// However often there are rounds, an offer is told again once a minute.
func TestAnOfferIsToldAgainOnceAMinute(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, _ := w.begun(10, "A3510")
		held := w.sweep(ids, "1.0.0")
		sub := w.bus.Subscribe(bus.Offers)
		defer sub.Close()
		n := map[string]int{}
		w.now = w.now.Add(60 * time.Second)
		for range 12 { // rounds as they come while others tell
			w.now = w.now.Add(300 * time.Millisecond)
			w.care()
			for len(sub.C) > 0 {
				if e := <-sub.C; held[e.Device] != nil {
					n[e.Device]++
				}
			}
		}
		for device := range held {
			if n[device] != 1 {
				t.Errorf("%s is told %d times within 4 seconds, want once a minute", device, n[device])
			}
		}
	})
}

// fallSilent has all of them here on a Saturday, and of some those that are offered it arm
// it and are not heard of for three hours.
func (w *world) fallSilent(all, some []string) {
	w.t.Helper()
	w.sweep(all, "1.0.0")
	if _, err := w.forgetLeases(); err != nil {
		w.t.Fatal(err)
	}
	w.now = time.Date(2026, 12, 12, 8, 0, 0, 0, time.UTC)
	for i, device := range all {
		w.connects(device, "1.0.0", int64(1000+i))
	}
	held := w.sweep(some, "1.0.0")
	w.arm(held)
	for device := range held {
		w.leaves(device)
	}
	w.now = w.now.Add(3 * time.Hour)
}

// arm lets devices tell that they are about to swap.
func (w *world) arm(held map[string]*hmpb.Offer) {
	w.t.Helper()
	for device, o := range held {
		w.tells(device, hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), State: new(hmpb.UpdateState_UPDATE_STATE_ARMED)})
	}
}
