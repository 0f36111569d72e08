package web_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"hausmeister/collector/access"
)

var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`)

// TestQuestionWithoutScript asks by forms and links alone: a condition in two
// steps, another, one taken away, what is wrong said beside what was typed.
func TestQuestionWithoutScript(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(40)
	w.days(ids, 3)
	b := w.signedIn("support")
	page := b.get("/questions")
	if page.StatusCode != http.StatusOK || !strings.Contains(page.body, `<option value="battery_health">Akkuzustand</option>`) {
		t.Fatalf("GET /questions = %d without the readings", page.StatusCode)
	}
	step := b.get("/questions?what=battery_health")
	if !strings.Contains(step.body, `<option value="lt">unter</option>`) || !strings.Contains(step.body, `name="value"`) || !strings.Contains(step.body, "in %") {
		t.Errorf("the second step has no comparison or value:\n%s", step.body)
	}
	res := b.get("/questions?what=battery_health&op=lt&value=" + url.QueryEscape("70,5"))
	if want := "/questions?if=battery_health.lt.705"; res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != want {
		t.Fatalf("a condition leads with %d to %q, want %q", res.StatusCode, res.Header.Get("Location"), want)
	}
	answer := b.get(res.Header.Get("Location"))
	if !strings.Contains(answer.body, "Akkuzustand unter 70,5") || !strings.Contains(answer.body, `class="answer"`) {
		t.Errorf("no answer:\n%s", answer.body)
	}
	// The next condition takes along what the form keeps.
	fields := hidden.FindAllStringSubmatch(answer.body, -1)
	if !slices.ContainsFunc(fields, func(m []string) bool { return m[1] == "if" && m[2] == "battery_health.lt.705" }) {
		t.Errorf("the form keeps %q", fields)
	}
	res = b.get("/questions?if=battery_health.lt.705&what=school&op=is&school=S0001")
	two := res.Header.Get("Location")
	if u, err := url.Parse(two); err != nil || len(u.Query()["if"]) != 2 || !strings.HasPrefix(u.Query()["if"][1], "school.is.") {
		t.Fatalf("the school leads to %q", two)
	}
	answer = b.get(two)
	if !strings.Contains(answer.body, "Schule ist Gymnasium Ahorntal") || !strings.Contains(answer.body, `<a class="chip on" href="/questions?if=battery_health.lt.705">`) {
		t.Errorf("the second condition cannot be read or removed:\n%s", answer.body)
	}
	for address, says := range map[string]string{
		"/questions?if=battery_health.lt.705&what=memory_total&op=lt&value=viel":    "Geben Sie eine Zahl ein",
		"/questions?if=battery_health.lt.705&what=battery_charge&op=lt&value=101":   "Dieser Wert liegt zwischen 0",
		"/questions?if=battery_health.lt.705&what=model&op=is&value=":               "Geben Sie einen Wert ein.",
		"/questions?if=battery_health.lt.705&what=updates_last&op=lt&value=gestern": "Dieser Wert ist hier nicht möglich.",
		"/questions?if=battery_health.lt.705&what=school&op=is&school=gibtesnicht":  "",
	} {
		res := b.get(address)
		u, _ := url.Parse(address)
		typed := u.Query().Get("value") + u.Query().Get("school")
		if res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(res.body, says) || !strings.Contains(res.body, `value="`+typed+`"`) || !strings.Contains(res.body, "Akkuzustand unter 70,5") {
			t.Errorf("GET %s = %d, want 422 with %q and what was typed", address, res.StatusCode, says)
		}
	}
	for _, address := range []string{"/questions?if=kaputt", "/questions?if=battery_health.lt.abc", "/questions?if=battery_health.lt.1&order=x", "/questions?show=none"} {
		if res := b.get(address); res.StatusCode != http.StatusBadRequest {
			t.Errorf("GET %s = %d, want 400", address, res.StatusCode)
		}
	}
}

// TestQuestionCSVIsTheAnswer: the lines are the devices of all pages, in their
// order, for page and API.
func TestQuestionCSVIsTheAnswer(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(120)
	w.days(ids, 2)
	b := w.signedIn("read")
	token := w.token("t", access.RoleRead, nil)
	address := "?if=battery_health.lt.900&order=desc"
	var want []string
	shown := regexp.MustCompile(`data-open href="/devices/([^"]+)"`)
	for next := "/questions" + address; next != ""; {
		page := b.get(next)
		for _, m := range shown.FindAllStringSubmatch(page.body, -1) {
			want = append(want, m[1])
		}
		next = ""
		if m := regexp.MustCompile(`rel="next" href="([^"]+)"`).FindStringSubmatch(page.body); m != nil {
			next = strings.ReplaceAll(m[1], "&amp;", "&")
		}
	}
	if len(want) < 51 {
		t.Fatalf("the pages show %d devices, want more than one page", len(want))
	}
	var viaAPI []string
	for cursor := ""; ; {
		var out struct {
			Total  int
			Items  []struct{ ID string }
			Cursor *string
		}
		w.api(token, "/api/v1/answer"+address+"&limit=17&cursor="+cursor, &out)
		for _, it := range out.Items {
			viaAPI = append(viaAPI, it.ID)
		}
		if out.Total != len(want) {
			t.Fatalf("the API counts %d, the pages show %d", out.Total, len(want))
		}
		if out.Cursor == nil {
			break
		}
		cursor = *out.Cursor
	}
	if !slices.Equal(viaAPI, want) {
		t.Errorf("the API lists %d devices in another order than the pages' %d", len(viaAPI), len(want))
	}
	for what, body := range map[string]string{"page": b.get("/questions.csv" + address).body, "API": w.api(token, "/api/v1/answer/devices.csv"+address, nil).body} {
		lines, err := csv.NewReader(strings.NewReader(body)).ReadAll()
		w.must(err)
		var got []string
		for _, l := range lines[1:] {
			got = append(got, l[0])
		}
		if !slices.Equal(got, want) || lines[0][len(lines[0])-1] != "battery_health" {
			t.Errorf("the CSV of the %s has %d devices and ends with the column %s, want the %d of the pages", what, len(got), lines[0][len(lines[0])-1], len(want))
		}
	}
}

