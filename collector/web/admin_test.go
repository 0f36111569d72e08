package web_test

import (
	"encoding/csv"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"hausmeister/collector/access"
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
	w.must(w.exec(`UPDATE answers SET status = 0`)) // as while a call has no answer yet
	if res := send(key, body); res.StatusCode != http.StatusConflict || !strings.Contains(res.body, "problem:under-way") || res.Header.Get("Retry-After") != "1" {
		t.Errorf("while the first is under way: %d %s, Retry-After %q", res.StatusCode, res.body, res.Header.Get("Retry-After"))
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
