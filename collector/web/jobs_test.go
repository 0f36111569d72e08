package web_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"hausmeister/collector/access"
	"hausmeister/collector/fleet"
	"hausmeister/testenv/need"
)

// TestChooseByKeyboard walks the whole way of a change of many devices without a
// mouse: choose rows, label them, see it, undo it; then all of a filter.
func TestChooseByKeyboard(t *testing.T) {
	need.Plain(t)
	w := newWorld(t)
	w.fill(120)
	tb := w.tab(t, looks{lang: "de", theme: "light", as: "support"})
	tb.notesStay()
	tb.open("/devices?q=lifebook")
	tb.wait(`document.querySelector(".head .n") !== null`)
	all := eval[string](tb, `document.querySelector(".head .n").textContent.split(" ")[0]`)
	if eval[bool](tb, `document.querySelector(".bulk").checkVisibility()`) {
		t.Error("acts are offered before anything is chosen")
	}
	for _, key := range []string{"j", "x", "j", "j", "x"} {
		tb.press(key)
	}
	tb.wait(`document.querySelector("[data-picked]").textContent === "2 gewählt" && document.querySelector(".bulk").checkVisibility()`)
	if !eval[bool](tb, `document.activeElement.matches("[data-open]")`) {
		t.Error("choosing by x moved the focus")
	}
	tb.shot("list-chosen-de-light")
	tb.accessible()
	tb.noSideways()
	// Esc chooses nothing, and stays on the page.
	tb.key(escape)
	tb.wait(`document.querySelector("[data-picked]").textContent === "0 gewählt" && !document.querySelector(".bulk").checkVisibility() && location.pathname === "/devices"`)
	tb.press("x")
	tb.press("k")
	tb.press("x")
	tb.wait(`document.querySelector("[data-picked]").textContent === "2 gewählt"`)
	tb.do(chromedp.Focus(`button[name=what][value=label]`))
	tb.key(enter)
	tb.wait(`location.pathname === "/jobs/new" && document.body.textContent.includes("2 Geräte: ")`)
	tb.do(chromedp.Focus("#f-label"))
	tb.key("Rückruf, dringend" + enter)
	tb.wait(`document.querySelector("#f-label").getAttribute("aria-invalid") === "true" && document.querySelector("#f-label").value === "Rückruf, dringend"`)
	tb.accessible()
	tb.do(chromedp.Focus("#f-label"), chromedp.SetValue("#f-label", "Rückruf"))
	tb.key(enter)
	tb.wait(`location.pathname === "/devices" && location.search.includes("q=lifebook") && document.querySelector(".toast")?.textContent.includes("2 Geräte sind geändert.")`)
	tb.wait(`document.querySelectorAll("tbody .tag").length === 2 && document.getElementById("said").textContent.includes("Rückruf")`)
	tb.shot("list-note-de-light")
	tb.accessible()
	tb.still()
	tb.do(chromedp.Focus(`.toast button`))
	tb.key(enter)
	tb.wait(`document.querySelector(".toast")?.textContent.includes("2 Geräte sind wieder wie zuvor.") && document.querySelectorAll("tbody .tag").length === 0`)
	if eval[bool](tb, `!!document.querySelector(".toast form")`) {
		t.Error("what is undone can be undone again")
	}
	// The second step: all of the filter, counted.
	tb.press("j")
	tb.press("x")
	tb.do(chromedp.Focus(`.bulk a`))
	tb.key(enter)
	tb.wait(`location.search.includes("all=1") && document.querySelector(".bulk").textContent.includes("Alle ` + all + ` gewählt")`)
	tb.key(escape)
	tb.wait(`!location.search.includes("all=1") && document.readyState === "complete"`)
	tb.press("j")
	tb.press("x")
	tb.do(chromedp.Focus(`.bulk a`))
	tb.key(enter)
	tb.wait(`location.search.includes("all=1") && document.readyState === "complete"`)
	tb.do(chromedp.Focus(`button[name=what][value=label]`))
	tb.key(enter)
	tb.wait(`document.body.textContent.includes("Alle ` + all + ` Geräte, die zum Filter passen: Suche „lifebook“.")`)
	tb.do(chromedp.Focus("#f-label"))
	tb.key("Austausch" + enter)
	tb.wait(`document.querySelector(".toast")?.textContent.includes("` + all + ` Geräte sind geändert.")`)
	tb.open("/devices?label=austausch")
	if got := eval[string](tb, `document.querySelector(".head .n").textContent`); got != all+" von 120" {
		t.Errorf("the list of the label counts %q, want %s of 120", got, all)
	}
	tb.narrow("list-label-de-light-320")
	tb.clean()
}

