package journal

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"hausmeister/platform/layout"
)

var (
	// ErrTorn: there are journals, and none is whole.
	ErrTorn = errors.New("no journal is whole")
	// ErrNewer: the journal was written by a newer version.
	ErrNewer = errors.New("the journal is of a newer version")
	// ErrUnread: one copy is whole, and the other one, which may be newer and whole too,
	// cannot be read.
	ErrUnread = errors.New("the newer copy of the journal may be one that cannot be read")
)

// readAgain are the pauses before a copy that cannot be read is tried again: a scanner
// holds a file that was just written, and a disk may answer at the second time.
var readAgain = [...]time.Duration{20 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond}

// The form of a copy: magic, version of the form, number of the write, length
// and CRC-32C of the text, and the text, which is JSON. A version of this
// program reads all texts of its form: fields that it does not know stay as they
// are, fields that it misses are zero.
//
// The number stands in the text too, so that the CRC holds for it; launchers of
// before the first release with that leave it out, and read the head's. A newer form
// keeps this head, with a CRC of all the rest of the copy: only that tells it from a
// bit that fell over, and is believed.
const (
	magic     = "HMJ\n"
	form      = 1
	headSize  = len(magic) + 1 + 8 + 4 + 4
	maxText   = 256 << 10
	spareSize = 64 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// numberField is the number's name in the text.
const numberField = "number"

// encode makes a copy with that number.
func encode(j Journal, number uint64) ([]byte, error) {
	text, err := textOf(j, j.Unknown, number)
	if err == nil && len(text) > maxText {
		text, err = textOf(j, nil, number) // others' fields must not keep ours away
	}
	if err != nil {
		return nil, err
	}
	if len(text) > maxText {
		return nil, fmt.Errorf("a journal of %d bytes", len(text))
	}
	b := append([]byte(magic), form)
	b = binary.BigEndian.AppendUint64(b, number)
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(text, castagnoli))
	return append(b, text...), nil
}

// textOf is one object: of the same journal always the same.
func textOf(j Journal, unknown map[string]json.RawMessage, number uint64) ([]byte, error) {
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	fields := map[string]json.RawMessage{}
	maps.Copy(fields, unknown)
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	fields[numberField] = strconv.AppendUint(nil, number, 10)
	return json.Marshal(fields)
}

// known are the names of our fields.
var known = func() map[string]bool {
	names := map[string]bool{numberField: true}
	for f := range reflect.TypeFor[Journal]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names[name] = true
	}
	return names
}()

// read reads a text; the number is zero where it says none.
func read(text []byte) (j Journal, number uint64, err error) {
	var fields map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(text, &j), json.Unmarshal(text, &fields)); err != nil {
		return Journal{}, 0, err
	}
	if value, there := fields[numberField]; there {
		if number, err = strconv.ParseUint(string(value), 10, 64); err != nil {
			return Journal{}, 0, err
		}
	}
	for name, value := range fields {
		// As json finds our fields: whatever their case.
		if !known[strings.ToLower(name)] {
			if j.Unknown == nil {
				j.Unknown = map[string]json.RawMessage{}
			}
			j.Unknown[name] = value
		}
	}
	return j, number, nil
}

// decode reads a copy.
func decode(b []byte) (j Journal, number uint64, err error) {
	if len(b) < headSize || string(b[:len(magic)]) != magic {
		return Journal{}, 0, ErrTorn
	}
	head, text := b[len(magic):headSize], b[headSize:]
	sum := binary.BigEndian.Uint32(head[13:])
	if head[0] > form && sum == crc32.Update(crc32.Checksum(b[:headSize-4], castagnoli), castagnoli, text) {
		return Journal{}, 0, ErrNewer
	}
	if head[0] != form || int(binary.BigEndian.Uint32(head[9:])) != len(text) || sum != crc32.Checksum(text, castagnoli) {
		return Journal{}, 0, ErrTorn
	}
	if j, number, err = read(text); err != nil {
		return Journal{}, 0, ErrTorn
	}
	if number == 0 {
		number = binary.BigEndian.Uint64(head[1:])
	}
	if !j.sane() {
		return Journal{}, 0, ErrNewer // whole, but of rules that are not ours
	}
	return j, number, nil
}

