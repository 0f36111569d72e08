package manifest_test

import (
	"context"
	"encoding/hex"
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
	"hausmeister/testenv/need"
	"hausmeister/testenv/programs"
	"hausmeister/testenv/tufrepo"
)

const (
	root      = tufrepo.Root
	timestamp = tufrepo.Timestamp
	snapshot  = tufrepo.Snapshot
	targets   = tufrepo.Targets
	day       = 24 * time.Hour
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
			if err := run(0, "init", file); err != nil {
				t.Fatal(err)
			}
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

// TestSuite holds the workflow of the specification against each kind of client:
// the package as a device uses it, the package without a floor, and the program
// that the public conformance suite drives.
func TestSuite(t *testing.T) {
	need.Plain(t)
	t.Run("device", func(t *testing.T) { suite(t, library(false)) })
	t.Run("without floor", func(t *testing.T) { suite(t, library(true)) })
	t.Run("program", func(t *testing.T) {
		top, err := programs.Root()
		if err != nil {
			t.Fatal(err)
		}
		bin := filepath.Join(t.TempDir(), "tuf-client")
		cmd := exec.Command("go", "build", "-trimpath", "-o", bin, "./testenv/cmd/tuf-client")
		cmd.Dir, cmd.Env = top, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		suite(t, program(bin))
	})
}

func suite(t *testing.T, connect func(t *testing.T) *device) {
	for name, f := range cases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(connect(t))
		})
	}
}

func cases() map[string]func(d *device) {
	all := map[string]func(d *device){}
	for _, part := range []map[string]func(*device){
		basics(), expiries(), downloads(), keyCases(), rollbacks(), graphs(), searches(), rootRotations(), otherRotations(), oddNames(),
	} {
		for name, f := range part {
			if all[name] != nil {
				panic("two cases are called " + name)
			}
			all[name] = f
		}
	}
	return all
}

