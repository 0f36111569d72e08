package web_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/health"
	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
)

// TestQuietOnThePages: somebody who takes care of a finding says so at a device and
// for a model; it no longer counts, stays in sight with who and why, and is undone.
func TestQuietOnThePages(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(8)
	w.fillsUp(ids[0], hmpb.Severity_SEVERITY_CRITICAL)
	w.fillsUp(ids[4], hmpb.Severity_SEVERITY_WARNING)
	b := w.signedIn("support")
	page := "/devices/" + ids[0]
	ask := page + "/findings/quiet?" + url.Values{"code": {finding.DiskLow}, "instance": {"C:"}}.Encode()
	if body := b.get(page).body; !strings.Contains(body, strings.ReplaceAll(ask, "&", "&amp;")) || !strings.Contains(body, "Kritisch") {
		t.Fatal("the device's page offers no way to acknowledge its finding")
	}
	if body := w.signedIn("read").get(page).body; strings.Contains(body, "/findings/quiet") {
		t.Error("a reader is offered what he may not do")
	}
	if res := w.signedIn("read").get(ask); res.StatusCode != http.StatusForbidden {
		t.Errorf("the form for a reader = %d, want 403", res.StatusCode)
	}
	form := url.Values{"code": {finding.DiskLow}, "instance": {"C:"}, "until": {"day"}, "day": {"2026-11-22"}, "reason": {"Größere SSD ist bestellt"}}
	res := b.post(page+"/findings/quiet", form)
	if res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(res.body, "ab morgen") || !strings.Contains(res.body, "Größere SSD ist bestellt") {
		t.Errorf("a day that is over = %d, want 422 with what was typed", res.StatusCode)
	}
	form.Set("until", "7")
	if res := b.post(page+"/findings/quiet", form); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != page+"?done=quiet" {
		t.Fatalf("POST = %d %s, want 303 back to the device", res.StatusCode, res.body)
	}
	body := strings.ReplaceAll(b.get(page).body, "\u00a0", " ")
	if !strings.Contains(body, "support hat das am Mo 23.11.2026, 10:30 Uhr zurückgestellt, bis Mo 30.11.2026.") || strings.Contains(body, "Kritisch</span>\n") {
		t.Error("the page does not say who, when and until when")
	}
	if body := b.get("/devices?state=critical").body; strings.Contains(body, page+`"`) {
		t.Error("the list still calls the device critical")
	}

	// Of a model, then all of it undone.
	d, err := w.fleet.Device(t.Context(), operator, ids[4])
	w.must(err)
	if body := b.get("/findings/disk_low/quiet").body; !strings.Contains(body, `value="model:`+d.Model+`"`) {
		t.Error("the form offers no model")
	}
	res = b.post("/findings/disk_low/quiet", url.Values{"group": {"model:" + d.Model}, "until": {"cleared"}, "reason": {"Neues Abbild kommt"}})
	if res.StatusCode != http.StatusSeeOther {
		t.Fatalf("POST of a model = %d %s", res.StatusCode, res.body)
	}
	job := strings.TrimPrefix(res.Header.Get("Location"), "/findings/disk_low?job=")
	note := b.get(res.Header.Get("Location")).body
	if !strings.Contains(text(note), "„Speicher fast voll“ bestätigen oder zurückstellen: Ein Gerät ist geändert.") || !strings.Contains(note, `action="/jobs/`+job+`/undo"`) {
		t.Errorf("the page of the finding does not say what became of it: %s", text(note))
	}
	if body := text(b.get("/jobs/" + job).body); !strings.Contains(body, "Offener Hinweis") && !strings.Contains(body, "Modell: "+d.Model) {
		t.Errorf("the page of the job does not say which devices it is about: %s", body)
	}
	if body := b.get("/findings").body; !strings.Contains(body, "In Arbeit") {
		t.Error("the findings page does not say that somebody takes care of it")
	}
	quiets, err := w.health.Quiets(t.Context(), operator, finding.DiskLow)
	w.must(err)
	if len(quiets) != 2 || quiets[0].Reason != "Neues Abbild kommt" && quiets[1].Reason != "Neues Abbild kommt" {
		t.Fatalf("acts: %+v, want two", quiets)
	}
	for _, q := range quiets {
		if res := b.post("/findings/disk_low/loud", url.Values{"quiet": {q.ID}}); res.StatusCode != http.StatusSeeOther {
			t.Errorf("undo = %d", res.StatusCode)
		}
	}
	if body := b.get("/findings").body; strings.Contains(body, "In Arbeit") {
		t.Error("undone, and still in hand")
	}
	if body := b.get("/devices?state=critical").body; !strings.Contains(body, page+`"`) {
		t.Error("undone, and the list does not call the device critical")
	}
	if body := w.signedIn("admin").get("/audit?action=finding").body; !strings.Contains(body, "Hinweis zurückgestellt") || !strings.Contains(body, "Hinweis wieder geöffnet") {
		t.Error("the record does not tell of it")
	}
}

