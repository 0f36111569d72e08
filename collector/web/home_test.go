package web_test

import (
	"net/http"
	"net/url"
	"testing"

	"hausmeister/collector/access"
)

// TestFirstPage is what each role has most to do with.
func TestFirstPage(t *testing.T) {
	w := newWorld(t)
	w.fill(3)
	for role, page := range map[access.Role]string{access.RoleAdmin: "/devices", access.RoleRelease: "/updates", access.RoleSupport: "/devices", access.RoleRead: "/devices"} {
		b := w.signedIn(string(role))
		for _, from := range []string{"/", "/sign-in"} {
			res := b.get(from)
			for range 2 {
				if res.StatusCode == http.StatusSeeOther && res.Header.Get("Location") == "/" {
					res = b.get("/")
				}
			}
			if to := res.Header.Get("Location"); res.StatusCode != http.StatusSeeOther || to != page {
				t.Errorf("%s: %s leads to %q (%d), want %s", role, from, to, res.StatusCode, page)
			}
		}
		if res := b.get(page); res.StatusCode != http.StatusOK {
			t.Errorf("%s may not read the first page %s: %d", role, page, res.StatusCode)
		}
	}
	// Who asked for a page before signing in gets that one, and not the first.
	res := w.browser().post("/sign-in", url.Values{"name": {"release"}, "password": {password}, "next": {"/schools"}})
	if to := res.Header.Get("Location"); to != "/schools" {
		t.Errorf("signed in for /schools = to %q", to)
	}
}
