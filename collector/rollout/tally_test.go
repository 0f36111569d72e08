package rollout_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/calendar"
	"hausmeister/collector/db"
	"hausmeister/collector/rollout"
	"hausmeister/collector/rollout/gate"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
)

// counted are the words of all devices, read one by one, and those of each ring.
func (w *world) counted(id string) (out map[rollout.Why]int64, rings []map[rollout.Why]int64) {
	w.t.Helper()
	out = map[rollout.Why]int64{}
	after := ""
	for {
		page, err := w.DeviceStates(w.t.Context(), person("ada"), id, "", after, 3)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, d := range page {
			out[d.Why]++
			for len(rings) < d.Ring {
				rings = append(rings, map[rollout.Why]int64{})
			}
			if d.Ring > 0 {
				rings[d.Ring-1][d.Why]++
			}
			after = d.Device
		}
		if len(page) < 3 {
			return out, rings
		}
	}
}

// TestCountsAreOfTheWords: what is counted is what the list says of each device, and
// the list of a word has as many, page by page.
func TestCountsAreOfTheWords(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		if _, err := w.fleet.ImportSchools(t.Context(), system, schools()); err != nil {
			t.Fatal(err)
		}
		w.release("1.0.0")
		w.release("1.1.0")
		ids := w.fleetOf(30, "1.0.0", "A3510", "B, 7; x")
		w.device(98, "", "A3510")
		var school string
		w.must(w.db.Read(t.Context(), func(tx *db.Tx) error {
			return tx.QueryRow(t.Context(), `SELECT id FROM schools WHERE code = '5001'`).Scan(&school)
		}))
		for n := range 4 {
			id := w.device(60+n, school, "A3510")
			w.connects(id, "1.0.0", int64(900+n))
			ids = append(ids, id)
		}
		id := w.start(t, "1.1.0")
		seen := map[rollout.Why]bool{}
		check := func(what string) {
			t.Helper()
			c, err := w.Compliance(t.Context(), person("ada"), id)
			w.must(err)
			want, rings := w.counted(id)
			w.standsAsSaid(ids...)
			if !slices.EqualFunc(c.Rings, rings, maps.Equal) {
				t.Errorf("%s: counted %v by ring, the list says %v", what, c.Rings, rings)
			}
			if !maps.Equal(c.Counts, want) || c.Devices != int64(len(ids)+1) {
				t.Errorf("%s: counted %v of %d, the list says %v", what, c.Counts, c.Devices, want)
			}
			for why, n := range want {
				seen[why] = true
				found, after := int64(0), ""
				for {
					page, err := w.DeviceStates(t.Context(), person("ada"), id, why, after, 2)
					w.must(err)
					for _, d := range page {
						if d.Why != why || d.Device <= after {
							t.Errorf("%s: the list of %s has %+v after %s", what, why, d, after)
						}
						after = d.Device
					}
					if found += int64(len(page)); len(page) < 2 {
						break
					}
				}
				if found != n {
					t.Errorf("%s: the list of %s has %d, want %d", what, why, found, n)
				}
			}
		}
		check("at the start")
		held := w.sweep(ids, "1.0.0")
		n := 0
		for device, o := range held {
			switch n++; n % 4 {
			case 1:
				w.ends(device, o, false)
			case 2:
				w.ends(device, o, true)
				w.connects(device, "1.1.0", int64(2000+n))
			default:
				state := hmpb.UpdateState_UPDATE_STATE_REFUSED
				if n%4 == 0 {
					state = hmpb.UpdateState_UPDATE_STATE_WAITING
				}
				w.tells(device, hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), ToVersion: new(o.GetVersion()), State: &state, Reason: new(hmpb.UpdateReason_UPDATE_REASON_SPACE)})
			}
		}
		check("under way")
		_, err := rollout.Gateway{Rollouts: w.Rollouts}.Offer(t.Context(), w.caller(ids[3]), "1.1.0", make([]byte, 32), nil)
		w.must(err)
		w.must(w.Block(t.Context(), person("ada"), id, gate.Stratum{Dimension: "model", Value: "B, 7; x"}, true, "their firmware is old"))
		check("with a part left out")
		admin := access.Caller{Kind: access.KindUser, ID: "root", Role: access.RoleAdmin}
		_, err = w.AddDays(t.Context(), admin, w.owner, rollout.Days{Kind: rollout.Closed, School: school, Span: calendar.Span{From: "2026-11-20", To: "2026-12-20", Name: "Prüfungen"}})
		w.must(err)
		check("with days closed")
		for i := 0; i < 30; i += 4 { // some of whom nobody has told anything yet
			w.leaves(ids[i])
		}
		for i := 5; ; i += 4 { // one that has told nothing keeps no word of its own
			if held[ids[i]] == nil {
				w.revoked(ids[i], w.now)
				break
			}
		}
		check("with some that left and one that is revoked")
		if w.view(id).State == rollout.Running {
			w.must(w.Pause(t.Context(), person("ada"), id, "the helpdesk asks"))
		}
		check("paused")
		w.now = w.now.Add(20 * 24 * time.Hour)
		check("later")
		if !seen[rollout.WhyNever] || !seen[rollout.WhySilent] || !seen[rollout.WhyRefused] || !seen[rollout.WhyBlocked] || !seen[rollout.WhyUndone] || !seen[rollout.Current] || !seen[rollout.WhyDrift] || !seen[rollout.WhyHalted] || !seen[rollout.WhyAway] || !seen[rollout.WhyRevoked] {
			t.Errorf("words seen: %v; too few for a test", seen)
		}
	})
}

