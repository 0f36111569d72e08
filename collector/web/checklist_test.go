package web_test

import (
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// checklist holds a page against what each page must be, beside what axe sees:
// focus, zoom, text spacing, targets, motion, forced colours and print.
func (tb *tab) checklist() {
	tb.t.Helper()
	tb.focusIsSeen()
	tb.targets()
	tb.outline()
	// 200 % zoom of a notebook's window.
	tb.do(chromedp.EmulateViewport(683, 384))
	tb.noSideways()
	tb.do(chromedp.EmulateViewport(1366, 768))
	// WCAG 1.4.12, by a sheet that the policy lets in: a constructed one.
	tb.do(chromedp.Evaluate[chromedp.Void](`{ const s = new CSSStyleSheet(); s.replaceSync("*{line-height:1.5!important;letter-spacing:.12em!important;word-spacing:.16em!important}p{margin-bottom:2em!important}"); document.adoptedStyleSheets = [s]; }`))
	tb.noSideways()
	tb.do(chromedp.Evaluate[chromedp.Void](`document.adoptedStyleSheets = []`))
	tb.media("", &emulation.MediaFeature{Name: "prefers-reduced-motion", Value: "reduce"})
	if moving := eval[[]string](tb, `[...document.querySelectorAll("*")].filter(e => { const s = getComputedStyle(e);
		return s.transitionProperty !== "none" && s.transitionDuration !== "0s" || s.animationName !== "none"; }).slice(0, 3).map(e => e.outerHTML.slice(0, 100))`); len(moving) > 0 {
		tb.t.Errorf("moves although motion is to be reduced: %q", moving)
	}
	tb.media("", &emulation.MediaFeature{Name: "forced-colors", Value: "active"})
	// What is told by a surface alone is gone there: controls need a border.
	if flat := eval[[]string](tb, `[...document.querySelectorAll("main button, main a.button, main input:not([type=hidden]):not([type=checkbox]):not([type=radio]), main select")]
		.filter(e => e.checkVisibility() && getComputedStyle(e).borderTopStyle === "none" && getComputedStyle(e).appearance === "none" && !e.matches(".icon, .item, .quiet, td *, th *")).slice(0, 3).map(e => e.outerHTML.slice(0, 100))`); len(flat) > 0 {
		tb.t.Errorf("no border where colours are forced: %q", flat)
	}
	tb.media("print")
	if frame := eval[[]string](tb, `[...document.querySelectorAll(".side, .pager, .skip")].filter(e => getComputedStyle(e).display !== "none").map(e => e.outerHTML.slice(0, 60))`); len(frame) > 0 {
		tb.t.Errorf("print shows the frame: %q", frame)
	}
	tb.media("")
}

func (tb *tab) media(kind string, features ...*emulation.MediaFeature) {
	tb.t.Helper()
	tb.do(call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: kind, Features: features}))
}

// focusIsSeen goes through the page by Tab: what has the focus shows it, and no
// sticky bar lies over it.
func (tb *tab) focusIsSeen() {
	tb.t.Helper()
	tb.do(chromedp.Evaluate[chromedp.Void](`document.activeElement?.blur(); scrollTo(0, 0)`))
	for range 45 {
		tb.key("\t")
		fault := eval[string](tb, `(() => {
			const e = document.activeElement;
			if (!e || e === document.body) return "end";
			const s = getComputedStyle(e), r = e.getBoundingClientRect();
			const shown = s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2 || s.boxShadow !== "none";
			if (!shown && !e.matches("[type=checkbox], [type=radio]")) return "no focus shown on " + e.outerHTML.slice(0, 120);
			if (r.width === 0) return "";
			const x = Math.min(Math.max(r.left + Math.min(r.width / 2, 12), 1), innerWidth - 2), y = Math.min(Math.max(r.top + r.height / 2, 1), innerHeight - 2);
			const top = document.elementFromPoint(x, y);
			if (top && top !== e && !e.contains(top) && !top.contains(e) && !top.closest("label")) return "under " + top.outerHTML.slice(0, 80) + ": " + e.outerHTML.slice(0, 120);
			return "";
		})()`)
		if fault == "end" {
			return
		}
		if fault != "" {
			tb.t.Errorf("focus: %s", fault)
		}
	}
}

// targets are at least 24 px, but for what stands in a line of text or a row.
func (tb *tab) targets() {
	tb.t.Helper()
	small := eval[[]string](tb, `[...document.querySelectorAll("a, button, input:not([type=hidden]), select, summary")]
		.filter(e => e.checkVisibility() && !e.closest("td, tbody th, dd, p, li, .crumbs, label") && !e.matches(".skip"))
		.filter(e => { const r = e.getBoundingClientRect(); return r.width < 24 || r.height < 24; }).slice(0, 3).map(e => e.outerHTML.slice(0, 120))`)
	if len(small) > 0 {
		tb.t.Errorf("targets under 24 px: %q", small)
	}
}

// outline: one h1, no level left out, and a way past the frame where there is one.
func (tb *tab) outline() {
	tb.t.Helper()
	if n := eval[int](tb, `document.querySelectorAll("h1").length`); n != 1 {
		tb.t.Errorf("%d h1, want one", n)
	}
	if skipped := eval[[]string](tb, `(() => { let last = 0, out = []; for (const h of document.querySelectorAll("main h1, main h2, main h3, main h4")) { const n = +h.tagName[1]; if (n > last + 1) out.push(h.outerHTML.slice(0, 80)); last = n; } return out; })()`); len(skipped) > 0 {
		tb.t.Errorf("headings leave a level out: %q", skipped)
	}
	if !eval[bool](tb, `!document.querySelector(".side") || !!document.querySelector("a.skip[href='#main']") && !!document.getElementById("main")`) {
		tb.t.Error("no way past the frame")
	}
}
