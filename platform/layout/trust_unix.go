//go:build unix

package layout

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// openOurs opens a plain file for reading. All is asked of the open file: it is
// no link (neither kind), is ours or root's, and nobody else may write to it.
func openOurs(name string) (*os.File, error) {
	// Without NONBLOCK a planted pipe would keep us waiting.
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		if pe, ok := err.(*os.PathError); ok && pe.Err == unix.ELOOP {
			return nil, fmt.Errorf("%s: %w: a link", name, ErrForeign)
		}
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = oursAlone(info)
	}
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: not a plain file", ErrForeign)
	}
	if err == nil && info.Sys().(*syscall.Stat_t).Nlink != 1 {
		err = fmt.Errorf("%w: it has other names", ErrForeign)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

func oursAlone(info os.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return ErrForeign
	case st.Uid != uint32(os.Geteuid()) && st.Uid != 0:
		return fmt.Errorf("%w: owned by user %d", ErrForeign, st.Uid)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%w: others may write", ErrForeign)
	}
	return nil
}

// checkFolder refuses a folder in which somebody else could put another program
// in the place of ours, also by renaming a folder above it.
func checkFolder(path string) error {
	for first := true; ; first = false {
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		if info.Mode()&os.ModeSymlink != 0 && !first {
			// Such as /var on macOS: what it points to is what counts, and who
			// may change the link is said by the folder that it is in.
			if info, err = os.Stat(path); err != nil {
				return err
			}
		}
		if !info.IsDir() {
			return fmt.Errorf("%s: %w", path, ErrForeign)
		}
		if err := oursAlone(info); err != nil && (first || info.Mode()&os.ModeSticky == 0) {
			return fmt.Errorf("%s: %w", path, err)
		}
		parent := filepath.Dir(path)
		if parent == path {
			return nil
		}
		path = parent
	}
}

// setPointer makes `pointer` lead to the folder `to` beside it. A symbolic link
// is replaced by a rename, so that there is never none.
func setPointer(d Disk, pointer, to string) error {
	tmp := pointer + tmpMark
	if err := d.Remove(tmp); err != nil {
		return err
	}
	if err := d.Symlink(to, tmp); err != nil {
		return err
	}
	if err := d.Rename(tmp, pointer); err != nil {
		return err
	}
	return d.SyncDir(filepath.Dir(pointer))
}

func pointsTo(d Disk, pointer string) (string, error) { return d.Readlink(pointer) }
