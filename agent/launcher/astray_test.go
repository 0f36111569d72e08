package launcher_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/agent/launcher"
	"hausmeister/agent/update/journal"
	"hausmeister/testenv/fault"
)

// TestAttack40_NotWhatJustFailed: when what is gone back to cannot be had, any known
// program runs but the one that failed, though it still lies in bin/, whole.
func TestAttack40_NotWhatJustFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := armed(t)
		v0 := program("0.9.0")
		d.keep(v0)
		d.build[bytesOf("1.1.0")] = func(c *fakeChild) {
			d.disk.Put(d.versions().Path("1.0.0"), nil)
			c.end(2)
		}
		d.runFor(t.Context(), 10*time.Minute)
		d.runs(t, v0)
		if got := strings.Join(d.starts, " "); got != "1.1.0 1.1.0 1.1.0 0.9.0" {
			t.Errorf("started %s", got)
		}
		if _, barred := d.load(t).BarredFor(v2.Sum); !barred {
			t.Errorf("%s, what failed is not barred", d.load(t).State)
		}
	})
}

// TestAttack40_JournalWantsWhatIsNotHere: where there is no copy of the program that the
// journal wants, a whole one that runs is that which should, and is not ended for it.
func TestAttack40_JournalWantsWhatIsNotHere(t *testing.T) {
	const day = 24 * time.Hour
	in := func(name string, f func(*testing.T)) {
		t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
	}
	in("it is another device's", func(t *testing.T) {
		d := newDevice()
		_, _, err := d.store.Do(t.Context(), journal.Event{Kind: journal.Adopt, Program: program("7.0.0"), Note: strings.TrimSpace(launcher.Note(v1))})
		must(t, err)
		d.runFor(t.Context(), day)
		d.runs(t, v1)
		if j := d.load(t); len(d.starts) != 1 || j.Good != v1 {
			t.Errorf("%d starts, good %v", len(d.starts), j.Good)
		}
	})
	in("it goes back to what is not here", func(t *testing.T) {
		d := armed(t)
		d.keep(v3)
		d.runFor(t.Context(), time.Minute)
		_, _, err := d.store.Do(t.Context(), journal.Event{Kind: journal.GiveUp})
		must(t, err)
		d.disk.Put(d.versions().Path(v1.Version), nil)
		d.disk.Put(l.Program(), []byte(bytesOf(v3.Version)))
		d.starts = nil
		d.runFor(t.Context(), day)
		d.runs(t, v3)
		j := d.load(t)
		if _, barred := j.BarredFor(v2.Sum); len(d.starts) != 1 || j.Good != v3 || !barred {
			t.Errorf("%d starts, good %v, what failed is barred: %t", len(d.starts), j.Good, barred)
		}
	})
	in("another one was put there, on a disk that took no journal then", func(t *testing.T) {
		d := newDevice()
		d.runFor(t.Context(), time.Hour)
		d.keep(v2)
		d.disk.Put(l.Program(), nil)
		d.disk.Put(d.versions().Path(v1.Version), nil)
		d.disk.Plan(func(op fault.Op) fault.Fault {
			if strings.HasPrefix(op.Name, l.Update()) && (op.Kind == "write" || op.Kind == "create") {
				return fault.Fail
			}
			return fault.None
		})
		d.runFor(t.Context(), time.Minute)
		if j := d.load(t); j.Good != v1 {
			t.Fatalf("good is %v; the case was to be that it could not be written", j.Good)
		}
		d.disk.Plan(nil)
		d.starts = nil
		d.runFor(t.Context(), day)
		d.runs(t, v2)
		if j := d.load(t); len(d.starts) != 1 || j.Good != v2 {
			t.Errorf("%d starts, good %v", len(d.starts), j.Good)
		}
	})
	in("what is here failed once", func(t *testing.T) {
		d := armed(t)
		d.build[bytesOf("1.1.0")] = func(c *fakeChild) { c.end(2) }
		d.runFor(t.Context(), 10*time.Minute)
		d.keep(v2) // by hand
		d.disk.Put(d.versions().Path(v1.Version), nil)
		d.disk.Put(l.Program(), nil)
		delete(d.build, bytesOf("1.1.0"))
		d.starts = nil
		d.runFor(t.Context(), time.Hour)
		d.runs(t, v2) // bad is better than none
		if j := d.load(t); len(d.starts) != 1 || j.Good != v2 {
			t.Errorf("%d starts, good %v", len(d.starts), j.Good)
		}
	})
	in("it is here, and held: it comes back", func(t *testing.T) {
		d := armed(t)
		d.keep(v3)
		d.runFor(t.Context(), time.Minute)
		_, _, err := d.store.Do(t.Context(), journal.Event{Kind: journal.GiveUp})
		must(t, err)
		d.disk.Put(l.Program(), []byte(bytesOf(v3.Version)))
		began := time.Now()
		d.disk.Plan(func(op fault.Op) fault.Fault {
			if op.Kind == "rename" && op.Name == l.Program() && time.Since(began) < time.Hour {
				return fault.Fail
			}
			return fault.None
		})
		d.runFor(t.Context(), 3*time.Hour)
		d.runs(t, v1)
		if j := d.load(t); j.Good != v1 || j.State != journal.RolledBack {
			t.Errorf("%s, good %v", j.State, j.Good)
		}
	})
}

