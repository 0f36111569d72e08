package web_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hausmeister/collector/access"
	"hausmeister/collector/health"
)

// TestProblemTypesAreListed: the description names the types that the code can answer,
// all and no others. That no call answers one which is not said of it is held by every
// test that calls the API, see described.
func TestProblemTypesAreListed(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || name == "problems.go" {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			lit, ok := n.(*ast.CompositeLit)
			if !ok || len(lit.Elts) != 2 {
				return true
			}
			if kind, ok := lit.Type.(*ast.Ident); !ok || kind.Name != "fault" {
				return true
			}
			text, err := strconv.Unquote(lit.Elts[1].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			found["urn:hausmeister:problem:"+text] = true
			return true
		})
	}
	w := newStores(t)
	var doc struct {
		Paths map[string]map[string]struct {
			Responses map[string]struct {
				Types []string `json:"x-problem-types"`
			}
		}
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct{ Enum []string }
			}
		}
	}
	w.serve().api(w.token("t", access.RoleRead, nil), "/api/v1/openapi.json", &doc)
	listed := doc.Components.Schemas["Problem"].Properties["type"].Enum
	var code []string
	for name := range found {
		code = append(code, name)
	}
	slices.Sort(code)
	if diff := cmp.Diff(code, listed); diff != "" || len(code) < 20 {
		t.Errorf("types of the code (-) and of the description (+):\n%s", diff)
	}
	used := map[string]bool{"urn:hausmeister:problem:method-not-allowed": true} // of no call
	for path, methods := range doc.Paths {
		for method, c := range methods {
			types := c.Responses["default"].Types
			if len(types) < 3 {
				t.Errorf("%s %s says of no problem that it can answer it: %v", method, path, types)
			}
			for _, name := range types {
				used[name] = true
				if !found[name] {
					t.Errorf("%s %s names %s, which no code answers", method, path, name)
				}
			}
		}
	}
	for _, name := range listed {
		if !used[name] {
			t.Errorf("%s is said of no call", name)
		}
	}
}

// TestWrongKindsInPlainWords: what is wrong with a body is said without the names of
// our types.
func TestWrongKindsInPlainWords(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	admin := w.token("admin", access.RoleAdmin, nil)
	ours := regexp.MustCompile(`web\.|Go |struct|int64|string|\[\]|float|unmarshal|EOF`)
	for _, tt := range []struct{ path, body, field, detail string }{
		{"/api/v1/claims", `{"cap":"zehn"}`, "cap", "want a whole number, got a text"},
		{"/api/v1/claims", `{"cap":1.5}`, "cap", "want a whole number, got a number"},
		{"/api/v1/claims", `{"owner":7}`, "owner", "want a text, got a number"},
		{"/api/v1/claims", `{"serials":"x"}`, "serials", "want a list, got a text"},
		{"/api/v1/claims", `{"serials":[{}]}`, "serials", "want a text, got an object"},
		{"/api/v1/claims", `{"owner":"x","expires":"2026-11-30T00:00:00Z","serials":["PF2ABCD","To be filled by O.E.M."]}`, "serials[1]", `claim not possible: serial "To be filled by O.E.M." names no single machine`},
		{"/api/v1/claims", `{"owner":"x","expires":"2026-11-30T00:00:00Z"}`, "cap", "claim not possible: cap 0, want 1 to 1000000"},
		{"/api/v1/claims", `{"expires":"2026-11-30T00:00:00Z","cap":1}`, "owner", "claim not possible: no owner"},
		{"/api/v1/claims", `{"owner":"x","expires":"2020-11-30T00:00:00Z","cap":1}`, "expires", "claim not possible: it would have expired already"},
		{"/api/v1/users", `{"all_owners":"ja"}`, "all_owners", "want true or false, got a text"},
		{"/api/v1/users", `[]`, "body", "want an object, got a list"},
		{"/api/v1/users", `7`, "body", "want an object, got a number"},
		{"/api/v1/users", ``, "body", "want one JSON object, got nothing"},
		{"/api/v1/users", `{"login":`, "body", "want one JSON object, but it ends in the middle"},
		{"/api/v1/users", `{"farbe":1}`, "farbe", "no such field"},
		{"/api/v1/jobs", `{"filter":[]}`, "filter", "want an object, got a list"},
		{"/api/v1/jobs", `{"filter":{"q":true}}`, "filter.q", "want a text, got true or false"},
	} {
		res := w.browser().do(http.MethodPost, tt.path, strings.NewReader(tt.body), "Authorization", "Bearer "+admin, "Content-Type", "application/json")
		var p struct{ Field, Detail string }
		if err := json.Unmarshal([]byte(res.body), &p); err != nil {
			t.Fatal(err)
		}
		if p.Field != tt.field || p.Detail != tt.detail || ours.MatchString(p.Detail) {
			t.Errorf("POST %s %s: %q: %q, want %q: %q", tt.path, tt.body, p.Field, p.Detail, tt.field, tt.detail)
		}
	}
}

