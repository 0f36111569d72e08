package rollout_test

import (
	"context"
	"crypto/sha256"
	"slices"
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

// comes is a Hello of a device with these capabilities, and what it is offered.
func (w *world) comes(device, version string, capabilities ...string) *hmpb.Offer {
	w.t.Helper()
	hash := sha256.Sum256([]byte("program " + version))
	o, err := rollout.Gateway{Rollouts: w.Rollouts}.Offer(w.t.Context(), w.caller(device), version, hash[:], capabilities)
	w.must(err)
	return o
}

// state is the row of a device in the list of a rollout.
func (w *world) state(id, device string) rollout.DeviceState {
	w.t.Helper()
	all, err := w.DeviceStates(w.t.Context(), person("ada"), id, "", "", 500)
	w.must(err)
	for _, d := range all {
		if d.Device == device {
			return d
		}
	}
	w.t.Fatalf("no row of %s", device)
	return rollout.DeviceState{}
}

// step is what a device tells of an offer.
func (w *world) step(device string, o *hmpb.Offer, state hmpb.UpdateState, reason hmpb.UpdateReason) {
	w.t.Helper()
	w.tells(device, hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), ToVersion: new(o.GetVersion()), State: &state, Reason: &reason})
}

// TestUnfitDevicesHoldNoRollout: devices that can never take a release, or never do, and
// connect each day: they count as nothing, nobody waits for them, and their rows say why.
func TestUnfitDevicesHoldNoRollout(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.repo.Release(manifest.RoleStable, manifest.Release{Version: "1.1.0", MinFrom: "0.9.0"}, []byte("program 1.1.0"))
		w.imported()
		ids := w.fleetOf(130, "1.0.0", "A3510")
		id := w.start(t, "1.1.0")
		w.now = w.now.Add(3 * time.Hour) // each day at three: no lessons
		held := w.sweep(ids, "1.0.0")    // all have come once, and would be waited for
		later := slices.DeleteFunc(slices.Clone(ids), func(d string) bool { return held[d] != nil })
		odd := []struct {
			device, version string
			capabilities    []string
			why             rollout.Why
			reason          hmpb.UpdateReason
		}{
			{later[0], "1.0.0", []string{"system:linux/arm64"}, rollout.WhyUnfit, hmpb.UpdateReason_UPDATE_REASON_WRONG_DEVICE},
			{later[1], "1.0.0", []string{"system:linux/amd64", "updates:off"}, rollout.WhyOff, 0},
			{later[2], "1.0.0", []string{"system:linux/amd64", "channel:canary"}, "", 0}, // it is of the rollouts there
			{later[3], "0.8.0", []string{"system:linux/amd64"}, rollout.WhyUnfit, hmpb.UpdateReason_UPDATE_REASON_FROM},
			{later[4], "2.0.0", []string{"system:linux/amd64"}, rollout.WhyUnfit, 0},
		}
		rest := slices.Clone(later[5:])
		var reluctant []string
		for device := range held {
			if len(reluctant) < 2 {
				reluctant = append(reluctant, device)
			} else {
				rest = append(rest, device)
			}
		}
		w.must(w.Approve(t.Context(), person("bea"), id, "as we agreed"))
		session, said := int64(1000), false
		day := func() {
			w.now = w.now.Add(24 * time.Hour)
			for i, o := range odd {
				session++
				w.connects(o.device, o.version, session)
				if got := w.comes(o.device, o.version, o.capabilities...); got != nil {
					t.Errorf("odd device %d is offered %v", i, got)
				}
			}
			for i, device := range reluctant {
				session++
				w.connects(device, "1.0.0", session)
				o := w.offered(device, "1.0.0")
				switch {
				case o == nil:
				case i == 0:
					w.step(device, o, hmpb.UpdateState_UPDATE_STATE_REFUSED, hmpb.UpdateReason_UPDATE_REASON_SPACE)
				case !said: // once, whatever leases it has
					said = true
					w.step(device, o, hmpb.UpdateState_UPDATE_STATE_WAITING, hmpb.UpdateReason_UPDATE_REASON_METERED)
				}
			}
			for range 6 {
				for device, o := range w.sweep(rest, "1.0.0") {
					w.ends(device, o, true)
				}
			}
			w.care()
		}
		for n := 0; n < 12 && w.view(id).State == rollout.Running; n++ {
			day()
		}
		v := w.view(id)
		if v.State != rollout.Done || v.Evidence.OK != 123 || v.Evidence.Bad != 0 {
			t.Fatalf("%s in ring %d of %d with %d well and %d not; want it done with 123 and none", v.State, v.Ring, len(v.Rings), v.Evidence.OK, v.Evidence.Bad)
		}
		day()
		all, err := w.DeviceStates(t.Context(), person("ada"), id, "", "", 500)
		w.must(err)
		for i, o := range odd {
			if o.why == "" {
				if slices.ContainsFunc(all, func(d rollout.DeviceState) bool { return d.Device == o.device }) {
					t.Errorf("odd device %d stands in the rollout of a channel that it left", i)
				}
				continue
			}
			if d := w.state(id, o.device); d.Why != o.why || d.Reason != o.reason {
				t.Errorf("odd device %d is %s for %v, want %s for %v", i, d.Why, d.Reason, o.why, o.reason)
			}
		}
		if d := w.state(id, reluctant[0]); d.Why != rollout.WhyRefused || d.Reason != hmpb.UpdateReason_UPDATE_REASON_SPACE {
			t.Errorf("who refuses is %s for %v", d.Why, d.Reason)
		}
		if d := w.state(id, reluctant[1]); d.Why != rollout.WhyWaits || d.Reason != hmpb.UpdateReason_UPDATE_REASON_METERED {
			t.Errorf("who waits under his next lease is %s for %v", d.Why, d.Reason)
		}
		c, err := w.Compliance(t.Context(), person("ada"), id)
		w.must(err)
		if c.Counts[rollout.WhyUnfit] != 3 || c.Counts[rollout.WhyOff] != 1 {
			t.Errorf("counted %v", c.Counts)
		}
		for i, o := range odd[:4] { // mended, each gets it
			session++
			w.connects(o.device, "1.0.0", session)
			if got := w.comes(o.device, "1.0.0", "system:linux/amd64"); got == nil || w.state(id, o.device).Why != rollout.WhyBegan {
				t.Errorf("odd device %d, which fits now, is offered %v, and is %s", i, got, w.state(id, o.device).Why)
			}
		}
	})
}

