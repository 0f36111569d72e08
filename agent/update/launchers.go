package update

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"hausmeister/agent/update/fetch"
	"hausmeister/agent/update/train"
	"hausmeister/platform/layout"
	"hausmeister/proto/manifest"
)

// Launchers is the launcher's own train: a *train.Train, and a test of what was put.
// It has as many methods as the train has stops.
type Launchers interface {
	Current() (string, error)
	OnTrial() (train.Trial, bool, error)
	Barred(sum layout.Sum) (bool, error)
	Left() (string, error)
	Has(version string, sum layout.Sum) (bool, error)
	Put(version string, sum layout.Sum, r io.Reader) error
	// Test lets it say its version; a wrong word of its own is ErrSelftest.
	Test(ctx context.Context, version string) error
	Bar(sum layout.Sum) error
	Try(from, to string, sum layout.Sum) error
	// Drop takes back what Try did, while runs still runs.
	Drop(runs string) error
	Prune(keep ...string) error
}

// launcher takes the newest launcher that is signed for this device, if its time has
// come, and leaves it on trial for the next start of the service.
func (u *Updater) launcher(ctx context.Context, now signed) error {
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
	r, packed, err := u.findLauncher(now, runs)
	if err != nil {
		return err
	}
	// One that is here already, such as after Drop, is not fetched again.
	if err := u.c.Launchers.Prune(r.Version); err != nil {
		u.c.Log.Warn("older launchers stay", "error", err)
	}
	if r.Version == "" {
		return nil
	}
	sum, err := layout.ParseSum(r.SHA256)
	if err != nil {
		return err
	}
	if whole, err := u.c.Launchers.Has(r.Version, sum); err != nil {
		return err
	} else if !whole {
		if now.state.RefTime.Before(u.note.Launcher.next(r.SHA256, now.state.RefTime)) {
			return nil
		}
		if err := u.fetchLauncher(ctx, r, packed, sum, now.state.RefTime); err != nil {
			return err
		}
	}
	if err := u.testLauncher(ctx, r.Version, sum); err != nil {
		return err
	}
	// Once more, since it may have been revoked meanwhile (updates.md, row 47).
	if now, err = u.look(ctx); err != nil {
		return err
	}
	again, _, err := u.findLauncher(now, runs)
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

// testLauncher bars one that does not pass. What a scanner took away, or holds, failed
// no test.
func (u *Updater) testLauncher(ctx context.Context, version string, sum layout.Sum) error {
	test, cancel := context.WithTimeout(ctx, selftestLasts)
	defer cancel()
	err := u.c.Launchers.Test(test, version)
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrSelftest) && test.Err() == nil {
		if whole, herr := u.c.Launchers.Has(version, sum); herr == nil && whole {
			err = errors.Join(err, u.c.Launchers.Bar(sum))
		}
	}
	return fmt.Errorf("testing launcher %s: %w", version, err)
}

// forLauncher are the releases that this device may have just now, and all targets by
// their path.
func (u *Updater) forLauncher(now signed, runs string) (fit []manifest.Release, byPath map[string]manifest.Target, err error) {
	d := u.c.Device
	d.Product, d.Version, d.Launcher, d.Floor = manifest.ProductLauncher, runs, "", now.state.Floors[manifest.ProductLauncher]
	byPath = map[string]manifest.Target{}
	for _, t := range now.targets {
		byPath[t.Path] = t
		r, err := t.Release()
		if errors.Is(err, manifest.ErrNoRelease) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if r.Product != manifest.ProductLauncher || r.Version == runs || r.Match(d) != nil || now.state.RefTime.Before(r.Ramp.Earliest(manifest.Bucket(u.note.Key, r.SHA256))) {
			continue
		}
		fit = append(fit, r)
	}
	return fit, byPath, nil
}

