package spool

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	"hausmeister/proto/hmpb"
)

// maxEntries of one batch: what the collector stores at once is bounded too.
const maxEntries = 4096

// Batch gives the entries above after, as many as fit into maxBytes but at
// least one; nil when there are none. What is missing between after and its
// last entry is named as dropped.
func (s *Spool) Batch(after uint64, maxBytes int) (*hmpb.Batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var (
		entries []*hmpb.Entry
		dropped []*hmpb.Range
		size    int
		prev    = after
		full    bool
		bad     error
	)
	add := func(seq uint64, r record) bool {
		if full = len(entries) > 0 && size+len(r.entry) > maxBytes || len(entries) == maxEntries; full {
			return false
		}
		e := &hmpb.Entry{}
		if err := proto.Unmarshal(r.entry, e); err != nil {
			bad = fmt.Errorf("decoding entry %d: %w", seq, err) // whole by its checksum: a fault of ours
			return false
		}
		if seq > prev+1 {
			dropped = append(dropped, hmpb.Range_builder{From: proto.Uint64(prev + 1), To: proto.Uint64(seq - 1)}.Build())
		}
		e.SetOffset(uint32(seq - after - 1))
		entries = append(entries, e)
		size += len(r.entry)
		prev = seq
		return true
	}
	for seq := after + 1; !full && seq <= s.last; {
		g, ok := s.holderLocked(seq)
		if !ok {
			break
		}
		seq = max(seq, g.first)
		if err := errors.Join(s.scanLocked(g, seq, add), bad); err != nil {
			return nil, fmt.Errorf("reading the spool: %w", err)
		}
		seq = max(seq, g.last+1)
	}
	if len(entries) == 0 {
		return nil, nil
	}
	return hmpb.Batch_builder{
		SpoolEpoch: s.epoch[:],
		FirstSeq:   proto.Uint64(after + 1),
		Entries:    entries,
		Dropped:    dropped,
	}.Build(), nil
}

// holderLocked finds the segment that holds seq or, if none does, the first
// that begins above it.
func (s *Spool) holderLocked(seq uint64) (*segment, bool) {
	for _, g := range s.segments {
		if g.last >= g.first && g.last >= seq {
			return g, true
		}
	}
	return nil, false
}

// trouble counts how often reading failed at one place. A disk that does so
// three times in a row will not give the record back.
type trouble struct {
	at    position
	times int
}

const patience = 3

// scanLocked hands the records of g from sequence from on to f until f has
// enough. The record's entry is valid during the call only. A record that is
// not whole any more, or that the disk refuses to give for good, ends the
// segment: what it held from there is lost.
func (s *Spool) scanLocked(g *segment, from uint64, f func(uint64, record) bool) error {
	file := s.active
	if file == nil || g != s.newestLocked() {
		var err error
		if file, err = s.conf.Disk.Open(g.name(), false); err != nil {
			return err // too many open files, say: not a reason to give entries up
		}
		defer file.Close()
	}
	at := position{gen: g.gen, seq: g.first, off: headerSize}
	if s.hint.gen == g.gen && s.hint.seq >= g.first && s.hint.seq <= from {
		at = s.hint
	}
	in := bufio.NewReader(io.NewSectionReader(file, at.off, g.size-at.off))
	var buf []byte
	for at.seq <= g.last {
		var err error
		if buf, err = readRecord(in, buf[:0]); err != nil {
			return s.unreadableLocked(g, at, err)
		}
		r, ok := parseRecord(buf, g.gen)
		if !ok {
			return s.cutLocked(g, at.seq)
		}
		if at.seq >= from && !f(at.seq, r) {
			break
		}
		at.seq++
		at.off += int64(len(buf))
	}
	s.hint = at
	return nil
}

// readRecord appends the next record's bytes to b.
func readRecord(in io.Reader, b []byte) ([]byte, error) {
	b = append(b, make([]byte, recordSize)...)
	if _, err := io.ReadFull(in, b); err != nil {
		return b, err
	}
	n, ok := entryLength(b)
	if !ok {
		return b, errDamaged
	}
	b = append(b, make([]byte, n)...)
	_, err := io.ReadFull(in, b[recordSize:])
	return b, err
}

// unreadableLocked tells a disk that may answer next time from a lost record.
func (s *Spool) unreadableLocked(g *segment, at position, err error) error {
	if errors.Is(err, errDamaged) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return s.cutLocked(g, at.seq)
	}
	if s.trouble.at != at {
		s.trouble = trouble{at: at}
	}
	if s.trouble.times++; s.trouble.times < patience {
		return err
	}
	return s.cutLocked(g, at.seq)
}

// cutLocked gives up the records of g from sequence seq on.
func (s *Spool) cutLocked(g *segment, seq uint64) error {
	s.stats.Damaged++
	g.last = seq - 1
	if g == s.newestLocked() {
		return s.sealLocked() // nothing may follow the unreadable place
	}
	return nil
}
