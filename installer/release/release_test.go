package release_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"hausmeister/installer/release"
	"hausmeister/proto/manifest"
)

func TestKeyAtRest(t *testing.T) {
	dir := t.TempDir()
	cost := release.Cost{Passes: 1, MemoryKiB: 8, Threads: 1}
	now := time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC)
	k, err := release.NewKey(dir, "anna", []string{"root"}, passphrase, cost, rand.Reader, now)
	if err != nil {
		t.Fatal(err)
	}
	path := dir + "/anna.key"
	got, err := release.OpenKey(path, passphrase)
	if err != nil || !got.Private.Equal(k.Private) {
		t.Fatalf("OpenKey: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v, want 0600", info.Mode(), err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte(k.Private.Seed())) {
		t.Error("the seed lies open")
	}
	if _, err := release.OpenKey(path, passphrase+"x"); !errors.Is(err, release.ErrUnverified) {
		t.Errorf("wrong passphrase: %v, want ErrUnverified", err)
	}
	if _, err := release.NewKey(dir, "bert", []string{"root"}, "short", cost, rand.Reader, now); !errors.Is(err, release.ErrRefused) {
		t.Errorf("a short passphrase: %v, want ErrRefused", err)
	}
	if _, err := release.NewKey(dir, "bert", []string{"root", "targets"}, passphrase, cost, rand.Reader, now); !errors.Is(err, release.ErrRefused) {
		t.Errorf("root and targets: %v, want ErrRefused", err)
	}
	// The head is authenticated with the seed; no field of it can be another's.
	for _, c := range [][2]string{{`"anna"`, `"otto"`}, {`"root"`, `"stable"`}, {`"passes": 1`, `"passes": 2`}, {`"memory_kib": 8`, `"memory_kib": 4000000000`}} {
		if err := os.WriteFile(path, bytes.Replace(data, []byte(c[0]), []byte(c[1]), 1), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := release.OpenKey(path, passphrase); err == nil {
			t.Errorf("with %s in place of %s the key opens", c[1], c[0])
		}
	}
	pub, err := os.ReadFile(dir + "/anna.pub")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/otto.pub", bytes.Replace(pub, []byte(`"anna"`), []byte(`"otto"`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := release.ReadPublic(dir + "/otto.pub"); !errors.Is(err, release.ErrUnverified) {
		t.Errorf("anna's key under otto's name: %v, want ErrUnverified", err)
	}
}

func TestRecord(t *testing.T) {
	path := t.TempDir() + "/record"
	now := time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC)
	r := release.Record{Path: path, Now: func() time.Time { return now }}
	if _, err := r.Add("desk", "publish", " \n ", nil); !errors.Is(err, release.ErrRefused) {
		t.Errorf("without a reason: %v, want ErrRefused", err)
	}
	for _, v := range []string{"stage", "publish", "block"} {
		if _, err := r.Add("desk", v, "because", map[string]string{"a": "b"}); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	entries, torn, err := r.Read()
	if err != nil || torn >= 0 || len(entries) != 3 {
		t.Fatalf("Read: %d entries, torn %d, %v", len(entries), torn, err)
	}
	lines := bytes.SplitAfter(whole, []byte("\n"))
	for what, data := range map[string][]byte{
		"changed":        bytes.Replace(whole, []byte("publish"), []byte("Publish"), 1),
		"taken out":      bytes.Join([][]byte{lines[0], lines[2]}, nil),
		"swapped":        bytes.Join([][]byte{lines[1], lines[0], lines[2]}, nil),
		"begins later":   bytes.Join(lines[1:], nil),
		"between broken": bytes.Join([][]byte{lines[0], []byte("{}\n"), lines[1]}, nil),
	} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.Read(); !errors.Is(err, release.ErrUnverified) {
			t.Errorf("%s: %v, want ErrUnverified", what, err)
		}
		if _, err := r.Add("desk", "x", "because", nil); !errors.Is(err, release.ErrUnverified) {
			t.Errorf("adding to a record that was %s: %v, want ErrUnverified", what, err)
		}
	}
	// Cut off at the end it is a chain; a hash that was written down tells.
	if err := os.WriteFile(path, bytes.Join(lines[:2], nil), 0o600); err != nil {
		t.Fatal(err)
	}
	short, _, err := r.Read()
	if err != nil || len(short) != 2 {
		t.Fatalf("%d entries, %v", len(short), err)
	}
	if _, err := release.CheckHead(short, entries[2].Hash); !errors.Is(err, release.ErrUnverified) {
		t.Errorf("the head of before: %v, want ErrUnverified", err)
	}
	// A power cut in the third line: it is cut off, and the next entry is the third.
	if err := os.WriteFile(path, whole[:len(whole)-10], 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := r.Add("desk", "again", "because", nil)
	if err != nil || e.Seq != 3 {
		t.Fatalf("after half a line: entry %d, %v", e.Seq, err)
	}
	if again, torn, err := r.Read(); err != nil || torn >= 0 || len(again) != 3 {
		t.Errorf("after that: %d entries, torn %d, %v", len(again), torn, err)
	}
}

