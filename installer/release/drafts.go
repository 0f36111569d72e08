package release

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"hausmeister/platform/layout"
	"hausmeister/proto/manifest"
	"hausmeister/proto/manifest/draft"
)

// Drafts is a folder of metadata on its way: ROLE.json, and targets/ with the
// files that it names. The first edit of a role begins with what is published. Each
// edit has a version of its own, above all before.
type Drafts struct {
	Dir  string
	Repo *Repository
	Now  func() time.Time
	Said func(string) // told which signatures a change drops; nil = nobody
}

// Path of a role's draft.
func (d *Drafts) Path(role string) string { return filepath.Join(d.Dir, role+".json") }

// Roles that have a draft, in the order of publication.
func (d *Drafts) Roles() []string {
	var out []string
	for _, role := range signedByPersons() {
		if _, err := os.Lstat(d.Path(role)); err == nil {
			out = append(out, role)
		}
	}
	return out
}

// Read a role's draft.
func (d *Drafts) Read(role string) (*draft.File, error) { return ReadDraft(d.Path(role), role) }

// ReadDraft reads a file of metadata that is not published.
func ReadDraft(path, role string) (*draft.File, error) {
	data, err := readFile(path, maxMetadata)
	if err != nil {
		return nil, err
	}
	f, err := parse(role, data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// RoleOf the file of a draft: its name says it, as stable.json or stable.anna.json,
// since metadata does not.
func RoleOf(path string) (string, error) {
	role, _, _ := strings.Cut(filepath.Base(path), ".")
	if !slices.Contains(signedByPersons(), role) {
		return "", refuse("%s: the name of a draft begins with its role, such as stable.json", path)
	}
	return role, nil
}

// current is the draft, or what is published, or nil.
func (d *Drafts) current(role string) (*draft.File, error) {
	f, err := d.Read(role)
	if !errors.Is(err, ErrNotFound) {
		return f, err
	}
	if raw, ok := d.Repo.Raw[role]; ok {
		return parse(role, raw)
	}
	return nil, nil
}

// edit changes a role's draft, clears its signatures and gives it its version
// and a new life.
func (d *Drafts) edit(role string, change func(f *draft.File) error) error {
	f, err := d.current(role)
	if err != nil {
		return err
	}
	if f == nil {
		return refuse("%s has neither a draft nor was it ever published", role)
	}
	old, err := d.Read(role)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	next, err := d.next(role, old)
	if err != nil {
		return err
	}
	if err := f.SetVersion(next); err != nil {
		return err
	}
	f.SetExpires(d.Now().Add(lifeOf(role)))
	if err := change(f); err != nil {
		return err
	}
	var signers []string
	if old != nil {
		signers = d.signers(role, old)
	}
	if err := d.use(role, next); err != nil {
		return err
	}
	if err := d.write(role, f); err != nil {
		return err
	}
	if old != nil {
		d.lost(role, old.Version(), signers)
	}
	return nil
}

func (d *Drafts) write(role string, f *draft.File) error {
	if err := os.MkdirAll(d.Dir, 0o755); err != nil {
		return err
	}
	return WriteDraft(d.Path(role), f)
}

// WriteDraft writes a file of metadata that is not published.
func WriteDraft(path string, f *draft.File) error {
	data, err := f.Bytes()
	if err != nil {
		return refuse("no device would read this: %w", err)
	}
	return layout.WriteFile(path, data, 0o644)
}

// Init makes the first drafts of all roles out of people's keys.
func (d *Drafts) Init(people []Public) error {
	if d.Repo.Root() != nil || len(d.Roles()) > 0 {
		return refuse("there is a root already: keys are changed by keys rotate and keys revoke")
	}
	keys := map[string][]ed25519.PublicKey{}
	for _, p := range people {
		for _, role := range p.Roles {
			keys[role] = append(keys[role], p.Ed25519())
		}
	}
	if err := distinct(people); err != nil {
		return err
	}
	root, targets := draft.NewRoot(d.Now().Add(lifeOf(manifest.Root))), draft.NewTargets(d.Now().Add(lifeOf(manifest.Targets)))
	if err := targets.SetRole(manifest.Targets); err != nil {
		return err
	}
	for role, want := range manifest.Thresholds {
		if n := len(keys[role]); n != want.Of {
			return refuse("%s has keys of %d persons, it takes %d", role, n, want.Of)
		}
		if err := root.SetKeys(role, want.Need, keys[role]...); err != nil {
			return err
		}
	}
	for _, del := range manifest.Delegations() {
		if n := len(keys[del.Role]); n < del.Threshold {
			return refuse("%s has keys of %d persons, it takes %d at least", del.Role, n, del.Threshold)
		}
		if err := targets.Delegate(del, keys[del.Role]...); err != nil {
			return err
		}
	}
	for _, f := range []*draft.File{root, targets} {
		if err := name(f, people...); err != nil {
			return err
		}
	}
	for _, role := range releaseRoles() {
		f := draft.NewTargets(d.Now().Add(lifeOf(role)))
		if err := f.SetRole(role); err != nil {
			return err
		}
		if err := d.write(role, f); err != nil {
			return err
		}
	}
	if err := d.write(manifest.Targets, targets); err != nil {
		return err
	}
	return d.write(manifest.Root, root)
}

// distinct refuses a second key of a person for one role.
func distinct(people []Public) error {
	first := map[string]string{}
	for _, p := range people {
		for _, role := range p.Roles {
			if other := first[role+" "+p.Person]; other != "" {
				return refuse("%s: %s has two keys, %s and %s, and is one person", role, p.Person, Short(other), Short(p.ID))
			}
			first[role+" "+p.Person] = p.ID
		}
	}
	return nil
}

// Renew gives a role a new life and changes nothing else.
func (d *Drafts) Renew(role string) error {
	return d.edit(role, func(*draft.File) error { return nil })
}

// Replace takes a key out of all roles that it has and puts another, if any, in
// its place. The roles that name keys become drafts; it returns their names.
func (d *Drafts) Replace(old Public, by *Public) ([]string, error) {
	if by != nil && !slices.Equal(slices.Sorted(slices.Values(old.Roles)), slices.Sorted(slices.Values(by.Roles))) {
		return nil, refuse("the new key is for %s, the old one for %s", strings.Join(by.Roles, ","), strings.Join(old.Roles, ","))
	}
	var changed []string
	for _, holder := range []string{manifest.Root, manifest.Targets} {
		f, err := d.current(holder)
		if err != nil {
			return nil, err
		}
		if f == nil {
			continue
		}
		roles := holding(f, old.Ed25519())
		if len(roles) == 0 {
			continue
		}
		err = d.edit(holder, func(f *draft.File) error {
			for _, role := range roles {
				if err := replaceKey(f, role, old, by); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		changed = append(changed, holder)
	}
	if len(changed) == 0 {
		return nil, fmt.Errorf("%w: %s's key has no role", ErrNotFound, old.Person)
	}
	return changed, nil
}

// named are the roles for which a file says who may sign.
func named(f *draft.File) []string {
	if f.Kind() == manifest.Root {
		return []string{manifest.Root, manifest.Targets, manifest.Snapshot, manifest.Timestamp}
	}
	var out []string
	for _, del := range f.Delegations() {
		out = append(out, del.Role)
	}
	return out
}

func holding(f *draft.File, key ed25519.PublicKey) []string {
	var out []string
	for _, role := range named(f) {
		if _, keys, err := f.Keys(role); err == nil && slices.ContainsFunc(keys, func(k ed25519.PublicKey) bool { return k.Equal(key) }) {
			out = append(out, role)
		}
	}
	return out
}

func replaceKey(f *draft.File, role string, old Public, by *Public) error {
	need, keys, err := f.Keys(role)
	if err != nil {
		return err
	}
	keys = slices.DeleteFunc(keys, func(k ed25519.PublicKey) bool { return k.Equal(old.Ed25519()) })
	if by != nil {
		if slices.ContainsFunc(keys, func(k ed25519.PublicKey) bool { return k.Equal(by.Ed25519()) }) {
			return refuse("%s has %s's new key already", role, by.Person)
		}
		people := f.People()
		for _, k := range keys {
			if id, err := manifest.KeyID(k); err == nil && people[id] == by.Person {
				return refuse("%s has a key of %s already, %s, and is one person: keys rotate puts the new one in its place", by.Person, role, Short(id))
			}
		}
		keys = append(keys, by.Ed25519())
	}
	if len(keys) < need {
		return refuse("%s needs %d signatures and would have %d keys: bring in another person first (keys rotate)", role, need, len(keys))
	}
	if err := setKeys(f, role, need, keys); err != nil {
		return err
	}
	if by == nil {
		return name(f)
	}
	return name(f, *by)
}

func setKeys(f *draft.File, role string, need int, keys []ed25519.PublicKey) error {
	if f.Kind() == manifest.Root {
		return f.SetKeys(role, need, keys...)
	}
	for _, del := range f.Delegations() {
		if del.Role == role {
			return f.Delegate(del, keys...)
		}
	}
	return fmt.Errorf("%w: %s", ErrNotFound, role)
}

// Add brings another person's key into the roles that it is for.
func (d *Drafts) Add(p Public) ([]string, error) {
	holder := manifest.Targets
	if _, top := manifest.Thresholds[p.Roles[0]]; top {
		return nil, refuse("%s has a fixed number of persons: keys rotate changes one for another", p.Roles[0])
	}
	return []string{holder}, d.edit(holder, func(f *draft.File) error {
		for _, role := range p.Roles {
			if err := replaceKey(f, role, Public{}, &p); err != nil {
				return err
			}
		}
		return nil
	})
}

// Collect takes the signatures of other copies of drafts, which persons have
// signed elsewhere, into the folder's own.
func (d *Drafts) Collect(paths ...string) ([]string, error) {
	var roles []string
	for _, path := range paths {
		role, err := RoleOf(path)
		if err != nil {
			return nil, err
		}
		mine, err := d.Read(role)
		if err != nil {
			return nil, err
		}
		theirs, err := ReadDraft(path, role)
		if err != nil {
			return nil, err
		}
		if err := mine.Merge(theirs); err != nil {
			return nil, refuse("%s: %w", path, err)
		}
		if err := d.write(role, mine); err != nil {
			return nil, err
		}
		roles = append(roles, role)
	}
	return roles, nil
}

// Drop gives drafts up. Their numbers are used.
func (d *Drafts) Drop(roles ...string) error {
	for _, role := range roles {
		f, err := d.Read(role)
		if err != nil {
			return err
		}
		signers := d.signers(role, f)
		if err := d.use(role, f.Version()); err != nil {
			return err
		}
		if err := d.remove(role); err != nil {
			return err
		}
		d.lost(role, f.Version(), signers)
	}
	return nil
}

// remove what was published, or was given up.
func (d *Drafts) remove(roles ...string) error {
	for _, role := range roles {
		if err := os.Remove(d.Path(role)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
