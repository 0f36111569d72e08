// Package draft writes the metadata that package manifest reads: it is what the
// publisher's tool, the process that signs snapshot and timestamp, and tests
// share. Everything is bytes in and bytes out; where keys and files are kept,
// who is asked, and what is written into the transcript is left to them.
//
// A File loses its signatures with every edit, so that none can stand under what
// its owner has not seen. One key signs once: signing again replaces, since a
// file with two signatures of one key is loaded by nobody. Versions only go up.
package draft

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"hausmeister/proto/manifest"
)

// ErrKind: the edit does not belong to this kind of metadata.
var ErrKind = errors.New("not in metadata of this kind")

// File is one file of metadata that is being written or signed.
type File struct {
	root      *metadata.Metadata[metadata.RootType]
	targets   *metadata.Metadata[metadata.TargetsType]
	snapshot  *metadata.Metadata[metadata.SnapshotType]
	timestamp *metadata.Metadata[metadata.TimestampType]
}

// NewRoot has no keys yet.
func NewRoot(expires time.Time) *File { return &File{root: metadata.Root(whole(expires))} }

// NewTargets is for the targets role and for those that it delegates to.
func NewTargets(expires time.Time) *File { return &File{targets: metadata.Targets(whole(expires))} }

// NewSnapshot names nothing yet.
func NewSnapshot(expires time.Time) *File {
	f := &File{snapshot: metadata.Snapshot(whole(expires))}
	f.snapshot.Signed.Meta = map[string]*metadata.MetaFiles{}
	return f
}

// NewTimestamp names no snapshot yet.
func NewTimestamp(expires time.Time) *File {
	f := &File{timestamp: metadata.Timestamp(whole(expires))}
	f.timestamp.Signed.Meta = map[string]*metadata.MetaFiles{}
	return f
}

