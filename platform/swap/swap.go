package swap

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/minio/selfupdate"

	"hausmeister/platform/layout"
)

var (
	// ErrHeld: another program holds the file, and did so for as long as we tried.
	ErrHeld = errors.New("held by another program")
	// ErrSpace: there is not enough room for another copy.
	ErrSpace = errors.New("not enough space")
)

// An Engine writes the new file and does the renames; nil is selfupdate. Tests
// put one between that works on their disk or counts.
type Engine interface {
	// Prepare writes r, which must have the sum, to `.NAME.new` beside target.
	Prepare(r io.Reader, target string, mode fs.FileMode, want layout.Sum) error
	// Commit renames target to old and `.NAME.new` to target.
	Commit(target, old string) error
}

// Config says what is swapped.
type Config struct {
	Target string // absolute path of the program that runs
	Disk   layout.Disk
	Engine Engine // nil: selfupdate
	// HeldFor is how long a held file is tried for; 0 = a minute.
	HeldFor time.Duration
	// Held knows the errors of a held file; nil = this system's.
	Held func(error) bool
	// Attributes gives `to` what `from` has beside its bytes; nil = this system's way.
	Attributes func(from, to string) error
}

// A Swapper changes one program. It is for one goroutine at a time, and for one
// process: the launcher's lock sees to that.
type Swapper struct{ c Config }

// New makes a Swapper.
func New(c Config) (*Swapper, error) {
	// An empty target would be whatever runs; in the second swap that is the old
	// file, under its new name (minio/mc#3507).
	if !filepath.IsAbs(c.Target) {
		return nil, fmt.Errorf("target %q is not an absolute path", c.Target)
	}
	if c.Engine == nil {
		c.Engine = library{}
	}
	if c.HeldFor == 0 {
		c.HeldFor = time.Minute
	}
	if c.Held == nil {
		c.Held = held
	}
	if c.Attributes == nil {
		c.Attributes = copyAttributes
	}
	return &Swapper{c}, nil
}

func (s *Swapper) dir() string { return filepath.Dir(s.c.Target) }

func (s *Swapper) newPath() string {
	return filepath.Join(s.dir(), "."+filepath.Base(s.c.Target)+".new")
}

func (s *Swapper) oldPrefix() string { return "." + filepath.Base(s.c.Target) + ".old-" }

// Sum is that of the program that is there now.
func (s *Swapper) Sum() (layout.Sum, error) { return layout.SumFile(s.c.Disk, s.c.Target) }

// Swap puts what open gives, size bytes with the sum, into the target's place. The
// old one must be there, and after an error is there again, if that can be had:
// the caller asks Sum and calls Restore when it is not.
func (s *Swapper) Swap(ctx context.Context, open func() (layout.File, error), size uint64, want layout.Sum) error {
	if err := s.swap(ctx, open, size, want); err != nil {
		return fmt.Errorf("swapping %s: %w", s.c.Target, err)
	}
	return nil
}

func (s *Swapper) swap(ctx context.Context, open func() (layout.File, error), size uint64, want layout.Sum) error {
	if err := s.prepare(ctx, open, size+size/8, want); err != nil {
		return errors.Join(err, s.Sweep())
	}
	old, err := s.oldPath()
	if err != nil {
		return errors.Join(err, s.Sweep())
	}
	err = s.whileHeld(ctx, func() error { return s.c.Engine.Commit(s.c.Target, old) })
	if err != nil {
		// The library could not go back either; the old one lies where we said.
		if _, lost := s.Sum(); errors.Is(lost, fs.ErrNotExist) {
			err = errors.Join(err, s.c.Disk.Rename(old, s.c.Target), s.c.Disk.SyncDir(s.dir()))
		}
		return errors.Join(err, s.Sweep())
	}
	if err := s.c.Disk.SyncDir(s.dir()); err != nil {
		return err
	}
	if err := s.holds(s.c.Target, want); err != nil {
		return err
	}
	// What cannot go now, since it still runs, goes with the next sweep.
	_ = s.Sweep()
	return nil
}

// Restore puts a good copy into the target's place whatever is there: nothing,
// half a program, or one that must not run. It asks for no room to spare: what is kept for
// the administrator, or freed a moment ago, is as good.
func (s *Swapper) Restore(ctx context.Context, open func() (layout.File, error), want layout.Sum) error {
	err := s.prepare(ctx, open, 0, want)
	if err == nil {
		err = s.whileHeld(ctx, func() error { return s.c.Disk.Rename(s.newPath(), s.c.Target) })
	}
	if err == nil {
		err = s.c.Disk.SyncDir(s.dir())
	}
	if err == nil {
		err = s.holds(s.c.Target, want)
	}
	// Only now: a swap that was cut between its renames has the old one there.
	if err := errors.Join(err, s.Sweep()); err != nil {
		return fmt.Errorf("restoring %s: %w", s.c.Target, err)
	}
	return nil
}

