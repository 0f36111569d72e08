package web_test

import (
	"net/http"
	"strings"
	"testing"

	"hausmeister/collector/access"
	"hausmeister/collector/web"
)

// things are one of each kind of an owner, by the paths that have their ids.
func (w *world) things(t *testing.T) map[string]string {
	t.Helper()
	ids := w.fill(8)
	owner := w.ownerID("Landkreis Ahorn")
	var device string
	for _, id := range ids {
		if d, err := w.fleet.Device(t.Context(), operator, id); err == nil && d.Owner == owner {
			device = id
			break
		}
	}
	return map[string]string{"devices": device, "owners": owner, "schools": w.schoolID("Landkreis Ahorn", "S0001")}
}

// TestWhoMayNotHearsNoMore: whoever may not do something hears that, whatever he sends:
// what is wrong with it is for those who may. So it is on every route that changes
// something, of the pages and of the API, with nothing in it.
func TestWhoMayNotHearsNoMore(t *testing.T) {
	w := newWorld(t)
	things := w.things(t)
	w.user("kiefer", access.RoleAdmin, []string{w.ownerID("Landkreis Kiefer")})
	kiefer := w.signedIn("kiefer")
	tokens, pages := map[access.Role]string{}, map[access.Role]*browser{}
	for _, role := range access.Roles {
		tokens[role], pages[role] = w.token("may-"+string(role), role, nil), w.signedIn(string(role))
	}
	foreign := w.token("foreign", access.RoleAdmin, []string{w.ownerID("Landkreis Kiefer")})
	refused := 0
	for _, rt := range w.web.Routes() {
		if rt.Method != http.MethodPost || rt.Door == "open" {
			continue
		}
		var needs access.Permission
		if rt.Door == "program" {
			needs, _ = web.Needs(web.OperationID(rt.Method, rt.Path))
		} else {
			for operation := range strings.FieldsSeq(same[rt.Method+" "+rt.Path]) {
				needs, _ = web.Needs(operation)
			}
		}
		if needs == "" {
			continue
		}
		at := path(rt, "01a207bd-a9c0-7765-977e-000000000000")
		wrong := func(who string, status int) {
			if status != http.StatusForbidden && status != http.StatusNotFound {
				t.Errorf("%s %s by %s = %d, want 403 or 404", rt.Method, rt.Path, who, status)
			}
			refused++
		}
		send := func(token, at, body, kind string) int {
			return w.browser().do(http.MethodPost, at, strings.NewReader(body), "Authorization", "Bearer "+token, "Content-Type", kind).StatusCode
		}
		for _, role := range access.Roles {
			if (access.Caller{Kind: access.KindUser, Role: role}).Allow(needs) == nil {
				continue
			}
			if rt.Door == "program" {
				wrong(string(role), send(tokens[role], at, "", "application/json"))
				wrong(string(role)+" with If-Match", w.browser().do(http.MethodPost, at, nil, "Authorization", "Bearer "+tokens[role], "If-Match", "nonsense").StatusCode)
				wrong(string(role)+" with a parameter", send(tokens[role], at+"?x=y", "{", "text/plain"))
			} else {
				wrong(string(role), pages[role].post(at, nil).StatusCode)
			}
		}
		// Another owner's thing is not found, before anything is read.
		_, rest, _ := strings.Cut(strings.TrimPrefix(rt.Path, "/api/v1"), "/")
		kind, _, _ := strings.Cut(rest, "/")
		id := things[kind]
		if id == "" || !strings.Contains(rt.Path, "{id}") {
			continue
		}
		if rt.Door == "program" {
			if status := send(foreign, path(rt, id), "", "application/json"); status != http.StatusNotFound {
				t.Errorf("%s %s by another owner's = %d, want 404", rt.Method, rt.Path, status)
			}
		} else if status := kiefer.post(path(rt, id), nil).StatusCode; status != http.StatusNotFound {
			t.Errorf("%s %s by another owner's = %d, want 404", rt.Method, rt.Path, status)
		}
	}
	if refused < 100 {
		t.Errorf("%d calls were to be refused, want more", refused)
	}
}
