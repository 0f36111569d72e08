package release

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"hausmeister/platform/layout"
)

// Entry is one line of the record: who did what and why. Hash is over the line
// with an empty hash, Prev is that of the line before. Whoever wrote a hash down
// elsewhere sees whether anything up to its entry was changed, taken out or put
// between; of what follows, and without such a hash, nobody can: who writes the file
// can make all hashes anew.
type Entry struct {
	Seq    int64             `json:"seq"`
	At     time.Time         `json:"at"`
	Who    string            `json:"who"`
	Verb   string            `json:"verb"`
	Reason string            `json:"reason"`
	What   map[string]string `json:"what,omitempty"`
	Prev   string            `json:"prev"`
	Hash   string            `json:"hash"`
}

func (e Entry) sum() (string, error) {
	e.Hash = ""
	data, err := json.Marshal(e) // maps are sorted
	if err != nil {
		return "", err
	}
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:]), nil
}

// Record is the file of entries, one line of JSON each.
type Record struct {
	Path string
	Now  func() time.Time
	// Waiting for another who is just writing an entry.
	Waiting Waiting
}

const maxRecord = 256 << 20

// Read walks the chain. A line that a power cut tore off at the end is told
// apart: torn is where it begins, -1 if none is.
func (r Record) Read() (entries []Entry, torn int64, err error) {
	data, err := readFile(r.Path, maxRecord)
	if errors.Is(err, ErrNotFound) {
		return nil, -1, nil
	}
	if err != nil {
		return nil, -1, err
	}
	return readRecord(data)
}

func readRecord(data []byte) (entries []Entry, torn int64, err error) {
	prev, offset := "", int64(0)
	for len(data) > 0 {
		line, rest, whole := bytes.Cut(data, []byte("\n"))
		if !whole {
			return entries, offset, nil
		}
		var e Entry
		n := len(entries) + 1
		if _, err := strictly(line, &e); err != nil {
			return entries, -1, unverified("line %d of the record: %w", n, err)
		}
		sum, err := e.sum()
		if err != nil {
			return entries, -1, err
		}
		if e.Seq != int64(n) || e.Prev != prev || e.Hash != sum {
			return entries, -1, unverified("line %d of the record was altered, or one before it is gone", n)
		}
		entries, prev, data = append(entries, e), e.Hash, rest
		offset += int64(len(line)) + 1
	}
	return entries, -1, nil
}

// Add makes an entry durable. A chain that is broken takes none.
func (r Record) Add(who, verb, reason string, what map[string]string) (e Entry, err error) {
	if oneLine(reason) == "" {
		return Entry{}, refuse("%s without a reason", verb)
	}
	if err := os.MkdirAll(filepath.Dir(r.Path), 0o755); err != nil {
		return Entry{}, err
	}
	f, err := os.OpenFile(r.Path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return Entry{}, err
	}
	l, err := r.Waiting.hold(f, func() (*layout.FileLock, error) { return layout.LockOpen(f, r.Path+".lock") })
	if err != nil {
		return Entry{}, errors.Join(err, f.Close())
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	// Through f alone: on a share of Windows nobody else reads what is locked (flock(2)).
	data, err := readAll(f, r.Path, maxRecord)
	if err != nil {
		return Entry{}, err
	}
	entries, torn, err := readRecord(data)
	if err != nil {
		return Entry{}, err
	}
	e = Entry{Seq: int64(len(entries)) + 1, At: r.Now().UTC().Truncate(time.Millisecond), Who: oneLine(who), Verb: verb, Reason: oneLine(reason), What: what}
	if len(entries) > 0 {
		e.Prev = entries[len(entries)-1].Hash
	}
	if e.Hash, err = e.sum(); err != nil {
		return Entry{}, err
	}
	return e, e.write(f, torn)
}

func (e Entry) write(f *os.File, torn int64) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if torn >= 0 { // half a line is no entry: its verb said that it failed
		if err := f.Truncate(torn); err != nil {
			return err
		}
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	if _, err := f.Write(append(line, '\n')); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if e.Seq == 1 {
		return layout.SyncDir(filepath.Dir(f.Name()))
	}
	return nil
}

// Kept is Read for who wants to know whether the record is whole: one without an
// entry is missing, and beside published metadata somebody has taken it away.
func (r Record) Kept(repo string) (entries []Entry, torn int64, err error) {
	entries, torn, err = r.Read()
	if err != nil || len(entries) > 0 {
		return entries, torn, err
	}
	published, err := os.ReadDir(filepath.Join(repo, "metadata"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, torn, err
	}
	if len(published) > 0 {
		return nil, torn, unverified("the record %s is missing or has no entry, and beside it %s is published: it was taken away, or --record must name another", r.Path, repo)
	}
	return nil, torn, fmt.Errorf("%w: the record %s", ErrNotFound, r.Path)
}

// CheckHead finds the entry of a hash that was written down: it must still be there.
// Up to it the entries are those of then, proven is how many these are.
func CheckHead(entries []Entry, head string) (proven int, err error) {
	for i, e := range entries {
		if e.Hash == head {
			return i + 1, nil
		}
	}
	return 0, unverified("no entry of the record has the hash %s", fmt.Sprintf("%.64s", head))
}
