package scenario

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"hausmeister/agent/enroll"
	"hausmeister/agent/launcher"
	"hausmeister/agent/update/journal"
	"hausmeister/platform/keystore"
	"hausmeister/platform/layout"
	"hausmeister/proto/ident"
	"hausmeister/proto/manifest"
	"hausmeister/proto/wire"
	"hausmeister/testenv/child"
	"hausmeister/testenv/fakes"
	"hausmeister/testenv/programs"
	"hausmeister/testenv/site"
	"hausmeister/testenv/tufrepo"
)

// walkPrefix stands in for what the walk-through leaves to life: fewer systems, so
// that a test does not build for all, a ramp that has begun long ago, the end of what
// runs in the background, and devices, which come when the first release is published.
const walkPrefix = `set -eu
export SOURCE=%q FIRST=%q SECOND=HEAD
export BUILD='--platforms linux/amd64,linux/arm64 --program agent/cmd/hausmeister-agent' PLATFORMS='--platforms linux/amd64,linux/arm64' BEGIN='--begin %s'
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
devices() { touch devices.wanted; until [ -e devices.ready ]; do sleep 0.1; done; }
`

// devicesAt is the block before which devices have to be there.
const devicesAt = "hausmeister-release rollout start"

// quickZstd is called as zstd is for a release, with -19 first, which takes minutes for
// each release on a machine that does much else.
const quickZstd = "#!/bin/sh\nshift\nexec '%s' -6 --long=27 \"$@\"\n"

// walkSettings let each ring wait for a person, and devices for nothing.
const walkSettings = `updates_spread = "1s"
[updates]
rings = [{ devices = 1, soak = "30d" }, { percent = 100 }]
under_way_percent = 100
look_every = "200ms"
`

// TestReleaseWalkThrough runs installer/release/README.md as it is written, from
// no keys to a fleet on the new version and the answer to a break-in: with a real
// collector, and two devices with the real agent under the real launcher. It looks at
// the repository that it leaves as a device does and as the program for the public TUF
// suite does.
func TestReleaseWalkThrough(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two versions twice for two systems")
	}
	t.Parallel()
	for _, tool := range []string{"bash", "zstd", "git", "tar"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not here", tool)
		}
	}
	root, err := programs.Root()
	must(t, err)
	w := newWalk(t)
	bin := filepath.Join(w.dir, "bin")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin+"/", "./installer/cmd/hausmeister-release", "./testenv/cmd/tuf-client")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if os.Getenv("HAUSMEISTER_LONG") != "1" {
		zstd, err := exec.LookPath("zstd")
		must(t, err)
		must(t, os.WriteFile(filepath.Join(bin, "zstd"), fmt.Appendf(nil, quickZstd, zstd), 0o755))
	}
	script := fmt.Sprintf(walkPrefix, root, earlierCommit(t, root), time.Now().AddDate(0, 0, -90).Format(time.RFC3339))
	for _, block := range shellBlocks(t, filepath.Join(root, "installer/release/README.md")) {
		if strings.HasPrefix(block, devicesAt) {
			script += "devices\n"
		}
		script += block + "\n"
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir, cmd.Env = w.dir, append(os.Environ(), "PATH="+bin+":"+programs.Build(t)+":"+os.Getenv("PATH"),
		"HAUSMEISTER_DATA_DIR="+w.site.DataDir(), "HAUSMEISTER_COLLECTOR="+w.site.URL(), "HAUSMEISTER_COLLECTOR_CA="+w.site.CAFile(),
		"HAUSMEISTER_TOKEN_FILE="+w.token, "DEVICE="+w.numbers[0])
	cmd.WaitDelay = 10 * time.Second
	watched := make(chan struct{})
	go func() { defer close(watched); w.bring(ctx) }()
	out, err := cmd.CombinedOutput()
	cancel()
	<-watched
	if err != nil {
		// A log of all tests may be cut: the latest, and of each, in few lines.
		t.Fatalf("the walk-through: %v\n%s\n%s", err, w.logs(), out[max(0, len(out)-1500):])
	}
	for _, want := range []string{"unaltered", "a device believes it, from root 1 as from root 2", "state: current"} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("the walk-through does not say %q:\n%s", want, out[max(0, len(out)-6000):])
		}
	}
	w.took()
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(w.dir, "repository"))))
	defer server.Close()
	walkedDevice(t, w.dir, server.URL)
	walkedClient(t, w.dir, bin, server.URL)
}

