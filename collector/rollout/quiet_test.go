package rollout_test

import (
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/calendar"
	"hausmeister/collector/pace"
	"hausmeister/collector/rollout"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
)

// asks is an offer as the gateway hears it.
func (w *world) asks(device string) (*hmpb.Offer, error) {
	w.t.Helper()
	return rollout.Gateway{Rollouts: w.Rollouts}.Offer(w.t.Context(), w.caller(device), "1.0.0", make([]byte, 32), []string{"system:linux/amd64"})
}

// fetches is what the gateway hears of a file.
func (w *world) fetches(device, lease string, sha256 []byte) error {
	w.t.Helper()
	_, err := w.fetchesFor(device, lease, sha256)
	return err
}

// fetchesFor is fetches, and for how long the bytes may come.
func (w *world) fetchesFor(device, lease string, sha256 []byte) (time.Duration, error) {
	w.t.Helper()
	c, err := rollout.Gateway{Rollouts: w.Rollouts}.Target(w.t.Context(), w.caller(device), lease, sha256)
	if err == nil && c.Close != nil {
		c.Close()
	}
	return c.Lasts, err
}

// later wants that an answer is to come back after so long.
func later(t *testing.T, what string, err error, want time.Duration) {
	t.Helper()
	var l *pace.LaterError
	if !errors.As(err, &l) || l.After != want {
		t.Errorf("%s = %v, want to come back in %v", what, err, want)
	}
}

func bytesOf(t *testing.T, sha256 string) []byte {
	t.Helper()
	b, err := hex.DecodeString(sha256)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A lease that was given before a lesson brings no bytes in it, and the device knows when
// it must begin nothing. After it all goes on.
func TestLessonsHoldALease(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, _ := w.begun(10, "A3510")
		day := calendar.Day("2026-12-01") // a Tuesday
		w.now = day.At(7*60 + 25)
		held := w.sweep(ids, "1.0.0")
		if len(held) == 0 {
			t.Fatal("no lease before the lessons")
		}
		for id, o := range held {
			if q := o.GetQuiet(); len(q) != 1 || q[0].GetFromMs() != day.At(7*60+30).UnixMilli() || q[0].GetToMs() != day.At(13*60+15).UnixMilli() {
				t.Fatalf("quiet = %v, want the lessons of that day", q)
			}
			if lasts, err := w.fetchesFor(id, o.GetLease(), o.GetSha256()); err != nil || lasts != 5*time.Minute {
				t.Fatalf("Target before the lessons lasts %v, %v, want the 5 minutes until they begin", lasts, err)
			}
		}
		w.now = day.At(8*60 + 30)
		for id, o := range held {
			got, err := w.asks(id)
			if q := got.GetQuiet(); err != nil || got.GetLease() != o.GetLease() || len(q) == 0 || q[0].GetFromMs() > w.now.UnixMilli() || q[0].GetToMs() != day.At(13*60+15).UnixMilli() {
				t.Errorf("Offer in a lesson = %v, %v, want lease %s and the lesson that goes on", got, err, o.GetLease())
			}
			later(t, "Target in a lesson", w.fetches(id, o.GetLease(), o.GetSha256()), 4*time.Hour+45*time.Minute)
		}
		w.now = day.At(13*60 + 15)
		for id, o := range held {
			got, err := w.asks(id)
			if err != nil || got.GetLease() != o.GetLease() {
				t.Errorf("Offer after the lessons = %v, %v, want lease %s again", got, err, o.GetLease())
			}
			if q := got.GetQuiet(); len(q) != 1 || q[0].GetFromMs() != day.Next().At(7*60+30).UnixMilli() {
				t.Errorf("quiet = %v, want the lessons of the next day", q)
			}
			if err := w.fetches(id, o.GetLease(), o.GetSha256()); err != nil {
				t.Errorf("Target after the lessons = %v", err)
			}
		}
	})
}

