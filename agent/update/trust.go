package update

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"hausmeister/platform/layout"
	"hausmeister/proto/manifest"
)

// Trust is the folder of trusted metadata, a manifest.Store: each file is replaced
// durably or not at all.
type Trust string

// Read at most limit+1 bytes.
func (t Trust) Read(name string, limit int64) ([]byte, error) {
	f, err := os.Open(filepath.Join(string(t), name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit+1))
}

// Write makes the folder when it is missing.
func (t Trust) Write(name string, data []byte) error {
	if err := os.MkdirAll(string(t), 0o700); err != nil {
		return err
	}
	return layout.WriteFile(filepath.Join(string(t), name), data, 0o600)
}

// Remove a file that may be missing.
func (t Trust) Remove(name string) error {
	if err := os.Remove(filepath.Join(string(t), name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Lock keeps other processes away from the folder until it is released; it ends
// with its process.
func (t Trust) Lock() (release func() error, err error) {
	if err := os.MkdirAll(string(t), 0o700); err != nil {
		return nil, err
	}
	l, err := layout.Lock(filepath.Join(string(t), "lock"))
	if err != nil {
		return nil, err
	}
	return l.Close, nil
}

// trusts says whether there is a root to begin with.
func (u *Updater) trusts() bool {
	if len(u.c.Root) > 0 {
		return true
	}
	b, err := u.c.Trust.Read(manifest.Root+".json", 1<<20)
	return err == nil && len(b) > 0
}

// SignedTime is a time that has surely passed by what was signed, whatever the
// device's clock says; not later than it was when the metadata came.
func (u *Updater) SignedTime() time.Time {
	return manifest.TrustedTime(u.c.Trust, u.c.Build, u.c.Build)
}

// refreshed is what the metadata says of the update that is under way.
type refreshed struct {
	release  manifest.Release
	repo     manifest.State
	packed   manifest.Target
	delta    *manifest.Target
	from     []byte    // what the delta is against
	at       time.Time // when, by a clock that no one sets, and that stands still while the device sleeps
	clock    time.Time // when, by the device's
	earliest time.Time
}

// now is the time that the metadata was judged by, gone on since.
func (r *refreshed) now() time.Time { return r.repo.RefTime.Add(time.Since(r.at)) }

// maxDrift is how far two clocks of a device go apart by themselves between two looks.
const maxDrift = time.Minute

// jumped says whether the device slept since, or its clock was set. How late it is then
// is not known before it is asked again.
func (r *refreshed) jumped(clock time.Time) bool {
	return (clock.Round(0).Sub(r.clock) - time.Since(r.at)).Abs() > maxDrift
}

// errOther: the collector offers something else than what was signed.
var errOther = fmt.Errorf("%w: the offer is not what was signed", manifest.ErrRefused)
