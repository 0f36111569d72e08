package update_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hausmeister/agent/update"
	"hausmeister/agent/update/train"
	"hausmeister/platform/layout"
	"hausmeister/proto/manifest"
)

// line is a real train in a folder; whether a launcher can say its version is the test's.
type line struct {
	*train.Train
	l    layout.Layout
	test error
}

func (l *line) Test(context.Context, string) error { return l.test }

// newLine has the launcher that runs, 1.2.3.
func (w *world) newLine() *line {
	w.Helper()
	l := layout.Layout{Root: filepath.Join(w.TempDir(), "hm")}
	w.must(l.Create())
	t := train.New(l)
	w.must(t.Put("1.2.3", sumOf([]byte("launcher")), strings.NewReader("launcher")))
	w.must(l.PointLauncher("1.2.3"))
	return &line{Train: t, l: l}
}

func (w *world) launcherRelease(r manifest.Release) manifest.Release {
	w.Helper()
	code := []byte("launcher " + r.Version + r.OS)
	r.Product, r.Arch = manifest.ProductLauncher, "amd64"
	if r.OS == "" {
		r.OS = "linux"
	}
	if r.Channel == "" {
		r.Channel = "stable"
	}
	r.Packed = r.Dir() + "launcher.zst"
	w.fleet.File(manifest.RoleLauncher, r.Packed, append([]byte("packed "), code...))
	r = w.fleet.Release(manifest.RoleLauncher, r, code)
	w.mu.Lock()
	w.programs[r.SHA256] = code
	w.mu.Unlock()
	return r
}

// taken runs a device for a time and says which launcher is next.
func (w *world) taken(l *line, d time.Duration) string {
	w.Helper()
	c := w.config(oldVersion)
	c.Launchers = l
	if w.runFor(update.New(c), d) {
		w.Fatal("an agent was armed")
	}
	next, err := l.Current()
	w.must(err)
	return next
}

func TestAttack41_OwnTrain(t *testing.T) {
	inBubble(t, func(w *world) {
		l := w.newLine()
		w.launcherRelease(manifest.Release{Version: "1.3.0"})
		r := w.launcherRelease(manifest.Release{Version: "1.4.0"})
		w.launcherRelease(manifest.Release{Version: "9.9.9", OS: "windows"})
		w.launcherRelease(manifest.Release{Version: "9.9.8", Channel: "canary"})
		if got := w.taken(l, 24*time.Hour); got != r.Version {
			t.Fatalf("next launcher is %s, want the newest one, %s", got, r.Version)
		}
		trial, on, err := l.OnTrial()
		if err != nil || !on || trial.From != "1.2.3" || trial.To != r.Version || trial.Sum.String() != r.SHA256 {
			t.Errorf("trial %+v, %v, %v", trial, on, err)
		}
		if w.fetched != 1 {
			t.Errorf("fetched %d programs, want one", w.fetched)
		}
		// While it waits for the next start nothing more comes, also no newer one.
		w.launcherRelease(manifest.Release{Version: "1.5.0"})
		if got := w.taken(l, 48*time.Hour); got != r.Version || w.fetched != 1 {
			t.Errorf("next launcher is %s after %d programs", got, w.fetched)
		}
		if j := w.journal(); j.Good != w.old || len(j.Swaps) != 0 {
			t.Errorf("the agent's journal is %+v", j)
		}
	})
}

func TestAttack41_LauncherNotTaken(t *testing.T) {
	for name, change := range map[string]func(w *world, l *line){
		"its ramp has not begun": func(w *world, l *line) {
			w.launcherRelease(manifest.Release{Version: "1.4.0", Ramp: manifest.Ramp{T0MS: time.Now().Add(40 * 24 * time.Hour).UnixMilli()}})
		},
		"older": func(w *world, l *line) { w.launcherRelease(manifest.Release{Version: "1.2.2"}) },
		"failed here": func(w *world, l *line) {
			r := w.launcherRelease(manifest.Release{Version: "1.4.0"})
			w.must(layout.WriteFile(filepath.Join(l.l.Launchers(), "barred"), []byte(r.SHA256+"\n"), 0o644))
		},
		"does not say its version": func(w *world, l *line) {
			w.launcherRelease(manifest.Release{Version: "1.4.0"})
			l.test = errors.New("not for this processor")
		},
		"other bytes come": func(w *world, l *line) {
			r := w.launcherRelease(manifest.Release{Version: "1.4.0"})
			w.programs[r.SHA256] = []byte("launcher of a stranger")
		},
		"blocked": func(w *world, l *line) {
			r := w.launcherRelease(manifest.Release{Version: "1.4.0"})
			w.must(w.fleet.Drafts[manifest.Targets].SetRules(manifest.Rules{Blocked: []string{r.SHA256}}))
			w.fleet.Publish(manifest.Targets)
		},
		"blocked while it came": func(w *world, l *line) {
			r := w.launcherRelease(manifest.Release{Version: "1.4.0"})
			w.onFetch = func() {
				w.must(w.fleet.Drafts[manifest.Targets].SetRules(manifest.Rules{Blocked: []string{r.SHA256}}))
				w.fleet.Publish(manifest.Targets)
				w.onFetch = nil
			}
		},
		"below the floor": func(w *world, l *line) {
			w.launcherRelease(manifest.Release{Version: "1.4.0"})
			w.must(w.fleet.Drafts[manifest.Targets].SetRules(manifest.Rules{Floors: map[string]string{"launcher": "1.5.0"}}))
			w.fleet.Publish(manifest.Targets)
		},
		"low battery": func(w *world, l *line) {
			w.launcherRelease(manifest.Release{Version: "1.4.0"})
			w.hindrance.Battery = true
		},
		"taken out of its role": func(w *world, l *line) {
			w.launcherRelease(manifest.Release{Version: "1.4.0"})
			w.launcherRelease(manifest.Release{Version: "1.5.0", Ramp: manifest.Ramp{T0MS: time.Now().Add(40 * 24 * time.Hour).UnixMilli()}})
			w.must(w.fleet.Drafts[manifest.RoleLauncher].RemoveTarget("launcher/stable/1.4.0/linux-amd64/hausmeister-launcher"))
			w.fleet.Publish(manifest.RoleLauncher)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				l := w.newLine()
				change(w, l)
				if got := w.taken(l, 48*time.Hour); got != "1.2.3" {
					t.Errorf("next launcher is %s, want it left alone", got)
				}
				if _, on, err := l.OnTrial(); on || err != nil {
					t.Errorf("OnTrial = %v, %v", on, err)
				}
			})
		})
	}
}

// TestAttack39_LauncherBack: a signed way back is the only one.
func TestAttack39_LauncherBack(t *testing.T) {
	inBubble(t, func(w *world) {
		l := w.newLine()
		w.launcherRelease(manifest.Release{Version: "1.2.0", RollbackOf: "1.2.3"})
		if got := w.taken(l, 24*time.Hour); got != "1.2.0" {
			t.Errorf("next launcher is %s, want the signed way back", got)
		}
	})
}