// TestImpossibleAsks: what cannot be is said of its field, in words that help whoever
// wrote the call.
func TestImpossibleAsks(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	admin := w.token("admin", access.RoleAdmin, nil)
	updates := "/api/v1/owners/" + w.ownerID("Landkreis Ahorn") + "/updates"
	for _, tt := range []struct{ path, body, field, detail string }{
		{"/api/v1/tokens", `{"name":"neu","role":"read","all_owners":true,"expires":"2020-01-01T00:00:00Z"}`, "expires", "in the past"},
		{updates + "/days", `{"kind":"closed","from":"2026-12-11","to":"2026-12-07"}`, "to", "not before from"},
		{updates + "/days", `{"kind":"closed","from":"2026-12-11","to":"2027-12-07"}`, "to", "at most 92 days"},
		{updates + "/days", `{"kind":"closed","from":"morgen","to":"2026-12-07"}`, "from", "want a day"},
		{updates + "/days", `{"kind":"closed","from":"2026-12-07"}`, "to", "want a day"},
		{updates + "/days", `{"kind":"open","from":"2026-12-07","to":"2026-12-07"}`, "kind", "want closed or free"},
		{updates, `{"lessons_from":"13:00","lessons_to":"08:00"}`, "lessons_to", "not before lessons_from"},
		{updates, `{"lessons_from":"08:00","lessons_to":"13:00","bytes_per_second":-1}`, "bytes_per_second", "want 0 or more"},
		{updates, `{"lessons_from":"08:00","lessons_to":"13:00","parallel":1001}`, "parallel", "want 0 to 1000"},
	} {
		res := w.browser().do(http.MethodPost, tt.path, strings.NewReader(tt.body), "Authorization", "Bearer "+admin, "Content-Type", "application/json")
		var p struct{ Field, Detail string }
		if err := json.Unmarshal([]byte(res.body), &p); err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusBadRequest || p.Field != tt.field || !strings.Contains(p.Detail, tt.detail) {
			t.Errorf("POST %s %s = %d, %q: %q, want 400, %q: %q", tt.path, tt.body, res.StatusCode, p.Field, p.Detail, tt.field, tt.detail)
		}
	}
}

// TestNinthStream: too many at the same time is another thing than too often.
func TestNinthStream(t *testing.T) {
	w := newWorld(t)
	token := w.token("listener", access.RoleRead, nil)
	for range 8 {
		w.listenAt(t, "/api/v1/events", token, "").next(t)
	}
	res := w.api(token, "/api/v1/events", nil)
	if res.StatusCode != http.StatusTooManyRequests || !strings.Contains(res.body, "urn:hausmeister:problem:too-many-streams") || !strings.Contains(res.body, "at the same time") {
		t.Errorf("the ninth stream = %d %s, want too-many-streams", res.StatusCode, res.body)
	}
	if body := w.api(token, "/metrics", nil).body; !strings.Contains(body, `hausmeister_live_streams{kind="api"} 8`) || !strings.Contains(body, `hausmeister_live_streams{kind="page"} 0`) {
		t.Error("the streams of programs are not counted as theirs")
	}
}

