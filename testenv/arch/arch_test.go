package arch_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"hausmeister/testenv/arch"
)

const root = "../.."

// TestRepository is the rule book applied to this repository.
func TestRepository(t *testing.T) {
	tree, err := arch.Load(root)
	if err != nil {
		t.Fatal(err)
	}
	breaches, err := arch.Check(tree, arch.Allowed)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range breaches {
		t.Error(b)
	}
}

// TestPlanted shows that each rule fails: every archive in testdata is a small
// tree with breaches, and its comment lists exactly those. Lines "allow: where:
// reason" are the table of goroutines for that tree.
func TestPlanted(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("planted trees: %d found, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for _, f := range archive.Files {
				name := filepath.Join(dir, filepath.FromSlash(f.Name))
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, f.Data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var want []string
			allowed := arch.Exceptions{}
			for line := range strings.Lines(string(archive.Comment)) {
				line = strings.TrimSpace(line)
				if entry, ok := strings.CutPrefix(line, "allow: "); ok {
					where, reason, _ := strings.Cut(entry, ": ")
					allowed[where] = reason
				} else if line != "" && !strings.HasPrefix(line, "#") {
					want = append(want, line)
				}
			}
			tree, err := arch.Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			breaches, err := arch.Check(tree, allowed)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, b := range breaches {
				got = append(got, b.String())
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("breaches found (-want +got):\n%s", d)
			}
		})
	}
}

func TestEmptyTreeIsNoPass(t *testing.T) {
	tree, err := arch.Load(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := arch.Check(tree, nil); err == nil {
		t.Error("Check of a folder without packages passes, want an error")
	}
}

// TestGeneratedCodeIsCurrent makes proto/hmpb's code anew and compares it with
// what is checked in.
func TestGeneratedCodeIsCurrent(t *testing.T) {
	dir := t.TempDir()
	protos, err := filepath.Glob(root + "/proto/hmpb/*.proto")
	if err != nil || len(protos) == 0 {
		t.Fatalf("found %d .proto files, %v", len(protos), err)
	}
	for _, name := range protos {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "-C", root+"/testenv/tools", "run", "./protogen", dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	made, err := filepath.Glob(dir + "/*.pb.go")
	if err != nil || len(made) != len(protos) {
		t.Fatalf("made %d files from %d, %v", len(made), len(protos), err)
	}
	for _, name := range made {
		fresh, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		kept, err := os.ReadFile(filepath.Join(root, "proto/hmpb", filepath.Base(name)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(fresh, kept) {
			t.Errorf("proto/hmpb/%s is not what its .proto file gives: run make proto", filepath.Base(name))
		}
	}
}

// TestLockFileNamesNoRegistry holds that packages come from the registry that
// the machine is set to, not from the one of whoever wrote the lock file.
func TestLockFileNamesNoRegistry(t *testing.T) {
	text, err := os.ReadFile(root + "/collector/web/package-lock.json")
	if os.IsNotExist(err) {
		t.Skip("no npm packages yet")
	}
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct{ Resolved, Integrity string }
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		t.Fatal(err)
	}
	for name, p := range lock.Packages {
		if p.Resolved != "" {
			t.Errorf("package-lock.json: %s is bound to %s (npm config set omit-lockfile-registry-resolved true)", name, p.Resolved)
		}
		if name != "" && p.Integrity == "" {
			t.Errorf("package-lock.json: %s has no integrity hash", name)
		}
	}
}
