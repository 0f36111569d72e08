package update_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"hausmeister/agent/update"
	"hausmeister/agent/update/journal"
	"hausmeister/proto/manifest"
	"hausmeister/testenv/fault"
	"hausmeister/testenv/need"
)

// TestPostponedWhileItDownloads: what the person says is heard within minutes, and ends
// the download. What came of it is kept.
func TestPostponedWhileItDownloads(t *testing.T) {
	inBubble(t, func(w *world) {
		begin := time.Now()
		u := w.updater(oldVersion)
		w.slow = 3 * time.Hour
		time.AfterFunc(30*time.Minute, func() { w.postpone(newVersion) })
		var soon journal.Journal
		var before, behind update.Status
		looks := make(chan bool, 2)
		time.AfterFunc(29*time.Minute, func() { before = u.Status(); looks <- true })
		time.AfterFunc(33*time.Minute, func() { soon, behind = w.journal(), u.Status(); looks <- true })
		u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease"))
		if w.runFor(u, 24*time.Hour) {
			t.Errorf("armed %v after the offer, postponed in its first hour", time.Since(begin))
		}
		<-looks
		<-looks
		if soon.State != journal.Offered || soon.Postpones != 1 || w.fetched != 1 || w.told() != "offered waiting:schedule offered waiting:postponed" {
			t.Errorf("3 minutes after the wish: %s, postponed %d times; %d downloads, told %s", soon.State, soon.Postpones, w.fetched, w.told())
		}
		if before.Waits != "" || behind.Waits != journal.Postponed.String() {
			t.Errorf("while bytes come it waits for %q, and for %q after the wish", before.Waits, behind.Waits)
		}
		w.slow = 0
		w.fleet.Publish()
		if !w.runFor(u, 3*time.Hour) {
			t.Errorf("%v after the offer: told %s", time.Since(begin), w.told())
		}
	})
	inBubble(t, func(w *world) { // a fourth wish ends none
		w.slow = 3 * time.Hour
		u := w.updater(oldVersion)
		o := offer(w.release(manifest.Release{Version: newVersion}), "lease")
		o.SetValidS(4 * 24 * 3600)
		u.Offered(o)
		w.runFor(u, time.Second)
		for range 3 {
			w.steps(journal.Event{Kind: journal.Postpone, Wish: "before"})
		}
		time.Sleep(3 * 24 * time.Hour)
		w.fleet.Publish()
		time.AfterFunc(2*time.Hour, func() { w.postpone(newVersion) })
		if !w.runFor(u, 6*time.Hour) || w.fetched != 1 {
			t.Errorf("after %d downloads: told %s", w.fetched, w.told())
		}
	})
}

