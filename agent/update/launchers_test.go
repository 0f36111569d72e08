package update_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hausmeister/agent/update"
	"hausmeister/agent/update/journal"
	"hausmeister/platform/layout"
	"hausmeister/proto/manifest"
	"hausmeister/testenv/need"
)

// waiting has launcher 1.4.0 wait for the next start of the service.
func (w *world) waiting(l *line) manifest.Release {
	w.Helper()
	r := w.launcherRelease(manifest.Release{Version: "1.4.0"})
	time.Sleep(rampLasts)
	if got := w.taken(l, 24*time.Hour); got != r.Version {
		w.Fatalf("next launcher is %s", got)
	}
	return r
}

// with is an updater beside a train.
func (w *world) with(l *line, version string) *update.Updater {
	w.Helper()
	c := w.config(version)
	c.Launchers = l
	return update.New(c)
}

// nextIs holds which launcher the next start takes, and whether that is a trial.
func (w *world) nextIs(l *line, version string, trial bool) {
	w.Helper()
	next, err := l.Current()
	_, on, err2 := l.OnTrial()
	if err != nil || err2 != nil || next != version || on != trial {
		w.Errorf("the next launcher is %s, on trial %v, want %s, %v; %v, %v", next, on, version, trial, err, err2)
	}
}

// TestAttack41_OneUnproven: what leaves a launcher that does not come up runs the agent's
// program, so that no agent is armed while a launcher waits for its first start; that one
// is tried again behind it, and comes once.
func TestAttack41_OneUnproven(t *testing.T) {
	inBubble(t, func(w *world) {
		l := w.newLine()
		launcher := w.waiting(l)
		r := w.release(manifest.Release{Version: newVersion})
		var at journal.State
		l.onDrop = func() error { at = w.journal().State; return nil }
		u := w.with(l, oldVersion)
		u.Offered(offer(r, "lease"))
		if !w.runFor(u, 24*time.Hour) {
			t.Fatalf("an agent waits for a launcher that may wait for weeks: told %s", w.told())
		}
		w.nextIs(l, "1.2.3", false)
		if at != journal.Staged {
			t.Errorf("the launcher was taken back at %s, want that before the journal is armed", at)
		}
		w.steps(journal.Event{Kind: journal.SwapTry}, journal.Event{Kind: journal.SwapDone}, journal.Event{Kind: journal.Start}, journal.Event{Kind: journal.Alive})
		w.runFor(w.with(l, newVersion), 48*time.Hour)
		w.nextIs(l, "1.2.3", false)
		p := journal.Program{Version: newVersion, Sum: sumOf(w.programs[r.SHA256])}
		w.steps(journal.Event{Kind: journal.Check}, journal.Event{Kind: journal.Hear, Program: p}, journal.Event{Kind: journal.Bound})
		if j := w.journal(); j.State != journal.Committed {
			t.Fatalf("the journal is %+v", j)
		}
		w.fleet.Publish() // its time went by
		w.runFor(w.with(l, newVersion), 24*time.Hour)
		w.nextIs(l, launcher.Version, true)
		if w.begun != 2 {
			t.Errorf("%d programs came, want the launcher and the agent once", w.begun)
		}
	})
}

// TestAttack41_OneUnprovenCut: a launcher that cannot be taken back keeps an agent from
// being armed, and one that was taken back by half is taken back.
func TestAttack41_OneUnprovenCut(t *testing.T) {
	inBubble(t, func(w *world) {
		l := w.newLine()
		w.waiting(l)
		l.onDrop = func() error { return errors.New("input/output error") }
		u := w.with(l, oldVersion)
		u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease"))
		if w.runFor(u, 12*time.Hour) || w.journal().State != journal.Staged {
			t.Errorf("armed beside a launcher that waits: told %s", w.told())
		}
		w.nextIs(l, "1.4.0", true)
		l.onDrop = nil
		w.must(l.l.PointLauncher(layout.Plain(), "1.2.3")) // the other half did not come
		if !w.runFor(w.with(l, oldVersion), 5*time.Hour) {
			t.Errorf("not armed: told %s", w.told())
		}
		w.nextIs(l, "1.2.3", false)
	})
}

