package rollout_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/bus"
	"hausmeister/collector/calendar"
	"hausmeister/collector/rollout"
	"hausmeister/collector/rollout/gate"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
)

var root = access.Caller{Kind: access.KindUser, ID: "root", Name: "root", Role: access.RoleAdmin}

// Both of two persons have the role: an administrator who begins what is urgent is not
// the first of them.
func TestAnAdminIsNotTheFirst(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.repo.Release(manifest.RoleEmergency, manifest.Release{Version: "1.1.0", Urgent: true}, []byte("program 1.1.0"))
		w.imported()
		ids := w.fleetOf(10, "1.0.0", "A3510")
		id, err := w.Start(t.Context(), root, w.releaseID("1.1.0"), "it is being exploited")
		w.must(err)
		if v := w.view(id); v.First != "" || v.StartedBy != "root" || !v.MayApprove {
			t.Errorf("begun by %q, the first person is %q, want nobody yet", v.StartedBy, v.First)
		}
		w.must(w.Approve(t.Context(), person("ada"), id, "I have looked"))
		w.care()
		if v := w.view(id); v.State != rollout.Waiting || v.First != "ada" || len(w.sweep(ids, "1.0.0")) != 0 {
			t.Fatalf("%s after one person of the role, want it to wait", v.State)
		}
		w.must(w.Approve(t.Context(), person("bea"), id, "I have looked, too"))
		w.care()
		if v := w.view(id); v.State != rollout.Running || len(w.sweep(ids, "1.0.0")) == 0 {
			t.Errorf("%s after two persons, want it to run", v.State)
		}
	})
}

// The first of two persons counts for as long as he has the role: who lost it, or whose
// account was disabled, is none of them when the second comes.
func TestWhoLostTheRoleIsNotTheFirst(t *testing.T) {
	for name, change := range map[string]string{"another role": `role = 'admin'`, "disabled": `disabled_ms = 1`, "of one owner only": `all_owners = 0`} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, w *world) {
				for _, user := range []string{"ada", "bea", "ben"} {
					w.must(w.exec(`INSERT INTO users (id, login, password, role, all_owners, created_ms) VALUES ($1, $1, '', 'release', 1, 0)`, user))
				}
				w.release("1.0.0")
				w.repo.Release(manifest.RoleEmergency, manifest.Release{Version: "1.1.0", Urgent: true}, []byte("program 1.1.0"))
				w.imported()
				w.fleetOf(130, "1.0.0", "A3510")
				id := w.start(t, "1.1.0")
				if v := w.view(id); v.First != "ada" {
					t.Fatalf("first = %q, want ada", v.First)
				}
				w.must(w.exec(`UPDATE users SET ` + change + ` WHERE id = 'ada'`))
				if v := w.view(id); v.First != "" || !v.NeedsSecond {
					t.Errorf("first = %q, want nobody", v.First)
				}
				w.must(w.Approve(t.Context(), person("bea"), id, "I have looked"))
				w.care()
				if v := w.view(id); v.State != rollout.Waiting || v.First != "bea" {
					t.Errorf("%s with %q as the first, want it to wait for one more than bea", v.State, v.First)
				}
				w.must(w.exec(`UPDATE users SET ` + change + ` WHERE id = 'bea'`))
				w.must(w.Approve(t.Context(), person("ben"), id, "I have looked"))
				w.must(w.exec(`UPDATE users SET role = 'release', all_owners = 1, disabled_ms = 0`))
				if err := w.Approve(t.Context(), person("ben"), id, "I have looked"); !errors.Is(err, rollout.ErrSecond) {
					t.Errorf("Approve by the first a second time = %v, want ErrSecond", err)
				}
				w.must(w.Approve(t.Context(), person("bea"), id, "I have looked, too"))
				w.care()
				if v := w.view(id); v.State != rollout.Running {
					t.Errorf("%s after two persons who have the role, want it to run", v.State)
				}
			})
		})
	}
}

