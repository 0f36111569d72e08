package web_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"hausmeister/collector/access"
	"hausmeister/collector/calendar"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/rollout"
	"hausmeister/collector/rollout/gate"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
	"hausmeister/testenv/need"
	"hausmeister/testenv/tufrepo"
)

// TestApproveByAPI: the second person may be one through the API as on the pages; a
// token, an administrator and the person who began it may not.
func TestApproveByAPI(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := storesOn(t, d, quietLog).serve()
		w.fill(6)
		releases := w.releases()
		w.user("release2", access.RoleRelease, nil)
		first, _ := w.signIn(t, "release")
		other, _ := w.signIn(t, "release2")
		admin, _ := w.signIn(t, "admin")
		post := func(bearer, path, body string) answer {
			t.Helper()
			return w.browser().do(http.MethodPost, path, strings.NewReader(body), "Authorization", "Bearer "+bearer, "Content-Type", "application/json")
		}
		made := post(first, "/api/v1/rollouts", `{"release":"`+releases["1.1.0"]+`","reason":"neue Version"}`)
		if made.StatusCode != http.StatusCreated {
			t.Fatalf("starting = %d %s", made.StatusCode, made.body)
		}
		at := made.Header.Get("Location")
		if res := post(w.token("ci", access.RoleRelease, nil), at+"/approve", `{"reason":"alles gesehen"}`); res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "problem:person-needed") {
			t.Errorf("approved by a token = %d %s, want 403 person-needed", res.StatusCode, res.body)
		}
		for who, bearer := range map[string]string{"who began it": first, "an administrator": admin} {
			if res := post(bearer, at+"/approve", `{"reason":"alles gesehen"}`); res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "problem:second-person") {
				t.Errorf("approved by %s = %d %s, want 403 second-person", who, res.StatusCode, res.body)
			}
		}
		if res := post(other, at+"/approve", `{"reason":"alles gesehen"}`); res.StatusCode != http.StatusOK || !strings.Contains(res.body, `"approved_by":"release2"`) {
			t.Errorf("approved by another person = %d %s", res.StatusCode, res.body)
		}
		if res := post(other, at+"/approve", `{"reason":"alles gesehen"}`); res.StatusCode != http.StatusConflict || !strings.Contains(res.body, "problem:rollout-state") {
			t.Errorf("approved again = %d %s, want 409", res.StatusCode, res.body)
		}
		if res := post(first, at+"/note", `{"reason":"die Schule bat darum"}`); res.StatusCode != http.StatusOK || !strings.Contains(res.body, `"verb":"noted"`) {
			t.Errorf("a reason afterwards = %d %s", res.StatusCode, res.body)
		}
		reader, _ := w.signIn(t, "read")
		if res := post(reader, at+"/note", `{"reason":"die Schule bat darum"}`); res.StatusCode != http.StatusForbidden {
			t.Errorf("a reason by who only reads = %d, want 403", res.StatusCode)
		}
	})
}

// TestRolloutsByAPISayWhatIsWrong: a program is told which field is wrong, and how, in
// the words that the pages have.
func TestRolloutsByAPISayWhatIsWrong(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := storesPaced(t, d, quietLog, lookRings).serve()
		ids := w.fill(60)
		runs, _, _ := w.rolled(ids)
		token, at := w.token("ci", access.RoleRelease, nil), "/api/v1/rollouts/"+runs
		post := func(path, body string) answer {
			t.Helper()
			return w.browser().do(http.MethodPost, path, strings.NewReader(body), "Authorization", "Bearer "+token, "Content-Type", "application/json")
		}
		for _, tt := range []struct {
			path, body string
			code       int
			parts      []string
		}{
			{at + "/pause", `{"reason":"x"}`, 400, []string{`"field":"reason"`, "5 to 200 characters"}},
			{at + "/pause", `{"reason":"123456"}`, 400, []string{`"field":"reason"`, "letters"}},
			{at + "/promote", `{"reason":"zwei Schulen warten"}`, 400, []string{`"field":"ring"`, "/next"}},
			{at + "/promote", `{"ring":1,"reason":"zwei Schulen warten"}`, 409, []string{"ring 3 is the next"}},
			{at + "/parts", `{"dimension":"shoe","value":"42","blocked":true,"reason":"zwei Schulen warten"}`, 400, []string{`"field":"dimension"`, "model, os_build, antivirus, owner"}},
			{at + "/parts", `{"dimension":"model","value":"No such model","blocked":true,"reason":"zwei Schulen warten"}`, 400, []string{`"field":"value"`, "no device"}},
			{at + "/rollback", `{"release":"` + w.releaseID("0.9.0") + `","reason":"zwei Schulen warten"}`, 400, []string{`"field":"release"`, "not signed as the way back from 1.1.0"}},
			{"/api/v1/rollouts", `{"release":"` + w.releaseID("0.9.0") + `","reason":"falsche Zeile"}`, 409, []string{"problem:older-release", "1.1.0 is newer"}},
		} {
			res := post(tt.path, tt.body)
			if res.StatusCode != tt.code {
				t.Errorf("POST %s %s = %d %s, want %d", tt.path, tt.body, res.StatusCode, res.body, tt.code)
			}
			for _, part := range tt.parts {
				if !strings.Contains(res.body, part) {
					t.Errorf("POST %s %s = %s, lacks %q", tt.path, tt.body, res.body, part)
				}
			}
		}
		res := w.api(token, at, nil)
		i := strings.Index(res.body, `"verb":"ring_entered"`)
		if i < 0 || !strings.Contains(res.body[i:], `"evidence":{"ring":1,"ok":12,"bad":0,"ring_ok":12,`) {
			t.Errorf("ring 2 was entered on %s, want the numbers of ring 1", res.body[max(i, 0):])
		}
		if page := text(w.signedIn("read").get("/rollouts/" + runs).body); !strings.Contains(page, "Stufe 1: 12 gut, 0 Fehler, Risiko muss unter 5") {
			t.Error("the page does not say on which numbers ring 2 was entered")
		}
	})
}

