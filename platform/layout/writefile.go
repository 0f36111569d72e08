package layout

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// WriteFile replaces the file at path by data: after a crash at any moment the
// path has the old content or the new, whole. On return the new one is durable.
// The folder must exist. Only one process at a time may write a given path.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	if err := writeFile(path, data, perm); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func writeFile(path string, data []byte, perm fs.FileMode) (err error) {
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	removeLeftovers(dir, name)
	// CreateTemp makes 0600, so that nobody reads a secret before Chmod.
	f, err := os.CreateTemp(dir, name+".tmp-*")
	if err != nil {
		return err
	}
	tmp := f.Name()
	defer func() {
		if err != nil {
			f.Close() // the second Close of a good file is harmless
			os.Remove(tmp)
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Chmod(perm); err != nil && !chmodMayFail {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = replace(tmp, path); err != nil {
		return err
	}
	return syncDir(dir)
}

// removeLeftovers removes what a crash in an earlier WriteFile of this name left.
func removeLeftovers(dir, name string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // the write itself will say what is wrong
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), name+".tmp-") {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// SyncDir makes creations and removals in the folder durable, where the
// operating system needs to be asked for that.
func SyncDir(path string) error { return syncDir(path) }