// TestQuestionScope: nobody counts or lists what is not his.
func TestQuestionScope(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(60)
	w.days(ids, 2)
	token := w.token("t", access.RoleRead, []string{w.ownerID("Landkreis Ahorn")})
	var out struct {
		Devices, Known, Matching int
		Items                    []struct{ Owner struct{ Name string } }
	}
	w.api(token, "/api/v1/answer?if=battery_health.ge.0&limit=500", &out)
	if out.Devices == 0 || out.Devices >= len(ids) || len(out.Items) != out.Matching {
		t.Errorf("one of three owners has %d of %d devices, %d listed of %d", out.Devices, len(ids), len(out.Items), out.Matching)
	}
	for _, it := range out.Items {
		if it.Owner.Name != "Landkreis Ahorn" {
			t.Errorf("a device of %s is listed", it.Owner.Name)
		}
	}
}

// TestQuestionsAreKept by page and API, and shown with their last answer.
func TestQuestionsAreKept(t *testing.T) {
	w := newWorld(t)
	w.days(w.fill(40), 2)
	b := w.signedIn("support")
	res := b.post("/questions", url.Values{"name": {"Akkus <b>"}, "asked": {"if=battery_health.lt.700"}})
	to := res.Header.Get("Location")
	if res.StatusCode != http.StatusSeeOther || !strings.Contains(to, "saved=") {
		t.Fatalf("POST /questions = %d to %q", res.StatusCode, to)
	}
	page := b.get(to)
	if !strings.Contains(page.body, "<h1>Akkus &lt;b&gt;</h1>") || !strings.Contains(page.body, "Gespeichert.") {
		t.Errorf("the kept question has no name on its page:\n%s", page.body)
	}
	list := b.get("/questions").body
	if !regexp.MustCompile(`Akkus &lt;b&gt;</a></th><td>Akkuzustand unter 70.%</td>.*\d+ von 40 <span class="dim">heute`).MatchString(list) {
		t.Errorf("the list does not show the question with its last answer:\n%s", list)
	}
	if res := b.post("/questions", url.Values{"name": {" "}, "asked": {"if=battery_health.lt.700"}}); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(res.body, "Geben Sie einen Namen") {
		t.Errorf("a question without a name = %d", res.StatusCode)
	}
	if res := b.post("/questions", url.Values{"name": {"x"}, "shared": {"yes"}, "asked": {"if=battery_health.lt.700"}}); res.StatusCode != http.StatusForbidden {
		t.Errorf("a support person shares a question: %d, want 403", res.StatusCode)
	}
	if strings.Contains(page.body, `name="shared"`) {
		t.Error("the form offers what the role may not do")
	}
	if other := w.signedIn("read").get("/questions").body; strings.Contains(other, "Akkus &lt;") {
		t.Error("somebody else sees a question that is not shared")
	}
	del := regexp.MustCompile(`action="(/questions/[^"]+/delete)"`).FindStringSubmatch(list)
	if del == nil {
		t.Fatal("the own question cannot be deleted")
	}
	if res := w.signedIn("read").post(del[1], nil); res.StatusCode != http.StatusNotFound {
		t.Errorf("somebody else deletes it: %d, want 404", res.StatusCode)
	}
	if res := b.post(del[1], nil); res.StatusCode != http.StatusSeeOther || strings.Contains(b.get("/questions").body, "Akkus &lt;") {
		t.Errorf("deleting = %d, and it is still there", res.StatusCode)
	}
	restored := b.post(strings.TrimSuffix(del[1], "delete")+"restore", nil)
	if body := b.get(restored.Header.Get("Location")).body; !strings.Contains(body, "Akkus &lt;") || !strings.Contains(body, "Die Frage ist wieder da.") {
		t.Errorf("bringing it back = %d to %s: %s", restored.StatusCode, restored.Header.Get("Location"), text(body))
	}
	gone := b.post(del[1], nil)
	if body := b.get(gone.Header.Get("Location")).body; !strings.Contains(body, "Die Frage ist gelöscht.") || !strings.Contains(body, `action="`+strings.TrimSuffix(del[1], "delete")+`restore"`) {
		t.Errorf("after deleting nothing offers to undo it: %s", text(body))
	}
	// What a bookmark of it asks can still be asked.
	if res := b.get(to); res.StatusCode != http.StatusOK {
		t.Errorf("the address of a deleted question = %d, want its answer", res.StatusCode)
	}
	record := w.signedIn("admin").get("/audit?action=question").body
	for _, says := range []string{"Frage gespeichert", "Frage gelöscht"} {
		if !strings.Contains(record, says) {
			t.Errorf("the record does not say %q", says)
		}
	}
	// A role that may change settings shares; everybody gets his own answer.
	admin, reader := w.token("a", access.RoleAdmin, nil), w.token("r", access.RoleRead, []string{w.ownerID("Landkreis Ahorn")})
	made := w.browser().do(http.MethodPost, "/api/v1/questions", strings.NewReader(`{"name":"Alle","if":["battery_health.lt.700"],"shared":true}`), "Authorization", "Bearer "+admin, "Content-Type", "application/json")
	var q struct {
		ID       string
		Matching *int
	}
	w.must(json.Unmarshal([]byte(made.body), &q))
	var whole, part struct{ Matching int }
	w.api(admin, "/api/v1/questions/"+q.ID+"/answer", &whole)
	w.api(reader, "/api/v1/questions/"+q.ID+"/answer", &part)
	w.api(reader, "/api/v1/questions/"+q.ID, &q)
	if part.Matching >= whole.Matching || q.Matching == nil || *q.Matching != part.Matching {
		t.Errorf("the answers are %d for all and %d for one owner, kept is %v", whole.Matching, part.Matching, q.Matching)
	}
	for body, status := range map[string]int{`{"name":"x","if":[]}`: 400, `{"name":"","if":["os.is.linux"]}`: 400, `{"name":"x","if":["os.lt.linux"]}`: 400, `{"name":"Neu","if":["os.is.linux"]}`: 200} {
		res := w.browser().do(http.MethodPost, "/api/v1/questions/"+q.ID, strings.NewReader(body), "Authorization", "Bearer "+admin, "Content-Type", "application/json")
		if res.StatusCode != status {
			t.Errorf("POST %s = %d %s, want %d", body, res.StatusCode, res.body, status)
		}
	}
	if res := w.browser().do(http.MethodPost, fmt.Sprintf("/api/v1/questions/%s/delete", q.ID), nil, "Authorization", "Bearer "+reader); res.StatusCode != http.StatusNotFound && res.StatusCode != http.StatusForbidden {
		t.Errorf("a reader deletes what is not shared with him any more: %d", res.StatusCode)
	}
}

