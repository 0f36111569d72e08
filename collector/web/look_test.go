package web_test

import (
	"strings"
	"testing"
)

// TestEveryPageLooksRight opens each page in both languages and both themes in
// a real browser, wide and narrow.
func TestEveryPageLooksRight(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(120)
	pages := []struct {
		name, path, as string
	}{
		{"sign-in", "/sign-in", ""},
		{"list", "/devices", "admin"},
		{"list-filtered", "/devices?q=lifebook&state=connected", "support"},
		{"list-empty", "/devices?q=gibtesnicht", "read"},
		{"device", "/devices/" + ids[0], "admin"},
		{"device-desktop", "/devices/" + ids[4], "support"},
		{"device-new", "/devices/" + ids[16], "read"},
		{"keys", "/keys", "admin"},
		{"not-found", "/devices/none", "admin"},
		{"bad-request", "/devices?state=kaputt", "admin"},
	}
	for _, p := range pages {
		for _, lang := range []string{"de", "en"} {
			for _, theme := range []string{"light", "dark"} {
				t.Run(p.name+"-"+lang+"-"+theme, func(t *testing.T) {
					t.Parallel()
					tb := w.tab(t, looks{lang: lang, theme: theme, as: p.as})
					tb.open(p.path)
					if strings.HasPrefix(p.name, "device") && p.as != "" {
						tb.wait(`document.querySelector("[data-live]").dataset.live === "on"`)
					}
					if got := eval[string](tb, "document.documentElement.lang"); got != lang {
						t.Errorf("lang = %q, want %q", got, lang)
					}
					tb.shot(t.Name()[strings.LastIndex(t.Name(), "/")+1:])
					tb.accessible()
					tb.noSideways()
					tb.still()
					tb.narrow(p.name + "-" + lang + "-" + theme + "-320")
					tb.clean()
				})
			}
		}
	}
}
