package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hausmeister/installer/release/build"
	"hausmeister/proto/manifest"
	"hausmeister/proto/manifest/draft"
	"hausmeister/testenv/need"
	"hausmeister/testenv/tufrepo"
)

// builds makes the folder of a build for two systems, which trusts this root.
func (d *desk) builds(version string, root int64) {
	d.t.Helper()
	b := build.Build{Format: 1, Version: version, Commit: strings.Repeat("0", 40), Root: root}
	dir := filepath.Join(d.dir, "build", version)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		d.t.Fatal(err)
	}
	for _, product := range []string{"agent", "launcher"} {
		for _, arch := range []string{"amd64", "arm64"} {
			name := "hausmeister-" + product
			data := []byte(name + " " + version + " for " + arch)
			sum := sha256.Sum256(data)
			p := build.Program{File: name + "_linux_" + arch, Name: name, OS: "linux", Arch: arch, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
			if err := os.WriteFile(filepath.Join(dir, p.File), data, 0o755); err != nil {
				d.t.Fatal(err)
			}
			b.Programs = append(b.Programs, p)
		}
	}
	text, err := json.Marshal(b)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, build.Name), text, 0o644); err != nil {
		d.t.Fatal(err)
	}
}

// published is a desk with a repository that has versions of the agent and the launcher.
func published(t *testing.T, versions map[string][]string) *desk {
	t.Helper()
	d := newDesk(t)
	fleet := tufrepo.NewFleet(func() time.Time { return d.now })
	for product, list := range versions {
		role := map[string]string{manifest.ProductAgent: manifest.RoleStable, manifest.ProductLauncher: manifest.RoleLauncher}[product]
		for _, version := range list {
			for _, arch := range []string{"amd64", "arm64"} {
				fleet.Release(role, manifest.Release{Product: product, Version: version, Arch: arch}, []byte(product+" "+version+" for "+arch))
			}
		}
	}
	if err := fleet.WriteTo(filepath.Join(d.dir, "repo")); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestBlockVersion: one command has a version blocked for all systems, also a
// launcher's, and no other.
func TestBlockVersion(t *testing.T) {
	d := published(t, map[string][]string{manifest.ProductAgent: {"1.3.0"}, manifest.ProductLauncher: {"1.2.0", "1.3.0"}})
	d.must(exitNotFound, "block launcher 1.4.0 --reason=as_asked")
	d.must(exitRefused, "block cook 1.3.0 --reason=as_asked")
	d.must(exitRefused, "block 1.3.0 --reason=as_asked") // no sha256
	if got := d.must(0, "block launcher 1.3.0 --reason=does_not_come_up"); strings.Count(got, "blocked") == 0 {
		t.Errorf("block says %s", got)
	}
	d.must(exitRefused, "block launcher 1.3.0 --reason=again")
	data, err := os.ReadFile(filepath.Join(d.dir, "drafts/targets.json"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := draft.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := f.Rules()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, arch := range []string{"amd64", "arm64"} {
		sum := sha256.Sum256([]byte("launcher 1.3.0 for " + arch))
		want = append(want, hex.EncodeToString(sum[:]))
	}
	slices.Sort(want)
	if !slices.Equal(rules.Blocked, want) {
		t.Errorf("blocked are %v, want %v", rules.Blocked, want)
	}
	if got := d.must(0, "audit verify"); !strings.Contains(got, "1 entries") {
		t.Errorf("audit verify: %s", got)
	}
}

// TestAttack07StageRefusesAnOlderRoot: no program is released with an older root of
// trust than is published; the same programs with the newest one are.
func TestAttack07StageRefusesAnOlderRoot(t *testing.T) {
	need.Programs(t, "zstd")
	d := newDesk(t)
	fleet := tufrepo.NewFleet(func() time.Time { return d.now })
	fleet.RotateOnline()
	if err := fleet.WriteTo(filepath.Join(d.dir, "repo")); err != nil {
		t.Fatal(err)
	}
	const stage = "stage DIR/build/1.0.0 --role stable --reason=as_asked"
	d.builds("1.0.0", 1)
	if got := d.must(exitRefused, stage); !strings.Contains(got, "trusts root 1, published is 2") {
		t.Errorf("stage says %s", got)
	}
	for _, left := range []string{"drafts", "record"} {
		if _, err := os.Stat(filepath.Join(d.dir, left)); !os.IsNotExist(err) {
			t.Errorf("a refused build leaves %s: %v", left, err)
		}
	}
	d.builds("1.0.0", 2)
	d.must(0, stage)
	if _, err := os.Stat(filepath.Join(d.dir, "drafts/stable.json")); err != nil {
		t.Error(err)
	}
}
