package spool_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"hausmeister/agent/spool"
	"hausmeister/proto/block"
	"hausmeister/proto/hmpb"
	"hausmeister/testenv/fault"
	"hausmeister/testenv/need"
)

const (
	bound   = 256 << 10
	segment = bound / 16
	small   = 128 << 10 // where a test is run a thousand times
)

// fullLife runs hours of l in a spool of 256 kB and reads what is left.
func fullLife(t *testing.T, l *life, hours int) (rest, spool.Stats) {
	t.Helper()
	d := &gauge{Disk: fault.NewDisk()}
	s := open(t, spool.Config{Disk: d, MaxBytes: bound, Now: l.clock})
	l.hours(s, hours)
	if d.most > bound+segment {
		t.Errorf("%d bytes on the disk at one time, bound %d and one segment of %d", d.most, bound, segment)
	}
	if d.most < bound-2*segment {
		t.Errorf("never more than %d bytes on the disk: nothing had to be given up", d.most)
	}
	r, st := l.readRest(t, s, 0), s.Stats()
	if int(st.Entries) != len(r.entries) || st.Waiting != st.Entries || int(st.Dropped) > len(r.dropped) || int(st.Thinned) < len(r.thinned) || st.Damaged != 0 {
		t.Errorf("Stats = %+v; %d entries, %d dropped, %d thinned", st, len(r.entries), len(r.dropped), len(r.thinned))
	}
	// The next run finds the same.
	s.Close()
	again := open(t, spool.Config{Disk: d, MaxBytes: bound, Now: l.clock})
	if r2 := l.readRest(t, again, 0); !slices.Equal(r.order, r2.order) || len(r.thinned) != len(r2.thinned) {
		t.Errorf("after reopening %d entries, %d thinned, want %d, %d", len(r2.order), len(r2.thinned), len(r.order), len(r.thinned))
	}
	if got := again.Stats(); got.Entries != st.Entries || got.Bytes != st.Bytes {
		t.Errorf("after reopening Stats = %+v, want entries and bytes of %+v", got, st)
	}
	return r, st
}

func TestStatesGoFirst(t *testing.T) {
	l := newLife()
	l.states = 150 // those of one day are nearly all that fits
	r, _ := fullLife(t, l, 150)
	states, blocks, findings, _ := l.lost(r, 0)
	if states == 0 || len(r.thinned) > 0 || blocks+findings > 0 {
		t.Errorf("lost %d states, %d blocks, %d findings, %d blocks thinned; want states only", states, blocks, findings, len(r.thinned))
	}
	made, left := l.days(func(uint64) bool { return true }), l.days(func(seq uint64) bool { return r.entries[seq] != nil })
	if !cmp.Equal(made, left) {
		t.Errorf("States of %d days were made and of %d are left", len(made), len(left))
	}
	// The oldest went first: behind a whole day no other has lost any.
	whole := false
	for day := range int64(20) {
		of := func(has bool) (n int) {
			for seq, e := range l.made {
				if e.HasState() && e.GetDeviceMs()/(24*3600*1000) == today.UnixMilli()/(24*3600*1000)+day && (!has || r.entries[seq] != nil) {
					n++
				}
			}
			return n
		}
		if whole && of(true) < of(false) {
			t.Errorf("day %d lost States, an older one did not", day)
		}
		whole = of(true) == of(false) && of(true) > 0
	}
}

func TestBlocksAreThinnedBeforeTheyAreDropped(t *testing.T) {
	l := newLife()
	l.states, l.series = 4, 8
	r, st := fullLife(t, l, 450)
	states, blocks, findings, _ := l.lost(r, 0)
	if len(r.thinned) == 0 || st.Thinned == 0 || states == 0 || blocks+findings > 0 {
		t.Errorf("lost %d states, %d blocks, %d findings, %d blocks thinned; want no block lost", states, blocks, findings, len(r.thinned))
	}
	if made, left := l.days(func(uint64) bool { return true }), l.days(func(seq uint64) bool { return r.entries[seq] != nil }); !cmp.Equal(made, left) {
		t.Errorf("States of %d days were made and of %d are left", len(made), len(left))
	}
	// Each hour is there, as four blocks or as one.
	hours := map[int64]bool{}
	for _, e := range r.entries {
		if e.HasBlock() {
			hours[e.GetBlock().GetStartMs()/block.Hour] = true
		}
	}
	if len(hours) != 450 {
		t.Errorf("blocks of %d hours are left, want 450", len(hours))
	}
}

