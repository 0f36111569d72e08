package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"hausmeister/collector/access"
	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
)

// TestColumns: a person's columns hold wherever he signs in, for him only; a link
// may ask for others.
func TestColumns(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(12)
	w.fillsUp(ids[0], hmpb.Severity_SEVERITY_CRITICAL)
	state, off := "state", "off"
	w.raise(ids[0], finding.FirewallOff, "", hmpb.Severity_SEVERITY_WARNING, hmpb.Argument_builder{Name: &state, Text: &off}.Build())
	w.must(w.fleet.SetLabel(t.Context(), operator, ids[0], "Rückruf", true))
	here, there, other := w.signedIn("support"), w.signedIn("support"), w.signedIn("admin")
	body := text(here.get("/devices?q=AH-02317").body)
	if !strings.Contains(body, "Wichtigster Hinweis") || !strings.Contains(body, "Speicher fast voll +1") {
		t.Errorf("the usual columns do not tell the main finding: %s", body)
	}
	res := here.post("/devices/columns", url.Values{"column": {"seen", "labels", "build", "nonsense"}, "back": {"/devices?q=AH-02317"}})
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/devices?q=AH-02317" {
		t.Errorf("POST = %d to %s", res.StatusCode, res.Header.Get("Location"))
	}
	head := func(b *browser, path string) string {
		t.Helper()
		page := b.get(path).body
		_, rest, _ := strings.Cut(page, "<thead>")
		rest, _, _ = strings.Cut(rest, "</thead>")
		return strings.Join(strings.Fields(text(rest)), " ")
	}
	const mine = "Alle auf dieser Seite auswählen Zustand Gerät Etiketten Systemstand Verbunden"
	if got := head(there, "/devices"); got != mine {
		t.Errorf("on another machine the columns are %q, want %q", got, mine)
	}
	if got := head(other, "/devices"); strings.Contains(got, "Systemstand") {
		t.Errorf("another person's columns are %q", got)
	}
	if body := text(there.get("/devices?q=AH-02317").body); !strings.Contains(body, "Rückruf") || !strings.Contains(body, "6.1.0-31-amd64") {
		t.Errorf("label and build are not told: %s", body)
	}
	if got := head(there, "/devices?columns=battery,owner"); !strings.HasSuffix(got, "Schulträger Akku") {
		t.Errorf("the columns of a link are %q", got)
	}
	all := []string{"model", "serial", "school", "owner", "finding", "labels", "system", "build", "path"}
	if res := here.post("/devices/columns", url.Values{"column": all, "back": {"/devices"}}); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text(res.body), "Eine zu viel") ||
		strings.Count(res.body, " checked") != len(all) {
		t.Errorf("nine columns = %d %s, want 422 with what was chosen", res.StatusCode, text(res.body))
	}
	if res := here.post("/devices/columns", url.Values{"usual": {"1"}, "back": {"https://evil.example"}}); res.Header.Get("Location") != "/devices" {
		t.Errorf("the way back leads to %s", res.Header.Get("Location"))
	}
	if got := head(there, "/devices"); !strings.Contains(got, "Wichtigster Hinweis") {
		t.Errorf("the usual columns did not come back: %q", got)
	}
	if err := w.access.SetChoice(t.Context(), access.Caller{Kind: access.KindToken, ID: "x", Role: access.RoleAdmin}, "devices.columns", "seen"); err == nil {
		t.Error("a token keeps columns")
	}
}

// TestColumnsInTheBrowser chooses all that there is room for.
func TestColumnsInTheBrowser(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(40)
	w.fillsUp(ids[0], hmpb.Severity_SEVERITY_WARNING)
	tb := w.tab(t, looks{lang: "de", theme: "light", as: "support"})
	tb.open("/devices?columns=owner")
	tb.do(chromedp.Focus(`.columns summary`))
	tb.key(enter)
	tb.wait(`document.querySelector(".columns").open`)
	tb.shot("columns-de-light")
	tb.accessible()
	tb.open("/devices")
	tb.do(chromedp.Focus(`.columns summary`))
	tb.key(enter)
	tb.do(chromedp.Evaluate[chromedp.Void](`for (const b of document.querySelectorAll(".columns input[type=checkbox]")) b.checked = ["memory", "boot", "updates", "health", "battery", "free", "seen", "finding"].includes(b.value); document.querySelector(".columns button.main").focus()`))
	tb.key(enter)
	tb.wait(`location.pathname === "/devices" && document.querySelectorAll("thead th").length === 11`)
	tb.noSideways()
	tb.accessible()
	tb.shot("list-eight-columns-de-light")
	for _, width := range []int64{1100, 900, 800} {
		tb.do(chromedp.EmulateViewport(width, 700))
		tb.noSideways()
	}
	tb.narrow("list-eight-columns-320")
	tb.clean()
}
