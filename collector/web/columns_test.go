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
	"hausmeister/testenv/need"
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
	need.Plain(t)
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

// TestListIsReadableWithManyColumns: what a device and a school are known by is
// whole, and where the columns need more room than there is, the table scrolls in a
// region of its own, by keys too, with the device staying where it is.
func TestListIsReadableWithManyColumns(t *testing.T) {
	need.Plain(t)
	w := newWorld(t)
	ids := w.fill(60)
	w.fillsUp(ids[0], hmpb.Severity_SEVERITY_WARNING)
	w.must(w.fleet.SetInventory(t.Context(), operator, ids[1], "LDK-SCHULEN-2021-00000-4711-ERSATZ"))
	const many = "/devices?columns=model,serial,school,owner,finding,labels,agent,path"
	// The text of each cell that is cut off, by what it is.
	const cut = `(() => { const out = [], seen = (what, e) => { if (e.scrollWidth > e.clientWidth + 1) out.push(what + ": " + e.textContent.trim()); };
		for (const e of document.querySelectorAll(".devices .cell > [data-open]")) { const cell = e.parentElement.getBoundingClientRect(), r = e.getBoundingClientRect(); if (r.right > cell.right + 1) out.push("device: " + e.textContent); seen("device", e.parentElement.parentElement); }
		for (const e of document.querySelectorAll(".devices .number")) { const td = e.closest("td").getBoundingClientRect(), r = e.getBoundingClientRect(); if (r.width === 0 || r.right > td.right + 1 || e.scrollWidth > e.clientWidth + 1) out.push("school: " + e.textContent); }
		for (const e of document.querySelectorAll(".devices td.mono")) seen("serial", e);
		return out; })()`
	for _, look := range []looks{{lang: "de", theme: "light", as: "admin"}, {lang: "en", theme: "dark", as: "admin"}} {
		tb := w.tab(t, look)
		tb.open(many)
		tb.wait(`!!document.querySelector(".across.scrolls")`)
		tb.shot("list-many-columns-" + look.lang + "-" + look.theme)
		tb.noSideways()
		tb.accessible()
		if got := eval[[]string](tb, cut); len(got) > 0 {
			t.Errorf("cut off at 1366 px: %q", got)
		}
		narrow := eval[[]string](tb, `[...document.querySelectorAll(".devices thead th:not(.pick)")].filter(e => e.getBoundingClientRect().width < 70).map(e => e.textContent)`)
		if len(narrow) > 0 {
			t.Errorf("columns under 70 px: %q", narrow)
		}
		if got := eval[string](tb, `{ const r = document.querySelector(".across"); r.focus(); document.activeElement === r ? r.getAttribute("role") + " " + r.getAttribute("aria-label") : "" }`); got != map[string]string{"de": "region Tabelle der Geräte", "en": "region Table of devices"}[look.lang] {
			t.Errorf("the region is %q", got)
		}
		at := `document.querySelector(".devices tbody tr:nth-child(3) th").getBoundingClientRect().left`
		before := eval[float64](tb, at)
		tb.key(arrowRight + arrowRight + arrowRight + arrowRight)
		tb.wait(`document.querySelector(".across").scrollLeft > 60`)
		tb.do(chromedp.Evaluate[chromedp.Void](`document.querySelector(".across").scrollTo(400, 300)`))
		tb.wait(`document.querySelector(".across").scrollTop > 250`)
		if after := eval[float64](tb, at); after > before || after < 0 || !eval[bool](tb, `(() => { const th = document.querySelector(".devices tbody tr:nth-child(12) th a").getBoundingClientRect(), e = document.elementFromPoint(th.left + 3, th.top + th.height / 2); return !!e.closest("[data-open]"); })()`) {
			t.Errorf("the device does not stay in sight: its cell went from %v to %v", before, after)
		}
		if top := eval[float64](tb, `document.querySelector(".devices thead th:nth-child(4)").getBoundingClientRect().top - document.querySelector(".across").getBoundingClientRect().top`); top != 0 {
			t.Errorf("the heads are %v px below the top of the region", top)
		}
		tb.shot("list-many-columns-scrolled-" + look.lang + "-" + look.theme)
		// A key that goes to the next row brings it in sight.
		tb.do(chromedp.Evaluate[chromedp.Void](`document.activeElement.blur()`))
		for range 20 {
			tb.key("j")
		}
		if !eval[bool](tb, `(() => { const a = document.activeElement.getBoundingClientRect(), r = document.querySelector(".across").getBoundingClientRect(), head = document.querySelector(".devices thead").getBoundingClientRect(); return document.activeElement.matches("[data-open]") && a.top >= head.bottom - 1 && a.bottom <= r.bottom + 1; })()`) {
			t.Error("the row that has the focus is out of sight")
		}
		tb.do(chromedp.EmulateViewport(1920, 900))
		tb.open("/devices")
		tb.wait(`!!document.querySelector(".across") && !document.querySelector(".scrolls") && document.querySelector(".across").tabIndex === -1`)
		tb.do(chromedp.EmulateViewport(1366, 768))
		tb.open("/devices")
		tb.shot("list-usual-columns-" + look.lang + "-" + look.theme)
		if eval[bool](tb, `!!document.querySelector(".scrolls")`) {
			t.Error("the usual columns do not fit 1366 px")
		}
		tb.open(many)
		tb.narrow("list-many-columns-" + look.lang + "-" + look.theme + "-320")
		if got := eval[[]string](tb, cut); len(got) > 0 {
			t.Errorf("cut off at 320 px: %q", got)
		}
		tb.clean()
	}
}
