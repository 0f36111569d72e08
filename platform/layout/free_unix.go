//go:build unix

package layout

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

func free(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return st.Bavail * uint64(st.Bsize), nil
}

// IsFull says whether an error means that the disk has no room.
func IsFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// IsTaken says whether an error means that a file is not there any more, which is what a
// scanner leaves.
func IsTaken(err error) bool { return errors.Is(err, fs.ErrNotExist) }
