package fakes

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"

	"hausmeister/agent/spool"
	"hausmeister/platform/keystore"
)

// A Disk is a folder in memory: the spool's, and the small files of the state.
// What is written to it is durable at once; faults are testenv/fault's.
type Disk struct {
	mu    sync.Mutex
	files map[string]*File
}

// NewDisk is an empty one.
func NewDisk() *Disk { return &Disk{files: map[string]*File{}} }

// Names lists the files.
func (d *Disk) Names() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.files)), nil
}

// Remove deletes a file.
func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.files[name]; !ok {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	delete(d.files, name)
	return nil
}

// Sync has nothing to do.
func (d *Disk) Sync() error { return nil }

// Open opens a file; create makes it and fails when it is there.
func (d *Disk) Open(name string, create bool) (spool.File, error) {
	f, err := d.open(name, create)
	if err != nil {
		return nil, err // not f: a nil *File is no nil spool.File
	}
	return f, nil
}

func (d *Disk) open(name string, create bool) (*File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, ok := d.files[name]
	switch {
	case create && ok:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrExist}
	case !create && !ok:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	case create:
		f = &File{}
		d.files[name] = f
	}
	return f, nil
}

// Read returns a whole file.
func (d *Disk) Read(name string) ([]byte, error) {
	f, err := d.open(name, false)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.data), nil
}

// Write replaces a whole file.
func (d *Disk) Write(name string, data []byte) error {
	d.Put(name, data)
	return nil
}

// Put is Write for a test, which knows that it cannot fail.
func (d *Disk) Put(name string, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files[name] = &File{data: slices.Clone(data)}
}

// Fill makes the disk a copy of another. The two share memory until one of
// them writes: a thousand full disks are no more than one.
func (d *Disk) Fill(from *Disk) {
	from.mu.Lock()
	defer from.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files = map[string]*File{}
	for name, f := range from.files {
		f.mu.Lock()
		f.shared = true
		d.files[name] = &File{data: f.data, shared: true}
		f.mu.Unlock()
	}
}

// A File is one file of a Disk.
type File struct {
	mu     sync.Mutex
	data   []byte
	shared bool // with a file of another disk
}

// ownLocked makes data this file's own before it is changed.
func (f *File) ownLocked() {
	if f.shared {
		f.data, f.shared = slices.Clone(f.data), false
	}
}

// ReadAt is io.ReaderAt.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	if off >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt is io.WriterAt; a gap before off is filled with zeros.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	f.ownLocked()
	if end := off + int64(len(p)); end > int64(len(f.data)) {
		f.data = append(f.data, make([]byte, end-int64(len(f.data)))...)
	}
	return copy(f.data[off:], p), nil
}

// Truncate cuts or fills up with zeros.
func (f *File) Truncate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ownLocked()
	if size <= int64(len(f.data)) {
		f.data = f.data[:size]
	} else {
		f.data = append(f.data, make([]byte, size-int64(len(f.data)))...)
	}
	return nil
}

// Sync has nothing to do.
func (f *File) Sync() error { return nil }

// Close has nothing to do.
func (f *File) Close() error { return nil }

// Keys is a key store in memory.
type Keys struct {
	mu   sync.Mutex
	keys map[string]crypto.Signer
}

// NewKeys is an empty one.
func NewKeys() *Keys { return &Keys{keys: map[string]crypto.Signer{}} }

// Create makes a key.
func (k *Keys) Create(name string) (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.keys[name]; ok {
		return nil, fmt.Errorf("key %s: %w", name, fs.ErrExist)
	}
	k.keys[name] = key
	return key, nil
}

// Signer gives a key.
func (k *Keys) Signer(name string) (crypto.Signer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if key, ok := k.keys[name]; ok {
		return key, nil
	}
	return nil, fmt.Errorf("key %s: %w", name, keystore.ErrNoKey)
}

// Delete removes a key; one that is not there is no error.
func (k *Keys) Delete(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.keys, name)
	return nil
}

// Names lists the keys.
func (k *Keys) Names() ([]string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Sorted(maps.Keys(k.keys)), nil
}
