package release

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"hausmeister/proto/manifest"
	"hausmeister/proto/manifest/draft"
)

// Repository is a folder of published metadata as far as signatures lead.
type Repository struct {
	Dir   string
	Files map[string]*draft.File // newest of each role; empty before the first root
	Raw   map[string][]byte      // their bytes, by role
	Roots []*draft.File          // all of them, 1.root.json first

	held map[string][]byte // of an export: its files by name, in place of the folder
}

const maxMetadata = 8 << 20

// MetadataName is the name of a published file.
func MetadataName(role string, version int64) string {
	if role == manifest.Timestamp {
		return "timestamp.json"
	}
	return strconv.FormatInt(version, 10) + "." + role + ".json"
}

// OpenRepository follows the signatures from 1.root.json to every role. An empty
// folder is a repository without anything. Expiry is not judged.
func OpenRepository(dir string) (*Repository, error) {
	return (&Repository{Dir: dir, Files: map[string]*draft.File{}, Raw: map[string][]byte{}}).open()
}

func (r *Repository) open() (*Repository, error) {
	if err := r.readRoots(); err != nil {
		return nil, err
	}
	if len(r.Roots) == 0 {
		return r, nil
	}
	err := r.follow(manifest.Timestamp, 0)
	if errors.Is(err, ErrNotFound) { // a root and nothing else yet
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	if err := r.follow(manifest.Snapshot, r.Files[manifest.Timestamp].Meta()[manifest.Snapshot]); err != nil {
		return nil, err
	}
	meta := r.Files[manifest.Snapshot].Meta()
	if err := r.follow(manifest.Targets, meta[manifest.Targets]); err != nil {
		return nil, err
	}
	for _, d := range r.Files[manifest.Targets].Delegations() {
		if err := r.follow(d.Role, meta[d.Role]); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *Repository) metadata(name string) string { return filepath.Join(r.Dir, "metadata", name) }

func (r *Repository) read(name string) ([]byte, error) {
	if r.held == nil {
		return readFile(r.metadata(name), maxMetadata)
	}
	data, ok := r.held[name]
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	return data, nil
}

func (r *Repository) countRoots() (n int64, err error) {
	if r.held == nil {
		names, err := filepath.Glob(r.metadata("*.root.json"))
		return int64(len(names)), err
	}
	for name := range r.held {
		if strings.HasSuffix(name, ".root.json") {
			n++
		}
	}
	return n, nil
}

// readRoots walks 1, 2, 3 ...: each approved by the one before and by itself.
// None may be missing, since a device may come with any of them.
func (r *Repository) readRoots() error {
	n, err := r.countRoots()
	if err != nil {
		return err
	}
	for v := int64(1); v <= n; v++ {
		data, err := r.read(MetadataName(manifest.Root, v))
		if err != nil {
			return unverified("of %d roots number %d cannot be read: %w", n, v, err)
		}
		f, err := parse(manifest.Root, data)
		if err != nil {
			return fmt.Errorf("root %d: %w", v, err)
		}
		if f.Version() != v {
			return unverified("%d.root.json is root %d", v, f.Version())
		}
		if err := ApproveRoot(r.Root(), f); err != nil {
			return err
		}
		r.Roots = append(r.Roots, f)
		r.Files[manifest.Root], r.Raw[manifest.Root] = f, data
	}
	return nil
}

// Root is the newest, or nil.
func (r *Repository) Root() *draft.File { return r.Files[manifest.Root] }

// ApproveRoot says whether a root follows the one before; before may be nil for
// the first, which is believed because somebody carried it here.
func ApproveRoot(before, next *draft.File) error {
	by := []*draft.File{next}
	if before != nil {
		if next.Version() != before.Version()+1 {
			return refuse("root %d does not follow root %d", next.Version(), before.Version())
		}
		by = append(by, before)
	}
	for _, b := range by {
		if err := approve(b, manifest.Root, next); err != nil {
			return err
		}
	}
	return nil
}

func approve(by *draft.File, role string, f *draft.File) error {
	if f.Role() != role {
		return unverified("a file for %q in place of %s", f.Role(), role)
	}
	a, err := draft.Approve(by, role, f)
	if err != nil {
		return unverified("%s %d: %w", role, f.Version(), err)
	}
	if !a.Enough() {
		return unverified("%s %d has %d of %d signatures that %s %d asks for", role, f.Version(), len(a.Signed), a.Need, by.Kind(), by.Version())
	}
	if n := persons(by, a.Signed); n < a.Need {
		return unverified("%s %d has the signatures of %d persons, %d are needed: one of them signed with two keys", role, f.Version(), n, a.Need)
	}
	return nil
}

// Approve says whether a role that is no root is signed by whom root or targets name.
func Approve(root, targets *draft.File, role string, f *draft.File) error {
	by := targets
	if _, top := manifest.Thresholds[role]; top {
		by = root
	}
	if by == nil {
		return unverified("%s: nobody has said yet who may sign it", role)
	}
	return approve(by, role, f)
}

func parse(role string, data []byte) (*draft.File, error) {
	f, err := draft.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnverified, err)
	}
	if f.Kind() != kindOf(role) {
		return nil, unverified("it is a file of %s, not of %s", f.Kind(), role)
	}
	if f.Role() != role {
		return nil, unverified("it is a file for %q, not for %s", f.Role(), role)
	}
	return f, nil
}

