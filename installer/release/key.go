package release

import (
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"

	"hausmeister/platform/layout"
	"hausmeister/proto/manifest"
)

// Public is the half of a key that others get: PERSON.pub. Proof is the key's
// own signature over the rest, so that nobody brings a key that he does not have.
type Public struct {
	Person string    `json:"person"`
	Roles  []string  `json:"roles"`
	ID     string    `json:"keyid"`
	Key    string    `json:"public"` // hex
	Since  time.Time `json:"since"`
	Proof  string    `json:"proof"`
}

func (p Public) statement() []byte {
	return fmt.Appendf(nil, "hausmeister-key 1\n%s\n%s\n%s\n%s\n", p.Person, strings.Join(p.Roles, ","), p.Key, p.Since.UTC().Format(time.RFC3339))
}

// Ed25519 is the key itself.
func (p Public) Ed25519() ed25519.PublicKey {
	b, _ := hex.DecodeString(p.Key) // checked by check
	return b
}

func (p Public) check() error {
	key, err := hex.DecodeString(p.Key)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return unverified("key of %.60q is no ed25519 key", p.Person)
	}
	if !manifest.ValidName(p.Person) {
		return refuse("person %.60q is not of [a-z0-9-]", p.Person)
	}
	if err := checkRoles(p.Roles); err != nil {
		return err
	}
	id, err := manifest.KeyID(key)
	if err != nil || id != p.ID {
		return unverified("the id of %s's key is not that of the key", p.Person)
	}
	proof, err := hex.DecodeString(p.Proof)
	if err != nil || !ed25519.Verify(key, p.statement(), proof) {
		return unverified("%s's key does not prove itself", p.Person)
	}
	return nil
}

// NewPublic proves a key; the online process makes its own this way.
func NewPublic(person string, roles []string, key ed25519.PrivateKey, now time.Time) (Public, error) {
	pub := key.Public().(ed25519.PublicKey)
	id, err := manifest.KeyID(pub)
	if err != nil {
		return Public{}, err
	}
	p := Public{Person: person, Roles: roles, ID: id, Key: hex.EncodeToString(pub), Since: now.UTC().Truncate(time.Second)}
	p.Proof = hex.EncodeToString(ed25519.Sign(key, p.statement()))
	return p, p.check()
}

// Write the public half to a file that everybody may read.
func (p Public) Write(path string) error { return writeJSON(path, p, 0o644) }

