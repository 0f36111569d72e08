package web_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"hausmeister/collector/access"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/inventory"
)

// TestEventsOfADevice: its page and the API tell what happened, each with what the
// role may know.
func TestEventsOfADevice(t *testing.T) {
	w := newWorld(t)
	w.fill(2)
	id := w.known()
	_, school, err := w.fleet.Place(t.Context(), operator, "Landkreis Ahorn", "S0002")
	w.must(err)
	admin, err := w.access.User(t.Context(), operator, "admin")
	w.must(err)
	w.must(w.fleet.SetSchool(t.Context(), access.Caller{Kind: access.KindUser, ID: admin.ID, Name: "admin", Role: access.RoleAdmin}, id, school))
	w.must(w.fleet.SetLabel(t.Context(), operator, id, "Rückruf 7", true))
	w.must(w.fleet.SetLabel(t.Context(), operator, id, "Rückruf 7", false))
	page := "/devices/" + id + "/events"
	body := text(w.signedIn("admin").get(page).body)
	for _, part := range []string{"heute", "Hinweis: Speicher fast voll, C:", "m.winter hat hineingesehen", "Anruf: seit Montag sehr langsam", "1 neu, 1 entfernt, 1 in anderer Version",
		"Gerät einer Schule zugeordnet", "Konto admin", "Gymnasium Ahorntal → Grundschule Erlenbach", "Inventarnummer vergeben"} {
		if !strings.Contains(body, part) {
			t.Errorf("the page does not say %q:\n%s", part, body)
		}
	}
	if body := text(w.signedIn("read").get(page).body); !strings.Contains(body, "Grundschule Erlenbach") || strings.Contains(body, "Konto admin") {
		t.Error("a reader is not told of the move, or is told who did it")
	}
	if body := w.signedIn("read").get("/devices/" + id).body; !strings.Contains(body, page) || !strings.Contains(body, "Hinweis: Speicher fast voll") {
		t.Error("the device's page does not show its latest events")
	}
	if res := w.signedIn("read").get(page + "?before=gestern"); res.StatusCode != http.StatusBadRequest {
		t.Errorf("before=gestern = %d, want 400", res.StatusCode)
	}
	if res := w.signedIn("read").get("/devices/none/events"); res.StatusCode != http.StatusNotFound {
		t.Errorf("events of no device = %d, want 404", res.StatusCode)
	}
	if body := text(w.signedIn("read").get(page).body); !strings.Contains(body, "Etikett gesetzt Rückruf 7") || !strings.Contains(body, "Etikett entfernt Rückruf 7") {
		t.Errorf("the page does not say which label: %s", body)
	}
	var got struct {
		Items []struct {
			Kind, Day, By string
			Text, Detail  struct{ DE, EN string }
		}
		Cursor *string
	}
	token := w.token("t", access.RoleRead, nil)
	w.api(token, "/api/v1/devices/"+id+"/events", &got)
	if len(got.Items) == 0 || got.Items[0].Kind != "finding_raised" {
		t.Errorf("the day begins with %v, want the finding that is open", got.Items)
	}
	kinds := map[string]string{}
	for _, e := range got.Items {
		kinds[e.Kind] = e.Text.EN
		if strings.HasSuffix(e.Kind, "labelled") && e.Detail.DE != "Rückruf 7" {
			t.Errorf("%s says %+v, want the label", e.Kind, e.Detail)
		}
		if e.Day != "2026-11-23" {
			t.Errorf("%s on %s, want the day of today", e.Kind, e.Day)
		}
	}
	if kinds["looked"] != "m.winter looked closer" || kinds["device_moved"] == "" || kinds["software_changed"] == "" || kinds["device_labelled"] == "" || got.Cursor != nil {
		t.Errorf("events: %v, cursor %v", kinds, got.Cursor)
	}
	foreign := w.token("f", access.RoleRead, []string{w.ownerID("Landkreis Kiefer")})
	if res := w.api(foreign, "/api/v1/devices/"+id+"/events", nil); res.StatusCode != http.StatusNotFound {
		t.Errorf("events of another owner's device = %d, want 404", res.StatusCode)
	}
}

// TestEventsSayWhatHappened and no more: no "0 new", and the first version that a device
// told is not a new one.
func TestEventsSayWhatHappened(t *testing.T) {
	w := newWorld(t)
	id := w.fill(2)[0]
	for _, programs := range [][]inventory.Program{
		{{Name: "7-Zip", Version: "24.08"}},
		{{Name: "7-Zip", Version: "24.08"}, {Name: "LibreOffice", Version: "25.8"}, {Name: "Mozilla Firefox", Version: "145.0"}},
	} {
		m, err := inventory.Pack(programs)
		w.must(err)
		w.tell(id, hmpb.Entry_builder{Inventory: m}.Build())
	}
	w.must(w.exec(`DELETE FROM health_agents`))
	day := w.clock().UnixMilli() / 86_400_000
	w.must(w.exec(fmt.Sprintf(`INSERT INTO health_agents (device_id, day, version, latest) VALUES ('%s', %d, '1.4.0', 0), ('%s', %d, '1.5.0', 1)`, id, day-3, id, day-1)))
	for lang, want := range map[string][]string{
		"de": {"Programme geändert 2 neu ", "Neue Version von Hausmeister 1.4.0 → 1.5.0", " Version von Hausmeister 1.4.0"},
		"en": {"Programs changed 2 new ", "New version of Hausmeister 1.4.0 → 1.5.0", " Version of Hausmeister 1.4.0"},
	} {
		body := text(w.signedIn("support").get("/devices/"+id+"/events", "Cookie", "__Host-lang="+lang).body) + " "
		for _, part := range want {
			if !strings.Contains(body, part) {
				t.Errorf("%s: the page does not say %q:\n%s", lang, part, body)
			}
		}
		for _, part := range []string{" 0 ", "Neue Version von Hausmeister 1.4.0 Pro", "ew version of Hausmeister 1.4.0 P"} {
			if strings.Contains(body, part) {
				t.Errorf("%s: the page says %q:\n%s", lang, part, body)
			}
		}
	}
}