// TestUnfitAloneInTheLastRing: it ends also when nobody of the last ring takes it.
func TestUnfitAloneInTheLastRing(t *testing.T) {
	for name, comes := range map[string]func(w *world, device string){
		"nothing for it": func(w *world, device string) { w.comes(device, "1.0.0", "system:linux/arm64") },
		"refuses": func(w *world, device string) {
			if o := w.offered(device, "1.0.0"); o != nil {
				w.step(device, o, hmpb.UpdateState_UPDATE_STATE_REFUSED, hmpb.UpdateReason_UPDATE_REASON_SPACE)
			}
		},
		"says nothing": func(w *world, device string) { w.offered(device, "1.0.0") },
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, w *world) {
				w.release("1.0.0")
				w.release("1.1.0")
				ids := w.fleetOf(21, "1.0.0", "A3510")
				id := w.start(t, "1.1.0")
				w.now = w.now.Add(3 * time.Hour)
				var last string
				w.must(w.db.Read(t.Context(), func(tx *db.Tx) error {
					return tx.QueryRow(t.Context(), `SELECT device_id FROM rollout_members WHERE rollout_id = $1 AND ring = 1`, id).Scan(&last)
				}))
				rest := slices.DeleteFunc(slices.Clone(ids), func(d string) bool { return d == last })
				for n := range 5 {
					w.connects(last, "1.0.0", int64(500+n))
					comes(w, last)
					for range 6 {
						for device, o := range w.sweep(rest, "1.0.0") {
							w.ends(device, o, true)
						}
					}
					w.care()
					w.now = w.now.Add(24 * time.Hour)
				}
				if v := w.view(id); v.State != rollout.Done || v.Evidence.OK != 20 {
					t.Errorf("%s in ring %d with %d well, want it done", v.State, v.Ring, v.Evidence.OK)
				}
			})
		})
	}
}