// sane says whether the machine can stand as it is written.
func (j Journal) sane() bool {
	switch {
	case j.State > RolledBack, !j.Good.Known() && j.State != Idle:
		return false
	case (j.State >= Offered && j.State <= Trial || j.State == RollingBack) != j.Next.Known():
		return false
	}
	for _, p := range []Program{j.Good, j.Next, j.Previous} {
		if p.Known() && layout.CheckVersion(p.Version) != nil {
			return false
		}
	}
	return true
}

// Config says where the journal lies.
type Config struct {
	Dir  string // state/update, which only the administrator may enter
	Disk layout.Disk
	// Lock keeps the other process away from the journal for one change; nil =
	// there is no other. It ends with its process.
	Lock func() (release func() error, err error)
	// LockFor is how long it is waited for; 0 = 10 s.
	LockFor time.Duration
}

// A Store keeps a journal as two copies, of which the older is written anew each
// time, so that one is always whole.
type Store struct {
	c Config
	// one makes steps of one program come one after the other, where Lock is nil or
	// knows processes only: of two that begin with the same copy one would be lost,
	// and a commit that is lost so is never told.
	one sync.Mutex

	mu          sync.Mutex
	unreadSince time.Time // guarded by mu; zero = both copies could be read the last time
}

// goneAfter is how long a copy stays unread, whenever this process looks, until it counts
// as gone for good.
const goneAfter = time.Hour

// gone says whether a copy that is unread now, or is not, is gone for good.
func (s *Store) gone(unread bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !unread:
		s.unreadSince = time.Time{}
	case s.unreadSince.IsZero():
		s.unreadSince = time.Now()
	}
	return unread && time.Since(s.unreadSince) >= goneAfter
}

// NewStore checks nothing and opens nothing.
func NewStore(c Config) *Store {
	if c.LockFor == 0 {
		c.LockFor = 10 * time.Second
	}
	return &Store{c: c}
}

// FileLock is the Lock of a real folder.
func FileLock(dir string) func() (func() error, error) {
	return func() (func() error, error) {
		l, err := layout.Lock(filepath.Join(dir, "journal.lock"))
		if err != nil {
			return nil, err
		}
		return l.Close, nil
	}
}

func (s *Store) path(i int) string {
	return filepath.Join(s.c.Dir, []string{"journal.a", "journal.b"}[i])
}

func (s *Store) spare() string { return filepath.Join(s.c.Dir, "reserve") }

// copies are what is read of both.
type copies struct {
	best   Journal
	number uint64
	write  int   // the copy to write next
	err    error // why there is no best
	unread error // why the best may not be the newest
}

func (s *Store) read() copies {
	c := copies{}
	found := false
	var torn, newer, unread error
	for i := range 2 {
		j, number, err := s.readCopy(i)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case errors.Is(err, ErrNewer):
			newer = err
		case errors.Is(err, ErrTorn), errors.Is(err, layout.ErrForeign):
			torn = errors.Join(ErrTorn, err)
		case err != nil:
			unread = err
		case !found || number > c.number:
			c.best, c.number, c.write, found = j, number, 1-i, true
		}
	}
	gone := s.gone(unread != nil)
	switch {
	// One that is newer was the last word, whatever else lies there.
	case newer != nil:
		return copies{err: newer}
	case found && unread != nil && !gone:
		c.unread = fmt.Errorf("%w: %w", ErrUnread, unread)
	case found:
	case unread != nil: // what cannot be read now may be whole
		c.err = unread
	default:
		c.err = torn
	}
	return c
}

// readCopy tries again what may come right by itself: what is torn or somebody else's
// does not.
func (s *Store) readCopy(i int) (j Journal, number uint64, err error) {
	for try := 0; ; try++ {
		b, err := s.readFile(s.path(i))
		if err == nil {
			return decode(b)
		}
		if try == len(readAgain) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, layout.ErrForeign) {
			return Journal{}, 0, err
		}
		time.Sleep(readAgain[try])
	}
}