// TestTwoPersonsAfterAProgram: what a token began takes two persons' approval.
func TestTwoPersonsAfterAProgram(t *testing.T) {
	w := storesPaced(t, dbtest.Open(t, migrations), quietLog, lookRings).serve()
	ids := w.fill(20)
	_, _, waits := w.rolled(ids)
	w.must(w.exec(`UPDATE rollouts SET started_by = 'token:ci', started_name = 'ci' WHERE id = '` + waits + `'`))
	w.must(w.exec(`DELETE FROM rollout_requests WHERE rollout_id = '` + waits + `'`)) // which a person of the role makes by starting
	w.user("release2", access.RoleRelease, nil)
	at := "/rollouts/" + waits
	if page := text(w.signedIn("release").get(at).body); !strings.Contains(page, "Zwei Personen mit der Rolle „Freigabe“ müssen freigeben") {
		t.Error("the page does not say that two persons must approve")
	}
	if page := text(w.signedIn("release").get(at + "/approve").body); !strings.Contains(page, "als erste Person freigeben") || !strings.Contains(page, "noch eine zweite Person") {
		t.Errorf("the form does not say that another person must approve after this one: %s", page)
	}
	res := w.signedIn("release").decides(at+"/approve", url.Values{"reason": {"alles gesehen"}})
	if to := res.Header.Get("Location"); res.StatusCode != http.StatusSeeOther || to != at+"?done=rollout_approved_first" {
		t.Errorf("the first person's approval = %d to %s", res.StatusCode, to)
	}
	if r, err := w.rollouts.Rollout(t.Context(), releaser("x"), waits); err != nil || r.State != rollout.Waiting || r.ApprovedBy != "" {
		t.Errorf("after one person %s, %v, want it to wait", r.State, err)
	}
	if res := w.signedIn("release").get(at + "/approve"); res.StatusCode != http.StatusForbidden {
		t.Errorf("the same person's form again = %d, want 403", res.StatusCode)
	}
	if page := text(w.signedIn("release2").get(at + "/approve").body); !strings.Contains(page, "als zweite Person freigeben") || !strings.Contains(page, "release hat schon freigegeben") {
		t.Errorf("the second person's form: %s", page)
	}
	res = w.signedIn("release2").decides(at+"/approve", url.Values{"reason": {"auch gesehen"}})
	if r, err := w.rollouts.Rollout(t.Context(), releaser("x"), waits); err != nil || r.State != rollout.Placing || r.ApprovedBy != "release2" {
		t.Errorf("after two persons (%d) %s, %v, want it to begin", res.StatusCode, r.State, err)
	}
}

// TestTwoPersonsAfterAnAdmin: what somebody without the role begins takes two persons
// with it. Form and page say so to each, and of one more as soon as one has approved.
func TestTwoPersonsAfterAnAdmin(t *testing.T) {
	w := storesPaced(t, dbtest.Open(t, migrations), quietLog, lookRings).serve()
	ids := w.fill(20)
	_, _, waits := w.rolled(ids)
	says := func(who, path string, want, not []string) {
		t.Helper()
		res := w.signedIn(who).get(path)
		page := text(res.body)
		for _, part := range want {
			if !strings.Contains(page, part) {
				t.Errorf("GET %s as %s (%d) lacks %q: %s", path, who, res.StatusCode, part, page)
			}
		}
		for _, part := range not {
			if strings.Contains(page, part) {
				t.Errorf("GET %s as %s says %q: %s", path, who, part, page)
			}
		}
	}
	one := []string{"Sie beginnt, sobald eine zweite Person freigibt", "Diese dringende Version braucht die Freigabe einer zweiten Person"}
	two := []string{"Sie beginnt, sobald zwei Personen freigeben", "Diese Version ist dringend: Zwei Personen mit der Rolle „Freigabe“ müssen freigeben"}
	never := []string{"Ein Programm"}
	says("release", "/rollouts/"+waits, one, append(never, two...)) // m.sommer of the role began it

	w.must(w.rollouts.Abort(t.Context(), releaser("m.sommer"), waits, "noch einmal anders"))
	w.advance(time.Minute)
	begin := "/releases/" + w.releaseID("1.1.1") + "/rollout"
	says("release", begin, []string{"Nach der Freigabe einer zweiten Person beginnen Geräte auch im Unterricht"}, []string{"zwei Personen"})
	says("admin", begin, []string{"Vorher müssen zwei Personen mit der Rolle „Freigabe“ freigeben"}, []string{"einer zweiten Person"})
	res := w.signedIn("admin").post(begin, url.Values{"reason": {"Lücke wird ausgenutzt"}})
	at, _, _ := strings.Cut(res.Header.Get("Location"), "?")
	if res.StatusCode != http.StatusSeeOther {
		t.Fatalf("the admin's start = %d %s", res.StatusCode, res.body)
	}
	for _, who := range []string{"admin", "release", "read"} {
		says(who, at, two, append(never, one...))
	}
	res = w.signedIn("release").decides(at+"/approve", url.Values{"reason": {"alles gesehen"}})
	if res.StatusCode != http.StatusSeeOther {
		t.Fatalf("the first person's approval = %d %s", res.StatusCode, res.body)
	}
	for _, who := range []string{"admin", "release", "read"} {
		says(who, at, one, append(never, two...))
	}
}

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

