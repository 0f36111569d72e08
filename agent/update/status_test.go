package update_test

import (
	"errors"
	"testing"
	"time"

	"hausmeister/agent/update"
	"hausmeister/agent/update/journal"
	"hausmeister/proto/manifest"
)

// TestStatusSaysHowTheLastUpdateFailed: also after it was told, after a restart, and until
// another program is here; an update that was only taken back is none that failed.
func TestStatusSaysHowTheLastUpdateFailed(t *testing.T) {
	inBubble(t, func(w *world) {
		wants := func(when, failed string, why journal.Reason) {
			t.Helper()
			u := w.updater(oldVersion) // another start each time
			w.runFor(u, 2*time.Minute)
			if s := u.Status(); s.Failed != failed || s.Why != why.String() {
				t.Errorf("%s: status %+v, want %q failed for %q", when, s, failed, why)
			}
			if left := w.journal().Untold; len(left) != 0 {
				t.Errorf("%s: %d steps are not told", when, len(left))
			}
		}
		wants("before any", "", journal.None)
		w.onTest = func() error { return update.ErrSelftest }
		bad := w.release(manifest.Release{Version: "1.0.5"})
		w.refused(bad, "lease-1", journal.Selftest)
		w.onTest = nil
		wants("refused", "1.0.5", journal.Selftest)
		w.refused(bad, "lease-2", journal.BarredHere)
		wants("refused as before", "1.0.5", journal.Selftest)

		r := w.release(manifest.Release{Version: newVersion})
		u := w.updater(oldVersion)
		u.Offered(offer(r, "lease-3"))
		w.hindrance.Support = true
		w.runFor(u, time.Hour)
		if s := u.Status(); s.Failed != "" || s.State != journal.Offered.String() {
			t.Errorf("while another one comes: status %+v", s)
		}
		u = w.updater(oldVersion)
		u.Withdrawn("lease-3")
		w.runFor(u, time.Minute)
		wants("another one was taken back", "1.0.5", journal.Selftest)
		w.hindrance.Support = false

		if !w.offered(r, "lease-4", 24*time.Hour) {
			t.Fatal("not armed")
		}
		w.steps(journal.Event{Kind: journal.SwapTry}, journal.Event{Kind: journal.SwapDone}, journal.Event{Kind: journal.Start},
			journal.Event{Kind: journal.GiveUp}, journal.Event{Kind: journal.Restored})
		wants("rolled back", newVersion, journal.NoCollector)

		last := w.release(manifest.Release{Version: "1.2.0"})
		if !w.offered(last, "lease-5", 24*time.Hour) {
			t.Fatal("not armed")
		}
		p := w.journal().Next
		w.launcher(p)
		c := w.config(p.Version)
		c.Sum = p.Sum
		u = update.New(c)
		w.runFor(u, 2*time.Minute)
		if s := u.Status(); s.Failed != "" || s.Why != "" || s.State != journal.Committed.String() {
			t.Errorf("after a good one: status %+v", s)
		}
	})
}

// TestStatusSaysHowItFailedOnAFullDisk: where it cannot be noted, this start knows it.
func TestStatusSaysHowItFailedOnAFullDisk(t *testing.T) {
	inBubble(t, func(w *world) {
		u := w.updater(oldVersion)
		w.onTest = func() error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.noteErr = errNoRoom
			return update.ErrSelftest
		}
		u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease-1"))
		w.runFor(u, 2*time.Hour)
		if s := u.Status(); s.Failed != newVersion || s.Why != journal.Selftest.String() {
			t.Errorf("status %+v, told %s", s, w.told())
		}
	})
}

var errNoRoom = errors.New("no space left on device")
