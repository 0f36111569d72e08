package spool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"hausmeister/agent/spool"
	"hausmeister/testenv/fault"
)

func TestOnRealDisk(t *testing.T) {
	dir := t.TempDir()
	c := spool.Config{Disk: spool.Dir(dir)}
	s := open(t, c)
	if s.First() != 0 || s.Last() != 0 {
		t.Errorf("new spool: First %d, Last %d, want 0, 0", s.First(), s.Last())
	}
	add(t, s, numbered(1, 10)...)
	epoch := s.Epoch()
	s.Close()
	s = open(t, c)
	add(t, s, "report 11")
	got := readAll(t, s, 0)
	if d := cmp.Diff(numbered(1, 11), got.Texts); d != "" || got.Dropped != nil {
		t.Errorf("after reopening (-want +got):\n%s dropped %v", d, got.Dropped)
	}
	if !bytes.Equal(s.Epoch(), epoch) || s.First() != 1 || s.Last() != 11 {
		t.Errorf("epoch %x, first %d, last %d, want %x, 1, 11", s.Epoch(), s.First(), s.Last(), epoch)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		t.Errorf("files %v, %v, want one", files, err)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("segment has mode %v, %v, want owner only", info.Mode(), err)
	}
}

func TestNewSpoolHasNewEpoch(t *testing.T) {
	a, b := open(t, spool.Config{Disk: fault.NewDisk()}), open(t, spool.Config{Disk: fault.NewDisk()})
	if bytes.Equal(a.Epoch(), b.Epoch()) || len(a.Epoch()) != 16 {
		t.Errorf("epochs %x and %x, want two of 16 bytes", a.Epoch(), b.Epoch())
	}
}

// mode is one way to hurt a spool and what is left of its disk.
type mode struct {
	fault fault.Fault
	seed  uint64 // of the power cut afterwards; 0 = kill -9 only
}

// modes are those that differ; make test-long draws more power cuts.
func modes() []mode {
	cuts := map[fault.Fault]uint64{fault.Fail: 1, fault.Torn: 1, fault.Late: 2, fault.Kill: 3}
	var all []mode
	for _, f := range []fault.Fault{fault.Fail, fault.Torn, fault.Late, fault.Kill} {
		if os.Getenv("HAUSMEISTER_LONG") != "" {
			cuts[f] = 20
		}
		for seed := range cuts[f] {
			all = append(all, mode{f, seed})
		}
	}
	return all
}

func (m mode) String() string { return fmt.Sprintf("%v, power cut %d", m.fault, m.seed) }

// acked is what Append acknowledged.
type acked struct {
	seq  uint64
	text string
}

// work is a life of a spool, as long as it lasts: appends, batches, a restart
// in between and, if acks, acknowledgements by the collector. It returns what
// Append acknowledged and the collector did not.
func work(c spool.Config, n int, acks bool) (kept []acked) {
	for life := range 2 {
		s, err := spool.Open(c)
		if err != nil {
			continue
		}
		for i := range n {
			text := fmt.Sprintf("life %d report %d", life, i)
			if seq, err := s.Append(context.Background(), entry(text, 300)); err == nil {
				kept = append(kept, acked{seq, text})
			}
			if i%5 != 4 {
				continue
			}
			s.Batch(s.Acked(), 4000)
			if acks && s.Last() > 2 {
				// Then a failing Append may take its place.
				s.Ack(s.Last() - 2)
				kept = slices.DeleteFunc(kept, func(a acked) bool { return a.seq <= s.Acked() })
			}
		}
		s.Close()
	}
	return kept
}

