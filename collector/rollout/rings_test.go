package rollout_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/bus"
	"hausmeister/collector/calendar"
	"hausmeister/collector/db"
	"hausmeister/collector/rollout"
	"hausmeister/collector/rollout/gate"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
)

// sweep asks once for all devices, which run this version unless they were updated,
// and gives those that hold a lease.
func (w *world) sweep(ids []string, version string) map[string]*hmpb.Offer {
	w.t.Helper()
	out := map[string]*hmpb.Offer{}
	for _, id := range ids {
		runs := version
		if w.runs[id] != "" {
			runs = w.runs[id]
		}
		if o := w.offered(id, runs); o != nil {
			out[id] = o
		}
	}
	return out
}

// firstRing are the devices that have a place in the first ring of a rollout.
func (w *world) firstRing(rollout string) (ids []string) {
	w.t.Helper()
	w.must(w.db.Read(w.t.Context(), func(tx *db.Tx) (err error) {
		ids, err = db.Texts(w.t.Context(), tx, `SELECT device_id FROM rollout_members WHERE rollout_id = $1 AND ring = 0`, rollout)
		return err
	}))
	return ids
}

func TestARolloutGoesThroughItsRings(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		rel := w.release("1.1.0")
		ids := w.fleetOf(130, "1.0.0", "A3510", "U7411")
		id := w.start(t, "1.1.0")
		v := w.view(id)
		if v.State != rollout.Running || len(v.Rings) != 3 || v.Rings[0].Devices != 20 || v.Rings[1].Devices != 100 || v.Rings[2].Devices != 130 {
			t.Fatalf("rollout = %+v, want rings of 20, 100, 130", v)
		}
		for _, ring := range []struct{ r, size int64 }{{0, 20}, {1, 80}, {2, 30}} {
			if n := w.count(`SELECT COUNT(*) FROM rollout_members WHERE rollout_id = $1 AND ring = $2`, id, ring.r); n != ring.size {
				t.Errorf("ring %d has %d devices, want %d", ring.r, n, ring.size)
			}
			a := w.count(`SELECT COUNT(*) FROM rollout_members WHERE rollout_id = $1 AND ring = $2 AND model = 'A3510'`, id, ring.r)
			if d := 2*a - ring.size; d < -4 || d > 4 {
				t.Errorf("ring %d has %d of one of two equal models, want half of %d", ring.r, a, ring.size)
			}
		}
		held := w.sweep(ids, "1.0.0")
		if len(held) != 4 {
			t.Fatalf("%d leases at once, want 4: 20 %% of the first ring", len(held))
		}
		for id, o := range held {
			if again := w.offered(id, "1.0.0"); again.GetLease() != o.GetLease() {
				t.Errorf("a second question = lease %q, want %q", again.GetLease(), o.GetLease())
			}
			if hex.EncodeToString(o.GetSha256()) != rel.SHA256 || o.GetTarget() != rel.Path || o.GetValidS() == 0 || o.GetWithinS() == 0 || o.GetRepository().GetRootVersion() != 1 {
				t.Errorf("offer = %v, want that of %s", o, rel.Path)
			}
			c, err := rollout.Gateway{Rollouts: w.Rollouts}.Target(t.Context(), w.caller(id), o.GetLease(), o.GetSha256())
			if err != nil || c.Line.Key != w.owner {
				t.Errorf("Target = %+v, %v, want the file, over the owner's line", c, err)
			} else {
				c.Close()
			}
		}
		reached, rounds := map[string]bool{}, 0
		for ; w.view(id).State == rollout.Running && rounds < 400; rounds++ {
			for id, o := range w.sweep(ids, "1.0.0") {
				reached[id] = true
				w.ends(id, o, true)
			}
			w.now = w.now.Add(time.Hour)
			w.care()
			if v := w.view(id); v.Ring == 3 && v.ApprovedBy == "" {
				t.Fatal("it came to all of the fleet without a second person")
			} else if v.NeedsSecond && v.Ring == 2 {
				if err := w.Approve(t.Context(), person("bea"), id, "seen in two schools"); err != nil {
					t.Fatal(err)
				}
			}
		}
		v = w.view(id)
		if v.State != rollout.Done || len(reached) != len(ids) {
			t.Errorf("after %d rounds %s with %d of %d devices reached, want it done", rounds, v.State, len(reached), len(ids))
		}
		for i, r := range v.Rings {
			if r.Reached != r.Adds || r.OK != r.Adds || r.Bad != 0 || r.InFlight != 0 {
				t.Errorf("ring %d = %+v, want all of it reached and well", i+1, r)
			}
		}
		if v.Evidence.OK != 130 || v.Evidence.Bad != 0 {
			t.Errorf("evidence = %+v, want each of 130 once", v.Evidence)
		}
		verbs := map[string]int{}
		for _, d := range v.Decisions {
			verbs[d.Verb]++
		}
		if verbs["started"] != 1 || verbs["began"] != 1 || verbs["ring_entered"] != 2 || verbs["approved"] != 1 || verbs["done"] != 1 {
			t.Errorf("decisions = %v", verbs)
		}
		if c, err := w.Compliance(t.Context(), person("ada"), id); err != nil || c.Counts[rollout.Current] != 130 {
			t.Errorf("Compliance = %+v, %v, want all current", c, err)
		}
		// Who comes late comes into it all the same.
		late := w.device(500, "", "A3510")
		w.connects(late, "1.0.0", 900)
		if o := w.offered(late, "1.0.0"); o == nil {
			t.Error("a device that came later has no offer")
		}
	})
}

