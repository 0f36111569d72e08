package swarm

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"hausmeister/agent"
	"hausmeister/agent/launcher"
	"hausmeister/agent/update"
	"hausmeister/agent/update/fetch"
	"hausmeister/agent/update/journal"
	"hausmeister/platform/layout"
	"hausmeister/platform/process"
	"hausmeister/platform/supervise"
	"hausmeister/platform/swap"
	"hausmeister/proto/manifest"
	"hausmeister/testenv/fakes"
	"hausmeister/testenv/fault"
	"hausmeister/testenv/tufrepo"
)

// Updates makes devices that take updates: each has the real launcher, the real journal
// and the real preparing part of the agent, over a disk in memory. Only the programs are
// stand-ins: bytes that name their version, and what runs from them is the agent's code
// of this process.
type Updates struct {
	Version string // that they come with
	Root    []byte // that their programs trust
	Dir     string // for what they fetch, which is removed again
	Times   launcher.Times
	// Launched is told of each start of a program, in whatever goroutine that is; nil
	// means nobody asks.
	Launched func(d Device, version string)
}

const standIn = "hausmeister-agent, simulated\n"

// StandIn is the program of a version for simulated devices of a system.
func StandIn(version, os, arch string) []byte {
	return []byte(standIn + version + "\n" + os + "/" + arch + "\n")
}

// versionOf reads it; "" is no program.
func versionOf(program []byte) string {
	rest, ok := strings.CutPrefix(string(program), standIn)
	if !ok {
		return ""
	}
	version, _, _ := strings.Cut(rest, "\n")
	return version
}

// installed is where each device has its programs, on its own disk.
var installed = layout.Layout{Root: "/opt/hausmeister"}

// shelf is a device's disk with programs and journal.
type shelf struct {
	s     *Swarm
	m     *member
	make  func(program) agent.Config
	tree  *fault.Tree
	store *journal.Store
	trust *tufrepo.Mem
	notes *fakes.Disk
	parts update.Folder
}

// program is one that runs, and what its agent needs of its launcher.
type program struct {
	version string
	sum     layout.Sum
	parent  *update.Parent
}

// launch is a device's life under its launcher; make gives an agent's Config.
func (s *Swarm) launch(ctx context.Context, m *member, make func(program) agent.Config) error {
	up := s.c.Updates
	sh := &shelf{s: s, m: m, make: make, tree: fault.NewTree(installed.Versions(), installed.Bin(), installed.Update()),
		trust: tufrepo.NewMem(), notes: fakes.NewDisk(), parts: update.Folder(filepath.Join(up.Dir, strconv.Itoa(m.device.Number)))}
	sh.store = journal.NewStore(journal.Config{Dir: installed.Update(), Disk: sh.tree})
	if err := sh.pack(StandIn(up.Version, m.machine.OS(), m.machine.Arch()), up.Version); err != nil {
		return err
	}
	programs, err := launcher.NewInstalled(launcher.InstalledConfig{
		Layout: installed, Disk: sh.tree, Swap: swap.Config{Engine: sh.tree.Model(), Attributes: func(string, string) error { return nil }},
		Trusted: func() error { return nil },
	})
	if err != nil {
		return err
	}
	return launcher.New(launcher.Config{
		Journal: sh.store, Programs: programs, Start: sh.start, Probe: func(context.Context, journal.Program) error { return nil },
		Times: up.Times, Boot: "simulated", Now: m.now, Log: slog.New(slog.DiscardHandler),
	}).Run(ctx)
}

// pack puts a program there as its package does.
func (sh *shelf) pack(bytes []byte, version string) error {
	sum, err := layout.SumOf(strings.NewReader(string(bytes)))
	if err != nil {
		return err
	}
	if err := sh.versions().Put(version, sum, strings.NewReader(string(bytes))); err != nil {
		return err
	}
	sh.tree.Put(installed.Program(), bytes)
	sh.tree.Put(installed.Packaged(), []byte(launcher.Note(journal.Program{Version: version, Sum: sum})))
	return nil
}

func (sh *shelf) versions() *layout.Versions {
	return installed.VersionsOn(sh.tree, layout.AgentName())
}

