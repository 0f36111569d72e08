package fetch

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"

	"hausmeister/platform/layout"
)

// Part is where a target's file grows. State is a few bytes beside it that are
// replaced whole or not at all, also when the power is cut; nil = there are none.
type Part interface {
	io.ReaderAt
	io.WriterAt
	Size() (int64, error)
	Truncate(size int64) error
	Sync() error
	State() ([]byte, error)
	SetState(state []byte) error
}

// FilePart is a Part in a file, with its state in another beside it. The folder
// belongs to this program alone.
type FilePart struct {
	*os.File
	state string
}

// OpenPart opens the part at path, which may not be there yet.
func OpenPart(path string) (*FilePart, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening a part: %w", err)
	}
	return &FilePart{File: f, state: path + ".state"}, nil
}

// Size is how long the file is.
func (p *FilePart) Size() (int64, error) {
	info, err := p.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// State reads the file beside.
func (p *FilePart) State() ([]byte, error) {
	f, err := os.Open(p.state)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, int64(stateSize)+1))
}

// SetState replaces the file beside; nil removes it.
func (p *FilePart) SetState(state []byte) error {
	if state == nil {
		if err := os.Remove(p.state); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	return layout.WriteFile(p.state, state, 0o600)
}

// Remove ends the part and takes it off the disk.
func (p *FilePart) Remove() error {
	err := p.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	return errors.Join(p.SetState(nil), err, os.Remove(p.Name()))
}

// state is what is known of a part: which file it is of, and that its first bytes
// are those that came. Without it a part is worth nothing: after a power cut a file
// may have its length and not its bytes.
type state struct {
	sha256 [sha256.Size]byte // of the whole file
	length int64             // of the whole file
	offset int64             // how many bytes are there
	prefix [sha256.Size]byte // hash of these
}

const (
	stateMagic = "HMpart1\n"
	stateSize  = len(stateMagic) + sha256.Size + 8 + 8 + sha256.Size + 4
)

func (s state) encode() []byte {
	b := append([]byte(stateMagic), s.sha256[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.length))
	b = binary.BigEndian.AppendUint64(b, uint64(s.offset))
	b = append(b, s.prefix[:]...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// decodeState is false for what is no state.
func decodeState(b []byte) (s state, ok bool) {
	if len(b) != stateSize || string(b[:len(stateMagic)]) != stateMagic ||
		crc32.ChecksumIEEE(b[:stateSize-4]) != binary.BigEndian.Uint32(b[stateSize-4:]) {
		return state{}, false
	}
	b = b[len(stateMagic):]
	copy(s.sha256[:], b)
	length, offset := binary.BigEndian.Uint64(b[32:]), binary.BigEndian.Uint64(b[40:])
	copy(s.prefix[:], b[48:])
	if length > math.MaxInt64 || offset > length {
		return state{}, false
	}
	s.length, s.offset = int64(length), int64(offset)
	return s, true
}

// growing is a part while it is fetched: what is on disk, and its hash so far.
type growing struct {
	part   Part
	want   Target
	hash   hash.Hash
	offset int64 // written and hashed
	kept   int64 // of these the state knows
}

// keepEvery is after how many bytes the state is written: what a power cut costs at
// most, against two fsyncs.
const keepEvery = 1 << 20

// resume goes on with what the part has, if it is of this file and is still what it
// was.
func (g *growing) resume() error {
	g.hash, g.offset, g.kept = sha256.New(), 0, 0
	raw, err := g.part.State()
	if err != nil {
		return fmt.Errorf("%w: reading its state: %w", ErrDisk, err)
	}
	s, ok := decodeState(raw)
	size, err := g.part.Size()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	if !ok || !bytes.Equal(s.sha256[:], g.want.SHA256) || s.length != g.want.Length || s.offset > size {
		return g.restart()
	}
	if _, err := io.Copy(g.hash, io.NewSectionReader(g.part, 0, s.offset)); err != nil {
		return g.restart() // unreadable: other sectors are tried
	}
	if !bytes.Equal(g.hash.Sum(nil), s.prefix[:]) {
		return g.restart()
	}
	g.offset, g.kept = s.offset, s.offset
	if size > s.offset {
		if err := g.part.Truncate(s.offset); err != nil {
			return fmt.Errorf("%w: %w", ErrDisk, err)
		}
	}
	return nil
}

// restart forgets all that came. The state goes first: a state without its bytes is
// noticed, but why rely on it.
func (g *growing) restart() error {
	g.hash.Reset()
	g.offset, g.kept = 0, 0
	if err := errors.Join(g.part.SetState(nil), g.part.Truncate(0)); err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	return nil
}

// add writes the next bytes.
func (g *growing) add(b []byte) error {
	if _, err := g.part.WriteAt(b, g.offset); err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	g.hash.Write(b)
	g.offset += int64(len(b))
	if g.offset-g.kept >= keepEvery {
		return g.keep()
	}
	return nil
}

// keep makes sure that what came is still there after a power cut.
func (g *growing) keep() error {
	if g.offset == g.kept {
		return nil
	}
	s := state{length: g.want.Length, offset: g.offset}
	copy(s.sha256[:], g.want.SHA256)
	copy(s.prefix[:], g.hash.Sum(nil))
	err := g.part.Sync()
	if err == nil {
		err = g.part.SetState(s.encode())
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	g.kept = g.offset
	return nil
}

// whole says whether all is there and is what was asked for.
func (g *growing) whole() bool {
	return g.offset == g.want.Length && bytes.Equal(g.hash.Sum(nil), g.want.SHA256)
}