// TestReasonIsTakenBack: what an update waits for is true for as long as it is told last,
// in each state: a device that goes on says so when it does.
func TestReasonIsTakenBack(t *testing.T) {
	lately := func(w *world, want string) {
		t.Helper()
		if got := w.told(); !strings.HasSuffix(got, want) {
			t.Errorf("told %q, want %q at the end", got, want)
		}
	}
	inBubble(t, func(w *world) { // while bytes come, and not before
		w.hindrance = update.Hindrance{Battery: true}
		u := w.updater(oldVersion)
		u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease"))
		w.runFor(u, 20*time.Minute)
		lately(w, "waiting:battery")
		w.hindrance, w.slow, w.fetchErr = update.Hindrance{}, time.Hour, nil
		w.away = 10 * time.Minute // the school's line is busy
		w.runFor(u, 8*time.Minute)
		lately(w, "waiting:schedule")
		if s := u.Status().Waits; s != journal.Schedule.String() {
			t.Errorf("sent away by its line it waits for %q", s)
		}
		w.away = 0
		w.runFor(u, 20*time.Minute)
		lately(w, "waiting:schedule offered")
		if s := u.Status(); s.Waits != "" || s.State != journal.Offered.String() {
			t.Errorf("while bytes come: %+v", s)
		}
		w.hindrance = update.Hindrance{Support: true} // before it goes on behind the download
		w.slow = 0
		w.runFor(u, 10*time.Minute)
		lately(w, "waiting:support")
	})
	inBubble(t, func(w *world) { // the same reason again is told again
		u := w.updater(oldVersion)
		w.slow = time.Hour
		o := quietly(offer(w.release(manifest.Release{Version: newVersion}), "lease"), 0, time.Hour, 90*time.Minute, 3*time.Hour)
		u.Offered(o)
		w.runFor(u, 140*time.Minute)
		lately(w, "waiting:lesson offered waiting:lesson")
	})
	inBubble(t, func(w *world) { // and again
		w.cut, w.slow = true, 10*time.Minute
		u := w.updater(oldVersion)
		u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease"))
		w.runFor(u, 6*time.Hour)
		if n := strings.Count(w.told()+" ", "offered waiting:unreachable "); n < 3 || n < w.begun-1 { // the last one may go on
			t.Errorf("%d downloads that are cut: told %q", w.begun, w.told())
		}
	})
	inBubble(t, func(w *world) { // behind the download
		testing := make(chan string, 1)
		w.onTest = func() error {
			testing <- w.told()
			return nil
		}
		w.onFetch = func() { w.mu.Lock(); w.hindrance = update.Hindrance{Battery: true}; w.mu.Unlock() }
		u := w.updater(oldVersion)
		u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease"))
		w.runFor(u, time.Hour)
		lately(w, "downloaded waiting:battery")
		w.hindrance = update.Hindrance{}
		w.runFor(u, time.Hour)
		if got := <-testing; !strings.HasSuffix(got, "waiting:battery downloaded") {
			t.Errorf("while it is tested: told %q", got)
		}
	})
	inBubble(t, func(w *world) { // before the swap, its copy being gone
		tested := ""
		w.onTest = func() error {
			tested = w.told()
			w.mu.Lock()
			defer w.mu.Unlock()
			w.hindrance = update.Hindrance{Battery: true}
			return nil
		}
		u := w.updater(oldVersion)
		u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease"))
		w.runFor(u, time.Hour)
		lately(w, "staged waiting:battery")
		w.tree.Put(w.versions().Path(newVersion), nil)
		w.hindrance = update.Hindrance{}
		w.runFor(u, time.Hour)
		if !strings.HasSuffix(tested, "waiting:battery staged") {
			t.Errorf("while it is tested again: told %q", tested)
		}
	})
}

// TestWishIsNotLost: it is there until the journal has it, and counts once.
func TestWishIsNotLost(t *testing.T) {
	need.Plain(t)
	inBubble(t, func(w *world) { // the disk says no, once
		c := w.config(oldVersion)
		c.Journal = &failing{Journal: c.Journal, kind: journal.Postpone}
		u := update.New(c)
		u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease"))
		w.postpone(newVersion)
		if w.runFor(u, 20*time.Hour) || w.journal().Postpones != 1 {
			t.Errorf("postponed %d times, told %s", w.journal().Postpones, w.told())
		}
	})
	killed := 0
	for n := 0; ; n++ { // the agent is killed at each of the journal's operations for it
		over := false
		inBubble(t, func(w *world) {
			r := w.release(manifest.Release{Version: newVersion})
			w.postpone(newVersion)
			w.tree.Plan(fault.At(n, fault.Kill))
			w.offered(r, "lease", time.Second)
			over = !w.tree.Dead()
			w.tree.Plan(nil)
			if w.offered(r, "lease", 2*time.Hour) || w.journal().Postpones != 1 || w.wish != "" {
				t.Errorf("killed at %d: %s, postponed %d times, told %s", n, w.journal().State, w.journal().Postpones, w.told())
			}
		})
		if over {
			break
		}
		killed++
	}
	if killed < 30 {
		t.Errorf("killed at %d operations", killed)
	}
}

// failing is a journal that cannot be written for once.
type failing struct {
	update.Journal
	kind   journal.Kind
	failed bool
}

