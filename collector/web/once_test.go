package web_test

import (
	"net/http"
	"net/url"
	"testing"

	"hausmeister/collector/access"
)

// TestReloadMakesNothing: the answer that shows a secret once is no redirect; whoever
// loads it again sees the same thing and has no second one.
func TestReloadMakesNothing(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	admin := w.signedIn("admin")
	for path, c := range map[string]struct {
		form  url.Values
		other string // field with another value = another thing
		count string
	}{
		"/claims": {url.Values{"owner": {w.ownerID("Landkreis Ahorn")}, "cap": {"25"}, "days": {"30"}}, "note", "SELECT count(*) FROM claims"},
		"/tokens": {url.Values{"name": {"grafana"}, "role": {"read"}, "days": {"30"}, "owners": {"*"}}, "name", "SELECT count(*) FROM tokens"},
		"/people": {url.Values{"login": {"eva"}, "role": {"read"}, "owners": {"*"}}, "login", "SELECT count(*) FROM users"},
	} {
		count := func() (n int64) { w.must(w.count(&n, c.count)); return n }
		before := count()
		c.form.Set("once", hiddenOf(t, admin.get(path+"/new").body, path).Get("once"))
		first := admin.post(path, c.form)
		again := admin.post(path, c.form)
		secret := secretOnce.FindString(first.body)
		if first.StatusCode != http.StatusCreated || again.StatusCode != http.StatusCreated || secret == "" || secretOnce.FindString(again.body) != secret || count() != before+1 {
			t.Errorf("POST %s = %d, again %d; %d more, want one with the same secret", path, first.StatusCode, again.StatusCode, count()-before)
		}
		c.form.Set(c.other, "another")
		if res := admin.post(path, c.form); res.StatusCode != http.StatusCreated || secretOnce.FindString(res.body) == secret || count() != before+2 {
			t.Errorf("POST %s with another %s = %d; %d more, want a second", path, c.other, res.StatusCode, count()-before)
		}
		// Whoever has the form of somebody else gets nothing of his.
		w.user("second"+path[1:], access.RoleAdmin, nil)
		c.form.Set("login", "third")
		if res := w.signedIn("second"+path[1:]).post(path, c.form); secretOnce.FindString(res.body) == secret {
			t.Errorf("POST %s by another gives the first one's secret", path)
		}
	}
}
