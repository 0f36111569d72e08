package web_test

import (
	"encoding/csv"
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
	"hausmeister/proto/ident"
)

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
