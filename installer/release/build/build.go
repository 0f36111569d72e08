// Package build makes the programs of a release so that anybody can make them
// again: from a commit, not from a working tree, in a folder that leaves no trace
// in them, twice, with nothing shared between the two but the compiler, the
// modules and the source. If one byte differs there is no build. What a person has in
// his shell or in the compiler's own file of settings decides about no byte: of both
// only where things are is taken over.
//
// Beside each program it writes what it consists of (CycloneDX, SBOM), and for all
// of them build.json: from what they were made, by which compiler with which settings,
// with which hashes. Another builder's build.json can be compared with it (Same).
//
// A crash leaves a folder without build.json, which nobody takes for a build.
package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"hausmeister/installer/release"
	"hausmeister/platform/layout"
	"hausmeister/proto/manifest"
)

// Config says what to build.
type Config struct {
	Source    string   // a clone of the repository
	Commit    string   // what git understands
	Version   string   // of the programs
	Programs  []string // folders with a main package, such as agent/cmd/hausmeister-agent
	Platforms []string // linux/amd64
	Out       string   // a new folder
	Cache     string   // the second builder's own cache, kept between builds
	// Root is put into the programs in place of the root of trust that the commit has;
	// nil = the commit's. Rootless allows that there is none at all.
	Root     []byte
	Rootless bool
	Said     func(string)
}

// Build is what build.json says.
type Build struct {
	Format   int       `json:"hausmeister_build"`
	Version  string    `json:"version"`
	Commit   string    `json:"commit"`
	Time     time.Time `json:"time"` // of the commit
	Compiler string    `json:"compiler"`
	Settings []string  `json:"settings,omitempty"` // of the compiler; earlier versions noted none
	Root     int64     `json:"root,omitempty"`     // of trust in the programs; 0 = none
	RootSum  string    `json:"root_sha256,omitempty"`
	Programs []Program `json:"programs"`
	Builders []Builder `json:"builders"`
}