// prepare leaves `.NAME.new` durable and with the right bytes, if there is room to begin with.
func (s *Swapper) prepare(ctx context.Context, open func() (layout.File, error), room uint64, want layout.Sum) error {
	if err := s.c.Disk.Remove(s.newPath()); err != nil {
		return err
	}
	if free, err := s.c.Disk.Free(s.dir()); err == nil && free < room {
		return fmt.Errorf("%w: %d bytes free, %d needed", ErrSpace, free, room)
	}
	source, err := open()
	if err != nil {
		return err
	}
	hash := sha256.New()
	err = s.c.Engine.Prepare(io.TeeReader(source, hash), s.c.Target, layout.ProgramMode, want)
	if err != nil && layout.Sum(hash.Sum(nil)) != want {
		err = fmt.Errorf("%w: %w", layout.ErrOtherBytes, err) // the library has no name for it
	}
	if err := errors.Join(err, source.Close()); err != nil {
		return err
	}
	if err := s.whileHeld(ctx, func() error { return s.c.Disk.Settle(s.newPath(), layout.ProgramMode) }); err != nil {
		return err
	}
	if err := s.c.Attributes(s.c.Target, s.newPath()); err != nil {
		return err
	}
	if err := s.c.Disk.SyncDir(s.dir()); err != nil {
		return err
	}
	return s.whileHeld(ctx, func() error { return s.holds(s.newPath(), want) })
}

func (s *Swapper) holds(path string, want layout.Sum) error {
	got, err := layout.SumFile(s.c.Disk, path)
	if err == nil && got != want {
		err = fmt.Errorf("%s: %w", path, layout.ErrOtherBytes)
	}
	return err
}

// oldPath is a path at which nothing lies: the library deletes what does.
func (s *Swapper) oldPath() (string, error) {
	names, err := s.c.Disk.Names(s.dir())
	if err != nil {
		return "", err
	}
	taken := map[string]bool{}
	for _, n := range names {
		taken[n] = true
	}
	for i := 1; ; i++ {
		if name := fmt.Sprintf("%s%d", s.oldPrefix(), i); !taken[name] {
			return filepath.Join(s.dir(), name), nil
		}
	}
}

// Sweep removes what swaps left beside the target. It does nothing while the
// target is missing: then they are the last copies in this folder.
func (s *Swapper) Sweep() error {
	names, err := s.c.Disk.Names(s.dir())
	if err != nil {
		return err
	}
	there := false
	var left []string
	for _, n := range names {
		path := filepath.Join(s.dir(), n)
		switch {
		case path == s.c.Target:
			there = true
		case path == s.newPath(), strings.HasPrefix(n, s.oldPrefix()):
			left = append(left, path)
		}
	}
	if !there || len(left) == 0 {
		return nil
	}
	var errs []error
	for _, path := range left {
		errs = append(errs, s.c.Disk.Remove(path))
	}
	return errors.Join(append(errs, s.c.Disk.SyncDir(s.dir()))...)
}

// whileHeld does f again while another program holds the file.
func (s *Swapper) whileHeld(ctx context.Context, f func() error) error {
	const first, most = 100 * time.Millisecond, 5 * time.Second
	began, wait := time.Now(), first
	for {
		err := f()
		if err == nil || !s.c.Held(err) {
			return err
		}
		if time.Since(began)+wait > s.c.HeldFor {
			return fmt.Errorf("%w: %w", ErrHeld, err)
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return errors.Join(err, context.Cause(ctx))
		}
		wait = min(2*wait, most)
	}
}

// library is selfupdate. Never its Apply: what must be done between its two steps
// would be left out.
type library struct{}

func (library) Prepare(r io.Reader, target string, mode fs.FileMode, want layout.Sum) error {
	return selfupdate.PrepareAndCheckBinary(r, selfupdate.Options{TargetPath: target, TargetMode: mode, Checksum: want[:]})
}

func (library) Commit(target, old string) error {
	err := selfupdate.CommitBinary(selfupdate.Options{TargetPath: target, OldSavePath: old})
	if back := selfupdate.RollbackError(err); back != nil {
		err = errors.Join(err, fmt.Errorf("going back: %w", back))
	}
	return err
}
