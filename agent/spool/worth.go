package spool

import (
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"hausmeister/proto/block"
	"hausmeister/proto/hmpb"
)

// level is how much is given up, each on top of the one before; doc.go has the
// rule in words.
type level uint32

const (
	raw         level = iota // acknowledged entries only
	noStates                 // States but the newest of each day
	hourly                   // minutes: blocks are thinned
	noBlocks                 // blocks, and the States that were left; oldest first
	noInventory              // inventories but the newest
	nothing                  // findings; oldest first
)

// kind is what an entry is, as far as its worth goes.
type kind int

const (
	precious kind = iota // a finding, or what a newer version of us made
	state
	samples // a block
	inventory
)

// kinds are the numbers of Entry's fields in report.proto.
var kinds = map[protowire.Number]kind{3: state, 4: samples, 6: inventory}

// kindOf looks at an encoded entry without decoding it.
func kindOf(entry []byte) (k kind) {
	for len(entry) > 0 {
		number, typ, n := protowire.ConsumeField(entry)
		if n < 0 {
			return k
		}
		if found, ok := kinds[number]; ok && typ == protowire.BytesType {
			k = found
		}
		entry = entry[n:]
	}
	return k
}

// piece is a record that is looked at for its worth.
type piece struct {
	seq uint64
	record
	kind  kind
	parts []uint64 // lower sequences whose content is in it
}

// bytes is at most what a piece takes in a squeezed segment: the number of runs
// and the last one, and for each part its own run and the one before.
func (p piece) bytes() int64 { return int64(recordSize + len(p.entry) + 8 + 8*len(p.parts)) }

// window is some segments in a row, on their way into a squeezed one.
type window struct {
	begin, end uint64 // the sequences that it speaks for
	pieces     []piece
	pending    []uint64 // thinned sequences behind the last block
	dropped    uint64   // how many pieces were given up
	lost       uint64   // how many of these may have been findings
	joined     uint64   // how many went into others
	outdated   uint64   // how many States were given up that a later one of their day stands for
	changed    bool
}

// add takes a record in. What is missing before it and was thinned belongs to
// the next block.
func (w *window) add(seq uint64, r record) {
	at := seq - r.skipped()
	for _, g := range r.gap {
		if g.thinned && g.n <= maxRuns {
			for i := range g.n {
				w.pending = append(w.pending, at+i)
			}
		}
		at += g.n
	}
	p := piece{seq: seq, record: r, kind: kindOf(r.entry)}
	p.gap, p.entry = nil, slices.Clone(r.entry)
	if p.kind == samples {
		p.parts, w.pending = w.pending, nil
	}
	w.pieces = append(w.pieces, p)
}

// bytes is at most what the squeezed segment takes.
func (w *window) bytes() int64 {
	n := int64(squeezedSize)
	for _, p := range w.pieces {
		n += p.bytes()
	}
	return n
}

// span is how long ago the first was made when the last was, in milliseconds.
func (w *window) span() int64 {
	if len(w.pieces) == 0 {
		return 0
	}
	d := w.pieces[len(w.pieces)-1].atMs - w.pieces[0].atMs
	return max(d, -d)
}

// giveUp takes away what level l does not keep. From noBlocks on it ends when
// the window takes no more than target. It says whether all that l gives up is
// gone. newest is the newest inventory of the whole spool.
func (w *window) giveUp(l level, newest uint64, target int64) (all bool) {
	if l >= noStates {
		w.keepDailyStates()
	}
	if l >= hourly {
		w.thinHours()
	}
	classes := []struct {
		l     level
		holds func(piece) bool
	}{
		{noBlocks, func(p piece) bool { return p.kind == samples || p.kind == state }},
		{noInventory, func(p piece) bool { return p.kind == inventory && p.seq != newest }},
		{nothing, func(p piece) bool { return p.seq != newest }},
	}
	for _, c := range classes {
		if l >= c.l && !w.dropOldest(c.holds, target) {
			return false
		}
	}
	return true
}

// drop drops what holds says; of a block its parts go too.
func (w *window) drop(holds func(piece) bool) {
	n := len(w.pieces)
	w.pieces = slices.DeleteFunc(w.pieces, func(p piece) bool {
		gone := holds(p)
		if gone && p.kind == precious {
			w.lost++
		}
		return gone
	})
	if n -= len(w.pieces); n > 0 {
		w.dropped += uint64(n)
		w.changed = true
	}
}

// dropOldest drops until the window is short enough, and says whether nothing
// of the class is left.
func (w *window) dropOldest(holds func(piece) bool, target int64) (all bool) {
	size := w.bytes()
	all = true
	w.drop(func(p piece) bool {
		if !holds(p) {
			return false
		}
		if size <= target {
			all = false
			return false
		}
		size -= p.bytes()
		return true
	})
	return all
}

