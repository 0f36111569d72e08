//go:build unix

package layout_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"hausmeister/platform/layout"
	"hausmeister/testenv/need"
)

func TestCreate(t *testing.T) {
	l := layout.Layout{Root: filepath.Join(t.TempDir(), "a", "hausmeister")}
	// Rights must not depend on who starts it.
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	for range 2 { // a second time changes nothing
		if err := l.Create(); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]fs.FileMode{
			l.Root: 0o755, l.Versions(): 0o755, l.Public(): 0o755, l.Wishes(): 0o733, l.State(): 0o700, l.Spool(): 0o700, l.Log(): 0o700,
		} {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != want || !info.IsDir() || (info.Mode()&fs.ModeSticky != 0) != (path == l.Wishes()) {
				t.Errorf("%s is %v, want a folder with %v", path, info.Mode(), want)
			}
		}
	}
	if err := os.Chmod(l.State(), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := l.Create(); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(l.State()); info.Mode().Perm() != 0o700 {
		t.Errorf("a state folder open for all stayed %v", info.Mode())
	}
}

func TestCreateRefusesForeignFolders(t *testing.T) {
	t.Run("link", func(t *testing.T) {
		l := layout.Layout{Root: t.TempDir()}
		elsewhere := t.TempDir()
		if err := os.Symlink(elsewhere, l.State()); err != nil {
			t.Fatal(err)
		}
		if err := l.Create(); !errors.Is(err, layout.ErrForeign) {
			t.Errorf("Create over a link = %v, want ErrForeign", err)
		}
	})
	t.Run("file", func(t *testing.T) {
		l := layout.Layout{Root: t.TempDir()}
		if err := os.WriteFile(l.Spool(), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := l.Create(); !errors.Is(err, layout.ErrForeign) {
			t.Errorf("Create over a file = %v, want ErrForeign", err)
		}
	})
	t.Run("owner", func(t *testing.T) {
		need.Root(t) // to give a folder away
		l := layout.Layout{Root: t.TempDir()}
		if err := os.Mkdir(l.State(), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(l.State(), 65534, 65534); err != nil {
			t.Fatal(err)
		}
		if err := l.Create(); !errors.Is(err, layout.ErrForeign) {
			t.Errorf("Create over another user's folder = %v, want ErrForeign", err)
		}
	})
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "identity")
	for _, content := range []string{"one", "", "three, longer than the first"} {
		if err := layout.WriteFile(path, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != content {
			t.Errorf("read %q, %v; want %q", got, err, content)
		}
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, want 0640", info.Mode())
	}
	onlyFile(t, dir, "identity")
}

func onlyFile(t *testing.T, dir, name string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != name {
		t.Errorf("folder holds %v, want only %s", entries, name)
	}
}

func TestWriteFileThatFails(t *testing.T) {
	t.Run("no folder", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "missing", "x")
		err := layout.WriteFile(path, []byte("x"), 0o600)
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
			t.Errorf("WriteFile = %v, want not exist with the path", err)
		}
	})
	t.Run("target is a folder", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := layout.WriteFile(filepath.Join(dir, "x"), []byte("x"), 0o600); err == nil {
			t.Error("WriteFile over a folder = nil")
		}
		onlyFile(t, dir, "x") // nothing left lying about
	})
}

// TestCrashInWriteFile kills a process that rewrites a file without pause, at
// any moment: the file is always one of the contents, whole.
func TestCrashInWriteFile(t *testing.T) {
	if path := os.Getenv("LAYOUT_TEST_WRITE"); path != "" {
		for i := 0; ; i++ {
			if err := layout.WriteFile(path, content(i), 0o600); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			if i == 0 {
				fmt.Println("writing") // tells the parent to strike
			}
		}
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	for round := range 10 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestCrashInWriteFile$")
		cmd.Env = append(os.Environ(), "LAYOUT_TEST_WRITE="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		for range round * 100 { // strike at another moment each round
			_, _ = os.ReadFile(path)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 0 || !bytes.Equal(got, bytes.Repeat(got[:1], 64<<10)) {
			t.Fatalf("round %d: the file is torn: %d bytes", round, len(got))
		}
	}
	if err := layout.WriteFile(path, []byte("last"), 0o600); err != nil {
		t.Fatal(err)
	}
	onlyFile(t, dir, "state") // leftovers of the crashes are gone
}

func content(i int) []byte { return bytes.Repeat([]byte{'a' + byte(i%26)}, 64<<10) }

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l, err := layout.Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := layout.Lock(path); !errors.Is(err, layout.ErrLocked) {
		t.Errorf("second Lock in this process = %v, want ErrLocked", err)
	}
	if out, err := lockElsewhere(path); err == nil || !strings.Contains(out, layout.ErrLocked.Error()) {
		t.Errorf("Lock in another process: %v, %s; want ErrLocked", err, out)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := lockElsewhere(path); err != nil {
		t.Errorf("Lock in another process after Close: %v, %s", err, out)
	}
	// The other process has ended without Close: that is enough.
	l, err = layout.Lock(path)
	if err != nil {
		t.Fatalf("Lock after the other process ended = %v", err)
	}
	l.Close()
}

// TestLockOpen: what is locked itself, a folder and a file, is held until Close.
func TestLockOpen(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "record")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(path string) *os.File {
		t.Helper()
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	for path, beside := range map[string]string{dir: filepath.Join(dir, "lock"), file: file + ".lock"} {
		f := open(path)
		l, err := layout.LockOpen(f, beside)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { // each is held beside the other
			if _, err := layout.LockOpen(open(path), beside); !errors.Is(err, layout.ErrLocked) {
				t.Errorf("second LockOpen of %s = %v, want ErrLocked", path, err)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			l, err := layout.LockOpen(open(path), beside)
			if err != nil {
				t.Fatalf("LockOpen of %s after Close = %v", path, err)
			}
			l.Close()
		}()
	}
}

func lockElsewhere(path string) (string, error) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestLockElsewhere$")
	cmd.Env = append(os.Environ(), "LAYOUT_TEST_LOCK="+path)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestLockElsewhere(t *testing.T) {
	path := os.Getenv("LAYOUT_TEST_LOCK")
	if path == "" {
		t.Skip("only as a process of TestLock")
	}
	if _, err := layout.Lock(path); err != nil {
		t.Fatal(err)
	}
	os.Exit(0) // without Close
}