// earlierCommit is one whose agent is an older one and takes updates, or HEAD where the
// history is not here: then both versions differ in their number alone.
func earlierCommit(t *testing.T, root string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "-C", root, "log", "--format=%H", "-n", "12", "--", "agent", "platform", "proto").Output()
	must(t, err)
	earlier := "HEAD"
	for commit := range strings.Lines(string(out)) {
		commit = strings.TrimSpace(commit)
		if exec.CommandContext(t.Context(), "git", "-C", root, "cat-file", "-e", commit+":agent/cmd/hausmeister-agent/update.go").Run() == nil {
			earlier = commit
		}
	}
	return earlier
}

// walk is the collector and the devices of a walk-through.
type walk struct {
	t       *testing.T
	dir     string
	site    *site.Site
	token   string // file
	devices []layout.Layout
	ids     []string
	numbers []string           // of inventory
	fetched []map[string]int64 // by device: bytes that a version took
}

func newWalk(t *testing.T) *walk {
	t.Helper()
	w := &walk{t: t, dir: t.TempDir()}
	settings := filepath.Join(w.dir, "collector.toml")
	must(t, os.WriteFile(settings, []byte(walkSettings), 0o600))
	w.site = newSite(t, "", "--config", settings)
	token, err := w.site.AddToken(t.Context(), "jana", "release")
	must(t, err)
	w.token = filepath.Join(w.dir, "token")
	must(t, os.WriteFile(w.token, []byte(token), 0o600))
	noLessons(t, w.site)
	claim := newClaim(t, w.site, 2)
	for i := range 2 {
		l := layout.Layout{Root: filepath.Join(w.dir, fmt.Sprintf("device-%d", i+1))}
		must(t, l.Create())
		device := w.enrol(l, claim)
		number := fakes.Inventory(school.Owner, i+1)
		must(t, w.site.SetInventory(t.Context(), device, number))
		w.devices, w.ids, w.numbers = append(w.devices, l), append(w.ids, device), append(w.numbers, number)
	}
	return w
}

// enrol makes an installation a device of its own, as the agent's command does for the
// whole machine: that one is the same device each time where it has a serial number.
func (w *walk) enrol(l layout.Layout, claim string) (device string) {
	w.t.Helper()
	conn, err := net.ListenUDP("udp", nil)
	must(w.t, err)
	endpoint := wire.NewEndpoint(conn, wire.EndpointConfig{})
	defer endpoint.Close()
	keeper, err := enroll.Open(enroll.Config{
		Files: enroll.Dir(l.State()), Keys: keystore.Open(filepath.Join(l.State(), "keys")), BuildTime: manifest.BuildTime(),
		Hardware: func(context.Context) ident.Hardware { return ident.Hardware{OS: runtime.GOOS} },
		Dial: func(ctx context.Context, address string, conf *tls.Config) (wire.Session, error) {
			addr, err := net.ResolveUDPAddr("udp", address)
			if err != nil {
				return nil, err
			}
			return endpoint.Dial(ctx, addr, conf)
		},
	})
	must(w.t, err)
	id, err := keeper.Enroll(w.t.Context(), claim)
	must(w.t, err)
	return id.Device
}

// noLessons lets updates begin at any time of day.
func noLessons(t *testing.T, s *site.Site) {
	t.Helper()
	admin, err := s.AddToken(t.Context(), "window", "admin")
	must(t, err)
	must(t, s.OpenWindows(t.Context(), admin))
}

