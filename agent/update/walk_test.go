package update_test

import (
	"context"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/agent/update"
	"hausmeister/agent/update/fetch"
	"hausmeister/agent/update/journal"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
	"hausmeister/testenv/fault"
	"hausmeister/testenv/need"
	"hausmeister/testenv/tufrepo"
)

func TestWalk(t *testing.T) {
	inBubble(t, func(w *world) {
		r := w.release(manifest.Release{Version: newVersion})
		if !w.offered(r, "lease-1", time.Hour) {
			w.Fatalf("not armed in an hour: %s, told %s", w.journal().State, w.told())
		}
		next := journal.Program{Version: newVersion, Sum: sumOf(w.programs[r.SHA256])}
		j := w.journal()
		if j.State != journal.Armed || j.Next != next || w.versions().Check(newVersion, next.Sum) != nil {
			w.Fatalf("armed: %+v", j)
		}
		w.launcher(next)
		u := w.updater(newVersion)
		w.runFor(u, 5*time.Minute)
		if got, want := w.told(), "offered waiting:schedule offered downloaded staged armed swapped trial committed"; got != want {
			w.Errorf("told %q\nwant %q", got, want)
		}
		last := w.entries[len(w.entries)-1].GetUpdate()
		if last.GetLease() != "lease-1" || last.GetFromVersion() != oldVersion || last.GetToVersion() != newVersion ||
			last.GetLauncherVersion() != "1.2.3" || len(last.GetToSha256()) != 32 {
			w.Errorf("the last step is %v", last)
		}
		if s := u.Status(); s.Off != "" || s.State != "committed" || s.Previous != oldVersion {
			w.Errorf("status %+v", s)
		}
		// All was told; the same again is no update.
		n := len(w.entries)
		u.Offered(offer(r, "lease-1"))
		if w.runFor(u, 24*time.Hour) || len(w.entries) != n {
			w.Errorf("told again: %s", w.told())
		}
	})
}

// TestCommitIsToldAtOnce: the launcher's word comes behind its step, and the gate
// waits for it.
func TestCommitIsToldAtOnce(t *testing.T) {
	inBubble(t, func(w *world) {
		r := w.release(manifest.Release{Version: newVersion})
		if !w.offered(r, "lease-1", time.Hour) {
			w.Fatalf("not armed: %s", w.told())
		}
		next := journal.Program{Version: newVersion, Sum: sumOf(w.programs[r.SHA256])}
		w.steps(journal.Event{Kind: journal.SwapTry}, journal.Event{Kind: journal.SwapDone}, journal.Event{Kind: journal.Start}, journal.Event{Kind: journal.Alive},
			journal.Event{Kind: journal.Check}, journal.Event{Kind: journal.Hear, Program: next})
		in, words := io.Pipe()
		c := w.config(newVersion)
		c.Parent = update.Attach(launched, in, io.Discard)
		u := update.New(c)
		ctx, cancel := context.WithCancel(w.Context())
		var running sync.WaitGroup
		running.Go(func() { u.Run(ctx, func() {}) })
		running.Go(func() { c.Parent.Run(ctx, func() {}) })
		time.Sleep(10 * time.Minute)
		w.steps(journal.Event{Kind: journal.Bound})
		io.WriteString(words, "settled\n")
		synctest.Wait()
		if got := w.told(); !strings.HasSuffix(got, "trial committed") {
			w.Errorf("told %q", got)
		}
		cancel()
		words.Close()
		running.Wait()
	})
}

// TestUntoldIsToldInTheNextSession: a step of which the launcher said no word, with
// nothing under way for which the updater would look.
func TestUntoldIsToldInTheNextSession(t *testing.T) {
	inBubble(t, func(w *world) {
		u := w.updater(oldVersion)
		ctx, cancel := context.WithCancel(w.Context())
		var running sync.WaitGroup
		running.Go(func() { u.Run(ctx, func() {}) })
		time.Sleep(10 * time.Minute)
		w.steps(journal.Event{Kind: journal.Repair, Reason: journal.Damaged})
		synctest.Wait()
		if got := w.told(); got != "" {
			t.Errorf("told %q before anybody was there", got)
		}
		u.Heard(oldVersion, w.old.Sum[:])
		synctest.Wait()
		if got := w.told(); got != "committed:damaged" {
			t.Errorf("told %q with the next session", got)
		}
		cancel()
		running.Wait()
	})
}