// So it is with who asked for a wide ring.
func TestWhoLostTheRoleAskedForNothing(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.must(w.exec(`INSERT INTO users (id, login, password, role, all_owners, created_ms) VALUES ('ada', 'ada', '', 'release', 1, 0)`))
		_, id := w.begun(130, "A3510")
		w.must(w.exec(`UPDATE rollouts SET ring = 1`)) // the next is wide
		p, err := w.Promote(t.Context(), person("ada"), id, "we cannot wait")
		w.must(err)
		if !p.Waiting {
			t.Fatal("one person promoted to a wide ring")
		}
		w.must(w.exec(`UPDATE users SET disabled_ms = 1`))
		if p, err = w.Promote(t.Context(), person("bea"), id, "we cannot wait"); err != nil || !p.Waiting {
			t.Errorf("Promote by the second, the first being disabled = %+v, %v, want it to wait", p, err)
		}
		if p, err = w.Promote(t.Context(), person("ben"), id, "we cannot wait"); err != nil || p.Waiting || w.view(id).Ring != 3 {
			t.Errorf("Promote by a third = %+v, %v, want ring 3", p, err)
		}
	})
}

// programs are callers whom nobody signed in.
var programs = []access.Caller{{Kind: access.KindToken, ID: "ci", Role: access.RoleRelease}, access.System("operator")}

// A program that takes back what the gate found would do so each time.
func TestAProgramEndsNoHalt(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(40, "A3510")
		for w.view(id).State != rollout.Halted {
			held := w.sweep(ids, "1.0.0")
			if len(held) == 0 {
				t.Fatalf("%s, and nobody begins", w.view(id).State)
			}
			for device, o := range held {
				w.ends(device, o, false)
			}
		}
		for _, program := range programs {
			if err := w.Resume(t.Context(), program, id, "try it again"); !errors.Is(err, rollout.ErrPerson) {
				t.Errorf("Resume by %s = %v, want ErrPerson", program.Actor(), err)
			}
		}
		if err := w.Pause(t.Context(), access.Caller{Kind: access.KindToken, ID: "ci", Role: access.RoleRelease}, id, "and then go on"); !errors.Is(err, rollout.ErrState) {
			t.Errorf("a pause of what is halted, which could be resumed, = %v, want ErrState", err)
		}
		part := gate.Stratum{Dimension: "model", Value: "A3510"}
		w.must(w.Block(t.Context(), person("ada"), id, part, true, "their firmware is old"))
		for _, program := range programs {
			if err := w.Block(t.Context(), program, id, part, false, "let them in"); !errors.Is(err, rollout.ErrPerson) {
				t.Errorf("a part let in by %s = %v, want ErrPerson", program.Actor(), err)
			}
		}
		w.must(w.Block(t.Context(), person("ada"), id, part, false, "their firmware is new"))
		if v := w.view(id); v.State != rollout.Halted {
			t.Errorf("%s, want it halted", v.State)
		}
		w.must(w.Resume(t.Context(), person("ada"), id, "it was the network"))
	})
}

// Nor does it end a halt, or let a part in, by ending the rollout and beginning anew.
func TestAProgramBeginsNothingHaltedAnew(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		begin := func(who access.Caller) (string, error) {
			w.now = w.now.Add(time.Minute)
			return w.Start(t.Context(), who, w.releaseID("1.1.0"), "try it again")
		}
		ids, id := w.begun(40, "A3510")
		w.must(w.Abort(t.Context(), programs[0], id, "a day early"))
		id, err := begin(programs[0]) // nothing spoke against it
		w.must(err)
		w.care()
		for w.view(id).State != rollout.Halted {
			held := w.sweep(ids, "1.0.0")
			if len(held) == 0 {
				t.Fatalf("%s, and nobody begins", w.view(id).State)
			}
			for device, o := range held {
				w.ends(device, o, false)
			}
		}
		w.must(w.Abort(t.Context(), programs[0], id, "it is bad"))
		for _, program := range programs {
			if _, err := begin(program); !errors.Is(err, rollout.ErrPerson) {
				t.Errorf("Start by %s of what was halted = %v, want ErrPerson", program.Actor(), err)
			}
		}
		id, err = begin(person("ada"))
		w.must(err)
		w.care()
		w.must(w.Block(t.Context(), programs[0], id, gate.Stratum{Dimension: "model", Value: "A3510"}, true, "their firmware is old"))
		w.must(w.Abort(t.Context(), programs[0], id, "a day early"))
		if _, err := begin(programs[0]); !errors.Is(err, rollout.ErrPerson) {
			t.Errorf("Start by a program of what left a part out = %v, want ErrPerson", err)
		}
		_, err = begin(person("ada"))
		w.must(err)
	})
}

