package manifest_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"hausmeister/proto/manifest"
	"hausmeister/proto/manifest/draft"
	"hausmeister/testenv/tufrepo"
)

// The numbers are the rows of the table of attacks and faults that the design of
// updates answers; each test shows the outcome that its row requires.

// rig is a device with a fleet's repository and a clock for each of the two.
type rig struct {
	t     *testing.T
	fleet *tufrepo.Fleet
	store *tufrepo.Mem
	cfg   manifest.Config
	now   time.Time // the true time
	clock time.Time // what the device believes, if it is wrong
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, now: time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC), store: tufrepo.NewMem()}
	r.fleet = tufrepo.NewFleet(func() time.Time { return r.now })
	r.cfg = manifest.Config{
		Fetch: r.fleet, Store: r.store, Root: r.fleet.Root(), Build: r.now.Add(-30 * day),
		Now: func() time.Time {
			if !r.clock.IsZero() {
				return r.clock
			}
			return r.now
		},
	}
	return r
}

func (r *rig) client() *manifest.Client {
	r.t.Helper()
	c, err := manifest.New(r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) refresh() (manifest.State, error) {
	r.t.Helper()
	return r.client().Refresh(r.t.Context())
}

func (r *rig) mustRefresh() manifest.State {
	r.t.Helper()
	st, err := r.refresh()
	if err != nil {
		r.t.Fatalf("Refresh: %v", err)
	}
	return st
}

func (r *rig) lookup(path string) (manifest.Target, error) {
	r.t.Helper()
	t, _, err := r.client().Lookup(r.t.Context(), path)
	return t, err
}

// wantKind: refused for this reason, and nothing of what was trusted is gone.
func (r *rig) wantKind(kind error) manifest.State {
	r.t.Helper()
	before := r.store.Copy()
	st, err := r.refresh()
	if !errors.Is(err, kind) {
		r.t.Fatalf("Refresh: got %v, want %v", err, kind)
	}
	sameFiles(r.t, before, r.store.Copy())
	return st
}

// sameFiles is faster than cmp.Diff over megabytes.
func sameFiles(t *testing.T, before, after map[string][]byte) {
	t.Helper()
	for name := range after {
		if before[name] == nil {
			t.Errorf("%s is new", name)
		}
	}
	for name, want := range before {
		if got := after[name]; !bytes.Equal(got, want) {
			t.Errorf("%s changed from %.200q to %.200q", name, want, got)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// version1 of the agent that every test may want.
func (r *rig) release(role, version string, change func(*manifest.Release)) manifest.Release {
	rel := manifest.Release{Version: version, Channel: role}
	if change != nil {
		change(&rel)
	}
	return r.fleet.Release(role, rel, []byte("agent "+version))
}

var linux = manifest.Device{Product: "agent", Version: "1.3.0", OS: "linux", Arch: "amd64", Channel: "stable", Launcher: "1.0.0"}

// resign serves a role's newest file with other signatures.
func (r *rig) resign(role string, keys ...ed25519.PrivateKey) {
	r.t.Helper()
	files := r.fleet.Files()
	name := fmt.Sprintf("%d.%s.json", r.fleet.Drafts[role].Version(), role)
	f, err := draft.Parse(files[name])
	if err != nil {
		r.t.Fatal(err)
	}
	f.SetExpires(f.Expires()) // clears the signatures
	for _, k := range keys {
		if err := f.Sign(k); err != nil {
			r.t.Fatal(err)
		}
	}
	data, err := f.Bytes()
	if err != nil {
		r.t.Fatal(err)
	}
	files[name] = data
	if role == timestamp {
		files["timestamp.json"] = data
	}
	r.fleet.SetFiles(files)
}

// resignAll puts the good signatures back where a published version is bad.
func (r *rig) resignAll(role string) {
	need := map[string]int{root: 3, timestamp: 1, snapshot: 1, targets: 2, "stable": 2}[role]
	r.resign(role, r.fleet.Keys[role][:need]...)
}

func (r *rig) fileOf(role string) string { return string(r.store.Copy()[role+".json"]) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// files is a repository that does not change.
type files map[string][]byte

func (f files) Fetch(_ context.Context, name string) (io.ReadCloser, error) {
	data, ok := f[name]
	if !ok {
		return nil, manifest.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// serveAgain publishes a changed snapshot or timestamp as it is.
func (r *rig) serveAgain(role string) {
	fs := r.fleet.Files()
	sign := func(role string) []byte {
		must(r.t, r.fleet.Drafts[role].Sign(r.fleet.Keys[role][0]))
		data, err := r.fleet.Drafts[role].Bytes()
		must(r.t, err)
		fs[fmt.Sprintf("%d.%s.json", r.fleet.Drafts[role].Version(), role)] = data
		return data
	}
	data := sign(role)
	if role == snapshot {
		ts := r.fleet.Drafts[timestamp]
		must(r.t, ts.SetMeta(snapshot, data))
		must(r.t, ts.SetVersion(ts.Version()+1))
		data = sign(timestamp)
	}
	fs["timestamp.json"] = data
	r.fleet.SetFiles(fs)
}

func (r *rig) wantTransport() {
	r.t.Helper()
	if _, err := r.refresh(); !errors.Is(err, manifest.ErrTransport) {
		r.t.Fatalf("Refresh: got %v, want ErrTransport", err)
	}
}

type fetchFunc func(ctx context.Context, name string) (io.ReadCloser, error)

func (f fetchFunc) Fetch(ctx context.Context, name string) (io.ReadCloser, error) {
	return f(ctx, name)
}

// trickle never ends by itself.
type trickle struct {
	chunk  []byte
	every  time.Duration
	closed chan struct{}
	shut   bool
}

func (s *trickle) Read(p []byte) (int, error) {
	if s.every > 0 {
		select {
		case <-time.After(s.every):
		case <-s.closed:
			return 0, io.ErrClosedPipe
		}
	}
	return copy(p, s.chunk), nil
}

func (s *trickle) Close() error {
	if !s.shut {
		s.shut = true
		close(s.closed)
	}
	return nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

// cutStore fails for good after so many writes.
type cutStore struct {
	*tufrepo.Mem
	left int
}

func (c *cutStore) Write(name string, data []byte) error {
	if c.left--; c.left < 0 {
		return errors.New("no power")
	}
	return c.Mem.Write(name, data)
}
