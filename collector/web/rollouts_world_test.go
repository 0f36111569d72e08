package web_test

import (
	"crypto/sha256"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/calendar"
	"hausmeister/collector/rollout"
	"hausmeister/collector/rollout/gate"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
	"hausmeister/testenv/tufrepo"
)

// lookRings are so small that 120 devices have some.
var lookRings = rollout.Pace{Rings: []rollout.Ring{{Devices: 12, Soak: time.Hour}, {Devices: 40, Soak: 4 * time.Hour, SchoolDay: true}, {Devices: 80, Soak: 24 * time.Hour, SchoolDay: true}, {Millions: rollout.Whole}}}

// releaser is somebody of the role release.
func releaser(name string) access.Caller {
	return access.Caller{Kind: access.KindUser, ID: name, Name: name, Role: access.RoleRelease}
}

// sweep offers updates to all of these devices, which run 1.0.0, until nobody is
// offered one; says is what each tells of it, by how many did before.
func (w *world) sweep(ids []string, says func(i int, o *hmpb.Offer) *hmpb.Update) {
	w.t.Helper()
	hash, told := sha256.Sum256([]byte("program 1.0.0")), map[string]bool{}
	for again := true; again; {
		again = false
		for i, id := range ids {
			if told[id] {
				continue
			}
			o, err := rollout.Gateway{Rollouts: w.rollouts}.Offer(w.t.Context(), w.caller(id), "1.0.0", hash[:], append(trains(i), "system:windows/amd64"))
			w.must(err)
			if o == nil {
				continue
			}
			told[id], again = true, true
			if u := says(i, o); u != nil {
				w.tell(id, hmpb.Entry_builder{Update: u}.Build())
			}
		}
	}
}

// trains are what comes to the i-th device without a rollout: of seven one has left the
// newer launcher.
func trains(i int) []string {
	switch {
	case i%7 == 3:
		return []string{"launcher:2.3.0", "policy:1.0.0", "launcher-left:2.4.0"}
	case i%3 == 1:
		return []string{"launcher:2.4.0", "policy:1.0.0"}
	}
	return []string{"launcher:2.3.0", "policy:1.0.0"}
}

// step is one of an update that was offered.
func step(o *hmpb.Offer, state hmpb.UpdateState, reason hmpb.UpdateReason, signature string) *hmpb.Update {
	return hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), ToVersion: new(o.GetVersion()), State: &state, Reason: &reason, Signature: &signature}.Build()
}

func committed(o *hmpb.Offer) *hmpb.Update {
	return step(o, hmpb.UpdateState_UPDATE_STATE_COMMITTED, 0, "")
}