// Nor does a lease of the evening before an exam week carry into it.
func TestClosedDaysEndALease(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, _ := w.begun(10, "A3510")
		day := calendar.Day("2026-12-01")
		admin := access.Caller{Kind: access.KindUser, ID: "root", Role: access.RoleAdmin}
		if _, err := w.AddDays(t.Context(), admin, w.owner, rollout.Days{Kind: rollout.Closed, Span: calendar.Span{From: day.Next(), To: "2026-12-04", Name: "Prüfungen"}}); err != nil {
			t.Fatal(err)
		}
		w.now = day.At(18 * 60)
		held := w.sweep(ids, "1.0.0")
		if len(held) == 0 {
			t.Fatal("no lease in the evening")
		}
		w.now = day.Next().At(60)
		for id, o := range held {
			if q := o.GetQuiet(); len(q) != 1 || q[0].GetFromMs() != day.Next().At(0).UnixMilli() || q[0].GetToMs() < w.now.UnixMilli() {
				t.Errorf("quiet = %v, want the closed days", q)
			}
			if got, err := w.asks(id); got != nil || err != nil {
				t.Errorf("Offer on a closed day = %v, %v, want none", got, err)
			}
			later(t, "Target on a closed day", w.fetches(id, o.GetLease(), o.GetSha256()), pace.MaxWait)
		}
	})
}

// What is urgent says nothing of lessons, and goes on in them.
func TestUrgentInLessons(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.repo.Release(manifest.RoleEmergency, manifest.Release{Version: "1.1.0", Urgent: true}, []byte("program 1.1.0"))
		w.imported()
		ids := w.fleetOf(10, "1.0.0", "A3510")
		id := w.start(t, "1.1.0")
		if err := w.Approve(t.Context(), person("bea"), id, "there is no time"); err != nil {
			t.Fatal(err)
		}
		w.care()
		w.now = calendar.Day("2026-12-01").At(9 * 60)
		held := w.sweep(ids, "1.0.0")
		if len(held) == 0 {
			t.Fatal("no lease of an urgent release in a lesson")
		}
		for id, o := range held {
			if len(o.GetQuiet()) != 0 {
				t.Errorf("quiet = %v, want none", o.GetQuiet())
			}
			if lasts, err := w.fetchesFor(id, o.GetLease(), o.GetSha256()); err != nil || lasts != 0 {
				t.Errorf("Target lasts %v, %v, want it for any time", lasts, err)
			}
		}
	})
}

// Launchers and policies, which need no lease, do not come in lessons either.
func TestNothingUnleasedInLessons(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		rel := w.repo.Release(manifest.RoleLauncher, manifest.Release{Product: manifest.ProductLauncher, Version: "1.1.0"}, []byte("launcher 1.1.0"))
		w.imported()
		device := w.fleetOf(1, "1.0.0", "A3510")[0]
		sum := bytesOf(t, rel.SHA256)
		day := calendar.Day("2026-12-01")
		w.now = day.At(7 * 60)
		if lasts, err := w.fetchesFor(device, "", sum); err != nil || lasts != 30*time.Minute {
			t.Fatalf("Target before the lessons lasts %v, %v, want the 30 minutes until they begin", lasts, err)
		}
		w.now = day.At(9 * 60)
		later(t, "Target in a lesson", w.fetches(device, "", sum), 4*time.Hour+15*time.Minute)
		w.now = day.At(14 * 60)
		if err := w.fetches(device, "", sum); err != nil {
			t.Errorf("Target after the lessons = %v", err)
		}
	})
}

// Row 25: that a scanner takes the program away counts as a failure, also days after it
// was committed, and halts the rollout.
func TestAttack25TakenAwayAfterTheCommitIsAFailure(t *testing.T) {
	for _, state := range []hmpb.UpdateState{hmpb.UpdateState_UPDATE_STATE_COMMITTED, hmpb.UpdateState_UPDATE_STATE_PRUNED, hmpb.UpdateState_UPDATE_STATE_TRIAL} {
		t.Run(state.String(), func(t *testing.T) {
			both(t, func(t *testing.T, w *world) {
				ids, id := w.begun(20, "A3510")
				offers := map[string]*hmpb.Offer{}
				for len(offers) < len(ids) {
					held := w.sweep(ids, "1.0.0")
					for device, o := range held {
						offers[device] = o
						w.ends(device, o, true)
					}
					if len(held) == 0 {
						t.Fatalf("%d of %d had a turn", len(offers), len(ids))
					}
				}
				if v := w.view(id); v.Rings[0].OK != 20 || v.Rings[0].Bad != 0 {
					t.Fatalf("outcomes = %+v, want 20 good ones", v.Rings[0])
				}
				told := int64(0)
				for device, o := range offers {
					told++
					w.tells(device, hmpb.Update_builder{ToSha256: o.GetSha256(), ToVersion: new("1.1.0"), State: new(state), Reason: new(hmpb.UpdateReason_UPDATE_REASON_QUARANTINED)})
					if v := w.view(id); v.Rings[0].OK+v.Rings[0].Bad != 20 || v.Rings[0].Bad != told {
						t.Fatalf("outcomes after %d were taken away = %+v", told, v.Rings[0])
					}
				}
				if v := w.view(id); v.State != rollout.Halted {
					t.Errorf("state = %s, want halted", v.State)
				}
			})
		})
	}
}