// TestUpdatesPage: what is signed, released and on its way, and that only who may is
// offered to do something about it.
func TestUpdatesPage(t *testing.T) {
	w := storesPaced(t, peopled(t), quietLog, lookRings).serve()
	ids := w.fill(60)
	if page := w.signedIn("read").get("/updates"); page.StatusCode != http.StatusOK || !strings.Contains(page.body, "Noch keine Versionen") {
		t.Errorf("before the first import = %d", page.StatusCode)
	} else if !strings.Contains(page.body, "<code>hausmeister-collector release import DIR --root FILE</code>") {
		t.Error("the page does not name the command with what it needs")
	}
	reader := w.token("early", access.RoleRead, nil)
	for path, detail := range map[string]string{"/devices/" + ids[0] + "/update": "No rollout has been started yet.", "/repository": "No repository has been imported yet."} {
		if res := w.api(reader, "/api/v1"+path, nil); res.StatusCode != http.StatusNotFound || !strings.Contains(res.body, detail) {
			t.Errorf("%s before there is one = %d %s, want 404 and %q", path, res.StatusCode, res.body, detail)
		}
	}
	runs, _, waits := w.rolled(ids)
	older := "/releases/" + w.releaseID("0.9.0") + "/rollout"
	acts := []string{"/releases/" + w.releaseID("1.0.1") + "/rollout", "/releases/" + w.releaseID("1.1.0") + "/block"}
	for role, may := range map[string]bool{"read": false, "support": false, "admin": true, "release": true} {
		page := w.signedIn(role).get("/updates")
		said := text(page.body)
		for _, part := range []string{"Wartet auf Freigabe", "Von selbst angehalten", "Rückweg von 1.1.0", "dringend", "Zeitstempel", "noch 1.094 Tage", "Läuft"} {
			if !strings.Contains(said, part) {
				t.Errorf("%s does not read %q", role, part)
			}
		}
		for _, state := range []string{"Von selbst angehalten", "Wartet auf Freigabe"} {
			if n := strings.Count(said, state); n != 2 {
				t.Errorf("%s reads %q %d times, want it of the rollout and of its release", role, state, n)
			}
		}
		if may { // what is older than what runs is not begun, and why is said
			if strings.Contains(page.body, older) || !strings.Contains(said, "Älter als 1.1.0") {
				t.Errorf("%s is offered to begin 0.9.0 while 1.1.0 runs", role)
			}
			if res := w.signedIn(role).get(older); res.StatusCode != http.StatusConflict || !strings.Contains(text(res.body), "Nur ein signierter Rückweg") {
				t.Errorf("the page that begins 0.9.0 as %s = %d", role, res.StatusCode)
			}
			if res := w.signedIn(role).post(older, url.Values{"reason": {"falsche Zeile"}}); res.StatusCode != http.StatusConflict {
				t.Errorf("beginning 0.9.0 as %s = %d, want 409", role, res.StatusCode)
			}
		}
		for _, act := range acts {
			if strings.Contains(page.body, act) != may {
				t.Errorf("%s is offered %s: %v, want %v", role, act, !may, may)
			}
			if code := w.signedIn(role).get(act).StatusCode; (code == http.StatusOK) != may || !may && code != http.StatusForbidden {
				t.Errorf("GET %s as %s = %d", act, role, code)
			}
		}
		page = w.signedIn(role).get("/rollouts/" + runs)
		for _, act := range []string{"/pause", "/abort", "/promote", "/rollback", "/parts"} {
			if strings.Contains(page.body, "/rollouts/"+runs+act+`"`) != may {
				t.Errorf("%s is offered %s of a rollout: %v, want %v", role, act, !may, may)
			}
		}
		if code := w.signedIn(role).get("/rollouts/" + runs + "/abort").StatusCode; (code == http.StatusOK) != may || !may && code != http.StatusForbidden {
			t.Errorf("the page that ends a rollout as %s = %d", role, code)
		}
		// Of the urgent one only another person of the role release can be the second.
		if page := w.signedIn(role).get("/rollouts/" + waits); strings.Contains(page.body, "/approve") != (role == "release") {
			t.Errorf("%s is offered to approve: %v", role, role != "release")
		}
		for _, act := range []string{"pause", "abort", "note", "resume", "promote", "rollback", "parts", "parts/free", "approve"} {
			if may {
				continue
			}
			if res := w.signedIn(role).post("/rollouts/"+runs+"/"+act, url.Values{"reason": {"das darf ich nicht"}}); res.StatusCode != http.StatusForbidden {
				t.Errorf("POST %s as %s = %d, want 403", act, role, res.StatusCode)
			}
		}
	}
	// Who sees some owners looks, and runs nothing.
	w.user("ahorn", access.RoleRelease, []string{w.ownerID("Landkreis Ahorn")})
	if page := w.signedIn("ahorn").get("/rollouts/" + runs); page.StatusCode != http.StatusOK || strings.Contains(page.body, "/pause") {
		t.Errorf("who sees one owner = %d, is offered to pause: %v", page.StatusCode, strings.Contains(page.body, "/pause"))
	}
	if res := w.signedIn("ahorn").post("/rollouts/"+runs+"/pause", url.Values{}); res.StatusCode != http.StatusForbidden {
		t.Errorf("POST pause by who sees one owner = %d, want 403", res.StatusCode)
	}
	if res := w.signedIn("read").get("/rollouts/none"); res.StatusCode != http.StatusNotFound {
		t.Errorf("no such rollout = %d, want 404", res.StatusCode)
	}
}

