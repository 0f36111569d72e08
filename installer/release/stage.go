package release

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
	"math/bits"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"hausmeister/platform/layout"
	"hausmeister/proto/manifest"
	"hausmeister/proto/manifest/draft"
)

// Program is one file to release, built for one system.
type Program struct {
	File   string // where it lies
	Name   string // what it is called on devices
	OS     string
	Arch   string
	SHA256 string // what the build says; empty = not said
	SBOM   string // file that says what it consists of, CycloneDX; empty = none
}

// Staging makes a role's draft out of programs: the program itself, the same
// packed, what it consists of, and patches from the last versions.
type Staging struct {
	Drafts   *Drafts
	Role     string
	Release  manifest.Release // all but OS, Arch and what follows from the bytes
	Programs []Program
	Bases    int // patches from so many versions before
	Keep     int // versions that stay in the role, this one included
	Life     time.Duration
	Zstd     string // the reference tool
	Said     func(string)
}

// Staged is a file that was made.
type Staged struct {
	Path   string `json:"path"`
	Kind   string `json:"kind"` // program, packed, sbom, delta
	From   string `json:"from,omitempty"`
	Length int64  `json:"length"`
	SHA256 string `json:"sha256"`
}

// Stage edits the draft. What fails leaves the draft as it was; files that were
// made lie in drafts/targets and are named by nobody.
func (s Staging) Stage(ctx context.Context) ([]Staged, error) {
	if len(s.Programs) < 2 {
		return nil, refuse("%d programs: a release is for two systems or more", len(s.Programs))
	}
	published, err := Releases(s.Drafts.Repo.Files[s.Role], s.Role)
	if err != nil {
		return nil, err
	}
	if err := s.checkVersion(published); err != nil {
		return nil, err
	}
	var made []Staged
	var targets []stagedTarget
	for _, p := range s.Programs {
		files, err := s.program(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("%s for %s/%s: %w", p.File, p.OS, p.Arch, err)
		}
		for _, f := range files {
			made = append(made, f.Staged)
		}
		targets = append(targets, files...)
	}
	return made, s.Drafts.edit(s.Role, func(f *draft.File) error {
		if s.Life > 0 {
			f.SetExpires(s.Drafts.Now().Add(s.Life))
		}
		if err := s.prune(f); err != nil {
			return err
		}
		for _, t := range targets {
			var custom any
			if t.release != nil {
				custom = t.release
			}
			if err := f.SetTarget(t.Path, t.Length, t.SHA256, custom); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s Staging) checkVersion(published []manifest.Release) error {
	if s.Release.RollbackOf != "" {
		return nil
	}
	for _, r := range published {
		if r.Channel == s.Release.Channel && manifest.Compare(s.Release.Version, r.Version) <= 0 {
			return refuse("%s is not above %s, which %s has published", s.Release.Version, r.Version, s.Role)
		}
	}
	return nil
}

// prune takes away all versions but the newest few, and an earlier draft of this one.
func (s Staging) prune(f *draft.File) error {
	releases, err := Releases(f, s.Role)
	if err != nil {
		return err
	}
	var versions []string
	for _, r := range releases {
		if r.Version != s.Release.Version && !slices.Contains(versions, r.Version) {
			versions = append(versions, r.Version)
		}
	}
	gone := []string{s.Release.Version}
	if n := len(versions) - (s.Keep - 1); s.Keep > 0 && n > 0 {
		gone = append(gone, versions[:n]...)
	}
	for _, t := range f.Targets(s.Role) {
		part := strings.Split(t.Path, "/")
		if len(part) == 5 && part[1] == s.Release.Channel && slices.Contains(gone, part[2]) {
			if err := f.RemoveTarget(t.Path); err != nil {
				return err
			}
		}
	}
	return nil
}

type stagedTarget struct {
	Staged
	release *manifest.Release
}

func (s Staging) program(ctx context.Context, p Program) ([]stagedTarget, error) {
	data, err := os.ReadFile(p.File)
	if err != nil {
		return nil, err
	}
	r := s.Release
	r.Role = s.Role
	r.OS, r.Arch, r.Length, r.SHA256 = p.OS, p.Arch, int64(len(data)), sumHex(data)
	if p.SHA256 != "" && p.SHA256 != r.SHA256 {
		return nil, unverified("it is not the file that was built")
	}
	r.Path = r.Dir() + p.Name
	if err := r.Valid(); err != nil { // before the work, and again with what it made
		return nil, refuse("%w", err)
	}
	main, err := s.keep(Staged{Path: r.Path, Kind: "program"}, data)
	if err != nil {
		return nil, err
	}
	packed, err := s.pack(ctx, p.File, "", data)
	if err != nil {
		return nil, err
	}
	full, err := s.keep(Staged{Path: r.Path + ".zst", Kind: "packed"}, packed)
	if err != nil {
		return nil, err
	}
	r.Packed = full.Path
	out := []stagedTarget{{Staged: full}}
	if p.SBOM != "" {
		sbom, err := s.sbom(p.SBOM, r, data)
		if err != nil {
			return nil, err
		}
		r.SBOM = sbom.Path
		out = append(out, stagedTarget{Staged: sbom})
	}
	bases, err := s.bases(r)
	if err != nil {
		return nil, err
	}
	for _, b := range bases {
		delta, err := s.delta(ctx, p.File, b, data, r)
		if err != nil {
			return nil, fmt.Errorf("patch from %s: %w", b.Version, err)
		}
		if delta.Length >= full.Length {
			continue // whoever has that version fetches the whole
		}
		r.Deltas = append(r.Deltas, manifest.Delta{FromSHA256: b.SHA256, Target: delta.Path})
		out = append(out, stagedTarget{Staged: delta})
	}
	if err := r.Valid(); err != nil {
		return nil, refuse("%w", err)
	}
	return append([]stagedTarget{{Staged: main, release: &r}}, out...), nil
}

// maxSBOM bounds the file; ours have 60 kB.
const maxSBOM = 8 << 20

// sbom keeps what a program consists of, if that is said of these bytes.
func (s Staging) sbom(file string, r manifest.Release, program []byte) (Staged, error) {
	data, err := readFile(file, maxSBOM)
	if err != nil {
		return Staged{}, err
	}
	var bom struct {
		Format   string `json:"bomFormat"`
		Metadata struct {
			Component struct {
				Hashes []struct{ Alg, Content string }
			}
		}
	}
	if err := json.Unmarshal(data, &bom); err != nil || bom.Format != "CycloneDX" {
		return Staged{}, unverified("%s is no CycloneDX: %w", file, errors.Join(err))
	}
	sum := sha512.Sum512(program)
	for _, h := range bom.Metadata.Component.Hashes {
		if h.Alg == "SHA-512" && h.Content == hex.EncodeToString(sum[:]) {
			return s.keep(Staged{Path: r.Path + ".cdx.json", Kind: "sbom"}, data)
		}
	}
	return Staged{}, unverified("%s is about another program", file)
}

// bases are the programs that devices have: the newest versions of the channel,
// and for what is urgent also those that were published as usual.
func (s Staging) bases(r manifest.Release) ([]manifest.Release, error) {
	roles := []string{s.Role}
	if s.Role == manifest.RoleEmergency {
		roles = append(roles, r.Channel)
	}
	var all []manifest.Release
	for _, role := range roles {
		some, err := Releases(s.Drafts.Repo.Files[role], role)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	all = slices.DeleteFunc(all, func(b manifest.Release) bool {
		return b.Product != r.Product || b.Channel != r.Channel || b.OS != r.OS || b.Arch != r.Arch || b.SHA256 == r.SHA256 || b.Version == r.Version
	})
	slices.SortStableFunc(all, func(a, b manifest.Release) int { return manifest.Compare(b.Version, a.Version) })
	all = slices.CompactFunc(all, func(a, b manifest.Release) bool { return a.SHA256 == b.SHA256 })
	return all[:min(len(all), s.Bases)], nil
}

func (s Staging) delta(ctx context.Context, file string, b manifest.Release, data []byte, r manifest.Release) (Staged, error) {
	base := TargetFile(s.Drafts.Repo.Dir, manifest.Target{Path: b.Path, SHA256: b.SHA256})
	if err := CheckTarget(base, manifest.Target{Path: b.Path, SHA256: b.SHA256, Length: b.Length}); err != nil {
		return Staged{}, err
	}
	old, err := os.ReadFile(base)
	if err != nil {
		return Staged{}, err
	}
	patch, err := s.packed(ctx, file, base, data, old)
	if err != nil {
		return Staged{}, err
	}
	name := fmt.Sprintf("%s.from-%s.zst", path.Base(r.Path), b.SHA256[:16])
	return s.keep(Staged{Path: r.Dir() + name, Kind: "delta", From: b.Version}, patch)
}

func (s Staging) pack(ctx context.Context, file, base string, data []byte) ([]byte, error) {
	return s.packed(ctx, file, base, data, nil)
}

// packed runs the reference tool and unpacks what it made with the decoder that
// devices have, under their bound of memory.
func (s Staging) packed(ctx context.Context, file, base string, data, old []byte) ([]byte, error) {
	args := []string{"-19", "--single-thread", "--no-progress", "-q", "-c"}
	if base != "" {
		args = append(args, "--patch-from="+base)
	}
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, s.Zstd, append(args, "--", file)...)
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", s.Zstd, err, oneLine(said.String()))
	}
	back, err := unpack(out.Bytes(), old, int64(len(data)))
	if err != nil || !bytes.Equal(back, data) {
		return nil, unverified("what %s made does not give the program back: %w", s.Zstd, errors.Join(err))
	}
	return out.Bytes(), nil
}

// unpack as agent/update/fetch does.
func unpack(packed, base []byte, length int64) ([]byte, error) {
	window := uint64(max(8<<20, int64(1)<<bits.Len64(uint64(length)+uint64(len(base)))))
	options := []zstd.DOption{
		zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(uint64(max(length, 1)) + window), zstd.WithDecoderMaxWindow(min(window, 512<<20)),
	}
	if base != nil {
		options = append(options, zstd.WithDecoderDictRaw(0, base))
	}
	d, err := zstd.NewReader(bytes.NewReader(packed), options...)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return io.ReadAll(io.LimitReader(d, length+1))
}

// keep writes a file of the drafts under the name that its target has.
func (s Staging) keep(f Staged, data []byte) (Staged, error) {
	f.Length, f.SHA256 = int64(len(data)), sumHex(data)
	name := TargetFile(s.Drafts.Dir, manifest.Target{Path: f.Path, SHA256: f.SHA256})
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return f, err
	}
	if s.Said != nil {
		from := ""
		if f.From != "" {
			from = " from " + f.From
		}
		s.Said(fmt.Sprintf("%-8s %12s bytes  %s%s", f.Kind, grouped(f.Length), f.Path, from))
	}
	return f, layout.WriteFile(name, data, 0o644)
}

func sumHex(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}

// Rollback stages a version that was published before once more, as what devices
// of the newer one go back to.
func (s Staging) Rollback(ctx context.Context, version, of string) ([]Staged, error) {
	if manifest.Compare(version, of) >= 0 {
		return nil, refuse("%s is not before %s", version, of)
	}
	releases, err := Releases(s.Drafts.Repo.Files[s.Role], s.Role)
	if err != nil {
		return nil, err
	}
	s.Programs = nil
	for _, r := range releases {
		if r.Version != version || r.Product != s.Release.Product || r.Channel != s.Release.Channel {
			continue
		}
		file := TargetFile(s.Drafts.Repo.Dir, manifest.Target{Path: r.Path, SHA256: r.SHA256})
		p := Program{File: file, Name: path.Base(r.Path), OS: r.OS, Arch: r.Arch, SHA256: r.SHA256}
		for _, t := range s.Drafts.Repo.Files[s.Role].Targets(s.Role) {
			if t.Path == r.SBOM {
				p.SBOM = TargetFile(s.Drafts.Repo.Dir, t)
			}
		}
		s.Programs = append(s.Programs, p)
		s.Release.Commit = r.Commit
	}
	if len(s.Programs) == 0 {
		return nil, fmt.Errorf("%w: %s has no %s of %s", ErrNotFound, s.Role, s.Release.Product, version)
	}
	s.Release.Version, s.Release.RollbackOf = version, of
	return s.Stage(ctx)
}

// SetPolicy vouches for a file of settings under policy/NAME/VERSION, which devices
// take by the ramp of s.Release. One that devices of this version would refuse is
// refused here.
func (s Staging) SetPolicy(name, version, agentMin, file string) (Staged, error) {
	r := manifest.PolicyRelease{Policy: name, Version: version, AgentMin: agentMin, Ramp: s.Release.Ramp}
	if err := r.Valid(); err != nil {
		return Staged{}, refuse("policy %.60q %.60q: %w", name, version, err)
	}
	if name != manifest.PolicyAgent {
		return Staged{}, refuse("nobody reads a policy %q, only %q", name, manifest.PolicyAgent)
	}
	data, err := readFile(file, maxJSON)
	if err != nil {
		return Staged{}, err
	}
	if _, err := manifest.ParsePolicy(data); err != nil {
		return Staged{}, refuse("%s: %w", file, err)
	}
	if old := s.Drafts.Repo.Files[manifest.RolePolicy]; old != nil {
		for _, t := range old.Targets(manifest.RolePolicy) {
			if part := strings.Split(t.Path, "/"); part[1] == name && manifest.Compare(version, part[2]) <= 0 {
				return Staged{}, refuse("%s is not above %s, which is published", version, part[2])
			}
		}
	}
	out, err := s.keep(Staged{Path: manifest.PolicyPath(name, version), Kind: "policy"}, data)
	if err != nil {
		return out, err
	}
	return out, s.Drafts.edit(manifest.RolePolicy, func(f *draft.File) error {
		return f.SetTarget(out.Path, out.Length, out.SHA256, r)
	})
}
