package web_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"hausmeister/collector/access"
	"hausmeister/collector/web"
)

// TestIfMatch: a change for what is no more is refused, whoever changed it and
// wherever; without If-Match it goes through.
func TestIfMatch(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(4)
	token := w.token("admin", access.RoleAdmin, nil)
	path := "/api/v1/devices/" + ids[0]
	post := func(tail, body string, headers ...string) answer {
		t.Helper()
		return w.browser().do(http.MethodPost, path+tail, strings.NewReader(body), append([]string{"Authorization", "Bearer " + token, "Content-Type", "application/json"}, headers...)...)
	}
	tag := func() string { t.Helper(); return w.api(token, path, nil).Header.Get("ETag") }
	first := tag()
	w.report(ids[0], notebook(9)...)
	if got := tag(); got != first || first == "" || strings.HasPrefix(first, "W/") {
		t.Errorf("ETag %s, after a report %s; want the same: nothing that calls change did", first, got)
	}
	if other := w.api(token, "/api/v1/devices/"+ids[1], nil).Header.Get("ETag"); other == first {
		t.Error("two devices have one ETag")
	}
	if res := post("/labels", `{"label":"eins"}`, "If-Match", first); res.StatusCode != http.StatusOK {
		t.Errorf("the first change = %d %s", res.StatusCode, res.body)
	}
	second := tag()
	for what, header := range map[string]string{"the tag of before": first, "a weak tag": "W/" + second, "another one": `"x", "y"`} {
		if res := post("/labels", `{"label":"zwei"}`, "If-Match", header); res.StatusCode != http.StatusPreconditionFailed {
			t.Errorf("%s = %d, want 412", what, res.StatusCode)
		}
	}
	if res := post("/labels", `{"label":"zwei"}`, "If-Match", "nonsense"); res.StatusCode != http.StatusBadRequest || !strings.Contains(res.body, `"field":"If-Match"`) {
		t.Errorf("what is no tag = %d %s, want 400", res.StatusCode, res.body)
	}
	// A page changes it, too.
	w.must(w.fleet.SetLabel(t.Context(), operator, ids[0], "von der Seite", true))
	if res := post("/labels/remove", `{"label":"eins"}`, "If-Match", second); res.StatusCode != http.StatusPreconditionFailed {
		t.Errorf("after a change by a page = %d, want 412", res.StatusCode)
	}
	for what, headers := range map[string][]string{"any state": {"If-Match", "*"}, "no If-Match": nil} {
		if res := post("/labels", `{"label":"`+what+`"}`, headers...); res.StatusCode != http.StatusOK {
			t.Errorf("%s = %d %s", what, res.StatusCode, res.body)
		}
	}
	if res := post("/labels", `{"label":"drei"}`, "If-Match", `"x", `+tag()); res.StatusCode != http.StatusOK {
		t.Errorf("one of several tags = %d %s", res.StatusCode, res.body)
	}
	// What one may not do is not told apart by If-Match.
	reader := w.token("reader", access.RoleRead, nil)
	res := w.browser().do(http.MethodPost, path+"/labels", strings.NewReader(`{"label":"x"}`), "Authorization", "Bearer "+reader, "Content-Type", "application/json", "If-Match", first)
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("a reader's change with a stale tag = %d, want 403", res.StatusCode)
	}
	foreign := w.token("foreign", access.RoleAdmin, []string{w.ownerID("Landkreis Kiefer")})
	res = w.browser().do(http.MethodPost, path+"/labels", strings.NewReader(`{"label":"x"}`), "Authorization", "Bearer "+foreign, "Content-Type", "application/json", "If-Match", tag())
	if res.StatusCode != http.StatusNotFound {
		t.Errorf("another owner's change = %d, want 404", res.StatusCode)
	}
	// Of many at once with one tag only one happens.
	for round := range 5 {
		now := tag()
		var happened, refused atomic.Int64
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+path+"/labels", strings.NewReader(fmt.Sprintf(`{"label":"r%d n%d"}`, round, i)))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header = http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}, "If-Match": {now}}
				res, err := w.ts.Client().Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				res.Body.Close()
				switch res.StatusCode {
				case http.StatusOK:
					happened.Add(1)
				case http.StatusPreconditionFailed:
					refused.Add(1)
				}
			})
		}
		wg.Wait()
		if happened.Load() != 1 || refused.Load() != 7 {
			t.Errorf("round %d: %d happened, %d were refused; want 1 and 7", round, happened.Load(), refused.Load())
		}
	}
}

