package web_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hausmeister/collector/access"
	"hausmeister/collector/web"
)

// always are the headers that every answer has, whatever it is.
var always = map[string]string{
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Referrer-Policy":              "same-origin",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
}

func checkHeaders(t *testing.T, what string, h http.Header) {
	t.Helper()
	for name, want := range always {
		if got := h.Get(name); got != want {
			t.Errorf("%s: %s = %q, want %q", what, name, got, want)
		}
	}
	csp := h.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
		if !strings.Contains(csp, part) {
			t.Errorf("%s: Content-Security-Policy %q lacks %q", what, csp, part)
		}
	}
	if strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") || strings.Contains(csp, "http") {
		t.Errorf("%s: Content-Security-Policy %q is not strict", what, csp)
	}
	if h.Get("Permissions-Policy") == "" {
		t.Errorf("%s: no Permissions-Policy", what)
	}
}

// path fills the pattern of a route.
func path(rt web.Route, id string) string {
	return strings.NewReplacer("{$}", "", "{id}", id, "{session}", id, "{name}", "none", "{code}", "disk_low", "{file}", "none").Replace(rt.Path)
}

func TestEveryRoute(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(6)
	routes := w.web.Routes()
	if len(routes) < 16 {
		t.Fatalf("%d routes, want all of them", len(routes))
	}
	admin := w.signedIn("admin") // once: a password's hash takes longer than a route
	for _, rt := range routes {
		t.Run(rt.Method+" "+rt.Path, func(t *testing.T) {
			p := path(rt, ids[0])
			// Nobody: only open doors let in.
			res := w.browser().do(rt.Method, p, nil, "Sec-Fetch-Site", "same-origin", "X-Forwarded-For", "192.0.2.1")
			checkHeaders(t, "stranger", res.Header)
			switch rt.Door {
			case "signed":
				if res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(res.Header.Get("Location"), "/sign-in") {
					t.Errorf("stranger: %d to %q, want 303 to the sign-in page", res.StatusCode, res.Header.Get("Location"))
				}
			case "program", "scrape":
				if res.StatusCode != http.StatusUnauthorized || res.Header.Get("WWW-Authenticate") == "" {
					t.Errorf("stranger: %d, want 401 with WWW-Authenticate", res.StatusCode)
				}
			case "open":
				if res.StatusCode >= 500 {
					t.Errorf("stranger: %d", res.StatusCode)
				}
			}
			// A session is no token, a token is no session.
			if rt.Door == "program" || rt.Door == "scrape" {
				res := admin.do(rt.Method, p, nil, "X-Forwarded-For", "192.0.2.1")
				if res.StatusCode != http.StatusUnauthorized {
					t.Errorf("with a session only: %d, want 401", res.StatusCode)
				}
			}
			// What changes something does not do it for another site.
			if rt.Method != http.MethodGet {
				for _, headers := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://anderswo.example"}} {
					res := admin.do(rt.Method, p, strings.NewReader("x=y"), headers...)
					if res.StatusCode != http.StatusForbidden {
						t.Errorf("%s %v: %d, want 403", rt.Method, headers, res.StatusCode)
					}
					checkHeaders(t, "cross-site", res.Header)
				}
				if admin.get("/devices").StatusCode != http.StatusOK {
					t.Error("a refused cross-site request ended the session")
					admin = w.signedIn("admin")
				}
			}
			// Other methods are named as not allowed, in the route's own form.
			for _, method := range []string{http.MethodDelete, http.MethodPut, "BREW"} {
				res := w.browser().do(method, p, nil, "Sec-Fetch-Site", "same-origin")
				if res.StatusCode != http.StatusMethodNotAllowed || !strings.Contains(res.Header.Get("Allow"), rt.Method) {
					t.Errorf("%s: %d, Allow %q; want 405 with %s", method, res.StatusCode, res.Header.Get("Allow"), rt.Method)
				}
				checkHeaders(t, method, res.Header)
			}
			// A shared cache keeps nothing but static files.
			if cc := res.Header.Get("Cache-Control"); !strings.Contains(cc, "no-store") {
				t.Errorf("Cache-Control = %q, want no-store", cc)
			}
		})
	}
}