// ReadPublic reads and proves one.
func ReadPublic(path string) (Public, error) {
	var p Public
	if err := readJSON(path, &p); err != nil {
		return Public{}, err
	}
	if err := p.check(); err != nil {
		return Public{}, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// ReadPeople reads all .pub files of a folder.
func ReadPeople(dir string) ([]Public, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.pub"))
	if err != nil {
		return nil, err
	}
	var out []Public
	seen := map[string]string{}
	for _, name := range names {
		p, err := ReadPublic(name)
		if err != nil {
			return nil, err
		}
		if other := seen[p.ID]; other != "" {
			return nil, refuse("%s and %s are one key", other, name)
		}
		seen[p.ID] = name
		out = append(out, p)
	}
	return out, nil
}

// Key is a person's key, opened.
type Key struct {
	Public
	Private ed25519.PrivateKey
}

// Cost of trying one passphrase. DefaultCost is RFC 9106's second choice.
type Cost struct {
	Passes    uint32 `json:"passes"`
	MemoryKiB uint32 `json:"memory_kib"`
	Threads   uint8  `json:"threads"`
}

// DefaultCost is about a tenth of a second and 64 MiB.
var DefaultCost = Cost{Passes: 3, MemoryKiB: 64 << 10, Threads: 4}

// A file may ask for so much at most before the passphrase was tried.
const (
	mostPasses    = 64
	mostMemoryKiB = 2 << 20
)

const leastPassphrase = 12 // characters

// sealed is the form of PERSON.key: the seed under XChaCha20-Poly1305 with a key
// that argon2id makes of the passphrase; all of the head is authenticated.
type sealed struct {
	Format int    `json:"hausmeister_key"`
	Public Public `json:"key"`
	Cost   Cost   `json:"argon2id"`
	Salt   string `json:"salt"`
	Nonce  string `json:"nonce"`
	Seed   string `json:"sealed_seed"`
}

func (s sealed) aead(passphrase string) (cipher.AEAD, []byte, error) {
	salt, err := hex.DecodeString(s.Salt)
	c := s.Cost
	if err != nil || len(salt) < 16 || c.Passes < 1 || c.Passes > mostPasses || c.MemoryKiB < 8 || c.MemoryKiB > mostMemoryKiB || c.Threads < 1 {
		return nil, nil, unverified("the key's file is damaged")
	}
	s.Seed = ""
	head, err := json.Marshal(s)
	if err != nil {
		return nil, nil, err
	}
	a, err := chacha20poly1305.NewX(argon2.IDKey([]byte(passphrase), salt, c.Passes, c.MemoryKiB, c.Threads, chacha20poly1305.KeySize))
	return a, head, err
}

// NewKey makes a person's key and writes PERSON.key and PERSON.pub to a folder.
// It never writes over one.
func NewKey(dir, person string, roles []string, passphrase string, cost Cost, random io.Reader, now time.Time) (Key, error) {
	if len([]rune(passphrase)) < leastPassphrase {
		return Key{}, refuse("a passphrase of fewer than %d characters", leastPassphrase)
	}
	seed := make([]byte, ed25519.SeedSize+16+chacha20poly1305.NonceSizeX)
	if _, err := io.ReadFull(random, seed); err != nil {
		return Key{}, err
	}
	salt, nonce := seed[ed25519.SeedSize:ed25519.SeedSize+16], seed[ed25519.SeedSize+16:]
	k := Key{Private: ed25519.NewKeyFromSeed(seed[:ed25519.SeedSize])}
	var err error
	if k.Public, err = NewPublic(person, roles, k.Private, now); err != nil {
		return Key{}, err
	}
	s := sealed{Format: 1, Public: k.Public, Cost: cost, Salt: hex.EncodeToString(salt), Nonce: hex.EncodeToString(nonce)}
	a, head, err := s.aead(passphrase)
	if err != nil {
		return Key{}, err
	}
	s.Seed = hex.EncodeToString(a.Seal(nil, nonce, seed[:ed25519.SeedSize], head))
	base := filepath.Join(dir, person)
	for _, suffix := range []string{".key", ".pub"} {
		if _, err := os.Lstat(base + suffix); !errors.Is(err, fs.ErrNotExist) {
			return Key{}, refuse("%s is there already", base+suffix)
		}
	}
	if err := writeJSON(base+".key", s, 0o600); err != nil {
		return Key{}, err
	}
	return k, k.Write(base + ".pub")
}

// OpenKey opens a person's key.
func OpenKey(path, passphrase string) (Key, error) {
	var s sealed
	if err := readJSON(path, &s); err != nil {
		return Key{}, err
	}
	if s.Format != 1 {
		return Key{}, unverified("%s is no key of format 1", path)
	}
	a, head, err := s.aead(passphrase)
	if err != nil {
		return Key{}, fmt.Errorf("%s: %w", path, err)
	}
	nonce, err1 := hex.DecodeString(s.Nonce)
	box, err2 := hex.DecodeString(s.Seed)
	if err1 != nil || err2 != nil || len(nonce) != a.NonceSize() {
		return Key{}, unverified("%s is damaged", path)
	}
	seed, err := a.Open(nil, nonce, box, head)
	if err != nil || len(seed) != ed25519.SeedSize {
		return Key{}, unverified("%s: wrong passphrase, or a damaged file", path)
	}
	k := Key{Public: s.Public, Private: ed25519.NewKeyFromSeed(seed)}
	if hex.EncodeToString(k.Private.Public().(ed25519.PublicKey)) != k.Key {
		return Key{}, unverified("%s: the two halves do not belong together", path)
	}
	return k, k.check()
}

const maxJSON = 16 << 20

func readJSON(path string, v any) error {
	data, err := readFile(path, maxJSON)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return unverified("%s: %w", path, err)
	}
	return nil
}

func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, path, limit)
}

func readAll(r io.Reader, path string, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = unverified("%s is larger than %d bytes", path, limit)
	}
	return data, err
}

func writeJSON(path string, v any, mode fs.FileMode) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return layout.WriteFile(path, append(data, '\n'), mode)
}

// Transcript is the text of a ceremony: what was done, by whom, why, before whom.
// It ends with the SHA-256 of all above, to be read aloud and written down.
func Transcript(title string, who, reason string, witnesses []string, lines []string, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Hausmeister, ceremony of keys: %s\nat: %s\nby: %s\nreason: %s\nwitnesses: %s\n\n", title, now.UTC().Format(time.RFC3339), oneLine(who),
		oneLine(reason), oneLine(strings.Join(witnesses, ", ")))
	for _, l := range lines {
		fmt.Fprintln(&b, oneLine(l))
	}
	return b.String() + fmt.Sprintf("\nsha256: %x\n", sha256.Sum256([]byte(b.String())))
}

// SignTranscript adds the signature of the key that the ceremony made.
func SignTranscript(text string, k Key) string {
	return text + fmt.Sprintf("signed-by: %s %s\nsignature: %x\n", k.Person, k.ID, ed25519.Sign(k.Private, []byte(text)))
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
