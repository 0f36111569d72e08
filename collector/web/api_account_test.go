package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
)

// TestAPIForAPerson: somebody signs in to the API as to the pages, acts under his own
// name, and keeps his account as its page does.
func TestAPIForAPerson(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := storesOn(t, d, quietLog).serve()
		ids := w.fill(3)
		post := func(bearer, path, body string) answer {
			t.Helper()
			return w.browser().do(http.MethodPost, path, strings.NewReader(body), "Authorization", "Bearer "+bearer, "Content-Type", "application/json")
		}
		want := func(what string, res answer, code int, part string) {
			t.Helper()
			if res.StatusCode != code || !strings.Contains(res.body, part) {
				t.Errorf("%s = %d %s, want %d with %q", what, res.StatusCode, res.body, code, part)
			}
		}
		want("a wrong password", post("", "/api/v1/sign-in", `{"login":"admin","password":"falsch"}`), http.StatusUnauthorized, "problem:sign-in-refused")
		want("no account", post("", "/api/v1/sign-in", `{"login":"niemand","password":"falsch"}`), http.StatusUnauthorized, "problem:sign-in-refused")
		want("nothing", post("", "/api/v1/sign-in", `{"login":"admin"}`), http.StatusBadRequest, `"field":"login"`)

		first, firstID := w.signIn(t, "admin")
		second, secondID := w.signIn(t, "admin")
		page := w.signedIn("admin")
		want("a label", post(first, "/api/v1/devices/"+ids[0]+"/labels", `{"label":"Rückruf"}`), http.StatusOK, "Rückruf")
		u, err := w.access.User(t.Context(), operator, "admin")
		w.must(err)
		entries, err := w.access.AuditLog(t.Context(), operator, audit.Filter{Action: "device.labelled"})
		w.must(err)
		if len(entries) != 1 || entries[0].Actor != "user:"+u.ID {
			t.Errorf("the record says %+v, want that the person did it", entries)
		}
		var sessions struct {
			Items []struct {
				ID   string
				Here bool
			}
			Total int
		}
		w.api(first, "/api/v1/account/sessions", &sessions)
		here := ""
		for _, s := range sessions.Items {
			if s.Here {
				here += s.ID
			}
		}
		if sessions.Total != 3 || here != firstID {
			t.Errorf("sessions: %+v, want three, this one %s", sessions, firstID)
		}
		want("ending one", post(first, "/api/v1/account/sessions/"+secondID+"/end", ""), http.StatusOK, `"total":2`)
		want("the ended one", w.api(second, "/api/v1/devices", nil), http.StatusUnauthorized, "unauthenticated")
		want("ending the others", post(first, "/api/v1/account/sessions/end", ""), http.StatusOK, `"total":1`)
		if res := page.get("/devices"); res.StatusCode != http.StatusSeeOther {
			t.Errorf("the page's session after that = %d, want the sign-in page", res.StatusCode)
		}
		want("a wrong old password", post(first, "/api/v1/account/password", `{"old":"falsch","new":"Rote Laternen am Fluss"}`), http.StatusBadRequest, `"field":"old"`)
		want("a weak new password", post(first, "/api/v1/account/password", `{"old":"`+password+`","new":"kurz"}`), http.StatusBadRequest, `"field":"new"`)
		second, _ = w.signIn(t, "admin")
		want("a new password", post(first, "/api/v1/account/password", `{"old":"`+password+`","new":"Rote Laternen am Fluss"}`), http.StatusOK, `"name":"admin"`)
		want("another session after that", w.api(second, "/api/v1/account", nil), http.StatusUnauthorized, "unauthenticated")
		want("the old password", post("", "/api/v1/sign-in", `{"login":"admin","password":"`+password+`"}`), http.StatusUnauthorized, "sign-in-refused")
		want("signing out", post(first, "/api/v1/sign-out", ""), http.StatusOK, firstID)
		want("signed out", w.api(first, "/api/v1/account", nil), http.StatusUnauthorized, "unauthenticated")

		// What is a person's is not a program's.
		token := w.token("programm", access.RoleAdmin, nil)
		want("a token's account", w.api(token, "/api/v1/account", nil), http.StatusOK, `"kind":"token"`)
		for _, path := range []string{"/api/v1/account/choices", "/api/v1/account/sessions"} {
			want("a token: "+path, w.api(token, path, nil), http.StatusForbidden, "person-needed")
		}
		for path, body := range map[string]string{"/api/v1/account/choices": `{"theme":"dark"}`, "/api/v1/account/password": `{"old":"a","new":"b"}`, "/api/v1/account/sessions/end": "", "/api/v1/account/sessions/x/end": "", "/api/v1/sign-out": ""} {
			res := post(token, path, body)
			want("a token: "+path, res, http.StatusForbidden, "person-needed")
			if !strings.Contains(res.body, "POST /api/v1/sign-in") {
				t.Errorf("a token: %s does not say how to get a session: %s", path, res.body)
			}
		}
		// A scope and a role bind a person as on the pages.
		w.user("topas", access.RoleRead, []string{w.ownerID("Stadt Topas")})
		scoped, _ := w.signIn(t, "topas")
		want("a foreign device", w.api(scoped, "/api/v1/devices/"+ids[0], nil), http.StatusNotFound, "not-found")
		want("what the role may not", post(scoped, "/api/v1/devices/"+ids[0]+"/labels", `{"label":"x"}`), http.StatusForbidden, "forbidden")
		w.must(w.access.DisableUser(t.Context(), operator, "topas"))
		want("a disabled account", w.api(scoped, "/api/v1/devices", nil), http.StatusUnauthorized, "unauthenticated")
		// Wrong passwords slow down the account, as on the page.
		var slow answer
		for range 30 {
			if slow = post("", "/api/v1/sign-in", `{"login":"support","password":"falsch"}`); slow.StatusCode == http.StatusTooManyRequests {
				break
			}
		}
		want("many wrong passwords", slow, http.StatusTooManyRequests, "rate-limited")
		if slow.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	})
}