func TestOff(t *testing.T) {
	inBubble(t, func(w *world) {
		r := w.release(manifest.Release{Version: newVersion})
		for _, one := range []struct {
			off    string
			change func(*update.Config)
		}{
			{update.NoLauncher, func(c *update.Config) { c.Parent = nil }},
			{update.NoRoot, func(c *update.Config) { c.Root = nil }},
			{update.NoRoot, func(c *update.Config) { c.Root = []byte(`{"signed": "by nobody"}`) }},
			{update.NoJournal, func(c *update.Config) {
				c.Journal = journal.NewStore(journal.Config{Dir: filepath.Join(l.Update(), "none"), Disk: w.tree})
			}},
		} {
			off, c := one.off, w.config(oldVersion)
			one.change(&c)
			u := update.New(c)
			u.Heard("1.0.0", []byte{1})
			u.Offered(offer(r, "lease"))
			if w.runFor(u, time.Hour) || u.Status().Off != off || w.journal().State != journal.Idle {
				w.Errorf("%s: status %+v, journal %s", off, u.Status(), w.journal().State)
			}
		}
		// A root that a package put there does as well as one that was built in.
		w.must(w.trust.Write("root.json", w.fleet.Root()))
		c := w.config(oldVersion)
		c.Root = nil
		u := update.New(c)
		u.Offered(offer(r, "lease"))
		if !w.runFor(u, time.Hour) {
			w.Errorf("with a root in the folder: %+v, told %s", u.Status(), w.told())
		}
	})
}

func TestAttack14_StolenCollector(t *testing.T) {
	// It may offer what is signed, but not before the signed pace reaches this device.
	inBubble(t, func(w *world) {
		begin := time.Now()
		r := w.release(manifest.Release{Version: newVersion, Ramp: manifest.Ramp{T0MS: begin.Add(48 * time.Hour).UnixMilli(), PermillePerHour: 1_000_000}})
		u := w.updater(oldVersion)
		u.Offered(offer(r, "lease"))
		if w.runFor(u, 47*time.Hour) || !strings.HasSuffix(w.told(), "waiting:ramp") || w.fetched != 0 {
			w.Errorf("before its turn: told %s, %d downloads", w.told(), w.fetched)
		}
		if s := u.Status(); !s.Coming() || s.Begins.Before(begin.Add(47*time.Hour)) {
			w.Errorf("status %+v", s)
		}
		w.fleet.Publish() // as it is each day
		if !w.runFor(w.updater(oldVersion), 3*time.Hour) || time.Now().Before(begin.Add(48*time.Hour)) {
			w.Errorf("at its turn: told %s", w.told())
		}
	})
	// What nobody signed, other bytes for a signed name, and a name of its own.
	inBubble(t, func(w *world) {
		r := w.release(manifest.Release{Version: newVersion})
		foreign := r
		foreign.SHA256 = strings.Repeat("ab", 32)
		w.refused(foreign, "lease-1", journal.Signature)
		foreign = r
		foreign.Path = "agent/stable/1.1.0/linux-amd64/other"
		w.refused(foreign, "lease-2", journal.Withdrawn)
		foreign = r
		foreign.Version = "1.2.0"
		w.refused(foreign, "lease-3", journal.Signature)
	})
	// Yesterday's metadata, under an honest collector's word of today's.
	inBubble(t, func(w *world) {
		old := w.fleet.Files()
		r := w.release(manifest.Release{Version: newVersion})
		u := w.updater(oldVersion)
		repo := &hmpb.Repository{}
		repo.SetRootVersion(1)
		repo.SetTimestampVersion(uint64(w.fleet.Drafts[tufrepo.Timestamp].Version()))
		u.Repository(repo)
		w.fleet.SetFiles(old)
		u.Offered(offer(r, "lease"))
		if w.runFor(u, 3*time.Hour) || !strings.HasSuffix(w.told(), "waiting:stale") {
			w.Errorf("with yesterday's metadata: told %s", w.told())
		}
	})
}

