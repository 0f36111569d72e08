package launcher_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/agent/launcher"
	"hausmeister/agent/update/journal"
)

func TestAttack33_Hangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rollsBack(t, armed(t), func(c *fakeChild) { c.sleep(time.Hour) }, journal.Hung, 5*time.Minute) // never alive
	})
	synctest.Test(t, func(t *testing.T) {
		// Alive as a process, but its counter stands still.
		rollsBack(t, armed(t), func(c *fakeChild) {
			for c.tell("alive 7") && c.sleep(time.Second) {
			}
		}, journal.Hung, 16*time.Minute)
	})
	synctest.Test(t, func(t *testing.T) { // a settled one that hangs is started anew
		d := newDevice()
		d.build[bytesOf("1.0.0")] = func(c *fakeChild) {
			if len(d.starts) == 1 {
				c.well(time.Hour)
				c.sleep(1000 * time.Hour)
				return
			}
			c.wellUntilTheEnd()
		}
		d.runFor(t.Context(), 75*time.Minute)
		if len(d.starts) != 2 || d.load(t).State != journal.Idle {
			t.Errorf("%d starts, %s", len(d.starts), d.load(t).State)
		}
	})
}

// TestAttack33_HangsWhileTheClockIsSet: a clock that is set again and again looks like a
// machine that sleeps again and again, and is not believed for ever.
func TestAttack33_HangsWhileTheClockIsSet(t *testing.T) {
	for name, bad := range map[string]func(*fakeChild){
		"never alive": func(c *fakeChild) { <-c.dead },
		"once alive":  func(c *fakeChild) { c.tell("alive 1"); <-c.dead },
	} {
		synctest.Test(t, func(t *testing.T) {
			d := armed(t)
			began := time.Now()
			d.now = func() time.Time { // a month ahead each minute
				return time.Now().Add(time.Since(began) / time.Minute * 30 * 24 * time.Hour)
			}
			d.build[bytesOf("1.1.0")] = bad
			d.runFor(t.Context(), 2*time.Hour)
			if j := d.load(t); j.State != journal.RolledBack {
				t.Errorf("%s: %s, told %s", name, j.State, d.told(t))
			}
		})
	}
}

func TestAttack32_EatsTheMachine(t *testing.T) {
	for name, c := range map[string]struct {
		core    int
		rss     uint64
		handles int
		writes  uint64
		why     journal.Reason
	}{
		"a quarter of a core and more": {260, 16 << 20, 40, 0, journal.CPU},
		"memory":                       {10, 140 << 20, 40, 0, journal.Memory},
		"open files":                   {10, 16 << 20, 1001, 0, journal.Handles},
		"the disk":                     {10, 16 << 20, 40, 1 << 20, journal.Writes},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := armed(t)
				if b := d.load(t).Baseline; b != 16<<20 {
					t.Fatalf("baseline %d", b)
				}
				kills := 0
				rollsBack(t, d, func(child *fakeChild) {
					kills++
					child.takes(c.core, c.rss)
					child.opens(c.handles, c.writes)
					child.wellUntilTheEnd()
				}, c.why, 25*time.Minute)
				if kills != 2 {
					t.Errorf("%d starts, want 2: the second time is enough", kills)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // just below is fine
		d := armed(t)
		d.build[bytesOf("1.1.0")] = func(c *fakeChild) { c.takes(240, 2*16<<20+99<<20); c.opens(1000, 700_000); c.wellUntilTheEnd() }
		d.runFor(t.Context(), 3*time.Hour)
		if j := d.load(t); j.State != journal.Committed || len(d.starts) != 1 {
			t.Errorf("%s, %d starts, told %s", j.State, len(d.starts), d.told(t))
		}
	})
	synctest.Test(t, func(t *testing.T) { // so is too much for a moment, now and then
		d := armed(t)
		d.build[bytesOf("1.1.0")] = func(c *fakeChild) {
			for i := 1; ; i++ {
				c.takes(10, 16<<20)
				if i%3 == 0 {
					c.takes(10, 200<<20)
				}
				if !c.tell(fmt.Sprintf("alive %d", i)) || i == 1 && !(c.tell("checked ok") && c.tell(c.heard())) || !c.sleep(time.Minute) {
					return
				}
			}
		}
		d.runFor(t.Context(), 3*time.Hour)
		if j := d.load(t); j.State != journal.Committed || len(d.starts) != 1 {
			t.Errorf("%s, %d starts, told %s", j.State, len(d.starts), d.told(t))
		}
	})
}

