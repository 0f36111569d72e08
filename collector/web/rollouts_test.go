package web_test

import (
	"net/http"
	"strings"
	"testing"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
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
		for who, bearer := range map[string]string{"who began it": first, "an administrator": admin, "a token": w.token("ci", access.RoleRelease, nil)} {
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
