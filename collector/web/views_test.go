package web_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"hausmeister/collector/access"
)

// TestSavedViews: a filter is saved under a name, opened by it, renamed, deleted
// and brought back; what is shared is changed by whoever may.
func TestSavedViews(t *testing.T) {
	w := newWorld(t)
	w.fill(60)
	read, admin := w.signedIn("read"), w.signedIn("admin")
	if body := text(read.get("/devices?state=silent&sort=-battery").body); !strings.Contains(body, "Ansicht speichern") {
		t.Errorf("the list does not offer to save the view: %s", body)
	}
	form := url.Values{"name": {"Stille <Akkus>"}, "from": {"state=silent&sort=-battery&cursor="}, "columns": {"1"}}
	res := read.post("/views", form)
	if res.StatusCode != http.StatusSeeOther {
		t.Fatalf("POST /views = %d %s", res.StatusCode, text(res.body))
	}
	id := strings.TrimPrefix(res.Header.Get("Location"), "/views/")
	want := "/devices?columns=school%2Cfinding%2Cbattery%2Cfree%2Cseen&sort=-battery&state=silent&view=" + id
	if res := read.get("/views/stille-akkus"); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != want {
		t.Errorf("the view's name leads to %d %s, want %s", res.StatusCode, res.Header.Get("Location"), want)
	}
	made := read.post("/views", url.Values{"name": {"Neu"}, "from": {"state=silent"}})
	edit := strings.TrimSuffix(made.Header.Get("Location"), "/") + "/edit"
	if res := read.post(edit, url.Values{"name": {"New"}}); res.StatusCode != http.StatusSeeOther {
		t.Errorf("naming a view New = %d %s", res.StatusCode, text(res.body))
	}
	at := regexp.MustCompile(`class="saved" href="([^"]+)"[^>]*>New`).FindStringSubmatch(read.get("/devices").body)
	if at == nil {
		t.Fatal("the list does not show the view New")
	}
	if res := read.get(at[1]); res.StatusCode != http.StatusSeeOther || !strings.Contains(res.Header.Get("Location"), "state=silent") {
		t.Errorf("the view New at %s = %d %s, want its list", at[1], res.StatusCode, res.Header.Get("Location"))
	}
	if res := read.post(strings.TrimSuffix(edit, "/edit")+"/delete", nil); res.StatusCode != http.StatusSeeOther {
		t.Errorf("deleting it = %d %s", res.StatusCode, res.body)
	}
	count := read.get("/views/" + id + "/count").body
	page := read.get(want).body
	if !strings.Contains(page, "Stille &lt;Akkus&gt;") || !regexp.MustCompile(`class="saved" href="/views/stille-akkus" aria-current="true"`).MatchString(page) || !strings.Contains(text(page), "Stille <Akkus> "+count) {
		t.Errorf("the list does not show the view as current with its count %s: %s", count, text(page))
	}
	if body := admin.get("/devices").body; strings.Contains(body, "Akkus") {
		t.Error("another person sees an own view")
	}
	if res := admin.get("/views/stille-akkus"); res.StatusCode != http.StatusNotFound {
		t.Errorf("another person's own view = %d, want 404", res.StatusCode)
	}
	for want, form := range map[string]url.Values{
		"Diesen Namen gibt es schon.":            {"name": {"stille akkus"}, "from": {"q=x"}},
		"Ein Name mit Buchstaben oder Ziffern":   {"name": {"–"}, "from": {"q=x"}},
		"Ein Name mit Buchstaben oder Ziffern, ": {"name": {strings.Repeat("x", 41)}, "from": {"q=x"}},
	} {
		if res := read.post("/views", form); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text(res.body), want) || !strings.Contains(res.body, `value="q=x"`) {
			t.Errorf("%v = %d %s, want 422, %q and the filter kept", form, res.StatusCode, text(res.body), want)
		}
	}
	if strings.Contains(read.get("/views/new?from=q%3Dx").body, `name="shared"`) {
		t.Error("who may not share is asked for whom")
	}
	if res := read.post("/views", url.Values{"name": {"x"}, "shared": {"all"}}); res.StatusCode != http.StatusForbidden {
		t.Errorf("sharing as read = %d, want 403", res.StatusCode)
	}
	res = admin.post("/views", url.Values{"name": {"Für alle"}, "shared": {"all"}, "from": {"q=lifebook"}})
	shared := strings.TrimPrefix(res.Header.Get("Location"), "/views/")
	body := read.get("/views").body
	if !strings.Contains(text(body), "Für alle Suche „lifebook“ Alle 30") || strings.Contains(body, "/views/"+shared+"/edit") {
		t.Errorf("the shared view for who may only read: %s", text(body))
	}
	if res := read.post("/views/"+shared+"/delete", nil); res.StatusCode != http.StatusForbidden {
		t.Errorf("deleting a shared view as read = %d, want 403", res.StatusCode)
	}
	if res := read.post("/views/"+id+"/edit", url.Values{"name": {"Neu"}}); res.Header.Get("Location") != "/views?done=renamed" {
		t.Errorf("renaming = %d to %s", res.StatusCode, res.Header.Get("Location"))
	}
	if res := read.post("/views/"+id+"/edit", url.Values{"name": {"?"}}); res.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("renaming to no name = %d", res.StatusCode)
	}
	res = read.post("/views/"+id+"/delete", nil)
	if body := read.get(res.Header.Get("Location")).body; !strings.Contains(body, "/views/"+id+"/restore") || strings.Contains(body, "/views/"+id+"/edit") {
		t.Errorf("after deleting: %s", text(body))
	}
	read.post("/views/"+id+"/restore", nil)
	if res := read.get("/views/neu"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("what was brought back = %d", res.StatusCode)
	}
	if body := text(admin.get("/audit?action=view").body); !strings.Contains(body, "Ansicht gelöscht") {
		t.Errorf("the record says %s", body)
	}
}