// TestAttack32_AliveLate: one that is alive late is not settled before its time was measured
// for as long as that of others, whenever it tells of its life.
func TestAttack32_AliveLate(t *testing.T) {
	for _, every := range []time.Duration{30 * time.Second, 40 * time.Second, 55 * time.Second, time.Minute, 90 * time.Second} {
		for core, want := range map[int]string{1000: "trial rolling_back:cpu rolled_back:cpu", 10: "trial committed"} {
			synctest.Test(t, func(t *testing.T) {
				d := armed(t)
				d.build[bytesOf("1.1.0")] = func(c *fakeChild) {
					c.takes(core, 16<<20)
					c.sleep(80 * time.Second)
					for i := 1; c.tell(fmt.Sprintf("alive %d", i)) && (i > 1 || c.tell("checked ok") && c.tell(c.heard())) && c.sleep(every); i++ {
					}
				}
				d.runFor(t.Context(), 40*time.Minute)
				if got := d.told(t); !strings.HasSuffix(got, want) {
					t.Errorf("alive after 80 s and each %v, with %d thousandths of a core: told %s", every, core, got)
				}
			})
		}
	}
}

// TestAttack32_FloodOfLife: one that tells of its life without end is not measured, and
// what was measured not kept, with each line.
func TestAttack32_FloodOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice()
		var flood *fakeChild
		d.build[bytesOf("1.0.0")] = func(c *fakeChild) {
			flood = c
			for i := 1; c.tell(fmt.Sprintf("alive %d", i)) && c.sleep(100*time.Millisecond); i++ {
			}
		}
		d.runFor(t.Context(), time.Hour)
		if n := flood.measured; len(d.starts) != 1 || n < 60 || n > 601 {
			t.Errorf("measured %d times in an hour, %d starts", n, len(d.starts))
		}
	})
}

// TestAttack32_NothingToCompareWith: there is a bound of memory also where nobody knows
// yet what the program before takes.
func TestAttack32_NothingToCompareWith(t *testing.T) {
	fresh := func(t *testing.T, next func(*device, *fakeChild)) *device {
		d := newDevice()
		d.build[bytesOf("1.0.0")] = func(c *fakeChild) {
			if len(d.starts) > 1 {
				c.wellUntilTheEnd()
				return
			}
			c.well(5*time.Minute, "checked ok", "reached", c.heard())
			if b := d.load(t).Baseline; b != 0 {
				t.Errorf("baseline %d after 5 minutes", b)
			}
			if err := d.arm(v2); err != nil {
				t.Error(err)
			}
			c.end(launcher.ExitSwap)
		}
		d.build[bytesOf("1.1.0")] = func(c *fakeChild) { next(d, c) }
		d.runFor(t.Context(), time.Hour)
		return d
	}
	synctest.Test(t, func(t *testing.T) { // on trial
		d := fresh(t, func(_ *device, c *fakeChild) { c.takes(10, 257<<20); c.wellUntilTheEnd() })
		if got := d.told(t); !strings.HasSuffix(got, "rolled_back:memory") {
			t.Errorf("told %s", got)
		}
		d.runs(t, v1)
	})
	synctest.Test(t, func(t *testing.T) { // right after the commit
		d := fresh(t, func(d *device, c *fakeChild) {
			if len(d.starts) == 2 { // until it is committed
				time.AfterFunc(10*time.Minute+30*time.Second, func() { c.takes(10, 8<<30) })
			} else {
				c.takes(10, 8<<30)
			}
			c.wellUntilTheEnd()
		})
		if got := d.told(t); !strings.HasSuffix(got, "committed rolling_back:memory rolled_back:memory") {
			t.Errorf("told %s", got)
		}
		d.runs(t, v1)
	})
	synctest.Test(t, func(t *testing.T) { // with nothing to go back to it is measured, and runs
		d := newDevice()
		d.build[bytesOf("1.0.0")] = func(c *fakeChild) { c.takes(10, 300<<20); c.wellUntilTheEnd() }
		d.runFor(t.Context(), 24*time.Hour)
		if j := d.load(t); len(d.starts) != 1 || j.Baseline != 300<<20 {
			t.Errorf("%d starts in a day, baseline %d", len(d.starts), j.Baseline)
		}
	})
	synctest.Test(t, func(t *testing.T) { // just below is fine
		d := fresh(t, func(_ *device, c *fakeChild) { c.takes(10, 255<<20); c.wellUntilTheEnd() })
		if j := d.load(t); j.State != journal.Committed || j.Baseline != 255<<20 {
			t.Errorf("%s, baseline %d, told %s", j.State, j.Baseline, d.told(t))
		}
	})
}

