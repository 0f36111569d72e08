package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/rollout"
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
