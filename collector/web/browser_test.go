package web_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"hausmeister/testenv/child"
	"hausmeister/testenv/need"
)

// chromium is one browser for all tests of the program; each tab has a context
// of its own with its own cookies.
var chromium struct {
	once sync.Once
	ctx  context.Context
	stop context.CancelFunc
	err  error
}

// Bounds of what is waited for, not of what it may take: a machine that runs many
// tests at once may give a page a second of each minute.
const (
	patience = time.Minute
	tabLives = 10 * time.Minute
)

// TestMain runs the tests in a network of their own: Chromium cancels what it loads
// when any network of the machine comes or goes.
func TestMain(m *testing.M) {
	code, ran, err := child.InOwnNetwork()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if ran {
		os.Exit(code)
	}
	code = m.Run()
	if chromium.stop != nil {
		chromedp.Cancel(chromium.ctx)
		chromium.stop()
	}
	os.Exit(code)
}

// axe is the checker of accessibility, from the locked npm install.
var axe = sync.OnceValues(func() (string, error) {
	b, err := os.ReadFile("node_modules/axe-core/axe.min.js")
	return string(b), err
})

// needBrowser fails a machine without Chromium or npm's output, and says what
// to do; only HAUSMEISTER_NO_BROWSER=1 leaves these tests out, loudly.
func needBrowser(t *testing.T) {
	t.Helper()
	if os.Getenv("HAUSMEISTER_NO_BROWSER") == "1" {
		need.Skip(t, "a browser (HAUSMEISTER_NO_BROWSER=1 leaves the pages untested)")
	}
	if _, err := os.Stat("static/app.js"); err != nil {
		t.Fatal("the pages' script, icons and font are not built: run `make build` (npm ci && npm run build in collector/web)")
	}
	if _, err := axe(); err != nil {
		t.Fatalf("axe-core is not installed: run `make build` (npm ci in collector/web): %v", err)
	}
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("no chromium: run `make build` as root, or apt-get install chromium; HAUSMEISTER_NO_BROWSER=1 leaves these tests out")
	}
	chromium.once.Do(func() {
		opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
			chromedp.WSURLReadTimeout(2*patience), chromedp.IgnoreCertErrors, chromedp.Flag("disable-quic", true), chromedp.Flag("hide-scrollbars", false))
		alloc, stop := chromedp.NewExecAllocator(context.Background(), opts...)
		chromium.ctx, _ = chromedp.NewContext(alloc)
		chromium.stop = stop
		chromium.err = chromedp.Do(chromium.ctx, chromedp.Navigate("about:blank"))
	})
	if chromium.err != nil {
		t.Fatalf("starting chromium: %v", chromium.err)
	}
}

// watch runs in every document before its own scripts: it notes what the
// policy refused and what moved.
const watch = `
window.__csp = []; window.__shift = []; window.__errors = [];
addEventListener("securitypolicyviolation", e => __csp.push(e.violatedDirective + " " + e.blockedURI));
addEventListener("error", e => __errors.push(String(e.message || e.target.src || e.target.href)), true);
new PerformanceObserver(list => { for (const e of list.getEntries()) if (!e.hadRecentInput) for (const s of e.sources) __shift.push(
	e.value.toFixed(5) + " " + (s.node?.outerHTML || s.node?.textContent || s.node).slice(0, 90) + " " + JSON.stringify(s.previousRect) + JSON.stringify(s.currentRect)); }).observe({type: "layout-shift", buffered: true});`

// tab is a page that somebody looks at.
type tab struct {
	t     *testing.T
	w     *world
	ctx   context.Context
	close func()

	mu      sync.Mutex
	foreign []string // requests to other hosts
	logs    []string // what the browser complained about
	weight  float64  // bytes received
	failed  []string // why loads failed
	// The network changed under a page that was loading.
	unsteady bool
}

type looks struct {
	lang, theme   string
	width, height int64
	as            string   // login; empty = not signed in
	person        *browser // signed in as that already
	lasting       bool     // until close, beyond the test that opens it
	noScript      bool
	media         []*emulation.MediaFeature
	print         bool
}

