package web_test

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/collector/enroll"
	"hausmeister/collector/fleet"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/reading"
)

// callerOf is a person as the pages' data functions see her.
func (w *world) callerOf(login string) access.Caller {
	w.t.Helper()
	u, err := w.access.User(w.t.Context(), operator, login)
	w.must(err)
	return access.Caller{Kind: access.KindUser, ID: u.ID, Name: u.Login, Role: u.Role, Owners: u.Owners}
}

func (w *world) ownerID(name string) string {
	w.t.Helper()
	id, _, err := w.fleet.Place(w.t.Context(), operator, name, "")
	w.must(err)
	return id
}

var secretOnce = regexp.MustCompile(`data-secret>([^<]+)<`)

// TestClaimsPage: a claim is made by a form, shown once with a QR code, listed
// with its use, and revoked by a page that says what that means.
func TestClaimsPage(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	admin, support := w.signedIn("admin"), w.signedIn("support")
	if res := admin.get("/claims"); !strings.Contains(text(res.body), "Noch keine Aufnahmecodes") {
		t.Errorf("the empty list says %s", text(res.body))
	}
	good := url.Values{"owner": {w.ownerID("Landkreis Ahorn")}, "school": {"S0001"}, "cap": {"25"}, "days": {"30"}, "note": {"LS 4711 <b>"}}
	for what, c := range map[string]struct {
		name, value, want string
	}{
		"no number":        {"cap", "viele", "Eine Zahl von 1 bis 1.000.000."},
		"too many":         {"cap", "1000001", "Eine Zahl von 1 bis"},
		"unknown school":   {"school", "S9999", "So heißt keine Schule"},
		"another's school": {"school", "S0101", "gehört zu einem anderen Schulträger"},
	} {
		form := url.Values{}
		for k, v := range good {
			form[k] = v
		}
		form.Set(c.name, c.value)
		res := admin.post("/claims", form)
		if res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text(res.body), c.want) || !strings.Contains(res.body, `value="LS 4711 &lt;b&gt;"`) {
			t.Errorf("%s: %d %s; want 422, %q, and the input kept", what, res.StatusCode, text(res.body), c.want)
		}
	}
	res := admin.post("/claims", good)
	m := secretOnce.FindStringSubmatch(res.body)
	if res.StatusCode != http.StatusCreated || m == nil {
		t.Fatalf("POST /claims = %d %s", res.StatusCode, text(res.body))
	}
	if command := "hausmeister-agent enroll '" + html.UnescapeString(m[1]) + "'"; !strings.Contains(html.UnescapeString(res.body), `data-copy="`+command+`"`) {
		t.Errorf("the page has no %q to copy", command)
	}
	claim, err := ident.ParseClaim(m[1])
	if err != nil || claim.Host != "desk.schule.example" {
		t.Errorf("the page shows %q: %+v, %v", m[1], claim, err)
	}
	if !strings.Contains(res.body, `class="qr"`) || !strings.Contains(text(res.body), "Gymnasium Ahorntal, Landkreis Ahorn") || !strings.Contains(text(res.body), "Anzahl der Geräte 25") {
		t.Errorf("the page of the claim says %s", text(res.body))
	}
	res = support.get("/claims")
	if body := text(res.body); !strings.Contains(body, "0 von 25") || !strings.Contains(body, "LS 4711") || strings.Contains(res.body, m[1]) || strings.Contains(body, "Neuer Aufnahmecode") {
		t.Errorf("support sees %s", body)
	}
	for _, path := range []string{"/claims/new", "/claims/x/revoke"} {
		if res := support.get(path); res.StatusCode != http.StatusForbidden {
			t.Errorf("GET %s as support = %d, want 403", path, res.StatusCode)
		}
	}
	if res := w.signedIn("read").get("/claims"); res.StatusCode != http.StatusForbidden {
		t.Errorf("GET /claims as read = %d, want 403", res.StatusCode)
	}
	revoke := regexp.MustCompile(`/claims/[0-9a-f-]+/revoke`).FindString(admin.get("/claims").body)
	if res := admin.get(revoke); !strings.Contains(text(res.body), "Gymnasium Ahorntal, LS 4711 <b>. Noch kein Gerät ist damit aufgenommen. 25 weitere kommen dann nicht mehr hinein. Das lässt sich nicht zurücknehmen.") {
		t.Errorf("the page before revoking says %s", text(res.body))
	}
	if res := admin.post(revoke, nil); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/claims?done=claim_revoked" {
		t.Errorf("POST %s = %d", revoke, res.StatusCode)
	}
	if body := text(admin.get("/claims?done=claim_revoked").body); !strings.Contains(body, "Gesperrt") || !strings.Contains(body, "Der Aufnahmecode ist gesperrt.") {
		t.Errorf("after revoking: %s", body)
	}
}

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

