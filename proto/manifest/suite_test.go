package manifest_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