// TestSavedViewByKeyboard saves what the list shows, and opens it from the list.
func TestSavedViewByKeyboard(t *testing.T) {
	w := newWorld(t)
	w.fill(60)
	tb := w.tab(t, looks{lang: "de", theme: "light", as: "support"})
	tb.open("/devices?state=silent")
	tb.do(chromedp.Focus(`a[href^="/views/new"]`))
	tb.key(enter)
	tb.wait(`location.pathname === "/views/new" && document.body.textContent.includes("Zustand: Still")`)
	tb.do(chromedp.Focus("#f-name"))
	tb.key("Lange still" + enter)
	tb.wait(`location.pathname === "/devices" && document.querySelector(".views .saved[aria-current]")?.textContent.startsWith("Lange still")`)
	tb.wait(`document.querySelector(".saved .n").textContent === document.querySelector(".head .n").textContent.split(" ")[0]`)
	tb.still()
	tb.accessible()
	tb.noSideways()
	tb.open("/devices")
	tb.do(chromedp.Focus(`.views .saved`))
	tb.key(enter)
	tb.wait(`location.search.includes("state=silent") && document.querySelector(".chip.on").textContent.includes("Zustand: Still")`)
	tb.clean()
}

// TestAPIViews: the same for programs.
func TestAPIViews(t *testing.T) {
	w := newWorld(t)
	w.fill(20)
	token, reader := w.token("admin", access.RoleAdmin, nil), w.token("reader", access.RoleRead, nil)
	post := func(token, path, body string) answer {
		t.Helper()
		return w.browser().do(http.MethodPost, path, strings.NewReader(body), "Authorization", "Bearer "+token, "Content-Type", "application/json")
	}
	res := post(token, "/api/v1/views", `{"name":"Windows","shared":"all","filter":{"q":"lifebook"},"sort":"-battery","columns":["battery"]}`)
	var v struct {
		ID, Slug, Sort string
		Columns        []string
	}
	if err := json.Unmarshal([]byte(res.body), &v); err != nil || res.StatusCode != http.StatusCreated || v.Slug != "windows" || v.Sort != "-battery" || len(v.Columns) != 1 {
		t.Fatalf("POST /api/v1/views = %d %s", res.StatusCode, res.body)
	}
	for path, body := range map[string]string{"/api/v1/views": `{"name":"y","columns":["battery","nonsense"]}`, "/api/v1/views/" + v.ID: `{"columns":["nonsense"]}`} {
		if res := post(token, path, body); res.StatusCode != http.StatusBadRequest || !strings.Contains(res.body, `"field":"columns"`) {
			t.Errorf("%s with a column that is none = %d %s, want 400", path, res.StatusCode, res.body)
		}
	}
	for _, path := range []string{"/api/v1/claims", "/api/v1/jobs"} {
		if res := w.api(token, path+"?cursor=xx", nil); res.StatusCode != http.StatusBadRequest || !strings.Contains(res.body, `"field":"cursor"`) {
			t.Errorf("%s with a cursor that is none = %d %s, want 400", path, res.StatusCode, res.body)
		}
	}
	var list struct {
		Items []struct{ Devices int64 }
	}
	if w.api(reader, "/api/v1/views", &list); len(list.Items) != 1 || list.Items[0].Devices != 10 {
		t.Errorf("GET /api/v1/views as reader: %+v", list)
	}
	if res := post(token, "/api/v1/views/windows", `{"name":"x"}`); res.StatusCode != http.StatusNotFound {
		t.Errorf("a change by the name = %d, want 404: names move", res.StatusCode)
	}
	for _, c := range []struct {
		token, path, body, want string
		code                    int
	}{
		{token, "/api/v1/views", `{"name":"WINDOWS","shared":"all"}`, "exists", 409},
		{token, "/api/v1/views", `{"name":"x","filter":{"state":"odd"}}`, "bad-request", 400},
		{token, "/api/v1/views", `{"name":"x","shared":"odd"}`, "bad-request", 400},
		{reader, "/api/v1/views", `{"name":"x","shared":"all"}`, "forbidden", 403},
		{reader, "/api/v1/views/" + v.ID, `{"name":"x"}`, "forbidden", 403},
		{reader, "/api/v1/views/" + v.ID + "/delete", ``, "forbidden", 403},
	} {
		if res := post(c.token, c.path, c.body); res.StatusCode != c.code || !strings.Contains(res.body, "problem:"+c.want) {
			t.Errorf("POST %s %s = %d %s, want %d %s", c.path, c.body, res.StatusCode, res.body, c.code, c.want)
		}
	}
	if res := post(token, "/api/v1/views/"+v.ID, `{"filter":{"state":"new"}}`); res.StatusCode != 200 || !strings.Contains(res.body, `"name":"Windows"`) || !strings.Contains(res.body, `"state":"new"`) {
		t.Errorf("change = %d %s", res.StatusCode, res.body)
	}
	if res := post(token, "/api/v1/views/"+v.ID+"/delete", ``); res.StatusCode != 200 {
		t.Errorf("delete = %d %s", res.StatusCode, res.body)
	}
	if res := w.api(token, "/api/v1/views/"+v.ID, nil); res.StatusCode != http.StatusNotFound {
		t.Errorf("a deleted view = %d", res.StatusCode)
	}
}