// TestTokensPage: the secret of the page works at the API until it is revoked.
func TestTokensPage(t *testing.T) {
	w := newWorld(t)
	w.fill(3)
	admin := w.signedIn("admin")
	res := admin.post("/tokens", url.Values{"name": {"grafana"}, "role": {"read"}, "owners": {"*"}, "days": {"30"}})
	m := secretOnce.FindStringSubmatch(res.body)
	if res.StatusCode != http.StatusCreated || m == nil {
		t.Fatalf("POST /tokens = %d %s", res.StatusCode, text(res.body))
	}
	if res := w.api(m[1], "/api/v1/devices", nil); res.StatusCode != http.StatusOK {
		t.Errorf("the API with the secret of the page = %d", res.StatusCode)
	}
	if res := admin.post("/tokens", url.Values{"name": {"grafana"}, "role": {"read"}, "owners": {"*"}, "days": {"30"}}); res.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("the same name again = %d, want 422", res.StatusCode)
	}
	revoke := regexp.MustCompile(`/tokens/[0-9a-f-]+/revoke`).FindString(admin.get("/people").body)
	if res := admin.get(revoke); !strings.Contains(text(res.body), "grafana") {
		t.Errorf("the page before revoking says %s", text(res.body))
	}
	admin.post(revoke, nil)
	if res := w.api(m[1], "/api/v1/devices", nil); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("the API with a revoked token = %d, want 401", res.StatusCode)
	}
}

// TestAuditPage: what was done stands there with names, filtered, page by page,
// and as CSV of exactly the filter.
func TestAuditPage(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	for range pageSize + 10 {
		_, _, err := w.access.CreateToken(t.Context(), operator, access.NewToken{Name: ident.NewID(w.clock()), Role: access.RoleRead})
		w.must(err)
	}
	w.advance(48 * time.Hour)
	admin := w.signedIn("admin")
	admin.post("/people", url.Values{"login": {"eva"}, "role": {"read"}, "owners": {"*"}})
	body := text(admin.get("/audit").body)
	for _, want := range []string{"Kette vollständig", "Konto angelegt", "Konto eva", "Konto admin", "Sieht Daten von: Alle Schulträger; Rolle: Nur Lesen", "Mi·25.11.2026, 10:30·Uhr"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q: %s", want, body)
		}
	}
	res := admin.get("/audit?action=token&to=2026-11-23")
	if strings.Contains(text(res.body), "Konto angelegt") || !strings.Contains(res.body, `rel="next"`) {
		t.Errorf("the filtered page says %s", text(res.body))
	}
	if body := text(admin.get("/audit?action=token&from=2026-11-24").body); !strings.Contains(body, "Kein Eintrag passt") {
		t.Errorf("from the day after: %s", body)
	}
	if none := admin.get("/audit.csv?action=look").body; none != "seq,time,actor,action,subject,owner,details\n" {
		t.Errorf("the record of what there is none of is %q, want its head", none)
	}
	res = admin.get("/audit.csv?action=token&to=2026-11-23")
	rows, err := csv.NewReader(strings.NewReader(res.body)).ReadAll()
	if err != nil || len(rows) != 1+pageSize+10 || rows[1][3] != "token.created" || !strings.HasPrefix(res.Header.Get("Content-Disposition"), "attachment;") {
		t.Errorf("the CSV has %d rows, %v, %v; want a head and %d", len(rows), err, res.Header, pageSize+10)
	}
	if res := admin.get("/audit?from=gestern"); res.StatusCode != http.StatusBadRequest {
		t.Errorf("a day that is none = %d, want 400", res.StatusCode)
	}
	run := func(sql string) {
		w.must(w.exec(sql))
	}
	run(`UPDATE audit SET details = '{}' WHERE seq = 3`)
	w.advance(2 * time.Hour)
	if body := text(admin.get("/audit").body); !strings.Contains(body, "Kette gebrochen") || !strings.Contains(body, "Eintrag 3 passt nicht") {
		t.Errorf("a broken chain: %s", body)
	}
}

