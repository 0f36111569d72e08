package rollout_test

import (
	"context"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/bus"
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

// lost are two rounds an hour apart: nobody is lost who is late by less.
func (w *world) lost() {
	w.t.Helper()
	w.care()
	w.now = w.now.Add(time.Hour)
	w.care()
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

func (w *world) forgetLeases() (n int64, err error) {
	err = w.db.Write(w.t.Context(), func(tx *db.Tx) (err error) {
		n, err = tx.Exec(w.t.Context(), `UPDATE rollout_members SET flight = 0, lease = '', until_ms = 0`)
		return err
	})
	return n, err
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

// Who is under way with the new version has not told what became of it, and is waited
// for.
func TestARingWaitsForWhoIsOnTrial(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		w.must(w.Approve(t.Context(), person("bea"), id, "I have looked"))
		for w.view(id).Ring == 1 {
			for device, o := range w.sweep(ids, "1.0.0") {
				w.ends(device, o, true)
			}
			w.now = w.now.Add(30 * time.Minute)
			w.care()
		}
		var trial map[string]*hmpb.Offer
		for w.view(id).Rings[1].OK < 30 {
			for device, o := range w.sweep(ids, "1.0.0") {
				if w.view(id).Rings[1].OK < 30 {
					w.ends(device, o, true)
				}
			}
		}
		if trial = w.sweep(ids, "1.0.0"); len(trial) != 20 {
			t.Fatalf("%d under way, want 20", len(trial))
		}
		for device, o := range trial {
			w.tells(device, hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), State: new(hmpb.UpdateState_UPDATE_STATE_TRIAL)})
			w.connects(device, "1.1.0", 1000)
		}
		w.now = w.now.Add(5 * time.Hour)
		w.care()
		if v := w.view(id); v.Ring != 2 { // 30 of 80; of 60 it would be enough
			t.Fatalf("ring %d while 20 are on trial, want 2", v.Ring)
		}
		for device, o := range trial {
			w.ends(device, o, true)
		}
		w.care()
		if v := w.view(id); v.Ring != 3 {
			t.Errorf("ring %d when they have told, want 3", v.Ring)
		}
	})
}

// Who asks while others still get their places gets none of his own: by chance that would
// be one in a ring that is full.
func TestNobodyIsPlacedBeforeAll(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.release("1.1.0")
		ids := w.fleetOf(60, "1.0.0", "A3510")
		id, err := w.Start(t.Context(), person("ada"), w.releaseID("1.1.0"), "new version for the schools")
		w.must(err)
		w.must(w.Pause(t.Context(), person("ada"), id, "the helpdesk asks"))
		if held := w.sweep(ids, "1.0.0"); len(held) != 0 {
			t.Errorf("%d leases in a pause", len(held))
		}
		if n := w.count(`SELECT COUNT(*) FROM rollout_members`); n != 0 {
			t.Errorf("%d devices have a place before the fleet has its places", n)
		}
		w.must(w.Resume(t.Context(), person("ada"), id, "it was the network"))
		w.care()
		if n := w.count(`SELECT COUNT(*) FROM rollout_members WHERE ring = 0`); n != 20 {
			t.Errorf("%d devices in the first ring, want 20", n)
		}
	})
}

// What was withdrawn before the fleet had its places goes on from there when it is signed
// again.
func TestHaltedBeforeItsPlaces(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.release("1.1.0")
		ids := w.fleetOf(60, "1.0.0", "A3510")
		id, err := w.Start(t.Context(), person("ada"), w.releaseID("1.1.0"), "new version for the schools")
		w.must(err)
		w.must(w.Pause(t.Context(), person("ada"), id, "the helpdesk asks"))
		w.must(w.exec(`UPDATE rollout_releases SET gone_ms = 1 WHERE version = '1.1.0'`))
		w.care()
		if v := w.view(id); v.State != rollout.Halted {
			t.Fatalf("%s without a release, want it halted", v.State)
		}
		w.must(w.exec(`UPDATE rollout_releases SET gone_ms = NULL WHERE version = '1.1.0'`))
		w.must(w.exec(`UPDATE rollouts SET placed = 0`)) // as where the halt came before the places
		w.must(w.Resume(t.Context(), person("ada"), id, "it is signed again"))
		w.care()
		if v := w.view(id); v.State != rollout.Running || len(w.sweep(ids, "1.0.0")) == 0 {
			t.Errorf("%s after it was signed again, want it to run", v.State)
		}
	})
}