// Row 42: a ring that shows failures halts by itself, and who has not begun does not.
func TestAttack42FailuresHaltTheRing(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(40, "A3510")
		sub := w.bus.Subscribe(bus.Offers)
		defer sub.Close()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx, func() {}) }()
		defer func() { cancel(); <-ended }()
		held := w.sweep(ids, "1.0.0")
		left := map[string]*hmpb.Offer{}
		bad := 0
		for device, o := range held {
			if bad < 3 {
				w.ends(device, o, false)
				bad++
			} else {
				left[device] = o
			}
		}
		v := w.view(id)
		if v.State != rollout.Halted || v.Cause != gate.CauseRate || v.Evidence.Bad != 3 {
			t.Fatalf("after three failures of three: %s for %q with %+v, want it halted for its rate", v.State, v.Cause, v.Evidence)
		}
		if len(left) == 0 {
			t.Fatal("nobody was left who had not begun")
		}
		for device, o := range left {
			if again := w.offered(device, "1.0.0"); again != nil {
				t.Errorf("a device that has not begun is offered %v, want nothing", again)
			}
			if _, err := (rollout.Gateway{Rollouts: w.Rollouts}).Target(t.Context(), w.caller(device), o.GetLease(), o.GetSha256()); !errors.Is(err, access.ErrForbidden) {
				t.Errorf("Target under the lease that is gone = %v, want ErrForbidden", err)
			}
		}
		deadline := time.After(30 * time.Second)
		for whole := false; !whole; { // the gateways are told to ask anew for everybody
			select {
			case e := <-sub.C:
				whole = e.Device == ""
			case <-deadline:
				t.Fatal("no gateway was told within 30 s")
			}
		}
		// A person pauses and resumes likewise.
		if err := w.Resume(t.Context(), person("bea"), id, "it was the school's network"); err != nil {
			t.Fatal(err)
		}
		if len(w.sweep(ids, "1.0.0")) == 0 {
			t.Error("nobody is offered anything after it was resumed")
		}
		if err := w.Pause(t.Context(), person("bea"), id, "wait for the desk"); err != nil {
			t.Fatal(err)
		}
		if n := len(w.sweep(ids, "1.0.0")); n != 0 {
			t.Errorf("%d devices hold leases in a pause", n)
		}
		if err := w.Abort(t.Context(), person("bea"), id, "it will not be"); err != nil {
			t.Fatal(err)
		}
		if err := w.Resume(t.Context(), person("bea"), id, "but it must be"); !errors.Is(err, rollout.ErrState) {
			t.Errorf("Resume of what was aborted = %v, want ErrState", err)
		}
		states, err := w.DeviceStates(t.Context(), person("bea"), id, rollout.WhyEnded, "", 100)
		if err != nil || len(states) != len(ids)-bad { // those that failed keep their own
			t.Errorf("after the end %d devices have the word for it, %v, want %d", len(states), err, len(ids)-bad)
		}
	})
}

// What is armed changes its program whatever we say: it keeps its place, and counts.
func TestAnArmedUpdateCountsAfterAPause(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(30, "A3510")
		for device, o := range w.sweep(ids, "1.0.0") {
			w.tells(device, hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), State: new(hmpb.UpdateState_UPDATE_STATE_ARMED)})
			if err := w.Pause(t.Context(), person("ada"), id, "just a moment"); err != nil {
				t.Fatal(err)
			}
			if v := w.view(id); v.InFlight != 1 {
				t.Errorf("%d under way in the pause, want the one that is armed", v.InFlight)
			}
			w.ends(device, o, true)
			break
		}
		if v := w.view(id); v.Evidence.OK != 1 || v.InFlight != 0 {
			t.Errorf("evidence = %+v, in flight %d, want one good outcome", v.Evidence, v.InFlight)
		}
	})
}

// Who was told in a pause to give up its lease, and says so, is offered the release again
// after it; what it says late takes no newer lease from it.
func TestWithdrawnInAPauseComesAgain(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(30, "A3510")
		for device, o := range w.sweep(ids, "1.0.0") {
			gives := func(lease string) {
				w.tells(device, hmpb.Update_builder{Lease: new(lease), ToSha256: o.GetSha256(), State: new(hmpb.UpdateState_UPDATE_STATE_REFUSED), Reason: new(hmpb.UpdateReason_UPDATE_REASON_WITHDRAWN)})
			}
			if err := w.Pause(t.Context(), person("ada"), id, "just a moment"); err != nil {
				t.Fatal(err)
			}
			gives(o.GetLease())
			if again := w.offered(device, "1.0.0"); again != nil {
				t.Errorf("in the pause it is offered %v", again)
			}
			if err := w.Resume(t.Context(), person("ada"), id, "it was the network"); err != nil {
				t.Fatal(err)
			}
			again := w.offered(device, "1.0.0")
			if again == nil || again.GetLease() == o.GetLease() {
				d, _, _ := w.DeviceState(t.Context(), person("ada"), device)
				t.Fatalf("after the pause it is offered %v, want a new lease; it counts as %s, %v", again, d.Why, d.Reason)
			}
			gives(o.GetLease())
			if kept := w.offered(device, "1.0.0"); kept.GetLease() != again.GetLease() {
				t.Errorf("after a late word it is offered %v, want %s", kept, again.GetLease())
			}
			break
		}
	})
}