// TestChoicesOfAPerson: what somebody chose by the API is what a browser begins with
// in which nothing was chosen, and nothing else.
func TestChoicesOfAPerson(t *testing.T) {
	w := newWorld(t)
	w.fill(3)
	secret, _ := w.signIn(t, "read")
	set := func(body string) answer {
		t.Helper()
		return w.browser().do(http.MethodPost, "/api/v1/account/choices", strings.NewReader(body), "Authorization", "Bearer "+secret, "Content-Type", "application/json")
	}
	if res := set(`{"language":"en","theme":"dark","keys":"off","columns":["model","serial"]}`); res.StatusCode != http.StatusOK || !strings.Contains(res.body, `"language":"en","theme":"dark","keys":"off","columns":["model","serial"]`) {
		t.Fatalf("choosing = %d %s", res.StatusCode, res.body)
	}
	page := w.signedIn("read").get("/devices").body
	if !strings.Contains(page, `<html lang="en" data-theme="dark" data-keys="off">`) || !strings.Contains(page, "Serial") || strings.Contains(page, ">Battery<") {
		t.Errorf("a new browser shows none of it: %.600s", page)
	}
	// A browser in which something was chosen keeps that.
	b := w.browser()
	b.post("/preferences", url.Values{"lang": {"de"}, "theme": {"light"}, "keys": {"on"}, "back": {"/sign-in"}})
	b.post("/sign-in", url.Values{"name": {"read"}, "password": {password}, "next": {"/devices"}})
	if page := b.get("/devices").body; !strings.Contains(page, `<html lang="de" data-theme="light">`) {
		t.Errorf("what was chosen in the browser is gone: %.300s", page)
	}
	// What is missing stays, what is empty is forgotten; all of it or nothing.
	if res := set(`{"theme":"","columns":[]}`); !strings.Contains(res.body, `"language":"en","theme":null,"keys":"off","columns":[]`) {
		t.Errorf("forgetting = %d %s", res.StatusCode, res.body)
	}
	for field, body := range map[string]string{"language": `{"language":"fr","theme":"dark"}`, "theme": `{"theme":"bunt"}`, "keys": `{"keys":"ja"}`, "columns": `{"theme":"dark","columns":["farbe"]}`} {
		if res := set(body); res.StatusCode != http.StatusBadRequest || !strings.Contains(res.body, `"field":"`+field+`"`) {
			t.Errorf("%s = %d %s, want 400 about %s", body, res.StatusCode, res.body, field)
		}
	}
	if res := w.api(secret, "/api/v1/account/choices", nil); !strings.Contains(res.body, `"language":"en","theme":null,"keys":"off","columns":[]`) {
		t.Errorf("after refused changes: %s", res.body)
	}
	// The session of the API ends as others do.
	w.advance(13 * time.Hour)
	if res := w.api(secret, "/api/v1/account", nil); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("after 13 h without a call = %d, want 401", res.StatusCode)
	}
}
