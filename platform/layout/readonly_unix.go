//go:build unix

package layout

import (
	"errors"

	"golang.org/x/sys/unix"
)

// readOnlyFlag is ST_RDONLY of statvfs(3) on Linux, MNT_RDONLY of statfs(2) on macOS.
const readOnlyFlag = 1

// ReadOnly says whether the disk below a folder takes nothing, as one that was mounted so,
// or was made so by the system after an error. A folder that is missing is on none.
func ReadOnly(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && st.Flags&readOnlyFlag != 0
}

func isReadOnly(err error) bool { return errors.Is(err, unix.EROFS) }