// What an earlier version took for the second person's word opens no wide ring.
func TestAnApprovalByAProgramOpensNothing(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		w.must(w.exec(`UPDATE rollouts SET approved_by = 'token:ci', approved_name = 'ci' WHERE id = $1`, id))
		for range 60 {
			for device, o := range w.sweep(ids, "1.0.0") {
				w.ends(device, o, true)
			}
			w.now = w.now.Add(time.Hour)
			w.care()
		}
		v := w.view(id)
		if v.Ring != 2 || !v.NeedsSecond {
			t.Fatalf("ring %d, a second person is needed: %v, want it to wait at ring 2", v.Ring, v.NeedsSecond)
		}
		w.must(w.Approve(t.Context(), person("bea"), id, "I have looked"))
		w.care()
		if v := w.view(id); v.Ring != 3 {
			t.Errorf("ring %d after a person approved, want 3", v.Ring)
		}
	})
}

// What went over the whole fleet stands in the way of what is older, also after the one
// that followed it was aborted.
func TestReplacedStandsInTheWay(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		for _, version := range []string{"1.0.0", "1.1.0", "1.2.0", "1.3.0"} {
			w.release(version)
		}
		w.fleetOf(3, "1.0.0", "A3510")
		gone, last := w.start(t, "1.2.0"), w.start(t, "1.3.0")
		w.must(w.exec(`UPDATE rollouts SET state = 'replaced', ended_ms = $2 WHERE id = $1`, gone, w.now.UnixMilli()))
		w.must(w.Abort(t.Context(), person("ada"), last, "not for schools"))
		if _, err := w.Start(t.Context(), person("ada"), w.releaseID("1.1.0"), "the good old one"); !errors.Is(err, rollout.ErrOlder) {
			t.Errorf("Start of 1.1.0 after 1.2.0 = %v, want ErrOlder", err)
		}
		releases, err := w.Releases(t.Context(), person("ada"))
		w.must(err)
		list, err := w.List(t.Context(), person("ada"))
		w.must(err)
		for _, r := range releases {
			if by, yes := rollout.Passed(r, list); yes != (r.Version < "1.2.0") {
				t.Errorf("%s is passed by %q: %v", r.Version, by, yes)
			}
		}
		w.start(t, "1.2.0") // the same again may
	})
}

// What a rollout that was aborted brought to the first devices tells nothing a second
// time, and they are the first again: the ring must not wait for them.
func TestARingThatHasItAlready(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		got := map[string]bool{}
		for range 10 {
			for device, o := range w.sweep(ids, "1.0.0") {
				w.ends(device, o, true)
				w.connects(device, "1.1.0", 1000)
				got[device] = true
			}
		}
		if len(got) != 20 {
			t.Fatalf("%d devices updated, want the 20 of the first ring", len(got))
		}
		w.must(w.Abort(t.Context(), person("ada"), id, "a day early"))
		id = w.start(t, "1.1.0")
		for device, o := range w.sweep(ids, "1.0.0") {
			t.Fatalf("%s is offered %s in a ring that has it", device, o.GetVersion())
		}
		w.now = w.now.Add(2 * time.Hour)
		w.care()
		if v := w.view(id); v.Ring != 2 {
			t.Fatalf("ring %d two hours later, want 2", v.Ring)
		}
		// The next one has devices to learn from, and waits for these.
		w.now = w.now.Add(5 * time.Hour)
		w.care()
		if v := w.view(id); v.Ring != 2 || len(w.sweep(ids, "1.0.0")) == 0 {
			t.Errorf("ring %d without an outcome in it, want 2", v.Ring)
		}
	})
}