// Program is one file.
type Program struct {
	File   string `json:"file"`
	Name   string `json:"name"` // on devices
	OS     string `json:"os"`
	Arch   string `json:"arch"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	SHA512 string `json:"sha512"`
	SBOM   string `json:"sbom"`
}

// Builder is one of those that made the same bytes; Sum is over all hashes.
type Builder struct {
	Name string `json:"name"`
	Sum  string `json:"sha256_of_all"`
}

// Name of build.json in its folder.
const Name = "build.json"

// Run builds twice and compares.
func Run(ctx context.Context, c Config) (Build, error) {
	if !manifest.ValidVersion(c.Version) {
		return Build{}, fmt.Errorf("%w: %.60q is no version", release.ErrRefused, c.Version)
	}
	if _, err := os.Lstat(c.Out); err == nil {
		return Build{}, fmt.Errorf("%w: %s is there already", release.ErrRefused, c.Out)
	}
	b := Build{Format: 1, Version: c.Version}
	if err := b.describe(ctx, c); err != nil {
		return b, err
	}
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return b, err
	}
	twin, err := os.MkdirTemp("", "hausmeister-build-")
	if err != nil {
		return b, err
	}
	defer os.RemoveAll(twin)
	first := builder{Config: c, name: "first", source: filepath.Join(twin, "a"), out: c.Out}
	second := builder{Config: c, name: "second", source: filepath.Join(twin, "another-place"), out: filepath.Join(twin, "out"), cache: c.Cache}
	for _, x := range []*builder{&first, &second} {
		if err := x.run(ctx, &b); err != nil {
			return b, err
		}
		b.Builders = append(b.Builders, Builder{Name: x.name, Sum: sumOf(x.made)})
	}
	if err := same(first.made, second.made); err != nil {
		return b, err
	}
	b.Programs = first.made
	for i := range b.Programs {
		if err := b.describeProgram(ctx, c, &b.Programs[i], first.source); err != nil {
			return b, err
		}
	}
	data, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return b, err
	}
	return b, layout.WriteFile(filepath.Join(c.Out, Name), append(data, '\n'), 0o644)
}

// Read a build's folder.
func Read(dir string) (Build, error) {
	data, err := os.ReadFile(filepath.Join(dir, Name))
	if err != nil {
		return Build{}, fmt.Errorf("%w: %s is no build: %w", release.ErrNotFound, dir, err)
	}
	var b Build
	if err := json.Unmarshal(data, &b); err != nil || b.Format != 1 {
		return b, fmt.Errorf("%w: %s of %s", release.ErrUnverified, Name, dir)
	}
	return b, nil
}

// Same compares with what another builder made of the same commit.
func (b Build) Same(other Build) error {
	if b.Commit != other.Commit || b.Version != other.Version {
		return fmt.Errorf("%w: they are of %s %.12s and %s %.12s", release.ErrRefused, b.Version, b.Commit, other.Version, other.Commit)
	}
	if b.RootSum != other.RootSum {
		return fmt.Errorf("%w: they have other roots of trust, %d and %d", release.ErrRefused, b.Root, other.Root)
	}
	return same(b.Programs, other.Programs)
}

func same(a, b []Program) error {
	if len(a) != len(b) {
		return fmt.Errorf("%w: %d programs and %d", release.ErrUnverified, len(a), len(b))
	}
	for i := range a {
		if a[i].File != b[i].File || a[i].SHA256 != b[i].SHA256 || a[i].SHA512 != b[i].SHA512 {
			return fmt.Errorf("%w: %s was not made the same twice: %.12s and %.12s", release.ErrUnverified, a[i].File, a[i].SHA256, b[i].SHA256)
		}
	}
	return nil
}

func sumOf(programs []Program) string {
	h := sha256.New()
	for _, p := range programs {
		fmt.Fprintf(h, "%s  %s\n", p.SHA256, p.File)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (b *Build) describe(ctx context.Context, c Config) error {
	commit, err := output(ctx, c.Source, nil, "git", "rev-parse", "--verify", "--end-of-options", c.Commit+"^{commit}")
	if err != nil {
		return err
	}
	b.Commit = commit
	epoch, err := output(ctx, c.Source, nil, "git", "show", "-s", "--format=%ct", commit)
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return err
	}
	b.Time = time.Unix(seconds, 0).UTC()
	b.Settings = settings
	b.Compiler, err = goCommand(ctx, c.Source, nil, "env", "GOVERSION")
	return err
}

// settings of the compiler, the same on every machine: programs must run on all
// processors of their kind. The second builder would see no difference, both are in one
// shell.
var settings = []string{"CGO_ENABLED=0", "GOAMD64=v1", "GOARM64=v8.0", "GOENV=off", "GOEXPERIMENT=", "GOFIPS140=off", "GOFLAGS=", "GOTOOLCHAIN=local", "GOWORK=off"}

// places are what stays as the shell or the compiler's file of settings has it: where
// modules come from and lie.
var places = []string{"GOAUTH", "GOCACHE", "GOINSECURE", "GOMODCACHE", "GONOPROXY", "GONOSUMDB", "GOPATH", "GOPRIVATE", "GOPROXY", "GOSUMDB", "GOTMPDIR", "GOVCS"}

// goCommand runs the compiler with its settings, and env beside them.
func goCommand(ctx context.Context, dir string, env []string, args ...string) (string, error) {
	said, err := output(ctx, dir, append(os.Environ(), "GOTOOLCHAIN=local"), "go", append([]string{"env", "-json"}, places...)...)
	if err != nil {
		return "", err
	}
	var at map[string]string
	if err := json.Unmarshal([]byte(said), &at); err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	all := slices.DeleteFunc(os.Environ(), func(one string) bool {
		name, _, _ := strings.Cut(one, "=")
		return name != "GOROOT" && (strings.HasPrefix(name, "GO") || strings.HasPrefix(name, "CGO_"))
	})
	for _, name := range places {
		all = append(all, name+"="+at[name])
	}
	return output(ctx, dir, slices.Concat(all, settings, env), "go", args...)
}

// builder builds once.
type builder struct {
	Config
	name, source, out, cache string
	made                     []Program
}

func (x *builder) run(ctx context.Context, b *Build) error {
	if err := export(ctx, x.Source, b.Commit, x.source); err != nil {
		return err
	}
	if err := x.trust(b); err != nil {
		return err
	}
	for _, folder := range x.Programs {
		for _, platform := range x.Platforms {
			goos, arch, ok := strings.Cut(platform, "/")
			if !ok {
				return fmt.Errorf("%w: %q is no platform", release.ErrRefused, platform)
			}
			p, err := x.program(ctx, *b, folder, goos, arch)
			if err != nil {
				return fmt.Errorf("%s for %s: %w", folder, platform, err)
			}
			x.made = append(x.made, p)
		}
	}
	slices.SortFunc(x.made, func(a, b Program) int { return strings.Compare(a.File, b.File) })
	return nil
}

// rootFiles are what programs embed, as the sources have it: one file, and two of older
// sources, of which the first is the agents'.
var rootFiles = []string{"proto/manifest/root.json", "agent/update/root.json", "collector/root.json"}

// rootLasts is how long after its commit a program's root must hold at least: who is
// installed with one that has ended takes no update until there is a newer one.
const rootLasts = 180 * 24 * time.Hour

// trust puts the root of trust into the source. An agent without one would take no
// update after this one.
func (x *builder) trust(b *Build) error {
	first := true
	for _, name := range rootFiles {
		path := filepath.Join(x.source, name)
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) { // a source without such a program
			continue
		}
		if err == nil && x.Root != nil {
			data = x.Root
			err = os.WriteFile(path, data, 0o644)
		}
		if err != nil {
			return err
		}
		agents := first
		first = false
		if len(data) == 0 {
			if agents && !x.Rootless {
				return fmt.Errorf("%w: %s is empty and no root of trust was given: agents of this build would take no updates", release.ErrRefused, name)
			}
			continue
		}
		version, _, err := manifest.CheckRoot(data, b.Time.Add(rootLasts))
		if err != nil {
			return fmt.Errorf("%w: %s is no root of trust for %s: %w", release.ErrUnverified, name, b.Version, err)
		}
		if !agents {
			continue
		}
		sum := sha256.Sum256(data)
		b.Root, b.RootSum = version, hex.EncodeToString(sum[:])
	}
	return nil
}

// export puts the commit's files into a folder, and nothing else.
func export(ctx context.Context, source, commit, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	archive := dir + ".tar"
	if _, err := output(ctx, source, nil, "git", "archive", "--format=tar", "-o", archive, commit); err != nil {
		return err
	}
	_, err := output(ctx, dir, nil, "tar", "-xf", archive)
	return errors.Join(err, os.Remove(archive))
}

func (x *builder) program(ctx context.Context, b Build, folder, goos, arch string) (Program, error) {
	name := filepath.Base(folder)
	p := Program{Name: name, OS: goos, Arch: arch, File: name + "_" + goos + "_" + arch}
	if goos == "windows" {
		p.Name, p.File = p.Name+".exe", p.File+".exe"
	}
	// The cache's key has neither folder nor time: without one of his own the
	// second builder would be handed what the first one made.
	env := []string{"GOOS=" + goos, "GOARCH=" + arch, "SOURCE_DATE_EPOCH=" + strconv.FormatInt(b.Time.Unix(), 10)}
	if x.cache != "" {
		env = append(env, "GOCACHE="+x.cache)
	}
	if x.Said != nil {
		x.Said(fmt.Sprintf("%s builder: %s", x.name, p.File))
	}
	file, err := filepath.Abs(filepath.Join(x.out, p.File))
	if err != nil {
		return p, err
	}
	_, err = goCommand(ctx, x.source, env, "build", "-trimpath", "-buildvcs=false", "-mod=readonly",
		"-ldflags", "-s -w -buildid= -X main.version="+x.Version, "-o", file, "./"+folder)
	if err != nil {
		return p, err
	}
	return p, p.hash(file)
}

func (p *Program) hash(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	a, b := sha256.New(), sha512.New()
	p.Size, err = io.Copy(io.MultiWriter(a, b), f)
	p.SHA256, p.SHA512 = hex.EncodeToString(a.Sum(nil)), hex.EncodeToString(b.Sum(nil))
	return err
}

func (b *Build) describeProgram(ctx context.Context, c Config, p *Program, source string) error {
	data, err := SBOM(ctx, filepath.Join(c.Out, p.File), *p, *b, source)
	if err != nil {
		return err
	}
	p.SBOM = p.File + ".cdx.json"
	return layout.WriteFile(filepath.Join(c.Out, p.SBOM), data, 0o644)
}

// output of a command, without the white space around it; env nil = that of the shell.
func output(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, env
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, args[0], err, strings.TrimSpace(said.String()))
	}
	return strings.TrimSpace(string(out)), nil
}
