package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
)

// Store keeps small files by name in a folder that nobody but the program's own
// user may write. One Client uses it at a time; whoever makes the Client holds
// the lock that sees to it, across processes too. Files of metadata are called
// ROLE.json, all others end differently.
type Store interface {
	// Read returns fs.ErrNotExist for a file that is not there, and need not
	// return more than limit+1 bytes.
	Read(name string, limit int64) ([]byte, error)
	// Write leaves the old content or the new, never a mixture, and returns
	// when the new one would survive a power cut.
	Write(name string, data []byte) error
	// Remove is no error for a file that is not there.
	Remove(name string) error
}

// fileName of a role, in addresses too. Only letters, digits and _.-~ stand for
// themselves: a role called ../x stays inside the folder, and one called a:b is
// no stream of a file on Windows.
func fileName(role string) string { return escape(role) + ".json" }

func copyName(role string) string { return escape(role) + ".copy" }

func escape(role string) string { return strings.ReplaceAll(url.QueryEscape(role), "+", "%20") }

// reserved names are the four top-level roles, also in other letters, in which
// some file systems take them for the same.
func reserved(role string) bool {
	for kind := range maxLength {
		if strings.EqualFold(role, kind) {
			return true
		}
	}
	return false
}

// kindOf: delegated roles are targets.
func kindOf(role string) string {
	if _, ok := maxLength[role]; ok {
		return role
	}
	return Targets
}

// shelf reads and heals the files of a Store.
type shelf struct {
	store  Store
	healed []string
}

// get returns the file of a role, if need be its second copy, or nil. What is
// there but no metadata is put aside as ROLE.bad, for whoever wants to know why.
// It mends what it can: on a disk that takes no more, only put fails.
func (s *shelf) get(role string) []byte {
	data, state := s.read(fileName(role), kindOf(role))
	if state == whole {
		return data
	}
	if state == broken {
		s.healed = append(s.healed, role)
		_ = s.store.Write(escape(role)+".bad", data)
		_ = s.store.Remove(fileName(role))
	}
	data, state = s.read(copyName(role), kindOf(role))
	if state != whole {
		return nil
	}
	_ = s.store.Write(fileName(role), data)
	return data
}

type state int

const (
	missing state = iota
	broken
	whole
)

func (s *shelf) read(name, kind string) ([]byte, state) {
	data, err := s.store.Read(name, maxLength[kind])
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missing
	}
	if err != nil {
		// A sector that cannot be read is a file that is lost: the copy or the
		// repository has it. Writing will tell if the whole disk is gone.
		return nil, broken
	}
	if Check(kind, data) != nil {
		return data[:min(len(data), 1<<16)], broken
	}
	return data, whole
}

// put keeps what was accepted, with its second copy.
func (s *shelf) put(role string, data []byte) error {
	if err := s.write(fileName(role), data); err != nil {
		return err
	}
	return s.write(copyName(role), data)
}

func (s *shelf) write(name string, data []byte) error {
	if err := s.store.Write(name, data); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrStore, name, err)
	}
	return nil
}
