package launcher_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/agent/launcher"
	"hausmeister/agent/update/journal"
	"hausmeister/platform/layout"
	"hausmeister/platform/process"
	"hausmeister/platform/swap"
	"hausmeister/testenv/fault"
)

var l = layout.Layout{Root: "/opt/hausmeister"}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func program(version string) journal.Program {
	p := journal.Program{Version: version}
	p.Sum, _ = layout.SumOf(strings.NewReader(bytesOf(version)))
	return p
}

// bytesOf is a program: what it does is looked up by its text.
func bytesOf(version string) string { return "program " + version }

var v1, v2, v3 = program("1.0.0"), program("1.1.0"), program("1.2.0")

// device is an installation in memory, with version 1 as its package put it there.
type device struct {
	disk  *fault.Tree
	store *journal.Store
	build map[string]func(*fakeChild) // what a program does once it runs, by its bytes
	probe func(context.Context, journal.Program) error
	boot  string
	now   func() time.Time // nil = the bubble's clock

	mu     sync.Mutex
	starts []string // versions
	said   []string
	ready  int
	beat   time.Time     // the last
	turns  int           // how many there were
	silent time.Duration // the longest time between two
	held   func(error) bool
	engine swap.Engine
}

func newDevice() *device {
	d := &device{disk: fault.NewTree(l.Versions(), l.Bin(), l.Update()), build: map[string]func(*fakeChild){}, boot: "boot-1"}
	d.store = d.journal()
	d.keep(v1)
	d.disk.Put(l.Program(), []byte(bytesOf(v1.Version)))
	d.disk.Put(l.Packaged(), []byte(launcher.Note(v1)))
	return d
}

func (d *device) journal() *journal.Store {
	return journal.NewStore(journal.Config{Dir: l.Update(), Disk: d.disk})
}

func (d *device) versions() *layout.Versions { return l.VersionsOn(d.disk, layout.AgentName()) }

// keep puts a copy there as a package does.
func (d *device) keep(p journal.Program) {
	d.disk.Put(d.versions().Path(p.Version), []byte(bytesOf(p.Version)))
	d.disk.Put(d.versions().Path(p.Version)+".sha256", []byte(p.Sum.String()+"  hausmeister-agent\n"))
}

func (d *device) config() launcher.Config {
	engine := d.engine
	if engine == nil {
		engine = d.disk.Model()
	}
	programs, err := launcher.NewInstalled(launcher.InstalledConfig{
		Layout: l, Disk: d.disk,
		Swap:    swap.Config{Engine: engine, Held: d.held, Attributes: func(string, string) error { return nil }},
		Trusted: func() error { return nil },
	})
	if err != nil {
		panic(err)
	}
	return launcher.Config{
		Journal: d.store, Programs: programs, Start: d.start, Probe: d.probe, Boot: d.boot,
		Ready: func() { d.ready++ }, Beat: d.beats, Now: d.now, Log: slog.New(slog.DiscardHandler),
	}
}

func (d *device) beats() {
	if now := time.Now(); !d.beat.IsZero() {
		d.silent = max(d.silent, now.Sub(d.beat))
	}
	d.beat = time.Now()
	d.turns++
}

// start runs what bin/ holds.
func (d *device) start(context.Context) (launcher.Child, error) {
	b, ok := d.disk.Read(l.Program())
	if !ok || d.disk.Dead() {
		return nil, errors.New("no such file, or nobody to start it")
	}
	text := string(b)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.starts = append(d.starts, strings.TrimPrefix(text, "program "))
	do := d.build[text]
	if do == nil {
		do = (*fakeChild).wellUntilTheEnd
	}
	c := &fakeChild{d: d, text: text, lines: make(chan string), hangup: make(chan struct{}), dead: make(chan struct{}), began: time.Now(), rss: 16 << 20}
	go func() {
		defer close(c.lines)
		do(c)
	}()
	return c, nil
}

// runFor runs the launcher for a time, as one start of the service.
func (d *device) runFor(ctx context.Context, t time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, t)
	defer cancel()
	if err := launcher.New(d.config()).Run(ctx); err != nil {
		panic(err)
	}
}

func (d *device) load(t testing.TB) journal.Journal {
	t.Helper()
	j, err := d.store.Load()
	must(t, err)
	return j
}

// arm is what an agent does before it ends with 75.
func (d *device) arm(p journal.Program) error {
	d.disk.Mkdir(l.Versions())
	if err := d.versions().Put(p.Version, p.Sum, strings.NewReader(bytesOf(p.Version))); err != nil {
		return err
	}
	now := time.Now().UnixMilli()
	for _, e := range []journal.Event{
		{Kind: journal.Offer, Program: p, Lease: "lease"}, {Kind: journal.Download}, {Kind: journal.Stage}, {Kind: journal.Arm},
	} {
		e.At = now
		if _, _, err := d.store.Do(context.Background(), e); err != nil {
			return err
		}
	}
	return nil
}

