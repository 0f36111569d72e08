package release

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"hausmeister/platform/layout"
)

// Two engineers may be at one desk, each as an OS user of his own. Who reads a draft and
// writes it again, or adds to the record, waits for the other, so that neither takes away
// what the other wrote. The locks are those of the folder and of the record themselves:
// two that never stand for the same thing, wherever the record lies. A desk is one machine:
// over NFS the lock of a folder holds on one machine only.

const askAgain = 20 * time.Millisecond

// Waiting is how somebody waits for who is at work at the same drafts or record.
type Waiting struct {
	Patience time.Duration
	Waits    func() // told once, if another is at work; may be nil
	Lockless func() // told if the file system has no locks, and nothing is held; may be nil
}

// LockDrafts holds a folder of drafts for one verb that changes it. It is taken before
// the repository is read: what another has published meanwhile counts. A folder that is
// not there is made, so that the first verbs wait for each other, too, and is gone with
// Close if nothing came into it.
func LockDrafts(dir string, w Waiting) (io.Closer, error) {
	for {
		made := missing(dir, os.Stat)
		err := os.MkdirAll(dir, 0o755)
		if err != nil {
			return heldFolder{}, nil // the verb says what hinders it, if it comes to writing
		}
		f, err := os.Open(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue // who made it took it away
		}
		if err != nil {
			return nil, err
		}
		l, err := w.hold(f, func() (*layout.FileLock, error) { return layout.LockOpen(f, filepath.Join(dir, "lock")) })
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		locked, err1 := f.Stat()
		there, err2 := os.Stat(dir)
		if err1 == nil && err2 == nil && os.SameFile(locked, there) {
			return heldFolder{lock: l, made: made}, nil
		}
		// Who had it took the folder away: the lock of what is gone holds nobody. What
		// has its name now may be held, and empty still.
		if err := l.Close(); err != nil {
			return nil, err
		}
	}
}

// heldFolder is a folder that is held, and which ones were made for that, deepest first.
type heldFolder struct {
	lock io.Closer
	made []string
}

func (h heldFolder) Close() error {
	for _, dir := range h.made {
		_ = os.Remove(dir) // stays if anything is in it
	}
	if h.lock == nil {
		return nil
	}
	return h.lock.Close()
}

// missing are the folders that are not there, deepest first. On Windows not even the root
// may be, as that of a drive that is not plugged in.
func missing(dir string, stat func(string) (fs.FileInfo, error)) (all []string) {
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		if _, err := stat(d); !errors.Is(err, fs.ErrNotExist) {
			return all
		}
		all = append(all, d)
		if d == filepath.Dir(d) {
			return all
		}
	}
}

// hold waits for whoever has the lock of f that try takes. Without locks f is all that is
// to be closed.
func (w Waiting) hold(f io.Closer, try func() (*layout.FileLock, error)) (io.Closer, error) {
	waits := w.Waits
	for until := time.Now().Add(w.Patience); ; time.Sleep(askAgain) {
		l, err := try()
		switch {
		case err == nil:
			return l, nil
		case errors.Is(err, errors.ErrUnsupported):
			if w.Lockless != nil {
				w.Lockless()
			}
			return f, nil
		case !errors.Is(err, layout.ErrLocked) || time.Now().After(until):
			return nil, err
		}
		if waits != nil {
			waits()
			waits = nil
		}
	}
}