func (f *failing) Do(ctx context.Context, e journal.Event) (journal.Journal, []journal.Effect, error) {
	if e.Kind == f.kind && !f.failed {
		f.failed = true
		return journal.Journal{}, nil, errors.New("no space left on device")
	}
	return f.Journal.Do(ctx, e)
}

// TestPostponedBeforeArming: the last look for a wish is after everything that takes time.
func TestPostponedBeforeArming(t *testing.T) {
	inBubble(t, func(w *world) {
		begin := time.Now()
		c := w.config(oldVersion)
		said := false
		c.Hindrance = func() update.Hindrance { // asked once more in the arming itself
			if j := w.journal(); j.State == journal.Staged && !said {
				said = true
				w.postpone(newVersion)
			}
			return update.Hindrance{}
		}
		u := update.New(c)
		u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease"))
		if w.runFor(u, 20*time.Hour) || !said || u.Status().Postponable != 2 {
			t.Fatalf("%v after the offer: said %t, status %+v, told %s", time.Since(begin), said, u.Status(), w.told())
		}
		w.fleet.Publish()
		if !w.runFor(u, 10*time.Hour) || time.Since(begin) < 24*time.Hour {
			t.Errorf("armed %v after the offer, want a day: told %s", time.Since(begin), w.told())
		}
	})
}

// TestPostponedTooLate: a wish that comes when the update cannot be put off any more does
// not put off the one after it.
func TestPostponedTooLate(t *testing.T) {
	swapped := []journal.Event{{Kind: journal.SwapTry}, {Kind: journal.SwapDone}, {Kind: journal.Start}}
	for name, then := range map[string]func(w *world, next journal.Program) *update.Updater{
		"swapped in": func(w *world, next journal.Program) *update.Updater {
			w.steps(swapped...)
			u := w.updater(newVersion)
			w.runFor(u, 5*time.Minute)
			if w.wish != "" {
				t.Error("the wish still waits")
			}
			w.steps(journal.Event{Kind: journal.Alive}, journal.Event{Kind: journal.Check}, journal.Event{Kind: journal.Hear, Program: next}, journal.Event{Kind: journal.Bound})
			return u
		},
		"rolled back before anybody heard it": func(w *world, next journal.Program) *update.Updater {
			crash := journal.Event{Kind: journal.End, Reason: journal.Crashed}
			w.steps(slices.Concat(swapped, []journal.Event{crash, {Kind: journal.Start}, crash, {Kind: journal.Start}, crash, {Kind: journal.Restored}})...)
			return w.updater(oldVersion)
		},
		"withdrawn before anybody heard it": func(w *world, next journal.Program) *update.Updater {
			w.steps(journal.Event{Kind: journal.SwapTry}, journal.Event{Kind: journal.SwapFail, Reason: journal.Damaged})
			return w.updater(oldVersion)
		},
	} {
		inBubble(t, func(w *world) {
			r := w.release(manifest.Release{Version: newVersion})
			if !w.offered(r, "lease-1", time.Hour) {
				t.Fatalf("not armed: %s", w.told())
			}
			w.postpone(newVersion)
			u := then(w, journal.Program{Version: newVersion, Sum: sumOf(w.programs[r.SHA256])})
			w.runFor(u, 24*time.Hour)
			u.Offered(offer(w.release(manifest.Release{Version: "1.2.0"}), "lease-2"))
			if !w.runFor(u, time.Hour) || strings.Contains(w.told(), "postponed") {
				t.Errorf("%s: the next one: told %s", name, w.told())
			}
		})
	}
}

