//go:build unix

package release

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"hausmeister/platform/layout"
)

// TestLockDraftsThatAreNotThere: the first verbs of a desk wait for each other, too, and
// one that was begun in the wrong folder leaves none.
func TestLockDraftsThatAreNotThere(t *testing.T) {
	above := filepath.Join(t.TempDir(), "desk")
	dir := filepath.Join(above, "drafts")
	first, err := LockDrafts(dir, Waiting{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := LockDrafts(dir, Waiting{}); !errors.Is(err, layout.ErrLocked) {
		t.Errorf("a second verb: %v, want ErrLocked", err)
	}
	waits, ended := make(chan bool), make(chan bool)
	var all sync.WaitGroup
	all.Go(func() {
		defer close(ended)
		second, err := LockDrafts(dir, Waiting{Patience: time.Minute, Waits: func() { close(waits) }})
		if err != nil {
			t.Errorf("the one that waited: %v", err)
			return
		}
		if _, err := LockDrafts(dir, Waiting{}); !errors.Is(err, layout.ErrLocked) {
			t.Errorf("beside the one that waited: %v, want ErrLocked", err)
		}
		if err := second.Close(); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-waits:
	case <-ended:
		t.Error("a second verb did not wait")
	}
	// A folder is put in its place: the lock of the old one holds nobody.
	kept := filepath.Join(dir, "kept")
	for _, err := range []error{os.Rename(dir, dir+".old"), os.Mkdir(dir, 0o755), os.WriteFile(kept, nil, 0o644), first.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	all.Wait()
	if err := os.RemoveAll(above); err != nil {
		t.Fatal(err)
	}

	nothing, err := LockDrafts(dir, Waiting{})
	if err != nil {
		t.Fatal(err)
	}
	if err := nothing.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(above); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a verb that wrote nothing leaves %s: %v", above, err)
	}

	third, err := LockDrafts(dir, Waiting{})
	if err != nil {
		t.Fatal(err)
	}
	draft := filepath.Join(dir, "targets.json")
	if err := os.WriteFile(draft, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := third.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(draft); err != nil {
		t.Errorf("what a verb wrote: %v", err)
	}
}

// TestWithoutLocks: some shares know none. What could be done before is done, and said.
func TestWithoutLocks(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "record"))
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	w := Waiting{Lockless: func() { told++ }}
	l, err := w.hold(f, func() (*layout.FileLock, error) {
		return nil, fmt.Errorf("locking: %w", errors.ErrUnsupported)
	})
	if err != nil || told != 1 {
		t.Fatalf("a file system without locks: %v, told %d times; want to go on, told once", err, told)
	}
	if _, err := f.WriteString("goes on\n"); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := f.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the file is still open: %v", err)
	}
}
