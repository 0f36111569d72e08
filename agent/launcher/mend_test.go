package launcher_test

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/agent/launcher"
	"hausmeister/agent/update/journal"
	"hausmeister/platform/layout"
	"hausmeister/platform/swap"
	"hausmeister/testenv/fault"
)

func TestAttack25_TakenAway(t *testing.T) {
	for name, take := range map[string]func(*device, string){
		"quarantined": func(d *device, path string) { d.disk.Put(path, nil) },
		"damaged":     func(d *device, path string) { d.disk.Put(path, []byte("program 1.0.x")) },
	} {
		synctest.Test(t, func(t *testing.T) { // the one that runs, days later
			d := newDevice()
			d.runFor(t.Context(), 72*time.Hour)
			for range 10 { // it does not loop: each start mends once
				take(d, l.Program())
				d.runFor(t.Context(), time.Minute)
				d.runs(t, v1)
			}
			if got, want := d.told(t), "committed:"+name; got != want {
				t.Errorf("told %s, want %s, once a day", got, want)
			}
		})
		synctest.Test(t, func(t *testing.T) { // the new one, again and again: given up
			d := armed(t)
			d.build[bytesOf("1.1.0")] = func(c *fakeChild) {
				c.well(20 * time.Second)
				take(d, l.Program())
				c.end(-1)
			}
			d.runFor(t.Context(), 10*time.Minute)
			d.runs(t, v1)
			if j := d.load(t); j.State != journal.RolledBack {
				t.Errorf("%s: %s", name, j.State)
			}
		})
		synctest.Test(t, func(t *testing.T) { // the new one with its copy
			d := armed(t)
			d.runFor(t.Context(), time.Minute)
			take(d, l.Program())
			take(d, d.versions().Path("1.1.0"))
			d.runFor(t.Context(), time.Minute)
			d.runs(t, v1)
			if got := d.told(t); !strings.HasSuffix(got, "rolling_back:quarantined rolled_back:quarantined") {
				t.Errorf("told %s", got)
			}
		})
		synctest.Test(t, func(t *testing.T) { // the copy of the new one, before the swap
			d := armed(t)
			take(d, d.versions().Path("1.1.0"))
			d.runFor(t.Context(), time.Minute)
			d.runs(t, v1)
			if got := d.told(t); !strings.HasSuffix(got, "refused:"+name) {
				t.Errorf("told %s", got)
			}
		})
		if name == "quarantined" {
			synctest.Test(t, func(t *testing.T) { // what is made of that copy, beside what runs
				d := armed(t)
				d.engine = taking{d.disk.Model(), func() { take(d, l.Bin()+"/.hausmeister-agent.new") }}
				d.runFor(t.Context(), time.Minute)
				d.runs(t, v1)
				if got := d.told(t); !strings.HasSuffix(got, "armed refused:"+name) {
					t.Errorf("told %s", got)
				}
			})
		}
		synctest.Test(t, func(t *testing.T) { // the old one and its copy, while the new one is on trial
			d := armed(t)
			d.build[bytesOf("1.1.0")] = func(c *fakeChild) {
				take(d, d.versions().Path("1.0.0"))
				c.end(2)
			}
			d.runFor(t.Context(), 10*time.Minute)
			d.runs(t, v2) // bad is better than none
		})
	}
}

// taking takes away what was prepared.
type taking struct {
	swap.Engine
	take func()
}

func (e taking) Prepare(r io.Reader, target string, mode fs.FileMode, want layout.Sum) error {
	err := e.Engine.Prepare(r, target, mode, want)
	e.take()
	return err
}

func TestAttack24_HeldWhileSwapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := armed(t)
		held := errors.New("sharing violation")
		d.held = func(err error) bool { return errors.Is(err, held) }
		d.engine = holding{d.disk.Model(), held}
		d.runFor(t.Context(), 2*time.Minute)
		d.runs(t, v1)
		if j := d.load(t); j.State != journal.Staged || !strings.HasSuffix(d.told(t), "waiting:held") {
			t.Errorf("%s, told %s", j.State, d.told(t))
		}
		must(t, d.versions().Check(v2.Version, v2.Sum)) // not fetched again
		time.Sleep(2 * time.Hour)
		_, _, err := d.store.Do(t.Context(), journal.Event{Kind: journal.Arm, At: time.Now().UnixMilli()})
		must(t, err)
		d.engine = nil
		d.runFor(t.Context(), 15*time.Minute)
		d.runs(t, v2)
	})
}

