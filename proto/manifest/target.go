package manifest

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Target is one file that somebody vouches for.
type Target struct {
	Path        string
	Role        string // who vouches: targets or a delegated role
	RoleVersion int64
	Length      int64
	SHA256      string // hex; empty if only the other one was signed
	SHA512      string
	Custom      json.RawMessage // what else was signed about it, see Release
	// Unprefixed: the root says that this repository has no consistent snapshots, so
	// that the file's own name is its name there. None of ours does.
	Unprefixed bool
}

// splitPath keeps the slash with the folder.
func splitPath(p string) (dir, base string) {
	i := strings.LastIndexByte(p, '/')
	return p[:i+1], p[i+1:]
}

// RemoteName is the name of a target's file in a repository; in one with consistent
// snapshots its hash stands before the last part of its path.
func (t Target) RemoteName() string {
	if t.Unprefixed {
		return t.Path
	}
	dir, base := splitPath(t.Path)
	h := t.SHA256
	if h == "" {
		h = t.SHA512
	}
	return dir + h + "." + base
}

// EscapedName is RemoteName as it stands in an address.
func (t Target) EscapedName() string { return (&url.URL{Path: t.RemoteName()}).EscapedPath() }

func newTarget(path, role string, version int64, f *metadata.TargetFiles) (Target, error) {
	t := Target{Path: path, Role: role, RoleVersion: version, Length: f.Length}
	for name, h := range f.Hashes {
		switch name {
		case "sha256":
			t.SHA256 = h.String()
		case "sha512":
			t.SHA512 = h.String()
		default:
			// A hash that cannot be checked is one that was not checked.
			return Target{}, fmt.Errorf("%.200q: %w: hash %.40q is unknown here", path, ErrRefused, name)
		}
	}
	if len(t.SHA256) != 64 && t.SHA256 != "" || len(t.SHA512) != 128 && t.SHA512 != "" {
		return Target{}, fmt.Errorf("%.200q: %w: a hash has the wrong length", path, ErrRefused)
	}
	if f.Custom != nil {
		t.Custom = slices.Clone(*f.Custom)
	}
	return t, nil
}

// Verifier checks the bytes of a target as they come. Nothing may be done with
// them before Verified says that all of them came.
type Verifier struct {
	target Target
	sha256 hash.Hash
	sha512 hash.Hash // nil where it was not signed
	have   int64
}

// NewVerifier begins at the first byte.
func NewVerifier(t Target) (*Verifier, error) {
	if t.SHA256 == "" && t.SHA512 == "" || t.Length < 0 {
		return nil, fmt.Errorf("%.200q: %w: no hash was signed", t.Path, ErrRefused)
	}
	v := &Verifier{target: t}
	v.reset()
	return v, nil
}

func (v *Verifier) reset() {
	v.sha256, v.have = sha256.New(), 0
	if v.target.SHA512 != "" {
		v.sha512 = sha512.New()
	}
}

// Write takes the next bytes, and none that go beyond the signed length.
func (v *Verifier) Write(p []byte) (int, error) {
	if int64(len(p)) > v.target.Length-v.have {
		return 0, fmt.Errorf("%.200q: %w: more than %d bytes", v.target.Path, ErrBytes, v.target.Length)
	}
	v.sha256.Write(p)
	if v.sha512 != nil {
		v.sha512.Write(p)
	}
	v.have += int64(len(p))
	return len(p), nil
}

// Resume begins anew with the part that is on disk and returns the offset at
// which the download goes on. The part is read again, not believed: hash states
// that were kept aside could be of other bytes. It must end at EOF.
func (v *Verifier) Resume(part io.Reader) (offset int64, err error) {
	v.reset()
	if _, err := io.Copy(writerOnly{v}, part); err != nil {
		v.reset()
		return 0, fmt.Errorf("reading the part on disk: %w", err)
	}
	return v.have, nil
}

// writerOnly hides everything but Write from io.Copy.
type writerOnly struct{ io.Writer }

// Offset is how many bytes were written.
func (v *Verifier) Offset() int64 { return v.have }

// Verified returns nil when all bytes came and are those that were signed.
func (v *Verifier) Verified() error {
	if v.have != v.target.Length {
		return fmt.Errorf("%.200q: %w: %d of %d bytes", v.target.Path, ErrBytes, v.have, v.target.Length)
	}
	if err := v.same("sha256", v.target.SHA256, v.sha256); err != nil {
		return err
	}
	return v.same("sha512", v.target.SHA512, v.sha512)
}

func (v *Verifier) same(name, want string, h hash.Hash) error {
	if want == "" {
		return nil
	}
	w, err := hex.DecodeString(want)
	if err != nil || !bytes.Equal(w, h.Sum(nil)) {
		return fmt.Errorf("%.200q: %w: other %s", v.target.Path, ErrBytes, name)
	}
	return nil
}