const pageSize = 50

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

// TestSchoolsPage: the schools with how their devices are and how they reach us.
func TestSchoolsPage(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	for i := range 3 {
		id := w.admit("Landkreis Ahorn", "S0001", "FUJITSU", "LIFEBOOK A3510", fmt.Sprint("DEMO", i), "windows", "")
		w.connect(id)
		path := "quic"
		if i > 0 {
			path = "tcp"
		}
		w.report(id, num(reading.MemoryTotal, "", 8<<30), txt(reading.CollectorPath, "", path), txt(reading.NetworkTrouble, "", "inspected"))
	}
	b := w.signedIn("read")
	body := text(b.get("/schools").body)
	for _, want := range []string{"5 Schulen", "S0001 Gymnasium Ahorntal Landkreis Ahorn 3 3 0 0 0", "2 erreichen uns nur per TCP. 3 hinter TLS-Prüfung."} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q: %s", want, body)
		}
	}
	// In order, filtered, and so that a link of each leads on.
	res := b.get("/schools?sort=-tcp")
	if rows := regexp.MustCompile(`<tr data-row><td[^>]*>([^<]+)`).FindAllStringSubmatch(res.body, -1); len(rows) != 5 || rows[0][1] != "S0001" || !strings.Contains(res.body, `aria-sort="descending"`) {
		t.Errorf("by TCP: %q", rows)
	}
	if !strings.Contains(res.body, `href="/schools?sort=tcp"`) || !strings.Contains(res.body, `href="/schools?sort=-tcp&amp;trouble=1"`) || !strings.Contains(res.body, `name="sort" value="-tcp"`) {
		t.Errorf("no way on from the sorted list: %s", res.body)
	}
	res = b.get("/schools?kind=Gymnasium&sort=name&owner=" + w.ownerID("Landkreis Ahorn"))
	if body := text(res.body); !strings.Contains(body, "1 Schule") || !strings.Contains(body, "Schulform: Gymnasium") || !strings.Contains(body, "Schulträger: Landkreis Ahorn") || !strings.Contains(res.body, `href="/schools?sort=name">`) {
		t.Errorf("of a kind and an owner: %s", res.body)
	}
	if body := text(b.get("/schools?trouble=1").body); !strings.Contains(body, "Keine Schule passt") {
		t.Errorf("in trouble: %s", body)
	}
	for _, wrong := range []string{"sort=colour", "trouble=yes"} {
		if res := b.get("/schools?" + wrong); res.StatusCode != http.StatusBadRequest {
			t.Errorf("GET /schools?%s = %d, want 400", wrong, res.StatusCode)
		}
		if res := w.browser().do(http.MethodGet, "/api/v1/schools?"+wrong, nil, "Authorization", "Bearer "+w.token("t-"+wrong[:4], access.RoleRead, nil)); res.StatusCode != http.StatusBadRequest {
			t.Errorf("GET /api/v1/schools?%s = %d, want 400", wrong, res.StatusCode)
		}
	}
	if body := text(b.get("/schools?s=kiefernh%C3%B6he").body); !strings.Contains(body, "1 Schule") || strings.Contains(body, "Ahorntal") {
		t.Errorf("searched: %s", body)
	}
	var list struct {
		Items []struct {
			Code    string
			TCPOnly int64 `json:"tcp_only"`
		}
		Total  int
		Cursor string
	}
	token := w.token("t", access.RoleRead, nil)
	w.api(token, "/api/v1/schools?limit=1", &list)
	if list.Total != 5 || len(list.Items) != 1 || list.Items[0].Code != "S0001" || list.Items[0].TCPOnly != 2 {
		t.Errorf("the API says %+v", list)
	}
	w.api(token, "/api/v1/schools?limit=1&cursor="+list.Cursor, &list)
	if len(list.Items) != 1 || list.Items[0].Code != "S0002" {
		t.Errorf("the next page says %+v", list)
	}
	if res := w.api(token, "/api/v1/schools?cursor=x", nil); res.StatusCode != http.StatusBadRequest {
		t.Errorf("a foreign cursor = %d, want 400", res.StatusCode)
	}
}

