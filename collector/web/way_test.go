package web_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// tabTo presses Tab until something that fits has the focus.
func (tb *tab) tabTo(selector string) {
	tb.t.Helper()
	for range 300 {
		tb.key("\t")
		if eval[bool](tb, `!!document.activeElement && document.activeElement.matches(`+"`"+selector+"`"+`)`) {
			return
		}
	}
	tb.shot("failure-" + tb.t.Name())
	tb.t.Fatalf("no Tab leads to %s on %s", selector, eval[string](tb, "location.href"))
}

// downloadsTo keeps the tab's downloads in a folder.
func (tb *tab) downloadsTo(dir string) {
	tb.t.Helper()
	tb.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		info, err := cdp.Call(ctx, t, target.GetTargetInfo, target.GetTargetInfoParams{})
		if err != nil {
			return err
		}
		_, err = cdp.Call(ctx, t, cdpbrowser.SetDownloadBehavior, cdpbrowser.SetDownloadBehaviorParams{
			Behavior: "allow", DownloadPath: dir, BrowserContextID: info.TargetInfo.BrowserContextID})
		return err
	}))
}

// TestWholeWayByKeyboard: sign-in, search, device, finding, look with a reason,
// chart, CSV, sign-out, with nothing but a keyboard.
func TestWholeWayByKeyboard(t *testing.T) {
	w := newWorld(t)
	w.fill(60)
	known := w.known()
	w.user("desk", "support", nil)
	tb := w.tab(t, looks{lang: "de", theme: "light"})
	tb.open("/devices")
	tb.wait(`location.pathname === "/sign-in" && document.activeElement.id === "name"`)
	for _, keys := range []string{"desk", "\t", password, enter} {
		tb.key(keys)
	}
	tb.wait(`location.pathname === "/devices"`)

	tb.press("/")
	tb.wait(`document.activeElement.id === "q"`)
	tb.key("ah-2021-0815")
	tb.wait(`document.querySelectorAll("tbody tr").length === 1`)
	tb.key(enter) // opens the one that is called so
	tb.wait(`location.pathname === "/devices/` + known + `"`)

	// The finding is taken in hand, with a reason.
	tb.tabTo(`.finding a[href*="/findings/quiet"]`)
	tb.key(enter)
	tb.wait(`location.pathname.endsWith("/findings/quiet")`)
	tb.tabTo(`main [name=reason]`)
	tb.key("Größere SSD ist bestellt")
	tb.tabTo(`main form button`)
	tb.key(enter)
	tb.wait(`location.pathname === "/devices/` + known + `" && document.querySelector(".finding.quiet q")?.textContent.includes("Größere SSD")`)

	// Finer than a day: after a reason.
	tb.tabTo(`#reason`)
	tb.key("Anruf: seit Montag langsam" + enter)
	tb.wait(`document.querySelector(".looks")?.textContent.includes("seit Montag langsam")`)
	tb.tabTo(`.history nav.views a[href*="24h"]`)
	tb.key(enter)
	tb.wait(`location.search.includes("24h") && !!document.querySelector(".plot canvas")`)
	tb.tabTo(`.plot`)
	tb.key(kb.ArrowLeft)
	tb.wait(`/\d/.test(document.activeElement.closest("figure").querySelector("output.at").textContent)`)

	// What the chart shows, as a file.
	dir := t.TempDir()
	tb.downloadsTo(dir)
	tb.tabTo(`.history figure summary`)
	tb.key(enter)
	tb.tabTo(`.history figure a[download]`)
	tb.key(enter)
	csv := func() string {
		files, _ := filepath.Glob(filepath.Join(dir, "*.csv"))
		if len(files) == 0 {
			return ""
		}
		b, _ := os.ReadFile(files[0])
		return string(b)
	}
	for deadline := time.Now().Add(patience); strings.Count(csv(), "\n") < 3; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no file with values came: %q", csv())
		}
	}

	tb.tabTo(`details.menu > summary`)
	tb.key(enter)
	tb.tabTo(`form[action="/sign-out"] button`)
	tb.key(enter)
	tb.wait(`location.pathname === "/sign-in"`)
	tb.clean()
}
