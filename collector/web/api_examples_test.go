package web_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"hausmeister/collector/access"
	"hausmeister/collector/enroll"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
)

// standsFor are the words that stand in an example for something that is not known.
var standsFor = regexp.MustCompile(`\b(ID|SESSION|OWNER|RELEASE|DAYS|LOGIN|PASSWORD|NUMBER)\b|\{[a-z]+\}`)

// TestExamplesWorkAsPrinted: each line of the page that reads something works for the
// person whose page it is, as it stands there, once TOKEN is set as the page says.
func TestExamplesWorkAsPrinted(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(6)
	state, off := "state", "off"
	for _, id := range ids {
		w.raise(id, finding.FirewallOff, "", hmpb.Severity_SEVERITY_WARNING, hmpb.Argument_builder{Name: &state, Text: &off}.Build())
	}
	list, err := w.fleet.List(t.Context(), operator, fleet.Filter{Limit: 1, Sort: fleet.ByLabel})
	w.must(err)
	device := list.Items[0].ID
	admin := w.look("admin", device)
	_, _, err = w.enroll.CreateClaim(t.Context(), operator, enroll.NewClaim{Owner: list.Items[0].Owner, Cap: 3, Expires: w.clock().AddDate(0, 0, 1)})
	w.must(err)
	_, err = w.health.QuietFinding(t.Context(), operator, device, "firewall_off", "", health.NewQuiet{Reason: "Abbild kommt"})
	w.must(err)
	_, err = w.fleet.SaveView(t.Context(), admin, fleet.View{Sharing: fleet.ViewOwn, Name: "Beispiel"})
	w.must(err)
	_, err = w.fleet.StartJob(t.Context(), operator, fleet.NewJob{Act: fleet.ActLabel, Label: "Austausch", Devices: ids[:2]})
	w.must(err)
	w.must(w.fleet.RunJobs(t.Context()))
	w.token("other", access.RoleAdmin, nil)
	secret, _ := w.signIn(t, "admin")
	kept(t, w, secret)
	for _, login := range []string{"read", "support", "release"} {
		w.signedIn(login)
	}
	w.began(w.releases()["1.1.0"])
	w.closedDays()
	page := w.signedIn("admin").get("/api").body
	if !strings.Contains(page, `{&#34;login&#34;:&#34;admin&#34;`) || strings.Contains(page, "$ID") {
		t.Error("the page does not sign its reader in")
	}
	read := 0
	for _, e := range examplesOf(page) {
		m := curl.FindStringSubmatch(e.line)
		if m == nil {
			t.Errorf("no command: %s", e.line)
			continue
		}
		if word := standsFor.FindString(m[3]); word != "" && !strings.Contains(e.section, `<dt class="mono">`+word+`</dt>`) {
			t.Errorf("%s: nothing says what %s is", e.line, word)
		}
		u, err := url.Parse(m[3])
		w.must(err)
		if e.method != http.MethodGet {
			if match := standsFor.FindString(u.Path); match != "" && !regexp.MustCompile(`/(revoke|abort|disable|password|block|rollback)$`).MatchString(u.Path) {
				t.Errorf("%s: there is one, and the example names none", e.line)
			}
			continue
		}
		if word := standsFor.FindString(e.line); word != "" {
			t.Errorf("%s holds %s", e.line, word)
		}
		read++
		switch {
		case strings.HasSuffix(u.Path, "/live"), u.Path == "/api/v1/events":
			w.listenAt(t, u.RequestURI(), secret, "").next(t)
		default:
			if res := w.api(secret, u.RequestURI(), nil); res.StatusCode != http.StatusOK {
				t.Errorf("%s = %d %s", e.line, res.StatusCode, res.body)
			}
		}
	}
	if read < 45 {
		t.Errorf("%d examples read something, want more", read)
	}
}

// TestExamplesOfNothingAreExplained: where there is nothing yet, a word stands in its
// place, and the page says which call gives it, in both languages.
func TestExamplesOfNothingAreExplained(t *testing.T) {
	w := newWorld(t)
	b := w.signedIn("admin")
	for _, lang := range []string{"de", "en"} {
		b.post("/preferences", url.Values{"lang": {lang}})
		words := 0
		for _, e := range examplesOf(b.get("/api").body) {
			if strings.Contains(strings.ReplaceAll(e.line, "$TOKEN", ""), "$") {
				t.Errorf("%s: %s holds a variable that nobody sets", lang, e.line)
			}
			for _, word := range standsFor.FindAllString(e.line, -1) {
				if words++; !strings.Contains(e.section, `<dt class="mono">`+word+`</dt>`) {
					t.Errorf("%s: %s: nothing says what %s is", lang, e.line, word)
				}
			}
		}
		if words < 30 {
			t.Errorf("%s: %d words stand for something, want more", lang, words)
		}
	}
}