// TestQuietByTheAPI: the same by the API, with its refusals.
func TestQuietByTheAPI(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(4)
	w.fillsUp(ids[0], hmpb.Severity_SEVERITY_WARNING)
	support, read := w.token("s", access.RoleSupport, nil), w.token("r", access.RoleRead, nil)
	post := func(token, path, body string) answer {
		return w.browser().do(http.MethodPost, "/api/v1"+path, strings.NewReader(body), "Authorization", "Bearer "+token, "Content-Type", "application/json")
	}
	path := "/devices/" + ids[0] + "/findings/"
	for _, tt := range []struct {
		token, path, body string
		code              int
		part              string
	}{
		{read, path + "quiet", `{"code":"disk_low","instance":"C:","reason":"bestellt"}`, 403, "forbidden"},
		{support, path + "quiet", `{"code":"disk_low","instance":"C:","reason":"bestellt","until":"morgen"}`, 400, `"field":"until"`},
		{support, path + "quiet", `{"code":"disk_low","instance":"C:","reason":""}`, 400, `"field":"reason"`},
		{support, path + "quiet", `{"code":"disk_low","instance":"D:","reason":"bestellt"}`, 404, "not-found"},
		{support, "/findings/disk_low/quiet", `{"model":"x"}`, 400, `"field":"reason"`},
		{support, "/findings/none/quiet", `{"reason":"bestellt"}`, 404, "not-found"},
		{read, "/findings/disk_low/quiet", `{"reason":"bestellt"}`, 403, "forbidden"},
		{support, "/findings/disk_low/quiet", `{"model":"none","reason":"bestellt"}`, 201, `"act":"quiet"`},
		{support, "/quiets/none/end", ``, 404, "not-found"},
		{support, path + "quiet", `{"code":"disk_low","instance":"C:","reason":"bestellt","until":"2026-12-24"}`, 200, `"until":"2026-12-23T23:00:00.000Z"`},
	} {
		if res := post(tt.token, tt.path, tt.body); res.StatusCode != tt.code || !strings.Contains(res.body, tt.part) {
			t.Errorf("POST %s %s = %d %s, want %d with %s", tt.path, tt.body, res.StatusCode, res.body, tt.code, tt.part)
		}
	}
	var open struct {
		Items []struct{ Devices, Quiet int64 }
	}
	w.api(read, "/api/v1/findings", &open)
	if len(open.Items) != 1 || open.Items[0].Devices != 1 || open.Items[0].Quiet != 1 {
		t.Errorf("findings = %+v, want one device, quiet", open)
	}
	w.advance(31 * 24 * time.Hour)
	_, err := w.health.WakeFindings(t.Context())
	w.must(err)
	var all struct {
		Items []struct{ Quiet *struct{ By string } }
	}
	w.api(read, "/api/v1/devices/"+ids[0]+"/findings", &all)
	if len(all.Items) != 1 || all.Items[0].Quiet != nil {
		t.Errorf("after the day: %+v, want it loud", all)
	}
}

// TestQuietOfManyEnds: an act at more devices than one request makes loud is undone by a
// job, on the page and by the API.
func TestQuietOfManyEnds(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	var first string
	for i := range 502 {
		id := w.admit("Landkreis Ahorn", "S0001", "FUJITSU", "LIFEBOOK A3510", fmt.Sprintf("VIELE%05d", i), "windows", "")
		if i == 0 {
			first = id
		}
	}
	w.fillsUp(first, hmpb.Severity_SEVERITY_WARNING)
	q, err := w.health.QuietFinding(t.Context(), w.callerOf("support"), first, finding.DiskLow, "C:", health.NewQuiet{Reason: "Neues Abbild kommt am Montag"})
	w.must(err)
	// The others as if they had been quiet by the same act.
	w.must(w.exec(`INSERT INTO health_findings (device_id, spool, seq, code, instance, severity, arguments, raised_ms, quiet_id, quiet_severity)
		SELECT d.device_id, f.spool, f.seq, f.code, f.instance, f.severity, f.arguments, f.raised_ms, f.quiet_id, f.quiet_severity
		FROM health_findings f, fleet_devices d WHERE d.device_id <> f.device_id`))
	token := w.token("helper", access.RoleSupport, nil)
	var ended struct {
		Devices int64
		Job     string
	}
	post := func(path string, out any) answer {
		t.Helper()
		res := w.browser().do(http.MethodPost, path, strings.NewReader("{}"), "Authorization", "Bearer "+token, "Content-Type", "application/json")
		if err := json.Unmarshal([]byte(res.body), out); err != nil {
			t.Fatalf("POST %s: %v in %s", path, err, res.body)
		}
		return res
	}
	res := post("/api/v1/quiets/"+q.ID+"/end", &ended)
	if res.StatusCode != http.StatusOK || ended.Job == "" || ended.Devices != 502 {
		t.Fatalf("the end = %d %s, want a job for 502 devices", res.StatusCode, res.body)
	}
	w.must(w.fleet.RunJobs(t.Context()))
	var job struct {
		Act, State, Finding string
		Changed             int64
	}
	if w.api(token, "/api/v1/jobs/"+ended.Job, &job); job.Act != "loud" || job.State != "done" || job.Changed != 502 || job.Finding != finding.DiskLow {
		t.Errorf("the job = %+v, want 502 changed", job)
	}
	// Back again, and undone on the page.
	if res := post("/api/v1/jobs/"+ended.Job+"/undo", &job); res.StatusCode != http.StatusOK {
		t.Fatalf("undo = %d %s", res.StatusCode, res.body)
	}
	w.must(w.fleet.RunJobs(t.Context()))
	b := w.signedIn("support")
	page := b.post("/findings/disk_low/loud", url.Values{"quiet": {q.ID}})
	at := page.Header.Get("Location")
	if page.StatusCode != http.StatusSeeOther || !strings.HasPrefix(at, "/findings/disk_low?job=") {
		t.Fatalf("undo on the page = %d to %q, want to the finding with its job", page.StatusCode, at)
	}
	w.must(w.fleet.RunJobs(t.Context()))
	if body := text(b.get(at).body); !strings.Contains(body, "„Speicher fast voll“ wieder zählen lassen") {
		t.Errorf("the page does not say what is under way: %s", body)
	}
}
