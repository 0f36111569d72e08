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

// TestSearchVersion: a version leads to its rollout, where there is one only; part of one
// and what several are called is offered to choose from.
func TestSearchVersion(t *testing.T) {
	w := storesPaced(t, peopled(t), quietLog, lookRings).serve()
	ids := w.fill(60) // of fewer, all of the second ring may be through already
	runs, halted, _ := w.rolled(ids)
	for q, to := range map[string]string{"1.1.0": "/rollouts/" + runs, " v1.2.0 ": "/rollouts/" + halted, "1.0.0": "/updates"} {
		if res := w.signedIn("read").get("/search?q=" + url.QueryEscape(q)); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != to {
			t.Errorf("searching %q = %d to %q, want %s", q, res.StatusCode, res.Header.Get("Location"), to)
		}
	}
	if body := text(w.signedIn("read").get("/search?q=1.1").body); !strings.Contains(body, "Versionen") || !strings.Contains(body, "Agent·1.1.0 stabil, Läuft, ") || !strings.Contains(body, "1.1.1") || strings.Contains(body, "1.2.0") {
		t.Errorf("searching a part of versions: %s", body)
	}
	list, err := w.rollouts.List(t.Context(), operator)
	w.must(err)
	for _, r := range list { // else it is too old to begin
		if r.Ended.IsZero() && r.ID != runs {
			w.must(w.rollouts.Abort(t.Context(), operator, r.ID, "macht Platz"))
		}
	}
	w.must(w.exec(`UPDATE rollouts SET state = 'halted' WHERE id = '` + runs + `'`))
	again, err := w.rollouts.Start(t.Context(), releaser("m.sommer"), w.releaseID("0.9.0"), "zweiter Versuch")
	w.must(err)
	if body := w.signedIn("read").get("/search?q=0.9.0").body; !strings.Contains(body, "/rollouts/"+again) || !strings.Contains(text(body), "Heißt genau so") || !strings.Contains(text(body), "Vorzeitig beendet") {
		t.Errorf("searching what was rolled out twice: %s", text(body))
	}
	var got struct{ Items []struct{ ID, Kind string } }
	if w.api(w.token("t", access.RoleRead, nil), "/api/v1/search?q=1.1.0", &got); len(got.Items) != 1 || got.Items[0].Kind != "rollout" || got.Items[0].ID != runs {
		t.Errorf("the API finds %+v, want the rollout", got)
	}
}
