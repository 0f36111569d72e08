package rollout_test

import (
	"slices"
	"testing"
	"time"

	"hausmeister/collector/rollout"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
)

// addsUp is how a rollout is, whose numbers must add up, ring by ring, and be those of the
// words that its devices have.
func (w *world) addsUp(what, id string) (v rollout.Rollout, have, open int64) {
	w.t.Helper()
	v = w.view(id)
	c, err := w.Compliance(w.t.Context(), person("ada"), id)
	w.must(err)
	all, current := int64(0), int64(0)
	for i, r := range v.Rings {
		if sum := r.OK + r.Bad + r.InFlight + r.Had + r.Silent + r.Open; r.Adds != sum || r.Open < 0 || r.Devices != all+r.Adds {
			w.t.Errorf("%s: ring %d of %+v, whose numbers add up to %d", what, i+1, r, sum)
		}
		words := int64(0)
		if i < len(c.Rings) {
			for _, n := range c.Rings[i] {
				words += n
			}
		}
		if words != r.Adds {
			w.t.Errorf("%s: ring %d has %d devices, and %d with a word", what, i+1, r.Adds, words)
		}
		all, have, open = all+r.Adds, have+r.OK+r.Had, open+r.Open
	}
	for _, ring := range c.Rings {
		current += ring[rollout.Current]
	}
	if have != current || all > c.Devices {
		w.t.Errorf("%s: %d of %d have it, and %d of %d devices have it by their words", what, have, all, current, c.Devices)
	}
	return v, have, open
}

// Who has the version from before, as by a rollout that was ended, is neither open nor to
// come: that holds in the rollout that ended, in the next one, and in what a promotion says.
func TestWhoHasItAlreadyIsNotOpen(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, first := w.begun(130, "A3510")
		w.takes(ids)
		n := int64(len(w.on(ids, "1.1.0")))
		if _, have, open := w.addsUp("at first", first); n == 0 || have != n || open != 130-n {
			t.Fatalf("%d have it and %d are open, want %d of 130", have, open, n)
		}
		w.must(w.Abort(t.Context(), person("ada"), first, "that was too early"))
		w.now = w.now.Add(time.Hour)
		again := w.start(t, "1.1.0")
		v, have, open := w.addsUp("again", again)
		if have != n || open != 130-n || v.Rings[0].Reached != 0 || v.Rings[0].OK != 0 {
			t.Errorf("started again: %d have it, %d open, first ring %+v; want %d, none by this one", have, open, v.Rings[0], n)
		}
		p, err := w.Preview(t.Context(), person("ada"), again)
		if w.must(err); p.Adds != v.Rings[1].Adds || p.Devices != v.Rings[1].Devices {
			t.Errorf("a promotion is for %d devices, %d in all; the ring says %d and %d", p.Adds, p.Devices, v.Rings[1].Adds, v.Rings[1].Devices)
		}
		for _, d := range ids[:40] { // the others get it by hand
			w.comesAnew(d, "1.1.0")
		}
		w.addsUp("some by hand", again)
		w.addsUp("of the one that ended", first)
	})
}

// Of a rollout whose devices are forgotten the numbers are as it ended.
func TestNumbersOutliveTheirDevices(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(40, "A3510")
		w.takes(ids)
		w.comesAnew(ids[slices.IndexFunc(ids, func(d string) bool { return w.runs[d] == "" })], "1.1.0")
		w.must(w.Abort(t.Context(), person("ada"), id, "that was too early"))
		was, have, _ := w.addsUp("as it ended", id)
		w.now = w.now.Add(100 * 24 * time.Hour)
		w.must(w.exec(`DELETE FROM rollout_members WHERE rollout_id = $1`, id)) // as each hour does with what is so old
		if have < 2 || was.Rings[0].Had+was.Rings[1].Had != 1 {
			t.Fatalf("%d have it, rings %+v; a poor test", have, was.Rings)
		}
		for i, r := range w.view(id).Rings {
			if o := was.Rings[i]; r.Adds != o.Adds || r.Devices != o.Devices || r.OK != o.OK || r.Had != o.Had || r.Open != o.Open+o.Silent+o.InFlight {
				t.Errorf("ring %d is %+v, and was %+v when it ended", i+1, r, o)
			}
		}
	})
}

