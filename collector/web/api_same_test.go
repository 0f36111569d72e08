package web_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/enroll"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	"hausmeister/collector/web"
	"hausmeister/proto/hmpb"
)

// TestListsCountTheirItems: every list that goes by pages says on each of them how
// many items all have together.
func TestListsCountTheirItems(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := storesOn(t, d, quietLog).serve()
		ids := w.fill(12)
		admin, ahorn := w.token("admin", access.RoleAdmin, nil), w.token("ahorn", access.RoleAdmin, []string{w.ownerID("Landkreis Ahorn")})
		for i := range 7 {
			owner := []string{"Landkreis Ahorn", "Stadt Topas"}[i%2]
			_, _, err := w.enroll.CreateClaim(t.Context(), operator, enroll.NewClaim{Owner: w.ownerID(owner), Cap: 3, Expires: w.clock().AddDate(0, 0, 1)})
			w.must(err)
			_, err = w.fleet.StartJob(t.Context(), operator, fleet.NewJob{Act: fleet.ActLabel, Label: fmt.Sprint("L", i), Devices: []string{ids[i]}})
			w.must(err)
		}
		all, err := w.fleet.StartJob(t.Context(), operator, fleet.NewJob{Act: fleet.ActLabel, Label: "alle", Filter: &fleet.Filter{}})
		w.must(err)
		w.must(w.fleet.RunJobs(t.Context()))
		for range 5 {
			w.fillsUp(ids[0], hmpb.Severity_SEVERITY_WARNING)
			w.must(w.fleet.SetLabel(t.Context(), operator, ids[0], "x", true))
			w.must(w.fleet.SetLabel(t.Context(), operator, ids[0], "x", false))
			w.advance(24 * time.Hour)
		}
		day := w.clock().AddDate(0, 0, -2).Format(time.DateOnly)
		for _, path := range []string{
			"/api/v1/claims", "/api/v1/jobs", "/api/v1/audit", "/api/v1/audit?action=device", "/api/v1/audit?action=device.labelled", "/api/v1/audit?from=" + day, "/api/v1/audit?action=device&to=" + day,
			"/api/v1/jobs/" + all.ID + "/devices", "/api/v1/jobs/" + all.ID + "/devices?outcome=changed", "/api/v1/jobs/" + all.ID + "/devices?outcome=kept",
			"/api/v1/devices/" + ids[0] + "/events", "/api/v1/devices", "/api/v1/devices?label=alle", "/api/v1/schools",
		} {
			for name, token := range map[string]string{"all": admin, "one owner": ahorn} {
				if name != "all" && strings.Contains(path, all.ID) {
					continue // of more owners than that
				}
				n, total := w.pages(t, token, path)
				if n != total || n == 0 != strings.HasSuffix(path, "kept") {
					t.Errorf("%s for %s: %d items, total %d", path, name, n, total)
				}
			}
		}
	})
}

// TestCountOfTheRecord: a cursor carries the count of its own question only.
func TestCountOfTheRecord(t *testing.T) {
	w := newWorld(t)
	w.fill(6)
	admin, ahorn := w.token("admin", access.RoleAdmin, nil), w.token("ahorn", access.RoleAdmin, []string{w.ownerID("Landkreis Ahorn")})
	type page struct {
		Total  int64
		Cursor string
	}
	get := func(token, query string) (p page) {
		t.Helper()
		w.api(token, "/api/v1/audit?limit=1&"+query, &p)
		return p
	}
	all, devices, one := get(admin, ""), get(admin, "action=device"), get(ahorn, "")
	if all.Total <= devices.Total || devices.Total == 0 || one.Total == 0 || one.Total >= all.Total {
		t.Fatalf("all %d, of devices %d, of one owner %d", all.Total, devices.Total, one.Total)
	}
	w.must(w.fleet.SetInventory(t.Context(), operator, w.known(), "AH-1"))
	for what, c := range map[string]struct {
		got  page
		want int64
	}{
		"the same question":  {get(admin, "cursor="+all.Cursor), all.Total},
		"another action":     {get(admin, "action=device&cursor="+all.Cursor), get(admin, "action=device").Total},
		"another scope":      {get(ahorn, "cursor="+all.Cursor), get(ahorn, "").Total},
		"only the place":     {get(admin, "cursor="+strings.Split(all.Cursor, ".")[0]), get(admin, "").Total},
		"another number":     {get(admin, "cursor="+strings.Replace(all.Cursor, ".", ".-9", 1)), get(admin, "").Total},
		"the first of those": {get(admin, ""), get(admin, "").Total},
	} {
		if c.got.Total != c.want {
			t.Errorf("%s: total %d, want %d", what, c.got.Total, c.want)
		}
	}
	for _, cursor := range []string{"x", "0.1.2", ".1.2x", "-5"} {
		if res := w.api(admin, "/api/v1/audit?cursor="+cursor, nil); res.StatusCode != http.StatusBadRequest {
			t.Errorf("cursor %s = %d %s", cursor, res.StatusCode, res.body)
		}
	}
}

