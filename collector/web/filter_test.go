package web_test

import (
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"hausmeister/collector/access"
	"hausmeister/collector/fleet"
	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
)

// TestListByModelAndBuild: the list is filtered by model and build of the system on the
// page, by the API, in the CSV and in a saved view alike, and the groups of a finding
// lead to the devices that they count.
func TestListByModelAndBuild(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(24)
	for _, id := range []string{ids[0], ids[1], ids[2]} {
		w.fillsUp(id, hmpb.Severity_SEVERITY_WARNING)
	}
	d, err := w.fleet.Device(t.Context(), operator, ids[1])
	w.must(err)
	counts, err := w.fleet.Counts(t.Context(), operator, fleet.Filter{Model: d.Model, Build: d.Build})
	w.must(err)
	if counts.Total == 0 || counts.Total == 24 || d.Build == "" {
		t.Fatalf("%d devices of %q with %q: the filter would tell nothing", counts.Total, d.Model, d.Build)
	}
	b, token := w.signedIn("read"), w.token("admin", access.RoleAdmin, nil)
	both := url.Values{"model": {d.Model}, "os_build": {d.Build}}.Encode()
	if body := b.get("/devices").body; !strings.Contains(body, "<option>"+d.Model+"</option>") || !strings.Contains(body, "<option>"+d.Build+"</option>") {
		t.Error("the list does not offer the models and builds that there are")
	}
	body := b.get("/devices?" + both).body
	if rows := rowsOf(body); int64(len(rows)) != counts.Total || !strings.Contains(text(body), "Modell: "+d.Model) || !strings.Contains(text(body), "Systemstand: "+d.Build) {
		t.Errorf("the list has %d rows, want %d and both filters named", len(rows), counts.Total)
	}
	if csv := b.get("/devices.csv?" + both).body; int64(strings.Count(csv, "\n")) != counts.Total+1 {
		t.Errorf("the CSV has %d lines, want %d and a head", strings.Count(csv, "\n"), counts.Total)
	}
	var list struct{ Total int64 }
	if w.api(token, "/api/v1/devices?"+both, &list); list.Total != counts.Total {
		t.Errorf("the API lists %d, want %d", list.Total, counts.Total)
	}
	if body := text(b.get("/devices?model=none").body); !strings.Contains(body, "Kein Gerät passt") || !strings.Contains(body, "Letzten Filter entfernen") {
		t.Errorf("a model that no device is of: %s", body)
	}
	if res := b.get("/devices?model=" + strings.Repeat("x", 301)); res.StatusCode != http.StatusBadRequest {
		t.Errorf("a model of 301 bytes = %d, want 400", res.StatusCode)
	}

	page := html.UnescapeString(b.get("/findings/" + finding.DiskLow).body)
	for _, want := range []url.Values{{"finding": {finding.DiskLow}, "model": {d.Model}}, {"finding": {finding.DiskLow}, "os_build": {d.Build}}} {
		href := "/devices?" + want.Encode()
		if !strings.Contains(page, `href="`+href+`"`) || len(rowsOf(b.get(href).body)) == 0 {
			t.Errorf("the finding's groups do not lead to %s, or no device is there", href)
		}
	}

	view, err := w.fleet.SaveView(t.Context(), w.callerOf("admin"), fleet.View{Name: "Modellpflege", Sharing: fleet.ViewAll, Filter: fleet.Filter{Model: d.Model, Build: d.Build}})
	w.must(err)
	if to := b.get("/views/" + view.ID).Header.Get("Location"); !strings.Contains(to, both) {
		t.Errorf("the saved view leads to %q, want %q in it", to, both)
	}
	var saved struct {
		Filter struct {
			Model string `json:"model"`
			Build string `json:"os_build"`
		}
	}
	if w.api(token, "/api/v1/views/"+view.ID, &saved); saved.Filter.Model != d.Model || saved.Filter.Build != d.Build {
		t.Errorf("the API gives the view as %+v", saved)
	}
}
