package web_test

import (
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
)

// lines is a log that a test reads.
type lines struct {
	mu sync.Mutex
	strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Builder.Write(b)
}

// TestTextThatNoRowHolds: addresses and forms with NUL or what is not UTF-8 are
// answered as others that name nothing, on both databases, and a stranger
// fills no log with them.
func TestTextThatNoRowHolds(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		var log lines
		w := storesOn(t, d, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))).serve()
		w.fill(3)
		token, b := w.token("probe", access.RoleRead, nil), w.signedIn("admin")
		cursor := func(json string) string { return base64.RawURLEncoding.EncodeToString([]byte(json)) }
		for path, want := range map[string]int{
			"/api/v1/devices/%00":        http.StatusNotFound,
			"/api/v1/devices/%ff":        http.StatusNotFound,
			"/api/v1/devices/%ED%A0%80":  http.StatusNotFound,
			"/api/v1/devices?school=%00": http.StatusBadRequest,
			"/api/v1/devices?school=%ff": http.StatusBadRequest,
			"/api/v1/devices?state=%00":  http.StatusBadRequest,
			"/api/v1/devices?sort=%00":   http.StatusBadRequest,
			"/api/v1/devices?q=%00":      http.StatusOK, // nothing is left to look for
			"/api/v1/devices?cursor=%00": http.StatusBadRequest,
			"/api/v1/devices?cursor=" + cursor(`{"s":"label","t":"a\u0000","i":"x","c":3}`): http.StatusBadRequest,
			"/api/v1/devices?cursor=" + cursor(`{"s":"label","t":"a","i":"\u0000","c":3}`):  http.StatusBadRequest,
		} {
			if res := w.api(token, path, nil); res.StatusCode != want {
				t.Errorf("GET %s = %d %s, want %d", path, res.StatusCode, res.body, want)
			}
		}
		for _, path := range []string{"/devices/%00", "/devices/%ff", "/devices/%00/live"} {
			if res := b.get(path); res.StatusCode != http.StatusNotFound {
				t.Errorf("GET %s = %d, want 404", path, res.StatusCode)
			}
		}
		wrong := w.browser().post("/sign-in", url.Values{"name": {"nobody"}, "password": {"falsch"}})
		for _, name := range []string{"a\x00b", "\x00", "\xff", "admin\x00", strings.Repeat("ä", 300)} {
			res := w.browser().post("/sign-in", url.Values{"name": {name}, "password": {"falsch"}})
			if res.StatusCode != wrong.StatusCode || !strings.Contains(text(res.body), "Konto oder Passwort stimmt nicht.") {
				t.Errorf("POST /sign-in as %q = %d %s, want %d as for a wrong password", name, res.StatusCode, text(res.body), wrong.StatusCode)
			}
		}
		if log.Len() > 0 {
			t.Errorf("the log tells of it:\n%s", log.String())
		}
	})
}
