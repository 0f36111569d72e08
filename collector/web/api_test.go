package web_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"hausmeister/collector/access"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

type apiList struct {
	Items []struct {
		ID, Name, State string
		LastContact     *string `json:"last_contact"`
	}
	Total  int64
	Cursor *string
}

func TestAPIList(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(60)
	token := w.token("probe", access.RoleRead, nil)
	seen := map[string]bool{}
	cursor, first, pages := "", "", 0
	for {
		var list apiList
		w.api(token, "/api/v1/devices?limit=25&cursor="+cursor, &list)
		if pages++; list.Total != 60 {
			t.Errorf("total = %d, want 60", list.Total)
		}
		for _, it := range list.Items {
			if seen[it.ID] {
				t.Errorf("device %s comes twice", it.ID)
			}
			seen[it.ID] = true
		}
		if list.Cursor == nil {
			break
		}
		cursor = *list.Cursor
		if first == "" {
			first = cursor
		}
	}
	if len(seen) != len(ids) || pages != 3 {
		t.Errorf("%d devices on %d pages, want 60 on 3", len(seen), pages)
	}
	var all, some, found apiList
	w.api(token, "/api/v1/devices?limit=500", &all)
	w.api(token, "/api/v1/devices?state=silent", &some)
	w.api(token, "/api/v1/devices?q=AH-02317&school=S0001", &found)
	if len(all.Items) != 60 || len(some.Items) == 0 || int(some.Total) != len(some.Items) || len(found.Items) != 1 || found.Items[0].Name != "AH-02317" {
		t.Errorf("limit=500 gives %d, silent %d of %d, search %v", len(all.Items), len(some.Items), some.Total, found.Items)
	}
	for _, it := range some.Items {
		if it.State != "silent" || it.LastContact == nil || len(*it.LastContact) != len("2026-11-23") {
			t.Errorf("item %+v: want silent with the day of its last contact", it)
		}
	}
	// A cursor of all devices is none of a search.
	if res := w.api(token, "/api/v1/devices?limit=25&q=gibtesnicht&cursor="+first, nil); res.StatusCode != http.StatusBadRequest || !strings.Contains(res.body, `"field":"cursor"`) {
		t.Errorf("the cursor of another question = %d %s, want 400", res.StatusCode, res.body)
	}
	var none apiList
	if res := w.api(token, "/api/v1/devices?q=gibtesnicht", &none); !strings.Contains(res.body, `"items":[],"total":0,"cursor":null`) {
		t.Errorf("an empty list is %s", res.body)
	}
}

