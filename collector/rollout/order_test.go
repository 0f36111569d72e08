package rollout_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/calendar"
	"hausmeister/collector/rollout"
	"hausmeister/collector/rollout/gate"
	"hausmeister/proto/manifest"
)

// What is written down with a ring that begins is what its begin was decided on.
func TestARingIsEnteredOnTheEvidenceOfTheLast(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		for range 10 {
			for device, o := range w.sweep(ids, "1.0.0") {
				w.ends(device, o, true)
			}
		}
		w.now = w.now.Add(3 * time.Hour)
		before := w.view(id).Evidence
		if before.Ring != 1 || before.RingOK != 20 || before.Risk >= before.Doubt || before.Limit != 0.34 {
			t.Fatalf("evidence of the first ring = %+v, want 20 good ones and the risk below the doubt", before)
		}
		w.care()
		d := w.view(id).Decisions[0]
		if d.Verb != "ring_entered" || d.Ring != 2 {
			t.Fatalf("the latest decision = %s of ring %d, want ring 2 entered", d.Verb, d.Ring)
		}
		if e := d.Evidence; e.Ring != 1 || e.OK != 20 || e.RingOK != 20 || e.RingBad != 0 || e.Limit != before.Limit || e.Risk != before.Risk || e.Doubt != before.Doubt {
			t.Errorf("ring 2 was entered on %+v, want %+v", e, before)
		}
		for device, o := range w.sweep(ids, "1.0.0") {
			w.ends(device, o, true)
		}
		before = w.view(id).Evidence
		if _, err := w.Promote(t.Context(), person("ada"), id, "all of them now"); err != nil {
			t.Fatal(err)
		}
		if p, err := w.Promote(t.Context(), person("bea"), id, "all of them now"); err != nil || p.Waiting || p.Ring != 3 {
			t.Fatalf("Promote = %+v, %v", p, err)
		}
		d = w.view(id).Decisions[0]
		if e := d.Evidence; d.Verb != "promoted" || d.Ring != 3 || e.Ring != 2 || e.RingOK == 0 || e.RingOK != before.RingOK || e.Risk != before.Risk || e.Limit != 0.08 {
			t.Errorf("%s to ring %d on %+v, want ring 3 on %+v", d.Verb, d.Ring, e, before)
		}
	})
}

