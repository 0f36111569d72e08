package update_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hausmeister/agent/config"
	"hausmeister/agent/update"
	"hausmeister/agent/update/train"
	"hausmeister/platform/layout"
	"hausmeister/proto/manifest"
	"hausmeister/testenv/need"
)

// line is a real train in a folder; whether a launcher can say its version is the test's.
type line struct {
	*train.Train
	l      layout.Layout
	test   error
	onTest func()
	onDrop func() error // before it
}

func (l *line) Test(context.Context, string) error {
	if l.onTest != nil {
		l.onTest()
	}
	return l.test
}

func (l *line) Drop(runs string) error {
	if l.onDrop != nil {
		if err := l.onDrop(); err != nil {
			return err
		}
	}
	return l.Train.Drop(runs, nil)
}

// newLine has the launcher that runs, 1.2.3.
func (w *world) newLine() *line {
	w.Helper()
	l := layout.Layout{Root: filepath.Join(w.TempDir(), "hm")}
	w.must(l.Create())
	t := train.New(l, layout.Plain())
	w.must(t.Put("1.2.3", sumOf([]byte("launcher")), strings.NewReader("launcher")))
	w.must(l.PointLauncher(layout.Plain(), "1.2.3"))
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

// rampLasts is until every device has had its turn for a launcher or a policy, whatever
// its key drew.
const rampLasts = 4 * time.Hour

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
		time.Sleep(rampLasts) // else this device's turn may come for the older one first
		if got := w.taken(l, 24*time.Hour); got != r.Version {
			w.Fatalf("next launcher is %s, want the newest one, %s", got, r.Version)
		}
		trial, on, err := l.OnTrial()
		if err != nil || !on || trial.From != "1.2.3" || trial.To != r.Version || trial.Sum.String() != r.SHA256 {
			w.Errorf("trial %+v, %v, %v", trial, on, err)
		}
		if w.fetched != 1 {
			w.Errorf("fetched %d programs, want one", w.fetched)
		}
		c := w.config(oldVersion)
		c.Launchers = l
		u := update.New(c)
		w.runFor(u, time.Minute)
		if s := u.Status(); s.Launcher != "1.2.3" || s.LauncherNext != r.Version {
			w.Errorf("status %+v", s)
		}
		// While it waits for the next start nothing more comes, also no newer one.
		w.launcherRelease(manifest.Release{Version: "1.5.0"})
		if got := w.taken(l, 48*time.Hour); got != r.Version || w.fetched != 1 {
			w.Errorf("next launcher is %s after %d programs", got, w.fetched)
		}
		if j := w.journal(); j.Good != w.old || len(j.Swaps) != 0 {
			w.Errorf("the agent's journal is %+v", j)
		}
	})
}

func TestAttack41_LauncherNotTaken(t *testing.T) {
	need.Plain(t)
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
					w.Errorf("next launcher is %s, want it left alone", got)
				}
				if _, on, err := l.OnTrial(); on || err != nil {
					w.Errorf("OnTrial = %v, %v", on, err)
				}
			})
		})
	}
}

// policy is signed, with bytes as the collector has them.
func (w *world) policy(version, text string) manifest.PolicyRelease {
	w.Helper()
	r := w.fleet.Policy(version, []byte(text))
	w.mu.Lock()
	w.programs[r.SHA256] = []byte(text)
	w.mu.Unlock()
	return r
}

// follows runs a device for a time and says which policy it has then.
func (w *world) follows(d time.Duration) string {
	w.Helper()
	c := w.config(oldVersion)
	c.Policies = config.OpenPolicies(w)
	if w.runFor(update.New(c), d) {
		w.Fatal("an agent was armed")
	}
	return config.OpenPolicies(w).Version()
}

const goodPolicy = `{"hausmeister_policy": 1, "keep_alive_s": 30}`