// TestFaultAtEveryOperation is the promise of the package: whatever operation
// fails or is the last one, what Append acknowledged is there, once, in order.
func TestFaultAtEveryOperation(t *testing.T) {
	for _, acks := range []bool{false, true} {
		c := spool.Config{MaxBytes: 64 << 10} // segments of 4 kB, space for all
		d := fault.NewDisk()
		c.Disk = d
		work(c, 25, acks)
		ops := d.Ops()
		if ops < 120 {
			t.Fatalf("only %d operations: too few for a test of faults", ops)
		}
		for _, m := range modes() {
			for n := range ops {
				d := fault.NewDisk()
				c.Disk = d
				d.Plan(fault.At(n, m.fault))
				kept := work(c, 25, acks)
				d.Plan(nil)
				if m.seed > 0 {
					d.PowerCut(rand.New(rand.NewPCG(m.seed, uint64(n))))
				}
				checkKept(t, c, kept)
				if t.Failed() {
					t.Fatalf("with %v at operation %d of %d, acknowledging %v", m, n, ops, acks)
				}
			}
		}
	}
}

// checkKept opens the spool twice and holds it to its promises.
func checkKept(t *testing.T, c spool.Config, want []acked) {
	t.Helper()
	highest := uint64(0)
	for _, a := range want {
		highest = max(highest, a.seq)
	}
	for range 2 {
		s, err := spool.Open(c)
		if err != nil {
			t.Errorf("Open: %v", err)
			return
		}
		got := readAll(t, s, 0)
		at := map[uint64]string{}
		seen := map[string]bool{}
		for i, seq := range got.Seqs {
			at[seq] = got.Texts[i]
			if seen[got.Texts[i]] {
				t.Errorf("%q is there twice", got.Texts[i])
			}
			seen[got.Texts[i]] = true
			highest = max(highest, seq)
		}
		for _, a := range want {
			if at[a.seq] != a.text {
				t.Errorf("sequence %d is %q, want %q, which Append acknowledged", a.seq, at[a.seq], a.text)
			}
		}
		text := fmt.Sprintf("after %d", highest)
		seq, err := s.Append(context.Background(), entry(text, 300))
		if err != nil || seq <= highest {
			t.Errorf("Append gives sequence %d, %v; %d was given out before", seq, err, highest)
		}
		want = append(want, acked{seq, text})
		s.Close()
	}
	if n := c.Disk.(*fault.Disk).OpenFiles(); n != 0 {
		t.Errorf("%d files left open", n)
	}
}

// TestTornAtEveryByte cuts the newest segment at each length.
func TestTornAtEveryByte(t *testing.T) {
	whole := fault.NewDisk()
	s := open(t, spool.Config{Disk: whole})
	texts := numbered(1, 4)
	var ends []int // bytes after each append
	for _, text := range texts {
		if _, err := s.Append(t.Context(), entry(text, 40)); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, whole.Bytes())
	}
	names, err := whole.Names()
	if err != nil || len(names) != 1 {
		t.Fatalf("names %v, %v", names, err)
	}
	for cut := range whole.Bytes() {
		d := whole.Clone()
		d.Edit(names[0], func(b []byte) []byte { return b[:cut] })
		s := open(t, spool.Config{Disk: d})
		var want []string
		for i, end := range ends {
			if end <= cut {
				want = append(want, texts[i])
			}
		}
		if got := readAll(t, s, 0); !cmp.Equal(want, got.Texts) {
			t.Fatalf("cut at byte %d: %q, want %q", cut, got.Texts, want)
		}
		seq, err := s.Append(t.Context(), entry("next", 40))
		if err != nil {
			t.Fatalf("cut at byte %d: Append: %v", cut, err)
		}
		record := ends[1] - ends[0]
		begin := ends[0] - record + len(want)*record // of the record that was cut
		if cut > begin && seq <= uint64(len(want)+1) {
			t.Fatalf("cut at byte %d: sequence %d was in the torn bytes and is used again", cut, seq)
		}
	}
}

