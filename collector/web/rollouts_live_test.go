package web_test

import (
	"bufio"
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"hausmeister/collector/access"
	"hausmeister/collector/rollout"
	"hausmeister/proto/hmpb"
	"hausmeister/testenv/need"
)

// TestRolloutLive: the page's stream sends each cell that changed, and says how many
// decisions the page does not know; who signs out hears no more.
func TestRolloutLive(t *testing.T) {
	w := storesPaced(t, peopled(t), quietLog, lookRings).serve()
	ids := w.fill(30)
	runs := w.began(w.releases()["1.1.0"])
	for _, id := range ids {
		owner, err := w.fleet.Device(t.Context(), operator, id)
		w.must(err)
		w.must(w.rollouts.SetWindow(t.Context(), operator, rollout.Window{Owner: owner.Owner}))
	}
	r, err := w.rollouts.Rollout(t.Context(), operator, runs)
	w.must(err)
	b := w.signedIn("read")
	if res := b.get("/rollouts/none/live", "Accept", "text/event-stream"); res.StatusCode != http.StatusNotFound {
		t.Errorf("the stream of no rollout = %d, want 404", res.StatusCode)
	}
	next, end := b.stream(t, "/rollouts/"+runs+"/live?after="+r.Decisions[0].ID)
	shown := map[string]string{}
	await := func(event, part string) {
		t.Helper()
		late := time.AfterFunc(patience, end)
		defer late.Stop()
		for data, ok := shown[event]; !ok || !strings.Contains(data, part); data, ok = shown[event] {
			name, data, ok := next()
			if !ok {
				t.Fatalf("the stream ended before %s with %q, it has %q", event, part, shown[event])
			}
			shown[name] = data
		}
	}
	await("news", `data-n="0"`)
	await("r1.ok", "0")
	await("r1.whys", "\u00a0") // a word and its number
	w.sweep(ids, func(_ int, o *hmpb.Offer) *hmpb.Update { return committed(o) })
	if r, err = w.rollouts.Rollout(t.Context(), operator, runs); err != nil || r.Rings[0].OK < 5 {
		t.Fatalf("%d devices took it, %v", r.Rings[0].OK, err)
	}
	await("r1.ok", strconv.FormatInt(r.Rings[0].OK, 10))
	await("r1.whys", "Alle aktuell")
	var counted struct {
		Devices int64
		Counts  map[string]int64
		Rings   []struct {
			Ring   int64
			Counts map[string]int64
		}
	}
	w.api(w.token("counts", access.RoleRead, nil), "/api/v1/rollouts/"+runs+"/compliance", &counted)
	placed := int64(0)
	for i, ring := range counted.Rings {
		for _, n := range ring.Counts {
			placed += n
		}
		if ring.Ring != int64(i+1) || i >= len(r.Rings) {
			t.Errorf("ring %d of %d is called %d", i+1, len(r.Rings), ring.Ring)
		}
	}
	if len(counted.Rings) < 2 || counted.Counts["revoked"] != 1 || placed != counted.Devices-1 || counted.Rings[0].Counts["current"] != r.Rings[0].OK || counted.Rings[1].Counts["ring"] == 0 {
		t.Errorf("words by ring: %+v, want those of all devices but the revoked one, %d current in the first and some to come in the second", counted, r.Rings[0].OK)
	}
	w.advance(time.Minute)
	w.must(w.rollouts.Pause(t.Context(), operator, runs, "für das Beispiel"))
	await("state", "Angehalten")
	await("news", `data-n="1"`)
	b.post("/sign-out", nil)
	await("end", "")
}

// stream opens a stream of a page and gives its events one by one, until end.
func (b *browser) stream(t *testing.T, path string) (next func() (name, data string, ok bool), end func()) {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	t.Cleanup(end)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.w.url+path, nil)
	b.w.must(err)
	req.Header.Set("Accept", "text/event-stream")
	res, err := b.c.Do(req)
	b.w.must(err)
	t.Cleanup(func() { res.Body.Close() })
	if res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("GET %s = %d %s", path, res.StatusCode, res.Header.Get("Content-Type"))
	}
	lines := bufio.NewScanner(res.Body)
	return func() (name, data string, ok bool) {
		for lines.Scan() {
			field, value, _ := strings.Cut(lines.Text(), ": ")
			switch field {
			case "event":
				name = value
			case "data":
				data = value
			case "":
				if name != "" {
					return name, data, true
				}
			}
		}
		return "", "", false
	}, end
}