// rolled has releases, and rollouts in some states: one that runs in its second ring,
// one that the gate halted, one that waits for a second person, one that was aborted.
func (w *world) rolled(ids []string) (runs, halted, waits string) {
	w.t.Helper()
	ctx, now := w.t.Context(), w.clock()
	at := func(t time.Time) { w.mu.Lock(); defer w.mu.Unlock(); w.now = t }
	at(now.Add(-9 * time.Hour))
	repo, dir := tufrepo.NewFleet(w.clock), w.t.TempDir()
	for _, r := range []manifest.Release{{Version: "0.9.0"}, {Version: "1.0.0"}, {Version: "1.2.0"}, {Version: "1.1.0"}, {Version: "1.0.1", RollbackOf: "1.1.0"}, {Version: "1.1.1", Urgent: true}} {
		for _, os := range []string{"windows", "linux", "darwin"} {
			r.OS = os
			role := manifest.RoleStable
			if r.Urgent {
				role = manifest.RoleEmergency
			}
			repo.Release(role, r, []byte("program "+r.Version+map[string]string{"linux": " linux", "darwin": " darwin"}[os]))
		}
	}
	for version, hours := range map[string]int64{"2.3.0": 24 * 40, "2.4.0": 7} {
		ramp := manifest.Ramp{T0MS: now.Add(-time.Duration(hours) * time.Hour).UnixMilli(), PermillePerHour: 50}
		repo.Release(manifest.RoleLauncher, manifest.Release{Product: manifest.ProductLauncher, Version: version, OS: "windows", Ramp: ramp}, []byte("launcher "+version))
	}
	repo.Policy("1.0.0", []byte(`{"hausmeister_policy": 1}`))
	w.must(repo.WriteTo(dir))
	_, err := w.rollouts.Import(ctx, operator, dir, repo.Root())
	w.must(err)
	all, err := w.rollouts.Releases(ctx, operator)
	w.must(err)
	id := map[string]string{}
	for _, r := range all {
		id[r.Version] = r.ID
	}
	owners, err := w.fleet.Owners(ctx, operator)
	w.must(err)
	for _, o := range owners { // nobody teaches while the devices of the example are updated
		w.must(w.rollouts.SetWindow(ctx, operator, rollout.Window{Owner: o.ID}))
	}
	begin := func(version, why string) string {
		id, err := w.rollouts.Start(ctx, releaser("m.sommer"), id[version], why)
		w.must(err)
		w.advance(time.Minute)
		w.must(w.rollouts.Care(ctx))
		return id
	}
	aborted := begin("0.9.0", "erster Versuch")
	w.advance(time.Minute)
	w.must(w.rollouts.Abort(ctx, releaser("m.sommer"), aborted, "falscher Kanal, die Version ist für den Test"))
	w.advance(time.Hour)
	halted = begin("1.2.0", "neue Fernwartung für die Pilotschulen")
	w.advance(7 * time.Minute)
	w.sweep(ids, func(_ int, o *hmpb.Offer) *hmpb.Update {
		return step(o, hmpb.UpdateState_UPDATE_STATE_ROLLED_BACK, hmpb.UpdateReason_UPDATE_REASON_CRASHED, "nil in link")
	})
	w.advance(time.Hour)
	runs = begin("1.1.0", "behebt den Abbruch beim Aufwachen")
	w.sweep(ids, func(_ int, o *hmpb.Offer) *hmpb.Update { return committed(o) })
	w.advance(2 * time.Hour)
	w.must(w.rollouts.Care(ctx))
	const left = "ThinkPad X13 Gen 2" // the model that is blocked below
	n := -1
	w.sweep(ids, func(i int, o *hmpb.Offer) *hmpb.Update {
		if kinds[i%len(kinds)][1] == left || isRevoked(i) { // which come now is by chance, and of these lists say something else
			return committed(o)
		}
		n++
		switch {
		case n == 4:
			return step(o, hmpb.UpdateState_UPDATE_STATE_ROLLED_BACK, hmpb.UpdateReason_UPDATE_REASON_NO_COLLECTOR, "")
		case n%9 == 5, n%9 == 6:
			return step(o, hmpb.UpdateState_UPDATE_STATE_WAITING, hmpb.UpdateReason_UPDATE_REASON_POSTPONED, "")
		case n%9 == 7:
			return nil
		}
		return committed(o)
	})
	w.advance(40 * time.Minute)
	w.must(w.rollouts.Block(ctx, releaser("m.sommer"), runs, gate.Stratum{Dimension: "model", Value: left}, true, "neue Firmware fehlt noch"))
	w.must(w.rollouts.Care(ctx))
	at(now.Add(-10 * time.Minute))
	waits, err = w.rollouts.Start(ctx, releaser("m.sommer"), id["1.1.1"], "Lücke wird ausgenutzt")
	w.must(err)
	at(now)
	for _, o := range owners {
		w.must(w.rollouts.SetWindow(ctx, operator, rollout.Window{Owner: o.ID, From: 7*60 + 30, To: 13*60 + 15, Rate: 2_500_000, Parallel: 5}))
	}
	ahorn := w.ownerID("Landkreis Ahorn")
	for _, d := range []rollout.Days{
		{Kind: rollout.Closed, Span: calendar.Span{From: "2026-12-07", To: "2026-12-11", Name: "schriftliches Abitur"}},
		{Kind: rollout.Free, School: w.schoolID("Landkreis Ahorn", "S0001"), Span: calendar.Span{From: "2027-02-08", To: "2027-02-09", Name: "bewegliche Ferientage"}},
		{Kind: rollout.Closed, Span: calendar.Span{From: "2026-10-01", To: "2026-10-01"}},
	} {
		_, err := w.rollouts.AddDays(ctx, operator, ahorn, d)
		w.must(err)
	}
	w.must(w.exec(`UPDATE rollout_members SET first_ms = first_ms - 1296000000 WHERE first_ms IS NOT NULL`)) // 15 days ago
	return runs, halted, waits
}

// releaseID is that of an imported version.
func (w *world) releaseID(version string) string {
	w.t.Helper()
	all, err := w.rollouts.Releases(w.t.Context(), operator)
	w.must(err)
	for _, r := range all {
		if r.Version == version {
			return r.ID
		}
	}
	w.t.Fatalf("no release %s", version)
	return ""
}