// TestJobWithoutScript: the same as plain forms.
func TestJobWithoutScript(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(12)
	tb := w.tab(t, looks{lang: "de", theme: "light", as: "support", noScript: true})
	tb.open("/devices?q=DEMO")
	tb.do(chromedp.Click(chromedp.CSS(`input[value="`+ids[2]+`"]`)), chromedp.Click(chromedp.CSS(`button[name=what][value=school]`)), chromedp.WaitVisible(chromedp.ID("f-to")))
	tb.do(chromedp.SendKeys(chromedp.ID("f-to"), "S0001\r"), chromedp.WaitVisible(chromedp.CSS(".toast")))
	said, err := chromedp.Run(tb.ctx, chromedp.Text(chromedp.CSS(".toast")))
	if err != nil || !strings.Contains(said, "Ein Gerät ist geändert.") && !strings.Contains(said, "Eines gehört zu einem anderen Schulträger") && !strings.Contains(said, "Kein Gerät musste") {
		t.Errorf("the note says %q, %v", said, err)
	}
	tb.shot("list-note-noscript")
	tb.do(chromedp.Click(chromedp.CSS(`.toast a[href^="/jobs/"]`)), chromedp.WaitVisible(chromedp.ID("job")))
}

// TestJobPages: what the forms refuse, what a role does not see, and what the
// pages of a job, of a device and of the record tell.
func TestJobPages(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(20)
	support, read := w.signedIn("support"), w.signedIn("read")
	if body := read.get("/devices").body; strings.Contains(body, "data-pick") || strings.Contains(body, "/jobs") {
		t.Error("who may only read is offered to choose devices")
	}
	for _, p := range []string{"/jobs", "/jobs/new?what=label&device=" + ids[0]} {
		if res := read.get(p); res.StatusCode != http.StatusForbidden {
			t.Errorf("GET %s as read = %d, want 403", p, res.StatusCode)
		}
	}
	form := url.Values{"what": {"label"}, "act": {"label"}, "label": {"<b>Rückruf</b>"}, "device": {ids[0] + "," + ids[1]}, "from": {"q=DEMO"}}
	if res := read.post("/jobs", form); res.StatusCode != http.StatusForbidden {
		t.Errorf("POST /jobs as read = %d, want 403", res.StatusCode)
	}
	if res := support.get("/jobs/new?what=label&from=q%3DDEMO"); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/devices?q=DEMO" {
		t.Errorf("nothing chosen leads to %d %s, want back to the list", res.StatusCode, res.Header.Get("Location"))
	}
	// What the page did not make is done to nobody, and said so.
	for what, values := range map[string]url.Values{
		"another form":   {"what": {"wipe"}, "act": {"label"}, "label": {"x"}, "device": {ids[0]}},
		"another act":    {"what": {"label"}, "act": {"wipe"}, "label": {"x"}, "device": {ids[0]}},
		"no act":         {"what": {"label"}, "label": {"x"}, "device": {ids[0]}},
		"no such device": {"what": {"label"}, "act": {"label"}, "label": {"x"}, "device": {ids[0] + ",none"}},
		"no filter":      {"what": {"label"}, "act": {"label"}, "label": {"x"}, "all": {"1"}, "from": {"state=kaputt"}},
		"no query":       {"what": {"label"}, "act": {"label"}, "label": {"x"}, "all": {"1"}, "from": {"%zz"}},
		"no school":      {"what": {"school"}, "to": {"S0001"}, "all": {"1"}, "from": {"school=none"}},
	} {
		res := support.post("/jobs", values)
		if body := text(res.body); res.StatusCode != http.StatusBadRequest || !strings.Contains(body, "Formular passt nicht") || !strings.Contains(body, "Es wurde nichts geändert.") || !strings.Contains(res.body, `href="/devices"`) {
			t.Errorf("%s = %d %s, want 400 and a way on", what, res.StatusCode, body)
		}
	}
	if res := support.get("/jobs/new?what=label&device=none"); res.StatusCode != http.StatusBadRequest || !strings.Contains(text(res.body), "Formular passt nicht") {
		t.Errorf("the form about no device = %d %s", res.StatusCode, text(res.body))
	}
	if jobs, err := w.fleet.Jobs(t.Context(), operator, "", 10); err != nil || len(jobs) > 0 {
		t.Errorf("jobs: %v, %v; want none", jobs, err)
	}
	for what, values := range map[string]url.Values{
		"Ein kurzer Text ohne Komma": {"what": {"label"}, "act": {"label"}, "label": {strings.Repeat("x", 41)}, "device": {ids[0]}},
		"So heißt keine Schule":      {"what": {"school"}, "to": {"S9999"}, "device": {ids[0]}},
	} {
		if res := support.post("/jobs", values); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text(res.body), what) {
			t.Errorf("%v = %d %s, want 422 and %q", values, res.StatusCode, text(res.body), what)
		}
	}
	res := support.post("/jobs", form)
	to := res.Header.Get("Location")
	if res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to, "/devices?job=") || !strings.HasSuffix(to, "&q=DEMO") {
		t.Fatalf("POST /jobs = %d to %s %s", res.StatusCode, to, text(res.body))
	}
	if body := support.get(to).body; !strings.Contains(body, "&lt;b&gt;Rückruf&lt;/b&gt;") || strings.Contains(body, "<b>Rückruf") {
		t.Error("the list does not show the label as text")
	}
	u, _ := url.Parse(to)
	job := "/jobs/" + u.Query().Get("job")
	if body := text(support.get(job).body); !strings.Contains(body, "2 Geräte sind geändert.") || !strings.Contains(body, "einzeln gewählte Geräte") || !strings.Contains(body, "Rückgängig bis") {
		t.Errorf("the page of the job says %s", body)
	}
	if body := read.get(job).body; strings.Contains(body, "/undo") {
		t.Error("who may only read is offered to undo")
	}
	if body := text(support.get("/jobs").body); !strings.Contains(body, "2 Geräte sind geändert.") {
		t.Errorf("the list of jobs says %s", body)
	}
	// The device's page takes the label away, and then the undo leaves it.
	if res := support.post("/devices/"+ids[0]+"/labels/remove", url.Values{"label": {"<b>rückruf</b>"}}); res.StatusCode != http.StatusSeeOther {
		t.Errorf("taking the label = %d", res.StatusCode)
	}
	if res := support.post("/devices/"+ids[0]+"/labels", url.Values{"label": {"a, b"}}); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(res.body, `value="a, b"`) {
		t.Errorf("a wrong label = %d, want 422 with what was typed", res.StatusCode)
	}
	if res := support.post(job+"/undo", url.Values{"back": {"https://evil.example/"}}); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != job {
		t.Errorf("undo = %d to %s", res.StatusCode, res.Header.Get("Location"))
	}
	body := text(support.get(job).body)
	if !strings.Contains(body, "Ein Gerät ist wieder wie zuvor. Eines wurde seither anders geändert und bleibt so.") || !strings.Contains(body, "AH-02317") {
		t.Errorf("after the undo the page says %s", body)
	}
	if body := text(read.get("/devices/" + ids[1]).body); !strings.Contains(body, "(rückgängig gemacht)") {
		t.Errorf("the device's page tells nothing of the job: %s", body)
	}
	if body := text(w.signedIn("admin").get("/audit?action=job").body); !strings.Contains(body, "Sammeländerung rückgängig gemacht") || !strings.Contains(body, "Sammeländerung begonnen") {
		t.Errorf("the record says %s", body)
	}
}

