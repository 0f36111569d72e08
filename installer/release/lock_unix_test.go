//go:build unix

package release

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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

// TestLockDraftsOfAnother: who waited for a folder that was then taken away leaves the new
// one alone, in which its owner has not written yet.
func TestLockDraftsOfAnother(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "drafts")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	first, err := layout.LockOpen(f, dir)
	if err != nil {
		t.Fatal(err)
	}
	waits := make(chan bool)
	var all sync.WaitGroup
	all.Go(func() {
		l, err := LockDrafts(dir, Waiting{Patience: time.Minute, Waits: func() { waits <- true }})
		if err != nil {
			t.Errorf("the one that waited: %v", err)
			return
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	<-waits
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	second, err := LockDrafts(dir, Waiting{})
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-waits: // for the new folder now
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("the folder that somebody holds: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("nobody waits for the new folder")
		go func() { <-waits }()
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	all.Wait()
}

// TestMissing: also where not even the root is there.
func TestMissing(t *testing.T) {
	nothing := func(string) (os.FileInfo, error) { return nil, os.ErrNotExist }
	if got, want := missing("/a/b", nothing), []string{"/a/b", "/a", "/"}; !slices.Equal(got, want) {
		t.Errorf("missing = %v, want %v", got, want)
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
