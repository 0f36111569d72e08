package manifest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"
)

// Config of a Client. Root may be nil where Store holds one.
type Config struct {
	Fetch Fetcher
	Store Store
	// Root is the root that the program was built with: trusted if Store has
	// none, or only older ones.
	Root []byte
	// Build is when the program was built: it cannot be earlier now.
	Build time.Time
	// Now is the device's own clock.
	Now func() time.Time
	// Fresh, if there is one, asks the repository for its signed statement what
	// the newest timestamp is and what time it is, see SignFresh. It may fail;
	// then only the expiry of what was fetched bounds its age.
	Fresh func(ctx context.Context, nonce Nonce, rootVersion int64) ([]byte, error)
	// NoFloor is for programs without a memory, such as one that replays the
	// past: neither numbers nor time are kept beyond the metadata itself.
	NoFloor bool
	// Pace bounds how slow a file may come.
	Pace Pace
}

const (
	maxRotations = 256 // roots in one refresh; the next goes on
	maxRoles     = 32  // delegated roles visited for one target, as in other clients
)

// Client follows one repository. It may be used by several goroutines; they wait
// for each other.
type Client struct {
	cfg Config
	mu  sync.Mutex // held during a refresh; guards the Store's files
}

// New checks the configuration; it reads nothing.
func New(cfg Config) (*Client, error) {
	if cfg.Fetch == nil || cfg.Store == nil || cfg.Now == nil {
		return nil, errors.New("manifest: Fetch, Store and Now are needed")
	}
	cfg.Pace = cfg.Pace.filled()
	return &Client{cfg: cfg}, nil
}

// State is what a refresh ended with. With an error it tells how far it came.
type State struct {
	Root, Timestamp, Snapshot, Targets int64 // trusted versions, 0 where none

	// RefTime is the time that expiry was judged by, fixed for one refresh.
	RefTime time.Time
	// Fresh: the repository has signed that this timestamp is its newest, now.
	Fresh bool
	// Expires of each role that is trusted, for the countdown: of delegated ones
	// those that were needed.
	Expires map[string]time.Time
	// Stale names the delegated roles that List left out because they expired.
	Stale []string
	// Healed names the roles whose local file was torn and put aside.
	Healed []string
	// Rules are what the targets role says about all its targets.
	Rules Rules
	// Floors are the lowest versions that may run, by product: the highest that
	// Rules ever said.
	Floors map[string]string
}

// Refresh brings the four top-level roles up to date.
func (c *Client) Refresh(ctx context.Context) (State, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.Pace.Total, errTooSlow)
	defer cancel()
	_, st, err := c.openLocked(ctx)
	return st, err
}

// Lookup refreshes and finds who vouches for a path, most trusted first. Each
// lookup is judged by a set of metadata of its own, since a role that one path's
// delegations vouch for need not be vouched for on another's way.
func (c *Client) Lookup(ctx context.Context, path string) (Target, State, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.Pace.Total, errTooSlow)
	defer cancel()
	s, st, err := c.openLocked(ctx)
	if err != nil {
		return Target{}, st, err
	}
	t, err := s.walk(ctx, path, s.load)
	st = s.state()
	if err == nil && slices.Contains(st.Rules.Blocked, t.SHA256) {
		return Target{}, st, fmt.Errorf("%s: %w", path, ErrBlocked)
	}
	return t, st, err
}

// List refreshes and returns every target that Lookup would find, in the order
// of their paths, without those that are blocked. It fetches all roles, or of the
// delegated ones only those that are named; one that expired is left out and named
// in State.Stale.
func (c *Client) List(ctx context.Context, roles ...string) ([]Target, State, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.Pace.Total, errTooSlow)
	defer cancel()
	s, st, err := c.openLocked(ctx)
	if err != nil {
		return nil, st, err
	}
	if err := s.loadAll(ctx, roles); err != nil {
		return nil, s.state(), err
	}
	st = s.state()
	paths := map[string]bool{}
	for _, role := range s.trusted.Targets {
		for p := range role.Signed.Targets {
			paths[p] = true
		}
	}
	loaded := func(_ context.Context, role, _ string) error {
		if s.trusted.Targets[role] == nil {
			return fmt.Errorf("%s: %w", role, ErrNoTarget)
		}
		return nil
	}
	var out []Target
	for _, p := range slices.Sorted(maps.Keys(paths)) {
		// A path that its role may not speak for is no target.
		if t, err := s.walk(ctx, p, loaded); err == nil && !slices.Contains(st.Rules.Blocked, t.SHA256) {
			out = append(out, t)
		}
	}
	return out, st, nil
}

