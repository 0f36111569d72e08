//go:build unix

package layout

import (
	"fmt"
	"os"
	"syscall"
)

// takeOver sets the rights of a folder that is there, if it is ours or root's.
func takeOver(path string, info os.FileInfo, r rights) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ErrForeign
	}
	if uid := uint32(os.Geteuid()); st.Uid != uid && st.Uid != 0 {
		return fmt.Errorf("%w: owned by user %d", ErrForeign, st.Uid)
	}
	// The umask may have taken from Mkdir's mode, an earlier hand may have added.
	want := [...]os.FileMode{forNobody: 0o700, forReaders: 0o755, forWishes: 0o733 | os.ModeSticky}[r]
	if info.Mode()&(os.ModePerm|os.ModeSticky) == want {
		return nil
	}
	return os.Chmod(path, want)
}
