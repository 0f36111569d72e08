package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"hausmeister/collector/access"
)

// TestSearchEverywhere: what is called exactly so is opened at once; words find some
// of each kind; people are found by who may see them, and nothing of other owners.
func TestSearchEverywhere(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(40)
	d, err := w.fleet.Device(t.Context(), operator, ids[0])
	w.must(err)
	eva, err := w.access.User(t.Context(), operator, "support")
	w.must(err)
	school := "/schools/" + w.schoolID("Landkreis Ahorn", "S0001")
	w.user("kiefer", access.RoleRead, []string{w.ownerID("Landkreis Kiefer")})
	for _, tt := range []struct{ as, q, to string }{
		{"read", d.Inventory, "/devices/" + ids[0]},
		{"read", " " + strings.ToLower(d.Inventory) + " ", "/devices/" + ids[0]},
		{"read", d.Serial, "/devices/" + ids[0]},
		{"read", ids[0], "/devices/" + ids[0]},
		{"read", "s0001", school},
		{"admin", "Support", "/people/" + eva.ID},
		{"read", "", "/devices"},
	} {
		res := w.signedIn(tt.as).get("/search?q=" + url.QueryEscape(tt.q))
		if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != tt.to {
			t.Errorf("%s searches %q: %d to %q, want %s", tt.as, tt.q, res.StatusCode, res.Header.Get("Location"), tt.to)
		}
	}
	for _, tt := range []struct{ as, q, has, not string }{
		{"read", "lifebook", "Alle 20 Geräte", "Nichts gefunden"},
		{"read", "ahorn", "Gymnasium Ahorntal", "/people/"},
		{"read", "support", "Nichts gefunden", "/people/"},
		{"support", "support", "Nichts gefunden", "/people/"},
		{"read", "nirgends", "Schule und Schulnummer.", "Anmeldenamen"},
		{"admin", "nirgends", "Menschen finden Sie unter ihrem Anmeldenamen.", "/people/"},
		{"admin", "upp", "/people/" + eva.ID, "Nichts gefunden"},
		{"kiefer", d.Inventory, "Nichts gefunden", "/devices/" + ids[0]},
		{"kiefer", "S0001", "Nichts gefunden", school},
		{"read", "a b c d e f g", "Zu viele Wörter", "Alle"},
		{"read", "\x00", "Suche", "\x00"},
	} {
		res := w.signedIn(tt.as).get("/search?q=" + url.QueryEscape(tt.q))
		if res.StatusCode != http.StatusOK || !strings.Contains(res.body, tt.has) || strings.Contains(res.body, tt.not) {
			t.Errorf("%s searches %q: %d, has %q %v, has %q %v", tt.as, tt.q, res.StatusCode, tt.has, strings.Contains(res.body, tt.has), tt.not, strings.Contains(res.body, tt.not))
		}
	}
	if res := w.signedIn("read").get("/search?q=" + strings.Repeat("x", 201)); res.StatusCode != http.StatusBadRequest {
		t.Errorf("201 bytes = %d, want 400", res.StatusCode)
	}
	var got struct {
		Items []struct {
			ID, Kind string
			Exact    bool
		}
	}
	w.api(w.token("t", access.RoleRead, nil), "/api/v1/search?q=S0001", &got)
	if len(got.Items) < 2 || got.Items[0].Kind != "school" || !got.Items[0].Exact || got.Items[1].Exact {
		t.Errorf("the API finds %+v, want the school first", got)
	}
}

// TestSearchByKeyboard: "/" and Enter lead from any page to a device, a school or a
// person, and from the list to the device that is called so.
func TestSearchByKeyboard(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(30)
	d, err := w.fleet.Device(t.Context(), operator, ids[0])
	w.must(err)
	tb := w.tab(t, looks{lang: "de", theme: "light", as: "admin"})
	for _, tt := range []struct{ from, q, to string }{
		{"/findings", d.Serial, "/devices/" + ids[0]},
		{"/catalogue", "S0101", "/schools/" + w.schoolID("Landkreis Kiefer", "S0101")},
		{"/schools", "lifebook", "/search"},
		{"/devices", strings.ToLower(d.Inventory), "/devices/" + ids[0]},
	} {
		tb.open(tt.from)
		tb.press("/")
		tb.key(tt.q + kb.Enter)
		tb.wait(`location.pathname === "` + tt.to + `"`)
		tb.settled()
	}
}