func (w *world) tab(t *testing.T, l looks) *tab {
	t.Helper()
	needBrowser(t)
	ctx, cancel := context.WithTimeout(chromium.ctx, tabLives)
	tb := &tab{t: t, w: w}
	var stop context.CancelFunc
	tb.ctx, stop = chromedp.NewContext(ctx, chromedp.WithNewBrowserContext(), chromedp.WithListener(tb.listen))
	tb.close = func() { stop(); cancel() }
	if !l.lasting {
		t.Cleanup(tb.close)
	}
	if l.width == 0 {
		l.width, l.height = 1366, 768
	}
	cookies := []*network.CookieParam{}
	set := func(name, value string) {
		if value != "" {
			cookies = append(cookies, &network.CookieParam{Name: name, Value: value, URL: w.url, Secure: true, HTTPOnly: true, Path: "/"})
		}
	}
	set("__Host-lang", l.lang)
	set("__Host-theme", l.theme)
	if l.as != "" {
		if l.person == nil {
			l.person = w.signedIn(l.as)
		}
		u, _ := url.Parse(w.url)
		for _, c := range l.person.c.Jar.Cookies(u) {
			set(c.Name, c.Value)
		}
	}
	tb.do(
		call(network.Enable, network.EnableParams{}),
		call(log.Enable, cdp.Empty{}),
		call(network.SetCookies, network.SetCookiesParams{Cookies: cookies}),
		call(page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: watch}),
		call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: l.noScript}),
		chromedp.EmulateViewport(l.width, l.height),
	)
	if l.media != nil || l.print {
		params := emulation.SetEmulatedMediaParams{Features: l.media}
		if l.print {
			params.Media = "print"
		}
		tb.do(call(emulation.SetEmulatedMedia, params))
	}
	return tb
}

func (tb *tab) listen(ev any) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	switch ev := ev.(type) {
	case *network.EventRequestWillBeSent:
		if u := ev.Request.URL; !strings.HasPrefix(u, tb.w.url+"/") && !strings.HasPrefix(u, "data:") && u != "about:blank" {
			tb.foreign = append(tb.foreign, u)
		}
	case *network.EventLoadingFinished:
		tb.weight += ev.EncodedDataLength
	case *network.EventLoadingFailed:
		if strings.Contains(ev.ErrorText, "NETWORK_CHANGED") {
			tb.unsteady = true
		}
		tb.failed = append(tb.failed, ev.ErrorText)
	case *log.EventEntryAdded:
		tb.logs = append(tb.logs, string(ev.Entry.Level)+": "+ev.Entry.Text+" "+ev.Entry.URL)
	}
}

func (tb *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	tb.t.Helper()
	if err := chromedp.Do(tb.ctx, steps...); err != nil {
		tb.fail(err)
	}
}

// fail keeps what the page looked like, and says what the browser has to say of it.
func (tb *tab) fail(err error) {
	tb.t.Helper()
	tb.shot("failure-" + strings.ReplaceAll(tb.t.Name(), "/", "-"))
	const state = `(f => [location.href, document.activeElement?.outerHTML.slice(0, 120), document.getElementById("q")?.value,
		f && !f.hidden ? f.textContent.trim() : "", document.getElementById("list")?.className].join(" | "))(document.getElementById("failed"))`
	ctx, cancel := context.WithTimeout(tb.ctx, patience/20)
	defer cancel()
	now, _ := chromedp.Run(ctx, chromedp.Evaluate[string](state))
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.t.Fatalf("%v; the page: %s; its log: %q; not loaded: %q; the network changed: %v", err, now, tb.logs, tb.failed, tb.unsteady)
}

// open goes to a page. Chromium cancels what it loads when a network of the
// machine comes or goes, which tests of other packages let happen; then again.
func (tb *tab) open(path string) {
	tb.t.Helper()
	for range 5 {
		tb.mu.Lock()
		tb.unsteady, tb.weight = false, 0
		tb.mu.Unlock()
		err := chromedp.Do(tb.ctx, chromedp.Navigate(tb.w.url+path))
		tb.mu.Lock()
		unsteady := tb.unsteady
		tb.mu.Unlock()
		if err == nil && !unsteady {
			tb.complete() // what comes before the page's scripts is nobody's
			return
		}
		if err != nil && !unsteady && !strings.Contains(err.Error(), "NETWORK_CHANGED") {
			tb.fail(err)
		}
	}
	tb.t.Fatalf("opening %s: the network of this machine changed five times meanwhile", path)
}

