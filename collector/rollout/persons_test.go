package rollout_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/calendar"
	"hausmeister/collector/rollout"
	"hausmeister/collector/rollout/gate"
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

// Urgent ones pass lessons and closed days, and need two persons.
func TestUrgentNeedsTwoPersons(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.repo.Release(manifest.RoleEmergency, manifest.Release{Version: "1.1.0", Urgent: true}, []byte("program 1.1.0"))
		w.imported()
		w.now = time.Date(2026, 12, 1, 9, 0, 0, 0, calendar.Berlin) // a lesson
		ids := w.fleetOf(10, "1.0.0", "A3510")
		id := w.start(t, "1.1.0")
		if v := w.view(id); v.State != rollout.Waiting || !v.NeedsSecond || len(w.sweep(ids, "1.0.0")) != 0 {
			t.Errorf("%s, want it to wait for a second person", v.State)
		}
		if err := w.Approve(t.Context(), person("ada"), id, "I am two persons"); !errors.Is(err, rollout.ErrSecond) {
			t.Errorf("Approve by the first = %v, want ErrSecond", err)
		}
		if err := w.Approve(t.Context(), person("bea"), id, "it is being exploited"); err != nil {
			t.Fatal(err)
		}
		w.care()
		held := w.sweep(ids, "1.0.0")
		if len(held) == 0 {
			t.Error("nobody is offered an urgent release in a lesson")
		}
		for _, o := range held {
			if o.GetWithinS() > 60 {
				t.Errorf("it begins within %d s, want a minute", o.GetWithinS())
			}
		}
	})
}

// The rings of what waited for its second person are those of the fleet that there is then.
func TestUrgentWaitedWhileTheFleetGrew(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.repo.Release(manifest.RoleEmergency, manifest.Release{Version: "1.1.0", Urgent: true}, []byte("program 1.1.0"))
		w.imported()
		w.fleetOf(15, "1.0.0", "A3510")
		id := w.start(t, "1.1.0")
		for i := range 60 {
			w.device(1000+i, "", "A3510")
		}
		w.must(w.Approve(t.Context(), person("bea"), id, "there is no time"))
		w.care()
		if v, n := w.view(id), len(w.firstRing(id)); len(v.Rings) != 2 || v.Rings[0].Devices != 20 || n != 20 {
			t.Errorf("%d rings, the first is for %d and has %d of 75 devices, want two and 20", len(v.Rings), v.Rings[0].Devices, n)
		}
	})
}
