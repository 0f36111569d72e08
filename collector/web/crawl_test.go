package web_test

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"hausmeister/collector/access"
	"hausmeister/collector/fleet"
	"hausmeister/testenv/need"
)

var (
	linkTo = regexp.MustCompile(`<a [^>]*href="(/[^"]*)"`)
	anID   = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}|[0-9]{5,}`)
)

// shapeOf is what pages of one kind have in common: the address without ids, and of what
// it asks the names.
func shapeOf(at *url.URL) string {
	var b strings.Builder
	b.WriteString(anID.ReplaceAllString(at.Path, "{id}"))
	for _, name := range []string{"if", "state", "finding", "range", "all", "edits", "saved", "view", "what", "why", "job", "device"} {
		if at.Query().Has(name) {
			b.WriteString(" " + name)
		}
	}
	return b.String()
}

// TestNoLinkLeadsNowhere: whatever the role, a link on a page leads to a page that the
// role may see. Of each kind of page a few are looked at.
func TestNoLinkLeadsNowhere(t *testing.T) {
	need.Plain(t)
	w := storesPaced(t, peopled(t), quietLog, lookRings).serve()
	ids := w.fill(60)
	w.rolled(ids)
	admin, err := w.access.User(t.Context(), operator, "admin")
	w.must(err)
	_, err = w.fleet.StartJob(t.Context(), access.Caller{Kind: access.KindUser, ID: admin.ID, Name: "admin", Role: access.RoleAdmin}, fleet.NewJob{Act: fleet.ActLabel, Label: "Rückruf", Devices: ids[:3]})
	w.must(err)
	w.must(w.fleet.RunJobs(t.Context()))
	const each = 3 // pages of a kind
	for _, role := range access.Roles {
		t.Run(string(role), func(t *testing.T) {
			b := w.signedIn(string(role))
			known, kinds := map[string]string{}, map[string]int{}
			next := []string{"/", "/devices/" + ids[0]}
			for len(next) > 0 {
				page := next[0]
				next = next[1:]
				res := b.get(page)
				if res.StatusCode == http.StatusForbidden || res.StatusCode == http.StatusNotFound || res.StatusCode >= 500 {
					t.Errorf("the link to %s on %s = %d", page, known[page], res.StatusCode)
				}
				if res.StatusCode == http.StatusSeeOther {
					if to := res.Header.Get("Location"); strings.HasPrefix(to, "/sign-in") {
						t.Fatalf("%s leads to the sign-in page", page)
					} else if strings.HasPrefix(to, "/") && known[to] == "" {
						known[to], next = page, append(next, to)
					}
				}
				for _, m := range linkTo.FindAllStringSubmatch(res.body, -1) {
					to, err := url.Parse(html.UnescapeString(m[1]))
					if err != nil {
						t.Fatalf("a link on %s: %v", page, err)
					}
					to.Fragment = ""
					if kind := shapeOf(to); known[to.String()] == "" && kinds[kind] < each {
						kinds[kind]++
						known[to.String()], next = page, append(next, to.String())
					}
				}
			}
			jobs := false
			for kind := range kinds {
				jobs = jobs || kind == "/jobs/{id}"
			}
			if len(kinds) < 25 || !jobs {
				t.Errorf("only %d kinds of pages were seen (a job: %v): %v", len(kinds), jobs, kinds)
			}
		})
	}
}
