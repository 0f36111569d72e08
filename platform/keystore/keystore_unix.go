//go:build unix

package keystore

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// ownerOnly refuses a file that others may read or write, and one that another
// user but root owns: that one can open it whatever its mode says now.
func ownerOnly(info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%w: mode %04o", ErrExposed, mode)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%w: owned by user %d", ErrExposed, st.Uid)
	}
	return nil
}