func (s *Store) readFile(path string) ([]byte, error) {
	f, err := s.c.Disk.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, int64(headSize+maxText+1)))
	return b, errors.Join(err, f.Close())
}

// Load reads the journal: the zero one when there is none yet, and also, with an
// error that says why, when there is none that can be read. With ErrUnread it is the
// copy that can, which may be a step behind.
func (s *Store) Load() (Journal, error) {
	c := s.read()
	if err := errors.Join(c.err, c.unread); err != nil {
		return c.best, fmt.Errorf("reading the journal in %s: %w", s.c.Dir, err)
	}
	return c.best, nil
}

// Do is one step: it reads, changes and writes under the lock, and returns when
// the result is durable. After an error the step has not been made, unless the
// disk was cut in the middle: then it is there or not, whole. A journal of which
// no copy is whole is begun anew by Adopt, and by nothing else; one of a newer
// version, or on a disk that cannot be read, not even by that.
//
// Where one copy cannot be read, also after some tries, the agent makes no step: it
// loses nothing by waiting, and could arm what was withdrawn, or write over a commit.
// The launcher goes on from the other copy, and a step that changes something replaces
// the one that cannot be read; one that changes nothing leaves it, since it may be read
// the next time. The other copy is a step behind at most, all effects may be repeated, and
// what the launcher starts it knows by its hash; if it waited for a sector that is gone for
// good, nothing would be counted, and nothing gone back from. After an hour the copy counts
// as gone, and the agent goes on too: at rest the launcher may change nothing for days.
func (s *Store) Do(ctx context.Context, e Event) (Journal, []Effect, error) {
	s.one.Lock()
	defer s.one.Unlock()
	release, err := s.lock(ctx)
	if err != nil {
		return Journal{}, nil, fmt.Errorf("locking the journal: %w", err)
	}
	j, effects, err := s.do(e)
	return j, effects, errors.Join(err, release())
}

func (s *Store) lock(ctx context.Context) (func() error, error) {
	if s.c.Lock == nil {
		return func() error { return nil }, nil
	}
	const every = 20 * time.Millisecond
	for began := time.Now(); ; {
		release, err := s.c.Lock()
		if err == nil || !errors.Is(err, layout.ErrLocked) || time.Since(began) > s.c.LockFor {
			return release, err
		}
		t := time.NewTimer(every)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

func (s *Store) do(e Event) (Journal, []Effect, error) {
	c := s.read()
	if c.err != nil && (e.Kind != Adopt || !errors.Is(c.err, ErrTorn)) {
		return Journal{}, nil, fmt.Errorf("reading the journal in %s: %w", s.c.Dir, c.err)
	}
	if c.unread != nil && e.Kind.agents() {
		return Journal{}, nil, fmt.Errorf("reading the journal in %s: %w", s.c.Dir, c.unread)
	}
	next, effects, err := c.best.Step(e)
	if err != nil {
		return Journal{}, nil, err
	}
	b, err := encode(next, c.number+1)
	if err != nil {
		return Journal{}, nil, fmt.Errorf("writing the journal: %w", err)
	}
	same, err := encode(c.best, c.number+1)
	if err == nil && string(same) == string(b) {
		return next, effects, nil // nothing has changed: no wear, no wake
	}
	if err := s.write(s.path(c.write), b); err != nil {
		return Journal{}, nil, err
	}
	return next, effects, nil
}

// write uses up the reserve when the disk is full, and makes a new one later.
func (s *Store) write(path string, b []byte) error {
	err := layout.WriteOn(s.c.Disk, path, b, 0o600)
	if layout.IsFull(err) {
		if err := s.c.Disk.Remove(s.spare()); err != nil {
			return err
		}
		return layout.WriteOn(s.c.Disk, path, b, 0o600)
	}
	return err
}

// Reserve keeps room for the journal on a disk that fills up; without room it
// leaves what there is.
func (s *Store) Reserve() error {
	f, err := s.c.Disk.Open(s.spare())
	if err == nil {
		return f.Close()
	}
	return layout.WriteOn(s.c.Disk, s.spare(), make([]byte, spareSize), 0o600)
}
