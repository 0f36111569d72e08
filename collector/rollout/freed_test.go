package rollout_test

import (
	"errors"
	"testing"
	"time"

	"hausmeister/collector/rollout"
	"hausmeister/proto/manifest"
)

// Who was armed when a rollout was halted or ended is under way for as long as the lease would
// have held, and no longer.
func TestArmedBeyondTheirLease(t *testing.T) {
	for name, stop := range map[string]func(w *world, id string){
		"aborted": func(w *world, id string) { w.must(w.Abort(w.t.Context(), person("ada"), id, "that was wrong")) },
		"halted": func(w *world, id string) {
			w.must(w.BlockRelease(w.t.Context(), person("ada"), w.releaseID("1.1.0"), "it is bad"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, w *world) {
				ids, id := w.begun(130, "A3510")
				held := w.sweep(ids, "1.0.0")
				w.arm(held)
				stop(w, id)
				w.now = w.now.Add(23 * time.Hour)
				w.care()
				if v := w.view(id); len(held) == 0 || v.InFlight != int64(len(held)) {
					t.Errorf("%d of %d armed devices are under way within their lease", v.InFlight, len(held))
				}
				w.now = w.now.Add(2 * time.Hour)
				w.care()
				if v := w.view(id); v.InFlight != 0 {
					t.Errorf("%d devices are under way beyond their lease", v.InFlight)
				}
				for device := range held {
					if why := w.state(id, device).Why; why == rollout.WhyBegan {
						t.Errorf("the row of %s says that it is under way", device)
					}
				}
			})
		})
	}
}

// A device that took the way back, and has the bad version again, is not where it should be;
// one that has a newer one since is.
func TestDriftFromAWayBack(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, _, up := w.wayBack()
		on := w.on(ids, "1.1.0")
		back, err := w.RollBack(t.Context(), person("ada"), up, w.releaseID("1.0.0"), "it is bad")
		w.must(err)
		w.care()
		for device, o := range w.sweep(on, "1.1.0") {
			w.ends(device, o, true)
			w.comesAnew(device, o.GetVersion())
			for version, want := range map[string]rollout.Why{"1.0.0": rollout.Current, "1.1.0": rollout.WhyDrift, "9.0.0": rollout.Current} {
				w.now = w.now.Add(48 * time.Hour)
				w.comesAnew(device, version)
				if d := w.state(back, device); d.Why != want || d.Version != version {
					t.Errorf("with %s it is %s, want %s", d.Version, d.Why, want)
				}
			}
			return
		}
		t.Fatal("nobody is offered the way back")
	})
}

// An urgent release that was blocked meanwhile is not approved.
func TestApproveOfWhatIsBlocked(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.repo.Release(manifest.RoleEmergency, manifest.Release{Version: "1.1.0", Urgent: true}, []byte("program 1.1.0"))
		w.imported()
		w.fleetOf(3, "1.0.0", "A3510")
		id := w.start(t, "1.1.0")
		w.must(w.BlockRelease(t.Context(), person("ada"), w.releaseID("1.1.0"), "it is bad"))
		if err := w.Approve(t.Context(), person("bea"), id, "it is being exploited"); !errors.Is(err, rollout.ErrState) {
			t.Errorf("Approve of what is blocked = %v, want ErrState", err)
		}
		if v := w.view(id); v.State != rollout.Waiting {
			t.Errorf("%s, want it to wait", v.State)
		}
	})
}

// A device that is revoked frees its place at once.
func TestRevokedFreeTheirPlaces(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		held := w.sweep(ids, "1.0.0")
		if again := w.sweep(ids, "1.0.0"); len(again) != len(held) || len(held) == 0 {
			t.Fatalf("%d and then %d hold a lease, want the places to be taken", len(held), len(again))
		}
		var others []string
		for _, device := range ids {
			if held[device] == nil {
				others = append(others, device)
			}
		}
		for device := range held {
			w.revoked(device, w.now)
		}
		w.now = w.now.Add(5 * time.Second)
		w.care()
		if v := w.view(id); v.InFlight != 0 {
			t.Errorf("%d revoked devices are under way", v.InFlight)
		}
		if n := len(w.sweep(others, "1.0.0")); n != len(held) {
			t.Errorf("%d others begin in their places, want %d", n, len(held))
		}
	})
}