// Row 43: what fails on one model only is blocked for that model only.
func TestAttack43OneModelIsBlockedAlone(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.release("1.1.0")
		ids := w.fleetOf(90, "1.0.0", "A3510", "U7411", "T490")
		model := map[string]string{}
		for i, id := range ids {
			model[id] = []string{"A3510", "U7411", "T490"}[i%3]
		}
		id := w.start(t, "1.1.0")
		// Which devices the first ring has is by chance: so few of the model, maybe, that
		// it shows in the second only; so many, that they would hold all places before
		// another has done well, which is what the gate compares them with.
		others := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return model[id] == "T490" })
		for good := 0; good < 3; {
			held := w.sweep(others, "1.0.0")
			if len(held) == 0 {
				t.Fatal("no device of another model is offered the release")
			}
			for device, o := range held {
				good++
				w.ends(device, o, true)
			}
		}
		for range 60 {
			for device, o := range w.sweep(ids, "1.0.0") {
				w.ends(device, o, model[device] != "T490")
			}
			if len(w.view(id).Evidence.Blocked) > 0 {
				break
			}
			w.now = w.now.Add(time.Hour)
			w.care()
		}
		v := w.view(id)
		want := gate.Stratum{Dimension: "model", Value: "T490"}
		if v.State != rollout.Running || len(v.Evidence.Blocked) != 1 || v.Evidence.Blocked[0] != want {
			t.Fatalf("%s, blocked %v, want it running without the model", v.State, v.Evidence.Blocked)
		}
		for range 10 {
			w.now = w.now.Add(2 * time.Hour)
			w.care()
			for device, o := range w.sweep(ids, "1.0.0") {
				if model[device] == "T490" {
					t.Fatal("a device of the blocked model was offered the release")
				}
				w.ends(device, o, true)
			}
		}
		if v := w.view(id); v.Evidence.OK < 40 || v.Ring < 2 {
			t.Errorf("ring %d with %+v, want the others to go on", v.Ring, v.Evidence)
		}
		// A person lets it in again.
		if err := w.Block(t.Context(), person("ada"), id, want, false, "their firmware is new"); err != nil {
			t.Fatal(err)
		}
		again := false
		for device := range w.sweep(ids, "1.0.0") {
			again = again || model[device] == "T490"
		}
		if !again {
			t.Error("no device of the model is offered the release after it was freed")
		}
	})
}

// TestPartsThatOverlap: what devices of a blocked model did is not held against their
// owner, and is not taken out of the evidence again when he is blocked too.
func TestPartsThatOverlap(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.release("1.1.0")
		ids := w.fleetOf(40, "1.0.0", "A3510", "U7411")
		id := w.start(t, "1.1.0")
		ended := map[string]bool{}
		for n := 0; n < 6; {
			for device, o := range w.sweep(ids, "1.0.0") {
				if n < 6 && !ended[device] {
					n, ended[device] = n+1, true
					w.ends(device, o, n%3 > 0)
				}
			}
		}
		var last string
		var offer *hmpb.Offer
		for _, device := range ids {
			if o := w.offered(device, "1.0.0"); o != nil && !ended[device] {
				last, offer = device, o
			}
		}
		if offer == nil {
			t.Fatal("nobody is under way after six outcomes")
		}
		w.must(w.Block(t.Context(), person("ada"), id, gate.Stratum{Dimension: "model", Value: "A3510"}, true, "their firmware is old"))
		model := w.view(id).Evidence
		w.must(w.Block(t.Context(), person("ada"), id, gate.Stratum{Dimension: "owner", Value: w.owner}, true, "exam weeks there"))
		if v := w.view(id); v.Evidence.OK != 0 || v.Evidence.Bad != 0 || !(v.Evidence.Risk <= 1) {
			t.Errorf("evidence %+v with all devices left out, %+v with a model", v.Evidence, model)
		}
		w.ends(last, offer, true) // what it tells is taken
	})
}

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

// lost are two rounds an hour apart: nobody is lost who is late by less.
func (w *world) lost() {
	w.t.Helper()
	w.care()
	w.now = w.now.Add(time.Hour)
	w.care()
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

// Whichever part is blocked, the others are told that there is room.
func TestEachPartCanBeBlocked(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(30, "A3510")
		if err := w.exec(`UPDATE rollout_members SET model = 'other', os_build = 'other', antivirus = 'other', owner_id = 'other' WHERE device_id = $1`, ids[29]); err != nil {
			t.Fatal(err)
		}
		for _, dimension := range gate.Dimensions {
			if err := w.Block(t.Context(), person("ada"), id, gate.Stratum{Dimension: dimension, Value: "other"}, true, "it fails there"); err != nil {
				t.Fatal(err)
			}
			w.care()
		}
		sub := w.bus.Subscribe(bus.Offers)
		defer sub.Close()
		w.care()
		if told := len(sub.C); told == 0 {
			t.Error("no device is told that there is room")
		}
	})
}