// A rollout's rings, words and devices are those of its channel, however few: the others
// have no place in it and wait for none.
func TestNumbersAreThoseOfTheChannel(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, canary := w.ofChannels(130, 6)
		stable, id := w.start(t, "1.1.0"), w.start(t, "1.2.0")
		w.sweep(ids[6:], "1.0.0")
		for _, d := range ids[:6] {
			canary(d)
		}
		w.told(id, ids[:4])
		check := func(what, id string, devices int64, of []string) {
			t.Helper()
			v, _, _ := w.addsUp(what, id)
			if n := v.Rings[len(v.Rings)-1].Devices; n != devices {
				t.Errorf("%s: %d devices in the rings, want %d", what, n, devices)
			}
			c, err := w.Compliance(t.Context(), person("ada"), id)
			if w.must(err); c.Devices != devices {
				t.Errorf("%s: words of %d devices (%v), want %d", what, c.Devices, c.Counts, devices)
			}
			page, err := w.DeviceStates(t.Context(), person("ada"), id, "", "", 500)
			if w.must(err); int64(len(page)) != devices {
				t.Errorf("%s: a list of %d devices, want %d", what, len(page), devices)
			}
			for _, d := range page {
				if !slices.Contains(of, d.Device) {
					t.Errorf("%s: the list has %s, which is of another channel", what, d.Device)
				}
			}
		}
		check("canaries", id, 6, ids[:6])
		check("the others", stable, 124, ids[6:])
		last := w.inRing(stable, 2, ids[6:])
		for _, d := range last[:2] {
			canary(d)
		}
		v, _, _ := w.addsUp("the others, some gone", stable)
		if n := v.Rings[2].Adds; n != int64(len(last)-2) {
			t.Errorf("%d devices in the ring that two of %d left", n, len(last))
		}
	})
}

// ofChannels is a fleet with releases 1.1.0 for all and 1.2.0 for canaries, of which there
// are some first ones; canary lets a device come as one.
func (w *world) ofChannels(n, canaries int) (ids []string, canary func(device string) *hmpb.Offer) {
	w.t.Helper()
	w.release("1.0.0")
	w.release("1.1.0")
	w.repo.Release(manifest.RoleCanary, manifest.Release{Version: "1.2.0", Channel: manifest.RoleCanary}, []byte("program 1.2.0"))
	w.imported()
	ids = w.fleetOf(n, "1.0.0", "A3510")
	canary = func(device string) *hmpb.Offer {
		return w.comes(device, "1.0.0", "system:linux/amd64", "channel:canary")
	}
	for _, d := range ids[:canaries] {
		canary(d)
	}
	return ids, canary
}

// A device that was a canary for an hour and is back stands in the rollout of the usual
// channel, in its own row and in each list.
func TestTheRowOfWhoCameBack(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, canary := w.ofChannels(130, 1)
		stable := w.start(t, "1.1.0")
		w.start(t, "1.2.0")
		d := ids[50]
		for range 2 {
			w.comes(d, "1.0.0", "system:linux/amd64")
			w.now = w.now.Add(time.Hour)
			canary(d)
			w.now = w.now.Add(time.Hour)
		}
		w.comes(d, "1.0.0", "system:linux/amd64")
		st, of, err := w.DeviceState(t.Context(), person("ada"), d)
		if w.must(err); of != stable || st.Why != w.state(stable, d).Why {
			t.Errorf("the device is %s in rollout %s, want %s in that of the usual channel", st.Why, of, w.state(stable, d).Why)
		}
		w.standsAsSaid(d, ids[0], ids[1])
		for _, why := range []rollout.Why{st.Why, rollout.WhyUnfit} {
			found, err := w.DevicesWith(t.Context(), person("ada"), string(why))
			if w.must(err); slices.Contains(found, d) != (why == st.Why) {
				t.Errorf("the list of %s has the device: %v; its word is %s", why, slices.Contains(found, d), st.Why)
			}
		}
	})
}

// Who refused has answered; who had a whole turn and said nothing has not.
func TestWhoRefusesIsNotSilent(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		held := w.sweep(ids, "1.0.0")
		refused := int64(0)
		for d, o := range held {
			if refused++; refused > 3 {
				refused--
				break
			}
			w.step(d, o, hmpb.UpdateState_UPDATE_STATE_REFUSED, hmpb.UpdateReason_UPDATE_REASON_DISK)
		}
		v, _, _ := w.addsUp("some refused", id)
		if r := v.Rings[0]; r.Silent != 0 || r.InFlight != int64(len(held))-refused {
			t.Errorf("%d refused, and the ring is %+v", refused, r)
		}
		w.now = w.now.Add(rollout.DefaultPace().Lease + time.Minute)
		w.care()
		if v, _, _ := w.addsUp("a turn later", id); v.Rings[0].Silent != int64(len(held))-refused {
			t.Errorf("%d said nothing in a whole turn, and the ring is %+v", int64(len(held))-refused, v.Rings[0])
		}
	})
}
