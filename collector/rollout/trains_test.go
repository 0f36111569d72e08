package rollout_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/rollout"
	"hausmeister/proto/manifest"
)

// comesWith is a device's Hello: what it takes without a rollout.
func (w *world) comesWith(device string, capabilities ...string) {
	w.t.Helper()
	if _, err := (rollout.Gateway{Rollouts: w.Rollouts}).Offer(w.t.Context(), w.caller(device), "1.0.0", make([]byte, 32), append(capabilities, "system:linux/amd64")); err != nil {
		w.t.Fatal(err)
	}
}

// trains are as one reads them: product, version, of how many permille by signature,
// devices that have it and that left it.
func (w *world) trains(caller access.Caller) (out []string) {
	w.t.Helper()
	all, err := w.Trains(w.t.Context(), caller)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, t := range all {
		ramp := "not signed"
		if t.Signed {
			ramp = fmt.Sprintf("%d permille", t.Ramp)
		}
		if !t.Known {
			ramp = "not from here"
		}
		if !t.Blocked.IsZero() {
			ramp += ", blocked"
		}
		out = append(out, fmt.Sprintf("%s %s: %s, %d have it, %d left it", t.Product, t.Version, ramp, t.Devices, t.Left))
	}
	return out
}

// TestAttack41LaunchersAreCounted: how far a launcher has come, and where it did not
// come up, is seen for each version, before and without any rollout.
func TestAttack41LaunchersAreCounted(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ramp := manifest.Ramp{T0MS: w.now.UnixMilli(), PermillePerHour: 100}
		for _, version := range []string{"1.2.0", "1.3.0"} {
			w.repo.Release(manifest.RoleLauncher, manifest.Release{Product: manifest.ProductLauncher, Version: version, Ramp: ramp}, []byte("launcher "+version))
		}
		w.repo.Policy("1.0.0", []byte(`{"hausmeister_policy": 1}`))
		w.imported()
		w.now = w.now.Add(3 * time.Hour)
		ids := w.fleetOf(5, "1.0.0", "A3510")
		for _, id := range ids[:3] {
			w.comesWith(id, "launcher:1.2.0", "policy:1.0.0")
		}
		w.comesWith(ids[3]) // an agent that says nothing of it
		w.comesWith(ids[4], "launcher:1.3.0", "launcher:drop table", "launcher-left:", "policy:1.0", "cook:1.0.0")
		have := func(want ...string) {
			t.Helper()
			if got := w.trains(person("ada")); !reflect.DeepEqual(got, want) {
				t.Errorf("launchers and policies:\n%q\nwant\n%q", got, want)
			}
		}
		policy := "policy 1.0.0: 750 permille, 3 have it, 0 left it"
		have("launcher 1.3.0: 300 permille, 1 have it, 0 left it", "launcher 1.2.0: 300 permille, 3 have it, 0 left it", policy)
		// It does not come up on two of them, which say so for as long as it is so.
		for range 2 {
			w.comesWith(ids[0], "launcher:1.2.0", "launcher-left:1.3.0", "policy:1.0.0")
			w.comesWith(ids[4], "launcher:1.2.0", "launcher-left:1.3.0")
		}
		w.restart()
		have("launcher 1.3.0: 300 permille, 0 have it, 2 left it", "launcher 1.2.0: 300 permille, 4 have it, 0 left it", policy)
		// One that came with the package of a device, and was never published here.
		w.comesWith(ids[3], "launcher:1.0.0")
		have("launcher 1.3.0: 300 permille, 0 have it, 2 left it", "launcher 1.2.0: 300 permille, 4 have it, 0 left it", "launcher 1.0.0: not from here, 1 have it, 0 left it", policy)
		// Another owner's people see nothing of it.
		other := person("ben")
		other.Owners = []string{"018f0000-0000-7000-8000-000000000009"}
		if got := w.trains(other); !reflect.DeepEqual(got, []string{"launcher 1.3.0: 300 permille, 0 have it, 0 left it", "launcher 1.2.0: 300 permille, 0 have it, 0 left it", "policy 1.0.0: 750 permille, 0 have it, 0 left it"}) {
			t.Errorf("another owner's: %q", got)
		}
		if _, err := w.Trains(t.Context(), w.caller(ids[0])); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("Trains for a device = %v, want ErrForbidden", err)
		}
	})
}

// TestAttack41LauncherIsStopped: a launcher that somebody blocks here is given to nobody
// from that moment on; one that is blocked by signature is no longer signed for anybody.
func TestAttack41LauncherIsStopped(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		var sums [][]byte
		var hashes []string
		for _, version := range []string{"1.2.0", "1.3.0"} {
			rel := w.repo.Release(manifest.RoleLauncher, manifest.Release{Product: manifest.ProductLauncher, Version: version}, []byte("launcher "+version))
			sum, err := hex.DecodeString(rel.SHA256)
			if err != nil {
				t.Fatal(err)
			}
			sums, hashes = append(sums, sum), append(hashes, rel.SHA256)
		}
		w.imported()
		device := w.device(1, "", "Lifebook")
		gives := func(sum []byte, by, public error) {
			t.Helper()
			c, err := rollout.Gateway{Rollouts: w.Rollouts}.Target(t.Context(), w.caller(device), "", sum)
			if !errors.Is(err, by) {
				t.Errorf("Target = %v, want %v", err, by)
			} else if err == nil {
				c.Close()
			}
			if c, err = (rollout.Public{Rollouts: w.Rollouts}).Published(t.Context(), sum); !errors.Is(err, public) {
				t.Errorf("Published = %v, want %v", err, public)
			} else if err == nil {
				c.Close()
			}
		}
		gives(sums[0], nil, nil)
		gives(sums[1], nil, nil)
		if err := w.BlockRelease(t.Context(), person("ada"), w.releaseID("1.3.0"), "does not come up on one model"); err != nil {
			t.Fatal(err)
		}
		gives(sums[0], nil, nil)
		gives(sums[1], access.ErrForbidden, access.ErrNotFound)
		if err := w.repo.Drafts[manifest.Targets].SetRules(manifest.Rules{Blocked: hashes[:1]}); err != nil {
			t.Fatal(err)
		}
		w.repo.Publish(manifest.Targets)
		w.imported()
		gives(sums[0], access.ErrForbidden, access.ErrNotFound)
		if got := w.trains(person("ada")); !reflect.DeepEqual(got, []string{"launcher 1.3.0: 0 permille, blocked, 0 have it, 0 left it", "launcher 1.2.0: not signed, 0 have it, 0 left it"}) {
			t.Errorf("launchers: %q", got)
		}
	})
}