// TestAttack24_StoppedWhileHeld: a service that is stopped while a swap waits for a held
// file goes on at its next start, and has tried once.
func TestAttack24_StoppedWhileHeld(t *testing.T) {
	held := errors.New("sharing violation")
	synctest.Test(t, func(t *testing.T) {
		d := armed(t)
		d.held = func(err error) bool { return errors.Is(err, held) }
		d.engine = holding{d.disk.Model(), held}
		for i := range 2 {
			d.runFor(t.Context(), 10*time.Second)
			if j := d.load(t); j.State != journal.Armed || j.Tries != i+1 || len(d.starts) != 0 {
				t.Errorf("stopped %d times: %s, %d tries, started %v, told %s", i+1, j.State, j.Tries, d.starts, d.told(t))
			}
		}
		d.engine = nil
		d.runFor(t.Context(), 15*time.Minute)
		d.runs(t, v2)
	})
}

// TestAttack24_HeldWhileGoingBack: a scanner that holds the program for a while does not
// let the bad one run once more.
func TestAttack24_HeldWhileGoingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := armed(t)
		d.build[bytesOf("1.1.0")] = func(c *fakeChild) { c.end(2) }
		d.held = func(err error) bool { return errors.Is(err, fault.ErrInjected) }
		since, tries := time.Time{}, 0
		d.disk.Plan(func(op fault.Op) fault.Fault {
			if op.Kind != "rename" || op.Name != l.Program() || len(d.starts) < 3 {
				return fault.None
			}
			if tries++; since.IsZero() {
				since = time.Now()
			}
			if time.Since(since) < 20*time.Second {
				return fault.Fail
			}
			return fault.None
		})
		d.runFor(t.Context(), 5*time.Minute)
		d.runs(t, v1)
		if got := strings.Join(d.starts, " "); got != "1.1.0 1.1.0 1.1.0 1.0.0" || tries < 5 {
			t.Errorf("started %s, the way back was tried %d times", got, tries)
		}
		if j := d.load(t); j.State != journal.RolledBack {
			t.Errorf("%s, told %s", j.State, d.told(t))
		}
	})
}

// TestAttack20_WayBackOnAFullDisk: what failed makes room for the old program, also where
// the power is cut once its copy is gone, or where another copy that may go is held open.
func TestAttack20_WayBackOnAFullDisk(t *testing.T) {
	for _, c := range []struct{ cut, held bool }{{}, {cut: true}, {held: true}} {
		cut, v0 := c.cut, program("0.9.0")
		synctest.Test(t, func(t *testing.T) {
			d := armed(t)
			d.keep(v0)
			d.build[bytesOf("1.1.0")] = func(c *fakeChild) { c.end(2) }
			room, down := false, false
			d.disk.Plan(func(op fault.Op) fault.Fault {
				room = room || op.Kind == "unlink" && op.Name == d.versions().Path(v2.Version)
				switch into := op.Kind == "write" && op.Name == l.Bin()+"/.hausmeister-agent.new"; {
				case c.held && op.Kind == "unlink" && op.Name == d.versions().Path(v0.Version):
					return fault.Fail
				case len(d.starts) == 0, !into:
				case !room:
					return fault.Full
				case cut && !down:
					down = true
					return fault.Kill
				}
				return fault.None
			})
			d.runFor(t.Context(), time.Hour)
			if down {
				d.disk.Plan(nil)
				d.disk.Closed()
				d.disk.PowerCut(rand.New(rand.NewPCG(1, 2)))
				d.store = d.journal()
				d.runFor(t.Context(), time.Hour)
			}
			d.runs(t, v1)
			if j := d.load(t); j.State != journal.RolledBack || down != cut {
				t.Errorf("cut %v: %s, told %s", down, j.State, d.told(t))
			}
			if got := strings.Join(d.starts, " "); c.held && got != "1.1.0 1.1.0 1.1.0 1.0.0" {
				t.Errorf("started %s, want the old one once", got)
			}
		})
	}
}