// hiddenOf are the hidden fields of the form that goes to an address.
func hiddenOf(t *testing.T, page, action string) url.Values {
	t.Helper()
	_, form, ok := strings.Cut(page, `action="`+action+`"`)
	if !ok {
		t.Fatalf("no form goes to %s: %s", action, text(page))
	}
	form, _, _ = strings.Cut(form, "</form>")
	values := url.Values{}
	for _, m := range regexp.MustCompile(`type="hidden" name="([^"]*)" value="([^"]*)"`).FindAllStringSubmatch(form, -1) {
		values.Add(m[1], html.UnescapeString(m[2]))
	}
	return values
}

// TestKeptQuestionIsChanged on the page, by who keeps it, and not over the head of
// somebody who changed it meanwhile.
func TestKeptQuestionIsChanged(t *testing.T) {
	w := newWorld(t)
	w.days(w.fill(40), 2)
	b, other := w.signedIn("admin"), w.signedIn("support")
	made := b.post("/questions", url.Values{"name": {"Akkus"}, "shared": {"yes"}, "asked": {"if=battery_health.lt.700"}})
	to, err := url.Parse(made.Header.Get("Location"))
	w.must(err)
	id := to.Query().Get("saved")
	page := b.get(to.String()).body
	if strings.Contains(page, "Änderung speichern") {
		t.Error("a question that is as it is kept offers to save a change")
	}
	// The second step of the builder, as a browser without script sends it.
	hidden := hiddenOf(t, page, "/questions")
	hidden.Set("what", "model")
	step := b.get("/questions?" + hidden.Encode()).body
	hidden = hiddenOf(t, step, "/questions")
	hidden.Set("op", "contains")
	hidden.Set("value", "LIFEBOOK")
	res := b.get("/questions?" + hidden.Encode())
	if res.StatusCode != http.StatusSeeOther {
		t.Fatalf("the new condition = %d %s", res.StatusCode, text(res.body))
	}
	changed := b.get(res.Header.Get("Location")).body
	if !strings.Contains(text(changed), "Sie ändern die gespeicherte Frage „Akkus“.") {
		t.Fatalf("the page does not say that a kept question is changed: %s", text(changed))
	}
	form := hiddenOf(t, changed, "/questions/"+id)
	if res := other.post("/questions/"+id, form); res.StatusCode != http.StatusForbidden {
		t.Errorf("who may not change it = %d, want 403", res.StatusCode)
	}
	if body := other.get(res.Header.Get("Location")).body; strings.Contains(body, "Änderung speichern") {
		t.Error("who may not change it is offered to")
	}
	saved := b.post("/questions/"+id, form)
	if body := b.get(saved.Header.Get("Location")).body; saved.StatusCode != http.StatusSeeOther || !strings.Contains(body, "<h1>Akkus</h1>") || !strings.Contains(body, "Die Änderung ist gespeichert.") {
		t.Fatalf("saving the change = %d to %s", saved.StatusCode, saved.Header.Get("Location"))
	}
	kept, err := w.asked.List(t.Context(), operator)
	w.must(err)
	if len(kept) != 1 || len(kept[0].Question.Conditions) != 2 || !kept[0].Shared || kept[0].Name != "Akkus" {
		t.Errorf("kept is %+v", kept)
	}
	// The same form again is of a question that is no more.
	form.Set("asked", "if=battery_health.lt.500")
	stale := b.post("/questions/"+id, form)
	if stale.StatusCode != http.StatusConflict || !strings.Contains(text(stale.body), "Jemand anderes hat „Akkus“ inzwischen geändert, sie fragt jetzt: Akkuzustand unter 70·% · Modell enthält LIFEBOOK. Ihre Änderung fragt: Akkuzustand unter 50·%.") {
		t.Errorf("a change of what was changed meanwhile = %d %s", stale.StatusCode, text(stale.body))
	}
	if kept, err = w.asked.List(t.Context(), operator); err != nil || len(kept[0].Question.Conditions) != 2 {
		t.Errorf("it was carried out: %+v, %v", kept, err)
	}
	if res := b.post("/questions/"+id, hiddenOf(t, stale.body, "/questions/"+id)); res.StatusCode != http.StatusSeeOther {
		t.Errorf("saving it anyway = %d %s", res.StatusCode, text(res.body))
	}
	if kept, err = w.asked.List(t.Context(), operator); err != nil || len(kept[0].Question.Conditions) != 1 || kept[0].Question.Conditions[0].Value != "500" {
		t.Errorf("kept is %+v, %v", kept, err)
	}
	if res := b.post("/questions/"+id, url.Values{"asked": {"if=nonsense.lt.1"}, "was": {"x"}}); res.StatusCode != http.StatusBadRequest {
		t.Errorf("a question that is none = %d, want 400", res.StatusCode)
	}
}

