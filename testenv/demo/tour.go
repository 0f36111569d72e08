package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"hausmeister/agent/launcher"
	"hausmeister/agent/update/journal"
	"hausmeister/platform/layout"
	"hausmeister/testenv/child"
	"hausmeister/testenv/swarm"
)

// The tour ends with a signed update that goes over the whole fleet: everything comes
// with tourFrom, and tourTo is released. Of this machine's agent both are real builds,
// of the same source; simulated devices have stand-ins.
const tourFrom, tourTo = "1.0.0", "1.1.0"

// tourWithin bounds how long the tour is told of; what is late comes later.
const tourWithin = 10 * time.Minute

// settledAfter is how often the tour looks on where all devices have told how it ended: the
// collector finds only then that the rollout is done.
const settledAfter = 8

// tourSettings shorten what takes days in a fleet. Nothing else is different there. The
// first ring waits for all of its devices until a lease ends, so also for one with an
// empty battery: a lease is what a device takes on a slow machine, and not much more.
const tourSettings = `updates_spread = "1s"
updates_online = %q

[updates]
rings = [{ devices = 20, soak = "2s" }, { percent = 100 }]
under_way_percent = 50
per_school = 20
lease = "1m"
look_every = "250ms"
school_bytes_per_second = 10000000
school_parallel = 20
`

// launcherSettings are those of this machine's launcher.
const launcherSettings = `{"again": "100ms", "bound_for": "2s", "cpu_permille": 10000, "stop_within": "500ms"}`

// tourTimes are the simulated devices' launchers'.
var tourTimes = launcher.Times{Again: 100 * time.Millisecond, BoundFor: 2 * time.Second, StopWithin: 5 * time.Second}

// Tour is what became of the tour, in demo.json once it is over.
type Tour struct {
	Rollout string  `json:"rollout"`
	Version string  `json:"version"`
	State   string  `json:"state"`   // of the rollout
	Devices int     `json:"devices"` // in it
	Current int     `json:"current"` // of these that run the version
	Waits   int     `json:"waits"`   // that wait for a charged battery or another network
	Patch   int64   `json:"patch_bytes"`
	Packed  int64   `json:"packed_bytes"` // of the whole program
	Seconds float64 `json:"seconds"`      // from the release to the last device
	Here    float64 `json:"here_seconds"` // to this machine
}

// tour is the release's side of it.
type tour struct {
	dir string
	bin string // folder with hausmeister-release
	out Tour
}

// newTour makes the keys, and the two agents, which trust them from their first start.
func newTour(ctx context.Context, c Config) (*tour, error) {
	bin, err := filepath.Abs(c.Bin)
	if err != nil {
		return nil, err
	}
	t := &tour{dir: c.Dir, bin: bin}
	if len(t.socket()) > longestSocket {
		return nil, fmt.Errorf("%s is too long for a socket in it: choose another folder with DIR=FOLDER", t.dir)
	}
	for _, tool := range []string{"bash", "zstd"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("the tour signs and packs with %s: install the Debian package %s", tool, tool)
		}
	}
	source, err := sourceDir()
	if err != nil {
		return nil, err
	}
	if err := t.ceremony(ctx, source); err != nil {
		return nil, err
	}
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(source, "proto/manifest/root.json"): t.root()}})
	if err != nil {
		return nil, err
	}
	overlay := filepath.Join(t.dir, "overlay.json")
	if err := errors.Join(os.WriteFile(overlay, replace, 0o600), os.WriteFile(t.settings(), []byte(fmt.Sprintf(tourSettings, t.socket())), 0o600)); err != nil {
		return nil, err
	}
	for _, version := range []string{tourFrom, tourTo} {
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-overlay", overlay, "-ldflags", "-s -w -X main.version="+version, "-o", t.program(version), "./agent/cmd/hausmeister-agent")
		cmd.Dir, cmd.Env = source, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("building agent %s for the tour: %w\n%s", version, err, out)
		}
	}
	return t, nil
}

