package web_test

import (
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/reading"
)

// TestSixteenRows: the list is dense enough for a small notebook, and its main
// act is in sight on the true viewport of one.
func TestSixteenRows(t *testing.T) {
	w := newWorld(t)
	w.fill(60)
	tb := w.tab(t, looks{lang: "de", theme: "light", as: "admin"})
	tb.open("/devices")
	rows := eval[int](tb, `(() => { const bar = document.querySelector(".pager").getBoundingClientRect().top;
		return [...document.querySelectorAll("tbody tr")].filter(r => r.getBoundingClientRect().bottom <= bar + 1).length; })()`)
	if rows < 16 {
		t.Errorf("%d rows at 1366x768, want 16", rows)
	}
	tb.do(chromedp.EmulateViewport(1366, 633))
	if !eval[bool](tb, `document.querySelector(".pager a").getBoundingClientRect().bottom <= innerHeight`) {
		t.Error("the way on is out of sight at 633 px")
	}
	// The head of the table stays in sight.
	if top := eval[float64](tb, `(scrollTo(0, 900), document.querySelector("thead th").getBoundingClientRect().top)`); top != 0 {
		t.Errorf("the head of the table is at %v after scrolling, want 0", top)
	}
}

// TestLiveInTheBrowser: a report changes the value in place, and nothing moves,
// neither the page nor the focus.
func TestLiveInTheBrowser(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(3)
	w.look("support", ids[0])
	tb := w.tab(t, looks{lang: "de", theme: "light", as: "support"})
	tb.open("/devices/" + ids[0])
	tb.wait(`document.querySelector("[data-live]")?.dataset.live === "on"`)
	if got := eval[string](tb, `document.querySelector("[data-live-word]").textContent`); got != "Live" {
		t.Errorf("the mark says %q, want Live", got)
	}
	tb.do(chromedp.Evaluate[chromedp.Void](`window.place = document.querySelector('[sse-swap="memory-figure"]'); document.querySelector(".copy").focus()`))
	state := notebook(0)
	state[4] = num(reading.MemoryUsed, "", 5<<30)
	w.report(ids[0], state...)
	tb.wait(`document.querySelector('[sse-swap="memory-figure"]').textContent.includes("5,0\u00a0GB")`)
	if !eval[bool](tb, `window.place === document.querySelector('[sse-swap="memory-figure"]') && document.activeElement.matches(".copy")`) {
		t.Error("the value was not changed in place, or the focus moved")
	}
	// The meter moves with it, and is drawn (an SVG that HTML parsed is not).
	tb.wait(`(r => r.namespaceURI.endsWith("svg") && r.getBoundingClientRect().width > 200)(document.querySelector('[sse-swap="memory-meter"] .fill'))`)
	tb.still()

	// The device goes off: shape, word and sentence say so.
	w.disconnect(ids[0], 1)
	tb.wait(`document.querySelector("h1").parentElement.textContent.includes("In Ordnung")`)
	tb.wait(`document.querySelector(".lead").textContent.includes("gerade nicht verbunden")`)

	// A volume comes: its card is fetched anew and is live, too.
	w.report(ids[0], append(state, num(reading.VolumeTotal, "/mnt/stick", 64_000_000_000), num(reading.VolumeFree, "/mnt/stick", 32_000_000_000))...)
	tb.wait(`document.body.textContent.includes("/mnt/stick") && document.body.textContent.includes("frei von 64\u00a0GB")`)
	w.report(ids[0], append(state, num(reading.VolumeTotal, "/mnt/stick", 64_000_000_000), num(reading.VolumeFree, "/mnt/stick", 12_000_000_000))...)
	tb.wait(`document.body.textContent.includes("12\u00a0GB frei von 64\u00a0GB")`)
	tb.accessible()
	tb.clean()
}

