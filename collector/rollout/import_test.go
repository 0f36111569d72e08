package rollout_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/rollout"
	"hausmeister/proto/manifest"
)

func TestImport(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		old := sha256.Sum256([]byte("the version before"))
		dir := manifest.Release{Product: manifest.ProductAgent, Channel: manifest.RoleStable, Version: "1.4.0", OS: "linux", Arch: "amd64"}.Dir()
		w.repo.File(manifest.RoleStable, dir+"agent.zst", []byte("packed"))
		w.repo.File(manifest.RoleStable, dir+"agent.from-1.3.0", []byte("delta"))
		rel := w.repo.Release(manifest.RoleStable, manifest.Release{Version: "1.4.0", Packed: dir + "agent.zst",
			Deltas: []manifest.Delta{{FromSHA256: hex.EncodeToString(old[:]), Target: dir + "agent.from-1.3.0"}}}, []byte("program"))
		im := w.imported()
		if !im.Changed || len(im.Added) != 1 || im.Targets != 3 || im.Bytes != int64(len("program")+len("packed")+len("delta")) {
			t.Errorf("Import = %+v, want one release of three files", im)
		}
		entries := w.count(`SELECT COUNT(*) FROM audit`)
		again := w.imported()
		if again.Changed || len(again.Added)+len(again.Gone) != 0 || w.count(`SELECT COUNT(*) FROM audit`) != entries {
			t.Errorf("the same again = %+v, and %d entries of audit, want nothing new", again, w.count(`SELECT COUNT(*) FROM audit`)-entries)
		}
		releases, err := w.Releases(t.Context(), person("ada"))
		if err != nil || len(releases) != 1 {
			t.Fatalf("Releases = %v, %v", releases, err)
		}
		if r := releases[0]; r.Version != "1.4.0" || len(r.Programs) != 1 || r.Programs[0].SHA256 != rel.SHA256 || r.Programs[0].Packed != int64(len("packed")) || len(r.Programs[0].Deltas) != 1 {
			t.Errorf("release = %+v", r)
		}
		data, fresh, err := rollout.Gateway{Rollouts: w.Rollouts}.Metadata(t.Context(), access.ForDevice("d", w.owner), "timestamp.json", bytes.Repeat([]byte{7}, 32), 1)
		if err != nil || !bytes.Equal(data, w.repo.Files()["timestamp.json"]) {
			t.Fatalf("Metadata = %d bytes, %v", len(data), err)
		}
		if _, err := manifest.VerifyFresh(w.repo.Root(), fresh, manifest.Nonce(bytes.Repeat([]byte{7}, 32))); err != nil {
			t.Errorf("statement of freshness: %v", err)
		}
	})
}

// What does not verify is not imported, and leaves everything as it is.
func TestImportRefuses(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		was := w.snapshot()
		cases := map[string]func(dir string){
			"a target with other bytes": func(dir string) {
				w.repo.Release(manifest.RoleStable, manifest.Release{Version: "1.1.0"}, []byte("program 1.1.0"))
				w.publishTo(dir)
				w.rewrite(dir, "program 1.1.0", "program 6.6.6")
			},
			"a target that is longer": func(dir string) {
				w.publishTo(dir)
				w.rewrite(dir, "program 1.1.0", "program 1.1.0 and more")
			},
			"a target that is missing": func(dir string) {
				w.publishTo(dir)
				w.rewrite(dir, "program 1.1.0", "")
			},
			"a forged timestamp": func(dir string) {
				w.publishTo(dir)
				w.edit(dir, "timestamp.json", `"version":`, `"version": 1`)
			},
			"no metadata at all": func(dir string) {},
		}
		for _, name := range []string{"a target with other bytes", "a target that is longer", "a target that is missing", "a forged timestamp", "no metadata at all"} {
			dir := t.TempDir()
			cases[name](dir)
			_, err := w.Import(t.Context(), person("ada"), dir, nil)
			if !errors.Is(err, rollout.ErrRefused) && !errors.Is(err, rollout.ErrIncomplete) {
				t.Errorf("%s: Import = %v, want ErrRefused or ErrIncomplete", name, err)
			}
			if is := w.snapshot(); is != was {
				t.Errorf("%s: the store changed from %s to %s", name, was, is)
			}
		}
		if im := w.imported(); len(im.Added) != 1 {
			t.Errorf("the whole repository then = %+v, want one release more", im)
		}
	})
}