// A program is nobody: what it began takes two persons, as does what it cannot ask for.
func TestAProgramIsNoPerson(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.repo.Release(manifest.RoleEmergency, manifest.Release{Version: "1.1.0", Urgent: true}, []byte("program 1.1.0"))
		w.imported()
		ids := w.fleetOf(130, "1.0.0", "A3510")
		token := access.Caller{Kind: access.KindToken, ID: "ci", Name: "ci", Role: access.RoleRelease}
		for _, program := range []access.Caller{token, access.System("operator")} {
			id, err := w.Start(t.Context(), program, w.releaseID("1.1.0"), "it is being exploited")
			if err != nil {
				t.Fatal(err)
			}
			for _, who := range []access.Caller{token, access.System("operator"), {Kind: access.KindUser, ID: "root", Role: access.RoleAdmin}} {
				if err := w.Approve(t.Context(), who, id, "it is all right"); !errors.Is(err, rollout.ErrSecond) {
					t.Errorf("Approve by %s = %v, want ErrSecond", who.Actor(), err)
				}
			}
			if v := w.view(id); v.First != "" || !v.MayApprove {
				t.Errorf("the first person is %q, ada may approve: %v, want nobody yet", v.First, v.MayApprove)
			}
			for range 2 { // the same person twice is one
				err := w.Approve(t.Context(), person("ada"), id, "I have looked")
				w.care()
				if v := w.view(id); v.State != rollout.Waiting || v.First != "ada" || v.MayApprove || v.ApprovedBy != "" || len(w.sweep(ids, "1.0.0")) != 0 {
					t.Fatalf("%s after one person approved (%v), want it to wait for another than %q", v.State, err, v.First)
				}
			}
			if n := w.count(`SELECT COUNT(*) FROM audit WHERE subject = $1 AND action = 'rollout.approval_first'`, "rollout:"+id); n != 1 {
				t.Errorf("%d entries of the first person's word, want 1", n)
			}
			if err := w.Approve(t.Context(), person("bea"), id, "I have looked, too"); err != nil {
				t.Fatal(err)
			}
			w.care()
			if v := w.view(id); v.State != rollout.Running || v.ApprovedBy != "bea" || len(w.sweep(ids, "1.0.0")) == 0 {
				t.Errorf("%s after two persons approved, want it to run", v.State)
			}
			// The wide ring: a program can neither ask nor agree.
			if _, err := w.Promote(t.Context(), program, id, "we cannot wait"); err != nil {
				t.Fatalf("Promote to a ring of 100 = %v", err)
			}
			if _, err := w.Promote(t.Context(), program, id, "all of them now"); !errors.Is(err, rollout.ErrSecond) {
				t.Errorf("Promote of all asked for by %s = %v, want ErrSecond", program.Actor(), err)
			}
			// As an earlier version took it: a program's request counts for nothing.
			if err := w.exec(`INSERT INTO rollout_requests (rollout_id, verb, ring, actor, at_ms) VALUES ($1, 'promote', 1, 'token:ci', 1)`, id); err != nil {
				t.Fatal(err)
			}
			if p, err := w.Promote(t.Context(), person("ada"), id, "all of them now"); err != nil || !p.Waiting {
				t.Errorf("Promote by one person after a program = %+v, %v, want it to wait", p, err)
			}
			if v := w.view(id); v.Ring != 2 {
				t.Errorf("ring %d by a program and one person, want 2", v.Ring)
			}
			if err := w.Abort(t.Context(), person("ada"), id, "enough of it"); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Devices follow versions, not who began later.
func TestAnOlderReleaseReplacesNone(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		for _, version := range []string{"1.0.0", "1.1.0", "1.2.0"} {
			w.release(version)
		}
		ids := w.fleetOf(6, "1.0.0", "A3510")
		old := w.start(t, "1.1.0")
		w.now = w.now.Add(time.Minute)
		latest := w.start(t, "1.2.0")
		run := func(id string) {
			for range 10 {
				for device, o := range w.sweep(ids, "1.0.0") {
					if o.GetVersion() != w.view(id).Version {
						t.Fatalf("offered %s, want %s", o.GetVersion(), w.view(id).Version)
					}
					w.ends(device, o, true)
				}
			}
			w.now = w.now.Add(24 * time.Hour)
			w.care()
		}
		if err := w.Pause(t.Context(), person("ada"), old, "the newer one first"); err != nil {
			t.Fatal(err)
		}
		if err := w.Resume(t.Context(), person("ada"), old, "and the older one too"); !errors.Is(err, rollout.ErrOlder) {
			t.Errorf("resuming the older one = %v, want ErrOlder", err)
		}
		// As an earlier version left it: the older one began later.
		if err := w.exec(`UPDATE rollouts SET started_ms = started_ms + 3600000 WHERE id = $1`, old); err != nil {
			t.Fatal(err)
		}
		run(latest)
		if v := w.view(latest); v.State != rollout.Done {
			t.Fatalf("1.2.0 is %s", v.State)
		}
		if _, id, err := w.DeviceState(t.Context(), person("ada"), ids[0]); err != nil || id != latest {
			t.Errorf("the device is held against rollout %s (%v), want that of 1.2.0", id, err)
		}
		if now, err := w.StatesOf(t.Context(), person("ada"), ids[:1]); err != nil || now[ids[0]].Why != rollout.Current {
			t.Errorf("StatesOf = %+v, %v, want it current", now, err)
		}
		// The older one ends, too: that replaces it, and not the newer one.
		if err := w.exec(`UPDATE rollouts SET state = 'running', ring = 0 WHERE id = $1`, old); err != nil {
			t.Fatal(err)
		}
		if err := w.exec(`UPDATE rollout_members SET passed = 1 WHERE rollout_id = $1`, old); err != nil {
			t.Fatal(err)
		}
		w.care()
		if v := w.view(old); v.State != rollout.Replaced {
			t.Errorf("1.1.0 is %s, want it replaced", v.State)
		}
		if v := w.view(latest); v.State != rollout.Done {
			t.Errorf("1.2.0 is %s, want nothing to replace it", v.State)
		}
	})
}