func (tb *tab) key(keys string) { tb.t.Helper(); tb.complete(); tb.do(chromedp.KeyEvent(keys)) }

// complete waits for the page's scripts, and for all that Tab may lead to: a key that
// comes before them is nobody's.
func (tb *tab) complete() { tb.t.Helper(); tb.wait(`document.readyState === "complete"`) }

// press presses one printable key as a keyboard does: a page that takes the
// key for itself keeps its letter out of the field that gets the focus by it.
func (tb *tab) press(key string) {
	tb.t.Helper()
	tb.complete()
	tb.do(call(input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: key, Text: key}),
		call(input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyUp, Key: key}))
}

// goes presses g and the key of a page, and waits for that. The page's clock stands still
// for it: the second key has a second and a half, in which a machine that runs many tests
// at once may not come to press it.
func (tb *tab) goes(key, path string) {
	tb.t.Helper()
	tb.complete()
	tb.do(chromedp.Evaluate[chromedp.Void](`{ const now = Date.now(); Date.now = () => now; }`))
	tb.press("g")
	tb.press(key)
	tb.wait(`location.pathname === "` + path + `"`)
}

// notesStay keeps notes that leave by themselves after ten seconds, in which a machine
// that runs many tests at once may not come to look at them.
func (tb *tab) notesStay() {
	tb.t.Helper()
	tb.do(call(page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `{
		const later = setTimeout;
		window.setTimeout = (f, ms, ...args) => ms >= 10_000 ? 0 : later(f, ms, ...args);
	}`}))
}

// eval gives the value of an expression.
func eval[T any](tb *tab, expression string) T {
	tb.t.Helper()
	v, err := chromedp.Run(tb.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		tb.fail(fmt.Errorf("%s: %w", expression, err))
	}
	return v
}

// prefers is what the system says of light and dark; pictures redraw by it.
func (tb *tab) prefers(theme string) {
	tb.t.Helper()
	tb.media("", &emulation.MediaFeature{Name: "prefers-color-scheme", Value: theme})
}

// turn gives the open page the other theme. What the page moved before is known.
func (tb *tab) turn(theme string) {
	tb.t.Helper()
	tb.do(chromedp.Evaluate[chromedp.Void](`__shift.length = 0; document.documentElement.dataset.theme = "` + theme + `"`))
	tb.prefers(theme)
	// Colours that are still on their way have no contrast of their own.
	evalAwait[bool](tb, `new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() =>
		Promise.allSettled(document.getAnimations().map(a => a.finished)).then(() => done(true)))))`)
}

// wait waits until an expression is true. It asks anew each time: the document that was
// asked may give way to the next one, which has nothing in it yet, or be kept by the
// browser for the way back, and then answers nothing any more.
func (tb *tab) wait(expression string) {
	tb.t.Helper()
	ticks := time.NewTicker(20 * time.Millisecond)
	defer ticks.Stop()
	var last error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline) && tb.ctx.Err() == nil; <-ticks.C {
		ctx, cancel := context.WithTimeout(tb.ctx, patience/20)
		holds, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		cancel()
		if err == nil && holds {
			return
		}
		last = err
	}
	tb.fail(fmt.Errorf("waiting for %s: %w", expression, cmp.Or(last, errNotTrue)))
}

var errNotTrue = errors.New("it is false")

// settled waits until htmx has put everything in its place.
func (tb *tab) settled() {
	tb.t.Helper()
	tb.wait(`!document.querySelector(".htmx-request, .htmx-swapping, .htmx-settling, .htmx-added")`)
}

// shots is where pictures of the pages go, to be looked at by people.
var shots = sync.OnceValue(func() string {
	dir := os.Getenv("HAUSMEISTER_SCREENSHOTS")
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "hausmeister-screenshots")
	}
	os.MkdirAll(dir, 0o755)
	return dir
})

func (tb *tab) shot(name string) {
	tb.t.Helper()
	png, err := chromedp.Run(tb.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		tb.t.Logf("taking a picture: %v", err)
		return
	}
	path := filepath.Join(shots(), name+".png")
	if err := os.WriteFile(path, png, 0o644); err != nil {
		tb.t.Logf("keeping a picture: %v", err)
	}
}

// call makes a step of a command of the browser's protocol.
func call[P, R any](cmd cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, cmd, params)
		return err
	})
}

