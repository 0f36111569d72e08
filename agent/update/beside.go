package update

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"hausmeister/agent/update/fetch"
	"hausmeister/agent/update/journal"
	"hausmeister/proto/manifest"
)

// What a device takes without an offer, beside the agent's updates and only while
// none goes on: launchers (launchers.go) and signed policies. No collector says when; the signed ramp
// does. In a lesson nothing is taken: those of the last offer are known here for as long
// as that was for, and of all others the collector says so on the session.

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
	switch err := u.lookBeside(ctx); {
	case errors.Is(err, errLesson), errors.Is(err, errLook):
		wait = besideAgain
	case err != nil && ctx.Err() == nil:
		u.c.Log.Warn("no newer launcher or policy is taken", "error", err)
		u.giveBack(err)
		wait = besideAgain
	case u.launcherWaits(): // and may be revoked meanwhile
		wait = besideAgain
	}
	wait = wait/2 + time.Duration(u.c.Random()*float64(wait/2))
	u.looked = time.Now().Add(wait)
	return wait
}

// signed is what the two roles say, of one look.
type signed struct {
	targets []manifest.Target
	state   manifest.State
}

// look asks what is signed now, and holds it against what the collector says of its
// repository.
func (u *Updater) look(ctx context.Context) (signed, error) {
	release, err := u.c.Lock()
	if err != nil {
		return signed{}, err
	}
	all, state, err := u.tufs.List(ctx, manifest.RolePolicy, manifest.RoleLauncher)
	if err == nil {
		err = u.compare(state)
	}
	return signed{all, state}, errors.Join(err, release())
}

// lookBeside takes nothing in the lessons that the last offer told, and ends with the
// beginning of one, or of something else that speaks against it. Only what was revoked is
// looked for at all times.
func (u *Updater) lookBeside(ctx context.Context) error {
	hindered := u.hindered(false) != journal.None
	if hindered && !u.launcherWaits() {
		return errLook
	}
	now, err := u.look(ctx)
	if err != nil {
		return err
	}
	if err := u.dropRevoked(now); err != nil {
		return err
	}
	if hindered {
		return errLook
	}
	if calmFor(u.note.Quiet, now.state.RefTime, 0) > 0 {
		return errLesson
	}
	ctx, cancel := untilCalm(ctx, u.note.Quiet, now.state.RefTime)
	defer cancel()
	over := func() bool { return u.hindered(false) != journal.None }
	return u.lookingOut(ctx, over, func(ctx context.Context) error { return u.takeBeside(ctx, now) })
}

func (u *Updater) takeBeside(ctx context.Context, now signed) error {
	var errs []error
	if u.c.Policies != nil {
		errs = append(errs, u.policy(ctx, now))
	}
	if u.c.Launchers != nil {
		errs = append(errs, u.launcher(ctx, now))
	}
	return errors.Join(errs...)
}

// Policies keep signed policies; *config.Policies does.
type Policies interface {
	Version() string
	Barred(sum string) bool
	Take(version, sum string, data []byte) error
}

// policy takes the newest policy that is signed, if its time has come, for the agent's
// next start.
func (u *Updater) policy(ctx context.Context, now signed) error {
	r, err := u.findPolicy(now)
	if err != nil || r.Version == "" {
		return err
	}
	data, err := u.fetchPolicy(ctx, r)
	if err != nil {
		return err
	}
	if now, err = u.look(ctx); err != nil { // as with programs, row 47
		return err
	}
	again, err := u.findPolicy(now)
	if err != nil {
		return err
	}
	if again.SHA256 != r.SHA256 {
		return fmt.Errorf("policy %s: %w", r.Version, manifest.ErrBlocked)
	}
	if err := u.c.Policies.Take(r.Version, r.SHA256, data); err != nil {
		return fmt.Errorf("policy %s is not taken, the one before stays: %w", r.Version, err)
	}
	u.c.Log.Info("another signed policy is taken at the next start of the agent", "version", r.Version)
	return nil
}

// findPolicy is the one that this device should have next; the zero one for none.
func (u *Updater) findPolicy(now signed) (best manifest.PolicyRelease, err error) {
	have := u.c.Policies.Version()
	for _, t := range now.targets {
		r, err := t.Policy()
		if errors.Is(err, manifest.ErrNoPolicy) {
			continue
		}
		if err != nil {
			return manifest.PolicyRelease{}, err
		}
		switch {
		case r.Policy != manifest.PolicyAgent, have != "" && manifest.Compare(r.Version, have) <= 0, u.c.Policies.Barred(r.SHA256):
		case r.AgentMin != "" && manifest.ValidVersion(u.c.Device.Version) && manifest.Compare(u.c.Device.Version, r.AgentMin) < 0:
		case now.state.RefTime.Before(r.Ramp.Earliest(manifest.Bucket(u.note.Key, r.SHA256))):
		case best.Version == "" || manifest.Compare(r.Version, best.Version) > 0:
			best = r
		}
	}
	return best, nil
}

func (u *Updater) fetchPolicy(ctx context.Context, r manifest.PolicyRelease) (data []byte, err error) {
	t := fetch.Target{SHA256: sumOf(manifest.Target{SHA256: r.SHA256}), Length: r.Length}
	part, err := u.c.Parts.Part(t.SHA256)
	if err != nil {
		return nil, err
	}
	defer func() {
		if c, ok := part.(io.Closer); ok {
			err = errors.Join(err, c.Close())
		}
		if err == nil {
			u.c.Parts.Done(t.SHA256)
		}
	}()
	if _, err := u.c.Fetch.Target(ctx, t, part); err != nil {
		return nil, err
	}
	data = make([]byte, r.Length)
	if _, err := io.ReadFull(io.NewSectionReader(part, 0, r.Length), data); err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != r.SHA256 {
		return nil, fmt.Errorf("policy %s: %w", r.Version, manifest.ErrBytes)
	}
	return data, nil
}