// sourceDir is the folder of go.mod above the current one.
func sourceDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if filepath.Dir(dir) == dir {
			return "", errors.New("the tour builds two agents: call it in the folder of the source")
		}
		dir = filepath.Dir(dir)
	}
}

func (t *tour) settings() string   { return filepath.Join(t.dir, "collector.toml") }
func (t *tour) repository() string { return filepath.Join(t.dir, "repository") }
func (t *tour) program(version string) string {
	return filepath.Join(t.dir, "build", version, "hausmeister-agent_"+runtime.GOOS+"_"+runtime.GOARCH)
}

// install puts the first version on this machine's installation, as its package does.
func (t *tour) install(l layout.Layout) error {
	program := t.program(tourFrom)
	sum, err := layout.SumFile(layout.Plain(), program)
	if err != nil {
		return err
	}
	f, err := os.Open(program)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := l.Create(); err != nil {
		return err
	}
	if err := l.VersionsOn(layout.Plain(), layout.AgentName()).Put(tourFrom, sum, f); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(l.State(), launcher.SettingsFile), []byte(launcherSettings), 0o600),
		os.WriteFile(l.Packaged(), []byte(launcher.Note(journal.Program{Version: tourFrom, Sum: sum})), 0o644))
}

// updates are those of the simulated devices.
func (t *tour) updates() (*swarm.Updates, error) {
	root, err := os.ReadFile(t.root())
	return &swarm.Updates{Version: tourFrom, Root: root, Dir: filepath.Join(t.dir, "parts"), Times: tourTimes}, err
}

// openUp readies the collector: it trusts the root, knows the first version, and lets
// updates begin at any time of day, since a demo is given in the morning, too.
func (d *demo) openUp(ctx context.Context, admin string) error {
	if err := d.tour.publishRoot(ctx); err != nil {
		return err
	}
	if err := d.tour.release(ctx, tourFrom); err != nil {
		return err
	}
	if _, err := d.site.Run(ctx, "", "release", "import", d.tour.repository(), "--root", d.tour.root()); err != nil {
		return err
	}
	return d.site.OpenWindows(ctx, admin)
}

// aRollout is what the tour reads of the API's.
type aRollout struct {
	ID    string
	State string
	Ring  int // that it has come to
	Rings []aRing
}

type aRing struct {
	Adds, OK, Bad int
	InFlight      int `json:"in_flight"`
}

// compliance is how many devices run what they should, and why others do not.
type compliance struct {
	Devices  int
	Counts   map[string]int
	Teachers int `json:"-"` // of those that wait: for what only a teacher can do
}

// roll takes the new version over the fleet, and tells how it goes.
func (d *demo) roll(ctx context.Context, ready func()) error {
	t := d.tour
	d.mu.Lock()
	token, device := d.facts.Tokens["read"], d.facts.Device
	d.mu.Unlock()
	if err := t.release(ctx, tourTo); err != nil {
		return err
	}
	if _, err := d.site.Run(ctx, "", "release", "import", t.repository()); err != nil {
		return err
	}
	began := time.Now()
	if _, err := d.site.Run(ctx, "", "rollout", "start", tourTo, "--reason", "the tour of the demo"); err != nil {
		return err
	}
	fmt.Fprintf(d.c.Out, "  Version %s is signed and goes over the fleet: %s/updates\n  (for this machine %d bytes of patch, in place of %d packed)\n", tourTo, d.site.URL(), t.out.Patch, t.out.Packed)
	within, cancel := context.WithTimeout(ctx, tourWithin)
	defer cancel()
	var said string
	looks := 0 // since nothing was waited for
	for {
		r, c, here, err := d.seen(within, token, device)
		if err == nil {
			if line := r.line(); line != said {
				said = line
				fmt.Fprintf(d.c.Out, "  %5.1f s  %s\n", time.Since(began).Seconds(), line)
			}
			t.out.Rollout, t.out.Version, t.out.State, t.out.Devices, t.out.Current = r.ID, tourTo, r.State, c.Devices, c.Counts["current"]
			t.out.Seconds, t.out.Waits = time.Since(began).Seconds(), c.Teachers
			if here && t.out.Here == 0 {
				t.out.Here = t.out.Seconds
			}
		}
		if err == nil && r.over(c) {
			looks++
		}
		if err == nil && (r.State == "done" && looks > 0 || looks > settledAfter || r.State == "halted") {
			break
		}
		select {
		case <-time.After(250 * time.Millisecond):
			continue
		case <-within.Done():
		}
		if ctx.Err() != nil {
			return nil
		}
		d.c.Log.Warn("the tour is not over", "after", tourWithin, "counts", fmt.Sprint(c.Counts), "error", err)
		break
	}
	fmt.Fprintf(d.c.Out, "\n  The rollout is %s: %d of %d devices run %s after %.1f s, this machine after %.1f s; %d wait for a charged battery or another network: %s/updates\n\n",
		t.out.State, t.out.Current, t.out.Devices, tourTo, t.out.Seconds, t.out.Here, t.out.Waits, d.site.URL())
	d.note(func(f *Facts) { f.Tour = &t.out })
	ready()
	return nil
}