// TestLiveStreamLost: the page says that it is behind, and comes back by itself.
func TestLiveStreamLost(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(3)
	w.look("support", ids[0])
	tb := w.tab(t, looks{lang: "de", theme: "light", as: "support"})
	tb.open("/devices/" + ids[0])
	tb.wait(`document.querySelector("[data-live]")?.dataset.live === "on"`)
	w.down.Store(true)
	w.ts.CloseClientConnections()
	tb.wait(`/^Stand \d\d:\d\d, verbinde neu$/.test(document.querySelector("[data-live-word]").textContent)`)
	tb.shot("device-lost-de-light")
	tb.accessible()
	tb.still()
	state := notebook(0)
	state[4] = num(reading.MemoryUsed, "", 6<<30)
	w.report(ids[0], state...)
	w.down.Store(false)
	tb.wait(`document.querySelector("[data-live-word]").textContent === "Live"`)
	tb.wait(`document.querySelector('[sse-swap="memory-figure"]').textContent.includes("6,0\u00a0GB")`)
	tb.still()
}

// TestLiveEndsWithTheSession: signed out in another window, the page says so.
func TestLiveEndsWithTheSession(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(3)
	w.look("support", ids[0])
	tb := w.tab(t, looks{lang: "de", theme: "dark", as: "support"})
	tb.open("/devices/" + ids[0])
	tb.wait(`document.querySelector("[data-live]")?.dataset.live === "on"`)
	w.must(w.access.DisableUser(t.Context(), operator, "support"))
	tb.wait(`document.querySelector("[data-live-word]").textContent === "Beendet"`)
	if !eval[bool](tb, `!document.querySelector("[data-live-ended]").hidden`) {
		t.Error("the page does not say what to do")
	}
	tb.shot("device-ended-de-dark")
	tb.accessible()
}

// TestFirstReportArrives: the page of a new device fills itself.
func TestFirstReportArrives(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	id := w.admit("Landkreis Ahorn", "S0001", "FUJITSU", "LIFEBOOK", "DEMO1", "windows", "AH-1")
	tb := w.tab(t, looks{lang: "de", theme: "light", as: "admin"})
	tb.open("/devices/" + id)
	tb.wait(`document.body.textContent.includes("Noch keine Messwerte")`)
	if eval[bool](tb, `document.querySelector("[data-live]") !== null`) {
		t.Error("without a look the page claims to be live")
	}
	w.connect(id)
	w.report(id, notebook(1)...)
	tb.wait(`document.querySelectorAll(".card").length > 6 && document.querySelector(".pill").textContent.includes("Verbunden")`)
	// That was all (TestLiveStreamNeedsALook): from now on it is a page without a stream.
	tb.open("/devices/" + id)
	if !eval[bool](tb, `document.querySelector("[sse-connect]") === null && document.querySelector("[data-live]") === null && document.body.textContent.includes("Die Werte sind die zuletzt gemeldeten, ohne Uhrzeit.")`) {
		t.Error("without a look the page has a stream, or does not say that its values are of the day")
	}
	tb.clean()
}

// TestLiveEndsWithTheLook: the page says so, and what to do.
func TestLiveEndsWithTheLook(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(3)
	w.look("support", ids[0])
	tb := w.tab(t, looks{lang: "de", theme: "light", as: "support"})
	tb.open("/devices/" + ids[0])
	tb.wait(`document.querySelector("[data-live]")?.dataset.live === "on"`)
	w.advance(61 * time.Minute)
	tb.wait(`document.querySelector("[data-live-word]").textContent === "Beendet"`)
	if !eval[bool](tb, `!document.querySelector("[data-live-over]").hidden && document.querySelector("[data-live-ended]").hidden`) {
		t.Error("the page does not say what ended")
	}
	tb.shot("device-over-de-light")
	tb.accessible()
}

