package web_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"hausmeister/collector/access"
)

// TestPeoplePage: an account is made with a password that works, changed, and
// disabled; nobody does that to himself.
func TestPeoplePage(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	admin := w.signedIn("admin")
	owner := w.ownerID("Landkreis Kiefer")
	for what, form := range map[string]url.Values{
		"Diesen Namen gibt es schon.":              {"login": {"support"}, "role": {"read"}, "owners": {"*"}},
		"Nur Buchstaben, Ziffern":                  {"login": {"eva müller"}, "role": {"read"}, "owners": {"*"}},
		"Wählen Sie mindestens einen Schulträger.": {"login": {"eva"}, "role": {"read"}},
	} {
		if res := admin.post("/people", form); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text(res.body), what) {
			t.Errorf("%v: %d %s; want 422 and %q", form, res.StatusCode, text(res.body), what)
		}
	}
	for path, name := range map[string]string{"/people": "Anmeldename: Geben Sie einen Anmeldenamen ein.", "/tokens": "Name: Geben Sie einen Namen ein."} {
		res := admin.post(path, url.Values{"login": {" "}, "days": {"30"}})
		for _, part := range []string{name, "Rolle: Wählen Sie eine Rolle.", "Wählen Sie mindestens einen Schulträger."} {
			if res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text(res.body), part) {
				t.Errorf("POST %s with nothing = %d %s; want 422 and %q", path, res.StatusCode, text(res.body), part)
			}
		}
	}
	res := admin.post("/people", url.Values{"login": {"Eva"}, "role": {"support"}, "owners": {owner}})
	m := secretOnce.FindStringSubmatch(res.body)
	if res.StatusCode != http.StatusCreated || m == nil {
		t.Fatalf("POST /people = %d %s", res.StatusCode, text(res.body))
	}
	signIn := func(password string) int {
		return w.browser().post("/sign-in", url.Values{"name": {"eva"}, "password": {password}}).StatusCode
	}
	if code := signIn(m[1]); code != http.StatusSeeOther {
		t.Errorf("signing in with the password of the page = %d", code)
	}
	user, err := w.access.User(t.Context(), operator, "eva")
	w.must(err)
	page := "/people/" + user.ID
	if body := text(admin.get(page).body); !strings.Contains(body, "Landkreis Kiefer") || !strings.Contains(body, "in 1 Sitzung") {
		t.Errorf("the page says %s", body)
	}
	if res := admin.post(page+"/role", url.Values{"role": {"read"}, "owners": {"*"}}); res.Header.Get("Location") != page+"?done=role" {
		t.Errorf("setting the role = %d to %s", res.StatusCode, res.Header.Get("Location"))
	}
	if body := text(admin.get(page + "?done=role").body); !strings.Contains(body, "Gespeichert.") || !strings.Contains(body, "Alle Schulträger") || !strings.Contains(body, "nicht angemeldet") {
		t.Errorf("after setting the role: %s", body)
	}
	admin.post(page+"/disable", nil)
	if code := signIn(m[1]); code != http.StatusUnauthorized {
		t.Errorf("signing in to a disabled account = %d, want 401", code)
	}
	admin.post(page+"/enable", nil)
	fresh := secretOnce.FindStringSubmatch(admin.post(page+"/password", nil).body)
	if fresh == nil || fresh[1] == m[1] || signIn(m[1]) != http.StatusUnauthorized || signIn(fresh[1]) != http.StatusSeeOther {
		t.Errorf("a new password: %v; want it to work and the old one not", fresh)
	}
	self, err := w.access.User(t.Context(), operator, "admin")
	w.must(err)
	if res := admin.post("/people/"+self.ID+"/disable", nil); res.StatusCode != http.StatusForbidden || !strings.Contains(text(res.body), "Nicht am eigenen Konto") {
		t.Errorf("disabling oneself = %d %s", res.StatusCode, text(res.body))
	}
	for _, login := range []string{"support", "read"} {
		b := w.signedIn(login)
		for _, path := range []string{"/people", "/people/new", page, "/tokens/new", "/audit", "/audit.csv"} {
			if res := b.get(path); res.StatusCode != http.StatusForbidden {
				t.Errorf("GET %s as %s = %d, want 403", path, login, res.StatusCode)
			}
		}
		if body := text(b.get("/devices").body); strings.Contains(body, "Zugriff") || strings.Contains(body, "Protokoll") {
			t.Errorf("%s sees pages that are shut: %s", login, body)
		}
	}
}