// updater is the preparing part of an agent.
func (sh *shelf) updater(p program, means agent.Means) agent.Updates {
	client := fetch.New(fetch.Config{Open: means.Open, Log: slog.New(slog.DiscardHandler)})
	return update.New(update.Config{
		Parent: p.parent,
		Device: manifest.Device{Product: manifest.ProductAgent, Version: p.version, OS: sh.m.machine.OS(), Arch: sh.m.machine.Arch(), Channel: manifest.RoleStable},
		Sum:    p.sum, Root: sh.s.c.Updates.Root, Build: sh.s.c.Now().Add(-24 * time.Hour),
		Trust: sh.trust, Journal: sh.store, Programs: sh.versions(), Parts: sh.parts, Files: sh.notes, Fetch: client, Sink: means.Sink,
		Selftest: sh.selftest,
		Hindrance: func() update.Hindrance {
			return update.Hindrance{Battery: means.BatteryLow(), Metered: means.Metered()}
		},
		Trusted: means.Trust, Changed: means.Changed, Pulse: means.Pulse, Now: sh.m.now, Random: sh.s.c.Random, Log: slog.New(slog.DiscardHandler),
	})
}

// selftest asks a copy whether it is a program.
func (sh *shelf) selftest(_ context.Context, path string) error {
	if bytes, ok := sh.tree.Read(path); !ok || versionOf(bytes) == "" {
		return update.ErrSelftest
	}
	return nil
}

// running is a program that was started: an agent in this process, with the pipes of one
// of its own.
type running struct {
	crew   *supervise.Crew
	lines  chan string
	say    *io.PipeWriter // its standard input
	dead   chan struct{}
	began  time.Time
	kill   sync.Once
	exit   process.Exit // before lines is closed
	killed bool         // guarded by mu
	mu     sync.Mutex
}

// start runs what bin/ holds.
func (sh *shelf) start(context.Context) (launcher.Child, error) {
	bytes, ok := sh.tree.Read(installed.Program())
	p := program{version: versionOf(bytes)}
	if !ok || p.version == "" {
		return nil, errors.New("bin/ holds no program")
	}
	sum, err := layout.SumOf(strings.NewReader(string(bytes)))
	if err != nil {
		return nil, err
	}
	p.sum = sum
	in, say := io.Pipe()
	// It ends by its pipe or by Kill, as a process does, and not with somebody's ctx.
	r := &running{crew: supervise.NewCrew(context.Background(), 1), lines: make(chan string, 64), say: say, dead: make(chan struct{}), began: time.Now()}
	p.parent = update.Attach(func(string) string { return "1.0.0" }, in, r)
	if launched := sh.s.c.Updates.Launched; launched != nil {
		launched(sh.m.device, p.version)
	}
	return r, r.crew.Go(func(ctx context.Context) {
		defer close(r.lines)
		defer in.Close()
		r.exit = sh.run(ctx, p)
	})
}

// run is the program from its start to its end.
func (sh *shelf) run(ctx context.Context, p program) process.Exit {
	conf := sh.make(p)
	conf.Ready, conf.Alive = func() { p.parent.Checked(nil) }, p.parent.Alive
	conf.Updates = func(means agent.Means) agent.Updates { return sh.updater(p, means) }
	a := agent.New(conf)
	sh.m.set(a)
	err := supervise.Run(ctx, slog.New(slog.DiscardHandler),
		supervise.Part{Name: "launcher", Run: p.parent.Run},
		supervise.Part{Name: "agent", Run: func(ctx context.Context, ready func()) error {
			ready()
			return a.Run(ctx)
		}},
	)
	switch {
	case errors.Is(err, update.ErrSwap):
		return process.Exit{Code: launcher.ExitSwap, Text: "exit 75"}
	case err != nil && !errors.Is(err, update.ErrGone):
		conf.Log.Warn("a simulated agent ended", "error", err)
		return process.Exit{Code: 1, Text: "exit 1"}
	}
	return process.Exit{Text: "exit 0"}
}

func (r *running) Lines() <-chan string { return r.lines }

// Write is its standard output.
func (r *running) Write(b []byte) (int, error) {
	select {
	case r.lines <- strings.TrimSuffix(string(b), "\n"):
	case <-r.dead:
	}
	return len(b), nil
}

func (r *running) Say(line string) { _, _ = io.WriteString(r.say, line+"\n") }

func (r *running) Hangup() { r.say.Close() }

func (r *running) Kill() {
	r.kill.Do(func() {
		r.mu.Lock()
		r.killed = true
		r.mu.Unlock()
		close(r.dead)
		r.crew.Stop()
	})
}

func (r *running) Wait() process.Exit {
	r.crew.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.killed {
		return process.Exit{Code: -1, Text: "signal: killed"}
	}
	return r.exit
}

// Usage is that of a well-behaved agent; many share this process.
func (r *running) Usage() (process.Usage, error) {
	return process.Usage{CPU: time.Since(r.began) / 500, Memory: 16 << 20}, nil
}
