//go:build unix

package layout

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile uses flock, not fcntl: its lock belongs to the open file, so a
// second Lock in the same process is refused too, and closing some other
// handle of the file does not drop it.
func lockFile(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return ErrLocked
		case errors.Is(err, unix.ENOLCK): // as a server of files that has no locks
			return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
		default:
			return err
		}
	}
}

func lockOpen(f *os.File, _ string) (*FileLock, error) {
	if err := lockFile(f); err != nil {
		return nil, err
	}
	return &FileLock{files: []*os.File{f}}, nil
}
