package update_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"hausmeister/agent/update"
	"hausmeister/agent/update/journal"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
)

// TestAttack20_ArmedBeforeItsStart: what was armed before a start could not be swapped
// in, since the disk takes no journal: the agent does its work for a while before it ends
// for it again.
func TestAttack20_ArmedBeforeItsStart(t *testing.T) {
	inBubble(t, func(w *world) {
		r := w.release(manifest.Release{Version: newVersion})
		if !w.offered(r, "lease", time.Hour) {
			t.Fatalf("not armed, told %s", w.told())
		}
		for range 3 {
			u := w.updater(oldVersion)
			u.Offered(offer(r, "lease")) // a word does not end it sooner
			if w.runFor(u, 10*time.Minute) {
				t.Fatal("ended at once")
			}
			began := time.Now()
			if !w.runFor(w.updater(oldVersion), time.Hour) || time.Since(began) > 20*time.Minute {
				t.Fatalf("not ended for the swap within %v, told %s", time.Since(began), w.told())
			}
		}
	})
}

// TestAttack25_TakenAwayBeforeTheSwap: a scanner that does not let the new program become
// a copy ends the lease, and is told; the program is not to blame, and comes with the next
// lease, when the scanner may know better.
func TestAttack25_TakenAwayBeforeTheSwap(t *testing.T) {
	for name, c := range map[string]struct {
		copy    []byte // what the scanner leaves of the copy
		test    error  // what its test says then
		taker   bool   // it takes what came before that is a copy
		fetched int    // in a lease
		told    string
	}{
		"the copy":       {nil, errors.New("starting the new program's test: fork/exec: no such file or directory"), false, 1, "refused:quarantined"},
		"half the copy":  {[]byte("prog"), update.ErrSelftest, false, 1, "refused:damaged"},
		"what came":      {nil, nil, true, 2, "refused:quarantined"},
		"none, it fails": {[]byte("program " + newVersion), errors.New("a library is missing"), false, 1, "waiting:disk"},
	} {
		inBubble(t, func(w *world) {
			r := w.release(manifest.Release{Version: newVersion})
			tests, bad := 0, true
			w.onTest = func() error {
				if !bad {
					return nil
				}
				tests++
				w.tree.Put(w.versions().Path(newVersion), c.copy)
				return c.test
			}
			lease := func(name string) bool {
				config := w.config(oldVersion)
				if bad && c.taker {
					config.Parts = taker{little{w.parts, w}}
				}
				u := update.New(config)
				u.Offered(offer(r, name))
				return w.runFor(u, 20*time.Hour)
			}
			if c.told == "waiting:disk" {
				if lease("lease-1") || !strings.HasSuffix(w.told(), c.told) || tests < 5 {
					t.Errorf("%s: told %s, %d tests", name, w.told(), tests)
				}
				return
			}
			for i, id := range []string{"lease-1", "lease-2"} {
				if lease(id) || !strings.HasSuffix(w.told(), c.told) || strings.Count(w.told(), "refused") != i+1 {
					t.Errorf("%s, %s: told %s", name, id, w.told())
				}
				if w.fetched != c.fetched*(i+1) || !c.taker && tests != i+1 {
					t.Errorf("%s, %s: fetched %d times, tested %d times", name, id, w.fetched, tests)
				}
				w.must(w.versions().Check(oldVersion, w.old.Sum))
			}
			bad = false
			if !lease("lease-3") {
				t.Errorf("%s: not armed once the scanner left it: told %s", name, w.told())
			}
		})
	}
}

// taker has nothing of what it was given.
type taker struct{ update.Parts }

func (taker) Unpacked() (io.ReadCloser, error) { return nil, fs.ErrNotExist }

// TestAttack25_LauncherRefusesOnce: what the launcher refused is not fetched again under the
// same lease, which each session says again until the collector has heard of it.
func TestAttack25_LauncherRefusesOnce(t *testing.T) {
	inBubble(t, func(w *world) {
		r := w.release(manifest.Release{Version: newVersion})
		for i, lease := range []string{"lease-1", "lease-2"} {
			if !w.offered(r, lease, time.Hour) {
				t.Fatalf("%s: not armed: %s", lease, w.told())
			}
			w.steps(journal.Event{Kind: journal.SwapTry}, journal.Event{Kind: journal.SwapFail, Reason: journal.Quarantined})
			for range 3 { // starts of the agent, the launcher's word being told with the first
				if w.offered(r, lease, time.Hour) || w.begun != i+1 || !strings.HasSuffix(w.told(), "armed refused:quarantined") {
					t.Fatalf("%s again: %d downloads, told %s", lease, w.begun, w.told())
				}
			}
		}
	})
	inBubble(t, func(w *world) { // what was given up is not refused, such as for another by hand
		r := w.release(manifest.Release{Version: newVersion})
		w.offered(r, "lease", time.Second)
		w.steps(journal.Event{Kind: journal.Adopt, Program: w.old})
		if !w.offered(r, "lease", 2*time.Hour) || !strings.HasPrefix(w.told(), "offered waiting:schedule refused:withdrawn offered") {
			t.Errorf("offered again: told %s", w.told())
		}
	})
}

// TestAttack23_RefusedInTheNoteAlone: a lease whose refusal did not get into the journal is
// refused again, also while the collector has not heard of the one before it.
func TestAttack23_RefusedInTheNoteAlone(t *testing.T) {
	inBubble(t, func(w *world) {
		c := w.config(oldVersion)
		c.Sink = deaf{}
		lease := func(version, lease string) {
			r := w.release(manifest.Release{Version: version})
			w.programs[r.SHA256] = []byte("something else")
			u := update.New(c)
			u.Offered(offer(r, lease))
			w.runFor(u, 3*time.Hour)
		}
		lease(newVersion, "lease-1")
		c.Journal = &failing{Journal: c.Journal, kind: journal.Refuse}
		lease("1.2.0", "lease-2")
		if j := w.journal(); j.Next.Known() || w.begun != 2 || j.Untold[len(j.Untold)-1].Lease != "lease-2" {
			t.Errorf("next is %v, %d downloads for two leases, told at last %+v", j.Next, w.begun, j.Untold[len(j.Untold)-1])
		}
	})
}

// deaf is a spool that takes nothing.
type deaf struct{}

func (deaf) Append(context.Context, *hmpb.Entry) (uint64, error) { return 0, fs.ErrPermission }
