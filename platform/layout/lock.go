package layout

import (
	"errors"
	"fmt"
	"os"
)

// ErrLocked: another process holds the lock.
var ErrLocked = errors.New("locked by another process")

// A FileLock is held until Close or the end of the process, however it ends.
type FileLock struct {
	files []*os.File
}

// Lock takes the lock at path without waiting; the file is made when missing
// and stays, since removing it would let two holders meet. On a disk that takes nothing
// one that is there is locked all the same: that writes nothing.
func Lock(path string) (*FileLock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if isReadOnly(err) {
		f, err = os.Open(path)
	}
	if err != nil {
		return nil, fmt.Errorf("opening lock: %w", err)
	}
	if err := lockFile(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return &FileLock{files: []*os.File{f}}, nil
}

// LockOpen takes the lock of an open file or folder itself, without waiting: it leaves
// nothing, and who may open it may lock it, whoever made it. Where the system has only
// locks that keep others from reading (Windows), the lock is the file beside it, as of
// Lock. On success Close closes f, too. A file system without locks is
// errors.ErrUnsupported.
func LockOpen(f *os.File, beside string) (*FileLock, error) {
	l, err := lockOpen(f, beside)
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", f.Name(), err)
	}
	return l, nil
}

// Close gives the lock up.
func (l *FileLock) Close() error {
	var errs []error
	for _, f := range l.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