// whole seconds, as other clients want them.
func whole(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// Parse reads a file, signed or not, as strictly as a device does.
func Parse(data []byte) (*File, error) {
	var head struct {
		Signed struct {
			Type string `json:"_type"`
		} `json:"signed"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("%w: %v", manifest.ErrMalformed, err)
	}
	if err := manifest.Check(head.Signed.Type, data); err != nil {
		return nil, err
	}
	f := &File{}
	var err error
	switch head.Signed.Type {
	case manifest.Root:
		f.root, err = new(metadata.Metadata[metadata.RootType]).FromBytes(data)
	case manifest.Targets:
		f.targets, err = new(metadata.Metadata[metadata.TargetsType]).FromBytes(data)
	case manifest.Snapshot:
		f.snapshot, err = new(metadata.Metadata[metadata.SnapshotType]).FromBytes(data)
	case manifest.Timestamp:
		f.timestamp, err = new(metadata.Metadata[metadata.TimestampType]).FromBytes(data)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %v", manifest.ErrMalformed, err)
	}
	return f, nil
}

// Bytes is the file as it is published.
func (f *File) Bytes() ([]byte, error) {
	var v any
	switch {
	case f.root != nil:
		v = f.root
	case f.targets != nil:
		v = f.targets
	case f.snapshot != nil:
		v = f.snapshot
	default:
		v = f.timestamp
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	// What no device would read must not be signed by anybody.
	return data, manifest.Check(f.Kind(), data)
}

// Kind is manifest.Root, Targets, Snapshot or Timestamp.
func (f *File) Kind() string {
	switch {
	case f.root != nil:
		return manifest.Root
	case f.targets != nil:
		return manifest.Targets
	case f.snapshot != nil:
		return manifest.Snapshot
	}
	return manifest.Timestamp
}

func (f *File) fields() (version *int64, expires *time.Time, sigs *[]metadata.Signature) {
	switch {
	case f.root != nil:
		return &f.root.Signed.Version, &f.root.Signed.Expires, &f.root.Signatures
	case f.targets != nil:
		return &f.targets.Signed.Version, &f.targets.Signed.Expires, &f.targets.Signatures
	case f.snapshot != nil:
		return &f.snapshot.Signed.Version, &f.snapshot.Signed.Expires, &f.snapshot.Signatures
	}
	return &f.timestamp.Signed.Version, &f.timestamp.Signed.Expires, &f.timestamp.Signatures
}

func (f *File) edited() {
	_, _, sigs := f.fields()
	*sigs = []metadata.Signature{}
}

// Version of the file.
func (f *File) Version() int64 { v, _, _ := f.fields(); return *v }

// Expires is when devices stop believing it.
func (f *File) Expires() time.Time { _, e, _ := f.fields(); return *e }

// SetExpires ends at a whole second.
func (f *File) SetExpires(t time.Time) {
	_, e, _ := f.fields()
	*e = whole(t)
	f.edited()
}

// SetVersion raises the version. The publisher says what was published last; the
// file at hand need not know, after a restore.
func (f *File) SetVersion(v int64) error {
	version, _, _ := f.fields()
	if v < *version || v < 1 {
		return fmt.Errorf("version %d is below %d: versions only go up", v, *version)
	}
	*version = v
	f.edited()
	return nil
}

// Sign puts the signature of a key there, in place of an older one by it.
func (f *File) Sign(key ed25519.PrivateKey) error {
	if _, err := f.Bytes(); err != nil {
		return err
	}
	id, err := manifest.KeyID(key.Public().(ed25519.PublicKey))
	if err != nil {
		return err
	}
	_, _, sigs := f.fields()
	*sigs = slices.DeleteFunc(*sigs, func(s metadata.Signature) bool { return s.KeyID == id })
	signer, err := signature.LoadSigner(key, crypto.Hash(0))
	if err != nil {
		return err
	}
	switch {
	case f.root != nil:
		_, err = f.root.Sign(signer)
	case f.targets != nil:
		_, err = f.targets.Sign(signer)
	case f.snapshot != nil:
		_, err = f.snapshot.Sign(signer)
	default:
		_, err = f.timestamp.Sign(signer)
	}
	return err
}

// SignedBy names the keys whose signatures are there, good or not.
func (f *File) SignedBy() []string {
	_, _, sigs := f.fields()
	ids := []string{}
	for _, s := range *sigs {
		ids = append(ids, s.KeyID)
	}
	slices.Sort(ids)
	return ids
}

// Merge takes over the signatures of another copy of the same file, which
// another person has signed. It refuses one that says anything else.
func (f *File) Merge(other *File) error {
	a, err := f.payload()
	if err != nil {
		return err
	}
	b, err := other.payload()
	if err != nil {
		return err
	}
	if !bytes.Equal(a, b) {
		return errors.New("the two files do not say the same")
	}
	_, _, mine := f.fields()
	_, _, theirs := other.fields()
	for _, s := range *theirs {
		*mine = slices.DeleteFunc(*mine, func(m metadata.Signature) bool { return m.KeyID == s.KeyID })
		*mine = append(*mine, s)
	}
	return nil
}

// payload is the signed part, in one form.
func (f *File) payload() ([]byte, error) {
	data, err := f.Bytes()
	if err != nil {
		return nil, err
	}
	var v struct {
		Signed any `json:"signed"`
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	return json.Marshal(v.Signed) // maps are sorted
}

// Digest is what persons read to each other before they sign: the SHA-256 of
// the signed part, whoever has signed it so far.
func (f *File) Digest() (string, error) {
	p, err := f.payload()
	if err != nil {
		return "", err
	}
	h := sha256.Sum256(p)
	return hex.EncodeToString(h[:]), nil
}

// SetKeys of a top-level role; root only. Keys that no role has any more go.
func (f *File) SetKeys(role string, threshold int, keys ...ed25519.PublicKey) error {
	if f.root == nil {
		return ErrKind
	}
	r, ok := f.root.Signed.Roles[role]
	if !ok {
		return fmt.Errorf("root knows no role %q", role)
	}
	ids, byID, err := keyIDs(keys)
	if err != nil {
		return err
	}
	if threshold < 1 || threshold > len(ids) {
		return fmt.Errorf("%d of %d is no threshold for %s", threshold, len(ids), role)
	}
	r.KeyIDs, r.Threshold = ids, threshold
	maps.Copy(f.root.Signed.Keys, byID)
	used := map[string]bool{}
	for _, r := range f.root.Signed.Roles {
		for _, id := range r.KeyIDs {
			used[id] = true
		}
	}
	maps.DeleteFunc(f.root.Signed.Keys, func(id string, _ *metadata.Key) bool { return !used[id] })
	f.edited()
	return nil
}

func keyIDs(keys []ed25519.PublicKey) ([]string, map[string]*metadata.Key, error) {
	ids, byID := []string{}, map[string]*metadata.Key{}
	for _, pub := range keys {
		k, err := metadata.KeyFromPublicKey(pub)
		if err != nil {
			return nil, nil, err
		}
		id, err := k.ID()
		if err != nil {
			return nil, nil, err
		}
		if byID[id] != nil {
			return nil, nil, fmt.Errorf("key %.8s stands there twice", id)
		}
		ids, byID[id] = append(ids, id), k
	}
	slices.Sort(ids)
	return ids, byID, nil
}

// Keys of a role that this file delegates to, and how many of them must sign.
func (f *File) Keys(role string) (threshold int, keys []ed25519.PublicKey, err error) {
	ids, threshold, all, err := f.delegation(role)
	if err != nil {
		return 0, nil, err
	}
	for _, id := range ids {
		k, ok := all[id]
		if !ok || k.Type != metadata.KeyTypeEd25519 {
			return 0, nil, fmt.Errorf("key %.8s of %s is not ed25519", id, role)
		}
		raw, err := hex.DecodeString(k.Value.PublicKey)
		if err != nil || len(raw) != ed25519.PublicKeySize {
			return 0, nil, fmt.Errorf("key %.8s of %s is damaged", id, role)
		}
		keys = append(keys, raw)
	}
	return threshold, keys, nil
}

func (f *File) delegation(role string) (ids []string, threshold int, keys map[string]*metadata.Key, err error) {
	switch {
	case f.root != nil:
		if r, ok := f.root.Signed.Roles[role]; ok {
			return r.KeyIDs, r.Threshold, f.root.Signed.Keys, nil
		}
	case f.targets != nil && f.targets.Signed.Delegations != nil:
		for _, r := range f.targets.Signed.Delegations.Roles {
			if r.Name == role {
				return r.KeyIDs, r.Threshold, f.targets.Signed.Delegations.Keys, nil
			}
		}
	}
	return nil, 0, nil, fmt.Errorf("%s delegates nothing to %q", f.Kind(), role)
}

// Delegate adds a role, or changes one in its place; targets only.
func (f *File) Delegate(d manifest.Delegation, keys ...ed25519.PublicKey) error {
	if f.targets == nil {
		return ErrKind
	}
	if !manifest.ValidName(d.Role) {
		return fmt.Errorf("role %.60q is not of [a-z0-9-]", d.Role)
	}
	ids, byID, err := keyIDs(keys)
	if err != nil {
		return err
	}
	if d.Threshold < 1 || d.Threshold > len(ids) {
		return fmt.Errorf("%d of %d is no threshold for %s", d.Threshold, len(ids), d.Role)
	}
	del := f.targets.Signed.Delegations
	if del == nil {
		del = &metadata.Delegations{Keys: map[string]*metadata.Key{}, Roles: []metadata.DelegatedRole{}}
		f.targets.Signed.Delegations = del
	}
	r := metadata.DelegatedRole{
		Name: d.Role, KeyIDs: ids, Threshold: d.Threshold, Terminating: d.Terminating, Paths: slices.Clone(d.Paths),
	}
	if i := slices.IndexFunc(del.Roles, func(o metadata.DelegatedRole) bool { return o.Name == d.Role }); i >= 0 {
		del.Roles[i] = r
	} else {
		del.Roles = append(del.Roles, r)
	}
	maps.Copy(del.Keys, byID)
	maps.DeleteFunc(del.Keys, func(id string, _ *metadata.Key) bool {
		return !slices.ContainsFunc(del.Roles, func(r metadata.DelegatedRole) bool { return slices.Contains(r.KeyIDs, id) })
	})
	f.edited()
	return nil
}

// Delegations as they stand there, in order.
func (f *File) Delegations() []manifest.Delegation {
	if f.targets == nil || f.targets.Signed.Delegations == nil {
		return nil
	}
	var out []manifest.Delegation
	for _, r := range f.targets.Signed.Delegations.Roles {
		out = append(out, manifest.Delegation{Role: r.Name, Threshold: r.Threshold, Terminating: r.Terminating, Paths: slices.Clone(r.Paths)})
	}
	return out
}

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

// roleField says in a file of targets which role it is for: the specification has
// no place for that, so that a file of one role, signed by persons who also hold
// another, would pass for one of the other.
const roleField = "x-role"

// SetRole writes the role into a file of targets.
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
	f.targets.Signed.UnrecognizedFields[roleField] = role
	f.edited()
	return nil
}

// Role that a file says it is for, "" if it does not say.
func (f *File) Role() string {
	if f.targets == nil {
		return f.Kind()
	}
	role, _ := f.targets.Signed.UnrecognizedFields[roleField].(string)
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

// Approval is how far a file has come on its way to being believed.
type Approval struct {
	Need    int
	Signed  []string // keys whose signature is good
	Missing []string // keys that may still sign
	Foreign []string // signatures that count for nothing
}

// Enough have signed.
func (a Approval) Enough() bool { return len(a.Signed) >= a.Need }

// Approve counts the signatures of a file as one that delegates to it does. A
// new root needs the approval of the one before and of itself.
func Approve(delegator *File, role string, f *File) (Approval, error) {
	ids, need, keys, err := delegator.delegation(role)
	if err != nil {
		return Approval{}, err
	}
	a := Approval{Need: need, Signed: []string{}, Missing: []string{}, Foreign: []string{}}
	for _, id := range ids {
		one := metadata.Root()
		one.Signed.Keys = map[string]*metadata.Key{id: keys[id]}
		one.Signed.Roles = map[string]*metadata.Role{role: {KeyIDs: []string{id}, Threshold: 1}}
		if keys[id] != nil && one.VerifyDelegate(role, f.delegated()) == nil {
			a.Signed = append(a.Signed, id)
		} else {
			a.Missing = append(a.Missing, id)
		}
	}
	for _, id := range f.SignedBy() {
		if !slices.Contains(a.Signed, id) {
			a.Foreign = append(a.Foreign, id)
		}
	}
	return a, nil
}

func (f *File) delegated() any {
	switch {
	case f.root != nil:
		return f.root
	case f.targets != nil:
		return f.targets
	case f.snapshot != nil:
		return f.snapshot
	}
	return f.timestamp
}
