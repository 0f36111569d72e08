package draft

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"hausmeister/proto/manifest"
)

// SetKeys of a top-level role; root only. Keys that no role has any more go.
func (f *File) SetKeys(role string, threshold int, keys ...ed25519.PublicKey) error {
	if f.root == nil {
		return ErrKind
	}
	r, ok := f.root.Signed.Roles[role]
	if !ok {
		return fmt.Errorf("root knows no role %q", role)
	}
	ids, byID, err := keyIDs(keys)
	if err != nil {
		return err
	}
	if threshold < 1 || threshold > len(ids) {
		return fmt.Errorf("%d of %d is no threshold for %s", threshold, len(ids), role)
	}
	r.KeyIDs, r.Threshold = ids, threshold
	maps.Copy(f.root.Signed.Keys, byID)
	used := map[string]bool{}
	for _, r := range f.root.Signed.Roles {
		for _, id := range r.KeyIDs {
			used[id] = true
		}
	}
	maps.DeleteFunc(f.root.Signed.Keys, func(id string, _ *metadata.Key) bool { return !used[id] })
	f.edited()
	return nil
}

func keyIDs(keys []ed25519.PublicKey) ([]string, map[string]*metadata.Key, error) {
	ids, byID := []string{}, map[string]*metadata.Key{}
	for _, pub := range keys {
		k, err := metadata.KeyFromPublicKey(pub)
		if err != nil {
			return nil, nil, err
		}
		id, err := k.ID()
		if err != nil {
			return nil, nil, err
		}
		if byID[id] != nil {
			return nil, nil, fmt.Errorf("key %.8s stands there twice", id)
		}
		ids, byID[id] = append(ids, id), k
	}
	slices.Sort(ids)
	return ids, byID, nil
}

// Keys of a role that this file delegates to, and how many of them must sign.
func (f *File) Keys(role string) (threshold int, keys []ed25519.PublicKey, err error) {
	ids, threshold, all, err := f.delegation(role)
	if err != nil {
		return 0, nil, err
	}
	for _, id := range ids {
		k, ok := all[id]
		if !ok || k.Type != metadata.KeyTypeEd25519 {
			return 0, nil, fmt.Errorf("key %.8s of %s is not ed25519", id, role)
		}
		raw, err := hex.DecodeString(k.Value.PublicKey)
		if err != nil || len(raw) != ed25519.PublicKeySize {
			return 0, nil, fmt.Errorf("key %.8s of %s is damaged", id, role)
		}
		keys = append(keys, raw)
	}
	return threshold, keys, nil
}

func (f *File) delegation(role string) (ids []string, threshold int, keys map[string]*metadata.Key, err error) {
	switch {
	case f.root != nil:
		if r, ok := f.root.Signed.Roles[role]; ok {
			return r.KeyIDs, r.Threshold, f.root.Signed.Keys, nil
		}
	case f.targets != nil && f.targets.Signed.Delegations != nil:
		for _, r := range f.targets.Signed.Delegations.Roles {
			if r.Name == role {
				return r.KeyIDs, r.Threshold, f.targets.Signed.Delegations.Keys, nil
			}
		}
	}
	return nil, 0, nil, fmt.Errorf("%s delegates nothing to %q", f.Kind(), role)
}

// Delegate adds a role, or changes one in its place; targets only.
func (f *File) Delegate(d manifest.Delegation, keys ...ed25519.PublicKey) error {
	if f.targets == nil {
		return ErrKind
	}
	if !manifest.ValidName(d.Role) {
		return fmt.Errorf("role %.60q is not of [a-z0-9-]", d.Role)
	}
	ids, byID, err := keyIDs(keys)
	if err != nil {
		return err
	}
	if d.Threshold < 1 || d.Threshold > len(ids) {
		return fmt.Errorf("%d of %d is no threshold for %s", d.Threshold, len(ids), d.Role)
	}
	del := f.targets.Signed.Delegations
	if del == nil {
		del = &metadata.Delegations{Keys: map[string]*metadata.Key{}, Roles: []metadata.DelegatedRole{}}
		f.targets.Signed.Delegations = del
	}
	r := metadata.DelegatedRole{
		Name: d.Role, KeyIDs: ids, Threshold: d.Threshold, Terminating: d.Terminating, Paths: slices.Clone(d.Paths),
	}
	if i := slices.IndexFunc(del.Roles, func(o metadata.DelegatedRole) bool { return o.Name == d.Role }); i >= 0 {
		del.Roles[i] = r
	} else {
		del.Roles = append(del.Roles, r)
	}
	maps.Copy(del.Keys, byID)
	maps.DeleteFunc(del.Keys, func(id string, _ *metadata.Key) bool {
		return !slices.ContainsFunc(del.Roles, func(r metadata.DelegatedRole) bool { return slices.Contains(r.KeyIDs, id) })
	})
	f.edited()
	return nil
}

// Delegations as they stand there, in order.
func (f *File) Delegations() []manifest.Delegation {
	if f.targets == nil || f.targets.Signed.Delegations == nil {
		return nil
	}
	var out []manifest.Delegation
	for _, r := range f.targets.Signed.Delegations.Roles {
		out = append(out, manifest.Delegation{Role: r.Name, Threshold: r.Threshold, Terminating: r.Terminating, Paths: slices.Clone(r.Paths)})
	}
	return out
}

// Approval is how far a file has come on its way to being believed.
type Approval struct {
	Need    int
	Signed  []string // keys whose signature is good
	Missing []string // keys that may still sign
	Foreign []string // signatures that count for nothing
}

// Enough have signed.
func (a Approval) Enough() bool { return len(a.Signed) >= a.Need }

// Approve counts the signatures of a file as one that delegates to it does. A
// new root needs the approval of the one before and of itself.
func Approve(delegator *File, role string, f *File) (Approval, error) {
	ids, need, keys, err := delegator.delegation(role)
	if err != nil {
		return Approval{}, err
	}
	a := Approval{Need: need, Signed: []string{}, Missing: []string{}, Foreign: []string{}}
	for _, id := range ids {
		one := metadata.Root()
		one.Signed.Keys = map[string]*metadata.Key{id: keys[id]}
		one.Signed.Roles = map[string]*metadata.Role{role: {KeyIDs: []string{id}, Threshold: 1}}
		if keys[id] != nil && one.VerifyDelegate(role, f.delegated()) == nil {
			a.Signed = append(a.Signed, id)
		} else {
			a.Missing = append(a.Missing, id)
		}
	}
	for _, id := range f.SignedBy() {
		if !slices.Contains(a.Signed, id) {
			a.Foreign = append(a.Foreign, id)
		}
	}
	return a, nil
}