func TestFullSpoolDropsOldestAndNamesIt(t *testing.T) {
	d := fault.NewDisk()
	s := open(t, spool.Config{Disk: d, MaxBytes: 64 << 10})
	add(t, s, numbered(1, 100)...)
	s.Ack(60)
	add(t, s, numbered(101, 400)...)
	if got := d.Bytes(); got > 64<<10 {
		t.Errorf("%d bytes on disk, bound %d", got, 64<<10)
	}
	st := s.Stats()
	got := readAll(t, s, s.Acked())
	first := got.Seqs[0]
	if want := ([][2]uint64{{61, first - 1}}); !cmp.Equal(want, got.Dropped) {
		t.Errorf("dropped %v, want %v", got.Dropped, want)
	}
	if st.Dropped+st.Thinned != first-61 || st.Waiting != 400-first+1 {
		t.Errorf("Stats say %d given up, %d waiting, want %d, %d", st.Dropped+st.Thinned, st.Waiting, first-61, 400-first+1)
	}
	if d := cmp.Diff(numbered(int(first), 400), got.Texts); d != "" {
		t.Errorf("rest (-want +got):\n%s", d)
	}
}

func TestAcknowledgedStayAndGoFirst(t *testing.T) {
	s := open(t, spool.Config{Disk: fault.NewDisk(), MaxBytes: 64 << 10})
	add(t, s, numbered(1, 100)...)
	s.Ack(100)
	if s.First() != 1 || s.Stats().Waiting != 0 {
		t.Errorf("First %d, waiting %d after Ack, want 1, 0: space is not needed yet", s.First(), s.Stats().Waiting)
	}
	add(t, s, numbered(101, 250)...)
	if s.First() == 1 || s.Stats().Dropped != 0 {
		t.Errorf("First %d, dropped %d, want acknowledged ones gone and no other", s.First(), s.Stats().Dropped)
	}
	if got := readAll(t, s, 100); len(got.Texts) != 150 || got.Dropped != nil {
		t.Errorf("%d entries, dropped %v after the acknowledged ones, want 150 and none", len(got.Texts), got.Dropped)
	}
	// A restored collector knows less: it gets what is still there.
	if renewed, err := s.Resume(0); renewed || err != nil {
		t.Fatalf("Resume(0) = %v, %v", renewed, err)
	}
	got := readAll(t, s, s.Acked())
	if want := [][2]uint64{{1, s.First() - 1}}; !cmp.Equal(want, got.Dropped) || got.Seqs[0] != s.First() {
		t.Errorf("from the beginning: dropped %v, first %d; want %v, %d", got.Dropped, got.Seqs[0], want, s.First())
	}
}

func TestFullDisk(t *testing.T) {
	d := fault.NewDisk()
	c := spool.Config{Disk: d, MaxBytes: 64 << 10}
	s := open(t, c)
	add(t, s, numbered(1, 40)...)
	d.Space(100) // the next write ends half way
	for range 3 {
		if _, err := s.Append(t.Context(), entry("lost", 300)); err == nil {
			t.Fatal("Append works on a full disk")
		}
	}
	if st := s.Stats(); !st.Failing || st.Failures != 3 || st.Dropped != 0 {
		t.Errorf("Stats = %+v, want failing, 3 failures, nothing given up", st)
	}
	// The collector has the older ones: their place is taken.
	s.Ack(30)
	add(t, s, "report 44")
	if st := s.Stats(); st.Failing || st.Dropped != 0 {
		t.Errorf("Stats = %+v after space was made", st)
	}
	s.Close()
	s = open(t, c)
	got := readAll(t, s, 30)
	if want := append(numbered(31, 40), "report 44"); !cmp.Equal(want, got.Texts) {
		t.Errorf("entries %q, want %q", got.Texts, want)
	}
	if want := [][2]uint64{{41, 43}}; !cmp.Equal(want, got.Dropped) {
		t.Errorf("dropped %v, want %v: the lost ones are named", got.Dropped, want)
	}
}