func TestAPIDevice(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	id := w.admit("Landkreis Ahorn", "S0001", "FUJITSU", "LIFEBOOK A3510", "DEMO7K1", "windows", "AH-1")
	w.report(id, num(reading.MemoryTotal, "", 8<<30), num(reading.MemoryUsed, "", 3<<30), absent(reading.BatteryCharge, hmpb.Absent_ABSENT_NO_HARDWARE),
		num(reading.VolumeTotal, "C:", 100), num(reading.VolumeFree, "C:", 50), num(reading.VolumeFree, "D:", 0), num(reading.VolumeTotal, "D:", 70),
		num(reading.BootTime, "", monday.UnixMilli()), txt(reading.PowerSource, "", "mains"))
	var got map[string]any
	res := w.api(w.token("probe", access.RoleSupport, nil), "/api/v1/devices/"+id, &got)
	if res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("Content-Type = %q", res.Header.Get("Content-Type"))
	}
	delete(got["owner"].(map[string]any), "id")
	delete(got["school"].(map[string]any), "id")
	want := map[string]any{
		"id": id, "name": "AH-1", "inventory_number": "AH-1", "serial_number": "DEMO7K1", "manufacturer": "FUJITSU", "model": "LIFEBOOK A3510", "os": "windows",
		"owner": map[string]any{"name": "Landkreis Ahorn"}, "school": map[string]any{"code": "S0001", "name": "Gymnasium Ahorntal"},
		"state": "ok", "labels": []any{}, "finding": nil, "last_contact": "2026-11-23", "battery_charge_permille": nil, "boot_time": "2026-11-23", "connected": false, "connection_began": nil, "system_volume_free_bytes": 50.0,
		"readings": map[string]any{
			"memory_total":   map[string]any{"unit": "bytes", "value": float64(8 << 30)},
			"memory_used":    map[string]any{"unit": "bytes", "value": float64(3 << 30)},
			"battery_charge": map[string]any{"unit": "permille", "absent": "no_hardware"},
			"volume_total":   map[string]any{"unit": "bytes", "instances": []any{map[string]any{"instance": "C:", "value": 100.0}, map[string]any{"instance": "D:", "value": 70.0}}},
			"volume_free":    map[string]any{"unit": "bytes", "instances": []any{map[string]any{"instance": "C:", "value": 50.0}, map[string]any{"instance": "D:", "value": 0.0}}},
			"boot_time":      map[string]any{"unit": "date", "value": "2026-11-23"},
			"power_source":   map[string]any{"value": "mains"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("GET /api/v1/devices/{id}:\n%s", diff)
	}
}

// TestTokenEnds: a revoked token opens nothing, nor does anything that is none.
func TestTokenEnds(t *testing.T) {
	w := newWorld(t)
	w.fill(3)
	token := w.token("probe", access.RoleAdmin, nil)
	if res := w.api(token, "/api/v1/devices", nil); res.StatusCode != http.StatusOK {
		t.Fatalf("with a token = %d", res.StatusCode)
	}
	w.must(w.access.RevokeToken(t.Context(), operator, "probe"))
	if res := w.api(token, "/api/v1/devices", nil); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("with a revoked token = %d, want 401", res.StatusCode)
	}
	for _, header := range []string{"Basic YTpi", "Bearer", "Bearer ", token} {
		if res := w.browser().get("/api/v1/devices", "Authorization", header); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("Authorization %q = %d, want 401", header, res.StatusCode)
		}
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	w.fill(40)
	w.signedIn("admin").get("/devices")
	token := w.token("prometheus", access.RoleRead, nil)
	res := w.api(token, "/metrics", nil)
	for _, want := range []string{`hausmeister_devices{state="connected"} `, `hausmeister_connections 7`, `hausmeister_reports_total{kind="state"} 42`,
		`hausmeister_build_info{version="1.2.3"} 1`, `hausmeister_http_requests_total{code="200",route="GET /devices"} 1`, "go_goroutines", `hausmeister_live_streams{kind="page"} 0`, `hausmeister_live_streams{kind="api"} 0`} {
		if !strings.Contains(res.body, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	problems, err := promlint.New(strings.NewReader(res.body)).Lint()
	w.must(err)
	for _, p := range problems {
		t.Errorf("promlint: %s: %s", p.Metric, p.Text)
	}
	// Nobody without a token: who comes from this machine may be the proxy's
	// guest from anywhere.
	for _, headers := range [][]string{nil, {"X-Forwarded-For", "192.0.2.1"}, {"Authorization", "Bearer falsch"}} {
		if res := w.browser().get("/metrics", headers...); res.StatusCode != http.StatusUnauthorized || strings.Contains(res.body, "hausmeister_devices") {
			t.Errorf("/metrics with headers %q = %d, want 401", headers, res.StatusCode)
		}
	}
	if res := w.signedIn("admin").get("/metrics"); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("/metrics with a session = %d, want 401", res.StatusCode)
	}
	// The fleet is counted as a whole, which who sees one owner's devices must not learn.
	if res := w.api(w.token("ahorn", access.RoleRead, []string{w.ownerID("Landkreis Ahorn")}), "/metrics", nil); res.StatusCode != http.StatusForbidden || strings.Contains(res.body, "hausmeister_devices") {
		t.Errorf("/metrics with a token of one owner = %d, want 403", res.StatusCode)
	}
	// Strangers cannot make series.
	for i := range 20 {
		w.browser().get(fmt.Sprintf("/x%d", i))
	}
	if res := w.api(token, "/metrics", nil); strings.Contains(res.body, "/x7") || !strings.Contains(res.body, `hausmeister_http_requests_total{code="404",route="none"} 20`) {
		t.Error("addresses of strangers became labels")
	}
}

// TestMetricsOpen: the setting lets this machine in, and no proxy that says what
// it is.
func TestMetricsOpen(t *testing.T) {
	w := newWorld(t)
	w.web.OpenMetrics()
	for _, test := range []struct {
		headers []string
		want    int
	}{
		{nil, 200}, {[]string{"X-Forwarded-For", "192.0.2.1"}, 401}, {[]string{"Via", "1.1 proxy"}, 401}, {[]string{"Forwarded", "for=192.0.2.1"}, 401},
		{[]string{"X-Real-IP", "192.0.2.1"}, 401}, {[]string{"Authorization", "Bearer falsch"}, 401},
		{[]string{"X-Forwarded-For", "192.0.2.1", "Authorization", "Bearer " + w.token("prometheus", access.RoleRead, nil)}, 200},
	} {
		if res := w.browser().get("/metrics", test.headers...); res.StatusCode != test.want {
			t.Errorf("/metrics with headers %q = %d, want %d", test.headers, res.StatusCode, test.want)
		}
	}
}

func TestHealthAndReadiness(t *testing.T) {
	w := newWorld(t)
	if res := w.browser().get("/healthz"); res.StatusCode != http.StatusOK || res.body != "ok\n" {
		t.Errorf("/healthz = %d %q", res.StatusCode, res.body)
	}
	if res := w.browser().get("/readyz"); res.StatusCode != http.StatusOK {
		t.Errorf("/readyz = %d", res.StatusCode)
	}
	w.mu.Lock()
	w.ready = errors.New("database away")
	w.mu.Unlock()
	if res := w.browser().get("/readyz"); res.StatusCode != http.StatusServiceUnavailable || strings.Contains(res.body, "database") {
		t.Errorf("/readyz while not ready = %d %q, want 503 without the reason", res.StatusCode, res.body)
	}
	if res := w.browser().get("/healthz"); res.StatusCode != http.StatusOK {
		t.Errorf("/healthz while not ready = %d, want 200: the program lives", res.StatusCode)
	}
}

// TestStoreAway: the pages say so and what to do, the API in its own form.
func TestStoreAway(t *testing.T) {
	w := newWorld(t)
	w.fill(2)
	b, token := w.signedIn("admin"), w.token("probe", access.RoleRead, nil)
	w.must(w.db.Close())
	res := b.get("/devices")
	if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || !strings.Contains(res.body, "Die Datenbank antwortet gerade nicht.") {
		t.Errorf("the list without a database = %d %s", res.StatusCode, text(res.body))
	}
	var p struct{ Type string }
	if res := w.api(token, "/api/v1/devices", &p); res.StatusCode != 503 || p.Type != "urn:hausmeister:problem:unavailable" {
		t.Errorf("the API without a database = %d %s", res.StatusCode, res.body)
	}
	// The token cannot be looked up then.
	if res := w.api(token, "/metrics", nil); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("/metrics without a database = %d, want 503", res.StatusCode)
	}
	w.web.OpenMetrics()
	if res := w.browser().get("/metrics"); res.StatusCode != http.StatusOK || !strings.Contains(res.body, "hausmeister_connections 7") {
		t.Errorf("open /metrics without a database = %d, want the other numbers", res.StatusCode)
	}
}