// The lessons are those of the school that a device is in today, and so is the number of
// those that go on at once.
func TestSchoolOfToday(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		if _, err := w.fleet.ImportSchools(t.Context(), system, schools()); err != nil {
			t.Fatal(err)
		}
		list, err := w.fleet.Schools(t.Context(), system)
		w.must(err)
		ids, _ := w.begun(60, "A3510")                 // of no school
		w.must(w.exec(`UPDATE rollouts SET ring = 1`)) // of which more may be under way than of a school
		if _, err := w.AddDays(t.Context(), root, w.owner, rollout.Days{Kind: rollout.Closed, School: list[0].ID, Span: calendar.Span{From: calendar.DayOf(w.now), To: calendar.DayOf(w.now), Name: "Prüfungen"}}); err != nil {
			t.Fatal(err)
		}
		var first string
		for first = range w.sweep(ids, "1.0.0") {
		}
		for _, id := range ids {
			w.must(w.fleet.SetSchool(t.Context(), root, id, list[0].ID))
		}
		if _, err := w.forgetLeases(); err != nil {
			t.Fatal(err)
		}
		if held := w.sweep(ids, "1.0.0"); len(held) != 0 {
			t.Errorf("%d devices begin on a day that their new school closed", len(held))
		}
		if why := w.why(first); why != rollout.WhyWindow {
			t.Errorf("why = %s, want %s", why, rollout.WhyWindow)
		}
		for _, id := range ids {
			w.must(w.fleet.SetSchool(t.Context(), root, id, list[1].ID))
		}
		held := w.sweep(ids, "1.0.0")
		if most := int(rollout.DefaultPace().PerSchool); len(held) != most {
			t.Fatalf("%d of the other school under way, want %d", len(held), most)
		}
		for _, id := range ids { // counted there from the lease on, and not only by a round
			if why := w.why(id); held[id] == nil && why != rollout.WhySchool {
				t.Fatalf("a device of the other school: %s, want %s", why, rollout.WhySchool)
			}
		}
		for device, o := range held {
			w.must(w.fetches(device, o.GetLease(), o.GetSha256()))
			w.must(w.fleet.SetSchool(t.Context(), root, device, list[0].ID))
			if err := w.fetches(device, o.GetLease(), o.GetSha256()); err == nil {
				t.Error("bytes come on a day that the school of now closed")
			}
		}
	})
}

// What a part is left out for stands with that decision.
func TestAPartIsBlockedOnWhatWasSeen(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.release("1.1.0")
		ids := w.fleetOf(90, "1.0.0", "A3510", "T490")
		bad, well := map[string]bool{}, []string{}
		for i, id := range ids {
			if bad[id] = i%2 == 1; !bad[id] {
				well = append(well, id)
			}
		}
		id := w.start(t, "1.1.0")
		for good := 0; good < 3; { // else all that is known is bad
			for device, o := range w.sweep(well, "1.0.0") {
				good++
				w.ends(device, o, true)
			}
		}
		var blocked *rollout.Decision
		for range 90 {
			for device, o := range w.sweep(ids, "1.0.0") {
				w.ends(device, o, !bad[device])
			}
			for _, d := range w.view(id).Decisions {
				if d.Verb == "part_blocked" {
					blocked = &d
				}
			}
			if blocked != nil {
				break
			}
			w.now = w.now.Add(time.Hour)
			w.care()
		}
		if blocked == nil {
			t.Fatalf("no part is blocked: %+v", w.view(id))
		}
		if e := blocked.Evidence; e.Bad < gate.Defaults().Identical || e.OK == 0 || len(e.Blocked) != 0 {
			t.Errorf("a part was blocked on %+v, want the failures that spoke against it", e)
		}
		if e := w.view(id).Evidence; e.Bad != 0 || len(e.Blocked) != 1 {
			t.Errorf("evidence after it = %+v, want it without the part", e)
		}
	})
}

