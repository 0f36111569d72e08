package rollout_test

import (
	"errors"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/rollout"
	"hausmeister/collector/rollout/gate"
	"hausmeister/proto/manifest"
)

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
		for _, who := range []access.Caller{root, {Kind: access.KindToken, ID: "ci", Role: access.RoleRelease}, person("ada")} {
			if p, err := w.Preview(t.Context(), who, id); err != nil || p.May != (who.ID == "ada") {
				t.Errorf("Preview for %s = %+v, %v; who may be one of two persons is ada", who.Actor(), p, err)
			}
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

// What is over is changed no more, and a release that is blocked stands in the audit.
func TestVerbsOfWhatIsOver(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		_, id := w.begun(130, "A3510")
		w.must(w.Abort(t.Context(), person("ada"), id, "a day early"))
		if err := w.Approve(t.Context(), person("bea"), id, "I have looked"); !errors.Is(err, rollout.ErrState) {
			t.Errorf("Approve of what is aborted = %v, want ErrState", err)
		}
		if err := w.Block(t.Context(), person("ada"), id, gate.Stratum{Dimension: "model", Value: "A3510"}, true, "their firmware is old"); !errors.Is(err, rollout.ErrState) {
			t.Errorf("Block in what is aborted = %v, want ErrState", err)
		}
		w.must(w.BlockRelease(t.Context(), person("ada"), w.releaseID("1.1.0"), "it eats files"))
		if n := w.count(`SELECT COUNT(*) FROM audit WHERE action = 'release.blocked' AND actor = 'user:ada'`); n != 1 {
			t.Errorf("%d entries of audit for a blocked release, want 1", n)
		}
	})
}

// A way back is one of its own channel.
func TestNoWayBackByAnotherChannel(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.repo.Release(manifest.RoleCanary, manifest.Release{Version: "1.0.5", Channel: manifest.RoleCanary, RollbackOf: "1.1.0"}, []byte("program 1.0.5"))
		_, id := w.begun(30, "A3510")
		var invalid *rollout.InvalidError
		if _, err := w.RollBack(t.Context(), person("ada"), id, w.releaseID("1.0.5"), "it eats files"); !errors.As(err, &invalid) || w.view(id).State != rollout.Running {
			t.Errorf("RollBack by a release of canary = %v, %s", err, w.view(id).State)
		}
	})
}

// While an urgent release waited for its second person a newer one went over the fleet.
func TestApprovedTooLate(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.repo.Release(manifest.RoleEmergency, manifest.Release{Version: "1.1.0", Urgent: true}, []byte("program 1.1.0"))
		w.release("1.2.0")
		w.fleetOf(10, "1.0.0", "A3510")
		id := w.start(t, "1.1.0")
		w.start(t, "1.2.0")
		if err := w.Approve(t.Context(), person("bea"), id, "I have looked"); !errors.Is(err, rollout.ErrOlder) || w.view(id).State != rollout.Waiting {
			t.Errorf("Approve = %v, %s; want ErrOlder", err, w.view(id).State)
		}
	})
}

// What a ring was watched before a pause is no watch: what is wrong may have come in it.
func TestAPauseBeginsTheWatchAnew(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		_, id := w.begun(130, "A3510")
		w.told(id, w.firstRing(id))
		later := func(d time.Duration, ring int) {
			t.Helper()
			w.now = w.now.Add(d)
			w.care()
			if v := w.view(id); v.Ring != ring {
				t.Errorf("ring %d, want %d", v.Ring, ring)
			}
		}
		later(50*time.Minute, 1)
		w.must(w.Pause(t.Context(), person("ada"), id, "a moment please"))
		w.must(w.Resume(t.Context(), person("ada"), id, "it goes on"))
		later(20*time.Minute, 1)
		later(45*time.Minute, 2)
	})
}
