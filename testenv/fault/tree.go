package fault

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"hausmeister/platform/layout"
)

// A Tree is a layout.Disk in memory, with folders: what a Disk is for the spool,
// it is for programs and journals. Each operation can fail, be the last one, or
// find no space; a power cut loses what was not synced.
type Tree struct {
	mu sync.Mutex
	// below is guarded by mu
	now     map[string]*node // by path
	durable map[string]*node // as the folders were synced last
	steps
	full   bool
	opened int
	log    []Op
	chunk  int
}

type node struct {
	folder bool
	link   bool // to what data says
	data   []byte
	synced []byte
	mode   fs.FileMode
}

// NewTree is an empty disk with the folders.
func NewTree(folders ...string) *Tree {
	t := &Tree{now: map[string]*node{}, durable: map[string]*node{}, chunk: 4}
	for _, f := range folders {
		for ; ; f = filepath.Dir(f) {
			t.now[f] = &node{folder: true}
			if f == filepath.Dir(f) {
				break
			}
		}
	}
	maps.Copy(t.durable, t.now)
	return t
}

// Plan decides about each operation from now on and counts them from 0; nil
// ends all faults and raises the dead.
func (t *Tree) Plan(plan func(Op) Fault) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begin(plan)
	t.full, t.log = false, nil
}

// Ops are the operations since the last Plan that change something or may fail.
func (t *Tree) Ops() []Op {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.log)
}

// Dead says whether the process was killed.
func (t *Tree) Dead() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.dead
}

// OpenFiles is how many files are open: a test for leaks.
func (t *Tree) OpenFiles() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.opened
}

// Closed is what the end of a process does to its files.
func (t *Tree) Closed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.opened = 0
}

// Clone is an image of the disk, without faults.
func (t *Tree) Clone() *Tree {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := &Tree{now: map[string]*node{}, durable: map[string]*node{}, chunk: t.chunk}
	copies := map[*node]*node{}
	clone := func(n *node) *node {
		if copies[n] == nil {
			d := *n
			d.data, d.synced = slices.Clone(n.data), slices.Clone(n.synced)
			copies[n] = &d
		}
		return copies[n]
	}
	for name, n := range t.now {
		c.now[name] = clone(n)
	}
	for name, n := range t.durable {
		c.durable[name] = clone(n)
	}
	return c
}

// Read is what a file holds, whatever the plan.
func (t *Tree) Read(name string) ([]byte, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.now[name]
	if n == nil || n.folder {
		return nil, false
	}
	return slices.Clone(n.data), true
}

// Put changes a file behind everybody's back, nil removes it: bit rot, a
// scanner, another version's hand.
func (t *Tree) Put(name string, data []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if data == nil {
		delete(t.now, name)
		delete(t.durable, name)
		return
	}
	for dir := filepath.Dir(name); t.now[dir] == nil; dir = filepath.Dir(dir) {
		t.now[dir] = &node{folder: true}
		t.durable[dir] = t.now[dir]
	}
	n := &node{data: slices.Clone(data), synced: slices.Clone(data), mode: 0o755}
	t.now[name], t.durable[name] = n, n
}