// TestAccountPage: one's own password and sessions.
func TestAccountPage(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	here, there := w.signedIn("read"), w.signedIn("read")
	if res := here.post("/account/password", url.Values{"old": {"falsch"}, "new": {"etwas ganz anderes"}}); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text(res.body), "nicht Ihr bisheriges Passwort") {
		t.Errorf("a wrong password: %d %s", res.StatusCode, text(res.body))
	}
	if res := here.post("/account/password", url.Values{"old": {password}, "new": {"kurz"}}); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text(res.body), "Zu kurz") {
		t.Errorf("a short password: %d %s", res.StatusCode, text(res.body))
	}
	firefox := w.browser()
	firefox.post("/sign-in", url.Values{"name": {"read"}, "password": {password}}, "User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0")
	if body := text(here.get("/account").body); strings.Count(body, "heute Mo·23.11.2026, 10:30·Uhr") != 3 || strings.Count(body, "diese Sitzung") != 1 ||
		!strings.Contains(body, "Firefox, Linux heute Mo·23.11.2026, 10:30·Uhr Beenden Firefox, Linux, heute") || !strings.Contains(body, "anderer Browser heute") {
		t.Errorf("the page says %s", body)
	}
	// The administration tells them apart too, by the day, and ends one.
	admin, reader := w.signedIn("admin"), w.callerOf("read")
	res := admin.get("/people/" + reader.ID)
	if body := text(res.body); !strings.Contains(body, "Firefox, Linux heute heute Beenden") || strings.Contains(body, "10:30") {
		t.Errorf("the administration reads %s", body)
	}
	one := regexp.MustCompile(`name="session" value="([^"]+)">Beenden<span class="hide"> Firefox`).FindStringSubmatch(res.body)
	if one == nil {
		t.Fatal("the administration cannot end the session of the Firefox")
	}
	if res := admin.post("/people/"+reader.ID+"/sessions", url.Values{"session": {one[1]}}); res.StatusCode != http.StatusSeeOther {
		t.Errorf("ending one session = %d", res.StatusCode)
	}
	if res := firefox.get("/account"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("the ended session = %d, want the sign-in page", res.StatusCode)
	}
	if res := there.get("/account"); res.StatusCode != http.StatusOK {
		t.Errorf("the session beside the ended one = %d, want 200", res.StatusCode)
	}
	if body := text(here.get("/catalogue").body); !strings.Contains(body, "Browser und Betriebssystem, je ein Wort wie Firefox, Windows Eigene Sitzungen unterscheiden") {
		t.Error("the transparency page does not say what is kept of a session")
	}
	if res := here.post("/account/sessions", nil); res.StatusCode != http.StatusSeeOther {
		t.Errorf("ending the others = %d", res.StatusCode)
	}
	if res := there.get("/account"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("the other session = %d, want the sign-in page", res.StatusCode)
	}
	if res := here.post("/account/password", url.Values{"old": {password}, "new": {"etwas ganz anderes"}}); res.Header.Get("Location") != "/account?done=password" {
		t.Errorf("changing the password = %d %s", res.StatusCode, text(res.body))
	}
	if res := here.get("/account?done=password"); !strings.Contains(text(res.body), "Das neue Passwort gilt.") {
		t.Errorf("after the change: %d %s", res.StatusCode, text(res.body))
	}
}

