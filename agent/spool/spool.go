package spool

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/proto/hmpb"
)

// Bounds of a spool that nobody configured.
const (
	DefaultMaxBytes = 20 << 20
	DefaultMaxAge   = 44 * 24 * time.Hour // the summer holidays of Hesse
)

// A segment is what is dropped at once: small enough that a full spool loses
// little, large enough that 20 MB are not thousands of files.
const (
	maxSegment = 256 << 10
	minSegment = 4 << 10
)

// firstReleaseMs is 2026-01-01: no entry can have been made before it.
const firstReleaseMs = 1_767_225_600_000

// ErrTooLong: the entry is above MaxEntry and was not stored.
var ErrTooLong = errors.New("entry too long")

// Config of a spool; Disk is needed, the rest has defaults.
type Config struct {
	Disk     Disk
	MaxBytes int64
	MaxAge   time.Duration
	Now      func() time.Time // device clock
	Rand     io.Reader        // for epochs
}

// Spool is the queue. All methods may be called at once from everywhere.
type Spool struct {
	conf    Config
	changed chan struct{}

	mu       sync.Mutex // held across disk operations: they are the order of things
	segments []*segment // oldest first
	active   File       // of the last segment; nil: the next Append makes one
	fresh    bool       // active's creation is not durable yet
	gen      uint64     // highest generation ever used
	epoch    [16]byte
	next     uint64    // sequence of the next entry
	last     uint64    // highest sequence that Append or Open gave out
	opened   uint64    // last as Open found it
	since    time.Time // when that was
	heard    heard
	acked    uint64
	total    int64 // bytes of all segments
	stats    Stats
	hint     position
	trouble  trouble
	failed   int // squeezes in a row
	scratch  []byte
}

// segment is what is remembered of a file.
type segment struct {
	fileID
	first, last uint64 // of the records that are here; last < first: none
	size        int64  // up to the end of the last whole record
	waste       int64  // torn bytes behind that
	newestMs    int64  // device clock at the last record
	// touched is when this run last wrote to it: unlike newestMs it is not
	// moved by a clock that is set.
	touched time.Time
	// made is the collector's clock at that moment, zero until it was heard after it.
	made  time.Time
	level level // what was given up in it

	// Of a squeezed segment only.
	begin, end uint64   // the sequences that it speaks for
	seqs       []uint64 // those that are here
}

// start is where reading the segment begins.
func (g *segment) start() position {
	if g.squeezed {
		return position{g.gen, g.begin, squeezedSize}
	}
	return position{g.gen, g.first, headerSize}
}

func (g *segment) empty() bool { return g.last < g.first }

// above is how many records have a sequence higher than seq.
func (g *segment) above(seq uint64) uint64 {
	if g.squeezed {
		i, _ := slices.BinarySearch(g.seqs, seq+1)
		return uint64(len(g.seqs) - i)
	}
	return g.last - min(g.last, max(g.first-1, seq))
}

// cut forgets the records from seq on, which cannot be read any more.
func (g *segment) cut(seq uint64) {
	if !g.squeezed {
		g.last = seq - 1
		return
	}
	i, _ := slices.BinarySearch(g.seqs, seq)
	g.hold(g.seqs[:i])
}

// hold makes seqs the records that are here.
func (g *segment) hold(seqs []uint64) {
	g.seqs, g.first, g.last = seqs, g.begin, g.begin-1
	if n := len(seqs); n > 0 {
		g.first, g.last = seqs[0], seqs[n-1]
	}
}

// position is where in a segment the record begins that has the sequence, or is
// the next behind it.
type position struct {
	gen, seq uint64
	off      int64
}

// Stats counts what a person may want to know.
type Stats struct {
	Bytes   int64  // on disk
	Entries uint64 // in the spool
	Waiting uint64 // of these, not acknowledged
	Dropped uint64 // given up unacknowledged since Open, and not in Thinned
	// Lost grows when of what was given up something may have been a finding or the
	// newest inventory, and when a collector that was set back lacks what is gone
	// here: what is told from now on does not make up for it.
	Lost     uint64
	Thinned  uint64 // blocks that went into a coarser one and States that a later one of their day stands for, unacknowledged, since Open
	Damaged  uint64 // files or records found unreadable since Open
	Failures uint64 // Appends that failed since Open
	Failing  bool   // the last Append failed: most likely the disk is full
}

