package launcher_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
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
	// folder makes what is missing of the folders; nil = nobody does.
	folder func() error

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
		Journal: d.store, Programs: programs, Folders: d.folder, Start: d.start, Probe: d.probe, Boot: d.boot,
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
