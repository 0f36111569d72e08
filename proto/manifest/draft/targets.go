package draft

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"hausmeister/proto/manifest"
)

// SetTarget signs for a file: its length and the one hash that is used. Custom
// is nil or becomes a JSON object, such as a manifest.Release.
func (f *File) SetTarget(path string, length int64, sha256Hex string, custom any) error {
	if f.targets == nil {
		return ErrKind
	}
	h, err := hex.DecodeString(sha256Hex)
	if err != nil || len(h) != sha256.Size {
		return fmt.Errorf("%q is no sha256", sha256Hex)
	}
	t := &metadata.TargetFiles{Length: length, Hashes: metadata.Hashes{"sha256": h}, Path: path}
	if custom != nil {
		raw, err := json.Marshal(custom)
		if err != nil {
			return err
		}
		t.Custom = (*json.RawMessage)(&raw)
	}
	f.targets.Signed.Targets[path] = t
	f.edited()
	return nil
}

// RemoveTarget takes a file away.
func (f *File) RemoveTarget(path string) error {
	if f.targets == nil {
		return ErrKind
	}
	delete(f.targets.Signed.Targets, path)
	f.edited()
	return nil
}

// Targets that this file signs for, by path.
func (f *File) Targets(role string) []manifest.Target {
	if f.targets == nil {
		return nil
	}
	var out []manifest.Target
	for _, p := range slices.Sorted(maps.Keys(f.targets.Signed.Targets)) {
		t := f.targets.Signed.Targets[p]
		m := manifest.Target{
			Path: p, Role: role, RoleVersion: f.Version(), Length: t.Length,
			SHA256: t.Hashes["sha256"].String(), SHA512: t.Hashes["sha512"].String(),
		}
		if t.Custom != nil {
			m.Custom = slices.Clone(*t.Custom)
		}
		out = append(out, m)
	}
	return out
}

// SetRole writes into a file of targets which role it is for, see
// manifest.RoleField.
func (f *File) SetRole(role string) error {
	if f.targets == nil {
		return ErrKind
	}
	if !manifest.ValidName(role) {
		return fmt.Errorf("role %.60q is not of [a-z0-9-]", role)
	}
	if f.targets.Signed.UnrecognizedFields == nil {
		f.targets.Signed.UnrecognizedFields = map[string]any{}
	}
	f.targets.Signed.UnrecognizedFields[manifest.RoleField] = role
	f.edited()
	return nil
}

// Role that a file says it is for, "" if it does not say.
func (f *File) Role() string {
	if f.targets == nil {
		return f.Kind()
	}
	role, _ := f.targets.Signed.UnrecognizedFields[manifest.RoleField].(string)
	return role
}

// SetRules of the targets role.
func (f *File) SetRules(r manifest.Rules) error {
	if f.targets == nil {
		return ErrKind
	}
	if err := r.Valid(); err != nil {
		return err
	}
	var v any
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return err
	}
	if f.targets.Signed.UnrecognizedFields == nil {
		f.targets.Signed.UnrecognizedFields = map[string]any{}
	}
	f.targets.Signed.UnrecognizedFields[manifest.RulesField] = v
	f.edited()
	return nil
}

// Rules of the targets role.
func (f *File) Rules() (manifest.Rules, error) {
	var r manifest.Rules
	if f.targets == nil {
		return r, ErrKind
	}
	raw, err := json.Marshal(f.targets.Signed.UnrecognizedFields[manifest.RulesField])
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, err
	}
	return r, r.Valid()
}

// SetMeta names a published file with its version, length and hash: in a
// snapshot the targets and all delegated roles, in a timestamp the snapshot.
func (f *File) SetMeta(role string, published []byte) error {
	p, err := Parse(published)
	if err != nil {
		return fmt.Errorf("%s: %w", role, err)
	}
	m := &metadata.MetaFiles{Version: p.Version(), Length: int64(len(published))}
	h := sha256.Sum256(published)
	m.Hashes = metadata.Hashes{"sha256": h[:]}
	meta, want := map[string]*metadata.MetaFiles(nil), manifest.Targets
	switch {
	case f.snapshot != nil:
		meta = f.snapshot.Signed.Meta
	case f.timestamp != nil:
		meta, want = f.timestamp.Signed.Meta, manifest.Snapshot
	default:
		return ErrKind
	}
	if p.Kind() != want || want == manifest.Snapshot && role != manifest.Snapshot {
		return fmt.Errorf("%s names no %s as %s", f.Kind(), p.Kind(), role)
	}
	name := role + ".json"
	if old, ok := meta[name]; ok && m.Version < old.Version {
		return fmt.Errorf("%s: version %d is below %d: versions only go up", role, m.Version, old.Version)
	}
	meta[name] = m
	f.edited()
	return nil
}

// Meta are the versions that a snapshot or timestamp names, by role.
func (f *File) Meta() map[string]int64 {
	var meta map[string]*metadata.MetaFiles
	switch {
	case f.snapshot != nil:
		meta = f.snapshot.Signed.Meta
	case f.timestamp != nil:
		meta = f.timestamp.Signed.Meta
	}
	out := map[string]int64{}
	for name, m := range meta {
		out[strings.TrimSuffix(name, ".json")] = m.Version
	}
	return out
}
