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
	"hausmeister/testenv/fault"
)

func TestGoodUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice()
		d.build[bytesOf("1.0.0")] = func(c *fakeChild) {
			c.well(20*time.Minute, "checked ok", "reached", c.heard())
			if err := d.arm(v2); err != nil {
				t.Error(err)
			}
			c.end(launcher.ExitSwap)
		}
		began := time.Now()
		d.runFor(t.Context(), 20*time.Minute+9*time.Minute)
		if j := d.load(t); j.State != journal.Trial || !j.Heard || !j.Checked {
			t.Errorf("after nine minutes: %s, heard %t, checked %t", j.State, j.Heard, j.Checked)
		}
		// The service ends in the middle of the trial, and comes back: ten minutes from anew.
		d.runFor(t.Context(), 11*time.Minute)
		if got := d.told(t); got != "offered downloaded staged armed swapped trial committed" {
			t.Errorf("told %s", got)
		}
		d.runs(t, v2)
		j := d.load(t)
		if j.Good != v2 || j.Previous != v1 || j.Starts != 2 {
			t.Errorf("good %v, previous %v, %d starts", j.Good, j.Previous, j.Starts)
		}
		if got := strings.Join(d.said, " "); got != "settled trial trial settled" {
			t.Errorf("the agents were told %q", got)
		}
		if took := time.Since(began); took > 41*time.Minute {
			t.Errorf("took %v", took)
		}
		for _, p := range []journal.Program{v1, v2} {
			must(t, d.versions().Check(p.Version, p.Sum))
		}
		// A week and a restart later the previous one goes.
		d.runFor(t.Context(), 8*24*time.Hour)
		must(t, d.versions().Check(v1.Version, v1.Sum))
		d.boot = "boot-2"
		d.runFor(t.Context(), time.Hour)
		if err := d.versions().Check(v1.Version, v1.Sum); err == nil || d.load(t).State != journal.Pruned {
			t.Errorf("after a week and a restart: %s, the old copy %v", d.load(t).State, err)
		}
	})
}

// rollsBack runs a bad build to its end, and says how long it took.
func rollsBack(t *testing.T, d *device, bad func(*fakeChild), why journal.Reason, within time.Duration) {
	t.Helper()
	d.build[bytesOf("1.1.0")] = bad
	began := time.Now()
	took := 1000 * time.Hour
	d.build[bytesOf("1.0.0")] = func(c *fakeChild) {
		took = time.Since(began)
		c.wellUntilTheEnd()
	}
	d.runFor(t.Context(), within+time.Minute)
	if took > within {
		t.Errorf("the old agent was back after %v, want within %v", took, within)
	}
	d.runs(t, v1)
	j := d.load(t)
	if r, barred := j.BarredFor(v2.Sum); j.State != journal.RolledBack || !barred || r != why || j.Good != v1 {
		t.Errorf("%s, barred for %s (%t), good %v; want rolled back for %s", j.State, r, barred, j.Good, why)
	}
	if got, want := d.told(t), "rolling_back:"+why.String()+" rolled_back:"+why.String(); !strings.HasSuffix(got, want) {
		t.Errorf("told %s, want %s at the end", got, want)
	}
	if got := d.said[len(d.said)-1]; got != "rolled-back "+why.String() {
		t.Errorf("the old agent was told %q", got)
	}
	t.Logf("back after %v and %d starts", took, len(d.starts))
}

func TestAttack30_CrashesAtStart(t *testing.T) {
	for name, bad := range map[string]func(*fakeChild){
		"at once":        func(c *fakeChild) { c.end(2) },
		"after a while":  func(c *fakeChild) { c.sleep(80 * time.Second); c.end(2) },
		"once alive":     func(c *fakeChild) { c.well(30 * time.Second); c.end(1) },
		"orderly":        func(c *fakeChild) { c.end(0) },
		"as if it armed": func(c *fakeChild) { c.end(launcher.ExitSwap) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { rollsBack(t, armed(t), bad, journal.Crashed, 5*time.Minute) })
		})
	}
	// It stays barred: an offer of the same is refused.
	synctest.Test(t, func(t *testing.T) {
		d := armed(t)
		rollsBack(t, d, func(c *fakeChild) { c.end(2) }, journal.Crashed, 5*time.Minute)
		if err := d.arm(v2); !errors.Is(err, journal.ErrNotNow) {
			t.Errorf("arming what is barred = %v", err)
		}
	})
}