// session is one pass through the workflow of section 5, with one fixed time.
type session struct {
	cfg     Config
	shelf   shelf
	floor   floor
	kept    floor // as it is in the Store
	trusted *trustedmetadata.TrustedMetadata
	now     time.Time // the device's clock at the start; it may jump meanwhile
	fresh   bool
	stale   []string
}

// openLocked goes through 5.1 to 5.6 and keeps what was accepted, also when it
// ends in the middle.
func (c *Client) openLocked(ctx context.Context) (*session, State, error) {
	s := &session{cfg: c.cfg, shelf: shelf{store: c.cfg.Store}, now: c.cfg.Now()}
	if !c.cfg.NoFloor {
		s.kept = loadFloor(c.cfg.Store)
		s.floor = s.kept.clone()
	}
	err := s.refresh(ctx)
	if e := s.saveFloor(); err == nil {
		err = e
	}
	return s, s.state(), err
}

func (s *session) saveFloor() error {
	if s.cfg.NoFloor || s.floor.equal(s.kept) {
		return nil
	}
	if err := s.floor.save(s.cfg.Store); err != nil {
		return err
	}
	s.kept = s.floor.clone()
	return nil
}

func (s *session) refresh(ctx context.Context) error {
	if err := s.startRoot(); err != nil {
		return err
	}
	if err := s.newerRoots(ctx); err != nil {
		return err
	}
	if err := s.timestamp(ctx); err != nil {
		return err
	}
	if err := s.snapshot(ctx); err != nil {
		return err
	}
	if err := s.load(ctx, Targets, Root); err != nil {
		return err
	}
	rules, err := parseRules(s.trusted.Targets[Targets].Signed.UnrecognizedFields)
	if err != nil {
		return fmt.Errorf("%s: %w", Targets, err)
	}
	s.floor.raise(rules.Floors)
	return nil
}

// startRoot takes the highest of the roots at hand. A root in the Store that is
// older than the program's own loses, and the other way round: passing an older
// one over a newer is how a withheld rotation would be undone.
func (s *session) startRoot() error {
	stored := s.shelf.get(Root)
	spare, _ := s.shelf.read(copyName(Root), Root)
	var best []byte
	var last error
	for i, data := range [][]byte{stored, spare, s.cfg.Root} {
		if data == nil || i > 0 && bytes.Equal(data, stored) {
			continue
		}
		t, err := newTrusted(data)
		if err != nil {
			last = err
			continue
		}
		if s.trusted == nil || t.Root.Signed.Version > s.trusted.Root.Signed.Version {
			s.trusted, best = t, data
		}
	}
	if s.trusted == nil {
		if last == nil {
			last = fmt.Errorf("%w: neither the program nor the store has one", ErrRefused)
		}
		return fmt.Errorf("no root to start from: %w", last)
	}
	if !bytes.Equal(best, stored) || !bytes.Equal(best, spare) {
		if err := s.shelf.put(Root, best); err != nil {
			return err
		}
	}
	s.rooted()
	return nil
}