func TestBlocksGoOldestFirst(t *testing.T) {
	l := newLife()
	l.states, l.series, l.width = 4, 8, 40
	r, _ := fullLife(t, l, 1500)
	_, blocks, findings, _ := l.lost(r, 0)
	if blocks == 0 || findings > 0 {
		t.Errorf("lost %d blocks, %d findings, want blocks and no finding", blocks, findings)
	}
	oldest := l.now.UnixMilli()
	for _, e := range r.entries {
		if e.HasBlock() {
			oldest = min(oldest, e.GetBlock().GetStartMs())
		}
	}
	for seq, e := range l.made {
		if e.HasBlock() && e.GetBlock().GetStartMs()/block.Hour > oldest/block.Hour && r.entries[seq] == nil && !r.thinned[seq] {
			t.Fatalf("block %d is lost, older ones are there", seq)
		}
	}
	if age := l.now.Sub(time.UnixMilli(oldest)); age < 20*24*time.Hour {
		t.Errorf("the oldest block is only %v old", age)
	}
}

func TestInventoriesGoBeforeFindings(t *testing.T) {
	l := newLife()
	l.states, l.findings, l.inventories = 4, 2, 1
	r, _ := fullLife(t, l, 520)
	_, _, findings, inventories := l.lost(r, 0)
	if inventories == 0 || findings > 0 {
		t.Errorf("lost %d inventories, %d findings, want inventories only", inventories, findings)
	}
	newest := uint64(0)
	for seq, e := range l.made {
		if e.HasInventory() {
			newest = max(newest, seq)
		}
	}
	if r.entries[newest] == nil {
		t.Error("the newest inventory is lost")
	}
}

func TestFindingsGoLast(t *testing.T) {
	l := newLife()
	l.states, l.findings, l.inventories = 4, 4, 1
	d := &gauge{Disk: fault.NewDisk()}
	s := open(t, spool.Config{Disk: d, MaxBytes: bound, Now: l.clock})
	l.hours(s, 10)
	l.inventories = 0 // the newest one is old now
	l.hours(s, 600)
	if d.most > bound+segment {
		t.Errorf("%d bytes on the disk at one time", d.most)
	}
	r := l.readRest(t, s, 0)
	_, _, findings, inventories := l.lost(r, 0)
	if findings == 0 || inventories != 9 {
		t.Errorf("lost %d findings and %d inventories of 10, want the newest to stay", findings, inventories)
	}
	if n := s.Stats().Lost; n != uint64(findings) {
		t.Errorf("Stats.Lost = %d, want the %d findings that were given up", n, findings)
	}
}

// TestAcknowledgedGoBeforeAll: what the collector has is given up before
// anything that it has not, and an hour that it has a part of is not thinned.
func TestAcknowledgedGoBeforeAll(t *testing.T) {
	l := newLife()
	d := fault.NewDisk()
	s := open(t, spool.Config{Disk: d, MaxBytes: bound, Now: l.clock})
	l.hours(s, 40)
	s.Ack(s.Last() - 30)
	cursor := s.Acked()
	l.states, l.series = 4, 8
	for range 60 {
		l.hours(s, 5)
		r := l.readRest(t, s, cursor)
		_, blocks, _, _ := l.lost(r, cursor)
		if states := l.lostOf(l.now, r, cursor); s.First() <= cursor && states+blocks+len(r.thinned) > 0 {
			t.Fatalf("%d states of this day and %d blocks lost, %d thinned, while %d is here and %d acknowledged", states, blocks, len(r.thinned), s.First(), cursor)
		}
	}
	r := l.readRest(t, s, cursor)
	if len(r.thinned) == 0 {
		t.Fatal("nothing was thinned")
	}
	told := map[int64]bool{}
	for seq, e := range l.made {
		if seq <= cursor && e.HasBlock() {
			told[e.GetBlock().GetStartMs()/block.Hour] = true
		}
	}
	for seq, e := range r.entries {
		if e.GetBlock().GetStepS() == 3600 && told[e.GetBlock().GetStartMs()/block.Hour] {
			t.Errorf("thinned block %d would replace blocks that were told", seq)
		}
	}
}

