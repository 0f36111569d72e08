package web_test

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/rollout"
	"hausmeister/proto/manifest"
	"hausmeister/testenv/tufrepo"
)

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
		if body := page("to be ended", "Vorzeitig beenden"); strings.Contains(body, `action="`+at+`/abort"`) || !strings.Contains(body, `href="`+at+`/abort"`) {
			t.Error("what has no way back is done by one press, or is not offered")
		}
		end := b.get(at + "/abort")
		for _, part := range []string{"Verteilung von Agent·1.0.1 vorzeitig beenden", "Endet endgültig.", "Noch kein Gerät hat die Version.", "Kein Gerät ist unterwegs.", "29 Geräte bekommen sie hiermit nicht mehr.", "Abbrechen"} {
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
