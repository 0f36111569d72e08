package launcher_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/agent/update/journal"
	"hausmeister/testenv/fault"
	"hausmeister/testenv/need"
)

// The kill matrix: an update, from the agent's first byte to the last thing that
// the launcher does for it, is ended by SIGKILL, by EIO and by ENOSPC at each of
// its operations on the disk; what is left after a power cut is started again, and
// that start too is cut at each of its own, by each of the three. In the end a known
// program runs.

// story is an update of a device.
type story struct {
	name  string
	build func(d *device)
	// allowed are the programs that may run afterwards.
	end string // which does, when nothing happens
}

var stories = []story{
	{"good", func(*device) {}, "1.1.0"},
	{"crashes", func(d *device) { d.build[bytesOf("1.1.0")] = func(c *fakeChild) { c.end(2) } }, "1.0.0"},
	{"taken away", func(d *device) {
		d.build[bytesOf("1.1.0")] = func(c *fakeChild) {
			d.disk.Put(l.Program(), nil)
			c.end(-1)
		}
	}, "1.0.0"},
}

// begin is an image of a device before its update, which has an older copy to prune.
func begin(t *testing.T) *fault.Tree {
	d := newDevice()
	d.runFor(t.Context(), 15*time.Minute)
	return d.disk
}

func from(image *fault.Tree, s story) *device {
	d := newDevice()
	d.disk = image.Clone()
	d.store = d.journal()
	s.build(d)
	return d
}

// update is all of it. A process that was killed does no more.
func (d *device) update(t *testing.T) {
	if err := d.arm(v2); err != nil && d.disk.Dead() {
		return
	}
	if !d.disk.Dead() {
		d.runFor(t.Context(), 12*time.Minute)
	}
}

func TestAttack23_KillMatrix(t *testing.T) {
	need.Plain(t)
	long := os.Getenv("HAUSMEISTER_LONG") == "1"
	every := 60 // of the points in repairs; all in make test-long
	if long {
		every = 1
	}
	// After every second fault the power is cut too; after each in make test-long.
	cuts := func(f fault.Fault, power bool, n int) bool { return long || power == ((n+int(f))%2 == 0) }
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				image := begin(t)
				whole := from(image, s)
				whole.disk.Plan(nil)
				whole.update(t)
				whole.runs(t, program(s.end))
				kinds := map[string]int{}
				for _, op := range whole.disk.Ops() {
					kinds[op.Kind]++
				}
				for _, kind := range []string{"write", "rename", "unlink", "fsync", "close"} {
					if kinds[kind] == 0 {
						t.Errorf("an update has no %s", kind)
					}
				}
				points, missing, repairs := 0, 0, 0
				faults := []fault.Fault{fault.Kill, fault.Fail, fault.Full}
				for i, f := range faults {
					for _, power := range []bool{false, true} {
						for n := range len(whole.disk.Ops()) + 20 { // a fault may make the way longer
							if !cuts(f, power, n) {
								continue
							}
							d := from(image, s)
							d.disk.Plan(fault.At(n, f))
							d.update(t)
							if len(d.disk.Ops()) <= n {
								break
							}
							what := fmt.Sprint(f, " at ", d.disk.Ops()[n], ", power cut ", power)
							d.end(power, n, int(f))
							points++
							if b, ok := d.disk.Read(l.Program()); !ok || !known(string(b)) {
								missing++
							}
							left := d.disk.Clone()
							d.comesBack(t, what)
							// The repair, cut in its turn, by each kind of fault.
							for m := (every - n%every) % every; ; m += every {
								again := faults[(i+(n+m)/every)%len(faults)]
								d := from(left, s)
								d.disk.Plan(fault.At(m, again))
								d.runFor(t.Context(), 3*time.Second)
								ops := d.disk.Ops()
								if m >= len(ops) {
									break
								}
								d.end(power, m, n)
								repairs++
								d.comesBack(t, fmt.Sprint(what, ", then ", again, " at ", ops[m]))
							}
							if t.Failed() {
								return
							}
						}
					}
				}
				if points == 0 || repairs == 0 || missing == 0 {
					t.Errorf("%d points, %d of them without a runnable program, %d in repairs", points, missing, repairs)
				}
				t.Logf("%d points of fault, %d of them left no runnable program, %d more in the repair; operations of one update: %v", points, missing, repairs, kinds)
			})
		})
	}
}

// TestAttack40_NewerCopyUnread: as in the kill matrix, and at the next start a copy of the
// journal, which may be the last one, cannot be read until it is replaced.
func TestAttack40_NewerCopyUnread(t *testing.T) {
	need.Plain(t)
	every := 4
	if os.Getenv("HAUSMEISTER_LONG") == "1" {
		every = 1
	}
	for _, s := range stories {
		synctest.Test(t, func(t *testing.T) {
			image := begin(t)
			points := 0
			for n := 0; ; n += every {
				d := from(image, s)
				d.disk.Plan(fault.At(n, fault.Kill))
				d.update(t)
				ops := d.disk.Ops()
				if len(ops) <= n {
					break
				}
				d.end(n%2 == 0, n, 0)
				left := d.disk.Clone()
				for _, name := range []string{"journal.a", "journal.b"} {
					path, replaced := filepath.Join(l.Update(), name), false
					d := from(left, s)
					d.disk.Plan(func(op fault.Op) fault.Fault {
						replaced = replaced || op.Kind == "rename" && op.Name == path
						if op.Kind == "open" && op.Name == path && !replaced {
							return fault.Fail
						}
						return fault.None
					})
					d.comesBack(t, fmt.Sprint("killed at ", ops[n], ", then ", name, " cannot be read"))
					points++
				}
			}
			if points == 0 {
				t.Error("no points")
			}
			t.Logf("%s: %d points", s.name, points)
		})
	}
}

// end is that of a process, or of the machine with what its disk had not written.
func (d *device) end(power bool, a, b int) {
	d.disk.Plan(nil)
	d.disk.Closed()
	if power {
		d.disk.PowerCut(rand.New(rand.NewPCG(uint64(a), uint64(b))))
	}
}

func known(text string) bool { return text == bytesOf("1.0.0") || text == bytesOf("1.1.0") }

// comesBack: after a restart a known program runs, and the journal is one.
func (d *device) comesBack(t *testing.T, what string) {
	t.Helper()
	d.starts = nil
	// A bad build may be the one that runs at first; then the good one does.
	d.runFor(t.Context(), 2*time.Second)
	if len(d.starts) == 0 {
		t.Errorf("%s: nothing was started; %v", what, d.disk.Paths())
		return
	}
	for _, v := range d.starts {
		if !known(bytesOf(v)) {
			t.Errorf("%s: %q was started", what, v)
		}
	}
	j, err := d.store.Load()
	if err != nil || j.Good != v1 && j.Good != v2 {
		t.Errorf("%s: the journal says %+v, %v", what, j.Good, err)
	}
	if n := d.disk.OpenFiles(); n != 0 {
		t.Errorf("%s: %d files left open", what, n)
	}
	// What is good has a copy, or nothing could be mended.
	if err := d.versions().Check(j.Good.Version, j.Good.Sum); err != nil && j.Good.Known() {
		t.Errorf("%s: the copy of what is good: %v", what, err)
	}
	// And nothing half stays lying about: a full disk would stay full.
	for _, name := range d.disk.Paths() {
		if strings.HasSuffix(name, ".new") || strings.Contains(name, ".old-") {
			t.Errorf("%s: %s is left", what, name)
		}
	}
	if j.State == journal.RollingBack {
		t.Errorf("%s: still rolling back", what)
	}
}
