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
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"hausmeister/installer/release"
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
	asked   time.Time // when somebody last asked for a renewal
	tokens  float64   // for statements
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

func (s *Signer) loadLocked() error {
	if err := os.MkdirAll(filepath.Join(s.cfg.Repo, "metadata"), 0o755); err != nil {
		return err
	}
	s.stamp, s.shot = nil, nil
	s.nums, s.roles, s.expires = numbers{Format: 1, Roles: map[string]int64{}}, map[string][]byte{}, map[string]time.Time{}
	if data, err := os.ReadFile(s.path("numbers")); err == nil {
		if err := json.Unmarshal(data, &s.nums); err != nil || s.nums.Format != 1 || s.nums.Roles == nil {
			return fmt.Errorf("reading the state %s: %w", s.path("numbers"), errors.Join(err, errors.New("damaged")))
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.replayLocked(); err != nil {
		return err
	}
	if err := s.loadRootLocked(); err != nil {
		return err
	}
	if s.root == nil || s.nums.Timestamp == 0 {
		return nil
	}
	return s.loadRolesLocked()
}

// replayLocked ends a change that a crash cut.
func (s *Signer) replayLocked() error {
	data, err := os.ReadFile(s.path("pending"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var p pending
	if err := json.Unmarshal(data, &p); err != nil {
		return fmt.Errorf("reading %s: %w", s.path("pending"), err)
	}
	return s.applyLocked(p)
}

// loadRootLocked reads the root that this process follows.
func (s *Signer) loadRootLocked() error {
	data, err := os.ReadFile(s.path("root.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.root, err = draft.Parse(data)
	if err != nil {
		return fmt.Errorf("reading %s: %w", s.path("root.json"), err)
	}
	s.rootRaw, s.expires[manifest.Root] = data, s.root.Expires()
	return nil
}

// loadRolesLocked reads what the numbers name from the folder. A folder that was
// put back to an older state does not have it, and nothing is signed on top of that.
func (s *Signer) loadRolesLocked() error {
	files := map[string]*draft.File{manifest.Root: s.root}
	for _, role := range slices.SortedFunc(maps.Keys(s.nums.Roles), targetsFirst) {
		data, f, err := s.readRole(role, s.nums.Roles[role])
		if err == nil {
			err = release.Approve(s.root, files[manifest.Targets], role, f)
		}
		if err != nil {
			return fmt.Errorf("the repository is not as it was left (restored from a backup?): %w", err)
		}
		files[role], s.roles[role], s.expires[role] = f, data, f.Expires()
	}
	for _, x := range []struct {
		role    string
		version int64
	}{{manifest.Snapshot, s.nums.Snapshot}, {manifest.Timestamp, s.nums.Timestamp}} {
		data, f, err := s.readRole(x.role, x.version)
		if err == nil {
			err = release.Approve(s.root, nil, x.role, f)
		}
		if err != nil { // whatever lies there is replaced by the next version
			s.cfg.Log.Warn("the repository's file is signed anew", "role", x.role, "error", err)
			s.expires[x.role] = time.Time{}
			continue
		}
		s.expires[x.role] = f.Expires()
		if x.role == manifest.Timestamp {
			s.stamp = data
		} else {
			s.shot = data
		}
	}
	var err error
	s.key, err = s.keyFor(s.root, manifest.Timestamp)
	return err
}

func targetsFirst(a, b string) int {
	if (a == manifest.Targets) != (b == manifest.Targets) {
		if a == manifest.Targets {
			return -1
		}
		return 1
	}
	return strings.Compare(a, b)
}

func (s *Signer) readRole(role string, version int64) ([]byte, *draft.File, error) {
	name := release.MetadataName(role, version)
	data, err := os.ReadFile(s.metadata(name))
	if err != nil {
		return nil, nil, err
	}
	f, err := draft.Parse(data)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	if f.Version() != version {
		return nil, nil, fmt.Errorf("%s is version %d, not %d", name, f.Version(), version)
	}
	return data, f, nil
}

// Trust puts the first root there: the operator's act, once.
func (s *Signer) Trust(root []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.root != nil {
		return fmt.Errorf("%w: root %d is trusted already; a newer one is published", release.ErrRefused, s.root.Version())
	}
	f, err := draft.Parse(root)
	if err != nil {
		return fmt.Errorf("%w: %w", release.ErrUnverified, err)
	}
	if f.Kind() != manifest.Root || f.Version() != 1 {
		return fmt.Errorf("%w: it is %s %d, not root 1", release.ErrRefused, f.Kind(), f.Version())
	}
	if err := release.ApproveRoot(nil, f); err != nil {
		return err
	}
	for _, role := range []string{manifest.Snapshot, manifest.Timestamp} {
		if _, err := s.keyFor(f, role); err != nil {
			return err
		}
	}
	if err := s.cfg.Write(s.metadata("1.root.json"), root, 0o644); err != nil {
		return err
	}
	if err := s.cfg.Write(s.path("root.json"), root, 0o644); err != nil {
		return err
	}
	s.root, s.rootRaw, s.expires[manifest.Root] = f, root, f.Expires()
	return nil
}

// NewKeys makes keys for snapshot and timestamp and writes their public halves to
// a folder, for the root that is to name them. Older keys stay until then.
func (s *Signer) NewKeys(random io.Reader, out string) ([]release.Public, error) {
	var made []release.Public
	for _, role := range []string{manifest.Snapshot, manifest.Timestamp} {
		seed := make([]byte, ed25519.SeedSize)
		if _, err := io.ReadFull(random, seed); err != nil {
			return nil, err
		}
		p, err := release.NewPublic("online-"+role, []string{role}, ed25519.NewKeyFromSeed(seed), s.cfg.Now())
		if err != nil {
			return nil, err
		}
		if err := s.cfg.Write(s.path(p.ID+".seed"), []byte(hex.EncodeToString(seed)+"\n"), 0o600); err != nil {
			return nil, err
		}
		name := filepath.Join(out, p.Person+".pub")
		if _, err := os.Lstat(name); err == nil {
			name = filepath.Join(out, p.Person+"-"+release.Short(p.ID)+".pub")
		}
		if err := p.Write(name); err != nil {
			return nil, err
		}
		made = append(made, p)
	}
	return made, nil
}

// keyFor finds the key that a root names for a role.
func (s *Signer) keyFor(root *draft.File, role string) (ed25519.PrivateKey, error) {
	_, keys, err := root.Keys(role)
	if err != nil {
		return nil, err
	}
	for _, pub := range keys {
		id, err := manifest.KeyID(pub)
		if err != nil {
			return nil, err
		}
		text, err := os.ReadFile(s.path(id + ".seed"))
		if err != nil {
			continue
		}
		seed, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil || len(seed) != ed25519.SeedSize {
			return nil, fmt.Errorf("the key %s is damaged", s.path(id+".seed"))
		}
		if key := ed25519.NewKeyFromSeed(seed); key.Public().(ed25519.PublicKey).Equal(pub) {
			return key, nil
		}
	}
	return nil, fmt.Errorf("%w: root %d names a key for %s that is not here", release.ErrRefused, root.Version(), role)
}

// Publish takes over new files by role and signs snapshot and timestamp for them.
// The same files again change nothing.
func (s *Signer) Publish(_ context.Context, files map[string][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.root == nil {
		return fmt.Errorf("%w: no root is trusted here yet: hausmeister-release online trust", release.ErrRefused)
	}
	p := pending{Numbers: s.copyNumbersLocked(), Files: map[string][]byte{}}
	root, roles, err := s.judgeLocked(files, &p)
	if err != nil {
		return err
	}
	if len(p.Files) == 0 {
		return nil
	}
	if len(roles) > 0 {
		if err := s.signLocked(root, roles, &p); err != nil {
			return err
		}
	}
	return s.commitLocked(p)
}

func (s *Signer) copyNumbersLocked() numbers {
	n := s.nums
	n.Roles = maps.Clone(s.nums.Roles)
	return n
}

// judgeLocked verifies files on top of what is published, by the thresholds, and
// puts into p what is new of them.
func (s *Signer) judgeLocked(files map[string][]byte, p *pending) (root *draft.File, roles map[string][]byte, err error) {
	root, roles = s.root, maps.Clone(s.roles)
	if data, ok := files[manifest.Root]; ok && !bytes.Equal(data, s.rootRaw) {
		if root, err = s.judgeRootLocked(data); err != nil {
			return nil, nil, err
		}
		p.Files[release.MetadataName(manifest.Root, root.Version())] = data
		p.Numbers.Root = root.Version()
	}
	for _, role := range slices.Sorted(maps.Keys(files)) {
		if role == manifest.Root || bytes.Equal(files[role], s.roles[role]) {
			continue
		}
		version, err := s.judgeVersionLocked(role, files[role])
		if err != nil {
			return nil, nil, err
		}
		roles[role] = files[role]
		p.Files[release.MetadataName(role, version)], p.Numbers.Roles[role] = files[role], version
	}
	if len(roles) == 0 {
		return root, roles, nil // the first root alone
	}
	return root, roles, approveAll(root, roles, s.cfg.Now())
}

func (s *Signer) judgeRootLocked(data []byte) (*draft.File, error) {
	f, err := draft.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%w: root: %w", release.ErrUnverified, err)
	}
	if f.Kind() != manifest.Root {
		return nil, fmt.Errorf("%w: %s in place of root", release.ErrUnverified, f.Kind())
	}
	if err := release.ApproveRoot(s.root, f); err != nil {
		return nil, err
	}
	if !f.Expires().After(s.cfg.Now()) {
		return nil, fmt.Errorf("%w: root %d is over", release.ErrRefused, f.Version())
	}
	return f, nil
}

// judgeVersionLocked: above what was published, by numbers that no restored
// folder lowers.
func (s *Signer) judgeVersionLocked(role string, data []byte) (int64, error) {
	if role == manifest.Snapshot || role == manifest.Timestamp {
		return 0, fmt.Errorf("%w: %s is signed here and nowhere else", release.ErrRefused, role)
	}
	if !manifest.ValidName(role) {
		return 0, fmt.Errorf("%w: %.60q is no role", release.ErrRefused, role)
	}
	f, err := draft.Parse(data)
	if err != nil {
		return 0, fmt.Errorf("%w: %s: %w", release.ErrUnverified, role, err)
	}
	if f.Version() <= s.nums.Roles[role] {
		return 0, fmt.Errorf("%w: %s %d is not above %d, which was published", release.ErrRefused, role, f.Version(), s.nums.Roles[role])
	}
	return f.Version(), nil
}

// approveAll: every role that is to be published, new or not, has its signatures,
// and all that targets names are there, none beside them.
func approveAll(root *draft.File, roles map[string][]byte, now time.Time) error {
	files := map[string]*draft.File{}
	for role, data := range roles {
		f, err := draft.Parse(data)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", release.ErrUnverified, role, err)
		}
		if f.Kind() != manifest.Targets {
			return fmt.Errorf("%w: %s as %s", release.ErrUnverified, f.Kind(), role)
		}
		files[role] = f
	}
	targets := files[manifest.Targets]
	if targets == nil {
		return fmt.Errorf("%w: targets is missing", release.ErrRefused)
	}
	if !targets.Expires().After(now) {
		return fmt.Errorf("%w: targets %d is over", release.ErrRefused, targets.Version())
	}
	named := map[string]bool{manifest.Targets: true}
	for _, d := range targets.Delegations() {
		named[d.Role] = true
		if files[d.Role] == nil {
			return fmt.Errorf("%w: targets names %s, which is missing", release.ErrRefused, d.Role)
		}
	}
	for role, f := range files {
		if !named[role] {
			return fmt.Errorf("%w: targets does not name %s", release.ErrRefused, role)
		}
		if err := release.Approve(root, targets, role, f); err != nil {
			return err
		}
	}
	return nil
}

// signLocked adds the next snapshot and timestamp to p.
func (s *Signer) signLocked(root *draft.File, roles map[string][]byte, p *pending) error {
	now := s.cfg.Now()
	key, err := s.keyFor(root, manifest.Snapshot)
	if err != nil {
		return err
	}
	snapshot := draft.NewSnapshot(now.Add(SnapshotLife))
	for role, data := range roles {
		if err := snapshot.SetMeta(role, data); err != nil {
			return err
		}
	}
	p.Numbers.Snapshot++
	data, err := signed(snapshot, p.Numbers.Snapshot, key)
	if err != nil {
		return err
	}
	p.Files[release.MetadataName(manifest.Snapshot, p.Numbers.Snapshot)] = data
	return s.stampLocked(root, data, p)
}

func (s *Signer) stampLocked(root *draft.File, snapshot []byte, p *pending) error {
	key, err := s.keyFor(root, manifest.Timestamp)
	if err != nil {
		return err
	}
	stamp := draft.NewTimestamp(s.cfg.Now().Add(TimestampLife))
	if err := stamp.SetMeta(manifest.Snapshot, snapshot); err != nil {
		return err
	}
	p.Numbers.Timestamp++
	p.Files["timestamp.json"], err = signed(stamp, p.Numbers.Timestamp, key)
	return err
}

func signed(f *draft.File, version int64, key ed25519.PrivateKey) ([]byte, error) {
	if err := f.SetVersion(version); err != nil {
		return nil, err
	}
	if err := f.Sign(key); err != nil {
		return nil, err
	}
	return f.Bytes()
}

func (s *Signer) commitLocked(p pending) error {
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := s.cfg.Write(s.path("pending"), data, 0o600); err != nil {
		return err
	}
	if err := s.applyLocked(p); err != nil {
		return err
	}
	if err := s.loadRootLocked(); err != nil || s.nums.Timestamp == 0 {
		return err
	}
	return s.loadRolesLocked()
}

// applyLocked writes a pending change out, to the same bytes each time.
func (s *Signer) applyLocked(p pending) error {
	for _, name := range slices.SortedFunc(maps.Keys(p.Files), inOrder) {
		if old, err := os.ReadFile(s.metadata(name)); err == nil && bytes.Equal(old, p.Files[name]) {
			continue
		}
		if err := s.cfg.Write(s.metadata(name), p.Files[name], 0o644); err != nil {
			return err
		}
		if strings.HasSuffix(name, ".root.json") {
			if err := s.cfg.Write(s.path("root.json"), p.Files[name], 0o644); err != nil {
				return err
			}
		}
	}
	data, err := json.Marshal(p.Numbers)
	if err != nil {
		return err
	}
	if err := s.cfg.Write(s.path("numbers"), data, 0o600); err != nil {
		return err
	}
	s.nums = p.Numbers
	if err := os.Remove(s.path("pending")); err != nil {
		return err
	}
	return layout.SyncDir(s.cfg.State)
}

// inOrder: what is named before what names it, the timestamp last. The root comes
// right before the timestamp, since a device sees it the moment that it is there.
func inOrder(a, b string) int {
	rank := func(name string) int {
		switch {
		case name == "timestamp.json":
			return 2
		case strings.HasSuffix(name, ".root.json"):
			return 1
		}
		return 0
	}
	if d := rank(a) - rank(b); d != 0 {
		return d
	}
	return strings.Compare(a, b)
}

// Renew signs timestamp, and snapshot where it is time, before they end. What
// somebody asks for is done once a minute at most.
func (s *Signer) Renew(asked bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	if s.root == nil || s.nums.Timestamp == 0 {
		return ErrEmpty
	}
	snapshot := s.expires[manifest.Snapshot].Sub(now) <= renewSnapshot
	stamp := s.expires[manifest.Timestamp].Sub(now) <= renewStamp
	if asked && !stamp && !snapshot {
		if wait := leastBetween - now.Sub(s.asked); wait > 0 {
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
	return s.commitLocked(p)
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