// TestAttack48_BadPolicy: what two persons have signed is still held against the
// schema, comes by the ramp, and leaves the policy before where it is.
func TestAttack48_BadPolicy(t *testing.T) {
	need.Plain(t)
	inBubble(t, func(w *world) {
		w.policy("1.0.0", goodPolicy)
		w.policy("1.1.0", strings.Replace(goodPolicy, "30", "40", 1))
		time.Sleep(rampLasts) // else this device's turn may come for the older one first
		if got := w.follows(24 * time.Hour); got != "1.1.0" || w.fetched != 1 {
			w.Fatalf("policy %q after %d files, want the newest", got, w.fetched)
		}
		for version, text := range map[string]string{
			"2.0.1": `{"hausmeister_policy": 1, "keep_alive_s": 30, "one_more_field": 1}`,
			"2.0.2": `{"hausmeister_policy": 1, "keep_alive_s": 3600}`,
			"2.0.3": `{"hausmeister_policy": 1, "keep_alive_s": "30"}`,
			"2.0.4": `{"hausmeister_policy": 1, "keep_alive_s": 30.5}`,
			"2.0.5": `{"hausmeister_policy": 1, "keep_alive_s": 30, "keep_alive_s": 31}`,
			"2.0.6": `{"hausmeister_policy": 2}`,
			"2.0.7": `null`,
			"2.0.8": ``,
			"2.0.9": `{"hausmeister_policy": 1} {"hausmeister_policy": 1}`,
		} {
			before := w.fetched
			w.policy(version, text)
			if got := w.follows(72 * time.Hour); got != "1.1.0" {
				w.Errorf("after %s the policy is %q", text, got)
			}
			if n := w.fetched - before; n != 1 {
				w.Errorf("%s was fetched %d times in three days, want once", text, n)
			}
			w.must(w.fleet.Drafts[manifest.RolePolicy].RemoveTarget(manifest.PolicyPath("agent", version)))
		}
		w.policy("2.1.0", goodPolicy)
		if got := w.follows(24 * time.Hour); got != "2.1.0" {
			w.Errorf("policy %q, want the one that is good again", got)
		}
	})
	for name, change := range map[string]func(w *world){
		"other bytes": func(w *world) {
			r := w.policy("1.0.0", goodPolicy)
			w.programs[r.SHA256] = []byte(strings.Replace(goodPolicy, "30", "31", 1))
		},
		"one person": func(w *world) {
			w.policy("1.0.0", goodPolicy)
			keys := w.fleet.Keys[manifest.RolePolicy]
			w.must(w.fleet.Drafts[manifest.RolePolicy].SetRole(manifest.RolePolicy)) // clears the signatures
			w.must(w.fleet.Drafts[manifest.RolePolicy].Sign(keys[0]))
			data, err := w.fleet.Drafts[manifest.RolePolicy].Bytes()
			w.must(err)
			files := w.fleet.Files()
			files[fmt.Sprintf("%d.policy.json", w.fleet.Drafts[manifest.RolePolicy].Version())] = data
			w.fleet.SetFiles(files)
		},
		"another role's": func(w *world) {
			w.fleet.File(manifest.RoleStable, manifest.PolicyPath("agent", "1.0.0"), []byte(goodPolicy))
		},
		"blocked": func(w *world) {
			r := w.policy("1.0.0", goodPolicy)
			w.must(w.fleet.Drafts[manifest.Targets].SetRules(manifest.Rules{Blocked: []string{r.SHA256}}))
			w.fleet.Publish(manifest.Targets)
		},
		"for newer agents": func(w *world) {
			r := w.policy("1.0.0", goodPolicy)
			r.AgentMin = "9.0.0"
			w.must(w.fleet.Drafts[manifest.RolePolicy].SetTarget(r.Path, r.Length, r.SHA256, r))
			w.fleet.Publish(manifest.RolePolicy)
		},
		"at once for all": func(w *world) {
			r := w.policy("1.0.0", goodPolicy)
			r.Ramp.PermillePerHour = 1_000_000
			w.must(w.fleet.Drafts[manifest.RolePolicy].SetTarget(r.Path, r.Length, r.SHA256, r))
			w.fleet.Publish(manifest.RolePolicy)
		},
		"its ramp has not begun": func(w *world) {
			r := w.policy("1.0.0", goodPolicy)
			r.Ramp.T0MS = time.Now().Add(10 * 24 * time.Hour).UnixMilli()
			w.must(w.fleet.Drafts[manifest.RolePolicy].SetTarget(r.Path, r.Length, r.SHA256, r))
			w.fleet.Publish(manifest.RolePolicy)
		},
	} {
		inBubble(t, func(w *world) {
			change(w)
			if got := w.follows(36 * time.Hour); got != "" {
				w.Errorf("%s: policy %q, want none", name, got)
			}
		})
	}
}

