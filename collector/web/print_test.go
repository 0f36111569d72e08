package web_test

import (
	"testing"

	"github.com/chromedp/chromedp"
)

// TestDeviceOnPaper: the tables of the charts are whole, and there is nothing to press.
func TestDeviceOnPaper(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	id := w.known()
	w.look("admin", id)
	tb := w.tab(t, looks{lang: "de", theme: "light", as: "admin"})
	tb.open("/devices/" + id + "?range=7d")
	folded := `[...document.querySelectorAll("main details")].filter(d => !d.open).length`
	tables := `[...document.querySelectorAll(".charts details table")].map(t => t.checkVisibility({contentVisibilityAuto: true}) && t.getBoundingClientRect().height > 0)`
	before := eval[int](tb, folded)
	if before == 0 {
		t.Fatal("the page has nothing folded")
	}
	tb.media("print")
	tb.do(chromedp.Evaluate[chromedp.Void](`dispatchEvent(new Event("beforeprint"))`))
	// What was folded is there with the next frame, which a busy machine draws late.
	tb.wait(`(t => t.length > 0 && t.every(Boolean))(` + tables + `)`)
	if pressed := eval[[]string](tb, `[...document.querySelectorAll("main :is(button, input:not([type=hidden]), select, textarea, a.button, a.grave, .more a)")].filter(e => e.checkVisibility()).map(e => e.outerHTML.slice(0, 120))`); len(pressed) > 0 {
		t.Errorf("on paper there is something to press: %q", pressed)
	}
	tb.shot("device-paper-de")
	tb.do(chromedp.Evaluate[chromedp.Void](`dispatchEvent(new Event("afterprint"))`))
	if after := eval[int](tb, folded); after != before {
		t.Errorf("%d parts are folded after printing, want %d as before", after, before)
	}
	tb.clean()
}

// TestListOnPaper: nothing of a row lies beside the sheet.
func TestListOnPaper(t *testing.T) {
	w := newWorld(t)
	w.fill(12)
	tb := w.tab(t, looks{lang: "de", theme: "light", as: "read"})
	tb.open("/devices")
	tb.media("print")
	tb.wait(`!document.querySelector(".side").checkVisibility()`)
	if beside := eval[[]string](tb, `[...document.querySelectorAll("main table :is(th, td)")].filter(e => e.checkVisibility() && (e.getBoundingClientRect().left < 0 || e.getBoundingClientRect().right > innerWidth)).map(e => e.outerHTML.slice(0, 80))`); len(beside) > 0 {
		t.Errorf("beside the sheet: %q", beside)
	}
	tb.shot("list-paper-de")
	tb.clean()
}