// keepDailyStates drops all States but the newest of each day (UTC, by the
// device's clock).
func (w *window) keepDailyStates() {
	seen := map[int64]bool{}
	keep := map[uint64]bool{}
	for _, p := range slices.Backward(w.pieces) {
		if day := p.atMs / dayMs; p.kind == state && !seen[day] {
			seen[day], keep[p.seq] = true, true
		}
	}
	before := w.dropped
	w.drop(func(p piece) bool { return p.kind == state && !keep[p.seq] })
	w.outdated += w.dropped - before
	w.dropped = before
}

// group is some blocks in a row that lie in one hour.
type group struct {
	hour   int64 // since 1970
	fine   bool  // none of them is thinned
	pieces []int // where they are
	blocks []block.Block
}

// thinHours makes one block of the fine ones of each hour. It bears the highest
// of their sequences. The first and the last hour of the window stay as they
// are, since blocks of them may be in a neighbour, told already, or not made
// yet, and the collector lets a thinned block replace the fine ones of its
// hour. For the same reason an hour that comes twice (a clock was set back)
// stays. What cannot be decoded, of a newer version, stays too.
func (w *window) thinHours() {
	groups := w.groups()
	times := map[int64]int{}
	for _, g := range groups {
		times[g.hour]++
	}
	gone := map[uint64]bool{}
	for i, g := range groups {
		if i == 0 || i == len(groups)-1 || !g.fine || times[g.hour] > 1 {
			continue
		}
		last := &w.pieces[g.pieces[len(g.pieces)-1]]
		entry, ok := thin(last.entry, g.blocks)
		if !ok {
			continue
		}
		last.entry = entry
		w.changed = true
		for _, n := range g.pieces[:len(g.pieces)-1] {
			last.parts = append(last.parts, w.pieces[n].seq)
			gone[w.pieces[n].seq] = true
		}
	}
	w.joined += uint64(len(gone))
	w.pieces = slices.DeleteFunc(w.pieces, func(p piece) bool { return gone[p.seq] })
}

func (w *window) groups() (groups []group) {
	for i, p := range w.pieces {
		if p.kind != samples {
			continue
		}
		g := group{pieces: []int{i}}
		e := &hmpb.Entry{}
		if proto.Unmarshal(p.entry, e) == nil {
			start := e.GetBlock().GetStartMs()
			g.hour = start / block.Hour
			b, err := block.Decode(e.GetBlock().GetPacked())
			g.fine = err == nil && b.Step < block.Hour && b.Start == start && b.Head().End() <= (g.hour+1)*block.Hour
			g.blocks = []block.Block{b}
		}
		if n := len(groups); n > 0 && g.fine && groups[n-1].fine && groups[n-1].hour == g.hour {
			groups[n-1].pieces = append(groups[n-1].pieces, i)
			groups[n-1].blocks = append(groups[n-1].blocks, g.blocks...)
			continue
		}
		groups = append(groups, g)
	}
	return groups
}

// thin puts the hour that the blocks lie in into the entry in place of its own
// block; false when that cannot be or would save nothing.
func thin(entry []byte, blocks []block.Block) ([]byte, bool) {
	all, err := block.Merge(blocks...)
	if err != nil {
		return nil, false
	}
	if all, err = block.Thin(all, block.Hour); err != nil {
		return nil, false
	}
	packed, err := block.Encode(all)
	if err != nil {
		return nil, false
	}
	e := &hmpb.Entry{}
	if proto.Unmarshal(entry, e) != nil {
		return nil, false
	}
	b := hmpb.Block_builder{StartMs: &all.Start, StepS: proto.Uint32(block.Hour / 1000), Steps: proto.Uint32(uint32(all.Count)), Packed: packed}.Build()
	e.SetBlock(b)
	thinned, err := proto.Marshal(e)
	if err != nil || len(thinned) > MaxEntry {
		return nil, false
	}
	return thinned, len(blocks) > 1 || len(thinned) < len(entry)
}

// append encodes the window as a squeezed segment.
func (w *window) append(b []byte, h header) []byte {
	id := fileID{h.generation, true}
	b = h.append(b)
	var thinned []uint64
	for _, p := range w.pieces {
		thinned = append(thinned, p.parts...) // rising: a part is behind the block before its own
	}
	next := w.begin
	for _, p := range w.pieces {
		r := p.record
		r.gap = nil
		miss := func(n uint64, thinned bool) {
			if last := len(r.gap) - 1; last >= 0 && r.gap[last].thinned == thinned {
				r.gap[last].n += n
			} else if n > 0 {
				r.gap = append(r.gap, run{n, thinned})
			}
		}
		at := next
		for len(thinned) > 0 && thinned[0] < p.seq {
			miss(thinned[0]-at, false)
			miss(1, true)
			at = thinned[0] + 1
			thinned = thinned[1:]
		}
		miss(p.seq-at, false)
		if len(r.gap) > maxRuns {
			r.gap = []run{{p.seq - next, false}}
		}
		b = r.append(b, id)
		next = p.seq + 1
	}
	return b
}