func TestRotInTheMiddle(t *testing.T) {
	d := fault.NewDisk()
	c := spool.Config{Disk: d, MaxBytes: 64 << 10}
	s := open(t, c)
	add(t, s, numbered(1, 30)...)
	names, _ := d.Names()
	d.Edit(names[1], func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	for _, how := range []string{"while open", "after reopening"} {
		got := readAll(t, s, 0)
		if len(got.Dropped) != 1 || len(got.Texts)+int(got.Dropped[0][1]-got.Dropped[0][0]+1) != 30 {
			t.Errorf("%s: %d entries, dropped %v, want one gap and the rest", how, len(got.Texts), got.Dropped)
		}
		if s.Stats().Damaged != 1 {
			t.Errorf("%s: Stats.Damaged = %d, want 1", how, s.Stats().Damaged)
		}
		s.Close()
		s = open(t, c)
	}
	// The newest segment: what is appended later must not hide behind the rot.
	d.Edit(names[len(names)-1], func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
	readAll(t, s, 0)
	add(t, s, "later")
	if got := readAll(t, s, 0); got.Texts[len(got.Texts)-1] != "later" {
		t.Errorf("last entry is %q, want the one appended after the rot", got.Texts[len(got.Texts)-1])
	}
}

func TestHeaderLost(t *testing.T) {
	d := fault.NewDisk()
	c := spool.Config{Disk: d, MaxBytes: 64 << 10}
	s := open(t, c)
	add(t, s, numbered(1, 30)...)
	last := s.Last()
	s.Close()
	names, _ := d.Names()
	d.Edit(names[len(names)-1], func(b []byte) []byte { b[20] ^= 1; return b })
	for range 2 {
		s = open(t, c)
		seq, err := s.Append(t.Context(), entry("later", 300))
		if err != nil || seq <= last {
			t.Errorf("Append gives sequence %d, %v; up to %d may be known to the collector", seq, err, last)
		}
		last = seq
		s.Close()
	}
}

func TestNewerVersionIsLeftAlone(t *testing.T) {
	d := fault.NewDisk()
	s := open(t, spool.Config{Disk: d})
	add(t, s, "report 1")
	s.Close()
	names, _ := d.Names()
	d.Edit(names[0], func(b []byte) []byte { b[8] = 9; return b })
	if _, err := spool.Open(spool.Config{Disk: d}); !errors.Is(err, spool.ErrNewer) {
		t.Errorf("Open = %v, want %v", err, spool.ErrNewer)
	}
}

func TestTooLong(t *testing.T) {
	s := open(t, spool.Config{Disk: fault.NewDisk()})
	if _, err := s.Append(t.Context(), entry("long", spool.MaxEntry)); !errors.Is(err, spool.ErrTooLong) {
		t.Errorf("Append of a long entry: %v, want %v", err, spool.ErrTooLong)
	}
	if _, err := s.Append(t.Context(), entry("long", spool.MaxEntry-100)); err != nil {
		t.Errorf("Append of the longest entry: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Append(ctx, entry("x", 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("Append with an ended context: %v", err)
	}
}

// TestDiskSetBack: an image of the disk is put back while the collector has
// met what came after it.
func TestDiskSetBack(t *testing.T) {
	d := fault.NewDisk()
	s := open(t, spool.Config{Disk: d})
	add(t, s, numbered(1, 5)...)
	image := d.Clone()
	add(t, s, "lost future 1", "lost future 2", "lost future 3")
	c := spool.Config{Disk: image}
	s = open(t, c)
	old := s.Epoch()
	add(t, s, "new 6", "new 7")
	renewed, err := s.Resume(8)
	if err != nil || !renewed {
		t.Fatalf("Resume(8) = %v, %v, want a new epoch", renewed, err)
	}
	check := func(s *spool.Spool) {
		t.Helper()
		if bytes.Equal(s.Epoch(), old) {
			t.Error("the epoch is the old one")
		}
		got := readAll(t, s, 0)
		if want := []string{"new 6", "new 7"}; !cmp.Equal(want, got.Texts) || !cmp.Equal([]uint64{1, 2}, got.Seqs) {
			t.Errorf("entries %q at %v, want %q", got.Texts, got.Seqs, want)
		}
	}
	check(s)
	if st := s.Stats(); st.Dropped != 0 || st.Bytes != int64(image.Bytes()) {
		t.Errorf("Stats = %+v, %d bytes on disk", st, image.Bytes())
	}
	s.Close()
	s = open(t, c)
	check(s)
	add(t, s, "new 8")
	if s.Last() != 3 {
		t.Errorf("Last = %d, want 3", s.Last())
	}
}

// TestCollectorSetBack: a collector that was restored from a backup lacks what it had
// acknowledged since, as far as that is gone here.
func TestCollectorSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(today))
		s := open(t, spool.Config{Disk: fault.NewDisk()})
		lost := func(cursor, want uint64, what string) {
			t.Helper()
			if _, err := s.Resume(cursor); err != nil {
				t.Fatal(err)
			}
			if got := s.Stats().Lost; got != want {
				t.Errorf("%s: Stats.Lost = %d, want %d", what, got, want)
			}
		}
		add(t, s, numbered(1, 5)...)
		s.Ack(5)
		lost(5, 0, "nothing happened")
		lost(2, 0, "set back, all is here")
		s.Ack(5)
		time.Sleep(45 * 24 * time.Hour)
		s.Expire(time.Now())
		lost(5, 0, "expired, acknowledged before")
		lost(2, 1, "set back, 3 to 5 are gone")
		lost(2, 1, "the same collector again")
	})
}