// armed is a device that ran version 1 for an hour and has version 2 ready.
func armed(t testing.TB) *device {
	t.Helper()
	d := newDevice()
	d.runFor(t.Context(), time.Hour)
	must(t, d.arm(v2))
	d.starts = nil
	return d
}

func (d *device) told(t testing.TB) string {
	t.Helper()
	var all []string
	for _, s := range d.load(t).Untold {
		text := s.State.String()
		if s.Reason != journal.None {
			text += ":" + s.Reason.String()
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

func (d *device) runs(t testing.TB, p journal.Program) {
	t.Helper()
	if b, _ := d.disk.Read(l.Program()); string(b) != bytesOf(p.Version) {
		t.Errorf("bin/ holds %q, want version %s", b, p.Version)
	}
	if n := len(d.starts); n == 0 || d.starts[n-1] != p.Version {
		t.Errorf("started %v, want %s last", d.starts, p.Version)
	}
}

// fakeChild is an agent.
type fakeChild struct {
	d      *device
	text   string
	lines  chan string
	hangup chan struct{}
	dead   chan struct{}
	once   sync.Once
	once2  sync.Once
	exit   process.Exit
	began  time.Time

	mu   sync.Mutex
	core int // permille that it takes
	rss  uint64
	// handles are open, and so many bytes are written in a second
	handles int
	writes  uint64
	// measured is how often it was looked at
	measured int
}

func (c *fakeChild) Lines() <-chan string { return c.lines }
func (c *fakeChild) Hangup()              { c.once.Do(func() { close(c.hangup) }) }
func (c *fakeChild) Kill() {
	c.once2.Do(func() { c.exit = process.Exit{Code: -1, Text: "signal: killed"}; close(c.dead) })
}
func (c *fakeChild) Wait() process.Exit { return c.exit }

func (c *fakeChild) Say(line string) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	c.d.said = append(c.d.said, line)
}

func (c *fakeChild) Usage() (process.Usage, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.measured++
	return process.Usage{
		CPU: time.Since(c.began) / 1000 * time.Duration(c.core), Memory: c.rss,
		Handles: c.handles, Written: uint64(time.Since(c.began).Seconds()) * c.writes,
	}, nil
}

func (c *fakeChild) takes(core int, rss uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.core, c.rss = core, rss
}

func (c *fakeChild) opens(handles int, writes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handles, c.writes = handles, writes
}

// tell is false when nobody listens any more.
func (c *fakeChild) tell(line string) bool {
	select {
	case c.lines <- line:
		return true
	case <-c.dead:
		return false
	}
}

// sleep is false when it is to end.
func (c *fakeChild) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.hangup:
		return false
	case <-c.dead:
		return false
	}
}

func (c *fakeChild) end(code int) {
	c.exit = process.Exit{Code: code, Text: fmt.Sprintf("exit %d", code)}
}

func (c *fakeChild) heard() string {
	sum, _ := layout.SumOf(strings.NewReader(c.text))
	return "heard " + strings.TrimPrefix(c.text, "program ") + " " + sum.String()
}

// well lives for so long, with those lines once it is alive.
func (c *fakeChild) well(d time.Duration, lines ...string) {
	began := time.Now()
	for i := 1; time.Since(began) < d; i++ {
		if !c.tell(fmt.Sprintf("alive %d", i)) {
			return
		}
		if i == 1 {
			for _, line := range lines {
				c.tell(line)
			}
		}
		if !c.sleep(min(time.Minute, d-time.Since(began))) {
			return
		}
	}
}

func (c *fakeChild) wellUntilTheEnd() { c.well(1000*time.Hour, "checked ok", "reached", c.heard()) }

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

// TestAttack27_SleepAndShutdown: a machine that sleeps or is switched off in the middle
// of an update has no failed update; it goes on.
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
		d.runFor(t.Context(), 20*time.Minute)
		if j := d.load(t); j.State != journal.Committed {
			t.Errorf("%s, told %s", j.State, d.told(t))
		}
	})
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
		lasts  time.Duration
		starts string
	}{
		"for a while": {time.Hour, "1.1.0 1.0.0"}, "for good": {1000 * time.Hour, "1.1.0"},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := armed(t)
			d.build[bytesOf("1.1.0")] = func(c *fakeChild) { c.well(10_000*time.Hour, "checked ok") }
			d.runFor(t.Context(), time.Minute)
			_, _, err := d.store.Do(t.Context(), journal.Event{Kind: journal.GiveUp})
			must(t, err)
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
		// The same note again is none.
		d.runFor(t.Context(), time.Minute)
		if d.load(t).Good != v3 {
			t.Errorf("good is %v", d.load(t).Good)
		}
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
