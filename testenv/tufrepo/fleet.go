package tufrepo

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"hausmeister/proto/manifest"
	"hausmeister/proto/manifest/draft"
)

// Fleet is a repository as Hausmeister's owners run it: the roles, thresholds
// and life times of the design, written by the code that publishes. Its keys all
// lie at hand, so that a test can play anybody.
type Fleet struct {
	Now    func() time.Time
	Keys   map[string][]ed25519.PrivateKey // by role; the first are the ones who sign
	Drafts map[string]*draft.File          // by role, as last published

	mu        sync.Mutex
	files     map[string][]byte // by name, such as 1.root.json
	artifacts map[string][]byte // by remote path
}

// lives are how long the roles are valid; others are release roles.
var lives = map[string]time.Duration{
	Root: 3 * 365 * 24 * time.Hour, Targets: 365 * 24 * time.Hour, Snapshot: 7 * 24 * time.Hour, Timestamp: 48 * time.Hour,
}

const releaseLife = 182 * 24 * time.Hour

// NewFleet has everything but releases, published in version 1.
func NewFleet(now func() time.Time) *Fleet {
	f := &Fleet{
		Now: now, Keys: map[string][]ed25519.PrivateKey{}, Drafts: map[string]*draft.File{},
		files: map[string][]byte{}, artifacts: map[string][]byte{},
	}
	for role, n := range manifest.Thresholds {
		f.Keys[role] = newKeys(n.Of)
	}
	r := draft.NewRoot(now())
	for role, n := range manifest.Thresholds {
		must(r.SetKeys(role, n.Need, Public(f.Keys[role])...))
	}
	f.Drafts[Root] = r
	t := draft.NewTargets(now())
	must(t.SetRole(Targets))
	roles := []string{Root, Targets}
	for _, d := range manifest.Delegations() {
		f.Keys[d.Role] = newKeys(d.Threshold + 1)
		must(t.Delegate(d, Public(f.Keys[d.Role])...))
		f.Drafts[d.Role] = draft.NewTargets(now())
		must(f.Drafts[d.Role].SetRole(d.Role))
		roles = append(roles, d.Role)
	}
	f.Drafts[Targets] = t
	f.Drafts[Snapshot], f.Drafts[Timestamp] = draft.NewSnapshot(now()), draft.NewTimestamp(now())
	f.Publish(roles...)
	return f
}

func newKeys(n int) []ed25519.PrivateKey {
	var out []ed25519.PrivateKey
	for range n {
		_, k, err := ed25519.GenerateKey(rand.Reader)
		must(err)
		out = append(out, k)
	}
	return out
}

// Public halves of keys.
func Public(keys []ed25519.PrivateKey) []ed25519.PublicKey {
	var out []ed25519.PublicKey
	for _, k := range keys {
		out = append(out, k.Public().(ed25519.PublicKey))
	}
	return out
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Publish signs the drafts of these roles, each by as many keys as it needs, in
// a new version, then snapshot and timestamp. Without roles it renews these two.
func (f *Fleet) Publish(roles ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, role := range roles {
		f.sign(role)
	}
	for _, role := range roles {
		if role != Root {
			must(f.Drafts[Snapshot].SetMeta(role, f.last(role)))
		}
	}
	f.sign(Snapshot)
	must(f.Drafts[Timestamp].SetMeta(Snapshot, f.last(Snapshot)))
	f.sign(Timestamp)
	f.files["timestamp.json"] = f.last(Timestamp)
}

func (f *Fleet) last(role string) []byte {
	return f.files[fmt.Sprintf("%d.%s.json", f.Drafts[role].Version(), role)]
}

func (f *Fleet) sign(role string) {
	d := f.Drafts[role]
	if f.last(role) != nil {
		must(d.SetVersion(d.Version() + 1))
	}
	life, ok := lives[role]
	if !ok {
		life = releaseLife
	}
	d.SetExpires(f.Now().Add(life))
	for _, k := range f.signers(role) {
		must(d.Sign(k))
	}
	data, err := d.Bytes()
	must(err)
	f.files[fmt.Sprintf("%d.%s.json", d.Version(), role)] = data
}

func (f *Fleet) signers(role string) []ed25519.PrivateKey {
	by := f.Drafts[Root]
	if _, top := manifest.Thresholds[role]; !top {
		by = f.Drafts[Targets]
	}
	need, _, err := by.Keys(role)
	must(err)
	return f.Keys[role][:need]
}

// RotateOnline replaces the keys of snapshot and timestamp in a new root, which
// is how a stolen one is answered; the versions begin anew.
func (f *Fleet) RotateOnline() {
	for _, role := range []string{Snapshot, Timestamp} {
		f.Keys[role] = newKeys(1)
		must(f.Drafts[Root].SetKeys(role, 1, Public(f.Keys[role])...))
	}
	f.mu.Lock()
	snapshot := draft.NewSnapshot(f.Now())
	for role := range f.Drafts[Snapshot].Meta() {
		must(snapshot.SetMeta(role, f.last(role)))
	}
	f.Drafts[Snapshot], f.Drafts[Timestamp] = snapshot, draft.NewTimestamp(f.Now())
	for name := range f.files {
		if strings.HasSuffix(name, "."+Snapshot+".json") || strings.HasSuffix(name, "."+Timestamp+".json") {
			delete(f.files, name)
		}
	}
	f.mu.Unlock()
	f.Publish(Root)
}

// Release lets a role vouch for a program with everything that is not said set
// to what fits, publishes it, and returns it as signed.
func (f *Fleet) Release(role string, r manifest.Release, data []byte) manifest.Release {
	h := sha256.Sum256(data)
	r.SHA256, r.Length = hex.EncodeToString(h[:]), int64(len(data))
	fill := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	fill(&r.Product, manifest.ProductAgent)
	fill(&r.OS, "linux")
	fill(&r.Arch, "amd64")
	fill(&r.Channel, manifest.RoleStable)
	fill(&r.Commit, strings.Repeat("c0", 20))
	fill(&r.Path, r.Dir()+"hausmeister-"+r.Product)
	if r.Ramp.T0MS == 0 {
		r.Ramp.T0MS = f.Now().UnixMilli()
	}
	if r.Ramp.PermillePerHour == 0 {
		r.Ramp.PermillePerHour = 1_000_000
		if r.Product == manifest.ProductLauncher {
			r.Ramp.PermillePerHour = 250
		}
	}
	r.Role = role
	must(f.Drafts[role].SetTarget(r.Path, r.Length, r.SHA256, r))
	f.Artifact(r.Path, data)
	f.Publish(role)
	return r
}

// Policy lets the policy role vouch for settings of all agents.
func (f *Fleet) Policy(version string, data []byte) manifest.PolicyRelease {
	h := sha256.Sum256(data)
	r := manifest.PolicyRelease{Policy: manifest.PolicyAgent, Version: version, Ramp: manifest.Ramp{T0MS: f.Now().UnixMilli(), PermillePerHour: 250}}
	r.SHA256, r.Length, r.Path = hex.EncodeToString(h[:]), int64(len(data)), manifest.PolicyPath(r.Policy, version)
	must(f.Drafts[manifest.RolePolicy].SetTarget(r.Path, r.Length, r.SHA256, r))
	f.Artifact(r.Path, data)
	f.Publish(manifest.RolePolicy)
	return r
}

// File lets a role vouch for a file that is no release, such as a delta.
func (f *Fleet) File(role, path string, data []byte) {
	h := sha256.Sum256(data)
	must(f.Drafts[role].SetTarget(path, int64(len(data)), hex.EncodeToString(h[:]), nil))
	f.Artifact(path, data)
	f.Publish(role)
}

// Artifact is served for a path under the hash of its bytes.
func (f *Fleet) Artifact(path string, data []byte) {
	h := sha256.Sum256(data)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.artifacts[manifest.Target{Path: path, SHA256: hex.EncodeToString(h[:])}.RemoteName()] = data
}

// Files is a copy of all metadata, to be put back later with SetFiles.
func (f *Fleet) Files() map[string][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.files)
}