// TestScopeIsSaid: nobody comes to see more because a program forgot to say whose
// data it meant, or named an owner that there is not.
func TestScopeIsSaid(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	admin, ahorn := w.token("admin", access.RoleAdmin, nil), w.ownerID("Landkreis Ahorn")
	send := func(token, path, body string) answer {
		return w.browser().do(http.MethodPost, path, strings.NewReader(body), "Authorization", "Bearer "+token, "Content-Type", "application/json")
	}
	first := send(admin, "/api/v1/users", `{"login":"eva","role":"support","owners":["`+ahorn+`","`+ahorn+`"]}`)
	if first.StatusCode != http.StatusCreated || !strings.Contains(first.body, `"owners":["`+ahorn) {
		t.Fatalf("making eva = %d %s", first.StatusCode, first.body)
	}
	eva := first.Header.Get("Location")
	for _, scope := range []string{`"role":"read","owners":["*"]`, `"role":"read","owners":["no such"]`, `"role":"read","owners":[""]`, `"role":"read","owners":["01890000-0000-7000-8000-000000000000"]`,
		`"role":"read","owners":[]`, `"role":"read","owners":["` + ahorn + `"],"all_owners":true`} {
		for path, body := range map[string]string{"/api/v1/users": `{"login":"max",` + scope + `}`, "/api/v1/tokens": `{"name":"max",` + scope + `}`, eva + "/role": `{` + scope + `}`} {
			if res := send(admin, path, body); res.StatusCode != http.StatusBadRequest || !strings.Contains(res.body, `"field":"owners"`) {
				t.Errorf("%s %s = %d %s, want 400 about owners", path, body, res.StatusCode, res.body)
			}
		}
	}
	for _, scope := range []string{``, `,"owners":null`, `,"all_owners":false`} {
		for path, body := range map[string]string{"/api/v1/users": `{"login":"max","role":"read"` + scope + `}`, "/api/v1/tokens": `{"name":"max","role":"read"` + scope + `}`} {
			if res := send(admin, path, body); res.StatusCode != http.StatusBadRequest || !strings.Contains(res.body, "all_owners") {
				t.Errorf("%s %s = %d %s, want 400 that names all_owners", path, body, res.StatusCode, res.body)
			}
		}
		if res := send(admin, eva+"/role", `{"role":"read"`+scope+`}`); res.StatusCode != http.StatusOK || !strings.Contains(res.body, `"owners":["`+ahorn+`"]`) {
			t.Errorf("role without owners (%q) = %d %s, want those of before", scope, res.StatusCode, res.body)
		}
	}
	if res := send(admin, eva+"/role", `{"role":"read","all_owners":true}`); res.StatusCode != http.StatusOK || !strings.Contains(res.body, `"owners":null`) {
		t.Errorf("all owners = %d %s", res.StatusCode, res.body)
	}
	scoped := w.token("scoped", access.RoleAdmin, []string{ahorn})
	if res := send(scoped, "/api/v1/users", `{"login":"max","role":"read","all_owners":true}`); res.StatusCode != http.StatusForbidden {
		t.Errorf("all owners by an administrator of one = %d %s, want 403", res.StatusCode, res.body)
	}
	b := w.signedIn("admin")
	for page, typed := range map[string]url.Values{
		"/people": {"login": {"max"}, "role": {"read"}, "owners": {"no such"}},
		"/tokens": {"name": {"max"}, "role": {"read"}, "days": {"30"}, "owners": {ahorn, "no such"}},
		"/people/" + strings.TrimPrefix(eva, "/api/v1/users/") + "/role": {"role": {"read"}, "owners": {"no such"}},
	} {
		if res := b.post(page, typed); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text(res.body), "Diesen Schulträger gibt es nicht.") {
			t.Errorf("form %s = %d, want 422 that says it", page, res.StatusCode)
		}
	}
}