// TestRolloutByHand starts, stops, mends and ends a rollout by the forms of its pages.
func TestRolloutByHand(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := storesPaced(t, d, quietLog, lookRings).serve()
		w.fill(30)
		releases := w.releases()
		b := w.signedIn("release")
		begin := "/releases/" + releases["1.1.0"] + "/rollout"
		if res := b.post(begin, url.Values{"reason": {"ja"}}); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(res.body, `value="ja"`) {
			t.Errorf("started for a reason that is none = %d, want 422 with what was typed", res.StatusCode)
		}
		res := b.post(begin, url.Values{"reason": {"neue Version für alle"}})
		at, _, _ := strings.Cut(res.Header.Get("Location"), "?")
		if res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(at, "/rollouts/") {
			t.Fatalf("started = %d to %q", res.StatusCode, at)
		}
		w.must(w.rollouts.Care(t.Context()))
		page := func(what string, parts ...string) string {
			t.Helper()
			res := b.get(at)
			for _, part := range parts {
				if !strings.Contains(text(res.body), part) {
					t.Errorf("%s: the page (%d) lacks %q", what, res.StatusCode, part)
				}
			}
			return res.body
		}
		act := func(what, form string, typed url.Values, done string) {
			t.Helper()
			w.advance(time.Minute)
			if res := b.decides(at+form, typed); res.StatusCode != http.StatusSeeOther || !strings.HasSuffix(res.Header.Get("Location"), "done="+done) {
				t.Errorf("%s = %d to %q, want done=%s", what, res.StatusCode, res.Header.Get("Location"), done)
			}
		}
		page("begun", "Stufe 1 von 2 läuft", "neue Version für alle", "Weiter zu Stufe 2, wenn", "1·h vergangen sind")
		act("paused", "/pause", nil, "rollout_paused")
		body := page("paused", "Angehalten", "noch ohne Begründung", "Möchten Sie die Begründung nachtragen?")
		if strings.Contains(body, at+`/pause"`) || !strings.Contains(body, at+`/resume"`) {
			t.Error("what is paused is offered to be paused, or not to be resumed")
		}
		act("paused again", "/pause", nil, "rollout_moved")
		if res := b.post(at+"/note", url.Values{"reason": {"nix"}}); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(res.body, `value="nix"`) {
			t.Errorf("a reason that is none = %d, want 422 with what was typed", res.StatusCode)
		}
		act("said why", "/note", url.Values{"reason": {"Helpdesk fragt nach"}}, "rollout_noted")
		if body := page("said why", "Helpdesk fragt nach", "Begründung nachgetragen"); strings.Contains(body, "/note") {
			t.Error("who said why is asked why")
		}
		act("resumed", "/resume", nil, "rollout_resumed")
		for value, code := range map[string]int{"LIFEBOOK A3510": http.StatusSeeOther, "Amiga 500": http.StatusUnprocessableEntity} {
			w.advance(time.Minute)
			res := b.decides(at+"/parts", url.Values{"dimension": {"model"}, "value": {value}, "reason": {"Firmware fehlt"}})
			if res.StatusCode != code || code != http.StatusSeeOther && !strings.Contains(text(res.body), "Kein Gerät hat diesen Wert.") {
				t.Errorf("leaving out %s = %d, want %d", value, res.StatusCode, code)
			}
		}
		page("a part is left out", "Modell: LIFEBOOK A3510", "Firmware fehlt")
		act("let in", "/parts/free", url.Values{"dimension": {"model"}, "value": {"LIFEBOOK A3510"}}, "part_freed")
		if body := b.get(at).body; strings.Contains(body, `value="LIFEBOOK A3510"`) {
			t.Error("what was let in is still left out")
		}
		act("a ring that is not the next", "/promote", url.Values{"ring": {"7"}, "reason": {"schneller, bitte"}}, "rollout_moved")
		act("promoted", "/promote", url.Values{"ring": {"2"}, "reason": {"schneller, bitte"}}, "rollout_promoted")
		page("promoted", "Stufe 2 von 2 läuft", "schneller, bitte")
		act("no further ring", "/promote", url.Values{"ring": {"3"}, "reason": {"schneller, bitte"}}, "rollout_moved")
		w.advance(time.Minute)
		if res := b.decides(at+"/rollback", url.Values{"release": {releases["1.0.0"]}, "reason": {"startet nicht überall"}}); res.StatusCode != http.StatusBadRequest {
			t.Errorf("rolled back by what is not signed for it = %d, want 400", res.StatusCode)
		}
		res = b.decides(at+"/rollback", url.Values{"release": {releases["1.0.1"]}, "reason": {"startet nicht überall"}})
		back, _, _ := strings.Cut(res.Header.Get("Location"), "?")
		if res.StatusCode != http.StatusSeeOther || back == at || !strings.HasPrefix(back, "/rollouts/") {
			t.Errorf("rolled back = %d to %q", res.StatusCode, back)
		}
		page("rolled back", "Vorzeitig beendet", "Verteilung zurückgesetzt")
		at = back
		page("the way back", "Agent·1.0.1", "startet nicht überall")
		// It ends for good: the page says what that means, and the reason comes first.
		if body := page("to be ended", "Verteilung beenden"); strings.Contains(body, `action="`+at+`/abort"`) || !strings.Contains(body, `href="`+at+`/abort"`) {
			t.Error("what has no way back is done by one press, or is not offered")
		}
		end := b.get(at + "/abort")
		for _, part := range []string{"Verteilung von Agent·1.0.1 beenden", "Endet endgültig.", "Noch kein Gerät hat die Version.", "Kein Gerät ist unterwegs.", "29 Geräte bekommen sie hiermit nicht mehr.", "Abbrechen"} {
			if !strings.Contains(text(end.body), part) {
				t.Errorf("the page that ends a rollout (%d) lacks %q", end.StatusCode, part)
			}
		}
		for _, reason := range []string{"", "ja"} {
			if res := b.post(at+"/abort", url.Values{"reason": {reason}}); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(res.body, `value="`+reason+`"`) {
				t.Errorf("ended for %q = %d, want 422 with what was typed", reason, res.StatusCode)
			}
		}
		act("aborted", "/abort", url.Values{"reason": {"doch nicht nötig"}}, "rollout_aborted")
		if body := page("aborted", "Vorzeitig beendet", "doch nicht nötig"); strings.Contains(body, at+"/note") {
			t.Error("who said why is asked why")
		}
		if res := b.get(at + "/abort"); res.StatusCode != http.StatusSeeOther || !strings.HasSuffix(res.Header.Get("Location"), "done=rollout_moved") {
			t.Errorf("the page that ends what is over = %d to %q", res.StatusCode, res.Header.Get("Location"))
		}
		res = b.post("/releases/"+releases["1.0.1"]+"/block", url.Values{"reason": {"zu viele Fragen"}})
		if res.StatusCode != http.StatusSeeOther || !strings.Contains(text(b.get("/updates").body), "Gesperrt heute") {
			t.Errorf("blocked = %d", res.StatusCode)
		}
	})
}