// SetFiles serves these files from now on: yesterday's, or forged ones.
func (f *Fleet) SetFiles(files map[string][]byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files = files
}

func (f *Fleet) get(name string) ([]byte, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	data, ok := f.files[name]
	return data, ok
}

// Root is the newest root, as a program would embed it.
func (f *Fleet) Root() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last(Root)
}

// Fetch makes a Fleet a manifest.Fetcher without a network.
func (f *Fleet) Fetch(_ context.Context, name string) (io.ReadCloser, error) {
	data, ok := f.get(name)
	if !ok {
		return nil, manifest.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// Fresh is the statement of the online process: manifest.Config.Fresh.
func (f *Fleet) Fresh(_ context.Context, nonce manifest.Nonce, _ int64) ([]byte, error) {
	data, _ := f.get("timestamp.json")
	return manifest.SignFresh(f.Keys[Timestamp][0], nonce, data, f.Now())
}

// ServeHTTP serves /metadata/ and /targets/, the latter also in ranges.
func (f *Fleet) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if name, ok := strings.CutPrefix(q.URL.Path, "/metadata/"); ok {
		if data, ok := f.get(name); ok {
			_, _ = w.Write(data) // a client that went away is its own affair
			return
		}
	}
	if name, ok := strings.CutPrefix(q.URL.Path, "/targets/"); ok {
		f.mu.Lock()
		data, ok := f.artifacts[name]
		f.mu.Unlock()
		if ok {
			http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(data))
			return
		}
	}
	http.NotFound(w, q)
}

// Bytes of a target, by its remote name.
func (f *Fleet) Bytes(t manifest.Target) ([]byte, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	data, ok := f.artifacts[t.RemoteName()]
	return data, ok
}

// Mem is a manifest.Store in memory whose files a test may spoil.
type Mem struct {
	mu    sync.Mutex
	Files map[string][]byte
	Full  error // what every Write fails with, if anything
}

// NewMem is empty.
func NewMem() *Mem { return &Mem{Files: map[string][]byte{}} }

// Read at most limit+1 bytes.
func (m *Mem) Read(name string, limit int64) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.Files[name]
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return bytes.Clone(data[:min(int64(len(data)), limit+1)]), nil
}

// Write a copy.
func (m *Mem) Write(name string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Full != nil {
		return m.Full
	}
	m.Files[name] = bytes.Clone(data)
	return nil
}

// Remove a file that may be missing.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Full != nil {
		return m.Full
	}
	delete(m.Files, name)
	return nil
}

// Copy of all files.
func (m *Mem) Copy() map[string][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.Files)
}

// WriteTo publishes everything into a folder, as an operator's tool does: metadata/
// and targets/ with their hash-named files.
func (f *Fleet) WriteTo(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	write := func(name string, data []byte) error {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		return os.WriteFile(path, data, 0o600)
	}
	for name, data := range f.files {
		if err := write("metadata/"+name, data); err != nil {
			return err
		}
	}
	for name, data := range f.artifacts {
		if err := write("targets/"+name, data); err != nil {
			return err
		}
	}
	return nil
}
