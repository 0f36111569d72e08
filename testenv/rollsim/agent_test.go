package rollsim_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"hausmeister/agent/launcher"
	"hausmeister/agent/update"
	"hausmeister/agent/update/journal"
	"hausmeister/platform/process"
	"hausmeister/proto/manifest"
)

// agent is one start of what bin/ holds: launcher.Child on the outside, and within it
// the agent's real updater.
type agent struct {
	d       *device
	program journal.Program
	does    behaviour
	began   time.Time
	updater *update.Updater
	lines   chan string
	hangup  chan struct{}
	dead    chan struct{}
	spool   chan struct{} // holds one
	said    chan string   // by the launcher
	over    chan struct{} // closed at the end of run
	exit    process.Exit  // before lines is closed
	kept    bool          // guarded by the device: its session outlives it

	hangs, kills sync.Once
}

// start is the launcher's way to run it.
func (d *device) start(context.Context) (launcher.Child, error) {
	p := d.runs()
	a := &agent{d: d, program: p, does: d.w.does(p.Version, d.number), began: time.Now(),
		lines: make(chan string), hangup: make(chan struct{}), dead: make(chan struct{}), spool: make(chan struct{}, 1), said: make(chan string, 8), over: make(chan struct{})}
	parent := update.Attach(func(string) string { return "1.0.0" }, said{a}, a)
	a.updater = update.New(update.Config{
		Parent: parent,
		Device: manifest.Device{Product: manifest.ProductAgent, Version: p.Version, OS: "linux", Arch: "amd64", Channel: manifest.RoleStable},
		Sum:    p.Sum, Build: monday.AddDate(0, -2, 0), Trust: trust{d}, Lookups: lookups{d}, Journal: d.disk, Programs: copies{d.disk}, Parts: parts{d.disk},
		Files: d.disk, Fetch: d, Sink: d, Selftest: d.selftest, Now: d.w.now, Random: d.random, Log: nolog,
	})
	go func() {
		defer close(a.lines)
		a.run(parent)
		close(a.over)
		d.mu.Lock()
		kept := a.kept
		if d.agent == a {
			d.agent = nil
		}
		d.mu.Unlock()
		if !kept {
			d.hangUp()
		}
	}()
	return a, nil
}

// selftest runs the new program, which says whether it can run here.
func (d *device) selftest(_ context.Context, version string) error {
	if d.w.does(version, d.number) == unfit {
		return update.ErrSelftest
	}
	return nil
}

func (a *agent) Lines() <-chan string { return a.lines }
func (a *agent) Hangup()              { a.hangs.Do(func() { close(a.hangup) }) }
func (a *agent) Kill()                { a.kills.Do(func() { close(a.dead) }) }

func (a *agent) Wait() process.Exit {
	select {
	case <-a.dead:
		return process.Exit{Code: -1, Text: "signal: killed"}
	default:
		return a.exit
	}
}

func (a *agent) Usage() (process.Usage, error) {
	permille := time.Duration(2)
	if a.does == greedy {
		permille = 900
	}
	return process.Usage{CPU: time.Since(a.began) / 1000 * permille, Memory: 16 << 20}, nil
}

// Say is the launcher's pipe to us.
func (a *agent) Say(line string) {
	select {
	case a.said <- line + "\n":
	default: // a pipe holds more, and more is never said
		a.d.w.fault("a launcher says %q to an agent that does not listen", line)
	}
}

// said is its other end.
type said struct{ a *agent }

func (s said) Read(b []byte) (int, error) {
	select {
	case line := <-s.a.said:
		return copy(b, line), nil
	case <-s.a.hangup:
	case <-s.a.dead:
	case <-s.a.over:
	}
	return 0, io.EOF
}

// Write is the pipe to the launcher.
func (a *agent) Write(b []byte) (int, error) {
	select {
	case a.lines <- strings.TrimSuffix(string(b), "\n"):
	case <-a.dead:
	}
	return len(b), nil
}

func (a *agent) spooled() {
	select {
	case a.spool <- struct{}{}:
	default:
	}
}

// run is what the program does.
func (a *agent) run(parent *update.Parent) {
	switch a.does {
	case crash:
		if sleepUnless(time.Second, a.hangup, a.dead) {
			a.exit = process.Exit{Code: 2, Text: "exit 2"}
		}
		return
	case hang:
		<-a.dead
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- a.updater.Run(ctx, func() {}) }()
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		_ = parent.Run(ctx, func() {}) // its end is that of the launcher, which run sees too
	}()
	defer func() { <-listening }()
	defer cancel()
	parent.Alive()
	parent.Checked(nil)
	session := a.d.attach(a) // its own, or one that is as good
	if session {
		parent.Welcomed(a.program.Version, a.program.Sum[:])
	}
	next := time.NewTimer(time.Duration((1 + 4*a.d.random()) * float64(time.Second)))
	defer next.Stop()
	for {
		select {
		case <-next.C:
			next.Reset(time.Minute)
			parent.Alive()
			if a.does != deaf && (!session || !a.d.connected()) {
				if session = a.d.connect(a.program); session {
					parent.Welcomed(a.program.Version, a.program.Sum[:])
				}
			}
			a.d.send()
		case <-a.spool:
			next.Reset(time.Second) // more may come
		case err := <-ended:
			if errors.Is(err, update.ErrSwap) {
				a.exit = process.Exit{Code: launcher.ExitSwap, Text: "exit 75"}
			} else {
				a.exit = process.Exit{Code: 1, Text: "exit 1"}
			}
			return
		case <-a.hangup:
			cancel()
			<-ended
			return
		case <-a.dead:
			cancel()
			<-ended
			return
		}
	}
}

func sleepUnless(d time.Duration, ends ...chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ends[0]:
	case <-ends[1]:
	}
	return false
}
