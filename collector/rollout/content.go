package rollout

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/pace"
	"hausmeister/platform/layout"
	"hausmeister/proto/manifest"
)

// stamp tells whether a file may have changed since its hash was read.
type stamp struct {
	size     int64
	modified time.Time
}

// take copies a target's file into the folder of this collector, under its hash,
// unless it is there whole.
func (r *Rollouts) take(src *os.Root, t manifest.Target) error {
	path := filepath.Join(r.targetsDir(), t.SHA256)
	if whole(path, t.Length, t.SHA256) {
		return nil
	}
	from, err := src.Open(filepath.Join("targets", filepath.FromSlash(t.RemoteName())))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s has no file %s", ErrIncomplete, t.Path, t.RemoteName())
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", t.Path, err)
	}
	defer from.Close()
	return copyVerified(from, path, t)
}

// copyVerified writes beside, syncs, and gives the name last: whoever finds the
// name finds all bytes.
func copyVerified(from io.Reader, path string, t manifest.Target) (err error) {
	v, err := manifest.NewVerifier(t)
	if err != nil {
		return fmt.Errorf("%s: %w", t.Path, err)
	}
	to, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("storing %s: %w", t.Path, err)
	}
	defer func() {
		if err != nil {
			to.Close()
			os.Remove(to.Name())
		}
	}()
	// One byte more than it should have, so that a longer file is seen to be one.
	if _, err = io.Copy(io.MultiWriter(v, to), io.LimitReader(from, t.Length+1)); err == nil {
		err = v.Verified()
	}
	if errors.Is(err, manifest.ErrBytes) {
		return fmt.Errorf("%w: %s has other bytes than were signed: %w", ErrIncomplete, t.Path, err)
	}
	if err != nil {
		return fmt.Errorf("storing %s: %w", t.Path, err)
	}
	if err = to.Sync(); err != nil {
		return fmt.Errorf("storing %s: %w", t.Path, err)
	}
	if err = to.Close(); err != nil {
		return fmt.Errorf("storing %s: %w", t.Path, err)
	}
	if err = os.Rename(to.Name(), path); err != nil {
		return fmt.Errorf("storing %s: %w", t.Path, err)
	}
	if err = layout.SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("storing %s: %w", t.Path, err)
	}
	return nil
}

// whole reads a file and says whether it is what it is called.
func whole(path string, length int64, hash string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return hashes(f, length, hash)
}

func hashes(f io.Reader, length int64, hash string) bool {
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(f, length+1))
	return err == nil && n == length && hex.EncodeToString(h.Sum(nil)) == hash
}

// open gives a target's file to be read in any order. Its hash is read the first
// time, and again when the file looks as if it had changed: no device is sent what
// it would have to throw away.
func (r *Rollouts) open(hash string, length int64) (pace.Content, error) {
	f, err := os.Open(filepath.Join(r.targetsDir(), hash))
	if errors.Is(err, fs.ErrNotExist) {
		return pace.Content{}, access.ErrNotFound
	}
	if err != nil {
		return pace.Content{}, fmt.Errorf("opening the file of an update: %w", err)
	}
	if err := r.verify(f, hash, length); err != nil {
		f.Close()
		return pace.Content{}, err
	}
	return pace.Content{ReaderAt: f, Size: length, Close: func() { f.Close() }}, nil
}

func (r *Rollouts) verify(f *os.File, hash string, length int64) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("opening the file of an update: %w", err)
	}
	is := stamp{size: info.Size(), modified: info.ModTime()}
	r.checking.Lock()
	defer r.checking.Unlock()
	if r.checked[hash] == is {
		return nil
	}
	delete(r.checked, hash)
	if !hashes(io.NewSectionReader(f, 0, length+1), length, hash) {
		r.log.Error("the file of an update is damaged; import the repository again", "sha256", hash)
		return access.ErrNotFound
	}
	r.checked[hash] = is
	return nil
}

// sweep deletes the files that no target names, and what a crash left.
func (r *Rollouts) sweep(named map[string]bool) error {
	entries, err := os.ReadDir(r.targetsDir())
	if err != nil {
		return fmt.Errorf("sweeping files of updates: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if !named[e.Name()] {
			errs = append(errs, os.Remove(filepath.Join(r.targetsDir(), e.Name())))
		}
	}
	return errors.Join(errs...)
}
