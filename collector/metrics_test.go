package collector_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// TestGrafanaDashboard: installer/grafana asks for what /metrics has, for each of
// our measures, and Prometheus's own linter has nothing to say about their names.
func TestGrafanaDashboard(t *testing.T) {
	r := start(t, config(t))
	client, token := r.client(), r.token()
	r.get(client, "/readyz") // measures of requests are there after the first
	page := r.metrics(client, token)

	problems, err := promlint.New(strings.NewReader(page)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "hausmeister_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}

	b, err := os.ReadFile("../installer/grafana/hausmeister.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(b, &dashboard); err != nil {
		t.Fatal(err)
	}
	var asked []string
	name := regexp.MustCompile(`[a-z_]+\{`)
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			metrics := name.FindAllString(target.Expr, -1)
			if len(metrics) == 0 {
				t.Errorf("panel %q asks for nothing: %s", panel.Title, target.Expr)
			}
			for _, m := range metrics {
				asked = append(asked, strings.TrimSuffix(m, "{"))
			}
		}
	}
	for _, m := range asked {
		if !strings.Contains(page, "\n"+m+"{") && !strings.Contains(page, "\n"+m+" ") {
			t.Errorf("the dashboard asks for %s, which /metrics has not", m)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (hausmeister_\S+)`).FindAllStringSubmatch(page, -1) {
		if !slices.ContainsFunc(asked, func(a string) bool { return strings.TrimSuffix(a, "_bucket") == m[1] }) {
			t.Errorf("no panel of the dashboard shows %s", m[1])
		}
	}
}