// TestFaultsWhileEpochChanges: after any fault the old epoch is whole, or the new one is.
func TestFaultsWhileEpochChanges(t *testing.T) {
	base := fault.NewDisk()
	s := open(t, spool.Config{Disk: base})
	add(t, s, numbered(1, 5)...)
	run := func(d *fault.Disk, plan func(fault.Op) fault.Fault) (done bool) {
		s, err := spool.Open(spool.Config{Disk: d})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for _, text := range []string{"new 6", "new 7"} {
			if _, err := s.Append(t.Context(), entry(text, 300)); err != nil {
				t.Fatal(err)
			}
		}
		d.Plan(plan)
		renewed, err := s.Resume(100)
		return renewed && err == nil
	}
	d := base.Clone()
	run(d, func(fault.Op) fault.Fault { return fault.None })
	for _, m := range modes() {
		for n := range d.Ops() {
			c := base.Clone()
			done := run(c, fault.At(n, m.fault))
			c.Plan(nil)
			if m.seed > 0 {
				c.PowerCut(rand.New(rand.NewPCG(m.seed, uint64(n))))
			}
			s := open(t, spool.Config{Disk: c})
			got := readAll(t, s, 0).Texts
			before, after := append(numbered(1, 5), "new 6", "new 7"), []string{"new 6", "new 7"}
			if !cmp.Equal(got, after) && (done || !cmp.Equal(got, before)) {
				t.Fatalf("%v at operation %d, Resume done %v: %q", m, n, done, got)
			}
			s.Close()
		}
	}
}

func TestOldSegmentIsNotGoneOnWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(today)) // a bubble begins in 2000, before any release
		d := fault.NewDisk()
		s := open(t, spool.Config{Disk: d})
		add(t, s, "before the holidays")
		s.Close()
		time.Sleep(60 * 24 * time.Hour)
		s = open(t, spool.Config{Disk: d})
		add(t, s, "after")
		s.Expire(time.Now())
		if got := readAll(t, s, 0); !cmp.Equal([]string{"after"}, got.Texts) {
			t.Errorf("entries %q, want only the new one", got.Texts)
		}
	})
}

func TestChanged(t *testing.T) {
	s := open(t, spool.Config{Disk: fault.NewDisk()})
	add(t, s, "a", "b")
	select {
	case <-s.Changed():
	default:
		t.Error("Changed says nothing after Append")
	}
	select {
	case <-s.Changed():
		t.Error("Changed speaks twice of what was there already")
	default:
	}
}

// TestHeldByOthers: a file that cannot be removed (a virus scanner) stops nothing.
func TestHeldByOthers(t *testing.T) {
	d := fault.NewDisk()
	s := open(t, spool.Config{Disk: d, MaxBytes: 64 << 10})
	d.Plan(func(op fault.Op) fault.Fault {
		if op.Kind == "remove" {
			return fault.Fail
		}
		return fault.None
	})
	add(t, s, numbered(1, 300)...)
	d.Plan(nil)
	add(t, s, "last")
	if d.Bytes() > 64<<10 {
		t.Errorf("%d bytes after the file can be removed again", d.Bytes())
	}
}
