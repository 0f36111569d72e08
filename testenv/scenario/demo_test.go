package scenario

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hausmeister/platform/layout"
	"hausmeister/testenv/child"
	"hausmeister/testenv/demo"
	"hausmeister/testenv/fakes"
	"hausmeister/testenv/need"
	"hausmeister/testenv/programs"
	"hausmeister/testenv/site"
)

// demoDevices are enough for three stories: a disk that fills, a battery that
// wears, a system that is given up.
const demoDevices = 8

// demoBudget is for make demo, from the call until demo.json is there.
const demoBudget = time.Minute

// startDemo starts the program as make demo does and waits for demo.json.
func startDemo(t *testing.T, port int, dir string, args ...string) (*child.Child, demo.Facts) {
	t.Helper()
	bin := programs.Build(t)
	c, err := child.Start(child.Config{
		Program: filepath.Join(bin, "hausmeister-demo"),
		Args:    append([]string{"-port", strconv.Itoa(port), "-devices", strconv.Itoa(demoDevices), "-dir", dir}, args...),
		Log:     filepath.Join(t.TempDir(), "demo.log"),
	})
	must(t, err)
	t.Cleanup(c.Kill)
	begin := time.Now()
	var facts demo.Facts
	within := 2 * time.Minute
	if len(args) > 0 {
		within *= 3 // a tour builds two agents before
	}
	eventually(t, within, "demo.json", func() (bool, error) {
		select {
		case <-c.Done():
			t.Fatalf("the demo ended: %v\n%s", c.Err(), c.LogTail())
		default:
		}
		text, err := os.ReadFile(filepath.Join(dir, "demo.json"))
		if errors.Is(err, os.ErrNotExist) {
			return false, nil
		}
		must(t, err)
		must(t, json.Unmarshal(text, &facts)) // whole from the first moment: it came by rename
		return facts.DemoPID == c.PID(), nil  // else it is that of a demo that was killed
	})
	if took := time.Since(begin); took > demoWithin && len(args) == 0 {
		t.Errorf("demo.json came after %v, want %v at most", took, demoWithin)
	} else {
		t.Logf("demo.json came after %v", took.Round(100*time.Millisecond))
	}
	return c, facts
}

// TestDemoWithoutAgent: an agent that cannot run ends the demo with the reason.
func TestDemoWithoutAgent(t *testing.T) {
	t.Parallel()
	real, bin := programs.Build(t), t.TempDir()
	must(t, os.Symlink(filepath.Join(real, "hausmeister-collector"), filepath.Join(bin, "hausmeister-collector")))
	script := "#!/bin/sh\n[ $1 = run ] || exec " + filepath.Join(real, "hausmeister-agent") + " \"$@\"\necho 'the moon is in the way' >&2\nexit 7\n"
	must(t, os.WriteFile(filepath.Join(bin, "hausmeister-agent"), []byte(script), 0o755))
	dir := filepath.Join(t.TempDir(), "demo")
	port := freePort(t)
	c, err := child.Start(child.Config{
		Program: filepath.Join(real, "hausmeister-demo"),
		Args:    []string{"-port", strconv.Itoa(port), "-devices", "1", "-dir", dir, "-bin", bin},
		Log:     filepath.Join(t.TempDir(), "demo.log"),
	})
	must(t, err)
	t.Cleanup(c.Kill)
	select {
	case <-c.Done():
	case <-time.After(2 * time.Minute):
		t.Fatalf("the demo goes on without an agent:\n%s", c.LogTail())
	}
	var exit *exec.ExitError
	if !errors.As(c.Err(), &exit) || exit.ExitCode() != 1 {
		t.Errorf("the demo ended with %v, want exit code 1", c.Err())
	}
	if log := c.LogTail(); strings.Count(log, "the moon is in the way") != 1 || !strings.Contains(log, "exit status 7") {
		t.Errorf("the demo says, want the agent's reason once:\n%s", log)
	}
	nothingLeft(t, dir, port)
}

