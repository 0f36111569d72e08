package build_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"hausmeister/installer/release"
	"hausmeister/installer/release/build"
	"hausmeister/proto/manifest"
	"hausmeister/testenv/tufrepo"
)

const top = "../../.."

func goOutput(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir, cmd.Env = top, append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// schema of CycloneDX 1.6, as the library brings it.
func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	dir := filepath.Join(goOutput(t, "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go"), "schema")
	c := jsonschema.NewCompiler()
	for name, file := range map[string]string{"bom-1.6.schema.json": "bom-1.6.schema.json", "spdx.schema.json": "spdx.schema.json", "jsf-0.82.schema.json": "jsf-0.82.schemax.json"} {
		f, err := os.Open(filepath.Join(dir, file))
		if err != nil {
			f, err = os.Open(filepath.Join(dir, name))
		}
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource("http://cyclonedx.org/schema/"+name, doc); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSBOM: the agent's list of parts is one by the schema, names every module
// that the linker took, each with SHA-512 and licence, and comes out the same again.
func TestSBOM(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hausmeister-agent")
	goOutput(t, "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid= -X main.version=1.2.3", "-o", file, "./agent/cmd/hausmeister-agent")
	p := build.Program{File: "hausmeister-agent_linux_amd64", Name: "hausmeister-agent", OS: "linux", Arch: "amd64", SHA256: strings.Repeat("ab", 32), SHA512: strings.Repeat("cd", 64)}
	b := build.Build{Version: "1.2.3", Commit: strings.Repeat("0", 40), Time: time.Unix(1e9, 0).UTC()}
	data, err := build.SBOM(t.Context(), file, p, b, top)
	if err != nil {
		t.Fatal(err)
	}
	again, err := build.SBOM(t.Context(), file, p, b, top)
	if err != nil || !bytes.Equal(data, again) {
		t.Errorf("a second time it is another, %v", err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	s := schema(t)
	if err := s.Validate(doc); err != nil {
		t.Errorf("by the schema: %v", err)
	}
	if err := s.Validate(map[string]any{"bomFormat": "Other"}); err == nil {
		t.Error("the schema takes anything")
	}
	var bom struct {
		SpecVersion string
		Components  []struct {
			Name     string
			Hashes   []struct{ Alg, Content string }
			Licenses []struct {
				License struct{ ID, Name string }
			}
		}
	}
	if err := json.Unmarshal(data, &bom); err != nil {
		t.Fatal(err)
	}
	if bom.SpecVersion != "1.6" {
		t.Errorf("specVersion %s", bom.SpecVersion)
	}
	names := map[string]bool{}
	for _, c := range bom.Components {
		names[c.Name] = true
		if len(c.Licenses) == 0 {
			t.Errorf("%s has no licence", c.Name)
		}
		sha512 := false
		for _, h := range c.Hashes {
			sha512 = sha512 || h.Alg == "SHA-512" && len(h.Content) == 128
		}
		if !sha512 && c.Name != "std" {
			t.Errorf("%s has no SHA-512", c.Name)
		}
		for _, l := range c.Licenses {
			if l.License.ID == "" {
				t.Logf("%s: %s", c.Name, l.License.Name)
			}
		}
	}
	said := goOutput(t, "version", "-m", file)
	for line := range strings.Lines(said) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == "dep" && !names[f[1]] {
			t.Errorf("%s is in the program, but not in the list", f[1])
		}
	}
	if len(bom.Components) < 10 {
		t.Errorf("only %d parts", len(bom.Components))
	}
}

// TestBuildInAnyShell: what a person has set for his own work changes no byte.
func TestBuildInAnyShell(t *testing.T) {
	source := tiny(t, "package main\n\nvar version string\n\nfunc main() { println(version) }\n")
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	made := func() build.Build {
		t.Helper()
		b, err := build.Run(t.Context(), build.Config{
			Source: source, Commit: "HEAD", Version: "1.2.3", Programs: []string{"cmd/hausmeister-agent"}, Platforms: []string{"linux/amd64", "linux/arm64"},
			Out: filepath.Join(t.TempDir(), "out"), Cache: filepath.Join(cache, "hausmeister-release", "second-builder"),
		})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	plain := made()
	if said := strings.Join(plain.Settings, " "); !strings.Contains(said, "GOAMD64=v1 GOARM64=v8.0") {
		t.Errorf("build.json has as settings %q, want the processors among them", said)
	}
	file := filepath.Join(t.TempDir(), "env") // as go env -w writes it
	if err := os.WriteFile(file, []byte("GOFLAGS=-tags=mine -gcflags=-N\nGOARM64=v9.0\nGOPROXY=off\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"GOAMD64": "v3", "GOEXPERIMENT": "loopvar", "GOENV": file, "GO_EXTLINK_ENABLED": "1", "CGO_ENABLED": "1"} {
		t.Setenv(name, value)
	}
	if err := plain.Same(made()); err != nil {
		t.Errorf("in a shell of somebody's own: %v", err)
	}
}

// TestBuildNeedsARoot: agents that take no updates are not built by oversight, and
// the root that was given is in the program.
func TestBuildNeedsARoot(t *testing.T) {
	source := rooted(t, "proto/manifest")
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	run := func(change func(*build.Config)) (build.Build, string, error) {
		cfg := build.Config{
			Source: source, Commit: "HEAD", Version: "1.2.3", Programs: []string{"cmd/hausmeister-agent"}, Platforms: []string{"linux/amd64"},
			Out: filepath.Join(t.TempDir(), "out"), Cache: filepath.Join(cache, "hausmeister-release", "second-builder"),
		}
		change(&cfg)
		b, err := build.Run(t.Context(), cfg)
		if err != nil {
			return b, "", err
		}
		said, err := exec.CommandContext(t.Context(), filepath.Join(cfg.Out, b.Programs[0].File)).CombinedOutput()
		return b, strings.TrimSpace(string(said)), err
	}
	if _, _, err := run(func(*build.Config) {}); !errors.Is(err, release.ErrRefused) {
		t.Errorf("without a root: %v, want ErrRefused", err)
	}
	if _, _, err := run(func(c *build.Config) { c.Root = []byte("{}") }); !errors.Is(err, release.ErrUnverified) {
		t.Errorf("with a root that is none: %v, want ErrUnverified", err)
	}
	// A root that its own keys have not signed, or that ends soon, is none to build with.
	fleet := tufrepo.NewFleet(time.Now)
	unsigned := bytes.Replace(fleet.Root(), []byte(`"sig":"`), []byte(`"sig":"00`), 3)
	if _, _, err := run(func(c *build.Config) { c.Root = unsigned }); !errors.Is(err, manifest.ErrRefused) || !errors.Is(err, release.ErrUnverified) {
		t.Errorf("with an unsigned root: %v, want ErrUnverified", err)
	}
	old := tufrepo.NewFleet(func() time.Time { return time.Now().Add(-3*365*24*time.Hour + 100*24*time.Hour) }).Root()
	if _, _, err := run(func(c *build.Config) { c.Root = old }); !errors.Is(err, manifest.ErrStale) {
		t.Errorf("with a root that ends in 100 days: %v, want ErrStale", err)
	}
	without, said, err := run(func(c *build.Config) { c.Rootless = true })
	if err != nil || without.Root != 0 || said != "" {
		t.Errorf("without on purpose: root %d, %q, %v", without.Root, said, err)
	}
	root := fleet.Root()
	with, said, err := run(func(c *build.Config) { c.Root = root })
	if err != nil || with.Root != 1 || said != strings.TrimSpace(string(root)) {
		t.Errorf("with one: root %d, %.40q, %v", with.Root, said, err)
	}
	if err := with.Same(without); !errors.Is(err, release.ErrRefused) {
		t.Errorf("with and without are the same: %v", err)
	}
	source = rooted(t, "agent/update") // where older sources have it
	if _, _, err := run(func(*build.Config) {}); !errors.Is(err, release.ErrRefused) {
		t.Errorf("an older source without a root: %v, want ErrRefused", err)
	}
	older, said, err := run(func(c *build.Config) { c.Root = root })
	if err != nil || older.Root != 1 || said != strings.TrimSpace(string(root)) {
		t.Errorf("an older source: root %d, %.40q, %v", older.Root, said, err)
	}
}

// rooted is a source with one small program that says the root in this folder.
func rooted(t *testing.T, folder string) string {
	t.Helper()
	source := tiny(t, "package main\n\nimport root \"tiny/"+folder+"\"\n\nfunc main() { println(root.Root) }\n")
	for name, text := range map[string]string{"root.json": "", "root.go": "package root\n\nimport _ \"embed\"\n\n//go:embed root.json\nvar Root string\n"} {
		file := filepath.Join(source, folder, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"add", "-A"}, {"-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "y"}} {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = source
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	return source
}

// tiny is a source with one small program, in git.
func tiny(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string]string{"go.mod": "module tiny\n\ngo 1.26\n", "cmd/hausmeister-agent/main.go": text, "LICENSE": "Apache License Version 2.0, January 2004"} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "-A"}, {"-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "x"}} {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	return dir
}

// TestBuild: two builders, the same bytes; a change that was not committed is in
// neither; what another builder made of another commit is not compared.
func TestBuild(t *testing.T) {
	source := tiny(t, "package main\n\nvar version string\n\nfunc main() { println(version) }\n")
	if err := os.WriteFile(filepath.Join(source, "cmd/hausmeister-agent/main.go"), []byte("not Go"), 0o644); err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	cfg := build.Config{
		Source: source, Commit: "HEAD", Version: "1.2.3", Programs: []string{"cmd/hausmeister-agent"}, Platforms: []string{"linux/amd64"},
		Out: filepath.Join(t.TempDir(), "out"), Cache: filepath.Join(cache, "hausmeister-release", "second-builder"),
	}
	b, err := build.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Builders) != 2 || b.Builders[0].Sum != b.Builders[1].Sum || len(b.Programs) != 1 {
		t.Fatalf("build: %+v", b)
	}
	read, err := build.Read(cfg.Out)
	if err != nil || read.Same(b) != nil {
		t.Errorf("build.json: %v, %v", err, read.Same(b))
	}
	if _, err := os.Stat(filepath.Join(cfg.Out, b.Programs[0].SBOM)); err != nil {
		t.Error(err)
	}
	if out, err := exec.CommandContext(t.Context(), filepath.Join(cfg.Out, b.Programs[0].File)).CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "1.2.3" {
		t.Errorf("the program says %q, %v", out, err)
	}
	if _, err := build.Run(t.Context(), cfg); !errors.Is(err, release.ErrRefused) {
		t.Errorf("into the same folder: %v, want ErrRefused", err)
	}
	other := read
	other.Programs = append([]build.Program(nil), read.Programs...)
	other.Programs[0].SHA512 = strings.Repeat("0", 128)
	if err := read.Same(other); !errors.Is(err, release.ErrUnverified) {
		t.Errorf("other bytes: %v, want ErrUnverified", err)
	}
	other.Commit = strings.Repeat("1", 40)
	if err := read.Same(other); !errors.Is(err, release.ErrRefused) {
		t.Errorf("another commit: %v, want ErrRefused", err)
	}
}
