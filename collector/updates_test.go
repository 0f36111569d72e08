package collector_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hausmeister/collector"
	"hausmeister/collector/admin"
	"hausmeister/proto/manifest"
	"hausmeister/testenv/tufrepo"
)

// signer stands in for the online process, as its socket speaks.
func signer(t *testing.T, socket string, repo *tufrepo.Fleet, state func() (root, timestamp int64)) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/fresh", func(w http.ResponseWriter, q *http.Request) {
		nonce, _ := io.ReadAll(q.Body)
		if len(nonce) != len(manifest.Nonce{}) {
			http.Error(w, `{"error": "no question"}`, http.StatusBadRequest)
			return
		}
		statement, err := repo.Fresh(q.Context(), manifest.Nonce(nonce), 0)
		if err != nil {
			t.Error(err)
		}
		w.Write(statement)
	})
	mux.HandleFunc("GET /v1/state", func(w http.ResponseWriter, _ *http.Request) {
		root, timestamp := state()
		json.NewEncoder(w).Encode(map[string]int64{"root": root, "timestamp": timestamp})
	})
	l, err := net.Listen("unix", socket)
	must(t, err)
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: mux}}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// fetchTimestamp fetches it as a device without a session does.
func fetchTimestamp(r *running, client *http.Client, nonce manifest.Nonce) (data, statement []byte) {
	r.t.Helper()
	resp, body := r.get(client, "/updates/metadata/timestamp.json?root=1&nonce="+hex.EncodeToString(nonce[:]))
	if resp.StatusCode != http.StatusOK {
		r.t.Fatalf("timestamp.json: %s %s", resp.Status, body)
	}
	statement, err := base64.StdEncoding.DecodeString(resp.Header.Get("Hausmeister-Freshness"))
	must(r.t, err)
	return []byte(body), statement
}

// TestUpdatesArePluggedIn: a published folder is followed, the online process is
// asked for statements, and the doctor knows of both.
func TestUpdatesArePluggedIn(t *testing.T) {
	onBoth(t, func(t *testing.T, cfg collector.Config) {
		repo := tufrepo.NewFleet(time.Now)
		repo.Release(manifest.RoleStable, manifest.Release{Version: "1.0.0"}, []byte("program"))
		cfg.UpdatesRepository = t.TempDir()
		cfg.UpdatesOnline = filepath.Join(cfg.DataDir, "online.sock")
		must(t, repo.WriteTo(cfg.UpdatesRepository))
		r := start(t, cfg)
		got, text := verdicts(t, cfg)
		if got["updates"] != collector.Good || got["online signer"] != collector.Good || !strings.Contains(text, "nothing is imported") {
			t.Errorf("before the first import:\n%s", text)
		}
		// This program has no root of its own: a person names it once.
		var im admin.Imported
		root := filepath.Join(cfg.UpdatesRepository, "metadata/1.root.json")
		r.do("release/import", admin.Repository{Dir: cfg.UpdatesRepository, Root: root}, &im)
		client, nonce := r.client(), manifest.Nonce{7, 7, 7}
		if _, statement := fetchTimestamp(r, client, nonce); len(statement) != 0 {
			t.Errorf("nobody signs, and there is a statement of %d bytes", len(statement))
		}
		if got, text := verdicts(t, cfg); got["updates"] != collector.Good || !strings.Contains(text, "root 1, timestamp") || got["online signer"] != collector.Warning || !strings.Contains(text, "hausmeister-online") {
			t.Errorf("imported, nobody signs:\n%s", text)
		}

		timestamp := im.Timestamp
		s := signer(t, cfg.UpdatesOnline, repo, func() (int64, int64) { return 1, timestamp })
		data, statement := fetchTimestamp(r, client, nonce)
		st, err := manifest.VerifyFresh(repo.Root(), statement, nonce)
		if err != nil || time.Since(st.Time).Abs() > time.Minute {
			t.Errorf("the statement: %+v, %v", st, err)
		}
		if got, text := verdicts(t, cfg); got["online signer"] != collector.Good {
			t.Errorf("imported and signed:\n%s", text)
		}
		timestamp++
		if got, text := verdicts(t, cfg); got["online signer"] != collector.Warning || !strings.Contains(text, "updates_repository") {
			t.Errorf("behind what is signed:\n%s", text)
		}
		timestamp--

		// What is published next comes by itself.
		repo.Release(manifest.RoleStable, manifest.Release{Version: "1.1.0"}, []byte("next program"))
		must(t, repo.WriteTo(cfg.UpdatesRepository))
		for end := time.Now().Add(time.Minute); ; {
			next, _ := fetchTimestamp(r, client, nonce)
			if !bytes.Equal(next, data) {
				break
			}
			if time.Now().After(end) {
				t.Fatal("what was published is not taken over")
			}
			<-time.After(50 * time.Millisecond)
		}
		var releases []admin.Release
		r.do("release/list", admin.None{}, &releases)
		if len(releases) != 2 {
			t.Errorf("releases: %+v", releases)
		}

		s.Close()
		if _, statement := fetchTimestamp(r, client, nonce); len(statement) != 0 {
			t.Errorf("the signer is gone, and there is a statement")
		}
		r.stop()
		later := cfg
		later.Now = func() time.Time { return time.Now().Add(3 * 365 * 24 * time.Hour) }
		if got, text := verdicts(t, later); got["updates"] != collector.Bad || !strings.Contains(text, "agents go on") {
			t.Errorf("years later:\n%s", text)
		}
	})
}
