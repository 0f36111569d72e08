package web_test

import (
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"hausmeister/collector/fleet"
)

const (
	// failure is what the page says of a request that failed.
	failure   = `(b => b.hidden ? "" : b.querySelector("[data-why]").textContent)(document.getElementById("failed"))`
	rowsShown = `document.querySelectorAll("#list tbody tr").length`
	isOld     = `document.getElementById("list").classList.contains("old")`
	isBusy    = `document.getElementById("list").getAttribute("aria-busy") === "true"`
)

func (tb *tab) offline(off bool) {
	tb.t.Helper()
	rules := network.EmulateNetworkConditionsByRuleParams{MatchedNetworkConditions: []*network.Conditions{}}
	if off {
		rules.MatchedNetworkConditions = append(rules.MatchedNetworkConditions, &network.Conditions{Offline: true, DownloadThroughput: -1, UploadThroughput: -1})
	}
	tb.do(call(network.EmulateNetworkConditionsByRule, rules),
		call(network.OverrideNetworkState, network.OverrideNetworkStateParams{Offline: off, DownloadThroughput: -1, UploadThroughput: -1}))
}

// TestFilterWithoutNetwork: the rows stay, the page says that they are old and why,
// and asks again by itself when the line is back.
func TestFilterWithoutNetwork(t *testing.T) {
	w := newWorld(t)
	w.fill(20)
	tb := w.tab(t, looks{lang: "de", theme: "light", as: "support"})
	tb.open("/devices")
	before := eval[int](tb, rowsShown)
	tb.offline(true)
	tb.do(chromedp.Focus("#q"))
	tb.key("lifebook")
	tb.wait(failure + ` === "Nicht geladen: keine Verbindung."`)
	if n := eval[int](tb, rowsShown); n != before || !eval[bool](tb, isOld) || eval[bool](tb, isBusy) {
		t.Errorf("%d rows of %d; old %v, busy %v", n, before, eval[bool](tb, isOld), eval[bool](tb, isBusy))
	}
	if !eval[bool](tb, `/^Sie sehen noch den Stand von \d\d:\d\d Uhr\.$/.test(document.querySelector("[data-as-of]").textContent) && !!document.getElementById("failed").closest("[role=alert]")`) {
		t.Error("the page does not say of when its rows are, or not so that it is read out")
	}
	tb.accessible()
	tb.still()
	tb.shot("list-failed-de-light")
	tb.do(chromedp.EmulateViewport(320, 640))
	tb.noSideways()
	tb.shot("list-failed-320")
	tb.offline(false)
	tb.wait(failure + ` === "" && !(` + isOld + `) && location.search === "?q=lifebook"`)
	tb.still()
}

// TestFilterThatTheServerRefuses: errors of the server and a connection that ends are
// failure too, and the button asks again for what was chosen.
func TestFilterThatTheServerRefuses(t *testing.T) {
	w := newWorld(t)
	w.fill(20)
	tb := w.tab(t, looks{lang: "en", theme: "dark", as: "support"})
	tb.open("/devices")
	w.status.Store(503)
	tb.do(chromedp.Focus("#q"))
	tb.key("lifebook")
	tb.wait(failure + ` === "Not loaded: the server reports an error."`)
	if !eval[bool](tb, `/^You still see the state of ([01]\d|2[0-3]):\d\d\.$/.test(document.querySelector("[data-as-of]").textContent)`) {
		t.Errorf("of when the rows are: %q", eval[string](tb, `document.querySelector("[data-as-of]").textContent`))
	}
	tb.accessible()
	tb.shot("list-failed-en-dark")
	w.status.Store(0)
	tb.do(chromedp.Focus("#failed button"))
	tb.key(enter)
	tb.wait(failure + ` === "" && location.search.includes("q=lifebook")`)
	if focus := eval[string](tb, `document.activeElement.id`); focus != "main" {
		t.Errorf("the focus that was on the button is now on %q", focus)
	}
	w.status.Store(404)
	tb.do(chromedp.Focus("#q"))
	tb.key("x")
	tb.wait(failure + ` === "Not loaded: the server refuses this choice."`)
	w.status.Store(0)
	w.down.Store(true)
	tb.key("y")
	tb.wait(failure + ` === "Not loaded: no connection."`)
	w.down.Store(false)

	// An answer that does not come: busy until then, old after it. The time for it is over
	// once the page was seen to be busy.
	tb.do(chromedp.Evaluate[chromedp.Void](`htmx.config.timeout = 0; document.body.addEventListener("htmx:beforeSend", e => window.asked = e.detail.xhr); undefined`))
	w.hold.Store(true)
	tb.key("z")
	tb.wait(isBusy)
	tb.do(chromedp.Evaluate[chromedp.Void](`asked.timeout = 1`))
	tb.wait(failure + ` === "Not loaded: the server does not answer." && !(` + isBusy + `)`)
	w.hold.Store(false)

	// Whoever is signed out meanwhile is led to the sign-in page and would come back.
	w.must(w.access.DisableUser(t.Context(), operator, "support"))
	tb.key("a")
	tb.wait(`location.pathname === "/sign-in" && location.search.includes("next=")`)
}

// TestExtrasThatFail: a count that comes late says in its place that it did not come, a
// field whose suggestions did not says so beside it; nothing on the page is old for that.
// Both are asked for again.
func TestExtrasThatFail(t *testing.T) {
	w := newWorld(t)
	w.fill(20)
	_, err := w.fleet.SaveView(t.Context(), operator, fleet.View{Name: "Pflege", Sharing: fleet.ViewAll, Filter: fleet.Filter{Query: "lifebook"}})
	w.must(err)
	tb := w.tab(t, looks{lang: "de", theme: "light", as: "support"})
	w.status.Store(503)
	tb.open("/devices")
	const count, suggested = `document.querySelector(".views .n[hx-get]")`, `document.querySelectorAll("#schools option").length`
	tb.wait(count + `.textContent === "–Anzahl nicht geladen" && ` + count + `.title === "Anzahl nicht geladen"`)
	if said := eval[string](tb, failure); said != "" {
		t.Errorf("for a count that did not come the page says %q of its rows", said)
	}
	tb.do(chromedp.Focus(`input[name=school]`))
	tb.wait(failure + ` === "Vorschläge nicht geladen" && document.querySelector("[data-as-of]").textContent === "Sie können ohne Vorschläge weitertippen."`)
	if eval[bool](tb, isOld) {
		t.Error("without suggestions the list is called old")
	}
	tb.accessible()
	tb.still()
	tb.shot("list-extras-failed-de-light")
	tb.offline(true)
	w.status.Store(0)
	tb.offline(false)
	tb.wait(failure + ` === "" && ` + suggested + ` > 0 && /^\d+$/.test(` + count + `.textContent) && !` + count + `.title`)
}
