package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hausmeister/platform/layout"
)

const (
	someRollout  = "018f0000-0000-7000-8000-000000000001"
	someRelease  = "018f0000-0000-7000-8000-000000000002"
	wayBack      = "018f0000-0000-7000-8000-000000000003"
	someDevice   = "018f0000-0000-7000-8000-000000000004"
	someLauncher = "018f0000-0000-7000-8000-000000000005" // of the same version
)

// fakeCollector answers as collector/web does and keeps what it was told.
func fakeCollector(t *testing.T, asked *[]string) string {
	t.Helper()
	answers := map[string]string{
		"GET /api/v1/rollouts": `{"items":[{"id":"` + someRollout + `","version":"1.1.0","channel":"stable","state":"running","ring":1,"rings":[{"ring":1,"devices":20,"ok":19,"bad":1}],"in_flight":3,"cap":4,"started_by":"jana"}],"total":1,"cursor":null}`,
		"GET /api/v1/releases": `{"items":[{"id":"` + someRelease + `","product":"agent","channel":"stable","version":"1.1.0","rollback_of":null,"gone":null,"blocked":null},` +
			`{"id":"` + someLauncher + `","product":"launcher","channel":"stable","version":"1.1.0","rollback_of":null,"gone":null,"blocked":null},` +
			`{"id":"` + wayBack + `","product":"agent","channel":"stable","version":"1.0.0","rollback_of":"1.1.0","gone":null,"blocked":null}],"total":3,"cursor":null}`,
		"GET /api/v1/trains": `{"items":[{"product":"launcher","version":"1.3.0","release":null,"signed":true,"blocked":null,"ramp_permille":355,"devices":34,"left":2},` +
			`{"product":"policy","version":"1.0.0","release":null,"signed":false,"blocked":null,"ramp_permille":null,"devices":1,"left":0}],"total":2,"cursor":null}`,
		"GET /api/v1/rollouts/" + someRollout + "/next":      `{"ring":2,"devices":120,"adds":100,"waiting":false}`,
		"POST /api/v1/rollouts/" + someRollout + "/promote":  `{"ring":2,"devices":120,"adds":100,"waiting":true}`,
		"GET /api/v1/rollouts/" + someRollout:                `{"id":"` + someRollout + `","version":"1.1.0","state":"running"}`,
		"POST /api/v1/rollouts":                              `{"id":"` + someRollout + `","version":"1.1.0","state":"running"}`,
		"POST /api/v1/rollouts/" + someRollout + "/pause":    `{"id":"` + someRollout + `","version":"1.1.0","state":"paused"}`,
		"POST /api/v1/rollouts/" + someRollout + "/rollback": `{"id":"` + someRollout + `","version":"1.0.0","state":"running"}`,
		"GET /api/v1/devices":                                `{"items":[{"id":"` + someDevice + `"}],"total":1,"cursor":null}`,
		"GET /api/v1/devices/" + someDevice + "/update":      `{"id":"` + someDevice + `","rollout":"` + someRollout + `","version":"1.0.0","why":"rolled_back","reason":"hangs","ring":1,"day":"2026-12-01"}`,
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret-token" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var body struct {
			Release, Reason string
			Ring            int
		}
		_ = json.NewDecoder(r.Body).Decode(&body) // GET has none
		if strings.HasSuffix(r.URL.Path, "/promote") && body.Ring != 2 {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"title":"That does not fit","status":400,"detail":"want the next ring","field":"ring"}`))
			return
		}
		*asked = append(*asked, r.Method+" "+r.URL.Path+" "+body.Release+" "+body.Reason)
		answer, ok := answers[r.Method+" "+r.URL.Path]
		if !ok {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusNotFound)
			answer = `{"title":"Not found","status":404}`
		}
		_, _ = w.Write([]byte(answer))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestFleet(t *testing.T) {
	var asked []string
	at := fakeCollector(t, &asked)
	d := newDesk(t)
	if err := os.WriteFile(filepath.Join(d.dir, "token"), []byte("secret-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	to := " --collector=" + at + " --token-file=DIR/token"
	if got := d.must(0, "rollout list"+to); !strings.Contains(got, "1.1.0 stable  running in ring 1 of 1, 3 under way (at most 4), started by jana") {
		t.Errorf("rollout list:\n%s", got)
	}
	if got := d.must(0, "rollout trains"+to); !strings.Contains(got, "launcher 1.3.0  cleared for 35.5 %, 34 devices have it, 2 left it\npolicy 1.0.0  signed no longer, 1 devices have it, 0 left it") {
		t.Errorf("rollout trains:\n%s", got)
	}
	d.must(0, "rollout start 1.1.0 --reason=going_on"+to)
	d.must(exitNotFound, "rollout start 1.2.0 --reason=going_on"+to)
	d.must(exitNotFound, "rollout start 1.0.0 --reason=a_way_back_is_no_start"+to)
	d.must(exitRefused, "rollout promote "+someRollout+" --devices=20 --reason=going_on"+to)
	if slices.ContainsFunc(asked, func(s string) bool { return strings.Contains(s, "promote") }) {
		t.Error("promoted with another number of devices than said")
	}
	if got := d.must(0, "rollout promote "+someRollout+" --devices=100 --reason=going_on"+to); !strings.Contains(got, "a second person must approve") {
		t.Errorf("promote:\n%s", got)
	}
	if got := d.must(0, "rollout pause "+someRollout+" --reason=waiting"+to); !strings.Contains(got, "paused") {
		t.Errorf("pause:\n%s", got)
	}
	d.must(0, "rollout rollback "+someRollout+" 1.0.0 --reason=it_is_bad"+to)
	if got := d.must(exitRefused, "rollout rollback "+someRollout+" 1.1.0 --reason=it_is_bad"+to); !strings.Contains(got, "1.1.0 is not signed as the way back from 1.1.0") {
		t.Errorf("rollback to what nobody signed for it:\n%s", got)
	}
	for _, reason := range []string{"x", "1234567", strings.Repeat("a", 201)} { // the collector's own rule
		if got := d.must(exitUsage, "rollout pause "+someRollout+" --reason="+reason+to); !strings.Contains(got, "5 to 200 characters") {
			t.Errorf("--reason=%s:\n%s", reason, got)
		}
	}
	d.must(exitNotFound, "rollout abort "+someRollout+" --reason=it_is_gone"+to)
	if got := d.must(0, "doctor HE-4711"+to); !strings.Contains(got, "rolled_back, hangs") || !strings.Contains(got, "It needs another build") {
		t.Errorf("doctor:\n%s", got)
	}
	for _, want := range []string{
		"POST /api/v1/rollouts " + someRelease + " going on", "POST /api/v1/rollouts/" + someRollout + "/promote  going on",
		"POST /api/v1/rollouts/" + someRollout + "/rollback " + wayBack + " it is bad",
	} {
		if !slices.Contains(asked, want) {
			t.Errorf("the collector was never asked %q: %q", want, asked)
		}
	}
	if got := d.must(0, "audit verify"); !strings.Contains(got, "6 entries") { // start, promote, pause, rollback, abort and that it failed
		t.Errorf("audit verify: %s", got)
	}
	d.must(exitUsage, "rollout list --collector=http://hausmeister.example --token-file=DIR/token") // not in the clear
	if err := os.WriteFile(filepath.Join(d.dir, "token"), []byte("other\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.must(exitRefused, "rollout list"+to)
}

// TestFleetUnwritten: a record that takes no entry, since its disk is full or another
// verb writes. What makes the fleet safer is done all the same and says what is so;
// anything else is not done, and says that.
func TestFleetUnwritten(t *testing.T) {
	t.Setenv("HAUSMEISTER_COLLECTOR_CA", "") // set, and empty: the system's
	for what, record := range map[string]func(d *desk){
		"no disk": func(d *desk) {
			if err := os.Mkdir(filepath.Join(d.dir, "record"), 0o700); err != nil {
				t.Fatal(err)
			}
		},
		"another verb": func(d *desk) {
			f, err := os.Create(filepath.Join(d.dir, "record"))
			if err != nil {
				t.Fatal(err)
			}
			lock, err := layout.LockOpen(f, f.Name()+".lock")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { lock.Close() })
		},
	} {
		var asked []string
		d := newDesk(t)
		d.patience = 1
		to := " --reason=it_is_bad --collector=" + fakeCollector(t, &asked) + " --token-file=DIR/token"
		if err := os.WriteFile(filepath.Join(d.dir, "token"), []byte("secret-token\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		record(d)
		for _, line := range []string{"rollout pause " + someRollout, "rollout rollback " + someRollout + " 1.0.0"} {
			asked = nil
			if got := d.must(exitUnwritten, line+to); !strings.Contains(got, "could not be written down here") || !strings.Contains(got, someRollout+"  1.") {
				t.Errorf("%s, %s:\n%s", what, line, got)
			}
			if n := len(asked); n == 0 || !strings.HasPrefix(asked[n-1], "POST ") {
				t.Errorf("%s, %s: the collector was asked %q, want the order", what, line, asked)
			}
		}
		if got := d.must(exitNotFound, "rollout abort "+someRollout+to); !strings.Contains(got, "neither done nor written down") {
			t.Errorf("%s, an abort that the collector refuses:\n%s", what, got)
		}
		asked = nil
		for _, line := range []string{"rollout start 1.1.0", "rollout resume " + someRollout, "rollout promote " + someRollout + " --devices=100"} {
			if got := d.must(exitFailed, line+to); !strings.Contains(got, "nothing was changed or sent") || strings.Contains(got, "is done") {
				t.Errorf("%s, %s:\n%s", what, line, got)
			}
		}
		if slices.ContainsFunc(asked, func(s string) bool { return strings.HasPrefix(s, "POST ") }) {
			t.Errorf("%s: the collector was told %q", what, asked)
		}
	}
}

// TestPauseWithoutAReason: the collector's placeholder is no reason that somebody gave.
func TestPauseWithoutAReason(t *testing.T) {
	r := aRollout{Decisions: []struct{ At, Verb, By, Reason string }{{"2026-12-01", "pause", "jana", "not said yet"}}}
	if got := r.String(); !strings.Contains(got, "pause by jana: (no reason given so far)") {
		t.Errorf("a pause without a reason reads:\n%s", got)
	}
}
