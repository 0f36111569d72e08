package web_test

import (
	"testing"

	"github.com/chromedp/chromedp"
)

// TestClaimOnPaper: the page that shows a claim once says at once what to do with it, and
// its print has place, number, day and code, and nothing to press.
func TestClaimOnPaper(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	for _, l := range []looks{{lang: "de", theme: "light", as: "admin"}, {lang: "en", theme: "dark", as: "admin"}} {
		tb := w.tab(t, l)
		tb.open("/claims/new")
		tb.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("[name=note]").value = "LS 4711"; document.querySelector("[name=school]").value = "S0001"; document.querySelector("main form").requestSubmit()`))
		tb.wait(`!!document.querySelector(".qr")`)
		tb.shot("claim-" + l.lang)
		tb.accessible()
		tb.still()
		tb.noSideways()
		if bottom := eval[float64](tb, `document.querySelector("[data-print]").getBoundingClientRect().bottom`); bottom > 633 || !eval[bool](tb, `document.querySelector("[data-print]").checkVisibility()`) {
			t.Errorf("the button that prints ends at %v px, want within 633", bottom)
		}
		tb.media("print")
		tb.do(chromedp.EmulateViewport(794, 1123))
		tb.shot("claim-print-" + l.lang)
		if shown := eval[[]string](tb, `[...document.querySelectorAll("button, a, .act")].filter(e => e.checkVisibility()).map(e => e.outerHTML.slice(0, 80))`); len(shown) > 0 {
			t.Errorf("on paper there is something to press: %q", shown)
		}
		if !eval[bool](tb, `["S", "10", "2026", "LS 4711"].every(part => document.querySelector("dl.facts").innerText.includes(part)) && document.querySelector(".qr").getBoundingClientRect().width > 200`) {
			t.Errorf("on paper stands %q", eval[string](tb, `document.querySelector("main").innerText`))
		}
		tb.clean()
	}
}
