package web_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"hausmeister/proto/block"
	"hausmeister/proto/reading"
)

// legends are the words beside each drawing of a page, by the drawing.
func legends(page string) map[string][]string {
	out := map[string][]string{}
	for _, figure := range regexp.MustCompile(`(?s)<figure id="chart-([a-z_]+)">(.*?)</figure>`).FindAllStringSubmatch(page, -1) {
		out[figure[1]] = []string{}
		_, list, _ := strings.Cut(figure[2], `<ul class="legend"`)
		list, _, _ = strings.Cut(list, "</ul>")
		for _, li := range regexp.MustCompile(`(?s)<li>.*?</li>`).FindAllString(list, -1) {
			out[figure[1]] = append(out[figure[1]], strings.TrimSpace(text(li)))
		}
	}
	return out
}

// TestChartLegend names what is drawn, and nothing else.
func TestChartLegend(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	id := w.known()
	w.look("support", id)
	for lang, want := range map[string]map[string]string{
		// Weekend and nights are off; one hour of each morning knows no temperature.
		"de": {"volume_free": "[Grenze 537·MB Gerät aus dazwischen unbekannt]", "temperature": "[Gerät aus keine Daten]", "cpu_used": "[Gerät aus]"},
		"en": {"volume_free": "[limit 537·MB device off not known between]", "temperature": "[device off no data]", "cpu_used": "[device off]"},
	} {
		got := legends(w.signedIn("support").get("/devices/"+id+"?range=7d", "Cookie", "__Host-lang="+lang).body)
		for chart, words := range want {
			if fmt.Sprint(got[chart]) != words {
				t.Errorf("%s: the legend of %s is %v, want %s", lang, chart, got[chart], words)
			}
		}
	}
	// Its history came along from before its enrolment: it was off in that night.
	for chart, words := range legends(w.signedIn("support").get("/devices/" + id + "?range=24h").body) {
		if slices.Contains(words, "noch nicht aufgenommen") {
			t.Errorf("24 h: the legend of %s is %v", chart, words)
		}
	}
	// By days the device was on each day but the weekend.
	for chart, words := range legends(w.signedIn("read").get("/devices/" + id + "?range=30d").body) {
		for _, word := range words {
			if word == "keine Daten" {
				t.Errorf("%s by days names what is not drawn: %q", chart, words)
			}
		}
	}
}

// TestChartOfANewDevice: for minutes after its enrolment the page says when the first
// values come, and the time before is no time in which it was off.
func TestChartOfANewDevice(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	id := w.admit("Landkreis Ahorn", "S0001", "FUJITSU", "LIFEBOOK A3510", "DEMONEW", "windows", "AH-2021-0816")
	w.report(id, num(reading.MemoryTotal, "", 8<<30), num(reading.MemoryUsed, "", 3<<30))
	const comes, nothing = "Die ersten Werte kommen binnen 20 Minuten", "In dieser Zeit hat das Gerät nichts gemeldet"
	for _, step := range []struct {
		after     time.Duration
		says, not string
	}{{0, comes, nothing}, {19 * time.Minute, comes, nothing}, {2 * time.Minute, nothing, comes}} {
		w.advance(step.after)
		if page := w.signedIn("read").get("/devices/" + id).body; !strings.Contains(page, step.says) || strings.Contains(page, step.not) {
			t.Errorf("after %v more the page does not say %q, or says %q", step.after, step.says, step.not)
		}
	}
	start := w.clock().Truncate(15 * time.Minute)
	w.advance(3 * time.Hour)
	w.block(id, start, func(int, time.Time) map[block.Key]int64 { return map[block.Key]int64{{ID: reading.CPUUsed}: 100} })
	w.look("support", id)
	for stretch, words := range map[string]string{"24h": "[noch nicht aufgenommen Gerät aus]", "7d": "[noch nicht aufgenommen Gerät aus]", "30d": "[noch nicht aufgenommen Gerät aus]"} {
		if got := legends(w.signedIn("support").get("/devices/" + id + "?range=" + stretch).body)["cpu_used"]; fmt.Sprint(got) != words {
			t.Errorf("%s: the legend is %v, want %s", stretch, got, words)
		}
	}
	// By days it has been on each day that it was here.
	if got := legends(w.signedIn("read").get("/devices/"+id+"?range=7d&lang=en", "Cookie", "__Host-lang=en").body)["cpu_used"]; fmt.Sprint(got) != "[not yet enrolled]" {
		t.Errorf("by days: the legend is %v", got)
	}
	tb := w.tab(t, looks{lang: "de", theme: "light", as: "support"})
	tb.open("/devices/" + id + "?range=24h")
	tb.wait(`!!document.querySelector(".plot canvas")`)
	tb.do(chromedp.ScrollIntoView("#chart-cpu_used"))
	tb.accessible()
	tb.shot("chart-new-de-light")
	// The word is also where the pointer is.
	tb.do(chromedp.Evaluate[chromedp.Void](`(() => { const over = document.querySelector("#chart-cpu_used .u-over"), r = over.getBoundingClientRect();
		over.dispatchEvent(new MouseEvent("mouseenter", { bubbles: true, clientX: r.left + 20, clientY: r.top + 20 }));
		over.dispatchEvent(new MouseEvent("mousemove", { bubbles: true, clientX: r.left + 20, clientY: r.top + 20 })); })()`))
	tb.wait(`document.querySelector("#chart-cpu_used .at").textContent === "noch nicht aufgenommen"`)
	tb.clean()
}