// TestAttack39_LauncherBack: a signed way back is the only one.
func TestAttack39_LauncherBack(t *testing.T) {
	inBubble(t, func(w *world) {
		l := w.newLine()
		w.launcherRelease(manifest.Release{Version: "1.2.0", RollbackOf: "1.2.3"})
		if got := w.taken(l, 24*time.Hour); got != "1.2.0" {
			w.Errorf("next launcher is %s, want the signed way back", got)
		}
	})
}

// TestLaunchersAndPoliciesInALesson: nothing comes in the lessons that the last offer
// told, also when that is over, and what was begun before one ends with its beginning.
func TestLaunchersAndPoliciesInALesson(t *testing.T) {
	for name, lesson := range map[string]time.Duration{"it is one": 0, "one begins": 2 * time.Hour} {
		inBubble(t, func(w *world) {
			l := w.newLine()
			launcher := w.launcherRelease(manifest.Release{Version: "1.4.0"})
			w.policy("1.0.0", goodPolicy)
			time.Sleep(rampLasts)
			w.fleet.Publish()
			begin := time.Now()
			u := w.updater(oldVersion)
			u.Offered(quietly(offer(w.release(manifest.Release{Version: newVersion}), "lease"), lesson, 9*time.Hour))
			w.runFor(u, time.Second)
			u.Withdrawn("")
			w.runFor(u, time.Second)
			c := w.config(oldVersion)
			c.Launchers, c.Policies = l, config.OpenPolicies(w)
			u = update.New(c)
			w.slow = 3 * time.Hour
			begun := 1
			if lesson == 0 {
				begun = 0
			}
			w.runFor(u, time.Until(begin.Add(9*time.Hour)))
			if next, err := l.Current(); err != nil || next != "1.2.3" || config.OpenPolicies(w).Version() != "" && lesson == 0 || w.begun != begun {
				t.Errorf("%s: the launcher is %s, the policy %q; %d programs were begun, %v", name, next, config.OpenPolicies(w).Version(), w.begun, err)
			}
			w.slow = 0
			w.runFor(u, 3*time.Hour)
			if next, err := l.Current(); err != nil || next != launcher.Version || config.OpenPolicies(w).Version() != "1.0.0" {
				t.Errorf("%s: behind it the launcher is %s, the policy %q; %v", name, next, config.OpenPolicies(w).Version(), err)
			}
		})
	}
}

// TestAttack27_LauncherInTheMiddle: as with updates, what speaks against it ends it, and it
// comes later.
func TestAttack27_LauncherInTheMiddle(t *testing.T) {
	inBubble(t, func(w *world) {
		l := w.newLine()
		r := w.launcherRelease(manifest.Release{Version: "1.4.0"})
		time.Sleep(rampLasts)
		w.slow = time.Hour
		first := true
		w.onFetch = func() {
			if first {
				time.AfterFunc(10*time.Minute, func() { w.mu.Lock(); w.hindrance.Battery = true; w.mu.Unlock() })
			}
			first = false
		}
		if got := w.taken(l, 5*time.Hour); got != "1.2.3" || w.begun != 1 {
			t.Errorf("on a battery that got low the launcher is %s after %d downloads", got, w.begun)
		}
		w.hindrance.Battery = false
		if got := w.taken(l, 5*time.Hour); got != r.Version || w.begun != 2 {
			t.Errorf("behind it the launcher is %s after %d downloads, told %s", got, w.begun, w.told())
		}
	})
}
