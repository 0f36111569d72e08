package rollout_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"hausmeister/collector/db"
	"hausmeister/collector/rollout"
	"hausmeister/collector/rollout/gate"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// revoked notes when all credentials of a device were revoked; zero = it is enrolled.
func (w *world) revoked(device string, at time.Time) {
	w.t.Helper()
	var ms any
	if !at.IsZero() {
		ms = at.UnixMilli()
	}
	w.must(w.exec(`INSERT INTO enrolled (device, revoked_ms) VALUES ($1, $2) ON CONFLICT (device) DO UPDATE SET revoked_ms = excluded.revoked_ms`, device, ms))
}

// rowsOf is how many rows name a device, of all that rollouts know.
func (w *world) rowsOf(device string) (n int64) {
	w.t.Helper()
	for _, table := range []string{"rollout_devices", "rollout_members", "rollout_trains"} {
		n += w.count(`SELECT COUNT(*) FROM `+table+` WHERE device_id = $1`, device)
	}
	return n
}

// deleted is how often the record says that what a device told of updates is gone.
func (w *world) deleted(device string) int64 {
	w.t.Helper()
	return w.count(`SELECT COUNT(*) FROM audit WHERE action = 'device.updates_deleted' AND subject = $1 AND owner = $2`, "device:"+device, w.owner)
}

// evidence is all that is weighed of a rollout.
func (w *world) evidence(id string) (e gate.Evidence) {
	w.t.Helper()
	var data string
	w.must(w.db.Read(w.t.Context(), func(tx *db.Tx) error {
		return tx.QueryRow(w.t.Context(), `SELECT evidence FROM rollouts WHERE id = $1`, id).Scan(&data)
	}))
	w.must(json.Unmarshal([]byte(data), &e))
	return e
}

// TestRetiredDevice: what devices told of updates goes 30 days after their revocation,
// with one word of it; the numbers of a rollout that is open stay, and it goes on.
func TestRetiredDevice(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(40, "A3510", "U7411")
		held := w.sweep(ids, "1.0.0")
		var some []string
		for _, device := range ids {
			if held[device] != nil {
				some = append(some, device)
			}
		}
		if len(some) < 4 {
			t.Fatalf("%d leases, want four", len(some))
		}
		bad, good, armed, back := some[0], some[1], some[2], some[3]
		w.ends(bad, held[bad], false)
		w.ends(good, held[good], true)
		w.ends(back, held[back], true)
		w.tells(armed, hmpb.Update_builder{Lease: new(held[armed].GetLease()), ToSha256: held[armed].GetSha256(), State: new(hmpb.UpdateState_UPDATE_STATE_ARMED)})
		w.comesWith(bad, "launcher:1.2.0", "launcher-left:1.3.0")
		w.now = w.now.Add(25 * time.Hour) // the leases are over
		w.care()
		at := w.now
		for _, device := range []string{bad, good, armed, back} {
			w.revoked(device, at)
		}
		w.now = at.Add(reading.KeepRetired)
		w.care()
		if v := w.view(id); v.State != rollout.Running {
			t.Fatalf("the rollout is %s: %q", v.State, v.Cause)
		}
		for _, device := range []string{bad, good, armed, back} {
			if w.rowsOf(device) == 0 || w.deleted(device) != 0 {
				t.Errorf("%d rows, %d words of their end, 30 days after the revocation, want that they stay", w.rowsOf(device), w.deleted(device))
			}
		}
		w.revoked(back, time.Time{})
		before, fleet := w.view(id), w.count(`SELECT COUNT(*) FROM rollout_members`)
		kept := w.rowsOf(back)
		for range 2 { // the second time there is nothing left to delete
			w.now = w.now.Add(time.Second)
			w.care()
		}
		for _, device := range []string{bad, good, armed} {
			if n, said := w.rowsOf(device), w.deleted(device); n != 0 || said != 1 {
				t.Errorf("%d rows, %d words of their end, want none and one", n, said)
			}
		}
		if n, said := w.rowsOf(back), w.deleted(back); n != kept || said != 0 {
			t.Errorf("of a device that was enrolled again %d rows, want %d", n, kept)
		}
		if after := w.view(id); !reflect.DeepEqual(after, before) {
			t.Errorf("the rollout is\n%+v, want it to be as before\n%+v", after, before)
		}
		if n := w.count(`SELECT COUNT(*) FROM rollout_members`); n != fleet {
			t.Errorf("%d places, want %d", n, fleet)
		}
		if got := w.trains(person("ada")); len(got) != 0 {
			t.Errorf("launchers: %q, want none that a device has or left", got)
		}
		// To health, too, it is one that never reported.
		if _, err := w.health.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, device := range []string{bad, good, armed} {
			d, _, err := w.DeviceState(t.Context(), person("ada"), device)
			if err != nil || d.Why != rollout.WhyRevoked || d.Version != "" || d.Reason != 0 || d.Ring != 0 || !d.Day.IsZero() {
				t.Errorf("DeviceState = %+v, %v, want nothing but that it is revoked", d, err)
			}
		}
		all, err := w.DeviceStates(t.Context(), person("ada"), id, "", "", 500)
		if c, err2 := w.Compliance(t.Context(), person("ada"), id); err != nil || err2 != nil || len(all) != len(ids) || c.Devices != int64(len(ids)) || c.Counts[rollout.WhyRevoked] != 3 {
			t.Errorf("%d devices, %v, counted %+v, %v, want %d of which three are revoked", len(all), err, c, err2, len(ids))
		}
		// What the gate has to take out of its sums it still finds.
		if before.Evidence.OK != 2 || before.Evidence.Bad != 1 {
			t.Fatalf("evidence = %+v, want two good outcomes and one that is not", before.Evidence)
		}
		model := "A3510"
		if slices.Index(ids, bad)%2 == 1 {
			model = "U7411"
		}
		part := gate.Stratum{Dimension: "model", Value: model}
		w.must(w.Block(t.Context(), person("ada"), id, part, true, "crashes on this model"))
		e := w.evidence(id)
		owner := slices.IndexFunc(e.Parts, func(p gate.Part) bool { return p.Dimension == "owner" })
		if owner < 0 || e.Parts[owner].Tally != e.All || e.All.Bad != 0 {
			t.Errorf("evidence without the model of the one that failed = %+v, want as much of the owner of all as of all", e)
		}
		w.must(w.Block(t.Context(), person("ada"), id, part, false, "crashes no more"))
		// Enrolled again it is a new one.
		w.revoked(bad, time.Time{})
		w.connects(bad, "1.0.0", 900)
		w.offered(bad, "1.0.0")
		if d := w.state(id, bad); d.Ring == 0 || d.Why == rollout.WhyNever || d.Why == rollout.WhyUndone {
			t.Errorf("enrolled again it is %+v, want a place and no failure", d)
		}
	})
}