// Who was under way when he was given to another school counts there, and hears of its
// lessons.
func TestMovedWhileUnderWay(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		if _, err := w.fleet.ImportSchools(t.Context(), system, schools()); err != nil {
			t.Fatal(err)
		}
		list, err := w.fleet.Schools(t.Context(), system)
		w.must(err)
		w.release("1.0.0")
		w.release("1.1.0")
		var ids []string
		for i := range 60 {
			id := w.device(i, list[i%2].ID, "A3510")
			w.connects(id, "1.0.0", int64(i+1))
			ids = append(ids, id)
		}
		w.start(t, "1.1.0")
		w.must(w.exec(`UPDATE rollouts SET ring = 1`)) // of which more may be under way than a school
		school := map[string]string{}
		for i, id := range ids {
			school[id] = list[i%2].ID
		}
		of := func(at string, held map[string]*hmpb.Offer) (n int64) {
			for device := range held {
				if school[device] == at {
					n++
				}
			}
			return n
		}
		held := w.sweep(ids, "1.0.0")
		most := rollout.DefaultPace().PerSchool
		if of(list[0].ID, held) != most || of(list[1].ID, held) != most {
			t.Fatalf("%d and %d of the schools under way, want %d each", of(list[0].ID, held), of(list[1].ID, held), most)
		}
		sub := w.bus.Subscribe(bus.Offers)
		defer sub.Close()
		for device := range held {
			if school[device] == list[0].ID {
				w.must(w.fleet.SetSchool(t.Context(), root, device, list[1].ID))
				school[device] = list[1].ID
			}
		}
		w.care()
		told := map[string]bool{}
		for len(sub.C) > 0 {
			if e := <-sub.C; held[e.Device] != nil {
				told[e.Device] = true
			}
		}
		if int64(len(told)) != most {
			t.Errorf("%d of those that were moved are told what holds now, want %d", len(told), most)
		}
		again := w.sweep(ids, "1.0.0")
		if n := of(list[1].ID, again); n != 2*most {
			t.Errorf("%d of the second school under way, want the %d that are and none more", n, 2*most)
		}
		if n := of(list[0].ID, again); n == 0 || n > most {
			t.Errorf("%d of the first school under way, want 1 to %d anew", n, most)
		}
	})
}

