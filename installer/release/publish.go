package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"hausmeister/platform/layout"
	"hausmeister/proto/manifest"
	"hausmeister/proto/manifest/draft"
)

// Online is the process that signs snapshot and timestamp and keeps the
// repository's metadata. It takes new files by role, verifies them itself, and
// has published them when it returns.
type Online interface {
	Publish(ctx context.Context, files map[string][]byte) error
}

// Publication is what goes out in one step.
type Publication struct {
	Drafts    *Drafts
	Roles     []string // nil = all drafts
	Platforms []string // that each release must have
	Online    Online
	Now       func() time.Time
}

// Ready is a publication that met every rule.
type Ready struct {
	Files map[string][]byte // by role
	Diffs []Diff
	Stand []Diff // of drafts that are published as they are: the first root, which the operator carried
	Bytes int64  // of new files

	copies []manifest.Target
	done   []string // drafts that are published as they are
}

// Check holds all rules; nothing is changed.
func (p Publication) Check() (Ready, error) {
	out := Ready{Files: map[string][]byte{}}
	roles := p.Roles
	if roles == nil {
		roles = p.Drafts.Roles()
	}
	if len(roles) == 0 {
		return out, fmt.Errorf("%w: there is no draft", ErrNotFound)
	}
	repo := p.Drafts.Repo
	next := map[string]*draft.File{}
	for role, f := range repo.Files {
		next[role] = f
	}
	for _, role := range roles {
		f, err := p.Drafts.Read(role)
		if err != nil {
			return out, err
		}
		next[role] = f
		if data, err := f.Bytes(); err == nil && bytes.Equal(data, repo.Raw[role]) {
			diff, err := repo.Compare(role, f)
			if err != nil {
				return out, err
			}
			out.done, out.Stand = append(out.done, role), append(out.Stand, diff)
		}
	}
	for _, role := range roles {
		if slices.Contains(out.done, role) {
			continue
		}
		if err := p.checkRole(role, next, &out); err != nil {
			return out, err
		}
	}
	return out, complete(next)
}

// complete: devices find every role that root and targets name, or nothing at all.
func complete(next map[string]*draft.File) error {
	if next[manifest.Root] == nil {
		return refuse("there is no root")
	}
	if next[manifest.Targets] == nil {
		return nil // the root alone; nothing follows it yet
	}
	if err := approveAll(next); err != nil {
		return err
	}
	for _, d := range next[manifest.Targets].Delegations() {
		if next[d.Role] == nil {
			return refuse("targets names %s, which has neither a draft nor was it published", d.Role)
		}
	}
	return nil
}

// approveAll: a key that leaves takes its signatures with it, also from roles
// that are published already.
func approveAll(next map[string]*draft.File) error {
	for _, role := range append([]string{manifest.Targets}, releaseRoles()...) {
		if f := next[role]; f != nil {
			if err := Approve(next[manifest.Root], next[manifest.Targets], role, f); err != nil {
				return refuse("%s must be signed anew: %w", role, err)
			}
		}
	}
	return nil
}

func (p Publication) checkRole(role string, next map[string]*draft.File, out *Ready) error {
	repo, f := p.Drafts.Repo, next[role]
	if err := CheckDraft(repo, role, f, p.Now()); err != nil {
		return err
	}
	if role == manifest.Root {
		if err := ApproveRoot(repo.Root(), f); err != nil {
			return refuse("%w", err)
		}
	} else if err := Approve(next[manifest.Root], next[manifest.Targets], role, f); err != nil {
		return refuse("%w", err)
	}
	if err := p.checkReleases(role, f); err != nil {
		return err
	}
	for _, t := range f.Targets(role) {
		if err := CheckTarget(TargetFile(repo.Dir, t), t); err == nil {
			continue
		} else if !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrUnverified) {
			return err
		}
		if err := CheckTarget(TargetFile(p.Drafts.Dir, t), t); err != nil {
			return err
		}
		out.copies, out.Bytes = append(out.copies, t), out.Bytes+t.Length
	}
	diff, err := repo.Compare(role, f)
	if err != nil {
		return err
	}
	out.Diffs = append(out.Diffs, diff)
	out.Files[role], err = f.Bytes()
	return err
}