// TestRolloutByKeyboard: two persons take a release over more than a tenth of the
// devices, each by keys alone, and one of them stops it with one press; what changed
// meanwhile was told in place.
func TestRolloutByKeyboard(t *testing.T) {
	need.Plain(t)
	w := storesPaced(t, peopled(t), quietLog, rollout.Pace{Rings: []rollout.Ring{{Devices: 20}, {Millions: rollout.Whole}}}).serve()
	ids := w.fill(120)
	releases := w.releases()
	owners, err := w.fleet.Owners(t.Context(), operator)
	w.must(err)
	for _, o := range owners {
		w.must(w.rollouts.SetWindow(t.Context(), operator, rollout.Window{Owner: o.ID}))
	}
	w.user("release2", access.RoleRelease, nil)
	sends := func(tb *tab, reason, then string) {
		t.Helper()
		tb.wait(`!!document.querySelector("#f-reason")`)
		tb.do(chromedp.Focus("#f-reason"))
		tb.key(reason)
		tb.key(enter)
		tb.wait(then)
		tb.complete() // the address is the new page's before its document is
	}
	first := w.tab(t, looks{lang: "de", theme: "light", as: "release"})
	first.open("/devices")
	first.goes("a", "/updates")
	first.do(chromedp.Focus(`a[href="/releases/` + releases["1.1.0"] + `/rollout"]`))
	first.key(enter)
	sends(first, "ja", `document.querySelector("#f-reason")?.getAttribute("aria-invalid") === "true"`)
	first.accessible()
	first.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#f-reason").value = ""`))
	sends(first, "neue Version für alle", `location.pathname.startsWith("/rollouts/")`)
	at := eval[string](first, `location.pathname`)
	w.advance(time.Minute)
	w.must(w.rollouts.Care(t.Context()))
	first.open(at)
	first.wait(`document.querySelector("[data-live]")?.dataset.live === "on"`)

	// What devices tell is seen in place, and nothing moves.
	first.do(chromedp.Focus(`a[href="` + at + `/promote"]`))
	first.do(chromedp.Evaluate[chromedp.Void](`window.place = document.querySelector('[sse-swap="r1.ok"]')`))
	w.sweep(ids, func(_ int, o *hmpb.Offer) *hmpb.Update { return committed(o) })
	r, err := w.rollouts.Rollout(t.Context(), operator, strings.TrimPrefix(at, "/rollouts/"))
	w.must(err)
	first.wait(`document.querySelector('[sse-swap="r1.ok"]').textContent === "` + strconv.FormatInt(max(1, r.Rings[0].OK), 10) + `"`)
	if !eval[bool](first, `window.place === document.querySelector('[sse-swap="r1.ok"]') && document.activeElement.matches("a[href$='/promote']")`) {
		t.Error("the number was not changed in place, or the focus moved")
	}
	first.wait(`document.querySelector('[sse-swap="r1.bar"] .seg.ok')?.getBoundingClientRect().width > 50`)
	first.still()

	first.key(enter)
	sends(first, "Ferien sind vorbei", `location.search === "?done=rollout_asked"`)
	if !eval[bool](first, `document.querySelector("main").textContent.includes("release bittet um Stufe 2")`) {
		t.Error("who asked does not read that it waits")
	}
	if r, err := w.rollouts.Rollout(t.Context(), operator, strings.TrimPrefix(at, "/rollouts/")); err != nil || r.Ring != 1 {
		t.Fatalf("one person brought it to ring %d, %v", r.Ring, err)
	}
	w.advance(time.Minute)
	second := w.tab(t, looks{lang: "de", theme: "dark", as: "release2"})
	second.open(at)
	second.accessible()
	second.shot("rollout-asked")
	second.do(chromedp.Focus(`.note a[href="` + at + `/promote"]`))
	second.key(enter)
	sends(second, "gesehen und einverstanden", `location.search === "?done=rollout_promoted"`)
	second.clean()

	// The first hears of it where nothing moves, loads it by a key and stops it with one press.
	first.wait(`document.querySelector('a.news')?.dataset.n === "1"`)
	first.still()
	first.press(".")
	first.wait(`!location.search && document.querySelector("main").textContent.includes("Stufe 2 von 2 läuft")`)
	w.advance(time.Minute)
	first.do(chromedp.Focus(`form[action="` + at + `/pause"] button`))
	first.key(enter)
	first.wait(`location.search === "?done=rollout_paused"`)
	first.complete()
	if r, err := w.rollouts.Rollout(t.Context(), operator, strings.TrimPrefix(at, "/rollouts/")); err != nil || r.State != rollout.Paused || r.Ring != 2 {
		t.Errorf("after one press it is %s in ring %d, %v", r.State, r.Ring, err)
	}
	first.accessible()
	first.shot("rollout-paused")
	w.advance(time.Minute)
	first.do(chromedp.Focus("#why"))
	first.key("Helpdesk fragt nach")
	first.key(enter)
	first.wait(`location.search === "?done=rollout_noted"`)
	first.complete()
	first.noSideways()
	first.clean()
}
