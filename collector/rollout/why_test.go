package rollout_test

import (
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/rollout"
	"hausmeister/proto/manifest"
)

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
// it may have a place in those of both.
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
		hears(ids[1], canary) // it said so when it came
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