// Where an older release begins once the newer one was ended, the row of a device that has
// the newer one says why it stays there: also before it came again, and where its place is
// in a ring that has not come.
func TestTheRowOfWhoHasTheNewerOne(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		for _, version := range []string{"1.0.0", "1.1.0", "1.2.0"} {
			w.release(version)
		}
		ids := w.fleetOf(6, "1.0.0", "A3510")
		newer := w.start(t, "1.2.0")
		w.told(newer, ids[:5])
		w.must(w.Abort(t.Context(), person("ada"), newer, "the older one after all"))
		w.now = w.now.Add(time.Minute)
		older := w.start(t, "1.1.0")
		for _, name := range []string{"before they came", "when they came"} {
			if name == "when they came" {
				for _, d := range ids[:5] {
					if o := w.offered(d, "1.2.0"); o != nil {
						t.Errorf("who has 1.2.0 is offered %s", o.GetVersion())
					}
				}
			}
			for _, d := range ids[:5] {
				if st := w.state(older, d); st.Why != rollout.WhyUnfit || st.Because() != "newer" {
					t.Errorf("%s: the row says %s for %q, want that nothing fits since it has a newer version", name, st.Why, st.Because())
				}
			}
			if st := w.state(older, ids[5]); st.Why == rollout.WhyUnfit || st.Because() != "" {
				t.Errorf("%s: the row of who has 1.0.0 says %s for %q", name, st.Why, st.Because())
			}
		}
	})
}

// A part that no device is in is a slip of the hand.
func TestNoDeviceIsInThatPart(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		_, id := w.begun(6, "A3510")
		field := func(s gate.Stratum, blocked bool) string {
			t.Helper()
			err := w.Block(t.Context(), person("ada"), id, s, blocked, "new firmware is missing")
			var wrong *rollout.InvalidError
			if !errors.As(err, &wrong) {
				if err != nil {
					t.Errorf("Block(%v) = %v", s, err)
				}
				return ""
			}
			return wrong.Field
		}
		for s, want := range map[gate.Stratum]string{{Dimension: "model", Value: "No such model"}: "value", {Dimension: "owner", Value: "nobody"}: "value", {Dimension: "antivirus", Value: "x"}: "value",
			{Dimension: "os_build", Value: "1"}: "value", {Dimension: "shoe", Value: "A3510"}: "dimension", {Dimension: "model", Value: "A3510"}: ""} {
			if got := field(s, true); got != want {
				t.Errorf("Block(%v): wrong is %q, want %q", s, got, want)
			}
		}
		if v := w.view(id); len(v.Evidence.Blocked) != 1 {
			t.Errorf("blocked = %v", v.Evidence.Blocked)
		}
		// Before devices have their places, the fleet is asked.
		if err := w.exec(`UPDATE rollouts SET placed = 0, state = 'placing' WHERE id = $1`, id); err != nil {
			t.Fatal(err)
		}
		for s, want := range map[gate.Stratum]string{{Dimension: "antivirus", Value: "x"}: "value", {Dimension: "os_build", Value: "1"}: "value", {Dimension: "owner", Value: w.owner}: ""} {
			if got := field(s, true); got != want {
				t.Errorf("Block(%v) while placing: wrong is %q, want %q", s, got, want)
			}
		}
	})
}

// A run of days is counted by the calendar: the night in October has an hour more.
func TestDaysOverTheChangeOfClocks(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		for span, good := range map[calendar.Span]bool{
			{From: "2026-10-01", To: "2027-01-01"}: true, {From: "2026-10-01", To: "2027-01-02"}: false, {From: "2027-01-01", To: "2027-04-03"}: true, {From: "2027-01-01", To: "2027-04-04"}: false,
		} {
			_, err := w.AddDays(t.Context(), system, w.owner, rollout.Days{Kind: rollout.Closed, Span: span})
			if (err == nil) != good || err != nil && !strings.Contains(err.Error(), "92 days") {
				t.Errorf("AddDays(%s to %s) = %v, want it taken: %v", span.From, span.To, err, good)
			}
		}
	})
}