// TestRetiredDeviceUnderWay keeps no place, be the rollout stopped; of one that is over
// not even the model of its devices is left.
func TestRetiredDeviceUnderWay(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(40, "A3510", "U7411")
		held := w.sweep(ids, "1.0.0")
		var armed []string
		for device, o := range held {
			w.tells(device, hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), State: new(hmpb.UpdateState_UPDATE_STATE_ARMED)})
			armed = append(armed, device)
		}
		w.must(w.Pause(t.Context(), person("ada"), id, "the helpdesk asks"))
		w.revoked(armed[0], w.now)
		w.now = w.now.Add(reading.KeepRetired + time.Second)
		before := w.view(id)
		w.care()
		v := w.view(id)
		if v.InFlight != 0 || v.Rings[0].Silent != int64(len(armed)) || v.Rings[0].Reached != before.Rings[0].Reached || v.State != rollout.Paused {
			t.Errorf("the rollout is %+v, was %+v, want nobody under way: their leases are over, too", v, before)
		}
		w.must(w.Abort(t.Context(), person("ada"), id, "it was for nothing"))
		w.revoked(armed[1], w.now)
		w.now = w.now.Add(reading.KeepRetired + time.Second)
		w.care()
		if n := w.rowsOf(armed[0]) + w.rowsOf(armed[1]); n != 0 {
			t.Errorf("%d rows of the two, want none", n)
		}
		if n := w.count(`SELECT COUNT(*) FROM rollout_members WHERE model = '' AND owner_id = '' AND school_id = '' AND told = 0 AND flight = 0`); n != 1 {
			t.Errorf("%d places without a word of whose they were, want that of the second", n)
		}
		if v, want := w.view(id), before.Rings[0].Reached; v.State != rollout.Aborted || v.Rings[0].Reached != want {
			t.Errorf("the rollout is %s, %d reached, want it ended with %d", v.State, v.Rings[0].Reached, want)
		}
		// A release that goes out anew has no place for it.
		anew := w.start(t, "1.1.0")
		w.now = w.now.Add(time.Hour)
		w.care()
		if n := w.count(`SELECT COUNT(*) FROM rollout_members WHERE rollout_id = $1 AND device_id = $2`, anew, armed[0]); n != 0 {
			t.Errorf("%d places in the rollout that came after, want none", n)
		}
		for _, device := range armed[:2] {
			if n := w.deleted(device); n != 1 {
				t.Errorf("the record says %d times that what it told was deleted, want once", n)
			}
		}
	})
}