// TestLiveEndsWithTheLookWhileLost: a line that comes back after the look's end
// says that it was the look, not that the person is signed out.
func TestLiveEndsWithTheLookWhileLost(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(3)
	w.look("support", ids[0])
	tb := w.tab(t, looks{lang: "de", theme: "light", as: "support"})
	tb.open("/devices/" + ids[0])
	tb.wait(`document.querySelector("[data-live]")?.dataset.live === "on"`)
	w.down.Store(true)
	w.ts.CloseClientConnections()
	tb.wait(`document.querySelector("[data-live]").dataset.live === "lost"`)
	w.advance(61 * time.Minute)
	w.down.Store(false)
	tb.wait(`document.querySelector("[data-live-word]").textContent === "Beendet"`)
	if !eval[bool](tb, `!document.querySelector("[data-live-over]").hidden && document.querySelector("[data-live-ended]").hidden`) {
		t.Error("the page does not say what ended")
	}
}

// TestKeyboard walks the whole way without a mouse.
func TestKeyboard(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(60)
	tb := w.tab(t, looks{lang: "de", theme: "light"})
	tb.open("/devices?q=a")
	tb.wait(`location.pathname === "/sign-in" && document.activeElement.id === "name"`)
	for _, keys := range []string{"admin", "\t", password, enter} {
		tb.key(keys)
	}
	tb.wait(`location.pathname + location.search === "/devices?q=a"`)

	// The first Tab offers the way past the frame, and focus is seen.
	tb.key("\t")
	if !eval[bool](tb, `document.activeElement.matches(".skip") && document.activeElement.getBoundingClientRect().top >= 0`) {
		t.Error("the first Tab does not show the way to the content")
	}
	tb.key(enter)
	tb.wait(`document.activeElement.id === "main"`)

	// Search as you type: rows, address and count follow, the field keeps the focus.
	tb.press("/")
	tb.wait(`document.activeElement.id === "q"`)
	tb.key("ah-02317")
	tb.wait(`document.querySelectorAll("tbody tr").length === 1 && location.search === "?q=ah-02317"`)
	tb.wait(`document.activeElement.id === "q" && document.getElementById("said").textContent === "1 von 60"`)
	tb.key(escape)
	tb.wait(`document.activeElement.id !== "q"`)
	tb.press("j")
	tb.wait(`document.activeElement.matches("[data-open]")`)
	tb.key(enter)
	tb.wait(`location.pathname === "/devices/` + ids[0] + `"`)

	// Back leads to the list as it was, and to the row.
	tb.key(escape)
	tb.wait(`location.search === "?q=ah-02317" && document.activeElement.getAttribute("href") === "/devices/` + ids[0] + `"`)

	tb.open("/devices")
	for range 3 {
		tb.press("j")
	}
	tb.press("k")
	if got := eval[int](tb, `[...document.querySelectorAll("[data-open]")].indexOf(document.activeElement)`); got != 1 {
		t.Errorf("j j j k leads to row %d, want 1", got)
	}
	tb.press("?")
	tb.wait(`location.pathname === "/keys"`)
	tb.goes("g", "/devices")

	// Switched off, single keys do nothing.
	tb.open("/keys")
	tb.do(chromedp.Click(chromedp.CSS(`button[name=keys]`)))
	tb.wait(`document.documentElement.dataset.keys === "off"`)
	tb.press("/")
	tb.press("?")
	tb.open("/devices")
	tb.press("j")
	if eval[bool](tb, `document.activeElement.matches("[data-open], #q")`) {
		t.Error("single keys work although they are switched off")
	}
	tb.clean()
}

// TestAccountMenu: language and theme change at once and stay where one is.
func TestAccountMenu(t *testing.T) {
	w := newWorld(t)
	w.fill(5)
	tb := w.tab(t, looks{lang: "de", as: "support"})
	tb.open("/devices?state=connected")
	tb.do(chromedp.Click(chromedp.CSS(".account summary")))
	tb.wait(`document.querySelector(".account details").open`)
	tb.shot("menu-de-light")
	tb.accessible()
	tb.key(escape)
	tb.wait(`!document.querySelector(".account details").open && document.activeElement.matches("summary")`)
	tb.key(enter)
	tb.wait(`document.querySelector(".account details").open`)
	tb.do(chromedp.Click(chromedp.CSS(`button[name=theme][value=dark]`)))
	tb.wait(`document.documentElement.dataset.theme === "dark" && location.search === "?state=connected"`)
	tb.wait(`document.readyState === "complete"`)
	tb.do(chromedp.Click(chromedp.CSS(".account summary")), chromedp.Click(chromedp.CSS(`button[name=lang][value=en]`)))
	tb.wait(`document.documentElement.lang === "en" && location.search === "?state=connected"`)
	tb.wait(`document.readyState === "complete"`)
	tb.do(chromedp.Click(chromedp.CSS(".account summary")))
	tb.shot("menu-en-dark")
	tb.do(chromedp.Click(chromedp.CSS(`form[action="/sign-out"] button`)))
	tb.wait(`location.pathname === "/sign-in" && document.body.textContent.includes("You are signed out.")`)
	tb.clean()
}

