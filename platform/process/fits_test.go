package process

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// TestNoProgram: an input or output error is a word of the program where the disk gives
// the file, and one of the disk where it does not.
func TestNoProgram(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "program")
	if err := os.WriteFile(there, []byte("\x7fELF"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		err  error
		want bool
	}{
		{there, syscall.EIO, true},
		{filepath.Join(dir, "none"), syscall.EIO, false},
		{dir, syscall.EIO, false}, // what opens and cannot be read
		{there, syscall.EACCES, false},
		{there, exec.ErrNotFound, false},
		{there, nil, false},
	} {
		if got := NoProgram(c.path, &os.PathError{Op: "fork/exec", Path: c.path, Err: c.err}); got != c.want {
			t.Errorf("%s, %v: %v", filepath.Base(c.path), c.err, got)
		}
	}
}
