package rollout_test

import (
	"crypto/sha256"
	"testing"
	"time"

	"hausmeister/collector/rollout"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// inRing are devices of a ring, which is counted from 0.
func (w *world) inRing(rollout string, ring int, ids []string) (out []string) {
	w.t.Helper()
	for _, d := range ids {
		if w.count(`SELECT COUNT(*) FROM rollout_members WHERE rollout_id = $1 AND device_id = $2 AND ring = $3`, rollout, d, ring) == 1 {
			out = append(out, d)
		}
	}
	return out
}

// told has devices of a rollout end their update well, as if each had had its turn.
func (w *world) told(rollout string, ids []string) {
	w.t.Helper()
	for _, d := range ids {
		w.must(w.exec(`UPDATE rollout_members SET granted_ms = $3 WHERE rollout_id = $1 AND device_id = $2`, rollout, d, w.now.UnixMilli()))
		w.ends(d, w.offerOf(rollout), true)
		w.comesAnew(d, w.view(rollout).Version)
	}
}

// Whoever was revoked is not waited for: not in the ring that he is in, nor 30 days later,
// when his place has no name any more. Who is enrolled again gets the version.
func TestRevokedDevicesHoldNoRing(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		w.must(w.Approve(t.Context(), person("bea"), id, "I have looked"))
		w.told(id, w.firstRing(id))
		w.now = w.now.Add(2 * time.Hour)
		w.care()
		second := w.inRing(id, 1, ids)
		w.sweep(second, "1.0.0")
		for _, d := range second[:50] {
			w.revoked(d, w.now)
		}
		w.told(id, second[50:65])
		w.care()
		w.now = w.now.Add(5 * time.Hour)
		if v := w.view(id); v.Ring != 2 || v.Rings[1].Need != 15 {
			t.Fatalf("in ring %d %d outcomes are needed, want 15 of the 30 that are left in ring 2", v.Ring, v.Rings[1].Need)
		}
		back := second[0]
		w.revoked(back, time.Time{})
		w.care()
		if v := w.view(id); v.Ring != 3 {
			t.Errorf("ring %d, want 3", v.Ring)
		}
		w.now = w.now.Add(25 * time.Hour)
		w.care()
		if o := w.offered(back, "1.0.0"); o == nil {
			t.Error("a device that is enrolled again gets nothing")
		}
		w.now = w.now.Add(reading.KeepRetired)
		for range 3 {
			w.told(id, w.inRing(id, 2, ids))
			w.told(id, append(second[65:], back))
			w.care()
		}
		if v := w.view(id); v.State != rollout.Done {
			t.Errorf("%s in ring %d with nobody left but those who were revoked", v.State, v.Ring)
		}
	})
}

// Nor has he a place in a rollout that begins later, or makes a ring larger.
func TestRevokedDevicesGetNoPlace(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.release("1.1.0")
		ids := w.fleetOf(50, "1.0.0", "A3510")
		for _, d := range ids[:30] {
			w.revoked(d, w.now.Add(-100*24*time.Hour))
		}
		id := w.start(t, "1.1.0")
		v, places := w.view(id), w.count(`SELECT COUNT(*) FROM rollout_members WHERE rollout_id = $1`, id)
		if len(v.Rings) != 1 || v.Rings[0].Devices != 20 || places != 20 {
			t.Errorf("%d rings, the first of %d devices, %d places; want one of the 20 that are enrolled", len(v.Rings), v.Rings[0].Devices, places)
		}
	})
}

// Devices that came later and can take nothing are not subtracted from those who were there:
// of these nobody has told anything.
func TestAttack45LateUnfitOpenNoRing(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		for i := range 40 {
			d := w.device(1000+i, "", "A3510")
			w.connects(d, "1.0.0", int64(5000+i))
			w.comes(d, "1.0.0", "system:linux/amd64")
			w.comes(d, "1.0.0", "system:linux/amd64", "updates:off")
			w.must(w.exec(`UPDATE rollout_members SET ring = 0 WHERE rollout_id = $1 AND device_id = $2`, id, d))
		}
		w.sweep(ids, "1.0.0")
		for range 3 {
			w.now = w.now.Add(25 * time.Hour)
			w.care()
		}
		if v := w.view(id); v.Ring != 1 || v.State != rollout.Running {
			t.Errorf("%s in ring %d without a single outcome", v.State, v.Ring)
		}
	})
}

// offerOf is what a rollout offers, of no lease in particular.
func (w *world) offerOf(id string) *hmpb.Offer {
	version := w.view(id).Version
	hash := sha256.Sum256([]byte("program " + version))
	return hmpb.Offer_builder{Sha256: hash[:], Version: &version}.Build()
}

// spring has a rollout that began, with a fleet that was here on an earlier day, and no lease.
func (w *world) spring() (ids []string, id string) {
	w.t.Helper()
	ids, id = w.begun(130, "A3510")
	w.sweep(ids, "1.0.0")
	_, err := w.forgetLeases()
	w.must(err)
	w.now = time.Date(2026, 12, 12, 8, 0, 0, 0, time.UTC)
	for i, device := range ids {
		w.connects(device, "1.0.0", int64(1000+i))
	}
	return ids, id
}

// afternoon is three hours later, and two in which it is looked for who is lost.
func (w *world) afternoon() {
	w.t.Helper()
	w.now = w.now.Add(3 * time.Hour)
	for range 4 {
		w.care()
		w.now = w.now.Add(30 * time.Minute)
	}
}

// Who was revoked is not lost.
func TestRevokedDevicesAreNotLost(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.spring()
		var well []string
		for range 5 {
			for device, o := range w.sweep(ids, "1.0.0") {
				w.ends(device, o, true)
				w.comesAnew(device, "1.1.0")
				well = append(well, device)
			}
		}
		for _, device := range well[:8] {
			w.leaves(device)
			w.revoked(device, w.now)
		}
		if w.afternoon(); w.view(id).State == rollout.Halted {
			t.Errorf("halted for %s, since 8 of %d that are well were revoked", w.view(id).Cause, len(well))
		}
	})
}

// Nor does he hide those who are.
func TestRevokedDevicesHideNoLostOnes(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.spring()
		held, revoked := w.sweep(ids, "1.0.0"), 0
		w.arm(held)
		for _, device := range ids {
			switch {
			case held[device] != nil:
				w.leaves(device)
			case revoked < 60:
				w.leaves(device)
				w.revoked(device, w.now)
				revoked++
			}
		}
		if w.afternoon(); w.view(id).State != rollout.Halted {
			t.Errorf("%s: all %d that were updated are lost, and %d others revoked", w.view(id).State, len(held), revoked)
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
