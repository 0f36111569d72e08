package manifest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hausmeister/proto/manifest"
	"hausmeister/testenv/tufrepo"
)

// device is a client with a repository of its own. The suite below is run with
// each kind of client.
type device struct {
	t       *testing.T
	repo    *tufrepo.Repo
	start   time.Time
	dir     string // metadata
	files   string // downloaded targets
	trust   []byte // the root to begin with
	url     string
	refresh func(at time.Duration) error
	fetch   func(path string, at time.Duration) error
}

func newDevice(t *testing.T) *device {
	now := time.Now().Truncate(time.Second)
	d := &device{t: t, repo: tufrepo.New(now), start: now, dir: t.TempDir(), files: t.TempDir()}
	d.trust = d.repo.Last(root)
	server := httptest.NewServer(d.repo)
	t.Cleanup(server.Close)
	d.url = server.URL
	return d
}

// library asks the package, with or without a memory beside the metadata.
func library(noFloor bool) func(t *testing.T) *device {
	return func(t *testing.T) *device {
		d := newDevice(t)
		web := &http.Client{Transport: &http.Transport{}}
		t.Cleanup(web.CloseIdleConnections)
		client := func(at time.Duration) *manifest.Client {
			c, err := manifest.New(manifest.Config{
				Fetch: tufrepo.HTTP{Base: d.url + "/metadata/", Client: web}, Store: tufrepo.Dir(d.dir),
				Root: d.trust, Now: func() time.Time { return d.start.Add(at) }, NoFloor: noFloor,
			})
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		d.refresh = func(at time.Duration) error {
			_, err := client(at).Refresh(t.Context())
			return err
		}
		d.fetch = func(path string, at time.Duration) error {
			target, _, err := client(at).Lookup(t.Context(), path)
			if err != nil {
				return err
			}
			return tufrepo.HTTP{Base: d.url + "/targets/", Client: web}.Download(t.Context(), target, d.files)
		}
		return d
	}
}

// program runs tuf-client.
func program(bin string) func(t *testing.T) *device {
	return func(t *testing.T) *device {
		d := newDevice(t)
		run := func(at time.Duration, args ...string) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, bin, append([]string{"--metadata-dir", d.dir}, args...)...)
			if at != 0 {
				cmd.Env = append(os.Environ(), fmt.Sprintf("FAKETIME=+%d", int(at/time.Second)))
			}
			d.repo.Settle()
			out, err := cmd.CombinedOutput()
			d.repo.Settle()
			var exit *exec.ExitError
			if errors.As(err, &exit) && exit.ExitCode() != 1 {
				t.Fatalf("tuf-client %v: exit code %d, want 0 or 1\n%s", args, exit.ExitCode(), out)
			}
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		}
		begun := false
		begin := func() {
			if begun {
				return
			}
			begun = true
			file := filepath.Join(t.TempDir(), "root.json")
			if err := os.WriteFile(file, d.trust, 0o600); err != nil {
				t.Fatal(err)
			}
			_ = run(0, "init", file) // may refuse a root; what follows must then, too
		}
		d.refresh = func(at time.Duration) error {
			begin()
			return run(at, "--metadata-url", d.url+"/metadata/", "refresh")
		}
		d.fetch = func(path string, at time.Duration) error {
			begin()
			return run(at, "--metadata-url", d.url+"/metadata", "--target-name", path,
				"--target-dir", d.files, "--target-base-url", d.url+"/targets", "download")
		}
		return d
	}
}

func (d *device) ok(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatalf("got %v, want success", err)
	}
}

func (d *device) refused(err error) {
	d.t.Helper()
	if err == nil {
		d.t.Fatal("got success, want a refusal")
	}
}

// trusted are the versions on disk, such as "root 1".
func (d *device) trusted() []string {
	d.t.Helper()
	names, err := filepath.Glob(filepath.Join(d.dir, "*.json"))
	if err != nil {
		d.t.Fatal(err)
	}
	var out []string
	for _, n := range names {
		role := strings.TrimSuffix(filepath.Base(n), ".json")
		out = append(out, fmt.Sprintf("%s %d", role, d.version(role)))
	}
	slices.Sort(out)
	return out
}

func (d *device) version(role string) int64 {
	d.t.Helper()
	data, err := os.ReadFile(filepath.Join(d.dir, role+".json"))
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	var v struct{ Signed struct{ Version int64 } }
	if err := errors.Join(err, json.Unmarshal(data, &v)); err != nil {
		d.t.Fatal(err)
	}
	return v.Signed.Version
}

func (d *device) wantTrusted(want ...string) {
	d.t.Helper()
	if diff := cmp.Diff(want, d.trusted()); diff != "" {
		d.t.Fatalf("trusted metadata (-want +got):\n%s", diff)
	}
}

func (d *device) wantVersion(role string, want int64) {
	d.t.Helper()
	if got := d.version(role); got != want {
		d.t.Fatalf("trusted %s is version %d, want %d", role, got, want)
	}
}

// wantSame: what is on disk is, byte for byte, what the repository has.
func (d *device) wantSame(role string) {
	d.t.Helper()
	data, err := os.ReadFile(filepath.Join(d.dir, role+".json"))
	if err != nil {
		d.t.Fatal(err)
	}
	if string(data) != string(d.repo.Last(role)) {
		d.t.Fatalf("trusted %s is not the repository's newest", role)
	}
}

func (d *device) wantFiles(want ...string) {
	d.t.Helper()
	names, err := filepath.Glob(filepath.Join(d.files, "*"))
	if err != nil {
		d.t.Fatal(err)
	}
	got := []string{}
	for _, n := range names {
		data, err := os.ReadFile(n)
		if err != nil {
			d.t.Fatal(err)
		}
		got = append(got, string(data))
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
		d.t.Fatalf("downloaded files (-want +got):\n%s", diff)
	}
}

func (d *device) wantRequests(skip int, want ...string) {
	d.t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), append([]string{}, d.repo.Requests()[skip:]...)); diff != "" {
		d.t.Fatalf("requests (-want +got):\n%s", diff)
	}
}

func (d *device) wantLastRequest(want string) {
	d.t.Helper()
	all := d.repo.Requests()
	if got := all[len(all)-1]; got != want {
		d.t.Fatalf("last request is %q, want %q", got, want)
	}
}

// delegated publishes a role with two files that expires then.
func (d *device) delegated(expires time.Duration) {
	d.repo.Delegate(targets, tufrepo.Delegation{Role: "delegated", Paths: []string{"delegatedpath/*"}})
	d.repo.SetExpires("delegated", d.start.Add(expires))
	d.repo.AddTarget("delegated", "delegatedpath/first", []byte("first"), nil)
	d.repo.AddTarget("delegated", "delegatedpath/second", []byte("second"), nil)
	d.repo.Publish("delegated", targets, snapshot, timestamp)
}

func glob(t *testing.T, parts ...string) []string {
	names, err := filepath.Glob(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return names
}
