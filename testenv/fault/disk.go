// Package fault makes happen what disks do to programs: operations that fail,
// writes that end half way, no space, kill -9 and power cuts. A Disk is held in
// memory, so that a test can try a fault at every single operation; what it
// loses in a power cut is what a real one may lose, namely all that was not
// synced, in any mixture.
package fault

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"

	"hausmeister/agent/spool"
)

// Disk is a folder in memory that fails as told.
type Disk struct {
	mu sync.Mutex
	// below is guarded by mu
	files   map[string]*file
	durable map[string]*file // the folder as it was synced last
	steps
	space int // bytes that may still be written; below 0: no limit
	open  int
}

type file struct {
	data   []byte
	synced []byte
}

// NewDisk is an empty folder without faults.
func NewDisk() *Disk {
	return &Disk{files: map[string]*file{}, durable: map[string]*file{}, space: -1}
}

// Plan decides about each operation from now on and counts them from 0; nil
// ends all faults, and raises the dead.
func (d *Disk) Plan(plan func(Op) Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.begin(plan)
}

// Ops is how many operations there were since the last Plan.
func (d *Disk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n
}

// Space leaves n bytes for writing; below 0 is no limit. What is removed or
// truncated becomes free again.
func (d *Disk) Space(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.space = n
}

// OpenFiles is how many files are open: a test for leaks.
func (d *Disk) OpenFiles() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open
}

// Bytes is what all files hold.
func (d *Disk) Bytes() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, f := range d.files {
		n += len(f.data)
	}
	return n
}

// Edit changes a file behind everybody's back: bit rot, or another version.
func (d *Disk) Edit(name string, change func([]byte) []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.files[name]
	f.data = change(slices.Clone(f.data))
	f.synced = slices.Clone(f.data)
}

// Clone copies the disk as it is: an image of it.
func (d *Disk) Clone() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := NewDisk()
	for name, f := range d.files {
		c.files[name] = &file{data: slices.Clone(f.data), synced: slices.Clone(f.data)}
	}
	maps.Copy(c.durable, c.files)
	return c
}

// PowerCut loses what was not synced: of the changes of the folder any may be
// kept, and of each file's unsynced end any part, also with wrong bytes.
func (d *Disk) PowerCut(r *rand.Rand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := map[string]*file{}
	for _, name := range slices.Sorted(maps.Keys(d.files)) {
		if d.durable[name] == d.files[name] || r.IntN(2) == 0 {
			after[name] = d.files[name]
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.durable)) {
		if d.files[name] == nil && r.IntN(2) == 0 {
			after[name] = d.durable[name] // its removal was not durable
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		f := after[name]
		f.data = lose(r, f.synced, f.data)
		f.synced = slices.Clone(f.data)
	}
	d.files, d.durable = after, maps.Clone(after)
	d.dead, d.open = false, 0
}

// stepLocked counts an operation and says what happens to it.
func (d *Disk) stepLocked(kind, name string) (Fault, error) {
	f, _ := d.next(kind, name)
	if f == None {
		return None, nil
	}
	if d.dead {
		return f, ErrDead
	}
	return f, fmt.Errorf("%s %s: %w", kind, name, ErrInjected)
}

// do runs an operation that is done wholly or not at all.
func (d *Disk) do(kind, name string, op func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := d.stepLocked(kind, name)
	if err != nil && f != Late {
		return err
	}
	return errors.Join(op(), err)
}

// Names lists the files.
func (d *Disk) Names() ([]string, error) {
	var names []string
	err := d.do("list", "", func() error {
		names = slices.Sorted(maps.Keys(d.files))
		return nil
	})
	return names, err
}

// Open opens or makes a file.
func (d *Disk) Open(name string, create bool) (spool.File, error) {
	var f *file
	err := d.do("open", name, func() error {
		f = d.files[name]
		switch {
		case create && f != nil:
			return &fs.PathError{Op: "open", Path: name, Err: fs.ErrExist}
		case !create && f == nil:
			return &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		case create:
			f = &file{}
			d.files[name] = f
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.open++
	d.mu.Unlock()
	return &handle{d: d, f: f, name: name}, nil
}

// Remove deletes a file.
func (d *Disk) Remove(name string) error {
	return d.do("remove", name, func() error {
		f := d.files[name]
		if f == nil {
			return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
		}
		d.freeLocked(len(f.data))
		delete(d.files, name)
		return nil
	})
}

// Sync makes the folder durable.
func (d *Disk) Sync() error {
	return d.do("sync folder", "", func() error {
		d.durable = maps.Clone(d.files)
		return nil
	})
}

func (d *Disk) freeLocked(n int) {
	if d.space >= 0 {
		d.space += n
	}
}

// handle is an open file.
type handle struct {
	d      *Disk
	f      *file
	name   string
	closed bool
}

func (h *handle) ReadAt(b []byte, off int64) (n int, err error) {
	err = h.d.do("read", h.name, func() error {
		if off < int64(len(h.f.data)) {
			n = copy(b, h.f.data[off:])
		}
		return nil
	})
	if err == nil && n < len(b) {
		err = io.EOF
	}
	return n, err
}

func (h *handle) WriteAt(b []byte, off int64) (int, error) {
	d := h.d
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := d.stepLocked("write", h.name)
	n := len(b)
	switch f {
	case Fail:
		n = 0
	case Torn, Kill:
		n /= 2
	}
	if grow := int(off) + n - len(h.f.data); d.space >= 0 && grow > d.space {
		n = max(0, n-(grow-d.space))
		err = errors.Join(err, &fs.PathError{Op: "write", Path: h.name, Err: syscall.ENOSPC})
	}
	if n > 0 {
		if grow := int(off) + n - len(h.f.data); grow > 0 {
			h.f.data = append(h.f.data, make([]byte, grow)...)
			d.freeLocked(-grow)
		}
		copy(h.f.data[off:], b[:n])
	}
	return n, err
}

func (h *handle) Truncate(size int64) error {
	return h.d.do("truncate", h.name, func() error {
		h.d.freeLocked(len(h.f.data) - int(size))
		h.f.data = h.f.data[:size:size]
		return nil
	})
}

func (h *handle) Sync() error {
	return h.d.do("sync", h.name, func() error {
		h.f.synced = slices.Clone(h.f.data)
		return nil
	})
}

// Close never fails for want of luck: what it could lose is lost by not syncing.
func (h *handle) Close() error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if !h.closed {
		h.closed = true
		h.d.open--
	}
	return nil
}