func TestAttack18_OtherDevice(t *testing.T) {
	inBubble(t, func(w *world) {
		for lease, r := range map[string]manifest.Release{
			"os": {Version: "1.1.1", OS: "windows"}, "arch": {Version: "1.1.2", Arch: "arm64"}, "channel": {Version: "1.1.3", Channel: "canary"},
		} {
			w.refused(w.release(r), lease, journal.WrongDevice)
		}
		w.refused(w.release(manifest.Release{Version: "1.1.4", LauncherMin: "9.0.0"}), "launcher", journal.Launcher)
		w.refused(w.release(manifest.Release{Version: "1.1.5", MinFrom: "1.0.5"}), "from", journal.From)
		// The right name, and other bytes on the way.
		r := w.release(manifest.Release{Version: newVersion})
		w.programs[r.SHA256] = []byte("something else")
		w.refused(r, "bytes", journal.WrongBytes)
		// A program that says that it cannot run here is barred.
		r = w.release(manifest.Release{Version: "1.1.6"})
		w.onTest = func() error { return update.ErrSelftest }
		w.refused(r, "test", journal.Selftest)
		w.refused(r, "test-again", journal.BarredHere)
	})
}

func TestAttack26_TwoAtOnce(t *testing.T) {
	inBubble(t, func(w *world) {
		r := w.release(manifest.Release{Version: newVersion})
		w.locked = true // by another process
		if w.offered(r, "lease", 3*time.Hour) || w.meta != 0 {
			w.Errorf("while another process has the metadata: %d requests", w.meta)
		}
		w.locked = false
		if !w.runFor(w.updater(oldVersion), 3*time.Hour) {
			w.Errorf("when it is gone: told %s", w.told())
		}
	})
	// Another offer in the middle of a download wins.
	inBubble(t, func(w *world) {
		first, second := w.release(manifest.Release{Version: newVersion}), w.release(manifest.Release{Version: "1.2.0"})
		u := w.updater(oldVersion)
		w.onFetch = func() { w.onFetch = nil; u.Offered(offer(second, "lease-2")) }
		u.Offered(offer(first, "lease-1"))
		if !w.runFor(u, 3*time.Hour) || w.journal().Next.Version != "1.2.0" || !strings.Contains(w.told(), "refused:withdrawn offered") {
			w.Errorf("next is %v, told %s", w.journal().Next, w.told())
		}
	})
	// A third while one is armed changes nothing.
	inBubble(t, func(w *world) {
		w.offered(w.release(manifest.Release{Version: newVersion}), "lease-1", time.Hour)
		if !w.offered(w.release(manifest.Release{Version: "1.2.0"}), "lease-2", time.Hour) || w.journal().Next.Version != newVersion {
			w.Errorf("next is %v", w.journal().Next)
		}
	})
}