// TestOnePersonOneWord: what a person signed as a version he signs again, and
// nothing else as that; and nothing on top of a repository older than he knows.
func TestOnePersonOneWord(t *testing.T) {
	w := newWorld(t)
	before := readAll(t, w.path("repo"))
	w.release("1.0.0")
	_, err := w.staging("stable", "1.1.0").Stage(t.Context())
	w.must(err)
	w.sign("stable", "jana")
	w.sign("stable", "jana")
	w.must(os.RemoveAll(w.path("drafts"))) // another desk, which knows nothing of that
	_, err = w.staging("stable", "1.1.1").Stage(t.Context())
	w.must(err)
	if _, err := w.signing("stable", "jana").Sign(); !errors.Is(err, release.ErrRefused) || !strings.Contains(err.Error(), "another stable 3") {
		t.Errorf("two things as stable 3: %v, want ErrRefused", err)
	}
	if err := os.RemoveAll(w.path("repo")); err != nil {
		t.Fatal(err)
	}
	for name, data := range before {
		mkdir(t, w.path("repo/metadata"))
		w.must(os.WriteFile(w.path("repo/"+name), data, 0o644))
	}
	if _, err := w.signing("stable", "karl").Sign(); err != nil {
		t.Errorf("karl has not seen more than this: %v", err)
	}
	if _, err := w.signing("stable", "jana").Sign(); !errors.Is(err, release.ErrRefused) || !strings.Contains(err.Error(), "older") {
		t.Errorf("on top of yesterday's repository: %v, want ErrRefused", err)
	}
}

// TestStage: patches from the last three versions that give the program back,
// four versions in all, nothing else.
func TestStage(t *testing.T) {
	w := newWorld(t)
	all := []string{"1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0"}
	for _, v := range all {
		w.release(v)
	}
	targets, _, err := w.device()
	w.must(err)
	if got := versions(t, targets); !slices.Equal(got, all[1:]) {
		t.Errorf("stable has %v, want the last four", got)
	}
	for _, x := range targets {
		r, err := x.Release()
		if errors.Is(err, manifest.ErrNoRelease) {
			continue
		}
		w.must(err)
		if r.Version == "1.4.0" && (len(r.Deltas) != 3 || r.Packed == "") {
			t.Errorf("%s has %d patches, packed %q, want 3", r.Path, len(r.Deltas), r.Packed)
		}
	}
	for role, raw := range w.repo().Raw {
		t.Logf("%s: %d bytes", role, len(raw))
	}
	seen, err := w.repo().Verify(t.Context(), w.now)
	if err != nil || seen.Targets != len(targets) {
		t.Errorf("Verify: %d files, %v", seen.Targets, err)
	}
	// A published file that was changed on disk is no base, and is told.
	i := slices.IndexFunc(targets, func(x manifest.Target) bool { return x.Path == "agent/stable/1.4.0/linux-amd64/hausmeister-agent" })
	file := release.TargetFile(w.path("repo"), targets[i])
	w.must(os.WriteFile(file, []byte("other"), 0o644))
	if _, err := w.repo().Verify(t.Context(), w.now); !errors.Is(err, release.ErrUnverified) {
		t.Errorf("Verify with a changed file: %v, want ErrUnverified", err)
	}
	if _, err := w.staging("stable", "1.5.0").Stage(t.Context()); !errors.Is(err, release.ErrUnverified) {
		t.Errorf("Stage on a changed base: %v, want ErrUnverified", err)
	}
	s := w.staging("stable", "1.6.0")
	s.Programs[0].SHA256 = strings.Repeat("0", 64)
	if _, err := s.Stage(t.Context()); !errors.Is(err, release.ErrUnverified) {
		t.Errorf("a program that is not the built one: %v, want ErrUnverified", err)
	}
	s = w.staging("stable", "1.6.0")
	s.Programs = s.Programs[:1]
	if _, err := s.Stage(t.Context()); !errors.Is(err, release.ErrRefused) {
		t.Errorf("for one system: %v, want ErrRefused", err)
	}
	if len(w.drafts().Roles()) != 0 {
		t.Errorf("what failed left drafts: %v", w.drafts().Roles())
	}
}

// TestPublishRefuses what ends soon.
func TestPublishRefuses(t *testing.T) {
	w := newWorld(t)
	s := w.staging("stable", "1.0.0")
	s.Life = 29 * 24 * time.Hour
	_, err := s.Stage(t.Context())
	w.must(err)
	if _, err := w.signing("stable", "jana").Sign(); !errors.Is(err, release.ErrRefused) {
		t.Errorf("signing what ends in 29 days: %v, want ErrRefused", err)
	}
	if _, err := w.publication().Check(); !errors.Is(err, release.ErrRefused) || !strings.Contains(err.Error(), "30 days") {
		t.Errorf("publishing what ends in 29 days: %v, want ErrRefused", err)
	}
}

// TestFloorAndBlock: the floor rises only, to what every system can reach;
// blocked bytes are found by nobody.
func TestFloorAndBlock(t *testing.T) {
	w := newWorld(t)
	w.release("1.0.0")
	w.release("1.1.0")
	if err := w.drafts().SetFloor("agent", "1.2.0", platforms); !errors.Is(err, release.ErrRefused) {
		t.Errorf("a floor that nobody reaches: %v, want ErrRefused", err)
	}
	w.must(w.drafts().SetFloor("agent", "1.1.0", platforms))
	if err := w.drafts().SetFloor("agent", "1.0.0", platforms); !errors.Is(err, release.ErrRefused) {
		t.Errorf("a lower floor: %v, want ErrRefused", err)
	}
	bad := ""
	releases, err := release.Releases(w.repo().Files["stable"], "stable")
	w.must(err)
	for _, r := range releases {
		if r.Version == "1.0.0" && r.OS == "linux" {
			bad = r.SHA256
		}
	}
	w.must(w.drafts().Block(bad))
	w.sign("targets", "frieda", "ivo")
	w.must(w.publish())
	targets, st, err := w.device()
	w.must(err)
	if st.Floors["agent"] != "1.1.0" || !slices.Equal(st.Rules.Blocked, []string{bad}) {
		t.Errorf("a device knows floors %v, blocked %v", st.Floors, st.Rules.Blocked)
	}
	for _, x := range targets {
		if x.SHA256 == bad {
			t.Error("a device finds what is blocked")
		}
	}
}