// TestFiltersByMouse: a chosen filter acts at once and becomes a chip.
func TestFiltersByMouse(t *testing.T) {
	w := newWorld(t)
	w.fill(60)
	tb := w.tab(t, looks{lang: "de", as: "support"})
	tb.open("/devices")
	tb.do(chromedp.Evaluate[chromedp.Void](`{ const s = document.querySelector("select[name=state]"); s.value = "silent"; s.dispatchEvent(new Event("change", {bubbles: true})); }`))
	tb.wait(`location.search === "?state=silent" && document.querySelector(".chip.on").textContent.includes("Zustand: Still")`)
	tb.settled()
	tb.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("input[name=school]").focus()`))
	tb.wait(`document.querySelectorAll("#schools option").length === 5`)
	tb.key("kiefern")
	tb.wait(`document.querySelectorAll("#schools option").length === 1`)
	tb.do(chromedp.Evaluate[chromedp.Void](`{ const f = document.querySelector("input[name=school]"); f.value = "KGS Kiefernhöhe S0101, Landkreis Kiefer"; f.focus(); }`))
	tb.key(enter)
	tb.wait(`location.search.includes("school=") && document.querySelectorAll(".chip.on").length === 2`)
	tb.settled()
	tb.do(chromedp.Click(chromedp.CSS(".chip.on")))
	tb.wait(`!location.search.includes("state=") && location.search.includes("school=")`)
	tb.do(chromedp.NavigateBack())
	tb.wait(`location.search.includes("state=silent") && document.querySelectorAll(".chip.on").length === 2`)
	tb.clean()
}

// TestWithoutScript: everything can be read and every form be sent.
func TestWithoutScript(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(60)
	tb := w.tab(t, looks{lang: "de", theme: "light", noScript: true})
	tb.open("/sign-in")
	tb.do(chromedp.SendKeys(chromedp.ID("name"), "admin"), chromedp.SendKeys(chromedp.ID("password"), password+"\r"))
	tb.do(chromedp.WaitVisible(chromedp.CSS("table.devices")))
	tb.do(chromedp.SendKeys(chromedp.ID("q"), "AH-02317\r"), chromedp.WaitVisible(chromedp.CSS(".views")), chromedp.WaitVisible(chromedp.CSS("button.send")))
	w.look("admin", ids[0])
	tb.do(chromedp.Click(chromedp.CSS("[data-open]")), chromedp.WaitVisible(chromedp.ID("g-memory")))
	if at, err := chromedp.Run(tb.ctx, chromedp.Location()); err != nil || at != w.url+"/devices/"+ids[0] {
		t.Errorf("without script the row leads to %s, %v", at, err)
	}
	tb.shot("device-noscript-de-light")
	if visible, err := chromedp.Run(tb.ctx, chromedp.Text(chromedp.CSS(".live"), chromedp.NodeReady)); err != nil || strings.Contains(visible, "Live") {
		t.Errorf("without script the page claims to be live: %q, %v", visible, err)
	}
}

// TestOtherEyes: forced colours, reduced motion, print, text spacing.
func TestOtherEyes(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(60)
	t.Run("forced colours", func(t *testing.T) {
		tb := w.tab(t, looks{lang: "de", as: "read", media: []*emulation.MediaFeature{{Name: "forced-colors", Value: "active"}}})
		tb.open("/devices")
		tb.shot("list-forced-colours")
		tb.accessible()
		tb.wait(`!!document.querySelector(".live:is([data-live=on],[data-stream=on])")`)
		// The background of the dot is that of the page; its border shows.
		if dot := eval[string](tb, `(s => s.borderTopStyle + " " + s.borderTopWidth + " " + (s.borderTopColor !== getComputedStyle(document.body).backgroundColor))(getComputedStyle(document.querySelector(".live"), "::before"))`); dot != "solid 4px true" {
			t.Errorf("the dot beside Live is drawn as %q, want it to be seen", dot)
		}
		if lines := eval[[]string](tb, `[...document.querySelectorAll(".views a:not([aria-current])")].filter(a => getComputedStyle(a).borderBottomColor !== getComputedStyle(document.body).backgroundColor).map(a => a.textContent)`); len(lines) > 0 {
			t.Errorf("views that are not chosen have a line: %q", lines)
		}
		if n := eval[int](tb, `document.querySelectorAll(".views a:not([aria-current])").length`); n == 0 {
			t.Error("there are no views")
		}
		tb.open("/devices/" + ids[0])
		tb.shot("device-forced-colours")
		if !eval[bool](tb, `getComputedStyle(document.querySelector(".meter")).borderTopStyle === "solid"`) {
			t.Error("meters have no border where colours are forced")
		}
	})
	t.Run("reduced motion", func(t *testing.T) {
		tb := w.tab(t, looks{lang: "de", as: "read", media: []*emulation.MediaFeature{{Name: "prefers-reduced-motion", Value: "reduce"}}})
		tb.open("/devices")
		if !eval[bool](tb, `[...document.querySelectorAll("*")].every(e => getComputedStyle(e).transitionProperty === "none" || getComputedStyle(e).transitionDuration === "0s")`) {
			t.Error("something moves although motion is to be reduced")
		}
	})
	t.Run("print", func(t *testing.T) {
		tb := w.tab(t, looks{lang: "de", theme: "dark", as: "read", print: true})
		tb.open("/devices")
		if !eval[bool](tb, `getComputedStyle(document.querySelector(".side")).display === "none" && getComputedStyle(document.querySelector(".pager")).display === "none"`) {
			t.Error("print shows the frame")
		}
		if got := eval[string](tb, `getComputedStyle(document.body).backgroundColor`); got != "rgb(255, 255, 255)" {
			t.Errorf("print in the dark theme has the background %s", got)
		}
		tb.shot("list-print")
	})
	t.Run("another font", func(t *testing.T) {
		tb := w.tab(t, looks{lang: "de", as: "admin", width: 320, height: 640})
		for _, p := range []string{"/claims", "/account", "/settings", "/people"} {
			tb.open(p)
			// As where ours does not load and the system's is a wide one.
			tb.do(chromedp.Evaluate[chromedp.Void](`{ const s = new CSSStyleSheet(); s.replaceSync("*{font-family:'DejaVu Sans',sans-serif!important}"); document.adoptedStyleSheets = [s]; }`))
			tb.noSideways()
		}
		tb.shot("people-other-font-320")
	})
	t.Run("text spacing", func(t *testing.T) {
		tb := w.tab(t, looks{lang: "de", as: "read"})
		for _, p := range []string{"/devices", "/devices/" + ids[0]} {
			tb.open(p)
			// WCAG 1.4.12, by a sheet that the policy lets in: constructed ones.
			tb.do(chromedp.Evaluate[chromedp.Void](`{ const s = new CSSStyleSheet(); s.replaceSync("*{line-height:1.5!important;letter-spacing:.12em!important;word-spacing:.16em!important}p{margin-bottom:2em!important}"); document.adoptedStyleSheets = [s]; }`))
			tb.noSideways()
		}
	})
	t.Run("targets", func(t *testing.T) {
		tb := w.tab(t, looks{lang: "de", as: "read"})
		tb.open("/devices")
		small := eval[[]string](tb, `[...document.querySelectorAll("a, button, input:not([type=hidden]), select, summary")].filter(e => e.checkVisibility() && !e.closest("td, tbody th, .skip") && !e.matches(".skip"))
			.filter(e => { const r = e.getBoundingClientRect(); return r.width < 24 || r.height < 24; }).map(e => e.outerHTML.slice(0, 100))`)
		if len(small) > 0 {
			t.Errorf("targets under 24 px: %q", small)
		}
	})
}

// TestWeight: a page with all that it needs, as it goes over the wire.
func TestWeight(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(60)
	w.days(ids, 12)
	w.fillsUp(ids[1], hmpb.Severity_SEVERITY_CRITICAL)
	known := w.known()
	for _, p := range []string{"/devices", "/devices?q=lifebook&state=connected", "/devices/" + ids[0], "/devices/" + known + "?range=30d", "/devices/" + known + "/software", "/sign-in",
		"/findings", "/findings/disk_low", "/schools", "/questions", "/questions?if=battery_health.lt.900&if=model.contains.LIFEBOOK", "/questions?if=battery_health.lt.900&what=model",
		"/claims", "/claims/new", "/people", "/audit", "/catalogue", "/settings", "/account", "/keys", "/api"} {
		as := "admin"
		if p == "/sign-in" {
			as = ""
		}
		tb := w.tab(t, looks{lang: "de", as: as})
		tb.open(p)
		tb.wait(`document.readyState === "complete" && document.fonts.status === "loaded"`)
		tb.mu.Lock()
		weight := tb.weight
		tb.mu.Unlock()
		if t.Logf("%s: %.1f kB", p, weight/1000); weight == 0 || weight > 150_000 {
			t.Errorf("%s weighs %.0f bytes, want at most 150 kB", p, weight)
		}
	}
}

// TestNarrowRowBeginsWithState: on a phone the device's name has a line of its
// own, also that of a device without a model.
func TestNarrowRowBeginsWithState(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	w.admitHardware("Landkreis Ahorn", "S0001", ident.Hardware{OS: "linux", InstallID: [16]byte{7}})
	w.admit("Landkreis Ahorn", "S0001", "X", "Y", "SER-1", "linux", "AH-1")
	tb := w.tab(t, looks{lang: "de", theme: "light", as: "read", width: 320, height: 640})
	tb.open("/devices")
	beside := eval[[]string](tb, `[...document.querySelectorAll("tbody tr")].filter(r => r.querySelector("th").getBoundingClientRect().top < r.querySelector(".state").getBoundingClientRect().bottom - 1).map(r => r.innerText)`)
	if n := eval[int](tb, `document.querySelectorAll("tbody tr").length`); n != 2 || len(beside) > 0 {
		t.Errorf("of %d rows, want 2, these have the name beside the state: %q", n, beside)
	}
	tb.shot("list-no-model-320")
	tb.clean()
}

// TestClaimByKeyboard makes a claim without a mouse: what is wrong is said at
// its field, and the claim is shown with its QR code.
func TestClaimByKeyboard(t *testing.T) {
	w := newWorld(t)
	w.fill(3)
	tb := w.tab(t, looks{lang: "en", as: "admin"})
	tb.open("/devices")
	tb.goes("c", "/claims")
	tb.do(chromedp.Focus(`a[href="/claims/new"]`))
	tb.key(enter)
	tb.wait(`location.pathname === "/claims/new"`)
	tb.do(chromedp.Focus("#f-cap"), chromedp.SetValue("#f-cap", "none"))
	tb.key(enter)
	tb.wait(`document.querySelector("#f-cap").getAttribute("aria-invalid") === "true"`)
	tb.accessible()
	tb.shot("claim-wrong")
	tb.do(chromedp.Focus("#f-cap"), chromedp.SetValue("#f-cap", "25"))
	tb.key(enter)
	tb.wait(`!!document.querySelector(".qr")`)
	tb.accessible()
	tb.noSideways()
	tb.shot("claim")
	tb.narrow("claim-320")
	tb.clean()
}
