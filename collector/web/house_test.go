package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"hausmeister/collector/access"
)

// TestHouseLooks: what the house says holds for who chose nothing, and for nobody
// who chose.
func TestHouseLooks(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	begins := func(b *browser, want string) {
		t.Helper()
		if body := b.get("/sign-in", "Accept-Language", "de").body; !strings.Contains(body, want) {
			t.Errorf("the page begins %q, want %q", body[:min(len(body), 80)], want)
		}
	}
	stranger := w.browser()
	begins(stranger, `<html lang="de">`)
	admin := w.signedIn("admin")
	if res := admin.post("/settings/house", url.Values{"language": {"en"}, "theme": {"dark"}}); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("POST = %d %s", res.StatusCode, res.body)
	}
	begins(stranger, `<html lang="en" data-theme="dark">`)
	chose := w.browser()
	chose.post("/preferences", url.Values{"lang": {"de"}, "theme": {""}, "back": {"/sign-in"}})
	begins(chose, `<html lang="de">`)
	if body := admin.get("/settings", "Cookie", "__Host-lang=de").body; !strings.Contains(body, "Konto admin") || !strings.Contains(body, `value="dark" selected`) {
		t.Error("the settings do not say what holds and who changed it")
	}
	// Who sees some owners only sees no such form, and may not send it.
	w.user("ahorn", access.RoleAdmin, []string{w.ownerID("Landkreis Ahorn")})
	b := w.signedIn("ahorn")
	if body := b.get("/settings").body; strings.Contains(body, "/settings/house") {
		t.Error("an owner's admin is offered the looks of everybody")
	}
	if res := b.post("/settings/house", url.Values{"language": {"de"}}); res.StatusCode != http.StatusForbidden {
		t.Errorf("an owner's admin changes the looks of everybody: %d, want 403", res.StatusCode)
	}
}

// TestHouseInParts: a call changes what it names and leaves the rest.
func TestHouseInParts(t *testing.T) {
	w := newWorld(t)
	admin := w.token("admin", access.RoleAdmin, nil)
	for _, tt := range []struct{ body, want string }{
		{`{"language":"de","theme":"dark","contact":"Helpdesk"}`, `"language":"de","theme":"dark","contact":"Helpdesk"`},
		{`{}`, `"language":"de","theme":"dark","contact":"Helpdesk"`},
		{`null`, `"language":"de","theme":"dark","contact":"Helpdesk"`},
		{`{"theme":null,"contact":"Hilfe"}`, `"language":"de","theme":"dark","contact":"Hilfe"`},
		{`{"theme":""}`, `"language":"de","theme":"","contact":"Hilfe"`},
	} {
		res := w.browser().do(http.MethodPost, "/api/v1/house", strings.NewReader(tt.body), "Authorization", "Bearer "+admin, "Content-Type", "application/json")
		if res.StatusCode != http.StatusOK || !strings.Contains(res.body, tt.want) {
			t.Errorf("POST %s = %d %s, want %s", tt.body, res.StatusCode, res.body, tt.want)
		}
	}
}

// TestRetentionOnThePages: an owner's times are changed within their bounds, with
// who did it, and the job deletes by them.
func TestRetentionOnThePages(t *testing.T) {
	w := newWorld(t)
	w.fill(1)
	known := w.known()
	owner := w.ownerID("Landkreis Ahorn")
	b := w.signedIn("admin")
	form := url.Values{"owner": {owner}, "minutes": {"1"}, "days": {"720"}, "findings": {"viele"}, "software": {"720"}}
	res := b.post("/settings/retention", form)
	if res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(res.body, "Bitte nennen Sie 2 bis 30 Tage.") || !strings.Contains(res.body, `value="viele"`) {
		t.Errorf("out of bounds = %d, want 422 with what was typed and the bounds", res.StatusCode)
	}
	_, err := w.health.MergeDays(t.Context()) // of 30 days
	w.must(err)
	old := func() (n int64) {
		w.must(w.count(&n, `SELECT COUNT(*) FROM health_blocks WHERE device_id = '`+known+`' AND start_ms < $1`, w.clock().AddDate(0, 0, -8).UnixMilli()))
		return n
	}
	if old() == 0 {
		t.Fatal("the device has no old minutes; the test would show nothing")
	}
	form.Set("minutes", "7")
	form.Set("findings", "365")
	if res := b.post("/settings/retention", form); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("POST = %d %s", res.StatusCode, res.body)
	}
	_, err = w.health.Sweep(t.Context())
	w.must(err)
	if n := old(); n != 0 {
		t.Errorf("%d blocks older than the owner keeps them", n)
	}
	body := text(b.get("/settings?owner=" + owner).body)
	if !strings.Contains(body, "2 bis 30 Tage. Zuletzt geändert: Mo·23.11.2026, 10:30·Uhr, Konto admin.") {
		t.Errorf("the page does not say who changed it: %s", body)
	}
	if body := text(b.get("/audit?action=retention").body); !strings.Contains(body, "Aufbewahrung geändert") || !strings.Contains(body, "Aufbewahrung: 30 Tage → ") {
		t.Error("the record does not tell of it")
	}
	// The staff council reads what holds, not the longest time only, and for whom it may.
	kept := func(login string) string { return text(w.signedIn(login).get("/catalogue").body) }
	want := "Werte im Minutentakt 30 Tage Landkreis Ahorn: 7 Tage, zuletzt geändert heute Alle anderen: 30 Tage"
	if body := kept("read"); !strings.Contains(body, want) || !strings.Contains(body, "Einzelne Meldungen 3 Tage 3 Tage") || !strings.Contains(body, "Protokoll – wird nicht gelöscht") {
		t.Errorf("the transparency page does not say %q: %s", want, body)
	}
	w.user("ahorn", access.RoleRead, []string{owner})
	w.user("kiefer", access.RoleRead, []string{w.ownerID("Landkreis Kiefer")})
	if body := kept("ahorn"); !strings.Contains(body, "Werte im Minutentakt 30 Tage Landkreis Ahorn: 7 Tage, zuletzt geändert heute Ein Wert je Tag") {
		t.Errorf("to an owner's reader it says %s", body)
	}
	if body := kept("kiefer"); strings.Contains(body, "Ahorn") || !strings.Contains(body, "Werte im Minutentakt 30 Tage 30 Tage Ein Wert") {
		t.Errorf("to another owner's reader it says %s", body)
	}
	token := w.token("t", access.RoleAdmin, nil)
	post := func(body string) answer {
		return w.browser().do(http.MethodPost, "/api/v1/owners/"+owner+"/retention", strings.NewReader(body), "Authorization", "Bearer "+token, "Content-Type", "application/json")
	}
	if res := post(`{"class":"minutes","days":31}`); res.StatusCode != http.StatusBadRequest || !strings.Contains(res.body, "minutes must be 2 to 30 days") {
		t.Errorf("the API takes 31 days of minutes: %d %s", res.StatusCode, res.body)
	}
	if res := post(`{"class":"minutes","days":30}`); res.StatusCode != http.StatusOK || !strings.Contains(res.body, `"days":30,"least":2,"most":30`) {
		t.Errorf("back to 30 days: %d %s", res.StatusCode, res.body)
	}
}
