package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// squeezeSpan is how much time a squeezed segment may cover when it is made of
// several: it expires as a whole.
const squeezeSpan = 4 * 24 * 3600 * 1000

// makeRoomLocked gives up, least worth first, until need more bytes are within
// the bound.
func (s *Spool) makeRoomLocked(need int64) error {
	if s.total+need <= s.conf.MaxBytes {
		return nil
	}
	s.sweepLocked()
	for s.total+need > s.conf.MaxBytes && len(s.segments) > 1 {
		g := s.segments[0]
		if !g.empty() && g.last > s.acked {
			err := s.squeezeLocked(need)
			if err == nil {
				s.failed = 0
				continue
			}
			// A disk that hiccups is no reason to give up findings; the next
			// Append tries again, a few bytes above the bound.
			if s.failed++; s.failed < patience {
				return nil
			}
			s.failed = 0
		}
		// A file that cannot be removed now (a virus scanner holds it) is
		// tried again next time; until then the bound gives way, but not far.
		if err := s.removeOldestLocked(); err != nil {
			if s.total+need > 2*s.conf.MaxBytes {
				return err
			}
			return nil
		}
	}
	return nil
}

// sweepLocked removes the files that hold nothing, but for the newest: a length
// may be all that is known of the sequences that were in one, until a higher
// one is on the disk.
func (s *Spool) sweepLocked() {
	if newest := s.newestLocked(); newest == nil || newest.empty() {
		return
	}
	s.segments = slices.DeleteFunc(s.segments, func(g *segment) bool {
		if !g.empty() || s.removeLocked(g.fileID) != nil {
			return false
		}
		s.total -= g.size + g.waste
		return true
	})
}

// squeezeLocked takes one step: of what is worth least and is still here, the
// oldest is given up. The newest segment is left alone.
func (s *Spool) squeezeLocked(need int64) error {
	for l := noStates; l <= nothing; l++ {
		for i, g := range s.segments[:len(s.segments)-1] {
			if g.level < l && !g.empty() {
				return s.squeezeFromLocked(i, l, need)
			}
		}
	}
	return s.removeOldestLocked()
}

// squeezeFromLocked brings segment i, and its neighbours as far as all fits
// into one, to level l.
func (s *Spool) squeezeFromLocked(i int, l level, need int64) error {
	most := max(s.segmentBytes(), s.segments[i].size)
	if l == hourly {
		// Thinning leaves about a third, and an hour at an edge stays fine: so
		// of two segments at once, if what is left of them fits into one.
		if done, err := s.squeezeSomeLocked(i, l, need, 2*most, most); done || err != nil {
			return err
		}
	}
	_, err := s.squeezeSomeLocked(i, l, need, most, most)
	return err
}

// squeezeSomeLocked is squeezeFromLocked for at most read bytes of segments. It
// does nothing, and says so, if of several more than most bytes would be left.
func (s *Spool) squeezeSomeLocked(i int, l level, need, read, most int64) (done bool, err error) {
	from := i
	// A quarter of a segment more than needed, else each Append would rewrite one.
	enough := s.total + need - s.conf.MaxBytes + s.segmentBytes()/4
	if i > 0 && s.segments[i-1].level == l && s.segments[i-1].size <= most/2 && !s.segments[i-1].empty() &&
		(enough > 0 || s.segments[i-1].start().seq > s.acked) { // what is acknowledged stays until its place is needed
		from--
	}
	w, to, err := s.gatherLocked(from, i, l, read, enough)
	if err == nil && to <= i {
		from = i
		w, to, err = s.gatherLocked(i, i, l, read, enough)
	}
	if err != nil {
		return false, err
	}
	newest := uint64(0)
	if l >= noInventory {
		if newest, err = s.newestInventoryLocked(); err != nil {
			return false, err
		}
	}
	all := w.giveUp(l, newest, w.bytes()-enough)
	if to-from > 1 && w.bytes() > most {
		return false, nil
	}
	h := header{squeezed: true, epoch: s.epoch, first: w.begin, last: w.end, acked: s.acked, carried: uint32(len(w.pieces)), level: l}
	if !all {
		h.level = l - 1
	}
	old := slices.Clone(s.segments[from:to])
	if err := s.replaceLocked(from, to, w, h); err != nil {
		return false, err
	}
	for _, g := range old {
		g.level = max(g.level, l) // also if rewriting them is not worth it
	}
	return true, nil
}

// dayMs is a day (UTC) by the device's clock.
const dayMs = 24 * 3600 * 1000

// outdateLocked gives up the States of earlier days that nobody was told, but
// for the newest of each: a State says how the device is, and after some weeks
// without network their blocks say better how it was, in a third of the bytes.
// What is acknowledged stays. It is done when a segment begins, which each day
// does; what a disk does not allow now is done then.
func (s *Spool) outdateLocked() {
	today := s.conf.Now().UnixMilli() / dayMs
	for i := 0; i < len(s.segments)-1; i++ {
		g := s.segments[i]
		if g.empty() || g.level >= noStates || g.start().seq <= s.acked || g.newestMs/dayMs == today {
			continue
		}
		n := len(s.segments)
		if s.squeezeFromLocked(i, noStates, 0) != nil {
			return
		}
		i -= n - len(s.segments)
	}
}