func basics() map[string]func(d *device) {
	four := []string{"root 2", "timestamp", "snapshot 1", "targets 1"}
	m := map[string]func(d *device){
		"a refresh asks for four files": func(d *device) {
			d.ok(d.refresh(0))
			d.wantRequests(0, four...)
		},
		"a refresh keeps what it got": func(d *device) {
			d.ok(d.refresh(0))
			for _, role := range []string{root, timestamp, snapshot, targets} {
				d.wantSame(role)
			}
		},
		"a lookup refreshes": func(d *device) {
			d.refused(d.fetch("nonexistent artifact", 0))
			d.wantRequests(0, four...)
			d.wantTrusted("root 1", "snapshot 1", "targets 1", "timestamp 1")
		},
		"a first root without version": func(d *device) {
			var v tufrepo.Object
			if err := json.Unmarshal(d.trust, &v); err != nil {
				d.t.Fatal(err)
			}
			delete(tufrepo.At(v, "signed"), "version")
			d.trust, _ = json.Marshal(v)
			d.refused(d.refresh(0))
			d.wantRequests(0)
		},
		"a first root with another's signature": func(d *device) {
			key := d.repo.Signers[root][0]
			d.trust = d.repo.Sign(root, key.Forge(tufrepo.ECDSA()))
			d.refused(d.refresh(0))
			d.wantRequests(0)
		},
		"same timestamp version, other content": func(d *device) {
			d.ok(d.refresh(0))
			before := d.repo.Last(timestamp)
			tufrepo.At(d.repo.Docs[timestamp], "meta", "snapshot.json")["version"] = int64(100)
			d.repo.Unpublish(timestamp)
			d.repo.Publish(timestamp)
			d.ok(d.refresh(0))
			d.wantLastRequest("timestamp")
			got, err := os.ReadFile(filepath.Join(d.dir, "timestamp.json"))
			if err != nil || string(got) != string(before) {
				d.t.Fatalf("the timestamp was replaced: %v", err)
			}
		},
		"hashes of metadata": func(d *device) {
			d.repo.MetaHash = true
			d.repo.Publish(targets, snapshot, timestamp)
			d.ok(d.refresh(0))
			d.repo.Publish(targets)
			tufrepo.At(d.repo.Docs[snapshot], "meta", "targets.json", "hashes")["sha256"] = strings.Repeat("46", 32)
			d.repo.Publish(snapshot, timestamp)
			d.refused(d.refresh(0))
			d.wantVersion(snapshot, 3)
			d.wantVersion(targets, 2)
		},
		"the bytes are kept as they came": func(d *device) {
			d.repo.ReplaceLast(timestamp, append(d.repo.Last(timestamp), ' '))
			d.ok(d.refresh(0))
			d.wantSame(timestamp)
		},
		"unknown fields are signed": func(d *device) {
			d.ok(d.refresh(0))
			key := tufrepo.ECDSA()
			key.Extra = tufrepo.Object{"extra-field": tufrepo.Object{"a": int64(1), "b": int64(2)}}
			d.repo.AddKey(root, key)
			d.repo.Docs[root]["custom-field"] = "value"
			tufrepo.At(d.repo.Docs[root], "roles", root)["another-field"] = "value"
			d.repo.Publish(root)
			d.ok(d.refresh(0))
			d.wantVersion(root, 2)
		},
		"a field of old versions": func(d *device) {
			d.repo.ClearKeys(snapshot)
			key := tufrepo.ECDSA()
			key.Extra = tufrepo.Object{"keyid_hash_algorithms": "md5"}
			d.repo.AddKey(snapshot, key)
			d.repo.Publish(root, snapshot, timestamp)
			d.ok(d.refresh(0))
			d.wantVersion(root, 2)
			d.wantVersion(snapshot, 2)
		},
		"no such snapshot": func(d *device) {
			d.ok(d.refresh(0))
			tufrepo.At(d.repo.Docs[timestamp], "meta", "snapshot.json")["version"] = int64(2)
			d.repo.Publish(timestamp)
			d.refused(d.refresh(0))
			d.wantLastRequest("snapshot 2")
			d.wantTrusted("root 1", "snapshot 1", "targets 1", "timestamp 2")
		},
		"no such targets": func(d *device) {
			d.ok(d.refresh(0))
			tufrepo.At(d.repo.Docs[snapshot], "meta", "targets.json")["version"] = int64(2)
			d.repo.Publish(snapshot, timestamp)
			d.refused(d.refresh(0))
			d.wantLastRequest("targets 2")
			d.wantTrusted("root 1", "snapshot 2", "targets 1", "timestamp 2")
		},
		"no timestamp": func(d *device) {
			d.ok(d.refresh(0))
			d.repo.Unpublish(timestamp)
			d.refused(d.refresh(0))
			d.wantLastRequest("timestamp")
		},
		"a snapshot as timestamp": func(d *device) {
			d.repo.AddKey(snapshot, d.repo.Signers[timestamp][0])
			d.repo.Docs[snapshot]["meta"] = tufrepo.Object{"snapshot.json": tufrepo.Object{"version": int64(1)}}
			d.repo.Publish(root, snapshot)
			d.repo.Published[timestamp] = append(d.repo.Published[timestamp], d.repo.Last(snapshot))
			d.refused(d.refresh(0))
			d.wantTrusted("root 2")
		},
		"the time is given": func(d *device) {
			d.repo.SetExpires(root, d.start.Add(7*day))
			d.repo.Publish(root)
			d.ok(d.refresh(0))
			d.refused(d.refresh(8 * day))
		},
		"without consistent snapshots": func(d *device) {
			d.repo.Docs[root]["consistent_snapshot"] = false
			d.repo.Delegate(targets, tufrepo.Delegation{Role: "a", Paths: []string{"*", "folder/*"}})
			d.repo.Publish(root, "a", targets, snapshot, timestamp)
			d.refused(d.fetch("missing", 0))
			d.wantRequests(0, "root 2", "root 3", "timestamp", "snapshot", "targets", "a")
			d.repo.AddTarget("a", "folder/ä file", []byte("content"), nil)
			d.repo.Publish("a", snapshot, timestamp)
			d.ok(d.fetch("folder/ä file", 0))
			d.wantFiles("content")
			if got, want := d.repo.Downloads(), []string{"folder/ä file"}; !slices.Equal(got, want) {
				d.t.Fatalf("downloads are %q, want %q: no hash in the name", got, want)
			}
		},
	}
	for role, want := range map[string][]string{
		root: {"root 1"}, timestamp: {"root 2"}, snapshot: {"root 2", "timestamp 2"}, targets: {"root 2", "snapshot 2", "timestamp 2"},
	} {
		m["unsigned "+role] = func(d *device) {
			d.repo.Signers[role] = nil
			d.repo.Publish(root, targets, snapshot, timestamp)
			d.refused(d.refresh(0))
			d.wantTrusted(want...)
		}
	}
	for role, want := range map[string][]string{
		root: {"root 1"}, snapshot: {"root 2", "timestamp 2"}, targets: {"root 2", "snapshot 2", "timestamp 2"},
	} {
		m["other version inside "+role] = func(d *device) {
			// The address says 2, the file says 3.
			d.repo.SetVersion(role, 2)
			d.repo.Publish(root, targets)
			tufrepo.At(d.repo.Docs[snapshot], "meta", "targets.json")["version"] = int64(2)
			d.repo.Publish(snapshot)
			tufrepo.At(d.repo.Docs[timestamp], "meta", "snapshot.json")["version"] = int64(2)
			d.repo.Publish(timestamp)
			d.refused(d.refresh(0))
			d.wantTrusted(want...)
		}
	}
	return m
}