// Rings are looked at also while devices tell something all the time.
func TestTellingPutsNoLookOff(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.cfg.Pace.Every = time.Hour
		w.restart()
		ids, _ := w.begun(30, "A3510")
		sub := w.bus.Subscribe(bus.Offers)
		defer sub.Close()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx, func() {}) }()
		defer func() { cancel(); <-ended }()
		for told := false; !told; { // the look that it begins with
			told = (<-sub.C).Device != ""
		}
		var device string
		var o *hmpb.Offer
		for _, device = range ids { // one, so that there is room for others
			if o = w.offered(device, "1.0.0"); o != nil {
				break
			}
		}
		told := func() bool {
			for {
				select {
				case e := <-sub.C:
					if e.Device != "" {
						return true
					}
				default:
					return false
				}
			}
		}
		for told() {
		}
		const every, most = 100 * time.Millisecond, time.Minute
		for began := time.Now(); ; {
			w.tells(device, hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), State: new(hmpb.UpdateState_UPDATE_STATE_WAITING)})
			<-time.After(every)
			switch {
			case told():
				return
			case time.Since(began) > most:
				t.Fatalf("nobody is told that there is room while a device tells something each %v for %v", every, most)
			}
		}
	})
}

// The first ring is left when all of it who are here have had their outcome.
func TestTheFirstRingWaitsForItsDevices(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		for range 10 {
			for device, o := range w.sweep(ids, "1.0.0") {
				if w.view(id).Evidence.OK < 17 {
					w.ends(device, o, true)
				}
			}
		}
		held := w.sweep(ids, "1.0.0")
		w.now = w.now.Add(3 * time.Hour)
		w.care()
		if v := w.view(id); len(held) != 3 || v.Ring != 1 || v.Rings[0].Wait != gate.WaitFresh || v.Rings[0].Need != 20 {
			t.Fatalf("ring %d while %d of its 20 are under way, want it to wait for 3", v.Ring, len(held))
		}
		for device, o := range held {
			w.ends(device, o, true)
		}
		w.care()
		if v := w.view(id); v.Ring != 2 {
			t.Errorf("ring %d when all of the first are well, want the next", v.Ring)
		}
	})
}

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

// What devices told that are gone by now stands for none of those that are silent.
func TestAttack45WhoIsGoneOpensNoRing(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		_, first := w.begun(130, "A3510")
		ring := w.firstRing(first)
		w.told(first, ring[:4])
		w.must(w.Abort(t.Context(), person("ada"), first, "once more, please"))
		w.now = w.now.Add(time.Hour)
		id, kept := w.start(t, "1.1.0"), 0
		for _, device := range w.inRing(id, 0, ring) {
			well := w.count(`SELECT COUNT(*) FROM rollout_members WHERE rollout_id = $1 AND device_id = $2 AND outcome = 1`, first, device) == 1
			if !well && kept < 4 {
				kept++
			} else {
				w.revoked(device, w.now)
			}
		}
		w.now = w.now.Add(30 * time.Hour)
		w.care()
		w.care()
		if v := w.view(id); v.Ring != 1 || kept == 0 {
			t.Errorf("ring %d with %d that are silent", v.Ring, kept)
		}
	})
}

