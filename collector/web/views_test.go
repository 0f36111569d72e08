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
	"hausmeister/collector/fleet"
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
	// One of before there was a rule for names, whose address is the form's.
	u, err := w.access.User(t.Context(), operator, "read")
	w.must(err)
	older, err := w.fleet.SaveView(t.Context(), access.Caller{Kind: access.KindUser, ID: u.ID, Name: "read", Role: u.Role}, fleet.View{Sharing: fleet.ViewOwn, Name: "New", Filter: fleet.Filter{State: fleet.StateSilent}})
	w.must(err)
	at := regexp.MustCompile(`class="saved" href="([^"]+)"[^>]*>New`).FindStringSubmatch(read.get("/devices").body)
	if at == nil {
		t.Fatal("the list does not show the view New")
	}
	if res := read.get(at[1]); res.StatusCode != http.StatusSeeOther || !strings.Contains(res.Header.Get("Location"), "state=silent") {
		t.Errorf("the view New at %s = %d %s, want its list", at[1], res.StatusCode, res.Header.Get("Location"))
	}
	if res := read.post("/views/"+older.ID+"/delete", nil); res.StatusCode != http.StatusSeeOther {
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
	if res := read.post("/views/"+id+"/edit", url.Values{"name": {"Neue"}}); res.Header.Get("Location") != "/views?done=renamed" {
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
	if res := read.get("/views/neue"); res.StatusCode != http.StatusSeeOther {
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

// TestSavedViewIsChanged: what the list shows becomes the filter of the view that
// it was, unless somebody else changed that meanwhile.
func TestSavedViewIsChanged(t *testing.T) {
	w := newWorld(t)
	w.fill(60)
	b, read := w.signedIn("admin"), w.signedIn("read")
	made := b.post("/views", url.Values{"name": {"Lange still"}, "shared": {"all"}, "from": {"state=silent"}})
	view := made.Header.Get("Location")
	id := strings.TrimPrefix(view, "/views/")
	list := b.get(b.get(view).Header.Get("Location")).body
	if strings.Contains(list, "Änderung speichern") {
		t.Error("a view that is as it is saved offers to save a change")
	}
	// The form of the filters, as a browser without script sends it.
	typed := url.Values{"q": {"lifebook"}, "state": {"silent"}}
	if m := regexp.MustCompile(`name="edits" value="([^"]+)"`).FindStringSubmatch(list); m == nil {
		t.Fatal("the form of the filters does not know whose filter it is")
	} else {
		typed.Set("edits", m[1])
	}
	page := b.get("/devices?" + typed.Encode()).body
	if !strings.Contains(text(page), "Sie ändern die gespeicherte Ansicht „Lange still“.") {
		t.Fatalf("the list does not say that a view is changed: %s", text(page))
	}
	if tab := regexp.MustCompile(`<a href="([^"]+)"[^>]*>Verbunden`).FindStringSubmatch(page); tab == nil || strings.Contains(tab[1], "edits") {
		t.Errorf("the list's own view is a change of the saved one: %q", tab)
	}
	if body := read.get("/devices?" + typed.Encode()).body; strings.Contains(body, "Änderung speichern") {
		t.Error("who may not change the view is offered to")
	}
	form := hiddenOf(t, page, "/views/"+id+"/filter")
	if res := read.post("/views/"+id+"/filter", form); res.StatusCode != http.StatusForbidden {
		t.Errorf("who may not change it = %d, want 403", res.StatusCode)
	}
	if res := b.post("/views/"+id+"/filter", form); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != view {
		t.Fatalf("saving = %d %s", res.StatusCode, text(res.body))
	}
	if to := b.get(view).Header.Get("Location"); !strings.Contains(to, "q=lifebook&state=silent") {
		t.Errorf("the view leads to %s", to)
	}
	form.Set("from", "state=new&sort=-battery")
	stale := b.post("/views/"+id+"/filter", form)
	if stale.StatusCode != http.StatusConflict || !strings.Contains(text(stale.body), "Jemand anderes hat „Lange still“ inzwischen geändert, sie zeigt jetzt: Suche „lifebook“, Zustand: Still. Ihre Änderung zeigt: Zustand: Neu.") {
		t.Errorf("a change of what was changed meanwhile = %d %s", stale.StatusCode, text(stale.body))
	}
	if to := b.get(view).Header.Get("Location"); !strings.Contains(to, "q=lifebook") {
		t.Errorf("it was carried out: the view leads to %s", to)
	}
	if res := b.post("/views/"+id+"/filter", hiddenOf(t, stale.body, "/views/"+id+"/filter")); res.StatusCode != http.StatusSeeOther {
		t.Errorf("saving it anyway = %d", res.StatusCode)
	}
	if to := b.get(view).Header.Get("Location"); !strings.Contains(to, "sort=-battery&state=new") {
		t.Errorf("the view leads to %s", to)
	}
}

// TestViewsNameIsNotTheLists: the list has views of its own, and no second one
// stands beside them under their name, in either language, by page or API.
func TestViewsNameIsNotTheLists(t *testing.T) {
	w := newWorld(t)
	w.fill(6)
	b, token := w.signedIn("support"), w.token("a", access.RoleAdmin, nil)
	api := func(path, body string) answer {
		return w.browser().do(http.MethodPost, path, strings.NewReader(body), "Authorization", "Bearer "+token, "Content-Type", "application/json")
	}
	for _, name := range []string{"Still", " kritisch ", "Silent", "ALLE", "All", "In Ordnung!", "ok", "new", "Neu"} {
		if res := b.post("/views", url.Values{"name": {name}, "from": {"q=x"}}); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text(res.body), "So heißt schon eine Ansicht, die alle haben.") {
			t.Errorf("a view %q = %d, want 422", name, res.StatusCode)
		}
		if res := api("/api/v1/views", `{"name":"`+name+`"}`); res.StatusCode != http.StatusConflict || !strings.Contains(res.body, "problem:exists") {
			t.Errorf("a view %q by the API = %d %s, want 409", name, res.StatusCode, res.body)
		}
	}
	// A name that stands in an address as the page's own does leads to its list.
	for _, name := range []string{"«new»é", "count", "edit", "filter"} {
		res := b.post("/views", url.Values{"name": {name}, "from": {"q=" + name}})
		page := b.get("/views").body
		i := strings.Index(page, ">"+name+"</a>")
		if res.StatusCode != http.StatusSeeOther || i < 0 {
			t.Fatalf("a view %q = %d", name, res.StatusCode)
		}
		href := page[:i]
		href = href[strings.LastIndex(href, `href="`)+6:]
		href, _, _ = strings.Cut(href, `"`)
		if res := b.get(href); res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(res.Header.Get("Location"), "/devices?q=") {
			t.Errorf("the view %q at %s = %d to %q, want its list", name, href, res.StatusCode, res.Header.Get("Location"))
		}
	}
	made := b.post("/views", url.Values{"name": {"Still vor den Ferien"}, "from": {"q=x"}})
	if made.StatusCode != http.StatusSeeOther {
		t.Fatalf("a name with more in it = %d", made.StatusCode)
	}
	if res := b.post(made.Header.Get("Location")+"/edit", url.Values{"name": {"still"}}); res.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("renaming to it = %d, want 422", res.StatusCode)
	}
}
