package web_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hausmeister/collector/access"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	"hausmeister/collector/rollout"
	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/inventory"
)

// TestEveryListIsPagedAlike: each list takes limit and cursor, and page by page of one
// item it has everything once, in the same order and of the same number.
func TestEveryListIsPagedAlike(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(24)
	known := w.known()
	state, off := "state", "off"
	for _, id := range ids { // so many that its groups are told
		w.raise(id, finding.FirewallOff, "", hmpb.Severity_SEVERITY_WARNING, hmpb.Argument_builder{Name: &state, Text: &off}.Build())
	}
	w.raise(known, finding.FirewallOff, "", hmpb.Severity_SEVERITY_WARNING, hmpb.Argument_builder{Name: &state, Text: &off}.Build())
	told, err := inventory.Pack([]inventory.Program{{Name: "Firefox", Version: "145"}, {Name: "LibreOffice", Version: "7"}})
	w.must(err)
	w.tell(known, hmpb.Entry_builder{Inventory: told}.Build())
	admin := w.token("admin", access.RoleAdmin, nil)
	w.token("zweiter", access.RoleRead, nil)
	caller, err := w.access.Token(t.Context(), admin)
	w.must(err)
	owner := w.ownerID("Landkreis Ahorn")
	post := func(path, body string) {
		t.Helper()
		if res := w.browser().do(http.MethodPost, path, strings.NewReader(body), "Authorization", "Bearer "+admin, "Content-Type", "application/json"); res.StatusCode/100 != 2 {
			t.Fatalf("POST %s = %d %s", path, res.StatusCode, res.body)
		}
	}
	for _, label := range []string{"eins", "zwei", "drei"} {
		post("/api/v1/devices/"+known+"/labels", `{"label":"`+label+`"}`)
		post("/api/v1/views", `{"name":"Ansicht `+label+`","filter":{"q":"x"}}`)
		post("/api/v1/questions", `{"name":"Frage `+label+`","if":["battery_charge.lt.600"]}`)
		post("/api/v1/claims", `{"owner":"`+owner+`","cap":2,"expires":"2026-12-24T08:00:00Z"}`)
		post("/api/v1/owners/"+owner+"/software", `{"names":["`+label+`"]}`)
		_, err := w.fleet.StartJob(t.Context(), operator, fleet.NewJob{Act: fleet.ActLabel, Label: "Job " + label, Devices: []string{known, ids[1]}})
		w.must(err)
		_, err = w.health.OpenLook(t.Context(), caller, known, "Anruf wegen "+label)
		w.must(err)
	}
	w.must(w.fleet.RunJobs(t.Context()))
	for _, id := range []string{known, ids[0]} {
		_, err = w.health.QuietFinding(t.Context(), operator, id, "firewall_off", "", health.NewQuiet{Reason: "Abbild kommt"})
		w.must(err)
	}
	for day := range 3 { // events of several days
		w.mu.Lock()
		w.now = w.now.AddDate(0, 0, 1)
		w.mu.Unlock()
		for n := range day + 1 {
			post("/api/v1/devices/"+known+"/labels", fmt.Sprintf(`{"label":"Tag %d %d"}`, day, n))
		}
	}
	_, err = rollout.Gateway{Rollouts: w.rollouts}.Offer(t.Context(), w.caller(known), "1.0.0", nil, []string{"launcher:2.3.0", "launcher-left:2.4.0", "policy:1.0.0"})
	w.must(err)
	bearer, _ := w.person(t)
	w.signedIn("read")
	w.signedIn("read")
	w.signIn(t, fmt.Sprintf("person%d", w.people.Load()))
	jobs, err := w.fleet.Jobs(t.Context(), operator, "", 1)
	w.must(err)
	releases := w.releases()
	var rollouts []string
	for _, version := range []string{"1.0.0", "1.1.0"} {
		rollouts = append(rollouts, w.began(releases[version]))
		w.must(w.rollouts.Abort(t.Context(), operator, rollouts[len(rollouts)-1], "Ende des Beispiels"))
	}
	user, err := w.access.User(t.Context(), operator, "read")
	w.must(err)
	kept, err := w.asked.List(t.Context(), caller)
	w.must(err)
	of := func(path string) string {
		for part, id := range map[string]string{"/devices/{id}": known, "/owners/{id}": owner, "/users/{id}": user.ID, "/findings/{id}": "firewall_off", "/jobs/{id}": jobs[0].ID,
			"/rollouts/{id}": rollouts[0], "/questions/{id}": kept[0].ID} {
			if strings.Contains(path, part) {
				return strings.ReplaceAll(path, "{id}", id)
			}
		}
		return path
	}
	needed := map[string]string{"by": "model", "of": "model", "q": "lifebook"}
	var doc struct {
		Paths map[string]map[string]struct {
			Parameters []struct {
				Name     string
				Required bool
			}
			Responses map[string]struct {
				Content map[string]struct{ Schema map[string]any }
			}
		}
		Components struct {
			Schemas map[string]struct{ Properties map[string]any }
		}
	}
	w.api(admin, "/api/v1/openapi.json", &doc)
	lists, several := 0, 0
	for path, methods := range doc.Paths {
		c, ok := methods["get"]
		ref, _ := c.Responses["200"].Content["application/json"].Schema["$ref"].(string)
		if _, isList := doc.Components.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")].Properties["items"]; !ok || !isList {
			continue
		}
		lists++
		w.advance(10 * time.Second) // no token asks too often
		t.Run(path, func(t *testing.T) {
			asked := url.Values{}
			var names []string
			for _, p := range c.Parameters {
				if names = append(names, p.Name); p.Required && needed[p.Name] != "" {
					asked.Set(p.Name, needed[p.Name])
				}
			}
			if !slices.Contains(names, "limit") || !slices.Contains(names, "cursor") {
				t.Fatalf("it takes %v, want limit and cursor", names)
			}
			if strings.HasSuffix(path, "/answer") && !strings.Contains(path, "{id}") {
				asked.Set("if", "battery_charge.ge.0")
			}
			token := admin
			if strings.Contains(path, "/account/") {
				token = bearer
			}
			read := func(limit int) (found []string) {
				total := -1
				asked.Del("cursor")
				asked.Set("limit", fmt.Sprint(limit))
				for range 1000 {
					var page struct {
						Items  []struct{ ID string }
						Total  int
						Cursor *string
					}
					if res := w.api(token, of(path)+"?"+asked.Encode(), &page); res.StatusCode != http.StatusOK || len(page.Items) > limit || total >= 0 && page.Total != total {
						t.Fatalf("%v = %d %s after %d items of %d", asked, res.StatusCode, res.body, len(found), total)
					}
					total = page.Total
					for _, item := range page.Items {
						found = append(found, item.ID)
					}
					if page.Cursor == nil {
						break
					}
					asked.Set("cursor", *page.Cursor)
				}
				if len(found) != total {
					t.Errorf("limit %d: %d items, total %d", limit, len(found), total)
				}
				return found
			}
			whole, single := read(500), read(1)
			if diff := cmp.Diff(whole, single); diff != "" {
				t.Errorf("at once (-) and one by one (+):\n%s", diff)
			}
			if distinct := slices.Compact(slices.Sorted(slices.Values(single))); len(distinct) != len(single) {
				t.Errorf("%d items, %d different ones", len(single), len(distinct))
			}
			if len(whole) > 1 {
				several++
			} else {
				t.Logf("%d items", len(whole))
			}
			for _, wrong := range []string{"limit=0", "limit=501", "limit=x", "cursor=%21"} {
				name, value, _ := strings.Cut(wrong, "=")
				other := url.Values{}
				for _, p := range []string{"by", "of", "q", "if"} {
					if asked.Has(p) {
						other.Set(p, asked.Get(p))
					}
				}
				value, _ = url.QueryUnescape(value)
				other.Set(name, value)
				if res := w.api(token, of(path)+"?"+other.Encode(), nil); res.StatusCode != http.StatusBadRequest || !strings.Contains(res.body, `"field":"`+name+`"`) {
					t.Errorf("%s = %d %s, want 400 about it", wrong, res.StatusCode, res.body)
				}
			}
		})
	}
	if lists < 30 || several < lists-2 /* answers to questions need weeks of days, see TestAPIQuestions */ {
		t.Errorf("%d lists, %d of them with several items", lists, several)
	}
}