// Row 46: one person alone does not reach the fleet, nor does the wrong channel.
func TestAttack46OperatorErrors(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.release("1.1.0")
		w.repo.Release(manifest.RoleCanary, manifest.Release{Version: "1.2.0", Channel: manifest.RoleCanary}, []byte("program 1.2.0"))
		w.imported()
		ids := w.fleetOf(130, "1.0.0", "A3510")
		canary := w.start(t, "1.2.0")
		if n := len(w.sweep(ids, "1.0.0")); n != 0 {
			t.Errorf("%d devices of stable are offered a release of canary", n)
		}
		if err := w.Abort(t.Context(), person("ada"), canary, "not for schools"); err != nil {
			t.Fatal(err)
		}
		id := w.start(t, "1.1.0")
		for _, reason := range []string{"", "    ", "ok", "12345", string(make([]byte, 6))} {
			if err := w.Pause(t.Context(), person("ada"), id, reason); !errors.Is(err, rollout.ErrReason) {
				t.Errorf("Pause(%q) = %v, want ErrReason", reason, err)
			}
		}
		if p, err := w.Promote(t.Context(), person("ada"), id, "we cannot wait"); err != nil || p.Waiting || p.Ring != 2 || p.Adds != 80 {
			t.Fatalf("Promote to 100 devices = %+v, %v", p, err)
		}
		preview, err := w.Preview(t.Context(), person("ada"), id)
		if err != nil || !preview.Waiting || preview.Devices != 130 || preview.Adds != 30 {
			t.Errorf("Preview = %+v, %v, want it to say 130 devices and a second person", preview, err)
		}
		if p, err := w.Promote(t.Context(), person("ada"), id, "all of them now"); err != nil || !p.Waiting {
			t.Errorf("Promote by the first person = %+v, %v, want it to wait", p, err)
		}
		for who, waits := range map[string]bool{"ada": true, "bea": false} {
			if p, err := w.Preview(t.Context(), person(who), id); err != nil || p.Waiting != waits || p.Asked != "ada" {
				t.Errorf("Preview for %s when ada has asked = %+v, %v, want waiting %v", who, p, err, waits)
			}
			if v, err := w.Rollout(t.Context(), person(who), id); err != nil || v.MayApprove == waits || !v.NeedsSecond {
				t.Errorf("%s may approve: %v, %v", who, v.MayApprove, err)
			}
		}
		w.now = w.now.Add(time.Second)
		if err := w.Note(t.Context(), person("ada"), id, "schools asked for it"); err != nil || w.view(id).Decisions[0].Verb != "noted" {
			t.Errorf("Note = %v, want it to be the latest decision", err)
		}
		admin := access.Caller{Kind: access.KindUser, ID: "root", Role: access.RoleAdmin}
		token := access.Caller{Kind: access.KindToken, ID: "ci", Role: access.RoleRelease}
		for _, who := range []access.Caller{person("ada"), admin, token, access.System("operator")} {
			if _, err := w.Promote(t.Context(), who, id, "all of them now"); !errors.Is(err, rollout.ErrSecond) {
				t.Errorf("Promote by %s as the second = %v, want ErrSecond", who.Actor(), err)
			}
			if err := w.Approve(t.Context(), who, id, "it is all right"); !errors.Is(err, rollout.ErrSecond) {
				t.Errorf("Approve by %s = %v, want ErrSecond", who.Actor(), err)
			}
		}
		if v := w.view(id); v.Ring != 2 {
			t.Fatalf("ring %d, want 2", v.Ring)
		}
		for _, role := range []access.Role{access.RoleSupport, access.RoleRead} {
			who := access.Caller{Kind: access.KindUser, ID: "u", Role: role}
			if err := w.Pause(t.Context(), who, id, "I do not like it"); !errors.Is(err, access.ErrForbidden) {
				t.Errorf("Pause as %s = %v, want ErrForbidden", role, err)
			}
			if err := w.Note(t.Context(), who, id, "I do not like it"); !errors.Is(err, access.ErrForbidden) {
				t.Errorf("Note as %s = %v, want ErrForbidden", role, err)
			}
			if v, err := w.Rollout(t.Context(), who, id); err != nil || v.MayApprove {
				t.Errorf("%s may approve: %v, %v", role, v.MayApprove, err)
			}
			if _, err := w.List(t.Context(), who); err != nil {
				t.Errorf("List as %s = %v: they look", role, err)
			}
		}
		entries := w.count(`SELECT COUNT(*) FROM audit WHERE subject = $1`, "rollout:"+id)
		if _, err := w.PromoteTo(t.Context(), person("bea"), id, 2, "seen and agreed"); !errors.Is(err, rollout.ErrState) {
			t.Errorf("PromoteTo of the ring that it is in = %v, want ErrState", err)
		}
		if p, err := w.PromoteTo(t.Context(), person("bea"), id, 3, "seen and agreed"); err != nil || p.Waiting || w.view(id).Ring != 3 {
			t.Errorf("Promote by the second person = %+v, %v, ring %d, want ring 3", p, err, w.view(id).Ring)
		}
		if n := w.count(`SELECT COUNT(*) FROM audit WHERE subject = $1`, "rollout:"+id); n != entries+1 {
			t.Errorf("%d entries of audit more, want 1", n-entries)
		}
	})
}

// Urgent ones pass lessons and closed days, and need two persons.
func TestUrgentNeedsTwoPersons(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.repo.Release(manifest.RoleEmergency, manifest.Release{Version: "1.1.0", Urgent: true}, []byte("program 1.1.0"))
		w.imported()
		w.now = time.Date(2026, 12, 1, 9, 0, 0, 0, calendar.Berlin) // a lesson
		ids := w.fleetOf(10, "1.0.0", "A3510")
		id := w.start(t, "1.1.0")
		if v := w.view(id); v.State != rollout.Waiting || !v.NeedsSecond || len(w.sweep(ids, "1.0.0")) != 0 {
			t.Errorf("%s, want it to wait for a second person", v.State)
		}
		if err := w.Approve(t.Context(), person("ada"), id, "I am two persons"); !errors.Is(err, rollout.ErrSecond) {
			t.Errorf("Approve by the first = %v, want ErrSecond", err)
		}
		if err := w.Approve(t.Context(), person("bea"), id, "it is being exploited"); err != nil {
			t.Fatal(err)
		}
		w.care()
		held := w.sweep(ids, "1.0.0")
		if len(held) == 0 {
			t.Error("nobody is offered an urgent release in a lesson")
		}
		for _, o := range held {
			if o.GetWithinS() > 60 {
				t.Errorf("it begins within %d s, want a minute", o.GetWithinS())
			}
		}
	})
}

// The rings of what waited for its second person are those of the fleet that there is then.
func TestUrgentWaitedWhileTheFleetGrew(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.repo.Release(manifest.RoleEmergency, manifest.Release{Version: "1.1.0", Urgent: true}, []byte("program 1.1.0"))
		w.imported()
		w.fleetOf(15, "1.0.0", "A3510")
		id := w.start(t, "1.1.0")
		for i := range 60 {
			w.device(1000+i, "", "A3510")
		}
		w.must(w.Approve(t.Context(), person("bea"), id, "there is no time"))
		w.care()
		if v, n := w.view(id), len(w.firstRing(id)); len(v.Rings) != 2 || v.Rings[0].Devices != 20 || n != 20 {
			t.Errorf("%d rings, the first is for %d and has %d of 75 devices, want two and 20", len(v.Rings), v.Rings[0].Devices, n)
		}
	})
}

