package enroll

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"hausmeister/platform/layout"
	"hausmeister/proto/ident"
)

// Files is where the state lies: small files, each replaced as a whole.
type Files interface {
	// Read returns an error that is fs.ErrNotExist when there is no such file.
	Read(name string) ([]byte, error)
	// Write is durable when it returns; a crash leaves the old or the new content.
	Write(name string, data []byte) error
}

// Dir is a Files in a folder; the files are owner-only.
type Dir string

func (d Dir) Read(name string) ([]byte, error) { return os.ReadFile(filepath.Join(string(d), name)) }

func (d Dir) Write(name string, data []byte) error {
	return layout.WriteFile(filepath.Join(string(d), name), data, 0o600)
}

// ErrDamaged is a state file that is not of ours. It is never replaced without
// being asked: the device would lose its record for a disk's fault.
var ErrDamaged = errors.New("state file is damaged")

// The files and their magics; each is the magic line and then JSON.
const (
	identityFile   = "identity"
	connectionFile = "connection"
	installFile    = "install"
	magicFormat    = "hausmeister %s 1\n"
)

// identityState is the file "identity".
type identityState struct {
	Device  string   `json:"device"`
	Address string   `json:"address"`
	Host    string   `json:"host"`
	Key     string   `json:"key"`   // name in the key store
	Claim   string   `json:"claim"` // hash of the secret that admitted us
	Chain   [][]byte `json:"chain"`
	Roots   [][]byte `json:"roots"`
}

// connectionState is the file "connection", which changes at each connection.
type connectionState struct {
	Epoch     uint64 `json:"epoch"`
	TrustedMS int64  `json:"trusted_ms"`
}

// installState is the file "install", written once.
type installState struct {
	ID [16]byte `json:"id"`
}

// load reads a state file into v and reports whether there is one.
func load(files Files, name string, v any) (bool, error) {
	data, err := files.Read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading state: %w", err)
	}
	if err := decode(data, name, v); err != nil {
		return false, err
	}
	return true, nil
}

func decode(data []byte, name string, v any) error {
	body, ok := bytes.CutPrefix(data, fmt.Appendf(nil, magicFormat, name))
	if !ok {
		return fmt.Errorf("%w: %s does not begin like one of this version", ErrDamaged, name)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, name, err)
	}
	return nil
}

// save writes v and returns what is in the file then.
func save(files Files, name string, v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("writing state %s: %w", name, err)
	}
	data := append(fmt.Appendf(nil, magicFormat, name), body...)
	if err := files.Write(name, data); err != nil {
		return nil, fmt.Errorf("writing state %s: %w", name, err)
	}
	return data, nil
}

// leaf parses the device certificate and checks that the state hangs together.
func (s *identityState) leaf() (*x509.Certificate, error) {
	if !ident.ValidID(s.Device) || len(s.Chain) == 0 || s.Address == "" || s.Key == "" {
		return nil, fmt.Errorf("%w: %s is incomplete", ErrDamaged, identityFile)
	}
	leaf, err := x509.ParseCertificate(s.Chain[0])
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, identityFile, err)
	}
	return leaf, nil
}

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