// TestNothingReleasedForTheirSystem: whose system the release is not for comes last, so
// that the small rings have devices to learn from; and nobody waits for him.
func TestNothingReleasedForTheirSystem(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.release("1.1.0")
		ids := w.fleetOf(25, "1.0.0", "A3510")
		var others []string
		for n := range 40 {
			w.must(w.db.Write(t.Context(), func(tx *db.Tx) error {
				other, _, err := w.fleet.Admit(context.Background(), tx, system, w.owner, "", ident.Hardware{Manufacturer: "FUJITSU", Model: "A3510", Serial: "W" + strconv.Itoa(10000+n), OS: "windows"})
				others = append(others, other)
				return err
			}))
			w.connects(others[n], "1.0.0", int64(100+n))
		}
		id := w.start(t, "1.1.0")
		w.now = w.now.Add(3 * time.Hour)
		if n := w.count(`SELECT COUNT(*) FROM rollout_members WHERE rollout_id = $1 AND ring = 0 AND unfit <> ''`, id); n != 0 {
			t.Errorf("%d of the first ring are of another system", n)
		}
		if d := w.state(id, others[0]); d.Why != rollout.WhyUnfit {
			t.Errorf("it is %s before it came, want unfit", d.Why)
		}
		for range 4 {
			for _, other := range others {
				w.comes(other, "1.0.0", "system:windows/amd64")
			}
			for range 12 {
				for device, o := range w.sweep(ids, "1.0.0") {
					w.ends(device, o, true)
				}
			}
			w.care()
			w.now = w.now.Add(24 * time.Hour)
		}
		if v := w.view(id); v.State != rollout.Done || v.Evidence.OK != 25 {
			t.Errorf("%s in ring %d with %d well, the gate waits for %q; want it done", v.State, v.Ring, v.Evidence.OK, v.Rings[v.Ring-1].Wait)
		}
	})
}

// A release that is blocked, or signed no longer, is no fault of the devices: their rows
// say that it stands still, at once and also after it may go on, and nobody has lost his
// place for it.
func TestABlockedReleaseMakesNobodyUnfit(t *testing.T) {
	for name, block := range map[string]func(w *world){
		"blocked": func(w *world) {
			w.must(w.BlockRelease(w.t.Context(), person("ada"), w.releaseID("1.1.0"), "crashes on one model"))
		},
		"signed no longer": func(w *world) { w.withdraw("1.1.0") },
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, w *world) {
				ids, id := w.begun(10, "A3510")
				held := w.sweep(ids, "1.0.0")
				if len(held) == 0 {
					t.Fatal("no leases")
				}
				block(w)
				for range 2 { // before a round has seen it, and after
					if n := len(w.sweep(ids, "1.0.0")); n != 0 {
						t.Errorf("%d devices are offered what is %s", n, name)
					}
					if n := w.count(`SELECT COUNT(*) FROM rollout_members WHERE unfit <> ''`); n != 0 {
						t.Errorf("%d devices count as unfit", n)
					}
					for _, device := range ids {
						if why := w.why(device); held[device] == nil && why != rollout.WhyHalted {
							t.Errorf("a device is %s, want halted", why)
						}
					}
					w.care()
				}
				if v := w.view(id); v.State != rollout.Halted || v.Cause != gate.CauseRelease {
					t.Errorf("%s for %q, want it halted for the release", v.State, v.Cause)
				}
				for device := range held {
					if why := w.why(device); why != rollout.WhyHalted {
						t.Errorf("a device that held a lease is %s, want halted", why)
					}
				}
				if name == "blocked" {
					return // for good
				}
				w.withdraw("")
				w.must(w.Resume(t.Context(), person("ada"), id, "it was an error"))
				w.care()
				if n := len(w.sweep(ids, "1.0.0")); n == 0 {
					t.Error("no leases after it is signed again")
				}
			})
		})
	}
}
