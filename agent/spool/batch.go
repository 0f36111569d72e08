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
// last entry is named as thinned or as dropped.
func (s *Spool) Batch(after uint64, maxBytes int) (*hmpb.Batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var (
		entries []*hmpb.Entry
		gaps    = missing{through: after}
		size    int
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
		gaps.before(seq, r.gap)
		e.SetOffset(uint32(seq - after - 1))
		entries = append(entries, e)
		size += len(r.entry) + rangeBytes*len(r.gap)
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
		Dropped:    gaps.dropped,
		Thinned:    gaps.thinned,
	}.Build(), nil
}

// rangeBytes is about what a range takes in a batch.
const rangeBytes = 12

// missing collects the ranges between a batch's entries.
type missing struct {
	dropped, thinned []*hmpb.Range
	through          uint64 // up to here all is told
}

// before tells what is missing up to the entry seq; gap is what is known of
// that, the rest was dropped.
func (m *missing) before(seq uint64, gap []run) {
	at := seq - record{gap: gap}.skipped()
	m.tell(&m.dropped, m.through+1, at)
	for _, g := range gap {
		to := &m.dropped
		if g.thinned {
			to = &m.thinned
		}
		m.tell(to, max(at, m.through+1), at+g.n)
		at += g.n
	}
	m.through = seq
}

// tell adds the range from from until before to.
func (m *missing) tell(all *[]*hmpb.Range, from, to uint64) {
	if from >= to {
		return
	}
	m.through = to - 1
	if n := len(*all); n > 0 && (*all)[n-1].GetTo()+1 == from {
		(*all)[n-1].SetTo(to - 1)
		return
	}
	*all = append(*all, hmpb.Range_builder{From: &from, To: proto.Uint64(to - 1)}.Build())
}

// holderLocked finds the segment that holds seq or, if none does, the first
// that begins above it.
func (s *Spool) holderLocked(seq uint64) (*segment, bool) {
	for _, g := range s.segments {
		if !g.empty() && g.last >= seq {
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
	at := g.start()
	if s.hint.gen == g.gen && s.hint.seq >= at.seq && s.hint.seq <= from {
		at = s.hint
	}
	in := bufio.NewReader(io.NewSectionReader(file, at.off, g.size-at.off))
	var buf []byte
	for at.seq <= g.last {
		var err error
		if buf, err = readRecord(in, buf[:0], g.fileID); err != nil {
			return s.unreadableLocked(g, at, err)
		}
		r, ok := parseRecord(buf, g.fileID)
		if !ok {
			return s.cutLocked(g, at.seq)
		}
		seq := at.seq + r.skipped()
		if seq >= from && !f(seq, r) {
			break
		}
		at.seq = seq + 1
		at.off += int64(len(buf))
	}
	s.hint = at
	return nil
}

// readRecord appends the next record's bytes to b.
func readRecord(in io.Reader, b []byte, id fileID) ([]byte, error) {
	b = append(b, make([]byte, recordSize)...)
	if _, err := io.ReadFull(in, b); err != nil {
		return b, err
	}
	n, ok := entryLength(b, id)
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
	g.cut(seq)
	if g == s.newestLocked() {
		return s.sealLocked() // nothing may follow the unreadable place
	}
	return nil
}
