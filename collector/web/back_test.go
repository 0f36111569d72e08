package web_test

import (
	"testing"

	"github.com/chromedp/chromedp"

	"hausmeister/testenv/need"
)

// TestEscapeLeadsToTheList: as it was left, whatever was done at the device meanwhile.
func TestEscapeLeadsToTheList(t *testing.T) {
	need.Plain(t)
	w := newWorld(t)
	ids := w.fill(6)
	const list = "/devices?state=connected"
	tb := w.tab(t, looks{lang: "de", theme: "light"})
	here := func(address string) {
		t.Helper()
		tb.wait(`location.pathname + location.search === "` + address + `" && document.readyState === "complete"`)
	}
	open := func() (device string) {
		t.Helper()
		tb.press("j")
		tb.wait(`document.activeElement.matches("[data-open]")`)
		device = eval[string](tb, `document.activeElement.getAttribute("href")`)
		tb.key(enter)
		here(device)
		return device
	}
	back := func(address, device string) {
		t.Helper()
		tb.key(escape)
		here(address)
		tb.wait(`document.activeElement.getAttribute("href") === "` + device + `"`)
	}

	// Who signs in at a device came from no list.
	tb.open("/devices/" + ids[0])
	tb.wait(`location.pathname === "/sign-in" && document.activeElement.id === "name"`)
	for _, keys := range []string{"admin", "\t", password, enter} {
		tb.key(keys)
	}
	here("/devices/" + ids[0])
	tb.key(escape)
	here("/devices")

	// Another stretch of the charts.
	tb.open(list)
	tb.press("j")
	tb.press("x")
	device := open()
	tb.do(chromedp.Click(chromedp.CSS(`.views a[href*="range=30d"]`)))
	here(device + "?range=30d")
	back(list, device)
	if !eval[bool](tb, `document.querySelectorAll("input[data-pick]:checked").length === 1 && document.querySelector("[data-picked]").textContent === "1 gewählt"`) {
		t.Error("the way back forgets what was chosen")
	}
	tb.key(escape)

	// A form of the device, and the help in between.
	device = open()
	tb.do(chromedp.Focus(".tag-new input"))
	tb.key("Rückruf" + enter)
	tb.wait(`location.search.includes("done=") && document.readyState === "complete"`)
	tb.press("?")
	here("/keys")
	tb.key(escape)
	tb.wait(`location.pathname === "` + device + `" && document.readyState === "complete"`)
	back(list, device)

	// A form that is left leads to the device, and that to the list.
	device = open()
	tb.do(chromedp.Click(chromedp.CSS(`a.grave`)))
	here(device + "/revoke")
	tb.key(escape)
	here(device)
	back(list, device)

	// Another filter, typed, and a device that was opened from no list.
	tb.open("/devices?q=a")
	tb.press("/")
	tb.wait(`document.activeElement.id === "q"`)
	tb.key("ah-")
	tb.wait(`location.search === "?q=ah-" && document.getElementById("said").textContent !== ""`)
	other := ids[0]
	if device == "/devices/"+other {
		other = ids[1]
	}
	tb.open("/devices/" + other)
	tb.key(escape)
	here("/devices?q=ah-")

	// Another list that leads to devices.
	tb.open("/search?q=a")
	device = open()
	tb.do(chromedp.Click(chromedp.CSS(`.views a[href*="range=30d"]`)))
	here(device + "?range=30d")
	back("/search?q=a", device)
	tb.clean()
}
