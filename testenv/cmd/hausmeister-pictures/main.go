// Command hausmeister-pictures takes the README's pictures: it runs the demo,
// signs in and keeps what Chromium shows, light and dark. make pictures calls it.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"hausmeister/testenv/child"
	"hausmeister/testenv/demo"
	"hausmeister/testenv/site"
)

// The size of the notebooks that the desk works at.
const width, height = 1366, 768

// historyWithin is how long the simulated devices may take to bring 30 days.
const historyWithin = 6 * time.Minute

// asked is the question of a picture.
const asked = "if=battery_health.lt.850"

// shots are the pages of the pictures. DEVICE is the one whose findings are worst.
var shots = []struct{ name, page string }{
	{"devices", "/devices"},
	{"device", "/devices/DEVICE?range=30d"},
	{"findings", "/findings"},
	{"question", "/questions?" + asked},
}

func main() {
	bin := flag.String("bin", "bin", "`folder` with the programs")
	out := flag.String("out", "testenv/demo/pictures", "`folder` for the pictures")
	port := flag.Int("port", 8453, "`port` of the demo")
	devices := flag.Int("devices", 50, "`number` of simulated devices")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *bin, *out, *port, *devices); err != nil {
		fmt.Fprintln(os.Stderr, "pictures:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin, out string, port, devices int) (err error) {
	dir, err := os.MkdirTemp("", "hausmeister-pictures")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d, err := child.Start(child.Config{Program: filepath.Join(bin, "hausmeister-demo"), Log: filepath.Join(dir, "demo.log"),
		Args: []string{"-port", strconv.Itoa(port), "-devices", strconv.Itoa(devices), "-dir", filepath.Join(dir, "demo")}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Stop(10*time.Second)) }()
	facts, err := ready(ctx, d, filepath.Join(dir, "demo"))
	if err != nil {
		return err
	}
	if err := answered(ctx, facts); err != nil {
		return err
	}
	worst, err := worstDevice(ctx, facts)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, theme := range []string{"light", "dark"} {
		if err := take(ctx, facts, theme, worst, out); err != nil {
			return fmt.Errorf("in %s: %w", theme, err)
		}
	}
	return nil
}

// ready waits until the demo is there with its history.
func ready(ctx context.Context, d *child.Child, dir string) (facts demo.Facts, err error) {
	until := time.Now().Add(historyWithin)
	for {
		log := d.LogTail()
		if data, readErr := os.ReadFile(filepath.Join(dir, "demo.json")); readErr == nil && strings.Contains(log, demo.HistoryMerged) {
			return facts, json.Unmarshal(data, &facts)
		}
		select {
		case <-ctx.Done():
			return facts, ctx.Err()
		case <-d.Done():
			return facts, fmt.Errorf("the demo ended:\n%s", log)
		case <-time.After(time.Second):
		}
		if time.Now().After(until) {
			return facts, fmt.Errorf("the demo has no history after %v:\n%s", historyWithin, log)
		}
	}
}

// answered waits until the question of the picture has devices: the collector makes
// its columns within minutes of the daily rows.
func answered(ctx context.Context, f demo.Facts) error {
	client := site.Client{URL: f.URL, CAFile: f.CAFile}
	for until := time.Now().Add(historyWithin); time.Now().Before(until); {
		var answer struct {
			Total int64 `json:"total"`
		}
		if err := client.Get(ctx, f.Tokens["read"], "/api/v1/answer?"+asked, &answer); err != nil {
			return err
		}
		if answer.Total > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	return fmt.Errorf("no device of the demo answers the question after %v", historyWithin)
}

// worstDevice is one with something critical to show.
func worstDevice(ctx context.Context, f demo.Facts) (id string, err error) {
	var page struct {
		Items []struct {
			ID string `json:"id"`
		} `json:"items"`
	}
	client := site.Client{URL: f.URL, CAFile: f.CAFile}
	if err := client.Get(ctx, f.Tokens["read"], "/api/v1/devices?finding=disk_low&limit=1", &page); err != nil {
		return "", err
	}
	if len(page.Items) == 0 {
		return "", errors.New("no device of the demo has a full disk")
	}
	return page.Items[0].ID, nil
}

// in waits until the sign-in has led to a page. The document that is asked may
// give way to the next one meanwhile, which is an error that passes.
func in(ctx context.Context) (err error) {
	for range 40 {
		var there bool
		there, err = chromedp.Run(ctx, chromedp.Evaluate[bool](`location.pathname !== "/sign-in" && document.readyState === "complete"`))
		if err == nil && there {
			return nil
		}
		time.Sleep(500 * time.Millisecond)
	}
	return cmp.Or(err, errors.New("no page came in 20 s"))
}

// take signs in and keeps the pages.
func take(ctx context.Context, f demo.Facts, theme, device, out string) error {
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU, chromedp.IgnoreCertErrors, chromedp.Flag("disable-quic", true))
	ctx, stop := chromedp.NewExecAllocator(ctx, opts...)
	defer stop()
	ctx, cancel := chromedp.NewContext(ctx)
	defer cancel()
	u, err := url.Parse(f.URL)
	if err != nil {
		return err
	}
	var cookies []*network.CookieParam
	for name, value := range map[string]string{"__Host-lang": "en", "__Host-theme": theme} {
		cookies = append(cookies, &network.CookieParam{Name: name, Value: value, URL: u.String(), Secure: true, HTTPOnly: true, Path: "/"})
	}
	set := chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, network.SetCookies, network.SetCookiesParams{Cookies: cookies})
		return err
	})
	signIn := fmt.Sprintf(`document.querySelector("#name").value = %q; document.querySelector("#password").value = %q; document.querySelector("form button.main").click()`, f.User, f.Password)
	err = chromedp.Do(ctx, chromedp.EmulateViewport(width, height), set, chromedp.Navigate(f.URL+"/sign-in"),
		chromedp.Evaluate[chromedp.Void](signIn))
	if err != nil {
		return fmt.Errorf("signing in: %w", err)
	}
	if err := in(ctx); err != nil {
		return fmt.Errorf("signing in: %w", err)
	}
	for _, s := range shots {
		page := strings.ReplaceAll(s.page, "DEVICE", device)
		if err := chromedp.Do(ctx, chromedp.Navigate(f.URL+page)); err != nil {
			return fmt.Errorf("opening %s: %w", page, err)
		}
		time.Sleep(time.Second) // charts and the live mark come after the page
		png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
		if err != nil {
			return fmt.Errorf("picture of %s: %w", page, err)
		}
		name := filepath.Join(out, s.name+"-"+theme+".png")
		if err := os.WriteFile(name, png, 0o644); err != nil {
			return err
		}
		fmt.Println(name)
	}
	return nil
}
