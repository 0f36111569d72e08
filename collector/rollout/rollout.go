// Package rollout owns what devices may install, and when: the signed metadata and
// the files of the repository, the releases in it, and the rollouts by which a
// release goes over the fleet in rings.
//
// What may run is said by signatures alone. An import goes through proto/manifest as
// any device's does, with a store and a floor of its own: what does not verify
// changes nothing. The collector says only when, within the signed ramp.
//
// A device begins under a lease. It is granted in a transaction that counts what is
// under way, and is gone the moment that a rollout halts: the gateway asks anew and
// withdraws it. Outcomes come with the devices' own reports, in the transaction that
// stores them, so none counts twice; silence is no outcome. Rings go on by the
// evidence that package gate weighs, and for none of it twice: a restart, another
// collector or a clock that jumps changes no ring.
//
// A crash in the middle of an import leaves files that nobody names, which the next
// import finds or deletes.
package rollout

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/proto/manifest"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations are the tables of this package.
var Migrations = db.Migrations{Name: "rollout", FS: files}

var (
	// ErrRefused: the repository does not verify; nothing was imported.
	ErrRefused = errors.New("the repository does not verify")
	// ErrIncomplete: a file that the metadata names is missing or has other bytes.
	ErrIncomplete = errors.New("the repository is not complete")
	// ErrReason: a verb without a reason of use.
	ErrReason = errors.New("a reason of 5 to 200 characters, letters among them, is needed")
	// ErrInvalid: what was asked for cannot be.
	ErrInvalid = errors.New("not possible")
	// ErrState: the rollout is not in the state for it.
	ErrState = errors.New("the rollout is not in the state for that")
	// ErrOlder: a newer release is on its way, or was taken over the fleet; only what is
	// signed as a way back may follow.
	ErrOlder = errors.New("is newer and on its way, or installed: only a release signed as the way back from it may begin")
	// ErrNoRollout: none of a channel was started yet.
	ErrNoRollout = fmt.Errorf("%w: no rollout was started yet", access.ErrNotFound)
	// ErrNoRepository: none was imported yet.
	ErrNoRepository = fmt.Errorf("%w: no repository was imported yet", access.ErrNotFound)
	// ErrSecond: another person of the role release must say it too.
	ErrSecond = errors.New("a second person of the role release must approve")
	// ErrPerson: whoever says this must be signed in.
	ErrPerson = errors.New("a person who is signed in on the pages must say this")
)

// InvalidError is ErrInvalid for one of the things that were asked for, by its name in
// the API.
type InvalidError struct{ Field, Detail string }

func (e *InvalidError) Error() string { return e.Field + ": " + e.Detail }

func (e *InvalidError) Unwrap() error { return ErrInvalid }

// Tickets is what the desk says of tickets; it plugs in.
type Tickets interface {
	// Opened is how many tickets were opened since then about devices among these,
	// which all run one version.
	Opened(ctx context.Context, tx *db.Tx, rollout string, since time.Time) (int64, error)
}

// Config is what rollouts need.
type Config struct {
	DB  *db.DB
	Bus *bus.Bus
	Now func() time.Time
	Log *slog.Logger
	Dir string // of the files of the repository; made when needed
	// Root is the root.json that this program was built with; nil = the first import
	// says one.
	Root  []byte
	Build time.Time // of the program; no clock is earlier
	// Fresh asks who holds the timestamp key for a statement that a timestamp is the
	// newest; nil = there are no statements.
	Fresh func(ctx context.Context, nonce manifest.Nonce, root int64) ([]byte, error)
	// Tickets may stop a ring; nil = nobody counts them.
	Tickets Tickets
	Pace    Pace
}

// Rollouts keeps releases and takes them over the fleet.
type Rollouts struct {
	cfg   Config
	db    *db.DB
	bus   *bus.Bus
	now   func() time.Time
	log   *slog.Logger
	lease *db.Lease // of what only one collector does: rings, alarms
	work  chan struct{}

	importing sync.Mutex
	filled    map[string]spotRef // last device of a rollout that was told of room; guarded by the lease
	revoked   revokedSeen        // guarded by the lease
	steady    steady             // guarded by the lease
	looked    time.Time          // at the clock; guarded by the lease
	gone      func(from, to time.Time) time.Duration
	toldAgain map[string]again // which offers of a rollout are told again; guarded by the lease

	checking sync.Mutex
	// below is guarded by checking
	checked map[string]stamp // files whose hash was read, by hash

	tallies *tallies
}

// New checks the Config.
func New(cfg Config) (*Rollouts, error) {
	if cfg.DB == nil || cfg.Bus == nil || cfg.Now == nil || cfg.Log == nil || cfg.Dir == "" {
		return nil, errors.New("making rollouts: DB, Bus, Now, Log and Dir are needed")
	}
	if err := cfg.Pace.fill(); err != nil {
		return nil, fmt.Errorf("making rollouts: %w", err)
	}
	return &Rollouts{cfg: cfg, db: cfg.DB, bus: cfg.Bus, now: cfg.Now, log: cfg.Log, lease: cfg.DB.Lease("rollouts", cfg.Now),
		work: make(chan struct{}, 1), filled: map[string]spotRef{}, toldAgain: map[string]again{}, gone: goneBy, checked: map[string]stamp{}, tallies: newTallies()}, nil
}

func (r *Rollouts) targetsDir() string { return filepath.Join(r.cfg.Dir, "targets") }

// everywhere says whether the caller may change what concerns all owners.
func everywhere(caller access.Caller) error {
	if err := caller.Allow(access.RunRollouts); err != nil {
		return err
	}
	if caller.Owners != nil {
		return fmt.Errorf("%w: it concerns all owners", access.ErrForbidden)
	}
	return nil
}

func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("folder of updates: %w", err)
	}
	return nil
}