// rolledBack is a device on which version 2 failed, whose copy somebody put there again.
// Nothing is in bin/.
func rolledBack(t *testing.T) *device {
	t.Helper()
	d := armed(t)
	d.build[bytesOf("1.1.0")] = func(c *fakeChild) { c.end(2) }
	d.runFor(t.Context(), 10*time.Minute)
	d.keep(v2)
	d.disk.Put(l.Program(), nil)
	d.starts = nil
	return d
}

// unread is a plan by which a copy cannot be read for a while.
func (d *device) unread(p journal.Program, lasts time.Duration) {
	began := time.Now()
	d.disk.Plan(func(op fault.Op) fault.Fault {
		if op.Kind == "open" && op.Name == d.versions().Path(p.Version) && time.Since(began) < lasts {
			return fault.Fail
		}
		return fault.None
	})
}

// TestAttack40_WhichOneMeanwhile: where what the journal wants cannot be had, one runs that
// did not fail here, if there is any; and what the journal wants is not forgotten for one
// that is only there until it can be had.
func TestAttack40_WhichOneMeanwhile(t *testing.T) {
	v0 := program("0.9.0")
	in := func(name string, f func(*testing.T)) {
		t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
	}
	in("one failed here, an older one did not", func(t *testing.T) {
		d := rolledBack(t)
		d.keep(v0)
		d.disk.Put(d.versions().Path(v1.Version), nil)
		d.runFor(t.Context(), time.Hour)
		d.runs(t, v0)
		if j := d.load(t); len(d.starts) != 1 || j.Good != v0 {
			t.Errorf("%d starts, good %v", len(d.starts), j.Good)
		}
	})
	in("one failed here, and what is wanted cannot be read for a moment", func(t *testing.T) {
		d := rolledBack(t)
		d.unread(v1, time.Minute)
		d.runFor(t.Context(), time.Hour)
		d.runs(t, v1)
		if j := d.load(t); len(d.starts) != 1 || j.Good != v1 {
			t.Errorf("started %v, good %v", d.starts, j.Good)
		}
	})
	in("another one is here, and what is wanted cannot be read for a while", func(t *testing.T) {
		d := newDevice()
		d.runFor(t.Context(), time.Hour)
		d.keep(v0)
		d.disk.Put(l.Program(), nil)
		d.starts = nil
		d.unread(v1, time.Hour)
		d.runFor(t.Context(), 3*time.Hour)
		d.runs(t, v1)
		if j := d.load(t); d.starts[0] != v0.Version || j.Good != v1 {
			t.Errorf("started %v, good %v", d.starts, j.Good)
		}
	})
	in("what lies in bin/ failed, and so did all that is here", func(t *testing.T) {
		d := newDevice()
		d.runFor(t.Context(), time.Hour)
		d.build[bytesOf(v3.Version)] = func(c *fakeChild) { c.end(2) }
		must(t, d.arm(v3))
		d.runFor(t.Context(), 10*time.Minute)
		d.keep(v3)
		must(t, d.arm(v2))
		d.starts = nil
		d.build[bytesOf(v2.Version)] = func(c *fakeChild) {
			if len(d.starts) > 3 { // at last it gets on
				c.well(1000 * time.Hour)
				return
			}
			d.disk.Put(d.versions().Path(v1.Version), nil)
			c.end(2)
		}
		time.AfterFunc(time.Hour, func() { d.keep(v1) }) // somebody puts it there again
		d.runFor(t.Context(), 5*time.Hour)
		d.runs(t, v1)
		if j := d.load(t); j.Good != v1 || j.State != journal.RolledBack || slices.Contains(d.starts, v3.Version) {
			t.Errorf("%s, good %v, started %v", j.State, j.Good, d.starts)
		}
	})
	in("what was good lies in bin/, without a copy", func(t *testing.T) {
		d := armed(t)
		d.keep(v3)
		d.runFor(t.Context(), time.Minute) // version 2 is on trial
		d.disk.Put(l.Program(), []byte(bytesOf(v1.Version)))
		d.disk.Put(d.versions().Path(v1.Version), nil)
		d.starts = nil
		d.unread(v2, time.Hour)
		d.runFor(t.Context(), 3*time.Hour)
		d.runs(t, v2)
		if d.starts[0] != v1.Version || slices.Contains(d.starts, v3.Version) {
			t.Errorf("started %v", d.starts)
		}
	})
	in("what is wanted is held for a moment", func(t *testing.T) {
		d := armed(t)
		d.runFor(t.Context(), time.Hour) // version 2 is settled
		d.disk.Put(l.Program(), nil)
		renames := 0
		d.disk.Plan(func(op fault.Op) fault.Fault {
			if op.Kind == "rename" && op.Name == l.Program() {
				if renames++; renames == 1 {
					return fault.Fail
				}
			}
			return fault.None
		})
		d.runFor(t.Context(), time.Hour)
		d.runs(t, v2)
		if j := d.load(t); j.Previous != v1 || !strings.HasSuffix(d.told(t), "committed:quarantined") {
			t.Errorf("previous %v, told %s; want that bin/ was mended", j.Previous, d.told(t))
		}
	})
}