// rewrite puts other bytes into the file of a target that has these; none deletes it.
func (w *world) rewrite(dir, was, is string) {
	w.t.Helper()
	found := false
	err := filepath.WalkDir(filepath.Join(dir, "targets"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil || string(data) != was {
			return err
		}
		found = true
		if is == "" {
			return os.Remove(path)
		}
		return os.WriteFile(path, []byte(is), 0o600)
	})
	if err != nil || !found {
		w.t.Fatalf("rewriting a target: found %v, %v", found, err)
	}
}

func (w *world) edit(dir, name, was, is string) {
	w.t.Helper()
	path := filepath.Join(dir, "metadata", name)
	data, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(data), was) {
		w.t.Fatalf("editing %s: %v", name, err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(data), was, is, 1)), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// snapshot is everything that an import may change, in a line.
func (w *world) snapshot() string {
	w.t.Helper()
	var out []string
	for _, sql := range []string{`SELECT COUNT(*) FROM rollout_metadata`, `SELECT COALESCE(SUM(LENGTH(body)), 0) FROM rollout_metadata`, `SELECT COALESCE(SUM(LENGTH(body)), 0) FROM rollout_trust`,
		`SELECT COALESCE(SUM(timestamp * 1000 + root), 0) FROM rollout_repository`, `SELECT COUNT(*) FROM rollout_releases WHERE gone_ms IS NULL`,
		`SELECT COUNT(*) FROM rollout_targets WHERE gone_ms IS NULL`, `SELECT COUNT(*) FROM audit`} {
		out = append(out, strconv.FormatInt(w.count(sql), 10))
	}
	return strings.Join(out, "/")
}

// Row 9: a repository that was put back from a backup is older than what is known.
func TestAttack09ImportOfAnOlderRepository(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		old := t.TempDir()
		w.publishTo(old)
		w.release("1.1.0")
		was := w.snapshot()
		_, err := w.Import(t.Context(), person("ada"), old, nil)
		if !errors.Is(err, rollout.ErrRefused) {
			t.Errorf("Import of the repository of yesterday = %v, want ErrRefused", err)
		}
		if is := w.snapshot(); is != was {
			t.Errorf("the store changed from %s to %s", was, is)
		}
		// A restart forgets nothing of it.
		w.restart()
		if _, err := w.Import(t.Context(), person("ada"), old, nil); !errors.Is(err, rollout.ErrRefused) {
			t.Errorf("after a restart = %v, want ErrRefused", err)
		}
	})
}

// Row 8: the end of a role is counted down, each step told once, and what is
// published goes on being served when it is over.
func TestAttack08CountdownToTheEndOfARole(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		alarms := func() int64 {
			return w.count(`SELECT COUNT(*) FROM audit WHERE action IN ('repository.expiring', 'repository.expired') AND subject = 'repository:targets'`)
		}
		start := w.now
		var seen []int64
		for day := range 368 {
			w.now = start.Add(time.Duration(day) * 24 * time.Hour)
			before := alarms()
			for range 2 {
				if err := w.Care(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if alarms() != before {
				seen = append(seen, int64(365-day))
			}
		}
		want := []int64{180, 90, 30, 14, 7, 0}
		if len(seen) != len(want) {
			t.Fatalf("alarms for targets with %v days left, want %v", seen, want)
		}
		for i := range want {
			if d := seen[i] - want[i]; d < -1 || d > 1 {
				t.Errorf("alarms for targets with %v days left, want %v", seen, want)
				break
			}
		}
		state, err := w.RepositoryState(t.Context(), person("ada"))
		if err != nil || len(state.Roles) == 0 || state.Roles[0].Alarm != -1 {
			t.Errorf("RepositoryState = %+v, %v, want roles that are over", state, err)
		}
		if _, _, err := (rollout.Public{Rollouts: w.Rollouts}).Metadata(t.Context(), "timestamp.json", nil, 0); err != nil {
			t.Errorf("Metadata of what is over = %v: the device judges it, not we", err)
		}
	})
}