// Before the swap the program that was mended is the one before, which says nothing of
// the new one.
func TestMendedBeforeTheSwapIsNoOutcome(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(10, "A3510")
		for device, o := range w.sweep(ids, "1.0.0") {
			w.tells(device, hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), State: new(hmpb.UpdateState_UPDATE_STATE_STAGED), Reason: new(hmpb.UpdateReason_UPDATE_REASON_QUARANTINED)})
		}
		if v := w.view(id); v.Rings[0].Bad != 0 || v.State != rollout.Running {
			t.Errorf("rollout = %s, %+v, want no outcome", v.State, v.Rings[0])
		}
	})
}

// As many devices of a school as may be are under way in all rollouts together.
func TestPerSchoolOverAllRollouts(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		if _, err := w.fleet.ImportSchools(t.Context(), system, schools()); err != nil {
			t.Fatal(err)
		}
		w.repo.Release(manifest.RoleCanary, manifest.Release{Version: "1.2.0", Channel: manifest.RoleCanary}, []byte("program 1.2.0"))
		w.release("1.1.0")
		list, err := w.fleet.Schools(t.Context(), system)
		if err != nil || len(list) != 2 {
			t.Fatalf("Schools = %v, %v", list, err)
		}
		school := list[0].ID
		var ids []string
		for i := range 20 {
			id := w.device(i, school, "A3510")
			w.connects(id, "1.0.0", int64(i+1))
			ids = append(ids, id)
		}
		stable := w.start(t, "1.1.0")
		w.start(t, "1.2.0")
		canaries := func() (n int) {
			for _, id := range ids[10:] {
				o, err := rollout.Gateway{Rollouts: w.Rollouts}.Offer(t.Context(), w.caller(id), "1.0.0", make([]byte, 32), []string{"system:linux/amd64", "channel:canary"})
				if err != nil {
					t.Fatal(err)
				}
				if o != nil {
					n++
				}
			}
			return n
		}
		held := w.sweep(ids[:10], "1.0.0")
		if n, want := len(held)+canaries(), int(rollout.DefaultPace().PerSchool); n != want {
			t.Errorf("%d devices of one school under way, want %d", n, want)
		}
		// Those that fall silent in a rollout that stands still keep nobody from another one.
		for device, o := range held {
			w.tells(device, hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), State: new(hmpb.UpdateState_UPDATE_STATE_ARMED)})
		}
		if err := w.Pause(t.Context(), person("ada"), stable, "something is wrong with it"); err != nil {
			t.Fatal(err)
		}
		if n := canaries(); n > 0 && len(held) >= int(rollout.DefaultPace().PerSchool) {
			t.Errorf("%d more of the school while what was armed may go on", n)
		}
		w.now = w.now.Add(14 * 24 * time.Hour)
		w.care()
		if canaries() == 0 {
			t.Error("no device of the school may begin two weeks later")
		}
	})
}

// A device whose lease was taken back by a pause or a halt, as one that waited for power,
// has not had its turn; one whose whole turn went by without a word has.
func TestTakenBackIsNotSilent(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(10, "A3510")
		held := w.sweep(ids, "1.0.0")
		n := int64(len(held))
		for device, o := range held {
			w.tells(device, hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), State: new(hmpb.UpdateState_UPDATE_STATE_WAITING), Reason: new(hmpb.UpdateReason_UPDATE_REASON_BATTERY)})
		}
		if err := w.Pause(t.Context(), person("ada"), id, "somebody called"); err != nil {
			t.Fatal(err)
		}
		if r := w.view(id).Rings[0]; r.Silent != 0 || r.InFlight != 0 || r.Reached != n {
			t.Errorf("after a pause %+v, want %d reached, none of them silent", r, n)
		}
		if err := w.Resume(t.Context(), person("ada"), id, "it was nothing"); err != nil {
			t.Fatal(err)
		}
		again := int64(len(w.sweep(ids, "1.0.0")))
		w.now = w.now.Add(rollout.DefaultPace().Lease + time.Minute)
		w.care()
		if r := w.view(id).Rings[0]; again == 0 || r.Silent != again {
			t.Errorf("after a lease that went by: %+v, want %d silent", r, again)
		}
	})
}
