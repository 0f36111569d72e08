package swap

import (
	"errors"

	"golang.org/x/sys/windows"
)

// held: scanners and indexers hold new and running programs for seconds.
func held(err error) bool {
	for _, e := range []error{
		windows.ERROR_SHARING_VIOLATION, windows.ERROR_LOCK_VIOLATION, windows.ERROR_ACCESS_DENIED, windows.ERROR_USER_MAPPED_FILE,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// copyAttributes has nothing to do: rights come from the folder.
func copyAttributes(string, string) error { return nil }