// TestAttack31_WayBackFailsWhileTheBadOneLives: a bad program that gets on stays only as
// long as a scanner or a full disk keeps the good one away, and is not ended all the time.
func TestAttack31_WayBackFailsWhileTheBadOneLives(t *testing.T) {
	for name, c := range map[string]struct {
		kind, path string
		fault      fault.Fault
		lasts      time.Duration
		min, max   int // starts of the bad one
	}{
		"held for a moment": {"rename", l.Program(), fault.Fail, 90 * time.Second, 1, 1},
		"held":              {"rename", l.Program(), fault.Fail, 5 * time.Minute, 2, 4},
		"full":              {"write", l.Bin() + "/.hausmeister-agent.new", fault.Full, 10 * time.Minute, 2, 5},
		"held for weeks":    {"rename", l.Program(), fault.Fail, 14 * 24 * time.Hour, 14 * 20, 14*24 + 10},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := armed(t)
				d.probe = func(context.Context, journal.Program) error { return nil }
				d.build[bytesOf("1.1.0")] = func(c *fakeChild) { c.well(10_000*time.Hour, "checked ok") } // never heard
				d.held = func(err error) bool { return errors.Is(err, fault.ErrInjected) }
				began := time.Time{}
				d.disk.Plan(func(op fault.Op) fault.Fault {
					if op.Kind != c.kind || op.Name != c.path || len(d.starts) == 0 {
						return fault.None
					}
					if began.IsZero() {
						began = time.Now()
					}
					if time.Since(began) < c.lasts {
						return c.fault
					}
					return fault.None
				})
				if name == "held" {
					d.keep(v3) // one copy more to try
				}
				d.beat, d.silent = time.Time{}, 0
				d.runFor(t.Context(), 30*time.Minute+c.lasts+min(c.lasts, time.Hour))
				d.runs(t, v1)
				if j := d.load(t); j.State != journal.RolledBack || !strings.HasSuffix(d.told(t), "rolling_back:no_collector rolled_back:no_collector") {
					t.Errorf("%s, told %s", j.State, d.told(t))
				}
				if n := len(d.starts) - 1; n < c.min || n > c.max {
					t.Errorf("%d starts of the bad one, want %d to %d", n, c.min, c.max)
				}
				if d.silent > 2*time.Minute { // the service manager waits for three
					t.Errorf("silent for %v", d.silent)
				}
			})
		})
	}
}

// TestStopWhileAnotherOneShouldRun: who is asked to end, and is slow, is waited for.
func TestStopWhileAnotherOneShouldRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := armed(t)
		d.build[bytesOf("1.1.0")] = func(c *fakeChild) {
			c.tell("alive 1")
			<-c.dead // deaf to the end of its input
		}
		d.runFor(t.Context(), time.Minute)
		_, _, err := d.store.Do(t.Context(), journal.Event{Kind: journal.GiveUp})
		must(t, err)
		d.disk.Plan(func(op fault.Op) fault.Fault {
			if op.Kind == "rename" && op.Name == l.Program() {
				return fault.Fail
			}
			return fault.None
		})
		d.turns = 0
		began := time.Now()
		d.runFor(t.Context(), 2*time.Minute-time.Second) // a moment before it is ended for another one
		if took := time.Since(began); took < 2*time.Minute+5*time.Second || d.turns > 50 {
			t.Errorf("%d turns in %v", d.turns, took)
		}
	})
}

// TestJournalOutOfSightIsAskedAgain: where the journal could not be read at a start, what
// it wants is done once it can be, and until then nobody is ended for it.
func TestJournalOutOfSightIsAskedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		lasts   time.Duration
		missing bool // what was in bin/
		starts  string
	}{
		"for a while":                       {time.Hour, false, "1.1.0 1.0.0"},
		"for a while, with nothing in bin/": {time.Hour, true, "1.0.0 1.0.0"},
		"for good":                          {1000 * time.Hour, false, "1.1.0"},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := armed(t)
			d.build[bytesOf("1.1.0")] = func(c *fakeChild) { c.well(10_000*time.Hour, "checked ok") }
			d.runFor(t.Context(), time.Minute)
			_, _, err := d.store.Do(t.Context(), journal.Event{Kind: journal.GiveUp})
			must(t, err)
			if c.missing {
				d.disk.Put(l.Program(), nil)
			}
			d.starts = nil
			began := time.Now()
			d.disk.Plan(func(op fault.Op) fault.Fault {
				if op.Kind == "open" && strings.HasPrefix(op.Name, l.Update()) && time.Since(began) < c.lasts {
					return fault.Fail
				}
				return fault.None
			})
			d.runFor(t.Context(), 5*time.Hour)
			if got := strings.Join(d.starts, " "); got != c.starts {
				t.Errorf("unreadable %s: started %s, want %s", name, got, c.starts)
			}
			d.disk.Plan(nil)
			if _, barred := d.load(t).BarredFor(v2.Sum); barred != (c.lasts == time.Hour) {
				t.Errorf("unreadable %s: what failed is barred: %t, told %s", name, barred, d.told(t))
			}
		})
	}
}

