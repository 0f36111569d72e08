package release

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"hausmeister/platform/layout"
)

// Two engineers may be at one desk. Who reads a draft and writes it again, or adds to
// the record, waits for the other, so that neither takes away what the other wrote.

const askAgain = 20 * time.Millisecond

// LockDrafts holds a folder of drafts for one verb that changes it, and makes it. It is
// taken before the repository is read: what another has published meanwhile counts. waits
// is told once, if another has it.
func LockDrafts(dir string, patience time.Duration, waits func()) (*layout.FileLock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return lock(filepath.Join(dir, "lock"), patience, waits)
}

// lock waits for whoever has the lock.
func lock(path string, patience time.Duration, waits func()) (*layout.FileLock, error) {
	for until := time.Now().Add(patience); ; time.Sleep(askAgain) {
		l, err := layout.Lock(path)
		if !errors.Is(err, layout.ErrLocked) || time.Now().After(until) {
			return l, err
		}
		if waits != nil {
			waits()
			waits = nil
		}
	}
}