// Row 39, the operator's part: a way back needs a release that is signed as one, and
// the collector offers nobody a step back without it.
func TestAttack39DowngradeByOperator(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.release("1.1.0")
		ids := w.fleetOf(30, "1.1.0", "A3510")
		down := w.start(t, "1.0.0")
		if n := len(w.sweep(ids, "1.1.0")); n != 0 {
			t.Errorf("%d devices on 1.1.0 are offered 1.0.0 that nobody signed as a way back", n)
		}
		if err := w.Abort(t.Context(), person("ada"), down, "that was wrong"); err != nil {
			t.Fatal(err)
		}
		up := w.start(t, "1.1.0")
		refused := func() {
			t.Helper()
			_, err := w.Start(t.Context(), person("ada"), w.releaseID("1.0.0"), "the wrong line")
			if !errors.Is(err, rollout.ErrState) || !errors.Is(err, rollout.ErrOlder) || !strings.Contains(err.Error(), "1.1.0") {
				t.Errorf("Start of 1.0.0 while 1.1.0 is %s = %v, want ErrOlder", w.view(up).State, err)
			}
		}
		refused()
		if err := w.Pause(t.Context(), person("ada"), up, "for a moment"); err != nil {
			t.Fatal(err)
		}
		refused()
		if err := w.Resume(t.Context(), person("ada"), up, "it goes on"); err != nil {
			t.Fatal(err)
		}
		if list, err := w.List(t.Context(), person("ada")); err != nil {
			t.Error(err)
		} else if by, yes := rollout.Passed(rollout.Release{Product: "agent", Channel: "stable", Version: "1.0.0"}, list); !yes || by != "1.1.0" {
			t.Errorf("Passed = %q, %v, want 1.1.0 in the way", by, yes)
		}
		if _, err := w.RollBack(t.Context(), person("ada"), up, w.releaseID("1.0.0"), "it is bad"); !errors.Is(err, rollout.ErrInvalid) {
			t.Errorf("RollBack to what is not signed for it = %v, want ErrInvalid", err)
		}
		if v := w.view(up); v.State != rollout.Running {
			t.Errorf("the rollout is %s after a refused way back, want it running", v.State)
		}
		w.repo.Release(manifest.RoleStable, manifest.Release{Version: "1.0.1", RollbackOf: "1.1.0"}, []byte("program 1.0.1"))
		w.imported()
		back, err := w.RollBack(t.Context(), person("ada"), up, w.releaseID("1.0.1"), "it is bad")
		if err != nil {
			t.Fatal(err)
		}
		w.care()
		if v := w.view(up); v.State != rollout.Aborted {
			t.Errorf("the rollout is %s after the way back began, want it aborted", v.State)
		}
		if n := len(w.sweep(ids, "1.1.0")); n == 0 {
			t.Error("nobody is offered the signed way back")
		}
		if v := w.view(back); v.RollbackOf != "1.1.0" {
			t.Errorf("rollout = %+v", v)
		}
	})
}

// The way back may be the very program from before, which the collector has known since
// then: signed anew, it is one.
func TestRollBackToAKnownRelease(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.release("1.1.0")
		ids := w.fleetOf(30, "1.1.0", "A3510")
		up := w.start(t, "1.1.0")
		before := w.releaseID("1.0.0")
		w.repo.Release(manifest.RoleStable, manifest.Release{Version: "1.0.0", RollbackOf: "1.1.0"}, []byte("program 1.0.0"))
		w.imported()
		if after := w.releaseID("1.0.0"); after != before {
			t.Errorf("the release is %s, and was %s", after, before)
		}
		back, err := w.RollBack(t.Context(), person("ada"), up, before, "it is bad")
		if err != nil {
			t.Fatal(err)
		}
		w.care()
		if v := w.view(back); v.RollbackOf != "1.1.0" {
			t.Errorf("rollout = %+v", v)
		}
		if n := len(w.sweep(ids, "1.1.0")); n == 0 {
			t.Error("nobody is offered the way back")
		}
	})
}

// Row 14, the collector's part: it offers only what is signed, at or above the floor,
// and not before the signed ramp begins.
func TestAttack14SignedPaceAndFloor(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.repo.Release(manifest.RoleStable, manifest.Release{Version: "1.1.0", Ramp: manifest.Ramp{T0MS: w.now.Add(time.Hour).UnixMilli(), PermillePerHour: 1000}}, []byte("program 1.1.0"))
		w.imported()
		ids := w.fleetOf(30, "1.0.0", "A3510")
		w.start(t, "1.1.0")
		if n := len(w.sweep(ids, "1.0.0")); n != 0 {
			t.Errorf("%d offers before the ramp begins", n)
		}
		w.now = w.now.Add(time.Hour)
		if n := len(w.sweep(ids, "1.0.0")); n == 0 {
			t.Error("no offers when the ramp has begun")
		}
		if err := w.repo.Drafts[manifest.Targets].SetRules(manifest.Rules{Floors: map[string]string{manifest.ProductAgent: "1.2.0"}}); err != nil {
			t.Fatal(err)
		}
		w.repo.Publish(manifest.Targets)
		w.imported()
		if n := len(w.sweep(ids, "1.0.0")); n != 0 {
			t.Errorf("%d offers of what is below the floor", n)
		}
		if s, err := w.RepositoryState(t.Context(), person("ada")); err != nil || s.Floors[manifest.ProductAgent] != "1.2.0" {
			t.Errorf("RepositoryState = %+v, %v, want the floor shown", s, err)
		}
	})
}

