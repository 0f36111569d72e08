package online

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"hausmeister/installer/release"
	"hausmeister/proto/manifest"
	"hausmeister/proto/manifest/draft"
)

// Trust puts the first root there: the operator's act, once. Beside a folder that has
// more than it, it takes the numbers from there: the state was lost, or an older one
// was put back.
func (s *Signer) Trust(root []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	adopts, err := s.adoptsLocked()
	if err != nil {
		return err
	}
	if adopts {
		return s.adoptLocked(root)
	}
	if s.root != nil {
		return fmt.Errorf("%w: root %d is trusted already; a newer one is published", release.ErrRefused, s.root.Version())
	}
	f, err := draft.Parse(root)
	if err != nil {
		return fmt.Errorf("%w: %w", release.ErrUnverified, err)
	}
	if f.Kind() != manifest.Root || f.Version() != 1 {
		return fmt.Errorf("%w: it is %s %d, not root 1", release.ErrRefused, f.Kind(), f.Version())
	}
	if err := release.ApproveRoot(nil, f); err != nil {
		return err
	}
	for _, role := range []string{manifest.Snapshot, manifest.Timestamp} {
		if _, err := s.keyFor(f, role); err != nil {
			return err
		}
	}
	if err := s.cfg.Write(s.metadata("1.root.json"), root, 0o644); err != nil {
		return err
	}
	if err := s.cfg.Write(s.path("root.json"), root, 0o644); err != nil {
		return err
	}
	s.root, s.rootRaw, s.expires[manifest.Root] = f, root, f.Expires()
	return nil
}

// NewKeys makes keys for snapshot and timestamp and writes their public halves to
// a folder, for the root that is to name them. Older keys stay until then.
func (s *Signer) NewKeys(random io.Reader, out string) ([]release.Public, error) {
	var made []release.Public
	for _, role := range []string{manifest.Snapshot, manifest.Timestamp} {
		seed := make([]byte, ed25519.SeedSize)
		if _, err := io.ReadFull(random, seed); err != nil {
			return nil, err
		}
		p, err := release.NewPublic("online-"+role, []string{role}, ed25519.NewKeyFromSeed(seed), s.cfg.Now())
		if err != nil {
			return nil, err
		}
		if err := s.cfg.Write(s.path(p.ID+".seed"), []byte(hex.EncodeToString(seed)+"\n"), 0o600); err != nil {
			return nil, err
		}
		name := filepath.Join(out, p.Person+".pub")
		if _, err := os.Lstat(name); err == nil {
			name = filepath.Join(out, p.Person+"-"+release.Short(p.ID)+".pub")
		}
		if err := p.Write(name); err != nil {
			return nil, err
		}
		made = append(made, p)
	}
	return made, nil
}

// keyFor finds the key that a root names for a role.
func (s *Signer) keyFor(root *draft.File, role string) (ed25519.PrivateKey, error) {
	_, keys, err := root.Keys(role)
	if err != nil {
		return nil, err
	}
	for _, pub := range keys {
		id, err := manifest.KeyID(pub)
		if err != nil {
			return nil, err
		}
		text, err := os.ReadFile(s.path(id + ".seed"))
		if err != nil {
			continue
		}
		seed, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil || len(seed) != ed25519.SeedSize {
			return nil, fmt.Errorf("the key %s is damaged", s.path(id+".seed"))
		}
		if key := ed25519.NewKeyFromSeed(seed); key.Public().(ed25519.PublicKey).Equal(pub) {
			return key, nil
		}
	}
	return nil, fmt.Errorf("%w: root %d names a key for %s that is not here", release.ErrRefused, root.Version(), role)
}