func kindOf(role string) string {
	if _, top := manifest.Thresholds[role]; top {
		return role
	}
	return manifest.Targets
}

func (r *Repository) follow(role string, version int64) error {
	name := MetadataName(role, version)
	if role != manifest.Timestamp && version < 1 {
		return unverified("the snapshot does not name %s", role)
	}
	data, err := r.read(name)
	if err != nil {
		return err
	}
	f, err := parse(role, data)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if version != 0 && f.Version() != version {
		return unverified("%s says that it is version %d", name, f.Version())
	}
	if err := Approve(r.Root(), r.Files[manifest.Targets], role, f); err != nil {
		return err
	}
	r.Files[role], r.Raw[role] = f, data
	return nil
}

// Version that is published of a role, 0 for none.
func (r *Repository) Version(role string) int64 {
	if f := r.Files[role]; f != nil {
		return f.Version()
	}
	return 0
}

// everything that was ever published, old versions too.
func (r *Repository) everything() ([]ExportedRelease, error) {
	entries, err := os.ReadDir(filepath.Join(r.Dir, "metadata"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out []ExportedRelease
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		data, err := readFile(r.metadata(e.Name()), maxMetadata)
		if err != nil {
			return nil, err
		}
		f, err := draft.Parse(data)
		if err != nil {
			return nil, unverified("%s: %w", e.Name(), err)
		}
		h := sha256.Sum256(data)
		out = append(out, ExportedRelease{Name: e.Name(), SHA256: hex.EncodeToString(h[:]), SignedBy: f.SignedBy(), Body: data})
	}
	return out, nil
}

// Releases of a role, oldest version first.
func Releases(f *draft.File, role string) ([]manifest.Release, error) {
	if f == nil {
		return nil, nil
	}
	var out []manifest.Release
	for _, t := range f.Targets(role) {
		rel, err := t.Release()
		if errors.Is(err, manifest.ErrNoRelease) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnverified, err)
		}
		out = append(out, rel)
	}
	slices.SortStableFunc(out, func(a, b manifest.Release) int { return manifest.Compare(a.Version, b.Version) })
	return out, nil
}

// TargetFile is where the bytes of a target lie.
func TargetFile(dir string, t manifest.Target) string {
	return filepath.Join(dir, "targets", filepath.FromSlash(t.RemoteName()))
}

// CheckTarget reads a file and compares it with what is signed.
func CheckTarget(path string, t manifest.Target) error {
	v, err := manifest.NewVerifier(t)
	if err != nil {
		return unverified("%w", err)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: the file of %s", ErrNotFound, t.Path)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	// What cannot be read and what is too long are both not the signed bytes.
	if _, err := io.Copy(struct{ io.Writer }{v}, f); err != nil {
		return unverified("%w", err)
	}
	if err := v.Verified(); err != nil {
		return unverified("%w", err)
	}
	return nil
}

// Verified is what a device would think of the repository.
type Verified struct {
	State   manifest.State
	Targets int
	Bytes   int64
}

// Verify follows the repository as a device does, from its first root and from
// its newest, by the time now, and reads every file that is named.
func (r *Repository) Verify(ctx context.Context, now time.Time) (Verified, error) {
	if r.Version(manifest.Timestamp) == 0 {
		return Verified{}, fmt.Errorf("%w: nothing is published yet", ErrNotFound)
	}
	first, err := r.Roots[0].Bytes()
	if err != nil {
		return Verified{}, err
	}
	var out Verified
	for i, root := range [][]byte{first, r.Raw[manifest.Root]} {
		client, err := manifest.New(manifest.Config{Fetch: folder(filepath.Join(r.Dir, "metadata")), Store: memory{}, Root: root, Now: func() time.Time { return now }})
		if err != nil {
			return Verified{}, err
		}
		targets, state, err := client.List(ctx)
		out = Verified{State: state, Targets: len(targets)}
		if err != nil {
			return out, unverified("%w", err)
		}
		if i == 0 {
			continue // the files are the same both times
		}
		for _, t := range targets {
			if err := CheckTarget(TargetFile(r.Dir, t), t); err != nil {
				return out, err
			}
			out.Bytes += t.Length
		}
	}
	return out, nil
}

// folder is a manifest.Fetcher.
type folder string

func (d folder) Fetch(_ context.Context, name string) (io.ReadCloser, error) {
	f, err := os.Open(filepath.Join(string(d), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, manifest.ErrNotFound
	}
	return f, err
}

// memory is a manifest.Store for one look.
type memory map[string][]byte

func (m memory) Read(name string, limit int64) ([]byte, error) {
	data, ok := m[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return data[:min(int64(len(data)), limit+1)], nil
}

func (m memory) Write(name string, data []byte) error {
	m[name] = bytes.Clone(data)
	return nil
}

func (m memory) Remove(name string) error {
	delete(m, name)
	return nil
}