// checkReleases: each version that is new has all platforms, and what belongs to
// a program is signed with it.
func (p Publication) checkReleases(role string, f *draft.File) error {
	releases, err := Releases(f, role)
	if err != nil {
		return err
	}
	signed := map[string]bool{}
	for _, t := range f.Targets(role) {
		signed[t.Path] = true
	}
	published, err := Releases(p.Drafts.Repo.Files[role], role)
	if err != nil {
		return err
	}
	known, newest := map[string]bool{}, ""
	for _, r := range published {
		known[r.Channel+" "+r.Version], newest = true, r.Version
	}
	have := map[string][]string{}
	for _, r := range releases {
		if !known[r.Channel+" "+r.Version] && r.RollbackOf == "" && newest != "" && manifest.Compare(r.Version, newest) <= 0 {
			return refuse("%s %s is not above the published %s", role, r.Version, newest)
		}
		v := r.Channel + " " + r.Version
		have[v] = append(have[v], r.OS+"/"+r.Arch)
		for _, d := range r.Deltas {
			if !signed[d.Target] {
				return refuse("%s names %s, which is not signed", r.Path, d.Target)
			}
		}
		for _, named := range []string{r.Packed, r.SBOM} {
			if named != "" && !signed[named] {
				return refuse("%s names %s, which is not signed", r.Path, named)
			}
		}
	}
	for v, platforms := range have {
		if known[v] {
			continue
		}
		for _, want := range p.Platforms {
			if !slices.Contains(platforms, want) {
				if !strings.HasPrefix(v, role+" ") { // of a role that is not its channel
					v = role + " " + v
				}
				return refuse("%s has no program for %s", v, want)
			}
		}
	}
	return nil
}

// Publish copies the files of targets, hands the metadata to the online process
// and looks at the result as a device does. Files come first: no metadata names
// what is not there.
func (p Publication) Publish(ctx context.Context, r Ready) error {
	for _, t := range r.copies {
		if err := copyTarget(TargetFile(p.Drafts.Dir, t), TargetFile(p.Drafts.Repo.Dir, t), t); err != nil {
			return err
		}
	}
	if len(r.Files) > 0 {
		if err := p.Online.Publish(ctx, r.Files); err != nil {
			return err
		}
	}
	repo, err := OpenRepository(p.Drafts.Repo.Dir)
	if err != nil {
		return err
	}
	for role := range r.Files {
		want, err := p.Drafts.Read(role)
		if err != nil {
			return err
		}
		if repo.Version(role) != want.Version() {
			return fmt.Errorf("the online process took %s %d, but the repository has %d", role, want.Version(), repo.Version(role))
		}
	}
	if err := forward(p.Drafts.Repo, repo); err != nil {
		return err
	}
	if repo.Version(manifest.Timestamp) > 0 {
		if _, err := repo.Verify(ctx, p.Now()); err != nil {
			return fmt.Errorf("published, but a device would not believe it: %w", err)
		}
	}
	return p.Drafts.remove(append(r.done, slices.Collect(maps.Keys(r.Files))...)...)
}

// forward: a device that has seen the versions of before refuses lower ones, unless the
// new root gives their role other keys.
func forward(before, after *Repository) error {
	for _, role := range []string{manifest.Snapshot, manifest.Timestamp} {
		_, had := keySet(before.Root(), role)
		_, has := keySet(after.Root(), role)
		if slices.Equal(had, has) && after.Version(role) < before.Version(role) {
			return unverified("published, but devices that know %s %d do not believe %d: the online process has lost its numbers (online state)", role, before.Version(role), after.Version(role))
		}
	}
	return nil
}

// copyTarget is durable when it returns; a file that is half there is replaced.
func copyTarget(from, to string, t manifest.Target) (err error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	part := to + ".part"
	out, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			out.Close()
			err = errors.Join(err, removeIfThere(part))
		}
	}()
	v, err := manifest.NewVerifier(t)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.MultiWriter(out, v), in); err != nil {
		return err
	}
	if err := v.Verified(); err != nil {
		return unverified("%w", err)
	}
	if err := out.Sync(); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	if err := os.Rename(part, to); err != nil {
		return err
	}
	// New folders are made durable up to targets/.
	for dir := filepath.Dir(to); ; dir = filepath.Dir(dir) {
		if err := layout.SyncDir(dir); err != nil {
			return err
		}
		if filepath.Base(dir) == "targets" || !strings.Contains(dir, "targets") {
			return nil
		}
	}
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