// seen is how the newest rollout is, and whether this machine has its version.
func (d *demo) seen(ctx context.Context, token, device string) (r aRollout, c compliance, here bool, err error) {
	var list struct{ Items []aRollout }
	api := d.site.Client()
	if err := api.Get(ctx, token, "/api/v1/rollouts", &list); err != nil {
		return r, c, false, err
	}
	if len(list.Items) == 0 {
		return r, c, false, errors.New("there is no rollout")
	}
	r = list.Items[0]
	if err := api.Get(ctx, token, "/api/v1/rollouts/"+r.ID+"/compliance", &c); err != nil {
		return r, c, false, err
	}
	var waiting struct{ Items []struct{ Reason string } }
	if err := api.Get(ctx, token, "/api/v1/rollouts/"+r.ID+"/devices?why=waits&limit=500", &waiting); err != nil {
		return r, c, false, err
	}
	for _, x := range waiting.Items {
		if x.Reason == "battery" || x.Reason == "metered" {
			c.Teachers++
		}
	}
	var own struct{ Why string }
	err = api.Get(ctx, token, "/api/v1/devices/"+device+"/update", &own)
	return r, c, own.Why == "current", err
}

// over: each device has told that it stays with the version, or waits for what only its
// teacher can do. Where nobody waits the rollout is done, which the collector sees at its
// next look.
func (r aRollout) over(c compliance) bool {
	well := 0
	for _, x := range r.Rings {
		well += x.OK
	}
	return c.Devices > 0 && well == c.Counts["current"] && well+c.Teachers == c.Devices && (c.Teachers > 0 || r.State == "done")
}

// line tells of the ring that the rollout has come to: in those before it some may wait for
// their teacher all along.
func (r aRollout) line() string {
	if r.State == "done" || r.Ring < 1 || r.Ring > len(r.Rings) {
		return r.State + ", all rings are through"
	}
	x := r.Rings[r.Ring-1]
	text := fmt.Sprintf("%s, ring %d of %d: %d of %d well, %d under way", r.State, r.Ring, len(r.Rings), x.OK, x.Adds, x.InFlight)
	if x.Bad > 0 {
		text += fmt.Sprintf(", %d not", x.Bad)
	}
	return text
}

// ownProgram is this machine's agent; in a tour below the launcher.
func (d *demo) ownProgram(dir string) child.Config {
	if d.tour == nil {
		return child.Config{Program: filepath.Join(d.c.Bin, "hausmeister-agent"), Args: []string{"run", "--dir", dir}}
	}
	return child.Config{Program: filepath.Join(d.c.Bin, "hausmeister-launcher"), Args: []string{"run", "-dir", dir}}
}
