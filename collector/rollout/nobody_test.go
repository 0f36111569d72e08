package rollout_test

import (
	"strconv"
	"testing"
	"time"

	"hausmeister/collector/db"
	"hausmeister/collector/rollout"
	"hausmeister/collector/rollout/gate"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/manifest"
)

// step12 is a fleet on 1.0.0, and 1.2.0, which is reached from 1.1.0 on only.
func (w *world) step12(n int) (ids []string) {
	w.t.Helper()
	w.release("1.0.0")
	w.release("1.1.0")
	w.repo.Release(manifest.RoleStable, manifest.Release{Version: "1.2.0", MinFrom: "1.1.0"}, []byte("program 1.2.0"))
	w.imported()
	return w.fleetOf(n, "1.0.0", "A3510")
}

// days are some on which all come and nothing is told.
func (w *world) days(n int, ids []string) {
	w.t.Helper()
	for range n {
		w.sweep(ids, "1.0.0")
		w.now = w.now.Add(25 * time.Hour)
		w.care()
	}
}

// Where nobody of a ring can take the release yet, no ring opens for that, and the last is
// not done: all would hold a lease on the day when they can, and nobody has told anything.
func TestAttack45NobodyCanTakeItYet(t *testing.T) {
	for name, devices := range map[string]int{"three rings": 130, "one ring": 15} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, w *world) {
				ids := w.step12(devices)
				id := w.start(t, "1.2.0")
				w.must(w.Approve(t.Context(), person("bea"), id, "I have looked"))
				w.days(5, ids)
				v := w.view(id)
				if v.Ring != 1 || v.State != rollout.Running || v.Rings[0].Wait != gate.WaitNobody {
					t.Fatalf("%s in ring %d, which waits for %q; nobody can take it", v.State, v.Ring, v.Rings[0].Wait)
				}
				first := w.firstRing(id)
				for _, d := range ids { // all have come as far
					w.comesAnew(d, "1.1.0")
					w.runs[d] = "1.1.0"
				}
				if held := w.sweep(ids, "1.0.0"); len(held) == 0 || len(held) > 4 {
					t.Errorf("%d hold a lease, want some of the first ring", len(held))
				}
				w.told(id, first)
				w.now = w.now.Add(25 * time.Hour)
				w.care()
				if v := w.view(id); v.Ring == 1 && v.State != rollout.Done {
					t.Errorf("%s in ring %d after all of it have told of success", v.State, v.Ring)
				}
			})
		})
	}
}

// Nor is it left for the success of a few, while most of it cannot take the release yet.
func TestAFewSpeakForNoRingOfWhomItFitsNotYet(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids := w.step12(130)
		id := w.start(t, "1.2.0")
		w.sweep(ids, "1.0.0")
		first := w.firstRing(id)
		for _, d := range first[:2] {
			w.comesAnew(d, "1.1.0")
			w.runs[d] = "1.1.0"
			w.offered(d, "1.1.0")
		}
		w.told(id, first[:2])
		w.days(2, ids)
		if v := w.view(id); v.Ring != 1 || v.Rings[0].Wait != gate.WaitRate {
			t.Errorf("ring %d waits for %q, with 2 of 20 that could take it", v.Ring, v.Rings[v.Ring-1].Wait)
		}
	})
}

// Who takes no updates, or was revoked, whatever did not fit him before, is not waited for.
func TestWhoCannotTakeItForGoodHoldsNoRing(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids := w.step12(130)
		id := w.start(t, "1.2.0")
		w.sweep(ids, "1.0.0")
		for i, d := range w.firstRing(id) {
			if i%2 == 0 {
				w.revoked(d, w.now)
			} else {
				w.comes(d, "1.0.0", "system:linux/amd64", "updates:off")
			}
		}
		w.now = w.now.Add(2 * time.Hour)
		w.care()
		if v := w.view(id); v.Ring != 2 {
			t.Errorf("ring %d, want the second: nobody of the first will ever take it", v.Ring)
		}
	})
}

// Devices that all went to another channel open no ring of this one.
func TestAttack45AllLeftTheChannel(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.repo.Release(manifest.RoleCanary, manifest.Release{Version: "1.2.0", Channel: manifest.RoleCanary}, []byte("program 1.2.0"))
		w.imported()
		ids := w.fleetOf(130, "1.0.0", "A3510")
		for _, d := range ids[:6] {
			w.comes(d, "1.0.0", "system:linux/amd64", "channel:canary")
		}
		id := w.start(t, "1.2.0")
		w.must(w.Approve(t.Context(), person("bea"), id, "I have looked"))
		for _, d := range ids[:6] {
			w.comes(d, "1.0.0", "system:linux/amd64", "channel:canary")
			w.comes(d, "1.0.0", "system:linux/amd64")
		}
		w.days(4, ids)
		if v := w.view(id); v.Ring != 1 || v.State != rollout.Running {
			t.Errorf("%s in ring %d, and nobody is in the channel", v.State, v.Ring)
		}
	})
}

// What is signed for another system once it went over the first begins there with a few.
func TestAttack45AnotherSystemBeginsWithAFew(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.release("1.1.0")
		ids := w.fleetOf(100, "1.0.0", "A3510")
		var others []string
		for i := range 50 {
			w.must(w.db.Write(t.Context(), func(tx *db.Tx) error {
				other, _, err := w.fleet.Admit(t.Context(), tx, system, w.owner, "", ident.Hardware{Manufacturer: "FUJITSU", Model: "A3510", Serial: "W" + strconv.Itoa(10000+i), OS: "windows"})
				others = append(others, other)
				return err
			}))
			w.connects(others[i], "1.0.0", int64(200+i))
		}
		id := w.start(t, "1.1.0")
		w.must(w.Approve(t.Context(), person("bea"), id, "I have looked"))
		for ring := range 3 {
			w.told(id, w.inRing(id, ring, ids))
			w.now = w.now.Add(25 * time.Hour)
			w.care()
		}
		if v := w.view(id); v.State != rollout.Done {
			t.Fatalf("%s in ring %d", v.State, v.Ring)
		}
		w.repo.Release(manifest.RoleStable, manifest.Release{Version: "1.1.0", OS: "windows"}, []byte("program 1.1.0 windows"))
		w.imported()
		asks := func() map[string]*hmpb.Offer {
			held := map[string]*hmpb.Offer{}
			for _, d := range others {
				if o := w.comes(d, "1.0.0", "system:windows/amd64"); o != nil {
					held[d] = o
				}
			}
			return held
		}
		held := asks()
		if len(held) != 20 {
			t.Fatalf("%d of another system are under way without an outcome of it, want 20", len(held))
		}
		var rest []string
		for _, d := range others {
			if held[d] == nil {
				rest = append(rest, d)
			} else {
				w.ends(d, held[d], true)
			}
		}
		if others = rest; len(asks()) != 30 {
			t.Errorf("%d of the other 30 are under way when 20 have told of success", len(asks()))
		}
	})
}
