package manifest

import (
	"errors"
	"fmt"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// What went wrong, by what is to be done about it. Callers ask with errors.Is.
var (
	// ErrTransport: the repository could not be reached, was too slow, or
	// something else answered in its place. Try again later; nothing was kept.
	ErrTransport = errors.New("metadata cannot be fetched")
	// ErrNotFound is what a Fetcher returns when the repository answered that
	// it has no such file (404), and only then: it ends the search for newer roots.
	ErrNotFound = errors.New("no such file in the repository")
	// ErrStale: validly signed but expired, or not what the repository calls
	// newest. No update until there is something newer, and an alarm; all else goes on.
	ErrStale = errors.New("metadata is stale")
	// ErrRefused: signed by too few, malformed, or contradicting itself. It is
	// the kind of everything that an attack may look like; what was trusted before stays.
	ErrRefused = errors.New("metadata is refused")
	// ErrRollback is an ErrRefused: older than what was accepted before.
	ErrRollback = fmt.Errorf("%w: older than known", ErrRefused)
	// ErrMalformed is an ErrRefused: not of the shape that metadata has.
	ErrMalformed = fmt.Errorf("%w: malformed", ErrRefused)
	// ErrStore: the Store could not keep what was accepted.
	ErrStore = errors.New("metadata cannot be stored")
	// ErrNoTarget: nobody who may do so has signed a file of this name.
	ErrNoTarget = errors.New("no such target")
	// ErrBlocked: the target's bytes are on the list of what must not run.
	ErrBlocked = errors.New("target is blocked")
	// ErrUnfit: signed, but not for this device, see Release.Match.
	ErrUnfit = errors.New("release does not fit this device")
	// ErrBytes: the bytes of a target are not those that were signed.
	ErrBytes = errors.New("not the bytes that were signed")
)

// guard calls into the library. It parses input before it verifies signatures
// and is known to panic on shapes that Check lets nobody through with; should
// there be more of them, a panic is one more refusal.
func guard(role string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: %w: %v", role, ErrMalformed, p)
		}
	}()
	return judged(role, f())
}

// judged turns the library's errors into ours. It hides their types, so that
// none appears in another package.
func judged(role string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, &metadata.ErrEqualVersionNumber{}):
		return errEqualVersion
	case errors.Is(err, &metadata.ErrExpiredMetadata{}):
		return fmt.Errorf("%s: %w: %v", role, ErrStale, err)
	case errors.Is(err, &metadata.ErrBadVersionNumber{}):
		return fmt.Errorf("%s: %w: %v", role, ErrRollback, err)
	default:
		return fmt.Errorf("%s: %w: %v", role, ErrRefused, err)
	}
}

// errEqualVersion never leaves the package: a timestamp of the version that is
// trusted already is passed over, whatever it says.
var errEqualVersion = errors.New("same version")
