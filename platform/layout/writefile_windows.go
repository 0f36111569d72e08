package layout

import (
	"errors"
	"time"

	"golang.org/x/sys/windows"
)

// Rights come from the folder's inherited list; the mode bits say nothing.
const chmodMayFail = true

// replace renames over the target and returns when that is on the disk: WRITE_THROUGH
// is what stands in for an fsync of the folder, which Windows does not have.
// A virus scanner or an indexer that holds the target open for a moment makes the
// rename fail with access denied or a sharing violation, so it is tried for a second.
func replace(from, to string) error {
	f, err := windows.UTF16PtrFromString(from)
	if err != nil {
		return err
	}
	t, err := windows.UTF16PtrFromString(to)
	if err != nil {
		return err
	}
	const flags = windows.MOVEFILE_REPLACE_EXISTING | windows.MOVEFILE_WRITE_THROUGH
	for wait := 10 * time.Millisecond; ; wait *= 2 {
		err = windows.MoveFileEx(f, t, flags)
		held := errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_ACCESS_DENIED)
		if !held || wait > 500*time.Millisecond {
			return err
		}
		time.Sleep(wait)
	}
}

func syncDir(string) error { return nil }