// TestAttack27_SleepAndShutdown: a machine that sleeps or is switched off in the middle
// of an update has no failed update; it goes on.
// TestAttack30_CrashesNowAndThen: what did its work for a while before it crashed is started
// again as soon as the first time.
func TestAttack30_CrashesNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice()
		var ended time.Time
		d.build[bytesOf("1.0.0")] = func(c *fakeChild) {
			if pause := time.Since(ended); !ended.IsZero() && pause > 6*time.Second {
				t.Errorf("started %v after crash %d", pause, len(d.starts)-1)
			}
			c.well(15 * time.Minute)
			ended = time.Now()
			c.end(2)
		}
		d.runFor(t.Context(), 5*time.Hour)
		if len(d.starts) < 15 {
			t.Errorf("%d starts in five hours", len(d.starts))
		}
	})
}

// TestToldWhatFailedLast: the program that is gone back to hears why that was, and not why
// it was the time before.
func TestToldWhatFailedLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := armed(t)
		d.build[bytesOf("1.1.0")] = func(c *fakeChild) { c.end(2) }
		d.runFor(t.Context(), 10*time.Minute)
		must(t, d.arm(v3))
		d.build[bytesOf("1.2.0")] = func(c *fakeChild) { c.well(time.Minute, "checked bad"); c.sleep(time.Hour) }
		d.runFor(t.Context(), 10*time.Minute)
		d.runs(t, v1)
		if last := d.said[len(d.said)-1]; last != "rolled-back selftest" {
			t.Errorf("said %q", last)
		}
	})
}

func TestAttack27_SleepAndShutdown(t *testing.T) {
	for name, asleep := range map[string]time.Duration{"asleep": 8 * time.Hour, "awake": 0} {
		synctest.Test(t, func(t *testing.T) {
			d := armed(t)
			var ahead atomic.Int64 // the wall clock of a machine goes on while it sleeps, its timers do not
			d.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			silent := false
			d.build[bytesOf("1.1.0")] = func(c *fakeChild) {
				if silent {
					c.wellUntilTheEnd()
					return
				}
				silent = true
				c.well(time.Second, "checked ok", c.heard())
				for night := range 8 {
					c.sleep(4 * time.Minute)
					ahead.Add(int64(asleep))
					c.sleep(4 * time.Minute) // longer without progress than may be, but for the sleep
					c.tell(fmt.Sprintf("alive %d", 2+night))
				}
				for i := 100; c.tell(fmt.Sprintf("alive %d", i)) && c.sleep(time.Minute); i++ {
				}
			}
			d.runFor(t.Context(), 2*time.Hour)
			hung := len(d.starts) > 1
			if hung != (asleep == 0) {
				t.Errorf("%s: started %v", name, d.starts)
			}
			if j := d.load(t); j.State != journal.Committed {
				t.Errorf("%s: %s, told %s", name, j.State, d.told(t))
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // switched off more often than a new program may fail
		d := armed(t)
		for range 6 {
			d.runFor(t.Context(), 2*time.Minute)
			if j := d.load(t); j.State != journal.Trial {
				t.Fatalf("switched off in a trial: %s, told %s", j.State, d.told(t))
			}
		}
		d.runFor(t.Context(), 15*time.Minute)
		d.runs(t, v2)
		if j := d.load(t); j.State != journal.Committed {
			t.Errorf("%s, told %s", j.State, d.told(t))
		}
	})
}

func TestAttack31_CannotReachTheCollector(t *testing.T) {
	deaf := func(c *fakeChild) { c.well(1000*time.Hour, "checked ok") }
	synctest.Test(t, func(t *testing.T) { // the old one would
		d := armed(t)
		d.probe = func(_ context.Context, p journal.Program) error {
			if p != v1 {
				t.Errorf("asked %v", p)
			}
			return nil
		}
		rollsBack(t, d, deaf, journal.NoCollector, 20*time.Minute)
	})
	synctest.Test(t, func(t *testing.T) { // no network at all: pending, over restarts, for days
		d := armed(t)
		d.probe = func(context.Context, journal.Program) error { return errors.New("network is unreachable") }
		d.build[bytesOf("1.1.0")] = deaf
		for range 3 {
			d.runFor(t.Context(), 24*time.Hour)
		}
		if j := d.load(t); j.State != journal.Trial || j.Previous.Known() {
			t.Errorf("%s without network", j.State)
		}
		must(t, d.versions().Check(v1.Version, v1.Sum))
		// Network now and then is not proved network: what counts is without a break.
		n := 0
		d.probe = func(context.Context, journal.Program) error {
			if n++; n%10 == 0 {
				return errors.New("timeout")
			}
			return nil
		}
		d.runFor(t.Context(), 24*time.Hour)
		if j := d.load(t); j.State != journal.Trial {
			t.Errorf("%s with a network now and then", j.State)
		}
		// The collector is heard at last.
		d.build[bytesOf("1.1.0")] = (*fakeChild).wellUntilTheEnd
		d.runFor(t.Context(), 15*time.Minute)
		if j := d.load(t); j.State != journal.Committed {
			t.Errorf("%s once the collector was heard", j.State)
		}
	})
	synctest.Test(t, func(t *testing.T) { // the old one never could either
		d := newDevice()
		d.build[bytesOf("1.0.0")] = deaf
		d.runFor(t.Context(), time.Hour)
		must(t, d.arm(v2))
		d.build[bytesOf("1.1.0")] = deaf
		d.probe = func(context.Context, journal.Program) error { return nil }
		d.runFor(t.Context(), 24*time.Hour)
		if j := d.load(t); j.State != journal.Trial {
			t.Errorf("%s, though the old one never reached the collector", j.State)
		}
	})
}

// TestAttack27_31_AsleepBetweenTwoTries: on a system whose clock goes on in sleep an hour
// between two tries of the old program is no hour in which the new one did not get through.
func TestAttack27_31_AsleepBetweenTwoTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := armed(t)
		tries := 0
		d.probe = func(context.Context, journal.Program) error {
			if tries++; tries == 5 {
				time.Sleep(time.Hour)
			}
			return nil
		}
		d.build[bytesOf("1.1.0")] = func(c *fakeChild) {
			c.well(time.Hour+10*time.Minute, "checked ok")
			c.well(1000*time.Hour, "checked ok", c.heard())
		}
		d.runFor(t.Context(), 2*time.Hour)
		d.runs(t, v2)
		if j := d.load(t); j.State != journal.Committed {
			t.Errorf("%s, told %s", j.State, d.told(t))
		}
	})
}