func expiries() map[string]func(d *device) {
	return map[string]func(d *device){
		"expired root": func(d *device) {
			d.ok(d.refresh(0))
			d.repo.Publish(root)
			d.ok(d.refresh(0))
			d.repo.SetExpires(root, d.start.Add(-day))
			d.repo.Publish(root, targets)
			d.refused(d.refresh(0))
			d.wantVersion(root, 3) // 5.3.10: kept, then judged
			d.wantVersion(timestamp, 1)
			d.wantVersion(snapshot, 1)
		},
		"expired timestamp": func(d *device) {
			d.ok(d.refresh(0))
			d.repo.SetExpires(timestamp, d.start.Add(-5*day))
			d.repo.Publish(timestamp)
			d.refused(d.refresh(0))
			d.wantTrusted("root 1", "snapshot 1", "targets 1", "timestamp 1")
		},
		"expired snapshot": func(d *device) {
			d.ok(d.refresh(0))
			d.repo.SetExpires(snapshot, d.start.Add(-5*day))
			d.repo.Publish(snapshot, timestamp)
			d.refused(d.refresh(0))
			d.wantTrusted("root 1", "snapshot 1", "targets 1", "timestamp 2")
		},
		"expired targets": func(d *device) {
			d.ok(d.refresh(0))
			d.repo.SetExpires(targets, d.start.Add(-5*day))
			d.repo.Publish(targets, snapshot, timestamp)
			d.refused(d.refresh(0))
			d.wantTrusted("root 1", "snapshot 2", "targets 1", "timestamp 2")
		},
		"expired local root": func(d *device) {
			d.repo.SetExpires(root, d.start.Add(7*day))
			d.repo.Publish(root)
			d.ok(d.refresh(0))
			d.repo.SetExpires(root, d.start.Add(21*day))
			d.repo.Publish(root)
			d.ok(d.refresh(18 * day))
			d.wantVersion(root, 3)
		},
		"expired local timestamp": func(d *device) {
			d.repo.SetExpires(timestamp, d.start.Add(7*day))
			d.repo.Publish(timestamp)
			d.ok(d.refresh(0))
			d.repo.SetExpires(timestamp, d.start.Add(21*day))
			d.repo.Publish(targets, snapshot, timestamp)
			d.ok(d.refresh(18 * day))
			d.wantTrusted("root 1", "snapshot 2", "targets 2", "timestamp 3")
		},
		"expired local snapshot": func(d *device) {
			d.repo.SetExpires(snapshot, d.start.Add(7*day))
			d.repo.Publish(snapshot, timestamp)
			d.ok(d.refresh(0))
			d.refused(d.refresh(8 * day))
			d.repo.SetExpires(snapshot, d.start.Add(21*day))
			d.repo.Publish(snapshot, timestamp)
			d.ok(d.refresh(18 * day))
			d.wantVersion(snapshot, 3)
		},
		"expired delegated role": func(d *device) {
			d.delegated(-day)
			d.ok(d.refresh(0))
			d.refused(d.fetch("delegatedpath/first", 0))
			d.wantFiles()
			d.wantTrusted("root 1", "snapshot 2", "targets 2", "timestamp 2")
		},
		"expired local delegated role": func(d *device) {
			d.delegated(7 * day)
			d.ok(d.fetch("delegatedpath/first", 0))
			d.refused(d.fetch("delegatedpath/second", 18*day))
			d.wantFiles("first")
		},
		"expired local delegated role, newer one there": func(d *device) {
			d.delegated(7 * day)
			d.ok(d.fetch("delegatedpath/first", 0))
			d.repo.SetExpires("delegated", d.start.Add(21*day))
			d.repo.Publish("delegated", snapshot, timestamp)
			d.ok(d.fetch("delegatedpath/second", 18*day))
			d.wantFiles("first", "second")
		},
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

func downloads() map[string]func(d *device) {
	m := map[string]func(d *device){
		"a file": func(d *device) {
			d.repo.AddTarget(targets, "file.txt", []byte("content"), nil)
			d.repo.Publish(targets, snapshot, timestamp)
			d.ok(d.refresh(0))
			d.wantFiles()
			d.ok(d.fetch("file.txt", 0))
			d.wantFiles("content")
		},
		"a file in a folder": func(d *device) {
			d.repo.AddTarget(targets, "path/to/a/file.txt", []byte("content"), nil)
			d.repo.Publish(targets, snapshot, timestamp)
			d.ok(d.fetch("path/to/a/file.txt", 0))
			d.wantFiles("content")
		},
		"other bytes than signed": func(d *device) {
			d.repo.AddTarget(targets, "one.txt", []byte("one"), nil)
			d.repo.AddTarget(targets, "two.txt", []byte("two"), nil)
			d.repo.Publish(targets, snapshot, timestamp)
			d.ok(d.fetch("one.txt", 0))
			d.repo.Artifacts["one.txt"], d.repo.Artifacts["two.txt"] = []byte("evil"), []byte("evi")
			_ = d.fetch("one.txt", 0) // may succeed: the good one is there
			d.wantFiles("one")
			d.refused(d.fetch("two.txt", 0))
			d.wantFiles("one")
		},
		"a file changes many times": func(d *device) {
			d.repo.AddTarget(targets, "file.txt", []byte("first"), nil)
			d.repo.Publish(targets, snapshot, timestamp)
			d.ok(d.fetch("file.txt", 0))
			others := []string{}
			for i := range 11 {
				changed, other := fmt.Sprintf("changed %d", i), fmt.Sprintf("new %d", i)
				d.repo.AddTarget(targets, "file.txt", []byte(changed), nil)
				d.repo.AddTarget(targets, fmt.Sprintf("new-%d", i), []byte(other), nil)
				d.repo.Publish(targets, snapshot, timestamp)
				if i%5 != 0 {
					continue
				}
				d.ok(d.fetch("file.txt", 0))
				d.ok(d.fetch(fmt.Sprintf("new-%d", i), 0))
				others = append(others, other)
				d.wantFiles(append(slices.Clone(others), changed)...)
				d.repo.Artifacts["file.txt"] = []byte("malicious")
				d.repo.Publish(targets, snapshot, timestamp)
				_ = d.fetch("file.txt", 0)
				d.wantFiles(append(slices.Clone(others), changed)...)
			}
		},
		"an unknown hash": func(d *device) {
			d.repo.AddTarget(targets, "file.txt", []byte("content"), nil, "unknown-hash")
			d.repo.Publish(targets, snapshot, timestamp)
			d.refused(d.fetch("file.txt", 0))
			d.wantFiles()
		},
		"an unknown hash beside a known one": func(d *device) {
			d.repo.AddTarget(targets, "file.txt", []byte("content"), nil, "unknown-hash", "sha256")
			d.repo.Publish(targets, snapshot, timestamp)
			d.refused(d.fetch("file.txt", 0))
		},
		"a file that is there is not fetched again": func(d *device) {
			d.repo.AddTarget(targets, "file.txt", []byte("content"), nil)
			d.repo.Publish(targets, snapshot, timestamp)
			d.ok(d.fetch("file.txt", 0))
			d.ok(d.fetch("file.txt", 0))
			if got := d.repo.Downloads(); len(got) != 1 {
				d.t.Fatalf("downloads are %q, want one", got)
			}
		},
	}
	for _, algorithms := range [][]string{{"sha256"}, {"sha512"}, {"sha256", "sha512"}} {
		m["hashes "+strings.Join(algorithms, " ")] = func(d *device) {
			d.repo.AddTarget(targets, "file.txt", []byte("content"), nil, algorithms...)
			d.repo.Publish(targets, snapshot, timestamp)
			hashes := tufrepo.At(d.repo.Docs[targets], "targets", "file.txt", "hashes")
			d.ok(d.fetch("file.txt", 0))
			want := []string{hashes[algorithms[0]].(string) + ".file.txt"}
			if diff := cmp.Diff(want, d.repo.Downloads()); diff != "" {
				d.t.Fatalf("downloads (-want +got):\n%s", diff)
			}
			d.wantFiles("content")
			d.repo.Artifacts["file.txt"] = []byte("cOntent")
			if err := os.RemoveAll(d.files); err != nil {
				d.t.Fatal(err)
			}
			d.refused(d.fetch("file.txt", 0))
		}
	}
	return m
}

func keyCases() map[string]func(d *device) {
	m := map[string]func(d *device){
		"too few signatures": func(d *device) {
			d.repo.SetThreshold(snapshot, 3)
			d.repo.AddKey(snapshot, tufrepo.ECDSA())
			d.repo.AddKey(snapshot, tufrepo.ECDSA())
			d.repo.Publish(root, targets, snapshot, timestamp)
			d.ok(d.refresh(0))
			d.repo.Signers[snapshot] = d.repo.Signers[snapshot][:2]
			d.repo.Publish(targets, snapshot, timestamp)
			d.refused(d.refresh(0))
			d.wantVersion(snapshot, 2)
		},
		"too few keys": func(d *device) {
			for range 4 {
				d.repo.AddKey(snapshot, tufrepo.Ed25519())
			}
			d.repo.SetThreshold(snapshot, 6)
			d.repo.Publish(root, snapshot, timestamp)
			d.refused(d.refresh(0))
			d.wantVersion(root, 2)
			d.wantVersion(snapshot, 0)
		},
		"one key counts once": func(d *device) {
			key := tufrepo.Ed25519()
			d.repo.AddKey(snapshot, key)
			entry := tufrepo.At(d.repo.Docs[root], "roles", snapshot)
			for range 8 {
				entry["keyids"] = append(entry["keyids"].([]any), key.ID())
			}
			d.repo.SetThreshold(snapshot, 6)
			d.repo.Publish(root, snapshot, timestamp)
			many := d.repo.Signers[snapshot]
			for range 8 {
				many = append(many, key)
			}
			d.repo.ReplaceLast(snapshot, d.repo.Sign(snapshot, many...))
			d.refused(d.refresh(0))
			d.wantVersion(snapshot, 0)
		},
		"one key under two names counts once": func(d *device) {
			key := tufrepo.Ed25519()
			twin := *key
			twin.Extra = tufrepo.Object{"note": "the same"}
			d.repo.ClearKeys(snapshot)
			d.repo.AddKey(snapshot, key)
			d.repo.AddKey(snapshot, &twin)
			d.repo.SetThreshold(snapshot, 2)
			d.repo.Publish(root, snapshot, timestamp)
			d.refused(d.refresh(0))
			d.wantVersion(snapshot, 0)
		},
		"two signatures of one key": func(d *device) {
			key := d.repo.Signers[snapshot][0]
			d.repo.ReplaceLast(snapshot, d.repo.Sign(snapshot, key, key))
			d.refused(d.refresh(0))
			d.wantVersion(snapshot, 0)
		},
		"a wrong signature beside a good one": func(d *device) {
			d.repo.AddKey(timestamp, tufrepo.Ed25519())
			d.repo.Publish(root, timestamp)
			good, bad := d.repo.Signers[timestamp][1], d.repo.Signers[timestamp][0].Forge(tufrepo.ECDSA())
			d.repo.ReplaceLast(timestamp, d.repo.Sign(timestamp, bad, good))
			d.ok(d.refresh(0))
			d.repo.Publish(timestamp)
			var v tufrepo.Object
			if err := json.Unmarshal(d.repo.Sign(timestamp, bad, good), &v); err != nil {
				d.t.Fatal(err)
			}
			v["signatures"].([]any)[0].(tufrepo.Object)["sig"] = ""
			data, _ := json.Marshal(v)
			d.repo.ReplaceLast(timestamp, data)
			d.ok(d.refresh(0))
			d.wantVersion(timestamp, 3)
		},
	}
	for name, newKey := range map[string]func() *tufrepo.Key{"rsa": tufrepo.RSA, "ecdsa": tufrepo.ECDSA, "ed25519": tufrepo.Ed25519} {
		m["a key of type "+name] = func(d *device) {
			key := newKey()
			d.repo.AddKey(root, key)
			d.repo.SetThreshold(root, 2)
			d.repo.Publish(root)
			d.ok(d.refresh(0))
			d.wantVersion(root, 2)
			d.repo.Publish(root)
			d.repo.ReplaceLast(root, d.repo.Sign(root, d.repo.Signers[root][0], key.Forge(newKey())))
			d.refused(d.refresh(0))
			d.wantVersion(root, 2)
		}
	}
	return m
}

func rollbacks() map[string]func(d *device) {
	m := map[string]func(d *device){
		"older timestamp": func(d *device) {
			d.repo.Publish(timestamp)
			d.ok(d.refresh(0))
			d.repo.Unpublish(timestamp)
			d.repo.SetVersion(timestamp, 1)
			d.repo.Publish(timestamp)
			d.refused(d.refresh(0))
			d.wantVersion(timestamp, 2)
			d.wantLastRequest("timestamp")
		},
		"newer snapshot that the timestamp does not name": func(d *device) {
			d.repo.Publish(snapshot)
			tufrepo.At(d.repo.Docs[timestamp], "meta", "snapshot.json")["version"] = int64(1)
			d.repo.Publish(root, timestamp)
			d.ok(d.refresh(0))
			d.wantTrusted("root 2", "snapshot 1", "targets 1", "timestamp 2")
		},
		"newer targets that the snapshot does not name": func(d *device) {
			d.ok(d.refresh(0))
			d.repo.Publish(targets)
			d.ok(d.refresh(0))
			d.wantVersion(targets, 1)
			d.wantLastRequest("timestamp")
		},
		"a role is gone from the snapshot": func(d *device) {
			d.delegated(7 * day)
			d.ok(d.refresh(0))
			delete(tufrepo.At(d.repo.Docs[snapshot], "meta"), "delegated.json")
			d.repo.Publish(snapshot, timestamp)
			d.refused(d.refresh(0))
			d.wantVersion(snapshot, 2)
		},
		"targets recover from a fast forward": func(d *device) {
			d.repo.Delegate(targets, tufrepo.Delegation{Role: "delegated", Paths: []string{"delegatedpath/*"}})
			d.repo.Publish("delegated")
			for range 99 {
				d.repo.Publish(targets)
			}
			d.repo.Publish(snapshot, timestamp)
			d.ok(d.refresh(0))
			d.wantVersion(targets, 100)
			d.repo.RotateKeys(snapshot)
			d.repo.Unpublish(targets)
			d.repo.SetVersion(targets, 1)
			delete(tufrepo.At(d.repo.Docs[snapshot], "meta"), "delegated.json")
			d.repo.Publish(root, targets, snapshot, timestamp)
			d.ok(d.refresh(0))
			d.wantVersion(targets, 1)
		},
		"snapshot recovers from a fast forward": func(d *device) {
			for range 99 {
				d.repo.Publish(snapshot)
			}
			d.repo.Publish(timestamp)
			d.ok(d.refresh(0))
			d.wantVersion(snapshot, 100)
			d.repo.RotateKeys(snapshot)
			d.repo.RotateKeys(timestamp)
			d.repo.Unpublish(snapshot)
			d.repo.SetVersion(snapshot, 1)
			d.repo.Publish(root, targets, snapshot, timestamp)
			d.ok(d.refresh(0))
			d.wantVersion(snapshot, 1)
		},
		"timestamp recovers from a fast forward": func(d *device) {
			for range 99 {
				d.repo.Publish(timestamp)
			}
			d.ok(d.refresh(0))
			d.wantVersion(timestamp, 100)
			d.repo.RotateKeys(timestamp)
			d.repo.Unpublish(timestamp)
			d.repo.SetVersion(timestamp, 1)
			d.repo.Publish(root, timestamp)
			d.ok(d.refresh(0))
			d.wantVersion(timestamp, 1)
		},
	}
	for _, hashes := range []bool{false, true} {
		m[fmt.Sprintf("older snapshot, hashes %t", hashes)] = func(d *device) {
			d.repo.MetaHash = hashes
			d.repo.Publish(snapshot, timestamp)
			d.ok(d.refresh(0))
			d.repo.Unpublish(snapshot)
			d.repo.SetVersion(snapshot, 1)
			d.repo.Publish(snapshot, timestamp)
			d.refused(d.refresh(0))
			d.wantVersion(timestamp, 2)
			d.wantVersion(snapshot, 2)
			d.wantLastRequest("timestamp")
		}
		m[fmt.Sprintf("older targets, hashes %t", hashes)] = func(d *device) {
			d.repo.MetaHash = hashes
			d.repo.Publish(targets, snapshot, timestamp)
			d.ok(d.refresh(0))
			d.repo.Unpublish(targets)
			d.repo.SetVersion(targets, 1)
			d.repo.Publish(targets, snapshot, timestamp)
			d.refused(d.refresh(0))
			d.wantVersion(snapshot, 2)
			d.wantVersion(targets, 2)
		}
	}
	return m
}

// edge is one delegation of a graph: who, to whom.
type edge struct {
	from, to    string
	terminating bool
	paths       string // * when empty
}

func (d *device) build(edges []edge) {
	touched := map[string]bool{targets: true}
	for _, e := range edges {
		p := e.paths
		if p == "" {
			p = "*"
		}
		d.repo.Delegate(e.from, tufrepo.Delegation{Role: e.to, Terminating: e.terminating, Paths: strings.Fields(p)})
		touched[e.to] = true
	}
	for role := range touched {
		d.repo.Publish(role)
	}
	d.repo.Publish(snapshot, timestamp)
}

func graphs() map[string]func(d *device) {
	m := map[string]func(d *device){}
	for name, c := range map[string]struct {
		edges []edge
		want  string
	}{
		"one":                       {[]edge{{from: targets, to: "A"}}, "A"},
		"two":                       {[]edge{{from: targets, to: "A"}, {from: targets, to: "B"}}, "A B"},
		"two levels":                {[]edge{{from: targets, to: "A"}, {from: targets, to: "B"}, {from: "B", to: "C"}}, "A B C"},
		"two levels depth first":    {[]edge{{from: targets, to: "A"}, {from: targets, to: "B"}, {from: "A", to: "C"}, {from: "A", to: "D"}}, "A C D B"},
		"three levels depth first":  {[]edge{{from: targets, to: "A"}, {from: targets, to: "B"}, {from: "A", to: "C"}, {from: "C", to: "D"}}, "A C D B"},
		"two levels, terminating":   {[]edge{{from: targets, to: "A"}, {from: targets, to: "B"}, {from: "A", to: "C", terminating: true}, {from: "A", to: "D"}}, "A C"},
		"three levels, terminating": {[]edge{{from: targets, to: "A"}, {from: targets, to: "B"}, {from: "A", to: "C", terminating: true}, {from: "C", to: "D"}}, "A C D"},
		"two levels, paths":         {[]edge{{from: targets, to: "A", paths: "*.py"}, {from: targets, to: "B"}, {from: "A", to: "C"}}, "B"},
		"three levels, paths":       {[]edge{{from: targets, to: "A"}, {from: targets, to: "B"}, {from: "A", to: "C", paths: "*.py"}, {from: "C", to: "D"}}, "A B"},
		"cycle":                     {[]edge{{from: targets, to: "A"}, {from: targets, to: "B"}, {from: "B", to: "C"}, {from: "C", to: "D"}, {from: "D", to: "B"}}, "A B C D"},
		"two to a third":            {[]edge{{from: targets, to: "A"}, {from: targets, to: "B"}, {from: "B", to: "C"}, {from: "A", to: "C"}}, "A C B"},
		"two to a third, paths":     {[]edge{{from: targets, to: "A"}, {from: targets, to: "B"}, {from: "B", to: "C"}, {from: "A", to: "C", paths: "*.py"}}, "A B C"},
	} {
		m["graph: "+name] = func(d *device) {
			d.build(c.edges)
			d.refused(d.fetch("missingpath", 0))
			var want []string
			for _, role := range strings.Fields(c.want) {
				want = append(want, role+" 1")
			}
			d.wantRequests(4, want...)
		}
	}
	return m
}

func searches() map[string]func(d *device) {
	m := map[string]func(d *device){}
	for path, c := range map[string]struct {
		found   bool
		visited []string
	}{
		"targetfile":          {true, nil},
		"README.md":           {true, []string{"A 1"}},
		"releases/x/x_v1":     {true, []string{"B 1", "C 1"}},
		"releases/y/y_v1.zip": {true, []string{"B 1", "D 1"}},
		"releases/z/z_v1.zip": {false, []string{"B 1"}},
	} {
		m["search "+path] = func(d *device) {
			edges := []edge{
				{from: targets, to: "A", paths: "*.doc *.md"}, {from: targets, to: "B", paths: "releases/*/*"},
				{from: "B", to: "C", paths: "releases/x/*"}, {from: "B", to: "D", paths: "releases/y/*.zip"},
			}
			d.build(edges)
			for role := range map[string]bool{targets: true, "A": true, "B": true, "C": true, "D": true} {
				d.repo.Unpublish(role)
				d.repo.SetVersion(role, 1)
			}
			for p, role := range map[string]string{
				"targetfile": targets, "README.md": "A", "releases/x/x_v1": "C", "releases/y/y_v1.zip": "D", "releases/z/z_v1.zip": "D",
			} {
				d.repo.AddTarget(role, p, []byte(p+" by "+role), nil)
			}
			d.repo.Publish(targets, "A", "B", "C", "D", snapshot, timestamp)
			err := d.fetch(path, 0)
			d.wantRequests(4, c.visited...)
			if !c.found {
				d.refused(err)
				d.wantFiles()
				return
			}
			d.ok(err)
			d.wantFiles(string(d.repo.Artifacts[path]))
		}
	}
	return m
}

// keyset is one version of a role: keys, threshold, who signs, by number.
type keyset struct {
	keys []int
	need int64
	sigs []int
}

func rootRotations() map[string]func(d *device) {
	five := []int{0, 1, 2, 3, 4}
	one := []int{0, 1, 3, 4, 5}
	m := map[string]func(d *device){}
	for name, c := range map[string]struct {
		versions []keyset
		ok       bool
	}{
		"1 of 1":                            {[]keyset{{[]int{1}, 1, []int{1}}, {[]int{2}, 1, []int{2, 1}}, {[]int{2}, 1, []int{2}}}, true},
		"1 of 1, unused signatures":         {[]keyset{{[]int{1}, 1, []int{3, 1, 4}}, {[]int{2}, 1, []int{3, 2, 1, 4}}, {[]int{2}, 1, []int{3, 2, 4}}}, true},
		"3 of 5, others sign":               {[]keyset{{five, 3, []int{0, 2, 4}}, {five, 3, []int{0, 4, 1}}, {five, 3, []int{0, 1, 3}}, {five, 3, []int{0, 1, 3}}}, true},
		"3 of 5, one rotated":               {[]keyset{{five, 3, []int{0, 2, 4}}, {one, 3, []int{0, 4, 1}}}, true},
		"3 of 5, one rotated, with a step":  {[]keyset{{five, 3, []int{0, 2, 4}}, {one, 3, []int{0, 2, 4, 5}}, {one, 3, []int{0, 4, 5}}}, true},
		"3 of 5, all rotated":               {[]keyset{{five, 3, []int{0, 2, 4}}, {[]int{5, 6, 7, 8, 9}, 3, []int{0, 2, 4, 5, 6, 7}}, {[]int{5, 6, 7, 8, 9}, 3, []int{5, 6, 7}}}, true},
		"1 of 3 to 2 of 3":                  {[]keyset{{[]int{1, 2, 3}, 1, []int{1}}, {[]int{1, 2, 3}, 2, []int{1, 2}}}, true},
		"2 of 3 to 1 of 3":                  {[]keyset{{[]int{1, 2, 3}, 2, []int{1, 2}}, {[]int{1, 2, 3}, 1, []int{1, 2}}, {[]int{1, 2, 3}, 1, []int{1}}}, true},
		"1 of 1 to 2 of 2":                  {[]keyset{{[]int{1}, 1, []int{1}}, {[]int{1, 2}, 2, []int{1, 2}}}, true},
		"1 of 1, the old did not sign":      {[]keyset{{[]int{1}, 1, []int{1}}, {[]int{2}, 1, []int{2, 3, 4}}}, false},
		"1 of 1, the new did not sign":      {[]keyset{{[]int{1}, 1, []int{1}}, {[]int{2}, 1, []int{1, 3, 4}}}, false},
		"3 of 5, too few new":               {[]keyset{{five, 3, []int{0, 2, 4}}, {one, 3, []int{0, 2, 4}}}, false},
		"3 of 5, too few old":               {[]keyset{{five, 3, []int{0, 2, 4}}, {one, 3, []int{0, 4, 5}}}, false},
		"1 of 3 to 2 of 3, new not reached": {[]keyset{{[]int{1, 2, 3}, 1, []int{1}}, {[]int{1, 2, 3}, 2, []int{2}}}, false},
		"2 of 3 to 1 of 3, old not reached": {[]keyset{{[]int{1, 2, 3}, 2, []int{1, 2}}, {[]int{1, 2, 3}, 1, []int{1}}}, false},
	} {
		m["root rotation: "+name] = func(d *device) {
			keys := tenKeys()
			d.repo.Unpublish(root)
			for _, v := range c.versions {
				v.apply(d.repo, root, keys)
				d.repo.Publish(root)
			}
			d.repo.Publish(targets, snapshot, timestamp)
			all := d.repo.Published[root]
			d.trust = all[0]
			want := all[len(all)-1]
			if c.ok {
				d.ok(d.refresh(0))
			} else {
				want = all[len(all)-2]
				d.refused(d.refresh(0))
			}
			got, err := os.ReadFile(filepath.Join(d.dir, "root.json"))
			if err != nil || string(got) != string(want) {
				d.t.Fatalf("the trusted root is another one than %d: %v", len(all), err)
			}
		}
	}
	return m
}

func tenKeys() []*tufrepo.Key {
	var keys []*tufrepo.Key
	for range 10 {
		keys = append(keys, tufrepo.Ed25519())
	}
	return keys
}

func (r keyset) apply(repo *tufrepo.Repo, role string, keys []*tufrepo.Key) {
	repo.ClearKeys(role)
	repo.SetThreshold(role, r.need)
	for _, i := range r.keys {
		repo.AllowKey(role, keys[i])
	}
	for _, i := range r.sigs {
		repo.Signers[role] = append(repo.Signers[role], keys[i])
	}
}

func otherRotations() map[string]func(d *device) {
	five := []int{0, 1, 2, 3, 4}
	one := []int{0, 1, 3, 4, 5}
	m := map[string]func(d *device){}
	for name, c := range map[string]struct {
		keyset
		ok bool
	}{
		"1 of 1":                         {keyset{[]int{2}, 1, []int{2}}, true},
		"1 of 1, unused signatures":      {keyset{[]int{1}, 1, []int{3, 1, 4}}, true},
		"1 of 1, the new did not sign":   {keyset{[]int{2}, 1, []int{1, 3, 4}}, false},
		"3 of 5, one of the wrong":       {keyset{one, 3, []int{0, 2, 4}}, false},
		"3 of 5, two":                    {keyset{one, 3, []int{0, 4}}, false},
		"3 of 5, the first to sign":      {keyset{five, 3, []int{0, 2, 4}}, true},
		"3 of 5, the second to sign":     {keyset{five, 3, []int{0, 4, 1}}, true},
		"3 of 5, the third to sign":      {keyset{five, 3, []int{0, 1, 3}}, true},
		"3 of 5, the fourth to sign":     {keyset{five, 3, []int{1, 2, 3}}, true},
		"3 of 5, the fifth three signed": {keyset{five, 3, []int{2, 3, 4}}, true},
	} {
		m["other rotation: "+name] = func(d *device) {
			keys := tenKeys()
			for _, role := range []string{timestamp, snapshot, targets} {
				c.apply(d.repo, role, keys)
				d.repo.Publish(root, targets, snapshot, timestamp)
				if !c.ok {
					d.refused(d.refresh(0))
					continue
				}
				d.ok(d.refresh(0))
				d.wantSame(role)
			}
		}
	}
	return m
}

func oddNames() map[string]func(d *device) {
	m := map[string]func(d *device){}
	for _, role := range []string{"?", "#", "/delegatedrole", "../delegatedrole", "..", ".", `a"b`, "ä ö%2f+", "c:d", "floor"} {
		m["role called "+hex.EncodeToString([]byte(role))] = func(d *device) {
			d.repo.Delegate(targets, tufrepo.Delegation{Role: role, Paths: []string{"*"}})
			d.repo.AddTarget(role, "file", []byte("content"), nil)
			d.repo.Publish(role, targets, snapshot, timestamp)
			d.refused(d.fetch("nonexistent", 0))
			if n := len(glob(d.t, d.dir, "*.json")); n != 5 {
				d.t.Fatalf("%d files of metadata, want 5", n)
			}
			d.ok(d.fetch("file", 0))
			if out := glob(d.t, filepath.Dir(d.dir), "*.json"); len(out) > 0 {
				d.t.Fatalf("files beside the folder: %q", out)
			}
		}
	}
	return m
}

// TestReservedNames: no role may take a top-level one's file, on no file system.
func TestReservedNames(t *testing.T) {
	for _, role := range []string{root, timestamp, snapshot, "ROOT", "Timestamp", "Targets"} {
		d := library(false)(t)
		d.repo.Delegate(targets, tufrepo.Delegation{Role: "x", Paths: []string{"*"}})
		d.repo.Docs[role+"-"] = d.repo.Docs["x"] // any file of targets
		d.repo.Signers[role+"-"] = d.repo.Signers["x"]
		tufrepo.At(d.repo.Docs[targets], "delegations")["roles"].([]any)[0].(tufrepo.Object)["name"] = role
		d.repo.Publish(role+"-", targets)
		if d.repo.Published[role] == nil {
			d.repo.Published[role] = d.repo.Published[role+"-"]
		}
		tufrepo.At(d.repo.Docs[snapshot], "meta")[role+".json"] = tufrepo.Object{"version": int64(1)}
		d.repo.Publish(snapshot, timestamp)
		before := d.version(root)
		d.refused(d.fetch("file", 0))
		if got := d.trusted(); len(got) != 4 || before > d.version(root) {
			t.Errorf("%s: trusted metadata is %q, want the four top-level files", role, got)
		}
	}
}

func glob(t *testing.T, parts ...string) []string {
	names, err := filepath.Glob(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return names
}