// TestAttack20_ArmedOnADiskThatTakesNothing: the old agent runs, or is started seldom
// where it ends for its update at once, and the update goes on when there is room.
func TestAttack20_ArmedOnADiskThatTakesNothing(t *testing.T) {
	for name, kinds := range map[string]string{"full": "write create", "read-only": "write create rename unlink"} {
		synctest.Test(t, func(t *testing.T) {
			d := armed(t)
			d.build[bytesOf("1.0.0")] = func(c *fakeChild) {
				if c.tell("alive 1") && c.sleep(50*time.Millisecond) && d.load(t).State == journal.Armed {
					c.end(launcher.ExitSwap)
				}
			}
			d.disk.Plan(func(op fault.Op) fault.Fault {
				if strings.Contains(kinds, op.Kind) {
					return fault.Full
				}
				return fault.None
			})
			const lasts = 10 * time.Minute
			time.AfterFunc(lasts, func() { d.disk.Plan(nil) })
			d.runFor(t.Context(), lasts+15*time.Minute)
			if n := len(d.starts); n < 5 || n > 25 {
				t.Errorf("%s: %d starts", name, n)
			}
			d.runs(t, v2)
			if got := d.told(t); got != "offered downloaded staged armed swapped trial committed" {
				t.Errorf("%s: told %s", name, got)
			}
		})
	}
}

type holding struct {
	swap.Engine
	err error
}

func (h holding) Commit(string, string) error { return h.err }

// newerForm makes a copy of the journal one of a newer form: its CRC, at 17, is of all else.
func newerForm(b []byte) []byte {
	b[4] = 9
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(slices.Concat(b[:17], b[21:]), crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// TestAttack35_40_NoJournal: torn, newer or none, a known program runs, and none
// is thrown away.
func TestAttack35_40_NoJournal(t *testing.T) {
	type state struct {
		name string
		make func(d *device)
	}
	journals := []string{l.Update() + "/journal.a", l.Update() + "/journal.b"}
	spoil := func(d *device, b func([]byte) []byte) {
		for _, name := range journals {
			if old, ok := d.disk.Read(name); ok {
				d.disk.Put(name, b(old))
			}
		}
	}
	spoils := []state{
		{"torn", func(d *device) { spoil(d, func(b []byte) []byte { return b[:len(b)/2] }) }},
		{"empty", func(d *device) { spoil(d, func([]byte) []byte { return []byte{} }) }},
		{"gone", func(d *device) { spoil(d, func([]byte) []byte { return nil }) }},
		{"newer", func(d *device) { spoil(d, newerForm) }},
	}
	bins := []struct {
		name string
		make func(d *device)
		want []string // versions that may run
	}{
		{"as it was", func(*device) {}, []string{"1.1.0"}},
		{"missing", func(d *device) { d.disk.Put(l.Program(), nil) }, []string{"1.0.0", "1.1.0"}},
		{"damaged", func(d *device) { d.disk.Put(l.Program(), []byte("program ?")) }, []string{"1.0.0", "1.1.0"}},
	}
	for _, s := range spoils {
		for _, b := range bins {
			synctest.Test(t, func(t *testing.T) {
				d := armed(t)
				d.runFor(t.Context(), time.Minute) // version 2 is on trial
				s.make(d)
				b.make(d)
				d.starts = nil
				d.runFor(t.Context(), time.Minute)
				if len(d.starts) != 1 || !strings.Contains(strings.Join(b.want, " "), d.starts[0]) {
					t.Errorf("journal %s, bin %s: started %v, want one of %v", s.name, b.name, d.starts, b.want)
				}
				for _, p := range []journal.Program{v1, v2} {
					if err := d.versions().Check(p.Version, p.Sum); err != nil {
						t.Errorf("journal %s, bin %s: %v", s.name, b.name, err)
					}
				}
				if s.name == "newer" {
					if a, _ := d.disk.Read(journals[0]); len(a) == 0 || a[4] != 9 {
						t.Errorf("bin %s: the newer journal was written over", b.name)
					}
				} else if d.load(t).Good.Version != d.starts[0] {
					t.Errorf("journal %s, bin %s: good is %v", s.name, b.name, d.load(t).Good)
				}
			})
		}
	}
}

// TestAttack35_BeginsAnew: of what is here that was settled once, and nothing else, can be
// gone back to.
func TestAttack35_BeginsAnew(t *testing.T) {
	for _, settled := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			d := newDevice()
			d.keep(program("0.9.0"))
			want := journal.Program{}
			if settled {
				want = program("0.9.0")
				must(t, d.versions().SetGood("0.9.0"))
			}
			d.runFor(t.Context(), time.Minute)
			d.runs(t, v1)
			if j := d.load(t); j.Good != v1 || j.Previous != want {
				t.Errorf("settled %t: good %v, previous %v", settled, j.Good, j.Previous)
			}
		})
	}
}