// TestAPIJobs: start, look, undo, and the problems with their types.
func TestAPIJobs(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(20)
	token, reader := w.token("support", access.RoleSupport, nil), w.token("reader", access.RoleRead, nil)
	post := func(token, path, body string, out any) answer {
		t.Helper()
		res := w.browser().do(http.MethodPost, path, strings.NewReader(body), "Authorization", "Bearer "+token, "Content-Type", "application/json")
		if err := json.Unmarshal([]byte(res.body), out); err != nil {
			t.Fatalf("POST %s: %v in %s", path, err, res.body)
		}
		return res
	}
	var job struct {
		ID, State            string
		Total, Changed, Kept int64
		UndoUntil            *string `json:"undo_until"`
	}
	res := post(token, "/api/v1/jobs", `{"act":"label","label":"Rückruf","filter":{"q":"lifebook"}}`, &job)
	if res.StatusCode != http.StatusCreated || res.Header.Get("Location") != "/api/v1/jobs/"+job.ID {
		t.Fatalf("POST /api/v1/jobs = %d %s", res.StatusCode, res.body)
	}
	w.must(w.fleet.RunJobs(t.Context()))
	w.api(token, "/api/v1/jobs/"+job.ID, &job)
	var labels struct{ Items []struct{ Devices int64 } }
	w.api(reader, "/api/v1/labels", &labels)
	if job.State != string(fleet.JobDone) || job.Changed == 0 || job.Changed != job.Total || len(labels.Items) != 1 || labels.Items[0].Devices != job.Total {
		t.Errorf("job = %+v, labels %+v", job, labels)
	}
	var devices struct {
		Items []struct{ ID, Outcome string }
	}
	w.api(reader, "/api/v1/jobs/"+job.ID+"/devices?outcome=changed&limit=500", &devices)
	if int64(len(devices.Items)) != job.Changed {
		t.Errorf("%d devices were changed, the job says %d", len(devices.Items), job.Changed)
	}
	var list struct{ Total int64 }
	if w.api(reader, "/api/v1/devices?label=r%C3%BCckruf", &list); list.Total != job.Total {
		t.Errorf("the list of the label has %d, want %d", list.Total, job.Total)
	}
	if !strings.Contains(w.signedIn("read").get("/devices.csv?label=R%C3%BCckruf").body, ",Rückruf,") { // how far its update is comes after them
		t.Error("the CSV has no labels")
	}
	post(token, "/api/v1/jobs/"+job.ID+"/undo", "", &job)
	w.must(w.fleet.RunJobs(t.Context()))
	for _, c := range []struct {
		token, path, body, want string
		code                    int
		field                   string
	}{
		{token, "/api/v1/jobs/" + job.ID + "/undo", "", "not-undoable", 409, ""},
		{reader, "/api/v1/jobs/" + job.ID + "/undo", "", "forbidden", 403, ""},
		{token, "/api/v1/jobs/none/undo", "", "not-found", 404, ""},
		{reader, "/api/v1/jobs", `{"act":"label","label":"x","devices":["` + ids[0] + `"]}`, "forbidden", 403, ""},
		{token, "/api/v1/jobs", `{"act":"label","label":"x"}`, "bad-request", 400, "devices"},
		{token, "/api/v1/jobs", `{"act":"burn","devices":["` + ids[0] + `"]}`, "bad-request", 400, "act"},
		{token, "/api/v1/jobs", `{"act":"label","label":"x","devices":["none"]}`, "not-found", 404, ""},
		{token, "/api/v1/jobs", `{"act":"label","label":"x","devices":["a"],"filter":{}}`, "bad-request", 400, "filter"},
		{token, "/api/v1/jobs", `{"act":"label","label":"x","filter":{"state":"kaputt"}}`, "bad-request", 400, "filter"},
		{token, "/api/v1/jobs", `{"act":"label","label":"a,b","filter":{}}`, "bad-request", 400, "label"},
		{token, "/api/v1/jobs", `{"act":"quiet","filter":{"finding":"disk_low"}}`, "bad-request", 400, "act"},
		{token, "/api/v1/jobs", `{"act":"school","devices":["` + ids[0] + `"]}`, "bad-request", 400, "school"},
		{token, "/api/v1/devices/" + ids[0] + "/labels", `{"label":""}`, "bad-request", 400, "label"},
	} {
		var p struct{ Type, Field string }
		if res := post(c.token, c.path, c.body, &p); res.StatusCode != c.code || p.Type != "urn:hausmeister:problem:"+c.want || p.Field != c.field {
			t.Errorf("POST %s %s = %d %s of %q, want %d %s of %q", c.path, c.body, res.StatusCode, p.Type, p.Field, c.code, c.want, c.field)
		}
	}
}