// TestDemo looks at the demo as the programs do that read its demo.json.
func TestDemo(t *testing.T) {
	t.Parallel()
	port, dir := freePort(t), filepath.Join(t.TempDir(), "demo")
	c, facts := startDemo(t, port, dir)
	if facts.URL != fmt.Sprintf("https://localhost:%d", port) {
		t.Errorf("url is %s", facts.URL)
	}
	if facts.DemoPID != c.PID() {
		t.Errorf("demo_pid is %d, want %d", facts.DemoPID, c.PID())
	}
	if facts.Password == "" || facts.User == "" || !strings.HasPrefix(facts.Claim, "hausmeister://localhost:") {
		t.Errorf("user %q, password of %d characters, claim %.30q...", facts.User, len(facts.Password), facts.Claim)
	}
	eventually(t, time.Minute, "address and password, which the demo tells once demo.json is there", func() (bool, error) {
		log := c.LogTail()
		return strings.Contains(log, facts.URL) && strings.Contains(log, facts.Password), nil
	})
	api := site.Client{URL: facts.URL, CAFile: facts.CAFile}
	for _, role := range demo.Roles {
		var list struct {
			Items []struct {
				ID        string `json:"id"`
				Inventory string `json:"inventory_number"`
			} `json:"items"`
			Total int `json:"total"`
		}
		must(t, api.Get(t.Context(), facts.Tokens[role], "/api/v1/devices", &list))
		if list.Total != demoDevices+1 {
			t.Errorf("as %s, total = %d, want %d", role, list.Total, demoDevices+1)
		}
		own := false
		for _, d := range list.Items {
			own = own || d.ID == facts.Device
			if d.Inventory == "" {
				t.Errorf("device %s has no inventory number", d.ID)
			}
		}
		if !own {
			t.Errorf("as %s, this machine (%s) is not in the list", role, facts.Device)
		}
	}
	if err := api.Get(t.Context(), "", "/api/v1/devices", nil); err == nil {
		t.Error("the API answers without a token")
	}
	// The real agent has read this very machine by then.
	var device struct {
		Readings map[string]struct{ Value any } `json:"readings"`
	}
	must(t, api.Get(t.Context(), facts.Tokens["support"], "/api/v1/devices/"+facts.Device, &device))
	if total, ok := device.Readings["memory_total"].Value.(float64); !ok || total < 64<<20 {
		t.Errorf("memory_total of this machine is %v", device.Readings["memory_total"].Value)
	}

	t.Run("history", func(t *testing.T) { demoHistory(t, c, api, facts.Tokens["read"]) })
	t.Run("port taken", func(t *testing.T) {
		out, err := child.Output(t.Context(), "", filepath.Join(programs.Build(t), "hausmeister-demo"), "-port", strconv.Itoa(port), "-dir", t.TempDir())
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("port %d cannot be used", port)) {
			t.Errorf("a second demo on the port: %s, %v", out, err)
		}
	})
	t.Run("folder in use", func(t *testing.T) {
		_, err := child.Output(t.Context(), "", filepath.Join(programs.Build(t), "hausmeister-demo"), "-port", strconv.Itoa(freePort(t)), "-dir", dir)
		if err == nil || !strings.Contains(err.Error(), "another demo runs") {
			t.Errorf("a second demo in the folder: %v", err)
		}
	})
	t.Run("folder of somebody else", func(t *testing.T) {
		theirs := t.TempDir()
		must(t, os.WriteFile(filepath.Join(theirs, "diary"), nil, 0o600))
		_, err := child.Output(t.Context(), "", filepath.Join(programs.Build(t), "hausmeister-demo"), "-port", strconv.Itoa(freePort(t)), "-dir", theirs)
		if err == nil || !strings.Contains(err.Error(), "not empty") {
			t.Errorf("a demo in a folder that is not its own: %v", err)
		}
		if _, err := os.Stat(filepath.Join(theirs, "diary")); err != nil {
			t.Error(err)
		}
	})

	begin := time.Now()
	must(t, c.Signal(syscall.SIGTERM))
	select {
	case <-c.Done():
		if c.Err() != nil {
			t.Errorf("the demo ended with %v\n%s", c.Err(), c.LogTail())
		}
	case <-time.After(time.Minute):
		t.Fatal("the demo did not end within a minute")
	}
	if took := time.Since(begin); took > 9*time.Second { // 3 s on a machine that does nothing else; after ten a part that hangs is given up
		t.Errorf("the demo took %v to end", took)
	}
	nothingLeft(t, dir, port)
	if _, err := os.Stat(filepath.Join(dir, "demo.json")); err == nil {
		t.Error("demo.json is still there")
	}
}