// clean fails on anything the page did that it must not do.
func (tb *tab) clean() {
	tb.t.Helper()
	if csp := eval[[]string](tb, "__csp"); len(csp) > 0 {
		tb.t.Errorf("the policy refused %v", csp)
	}
	if errs := eval[[]string](tb, "__errors"); len(errs) > 0 {
		tb.mu.Lock()
		tb.t.Errorf("errors in the page: %v %v", errs, tb.failed)
		tb.mu.Unlock()
	}
	if missing := eval[bool](tb, `document.documentElement.outerHTML.includes("⟨")`); missing {
		tb.t.Error("a text is missing on the page")
	}
	tb.mu.Lock()
	defer tb.mu.Unlock()
	if len(tb.foreign) > 0 {
		tb.t.Errorf("requests to other hosts: %v", tb.foreign)
	}
	for _, l := range tb.logs {
		// Answers that are meant to be errors are told in the log, too.
		if !strings.Contains(l, "Failed to load resource") {
			tb.t.Errorf("the browser complained: %s", l)
		}
	}
}

// still fails if anything moved by itself since the page began.
func (tb *tab) still() {
	tb.t.Helper()
	for _, shift := range eval[[]string](tb, "__shift") {
		tb.t.Errorf("layout shift, want none: %s", shift)
	}
}

func (tb *tab) noSideways() {
	tb.t.Helper()
	tb.complete() // without its styles each page does
	wide := eval[[]string](tb, `(() => { const w = document.documentElement.clientWidth; if (document.documentElement.scrollWidth <= w) return [];
		return [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > w + 1).slice(0, 5).map(e => e.outerHTML.slice(0, 120)); })()`)
	if len(wide) > 0 || eval[bool](tb, `document.documentElement.scrollWidth > document.documentElement.clientWidth`) {
		tb.t.Errorf("the page scrolls sideways at %d px: %q", eval[int](tb, "innerWidth"), wide)
	}
}

// narrow looks at the page as on a phone, or at 400 % zoom (WCAG 1.4.10).
func (tb *tab) narrow(name string) {
	tb.t.Helper()
	tb.do(chromedp.EmulateViewport(320, 640))
	tb.noSideways()
	tb.accessible()
	tb.shot(name)
	if !eval[bool](tb, `!!document.querySelector(".nav-menu")`) {
		return // a page without the frame
	}
	shown := `document.querySelector(".nav").checkVisibility()`
	if eval[bool](tb, shown) {
		tb.t.Error("at 320 px the page begins with the whole navigation")
	}
	tb.do(chromedp.Click(chromedp.CSS(".nav-menu summary")))
	if !eval[bool](tb, shown) {
		tb.t.Error("at 320 px the menu does not open")
	}
	tb.noSideways()
	tb.accessible()
	tb.shot(name + "-menu")
}

// accessible runs axe with the rules of WCAG 2.2 AA and best practice.
func (tb *tab) accessible() {
	tb.t.Helper()
	tb.axe(`["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]`)
}

// contrasts runs those rules of axe that look at colours: all others hold for a
// document whatever its theme.
func (tb *tab) contrasts() {
	tb.t.Helper()
	tb.axe(`{type: "rule", values: ["color-contrast", "link-in-text-block"]}`)
}

func (tb *tab) axe(rules string) {
	tb.t.Helper()
	tb.complete()
	if !eval[bool](tb, `"axe" in window`) {
		code, _ := axe()
		if err := chromedp.Do(tb.ctx, chromedp.Evaluate[chromedp.Void](code)); err != nil {
			tb.fail(err)
		}
	}
	found := evalAwait[[]string](tb, `axe.run(document, {runOnly: `+rules+`, resultTypes: ["violations"]})
		.then(r => r.violations.flatMap(v => v.nodes.map(n => v.id + ": " + n.target.join(" ") + " " + n.failureSummary)))`)
	for _, f := range found {
		tb.t.Errorf("axe: %s", f)
	}
}

func evalAwait[T any](tb *tab, expression string) T {
	tb.t.Helper()
	v, err := chromedp.Run(tb.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		tb.fail(fmt.Errorf("%.80s: %w", expression, err))
	}
	return v
}

const (
	enter  = kb.Enter
	escape = kb.Escape

	arrowRight = kb.ArrowRight
)