// pages reads all pages of a list, two items at once, and wants the same total on
// each.
func (w *world) pages(t *testing.T, token, path string) (n, total int) {
	t.Helper()
	u, err := url.Parse(path)
	w.must(err)
	values := u.Query()
	values.Set("limit", "2")
	seen := map[string]bool{}
	for page := 0; ; page++ {
		var got struct {
			Items  []struct{ ID string }
			Total  *int
			Cursor *string
		}
		res := w.api(token, u.Path+"?"+values.Encode(), &got)
		if res.StatusCode != http.StatusOK || got.Total == nil {
			t.Fatalf("%s = %d %s", path, res.StatusCode, res.body)
		}
		if page > 0 && *got.Total != total {
			t.Errorf("%s: total %d, on the page before %d", path, *got.Total, total)
		}
		total = *got.Total
		for _, it := range got.Items {
			if !strings.HasSuffix(u.Path, "/events") && seen[it.ID] { // ids of events are of one page
				t.Errorf("%s: %s twice", path, it.ID)
			}
			seen[it.ID] = true
			n++
		}
		if got.Cursor == nil || page > 200 {
			return n, total
		}
		values.Set("cursor", *got.Cursor)
	}
}

// TestSchoolOfTheAPI: the same as its page says, and nothing of another owner.
func TestSchoolOfTheAPI(t *testing.T) {
	w := newWorld(t)
	id := w.school()
	var got struct {
		ID, Code, Name, Kind string
		Devices              int64
		States               []struct {
			ID      string
			Devices int64
		}
		Findings []struct{ ID string }
		Ways     struct {
			TCP     *int64 `json:"tcp_only"`
			Proxy   *int64 `json:"tcp_through_proxy"`
			Issuers []struct {
				Name    string
				Devices *int64
			} `json:"inspection_issuers"`
		}
	}
	res := w.api(w.token("read", access.RoleRead, nil), "/api/v1/schools/"+id, &got)
	counts, err := w.fleet.Counts(t.Context(), operator, fleet.Filter{School: id})
	w.must(err)
	if got.ID != id || got.Code != "S0001" || got.Name != "Gymnasium Ahorntal" || got.Kind != "Gymnasium" || got.Devices != counts.Total || len(got.Findings) != 1 || got.Findings[0].ID != "disk_low" {
		t.Errorf("the school = %s", res.body)
	}
	sum := int64(0)
	for i, s := range got.States {
		if sum += s.Devices; s.ID != string(fleet.States[i]) || s.Devices != counts.States[fleet.States[i]] {
			t.Errorf("state %s: %d, want %d", s.ID, s.Devices, counts.States[fleet.States[i]])
		}
	}
	if sum != counts.Total {
		t.Errorf("the states hold %d devices of %d", sum, counts.Total)
	}
	// Six come over TCP, three through a proxy: too few for a number.
	if ways := got.Ways; ways.TCP == nil || *ways.TCP != 6 || ways.Proxy != nil || len(ways.Issuers) != 1 || *ways.Issuers[0].Devices != 6 {
		t.Errorf("ways: %s", res.body)
	}
	foreign := w.token("topas", access.RoleRead, []string{w.ownerID("Stadt Topas")})
	if res := w.api(foreign, "/api/v1/schools/"+id, nil); res.StatusCode != http.StatusNotFound {
		t.Errorf("another owner's school = %d %s", res.StatusCode, res.body)
	}
}

