package web_test

import (
	"encoding/csv"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/fleet"
	"hausmeister/collector/rollout"
)

// TestListByUpdate: the list shows of every device whether its agent is the one that it
// should be and why not, and leaves those of a word where one is asked for, on the page, in
// the CSV, in the API, in a kept view and for a job.
func TestListByUpdate(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := storesPaced(t, d, quietLog, lookRings).serve()
		ids := w.fill(60)
		b, token := w.signedIn("support"), w.token("admin", access.RoleAdmin, nil)
		if body := b.get("/devices?columns=update").body; strings.Contains(body, `name="update"`) || !strings.Contains(body, "Agentenstand") {
			t.Error("before the first rollout a filter by update is offered, or the column is missing")
		}
		w.rolled(ids)
		all, err := w.fleet.List(t.Context(), operator, fleet.Filter{Limit: 500})
		w.must(err)
		want, reasons := map[string][]string{}, map[string]string{}
		for _, d := range all.Items {
			if d.State == fleet.StateRevoked {
				continue
			}
			st, _, err := w.rollouts.DeviceState(t.Context(), operator, d.ID)
			w.must(err)
			word := string(st.Why)
			if reasons[d.ID] = word; st.Reason != 0 {
				reasons[d.ID] += "," + strings.ToLower(strings.TrimPrefix(st.Reason.String(), "UPDATE_REASON_"))
			}
			want[word] = append(want[word], d.ID)
			if st.Why != rollout.Current {
				want[rollout.Behind] = append(want[rollout.Behind], d.ID)
			}
		}
		if len(want["current"]) == 0 || len(want["waits"]) == 0 || len(want["rolled_back"]) == 0 {
			t.Fatalf("words of the devices: %v; too few for a test", want)
		}
		if body := b.get("/devices").body; !strings.Contains(body, `<option value="behind">Nicht aktuell</option>`) || !strings.Contains(body, `<option value="rolled_back">Zurückgesetzt</option>`) {
			t.Error("the list does not offer to leave those of a word")
		}
		said := text(b.get("/devices?columns=agent,update&update=waits").body)
		for _, part := range []string{"Agentenstand: Wartet", "Wartet von der Person am Gerät verschoben", "Filter entfernen"} {
			if !strings.Contains(said, part) {
				t.Errorf("the list of those that wait does not say %q: %s", part, said)
			}
		}
		for _, word := range rollout.Words {
			asks := url.Values{"update": {word}}.Encode()
			have := slices.Sorted(slices.Values(want[word]))
			same := func(where string, got []string) {
				t.Helper()
				if got = slices.Sorted(slices.Values(got)); !slices.Equal(got, have) {
					t.Errorf("%s of %s has %d devices, want %d", where, word, len(got), len(have))
				}
			}
			var rows []string
			for at := "/devices?" + asks; at != ""; {
				body := b.get(at).body
				rows = append(rows, rowsOf(body)...)
				if next := regexp.MustCompile(`rel="next" href="([^"]+)"`).FindStringSubmatch(body); next != nil {
					at = html.UnescapeString(next[1])
				} else {
					at = ""
				}
			}
			same("the page", rows)
			lines, err := csv.NewReader(strings.NewReader(b.get("/devices.csv?" + asks).body)).ReadAll()
			w.must(err)
			var inCSV []string
			at := slices.Index(lines[0], "update")
			for _, line := range lines[1:] {
				inCSV = append(inCSV, line[0])
				if got := strings.TrimSuffix(line[at]+","+line[at+1], ","); got != reasons[line[0]] {
					t.Errorf("the CSV says %q of a device, want %q", got, reasons[line[0]])
				}
			}
			same("the CSV", inCSV)
			var list struct {
				Total int
				Items []struct {
					ID      string
					Columns struct {
						Update struct{ Why, Reason string }
					}
				}
			}
			w.api(token, "/api/v1/devices?limit=500&columns=update&"+asks, &list)
			var inAPI []string
			for _, it := range list.Items {
				inAPI = append(inAPI, it.ID)
				if got := strings.TrimSuffix(it.Columns.Update.Why+","+it.Columns.Update.Reason, ","); got != reasons[it.ID] {
					t.Errorf("the API says %q of a device, want %q", got, reasons[it.ID])
				}
			}
			if same("the API", inAPI); list.Total != len(have) {
				t.Errorf("the API counts %d of %s, want %d", list.Total, word, len(have))
			}
		}
		if res := b.get("/devices?update=odd"); res.StatusCode != http.StatusBadRequest {
			t.Errorf("a word that is none = %d, want 400", res.StatusCode)
		}
		if res := w.api(token, "/api/v1/devices?update=odd", nil); res.StatusCode != http.StatusBadRequest || !strings.Contains(res.body, "behind") {
			t.Errorf("a word that is none by the API = %d %s, want 400 with the words", res.StatusCode, res.body)
		}
		res := b.post("/views", url.Values{"from": {"update=behind&sort=-battery"}, "name": {"Nachzügler"}})
		if res.StatusCode != http.StatusSeeOther {
			t.Fatalf("saving a view = %d %s", res.StatusCode, text(res.body))
		}
		if res := b.get(res.Header.Get("Location")); !strings.Contains(res.Header.Get("Location"), "update=behind") {
			t.Errorf("the kept view leads to %q", res.Header.Get("Location"))
		}
		if body := text(b.get("/jobs/new?all=1&what=label&from=" + url.QueryEscape("update=behind")).body); !strings.Contains(body, strconv.Itoa(len(want[rollout.Behind]))) || !strings.Contains(body, "Agentenstand: Nicht aktuell") {
			t.Errorf("a job for those of a word does not say how many and which: %s", body)
		}
	})
}