// TestDemoTour ends with a signed update over all devices: the simulated ones with
// update machines and launchers of their own, and this machine's agent, which is
// below the real launcher and takes the patch. make test-long has as many devices as
// make demo.
func TestDemoTour(t *testing.T) {
	t.Parallel()
	need.Programs(t, "zstd")
	devices := demoDevices
	if os.Getenv("HAUSMEISTER_LONG") == "1" {
		devices = 50
	}
	port, dir := freePort(t), filepath.Join(t.TempDir(), "demo")
	c, facts := startDemo(t, port, dir, "-devices", strconv.Itoa(devices), "-tour")
	own, fetched := layout.Layout{Root: filepath.Join(dir, "agent")}, map[string]int64{}
	eventually(t, 12*time.Minute, "the end of the tour", func() (bool, error) {
		fetchedBy(own, fetched)
		text, err := os.ReadFile(filepath.Join(dir, "demo.json"))
		if err != nil {
			return false, err
		}
		return json.Unmarshal(text, &facts) == nil && facts.Tour != nil, nil
	})
	tour := facts.Tour
	if tour.Version != "1.1.0" || tour.Devices != devices+1 || tour.Current+tour.Waits != tour.Devices || tour.Current < devices/2 || tour.Here == 0 {
		t.Errorf("the tour: %+v\n%s", *tour, c.LogTail())
	}
	// Whose lease ended while it waited the rollout does not wait for.
	if tour.State != "done" && (tour.Waits == 0 || tour.State != "running") {
		t.Errorf("the rollout is %s with %d devices that wait", tour.State, tour.Waits)
	}
	if got := fetched["1.1.0"]; got != tour.Patch || got == 0 || got >= tour.Packed/10 {
		t.Errorf("this machine fetched %d bytes, want the patch's %d (packed: %d)", got, tour.Patch, tour.Packed)
	}
	api := site.Client{URL: facts.URL, CAFile: facts.CAFile}
	var list struct {
		Items []struct{ ID, Version string }
	}
	must(t, api.Get(t.Context(), facts.Tokens["read"], "/api/v1/rollouts/"+tour.Rollout+"/devices?limit=500", &list))
	versions := map[string]int{}
	for _, x := range list.Items {
		versions[x.Version]++
	}
	if versions["1.1.0"] != tour.Current || versions["1.0.0"] != tour.Waits {
		t.Errorf("versions %v; the tour says %+v", versions, *tour)
	}
	toldPages(t, facts, c.LogTail())
	t.Logf("%d of %d devices on 1.1.0 after %.1f s, this machine after %.1f s", tour.Current, tour.Devices, tour.Seconds, tour.Here)
	must(t, c.Stop(time.Minute))
	nothingLeft(t, dir, port)
}