// TestAttack41_AgentWaitsForLauncher: no agent is armed by a launcher that has not proved
// itself. That takes minutes; one that cannot note it, in hours, has.
func TestAttack41_AgentWaitsForLauncher(t *testing.T) {
	for name, proves := range map[string]bool{"it proves itself": true, "it cannot note that": false} {
		inBubble(t, func(w *world) {
			l := w.newLine()
			before := sumOf([]byte("the one before"))
			w.must(l.Put("1.2.2", before, strings.NewReader("the one before")))
			w.must(l.l.PointLauncher(layout.Plain(), "1.2.2"))
			w.must(l.Try("1.2.2", "1.2.3", sumOf([]byte("launcher"))))
			u := w.with(l, oldVersion)
			u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease"))
			if w.runFor(u, 2*time.Hour) || !strings.HasSuffix(w.told(), "staged waiting:schedule") {
				t.Errorf("%s: under a launcher on trial: told %s", name, w.told())
			}
			w.nextIs(l, "1.2.3", true)
			if w.meta > 50 {
				t.Errorf("%s: %d requests while it waited", name, w.meta)
			}
			within := 5 * time.Hour
			if proves {
				w.must(l.Proved("1.2.3"))
				within = 5 * time.Minute
			}
			if !w.runFor(u, within) {
				t.Errorf("%s: not armed within %v more: told %s", name, within, w.told())
			}
			w.nextIs(l, "1.2.3", !proves)
		})
	}
}

// TestAttack47_LauncherRevokedWhileItWaits: the next start of the service takes nothing
// that is signed no more, also where nothing may be fetched just now.
func TestAttack47_LauncherRevokedWhileItWaits(t *testing.T) {
	for name, revoke := range map[string]func(w *world, r manifest.Release){
		"blocked": func(w *world, r manifest.Release) {
			w.must(w.fleet.Drafts[manifest.Targets].SetRules(manifest.Rules{Blocked: []string{r.SHA256}}))
			w.fleet.Publish(manifest.Targets)
		},
		"removed": func(w *world, r manifest.Release) {
			w.must(w.fleet.Drafts[manifest.RoleLauncher].RemoveTarget(r.Path))
			w.fleet.Publish(manifest.RoleLauncher)
		},
		"below the floor": func(w *world, _ manifest.Release) {
			w.must(w.fleet.Drafts[manifest.Targets].SetRules(manifest.Rules{Floors: map[string]string{"launcher": "1.5.0"}}))
			w.fleet.Publish(manifest.Targets)
		},
		"on a battery that is low": func(w *world, r manifest.Release) {
			w.hindrance.Battery = true // nor is another one taken in its place
			w.launcherRelease(manifest.Release{Version: "1.3.0", Ramp: manifest.Ramp{T0MS: time.Now().Add(-24 * time.Hour).UnixMilli()}})
			w.must(w.fleet.Drafts[manifest.Targets].SetRules(manifest.Rules{Blocked: []string{r.SHA256}}))
			w.fleet.Publish(manifest.Targets)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				l := w.newLine()
				r := w.waiting(l)
				u := w.with(l, oldVersion)
				w.runFor(u, 3*time.Hour)
				w.nextIs(l, r.Version, true)
				revoke(w, r)
				w.runFor(u, 2*time.Hour+5*time.Minute) // as long as the service runs on, it looks
				w.nextIs(l, "1.2.3", false)
				w.runFor(u, 48*time.Hour)
				w.nextIs(l, "1.2.3", false)
			})
		})
	}
}