// What is signed no longer is withdrawn, also from who holds a lease.
func TestARevokedReleaseIsHalted(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		rel := w.release("1.1.0")
		ids := w.fleetOf(30, "1.0.0", "A3510")
		id := w.start(t, "1.1.0")
		if len(w.sweep(ids, "1.0.0")) == 0 {
			t.Fatal("no leases")
		}
		if err := w.repo.Drafts[manifest.Targets].SetRules(manifest.Rules{Blocked: []string{rel.SHA256}}); err != nil {
			t.Fatal(err)
		}
		w.repo.Publish(manifest.Targets)
		if im := w.imported(); len(im.Gone) != 1 {
			t.Errorf("Import = %+v, want the release gone", im)
		}
		if n := len(w.sweep(ids, "1.0.0")); n != 0 {
			t.Errorf("%d leases of what is revoked", n)
		}
		w.care()
		if v := w.view(id); v.State != rollout.Halted || v.Cause != gate.CauseRelease {
			t.Errorf("%s for %q, want it halted", v.State, v.Cause)
		}
		if err := w.Resume(t.Context(), person("bea"), id, "I want it"); !errors.Is(err, rollout.ErrState) {
			t.Errorf("Resume of what is revoked = %v, want ErrState", err)
		}
	})
}

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

func (w *world) forgetLeases() (n int64, err error) {
	err = w.db.Write(w.t.Context(), func(tx *db.Tx) (err error) {
		n, err = tx.Exec(w.t.Context(), `UPDATE rollout_members SET flight = 0, lease = '', until_ms = 0`)
		return err
	})
	return n, err
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

// Row 50: what came back to another program, or never came, is told as that.
func TestAttack50Drift(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.release("1.1.0")
		ids := w.fleetOf(12, "1.0.0", "A3510")
		never := w.device(99, "", "A3510")
		id := w.start(t, "1.1.0")
		held := w.sweep(ids, "1.0.0")
		var updated string
		for device, o := range held {
			w.ends(device, o, true)
			updated = device
			break
		}
		if got := w.why(updated); got != rollout.Current {
			t.Errorf("why = %s, want current", got)
		}
		if got := w.why(never); got != rollout.WhyNever {
			t.Errorf("why of who never came = %s, want %s", got, rollout.WhyNever)
		}
		w.now = w.now.Add(48 * time.Hour)
		w.connects(updated, "1.0.0", 5000)
		if got := w.why(updated); got != rollout.WhyDrift {
			t.Errorf("why of a device that is back on the old version = %s, want %s", got, rollout.WhyDrift)
		}
		// A program that says it is ours and is not.
		var other string
		for _, device := range ids {
			if device != updated {
				other = device
			}
		}
		if _, err := (rollout.Gateway{Rollouts: w.Rollouts}).Offer(t.Context(), w.caller(other), "1.1.0", make([]byte, 32), []string{"system:linux/amd64"}); err != nil {
			t.Fatal(err)
		}
		if got := w.why(other); got != rollout.WhyDrift {
			t.Errorf("why of a device with a strange program = %s, want %s", got, rollout.WhyDrift)
		}
		c, err := w.Compliance(t.Context(), person("ada"), id)
		if err != nil || c.Devices != 13 || c.Counts[rollout.WhyDrift] != 2 || c.Counts[rollout.WhyNever] != 1 || c.Counts[rollout.Current] != 0 {
			t.Errorf("Compliance = %+v, %v", c, err)
		}
		var sum int64
		for _, why := range rollout.Whys {
			sum += c.Counts[why]
		}
		if sum != c.Devices {
			t.Errorf("%d devices have a word, want %d: %v", sum, c.Devices, c.Counts)
		}
		drifted, err := w.DeviceStates(t.Context(), person("ada"), id, rollout.WhyDrift, "", 10)
		if err != nil || len(drifted) != 2 {
			t.Errorf("DeviceStates = %v, %v, want the two", drifted, err)
		}
		stranger := access.Caller{Kind: access.KindUser, ID: "u", Role: access.RoleSupport, Owners: []string{"another"}}
		if _, _, err := w.DeviceState(t.Context(), stranger, other); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("DeviceState for a stranger = %v, want ErrNotFound", err)
		}
		if c, err := w.Compliance(t.Context(), stranger, id); err != nil || c.Devices != 0 {
			t.Errorf("Compliance for a stranger = %+v, %v, want no devices", c, err)
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

// TestWhoTakesNoUpdates: an agent that says so, or is on another channel, gets no
// lease, and keeps no place in the ring from those who do.
func TestWhoTakesNoUpdates(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(3, "A3510")
		hash := sha256.Sum256([]byte("program 1.0.0"))
		for i, capabilities := range [][]string{{"system:linux/amd64", "updates:off"}, {"system:linux/amd64", "channel:canary"}, {"system:linux/arm64"}} {
			o, err := rollout.Gateway{Rollouts: w.Rollouts}.Offer(t.Context(), w.caller(ids[i]), "1.0.0", hash[:], capabilities)
			if o != nil || err != nil {
				t.Errorf("%v is offered %v, %v", capabilities, o, err)
			}
		}
		if n := w.count(`SELECT COUNT(*) FROM rollout_members WHERE rollout_id = $1 AND flight = 1`, id); n != 0 {
			t.Errorf("%d are under way", n)
		}
		if o := w.offered(ids[0], "1.0.0"); o.GetVersion() != "1.1.0" {
			t.Errorf("the same device with updates is offered %v", o)
		}
	})
}