// newTrusted verifies a root by itself.
func newTrusted(data []byte) (t *trustedmetadata.TrustedMetadata, err error) {
	if err := Check(Root, data); err != nil {
		return nil, fmt.Errorf("%s: %w", Root, err)
	}
	err = guard(Root, func() (err error) {
		t, err = trustedmetadata.New(data)
		return err
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// CheckRoot judges a root that programs are to be built with: it must be signed by as
// many of its own keys as it asks for, and not end before a time. It returns what it
// found also with ErrStale.
func CheckRoot(data []byte, until time.Time) (version int64, expires time.Time, err error) {
	t, err := newTrusted(data)
	if err != nil {
		return 0, time.Time{}, err
	}
	r := t.Root.Signed
	if r.Expires.Before(until) {
		err = fmt.Errorf("%s: %w: version %d ends on %s", Root, ErrStale, r.Version, r.Expires.Format(time.DateOnly))
	}
	return r.Version, r.Expires, err
}

// rooted follows a root that was accepted. One below the floor, from which a
// device starts that lost its newer ones, says nothing about rotation.
func (s *session) rooted() {
	r := s.trusted.Root.Signed
	if r.Version >= s.floor.Root {
		s.floor.Root = r.Version
		s.floor.rotated(r.Roles[Timestamp].KeyIDs, r.Roles[Snapshot].KeyIDs)
	}
	s.trusted.RefTime = refTime(s.cfg.Build, s.floor.time(), s.now)
}

// newerRoots goes up one version at a time (5.3). Expiry does not count on the
// way, so that a device that slept through five rotations catches up.
func (s *session) newerRoots(ctx context.Context) error {
	floor := s.floor.Root
	for range maxRotations {
		next := s.trusted.Root.Signed.Version + 1
		data, err := s.fetch(ctx, Root, strconv.FormatInt(next, 10), maxLength[Root])
		if errors.Is(err, ErrNotFound) {
			break
		}
		if err != nil {
			return err
		}
		if err := guard(Root, func() error { _, err := s.trusted.UpdateRoot(data); return err }); err != nil {
			return err
		}
		if err := s.shelf.put(Root, data); err != nil {
			return err
		}
		s.rooted()
	}
	if have := s.trusted.Root.Signed.Version; have < floor {
		return fmt.Errorf("%s: %w: version %d, was %d", Root, ErrRollback, have, floor)
	}
	return nil
}

// fetch takes a file of the repository and checks its shape.
func (s *session) fetch(ctx context.Context, role, version string, limit int64) ([]byte, error) {
	name := fileName(role)
	if version != "" {
		name = version + "." + name
	}
	data, err := s.cfg.Pace.read(ctx, s.cfg.Fetch, name, limit)
	if err != nil {
		return nil, err
	}
	if err := Check(kindOf(role), data); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, nil
}

// timestamp is 5.4, with the statement of freshness before anything is judged by time.
func (s *session) timestamp(ctx context.Context) error {
	var data []byte
	var stale error
	for range 2 { // a new one may be published between the two questions
		var err error
		if data, err = s.fetch(ctx, Timestamp, "", maxLength[Timestamp]); err != nil {
			return err
		}
		if stale = s.freshen(ctx, data); stale == nil {
			break
		}
	}

	local := s.shelf.get(Timestamp)
	update := func(data []byte) error {
		return guard(Timestamp, func() error { _, err := s.trusted.UpdateTimestamp(data); return err })
	}
	if local != nil {
		// The local one need not be valid any more: expired it still tells what
		// was seen, and signed by a key that was rotated it tells nothing.
		_ = update(local)
	}
	err := update(data)
	same := errors.Is(err, errEqualVersion)
	if err != nil && !same {
		return err
	}
	if err := s.aboveTimestamp(); err != nil {
		return err
	}
	if !same {
		if err := s.shelf.put(Timestamp, data); err != nil {
			return err
		}
	}
	t := s.trusted.Timestamp.Signed
	s.floor.Timestamp = max(s.floor.Timestamp, t.Version)
	return stale
}

func (s *session) aboveTimestamp() error {
	t := s.trusted.Timestamp.Signed
	if t.Version < s.floor.Timestamp {
		return fmt.Errorf("%s: %w: version %d, was %d", Timestamp, ErrRollback, t.Version, s.floor.Timestamp)
	}
	if v := t.Meta["snapshot.json"].Version; v < s.floor.Snapshot {
		return fmt.Errorf("%s: %w: snapshot %d, was %d", Timestamp, ErrRollback, v, s.floor.Snapshot)
	}
	return nil
}

// freshen asks whether the timestamp is the newest, and what time it is. It
// returns ErrStale if the repository vouches for another timestamp; no answer
// is no accusation, since whoever can suppress it can suppress all.
func (s *session) freshen(ctx context.Context, timestamp []byte) error {
	if s.cfg.Fresh == nil {
		return nil
	}
	var nonce Nonce
	rand.Read(nonce[:])
	raw, err := s.cfg.Fresh(ctx, nonce, s.trusted.Root.Signed.Version)
	if err != nil {
		return nil
	}
	var st Statement
	err = guard(Timestamp, func() error {
		st, err = verifyFresh(s.trusted.Root, raw, nonce)
		return nil
	})
	if err != nil {
		return nil // not the timestamp key's word: as good as none
	}
	// A stolen key could sign the year 2099, and all would be stale for ever. What
	// is kept ends with the root, until its owners take the key away.
	kept := min(st.Time.UnixMilli(), s.trusted.Root.Signed.Expires.UnixMilli())
	s.floor.TimeMS = max(s.floor.TimeMS, kept)
	s.trusted.RefTime = freshTime(s.cfg.Build, st.Time)
	if st.Timestamp != sum(timestamp) {
		return fmt.Errorf("%s: %w: the repository vouches for another one", Timestamp, ErrStale)
	}
	s.fresh = true
	return nil
}

// snapshot is 5.5.
func (s *session) snapshot(ctx context.Context) error {
	local := s.shelf.get(Snapshot)
	update := func(data []byte, trusted bool) error {
		return guard(Snapshot, func() error { _, err := s.trusted.UpdateSnapshot(data, trusted); return err })
	}
	if local != nil && update(local, true) == nil {
		return s.aboveSnapshot()
	}
	meta := s.trusted.Timestamp.Signed.Meta["snapshot.json"]
	data, err := s.fetch(ctx, Snapshot, s.versioned(meta.Version), s.limit(Snapshot, meta.Length))
	if err != nil {
		return err
	}
	if err := update(data, false); err != nil {
		return err
	}
	if err := s.aboveSnapshot(); err != nil {
		return err
	}
	if err := s.shelf.put(Snapshot, data); err != nil {
		return err
	}
	return s.keepSnapshot()
}

func (s *session) aboveSnapshot() error {
	n := s.trusted.Snapshot.Signed
	if n.Version < s.floor.Snapshot {
		return fmt.Errorf("%s: %w: version %d, was %d", Snapshot, ErrRollback, n.Version, s.floor.Snapshot)
	}
	for name, was := range s.floor.Roles {
		m, ok := n.Meta[name]
		if !ok {
			return fmt.Errorf("%s: %w: %s is gone", Snapshot, ErrRollback, name)
		}
		if m.Version < was {
			return fmt.Errorf("%s: %w: %s %d, was %d", Snapshot, ErrRollback, name, m.Version, was)
		}
	}
	return s.keepSnapshot()
}

func (s *session) keepSnapshot() error {
	n := s.trusted.Snapshot.Signed
	s.floor.Snapshot = max(s.floor.Snapshot, n.Version)
	s.floor.Roles = map[string]int64{}
	for name, m := range n.Meta {
		s.floor.Roles[name] = m.Version
	}
	return nil
}

func (s *session) state() State {
	st := State{
		Fresh: s.fresh, Healed: s.shelf.healed, Stale: s.stale, Expires: map[string]time.Time{},
		Floors: maps.Clone(s.floor.Products),
	}
	t := s.trusted
	if t == nil {
		return st
	}
	st.RefTime = t.RefTime
	st.Root, st.Expires[Root] = t.Root.Signed.Version, t.Root.Signed.Expires
	if t.Timestamp != nil {
		st.Timestamp, st.Expires[Timestamp] = t.Timestamp.Signed.Version, t.Timestamp.Signed.Expires
	}
	if t.Snapshot != nil {
		st.Snapshot, st.Expires[Snapshot] = t.Snapshot.Signed.Version, t.Snapshot.Signed.Expires
	}
	for role, m := range t.Targets {
		st.Expires[role] = m.Signed.Expires
	}
	if m := t.Targets[Targets]; m != nil {
		st.Targets = m.Signed.Version
		st.Rules, _ = parseRules(m.Signed.UnrecognizedFields) // judged by refresh
	}
	return st
}
