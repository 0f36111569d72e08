package update

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"hausmeister/agent/update/fetch"
	"hausmeister/agent/update/journal"
	"hausmeister/proto/manifest"
)

// metadata is the repository as manifest reads it.
type metadata struct{ u *Updater }

// Fetch tells "no such file" from everything else.
func (m *metadata) Fetch(ctx context.Context, name string) (io.ReadCloser, error) {
	f, err := m.u.c.Fetch.Metadata(ctx, name, nil, 0)
	if errors.Is(err, fetch.ErrNotFound) {
		return nil, fmt.Errorf("%w: %s", manifest.ErrNotFound, name)
	}
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(f.Data)), nil
}

// fresh asks for the statement that belongs to the newest timestamp.
func (m *metadata) fresh(ctx context.Context, nonce manifest.Nonce, root int64) ([]byte, error) {
	f, err := m.u.c.Fetch.Metadata(ctx, manifest.Timestamp+".json", nonce[:], uint64(root))
	if err != nil {
		return nil, err
	}
	if len(f.Freshness) == 0 {
		return nil, errors.New("no statement of freshness")
	}
	return f.Freshness, nil
}

// lookUp asks the metadata about the update of j: is it signed, for this device, and
// from when on; with files also how its bytes come.
func (u *Updater) lookUp(ctx context.Context, j journal.Journal, files bool) (*refreshed, error) {
	release, err := u.c.Lock()
	if err != nil {
		return nil, err
	}
	r, err := u.lookUpLocked(ctx, j, files)
	err = errors.Join(err, release())
	u.c.Trusted(u.SignedTime())
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (u *Updater) lookUpLocked(ctx context.Context, j journal.Journal, files bool) (*refreshed, error) {
	t, state, err := u.tufs.Lookup(ctx, u.note.Target)
	if err == nil || errors.Is(err, manifest.ErrNoTarget) { // it may be in what is withheld
		err = errors.Join(u.compare(state), err)
	}
	if err != nil {
		return nil, err
	}
	r := &refreshed{repo: state, at: time.Now(), clock: u.c.Now().Round(0)}
	if r.release, err = t.Release(); err != nil {
		return nil, err
	}
	if r.release.SHA256 != j.Next.Sum.String() || r.release.Version != j.Next.Version {
		return nil, errOther
	}
	if err := u.fits(r.release, state); err != nil {
		return nil, err
	}
	r.earliest = r.release.Ramp.Earliest(manifest.Bucket(u.note.Key, r.release.SHA256))
	if !files {
		return r, nil
	}
	if r.release.Packed == "" {
		return nil, fmt.Errorf("%w: %s comes in no packed form", manifest.ErrRefused, r.release.Path)
	}
	if r.packed, _, err = u.tufs.Lookup(ctx, r.release.Packed); err != nil {
		return nil, err
	}
	for _, d := range r.release.Deltas {
		if d.FromSHA256 != j.Good.Sum.String() {
			continue
		}
		delta, _, err := u.tufs.Lookup(ctx, d.Target)
		if err != nil {
			u.c.Log.Info("a patch cannot be used", "target", d.Target, "error", err)
			break // the whole file does as well
		}
		r.delta, r.from = &delta, j.Good.Sum[:]
		break
	}
	return r, nil
}

// compare holds what was found against what the collector says of it over a session
// that nobody else can speak in.
func (u *Updater) compare(s manifest.State) error {
	u.mu.Lock()
	repo := u.repo
	u.mu.Unlock()
	root, timestamp := int64(repo.GetRootVersion()), int64(repo.GetTimestampVersion())
	switch {
	case repo == nil || root == 0:
		return nil
	case s.Root < root:
		return fmt.Errorf("%w: root %d, the collector has %d", manifest.ErrStale, s.Root, root)
	case s.Root > root:
		u.c.Log.Warn("the collector's root is older than the one that is trusted here", "root", s.Root, "collector", root)
	case s.Timestamp < timestamp:
		return fmt.Errorf("%w: timestamp %d, the collector has %d", manifest.ErrStale, s.Timestamp, timestamp)
	}
	return nil
}

// fits holds a release against this device, and remembers its floor.
func (u *Updater) fits(r manifest.Release, s manifest.State) error {
	d := u.c.Device
	d.Launcher, d.Floor = u.c.Parent.Version(), highest(s.Floors[d.Product], u.note.Floor)
	if err := r.Match(d); err != nil {
		return &unfit{err, whyUnfit(r, d)}
	}
	if floor := highest(u.note.Floor, r.Floor); floor != u.note.Floor {
		n := u.note
		n.Floor = floor
		if err := u.writeNote(n); err != nil {
			return fmt.Errorf("%w: %w", manifest.ErrStore, err)
		}
	}
	return nil
}

// highest of two versions; "" is none.
func highest(a, b string) string {
	if a == "" || b != "" && manifest.Compare(b, a) > 0 {
		return b
	}
	return a
}

// unfit is an ErrUnfit with the wire's word for it.
type unfit struct {
	err    error
	reason journal.Reason
}

func (u *unfit) Error() string { return u.err.Error() }
func (u *unfit) Unwrap() error { return u.err }

// whyUnfit goes through Release.Match's reasons in its order.
func whyUnfit(r manifest.Release, d manifest.Device) journal.Reason {
	switch {
	case r.Product != d.Product || r.OS != d.OS || r.Arch != d.Arch || r.Channel != d.Channel:
		return journal.WrongDevice
	case d.Floor != "" && manifest.Compare(r.Version, d.Floor) < 0:
		return journal.Floor
	case r.LauncherMin != "" && d.Launcher != "" && manifest.Compare(d.Launcher, r.LauncherMin) < 0:
		return journal.Launcher
	case manifest.Compare(r.Version, d.Version) < 0:
		return journal.Floor
	}
	return journal.From
}

// sumOf is a hash as the fetcher wants it.
func sumOf(t manifest.Target) []byte {
	b, _ := hex.DecodeString(t.SHA256) // the metadata was checked
	return b
}