// TestSmallDistributions: where bars would show nothing, a sentence says what there
// is; no number of a small group stands there, and none can be calculated.
func TestSmallDistributions(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(40)
	w.days(ids[:20], 2) // the firewall is off at 3 of 20, all have 8 GB
	b := w.signedIn("support")
	card := func(query string) string {
		t.Helper()
		page := b.get("/questions?" + query).body
		_, rest, ok := strings.Cut(page, `aria-labelledby="spread"`)
		if !ok {
			t.Fatalf("%s: no distribution: %s", query, text(page))
		}
		card, _, _ := strings.Cut(rest, "</section>")
		_, card, _ = strings.Cut(card, "</header>")
		return card
	}
	if got := card("show=firewall"); !strings.Contains(text(got), "Darum steht hier keine Verteilung.") || regexp.MustCompile(`\b(3|17)\b|<table`).MatchString(got) {
		t.Errorf("3 of 20: %s", got)
	}
	if got := card("show=memory_total"); !strings.Contains(text(got), "Alle 20 Geräte mit diesem Messwert liegen gleich: 8,0·GB") && !strings.Contains(text(got), "Alle 20 Geräte mit diesem Messwert liegen gleich: 8·GB") || strings.Contains(got, "<table") {
		t.Errorf("all alike: %s", text(got))
	}
	w.days(ids[20:], 2) // 6 of 40
	got := card("show=firewall")
	if widths := regexp.MustCompile(`class="fill" width="(\d+)"`).FindAllStringSubmatch(got, -1); len(widths) != 2 || widths[0][1] != "850" || widths[1][1] != "150" {
		t.Errorf("two bars, of 34 and 6 of 40: %v in %s", widths, got)
	}
}