func TestUnknownAddresses(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	for _, p := range []string{"/nirgends", "/devices/", "/devices/x/y", "/static/", "/%00", "/a//b"} {
		res := w.browser().get(p)
		checkHeaders(t, p, res.Header)
		if res.StatusCode != http.StatusNotFound && res.StatusCode/100 != 3 {
			t.Errorf("GET %s = %d, want 404", p, res.StatusCode)
		}
	}
	res := w.browser().get("/api/v1/nirgends")
	if res.StatusCode != http.StatusNotFound || res.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("GET /api/v1/nirgends = %d %s, want a 404 problem", res.StatusCode, res.Header.Get("Content-Type"))
	}
}

// TestHSTS: a promise of HTTPS would bind every other program on localhost.
func TestHSTS(t *testing.T) {
	w := newStores(t)
	for host, want := range map[string]bool{
		"desk.schule.example": true, "desk.schule.example:8443": true, "192.0.2.7:443": true, "[2001:db8::1]:443": true,
		"localhost": false, "localhost:8443": false, "127.0.0.1:8443": false, "[::1]:8443": false, "demo.localhost": false,
	} {
		rec := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodGet, "https://"+host+"/healthz", nil)
		w.web.ServeHTTP(rec, req)
		if got := rec.Header().Get("Strict-Transport-Security") != ""; got != want {
			t.Errorf("Host %s: HSTS sent %v, want %v", host, got, want)
		}
	}
}

func TestLimitsOfARequest(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	res := b.post("/sign-in", url.Values{"name": {strings.Repeat("x", 70<<10)}, "password": {"y"}})
	if res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a form of 70 kB = %d, want 413", res.StatusCode)
	}
	if res := b.get("/devices?q=" + strings.Repeat("x", 300)); res.StatusCode != http.StatusSeeOther {
		t.Errorf("stranger with a long query = %d, want 303", res.StatusCode)
	}
	if res := w.signedIn("read").get("/devices?q=" + strings.Repeat("x", 300)); res.StatusCode != http.StatusBadRequest {
		t.Errorf("a query of 300 bytes = %d, want 400", res.StatusCode)
	}
	if res := w.signedIn("read").get("/devices?q=%ff%fe"); res.StatusCode != http.StatusBadRequest {
		t.Errorf("a query that is no text = %d, want 400", res.StatusCode)
	}
}

// TestNothingIsLeftOut: a filter that cannot be read would give all devices.
func TestNothingIsLeftOut(t *testing.T) {
	w := newWorld(t)
	for _, p := range []string{"/devices?state=%zz", "/devices?q=a;state=silent", "/schools/options?school=%", "/sign-in?next=%zz"} {
		if res := w.signedIn("read").get(p); res.StatusCode != http.StatusBadRequest || !strings.Contains(res.body, "Anfrage nicht verstanden") {
			t.Errorf("GET %s = %d, want the page of a 400", p, res.StatusCode)
		}
	}
	token := w.token("probe", access.RoleRead, nil)
	if res := w.api(token, "/api/v1/devices?q=%ff", nil); !strings.Contains(res.body, `"detail":"not UTF-8"`) {
		t.Errorf("q=%%ff in the API = %s, want to hear that it is not UTF-8", res.body)
	}
}

func TestNextStaysHere(t *testing.T) {
	for to, want := range map[string]string{
		"/devices?q=a%20b": "/devices?q=a%20b", "": "/", "devices": "/", "//evil.example": "/", "/\\evil.example": "/", "https://evil.example/x": "/",
		"javascript:alert(1)": "/", "/x\r\nSet-Cookie: a=b": "/", "///evil.example": "/", "/%2f/evil.example": "/",
	} {
		if got := web.LocalPath(to); got != want {
			t.Errorf("localPath(%q) = %q, want %q", to, got, want)
		}
	}
}

