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
	"slices"
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