// TestAttack41_ProofNotWritten: a launcher that does its work says so until it is written,
// or the timer would leave it for a disk that was full for a moment.
func TestAttack41_ProofNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := armed(t)
		c := d.config()
		began, told := time.Now(), []time.Duration{}
		c.Proved = func() error {
			if told = append(told, time.Since(began).Round(time.Minute)); len(told) < 3 {
				return errors.New("no space left on device")
			}
			return nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		must(t, launcher.New(c).Run(ctx))
		if len(told) != 3 || told[0] < 10*time.Minute || told[2] > 15*time.Minute {
			t.Errorf("told after %v, want three times soon after ten minutes", told)
		}
	})
}

// TestAttack41_ProvedOverSleeps: who opens a device for some minutes at a time only has a
// launcher that does its work all the same, before the timer leaves it.
func TestAttack41_ProvedOverSleeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice()
		var ahead atomic.Int64
		d.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		d.build[bytesOf("1.0.0")] = func(c *fakeChild) {
			for i := 1; c.tell(fmt.Sprintf("alive %d", i)) && c.sleep(2*time.Minute); i++ {
				ahead.Add(int64(8 * time.Hour))
				c.sleep(2 * time.Minute)
			}
		}
		c := d.config()
		began, proved := time.Now(), time.Duration(0)
		c.Proved = func() error {
			proved = time.Since(began)
			return nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
		defer cancel()
		must(t, launcher.New(c).Run(ctx))
		if len(d.starts) != 1 || proved < 10*time.Minute || proved > 15*time.Minute {
			t.Errorf("proved after %v awake, and %d starts; want ten minutes and some", proved, len(d.starts))
		}
	})
}

// TestItsOwnWordIsNotEnough: what the new agent says of itself does not settle it.
func TestItsOwnWordIsNotEnough(t *testing.T) {
	for name, lines := range map[string][]string{
		"no echo":         {"checked ok", "reached"},
		"another's echo":  {"checked ok", "heard 1.1.0 " + v1.Sum.String()},
		"another version": {"checked ok", "heard 9.9.9 " + v2.Sum.String()},
		"no checks":       {"heard 1.1.0 " + v2.Sum.String()},
		"nonsense":        {"checked", "heard", "heard 1.1.0 zz", "settled", "committed", "alive x", strings.Repeat("x ", 1000)},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := armed(t)
			d.build[bytesOf("1.1.0")] = func(c *fakeChild) { c.well(1000*time.Hour, lines...) }
			d.runFor(t.Context(), time.Hour)
			if j := d.load(t); j.State != journal.Trial {
				t.Errorf("%s: %s", name, j.State)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // but its own doubt is
		rollsBack(t, armed(t), func(c *fakeChild) { c.well(time.Hour, "checked bad state_newer") }, journal.Selftest, time.Minute)
	})
}
