package web_test

import (
	"strings"
	"testing"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/reading"
)

// TestEveryPageLooksRight opens each page in both languages and both themes in
// a real browser, wide and narrow.
func TestEveryPageLooksRight(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(120)
	bare := w.admitHardware("Landkreis Ahorn", "S0001", ident.Hardware{OS: "linux", InstallID: [16]byte{7}})
	w.report(bare, num(reading.MemoryTotal, "", 8<<30), num(reading.MemoryUsed, "", 3<<30), num(reading.SwapTotal, "", 0), absent(reading.SwapUsed, hmpb.Absent_ABSENT_NO_HARDWARE),
		absent(reading.Manufacturer, hmpb.Absent_ABSENT_NOT_SUPPORTED), absent(reading.Model, hmpb.Absent_ABSENT_NOT_SUPPORTED), absent(reading.Serial, hmpb.Absent_ABSENT_DENIED),
		num(reading.Temperature, "cpu", 48_000), num(reading.Temperature, "wifi", 41_000), num(reading.Temperature, "case", 31_000),
		txt(reading.LinkState, "wired", "down"), txt(reading.LinkState, "wifi", "up"), txt(reading.LinkState, "wifi 2", "down"), absent(reading.LinkSpeed, hmpb.Absent_ABSENT_NOT_SUPPORTED))
	pages := []struct {
		name, path, as string
	}{
		{"sign-in", "/sign-in", ""},
		{"list", "/devices", "admin"},
		{"list-filtered", "/devices?q=lifebook&state=connected", "support"},
		{"list-empty", "/devices?q=gibtesnicht", "read"},
		{"list-words", "/devices?q=eins+zwei+drei+vier+f%C3%BCnf+sechs+sieben", "read"},
		{"device-bare", "/devices/" + bare, "read"},
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