// painted says in which of these colours, by token, the first chart is painted: each
// that makes up some of its pixels.
const painted = `(() => {
	const canvas = document.querySelector(".plot canvas"), tokens = ["accent", "surface-2", "text-2", "crit-solid", "control"];
	if (!canvas || !canvas.width) return "nothing";
	const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
	copy.drawImage(canvas, 0, 0);
	const d = copy.getImageData(0, 0, canvas.width, canvas.height).data, count = {};
	for (let i = 0; i < d.length; i += 4) if (d[i + 3] === 255) { const c = d[i] + "," + d[i + 1] + "," + d[i + 2]; count[c] = (count[c] || 0) + 1; }
	const probe = document.createElement("span"); document.body.append(probe);
	const out = [];
	for (const token of tokens) {
		probe.className = "probe-" + (token === "accent" ? "chart-1" : token);
		const rgb = getComputedStyle(probe).color.match(/\d+/g).slice(0, 3).join(",");
		if (count[rgb] > 5) out.push(token);
	}
	probe.remove();
	return out.join(" ");
})()`

// TestChartChangesWithTheTheme while it is open: by the system, by the person, for
// paper and where colours are forced. What was drawn in the colours of before would
// have none of those of now.
func TestChartChangesWithTheTheme(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	id := w.known()
	w.look("support", id)
	tb := w.tab(t, looks{lang: "de", as: "support", media: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "light"}}})
	tb.open("/devices/" + id + "?range=7d")
	const whole = `"accent surface-2 crit-solid control"`
	bare := `(` + painted + `).replace("text-2 ", "")`
	tb.wait(bare + ` === ` + whole)
	before := eval[string](tb, `getComputedStyle(document.body).backgroundColor`)
	tb.media("", &emulation.MediaFeature{Name: "prefers-color-scheme", Value: "dark"})
	tb.wait(bare + ` === ` + whole)
	if after := eval[string](tb, `getComputedStyle(document.body).backgroundColor`); after == before {
		t.Fatalf("the system's theme changed nothing: %s", after)
	}
	tb.shot("chart-theme-dark")
	// Where colours are forced, all is in one colour and told by its shape.
	tb.media("", &emulation.MediaFeature{Name: "forced-colors", Value: "active"})
	tb.wait(`(` + painted + `).includes("accent") && (` + painted + `).includes("control")`)
	if got := eval[string](tb, `getComputedStyle(document.querySelector(".key .limit")).strokeDasharray + " " + document.querySelectorAll("#chart-volume_free .key rect.off").length`); got != "6px, 4px 1" {
		t.Errorf("the keys of the legend are told by %q", got)
	}
	tb.shot("chart-forced-colors")
	// On paper a dark page is light, and so is what is drawn on it.
	tb.media("print", &emulation.MediaFeature{Name: "prefers-color-scheme", Value: "dark"})
	if paper := eval[string](tb, `(() => { const e = document.createElement("span"); e.className = "probe-surface-2"; document.body.append(e); const c = getComputedStyle(e).color; e.remove(); return c; })()`); paper != "rgb(241, 241, 237)" {
		t.Errorf("a band on paper is %s, want the light theme's", paper)
	}
	tb.wait(bare + ` === ` + whole)
	if !eval[bool](tb, `document.querySelector(".legend").checkVisibility()`) {
		t.Error("print leaves the legend out")
	}
	tb.media("", &emulation.MediaFeature{Name: "prefers-color-scheme", Value: "light"})
	tb.wait(bare + ` === ` + whole)
	// The person's own choice of a theme.
	tb.do(chromedp.Click(chromedp.CSS(".account summary")))
	tb.do(chromedp.Click(chromedp.CSS(`button[name=theme][value=dark]`)))
	tb.wait(`document.documentElement.dataset.theme === "dark" && location.search === "?range=7d" && ` + bare + ` === ` + whole)
	tb.do(chromedp.Evaluate[chromedp.Void](`document.documentElement.dataset.theme = "light"`))
	tb.wait(bare + ` === ` + whole)
	tb.shot("chart-theme-light")
	tb.clean()
}