// TestNobodyIsInLineBefore: that there is no room is said of nobody whom something else
// keeps away.
func TestNobodyIsInLineBefore(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.repo.Release(manifest.RoleStable, manifest.Release{Version: "1.1.0", Ramp: manifest.Ramp{T0MS: w.now.Add(8 * 24 * time.Hour).UnixMilli(), PermillePerHour: 1000}}, []byte("program 1.1.0"))
		w.imported()
		ids := w.fleetOf(10, "1.0.0", "A3510")
		id := w.start(t, "1.1.0")
		want := func(device string, want rollout.Why) {
			t.Helper()
			if got := w.why(device); got != want {
				t.Errorf("the word of the device is %s, want %s", got, want)
			}
		}
		w.sweep(ids, "1.0.0")
		want(ids[0], rollout.WhyRing) // the signed ramp has not begun
		w.leaves(ids[0])
		w.now = w.now.Add(8*24*time.Hour + time.Second)
		w.care()
		want(ids[0], rollout.WhyAway)
		want(ids[1], rollout.WhyTurn)
		w.connects(ids[0], "1.0.0", 100)
		want(ids[0], rollout.WhyTurn)
		w.now = w.now.Add(15 * 24 * time.Hour)
		for i, device := range ids {
			w.connects(device, "1.0.0", int64(200+i))
		}
		w.revoked(ids[0], w.now)
		want(ids[0], rollout.WhyRevoked)
		c, err := w.Compliance(t.Context(), person("ada"), id)
		if w.must(err); c.Counts[rollout.WhyRevoked] != 1 || c.Due != 9 {
			t.Errorf("%v, and %d that should be current; want one revoked, and the other nine", c.Counts, c.Due)
		}
	})
}

// TestCountsOfManyAreKept: whoever looks first finds what Run counted within the last
// minute, whoever looks on what it counted in the last round, also after a decision, and
// while the next is being counted.
func TestCountsOfManyAreKept(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.release("1.1.0")
		w.many(5001)
		id := w.start(t, "1.1.0")
		updated := 0
		update := func() {
			t.Helper()
			device := fmt.Sprintf("00000000-0000-7000-8000-%012d", updated)
			updated++
			w.must(w.db.Write(t.Context(), func(tx *db.Tx) error {
				_, err := tx.Exec(t.Context(), `UPDATE health_agents SET version = '1.1.0' WHERE device_id = $1`, device)
				return err
			}))
		}
		check := func(what string, want int64) {
			t.Helper()
			c, err := w.Compliance(t.Context(), person("ada"), id)
			w.must(err)
			if n := c.Counts[rollout.Current]; c.Devices != 5001 || n != want {
				t.Errorf("%s: %d of %d current, want %d of 5001", what, n, c.Devices, want)
			}
		}
		later := func(d time.Duration) {
			t.Helper()
			w.now = w.now.Add(d)
			w.must(w.Retally(t.Context()))
		}
		later(0)
		update()
		check("the first look", 0)
		later(time.Second)
		check("within a round", 0)
		later(5 * time.Second)
		check("a round later", 1)
		update()
		later(5 * time.Second)
		check("looking on", 2)
		update()
		w.must(w.Pause(t.Context(), person("ada"), id, "the helpdesk asks"))
		check("a decision", 2)
		w.must(w.Retally(t.Context()))
		check("a round after it", 3)
		release := w.HoldTally()
		check("while the next is counted", 3)
		release()
		later(5 * time.Minute) // nobody looks any more
		update()
		later(30 * time.Second)
		check("half a minute later, nobody looked", 3)
		update()
		w.now = w.now.Add(2 * time.Minute)
		check("no round for two minutes", 3)
		w.must(w.Retally(t.Context()))
		check("and then one", 5)
		update()
		w.now = w.now.Add(20 * time.Minute)
		check("no round for twenty minutes", 6)
	})
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// leaves ends the session of a device.
func (w *world) leaves(device string) {
	w.t.Helper()
	w.must(w.health.End(w.t.Context(), w.caller(device), w.count(`SELECT session FROM health_state WHERE device_id = $1`, device)))
}