// Open reads what is there, whatever state it is in; a folder without segments
// begins a new epoch. Nothing is written before the first Append.
func Open(c Config) (*Spool, error) {
	if c.MaxBytes <= 0 {
		c.MaxBytes = DefaultMaxBytes
	}
	if c.MaxAge <= 0 {
		c.MaxAge = DefaultMaxAge
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	s := &Spool{conf: c, changed: make(chan struct{}, 1), next: 1, since: time.Now()}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("opening spool: %w", err)
	}
	return s, nil
}

// Append stores e and returns its sequence once it is durable. An entry whose
// Append failed is gone, and counts as dropped. e is not changed.
func (s *Spool) Append(ctx context.Context, e *hmpb.Entry) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, context.Cause(ctx)
	}
	entry, err := proto.Marshal(e)
	if err != nil {
		return 0, fmt.Errorf("encoding an entry: %w", err)
	}
	if len(entry) > MaxEntry {
		return 0, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLong, len(entry), MaxEntry)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err = s.appendLocked(entry); err != nil && s.freeAckedLocked() {
		err = s.appendLocked(entry) // most failures are a full disk: with what was freed it may fit
	}
	s.stats.Failing = err != nil
	if err != nil {
		s.next++ // so that the next batch names this one as dropped
		s.stats.Failures++
		return 0, fmt.Errorf("appending to the spool: %w", err)
	}
	s.last = s.next
	s.next++
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return s.last, nil
}

// Changed gets a value after entries were appended; one for many.
func (s *Spool) Changed() <-chan struct{} { return s.changed }

// Epoch names this run of sequences: 16 random bytes, new with each new spool.
func (s *Spool) Epoch() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.epoch[:])
}

// First is the lowest sequence still here, 0 if there is none.
func (s *Spool) First() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.firstLocked()
}

func (s *Spool) firstLocked() uint64 {
	for _, g := range s.segments {
		if !g.empty() {
			return g.first
		}
	}
	return 0
}

// Last is the highest sequence given out in this epoch, 0 if there is none.
func (s *Spool) Last() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// Acked is how far the collector has got.
func (s *Spool) Acked() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acked
}

// Stats says how full the spool is and what it lost.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Bytes = s.total
	for _, g := range s.segments {
		if !g.empty() {
			st.Entries += g.above(0)
			st.Waiting += g.above(s.acked)
		}
	}
	return st
}

// Ack notes that the collector has everything up to through. It is written
// with the next entry only: after a crash the collector's Welcome says it again.
func (s *Spool) Ack(through uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked = max(s.acked, min(through, s.last))
}

// Resume takes over where the collector says it stands with this epoch, be it
// further (the last acknowledgement was lost) or behind (it was restored from
// a backup): what is still here above cursor is unacknowledged again.
//
// A collector that knows sequences which this spool never gave out has met a
// later state of it: our disk was set back. Then a new epoch begins, and into
// it go the entries made since Open; those before were told in that later past.
//
// renewed says that this happened: a new Hello must tell the new epoch.
func (s *Spool) Resume(cursor uint64) (renewed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cursor <= s.last {
		if first := s.firstLocked(); cursor < s.acked && (first == 0 || first > cursor+1) {
			s.stats.Lost++
		}
		s.acked = cursor
		return false, nil
	}
	if err := s.newEpochLocked(); err != nil {
		return false, fmt.Errorf("beginning a new spool epoch: %w", err)
	}
	return true, nil
}

// heard is the last word of the collector in this run.
type heard struct {
	collector, device time.Time // by either clock
	at                time.Time // monotonic
}

// Expire removes what is older than the bound, acknowledged or not. now must
// be the collector's clock: a device whose own clock jumps to 2099 would give
// up everything. Entries of this run are measured by the monotonic clock and,
// since that stands still while the machine sleeps, from one word of the
// collector to the next by its clock; those of earlier runs by their device clock,
// which must not have gone backwards. A clock that stood at 1970 says nothing of
// their age: it counts from Open.
func (s *Spool) Expire(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	newestMs := int64(0)
	s.sweepLocked()
	s.dateLocked(now)
	for len(s.segments) > 0 {
		g := s.segments[0]
		newestMs = max(newestMs, g.newestMs)
		age := now.Sub(time.UnixMilli(newestMs))
		switch {
		case !g.touched.IsZero():
			age = max(time.Since(g.touched), now.Sub(g.made))
		case newestMs < firstReleaseMs:
			age = time.Since(s.since)
		}
		if age <= s.conf.MaxAge || s.removeOldestLocked() != nil {
			return
		}
	}
}