// TestPostponedOverLeases: a lease is as long as a day. What was put off stays so under
// the next one, three times and not more.
func TestPostponedOverLeases(t *testing.T) {
	inBubble(t, func(w *world) {
		begin, wishes, said := time.Now(), 0, time.Time{}
		r := w.release(manifest.Release{Version: newVersion})
		u := w.updater(oldVersion)
		armed := false
		for i := 0; i < 10 && !armed; i++ {
			o := offer(r, "lease-"+string(rune('a'+i)))
			o.SetValidS(24 * 3600)
			o.SetWithinS(0)
			w.postpone(newVersion)
			left := u.Status().Postponable
			w.fleet.Publish() // as it is each day
			u.Offered(o)
			if i == 0 || left > 0 {
				wishes, said = wishes+1, time.Now()
			}
			armed = w.runFor(u, 8*time.Hour) // then the device is off
			w.mu.Lock()
			w.wish = ""
			w.mu.Unlock()
			if !armed {
				time.Sleep(16*time.Hour + time.Minute)
			}
		}
		switch after := time.Since(begin); {
		case !armed:
			t.Errorf("not armed after ten wishes: %s", w.told())
		case after < 72*time.Hour || after > 73*time.Hour+30*time.Minute:
			t.Errorf("armed %v after the offer, last wish %v after it, want three days", after, said.Sub(begin))
		}
	})
}

func TestPostponed(t *testing.T) {
	inBubble(t, func(w *world) {
		begin := time.Now()
		u := w.updater(oldVersion)
		u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease"))
		for i := range 4 { // the fourth wish is one too many
			w.postpone(newVersion)
			if left := 2 - i; w.runFor(u, 20*time.Hour) != (i == 3) || i < 3 && u.Status().Postponable != left {
				w.Fatalf("after wish %d: %+v, told %s", i+1, u.Status(), w.told())
			}
			if i == 2 {
				break
			}
			time.Sleep(3 * time.Hour)
		}
		w.postpone(newVersion)
		w.fleet.Publish()
		if !w.runFor(u, 30*time.Hour) || time.Since(begin) < 66*time.Hour {
			w.Errorf("after three days: %v, told %s", time.Since(begin), w.told())
		}
	})
}

// TestPutOffIsShown: a lease may end before what was put off begins; until the next one it
// is known until when that is put off.
func TestPutOffIsShown(t *testing.T) {
	inBubble(t, func(w *world) {
		begin := time.Now()
		u := w.updater(oldVersion)
		o := offer(w.release(manifest.Release{Version: newVersion}), "lease")
		o.SetValidS(24 * 3600)
		u.Offered(o)
		for range 3 {
			w.postpone(newVersion)
			w.runFor(u, 3*time.Minute)
		}
		if s := u.Status(); !s.PutOff.IsZero() || !s.Coming() {
			t.Errorf("under its lease: %+v", s)
		}
		w.runFor(u, 30*time.Hour)
		if s := u.Status(); s.Coming() || s.PutOff.Sub(begin).Round(time.Hour) != 72*time.Hour {
			t.Errorf("behind its lease, %v after the offer: %+v", time.Since(begin), s)
		}
		w.runFor(u, 45*time.Hour)
		if s := u.Status(); !s.PutOff.IsZero() {
			t.Errorf("%v after the offer: %+v", time.Since(begin), s)
		}
	})
}

// TestPostponedAtOnce: three wishes one behind the other are three days.
func TestPostponedAtOnce(t *testing.T) {
	inBubble(t, func(w *world) {
		const day = 24 * time.Hour
		begin := time.Now()
		u := w.updater(oldVersion)
		o := offer(w.release(manifest.Release{Version: newVersion}), "lease")
		o.SetValidS(uint32(5 * day / time.Second))
		u.Offered(o)
		for i := range 3 {
			w.postpone(newVersion)
			w.runFor(u, 10*time.Minute)
			if s := u.Status(); s.Begins.Sub(begin).Round(time.Hour) != time.Duration(i+1)*day || s.Postponable != 2-i {
				t.Errorf("wish %d: it begins %v after the offer, postponable %d", i+1, s.Begins.Sub(begin), s.Postponable)
			}
		}
		for range 3 {
			if w.runFor(u, 23*time.Hour) {
				t.Errorf("armed %v after the offer", time.Since(begin))
			}
			w.fleet.Publish()
		}
		if !w.runFor(u, 6*time.Hour) {
			t.Errorf("%v after the offer: told %s", time.Since(begin), w.told())
		}
	})
}