// was is how a page's form knew its rollout.
func (b *browser) was(page string) string {
	if m := regexp.MustCompile(`name="was" value="([^"]+)"`).FindStringSubmatch(b.get(page).body); m != nil {
		return m[1]
	}
	return ""
}

// decides sends a form about a rollout, as the page that has it shows it now.
func (b *browser) decides(form string, typed url.Values) answer {
	page := strings.TrimSuffix(form, "/parts/free") // that one has no page of its own
	typed = maps.Clone(typed)
	if typed == nil {
		typed = url.Values{}
	}
	typed.Set("was", b.was(page))
	return b.post(form, typed)
}

// TestStaleFormsOfARollout: a form decides about the rollout that it showed. It ends no
// halt that came after it, and nothing that another person decided since; who pauses
// stops it whatever it is.
func TestStaleFormsOfARollout(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := storesPaced(t, d, quietLog, lookRings).serve()
		w.fill(30)
		w.releases()
		id := w.began(w.releaseID("1.1.0"))
		at, ctx, other := "/rollouts/"+id, t.Context(), releaser("m.sommer")
		b := w.signedIn("release")
		decide := func(done func(context.Context, access.Caller, string, string) error) {
			t.Helper()
			w.advance(time.Minute)
			w.must(done(ctx, other, id, "das sehe ich anders"))
		}
		halt := func() {
			t.Helper()
			w.advance(time.Minute)
			w.must(w.exec(`UPDATE rollouts SET state = 'halted', cause = 'lost', revision = revision + 1 WHERE id = '` + id + `'`))
		}
		decide(w.rollouts.Pause)
		paused := b.was(at) // resuming is one press
		halt()
		halted := b.was(at + "/resume")
		decide(w.rollouts.Resume)
		running := b.was(at + "/abort")
		halt()
		for form, was := range map[string]string{"/resume": paused, "/resume?": halted, "/abort": running, "/parts": running, "/parts/free": running, "/rollback": running, "/promote": running, "/approve": ""} {
			typed := url.Values{"was": {was}, "reason": {"ich sah etwas anderes"}, "dimension": {"model"}, "value": {"LIFEBOOK A3510"}, "ring": {"2"}, "release": {w.releaseID("1.0.1")}}
			res := b.post(at+strings.TrimSuffix(form, "?"), typed)
			if to := res.Header.Get("Location"); res.StatusCode != http.StatusSeeOther || to != at+"?done=rollout_moved" {
				t.Errorf("%s as it was before = %d to %q", form, res.StatusCode, to)
			}
		}
		if r, err := w.rollouts.Rollout(ctx, other, id); err != nil || r.State != rollout.Halted || len(r.Evidence.Blocked) > 0 {
			t.Fatalf("it is %s, %v, without %v; want it halted as it was", r.State, err, r.Evidence.Blocked)
		}
		if !strings.Contains(text(b.get(at+"?done=rollout_moved").body), "nicht mehr so, wie sie auf der Seite stand") {
			t.Error("the page does not say why nothing was done")
		}
		if res := b.decides(at+"/resume", url.Values{"reason": {"jetzt gesehen"}}); !strings.HasSuffix(res.Header.Get("Location"), "done=rollout_resumed") {
			t.Errorf("resumed as it is = %d to %q", res.StatusCode, res.Header.Get("Location"))
		}
		if res := b.post(at+"/pause", url.Values{"was": {paused}}); !strings.HasSuffix(res.Header.Get("Location"), "done=rollout_paused") {
			t.Errorf("paused from an old page = %d to %q", res.StatusCode, res.Header.Get("Location"))
		}
	})
}

// TestRolloutDevices lists the devices by why they are not current.
func TestRolloutDevices(t *testing.T) {
	w := storesPaced(t, peopled(t), quietLog, lookRings).serve()
	ids := w.fill(120)
	runs, _, _ := w.rolled(ids)
	b := w.signedIn("read")
	seen := map[string]int{}
	row := regexp.MustCompile(`data-open href="/devices/([^"]+)"`)
	pages := 0
	for at := "/rollouts/" + runs + "/devices"; at != ""; pages++ {
		page := b.get(at)
		for _, m := range row.FindAllStringSubmatch(page.body, -1) {
			seen[m[1]]++
		}
		at = ""
		if next := regexp.MustCompile(`rel="next" href="([^"]+)"`).FindStringSubmatch(page.body); next != nil {
			at = strings.ReplaceAll(next[1], "&amp;", "&")
		}
	}
	if len(seen) != 120 || pages != 3 {
		t.Errorf("%d devices on %d pages, want 120 on 3", len(seen), pages)
	}
	for id, n := range seen {
		if n > 1 {
			t.Errorf("%s is listed %d times", id, n)
		}
	}
	waiting := b.get("/rollouts/" + runs + "/devices?why=waits")
	found := row.FindAllStringSubmatch(waiting.body, -1)
	if n := strings.Count(text(waiting.body), "von der Person am Gerät verschoben"); n == 0 || n != len(found) {
		t.Fatalf("%d of %d devices that wait were postponed", n, len(found))
	}
	said := ""
	for _, f := range found { // the page of a revoked device says nothing of updates
		if said = text(b.get("/devices/" + f[1]).body); !strings.Contains(said, "Das Gerät ist gesperrt") {
			break
		}
	}
	for _, part := range []string{"Das Gerät hat 1.1.0 angeboten bekommen und wartet noch.", "Grund: von der Person am Gerät verschoben.", "2 von 4"} {
		if !strings.Contains(said, part) {
			t.Errorf("the page of a device that waits lacks %q: %s", part, said)
		}
	}
	for path, code := range map[string]int{"?why=kaputt": http.StatusBadRequest, "?after=x": http.StatusBadRequest, "?why=drift": http.StatusOK} {
		if res := b.get("/rollouts/" + runs + "/devices" + path); res.StatusCode != code {
			t.Errorf("GET %s = %d, want %d", path, res.StatusCode, code)
		}
	}
	if !strings.Contains(text(b.get("/rollouts/"+runs+"/devices?why=drift").body), "Kein Gerät hat diesen Zustand") {
		t.Error("an empty list does not say so")
	}
	w.user("topas", access.RoleRead, []string{w.ownerID("Stadt Topas")})
	if page := w.signedIn("topas").get("/rollouts/" + runs + "/devices"); strings.Contains(page.body, "Landkreis Ahorn") || !strings.Contains(page.body, "Stadt Topas") {
		t.Error("the list shows devices of other owners")
	}
}

