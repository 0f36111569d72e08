package update_test

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"time"

	"hausmeister/agent/update"
	"hausmeister/agent/update/journal"
	"hausmeister/proto/manifest"
	"hausmeister/testenv/fault"
)

// tight is the parts' folder on a disk on which they take room.
type tight struct{ little }

func (p tight) Free() (uint64, error) {
	free, err := p.little.Free()
	held, heldErr := p.Held()
	return free - held, errors.Join(err, heldErr)
}

// TestAttack20_RoomForTheRest: what came is not thrown away for the room that it takes
// itself.
func TestAttack20_RoomForTheRest(t *testing.T) {
	inBubble(t, func(w *world) {
		r := w.release(manifest.Release{Version: newVersion})
		w.cut, w.free = true, uint64(3*r.Length)
		c := w.config(oldVersion)
		c.Parts = tight{little{w.parts, w}}
		u := update.New(c)
		u.Offered(offer(r, "lease"))
		if w.runFor(u, 10*time.Hour) || len(w.left()) != 1 || w.begun < 2 || strings.Contains(w.told(), "space") {
			w.Errorf("cut again and again: %v here after %d downloads, told %s", w.left(), w.begun, w.told())
		}
		w.mu.Lock()
		w.cut = false
		w.mu.Unlock()
		if !w.runFor(u, 5*time.Hour) || strings.Contains(w.told(), "space") {
			w.Errorf("not cut any more: told %s", w.told())
		}
	})
}

func TestAttack20_DiskFull(t *testing.T) {
	inBubble(t, func(w *world) {
		r := w.release(manifest.Release{Version: newVersion})
		w.free = uint64(3*r.Length - 1)
		if w.offered(r, "lease", 5*time.Hour) || !strings.HasSuffix(w.told(), "waiting:space") || w.fetched != 0 {
			w.Errorf("with too little room: told %s, %d downloads", w.told(), w.fetched)
		}
		w.free = uint64(3 * r.Length)
		if !w.runFor(w.updater(oldVersion), 3*time.Hour) {
			w.Errorf("with room again: told %s", w.told())
		}
	})
	// Full where the copy is made: nothing of it stays, and it goes on later.
	inBubble(t, func(w *world) {
		r := w.release(manifest.Release{Version: newVersion})
		w.tree.Plan(func(op fault.Op) fault.Fault {
			if strings.Contains(op.Name, newVersion) {
				return fault.Full
			}
			return fault.None
		})
		if w.offered(r, "lease", 5*time.Hour) || w.journal().State != journal.Downloaded {
			w.Errorf("on a full disk: %s, told %s", w.journal().State, w.told())
		}
		if left := w.left(); len(left) != 0 {
			w.Errorf("on a full disk stay %v", left)
		}
		w.tree.Plan(nil)
		w.free = 0 // what came is gone, and it does not come again before there is room
		before := w.begun
		if w.runFor(w.updater(oldVersion), 5*time.Hour) || w.begun != before {
			w.Errorf("without room: %d downloads more, told %s", w.begun-before, w.told())
		}
		w.free = 1 << 40
		if !w.runFor(w.updater(oldVersion), 3*time.Hour) || w.begun != before+1 {
			w.Errorf("with room again: %d downloads more, told %s", w.begun-before, w.told())
		}
	})
	// Too little room for the rest of what began to come.
	inBubble(t, func(w *world) {
		r := w.release(manifest.Release{Version: newVersion})
		w.cut = true
		if w.offered(r, "lease", 30*time.Minute) || len(w.left()) != 1 {
			w.Errorf("cut: %v here, told %s", w.left(), w.told())
		}
		w.cut, w.free = false, uint64(r.Length)
		if w.runFor(w.updater(oldVersion), 5*time.Hour) || len(w.left()) != 0 || !strings.HasSuffix(w.told(), "waiting:space") {
			w.Errorf("with too little room for the rest: %v stays, told %s", w.left(), w.told())
		}
	})
	// Full when the next session brings the offer again.
	inBubble(t, func(w *world) {
		r := w.release(manifest.Release{Version: newVersion})
		w.onFetch = func() { w.mu.Lock(); w.hindrance = update.Hindrance{Battery: true}; w.mu.Unlock() }
		if w.offered(r, "lease", time.Hour) || len(w.left()) != 1 {
			w.Errorf("downloaded: %v here, told %s", w.left(), w.told())
		}
		w.noteErr = &fs.PathError{Op: "write", Path: "offer.json", Err: syscall.ENOSPC}
		if w.offered(r, "lease", time.Hour) || len(w.left()) != 0 {
			w.Errorf("on a full disk stay %v", w.left())
		}
		w.noteErr, w.onFetch, w.hindrance = nil, nil, update.Hindrance{}
		if !w.offered(r, "lease", 3*time.Hour) || w.begun != 2 {
			w.Errorf("with room again: %d downloads, told %s", w.begun, w.told())
		}
	})
	inBubble(t, func(w *world) { // a launcher, for which there is no offer
		l := w.newLine()
		r := w.launcherRelease(manifest.Release{Version: "1.3.0"})
		time.Sleep(rampLasts)
		w.cut = true
		if got := w.taken(l, 24*time.Hour); got != "1.2.3" || len(w.left()) != 1 {
			w.Errorf("cut: launcher %s, %v here", got, w.left())
		}
		w.cut, w.free = false, 0
		if got := w.taken(l, 24*time.Hour); got != "1.2.3" || len(w.left()) != 0 {
			w.Errorf("without room: launcher %s, %v stays", got, w.left())
		}
		w.free = 1 << 40
		w.fleet.Publish()
		if got := w.taken(l, 24*time.Hour); got != r.Version {
			w.Errorf("with room again: launcher %s", got)
		}
	})
}
