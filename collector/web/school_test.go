package web_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"hausmeister/collector/access"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// school fills a school with devices of which some come through a box that opens TLS.
func (w *world) school() (id string) {
	w.t.Helper()
	w.fill(12)
	id = w.schoolID("Landkreis Ahorn", "S0001")
	for i := range 9 {
		device := w.admit("Landkreis Ahorn", "S0001", "FUJITSU", "LIFEBOOK A3510", fmt.Sprintf("DEMONET%02d", i), "windows", "")
		state := []*hmpb.Reading{txt(reading.CollectorPath, "", "tcp"), txt(reading.NetworkTrouble, "", "inspected"), txt(reading.InspectionIssuer, "", "CN=Filter CA,O=Medienzentrum Ahorn")}
		if i > 5 {
			state = []*hmpb.Reading{txt(reading.CollectorPath, "", "tcp_proxy"), txt(reading.NetworkTrouble, "", "udp_blocked")}
		}
		w.report(device, state...)
		if i == 0 {
			w.fillsUp(device, hmpb.Severity_SEVERITY_CRITICAL)
		}
	}
	return id
}

// TestSchoolPage: how a school's devices are, how they come to us and what is wrong,
// each with the way on.
// TestNamelessSchool: a school without a name of its own is called by kind and number.
func TestNamelessSchool(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	_, id, err := w.fleet.Place(t.Context(), operator, "Stadt Topas", "S0201")
	w.must(err)
	body := w.signedIn("read").get("/schools/" + id).body
	for _, want := range []string{"<h1>Berufliche Schule S0201</h1>", "<title>Berufliche Schule S0201"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestSchoolPage(t *testing.T) {
	w := newWorld(t)
	id := w.school()
	b := w.signedIn("read")
	res := b.get("/schools/" + id)
	body := text(res.body)
	for _, part := range []string{"Gymnasium Ahorntal", "S0001", "Kritisch 1", "nur TCP 6", "TCP über Proxy 3", "TLS-Prüfung erkannt, Geräte: 6.", "CN=Filter CA,O=Medienzentrum Ahorn", "Speicher fast voll"} {
		if !strings.Contains(body, part) {
			t.Errorf("the page does not say %q:\n%s", part, body)
		}
	}
	for _, href := range []string{"/devices?school=" + id + "&amp;state=critical", "/devices?finding=disk_low&amp;school=" + id, "/schools/" + id + "/sheet"} {
		if !strings.Contains(res.body, href) {
			t.Errorf("no way to %s", href)
		}
	}
	if body := b.get("/schools").body; !strings.Contains(body, `href="/schools/`+id+`"`) {
		t.Error("the list of schools does not lead to the page")
	}
	w.user("kiefer", access.RoleAdmin, []string{w.ownerID("Landkreis Kiefer")})
	for _, p := range []string{"/schools/" + id, "/schools/" + id + "/sheet"} {
		if res := w.signedIn("kiefer").get(p); res.StatusCode != http.StatusNotFound {
			t.Errorf("another owner's %s = %d, want 404", p, res.StatusCode)
		}
	}
}

// TestSheetForTheNetwork: what the network must let through, who inspects, whom to
// call; what leaves the house has no number of a few.
func TestSheetForTheNetwork(t *testing.T) {
	w := newWorld(t)
	id := w.school()
	admin := w.signedIn("admin")
	if body := text(admin.get("/schools/" + id + "/sheet").body); !strings.Contains(body, "Bitte fragen Sie den Schulträger: Landkreis Ahorn.") || !strings.Contains(body, "Ansprechstelle hinterlegen") {
		t.Error("without a contact the sheet does not say whom to ask, or who can set one")
	}
	if res := admin.post("/settings/house", url.Values{"contact": {strings.Repeat("ä", 120)}}); res.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("a contact of 240 bytes = %d, want 422", res.StatusCode)
	}
	if res := admin.post("/settings/house", url.Values{"contact": {"Helpdesk Ahorn, 069 90009 123"}}); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("POST = %d", res.StatusCode)
	}
	for lang, want := range map[string][]string{
		"de": {"desk.schule.example 443 UDP", "desk.schule.example 443 TCP", "Nehmen Sie desk.schule.example von jeder TLS-Prüfung aus.", "nur TCP 6", "TCP über Proxy unter 5",
			"TLS-Prüfung erkannt, Geräte: 6.", "UDP gesperrt, Geräte: unter 5.", "Die TLS-Prüfung nennt als Aussteller: CN=Filter CA,O=Medienzentrum Ahorn.", "Helpdesk Ahorn, 069 90009 123", "Mo·23.11.2026"},
		"en": {"Exempt desk.schule.example from any TLS inspection.", "TCP through a proxy under 5", "allow CONNECT to desk.schule.example:443", "Helpdesk Ahorn"},
	} {
		body := text(w.signedIn("read").get("/schools/"+id+"/sheet", "Cookie", "__Host-lang="+lang).body)
		for _, part := range want {
			if !strings.Contains(body, part) {
				t.Errorf("the sheet in %s does not say %q:\n%s", lang, part, body)
			}
		}
	}
	var got struct {
		Host, Port, Contact string
		TCP                 *int64                  `json:"tcp_only"`
		Proxy               *int64                  `json:"tcp_through_proxy"`
		Issuers             []struct{ Name string } `json:"inspection_issuers"`
	}
	w.api(w.token("t", access.RoleRead, nil), "/api/v1/schools/"+id+"/sheet", &got)
	if got.Host != "desk.schule.example" || got.Port != "443" || got.TCP == nil || *got.TCP != 6 || got.Proxy != nil || len(got.Issuers) != 1 || got.Contact == "" {
		t.Errorf("the API's sheet: %+v", got)
	}
}