// clockMay be off, between two words of the collector, and still tell when
// something was made.
const clockMay = time.Hour

// dateLocked says of the segments of this run when they were last written to, by
// the collector's clock, which shows now. That is as long ago as the monotonic
// clock says, or earlier where the machine has slept since: then the device's clock
// knows, if it was not set meanwhile.
func (s *Spool) dateLocked(now time.Time) {
	last := s.heard
	s.heard = heard{now, s.conf.Now().Round(0), time.Now()}
	off := last.collector.Sub(last.device)
	steady := !last.at.IsZero() && (now.Sub(s.heard.device)-off).Abs() <= clockMay
	for _, g := range s.segments {
		if g.touched.IsZero() || !g.made.IsZero() {
			continue
		}
		g.made = now.Add(-time.Since(g.touched))
		byDevice := time.UnixMilli(g.newestMs).Add(off)
		earliest := last.collector.Add(g.touched.Sub(last.at))
		if steady && byDevice.Before(g.made) && !byDevice.Before(earliest.Add(-clockMay)) {
			g.made = byDevice
		}
	}
}

// Close lets go of the file that is open. Nothing is lost without it.
func (s *Spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sealLocked()
}

// appendLocked makes entry durable as sequence next.
func (s *Spool) appendLocked(entry []byte) error {
	need := int64(recordSize + len(entry))
	if err := s.makeRoomLocked(need); err != nil {
		return err
	}
	if s.active != nil && s.outgrownLocked(need) {
		s.sealLocked() // nothing is lost by a Close that fails: all was synced
		if g := s.newestLocked(); g.empty() && s.removeLocked(g.fileID) == nil {
			s.total -= g.size + g.waste
			s.segments = s.segments[:len(s.segments)-1]
		}
	}
	if s.active == nil {
		if err := s.createLocked(header{first: s.next, acked: s.acked}); err != nil {
			return err
		}
		s.outdateLocked()
	}
	return s.writeLocked(entry)
}

// outgrownLocked says whether the next record belongs into a new segment: a
// failed Append left a gap, which only the begin of a segment can express; the
// active one is long enough; or what is in it is of another day (UTC, by the
// device's clock): it should neither be kept for the sake of new entries nor
// keep States of a day that is over.
func (s *Spool) outgrownLocked(need int64) bool {
	g := s.newestLocked()
	if g.last+1 != s.next {
		return true
	}
	if g.empty() {
		return false
	}
	return g.newestMs/dayMs != s.conf.Now().UnixMilli()/dayMs || g.size+need > s.segmentBytes()
}

// segmentBytes is how long a segment may become, but for its last record.
func (s *Spool) segmentBytes() int64 { return min(max(s.conf.MaxBytes/16, minSegment), maxSegment) }

// createLocked begins a segment; its header becomes durable with the first record.
func (s *Spool) createLocked(h header) error {
	s.gen++ // also for a try that fails: the name may be taken by then
	h.generation = s.gen
	if h.epoch == ([16]byte{}) {
		h.epoch = s.epoch
	}
	g := &segment{fileID: fileID{gen: s.gen}, first: h.first, last: h.first - 1, size: headerSize}
	f, err := s.conf.Disk.Open(g.name(), true)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(h.append(s.scratch[:0]), 0); err != nil {
		return errors.Join(err, f.Close(), s.conf.Disk.Remove(g.name()))
	}
	s.active, s.fresh = f, true
	s.segments = append(s.segments, g)
	s.total += g.size
	return nil
}