// gatherLocked reads segments from from on, at least to i, into a window of at
// most so many bytes; no more once States enough are gone. It gives the first
// that is not in it; that is i or lower when i does not fit behind from.
func (s *Spool) gatherLocked(from, i int, l level, most, enough int64) (w *window, to int, err error) {
	w = &window{}
	read := int64(0)
	for to = from; to < len(s.segments)-1; to++ {
		g := s.segments[to]
		if to > i && (g.empty() || g.level >= l || l > hourly || read-w.bytes() >= enough) {
			break
		}
		tried := &window{begin: w.begin, end: w.end, pieces: slices.Clone(w.pieces), pending: slices.Clip(w.pending),
			changed: w.changed, dropped: w.dropped, outdated: w.outdated}
		if err := s.readLocked(g, tried); err != nil {
			return nil, 0, err
		}
		if l >= noStates {
			tried.keepDailyStates()
		}
		if to > from && (tried.bytes() > most || tried.span() > squeezeSpan) {
			break
		}
		w = tried
		read += g.size
	}
	return w, to, nil
}

// readLocked puts what g holds unacknowledged into a window.
func (s *Spool) readLocked(g *segment, w *window) error {
	if w.begin == 0 {
		w.begin = g.start().seq
	}
	err := s.scanLocked(g, g.first, func(seq uint64, r record) bool {
		if seq <= s.acked {
			w.changed = true
		} else {
			w.add(seq, r)
		}
		return true
	})
	w.end = max(g.last, g.end) // after reading, which may have cut it
	return err
}

// newestInventoryLocked finds the highest sequence of an inventory.
func (s *Spool) newestInventoryLocked() (newest uint64, err error) {
	for _, g := range slices.Backward(s.segments) {
		if g.empty() {
			continue
		}
		err := s.scanLocked(g, g.first, func(seq uint64, r record) bool {
			if kindOf(r.entry) == inventory {
				newest = seq
			}
			return true
		})
		if err != nil || newest > 0 {
			return newest, err
		}
	}
	return 0, nil
}

// replaceLocked puts the window in the place of segments from from until before
// to. Until its file is whole and durable, the old ones are what counts, and
// then it is (see replace).
func (s *Spool) replaceLocked(from, to int, w *window, h header) error {
	old := slices.Clone(s.segments[from:to])
	size := int64(0)
	for _, g := range old {
		size += g.size + g.waste
	}
	s.gen++ // also for a try that fails: the name may be taken by then
	h.generation = s.gen
	b := w.append(nil, h)
	if !w.changed || int64(len(b)) >= size {
		return nil
	}
	var with []*segment
	if len(w.pieces) > 0 {
		if err := s.writeSqueezedLocked(fileID{s.gen, true}, b); err != nil {
			return fmt.Errorf("squeezing segments: %w", err)
		}
		newest := old[len(old)-1]
		x := &segment{fileID: fileID{s.gen, true}, size: int64(len(b)), level: h.level, begin: h.first, end: h.last,
			newestMs: newest.newestMs, touched: newest.touched, made: newest.made}
		seqs := make([]uint64, len(w.pieces))
		for i, p := range w.pieces {
			seqs[i] = p.seq
		}
		x.hold(seqs)
		with = []*segment{x}
	}
	s.segments = slices.Replace(s.segments, from, to, with...)
	s.stats.Dropped += w.dropped
	s.stats.Lost += w.lost
	s.stats.Thinned += w.joined + w.outdated
	for _, g := range old {
		if s.removeLocked(g.fileID) == nil {
			s.total -= g.size + g.waste
		} else {
			s.leaveLocked(g.fileID, g.size+g.waste)
		}
	}
	return nil
}

// writeSqueezedLocked makes a file durable, or leaves none.
func (s *Spool) writeSqueezedLocked(id fileID, b []byte) error {
	f, err := s.conf.Disk.Open(id.name(), true)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = s.conf.Disk.Sync()
	}
	s.total += int64(len(b))
	if err == nil {
		return nil
	}
	if s.removeLocked(id) == nil {
		s.total -= int64(len(b))
	} else {
		s.leaveLocked(id, int64(len(b)))
	}
	return err
}

// removeLocked removes a file; one that is not there was removed.
func (s *Spool) removeLocked(id fileID) error {
	if err := s.conf.Disk.Remove(id.name()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// leaveLocked notes a file that holds nothing any more and could not be removed.
func (s *Spool) leaveLocked(id fileID, size int64) {
	s.segments = slices.Insert(s.segments, 0, &segment{fileID: id, first: 1, waste: size})
}
