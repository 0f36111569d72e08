package update_test

import (
	"testing"
	"time"

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