// Who was moved counts where he is now before any round has seen it, also when the
// rollout that he is under way in stands still.
func TestMovedCountsAtOnce(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		if _, err := w.fleet.ImportSchools(t.Context(), system, schools()); err != nil {
			t.Fatal(err)
		}
		list, err := w.fleet.Schools(t.Context(), system)
		w.must(err)
		w.release("1.0.0")
		w.release("1.1.0")
		var here, there []string
		for i := range 60 {
			id := w.device(i, list[i%2].ID, "A3510")
			w.connects(id, "1.0.0", int64(i+1))
			if i%2 == 0 {
				here = append(here, id)
			} else {
				there = append(there, id)
			}
		}
		stable := w.start(t, "1.1.0")
		w.must(w.exec(`UPDATE rollouts SET ring = 1`)) // of which more may be under way than a school
		most := int(rollout.DefaultPace().PerSchool)
		held := w.sweep(here, "1.0.0")
		if len(held) != most {
			t.Fatalf("%d of a school under way, want %d", len(held), most)
		}
		for device, o := range held {
			w.must(w.fleet.SetSchool(t.Context(), root, device, list[1].ID))
			w.tells(device, hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), State: new(hmpb.UpdateState_UPDATE_STATE_ARMED)})
		}
		if n := len(w.sweep(there, "1.0.0")); n != 0 {
			t.Errorf("%d more of the school to which %d under way were moved", n, most)
		}
		w.must(w.Pause(t.Context(), person("ada"), stable, "somebody called"))
		w.care()
		if n := w.count(`SELECT COUNT(*) FROM rollout_members WHERE flight = 1 AND school_id = $1`, list[1].ID); n != int64(most) {
			t.Errorf("%d armed ones count in their new school while the rollout is paused, want %d", n, most)
		}
		w.must(w.Resume(t.Context(), person("ada"), stable, "it was nothing"))
		if n := len(w.sweep(there, "1.0.0")); n != 0 {
			t.Errorf("%d more of the new school after a round", n)
		}
		left := slices.DeleteFunc(here, func(device string) bool { return held[device] != nil })
		if n := len(w.sweep(left, "1.0.0")); n != most {
			t.Errorf("%d of the old school after a round, want %d", n, most)
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

// Places that are given while a release is signed no longer are those of when it is.
func TestPlacesOfWhatIsSignedNoLonger(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.release("1.1.0")
		ids := w.fleetOf(40, "1.0.0", "A3510")
		id, err := w.Start(t.Context(), person("ada"), w.releaseID("1.1.0"), "new version for the schools")
		w.must(err)
		w.withdraw("1.1.0")
		w.care()
		w.care()
		if v := w.view(id); v.State != rollout.Halted {
			t.Errorf("%s, want it halted", v.State)
		}
		if n := w.count(`SELECT COUNT(*) FROM rollout_members WHERE unfit <> ''`); n != 0 {
			t.Errorf("%d devices count as unfit", n)
		}
		w.withdraw("")
		w.must(w.Resume(t.Context(), person("ada"), id, "it was an error"))
		w.care()
		if n := len(w.sweep(ids, "1.0.0")); n == 0 {
			t.Error("no leases after it is signed again")
		}
		if n := w.count(`SELECT COUNT(*) FROM rollout_members WHERE ring = 0`); n != 20 {
			t.Errorf("%d devices in the first ring, want 20", n)
		}
	})
}

// withdraw signs rules that block the program of a version; empty = of none.
func (w *world) withdraw(version string) {
	w.t.Helper()
	var rules manifest.Rules
	if version != "" {
		sum := sha256.Sum256([]byte("program " + version))
		rules.Blocked = []string{hex.EncodeToString(sum[:])}
	}
	w.must(w.repo.Drafts[manifest.Targets].SetRules(rules))
	w.repo.Publish(manifest.Targets)
	w.imported()
}

// What a rollout that was aborted brought to a device and fails later is weighed in the
// one that takes the release out anew.
func TestWhatTheAbortedOneBroughtCounts(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		held := w.sweep(ids, "1.0.0")
		w.must(w.Abort(t.Context(), person("ada"), id, "a day early"))
		anew := w.start(t, "1.1.0")
		n := int64(0)
		for device, o := range held {
			w.ends(device, o, n > 0)
			n++
		}
		v := w.view(anew)
		if v.Evidence.Bad != 1 || v.Evidence.OK != n-1 {
			t.Errorf("the new rollout has %d good and %d bad, want %d and 1", v.Evidence.OK, v.Evidence.Bad, n-1)
		}
		if r := v.Rings[0]; r.Reached != n || r.OK+r.Bad != n {
			t.Errorf("its first ring: %+v, want %d reached", r, n)
		}
		if old := w.view(id); old.Evidence.OK+old.Evidence.Bad != 0 {
			t.Errorf("the aborted one has %+v, want nothing", old.Evidence)
		}
		for device, o := range held { // told twice is once
			w.ends(device, o, true)
			break
		}
		if e := w.view(anew).Evidence; e.OK+e.Bad != n {
			t.Errorf("%d outcomes of %d devices", e.OK+e.Bad, n)
		}
	})
}

