// Package online signs what says which metadata is the newest: snapshot and
// timestamp. It is a process of its own beside the collector, under an OS user of
// its own, since its keys lie open on its disk and the collector talks to half
// the world. Its socket is all that others have of it.
//
// Through the socket versions only rise, and nothing is taken over that the
// persons' thresholds have not signed: whoever holds the socket, or the collector
// behind it, can withhold what is new and hand in what is signed anyway. He cannot
// sign for anything else, go back, or ask for a statement about another timestamp
// or another time. The first root is put here by the operator (Trust), never
// through the socket.
//
// The process owns the repository's metadata folder. Each change is first written
// whole, signatures included, to one file (pending), then file by file into the
// folder, the timestamp last, then into the state; after a crash the pending file
// is played again, to the same bytes. What was not pending yet never left memory,
// so that no number is ever used for two things.
package online

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"sync"
	"time"

	"hausmeister/platform/layout"
	"hausmeister/proto/manifest"
	"hausmeister/proto/manifest/draft"
)

// Sentinels that the socket tells apart.
var (
	// ErrBusy: asked for too often.
	ErrBusy = errors.New("asked for too often")
	// ErrEmpty: nothing is published yet.
	ErrEmpty = errors.New("nothing is published yet")
)

// Life times of what is signed here, and when it is signed anew.
const (
	SnapshotLife  = 7 * 24 * time.Hour
	TimestampLife = 48 * time.Hour
	renewSnapshot = SnapshotLife / 2
	renewStamp    = TimestampLife * 3 / 4 // left when it is signed anew: each 12 hours
	leastBetween  = time.Minute           // renewals that somebody asked for
	// What lives longer than its life was signed while the clock was ahead, or the clock
	// is behind now: then what is signed has ended for everybody else. A clock that went
	// steadily for so long is believed.
	clockSlack  = time.Hour
	clockSteady = 24 * time.Hour
)

// Config of a Signer.
type Config struct {
	State string // folder of keys and numbers, this user's alone
	Repo  string // the repository; metadata/ in it is written here
	Now   func() time.Time
	Log   *slog.Logger
	// FreshRate is how many statements are signed in a second, and at once ten
	// times as many. 0 = 500: all of 70,000 devices within three minutes.
	FreshRate int
	// Write is layout.WriteFile, but for tests that cut it.
	Write func(path string, data []byte, mode fs.FileMode) error
}

// numbers are the state: what was signed last. They only rise.
type numbers struct {
	Format    int              `json:"hausmeister_online"`
	Root      int64            `json:"root"`
	Snapshot  int64            `json:"snapshot"`
	Timestamp int64            `json:"timestamp"`
	Roles     map[string]int64 `json:"roles"`
}

// pending is a change that is on its way to the folder.
type pending struct {
	Numbers numbers           `json:"numbers"`
	Files   map[string][]byte `json:"files"`
}

// Signer signs for one repository.
type Signer struct {
	cfg  Config
	lock *layout.FileLock

	mu      sync.Mutex // guards all below
	nums    numbers
	root    *draft.File
	rootRaw []byte
	roles   map[string][]byte  // targets and delegated, as published
	stamp   []byte             // timestamp.json
	shot    []byte             // the snapshot that it names
	key     ed25519.PrivateKey // of timestamp
	expires map[string]time.Time
	behind  error         // why nothing may be signed: the folder is ahead of the numbers
	cut     bool          // a change was begun, and did not end
	asked   time.Time     // when somebody last asked for a renewal
	looked  time.Time     // at the clock, by Renew
	steady  time.Duration // how long it was not seen to go back since
	tokens  float64       // for statements
	filled  time.Time
}

// Open takes the lock, ends what a crash left behind, and reads the state. A
// folder without a root is one that Trust must be called on first.
func Open(cfg Config) (*Signer, error) {
	if cfg.Write == nil {
		cfg.Write = layout.WriteFile
	}
	if cfg.FreshRate == 0 {
		cfg.FreshRate = 500
	}
	lock, err := layout.Lock(filepath.Join(cfg.State, "lock"))
	if err != nil {
		return nil, err
	}
	s := &Signer{cfg: cfg, lock: lock, filled: cfg.Now(), tokens: float64(10 * cfg.FreshRate)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.loadLocked(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// Close gives the lock up.
func (s *Signer) Close() error { return s.lock.Close() }

func (s *Signer) path(name string) string { return filepath.Join(s.cfg.State, name) }

func (s *Signer) metadata(name string) string { return filepath.Join(s.cfg.Repo, "metadata", name) }

// Renew signs timestamp, and snapshot where it is time, before they end. What
// somebody asks for is done once a minute at most.
func (s *Signer) Renew(asked bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	if err := s.readyLocked(); err != nil {
		return err
	}
	if s.root == nil || s.nums.Timestamp == 0 {
		return ErrEmpty
	}
	s.lookLocked(now)
	due := func(role string, renew, life time.Duration) bool {
		left := s.expires[role].Sub(now)
		return left <= renew || left > life+clockSlack && s.steady >= clockSteady
	}
	snapshot := due(manifest.Snapshot, renewSnapshot, SnapshotLife)
	stamp := due(manifest.Timestamp, renewStamp, TimestampLife)
	if asked && !stamp && !snapshot {
		if wait := leastBetween - now.Sub(s.asked); wait > 0 && wait <= leastBetween {
			return fmt.Errorf("%w: again in %s", ErrBusy, wait.Round(time.Second))
		}
		s.asked, stamp = now, true
	}
	p := pending{Numbers: s.copyNumbersLocked(), Files: map[string][]byte{}}
	switch {
	case snapshot:
		if err := s.signLocked(s.root, s.roles, &p); err != nil {
			return err
		}
	case stamp:
		if err := s.stampLocked(s.root, s.shot, &p); err != nil {
			return err
		}
	default:
		return nil
	}
	return s.commitLocked(s.root, p)
}

// lookLocked counts how long the clock has gone steadily. A step ahead counts as the time
// that it took: a clock is set ahead when it was behind.
func (s *Signer) lookLocked(now time.Time) {
	took, told := now.Sub(s.looked), now.Round(0).Sub(s.looked.Round(0))
	switch {
	case s.looked.IsZero() || told < 0:
		s.steady = 0
	default:
		s.steady += min(took, told)
	}
	s.looked = now
}

// Fresh signs that the timestamp which is published now is the newest, for a
// device's nonce.
func (s *Signer) Fresh(nonce manifest.Nonce) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stamp == nil {
		return nil, ErrEmpty
	}
	now := s.cfg.Now()
	rate := float64(s.cfg.FreshRate)
	s.tokens = min(10*rate, s.tokens+rate*max(0, now.Sub(s.filled).Seconds()))
	s.filled = now
	if s.tokens < 1 {
		return nil, ErrBusy
	}
	s.tokens--
	return manifest.SignFresh(s.key, nonce, s.stamp, now)
}

// State is what the socket tells.
type State struct {
	Root      int64                `json:"root"`
	Snapshot  int64                `json:"snapshot"`
	Timestamp int64                `json:"timestamp"`
	Roles     map[string]int64     `json:"roles"`
	Expires   map[string]time.Time `json:"expires"`
}

// State of the signer.
func (s *Signer) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := State{Snapshot: s.nums.Snapshot, Timestamp: s.nums.Timestamp, Roles: maps.Clone(s.nums.Roles), Expires: maps.Clone(s.expires)}
	if s.root != nil {
		out.Root = s.root.Version()
	}
	return out
}