// TestAttack26_AnotherLeaseOfTheSameProgram: it ends a download that goes on under the one
// before, which nobody may hold any more. What came stays, and is told under the new one.
func TestAttack26_AnotherLeaseOfTheSameProgram(t *testing.T) {
	begin := func(w *world, then func(u *update.Updater, r manifest.Release)) (first, second string) {
		r := w.release(manifest.Release{Version: newVersion})
		w.slow = 3 * time.Hour
		u := w.updater(oldVersion)
		u.Offered(offer(r, "lease-1"))
		w.runFor(u, 20*time.Minute)
		first = w.told()
		time.AfterFunc(20*time.Minute, func() { then(u, r) })
		time.AfterFunc(20*time.Minute+time.Second, func() { w.mu.Lock(); w.slow = 0; w.mu.Unlock() })
		w.runFor(u, 21*time.Minute)
		return first, strings.TrimPrefix(strings.TrimPrefix(w.told(), first), " ")
	}
	inBubble(t, func(w *world) { // it replaces
		_, told := begin(w, func(u *update.Updater, r manifest.Release) { u.Offered(offer(r, "lease-2")) })
		if w.under != "lease-2" || w.begun != 3 || len(w.left()) != 1 {
			t.Errorf("%d downloads, the last under %s, with %v here", w.begun, w.under, w.left())
		}
		if told != "offered" || w.entries[len(w.entries)-1].GetUpdate().GetLease() != "lease-2" {
			t.Errorf("told %q, at last of %s", told, w.entries[len(w.entries)-1].GetUpdate().GetLease())
		}
		if !w.runFor(w.updater(oldVersion), time.Hour) {
			t.Errorf("not armed under the new lease: %s", w.told())
		}
	})
	inBubble(t, func(w *world) { // it replaces, and is withdrawn before anybody took it
		_, told := begin(w, func(u *update.Updater, r manifest.Release) {
			u.Offered(offer(r, "lease-2"))
			u.Withdrawn("lease-2")
		})
		if j := w.journal(); told != "refused:withdrawn" || j.Next.Known() || w.begun != 2 {
			t.Errorf("told %q, next is %v, %d downloads", told, j.Next, w.begun)
		}
	})
}

func TestAttack38_NoLoop(t *testing.T) {
	inBubble(t, func(w *world) {
		// What was refused is not begun again under the same lease, however often a
		// collector that has not heard of it says so, and told once.
		r := w.release(manifest.Release{Version: newVersion})
		w.programs[r.SHA256] = nil
		w.refused(r, "lease", journal.WrongBytes)
		n, fetched := len(w.entries), w.fetched
		for range 5 {
			w.offered(r, "lease", time.Hour)
		}
		if len(w.entries) != n || w.fetched != fetched {
			w.Errorf("told %s, %d downloads", w.told(), w.fetched)
		}
	})
	inBubble(t, func(w *world) { // three installations a day
		for i, version := range []string{"1.1.0", "1.2.0", "1.3.0", "1.4.0"} {
			r := w.release(manifest.Release{Version: version})
			armed := w.offered(r, "lease-"+version, time.Hour)
			if armed != (i < 3) {
				w.Fatalf("installation %d: armed %t, told %s", i+1, armed, w.told())
			}
			if armed {
				w.launcher(journal.Program{Version: version, Sum: sumOf(w.programs[r.SHA256])})
			}
		}
		if !strings.HasSuffix(w.told(), "refused:too_many") {
			w.Errorf("told %s", w.told())
		}
	})
}

func TestAttack39_Downgrade(t *testing.T) {
	inBubble(t, func(w *world) {
		w.refused(w.release(manifest.Release{Version: "0.9.0"}), "older", journal.Floor)
		// A floor of any release that was seen stays, though it was for a later moment.
		far := time.Now().Add(1000 * time.Hour).UnixMilli()
		w.offered(w.release(manifest.Release{Version: "1.5.0", Floor: "1.4.0", Ramp: manifest.Ramp{T0MS: far}}), "floor", time.Hour)
		w.refused(w.release(manifest.Release{Version: "1.3.0"}), "below", journal.Floor)
	})
	inBubble(t, func(w *world) { // signed as a step back, it is one
		if !w.offered(w.release(manifest.Release{Version: "0.9.0", RollbackOf: oldVersion}), "back", time.Hour) {
			w.Errorf("a signed step back: told %s", w.told())
		}
	})
}