// TestSheetIsOnePage prints the sheet on A4 in both languages: one page, without the
// frame.
func TestSheetIsOnePage(t *testing.T) {
	w := newWorld(t)
	id := w.school()
	w.must(w.access.SetHouse(t.Context(), operator, func(h *access.House) { h.Contact = "Helpdesk Ahorn, 069 90009 123, helpdesk@schule.invalid" }))
	for _, lang := range []string{"de", "en"} {
		tb := w.tab(t, looks{lang: lang, theme: "light", as: "read"})
		tb.open("/schools/" + id + "/sheet")
		var pdf []byte
		tb.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
			res, err := cdp.Call(ctx, target, page.PrintToPDF, page.PrintToPDFParams{PreferCSSPageSize: new(true)})
			pdf = res.Data
			return err
		}))
		if n := bytes.Count(pdf, []byte("/Type /Page\n")); n != 1 {
			t.Errorf("the sheet in %s prints on %d pages, want 1", lang, n)
		}
		w.must(os.WriteFile(filepath.Join(shots(), "sheet-"+lang+".pdf"), pdf, 0o644))
	}
}

// TestPlacesAreChanged: an administration mends number, name and kind of a school and
// the name of an owner; what cannot be comes back as typed; others may not.
func TestPlacesAreChanged(t *testing.T) {
	w := newWorld(t)
	w.fill(2)
	school, ahorn := w.schoolID("Landkreis Ahorn", "S0001"), w.ownerID("Landkreis Ahorn")
	page := "/schools/" + school
	admin, support := w.signedIn("admin"), w.signedIn("support")
	if body := support.get(page).body; strings.Contains(body, page+"/edit") {
		t.Error("support is offered to change a school")
	}
	for _, res := range []answer{support.get(page + "/edit"), support.post(page+"/edit", url.Values{"code": {"S1"}}), support.post("/settings/owner", url.Values{"owner": {ahorn}, "name": {"x"}})} {
		if res.StatusCode != http.StatusForbidden {
			t.Errorf("%s %s as support = %d, want 403", res.Request.Method, res.Request.URL.Path, res.StatusCode)
		}
	}
	if res := admin.get(page + "/edit"); !strings.Contains(res.body, `value="S0001"`) || !strings.Contains(res.body, `value="Gymnasium Ahorntal"`) || !strings.Contains(admin.get(page).body, page+"/edit") {
		t.Errorf("the form: %s", text(res.body))
	}
	for _, wrong := range []struct{ code, want string }{{"S0002", "Diese Nummer hat schon eine andere Schule"}, {" ", "Bitte geben Sie eine Nummer"}} {
		res := admin.post(page+"/edit", url.Values{"code": {wrong.code}, "name": {"Neuer <Name>"}, "kind": {"KGS"}})
		if res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text(res.body), wrong.want) || !strings.Contains(res.body, `value="Neuer &lt;Name&gt;"`) {
			t.Errorf("number %q = %d %s; want 422, %q and the input kept", wrong.code, res.StatusCode, text(res.body), wrong.want)
		}
	}
	if res := admin.post(page+"/edit", url.Values{"code": {"S0009"}, "name": {"Ahornschule"}, "kind": {"KGS"}}); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("changing the school = %d %s", res.StatusCode, text(res.body))
	}
	if body := text(admin.get(page + "?done=renamed_place").body); !strings.Contains(body, "Ahornschule KGS S0009") || !strings.Contains(body, "Gespeichert.") {
		t.Errorf("the changed school: %s", body)
	}
	if body := text(admin.get("/devices?q=ahornschule").body); strings.Contains(body, "Kein Gerät passt") {
		t.Error("the school's devices are not found by its new name")
	}
	for name, want := range map[string]string{"Landkreis Kiefer": "So heißt schon ein anderer Schulträger.", "": "Bitte geben Sie einen Namen"} {
		if res := admin.post("/settings/owner", url.Values{"owner": {ahorn}, "name": {name}}); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text(res.body), want) {
			t.Errorf("owner's name %q = %d, want 422 with %q", name, res.StatusCode, want)
		}
	}
	if res := admin.post("/settings/owner", url.Values{"owner": {ahorn}, "name": {"Landkreis Ahornberg"}}); res.Header.Get("Location") != "/settings?owner="+ahorn+"&done=renamed_place" {
		t.Errorf("renaming the owner = %d %s", res.StatusCode, text(res.body))
	}
	body := text(admin.get("/audit").body)
	for _, want := range []string{"Schule geändert Schule Ahornschule (S0009) Nummer: S0001 → S0009; Schulform: Gymnasium → KGS; Name: Gymnasium Ahorntal → Ahornschule",
		"Schulträger umbenannt Schulträger Landkreis Ahornberg Name: Landkreis Ahorn → Landkreis Ahornberg"} {
		if !strings.Contains(body, want) {
			t.Errorf("the record lacks %q: %s", want, body)
		}
	}
	limited := w.token("kiefer", access.RoleAdmin, []string{w.ownerID("Landkreis Kiefer")})
	post := func(path, body string) int {
		return w.browser().do(http.MethodPost, path, strings.NewReader(body), "Authorization", "Bearer "+limited, "Content-Type", "application/json").StatusCode
	}
	if a, b := post("/api/v1/schools/"+school, `{"name":"x"}`), post("/api/v1/owners/"+ahorn, `{"name":"x"}`); a != http.StatusNotFound || b != http.StatusNotFound {
		t.Errorf("another owner's admin changes school and owner: %d, %d, want 404", a, b)
	}
}
