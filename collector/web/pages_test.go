package web_test

import (
	"net/http"
	"strings"
	"testing"
)

func TestPagesSmoke(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(60)
	b := w.signedIn("admin")
	for _, path := range []string{"/devices", "/devices/" + ids[0], "/devices?q=nix", "/keys", "/nirgends"} {
		res := b.get(path)
		t.Logf("%s %d %d", path, res.StatusCode, len(res.body))
		if strings.Contains(res.body, "⟨") {
			t.Errorf("GET %s shows a missing text", path)
		}
		if path == "/devices" && res.StatusCode != http.StatusOK {
			t.Error(res.body)
		}
	}
}
