package spool

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"hausmeister/platform/layout"
)

// Disk is the folder that a spool lives in. No two spools share one.
type Disk interface {
	// Names lists the files of the folder.
	Names() ([]string, error)
	// Open opens a file for reading and writing; create makes it first, and
	// fails when it is there already.
	Open(name string, create bool) (File, error)
	Remove(name string) error
	// Sync makes creations and removals durable.
	Sync() error
}

// File is one file of a Disk.
type File interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	// Sync makes all writes so far durable.
	Sync() error
	Close() error
}

// Dir is the Disk in a folder of this machine. The folder must exist.
func Dir(path string) Disk { return dir(path) }

type dir string

func (d dir) Names() ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (d dir) Open(name string, create bool) (File, error) {
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE | os.O_EXCL
	}
	f, err := os.OpenFile(filepath.Join(string(d), name), flags, 0o600)
	if err != nil {
		return nil, err // not f: a nil *os.File is no nil File
	}
	return f, nil
}

func (d dir) Remove(name string) error { return os.Remove(filepath.Join(string(d), name)) }

func (d dir) Sync() error {
	if err := layout.SyncDir(string(d)); err != nil {
		return fmt.Errorf("syncing folder %s: %w", string(d), err)
	}
	return nil
}