func TestForeignDeviceIsNotFound(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(12)
	d, err := w.fleet.Device(t.Context(), operator, ids[0])
	w.must(err)
	var foreign string
	for _, id := range ids {
		if o, _ := w.fleet.Device(t.Context(), operator, id); o.Owner != d.Owner {
			foreign = id
			break
		}
	}
	w.user("ahorn", access.RoleAdmin, []string{d.Owner})
	token := w.token("ahorn-token", access.RoleAdmin, []string{d.Owner})
	b := w.signedIn("ahorn")
	// The same answer for a device of another owner and for one that is none.
	const none = "01a207bd-a9c0-7765-977e-000000000000"
	for _, p := range []string{"/devices/", "/api/v1/devices/"} {
		if p == "/devices/" {
			if got, want := b.get(p+foreign), b.get(p+none); got.StatusCode != 404 || got.StatusCode != want.StatusCode ||
				strings.ReplaceAll(got.body, foreign, none) != want.body {
				t.Errorf("GET %s of a foreign device = %d, differs from an unknown one", p, got.StatusCode)
			}
			if b.get(p+ids[0]).StatusCode != http.StatusOK {
				t.Error("one's own device is not shown")
			}
			continue
		}
		got, want := w.api(token, p+foreign, nil), w.api(token, p+none, nil)
		if got.StatusCode != 404 || got.body != want.body {
			t.Errorf("GET %s of a foreign device = %d %s, unknown %s", p, got.StatusCode, got.body, want.body)
		}
	}
	if res := b.get("/devices/"+foreign+"/live", "Accept", "text/event-stream"); res.StatusCode != http.StatusNotFound {
		t.Errorf("live of a foreign device = %d, want 404", res.StatusCode)
	}
	if strings.Contains(b.get("/devices").body, "Landkreis Kiefer") || strings.Contains(b.get("/schools").body, "Kiefer") {
		t.Error("the list or the suggestions name another owner")
	}
}

func TestProblems(t *testing.T) {
	w := newWorld(t)
	w.fill(3)
	token := w.token("probe", access.RoleRead, nil)
	type problem struct {
		Type   string
		Status int
		Field  string
	}
	tests := []struct {
		path, token string
		want        problem
	}{
		{"/api/v1/devices?limit=501", token, problem{"urn:hausmeister:problem:bad-request", 400, "limit"}},
		{"/api/v1/devices?limit=0", token, problem{"urn:hausmeister:problem:bad-request", 400, "limit"}},
		{"/api/v1/devices?limit=x", token, problem{"urn:hausmeister:problem:bad-request", 400, "limit"}},
		{"/api/v1/devices?cursor=x", token, problem{"urn:hausmeister:problem:bad-request", 400, "cursor"}},
		{"/api/v1/devices?state=kaputt", token, problem{"urn:hausmeister:problem:bad-request", 400, "state"}},
		{"/api/v1/devices?school=nirgends", token, problem{"urn:hausmeister:problem:bad-request", 400, "school"}},
		{"/api/v1/devices?sort=farbe", token, problem{"urn:hausmeister:problem:bad-request", 400, "sort"}},
		{"/api/v1/devices?serach=x", token, problem{"urn:hausmeister:problem:bad-request", 400, "serach"}},
		{"/api/v1/devices?limit=%zz", token, problem{"urn:hausmeister:problem:bad-request", 400, "query"}},
		{"/api/v1/devices?q=a;b", token, problem{"urn:hausmeister:problem:bad-request", 400, "query"}},
		{"/api/v1/devices?%ff=1", token, problem{"urn:hausmeister:problem:bad-request", 400, "query"}},
		{"/api/v1/devices?q=%ff", token, problem{"urn:hausmeister:problem:bad-request", 400, "q"}},
		{"/api/v1/devices?q=a+b+c+d+e+f+g", token, problem{"urn:hausmeister:problem:bad-request", 400, "q"}},
		{"/api/v1/devices?q=a&q=b", token, problem{"urn:hausmeister:problem:bad-request", 400, "q"}},
		{"/api/v1/devices/none", token, problem{"urn:hausmeister:problem:not-found", 404, ""}},
		{"/api/v1/devices", "hmt_falsch", problem{"urn:hausmeister:problem:unauthenticated", 401, ""}},
		{"/api/v1/nirgends", token, problem{"urn:hausmeister:problem:not-found", 404, ""}},
	}
	for _, tt := range tests {
		var got problem
		res := w.api(tt.token, tt.path, &got)
		if diff := cmp.Diff(tt.want, got); diff != "" || res.StatusCode != tt.want.Status || res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("GET %s: %s %s", tt.path, res.Header.Get("Content-Type"), diff)
		}
		var all map[string]any
		if json.Unmarshal([]byte(res.body), &all); all["title"] == "" || all["detail"] == "" {
			t.Errorf("GET %s: problem without title or detail: %s", tt.path, res.body)
		}
	}
}
