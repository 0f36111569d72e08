package web_test

import (
	"html"
	"maps"
	"net/http"
	"net/url"
	"slices"
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
	for i, id := range ids {
		if i != 16 { // the only one that never told its build, which would hide the others'
			w.fillsUp(id, hmpb.Severity_SEVERITY_WARNING)
		}
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

// TestFindingTellsOfNobody: the page and the API say how many devices have a finding, and
// of its groups nothing from which a small one could be calculated.
func TestFindingTellsOfNobody(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(24)
	b, token := w.signedIn("read"), w.token("admin", access.RoleAdmin, nil)
	of := map[string][]string{}
	for _, id := range ids {
		d, err := w.fleet.Device(t.Context(), operator, id)
		w.must(err)
		of[d.Model] = append(of[d.Model], id)
	}
	models := slices.Sorted(maps.Keys(of))
	var list struct {
		Items []struct {
			ID          string
			Devices, Of *int64
		}
	}
	see := func() (page string) {
		w.api(token, "/api/v1/findings/"+finding.DiskLow+"/spread?by=model", &list)
		_, page, _ = strings.Cut(b.get("/findings/"+finding.DiskLow).body, `id="by-model"`)
		page, _, _ = strings.Cut(page, "</section>")
		return text(page)
	}
	for _, id := range of[models[0]][:2] {
		w.fillsUp(id, hmpb.Severity_SEVERITY_WARNING)
	}
	if page := see(); len(list.Items) != 0 || !strings.Contains(page, "Darum steht hier keine Verteilung") || strings.Contains(page, models[0]) {
		t.Errorf("two devices of one model: %+v and %q, want no distribution", list.Items, page)
	}
	for i, devices := range []int{6, 6, 3} {
		for _, id := range of[models[i]][:devices] {
			w.fillsUp(id, hmpb.Severity_SEVERITY_WARNING)
		}
	}
	page := see()
	var told []string
	for _, item := range list.Items {
		if (item.Devices == nil) != (item.Of == nil) {
			t.Errorf("%s has half of its numbers", item.ID)
		}
		if item.Devices != nil {
			told = append(told, item.ID)
		}
	}
	if len(list.Items) != 3 || !slices.Equal(told, models[:1]) {
		t.Errorf("of 6, 6 and 3 devices the API tells %q of %+v, want %q alone", told, list.Items, models[0])
	}
	if strings.Count(page, "nicht genannt")-strings.Count(page, "sind nicht genannt") != 2 || strings.Count(page, "unter 5") != 1 || !strings.Contains(page, "fehlt manchmal eine weitere") {
		t.Errorf("of 6, 6 and 3 devices the page says %q, want two left out and why", page)
	}
}