// writeLocked appends one record to the active segment. After a failure the
// segment ends where it ended before, or is given up with sequence next, which
// may or may not be in it.
func (s *Spool) writeLocked(entry []byte) error {
	g := s.newestLocked()
	r := record{atMs: s.conf.Now().UnixMilli(), acked: s.acked, entry: entry}
	s.scratch = r.append(s.scratch[:0], g.fileID)
	n := int64(len(s.scratch))
	_, err := s.active.WriteAt(s.scratch, g.size)
	if cap(s.scratch) > minSegment {
		s.scratch = nil // one long entry is no reason to hold its size for good
	}
	if err == nil {
		err = s.active.Sync()
	}
	if err == nil && s.fresh {
		err = s.conf.Disk.Sync()
	}
	if err != nil {
		if undo := s.active.Truncate(g.size); undo != nil || s.active.Sync() != nil {
			g.waste = n
			s.total += n
			s.next++
			s.sealLocked()
		}
		return err
	}
	s.fresh = false
	g.last, g.newestMs, g.touched, g.made = s.next, r.atMs, time.Now(), time.Time{}
	g.size += n
	s.total += n
	return nil
}

// freeAckedLocked removes all segments that hold nothing unacknowledged and
// says whether there were any.
func (s *Spool) freeAckedLocked() bool {
	freed := false
	for len(s.segments) > 0 {
		g := s.segments[0]
		if !g.empty() && g.last > s.acked || s.removeOldestLocked() != nil {
			break
		}
		freed = true
	}
	return freed
}

func (s *Spool) removeOldestLocked() error {
	g := s.segments[0]
	if len(s.segments) == 1 {
		s.sealLocked()
	}
	if err := s.removeLocked(g.fileID); err != nil {
		return err
	}
	if !g.empty() {
		s.stats.Dropped += g.above(s.acked)
		s.stats.Lost += g.above(s.acked)
	}
	s.total -= g.size + g.waste
	s.segments = slices.Delete(s.segments, 0, 1)
	return nil
}

// sealLocked ends writing to the active segment.
func (s *Spool) sealLocked() error {
	if s.active == nil {
		return nil
	}
	err := s.active.Close()
	s.active, s.fresh = nil, false
	return err
}

func (s *Spool) newestLocked() *segment {
	if len(s.segments) == 0 {
		return nil
	}
	return s.segments[len(s.segments)-1]
}

// newEpochLocked moves the entries made since Open into one segment of a new
// epoch. Until that segment is whole and durable, the old ones are what counts.
func (s *Spool) newEpochLocked() error {
	var moved []record
	for seq := max(s.opened, s.acked) + 1; seq <= s.last; {
		g, ok := s.holderLocked(seq)
		if !ok {
			break
		}
		seq = max(seq, g.first)
		err := s.scanLocked(g, seq, func(_ uint64, r record) bool {
			r.entry, r.gap = slices.Clone(r.entry), nil
			moved = append(moved, r)
			return true
		})
		if err != nil {
			return err
		}
		seq = max(seq, g.last+1)
	}
	var epoch [16]byte
	if _, err := io.ReadFull(s.conf.Rand, epoch[:]); err != nil {
		return err
	}
	old := len(s.segments)
	s.sealLocked()
	if err := s.createLocked(header{epoch: epoch, first: 1, carried: uint32(len(moved))}); err != nil {
		return err
	}
	g := s.newestLocked()
	var b []byte
	for _, r := range moved {
		r.acked = 0
		b = r.append(b, g.fileID)
		g.newestMs = r.atMs
	}
	_, err := s.active.WriteAt(b, g.size)
	if err == nil {
		err = s.active.Sync()
	}
	if err == nil {
		err = s.conf.Disk.Sync()
	}
	if err != nil {
		s.sealLocked()
		s.total -= g.size
		s.segments = s.segments[:old]
		return errors.Join(err, s.conf.Disk.Remove(g.name()))
	}
	s.fresh = false
	g.last, g.touched = uint64(len(moved)), time.Now()
	g.size += int64(len(b))
	s.total += int64(len(b))
	s.epoch, s.next, s.last, s.opened, s.acked = epoch, g.last+1, g.last, 0, 0
	s.forgetLocked(old)
	return nil
}

// forgetLocked drops the first n segments, which are of an epoch that is over.
// A file that cannot be removed now is found and removed by the next Open.
func (s *Spool) forgetLocked(n int) {
	for _, g := range s.segments[:n] {
		s.conf.Disk.Remove(g.name())
		s.total -= g.size + g.waste
	}
	s.segments = slices.Delete(s.segments, 0, n)
}
