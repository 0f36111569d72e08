package layout

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/windows"
)

func free(dir string) (n uint64, err error) {
	p, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	err = windows.GetDiskFreeSpaceEx(p, &n, nil, nil)
	return n, err
}

// IsFull says whether an error means that the disk has no room.
func IsFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}

// IsTaken says whether an error means that a file is not there any more, or that a
// scanner lets nobody at it.
func IsTaken(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, windows.ERROR_VIRUS_INFECTED) || errors.Is(err, windows.ERROR_VIRUS_DELETED)
}
