package swap_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/platform/layout"
	"hausmeister/platform/swap"
	"hausmeister/testenv/fault"
	"hausmeister/testenv/need"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sum(text string) layout.Sum {
	s, _ := layout.SumOf(strings.NewReader(text))
	return s
}

const oldText, newText = "the old program", "the new program, which is a little longer"

// real is a target on the real disk, with a good copy of the new program.
type real struct {
	dir, target, copy string
	*swap.Swapper
}

func newReal(t testing.TB, c swap.Config) real {
	t.Helper()
	// Not TempDir: Wine cannot remove trees in the way that Go does it.
	dir, err := os.MkdirTemp("", "hausmeister-swap-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := real{dir: filepath.Join(dir, "bin")}
	r.target, r.copy = filepath.Join(r.dir, "agent"), filepath.Join(filepath.Dir(r.dir), "copy")
	must(t, os.Mkdir(r.dir, 0o755))
	must(t, os.WriteFile(r.target, []byte(oldText), 0o755))
	must(t, os.WriteFile(r.copy, []byte(newText), 0o755))
	c.Target, c.Disk = r.target, layout.Plain()
	r.Swapper, err = swap.New(c)
	must(t, err)
	return r
}

func (r real) open() (layout.File, error) { return layout.Plain().Open(r.copy) }

func (r real) swap(ctx context.Context) error {
	return r.Swap(ctx, r.open, uint64(len(newText)), sum(newText))
}

func (r real) want(t *testing.T, text string) {
	t.Helper()
	if b, err := os.ReadFile(r.target); err != nil || string(b) != text {
		t.Errorf("the target holds %q, %v; want %q", b, err, text)
	}
}

func (r real) onlyTarget(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(r.dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "agent" {
		t.Errorf("beside the target lie %v, %v", entries, err)
	}
}

func TestSwap(t *testing.T) {
	r := newReal(t, swap.Config{})
	must(t, r.swap(t.Context()))
	r.want(t, newText)
	r.onlyTarget(t)
	if got, err := r.Sum(); got != sum(newText) || err != nil {
		t.Errorf("Sum = %s, %v", got, err)
	}
	// A second swap in the same process is of the same target (minio/mc#3507).
	must(t, os.WriteFile(r.copy, []byte("a third one"), 0o755))
	must(t, r.Swap(t.Context(), r.open, 11, sum("a third one")))
	r.want(t, "a third one")
	r.onlyTarget(t)
	if _, err := swap.New(swap.Config{Target: "agent", Disk: layout.Plain()}); err == nil {
		t.Error("New took a target that is not absolute")
	}
}

func TestOtherBytes(t *testing.T) {
	r := newReal(t, swap.Config{})
	if err := r.Swap(t.Context(), r.open, 1, sum("what was promised")); !errors.Is(err, layout.ErrOtherBytes) {
		t.Errorf("Swap of other bytes = %v", err)
	}
	r.want(t, oldText)
	r.onlyTarget(t)
	if err := r.Restore(t.Context(), r.open, sum("what was promised")); !errors.Is(err, layout.ErrOtherBytes) {
		t.Errorf("Restore of other bytes = %v", err)
	}
	r.want(t, oldText)
}

// model is a target on a disk in memory.
func model(t testing.TB, c swap.Config) (*fault.Tree, *swap.Swapper) {
	t.Helper()
	d := fault.NewTree("/x/bin")
	d.Put("/x/bin/agent", []byte(oldText))
	d.Put("/x/copy", []byte(newText))
	return d, on(t, d, c)
}

func on(t testing.TB, d *fault.Tree, c swap.Config) *swap.Swapper {
	t.Helper()
	c.Target, c.Disk, c.Engine = "/x/bin/agent", d, d.Model()
	c.Attributes = func(string, string) error { return nil }
	s, err := swap.New(c)
	must(t, err)
	return s
}

func from(d *fault.Tree, name string) func() (layout.File, error) {
	return func() (layout.File, error) { return d.Open(name) }
}

// TestAttack23_SwapCutAnywhere ends a swap at each operation, and the repair of
// what that left at each of its own: in the end a known program is there. A
// state without any occurs, or this would show nothing.
func TestAttack23_SwapCutAnywhere(t *testing.T) {
	swaps := func(d *fault.Tree) error {
		return on(t, d, swap.Config{}).Swap(t.Context(), from(d, "/x/copy"), 10, sum(newText))
	}
	restores := func(d *fault.Tree) error {
		return on(t, d, swap.Config{}).Restore(t.Context(), from(d, "/x/copy"), sum(newText))
	}
	known := func(d *fault.Tree) bool {
		b, ok := d.Read("/x/bin/agent")
		return ok && (string(b) == oldText || string(b) == newText)
	}
	points, missing, second := 0, 0, 0
	for _, f := range []fault.Fault{fault.Fail, fault.Torn, fault.Late, fault.Kill, fault.Full} {
		for n := 0; ; n++ {
			d, _ := model(t, swap.Config{})
			d.Plan(fault.At(n, f))
			err := swaps(d)
			ops := len(d.Ops())
			d.Plan(nil)
			d.PowerCut(rand.New(rand.NewPCG(uint64(n), uint64(f))))
			if b, _ := d.Read("/x/bin/agent"); err == nil && string(b) != newText {
				t.Fatalf("%v at %d: after nil and a power cut the target holds %q", f, n, b)
			}
			if n >= ops {
				if len(d.Paths()) != 2 {
					t.Errorf("after nil and a power cut lie there %v", d.Paths())
				}
				break
			}
			points++
			if !known(d) {
				missing++
			}
			for m := 0; ; m++ {
				again := d.Clone()
				again.Plan(fault.At(m, f))
				_ = restores(again)
				ops := len(again.Ops())
				again.Plan(nil)
				again.PowerCut(rand.New(rand.NewPCG(uint64(m), uint64(n))))
				must(t, restores(again))
				if b, _ := again.Read("/x/bin/agent"); string(b) != newText || len(again.Paths()) != 2 {
					t.Fatalf("%v at %d, then at %d: %q, files %v", f, n, m, b, again.Paths())
				}
				if m >= ops {
					break
				}
				second++
			}
		}
	}
	if points == 0 || missing == 0 || second == 0 {
		t.Errorf("%d points, %d without a program, %d in the repair", points, missing, second)
	}
	t.Logf("%d points, %d of them without a runnable target, %d points in repairs", points, missing, second)
}

// TestNeverLostWithoutCrash: where only operations fail, the program is there
// when Swap returns, as far as renames work at all.
func TestNeverLostWithoutCrash(t *testing.T) {
	for _, f := range []fault.Fault{fault.Fail, fault.Torn, fault.Full} {
		for n := 0; ; n++ {
			d, s := model(t, swap.Config{})
			d.Plan(fault.At(n, f))
			err := s.Swap(t.Context(), from(d, "/x/copy"), 10, sum(newText))
			ops := len(d.Ops())
			b, ok := d.Read("/x/bin/agent")
			if !ok || err == nil && string(b) != newText {
				t.Errorf("%v at %d: %q, %v", f, n, b, err)
			}
			if n >= ops {
				break
			}
		}
	}
	// Both ways back fail: missing, and Restore mends it.
	d, s := model(t, swap.Config{})
	renames := 0
	d.Plan(func(op fault.Op) fault.Fault {
		if op.Kind == "rename" {
			if renames++; renames > 1 {
				return fault.Fail
			}
		}
		return fault.None
	})
	if err := s.Swap(t.Context(), from(d, "/x/copy"), 10, sum(newText)); err == nil {
		t.Error("Swap with EIO on both renames = nil")
	}
	if _, ok := d.Read("/x/bin/agent"); ok {
		t.Error("the target is there; the case was to be that it is not")
	}
	d.Plan(nil)
	must(t, s.Restore(t.Context(), from(d, "/x/copy"), sum(newText)))
	if b, _ := d.Read("/x/bin/agent"); string(b) != newText || len(d.Paths()) != 2 {
		t.Errorf("restored: %q, files %v", b, d.Paths())
	}
}

// TestAttack20_NewFileOnAFullDisk: half a new file does not stay and fill the disk.
func TestAttack20_NewFileOnAFullDisk(t *testing.T) {
	d, s := model(t, swap.Config{})
	writes := 0
	d.Plan(func(op fault.Op) fault.Fault {
		if op.Kind == "write" && strings.HasSuffix(op.Name, ".new") {
			if writes++; writes > 1 {
				return fault.Full
			}
		}
		return fault.None
	})
	err := s.Swap(t.Context(), from(d, "/x/copy"), 10, sum(newText))
	if !layout.IsFull(err) || errors.Is(err, layout.ErrOtherBytes) {
		t.Errorf("Swap = %v, want that the disk is full, and no blame for the copy", err)
	}
	if got := fmt.Sprint(d.Paths()); got != "[/x/bin/agent /x/copy]" {
		t.Errorf("left: %s", got)
	}
	// Too little room is seen before anything is written.
	d, s = model(t, swap.Config{})
	d.Plan(func(op fault.Op) fault.Fault { return fault.Full })
	_, _ = d.Create("/x/bin/y", 0o600) // finds out that it is full
	d.Plan(nil)
	if err := s.Swap(t.Context(), from(d, "/x/copy"), 1<<41, sum(newText)); !errors.Is(err, swap.ErrSpace) {
		t.Errorf("Swap of 2 TB = %v", err)
	}
	if got := fmt.Sprint(d.Paths()); got != "[/x/bin/agent /x/copy]" {
		t.Errorf("left: %s", got)
	}
}

// holding is an Engine whose Commit meets a scanner that holds the file.
type holding struct {
	swap.Engine
	times int
	olds  []string
}

var errHeld = errors.New("sharing violation")

func (h *holding) Commit(target, old string) error {
	h.olds = append(h.olds, old)
	if h.times--; h.times >= 0 {
		return errHeld
	}
	return h.Engine.Commit(target, old)
}

func TestAttack24_Held(t *testing.T) {
	isHeld := func(err error) bool { return errors.Is(err, errHeld) }
	synctest.Test(t, func(t *testing.T) {
		d := fault.NewTree("/x/bin")
		d.Put("/x/bin/agent", []byte(oldText))
		d.Put("/x/copy", []byte(newText))
		for _, c := range []struct {
			times int
			ok    bool
		}{{5, true}, {1000, false}} {
			h := &holding{Engine: d.Model(), times: c.times}
			s, err := swap.New(swap.Config{Target: "/x/bin/agent", Disk: d, Engine: h, Held: isHeld, Attributes: func(string, string) error { return nil }})
			must(t, err)
			began := time.Now()
			err = s.Swap(t.Context(), from(d, "/x/copy"), 10, sum(newText))
			took := time.Since(began)
			if c.ok {
				if err != nil || took < 3*time.Second || took > 10*time.Second {
					t.Errorf("held five times: %v after %v", err, took)
				}
				d.Put("/x/bin/agent", []byte(oldText))
				continue
			}
			if !errors.Is(err, swap.ErrHeld) || took < 55*time.Second || took > time.Minute {
				t.Errorf("held for ever: %v after %v", err, took)
			}
			if b, _ := d.Read("/x/bin/agent"); string(b) != oldText || len(d.Paths()) != 2 {
				t.Errorf("afterwards %q, files %v", b, d.Paths())
			}
		}
		// Who is told to stop does not wait a minute for a scanner.
		h := &holding{Engine: d.Model(), times: 1000}
		s, err := swap.New(swap.Config{Target: "/x/bin/agent", Disk: d, Engine: h, Held: isHeld, Attributes: func(string, string) error { return nil }})
		must(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Swap(ctx, from(d, "/x/copy"), 10, sum(newText)); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errHeld) {
			t.Errorf("Swap with an ended context = %v", err)
		}
	})
}

// TestAttack24_NewFileHeld: a scanner looks at what was just written, and lets go of it.
func TestAttack24_NewFileHeld(t *testing.T) {
	const file = "/x/bin/.agent.new"
	for name, held := range map[string]fault.Op{
		"while it is settled": {Kind: "fsync", Name: file}, "while it is read again": {Kind: "open", Name: file}, "while it is put back": {Kind: "rename", Name: "/x/bin/agent"},
	} {
		synctest.Test(t, func(t *testing.T) {
			d, s := model(t, swap.Config{Held: func(err error) bool { return errors.Is(err, fault.ErrInjected) }})
			began := time.Now()
			d.Plan(func(op fault.Op) fault.Fault {
				if op.Kind == held.Kind && op.Name == held.Name && time.Since(began) < 3*time.Second {
					return fault.Fail
				}
				return fault.None
			})
			act := func() error { return s.Swap(t.Context(), from(d, "/x/copy"), 10, sum(newText)) }
			if held.Kind == "rename" {
				act = func() error { return s.Restore(t.Context(), from(d, "/x/copy"), sum(newText)) }
			}
			if err := act(); err != nil || time.Since(began) < 3*time.Second {
				t.Errorf("%s: %v after %v", name, err, time.Since(began))
			}
		})
	}
}

// TestSyncedAroundRenames: the folder is synced before the program is renamed and behind
// it, and where the old one had to be brought back, before anything beside it goes.
func TestSyncedAroundRenames(t *testing.T) {
	for name, c := range map[string]struct {
		failed []int // renames
		act    func(d *fault.Tree, s *swap.Swapper) error
		want   string
	}{
		"Swap": {nil, func(d *fault.Tree, s *swap.Swapper) error {
			return s.Swap(t.Context(), from(d, "/x/copy"), 10, sum(newText))
		}, "sync, rename .agent.old-1, rename agent, sync, unlink .agent.old-1, sync"},
		"Swap that fails, and back": {[]int{2, 3}, func(d *fault.Tree, s *swap.Swapper) error {
			if err := s.Swap(t.Context(), from(d, "/x/copy"), 10, sum(newText)); err == nil {
				return errors.New("it was to fail")
			}
			return nil
		}, "sync, rename .agent.old-1, rename agent, rename agent, rename agent, sync, unlink .agent.new, sync"},
		"Restore": {nil, func(d *fault.Tree, s *swap.Swapper) error {
			return s.Restore(t.Context(), from(d, "/x/copy"), sum(newText))
		}, "sync, rename agent, sync"},
	} {
		d, s := model(t, swap.Config{})
		renames := 0
		d.Plan(func(op fault.Op) fault.Fault {
			if op.Kind == "rename" {
				if renames++; slices.Contains(c.failed, renames) {
					return fault.Fail
				}
			}
			return fault.None
		})
		if err := c.act(d, s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var got []string
		for _, op := range d.Ops() {
			switch {
			case op.Kind == "fsync" && op.Name == "/x/bin":
				got = append(got, "sync")
			case op.Kind == "rename", op.Kind == "unlink":
				got = append(got, op.Kind+" "+filepath.Base(op.Name))
			}
		}
		if got := strings.Join(got, ", "); got != c.want {
			t.Errorf("%s:\n%s, want\n%s", name, got, c.want)
		}
		if _, there := d.Read("/x/bin/agent"); !there {
			t.Errorf("%s: the target is gone", name)
		}
	}
}

// TestRoom: a swap needs an eighth more than the program takes. A way back is tried without.
func TestRoom(t *testing.T) {
	for _, c := range []struct {
		free uint64
		fits bool
	}{{899, false}, {900, true}} {
		d, _ := model(t, swap.Config{})
		s, err := swap.New(swap.Config{Target: "/x/bin/agent", Disk: little{d, c.free}, Engine: d.Model(), Attributes: func(string, string) error { return nil }})
		must(t, err)
		if err := s.Swap(t.Context(), from(d, "/x/copy"), 800, sum(newText)); errors.Is(err, swap.ErrSpace) == c.fits {
			t.Errorf("Swap of 800 bytes with %d free = %v", c.free, err)
		}
		must(t, s.Restore(t.Context(), from(d, "/x/copy"), sum(newText)))
	}
}

// little is a disk with so much room.
type little struct {
	*fault.Tree
	free uint64
}

func (l little) Free(string) (uint64, error) { return l.free, nil }

// TestLeftoverIsALink: what lies where the new file is written goes first: nothing is
// written through it, or the target would be a link afterwards.
func TestLeftoverIsALink(t *testing.T) {
	r := newReal(t, swap.Config{})
	other := filepath.Join(filepath.Dir(r.dir), "other")
	must(t, os.WriteFile(other, []byte("of somebody else"), 0o644))
	if err := os.Symlink(other, filepath.Join(r.dir, ".agent.new")); err != nil {
		need.Skip(t, "the right to make links: %v", err)
	}
	must(t, r.swap(t.Context()))
	r.want(t, newText)
	r.onlyTarget(t)
	if info, err := os.Lstat(r.target); err != nil || !info.Mode().IsRegular() {
		t.Errorf("the target is %v, %v", info.Mode(), err)
	}
	if b, err := os.ReadFile(other); err != nil || string(b) != "of somebody else" {
		t.Errorf("through the link was written %q, %v", b, err)
	}
}

// TestOldPathIsNew: what lies at the old path is deleted by the library even when
// the swap fails, so nothing may lie there.
func TestOldPathIsNew(t *testing.T) {
	d, _ := model(t, swap.Config{})
	d.Put("/x/bin/.agent.old-1", []byte("still runs"))
	h := &holding{Engine: d.Model()}
	s, err := swap.New(swap.Config{Target: "/x/bin/agent", Disk: d, Engine: h, Attributes: func(string, string) error { return nil }})
	must(t, err)
	d.Plan(func(op fault.Op) fault.Fault { // cannot be removed, as Windows has it while it runs
		if op.Kind == "unlink" && op.Name == "/x/bin/.agent.old-1" {
			return fault.Fail
		}
		return fault.None
	})
	must(t, s.Swap(t.Context(), from(d, "/x/copy"), 10, sum(newText)))
	if len(h.olds) != 1 || h.olds[0] != "/x/bin/.agent.old-2" {
		t.Errorf("old paths %v", h.olds)
	}
	if b, _ := d.Read("/x/bin/.agent.old-1"); string(b) != "still runs" {
		t.Error("the file at an old path is gone")
	}
	d.Plan(nil)
	must(t, s.Sweep())
	if len(d.Paths()) != 2 {
		t.Errorf("after Sweep: %v", d.Paths())
	}
	// With the target missing, what lies beside it may be the last copy.
	d.Put("/x/bin/agent", nil)
	d.Put("/x/bin/.agent.old-7", []byte(oldText))
	must(t, s.Sweep())
	if _, ok := d.Read("/x/bin/.agent.old-7"); !ok {
		t.Error("Sweep removed the last copy")
	}
}

// TestAttack29_DamagedAfterWrite: what the disk made of the bytes is read again.
func TestAttack29_DamagedAfterWrite(t *testing.T) {
	for _, when := range []string{"before the swap", "after the swap"} {
		d, _ := model(t, swap.Config{})
		fsyncs := 0
		d.Plan(func(op fault.Op) fault.Fault {
			if op.Kind == "fsync" {
				fsyncs++
			}
			return fault.None
		})
		rot := func(string, string) error {
			if when == "before the swap" {
				d.Put("/x/bin/.agent.new", []byte(strings.Replace(newText, "new", "nEw", 1)))
			}
			return nil
		}
		e := swap.Engine(d.Model())
		if when == "after the swap" {
			e = rotting{d}
		}
		s, err := swap.New(swap.Config{Target: "/x/bin/agent", Disk: d, Engine: e, Attributes: rot})
		must(t, err)
		if err := s.Swap(t.Context(), from(d, "/x/copy"), 10, sum(newText)); !errors.Is(err, layout.ErrOtherBytes) {
			t.Errorf("damaged %s: %v", when, err)
		}
		if fsyncs == 0 {
			t.Error("nothing was synced")
		}
		if b, _ := d.Read("/x/bin/agent"); when == "before the swap" && string(b) != oldText {
			t.Errorf("damaged %s: the target holds %q", when, b)
		}
	}
}

// TestAttack29_DamagedWhileRestored: also what was put back is read again.
func TestAttack29_DamagedWhileRestored(t *testing.T) {
	d, _ := model(t, swap.Config{})
	s, err := swap.New(swap.Config{Target: "/x/bin/agent", Disk: renaming{d}, Engine: d.Model(), Attributes: func(string, string) error { return nil }})
	must(t, err)
	if err := s.Restore(t.Context(), from(d, "/x/copy"), sum(newText)); !errors.Is(err, layout.ErrOtherBytes) {
		t.Errorf("Restore = %v", err)
	}
}

// renaming is a disk that damages what it renames.
type renaming struct{ *fault.Tree }

func (r renaming) Rename(from, to string) error {
	err := r.Tree.Rename(from, to)
	r.Put(to, []byte("rotten"))
	return err
}

// rotting damages the file in the moment of the swap.
type rotting struct{ d *fault.Tree }

func (r rotting) Prepare(f io.Reader, target string, mode fs.FileMode, want layout.Sum) error {
	return r.d.Model().Prepare(f, target, mode, want)
}

func (r rotting) Commit(target, old string) error {
	err := r.d.Model().Commit(target, old)
	r.d.Put(target, []byte("rotten"))
	return err
}