// TestAttack23_BetweenSwapAndJournal: what was done to bin/ is known at the next look, also
// where the journal does not say so yet, or cannot for an hour.
func TestAttack23_BetweenSwapAndJournal(t *testing.T) {
	in := func(name string, f func(*testing.T)) {
		t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
	}
	// silent lets no journal be written for an hour, from the swap of that number on.
	silent := func(d *device, swaps int) {
		since := time.Time{}
		d.disk.Plan(func(op fault.Op) fault.Fault {
			if op.Kind == "rename" && op.Name == l.Program() {
				if swaps--; swaps == 0 {
					since = time.Now()
				}
			}
			if !since.IsZero() && time.Since(since) < time.Hour && strings.HasPrefix(op.Name, l.Update()) && (op.Kind == "write" || op.Kind == "create") {
				return fault.Fail
			}
			return fault.None
		})
	}
	in("it ended behind the swap", func(t *testing.T) {
		d := armed(t)
		d.disk.Put(l.Program(), []byte(bytesOf(v2.Version)))
		d.disk.Put(d.versions().Path(v2.Version), nil) // which is not needed for it
		d.runFor(t.Context(), time.Minute)
		d.runs(t, v2)
		if j := d.load(t); j.State != journal.Trial {
			t.Errorf("%s, told %s", j.State, d.told(t))
		}
	})
	in("nothing is there to swap with", func(t *testing.T) {
		d := armed(t)
		d.disk.Put(l.Program(), nil)
		d.runFor(t.Context(), 15*time.Minute)
		d.runs(t, v2)
		if got := d.told(t); got != "offered downloaded staged armed swapped trial committed" {
			t.Errorf("told %s", got)
		}
	})
	in("the journal does not take the swap", func(t *testing.T) {
		d := armed(t)
		silent(d, 1)
		d.runFor(t.Context(), 2*time.Hour)
		d.runs(t, v2)
		if j := d.load(t); j.State != journal.Committed || len(d.starts) != 1 {
			t.Errorf("%s, started %v", j.State, d.starts)
		}
	})
	in("the journal does not take the way back", func(t *testing.T) {
		d := armed(t)
		d.build[bytesOf(v2.Version)] = func(c *fakeChild) { c.end(2) }
		silent(d, 2)
		d.runFor(t.Context(), 2*time.Hour)
		d.runs(t, v1)
		if j := d.load(t); j.State != journal.RolledBack || len(d.starts) != 4 {
			t.Errorf("%s, started %v", j.State, d.starts)
		}
	})
	in("there is no first journal", func(t *testing.T) {
		d := newDevice()
		d.disk.Plan(func(op fault.Op) fault.Fault {
			if strings.HasPrefix(op.Name, l.Update()) && (op.Kind == "write" || op.Kind == "create") {
				return fault.Fail
			}
			return fault.None
		})
		d.runFor(t.Context(), time.Hour)
		d.runs(t, v1)
		if len(d.starts) != 1 {
			t.Errorf("%d starts", len(d.starts))
		}
	})
}