// TestDeviceStateIsOfItsChannel: a device hears of the rollouts of its own channel, though
// it has a place in those of both.
func TestDeviceStateIsOfItsChannel(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.release("1.1.0")
		ids := w.fleetOf(2, "1.0.0", "A3510")
		comes := func(device string, capabilities ...string) {
			t.Helper()
			hash := sha256.Sum256([]byte("program 1.0.0"))
			if _, err := (rollout.Gateway{Rollouts: w.Rollouts}).Offer(t.Context(), w.caller(device), "1.0.0", hash[:], append(capabilities, "system:linux/amd64")); err != nil {
				t.Fatal(err)
			}
		}
		hears := func(device, want string) {
			t.Helper()
			if _, got, err := w.DeviceState(t.Context(), person("ada"), device); err != nil || got != want {
				t.Errorf("DeviceState is of %s, %v, want %s", got, err, want)
			}
		}
		stable := w.start(t, "1.1.0")
		comes(ids[0])
		comes(ids[1], "channel:canary")
		w.now = w.now.Add(time.Hour)
		w.repo.Release(manifest.RoleCanary, manifest.Release{Version: "1.2.0", Channel: manifest.RoleCanary}, []byte("program 1.2.0"))
		w.imported()
		canary := w.start(t, "1.2.0")
		hears(ids[0], stable)
		hears(ids[1], stable) // nobody knows yet
		comes(ids[0])
		comes(ids[1], "channel:canary")
		hears(ids[0], stable)
		hears(ids[1], canary)
		w.now = w.now.Add(time.Hour)
		w.release("1.3.0")
		newer := w.start(t, "1.3.0")
		hears(ids[0], newer)
		hears(ids[1], canary)
		w.standsAsSaid(ids...)
		w.connects(ids[0], "1.3.0", 7)
		w.standsAsSaid(ids...)
	})
}

// desk has the times at which tickets were opened.
type desk struct{ opened []time.Time }

func (d *desk) Opened(_ context.Context, _ *db.Tx, _ string, since time.Time) (n int64, err error) {
	for _, at := range d.opened {
		if at.After(since) {
			n++
		}
	}
	return n, nil
}

func (d *desk) opens(n int, at time.Time) {
	for range n {
		d.opened = append(d.opened, at)
	}
}

// Who ends the halt has read those tickets; new ones halt it again.
func TestTicketsStopARing(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		calls := &desk{}
		w.cfg.Tickets = calls
		w.restart()
		_, id := w.begun(30, "A3510")
		halted := func(what string) {
			t.Helper()
			calls.opens(9, w.now)
			w.now = w.now.Add(5 * time.Second)
			w.care()
			if v := w.view(id); v.State != rollout.Halted || v.Cause != gate.CauseTickets {
				t.Errorf("%s: %s for %q, want it halted for its tickets", what, v.State, v.Cause)
			}
		}
		halted("nine tickets")
		w.must(w.Resume(t.Context(), person("ada"), id, "they were all about a printer"))
		for range 3 {
			w.now = w.now.Add(5 * time.Second)
			w.care()
			if v := w.view(id); v.State != rollout.Running {
				t.Fatalf("%s for %q without a new ticket", v.State, v.Cause)
			}
			w.must(w.Pause(t.Context(), person("ada"), id, "a moment please"))
			w.must(w.Resume(t.Context(), person("ada"), id, "it goes on"))
		}
		halted("nine others")
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

// TestAttack41LauncherGoesByItself: nobody can send a launcher over the fleet with an
// agent, or as one; its files need no lease, and go by the line of the device's school.
func TestAttack41LauncherGoesByItself(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		agent := w.release("1.0.0")
		rel := w.repo.Release(manifest.RoleLauncher, manifest.Release{Product: manifest.ProductLauncher, Version: "2.0.0"}, []byte("launcher 2.0.0"))
		w.imported()
		device := w.device(1, "", "Lifebook")
		if _, err := w.Start(t.Context(), person("ada"), w.releaseID("2.0.0"), "a launcher for the schools"); !errors.Is(err, rollout.ErrState) {
			t.Errorf("Start of a launcher = %v, want ErrState", err)
		}
		hash, err := hex.DecodeString(rel.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		g, p := rollout.Gateway{Rollouts: w.Rollouts}, rollout.Public{Rollouts: w.Rollouts}
		c, err := g.Target(t.Context(), w.caller(device), "", hash)
		if err != nil || c.Size != rel.Length || c.Line.Key != w.owner {
			t.Fatalf("Target of a launcher = %+v, %v, want it over the owner's line", c, err)
		}
		c.Close()
		if c, err = p.Published(t.Context(), hash); err != nil {
			t.Fatalf("Published of a launcher = %v", err)
		}
		c.Close()
		// An agent is nobody's without a lease, and not public before its rollout.
		if hash, err = hex.DecodeString(agent.SHA256); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Target(t.Context(), w.caller(device), "", hash); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("Target of an agent without a lease = %v, want ErrForbidden", err)
		}
		if _, err := p.Published(t.Context(), hash); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("Published of an agent without a rollout = %v, want ErrNotFound", err)
		}
		if _, err := g.Target(t.Context(), access.Caller{Kind: access.KindUser, ID: "u", Role: access.RoleRead}, "", hash); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("Target for somebody who is no device = %v, want ErrForbidden", err)
		}
	})
}
