package online

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"hausmeister/installer/release"
	"hausmeister/proto/manifest"
	"hausmeister/proto/manifest/draft"
)

func (s *Signer) loadLocked() error {
	if err := os.MkdirAll(filepath.Join(s.cfg.Repo, "metadata"), 0o755); err != nil {
		return err
	}
	s.stamp, s.shot, s.root, s.rootRaw, s.behind, s.cut = nil, nil, nil, nil, nil, true
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
	if err := s.behindLocked(s.nums.Timestamp == 0 && s.nums.Root == 0); err != nil {
		return err
	}
	if s.behind == nil && s.root != nil && s.nums.Timestamp > 0 {
		if err := s.loadRolesLocked(); err != nil {
			return err
		}
	}
	s.cut = false
	return nil
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