// TestAttack35_ThePackagesOwn: with nothing in bin/ that is the package's program, and not
// whatever is newer.
func TestAttack35_ThePackagesOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice()
		d.keep(v2)
		d.disk.Put(l.Program(), nil)
		d.runFor(t.Context(), time.Minute)
		d.runs(t, v1)
		// What is gone back to from the next package must have a copy.
		d.keep(v3)
		d.disk.Put(d.versions().Path(v1.Version), nil)
		d.disk.Put(l.Packaged(), []byte(launcher.Note(v3)))
		d.runFor(t.Context(), time.Minute)
		d.runs(t, v3)
		if j := d.load(t); j.Previous.Known() {
			t.Errorf("previous %v, of which there is no copy", j.Previous)
		}
	})
}

// TestAttack35_LastCopyStays: while no program is in its place, and none can be put
// there, what a cut swap left beside it is the last there is of it.
func TestAttack35_LastCopyStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice()
		d.runFor(t.Context(), time.Hour)
		left := []string{l.Bin() + "/.hausmeister-agent.old-1", l.Bin() + "/.hausmeister-agent.new"}
		for _, name := range left {
			d.disk.Put(name, []byte(bytesOf("1.0.0")))
		}
		d.disk.Put(l.Program(), nil)
		d.disk.Put(d.versions().Path("1.0.0"), nil)
		d.starts = nil
		d.runFor(t.Context(), time.Minute)
		for _, name := range left {
			if _, there := d.disk.Read(name); !there {
				t.Errorf("%s is gone, with no program in bin/", name)
			}
		}
		d.keep(v1)
		d.runFor(t.Context(), time.Minute)
		d.runs(t, v1)
		for _, name := range left {
			if _, there := d.disk.Read(name); there {
				t.Errorf("%s is left beside what runs", name)
			}
		}
	})
}

func TestPackageByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := armed(t)
		d.runFor(t.Context(), time.Minute) // on trial with 1.1.0
		d.keep(v3)
		d.disk.Put(l.Packaged(), []byte(launcher.Note(v3)))
		d.runFor(t.Context(), time.Minute)
		d.runs(t, v3)
		j := d.load(t)
		if j.Good != v3 || j.Previous != v1 || j.State != journal.Committed {
			t.Errorf("%s, good %v, previous %v", j.State, j.Good, j.Previous)
		}
		if got := d.told(t); !strings.HasSuffix(got, "trial refused:withdrawn") {
			t.Errorf("told %s; want nothing of a program that had to be mended", got)
		}
		// The same note again is none.
		d.runFor(t.Context(), time.Minute)
		if d.load(t).Good != v3 {
			t.Errorf("good is %v", d.load(t).Good)
		}
		// Nor is it another program when the package comes again under another note, by which
		// there would be nothing to go back to.
		d.disk.Put(l.Packaged(), []byte(launcher.Note(v1)))
		d.runFor(t.Context(), time.Minute)
		d.disk.Put(l.Packaged(), []byte(strings.ToUpper(launcher.Note(v1))))
		d.runFor(t.Context(), time.Minute)
		if j := d.load(t); j.Good != v1 || j.Previous != v3 {
			t.Errorf("good %v, previous %v", j.Good, j.Previous)
		}
		d.disk.Put(l.Packaged(), []byte(launcher.Note(v3)))
		d.runFor(t.Context(), time.Minute)
		// A broken package changes nothing.
		d.disk.Put(l.Packaged(), []byte("9.0.0 "+v1.Sum.String()+"\n"))
		d.runFor(t.Context(), time.Minute)
		d.runs(t, v3)
		for _, note := range []string{"", "x", "1.0.0", "../x " + v1.Sum.String()} {
			d.disk.Put(l.Packaged(), []byte(note))
			d.runFor(t.Context(), time.Minute)
			d.runs(t, v3)
		}
	})
}
