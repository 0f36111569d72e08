package keystore_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"hausmeister/platform/keystore"
)

func TestKeyLivesOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	s := keystore.Open(dir)
	if _, err := s.Signer("device"); !errors.Is(err, keystore.ErrNoKey) {
		t.Fatalf("Signer before Create: got %v, want ErrNoKey", err)
	}
	if names, err := s.Names(); err != nil || len(names) != 0 {
		t.Fatalf("Names before Create: got %v, %v", names, err)
	}
	made, err := s.Create("device")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create("device"); !errors.Is(err, keystore.ErrExists) {
		t.Errorf("second Create: got %v, want ErrExists", err)
	}
	found, err := keystore.Open(dir).Signer("device")
	if err != nil {
		t.Fatal(err)
	}
	if !made.Public().(*ecdsa.PublicKey).Equal(found.Public()) {
		t.Error("Signer opened another key than Create made")
	}
	digest := sha256.Sum256([]byte("x"))
	sig, err := found.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil || !ecdsa.VerifyASN1(made.Public().(*ecdsa.PublicKey), digest[:], sig) {
		t.Errorf("signature of the found key does not verify: %v", err)
	}
	info, err := os.Stat(filepath.Join(dir, "device.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the key file: got %v, %v, want 0600", info.Mode(), err)
	}
	if names, err := s.Names(); err != nil || !slices.Equal(names, []string{"device"}) {
		t.Errorf("Names: got %v, %v", names, err)
	}
	if err := s.Delete("device"); err != nil {
		t.Error(err)
	}
	if err := s.Delete("device"); err != nil {
		t.Errorf("second Delete: %v", err)
	}
}

func TestRefusesExposedAndDamagedKeys(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := x509.MarshalPKCS8PrivateKey(p384)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		spoil func(t *testing.T, path string)
		want  error
	}{
		"readable by group":  {func(t *testing.T, p string) { must(t, os.Chmod(p, 0o640)) }, keystore.ErrExposed},
		"readable by others": {func(t *testing.T, p string) { must(t, os.Chmod(p, 0o604)) }, keystore.ErrExposed},
		"writable by others": {func(t *testing.T, p string) { must(t, os.Chmod(p, 0o602)) }, keystore.ErrExposed},
		"owned by another": {func(t *testing.T, p string) {
			if os.Geteuid() != 0 {
				t.Skip("only root can give a file away")
			}
			must(t, os.Chown(p, 65534, 65534))
		}, keystore.ErrExposed},
		"empty":       {func(t *testing.T, p string) { must(t, os.Truncate(p, 0)) }, keystore.ErrDamaged},
		"cut":         {func(t *testing.T, p string) { must(t, os.Truncate(p, 100)) }, keystore.ErrDamaged},
		"a folder":    {func(t *testing.T, p string) { must(t, os.Remove(p)); must(t, os.Mkdir(p, 0o700)) }, keystore.ErrDamaged},
		"other curve": {func(t *testing.T, p string) { writePEM(t, p, other) }, keystore.ErrDamaged},
		"no PKCS #8":  {func(t *testing.T, p string) { writePEM(t, p, []byte("x")) }, keystore.ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := keystore.Open(dir)
			if _, err := s.Create("device"); err != nil {
				t.Fatal(err)
			}
			test.spoil(t, filepath.Join(dir, "device.key"))
			if _, err := s.Signer("device"); !errors.Is(err, test.want) {
				t.Errorf("Signer: got %v, want %v", err, test.want)
			}
			if _, err := s.Create("device"); !errors.Is(err, keystore.ErrExists) {
				t.Errorf("Create over it: got %v, want ErrExists", err)
			}
		})
	}
}

func TestNamesStayInTheFolder(t *testing.T) {
	s := keystore.Open(t.TempDir())
	for _, name := range []string{"", "..", "../x", "a/b", `a\b`, "a.b", "A", "a b", string(make([]byte, 65))} {
		if _, err := s.Create(name); err == nil {
			t.Errorf("Create(%q) made a key", name)
		}
		if err := s.Delete(name); err == nil {
			t.Errorf("Delete(%q) went through", name)
		}
	}
}

func writePEM(t *testing.T, path string, der []byte) {
	t.Helper()
	must(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
