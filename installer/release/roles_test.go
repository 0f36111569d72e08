package release_test

import (
	"crypto/sha512"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hausmeister/installer/release"
	"hausmeister/proto/manifest"
)

// TestOtherRoles: what is urgent, the launcher's own train, and files of policy
// each go by their own role and its own number of persons.
func TestOtherRoles(t *testing.T) {
	w := newWorld(t)
	w.release("1.0.0")
	urgent := w.staging("emergency", "1.0.1")
	urgent.Release.Urgent = true
	files, err := urgent.Stage(t.Context())
	w.must(err)
	if !slices.ContainsFunc(files, func(f release.Staged) bool { return f.Kind == "delta" && f.From == "1.0.0" }) {
		t.Errorf("an urgent release has no patch from what devices have: %v", files)
	}
	w.sign("emergency", "jana", "karl")
	if err := w.publish(); !errors.Is(err, release.ErrRefused) {
		t.Errorf("urgent with two persons: %v, want ErrRefused", err)
	}
	w.sign("emergency", "lena")
	w.must(w.publish())

	launcher := w.staging("launcher", "0.9.0")
	launcher.Release.Product = manifest.ProductLauncher
	for i := range launcher.Programs {
		launcher.Programs[i].Name = strings.Replace(launcher.Programs[i].Name, "agent", "launcher", 1)
	}
	_, err = launcher.Stage(t.Context())
	w.must(err)
	w.sign("launcher", "jana", "karl", "lena")
	w.must(w.publish())

	policy := release.Staging{Drafts: w.drafts(), Role: "policy", Release: manifest.Release{Ramp: manifest.Ramp{T0MS: w.now.UnixMilli(), PermillePerHour: 50}}}
	file := w.path("policy.json")
	for _, bad := range []string{`{"from":"07:30"}`, `{"hausmeister_policy":1,"keep_alive_s":3600}`, `{"hausmeister_policy":2}`} {
		w.must(os.WriteFile(file, []byte(bad), 0o644))
		if _, err := policy.SetPolicy("agent", "1.0.0", "", file); !errors.Is(err, release.ErrRefused) {
			t.Errorf("policy %s: %v, want ErrRefused", bad, err)
		}
	}
	w.must(os.WriteFile(file, []byte(`{"hausmeister_policy":1,"keep_alive_s":30}`), 0o644))
	if _, err := policy.SetPolicy("lessons", "1.0.0", "", file); !errors.Is(err, release.ErrRefused) {
		t.Errorf("a policy that nobody reads: %v, want ErrRefused", err)
	}
	_, err = policy.SetPolicy("agent", "1.0.0", "", file)
	w.must(err)
	w.sign("policy", "karl", "lena")
	w.must(w.publish())
	policy.Drafts = w.drafts()
	if _, err := policy.SetPolicy("agent", "1.0.0", "", file); !errors.Is(err, release.ErrRefused) {
		t.Errorf("the same policy again: %v, want ErrRefused", err)
	}

	targets, _, err := w.device()
	w.must(err)
	for _, want := range []string{"emergency/stable/1.0.1/linux-amd64/hausmeister-agent", "launcher/stable/0.9.0/windows-amd64/hausmeister-launcher.exe", "policy/agent/1.0.0"} {
		if !slices.ContainsFunc(targets, func(x manifest.Target) bool { return x.Path == want }) {
			t.Errorf("a device does not find %s", want)
		}
	}
	// A file of one role is none of another's, whoever holds both.
	raw := w.repo().Raw["emergency"]
	w.must(os.WriteFile(w.path("drafts/canary.json"), raw, 0o644))
	if _, err := w.drafts().Read("canary"); !errors.Is(err, release.ErrUnverified) {
		t.Errorf("emergency's file as canary's: %v, want ErrUnverified", err)
	}
}

// TestAttack07EmbeddedRoot: a program is not released with an older root than is
// published, nor with another of the same number.
func TestAttack07EmbeddedRoot(t *testing.T) {
	w := newWorld(t)
	w.must(w.repo().CheckEmbedded(w.root1))
	other := newWorld(t)
	if err := w.repo().CheckEmbedded(other.root1); !errors.Is(err, release.ErrUnverified) {
		t.Errorf("another fleet's root 1: %v, want ErrUnverified", err)
	}
	w.rotateOnline()
	if err := w.repo().CheckEmbedded(w.root1); !errors.Is(err, release.ErrRefused) {
		t.Errorf("root 1 when 2 is published: %v, want ErrRefused", err)
	}
	w.must(w.repo().CheckEmbedded(w.repo().Raw["root"]))
}

// TestSBOMsArePublished: what a program consists of is signed beside it, survives a
// way back, and cannot be another program's.
func TestSBOMsArePublished(t *testing.T) {
	w := newWorld(t)
	bom := func(program []byte) string {
		sum := sha512.Sum512(program)
		file := filepath.Join(t.TempDir(), "x.cdx.json")
		text := fmt.Sprintf(`{"bomFormat": "CycloneDX", "specVersion": "1.6", "metadata": {"component": {"hashes": [{"alg": "SHA-512", "content": "%x"}]}}}`, sum)
		w.must(os.WriteFile(file, []byte(text), 0o644))
		return file
	}
	with := func(version string) release.Staging {
		s := w.staging("stable", version)
		for i, p := range s.Programs {
			s.Programs[i].SBOM = bom(bytesOf(version, p.OS+"/"+p.Arch))
		}
		return s
	}
	wrong := with("1.0.0")
	wrong.Programs[0].SBOM = wrong.Programs[1].SBOM
	if _, err := wrong.Stage(t.Context()); !errors.Is(err, release.ErrUnverified) {
		t.Errorf("Stage with another program's SBOM = %v, want ErrUnverified", err)
	}
	wrong.Programs[0].SBOM = wrong.Programs[0].File
	if _, err := wrong.Stage(t.Context()); !errors.Is(err, release.ErrUnverified) {
		t.Errorf("Stage with an SBOM that is none = %v, want ErrUnverified", err)
	}
	published := func() (n int) {
		w.sign("stable", "jana", "karl")
		w.must(w.publish())
		all, _, err := w.device()
		w.must(err)
		for _, x := range all {
			r, err := x.Release()
			if err != nil {
				continue
			}
			i := slices.IndexFunc(all, func(o manifest.Target) bool { return o.Path == r.SBOM })
			if r.SBOM != r.Path+".cdx.json" || i < 0 {
				t.Errorf("%s names %q", r.Path, r.SBOM)
				continue
			}
			w.must(release.CheckTarget(release.TargetFile(w.path("repo"), all[i]), all[i]))
			n++
		}
		return n
	}
	for i, version := range []string{"1.0.0", "1.1.0"} {
		_, err := with(version).Stage(t.Context())
		w.must(err)
		if n := published(); n != 2*(i+1) {
			t.Errorf("with %s, %d programs with SBOMs", version, n)
		}
	}
	s := w.staging("stable", "1.0.0")
	_, err := s.Rollback(t.Context(), "1.0.0", "1.1.0")
	w.must(err)
	if n := published(); n != 4 {
		t.Errorf("after a way back, %d programs with SBOMs", n)
	}
}