// TestHours: when devices of an owner may begin is changed by who may, and recorded.
func TestHours(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := storesOn(t, d, quietLog).serve()
		w.importSchools()
		ahorn := w.ownerID("Landkreis Ahorn")
		at := "/owners/" + ahorn + "/updates"
		b := w.signedIn("admin")
		for _, wrong := range []struct{ path, field, value, says string }{
			{"", "from", "25:00", "Bitte eine Uhrzeit wie 07:30."},
			{"", "to", "06:00", "Das Ende liegt vor dem Beginn."},
			{"", "rate", "viel", "Bitte eine Zahl von 0,1 bis 100000."},
			{"", "parallel", "0", "Bitte eine ganze Zahl von 1 bis 1000."},
			{"/days", "from", "", "Bitte einen Tag wählen."},
			{"/days", "to", "2026-11-01", "Der letzte Tag liegt vor dem ersten."},
			{"/days", "to", "2027-12-01", "Höchstens 92 Tage am Stück."},
			{"/days", "school", "gibtesnicht", "So heißt keine Schule, oder mehrere."},
			{"/days", "school", "S0101", "Diese Schule gehört zu einem anderen Schulträger."},
		} {
			typed := url.Values{"from": {"07:45"}, "to": {"14:00"}, "rate": {"2,5"}, "parallel": {"3"}}
			if wrong.path != "" {
				typed = url.Values{"kind": {"closed"}, "from": {"2026-12-07"}, "to": {"2026-12-11"}, "name": {"Abitur"}}
			}
			typed.Set(wrong.field, wrong.value)
			if res := b.post(at+wrong.path, typed); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text(res.body), wrong.says) {
				t.Errorf("%s %s=%s: %d, want 422 with %q", wrong.path, wrong.field, wrong.value, res.StatusCode, wrong.says)
			}
		}
		for path, typed := range map[string]url.Values{
			"":      {"from": {"07:45"}, "to": {"14:00"}, "rate": {"2,5"}, "parallel": {"3"}},
			"/days": {"kind": {"free"}, "from": {"2026-12-07"}, "school": {"S0001"}, "name": {"Fasching"}},
		} {
			if res := b.post(at+path, typed); res.StatusCode != http.StatusSeeOther {
				t.Errorf("POST %s = %d", path, res.StatusCode)
			}
		}
		got, err := w.rollouts.Window(t.Context(), operator, ahorn)
		w.must(err)
		if got.From != 7*60+45 || got.To != 14*60 || got.Rate != 312_500 || got.Parallel != 3 || len(got.Days) != 1 || got.Days[0].To != "2026-12-07" || got.Days[0].School != w.schoolID("Landkreis Ahorn", "S0001") {
			t.Errorf("kept %+v", got)
		}
		if page := b.get(at); !strings.Contains(page.body, `value="2,5"`) || !strings.Contains(text(page.body), "Zuletzt geändert") || !strings.Contains(text(page.body), "Fasching") {
			t.Error("the page does not show what was kept, or by whom")
		}
		for _, role := range []string{"support", "read", "release"} {
			page := w.signedIn(role).get(at)
			if !strings.Contains(text(page.body), "07:45 bis 14:00 Uhr") || strings.Contains(page.body, `action="`+at) {
				t.Errorf("%s reads %d, and is offered a form: %v", role, page.StatusCode, strings.Contains(page.body, `action="`+at))
			}
			for _, path := range []string{"", "/days", "/days/remove"} {
				if res := w.signedIn(role).post(at+path, url.Values{"from": {"08:00"}, "to": {"09:00"}, "id": {got.Days[0].ID}}); res.StatusCode != http.StatusForbidden {
					t.Errorf("POST %s as %s = %d, want 403", path, role, res.StatusCode)
				}
			}
		}
		w.user("kiefer", access.RoleAdmin, []string{w.ownerID("Landkreis Kiefer")})
		if res := w.signedIn("kiefer").get(at); res.StatusCode != http.StatusNotFound {
			t.Errorf("the hours of another owner = %d, want 404", res.StatusCode)
		}
		if res := w.signedIn("kiefer").post(at, url.Values{"from": {"08:00"}, "to": {"09:00"}}); res.StatusCode != http.StatusNotFound {
			t.Errorf("POST to another owner = %d, want 404", res.StatusCode)
		}
		if res := b.post(at+"/days/remove", url.Values{"id": {got.Days[0].ID}}); res.StatusCode != http.StatusSeeOther {
			t.Errorf("removed = %d", res.StatusCode)
		}
		if got, err := w.rollouts.Window(t.Context(), operator, ahorn); err != nil || len(got.Days) != 0 {
			t.Errorf("after it was removed: %+v, %v", got.Days, err)
		}
	})
}

