package spool_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"hausmeister/agent/spool"
	"hausmeister/proto/block"
	"hausmeister/proto/hmpb"
	"hausmeister/testenv/fault"
)

// life is a device that works and tells: it makes what a spool gets in an hour.
type life struct {
	now    time.Time
	random *rand.Rand
	// of an hour
	states, findings, inventories int
	width                         int // of an entry that is no block
	series                        int // of a block
	made                          map[uint64]*hmpb.Entry
	checked                       map[string]bool // thinned blocks that were found right
}

func newLife() *life {
	return &life{now: today.Add(6 * time.Hour), random: rand.New(rand.NewPCG(1, 2)), states: 20, findings: 1,
		width: 150, series: 2, made: map[uint64]*hmpb.Entry{}, checked: map[string]bool{}}
}

func (l *life) clock() time.Time { return l.now }

// add appends e, if the spool takes it.
func (l *life) add(s *spool.Spool, e *hmpb.Entry) {
	e.SetDeviceMs(l.now.UnixMilli())
	if seq, err := s.Append(context.Background(), e); err == nil {
		l.made[seq] = e
	}
}

func (l *life) text(what string) string {
	for len(what) < l.width {
		what += string(rune('a' + l.random.IntN(26)))
	}
	return what
}

// hours lets the device run; it sleeps from 14 to 6.
func (l *life) hours(s *spool.Spool, n int) {
	for range n {
		if l.now.Hour() == 14 {
			l.now = l.now.Add(16 * time.Hour)
		}
		for quarter := range 4 {
			begin := l.now
			for i := range max(l.states, 4) {
				l.now = begin.Add(time.Duration(i) * 15 * time.Minute / time.Duration(max(l.states, 4)))
				if i < l.states/4 {
					l.add(s, entry(l.text("state "), 0))
				}
			}
			l.now = begin.Add(15 * time.Minute)
			l.add(s, l.block(begin))
			if quarter < l.findings {
				l.add(s, hmpb.Entry_builder{Finding: hmpb.Finding_builder{Code: proto.String("disk_low"), Instance: proto.String(l.text(""))}.Build()}.Build())
			}
			if quarter < l.inventories {
				l.add(s, hmpb.Entry_builder{Inventory: hmpb.Inventory_builder{Packed: []byte(l.text(""))}.Build()}.Build())
			}
		}
	}
}

func (l *life) block(begin time.Time) *hmpb.Entry {
	b := block.Block{Start: begin.UnixMilli(), Step: block.Minute, Count: 15}
	for id := range l.series {
		for i := range 15 {
			if err := b.Set(b.Start+int64(i)*b.Step, block.Key{ID: uint32(id + 1)}, false, l.random.Int64N(1000)); err != nil {
				panic(err)
			}
		}
	}
	packed, err := block.Encode(b)
	if err != nil {
		panic(err)
	}
	return hmpb.Entry_builder{Block: hmpb.Block_builder{StartMs: &b.Start, StepS: proto.Uint32(60), Steps: proto.Uint32(15), Packed: packed}.Build()}.Build()
}

// rest is what of a life is in a spool, and what is named as missing.
type rest struct {
	entries          map[uint64]*hmpb.Entry
	order            []uint64
	thinned, dropped map[uint64]bool
}

// readRest reads all above after and holds it against what was made: each
// sequence once, each entry as it was made or, if it is a thinned block, what
// thinning makes of the blocks that it names.
func (l *life) readRest(t *testing.T, s *spool.Spool, after uint64) rest {
	t.Helper()
	r := rest{map[uint64]*hmpb.Entry{}, nil, map[uint64]bool{}, map[uint64]bool{}}
	known := map[uint64]bool{}
	once := func(seq uint64, what string) {
		if known[seq] {
			t.Errorf("sequence %d is told twice, now as %s", seq, what)
		}
		known[seq] = true
	}
	last := after
	for {
		b, err := s.Batch(last, 2000)
		if err != nil {
			t.Fatalf("Batch(%d): %v", last, err)
		}
		if b == nil {
			break
		}
		for name, ranges := range map[string][]*hmpb.Range{"dropped": b.GetDropped(), "thinned": b.GetThinned()} {
			for _, g := range ranges {
				for seq := g.GetFrom(); seq <= g.GetTo(); seq++ {
					once(seq, name)
					if name == "dropped" {
						r.dropped[seq] = true
					} else {
						r.thinned[seq] = true
					}
				}
			}
		}
		for _, e := range b.GetEntries() {
			last = b.GetFirstSeq() + uint64(e.GetOffset())
			once(last, "entry")
			r.entries[last] = e
			r.order = append(r.order, last)
		}
	}
	for seq := after + 1; seq <= last; seq++ {
		if !known[seq] {
			t.Errorf("sequence %d is neither there nor named as missing", seq)
		}
	}
	l.compare(t, r, after)
	return r
}