// Paths are all files.
func (t *Tree) Paths() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []string
	for name, n := range t.now {
		if !n.folder {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// PowerCut loses what was not synced: of what came to folders and went any may
// be kept, and of each file's unsynced end any part, also with wrong bytes.
func (t *Tree) PowerCut(r *rand.Rand) {
	t.mu.Lock()
	defer t.mu.Unlock()
	after := map[string]*node{}
	names := slices.Sorted(maps.Keys(t.now))
	for name := range t.durable {
		if t.now[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		n, d := t.now[name], t.durable[name]
		switch {
		case n == d:
		case r.IntN(2) == 0: // the change of this name was not durable
			n = d
		}
		if n != nil {
			after[name] = n
		}
	}
	// A name in a folder that is not there is not there either.
	for name := range after {
		for dir := filepath.Dir(name); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			if after[dir] == nil {
				delete(after, name)
				break
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		n := after[name]
		n.data = lose(r, n.synced, n.data)
		n.synced = slices.Clone(n.data)
	}
	t.now, t.durable = after, maps.Clone(after)
	t.dead, t.opened = false, 0
}

// stepLocked counts an operation and says what happens to it.
func (t *Tree) stepLocked(kind, name string) (Fault, error) {
	dead := t.dead
	f, op := t.next(kind, name)
	if dead {
		return f, ErrDead
	}
	t.log = append(t.log, op)
	if t.full && f == None && (kind == "write" || kind == "create" || kind == "mkdir" || kind == "symlink") {
		f = Full
	}
	switch f {
	case None:
		return None, nil
	case Kill:
		return Kill, ErrDead
	case Full:
		t.full = true // until something is removed
		return Full, &fs.PathError{Op: kind, Path: name, Err: syscall.ENOSPC}
	}
	return f, fmt.Errorf("%s %s: %w", kind, name, errors.Join(ErrInjected, syscall.EIO))
}

// do runs an operation that is done wholly or not at all.
func (t *Tree) do(kind, name string, op func() error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, err := t.stepLocked(kind, name)
	if err != nil && f != Late {
		return err
	}
	return errors.Join(op(), err)
}

func (t *Tree) findLocked(op, name string, folder bool) (*node, error) {
	n := t.now[name]
	if n == nil || n.folder != folder || n.link && op != "rename" {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return n, nil
}

// Open opens a file for reading.
func (t *Tree) Open(name string) (layout.File, error) {
	var n *node
	err := t.do("open", name, func() (err error) {
		n, err = t.findLocked("open", name, false)
		return err
	})
	if err != nil {
		return nil, err
	}
	return t.handle(n, name), nil
}

func (t *Tree) handle(n *node, name string) *treeFile {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.opened++
	return &treeFile{t: t, n: n, name: name}
}

// Create makes a file that must not be there.
func (t *Tree) Create(name string, mode fs.FileMode) (layout.File, error) {
	var n *node
	err := t.do("create", name, func() error {
		if t.now[name] != nil {
			return &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
		}
		if _, err := t.findLocked("create", filepath.Dir(name), true); err != nil {
			return err
		}
		n = &node{mode: mode}
		t.now[name] = n
		return nil
	})
	if err != nil {
		return nil, err
	}
	return t.handle(n, name), nil
}

// Truncate is open(2) with O_CREAT and O_TRUNC, as other people's code uses it.
func (t *Tree) Truncate(name string, mode fs.FileMode) (layout.File, error) {
	var n *node
	err := t.do("create", name, func() error {
		if _, err := t.findLocked("create", filepath.Dir(name), true); err != nil {
			return err
		}
		if n = t.now[name]; n == nil {
			n = &node{mode: mode}
			t.now[name] = n
		}
		n.data = nil
		return nil
	})
	if err != nil {
		return nil, err
	}
	return t.handle(n, name), nil
}

// Settle is mode and fsync of a file.
func (t *Tree) Settle(name string, mode fs.FileMode) error {
	return t.do("fsync", name, func() error {
		n, err := t.findLocked("settle", name, false)
		if err != nil {
			return err
		}
		n.mode, n.synced = mode, slices.Clone(n.data)
		return nil
	})
}

// Rename replaces what is there.
func (t *Tree) Rename(from, to string) error {
	return t.do("rename", to, func() error {
		n, err := t.findLocked("rename", from, false)
		if err != nil {
			return err
		}
		if _, err := t.findLocked("rename", filepath.Dir(to), true); err != nil {
			return err
		}
		delete(t.now, from)
		t.now[to] = n
		return nil
	})
}

// Remove removes a file or an empty folder.
func (t *Tree) Remove(name string) error {
	t.mu.Lock()
	there := t.now[name] != nil
	dead := t.dead
	t.mu.Unlock()
	if !there && !dead {
		return nil // nothing is changed that a crash could come before
	}
	return t.do("unlink", name, func() error {
		for other := range t.now {
			if filepath.Dir(other) == name && other != name {
				return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOTEMPTY}
			}
		}
		delete(t.now, name)
		t.full = false
		return nil
	})
}

// Mkdir makes a folder.
func (t *Tree) Mkdir(name string) error {
	t.mu.Lock()
	n := t.now[name]
	dead := t.dead
	t.mu.Unlock()
	if n != nil && n.folder && !dead {
		return nil
	}
	return t.do("mkdir", name, func() error {
		if _, err := t.findLocked("mkdir", filepath.Dir(name), true); err != nil {
			return err
		}
		t.now[name] = &node{folder: true}
		return nil
	})
}

// Symlink makes a link, of which nothing can be torn.
func (t *Tree) Symlink(to, name string) error {
	return t.do("symlink", name, func() error {
		if t.now[name] != nil {
			return &fs.PathError{Op: "symlink", Path: name, Err: fs.ErrExist}
		}
		if _, err := t.findLocked("symlink", filepath.Dir(name), true); err != nil {
			return err
		}
		t.now[name] = &node{link: true, data: []byte(to), synced: []byte(to)}
		return nil
	})
}

// Readlink is where a link leads.
func (t *Tree) Readlink(name string) (to string, err error) {
	err = t.do("readlink", name, func() error {
		n := t.now[name]
		if n == nil || !n.link {
			return &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrNotExist}
		}
		to = string(n.data)
		return nil
	})
	return to, err
}

// Names lists a folder.
func (t *Tree) Names(dir string) ([]string, error) {
	var names []string
	err := t.do("list", dir, func() error {
		for name := range t.now {
			if filepath.Dir(name) == dir && name != dir {
				names = append(names, filepath.Base(name))
			}
		}
		slices.Sort(names)
		return nil
	})
	return names, err
}

// SyncDir makes a folder's names durable.
func (t *Tree) SyncDir(dir string) error {
	return t.do("fsync", dir, func() error {
		for name := range t.durable {
			if filepath.Dir(name) == dir && t.now[name] == nil {
				delete(t.durable, name)
			}
		}
		for name, n := range t.now {
			if filepath.Dir(name) == dir {
				t.durable[name] = n
			}
		}
		return nil
	})
}

// Free is much, or nothing.
func (t *Tree) Free(string) (n uint64, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.full {
		return 0, nil
	}
	return 1 << 40, nil
}

// treeFile is an open file.
type treeFile struct {
	t      *Tree
	n      *node
	name   string
	at     int
	closed bool
}

func (f *treeFile) Read(b []byte) (int, error) {
	f.t.mu.Lock()
	defer f.t.mu.Unlock()
	if f.at >= len(f.n.data) {
		return 0, io.EOF
	}
	n := copy(b, f.n.data[f.at:])
	f.at += n
	return n, nil
}

// Write is as many operations as a program of any size has: two or more.
func (f *treeFile) Write(b []byte) (done int, err error) {
	t := f.t
	t.mu.Lock()
	defer t.mu.Unlock()
	for done < len(b) {
		part := b[done:min(len(b), done+max(t.chunk, (len(b)+1)/2))]
		fault, err := t.stepLocked("write", f.name)
		n := len(part)
		switch fault {
		case Fail, Full:
			n = 0
		case Torn, Kill:
			n /= 2
		}
		f.n.data = append(f.n.data, part[:n]...)
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func (f *treeFile) Sync() error {
	return f.t.do("fsync", f.name, func() error {
		f.n.synced = slices.Clone(f.n.data)
		return nil
	})
}

// Close of a file that was written to may be where its loss is told.
func (f *treeFile) Close() error {
	f.t.mu.Lock()
	defer f.t.mu.Unlock()
	if f.closed {
		return fs.ErrClosed
	}
	f.closed = true
	f.t.opened--
	_, err := f.t.stepLocked("close", f.name)
	return err
}

// Model is what a swap by selfupdate does to a Tree, operation by operation, as
// its source and strace have it (v0.6.0); platform/swap's tests hold it against
// the real one.
func (t *Tree) Model() Model { return Model{t} }

// A Model is selfupdate on a Tree.
type Model struct{ t *Tree }

func newPath(target string) string {
	return filepath.Join(filepath.Dir(target), "."+filepath.Base(target)+".new")
}

// Prepare is PrepareAndCheckBinary.
func (m Model) Prepare(r io.Reader, target string, mode fs.FileMode, want layout.Sum) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if got, _ := layout.SumOf(strings.NewReader(string(b))); got != want {
		return errors.New("wrong checksum")
	}
	f, err := m.t.Truncate(newPath(target), mode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	_ = f.Close() // as selfupdate does
	return err
}

// Commit is CommitBinary.
func (m Model) Commit(target, old string) error {
	_ = m.t.Remove(old)
	if err := m.t.Rename(target, old); err != nil {
		return err
	}
	if err := m.t.Rename(newPath(target), target); err != nil {
		return errors.Join(err, m.t.Rename(old, target))
	}
	return nil
}