func TestAttack47_RevokedBeforeArming(t *testing.T) {
	for name, revoke := range map[string]func(w *world, r manifest.Release){
		"removed": func(w *world, r manifest.Release) {
			w.fleet.Drafts[manifest.RoleStable].RemoveTarget(r.Path)
			w.fleet.Publish(manifest.RoleStable)
		},
		"blocked": func(w *world, r manifest.Release) {
			w.must(w.fleet.Drafts[tufrepo.Targets].SetRules(manifest.Rules{Blocked: []string{r.SHA256}}))
			w.fleet.Publish(tufrepo.Targets)
		},
	} {
		inBubble(t, func(w *world) {
			r := w.release(manifest.Release{Version: newVersion})
			w.onTest = func() error { revoke(w, r); return nil } // the last thing before arming
			w.refused(r, "lease", journal.Withdrawn)
			if got := w.told(); !strings.Contains(got, "staged refused:withdrawn") {
				w.Errorf("%s: told %s", name, got)
			}
			if w.versions().Check(newVersion, sumOf(w.programs[r.SHA256])) == nil {
				w.Errorf("%s: its copy is still there", name)
			}
		})
	}
	inBubble(t, func(w *world) { // the lease, in the middle of the download
		u := w.updater(oldVersion)
		w.onFetch = func() { u.Withdrawn("") }
		u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease"))
		if w.runFor(u, 5*time.Hour) || !strings.HasSuffix(w.told(), "refused:withdrawn") || w.fetched != 1 {
			w.Errorf("told %s, %d downloads", w.told(), w.fetched)
		}
	})
}

// TestAttack47_WithdrawnInBetween: the collector's word comes in a moment in which nothing
// goes on that it could end: it is heard before anything else is done.
func TestAttack47_WithdrawnInBetween(t *testing.T) {
	inBubble(t, func(w *world) { // behind the words of before, ahead of the work
		c := w.config(oldVersion)
		between := &meanwhile{Wishes: c.Wishes}
		c.Wishes = between
		u := update.New(c)
		between.first = func() { u.Withdrawn("") }
		o := offer(w.release(manifest.Release{Version: newVersion}), "lease")
		o.SetWithinS(0)
		u.Offered(o)
		if w.runFor(u, time.Hour) || w.told() != "offered refused:withdrawn" || w.meta != 0 || w.begun != 0 {
			t.Errorf("told %s, %d requests, %d downloads", w.told(), w.meta, w.begun)
		}
	})
	inBubble(t, func(w *world) { // behind the last look at what is signed, ahead of the arming
		c := w.config(oldVersion)
		var u *update.Updater
		asked := 0
		c.Hindrance = func() update.Hindrance {
			if w.journal().State == journal.Staged {
				if asked++; asked == 2 { // in the arming itself
					u.Withdrawn("")
				}
			}
			return update.Hindrance{}
		}
		u = update.New(c)
		u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease"))
		if w.runFor(u, time.Hour) || !strings.HasSuffix(w.told(), "staged refused:withdrawn") {
			t.Errorf("told %s", w.told())
		}
	})
}

// TestAttack47_WithdrawnAndOffered: a lease that is withdrawn ends, also where an offer that
// comes to nothing follows at once; one of the same program lets it go on.
func TestAttack47_WithdrawnAndOffered(t *testing.T) {
	run := func(w *world, lease string, next func(r manifest.Release) *hmpb.Offer) (armed bool) {
		r := w.release(manifest.Release{Version: newVersion})
		u := w.updater(oldVersion)
		w.hindrance.Battery = true
		u.Offered(offer(r, "lease-1"))
		w.runFor(u, time.Hour)
		w.hindrance.Battery = false
		u.Withdrawn(lease)
		u.Offered(next(r))
		return w.runFor(u, 3*time.Hour)
	}
	for _, lease := range []string{"lease-1", ""} {
		inBubble(t, func(w *world) {
			here := func(r manifest.Release) *hmpb.Offer {
				o := offer(r, "lease-2")
				o.SetVersion(oldVersion)
				o.SetSha256(w.old.Sum[:])
				return o
			}
			if run(w, lease, here) || !strings.HasSuffix(w.told(), "refused:withdrawn") {
				t.Errorf("withdrawn %q, and what is here is offered: told %s", lease, w.told())
			}
		})
		for _, second := range []string{"lease-1", "lease-2"} {
			inBubble(t, func(w *world) {
				same := func(r manifest.Release) *hmpb.Offer { return offer(r, second) }
				if !run(w, lease, same) || strings.Contains(w.told(), "refused") {
					t.Errorf("withdrawn %q, and the same is offered under %s: told %s", lease, second, w.told())
				}
			})
		}
	}
}

