package spool

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// found is what Open finds in one file.
type found struct {
	fileID
	h        header
	count    int      // records
	seqs     []uint64 // their sequences, of a squeezed segment
	newestMs int64
	acked    uint64
	length   int64
	torn     int64
	err      error
	// replaced: another file stands for it, or it is a squeeze that did not
	// come to its end.
	replaced bool
}

// whole says whether a squeezed segment is all that was written.
func (f *found) whole() bool { return f.err == nil && f.torn == 0 && f.count == int(f.h.carried) }

// overlaps says whether two files of one epoch speak for the same sequences.
func (f *found) overlaps(o *found) bool {
	last := func(f *found) uint64 {
		if f.squeezed {
			return f.h.last
		}
		return f.h.first + uint64(f.count) - 1 // below first when it is empty
	}
	return f.err == nil && o.err == nil && f.h.epoch == o.h.epoch &&
		f.h.first <= last(f) && o.h.first <= last(o) && f.h.first <= last(o) && o.h.first <= last(f)
}

// load builds the index. Broken segments are passed over: what they held shows
// as a gap, and the sequences that could have been in them stay unused.
func (s *Spool) load() error {
	names, err := s.conf.Disk.Names()
	if err != nil {
		return err
	}
	var files []*found
	for _, name := range names {
		if id, ok := parseName(name); ok {
			f, err := s.find(id)
			if err != nil {
				return fmt.Errorf("segment %s: %w", name, err)
			}
			files = append(files, f)
		}
	}
	slices.SortFunc(files, func(a, b *found) int {
		if a.gen < b.gen {
			return -1
		}
		return 1
	})
	replace(files)
	var reserved uint64 // sequences that may have been in what is not readable
	for _, f := range files {
		s.gen = f.gen
		s.take(f, &reserved)
	}
	s.opened = s.last
	if s.epoch == ([16]byte{}) {
		s.forgetLocked(len(s.segments)) // none of them is whole enough to name its epoch
		s.next = 1
		if _, err := io.ReadFull(s.conf.Rand, s.epoch[:]); err != nil {
			return fmt.Errorf("making an epoch: %w", err)
		}
		return nil
	}
	return s.reopen()
}

// find reads a file.
func (s *Spool) find(id fileID) (*found, error) {
	b, err := s.readAll(id.name())
	if err != nil {
		return nil, err
	}
	f := &found{fileID: id, length: int64(len(b))}
	h, records, torn, err := decode(b, id)
	if errors.Is(err, ErrNewer) {
		return nil, err
	}
	f.h, f.err, f.count, f.torn, f.acked = h, err, len(records), int64(torn), h.acked
	if n := len(records); n > 0 {
		f.newestMs, f.acked = records[n-1].atMs, records[n-1].acked
	}
	if id.squeezed {
		f.seqs = make([]uint64, len(records))
		next := h.first
		for i, r := range records {
			f.seqs[i] = next + r.skipped()
			next = f.seqs[i] + 1
		}
	}
	return f, nil
}

// replace decides which files count, where squeezing left more than one that
// speak for the same sequences. A squeezed segment is written wholly before the
// first of those that it stands for is removed, so either it is whole or all of
// them are there. From the newest to the oldest, since a later squeeze knew
// whether an earlier one had come to its end.
func replace(files []*found) {
	for i, f := range slices.Backward(files) {
		if !f.squeezed || f.replaced {
			continue
		}
		for _, o := range files[:i] {
			if !o.replaced && f.overlaps(o) {
				if !f.whole() {
					f.replaced = true
					break
				}
				o.replaced = true
			}
		}
		f.replaced = f.replaced || f.err != nil
	}
}

// take adds a file to the index, in the order of generations.
func (s *Spool) take(f *found, reserved *uint64) {
	s.total += f.length
	other := f.err == nil && f.h.epoch != s.epoch
	begin := s.epoch == ([16]byte{})
	switch {
	case f.replaced, f.squeezed && other && !begin:
		// It goes as soon as space is needed.
		s.segments = slices.Insert(s.segments, 0, &segment{fileID: f.fileID, first: 1, waste: f.length})
		if f.err != nil {
			s.stats.Damaged++
		}
		return
	case f.err != nil,
		!f.squeezed && other && f.count < int(f.h.carried), // a Resume that did not come to its end
		!f.squeezed && !other && f.h.first <= s.last:       // would give sequences twice
		// It stays, since its length is what keeps the sequences unused that
		// could have been in it, and goes when its turn comes.
		s.stats.Damaged++
		s.segments = append(s.segments, &segment{fileID: f.fileID, first: s.next, last: s.next - 1, waste: f.length})
		s.next += uint64(f.length)
		*reserved += uint64(f.length)
		return
	}
	if f.torn > 0 {
		s.stats.Damaged++
	}
	g := &segment{fileID: f.fileID, first: f.h.first, last: f.h.first + uint64(f.count) - 1,
		size: f.length - f.torn, waste: f.torn, newestMs: f.newestMs}
	if f.squeezed {
		s.takeSqueezed(f, g, *reserved)
		return
	}
	if other {
		s.forgetLocked(len(s.segments))
		s.last = 0
	}
	s.epoch, s.acked, s.last = f.h.epoch, f.acked, max(f.h.first-1, g.last)
	// Torn bytes were at most so many records; none of them was given out, but
	// the collector may have met one that a failing disk took back.
	s.next = s.last + 1 + uint64(f.torn)
	s.segments = append(s.segments, g)
}

// takeSqueezed puts a squeezed segment before the segments that it was older
// than, which have lower generations.
func (s *Spool) takeSqueezed(f *found, g *segment, reserved uint64) {
	g.begin, g.end, g.level = f.h.first, f.h.last, f.h.level
	g.hold(f.seqs)
	s.epoch = f.h.epoch
	if g.end > s.last {
		// What followed it cannot be read; some of that may be higher.
		s.last, s.acked = g.end, f.acked
		s.next = max(s.next, s.last+1+reserved)
	}
	at := slices.IndexFunc(s.segments, func(o *segment) bool { return !o.empty() && o.first > g.end })
	if at < 0 {
		at = len(s.segments)
	}
	s.segments = slices.Insert(s.segments, at, g)
}

func (s *Spool) readAll(name string) ([]byte, error) {
	f, err := s.conf.Disk.Open(name, false)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.NewSectionReader(f, 0, max(s.conf.MaxBytes, maxSegment)+MaxEntry))
}

// reopen goes on in the newest segment when it is whole. What was read from it
// may have been in memory only, after kill -9: it must be durable before the
// collector hears of it, else a power cut would free its sequences again.
func (s *Spool) reopen() error {
	g := s.segments[len(s.segments)-1]
	f, err := s.conf.Disk.Open(g.name(), false)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), s.conf.Disk.Sync()); err != nil {
		return errors.Join(err, f.Close())
	}
	if g.size == 0 || g.waste > 0 || g.squeezed || s.next != g.last+1 {
		return f.Close()
	}
	s.active = f
	return nil
}
