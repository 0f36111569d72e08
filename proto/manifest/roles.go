package manifest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// load is 5.6 for the top-level targets and for delegated roles.
func (s *session) load(ctx context.Context, role, parent string) error {
	if s.trusted.Targets[role] != nil {
		return nil
	}
	meta, ok := s.trusted.Snapshot.Signed.Meta[role+".json"]
	if !ok {
		return fmt.Errorf("%s: %w: the snapshot does not name it", role, ErrRefused)
	}
	update := func(data []byte) error {
		err := guard(role, func() error {
			_, err := s.trusted.UpdateDelegatedTargets(data, role, parent)
			return err
		})
		if err == nil {
			if err = s.meantFor(role); err != nil {
				delete(s.trusted.Targets, role)
			}
		}
		return err
	}
	if role != Targets && reserved(role) {
		return fmt.Errorf("%w: %s cannot be delegated to", ErrRefused, role)
	}
	local := s.shelf.get(role)
	if local != nil && update(local) == nil {
		return nil
	}
	data, err := s.fetch(ctx, role, s.versioned(meta.Version), s.limit(Targets, meta.Length))
	if err != nil {
		return err
	}
	if err := update(data); err != nil {
		return err
	}
	return s.shelf.put(role, data)
}

// RoleField says in a file of targets which role it is for. The specification
// has no place for that: a file of one role, signed by persons who also hold
// enough keys of another, would pass for the other's.
const RoleField = "x-role"

// meantFor refuses a file that says it is another role's, and one that says
// nothing where the top-level targets do: its owners always write it.
func (s *session) meantFor(role string) error {
	said, is := s.trusted.Targets[role].Signed.UnrecognizedFields[RoleField]
	if is && said != role {
		return fmt.Errorf("%s: %w: it is a file for %.60q", role, ErrRefused, fmt.Sprint(said))
	}
	if top := s.trusted.Targets[Targets]; !is && top.Signed.UnrecognizedFields[RoleField] != nil {
		return fmt.Errorf("%s: %w: it does not say which role it is for", role, ErrRefused)
	}
	return nil
}

func (s *session) versioned(v int64) string {
	if !s.trusted.Root.Signed.ConsistentSnapshot {
		return ""
	}
	return strconv.FormatInt(v, 10)
}

func (s *session) limit(kind string, length int64) int64 {
	if length == 0 || length > maxLength[kind] {
		return maxLength[kind]
	}
	return length
}

type step struct{ role, parent string }

// walk is 5.6.7: depth first, in the order in which roles are delegated to, not
// beyond one that ends the search.
func (s *session) walk(ctx context.Context, path string, load func(ctx context.Context, role, parent string) error) (Target, error) {
	todo := []step{{Targets, Root}}
	seen := map[string]bool{}
	for len(todo) > 0 && len(seen) <= maxRoles {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[at.role] {
			continue
		}
		seen[at.role] = true
		if err := load(ctx, at.role, at.parent); err != nil {
			return Target{}, err
		}
		signed := &s.trusted.Targets[at.role].Signed
		if f, ok := signed.Targets[path]; ok {
			t, err := newTarget(path, at.role, signed.Version, f)
			t.Unprefixed = !s.trusted.Root.Signed.ConsistentSnapshot
			return t, err
		}
		if signed.Delegations == nil {
			continue
		}
		var next []step
		for _, r := range signed.Delegations.GetRolesForTarget(path) {
			next = append(next, step{r.Name, at.role})
			if r.Terminating {
				todo = nil
				break
			}
		}
		slices.Reverse(next)
		todo = append(todo, next...)
	}
	return Target{}, fmt.Errorf("%.200q: %w", path, ErrNoTarget)
}

// loadAll loads every role that anybody delegates to, or only those named.
func (s *session) loadAll(ctx context.Context, only []string) error {
	todo := []step{{Targets, Root}}
	seen := map[string]bool{}
	for len(todo) > 0 {
		at := todo[0]
		todo = todo[1:]
		if seen[at.role] {
			return fmt.Errorf("%w: %.60q is delegated to twice", ErrRefused, at.role)
		}
		seen[at.role] = true
		if len(seen) > maxRoles {
			return fmt.Errorf("%w: more than %d roles", ErrRefused, maxRoles)
		}
		err := s.load(ctx, at.role, at.parent)
		if errors.Is(err, ErrStale) {
			s.stale = append(s.stale, at.role)
			continue
		}
		if err != nil {
			return err
		}
		d := s.trusted.Targets[at.role].Signed.Delegations
		if d == nil {
			continue
		}
		for _, r := range d.Roles {
			if len(only) == 0 || slices.Contains(only, r.Name) {
				todo = append(todo, step{r.Name, at.role})
			}
		}
	}
	return nil
}
