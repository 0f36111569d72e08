package online

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"hausmeister/installer/release"
	"hausmeister/platform/layout"
	"hausmeister/proto/manifest"
	"hausmeister/proto/manifest/draft"
)

// Publish takes over new files by role and signs snapshot and timestamp for them.
// The same files again change nothing.
func (s *Signer) Publish(_ context.Context, files map[string][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.readyLocked(); err != nil {
		return err
	}
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
	return s.commitLocked(root, p)
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

func (s *Signer) commitLocked(root *draft.File, p pending) error {
	if err := s.aboveLocked(root, p); err != nil {
		return err
	}
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	s.cut = true
	if err := s.cfg.Write(s.path("pending"), data, 0o600); err != nil {
		return err
	}
	if err := s.applyLocked(p); err != nil {
		return err
	}
	return s.loadLocked()
}

// readyLocked ends what a full disk cut, to the same bytes as a restart does, and
// says whether anything may be signed.
func (s *Signer) readyLocked() error {
	if s.cut {
		if err := s.loadLocked(); err != nil {
			return err
		}
	}
	return s.behind
}

// applyLocked writes a pending change out, to the same bytes each time.
func (s *Signer) applyLocked(p pending) error {
	for _, name := range slices.SortedFunc(maps.Keys(p.Files), inOrder) {
		if old, err := os.ReadFile(s.metadata(name)); err != nil || !bytes.Equal(old, p.Files[name]) {
			if err := s.cfg.Write(s.metadata(name), p.Files[name], 0o644); err != nil {
				return err
			}
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