// Row 7: a device that trusts a newer root than ours, and roots that cannot be
// replaced, whoever publishes them.
func TestAttack07RootThatTheCollectorStates(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		repo, err := w.Repository(t.Context())
		if err != nil || repo.GetRootVersion() != 1 {
			t.Fatalf("Repository = %v, %v, want root 1", repo, err)
		}
		g := rollout.Gateway{Rollouts: w.Rollouts}
		for range 3 {
			if _, _, err := g.Metadata(t.Context(), w.caller("d"), "timestamp.json", nil, 2); err != nil {
				t.Fatal(err)
			}
		}
		if state, err := w.RepositoryState(t.Context(), person("ada")); err != nil || state.NewerRoot != 2 {
			t.Errorf("RepositoryState = %+v, %v, want the newer root 2 that a device told", state, err)
		}
		if n := w.count(`SELECT COUNT(*) FROM audit WHERE action = 'repository.behind'`); n != 1 {
			t.Errorf("%d entries of audit, want it told once", n)
		}
		w.repo.RotateOnline()
		w.imported()
		if state, err := w.RepositoryState(t.Context(), person("ada")); err != nil || state.NewerRoot != 0 || state.Root != 2 {
			t.Errorf("RepositoryState after the import = %+v, %v, want root 2", state, err)
		}
		for _, name := range []string{"1.root.json", "2.root.json"} {
			if _, _, err := g.Metadata(t.Context(), w.caller("d"), name, nil, 0); err != nil {
				t.Errorf("Metadata(%s) = %v: every root is kept", name, err)
			}
		}
		// Without its newest root, and with the keys of before.
		withheld := t.TempDir()
		w.publishTo(withheld)
		if err := os.Remove(filepath.Join(withheld, "metadata", "2.root.json")); err != nil {
			t.Fatal(err)
		}
		was := w.snapshot()
		if _, err := w.Import(t.Context(), person("ada"), withheld, nil); !errors.Is(err, rollout.ErrRefused) || w.snapshot() != was {
			t.Errorf("Import without the newest root = %v, want ErrRefused and nothing changed", err)
		}
	})
}

// Files are hashed before they are sent; a damaged one is not sent.
func TestServedFilesAreHashed(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		rel := w.release("1.0.0")
		w.start(t, "1.0.0")
		hash, err := hex.DecodeString(rel.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		p := rollout.Public{Rollouts: w.Rollouts}
		c, err := p.Published(t.Context(), hash)
		if err != nil {
			t.Fatalf("Published = %v", err)
		}
		data, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size))
		c.Close()
		if err != nil || string(data) != "program 1.0.0" {
			t.Errorf("content = %q, %v", data, err)
		}
		path := filepath.Join(w.files, "targets", rel.SHA256)
		if err := os.WriteFile(path, []byte("program 6.6.6"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, w.now, w.now); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Published(t.Context(), hash); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("Published of a damaged file = %v, want ErrNotFound", err)
		}
		w.imported() // mends it
		if c, err = p.Published(t.Context(), hash); err != nil {
			t.Errorf("Published after another import = %v", err)
		} else {
			c.Close()
		}
		if _, err := p.Published(t.Context(), make([]byte, 32)); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("Published of what there is not = %v, want ErrNotFound", err)
		}
	})
}

func TestImportIsForRelease(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.publish()
		for _, role := range []access.Role{access.RoleSupport, access.RoleRead} {
			if _, err := w.Import(t.Context(), access.Caller{Kind: access.KindUser, ID: "u", Role: role}, w.dir, nil); !errors.Is(err, access.ErrForbidden) {
				t.Errorf("Import as %s = %v, want ErrForbidden", role, err)
			}
		}
		scoped := person("ada")
		scoped.Owners = []string{w.owner}
		if _, err := w.Import(t.Context(), scoped, w.dir, nil); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("Import by who sees one owner = %v, want ErrForbidden", err)
		}
	})
}

// What is replaced stays for a week, roots for ever.
func TestOldMetadataIsPruned(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.repo.RotateOnline()
		w.release("1.1.0")
		before := w.count(`SELECT COUNT(*) FROM rollout_metadata WHERE replaced_ms IS NOT NULL`)
		if before == 0 {
			t.Fatal("nothing was replaced, the test tests nothing")
		}
		w.now = w.now.Add(6 * 24 * time.Hour)
		w.repo.Publish()
		w.imported()
		w.now = w.now.Add(48 * time.Hour)
		w.repo.Publish()
		w.imported()
		if n := w.count(`SELECT COUNT(*) FROM rollout_metadata WHERE replaced_ms < $1`, w.now.Add(-7*24*time.Hour).UnixMilli()); n != 0 {
			t.Errorf("%d files are older than a week", n)
		}
		if n := w.count(`SELECT COUNT(*) FROM rollout_metadata WHERE role = 'root'`); n != 2 {
			t.Errorf("%d roots, want both", n)
		}
	})
}