// What an aborted rollout brought is under way there until it has an outcome, and nowhere
// afterwards; what is no outcome is nothing to the new rollout. A ring of none but
// devices that had theirs before it began does not wait for more.
func TestARingWhoseOutcomesCameBefore(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		w.must(w.Approve(t.Context(), person("bea"), id, "I have looked"))
		updated := int64(0)
		well := func(held map[string]*hmpb.Offer) {
			for device, o := range held {
				w.ends(device, o, true)
				w.connects(device, "1.1.0", 1000)
				updated++
			}
		}
		for w.view(id).Ring == 1 {
			well(w.sweep(ids, "1.0.0"))
			w.now = w.now.Add(30 * time.Minute)
			w.care()
		}
		for updated < 80 {
			well(w.sweep(ids, "1.0.0"))
		}
		armed := w.sweep(ids, "1.0.0")
		if updated+int64(len(armed)) != 100 {
			t.Fatalf("%d updated and %d under way, want the 100 of two rings", updated, len(armed))
		}
		tell := func(state hmpb.UpdateState) {
			for device, o := range armed {
				w.tells(device, hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), State: new(state)})
			}
		}
		tell(hmpb.UpdateState_UPDATE_STATE_ARMED)
		w.must(w.Abort(t.Context(), person("ada"), id, "a day early"))
		w.now = w.now.Add(time.Minute)
		anew := w.start(t, "1.1.0")
		w.must(w.Approve(t.Context(), person("bea"), anew, "I have looked"))
		tell(hmpb.UpdateState_UPDATE_STATE_TRIAL)
		if n := w.count(`SELECT COUNT(*) FROM rollout_members WHERE rollout_id = $1 AND flight = 1`, id); n != int64(len(armed)) {
			t.Errorf("%d under way in the aborted one, want %d", n, len(armed))
		}
		if n := w.count(`SELECT COUNT(*) FROM rollout_members WHERE rollout_id = $1 AND (told <> 0 OR granted_ms <> 0)`, anew); n != 0 {
			t.Errorf("%d devices have come in the new rollout, want none before they end", n)
		}
		for device, o := range armed {
			w.ends(device, o, true)
			w.connects(device, "1.1.0", 1000)
		}
		if n := w.count(`SELECT COUNT(*) FROM rollout_members WHERE flight = 1`); n != 0 {
			t.Errorf("%d under way when all have ended", n)
		}
		if v := w.view(anew); v.Ring != 1 || v.Evidence.OK != int64(len(armed)) {
			t.Fatalf("ring %d with %d good ones, want 1 with the %d of the aborted rollout", v.Ring, v.Evidence.OK, len(armed))
		}
		for range 2 {
			w.now = w.now.Add(5 * time.Hour)
			w.care()
		}
		if v := w.view(anew); v.Ring != 3 {
			t.Errorf("ring %d, want 3: who is in the first two has told all that there is", v.Ring)
		}
	})
}

// Nor does the last ring: the rollout is done.
func TestTheLastRingWhoseOutcomesCameBefore(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(30, "A3510")
		well := func(held map[string]*hmpb.Offer) {
			for device, o := range held {
				w.ends(device, o, true)
				w.connects(device, "1.1.0", 1000)
			}
		}
		for w.view(id).Ring == 1 {
			well(w.sweep(ids, "1.0.0"))
			w.now = w.now.Add(30 * time.Minute)
			w.care()
		}
		well(w.sweep(ids, "1.0.0"))
		armed := w.sweep(ids, "1.0.0")
		for device, o := range armed {
			w.tells(device, hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), State: new(hmpb.UpdateState_UPDATE_STATE_ARMED)})
		}
		if v := w.view(id); v.State != rollout.Running || len(armed) == 0 {
			t.Fatalf("%s with %d armed, want it to run", v.State, len(armed))
		}
		w.must(w.Abort(t.Context(), person("ada"), id, "a day early"))
		w.now = w.now.Add(time.Minute)
		anew := w.start(t, "1.1.0")
		well(armed)
		for range 2 {
			w.now = w.now.Add(5 * time.Hour)
			w.care()
		}
		if v := w.view(anew); v.State != rollout.Done || v.Evidence.OK != int64(len(armed)) {
			t.Errorf("%s in ring %d with %d good ones, want it done with %d", v.State, v.Ring, v.Evidence.OK, len(armed))
		}
	})
}