// TestClockSetBack: hours that come twice are not thinned one by one, since the
// second would replace the first.
func TestClockSetBack(t *testing.T) {
	l := newLife()
	l.states, l.series = 4, 8
	d := fault.NewDisk()
	s := open(t, spool.Config{Disk: d, MaxBytes: bound, Now: l.clock})
	for range 150 {
		l.hours(s, 2)
		if l.now.Hour() == 12 {
			l.now = l.now.Add(-2 * time.Hour)
			l.hours(s, 4)
		}
	}
	r := l.readRest(t, s, 0)
	times := map[int64]int{}
	for _, e := range r.entries {
		if e.GetBlock().GetStepS() == 3600 {
			times[e.GetBlock().GetStartMs()]++
		}
	}
	if len(times) == 0 {
		t.Fatal("nothing was thinned")
	}
	for hour, n := range times {
		if n > 1 {
			t.Errorf("hour %d has %d thinned blocks", hour, n)
		}
	}
}

// TestForeignBlocks: what cannot be decoded is not thinned, and stays while
// there is space.
func TestForeignBlocks(t *testing.T) {
	l := newLife()
	l.states, l.findings = 0, 0
	d := fault.NewDisk()
	s := open(t, spool.Config{Disk: d, MaxBytes: bound, Now: l.clock})
	for i := range 2000 {
		l.now = l.now.Add(15 * time.Minute)
		b := hmpb.Block_builder{StartMs: proto.Int64(l.now.UnixMilli()), StepS: proto.Uint32(60), Steps: proto.Uint32(15), Packed: fmt.Appendf(nil, "hB\x09 of a newer version %4d %s", i, l.text(""))}
		l.add(s, hmpb.Entry_builder{Block: b.Build()}.Build())
	}
	r := l.readRest(t, s, 0)
	if len(r.thinned) > 0 || len(r.entries) < 1000 || d.Bytes() > bound {
		t.Errorf("%d entries left, %d thinned, %d bytes", len(r.entries), len(r.thinned), d.Bytes())
	}
}

// TestStatesOfADayThatIsOver: in a spool with room for all, the States that
// nobody was told go when the next day begins, but for the last of each day.
// Those of a segment of which something was told stay, and so does all else.
func TestStatesOfADayThatIsOver(t *testing.T) {
	l := newLife()
	l.inventories = 1
	d := fault.NewDisk()
	c := spool.Config{Disk: d, Now: l.clock}
	s := open(t, c)
	l.hours(s, 8)
	s.Ack(40)
	for day := 1; day <= 20; day++ {
		l.hours(s, 8)
		if n := l.lostOf(l.now, l.readRest(t, s, 40), 40); n > 0 {
			t.Fatalf("day %d is not over and has lost %d States", day, n)
		}
		if day%7 == 0 {
			s.Close()
			s = open(t, c)
		}
	}
	r := l.readRest(t, s, 40)
	if _, blocks, findings, inventories := l.lost(r, 40); blocks+findings+inventories+len(r.thinned) > 0 {
		t.Errorf("%d blocks, %d findings, %d inventories lost, %d blocks thinned; want States only", blocks, findings, inventories, len(r.thinned))
	}
	if n := l.lostOf(today, r, 40); n > 0 {
		t.Errorf("%d States lost of the day of which a part was told", n)
	}
	made, left := l.days(func(uint64) bool { return true }), l.days(func(seq uint64) bool { return r.entries[seq] != nil })
	if !cmp.Equal(made, left) {
		t.Errorf("States of %d days were made and of %d are left", len(made), len(left))
	}
	states := 0
	for _, e := range r.entries {
		if e.HasState() {
			states++
		}
	}
	// Of 19 days one each, or two where segments of a day did not fit into one;
	// of the first and the last day all, 160 each.
	if most := 2*160 + 2*19; states > most {
		t.Errorf("%d States are left, want at most %d", states, most)
	}
	if st := s.Stats(); st.Dropped > 0 {
		t.Errorf("%d reports count as lost", st.Dropped)
	}
	// A collector that was restored gets what was told of that segment too.
	if _, err := s.Resume(0); err != nil {
		t.Fatal(err)
	}
	if got := l.readRest(t, s, 0); l.lostOf(today, got, 0) > 0 || got.order[0] != 1 {
		t.Errorf("after Resume(0) the first is %d, and %d States of the first day are missing", got.order[0], l.lostOf(today, got, 0))
	}
}

