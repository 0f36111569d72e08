package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"hausmeister/agent"
	"hausmeister/agent/config"
	"hausmeister/agent/enroll"
	"hausmeister/agent/spool"
	"hausmeister/agent/update"
	"hausmeister/agent/update/journal"
	"hausmeister/platform/layout"
	"hausmeister/platform/memory"
	"hausmeister/platform/service"
	"hausmeister/platform/supervise"
	"hausmeister/platform/wake"
)

// Measured (design.md 8): with these the agent with all its readings stays at
// two thirds of the memory it has with Go's defaults, for no CPU that one
// could find. The limit is soft: it makes the collector of garbage run, not fail.
const (
	gcPercent   = 25
	memoryLimit = 24 << 20
	// stopWithin leaves the goodbye its second and the spool its last fsync.
	stopWithin = 10 * time.Second
)

// run is the agent itself, in the foreground or as a service.
func (p *program) run(ctx context.Context) error {
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memoryLimit)
	// One core at a time is the device's person's due, and costs a megabyte less: each
	// further one has its own caches, threads and share in collecting garbage.
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
	if err := p.layout.Create(); err != nil {
		return err
	}
	lock, err := layout.Lock(filepath.Join(p.layout.State(), "lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	settings, _ := config.ReadSettings(enroll.Dir(p.layout.State())) // the agent says what is wrong with it
	logs, closeLogs := openLog(p.layout.Log(), settings.LogLevel)
	defer closeLogs()
	slog.SetDefault(logs)
	s, err := p.service()
	if err != nil {
		return err
	}
	logs.Info("starting", "version", version, "root", p.layout.Root)
	err = s.Run(ctx, func(ctx context.Context, n *service.Notifier) error { return p.serve(ctx, n, logs) })
	switch {
	case errors.Is(err, update.ErrSwap):
		logs.Info("ends for an update")
		return silent(journal.ExitSwap)
	case errors.Is(err, update.ErrGone):
		logs.Info("ends with the launcher")
		return nil
	case err != nil:
		logs.Error("ended", "error", err)
	default:
		logs.Info("stopped")
	}
	return err
}

// besideEnroll takes the lock that enroll holds from its start to its end.
func (p *program) besideEnroll() (release func() error, err error) {
	lock, err := layout.Lock(p.enrollLock())
	if err != nil {
		return nil, err
	}
	return lock.Close, nil
}

// serve runs the agent until ctx ends.
func (p *program) serve(ctx context.Context, n *service.Notifier, logs *slog.Logger) error {
	m, err := openMachine(p.layout)
	if err != nil {
		return err
	}
	hash, err := programHash()
	if err != nil {
		logs.Warn("hash of the program unknown", "error", err)
		hash = make([]byte, len(layout.Sum{}))
	}
	parent := update.Attach(p.env, os.Stdin, os.Stdout)
	if parent == nil {
		logs.Info("started by hand: there is no launcher, and there are no updates")
	}
	// Each timer of its own would be one more wake a minute on battery.
	pulse := new(wake.Pulse)
	a := agent.New(agent.Config{
		Version: version,
		Hash:    hash,
		System:  m.hardware(ctx).OS + "/" + runtime.GOARCH,
		Disk:    spool.Dir(p.layout.Spool()),
		Files:   enroll.Dir(p.layout.State()),
		Open:    func() (*enroll.Keeper, error) { return m.keeper(p.besideEnroll) },
		Dial:    m.dialer.Dial,
		Ways:    m.dialer,
		Source:  m.reader,
		Live:    live,
		Watcher: wake.NewWatcher(pulse),
		Pulse:   pulse,
		Publish: m.publish,
		Rest:    func() { notGivenBack(logs, memory.GiveBack()) },
		Leave:   func() { notGivenBack(logs, memory.LeaveProgram()) },
		Tidy:    runtime.GC, // which Go else does two minutes after it last did, in a wake of its own
		Ready: func() {
			n.Ready()
			parent.Checked(nil)
		},
		Alive: parent.Alive,
		Updates: func(means agent.Means) agent.Updates {
			return m.updater(ctx, parent, layout.Sum(hash), means, p.follow, logs)
		},
		Log: logs,
	})
	err = supervise.Run(ctx, logs,
		supervise.Part{Name: "launcher", Run: parent.Run},
		supervise.Part{Name: "watchdog", Run: func(ctx context.Context, ready func()) error {
			ready()
			return n.Watchdog(ctx, watchdog(pulse), func() bool { return true }) // that this runs is what it shows
		}},
		supervise.Part{Name: "agent", StopWithin: stopWithin, Run: func(ctx context.Context, ready func()) error {
			ready()
			err := a.Run(ctx)
			if err != nil && !errors.Is(err, update.ErrSwap) {
				parent.Checked(err) // it cannot work with what it found here
			}
			return err
		}},
	)
	return errors.Join(err, m.Close())
}

// watchdog lets the service manager's watchdog go with the pulse.
func watchdog(p *wake.Pulse) func(time.Duration) (<-chan time.Time, func()) {
	return func(every time.Duration) (<-chan time.Time, func()) {
		t := p.Timer(every)
		return t.C, t.Again
	}
}

func notGivenBack(logs *slog.Logger, err error) {
	if err != nil {
		logs.Debug("memory not given back", "error", err)
	}
}

// openLog writes to standard error, where a service manager or a person reads
// it, or to a file where standard error leads nowhere (Windows, launchd).
func openLog(dir string, level slog.Level) (*slog.Logger, func()) {
	opts := &slog.HandlerOptions{Level: level}
	if !leadsNowhere(os.Stderr) {
		return slog.New(slog.NewTextHandler(os.Stderr, opts)), func() {}
	}
	f := &logFile{path: filepath.Join(dir, "agent.log")}
	return slog.New(slog.NewTextHandler(f, opts)), f.Close
}

func leadsNowhere(f *os.File) bool {
	info, err := f.Stat()
	if err != nil {
		return true
	}
	null, err := os.Stat(os.DevNull)
	return err == nil && os.SameFile(info, null)
}
