package rollout_test

import (
	"testing"
	"time"

	"hausmeister/collector/rollout"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
)

// A channel of a few devices goes through its rings: these have the places in them, and not
// the whole fleet, none of which comes to it.
func TestAChannelOfFewDevices(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.release("1.1.0")
		w.repo.Release(manifest.RoleCanary, manifest.Release{Version: "1.2.0", Channel: manifest.RoleCanary}, []byte("program 1.2.0"))
		w.imported()
		ids := w.fleetOf(130, "1.0.0", "A3510")
		canaries := ids[:6]
		asks := func(device string) bool {
			return w.comes(device, "1.0.0", "system:linux/amd64", "channel:canary") != nil
		}
		for _, d := range canaries {
			asks(d)
		}
		stable, id := w.start(t, "1.1.0"), w.start(t, "1.2.0")
		if n, all := len(w.firstRing(id)), w.count(`SELECT COUNT(*) FROM rollout_members WHERE rollout_id = $1`, id); n != 6 || all != 6 {
			t.Fatalf("%d places in the first ring of %d, want the 6 canaries", n, all)
		}
		if n := w.count(`SELECT COUNT(*) FROM rollout_members WHERE rollout_id = $1`, stable); n != 124 {
			t.Errorf("%d places in the rollout of the others, want 124", n)
		}
		if !asks(canaries[0]) {
			t.Error("a canary of the first ring is offered nothing")
		}
		w.told(id, canaries)
		w.now = w.now.Add(2 * time.Hour)
		w.care()
		if v := w.view(id); v.Ring != 2 {
			t.Errorf("ring %d after all canaries have it", v.Ring)
		}
		w.must(w.exec(`UPDATE rollouts SET ring = 2 WHERE id = $1`, id))
		if !asks(ids[7]) {
			t.Error("a device that came to the channel later is offered nothing")
		}
	})
}

// One that went back to the usual channel before it came to the rollout is not waited for.
func TestACanaryLeftBeforeItCame(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.repo.Release(manifest.RoleCanary, manifest.Release{Version: "1.2.0", Channel: manifest.RoleCanary}, []byte("program 1.2.0"))
		w.imported()
		ids := w.fleetOf(130, "1.0.0", "A3510")
		canaries := ids[:5]
		for _, d := range canaries {
			w.comes(d, "1.0.0", "system:linux/amd64", "channel:canary")
		}
		id := w.start(t, "1.2.0")
		w.comes(canaries[4], "1.0.0", "system:linux/amd64")
		for _, d := range canaries[:4] {
			w.comes(d, "1.0.0", "system:linux/amd64", "channel:canary")
		}
		w.told(id, canaries[:4])
		w.now = w.now.Add(25 * time.Hour)
		w.care()
		if v := w.view(id); v.Ring != 2 {
			t.Errorf("ring %d waits for %q after all canaries that there are told of success", v.Ring, v.Rings[v.Ring-1].Wait)
		}
	})
}

// Nor is one that refuses each day, when all others have told of success; who says nothing is,
// and who gave up what was withdrawn, which was no turn.
func TestACanaryRefuses(t *testing.T) {
	for name, ring := range map[string]int{"refuses": 2, "says nothing": 1, "gives it up": 1} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, w *world) {
				w.release("1.0.0")
				w.repo.Release(manifest.RoleCanary, manifest.Release{Version: "1.2.0", Channel: manifest.RoleCanary}, []byte("program 1.2.0"))
				w.imported()
				canaries := w.fleetOf(130, "1.0.0", "A3510")[:5]
				for _, d := range canaries {
					w.comes(d, "1.0.0", "system:linux/amd64", "channel:canary")
				}
				id := w.start(t, "1.2.0")
				o := w.comes(canaries[4], "1.0.0", "system:linux/amd64", "channel:canary")
				if o == nil {
					t.Fatal("no lease")
				}
				switch name {
				case "refuses":
					w.step(canaries[4], o, hmpb.UpdateState_UPDATE_STATE_REFUSED, hmpb.UpdateReason_UPDATE_REASON_DISK)
				case "gives it up":
					w.must(w.Pause(t.Context(), person("ada"), id, "the helpdesk asks"))
					w.step(canaries[4], o, hmpb.UpdateState_UPDATE_STATE_REFUSED, hmpb.UpdateReason_UPDATE_REASON_WITHDRAWN)
					w.must(w.Resume(t.Context(), person("ada"), id, "it was the network"))
				}
				w.told(id, canaries[:4])
				for range 2 {
					w.now = w.now.Add(25 * time.Hour)
					w.care()
				}
				if v := w.view(id); v.Ring != ring {
					t.Errorf("ring %d waits for %q, want ring %d", v.Ring, v.Rings[v.Ring-1].Wait, ring)
				}
			})
		})
	}
}

// Where nobody of a channel has come yet, no ring opens for that.
func TestAttack45AChannelOfNobody(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.repo.Release(manifest.RoleCanary, manifest.Release{Version: "1.2.0", Channel: manifest.RoleCanary}, []byte("program 1.2.0"))
		w.imported()
		w.fleetOf(130, "1.0.0", "A3510")
		id := w.start(t, "1.2.0")
		w.must(w.Approve(t.Context(), person("bea"), id, "I have looked"))
		for range 5 {
			w.now = w.now.Add(25 * time.Hour)
			w.care()
		}
		if v := w.view(id); v.Ring != 1 || v.State != rollout.Running {
			t.Errorf("%s in ring %d, and nobody of the channel was there", v.State, v.Ring)
		}
	})
}