func (l *life) compare(t *testing.T, r rest, after uint64) {
	t.Helper()
	prev := after // sequence of the block before
	counted := 0
	for _, seq := range r.order {
		e, made := r.entries[seq], l.made[seq]
		e.ClearOffset()
		if e.GetBlock().GetStepS() == 3600 {
			var parts []block.Block
			for p := prev + 1; p < seq; p++ {
				if r.thinned[p] {
					counted++
					if l.made[p] != nil { // else its Append failed late
						parts = append(parts, unpack(t, l.made[p]))
					}
				}
			}
			if known := string(e.GetBlock().GetPacked()); made != nil && !l.checked[known] {
				checkThinned(t, seq, e, append(parts, unpack(t, made)))
				l.checked[known] = true
			}
			prev = seq
			continue
		}
		if e.HasBlock() {
			prev = seq
		}
		if made != nil && !proto.Equal(e, made) {
			t.Errorf("sequence %d was changed", seq)
		}
	}
	if counted != len(r.thinned) {
		t.Errorf("%d sequences are named as thinned and %d belong to a block", len(r.thinned), counted)
	}
}

func unpack(t *testing.T, e *hmpb.Entry) block.Block {
	t.Helper()
	b, err := block.Decode(e.GetBlock().GetPacked())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func checkThinned(t *testing.T, seq uint64, e *hmpb.Entry, parts []block.Block) {
	t.Helper()
	want, err := block.Merge(parts...)
	if err == nil {
		want, err = block.Thin(want, block.Hour)
	}
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, unpack(t, e)); d != "" {
		t.Errorf("thinned block %d (-want +got):\n%s", seq, d)
	}
	if e.GetBlock().GetStartMs() != want.Start || e.GetBlock().GetSteps() != 1 {
		t.Errorf("thinned block %d says start %d, %d steps", seq, e.GetBlock().GetStartMs(), e.GetBlock().GetSteps())
	}
}

// lost counts what was made above after and is not in r, by kind; thinned
// blocks are not lost.
func (l *life) lost(r rest, after uint64) (states, blocks, findings, inventories int) {
	for seq, e := range l.made {
		if seq <= after || r.entries[seq] != nil || r.thinned[seq] {
			continue
		}
		switch e.WhichKind() {
		case hmpb.Entry_State_case:
			states++
		case hmpb.Entry_Block_case:
			blocks++
		case hmpb.Entry_Finding_case:
			findings++
		default:
			inventories++
		}
	}
	return states, blocks, findings, inventories
}

// lostOf counts the States of a day that were made above after and are not in r.
func (l *life) lostOf(day time.Time, r rest, after uint64) (n int) {
	for seq, e := range l.made {
		if e.HasState() && seq > after && r.entries[seq] == nil && time.UnixMilli(e.GetDeviceMs()).UTC().Truncate(24*time.Hour).Equal(day.Truncate(24*time.Hour)) {
			n++
		}
	}
	return n
}

// days counts the days of States.
func (l *life) days(has func(seq uint64) bool) map[int64]bool {
	days := map[int64]bool{}
	for seq, e := range l.made {
		if e.HasState() && has(seq) {
			days[e.GetDeviceMs()/(24*3600*1000)] = true
		}
	}
	return days
}

// gauge is a disk that notes how much there ever was on it.
type gauge struct {
	*fault.Disk
	most int
}

func (g *gauge) Open(name string, create bool) (spool.File, error) {
	f, err := g.Disk.Open(name, create)
	if err != nil {
		return nil, err
	}
	return &gauged{f, g}, nil
}

type gauged struct {
	spool.File
	g *gauge
}

func (f *gauged) WriteAt(b []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(b, off)
	f.g.most = max(f.g.most, f.g.Bytes())
	return n, err
}