// findLauncher is the release that this device should have next; the zero one for none.
func (u *Updater) findLauncher(now signed, runs string) (best manifest.Release, packed manifest.Target, err error) {
	fit, byPath, err := u.forLauncher(now, runs)
	if err != nil {
		return best, packed, err
	}
	for _, r := range fit {
		sum, err := layout.ParseSum(r.SHA256)
		if err != nil {
			return best, packed, err
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
func (u *Updater) fetchLauncher(ctx context.Context, r manifest.Release, packed manifest.Target, sum layout.Sum, at time.Time) error {
	if err := u.room(r.Length); err != nil {
		return err
	}
	_, err := u.c.Fetch.Program(ctx, fetch.Plan{
		Program: fetch.Want{SHA256: sum[:], Length: r.Length},
		Full:    fetch.Target{SHA256: sumOf(packed), Length: packed.Length},
		Part:    u.c.Parts.Part, Done: u.c.Parts.Done, Out: u.c.Parts.Out,
	})
	if err == nil || errors.Is(err, fetch.ErrBytes) { // else what came is gone on with
		u.fetchedLauncher(r.SHA256, at)
	}
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

// fetched is a launcher that came whole, and how often. One that does not stay here, since
// a scanner takes it or its bytes are others, would else be fetched at each look.
type fetched struct {
	Sum   string `json:"sum,omitempty"`
	Times int    `json:"times,omitempty"`
	AtMS  int64  `json:"at_ms,omitempty"` // by the time that was signed
}

// fetchMost is the longest until one is fetched again; scanners learn.
const fetchMost = 7 * 24 * time.Hour

// next is when these bytes may be fetched; the zero time for at once. A time that was
// ahead holds for no longer than the right one.
func (f fetched) next(sum string, now time.Time) time.Time {
	at := atMS(f.AtMS)
	if f.Sum != sum || at.After(now) {
		return time.Time{}
	}
	return at.Add(min(besideEvery<<min(max(f.Times-1, 0), 4), fetchMost))
}

func (u *Updater) fetchedLauncher(sum string, at time.Time) {
	n := u.note
	if n.Launcher.Sum != sum {
		n.Launcher = fetched{Sum: sum}
	}
	n.Launcher.Times++
	n.Launcher.AtMS = at.UnixMilli()
	if err := u.writeNote(n); err != nil {
		u.c.Log.Warn("that a launcher was fetched is not noted", "error", err)
		u.note.Launcher = n.Launcher // for this run
	}
}

// A launcher and an agent are never unproven at once: the timer that leaves a launcher
// which does not come up runs the agent's program, and the launcher is who goes back from
// an agent. Launchers are tried at rest only; what is below is for an agent's turn.

// launcherProves says whether the launcher that runs us is on trial. It ends that in
// minutes, or is left in an hour or so (train.Mend). One under which we have run for
// provesFor does its work, whatever is still on its disk.
func (u *Updater) launcherProves() (bool, error) {
	if u.c.Launchers == nil || time.Since(u.began) > provesFor {
		return false, nil
	}
	trial, on, err := u.c.Launchers.OnTrial()
	return on && trial.To == u.c.Parent.Version(), err
}

const provesFor = 3 * time.Hour

// launcherWaits says whether one waits for the next start of the service. What cannot be
// read waits for nothing: who drops it reads again.
func (u *Updater) launcherWaits() bool {
	if u.c.Launchers == nil {
		return false
	}
	trial, on, err := u.c.Launchers.OnTrial()
	return err == nil && on && trial.To != u.c.Parent.Version()
}

// dropLauncher takes back the launcher that waits for the next start, which may be weeks
// away: an agent is about to be armed. It is tried again once that one is settled.
func (u *Updater) dropLauncher() error {
	if u.c.Launchers == nil {
		return nil
	}
	runs := u.c.Parent.Version()
	trial, on, err := u.c.Launchers.OnTrial()
	if err != nil || !on || trial.To == runs {
		return err
	}
	u.c.Log.Info("a launcher that waits for its first start makes room for an agent", "version", trial.To)
	return u.c.Launchers.Drop(runs)
}

// dropRevoked takes back the one that waits where it is not signed for this device any
// more (updates.md, row 47). One that failed here is the timer's.
func (u *Updater) dropRevoked(now signed) error {
	if u.c.Launchers == nil {
		return nil
	}
	runs := u.c.Parent.Version()
	trial, on, err := u.c.Launchers.OnTrial()
	if err != nil || !on || trial.To == runs {
		return err
	}
	fit, _, err := u.forLauncher(now, runs)
	if err != nil || slices.ContainsFunc(fit, func(r manifest.Release) bool {
		return r.Version == trial.To && r.SHA256 == trial.Sum.String()
	}) {
		return err
	}
	u.c.Log.Warn("a launcher that waited for its first start is signed no more", "version", trial.To)
	return u.c.Launchers.Drop(runs)
}
