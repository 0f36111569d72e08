package journal_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"hausmeister/agent/update/journal"
	"hausmeister/platform/layout"
	"hausmeister/testenv/fault"
)

const dir = "/root/state/update"

func store(d layout.Disk) *journal.Store { return journal.NewStore(journal.Config{Dir: dir, Disk: d}) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// walk is an update until it is armed.
func walk(s *journal.Store) error {
	for _, e := range []journal.Event{
		{Kind: journal.Adopt, Program: v1}, {Kind: journal.Offer, Program: v2}, {Kind: journal.Download}, {Kind: journal.Stage}, {Kind: journal.Arm},
	} {
		if _, _, err := s.Do(context.Background(), e); err != nil && !errors.Is(err, journal.ErrNotNow) {
			return err
		}
	}
	return nil
}

func TestTornCopies(t *testing.T) {
	d := fault.NewTree(dir)
	must(t, walk(store(d))) // five writes: a has the last
	a, _ := d.Read(dir + "/journal.a")
	b, _ := d.Read(dir + "/journal.b")
	torn := map[string]func([]byte) []byte{
		"empty": func([]byte) []byte { return []byte{} }, "cut": func(x []byte) []byte { return x[:len(x)-1] },
		"zeros": func(x []byte) []byte { return make([]byte, len(x)) }, "null": func([]byte) []byte { return []byte("null") },
		"one bit": func(x []byte) []byte { x = bytes.Clone(x); x[len(x)/2] ^= 4; return x }, "longer": func(x []byte) []byte { return append(bytes.Clone(x), 0) },
		"gone": func([]byte) []byte { return nil },
	}
	for name, tear := range torn {
		for which, want := range map[string]journal.State{"a": journal.Staged, "b": journal.Armed} {
			d.Put(dir+"/journal.a", a)
			d.Put(dir+"/journal.b", b)
			d.Put(dir+"/journal."+which, tear(map[string][]byte{"a": a, "b": b}[which]))
			j, err := store(d).Load()
			if err != nil || j.State != want {
				t.Errorf("%s %s: %s, %v; want %s", which, name, j.State, err, want)
			}
			// The next write goes over the torn one.
			if _, _, err := store(d).Do(t.Context(), journal.Event{Kind: journal.Measure, Bytes: 1 << 20}); err != nil {
				t.Errorf("%s %s: %v", which, name, err)
			}
			if j, err := store(d).Load(); err != nil || j.Baseline != 1<<20 || j.State != want {
				t.Errorf("%s %s, after a write: %s, %v", which, name, j.State, err)
			}
		}
		if name == "gone" {
			continue
		}
		d.Put(dir+"/journal.a", tear(a))
		d.Put(dir+"/journal.b", tear(b))
		j, err := store(d).Load()
		if !errors.Is(err, journal.ErrTorn) || cmp.Diff(journal.Journal{}, j) != "" {
			t.Errorf("both %s: %+v, %v", name, j, err)
		}
		if _, _, err := store(d).Do(t.Context(), journal.Event{Kind: journal.Start}); !errors.Is(err, journal.ErrTorn) {
			t.Errorf("both %s, a step: %v", name, err)
		}
		if j, _, err := store(d).Do(t.Context(), journal.Event{Kind: journal.Adopt, Program: v3}); err != nil || j.Good != v3 {
			t.Errorf("both %s, begun anew: %+v, %v", name, j, err)
		}
	}
}

// TestAttack35_40_NewerJournal: what a newer version wrote is neither read
// wrongly nor written over.
func TestAttack35_40_NewerJournal(t *testing.T) {
	newerForm := func(b []byte) []byte {
		b = bytes.Clone(b)
		b[4] = 2
		binary.BigEndian.PutUint32(b[17:], crc(string(b[:17])+string(b[21:])))
		return b
	}
	for name, change := range map[string]func(a, b []byte) ([]byte, []byte){
		"both": func(a, b []byte) ([]byte, []byte) { return newerForm(a), newerForm(b) },
		"last": func(a, b []byte) ([]byte, []byte) { return newerForm(a), b },
	} {
		d := fault.NewTree(dir)
		must(t, walk(store(d)))
		a, _ := d.Read(dir + "/journal.a")
		b, _ := d.Read(dir + "/journal.b")
		a, b = change(a, b)
		d.Put(dir+"/journal.a", a)
		d.Put(dir+"/journal.b", b)
		if _, err := store(d).Load(); !errors.Is(err, journal.ErrNewer) {
			t.Errorf("%s: Load = %v", name, err)
		}
		for _, k := range journal.Kinds {
			if _, _, err := store(d).Do(t.Context(), event(k)); !errors.Is(err, journal.ErrNewer) {
				t.Errorf("%s: %s = %v", name, k, err)
			}
		}
		if got, _ := d.Read(dir + "/journal.a"); !bytes.Equal(got, a) {
			t.Errorf("%s: written over", name)
		}
	}
}

// TestOtherVersionsJournal: of one form, a journal of an older version misses fields and
// one of a newer version has more; both are read, and what is ours comes back as it was.
func TestOtherVersionsJournal(t *testing.T) {
	const old = `{"state":3,"since":5,"good":{"version":"1.0.0","sum":"%s"},"next":{"version":"1.1.0","sum":"%s"},` +
		`"previous":{"version":"","sum":"%064d"},"lease":"lease","not_before":7,"postpones":2%s}`
	putOff := journal.PutOff{Sum: v2.Sum, Times: 2, Until: 7}
	moved := putOff
	moved.Moved, moved.Wish = true, "w1"
	for name, c := range map[string]struct {
		more string
		want journal.PutOff
	}{
		"older":            {"", journal.PutOff{}},
		"ours":             {fmt.Sprintf(`,"put_off":{"sum":"%s","times":2,"until":7,"moved":true,"wish":"w1"}`, v2.Sum), moved},
		"older, of wishes": {fmt.Sprintf(`,"put_off":{"sum":"%s","times":2,"until":7}`, v2.Sum), putOff},
		"newer":            {fmt.Sprintf(`,"put_off":{"sum":"%s","times":2,"until":7,"why":"holidays"},"mood":{"good":true}`, v2.Sum), putOff},
	} {
		d := fault.NewTree(dir)
		d.Put(dir+"/journal.a", withSum(fmt.Appendf(nil, old, v1.Sum, v2.Sum, 0, c.more)))
		j, err := store(d).Load()
		if err != nil || j.State != journal.Staged || j.Next != v2 || j.NotBefore != 7 || j.Postpones != 2 || j.PutOff != c.want {
			t.Errorf("%s: %+v, %v; want it put off as %+v", name, j, err, c.want)
			continue
		}
		written, _, err := store(d).Do(t.Context(), journal.Event{Kind: journal.Measure, Bytes: 1})
		must(t, err)
		again, err := store(d).Load()
		if b, _ := d.Read(dir + "/journal.b"); strings.Contains(c.more, "mood") != bytes.Contains(b, []byte(`"mood":{"good":true}`)) {
			t.Errorf("%s: what a newer version keeps there is not as it was: %q", name, b)
		}
		if diff := cmp.Diff(written, again); err != nil || diff != "" || again.PutOff != c.want {
			t.Errorf("%s: comes back otherwise, %v:\n%s", name, err, diff)
		}
	}
	// Nobody put anything off: no word of it, as older versions write it.
	d := fault.NewTree(dir)
	must(t, walk(store(d)))
	if b, _ := d.Read(dir + "/journal.a"); bytes.Contains(b, []byte("put_off")) {
		t.Errorf("nobody put anything off: %s", b)
	}
}

// TestUnknownFieldsNeverKeepOursAway: what newer versions keep goes when there is no room
// for it.
func TestUnknownFieldsNeverKeepOursAway(t *testing.T) {
	const most = 256 << 10
	base := fmt.Sprintf(`{"good":{"version":"1.0.0","sum":"%s"},"mood":"`, v1.Sum)
	d := fault.NewTree(dir)
	d.Put(dir+"/journal.a", withSum([]byte(base+strings.Repeat("x", most-len(base)-2)+`"}`)))
	for i, kind := range []journal.Kind{journal.Start, journal.Alive, journal.End} {
		if j, _, err := store(d).Do(t.Context(), journal.Event{Kind: kind}); err != nil || j.Good != v1 {
			t.Errorf("step %d: good %v, %v", i, j.Good, err)
		}
	}
	if j, err := store(d).Load(); err != nil || j.Good != v1 || len(j.Failures) != 1 {
		t.Errorf("good %v, failures %v, %v", j.Good, j.Failures, err)
	}
}

// TestAttack40_OneBit: a bit of a copy that fell over, in its head or in its text, costs
// at most the last step, and the journal goes on.
func TestAttack40_OneBit(t *testing.T) {
	whole := fault.NewTree(dir)
	must(t, walk(store(whole)))
	for which, want := range map[string]journal.State{"a": journal.Staged, "b": journal.Armed} { // a has the last
		b, _ := whole.Read(dir + "/journal." + which)
		for bit := range 8 * len(b) {
			if bit/8 >= 21 && bit%37 != 0 {
				continue // of the text, some
			}
			d := fault.NewTree(dir)
			for _, name := range []string{dir + "/journal.a", dir + "/journal.b"} {
				copied, _ := whole.Read(name)
				d.Put(name, bytes.Clone(copied))
			}
			fell := bytes.Clone(b)
			fell[bit/8] ^= 1 << (bit % 8)
			d.Put(dir+"/journal."+which, fell)
			j, err := store(d).Load()
			if err != nil || j.State != want && j.State != journal.Armed {
				t.Fatalf("%s, bit %d of byte %d: %s, %v", which, bit%8, bit/8, j.State, err)
			}
			for n := range uint64(3) { // over both copies
				if _, _, err := store(d).Do(t.Context(), journal.Event{Kind: journal.Measure, Bytes: n + 1}); err != nil {
					t.Fatalf("%s, bit %d of byte %d, a step: %v", which, bit%8, bit/8, err)
				}
			}
			if now, err := store(d).Load(); err != nil || now.State != j.State || now.Baseline != 3 {
				t.Fatalf("%s, bit %d of byte %d: %s, %d, %v", which, bit%8, bit/8, now.State, now.Baseline, err)
			}
		}
	}
}

// TestOlderLaunchersReadOurs: one from before the number stood in the text reads our
// copies by their head, and we read its.
func TestOlderLaunchersReadOurs(t *testing.T) {
	d := fault.NewTree(dir)
	must(t, walk(store(d)))
	var numbers []uint64
	for _, name := range []string{dir + "/journal.a", dir + "/journal.b"} {
		b, _ := d.Read(name)
		head, text := b[:21], b[21:]
		if string(head[:5]) != "HMJ\n\x01" || int(binary.BigEndian.Uint32(head[13:])) != len(text) || binary.BigEndian.Uint32(head[17:]) != crc(string(text)) {
			t.Errorf("%s: not as form 1 has it: %x", name, head)
		}
		numbers = append(numbers, binary.BigEndian.Uint64(head[5:]))
	}
	if numbers[0] != numbers[1]+1 {
		t.Errorf("the copies are number %v", numbers)
	}
	// Its next copy, without a number in the text, goes over the older one.
	older := withSum(fmt.Appendf(nil, `{"state":5,"good":{"version":"1.0.0","sum":"%s"},"next":{"version":"1.1.0","sum":"%s"}}`, v1.Sum, v2.Sum))
	binary.BigEndian.PutUint64(older[5:], numbers[0]+1)
	d.Put(dir+"/journal.b", older)
	if j, err := store(d).Load(); err != nil || j.State != journal.Swapped {
		t.Errorf("after a step of an older one: %s, %v", j.State, err)
	}
	if j, _, err := store(d).Do(t.Context(), journal.Event{Kind: journal.Start}); err != nil || j.State != journal.Trial {
		t.Errorf("our step after that: %s, %v", j.State, err)
	}
	if j, err := store(d).Load(); err != nil || j.State != journal.Trial {
		t.Errorf("read again: %s, %v", j.State, err)
	}
}

// TestTooLong: a journal that could not be read again is not written.
func TestTooLong(t *testing.T) {
	s := store(fault.NewTree(dir))
	_, _, err := s.Do(t.Context(), journal.Event{Kind: journal.Adopt, Program: v1, Note: "1"})
	must(t, err)
	if _, _, err := s.Do(t.Context(), journal.Event{Kind: journal.Adopt, Program: v2, Note: strings.Repeat("x", 300<<10)}); err == nil {
		t.Error("a journal of 300 KiB was written")
	}
	if j, err := s.Load(); err != nil || j.Good != v1 {
		t.Errorf("good %v, %v", j.Good, err)
	}
}

// TestStoreCut ends, fails and fills the disk at every operation of five writes:
// afterwards there is a state that was written, and never an older one than the
// last that Do returned.
func TestStoreCut(t *testing.T) { synctest.Test(t, storeCut) } // whose waits take no time

func storeCut(t *testing.T) {
	d := fault.NewTree(dir)
	must(t, walk(store(d)))
	must(t, store(d).Reserve())
	points := 0
	// Twice five writes: the reading before each is not yet in the count of one.
	for n := 0; n < 400; n++ {
		for _, f := range []fault.Fault{fault.Fail, fault.Torn, fault.Late, fault.Kill, fault.Full} {
			d := fault.NewTree(dir)
			must(t, store(d).Reserve())
			d.Plan(fault.At(n, f))
			s := store(d)
			acked := journal.Journal{}
			for _, e := range []journal.Event{
				{Kind: journal.Adopt, Program: v1}, {Kind: journal.Offer, Program: v2}, {Kind: journal.Download}, {Kind: journal.Stage}, {Kind: journal.Arm},
			} {
				j, _, err := s.Do(t.Context(), e)
				if err != nil {
					break
				}
				acked = j
			}
			if n >= len(d.Ops()) {
				if f == fault.Full {
					if points == 0 {
						t.Fatal("no points")
					}
					t.Logf("%d points", points)
					return
				}
				continue
			}
			points++
			d.Plan(nil)
			d.PowerCut(rand.New(rand.NewPCG(uint64(n), uint64(f))))
			j, err := store(d).Load()
			if err != nil || j.State < acked.State {
				t.Fatalf("%v at %d: %s, %v; acknowledged %s", f, n, j.State, err, acked.State)
			}
			if err := walk(store(d)); err != nil {
				t.Fatalf("%v at %d, afterwards: %v", f, n, err)
			}
			if j, _ := store(d).Load(); j.State != journal.Armed {
				t.Fatalf("%v at %d, afterwards: %s", f, n, j.State)
			}
			if n := d.OpenFiles(); n != 0 {
				t.Fatalf("%v at %d: %d files open", f, n, n)
			}
		}
	}
	t.Fatal("the walk does not end")
}

// TestAttack20_JournalOnAFullDisk: the reserve lets it be written all the same.
func TestAttack20_JournalOnAFullDisk(t *testing.T) {
	d := fault.NewTree(dir)
	must(t, store(d).Reserve())
	must(t, walk(store(d)))
	d.Plan(fullUntil(dir + "/reserve"))
	if _, _, err := store(d).Do(t.Context(), journal.Event{Kind: journal.SwapDone}); err != nil {
		t.Fatalf("on a full disk with a reserve: %v", err)
	}
	d.Plan(nil)
	if j, err := store(d).Load(); err != nil || j.State != journal.Swapped {
		t.Errorf("%s, %v", j.State, err)
	}
	must(t, store(d).Reserve())
	if b, ok := d.Read(dir + "/reserve"); !ok || len(b) == 0 {
		t.Error("no new reserve")
	}
}

// fullUntil finds no space until a file was removed.
func fullUntil(name string) func(fault.Op) fault.Fault {
	removed := false
	return func(op fault.Op) fault.Fault {
		removed = removed || op.Kind == "unlink" && op.Name == name
		if !removed && op.Kind == "write" {
			return fault.Full
		}
		return fault.None
	}
}

// TestAttack26_TwoWriters: agent and launcher change one journal at the same
// time; no step of either is lost. The real disk and lock.
func TestAttack26_TwoWriters(t *testing.T) {
	dir := t.TempDir()
	s := journal.NewStore(journal.Config{Dir: dir, Disk: layout.Plain(), Lock: journal.FileLock(dir)})
	must(t, walk(s))
	base, err := s.Load()
	must(t, err)
	_, _, err = s.Do(t.Context(), journal.Event{Kind: journal.SwapFail, Reason: journal.Held})
	must(t, err)
	const each = 20
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			own := journal.NewStore(journal.Config{Dir: dir, Disk: layout.Plain(), Lock: journal.FileLock(dir)})
			for range each {
				if _, _, err := own.Do(t.Context(), journal.Event{Kind: journal.Fetch, Bytes: 1}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	j, err := s.Load()
	if err != nil || j.Fetched != base.Fetched+2*each {
		t.Errorf("fetched %d, %v; want %d", j.Fetched, err, 2*each)
	}
	// A lock that somebody held when he died is free.
	if _, err := os.Stat(filepath.Join(dir, "journal.lock")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Do(t.Context(), journal.Event{Kind: journal.Fetch}); err != nil {
		t.Errorf("with a lock file of nobody's: %v", err)
	}
}

// yielding lets others go on in the middle of a step.
type yielding struct{ *fault.Tree }

func (d yielding) Create(name string, mode fs.FileMode) (layout.File, error) {
	runtime.Gosched()
	return d.Tree.Create(name, mode)
}

// TestAttack26_OneProgram: launcher and agent may be one program, as a simulated device
// is, and share a store that needs no lock of files.
func TestAttack26_OneProgram(t *testing.T) {
	s := store(yielding{fault.NewTree(dir)})
	must(t, walk(s))
	_, _, err := s.Do(t.Context(), journal.Event{Kind: journal.SwapFail, Reason: journal.Held})
	must(t, err)
	const each = 200
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range each {
				if _, _, err := s.Do(t.Context(), journal.Event{Kind: journal.Fetch, Bytes: 1}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if j, err := s.Load(); err != nil || j.Fetched != 2*each {
		t.Errorf("fetched %d, %v; want %d", j.Fetched, err, 2*each)
	}
}

// FuzzDecode: whatever lies there is read as a journal that the machine can
// stand in, or refused, and every step from it keeps that.
func FuzzDecode(f *testing.F) {
	d := fault.NewTree(dir)
	must(f, walk(store(d)))
	b, _ := d.Read(dir + "/journal.a")
	f.Add(b, byte(1))
	f.Add([]byte("HMJ\n\x01"), byte(2))
	f.Add([]byte{}, byte(0))
	f.Fuzz(func(t *testing.T, b []byte, kind byte) {
		for _, b := range [][]byte{b, withSum(b)} {
			d := fault.NewTree(dir)
			d.Put(dir+"/journal.b", append([]byte{}, b...))
			j, err := store(d).Load()
			if err != nil {
				if !errors.Is(err, journal.ErrTorn) && !errors.Is(err, journal.ErrNewer) {
					t.Errorf("Load = %v", err)
				}
				continue
			}
			if p := j.Expected(); j.State != journal.Idle && !p.Known() {
				t.Errorf("in %s nothing is expected", j.State)
			}
			k := journal.Kinds[int(kind)%len(journal.Kinds)]
			if _, _, err := store(d).Do(t.Context(), event(k)); err != nil {
				continue
			}
			if _, err := store(d).Load(); err != nil {
				t.Errorf("after %s in %s: %v\n%s", k, j.State, err, fmt.Sprint(j))
			}
		}
	})
}

// withSum makes the head fit the text, so that the fuzzer gets behind the CRC.
func withSum(b []byte) []byte {
	text := strings.TrimSpace(string(b))
	if i := strings.IndexByte(text, '{'); i > 0 {
		text = text[i:]
	}
	h := append([]byte("HMJ\n"), 1)
	h = binary.BigEndian.AppendUint64(h, 7)
	h = binary.BigEndian.AppendUint32(h, uint32(len(text)))
	h = binary.BigEndian.AppendUint32(h, crc(text))
	return append(h, text...)
}

func crc(text string) uint32 { return crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli)) }