func TestAttack34_DiesHoursLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := armed(t)
		d.build[bytesOf("1.1.0")] = func(c *fakeChild) { c.well(3*time.Hour, "checked ok", c.heard()); c.end(2) }
		d.runFor(t.Context(), 10*time.Hour)
		d.runs(t, v1)
		if got := d.told(t); !strings.Contains(got, "committed rolling_back:crashed rolled_back:crashed") {
			t.Errorf("told %s", got)
		}
	})
}

// TestAttack20_FailuresCountOnAFullDisk: what could not be written at its time is counted
// once there is room, all of it, so that a disk that was full keeps no bad program.
func TestAttack20_FailuresCountOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := armed(t)
		d.build[bytesOf("1.1.0")] = func(c *fakeChild) {
			d.mu.Lock()
			n := len(d.starts)
			d.mu.Unlock()
			switch n {
			case 1:
				c.well(time.Minute)
				d.disk.Plan(func(op fault.Op) fault.Fault {
					if op.Kind == "write" || op.Kind == "create" {
						return fault.Full
					}
					return fault.None
				})
			case 4:
				d.disk.Plan(nil)
				must(t, d.disk.Remove(l.Update()+"/filler"))
				c.wellUntilTheEnd()
			}
			c.end(2)
		}
		d.disk.Put(l.Update()+"/filler", nil)
		d.runFor(t.Context(), time.Hour)
		if got, want := strings.Join(d.starts, " "), "1.1.0 1.1.0 1.1.0 1.1.0 1.0.0"; got != want {
			t.Errorf("started %s, want %s", got, want)
		}
		d.runs(t, v1)
		j := d.load(t)
		if got := d.told(t); !strings.HasSuffix(got, "trial rolling_back:crashed rolled_back:crashed") {
			t.Errorf("told %s", got)
		}
		if last := j.Untold[len(j.Untold)-1]; last.Starts != 3 {
			t.Errorf("%d starts are told, want the three that failed", last.Starts)
		}
	})
}