// TestRecordSpeaksInWords: neither a subject nor a detail of the record's page is a name
// that only programs know.
func TestRecordSpeaksInWords(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(4)
	bearer, _ := w.person(t)
	post := func(path, body string) {
		t.Helper()
		res := w.browser().do(http.MethodPost, path, strings.NewReader(body), "Authorization", "Bearer "+bearer, "Content-Type", "application/json")
		if res.StatusCode/100 != 2 {
			t.Fatalf("POST %s = %d %s", path, res.StatusCode, res.body)
		}
	}
	owner := w.ownerID("Landkreis Ahorn")
	post("/api/v1/account/choices", `{"language":"en","theme":"dark","keys":"off","columns":["model","seen"]}`)
	post("/api/v1/devices/"+ids[0]+"/labels", `{"label":"Rückruf"}`)
	post("/api/v1/devices/"+ids[0]+"/looks", `{"reason":"Anruf wegen Langsamkeit"}`)
	for _, class := range []health.KeptClass{health.KeptMinutes} {
		post("/api/v1/owners/"+owner+"/retention", `{"class":"`+string(class)+`","days":14}`)
	}
	post("/api/v1/owners/"+owner+"/software", `{"names":["libreoffice"]}`)
	post("/api/v1/owners/"+owner+"/updates", `{"lessons_from":"07:45","lessons_to":"16:00"}`)
	post("/api/v1/owners/"+owner+"/updates/days", `{"kind":"closed","from":"2026-12-07","to":"2026-12-11","name":"Prüfungen"}`)
	post("/api/v1/house", `{"language":"de","theme":"dark","contact":"Helpdesk"}`)
	post("/api/v1/views", `{"name":"Stille","filter":{"state":"silent"}}`)
	post("/api/v1/questions", `{"name":"Akkus","if":["battery_charge.lt.600"]}`)
	post("/api/v1/jobs", `{"act":"label","label":"x","filter":{"q":"lifebook"}}`)
	post("/api/v1/schools/"+w.schoolID("Landkreis Ahorn", "S0001"), `{"name":"Neu"}`)
	post("/api/v1/users", `{"login":"eva","role":"read","all_owners":true}`)
	post("/api/v1/tokens", `{"name":"neu","role":"read","all_owners":true}`)
	raw := regexp.MustCompile(`^[a-z]+([._][a-z]+)+$`)
	for _, lang := range []string{"de", "en"} {
		b := w.signedIn("admin")
		b.post("/preferences", map[string][]string{"lang": {lang}})
		body := text(b.get("/audit").body)
		if !strings.Contains(body, map[string]string{"de": "Spalten der Geräteliste", "en": "Columns of the device list"}[lang]) {
			t.Errorf("%s: the record does not say that columns were chosen", lang)
		}
		for word := range strings.FieldsSeq(body) {
			if raw.MatchString(strings.Trim(word, ".,;:()")) {
				t.Errorf("%s: the record says %q", lang, word)
			}
		}
	}
}

// TestHistoryNamesWhatIsWrong: what cannot be asked for names its parameter.
func TestHistoryNamesWhatIsWrong(t *testing.T) {
	w := newWorld(t)
	id, token := w.fill(1)[0], w.token("reader", access.RoleRead, nil)
	for query, want := range map[string][2]string{
		"reading=user_name":                          {"reading", `there is no reading "user_name"`},
		"reading=cpu_used&from=1969-12-31T00:00:00Z": {"from", "want a time since 1970"},
		"reading=cpu_used&to=1969-12-31T00:00:00Z":   {"to", "want a time since 1970"},
	} {
		var p struct{ Field, Detail string }
		if res := w.api(token, "/api/v1/devices/"+id+"/history?"+query, &p); res.StatusCode != http.StatusBadRequest || p.Field != want[0] || !strings.Contains(p.Detail, want[1]) {
			t.Errorf("%s: %d %+v, want 400 with the field %s: %s", query, res.StatusCode, p, want[0], want[1])
		}
	}
}
