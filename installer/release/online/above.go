package online

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"hausmeister/installer/release"
	"hausmeister/proto/manifest"
	"hausmeister/proto/manifest/draft"
)

// The numbers are this process's memory, and a device that has seen a higher one
// believes nothing below it, for ever. So they are compared with what lies in the
// folder: where they are behind, nothing is signed until the operator says that the
// folder is what devices were served last (Trust).

// behindLocked looks for metadata that persons have signed and the numbers do not
// know. What the online keys have signed is looked at when the next is written: a
// thief may have raised it, and then a new root begins anew.
func (s *Signer) behindLocked(missing bool) error {
	entries, err := os.ReadDir(filepath.Join(s.cfg.Repo, "metadata"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		role, version, ok := named(e.Name())
		known := s.nums.Roles[role]
		if role == manifest.Root {
			known = 1 // it lies there before anything is published
			if s.root != nil {
				known = s.root.Version()
			}
		}
		online := role == manifest.Snapshot || role == manifest.Timestamp
		if !ok || online && !missing || version <= known {
			continue
		}
		what := "is older than that"
		if missing {
			what = "is missing"
		}
		s.behind = fmt.Errorf("%w: %s has %s, and %s %s: nothing is signed, since devices refuse versions below those that they have seen. "+
			"If that folder is what devices were served last: hausmeister-release online trust %s",
			release.ErrRefused, s.cfg.Repo, e.Name(), s.path("numbers"), what, s.metadata("1.root.json"))
		return nil
	}
	return nil
}

// Remembers says whether the state is as new as the folder; without that nothing is signed.
func (s *Signer) Remembers() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.behind
}

// named takes a name of the folder apart. A timestamp has no number: 1 stands for any.
func named(name string) (role string, version int64, ok bool) {
	if name == release.MetadataName(manifest.Timestamp, 0) {
		return manifest.Timestamp, 1, true
	}
	number, rest, _ := strings.Cut(name, ".")
	role, json := strings.CutSuffix(rest, ".json")
	version, err := strconv.ParseInt(number, 10, 64)
	return role, version, json && err == nil && manifest.ValidName(role)
}

// lies is the highest version of a role in the folder, 0 for none. Snapshots and
// timestamps count if root names their keys: a device forgets those of other keys.
func (s *Signer) lies(root *draft.File, role string) (version int64, data []byte, err error) {
	entries, err := os.ReadDir(filepath.Join(s.cfg.Repo, "metadata"))
	if err != nil {
		return 0, nil, err
	}
	for _, e := range entries {
		of, number, ok := named(e.Name())
		if !ok || of != role || number <= version {
			continue
		}
		raw, err := os.ReadFile(s.metadata(e.Name()))
		if err != nil {
			return 0, nil, err
		}
		if role == manifest.Snapshot || role == manifest.Timestamp {
			f, err := draft.Parse(raw)
			if err != nil || release.Approve(root, nil, role, f) != nil {
				continue
			}
			number = f.Version()
		}
		version, data = number, raw
	}
	return version, data, nil
}

// aboveLocked refuses to write a version that is not above the one in the folder.
func (s *Signer) aboveLocked(root *draft.File, p pending) error {
	for _, name := range slices.Sorted(maps.Keys(p.Files)) {
		role, version, _ := named(name)
		if role == manifest.Timestamp {
			version = p.Numbers.Timestamp
		}
		there, data, err := s.lies(root, role)
		if err != nil {
			return err
		}
		if there > version || there == version && !bytes.Equal(data, p.Files[name]) {
			return fmt.Errorf("%w: %s %d is not above %d, which lies in %s (was the state restored from a backup?): hausmeister-release online trust %s goes on above it",
				release.ErrRefused, role, version, there, s.cfg.Repo, s.metadata("1.root.json"))
		}
	}
	return nil
}

// adoptLocked takes the numbers from the folder, where signatures lead from the first
// root to all of it, and goes on above them.
func (s *Signer) adoptLocked(first []byte) error {
	there, err := os.ReadFile(s.metadata("1.root.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !bytes.Equal(there, first) {
		return fmt.Errorf("%w: %s began with another root", release.ErrUnverified, s.cfg.Repo)
	}
	repo, err := release.OpenRepository(s.cfg.Repo)
	if err != nil {
		return err
	}
	root := repo.Root()
	if s.root != nil && s.root.Version() > root.Version() {
		return fmt.Errorf("%w: %s ends with root %d, this process has seen %d", release.ErrRefused, s.cfg.Repo, root.Version(), s.root.Version())
	}
	nums := s.copyNumbersLocked()
	for role, f := range repo.Files {
		switch role {
		case manifest.Root, manifest.Snapshot, manifest.Timestamp:
			continue
		}
		if f.Version() < nums.Roles[role] {
			return fmt.Errorf("%w: %s has %s %d, this process has seen %d", release.ErrRefused, s.cfg.Repo, role, f.Version(), nums.Roles[role])
		}
		nums.Roles[role] = f.Version()
	}
	for role, n := range map[string]*int64{manifest.Snapshot: &nums.Snapshot, manifest.Timestamp: &nums.Timestamp} {
		if _, err := s.keyFor(root, role); err != nil {
			return err
		}
		version, _, err := s.lies(root, role)
		if err != nil {
			return err
		}
		*n = max(*n, version)
	}
	nums.Root = root.Version()
	return s.commitLocked(root, pending{Numbers: nums, Files: map[string][]byte{release.MetadataName(manifest.Root, root.Version()): repo.Raw[manifest.Root]}})
}

// adoptsLocked says whether Trust is asked to go on with what lies in the folder.
func (s *Signer) adoptsLocked() (bool, error) {
	if s.behind != nil {
		return true, nil
	}
	entries, err := os.ReadDir(filepath.Join(s.cfg.Repo, "metadata"))
	if err != nil {
		return false, err
	}
	if s.root == nil {
		return slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
			_, _, ok := named(e.Name())
			return ok && e.Name() != "1.root.json"
		}), nil
	}
	for role, known := range map[string]int64{manifest.Snapshot: s.nums.Snapshot, manifest.Timestamp: s.nums.Timestamp} {
		if version, _, err := s.lies(s.root, role); err != nil || version > known {
			return true, err
		}
	}
	return false, nil
}