// meanwhile lets something happen while somebody asks for wishes for the first time.
type meanwhile struct {
	update.Wishes
	first func()
}

func (m *meanwhile) Wish(version string) string {
	if m.first != nil {
		m.first()
		m.first = nil
	}
	return m.Wishes.Wish(version)
}

// TestReachedAgain: who is offered again after a boot or in another network does not
// wait for what it took when nobody was reached.
func TestReachedAgain(t *testing.T) {
	inBubble(t, func(w *world) {
		r := w.release(manifest.Release{Version: newVersion})
		w.fetchErr = fetch.ErrUnreachable
		u := w.updater(oldVersion)
		u.Offered(offer(r, "lease"))
		time.AfterFunc(8*time.Hour, func() { // by then it tries each two hours
			w.mu.Lock()
			w.fetchErr = nil
			w.mu.Unlock()
			u.Offered(offer(r, "lease"))
		})
		began := time.Now()
		if !w.runFor(u, 10*time.Hour) || time.Since(began) > 8*time.Hour+time.Minute {
			w.Errorf("armed after %v, told %s", time.Since(began), w.told())
		}
	})
}

func TestUnreachable(t *testing.T) {
	inBubble(t, func(w *world) {
		w.fetchErr = fetch.ErrUnreachable
		if w.offered(w.release(manifest.Release{Version: newVersion}), "lease", 10*time.Hour) || !strings.HasSuffix(w.told(), "waiting:unreachable") {
			w.Errorf("told %s", w.told())
		}
		if w.meta > 40 {
			w.Errorf("%d requests in ten hours without a network", w.meta)
		}
		w.fetchErr = nil
		if !w.runFor(w.updater(oldVersion), 3*time.Hour) {
			w.Errorf("with a network: told %s", w.told())
		}
	})
}

// TestAttack23_KilledWhilePreparing: the agent dies at each of its operations on
// journal and copies, loses what was not synced, and starts again.
func TestAttack23_KilledWhilePreparing(t *testing.T) {
	need.Plain(t)
	ops := 0
	for n := 0; n == 0 || n <= ops; n++ {
		inBubble(t, func(w *world) {
			r := w.release(manifest.Release{Version: newVersion})
			w.tree.Plan(fault.At(n-1, fault.Kill)) // the first goes through, and counts
			armed := w.offered(r, "lease", time.Hour)
			if n == 0 {
				ops = len(w.tree.Ops())
				if !armed || ops < 20 {
					w.Fatalf("armed %t after %d operations", armed, ops)
				}
				return
			}
			w.tree.Plan(nil)
			if err := w.versions().Check(oldVersion, w.old.Sum); err != nil || w.journal().Good != w.old {
				w.Errorf("killed at %d: the program that runs: %v", n, err)
			}
			// It starts again, and the collector says the same again.
			if !w.offered(r, "lease", 3*time.Hour) {
				w.Fatalf("killed at %d: not armed, %s, told %s", n, w.journal().State, w.told())
			}
			j := w.journal()
			if err := w.versions().Check(newVersion, j.Next.Sum); err != nil || j.State != journal.Armed || len(j.Swaps) != 1 {
				w.Errorf("killed at %d: %s, %d swaps, the copy: %v", n, j.State, len(j.Swaps), err)
			}
			// Every step was told, at most one of them twice.
			got := strings.Fields(w.told())
			for _, s := range []string{"offered", "downloaded", "staged", "armed"} {
				if !strings.Contains(w.told(), s) {
					w.Errorf("killed at %d: %s was never told: %v", n, s, got)
				}
			}
			if len(got) > 8 {
				w.Errorf("killed at %d: told %v", n, got)
			}
		})
	}
	t.Logf("killed at %d operations", ops)
}