// TestRolloutLive: the page's stream sends each cell that changed, and says how many
// decisions the page does not know; who signs out hears no more.
func TestRolloutLive(t *testing.T) {
	w := storesPaced(t, peopled(t), quietLog, lookRings).serve()
	ids := w.fill(30)
	runs := w.began(w.releases()["1.1.0"])
	for _, id := range ids {
		owner, err := w.fleet.Device(t.Context(), operator, id)
		w.must(err)
		w.must(w.rollouts.SetWindow(t.Context(), operator, rollout.Window{Owner: owner.Owner}))
	}
	r, err := w.rollouts.Rollout(t.Context(), operator, runs)
	w.must(err)
	b := w.signedIn("read")
	if res := b.get("/rollouts/none/live", "Accept", "text/event-stream"); res.StatusCode != http.StatusNotFound {
		t.Errorf("the stream of no rollout = %d, want 404", res.StatusCode)
	}
	next, end := b.stream(t, "/rollouts/"+runs+"/live?after="+r.Decisions[0].ID)
	shown := map[string]string{}
	await := func(event, part string) {
		t.Helper()
		late := time.AfterFunc(patience, end)
		defer late.Stop()
		for data, ok := shown[event]; !ok || !strings.Contains(data, part); data, ok = shown[event] {
			name, data, ok := next()
			if !ok {
				t.Fatalf("the stream ended before %s with %q, it has %q", event, part, shown[event])
			}
			shown[name] = data
		}
	}
	await("news", `data-n="0"`)
	await("r1.ok", "0")
	await("r1.whys", "\u00a0") // a word and its number
	w.sweep(ids, func(_ int, o *hmpb.Offer) *hmpb.Update { return committed(o) })
	if r, err = w.rollouts.Rollout(t.Context(), operator, runs); err != nil || r.Rings[0].OK < 5 {
		t.Fatalf("%d devices took it, %v", r.Rings[0].OK, err)
	}
	await("r1.ok", strconv.FormatInt(r.Rings[0].OK, 10))
	await("r1.whys", "Alle aktuell")
	var counted struct {
		Devices int64
		Counts  map[string]int64
		Rings   []struct {
			Ring   int64
			Counts map[string]int64
		}
	}
	w.api(w.token("counts", access.RoleRead, nil), "/api/v1/rollouts/"+runs+"/compliance", &counted)
	placed := int64(0)
	for i, ring := range counted.Rings {
		for _, n := range ring.Counts {
			placed += n
		}
		if ring.Ring != int64(i+1) || i >= len(r.Rings) {
			t.Errorf("ring %d of %d is called %d", i+1, len(r.Rings), ring.Ring)
		}
	}
	if len(counted.Rings) < 2 || counted.Counts["revoked"] != 1 || placed != counted.Devices-1 || counted.Rings[0].Counts["current"] != r.Rings[0].OK || counted.Rings[1].Counts["ring"] == 0 {
		t.Errorf("words by ring: %+v, want those of all devices but the revoked one, %d current in the first and some to come in the second", counted, r.Rings[0].OK)
	}
	w.advance(time.Minute)
	w.must(w.rollouts.Pause(t.Context(), operator, runs, "für das Beispiel"))
	await("state", "Angehalten")
	await("news", `data-n="1"`)
	b.post("/sign-out", nil)
	await("end", "")
}

// stream opens a stream of a page and gives its events one by one, until end.
func (b *browser) stream(t *testing.T, path string) (next func() (name, data string, ok bool), end func()) {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	t.Cleanup(end)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.w.url+path, nil)
	b.w.must(err)
	req.Header.Set("Accept", "text/event-stream")
	res, err := b.c.Do(req)
	b.w.must(err)
	t.Cleanup(func() { res.Body.Close() })
	if res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("GET %s = %d %s", path, res.StatusCode, res.Header.Get("Content-Type"))
	}
	lines := bufio.NewScanner(res.Body)
	return func() (name, data string, ok bool) {
		for lines.Scan() {
			field, value, _ := strings.Cut(lines.Text(), ": ")
			switch field {
			case "event":
				name = value
			case "data":
				data = value
			case "":
				if name != "" {
					return name, data, true
				}
			}
		}
		return "", "", false
	}, end
}