// TestIfMatchThatNobodyChecks: a call about nothing that has an ETag is refused
// rather than carried out unchecked.
func TestIfMatchThatNobodyChecks(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	token := w.token("admin", access.RoleAdmin, nil)
	for path, body := range map[string]string{
		"/api/v1/findings/firewall_off/quiet": `{"reason":"Bekannt","until":"2026-12-01"}`, "/api/v1/quiets/x/end": `{}`,
		"/api/v1/users": `{"login":"eva","role":"read","all_owners":true}`,
	} {
		for _, header := range []string{`"x"`, "*"} {
			res := w.browser().do(http.MethodPost, path, strings.NewReader(body), "Authorization", "Bearer "+token, "Content-Type", "application/json", "If-Match", header)
			if res.StatusCode != http.StatusBadRequest || !strings.Contains(res.body, `"field":"If-Match"`) {
				t.Errorf("%s with If-Match %s = %d %s, want 400 about it", path, header, res.StatusCode, res.body)
			}
		}
	}
	if _, err := w.access.User(t.Context(), operator, "eva"); !errors.Is(err, access.ErrNotFound) {
		t.Errorf("eva = %v, want no account made", err)
	}
}

// untagged are the changes that cannot be bound to a state, each with the reason.
var untagged = map[string]string{
	"POST /api/v1/sign-in":                   "opens a session of one's own",
	"POST /api/v1/sign-out":                  "ends the session of the call, which is its only state",
	"POST /api/v1/account/password":          "names the old password",
	"POST /api/v1/account/sessions/end":      "ends what is open; there is nothing to undo unseen",
	"POST /api/v1/account/sessions/{id}/end": "as before",
	"POST /api/v1/quiets/{id}/end":           "an act on a finding ends once and never changes otherwise",
	"POST /api/v1/views/{id}/restore":        "what was deleted cannot be read before",
	"POST /api/v1/questions/{id}/restore":    "what was deleted cannot be read before",
}

// TestEveryChangeIsBoundOrSaysWhyNot: each call that changes a thing can be bound to
// its ETag; TestDescriptionIsTheAPI sends each of them with the tag and with a stale one,
// and wants 412 then. What makes something new is bound by Idempotency-Key.
func TestEveryChangeIsBoundOrSaysWhyNot(t *testing.T) {
	w := newStores(t)
	bound := 0
	for _, rt := range w.web.Routes() {
		name := rt.Method + " " + rt.Path
		if rt.Method != http.MethodPost || !strings.HasPrefix(rt.Path, "/api/") {
			continue
		}
		thing := web.TaggedBy(rt.Method, rt.Path)
		switch why := untagged[name]; {
		case thing != "":
			if bound++; why != "" {
				t.Errorf("%s has an ETag and a reason why it has none", name)
			}
			if web.TaggedBy(http.MethodGet, thing) != thing {
				t.Errorf("%s is bound to %s, whose GET has no ETag", name, thing)
			}
		case web.Makes(rt.Path) == (why != ""):
			t.Errorf("%s has no ETag, makes something new: %v, reason %q", name, web.Makes(rt.Path), why)
		}
	}
	if bound < 30 {
		t.Errorf("%d changes are bound, want more", bound)
	}
}

// TestSchoolsAndOwnersAreBound: who changes them by what he saw before is refused, and
// nothing is changed.
func TestSchoolsAndOwnersAreBound(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	token := w.token("admin", access.RoleAdmin, nil)
	for path, body := range map[string][2]string{
		"/api/v1/schools/" + w.schoolID("Landkreis Ahorn", "S0001"): {`{"name":"Eins"}`, `{"name":"Zwei"}`},
		"/api/v1/owners/" + w.ownerID("Stadt Topas"):                {`{"name":"Stadt Eins"}`, `{"name":"Stadt Zwei"}`},
	} {
		post := func(body, tag string) answer {
			return w.browser().do(http.MethodPost, path, strings.NewReader(body), "Authorization", "Bearer "+token, "Content-Type", "application/json", "If-Match", tag)
		}
		tag := w.api(token, path, nil).Header.Get("ETag")
		if res := post(body[0], tag); tag == "" || res.StatusCode != http.StatusOK {
			t.Errorf("%s with its tag %q = %d %s", path, tag, res.StatusCode, res.body)
		}
		if res := post(body[1], tag); res.StatusCode != http.StatusPreconditionFailed {
			t.Errorf("%s with a stale tag = %d, want 412", path, res.StatusCode)
		}
		if res := w.api(token, path, nil); !strings.Contains(res.body, "Eins") || res.Header.Get("ETag") == tag {
			t.Errorf("%s = %s, tag %s before and after", path, res.body, tag)
		}
	}
}