// TestRecordOfTheAPI: state of the chain and CSV as on the page.
func TestRecordOfTheAPI(t *testing.T) {
	w := newWorld(t)
	w.fill(3)
	admin := w.token("admin", access.RoleAdmin, nil)
	b := w.signedIn("admin")
	var state struct {
		Holds         bool
		Entry         int64
		Head, Checked string
		Broken        string
	}
	w.api(admin, "/api/v1/audit/state", &state)
	if page := b.get("/audit").body; !state.Holds || state.Entry == 0 || len(state.Head) != 64 || !strings.Contains(page, state.Head) {
		t.Errorf("the state %+v is not that of the page", state)
	}
	for _, query := range []string{"", "?action=device", "?action=user&from=2026-11-01"} {
		ours, theirs := w.api(admin, "/api/v1/audit.csv"+query, nil), b.get("/audit.csv"+query)
		a, err := csv.NewReader(strings.NewReader(ours.body)).ReadAll()
		if err != nil || len(a) < 2 || ours.body != theirs.body {
			t.Errorf("CSV %q: %d rows, %v; the same as the page's: %v", query, len(a), err, ours.body == theirs.body)
		}
	}
	support := w.token("support", access.RoleSupport, nil)
	for _, path := range []string{"/api/v1/audit.csv", "/api/v1/audit/state"} {
		if res := w.api(support, path, nil); res.StatusCode != http.StatusForbidden {
			t.Errorf("%s for support = %d, want 403", path, res.StatusCode)
		}
	}
	w.must(w.exec(`UPDATE audit SET actor = 'user:nobody' WHERE seq = 2`))
	w.advance(time.Hour)
	w.api(admin, "/api/v1/audit/state", &state)
	if state.Holds || state.Entry != 1 || state.Broken == "" {
		t.Errorf("a changed entry: %+v, want that it is told", state)
	}
}

// TestRestOfTheAPI: what else pages show and do.
func TestRestOfTheAPI(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(14)
	known := w.known()
	admin, read := w.token("admin", access.RoleAdmin, nil), w.token("read", access.RoleRead, nil)
	post := func(path, body string) answer {
		t.Helper()
		return w.browser().do(http.MethodPost, path, strings.NewReader(body), "Authorization", "Bearer "+admin, "Content-Type", "application/json")
	}
	// Counts of looks, without names; the known device had one.
	w.look("support", known)
	w.look("support", ids[0])
	w.look("admin", ids[0])
	var looks struct {
		Items []struct {
			ID             string
			Looks, Devices int
		}
	}
	res := w.api(read, "/api/v1/looks", &looks)
	if len(looks.Items) != 12 || looks.Items[0].ID != "2026-11" || looks.Items[0].Looks != 4 || looks.Items[0].Devices != 2 || strings.Contains(res.body, "support") {
		t.Errorf("looks: %s", res.body)
	}
	// A view that was deleted comes back, for a week.
	var view struct{ ID string }
	w.must(json.Unmarshal([]byte(post("/api/v1/views", `{"name":"Stille","filter":{"state":"silent"}}`).body), &view))
	restore := "/api/v1/views/" + view.ID + "/restore"
	if res := post(restore, ""); res.StatusCode != http.StatusNotFound {
		t.Errorf("restoring what is there = %d, want 404", res.StatusCode)
	}
	post("/api/v1/views/"+view.ID+"/delete", "")
	if res := post(restore, ""); res.StatusCode != http.StatusOK || !strings.Contains(res.body, `"name":"Stille"`) {
		t.Errorf("restoring = %d %s", res.StatusCode, res.body)
	}
	post("/api/v1/views/"+view.ID+"/delete", "")
	post("/api/v1/views", `{"name":"Stille","filter":{"state":"new"}}`)
	if res := post(restore, ""); res.StatusCode != http.StatusConflict || !strings.Contains(res.body, "problem:exists") {
		t.Errorf("restoring with the name taken = %d %s, want 409", res.StatusCode, res.body)
	}
	// The main finding, in lists and alone, until somebody takes care of it.
	type found struct {
		Code, Severity string
		More           int
	}
	type item struct {
		ID      string
		Finding *found
		Columns map[string]any
	}
	var list struct{ Items []item }
	var one item
	main := func(want *found) {
		t.Helper()
		w.api(read, "/api/v1/devices?q=AH-2021-0815", &list)
		w.api(read, "/api/v1/devices/"+known, &one)
		for _, got := range []*found{list.Items[0].Finding, one.Finding} {
			if want == nil && got != nil || want != nil && (got == nil || *got != *want) {
				t.Errorf("main finding %+v, want %+v", got, want)
			}
		}
		one.Finding = nil
		list.Items = nil
	}
	w.fillsUp(known, hmpb.Severity_SEVERITY_CRITICAL)
	w.raise(known, "firewall_off", "", hmpb.Severity_SEVERITY_WARNING)
	findings, err := w.health.Findings(t.Context(), operator, known)
	w.must(err)
	main(&found{"disk_low", "critical", len(findings) - 1})
	_, err = w.health.QuietFinding(t.Context(), operator, known, "disk_low", "C:", health.NewQuiet{Reason: "SSD ist bestellt"})
	w.must(err)
	main(&found{"firewall_off", "warning", len(findings) - 2})
	// Columns of the list by their names, and no others.
	w.api(read, "/api/v1/devices?q=AH-2021-0815&columns=seen,model,memory,finding", &list)
	if c := list.Items[0].Columns; len(c) != 4 || c["model"] != "FUJITSU LIFEBOOK A3510" || c["seen"] != "2026-11-23" || c["finding"].(map[string]any)["code"] != "firewall_off" {
		t.Errorf("columns: %v", c)
	}
	if _, ok := list.Items[0].Columns["memory"]; !ok {
		t.Error("a value that nobody knows is left out, want null")
	}
	for _, columns := range []string{"farbe", "model,", "model,serial,school,owner,finding,labels,system,build,path"} {
		if res := w.api(read, "/api/v1/devices?columns="+columns, nil); res.StatusCode != http.StatusBadRequest || !strings.Contains(res.body, `"field":"columns"`) {
			t.Errorf("columns=%s = %d %s, want 400", columns, res.StatusCode, res.body)
		}
	}
	// CSV and counts as the page has them.
	for _, query := range []string{"", "?state=connected&sort=-battery", "?school=S0001"} {
		if ours, theirs := w.api(read, "/api/v1/devices.csv"+query, nil), w.signedIn("read").get("/devices.csv"+query); ours.body != theirs.body || ours.Header.Get("Content-Disposition") == "" || strings.Count(ours.body, "\n") < 2 {
			t.Errorf("CSV %q differs from the page's", query)
		}
	}
	var counts struct {
		Items []struct {
			ID      string
			Devices int64
		}
	}
	w.api(read, "/api/v1/counts?q=lifebook", &counts)
	there, err := w.fleet.Counts(t.Context(), operator, fleet.Filter{Query: "lifebook"})
	w.must(err)
	if len(counts.Items) != len(fleet.States) || slices.ContainsFunc(counts.Items, func(c struct {
		ID      string
		Devices int64
	}) bool {
		return there.States[fleet.State(c.ID)] != c.Devices
	}) {
		t.Errorf("counts %+v, want %+v", counts, there)
	}
	// Jobs of a device; their list is for who starts them, by token as by page.
	_, err = w.fleet.StartJob(t.Context(), operator, fleet.NewJob{Act: fleet.ActLabel, Label: "Rückruf", Devices: []string{known}})
	w.must(err)
	w.must(w.fleet.RunJobs(t.Context()))
	if res := w.api(read, "/api/v1/devices/"+known+"/jobs", nil); !strings.Contains(res.body, `"label":"Rückruf"`) || !strings.Contains(res.body, `"outcome":"changed"`) {
		t.Errorf("jobs of a device: %s", res.body)
	}
	for _, role := range access.Roles {
		ours, theirs := w.api(w.token("jobs-"+string(role), role, nil), "/api/v1/jobs", nil), w.signedIn(string(role)).get("/jobs")
		if ours.StatusCode != theirs.StatusCode {
			t.Errorf("jobs for %s: API %d, page %d", role, ours.StatusCode, theirs.StatusCode)
		}
	}
	// Values to compare with.
	if res := w.api(read, "/api/v1/answer/values?of=firewall", nil); !strings.Contains(res.body, `"off"`) {
		t.Errorf("values of a reading: %s", res.body)
	}
	if res := w.api(read, "/api/v1/answer/values?of=farbe", nil); res.StatusCode != http.StatusBadRequest {
		t.Errorf("values of nothing = %d", res.StatusCode)
	}
}

