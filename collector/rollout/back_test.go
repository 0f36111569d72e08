package rollout_test

import (
	"testing"
	"time"

	"errors"
	"hausmeister/collector/rollout"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
	"strings"
)

// The way back from a bad release leads to the one that the fleet had: the same program,
// whose own rollout is done long ago, signed anew.

// wayBack has 1.0.0 on all of a small fleet, 1.1.0 begun and on the first devices, and
// 1.0.0 signed and imported as the way back from it.
func (w *world) wayBack() (ids []string, first, up string) {
	w.t.Helper()
	for _, v := range []string{"0.9.0", "1.0.0", "1.1.0"} {
		w.release(v)
	}
	ids = w.fleetOf(15, "0.9.0", "A3510")
	for _, d := range ids {
		w.runs[d] = "0.9.0"
	}
	first = w.start(w.t, "1.0.0")
	for range 8 {
		w.takes(ids)
	}
	w.now = w.now.Add(25 * time.Hour)
	w.care()
	if v := w.view(first); v.State != rollout.Done {
		w.t.Fatalf("1.0.0 is %s", v.State)
	}
	up = w.start(w.t, "1.1.0")
	if w.takes(ids) == 0 {
		w.t.Fatal("nobody takes 1.1.0")
	}
	w.now = w.now.Add(25 * time.Hour) // who took it has been on it for longer than a moment
	w.care()
	w.repo.Release(manifest.RoleStable, manifest.Release{Version: "1.0.0", RollbackOf: "1.1.0"}, []byte("program 1.0.0"))
	w.imported()
	return ids, first, up
}

// takes lets devices take what they are offered, and come with it.
func (w *world) takes(ids []string) (n int) {
	w.t.Helper()
	for device, o := range w.sweep(ids, "1.0.0") {
		w.ends(device, o, true)
		w.comesAnew(device, o.GetVersion())
		n++
	}
	return n
}

// comesAnew has a device connect once more.
func (w *world) comesAnew(device, version string) {
	w.t.Helper()
	w.connects(device, version, 1000+w.count(`SELECT session FROM health_state WHERE device_id = $1`, device))
}

// on are the devices that run a version.
func (w *world) on(ids []string, version string) (out []string) {
	for _, d := range ids {
		if w.runs[d] == version {
			out = append(out, d)
		}
	}
	return out
}

// A person takes the fleet back to it, whether the bad one still runs or was halted.
func TestAttack39BackToWhatTheFleetHad(t *testing.T) {
	for _, state := range []rollout.State{rollout.Running, rollout.Halted} {
		t.Run(string(state), func(t *testing.T) {
			both(t, func(t *testing.T, w *world) {
				ids, first, up := w.wayBack()
				if state == rollout.Halted {
					w.must(w.exec(`UPDATE rollouts SET state = 'halted', cause = 'rate' WHERE id = $1`, up))
				}
				back, err := w.RollBack(t.Context(), person("ada"), up, w.releaseID("1.0.0"), "it is bad")
				if err != nil {
					t.Fatalf("RollBack = %v; 1.1.0 is %s", err, w.view(up).State)
				}
				w.care()
				if f, u, b := w.view(first), w.view(up), w.view(back); f.State != rollout.Replaced || f.RollbackOf != "" || u.State != rollout.Aborted || b.State != rollout.Running || b.RollbackOf != "1.1.0" {
					t.Errorf("the first 1.0.0 is %s, back from %q, 1.1.0 %s, the way back %s, from %q; want replaced, from nothing, aborted, running, from 1.1.0", f.State, f.RollbackOf, u.State, b.State, b.RollbackOf)
				}
				for range 6 {
					w.takes(ids)
				}
				if n := len(w.on(ids, "1.1.0")); n > 0 {
					t.Errorf("%d devices are on 1.1.0 after the way back", n)
				}
				if _, err := w.RollBack(t.Context(), person("ada"), up, w.releaseID("1.0.0"), "once more"); err == nil {
					t.Error("the way back began a second time")
				}
			})
		})
	}
}

// Nor does it begin by itself: that it was imported moves no device, and stops nothing.
func TestAttack39ImportOfAWayBackBeginsNothing(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, _, up := w.wayBack()
		none := func() {
			t.Helper()
			for _, d := range w.on(ids, "1.1.0") {
				if o := w.offered(d, "1.1.0"); o != nil {
					t.Fatalf("a device on 1.1.0 is offered %s by the import alone", o.GetVersion())
				}
			}
		}
		none()
		w.must(w.Pause(t.Context(), person("ada"), up, "a moment please"))
		w.must(w.Resume(t.Context(), person("ada"), up, "it goes on"))
		w.must(w.Abort(t.Context(), person("ada"), up, "it is bad"))
		none()
	})
}

// Where it begins beside the bad one, devices go back and stay there.
func TestAttack38NoLoopBesideAWayBack(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, _, _ := w.wayBack()
		dev := w.on(ids, "1.1.0")[0]
		w.start(t, "1.0.0")
		var path []string
		for range 4 {
			var o *hmpb.Offer
			if o = w.offered(dev, w.runs[dev]); o != nil {
				w.ends(dev, o, true)
				w.comesAnew(dev, o.GetVersion())
				path = append(path, o.GetVersion())
			}
			w.now = w.now.Add(25 * time.Hour)
			w.care()
		}
		if len(path) != 1 || path[0] != "1.0.0" {
			t.Errorf("from 1.1.0 the device went to %v, want 1.0.0 and no further", path)
		}
	})
}

// What devices told of it when they got it first is no word of the way back.
func TestAttack45AWayBackNeedsOutcomesOfItsOwn(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		for _, v := range []string{"1.0.0", "1.1.0"} {
			w.release(v)
		}
		ids := w.fleetOf(130, "1.0.0", "A3510")
		w.start(t, "1.0.0")
		w.must(w.exec(`UPDATE rollout_members SET outcome = 1, granted_ms = 1, told = 7, told_ms = 1`))
		w.must(w.exec(`UPDATE rollouts SET state = 'done'`))
		up := w.start(t, "1.1.0")
		for _, d := range ids {
			w.comesAnew(d, "1.1.0")
		}
		w.must(w.exec(`UPDATE rollout_members SET outcome = 1, granted_ms = 1, told = 7, told_ms = 1 WHERE rollout_id = $1`, up))
		w.repo.Release(manifest.RoleStable, manifest.Release{Version: "1.0.0", RollbackOf: "1.1.0"}, []byte("program 1.0.0"))
		w.imported()
		back, err := w.RollBack(t.Context(), person("ada"), up, w.releaseID("1.0.0"), "it is bad")
		w.must(err)
		w.care()
		w.must(w.Approve(t.Context(), person("bea"), back, "I have looked"))
		for range 6 { // they take the lease, and say nothing
			if len(w.sweep(w.firstRing(back), "1.1.0")) == 0 {
				t.Fatal("nobody is offered the way back")
			}
			w.now = w.now.Add(25 * time.Hour)
			w.care()
		}
		if v := w.view(back); v.Ring != 1 || v.State != rollout.Running {
			t.Errorf("the way back is %s in ring %d without an outcome of it", v.State, v.Ring)
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
