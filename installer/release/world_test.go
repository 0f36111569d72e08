package release_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hausmeister/installer/release"
	"hausmeister/installer/release/online"
	"hausmeister/proto/manifest"
	"hausmeister/testenv/tufrepo"
)

const passphrase = "only for tests, and long"

// world is everything on one machine: persons, desk, online process, devices.
type world struct {
	t      testing.TB
	dir    string
	now    time.Time
	keys   map[string]release.Key
	signer *online.Signer
	store  *tufrepo.Mem // of a device that was built with root 1
	root1  []byte
}

var persons = map[string][]string{
	"anna": {"root"}, "bert": {"root"}, "carla": {"root"}, "dirk": {"root"}, "emma": {"root"},
	"frieda": {"targets"}, "georg": {"targets"}, "hanna": {"targets"}, "ivo": {"targets"},
	"jana": engineer, "karl": engineer, "lena": engineer,
}

var engineer = []string{"canary", "stable", "launcher", "emergency", "policy"}

// newWorld has everything but releases published.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), now: time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC), keys: map[string]release.Key{}, store: tufrepo.NewMem()}
	for _, d := range []string{"people", "online"} {
		w.must(os.MkdirAll(w.path(d), 0o700))
	}
	for name, roles := range persons {
		w.person(name, roles)
	}
	w.signer = w.open()
	_, err := w.signer.NewKeys(rand.Reader, w.path("people"))
	w.must(err)
	people, err := release.ReadPeople(w.path("people"))
	w.must(err)
	w.must(w.drafts().Init(people))
	w.sign("root", "anna", "bert", "carla")
	w.signAll("jana", "karl", "lena")
	w.root1, err = os.ReadFile(w.path("drafts/root.json"))
	w.must(err)
	w.must(w.signer.Trust(w.root1))
	w.must(w.publish())
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) clock() time.Time { return w.now }

func (w *world) person(name string, roles []string) release.Key {
	w.t.Helper()
	k, err := release.NewKey(w.path("people"), name, roles, passphrase, release.Cost{Passes: 1, MemoryKiB: 8, Threads: 1}, rand.Reader, w.now)
	w.must(err)
	w.keys[name] = k
	return k
}

func (w *world) config() online.Config {
	return online.Config{State: w.path("online"), Repo: w.path("repo"), Now: w.clock, Log: slog.New(slog.DiscardHandler)}
}

func (w *world) open() *online.Signer {
	w.t.Helper()
	s, err := online.Open(w.config())
	w.must(err)
	w.t.Cleanup(func() { s.Close() })
	return s
}

func (w *world) repo() *release.Repository {
	w.t.Helper()
	r, err := release.OpenRepository(w.path("repo"))
	w.must(err)
	return r
}

func (w *world) drafts() *release.Drafts {
	w.t.Helper()
	return &release.Drafts{Dir: w.path("drafts"), Repo: w.repo(), Now: w.clock}
}

func (w *world) digest(role string) string {
	w.t.Helper()
	d := w.drafts()
	f, err := d.Read(role)
	w.must(err)
	diff, err := d.Repo.Compare(role, f)
	w.must(err)
	return diff.Digest
}

func (w *world) signing(role, person string) release.Signing {
	w.t.Helper()
	path := w.path("drafts/" + role + ".json")
	return release.Signing{
		Path: path, Out: path, Key: w.keys[person], Digest: w.digest(role), Repo: w.repo(), Reason: "test", Now: w.clock,
		Record: release.Record{Path: w.path(person + ".jsonl"), Now: w.clock},
	}
}

func (w *world) sign(role string, people ...string) {
	w.t.Helper()
	for _, p := range people {
		_, err := w.signing(role, p).Sign()
		w.must(err)
	}
}

// signAll signs whatever is drafted below the root, by as many as it takes.
func (w *world) signAll(engineers ...string) {
	w.t.Helper()
	for _, role := range w.drafts().Roles() {
		switch role {
		case "root":
		case "targets":
			w.sign(role, "frieda", "georg")
		case "launcher", "emergency":
			w.sign(role, engineers...)
		default:
			w.sign(role, engineers[:2]...)
		}
	}
}

func (w *world) publication() release.Publication {
	w.t.Helper()
	return release.Publication{Drafts: w.drafts(), Platforms: platforms, Online: w.signer, Now: w.clock}
}

func (w *world) publish() error {
	w.t.Helper()
	p := w.publication()
	ready, err := p.Check()
	if err != nil {
		return err
	}
	return p.Publish(w.t.Context(), ready)
}

var platforms = []string{"linux/amd64", "windows/amd64"}

// bytesOf a program: much of it is the same from version to version.
func bytesOf(version, platform string) []byte {
	var b bytes.Buffer
	for i := range 6000 {
		fmt.Fprintf(&b, "%s %x\n", platform, i*i*7919)
		if i%500 == 0 {
			fmt.Fprintf(&b, "version %s\n", version)
		}
	}
	return b.Bytes()
}

func (w *world) staging(role, version string) release.Staging {
	w.t.Helper()
	s := release.Staging{
		Drafts: w.drafts(), Role: role, Bases: 3, Keep: 4, Zstd: "zstd",
		Release: manifest.Release{
			Product: "agent", Version: version, Channel: "stable", Commit: strings.Repeat("ab", 20),
			Ramp: manifest.Ramp{T0MS: w.now.UnixMilli(), PermillePerHour: 50, SoakH: []int{4, 24, 24, 24}},
		},
	}
	for _, p := range platforms {
		goos, arch, _ := strings.Cut(p, "/")
		file := w.path("build-" + version + "-" + goos)
		w.must(os.WriteFile(file, bytesOf(version, p), 0o755))
		name := "hausmeister-agent"
		if goos == "windows" {
			name += ".exe"
		}
		s.Programs = append(s.Programs, release.Program{File: file, Name: name, OS: goos, Arch: arch})
	}
	return s
}

// release a version on stable.
func (w *world) release(version string) {
	w.t.Helper()
	_, err := w.staging("stable", version).Stage(w.t.Context())
	w.must(err)
	w.sign("stable", "jana", "karl")
	w.must(w.publish())
}

// device looks at the repository as one that was built with root 1 and remembers.
func (w *world) device() ([]manifest.Target, manifest.State, error) {
	w.t.Helper()
	c, err := manifest.New(manifest.Config{Fetch: folder(w.path("repo/metadata")), Store: w.store, Root: w.root1, Now: w.clock})
	w.must(err)
	return c.List(w.t.Context())
}

// folder is what a device is served.
type folder string

func (d folder) Fetch(_ context.Context, name string) (io.ReadCloser, error) {
	f, err := os.Open(filepath.Join(string(d), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, manifest.ErrNotFound
	}
	return f, err
}

func versions(t *testing.T, targets []manifest.Target) []string {
	t.Helper()
	var out []string
	for _, x := range targets {
		if r, err := x.Release(); err == nil && !slices.Contains(out, r.Version) {
			out = append(out, r.Version)
		}
	}
	return out
}