// Who is under way with the new version has not told what became of it, and is waited
// for.
func TestARingWaitsForWhoIsOnTrial(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(130, "A3510")
		w.must(w.Approve(t.Context(), person("bea"), id, "I have looked"))
		for w.view(id).Ring == 1 {
			for device, o := range w.sweep(ids, "1.0.0") {
				w.ends(device, o, true)
			}
			w.now = w.now.Add(30 * time.Minute)
			w.care()
		}
		var trial map[string]*hmpb.Offer
		for w.view(id).Rings[1].OK < 30 {
			for device, o := range w.sweep(ids, "1.0.0") {
				if w.view(id).Rings[1].OK < 30 {
					w.ends(device, o, true)
				}
			}
		}
		if trial = w.sweep(ids, "1.0.0"); len(trial) != 20 {
			t.Fatalf("%d under way, want 20", len(trial))
		}
		for device, o := range trial {
			w.tells(device, hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), State: new(hmpb.UpdateState_UPDATE_STATE_TRIAL)})
			w.connects(device, "1.1.0", 1000)
		}
		w.now = w.now.Add(5 * time.Hour)
		w.care()
		if v := w.view(id); v.Ring != 2 { // 30 of 80; of 60 it would be enough
			t.Fatalf("ring %d while 20 are on trial, want 2", v.Ring)
		}
		for device, o := range trial {
			w.ends(device, o, true)
		}
		w.care()
		if v := w.view(id); v.Ring != 3 {
			t.Errorf("ring %d when they have told, want 3", v.Ring)
		}
	})
}

// Who asks while others still get their places gets none of his own: by chance that would
// be one in a ring that is full.
func TestNobodyIsPlacedBeforeAll(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.release("1.1.0")
		ids := w.fleetOf(60, "1.0.0", "A3510")
		id, err := w.Start(t.Context(), person("ada"), w.releaseID("1.1.0"), "new version for the schools")
		w.must(err)
		w.must(w.Pause(t.Context(), person("ada"), id, "the helpdesk asks"))
		if held := w.sweep(ids, "1.0.0"); len(held) != 0 {
			t.Errorf("%d leases in a pause", len(held))
		}
		if n := w.count(`SELECT COUNT(*) FROM rollout_members`); n != 0 {
			t.Errorf("%d devices have a place before the fleet has its places", n)
		}
		w.must(w.Resume(t.Context(), person("ada"), id, "it was the network"))
		w.care()
		if n := w.count(`SELECT COUNT(*) FROM rollout_members WHERE ring = 0`); n != 20 {
			t.Errorf("%d devices in the first ring, want 20", n)
		}
	})
}

// What was withdrawn before the fleet had its places goes on from there when it is signed
// again.
func TestHaltedBeforeItsPlaces(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.release("1.1.0")
		ids := w.fleetOf(60, "1.0.0", "A3510")
		id, err := w.Start(t.Context(), person("ada"), w.releaseID("1.1.0"), "new version for the schools")
		w.must(err)
		w.must(w.Pause(t.Context(), person("ada"), id, "the helpdesk asks"))
		w.must(w.exec(`UPDATE rollout_releases SET gone_ms = 1 WHERE version = '1.1.0'`))
		w.care()
		if v := w.view(id); v.State != rollout.Halted {
			t.Fatalf("%s without a release, want it halted", v.State)
		}
		w.must(w.exec(`UPDATE rollout_releases SET gone_ms = NULL WHERE version = '1.1.0'`))
		w.must(w.exec(`UPDATE rollouts SET placed = 0`)) // as where the halt came before the places
		w.must(w.Resume(t.Context(), person("ada"), id, "it is signed again"))
		w.care()
		if v := w.view(id); v.State != rollout.Running || len(w.sweep(ids, "1.0.0")) == 0 {
			t.Errorf("%s after it was signed again, want it to run", v.State)
		}
	})
}