// TestAttack38_LauncherFetched: one that does not stay here, or fails, is not fetched at
// each look, also by an agent that starts each day.
func TestAttack38_LauncherFetched(t *testing.T) {
	need.Plain(t)
	gone := func(l *line, left []byte) func() {
		return func() {
			path := l.Path("1.4.0")
			if left == nil {
				_ = os.Remove(path)
			} else {
				_ = os.WriteFile(path, left, 0o755)
			}
		}
	}
	for name, c := range map[string]struct {
		prepare func(w *world, l *line)
		most    int // in nine days
		barred  bool
	}{
		"fails its test":    {func(_ *world, l *line) { l.test = fmt.Errorf("%w: exit status 2", update.ErrSelftest) }, 1, true},
		"cannot be started": {func(_ *world, l *line) { l.test = errors.New("permission denied") }, 1, false},
		"is taken away":     {func(_ *world, l *line) { l.test, l.onTest = fmt.Errorf("%w: killed", update.ErrSelftest), gone(l, nil) }, 5, false},
		"is damaged": {func(_ *world, l *line) {
			l.test, l.onTest = fmt.Errorf("%w: killed", update.ErrSelftest), gone(l, []byte("x"))
		}, 5, false},
		"other bytes come": {func(w *world, _ *line) { w.breaks() }, 5, false},
		"its version was used": {func(w *world, l *line) {
			w.must(layout.WriteFile(filepath.Join(l.l.Launchers(), "previous"), []byte("1.4.0\n"), 0o644))
		}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				l := w.newLine()
				r := w.launcherRelease(manifest.Release{Version: "1.4.0"})
				c.prepare(w, l)
				time.Sleep(rampLasts)
				for range 9 {
					w.fleet.Publish() // its time goes by
					if got := w.taken(l, 24*time.Hour); got != "1.2.3" {
						t.Fatalf("next launcher is %s", got)
					}
				}
				if n := w.begun; n > c.most || n == 0 && c.most > 0 {
					t.Errorf("fetched %d times in nine days, want %d at most", n, c.most)
				}
				sum, err := layout.ParseSum(r.SHA256)
				w.must(err)
				if barred, err := l.Barred(sum); err != nil || barred != c.barred {
					t.Errorf("Barred = %v, %v, want %v", barred, err, c.barred)
				}
				l.test, l.onTest = nil, nil
				w.mends()
				w.must(os.RemoveAll(filepath.Join(l.l.Launchers(), "previous")))
				for range 8 {
					w.fleet.Publish()
					w.taken(l, 24*time.Hour)
				}
				w.nextIs(l, map[bool]string{true: "1.2.3", false: r.Version}[c.barred], !c.barred)
			})
		})
	}
}

// TestLauncherBehindAnother: one that does not stay here keeps no newer one away.
func TestLauncherBehindAnother(t *testing.T) {
	inBubble(t, func(w *world) {
		l := w.newLine()
		w.launcherRelease(manifest.Release{Version: "1.4.0"})
		l.test, l.onTest = errors.New("no such file"), func() { _ = os.Remove(l.Path("1.4.0")) }
		for day := 0; w.begun < 4; day++ { // behind which it comes in four days again
			if day > 10 {
				t.Fatalf("it came %d times in %d days", w.begun, day)
			}
			w.fleet.Publish()
			w.taken(l, 24*time.Hour)
		}
		l.test, l.onTest = nil, nil
		w.launcherRelease(manifest.Release{Version: "1.5.0"})
		w.taken(l, 24*time.Hour)
		w.nextIs(l, "1.5.0", true)
	})
}

// breaks has all programs come with other bytes, until mends.
func (w *world) breaks() {
	for sum, code := range w.programs {
		w.programs[sum] = append([]byte("!"), code...)
	}
}

func (w *world) mends() {
	for sum, code := range w.programs {
		w.programs[sum] = bytes.TrimPrefix(code, []byte("!"))
	}
}

// TestAttack41_BarsUnread: where the file of bars cannot be read, a launcher that waits is
// not taken for one that is signed no more: the timer may have left it just now, and the
// bar would be lost. One that was revoked is dropped all the same.
func TestAttack41_BarsUnread(t *testing.T) {
	inBubble(t, func(w *world) {
		l := w.newLine()
		r := w.waiting(l)
		w.must(os.Mkdir(filepath.Join(l.l.Launchers(), "barred"), 0o755))
		w.runFor(w.with(l, oldVersion), 24*time.Hour)
		w.nextIs(l, r.Version, true)
		w.must(w.fleet.Drafts[manifest.Targets].SetRules(manifest.Rules{Blocked: []string{r.SHA256}}))
		w.fleet.Publish(manifest.Targets)
		w.runFor(w.with(l, oldVersion), 24*time.Hour)
		w.nextIs(l, "1.2.3", false)
	})
}
