package update

import (
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"hausmeister/agent/update/fetch"
	"hausmeister/platform/layout"
)

// firstBytes opens parts, and calls come with the first bytes that are written to any of
// them: who asked for bytes may still be sent away to wait for a turn.
func (u *Updater) firstBytes(come func()) func(sha256 []byte) (fetch.Part, error) {
	come = sync.OnceFunc(come)
	return func(sha256 []byte) (fetch.Part, error) {
		p, err := u.c.Parts.Part(sha256)
		if err != nil {
			return nil, err
		}
		return &noticed{p, come}, nil
	}
}

// noticed is a part of which it is known when bytes come.
type noticed struct {
	fetch.Part
	come func()
}

func (n *noticed) WriteAt(b []byte, at int64) (int, error) {
	n.come()
	return n.Part.WriteAt(b, at)
}

func (n *noticed) Close() error {
	if c, ok := n.Part.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Folder is Parts in a folder that belongs to this program alone.
type Folder string

// Part opens a part, which may not be there yet.
func (f Folder) Part(sha256 []byte) (fetch.Part, error) {
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return nil, err
	}
	return fetch.OpenPart(f.path(sha256))
}

func (f Folder) path(sha256 []byte) string {
	return filepath.Join(string(f), hex.EncodeToString(sha256)+".part")
}

// Done removes a part; Sweep gets what stays.
func (f Folder) Done(sha256 []byte) {
	if p, err := fetch.OpenPart(f.path(sha256)); err == nil {
		_ = p.Remove()
	}
}

func (f Folder) unpacked() string { return filepath.Join(string(f), "program") }

// Out gives an empty file.
func (f Folder) Out() (io.WriteCloser, error) {
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(f.unpacked(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
}

// Unpacked opens what Out was filled with.
func (f Folder) Unpacked() (io.ReadCloser, error) { return os.Open(f.unpacked()) }

// Sweep empties the folder.
func (f Folder) Sweep() error {
	all, err := os.ReadDir(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range all {
		errs = append(errs, os.Remove(filepath.Join(string(f), e.Name())))
	}
	return errors.Join(errs...)
}

// Held is the length of all that is here.
func (f Folder) Held() (held uint64, err error) {
	all, err := os.ReadDir(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	for _, e := range all {
		if info, err := e.Info(); err == nil {
			held += uint64(info.Size())
		}
	}
	return held, err
}

// Free is the room of the disk that the folder is on.
func (f Folder) Free() (uint64, error) {
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return 0, err
	}
	return layout.Plain().Free(string(f))
}
