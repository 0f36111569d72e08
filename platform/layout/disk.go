package layout

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A Disk is the file operations by which programs and the journal of an update
// are changed. Each is one that a crash may come before or after, which is why
// they stand alone and are more than five: a test puts a Disk between that fails
// or ends at any of them.
type Disk interface {
	// Open opens a file for reading, if nobody but us and the administrator can
	// have put it there or can change it: else ErrForeign.
	Open(name string) (File, error)
	// Create makes a file that must not be there yet.
	Create(name string, mode fs.FileMode) (File, error)
	// Settle gives a file that somebody else wrote its mode, and makes it durable.
	Settle(name string, mode fs.FileMode) error
	// Rename replaces what is there.
	Rename(from, to string) error
	// Remove removes a file or an empty folder; a missing one is no error.
	Remove(name string) error
	// Mkdir makes a folder that all may read; one that is there is no error.
	Mkdir(name string) error
	// Symlink makes a link, where pointers are links.
	Symlink(to, name string) error
	// Readlink is where a link leads.
	Readlink(name string) (string, error)
	// Names lists a folder; one that is missing has none.
	Names(dir string) ([]string, error)
	// SyncDir makes what came to a folder and went from it durable.
	SyncDir(dir string) error
	// Free is how many bytes may still be written below a folder.
	Free(dir string) (uint64, error)
}

// A File is open for reading, or new and open for writing.
type File interface {
	io.Reader
	io.Writer
	Sync() error
	Close() error
}

// Plain is the Disk of this machine.
func Plain() Disk { return plain{} }

type plain struct{}

func (plain) Open(name string) (File, error) {
	f, err := openOurs(name)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (plain) Create(name string, mode fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return nil, err
	}
	// The service's umask takes from the mode what people need who ask the
	// program how their device is.
	if err := f.Chmod(mode); err != nil && !chmodMayFail {
		f.Close()
		os.Remove(name)
		return nil, err
	}
	return f, nil
}

func (plain) Settle(name string, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0) // Windows flushes only what may be written
	if err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil && !chmodMayFail {
		f.Close()
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (plain) Rename(from, to string) error { return replace(from, to) }

func (plain) Remove(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (plain) Mkdir(name string) error { return createDir(name, forReaders) }

func (plain) Symlink(to, name string) error { return os.Symlink(to, name) }

func (plain) Readlink(name string) (string, error) { return os.Readlink(name) }

func (plain) Names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

func (plain) SyncDir(dir string) error { return syncDir(dir) }

func (plain) Free(dir string) (uint64, error) { return free(dir) }

// Sum is the SHA-256 of a program, by which it is known.
type Sum [sha256.Size]byte

// String is the sum in hexadecimal digits.
func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// ParseSum reads what String wrote.
func ParseSum(text string) (s Sum, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(s) {
		return Sum{}, fmt.Errorf("%q is no SHA-256", text)
	}
	return Sum(b), nil
}

// MarshalText is String.
func (s Sum) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is ParseSum.
func (s *Sum) UnmarshalText(b []byte) (err error) {
	*s, err = ParseSum(string(b))
	return err
}

// SumOf hashes an open file: a name could be another file by the time it is used.
func SumOf(r io.Reader) (s Sum, err error) {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return Sum{}, err
	}
	return Sum(h.Sum(nil)), nil
}

// SumFile hashes the file at name.
func SumFile(d Disk, name string) (Sum, error) {
	f, err := d.Open(name)
	if err != nil {
		return Sum{}, err
	}
	s, err := SumOf(f)
	return s, errors.Join(err, f.Close())
}

// tmpMark ends the names of files that are not whole yet.
const tmpMark = ".tmp-new"

// WriteOn is WriteFile on any Disk.
func WriteOn(d Disk, path string, data []byte, mode fs.FileMode) error {
	if err := writeFrom(d, path, bytes.NewReader(data), mode, nil); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// writeFrom puts what r holds at path, whole or not at all; its sum must be
// want, also when it is read from the disk again.
func writeFrom(d Disk, path string, r io.Reader, mode fs.FileMode, want *Sum) error {
	tmp := path + tmpMark
	if err := d.Remove(tmp); err != nil { // of a crash
		return err
	}
	if err := fill(d, tmp, r, mode, want); err != nil {
		return errors.Join(err, d.Remove(tmp))
	}
	if err := d.Rename(tmp, path); err != nil {
		return errors.Join(err, d.Remove(tmp))
	}
	return d.SyncDir(filepath.Dir(path))
}

func fill(d Disk, tmp string, r io.Reader, mode fs.FileMode, want *Sum) error {
	f, err := d.Create(tmp, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(onlyWriter{f}, r); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil || want == nil {
		return err
	}
	got, err := SumFile(d, tmp)
	if err != nil {
		return err
	}
	if got != *want {
		return ErrOtherBytes
	}
	return nil
}

// onlyWriter hides what io.Copy would use to read from the source in one system
// call, so that each write of a File is one of the Disk's.
type onlyWriter struct{ io.Writer }

// ErrOtherBytes: a file does not hold what it must.
var ErrOtherBytes = errors.New("other bytes than it must have")

// isTmp knows what a crash leaves.
func isTmp(name string) bool { return strings.Contains(name, ".tmp-") }