// TestSettingsPage: the standard software of an owner, with who changed it last.
func TestSettingsPage(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	owner := w.ownerID("Landkreis Kiefer")
	admin := w.signedIn("admin")
	if res := w.signedIn("support").get("/settings"); res.StatusCode != http.StatusForbidden {
		t.Errorf("GET /settings as support = %d, want 403", res.StatusCode)
	}
	if res := admin.post("/settings/software", url.Values{"owner": {owner}, "names": {" , "}, "least": {"7"}}); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(res.body, `value="7"`) {
		t.Errorf("no names = %d %s; want 422 and the input kept", res.StatusCode, text(res.body))
	}
	res := admin.post("/settings/software", url.Values{"owner": {owner}, "names": {"LibreOffice, libreoffice-core"}, "least": {"25.2"}})
	if res.Header.Get("Location") != "/settings?owner="+owner+"&done=saved" {
		t.Fatalf("POST = %d to %s", res.StatusCode, res.Header.Get("Location"))
	}
	body := text(admin.get(res.Header.Get("Location")).body)
	for _, want := range []string{"LibreOffice LibreOffice, libreoffice-core 25.2", "Zuletzt geändert: Mo·23.11.2026, 10:30·Uhr, Konto admin.", "Gespeichert."} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q: %s", want, body)
		}
	}
	admin.post("/settings/software/remove", url.Values{"owner": {owner}, "label": {"LibreOffice"}})
	if body := text(admin.get("/settings?owner=" + owner).body); !strings.Contains(body, "verlangt kein Programm") {
		t.Errorf("after removing: %s", body)
	}
}

// TestIdempotencyKey: a call that makes something may be sent again.
func TestIdempotencyKey(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	admin := w.token("admin", access.RoleAdmin, nil)
	send := func(key, body string) answer {
		return w.browser().do(http.MethodPost, "/api/v1/tokens", strings.NewReader(body), "Authorization", "Bearer "+admin, "Content-Type", "application/json", "Idempotency-Key", key)
	}
	const key, body = "a-key-that-nobody-guesses", `{"name":"neu","role":"read","all_owners":true}`
	first, again := send(key, body), send(key, body)
	if first.StatusCode != http.StatusCreated || again.StatusCode != http.StatusCreated || first.body != again.body || !strings.Contains(again.body, "hmt_") || again.Header.Get("Location") != first.Header.Get("Location") {
		t.Errorf("first %d %s, again %d %s; want the same", first.StatusCode, first.body, again.StatusCode, again.body)
	}
	if res := send(key, `{"name":"anders","role":"read","all_owners":true}`); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(res.body, "urn:hausmeister:problem:idempotency-key") {
		t.Errorf("another request with the key: %d %s, want 422", res.StatusCode, res.body)
	}
	if res := send("another-key-of-the-sender", body); res.StatusCode != http.StatusConflict || !strings.Contains(res.body, "problem:exists") {
		t.Errorf("another key: %d %s, want 409: the name is taken", res.StatusCode, res.body)
	}
}