// toldPages opens each page to which the demo points, as whoever signs in there.
func toldPages(t *testing.T, facts demo.Facts, log string) {
	t.Helper()
	ca, err := os.ReadFile(facts.CAFile)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	jar, err := cookiejar.New(nil)
	must(t, err)
	browser := http.Client{Jar: jar, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
	pages := regexp.MustCompile(regexp.QuoteMeta(facts.URL)+`/[^\s)]+`).FindAllString(log, -1)
	if len(pages) == 0 {
		t.Errorf("the demo points to no page:\n%s", log)
	}
	for _, page := range pages {
		path := strings.TrimPrefix(page, facts.URL)
		answer, err := browser.PostForm(facts.URL+"/sign-in", url.Values{"name": {facts.User}, "password": {facts.Password}, "next": {path}})
		must(t, err)
		must(t, answer.Body.Close())
		if answer.StatusCode != http.StatusOK || answer.Request.URL.Path != path {
			t.Errorf("%s, to which the demo points, answers %s at %s", page, answer.Status, answer.Request.URL.Path)
		}
	}
}

// demoHistory looks at what the simulated devices brought: on their school days
// charts have points of the right shape, daily rows are there, findings of
// several codes, and programs that changed on more days than today.
func demoHistory(t *testing.T, c *child.Child, api site.Client, token string) {
	if log := c.LogTail(); !strings.Contains(log, "in the collector and merged by the day") {
		t.Errorf("the demo does not say that the history came:\n%s", log)
	}
	var list struct {
		Items []struct {
			ID     string `json:"id"`
			Serial string `json:"serial_number"`
		} `json:"items"`
	}
	must(t, api.Get(t.Context(), token, "/api/v1/devices", &list))
	codes := map[string]bool{}
	for _, d := range list.Items {
		if !strings.HasPrefix(d.Serial, "DEMO") {
			continue // this machine has none
		}
		path := "/api/v1/devices/" + d.ID
		demoDays(t, api, token, path)
		var findings struct {
			Items []struct {
				Code   string `json:"code"`
				Raised string `json:"raised"`
			} `json:"items"`
		}
		must(t, api.Get(t.Context(), token, path+"/findings", &findings))
		for _, f := range findings.Items {
			codes[f.Code] = true
		}
		var programs struct {
			Changes []struct{ Day, Name string } `json:"changes"`
		}
		must(t, api.Get(t.Context(), token, path+"/inventory", &programs))
		days := map[string]bool{}
		for _, change := range programs.Changes {
			days[change.Day] = true
		}
		if len(days) < 2 && schoolDays() >= fewSchoolDays {
			t.Errorf("the programs of %s changed on the days %v: %v", d.Serial, days, programs.Changes)
		}
	}
	if schoolDays() < fewSchoolDays {
		t.Log("school holidays: too few days of use for stories to show")
		return
	}
	if !codes["disk_full_soon"] || !codes["battery_worn"] || !codes["os_unsupported"] {
		t.Errorf("codes of findings: %v", codes)
	}
}

// fewSchoolDays are those of summer holidays, in which devices rest.
const fewSchoolDays = 10

// schoolDays counts those that are over and lie whole in the 30 days.
func schoolDays() (n int) {
	for ago := 2; ago < 30; ago++ {
		if fakes.KindOf(time.Now().AddDate(0, 0, -ago)) == fakes.SchoolDay {
			n++
		}
	}
	return n
}

// demoDays holds a device's daily values against the days on which teachers work.
func demoDays(t *testing.T, api site.Client, token, path string) {
	t.Helper()
	type history struct {
		Unit   string
		Points []struct {
			T              time.Time
			Min, Mean, Max int64
			N              int
		}
	}
	school := schoolDays()
	for name, unit := range map[string]string{"volume_free": "bytes", "battery_health": "permille", "disk_wear": "permille"} {
		var h history
		must(t, api.Get(t.Context(), token, path+"/history?step=86400&reading="+name, &h))
		if h.Unit != unit {
			t.Errorf("%s of %s is in %q, want %s", name, path, h.Unit, unit)
		}
		last := time.Time{}
		for _, p := range h.Points {
			if p.N != 1 || p.Min > p.Mean || p.Mean > p.Max || p.Mean <= 0 || !p.T.After(last) || !p.T.Equal(p.T.Truncate(24*time.Hour)) {
				t.Errorf("%s of %s has the point %+v after %v", name, path, p, last)
			}
			last = p.T
		}
		// Part-time teachers have a day off each week, some are ill.
		if len(h.Points) < school*7/10 {
			t.Errorf("%s of %s has %d days, of %d school days", name, path, len(h.Points), school)
		}
	}
}

// TestDemoKilled kills the demo itself: the kernel ends what it started. The
// next demo in the same folder begins anew.
func TestDemoKilled(t *testing.T) {
	t.Parallel()
	port, dir := freePort(t), filepath.Join(t.TempDir(), "demo")
	c, first := startDemo(t, port, dir)
	c.Kill()
	eventually(t, time.Minute, "all programs ended", func() (bool, error) { return len(left(t, dir)) == 0, nil })
	nothingLeft(t, dir, port)

	c, second := startDemo(t, port, dir)
	if first.Device == second.Device || first.Password == second.Password {
		t.Error("the second demo has device or password of the first")
	}
	must(t, c.Stop(time.Minute))
	nothingLeft(t, dir, port)
}

func nothingLeft(t *testing.T, dir string, port int) {
	t.Helper()
	if l := left(t, dir); len(l) > 0 {
		t.Errorf("still running: %v", l)
	}
	// A program that was killed has no command line a moment before its sockets close.
	eventually(t, time.Minute, "the ports free again", func() (bool, error) {
		tcp, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if err != nil {
			return false, nil
		}
		defer tcp.Close()
		udp, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
		if err != nil {
			return false, nil
		}
		return true, udp.Close()
	})
}

// left lists the processes that were told the folder.
func left(t *testing.T, dir string) (found []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	must(t, err)
	for _, e := range entries {
		line, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if _, err := strconv.Atoi(e.Name()); err == nil && strings.Contains(string(line), dir) {
			found = append(found, e.Name()+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}