// TestAttack34_CommittedIn1970: the clock is set right after the commit, and the machine
// starts: the previous program has a week from there.
func TestAttack34_CommittedIn1970(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := armed(t)
		off := -30 * 365 * 24 * time.Hour
		d.now = func() time.Time { return time.Now().Add(off) }
		d.runFor(t.Context(), time.Hour)
		if j := d.load(t); j.State != journal.Committed {
			t.Fatalf("%s", j.State)
		}
		off, d.boot = 0, "boot-2"
		d.runFor(t.Context(), 5*24*time.Hour)
		must(t, d.versions().Check(v1.Version, v1.Sum))
		d.runFor(t.Context(), 3*24*time.Hour)
		if err := d.versions().Check(v1.Version, v1.Sum); err == nil || d.load(t).State != journal.Pruned {
			t.Errorf("after a week: %s, the old copy %v", d.load(t).State, err)
		}
	})
}

// TestAttack27_36_StoppedBeforeItWasAlive: a service that is stopped while the new
// program still starts up has no failed start, however often.
func TestAttack27_36_StoppedBeforeItWasAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := armed(t)
		slow := true
		d.build[bytesOf("1.1.0")] = func(c *fakeChild) {
			if !slow || c.sleep(time.Minute) {
				c.wellUntilTheEnd()
			}
		}
		for i := range 6 {
			d.runFor(t.Context(), 10*time.Second)
			if j := d.load(t); j.State != journal.Trial || len(j.Failures) != 0 || len(d.starts) != i+1 {
				t.Fatalf("stopped %d times: %s, failures %v, started %v", i+1, j.State, j.Failures, d.starts)
			}
		}
		slow = false
		d.runFor(t.Context(), 15*time.Minute)
		d.runs(t, v2)
		if j := d.load(t); j.State != journal.Committed {
			t.Errorf("%s, told %s", j.State, d.told(t))
		}
	})
}

func TestAttack36_StoppedNotCrashed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// An agent that ends orderly, unasked, is started again: nobody needs to.
		d := newDevice()
		d.build[bytesOf("1.0.0")] = func(c *fakeChild) {
			if len(d.starts) < 3 {
				c.well(time.Minute)
				c.end(0)
				return
			}
			c.wellUntilTheEnd()
		}
		d.runFor(t.Context(), 10*time.Minute)
		if len(d.starts) != 3 {
			t.Errorf("started %v", d.starts)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		// The service is stopped while it goes back; its next start ends that.
		d := armed(t)
		d.build[bytesOf("1.1.0")] = func(c *fakeChild) { c.end(2) }
		fails := true
		d.disk.Plan(func(op fault.Op) fault.Fault {
			if b := op.Kind == "rename" && op.Name == l.Program() && len(d.starts) >= 3; b && fails {
				return fault.Fail
			}
			return fault.None
		})
		d.runFor(t.Context(), time.Minute)
		if j := d.load(t); j.State != journal.RollingBack {
			t.Fatalf("%s; the case was to be that it could not go back yet", j.State)
		}
		fails = false
		d.runFor(t.Context(), time.Minute)
		d.runs(t, v1)
		if j := d.load(t); j.State != journal.RolledBack {
			t.Errorf("%s", j.State)
		}
	})
}

// TestFailedSwapThenRollsBack and disk faults: see the matrix. Here: the package
// has nothing else to go back to, so that it is tried for ever.
func TestNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice()
		d.build[bytesOf("1.0.0")] = func(c *fakeChild) { c.end(1) }
		d.runFor(t.Context(), time.Hour)
		if n := len(d.starts); n < 50 || n > 80 {
			t.Errorf("%d starts in an hour, want one a minute at most in the long run", n)
		}
		if d.ready != 1 {
			t.Errorf("ready was said %d times", d.ready)
		}
	})
	synctest.Test(t, func(t *testing.T) { // nothing at all, until somebody repairs it
		d := newDevice()
		d.disk.Put(l.Program(), nil)
		d.disk.Put(d.versions().Path("1.0.0"), nil)
		go func() { time.Sleep(time.Hour); d.keep(v1) }()
		d.runFor(t.Context(), 2*time.Hour)
		d.runs(t, v1)
	})
}

// TestStopWithin: an agent that is deaf does not keep the service from stopping.
func TestStopWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice()
		d.build[bytesOf("1.0.0")] = func(c *fakeChild) {
			for i := 1; c.tell(fmt.Sprintf("alive %d", i)); i++ { // deaf to the end of its input
				select {
				case <-time.After(time.Second):
				case <-c.dead:
					return
				}
			}
		}
		began := time.Now()
		d.runFor(t.Context(), time.Hour)
		if took := time.Since(began); took > time.Hour+15*time.Second {
			t.Errorf("stopped after %v", took-time.Hour)
		}
	})
}