// bring installs 1.0.0 on the devices when the script wants them, and runs them until
// the end.
func (w *walk) bring(ctx context.Context) {
	for {
		if _, err := os.Stat(filepath.Join(w.dir, "devices.wanted")); err == nil {
			break
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
	for i, l := range w.devices {
		if err := install(l, "1.0.0", filepath.Join(w.dir, "build/1.0.0/hausmeister-agent_linux_"+runtime.GOARCH)); err != nil {
			w.t.Errorf("installing on device %d: %v", i+1, err)
			return
		}
		c, err := child.Start(child.Config{Program: filepath.Join(programs.Build(w.t), "hausmeister-launcher"), Args: []string{"run", "-dir", l.Root}, Log: l.Root + ".log"})
		if err != nil {
			w.t.Errorf("starting device %d: %v", i+1, err)
			return
		}
		defer func() {
			if err := c.Stop(15 * time.Second); err != nil {
				w.t.Errorf("stopping device %d: %v", i+1, err)
			}
		}()
	}
	if err := os.WriteFile(filepath.Join(w.dir, "devices.ready"), nil, 0o600); err != nil {
		w.t.Error(err)
	}
	for range w.devices {
		w.fetched = append(w.fetched, map[string]int64{})
	}
	for ctx.Err() == nil {
		for i, l := range w.devices {
			fetchedBy(l, w.fetched[i])
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// fetchedBy notes what the update that is under way took, as the device's own journal
// counts it.
func fetchedBy(l layout.Layout, most map[string]int64) {
	j, err := journal.NewStore(journal.Config{Dir: l.Update(), Disk: layout.Plain(), Lock: journal.FileLock(l.Update())}).Load()
	if err == nil && j.Next.Known() {
		most[j.Next.Version] = max(most[j.Next.Version], int64(j.Fetched))
	}
}

// install does what a package does, with times as tests have them.
func install(l layout.Layout, version, program string) error {
	sum, err := layout.SumFile(layout.Plain(), program)
	if err != nil {
		return err
	}
	f, err := os.Open(program)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := l.VersionsOn(layout.Plain(), layout.AgentName()).Put(version, sum, f); err != nil {
		return err
	}
	// Of so short a time the start of a program is a large part: any share of it goes.
	const settings = `{"again": "100ms", "bound_for": "1s", "cpu_permille": 10000}`
	return errors.Join(
		os.WriteFile(filepath.Join(l.State(), launcher.SettingsFile), []byte(settings), 0o600),
		os.WriteFile(l.Packaged(), []byte(launcher.Note(journal.Program{Version: version, Sum: sum})), 0o644))
}

func (w *walk) logs() string {
	var b strings.Builder
	for _, l := range w.devices {
		data, _ := os.ReadFile(l.Root + ".log")
		fmt.Fprintf(&b, "%s:\n%s\n", l.Root, data[max(0, len(data)-1200):])
	}
	return b.String()
}

// took holds what the devices did, by their own journals: both went to 1.1.0 by the
// patch, and back. What they fetched is told as the collector has it.
func (w *walk) took() {
	w.t.Helper()
	size := func(pattern string) int64 {
		w.t.Helper()
		names, err := filepath.Glob(filepath.Join(w.dir, "repository/targets/agent/stable", pattern))
		if err != nil || len(names) != 1 {
			w.t.Fatalf("%s: %v, %v", pattern, names, err)
		}
		info, err := os.Stat(names[0])
		must(w.t, err)
		return info.Size()
	}
	system := "linux-" + runtime.GOARCH
	program, packed, patch := size("1.1.0/"+system+"/*.hausmeister-agent"), size("1.1.0/"+system+"/*.hausmeister-agent.zst"), size("1.1.0/"+system+"/*.hausmeister-agent.from-*.zst")
	w.t.Logf("1.1.0 for %s: %d bytes, packed %d (%.1f %%), patch from 1.0.0 %d (%.1f %%)", system, program, packed, 100*float64(packed)/float64(program), patch, 100*float64(patch)/float64(program))
	for i, l := range w.devices {
		j, err := journal.NewStore(journal.Config{Dir: l.Update(), Disk: layout.Plain(), Lock: journal.FileLock(l.Update())}).Load()
		if err != nil || j.Good.Version != "1.0.0" || j.Previous.Version != "1.1.0" {
			w.t.Errorf("device %d: %v; good %q, previous %q; want to have come back from 1.1.0", i+1, err, j.Good.Version, j.Previous.Version)
		}
		if got := w.fetched[i]["1.1.0"]; got != patch {
			w.t.Errorf("device %d fetched %d bytes for 1.1.0, want the patch's %d", i+1, got, patch)
		}
	}
}

// shellBlocks are the blocks of a page that are marked sh.
func shellBlocks(t *testing.T, page string) []string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for i, part := range strings.Split(string(text), "```") {
		if code, ok := strings.CutPrefix(part, "sh\n"); ok && i%2 == 1 {
			blocks = append(blocks, code)
		}
	}
	if len(blocks) < 10 {
		t.Fatalf("%s has %d blocks of sh", page, len(blocks))
	}
	return blocks
}

// walkedDevice was built with the first root, comes after everything, and finds
// the way back from 1.1.0, which is blocked.
func walkedDevice(t *testing.T, dir, url string) {
	t.Helper()
	first, err := os.ReadFile(filepath.Join(dir, "repository/metadata/1.root.json"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := manifest.New(manifest.Config{
		Fetch: tufrepo.HTTP{Base: url + "/metadata/", Client: http.DefaultClient}, Store: tufrepo.NewMem(), Root: first, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	targets, state, err := c.List(t.Context())
	if err != nil || state.Root != 2 || state.Floors["agent"] != "1.0.0" || len(state.Rules.Blocked) != 2 {
		t.Fatalf("a device: %v; root %d, floors %v, blocked %v", err, state.Root, state.Floors, state.Rules.Blocked)
	}
	var way []string
	for _, x := range targets {
		r, err := x.Release()
		if err != nil {
			continue
		}
		me := manifest.Device{Product: "agent", Version: "1.1.0", OS: "linux", Arch: "amd64", Channel: "stable", Floor: state.Floors["agent"]}
		if r.Match(me) == nil && r.Version != me.Version {
			way = append(way, r.Version+" in place of "+r.RollbackOf)
		}
	}
	if want := []string{"1.0.0 in place of 1.1.0"}; !slices.Equal(way, want) {
		t.Errorf("a device with 1.1.0 finds %v, want %v", way, want)
	}
}

// walkedClient is the program that the public suite drives.
func walkedClient(t *testing.T, dir, bin, url string) {
	t.Helper()
	own := filepath.Join(dir, "client")
	if err := os.MkdirAll(filepath.Join(own, "files"), 0o755); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "repository/targets/agent/stable/1.0.0/linux-amd64/*.hausmeister-agent"))
	if err != nil || len(names) != 1 {
		t.Fatalf("programs of 1.0.0: %v, %v", names, err)
	}
	want, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"init", filepath.Join(dir, "repository/metadata/1.root.json")},
		{"--metadata-url", url + "/metadata/", "refresh"},
		{"--metadata-url", url + "/metadata/", "--target-name", "agent/stable/1.0.0/linux-amd64/hausmeister-agent", "--target-base-url", url + "/targets/", "--target-dir", filepath.Join(own, "files"), "download"},
	} {
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "tuf-client"), append([]string{"--metadata-dir", own}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("tuf-client %v: %v\n%s", args, err, out)
		}
	}
	found := false
	err = filepath.WalkDir(filepath.Join(own, "files"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		data, err := io.ReadAll(f)
		found = found || bytes.Equal(data, want)
		return err
	})
	if err != nil || !found {
		t.Errorf("tuf-client fetched 1.0.0: %v, %v", found, err)
	}
}
