package update

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"hausmeister/agent/update/fetch"
	"hausmeister/agent/update/journal"
	"hausmeister/agent/update/train"
	"hausmeister/platform/layout"
	"hausmeister/proto/manifest"
)

// What a device takes without an offer, beside the agent's updates and only while
// none goes on: launchers. No collector says when; the signed ramp does.

// Launchers is the launcher's own train: a *train.Train, and a test of what was put.
// It has as many methods as the train has stops.
type Launchers interface {
	Current() (string, error)
	OnTrial() (train.Trial, bool, error)
	Barred(sum layout.Sum) (bool, error)
	Put(version string, sum layout.Sum, r io.Reader) error
	Test(ctx context.Context, version string) error
	Try(from, to string, sum layout.Sum) error
	Prune() error
}

const (
	// besideEvery is between two looks, and besideSoon the first after a start.
	besideEvery = 12 * time.Hour
	besideSoon  = 30 * time.Minute
	// besideAgain is until the next look after one that came to nothing.
	besideAgain = 2 * time.Hour
)

// beside looks when it is time, and says when that is next.
func (u *Updater) beside(ctx context.Context) time.Duration {
	now := time.Now()
	if u.looked.IsZero() { // spread, so that a fleet that wakes at eight does not ask at half past
		u.looked = now.Add(time.Duration(u.c.Random() * float64(besideSoon)))
	}
	if wait := u.looked.Sub(now); wait > 0 {
		return wait
	}
	wait := besideEvery
	if h := u.c.Hindrance(); h.reason() != journal.None {
		wait = besideAgain
	} else if err := u.lookBeside(ctx); err != nil && ctx.Err() == nil {
		u.c.Log.Warn("no newer launcher is taken", "error", err)
		wait = besideAgain
	}
	wait = wait/2 + time.Duration(u.c.Random()*float64(wait/2))
	u.looked = time.Now().Add(wait)
	return wait
}

func (u *Updater) lookBeside(ctx context.Context) error {
	return u.launcher(ctx)
}

// launcher takes the newest launcher that is signed for this device, if its time has
// come, and leaves it on trial for the next start of the service.
func (u *Updater) launcher(ctx context.Context) error {
	runs := u.c.Parent.Version()
	current, err := u.c.Launchers.Current()
	if err != nil {
		return err
	}
	switch trial, on, err := u.c.Launchers.OnTrial(); {
	case err != nil:
		return err
	case on && trial.From == runs: // it waits for the next start; a crash may have come before the pointer
		return u.c.Launchers.Try(trial.From, trial.To, trial.Sum)
	case on, current != runs:
		return nil
	}
	if err := u.c.Launchers.Prune(); err != nil {
		u.c.Log.Warn("older launchers stay", "error", err)
	}
	r, packed, err := u.findLauncher(ctx, runs)
	if err != nil || r.Version == "" {
		return err
	}
	sum, err := layout.ParseSum(r.SHA256)
	if err != nil {
		return err
	}
	if err := u.fetchLauncher(ctx, r, packed, sum); err != nil {
		return err
	}
	test, cancel := context.WithTimeout(ctx, selftestLasts)
	defer cancel()
	if err := u.c.Launchers.Test(test, r.Version); err != nil {
		return fmt.Errorf("launcher %s: %w: %w", r.Version, ErrSelftest, err)
	}
	// Once more, since it may have been revoked meanwhile (updates.md, row 47).
	again, _, err := u.findLauncher(ctx, runs)
	if err != nil {
		return err
	}
	if again.SHA256 != r.SHA256 {
		return fmt.Errorf("launcher %s: %w", r.Version, manifest.ErrBlocked)
	}
	if err := u.c.Launchers.Try(runs, r.Version, sum); err != nil {
		return err
	}
	u.c.Log.Info("another launcher is taken at the next start of the service", "version", r.Version, "before", runs)
	return nil
}

// findLauncher is the release that this device should have next; the zero one for none.
func (u *Updater) findLauncher(ctx context.Context, runs string) (best manifest.Release, packed manifest.Target, err error) {
	release, err := u.c.Lock()
	if err != nil {
		return best, packed, err
	}
	all, state, err := u.tufs.List(ctx, manifest.RoleLauncher)
	if err == nil {
		err = u.compare(state)
	}
	if err = errors.Join(err, release()); err != nil {
		return best, packed, err
	}
	d := u.c.Device
	d.Product, d.Version, d.Launcher, d.Floor = manifest.ProductLauncher, runs, "", state.Floors[manifest.ProductLauncher]
	byPath := map[string]manifest.Target{}
	for _, t := range all {
		byPath[t.Path] = t
		r, err := t.Release()
		if errors.Is(err, manifest.ErrNoRelease) {
			continue
		}
		if err != nil {
			return manifest.Release{}, packed, err
		}
		if r.Product != manifest.ProductLauncher || r.Version == runs || r.Match(d) != nil || state.RefTime.Before(r.Ramp.Earliest(manifest.Bucket(u.note.Key, r.SHA256))) {
			continue
		}
		sum, err := layout.ParseSum(r.SHA256)
		if err != nil {
			return manifest.Release{}, packed, err
		}
		if barred, err := u.c.Launchers.Barred(sum); err != nil || barred {
			continue
		}
		// A signed way back from what runs goes before everything newer.
		if back := r.RollbackOf == runs; best.Version == "" || back || best.RollbackOf != runs && manifest.Compare(r.Version, best.Version) > 0 {
			best = r
		}
	}
	if best.Version != "" {
		var ok bool
		if packed, ok = byPath[best.Packed]; !ok {
			return manifest.Release{}, packed, fmt.Errorf("%w: %s comes in no packed form", manifest.ErrRefused, best.Path)
		}
	}
	return best, packed, nil
}

// fetchLauncher puts it beside the others.
func (u *Updater) fetchLauncher(ctx context.Context, r manifest.Release, packed manifest.Target, sum layout.Sum) error {
	if err := u.room(r.Length); err != nil {
		return err
	}
	_, err := u.c.Fetch.Program(ctx, fetch.Plan{
		Program: fetch.Want{SHA256: sum[:], Length: r.Length},
		Full:    fetch.Target{SHA256: sumOf(packed), Length: packed.Length},
		Part:    u.c.Parts.Part, Done: u.c.Parts.Done, Out: u.c.Parts.Out,
	})
	if err != nil {
		return err
	}
	f, err := u.c.Parts.Unpacked()
	if err != nil {
		return err
	}
	err = errors.Join(u.c.Launchers.Put(r.Version, sum, f), f.Close())
	return errors.Join(err, u.c.Parts.Sweep())
}
