// Package keystore keeps private keys: P-256, one file each, readable by their
// owner only. It refuses to use a key that others could have read, because such a
// key proves nothing any more; whoever asked must make a new one.
//
// On Windows the folder's inherited access list (platform/layout) protects the
// files. Keys bound to the machine, by DPAPI there and by the keychain on macOS,
// come with the packages for those systems behind the same methods; a key in a TPM
// too. Until then a copy of the disk is a copy of the key: what catches that is
// the connection epoch.
//
// A crash in the middle of Create leaves the whole key or none.
package keystore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"hausmeister/platform/layout"
)

var (
	// ErrNoKey: there is no key of this name.
	ErrNoKey = errors.New("no such key")
	// ErrExists: there is a key of this name, and keys are never overwritten.
	ErrExists = errors.New("key exists already")
	// ErrExposed: others than the owner may read or replace the file.
	ErrExposed = errors.New("key file is open to others")
	// ErrDamaged: the file is no P-256 key in PKCS #8.
	ErrDamaged = errors.New("key file is damaged")
)

const (
	suffix   = ".key"
	pemType  = "PRIVATE KEY"
	fileMax  = 4 << 10 // ours have 241 bytes
	ownerRW  = 0o600
	nameMax  = 64
	nameKind = "abcdefghijklmnopqrstuvwxyz0123456789-"
)

// Store is a folder of keys.
type Store struct{ dir string }

// Open names the folder. It is made, owner only, with the first key.
func Open(dir string) *Store { return &Store{dir: dir} }

// Create makes a key that is on the disk when Create returns.
func (s *Store) Create(name string) (crypto.Signer, error) {
	path, err := s.path(name)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = ErrExists
		}
		return nil, fmt.Errorf("making key %s: %w", name, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making key %s: %w", name, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("making key %s: %w", name, err)
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("making key %s: %w", name, err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})
	if err := layout.WriteFile(path, text, ownerRW); err != nil {
		return nil, fmt.Errorf("making key %s: %w", name, err)
	}
	return key, nil
}

// Signer opens a key.
func (s *Store) Signer(name string) (crypto.Signer, error) {
	path, err := s.path(name)
	if err != nil {
		return nil, err
	}
	key, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNoKey
	}
	if err != nil {
		return nil, fmt.Errorf("opening key %s: %w", name, err)
	}
	return key, nil
}

// Delete removes a key; that there is none is no error.
func (s *Store) Delete(name string) error {
	path, err := s.path(name)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("deleting key %s: %w", name, err)
	}
	return nil
}

// Names lists the keys.
func (s *Store) Names() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing keys: %w", err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), suffix); ok && e.Type().IsRegular() {
			names = append(names, name)
		}
	}
	return names, nil
}

func (s *Store) path(name string) (string, error) {
	if name == "" || len(name) > nameMax || strings.Trim(name, nameKind) != "" {
		return "", fmt.Errorf("key name %q: want letters a to z, digits and dashes", name)
	}
	return filepath.Join(s.dir, name+suffix), nil
}

func readKey(path string) (crypto.Signer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat() // of the open file: the name could be another one by now
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, ErrDamaged
	}
	if err := ownerOnly(info); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, fileMax))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemType {
		return nil, ErrDamaged
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%w: not P-256", ErrDamaged)
	}
	return key, nil
}