// TestAuditInWords: the page calls things by their names and values by their words.
func TestAuditInWords(t *testing.T) {
	w := newWorld(t)
	w.fill(2)
	id := w.known()
	ahorn, kiefer := w.ownerID("Landkreis Ahorn"), w.ownerID("Landkreis Kiefer")
	_, school, err := w.fleet.Place(t.Context(), operator, "Landkreis Ahorn", "S0002")
	w.must(err)
	w.must(w.fleet.SetSchool(t.Context(), operator, id, school))
	w.must(w.fleet.SetLabel(t.Context(), operator, id, "Rückruf", true))
	w.must(w.fleet.SetInventory(t.Context(), operator, id, ""))
	w.must(w.fleet.SetInventory(t.Context(), operator, id, "AH-2026-0001"))
	w.user("eva", access.RoleSupport, []string{ahorn})
	w.must(w.access.SetRole(t.Context(), operator, "eva", access.NewRole{Role: access.RoleRead, Owners: []string{ahorn, kiefer}}))
	_, err = w.fleet.SaveView(t.Context(), operator, fleet.View{Sharing: fleet.ViewOwner, Owner: ahorn, Name: "Stille"})
	w.must(err)
	admin := w.signedIn("admin")
	admin.post("/settings/house", url.Values{"theme": {"dark"}})
	body := text(admin.get("/audit").body)
	for _, want := range []string{"Rolle geändert Konto eva", "Sieht Daten von: Landkreis Ahorn → Landkreis Ahorn, Landkreis Kiefer; Rolle: Support → Nur Lesen",
		"Gerät AH-2026-0001 Etikett: Rückruf", "→ Grundschule Erlenbach", "Inventarnummer: keine Angabe → AH-2026-0001", "→ keine Angabe", "Ansicht gespeichert Ansicht Stille Für: Landkreis Ahorn",
		"Für alle: Darstellung Wert: keine Angabe → Dunkel"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if t.Failed() || strings.Contains(body, id) {
		t.Errorf("the page, which is to have no id of the device: %s", body)
	}
	if body := text(admin.get("/audit?action=school").body); !strings.Contains(body, "Schule angelegt Schule Grundschule Erlenbach (S0002)") {
		t.Errorf("the schools in the record: %s", body)
	}
	// Who sees one of her owners only is not told of the other.
	w.user("ahorn", access.RoleAdmin, []string{ahorn})
	if body := text(w.signedIn("ahorn").get("/audit").body); strings.Contains(body, "Kiefer") || strings.Contains(body, kiefer) {
		t.Errorf("an owner's admin reads of another owner: %s", body)
	}
}

// TestAuditNamesEverything: whatever an entry is about has a name that a person knows
// it by, also when it was deleted, or is not for the reader; no id stands on the page.
func TestAuditNamesEverything(t *testing.T) {
	w := newWorld(t)
	w.fill(2)
	ctx, id := t.Context(), w.known()
	ahorn := w.ownerID("Landkreis Ahorn")
	_, school, err := w.fleet.Place(ctx, operator, "Landkreis Ahorn", "S0002")
	w.must(err)
	claim := func(school, note string) enroll.Claim {
		c, _, err := w.enroll.CreateClaim(ctx, operator, enroll.NewClaim{Owner: ahorn, School: school, Cap: 3, Note: note, Expires: w.clock().Add(24 * time.Hour)})
		w.must(err)
		return c
	}
	noted, plain := claim(school, "LS 4711"), claim("", "")
	w.must(w.enroll.RevokeClaim(ctx, operator, noted.ID))
	w.must(w.db.Write(ctx, func(tx *db.Tx) error {
		return audit.Append(ctx, tx, audit.Entry{Actor: access.System("enroll").Actor(), Action: "device.enrolled", Subject: "device:" + id, Owner: ahorn, AtMS: w.clock().UnixMilli(), Details: map[string]string{"claim": plain.ID}})
	}))
	w.token("grafana", access.RoleRead, nil)
	w.user("eva", access.RoleSupport, []string{ahorn})
	admin := w.signedIn("admin")
	saved, err := w.fleet.SaveView(ctx, operator, fleet.View{Sharing: fleet.ViewOwner, Owner: ahorn, Name: "Stille"})
	w.must(err)
	w.must(w.fleet.DeleteView(ctx, operator, saved.ID))
	admin.post("/questions", url.Values{"name": {"Alte Akkus"}, "asked": {"if=battery_health.lt.700"}})
	list, err := w.asked.List(ctx, w.callerOf("admin"))
	w.must(err)
	if len(list) != 1 {
		t.Fatalf("%d questions are kept, want 1", len(list))
	}
	w.must(w.asked.Delete(ctx, w.callerOf("admin"), list[0].ID))
	_, err = w.fleet.StartJob(ctx, w.callerOf("admin"), fleet.NewJob{Act: fleet.ActLabel, Label: "Rückruf", Devices: []string{id}})
	w.must(err)

	res := admin.get("/audit")
	body := text(res.body)
	for _, want := range []string{"Aufnahmecode gesperrt Aufnahmecode Grundschule Erlenbach (S0002), LS 4711", "Aufnahmecode Landkreis Ahorn vom Mo·23.11.2026, 10:30·Uhr",
		"Collector, Aufnahme Gerät aufgenommen Gerät AH-2021-0815 Aufnahmecode: Landkreis Ahorn vom", "Zugriffsschlüssel grafana", "Konto eva", "Ansicht gelöscht Ansicht Stille",
		"Frage gelöscht Frage Alte Akkus Bedingungen: Akkuzustand unter 70·%", "Sammeländerung: Etikett „Rückruf“ setzen"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	ids := regexp.MustCompile(`[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}`)
	sum := regexp.MustCompile(`[0-9a-f]{64}`) // of the chain
	body = sum.ReplaceAllString(body, "")
	if found := ids.FindString(body); found != "" || t.Failed() {
		t.Errorf("the page names %q: %s", found, body)
	}
	href := regexp.MustCompile(`/claims\?before=` + noted.ID + `g`).FindString(res.body)
	if rows := strings.Split(admin.get(href).body, "<tr>"); href == "" || len(rows) < 3 || !strings.Contains(rows[2], "LS 4711") {
		t.Errorf("the claim's link %q leads to a list that begins otherwise", href)
	}
	// Who sees one owner only reads of the account of all owners without its name.
	w.user("ahorn", access.RoleAdmin, []string{ahorn})
	limited := sum.ReplaceAllString(text(w.signedIn("ahorn").get("/audit").body), "")
	if found := ids.FindString(limited); found != "" || !strings.Contains(limited, "ein anderes Konto Sammeländerung begonnen") {
		t.Errorf("an owner's admin reads %q in: %s", found, limited)
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

// TestRateOfAToken: too many calls are refused, those of others are not.
func TestRateOfAToken(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	busy, calm := w.token("busy", access.RoleRead, nil), w.token("calm", access.RoleRead, nil)
	for i := range 500 {
		if res := w.api(busy, "/api/v1/owners", nil); res.StatusCode != http.StatusOK {
			t.Fatalf("call %d = %d", i+1, res.StatusCode)
		}
	}
	if res := w.api(busy, "/api/v1/owners", nil); res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") != "1" {
		t.Errorf("call 501 = %d, Retry-After %q", res.StatusCode, res.Header.Get("Retry-After"))
	}
	if res := w.api(calm, "/api/v1/owners", nil); res.StatusCode != http.StatusOK {
		t.Errorf("another token = %d", res.StatusCode)
	}
	w.advance(time.Second)
	if res := w.api(busy, "/api/v1/owners", nil); res.StatusCode != http.StatusOK {
		t.Errorf("a second later = %d", res.StatusCode)
	}
}

// curl is a command of the API's page.
var curl = regexp.MustCompile(`^curl(?: -H "Authorization: Bearer \$TOKEN")?(?: -X (POST))?(?: -H "Content-Type: application/json" -d '([^']*)')? "(https://[^"]+)"$`)

// example is a call on the page of the API.
type example struct{ method, path, line, section string }

func examplesOf(page string) (out []example) {
	head := regexp.MustCompile(`<span class="mono">(GET|POST) (/api/v1[^<]*)</span>`)
	copied := regexp.MustCompile(`data-copy="([^"]+)"`)
	for _, section := range strings.Split(page, "<section ")[1:] {
		h, c := head.FindStringSubmatch(section), copied.FindStringSubmatch(section)
		if h != nil && c != nil {
			out = append(out, example{h[1], html.UnescapeString(h[2]), html.UnescapeString(c[1]), section})
		}
	}
	return out
}

// TestAPIPage: its examples work as they stand, and a role sees what it may call.
func TestAPIPage(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(3)
	admin := w.token("t", access.RoleAdmin, nil)
	w.fillsUp(ids[0], hmpb.Severity_SEVERITY_WARNING)
	page := w.signedIn("admin").get("/api")
	examples := examplesOf(page.body)
	if len(examples) < 25 {
		t.Fatalf("%d examples", len(examples))
	}
	made := map[string]string{"devices": ids[0], "owners": w.ownerID("Landkreis Ahorn"), "schools": w.schoolID("Landkreis Ahorn", "S0001"), "findings": "disk_low"}
	releases, days := w.releases(), w.closedDays()
	made["releases"] = releases["0.9.0"]
	number := w.api(admin, "/api/v1/devices/"+ids[1], nil).body
	number = regexp.MustCompile(`"name":\s*"([^"]+)"`).FindStringSubmatch(number)[1]
	run := func(line, method, address, body string) {
		u, err := url.Parse(address)
		if err != nil || w.url != "https://"+u.Host {
			t.Errorf("%s leads to %v, %v", line, u, err)
			return
		}
		if u.Path == "/api/v1/events" {
			w.listen(t, admin, "").next(t)
			return
		}
		kind := strings.Split(u.Path, "/")[3]
		id := made[kind]
		if strings.HasSuffix(u.Path, "/live") {
			w.listenAt(t, strings.ReplaceAll(u.Path, "$ID", id), admin, "").next(t)
			return
		}
		bearer := admin
		if strings.HasPrefix(u.Path, "/api/v1/account/") || u.Path == "/api/v1/sign-out" {
			bearer, id = w.person(t)
		}
		if strings.HasSuffix(u.Path, "/$ID/revoke") && kind == "devices" {
			id = ids[1]
		}
		release := releases["1.0.0"]
		if kind == "rollouts" { // what an example before left on its way is newer than the next one's
			list, err := w.rollouts.List(t.Context(), operator)
			w.must(err)
			for _, r := range list {
				if r.Ended.IsZero() {
					w.must(w.rollouts.Abort(t.Context(), operator, r.ID, "Ende des Beispiels"))
				}
			}
		}
		if kind == "rollouts" && strings.Contains(u.Path, "$ID") || strings.HasSuffix(u.Path, "/update") {
			began := w.began(releases["1.1.0"])
			defer w.rollouts.Abort(t.Context(), operator, began, "Ende des Beispiels")
			switch {
			case strings.HasSuffix(u.Path, "/rollback"):
				release = releases["1.0.1"]
			case strings.HasSuffix(u.Path, "/approve"):
				bearer, _ = w.signIn(t, "release") // a second person
			case strings.HasSuffix(u.Path, "/resume"):
				w.must(w.rollouts.Pause(t.Context(), operator, began, "für das Beispiel"))
			}
			if kind == "rollouts" {
				id = began
			}
		}
		if id == "" && strings.Contains(u.Path, "$ID") {
			t.Errorf("%s: nothing to call it with", line)
			return
		}
		body = strings.NewReplacer("OWNER", made["owners"], "NUMBER", number, "PASSWORD", password, "RELEASE", release, "DAYS", days).Replace(body)
		if u.Path == "/api/v1/sign-in" {
			body = strings.Replace(body, "eva", "admin", 1)
		}
		res := w.browser().do(cmp.Or(method, http.MethodGet), strings.ReplaceAll(u.RequestURI(), "$ID", id), strings.NewReader(body), "Authorization", "Bearer "+bearer, "Content-Type", "application/json")
		if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusCreated {
			t.Errorf("%s = %d %s", line, res.StatusCode, res.body)
		}
		var thing struct{ ID string }
		if json.Unmarshal([]byte(res.body), &thing) == nil && method != "" {
			if kind == "findings" && strings.HasSuffix(u.Path, "/quiet") {
				// The act of a group is a job's, which takes a moment.
				var acts struct{ Items []struct{ ID string } }
				for wait := time.Minute; len(acts.Items) == 0; wait -= 50 * time.Millisecond {
					if wait < 0 {
						t.Fatalf("%s: no act after a minute; its job: %s", line, w.browser().do(http.MethodGet, "/api/v1/jobs/"+thing.ID, nil, "Authorization", "Bearer "+admin).body)
					}
					time.Sleep(50 * time.Millisecond)
					w.api(admin, "/api/v1/findings/disk_low/quiets", &acts)
				}
				made["quiets"] = acts.Items[0].ID
			} else if made[kind] == "" {
				made[kind] = thing.ID
			}
		}
	}
	// What makes something comes first, for the calls that need its id; what
	// deletes it, last.
	turn := func(method, line string) int {
		switch {
		case method != "" && !strings.Contains(line, "$ID"):
			return 0
		case strings.Contains(line, "/delete"):
			return 2
		case strings.Contains(line, "/restore"):
			return 3
		case strings.HasSuffix(line, "/live\""): // with the look that is opened before
			return 2
		}
		return 1
	}
	for now := range 4 {
		for _, e := range examples {
			m := curl.FindStringSubmatch(e.line)
			if m == nil {
				t.Errorf("no command: %s", e.line)
				continue
			}
			// Here the calls make what the others are about.
			u, err := url.Parse(m[3])
			w.must(err)
			address := "https://" + u.Host + strings.ReplaceAll(e.path, "{id}", "$ID")
			if u.RawQuery != "" {
				address += "?" + u.RawQuery
			}
			if turn(m[1], address+"\"") == now {
				run(e.line, m[1], address, m[2])
			}
		}
		w.must(w.fleet.RunJobs(t.Context()))
	}
	if body := w.signedIn("read").get("/api").body; strings.Contains(body, "/api/v1/users") || !strings.Contains(body, "/api/v1/devices") {
		t.Error("a role that may read devices only sees other calls")
	}
}

// TestDevicesCSV: exactly what the filter says, whole, and no formulas.
func TestDevicesCSV(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	for i := range 620 {
		w.admit("Landkreis Ahorn", "S0001", "FUJITSU", "LIFEBOOK A3510", fmt.Sprintf("DEMO%05d", i), "windows", "")
	}
	w.admit("Stadt Topas", "", "FUJITSU", "LIFEBOOK A3510", "DEMOX", "windows", "=1+1")
	b := w.signedIn("read")
	rows := func(path string) [][]string {
		t.Helper()
		res := b.get(path)
		all, err := csv.NewReader(strings.NewReader(res.body)).ReadAll()
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("GET %s = %d, %v", path, res.StatusCode, err)
		}
		return all[1:]
	}
	seen := map[string]bool{}
	for _, r := range rows("/devices.csv") {
		seen[r[0]] = true
	}
	if len(seen) != 621 {
		t.Errorf("%d devices, want 621", len(seen))
	}
	if got := rows("/devices.csv?q=topas"); len(got) != 0 { // the owner is no part of the search
		t.Errorf("searched for the owner: %v", got)
	}
	if got := rows("/devices.csv?q=demox"); len(got) != 1 || got[0][1] != "'=1+1" {
		t.Errorf("searched: %v; want one, and no formula", got)
	}
	if got := rows("/devices.csv?school=S0001&sort=-label"); len(got) != 620 || got[0][3] != "DEMO00619" {
		t.Errorf("%d of the school, first %v", len(got), got[0])
	}
	if res := b.get("/devices.csv?state=kaputt"); res.StatusCode != http.StatusBadRequest {
		t.Errorf("a state that is none = %d, want 400", res.StatusCode)
	}
}

// TestLastChangesInTheAPI: the list of standard software says when it was last changed
// and by whom, also after the last program went; a token says when it was revoked.
func TestLastChangesInTheAPI(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	admin, owner := w.token("admin", access.RoleAdmin, nil), w.ownerID("Landkreis Ahorn")
	path := "/api/v1/owners/" + owner + "/software"
	type software struct {
		Total     int64
		Changed   *string
		ChangedBy *string `json:"changed_by"`
	}
	var none software
	if w.api(admin, path, &none); none.Changed != nil || none.ChangedBy != nil {
		t.Errorf("a list that nobody touched = %+v, want no change", none)
	}
	post := func(path, body string) {
		t.Helper()
		res := w.browser().do(http.MethodPost, path, strings.NewReader(body), "Authorization", "Bearer "+admin, "Content-Type", "application/json")
		if res.StatusCode != http.StatusOK {
			t.Fatalf("POST %s = %d %s", path, res.StatusCode, res.body)
		}
	}
	post(path, `{"names":["LibreOffice"]}`)
	w.advance(2 * time.Hour)
	post(path+"/remove", `{"label":"LibreOffice"}`)
	var gone software
	w.api(admin, path, &gone)
	if gone.Total != 0 || gone.Changed == nil || !strings.HasPrefix(*gone.Changed, w.clock().UTC().Format("2006-01-02T15:04:05")) || gone.ChangedBy == nil || !strings.HasPrefix(*gone.ChangedBy, "token:") {
		t.Errorf("after the last program went: %+v, want the change of now by a token", gone)
	}

	w.token("grafana", access.RoleRead, nil)
	type token struct {
		ID, Name string
		Revoked  bool
		At       *string `json:"revoked_at"`
	}
	find := func() (out token) {
		var all struct{ Items []token }
		w.api(admin, "/api/v1/tokens", &all)
		for _, it := range all.Items {
			if it.Name == "grafana" {
				out = it
			}
		}
		return out
	}
	it := find()
	if it.Revoked || it.At != nil {
		t.Errorf("a token that holds = %+v", it)
	}
	post("/api/v1/tokens/"+it.ID+"/revoke", "{}")
	if it = find(); !it.Revoked || it.At == nil || *it.At != *gone.Changed {
		t.Errorf("a token that was revoked = %+v, want the time of it", it)
	}
}