// TestRolloutByKeyboard: two persons take a release over more than a tenth of the
// devices, each by keys alone, and one of them stops it with one press; what changed
// meanwhile was told in place.
func TestRolloutByKeyboard(t *testing.T) {
	need.Plain(t)
	w := storesPaced(t, peopled(t), quietLog, rollout.Pace{Rings: []rollout.Ring{{Devices: 20}, {Millions: rollout.Whole}}}).serve()
	ids := w.fill(120)
	releases := w.releases()
	owners, err := w.fleet.Owners(t.Context(), operator)
	w.must(err)
	for _, o := range owners {
		w.must(w.rollouts.SetWindow(t.Context(), operator, rollout.Window{Owner: o.ID}))
	}
	w.user("release2", access.RoleRelease, nil)
	sends := func(tb *tab, reason, then string) {
		t.Helper()
		tb.wait(`!!document.querySelector("#f-reason")`)
		tb.do(chromedp.Focus("#f-reason"))
		tb.key(reason)
		tb.key(enter)
		tb.wait(then)
		tb.complete() // the address is the new page's before its document is
	}
	first := w.tab(t, looks{lang: "de", theme: "light", as: "release"})
	first.open("/devices")
	first.goes("a", "/updates")
	first.do(chromedp.Focus(`a[href="/releases/` + releases["1.1.0"] + `/rollout"]`))
	first.key(enter)
	sends(first, "ja", `document.querySelector("#f-reason")?.getAttribute("aria-invalid") === "true"`)
	first.accessible()
	first.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#f-reason").value = ""`))
	sends(first, "neue Version für alle", `location.pathname.startsWith("/rollouts/")`)
	at := eval[string](first, `location.pathname`)
	w.advance(time.Minute)
	w.must(w.rollouts.Care(t.Context()))
	first.open(at)
	first.wait(`document.querySelector("[data-live]")?.dataset.live === "on"`)

	// What devices tell is seen in place, and nothing moves.
	first.do(chromedp.Focus(`a[href="` + at + `/promote"]`))
	first.do(chromedp.Evaluate[chromedp.Void](`window.place = document.querySelector('[sse-swap="r1.ok"]')`))
	w.sweep(ids, func(_ int, o *hmpb.Offer) *hmpb.Update { return committed(o) })
	r, err := w.rollouts.Rollout(t.Context(), operator, strings.TrimPrefix(at, "/rollouts/"))
	w.must(err)
	first.wait(`document.querySelector('[sse-swap="r1.ok"]').textContent === "` + strconv.FormatInt(max(1, r.Rings[0].OK), 10) + `"`)
	if !eval[bool](first, `window.place === document.querySelector('[sse-swap="r1.ok"]') && document.activeElement.matches("a[href$='/promote']")`) {
		t.Error("the number was not changed in place, or the focus moved")
	}
	first.wait(`document.querySelector('[sse-swap="r1.bar"] .seg.ok')?.getBoundingClientRect().width > 50`)
	first.still()

	first.key(enter)
	sends(first, "Ferien sind vorbei", `location.search === "?done=rollout_asked"`)
	if !eval[bool](first, `document.querySelector("main").textContent.includes("release bittet um Stufe 2")`) {
		t.Error("who asked does not read that it waits")
	}
	if r, err := w.rollouts.Rollout(t.Context(), operator, strings.TrimPrefix(at, "/rollouts/")); err != nil || r.Ring != 1 {
		t.Fatalf("one person brought it to ring %d, %v", r.Ring, err)
	}
	w.advance(time.Minute)
	second := w.tab(t, looks{lang: "de", theme: "dark", as: "release2"})
	second.open(at)
	second.accessible()
	second.shot("rollout-asked")
	second.do(chromedp.Focus(`.note a[href="` + at + `/promote"]`))
	second.key(enter)
	sends(second, "gesehen und einverstanden", `location.search === "?done=rollout_promoted"`)
	second.clean()

	// The first hears of it where nothing moves, loads it by a key and stops it with one press.
	first.wait(`document.querySelector('a.news')?.dataset.n === "1"`)
	first.still()
	first.press(".")
	first.wait(`!location.search && document.querySelector("main").textContent.includes("Stufe 2 von 2 läuft")`)
	w.advance(time.Minute)
	first.do(chromedp.Focus(`form[action="` + at + `/pause"] button`))
	first.key(enter)
	first.wait(`location.search === "?done=rollout_paused"`)
	first.complete()
	if r, err := w.rollouts.Rollout(t.Context(), operator, strings.TrimPrefix(at, "/rollouts/")); err != nil || r.State != rollout.Paused || r.Ring != 2 {
		t.Errorf("after one press it is %s in ring %d, %v", r.State, r.Ring, err)
	}
	first.accessible()
	first.shot("rollout-paused")
	w.advance(time.Minute)
	first.do(chromedp.Focus("#why"))
	first.key("Helpdesk fragt nach")
	first.key(enter)
	first.wait(`location.search === "?done=rollout_noted"`)
	first.complete()
	first.noSideways()
	first.clean()
}

// The way back that a rollout's page offers begins, also where it leads to the version that
// the fleet had before.
func TestRollBackToWhatTheFleetHad(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := storesPaced(t, d, quietLog, lookRings).serve()
		w.fill(30)
		ctx := t.Context()
		repo, dir := tufrepo.NewFleet(w.clock), t.TempDir()
		publish := func(version, back string) {
			repo.Release(manifest.RoleStable, manifest.Release{Version: version, OS: "windows", RollbackOf: back}, []byte("program "+version))
			w.must(repo.WriteTo(dir))
			_, err := w.rollouts.Import(ctx, operator, dir, repo.Root())
			w.must(err)
		}
		publish("1.0.0", "")
		publish("1.1.0", "")
		first, err := w.rollouts.Start(ctx, releaser("m.sommer"), w.releaseID("1.0.0"), "die erste Version")
		w.must(err)
		w.must(w.rollouts.Care(ctx))
		w.must(w.exec(`UPDATE rollouts SET state = 'done'`))
		b := w.signedIn("release")
		const nobody = "kein Gerät hat Erfolg gemeldet"
		if page := text(b.get("/rollouts/" + first).body); !strings.Contains(page, nobody) {
			t.Error("the page of a rollout of which no device told anything does not say so")
		}
		w.must(w.exec(`UPDATE rollouts SET counts = '[{"ok":1}]'`))
		if page := text(b.get("/rollouts/" + first).body); strings.Contains(page, nobody) {
			t.Error("the page says that no device told of success, and one did")
		}
		up, err := w.rollouts.Start(ctx, releaser("m.sommer"), w.releaseID("1.1.0"), "die neue Version")
		w.must(err)
		w.must(w.rollouts.Care(ctx))
		w.advance(time.Hour)
		publish("1.0.0", "1.1.0")
		if page := b.get("/rollouts/" + up); !strings.Contains(page.body, up+"/rollback") {
			t.Error("the page does not offer the way back")
		}
		res := b.decides("/rollouts/"+up+"/rollback", url.Values{"release": {w.releaseID("1.0.0")}, "reason": {"startet nicht überall"}})
		if at := res.Header.Get("Location"); res.StatusCode != http.StatusSeeOther || !strings.Contains(at, "rollout_started") {
			t.Errorf("the way back on the page = %d to %s, want a rollout that was started", res.StatusCode, at)
		}
	})
}