// TestFaultsWhileSqueezing is the promise of the package once more, for a spool
// that is full: whatever operation fails or is the last one, there is what was
// there before the squeeze or what should be after it, each entry once, and no
// finding is lost.
func TestFaultsWhileSqueezing(t *testing.T) {
	need.Plain(t)
	for _, tt := range []struct {
		name          string
		before, hours int
		shape         func(*life)
	}{
		{"states", 50, 8, func(l *life) { l.states = 80 }},
		{"a new day", 24, 8, func(*life) {}}, // the spool is not full
		{"blocks", 205, 8, func(l *life) { l.states, l.series = 4, 8 }},
		{"all", 700, 8, func(l *life) { l.states, l.series, l.width = 4, 8, 40 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base, before := fault.NewDisk(), newLife()
			tt.shape(before)
			s := open(t, spool.Config{Disk: base, MaxBytes: small, Now: before.clock})
			before.hours(s, tt.before)
			// run appends with a fault, with a restart in between.
			run := func(d *fault.Disk, plan func(fault.Op) fault.Fault) *life {
				l := newLife()
				tt.shape(l)
				l.now, l.checked = before.now, before.checked
				for seq, e := range before.made {
					l.made[seq] = e
				}
				d.Plan(plan)
				for range 2 { // two runs of the agent
					if s, err := spool.Open(spool.Config{Disk: d, MaxBytes: small, Now: l.clock}); err == nil {
						l.hours(s, tt.hours/2)
						s.Batch(100, 10000)
						s.Close()
					}
				}
				return l
			}
			d := base.Clone()
			var ops []int // those that have to do with squeezing
			var kinds []string
			clean := run(d, func(op fault.Op) fault.Fault {
				// Those of appending are TestFaultAtEveryOperation's.
				if op.Kind != "read" && (strings.HasSuffix(op.Name, ".sqz") || op.Kind == "remove" || op.Kind == "sync folder") {
					ops, kinds = append(ops, op.N), append(kinds, op.Kind+" "+op.Name)
				}
				return fault.None
			})
			if s := open(t, spool.Config{Disk: d, MaxBytes: small, Now: clean.clock}); true {
				r := clean.readRest(t, s, 0)
				states, blocks, _, _ := clean.lost(r, 0)
				t.Logf("without a fault %d states and %d blocks are lost, %d thinned", states, blocks, len(r.thinned))
			}
			tries, most, long := 0, 40, os.Getenv("HAUSMEISTER_LONG") != ""
			for j, m := range modes() {
				for i, n := range ops {
					// make test-long tries all of them.
					if (i+j)%3 > 0 && !long || i > most && !long {
						continue
					}
					tries++
					d := base.Clone()
					l := run(d, fault.At(n, m.fault))
					d.Plan(nil)
					if m.seed > 0 {
						d.PowerCut(rand.New(rand.NewPCG(m.seed, uint64(n))))
					}
					checkSqueezed(t, d, l, tt.name != "all")
					if t.Failed() {
						t.Fatalf("with %v at operation %d, %s", m, n, kinds[i])
					}
				}
			}
			t.Logf("%d faults at %d operations", tries, len(ops))
		})
	}
}

func checkSqueezed(t *testing.T, d *fault.Disk, l *life, everyHour bool) {
	t.Helper()
	s, err := spool.Open(spool.Config{Disk: d, MaxBytes: small, Now: l.clock})
	if err != nil {
		t.Errorf("Open: %v", err)
		return
	}
	defer s.Close()
	r := l.readRest(t, s, 0)
	if _, blocks, findings, _ := l.lost(r, 0); findings > 0 || everyHour && blocks > 0 {
		t.Errorf("%d findings and %d blocks are lost", findings, blocks)
	}
	highest := uint64(0)
	for seq := range l.made {
		highest = max(highest, seq)
	}
	seq, err := s.Append(context.Background(), entry("next", 100))
	if err != nil || seq <= highest {
		t.Errorf("Append gives sequence %d, %v; %d was given out before", seq, err, highest)
	}
	if n := d.Bytes(); n > small+small/16 {
		t.Errorf("%d bytes on the disk", n)
	}
}