// TestEventsAreDescribed: of every event of a stream its text stands in the
// description, and in both languages on the page of the API.
func TestEventsAreDescribed(t *testing.T) {
	w := newWorld(t)
	var doc struct {
		Paths map[string]map[string]struct{ Description string }
	}
	w.api(w.token("t", access.RoleRead, nil), "/api/v1/openapi.json", &doc)
	page := w.signedIn("admin").get("/api").body
	for path, kinds := range map[string][]string{
		"/api/v1/events":            append([]string{"begin", "reset", "end"}, words(health.ChangeKinds)...),
		"/api/v1/devices/{id}/live": {"values", "over", "end"},
	} {
		for _, kind := range kinds {
			if text := doc.Paths[path]["get"].Description; !strings.Contains(text, " "+kind+": ") {
				t.Errorf("%s does not say what %s is: %s", path, kind, text)
			}
			if !strings.Contains(page, `<dt class="mono">`+kind+`</dt>`) {
				t.Errorf("the page of the API does not say what %s is", kind)
			}
		}
	}
	if n := len(health.ChangeKinds) + 3; n != 9 {
		t.Errorf("%d events of the stream of changes, want nine", n)
	}
	// Whatever changes something says whether it can be bound to a state.
	for path, methods := range doc.Paths {
		if c, ok := methods["post"]; ok && (web.TaggedBy(http.MethodPost, path) == "") != strings.Contains(c.Description, "Not conditional") {
			t.Errorf("POST %s is described by %q", path, c.Description)
		}
	}
}
