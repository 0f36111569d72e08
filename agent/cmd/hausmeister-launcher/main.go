// Command hausmeister-launcher is the service of a loan device: it runs the agent,
// puts a new one in its place when that is armed, and goes back to the old one when
// the new one fails. It has no network.
//
//	hausmeister-launcher run [-dir FOLDER]
//	hausmeister-launcher version
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"hausmeister/agent/launcher"
	"hausmeister/agent/update/journal"
	"hausmeister/agent/update/train"
	"hausmeister/platform/layout"
	"hausmeister/platform/process"
	"hausmeister/platform/service"
	"hausmeister/platform/supervise"
)

// version is set by the build.
var version = "dev"

// serviceName is final from the first release on.
const serviceName = "hausmeister-agent"

// memoryLimit is soft; a swap holds a whole program in memory for a moment, and
// gives it back.
const memoryLimit = 8 << 20

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "hausmeister-launcher:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	fs := flag.NewFlagSet("hausmeister-launcher", flag.ContinueOnError)
	dir := fs.String("dir", layout.Default().Root, "`folder` of the installation")
	showVersion := fs.Bool("version", false, "say the version")
	verb := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		verb, args = args[0], args[1:]
	}
	if err := fs.Parse(args); err != nil {
		return err
	}
	switch {
	case *showVersion, verb == "version":
		fmt.Fprintln(out, version)
		return nil
	case verb != "run" || fs.NArg() > 0:
		return errors.New("usage: hausmeister-launcher run|version [-dir FOLDER]")
	}
	debug.SetMemoryLimit(memoryLimit)
	debug.SetGCPercent(25)
	root, err := filepath.Abs(*dir)
	if err != nil {
		return err
	}
	return serve(layout.Layout{Root: root})
}

// guarded ends this program when it hangs, from its first moment on.
func guarded(logs *slog.Logger) (g *service.Guard, leave func(), err error) {
	g = service.NewGuard(service.NewNotifier(os.Getenv), nil, func() {
		logs.Error("the launcher does not get on, and is ended")
		os.Exit(1)
	})
	crew := supervise.NewCrew(context.Background(), 1)
	return g, func() { crew.Stop(); crew.Wait() }, crew.Go(g.Run)
}

func serve(l layout.Layout) error {
	logs := slog.New(slog.NewTextHandler(os.Stderr, nil))
	guard, leave, err := guarded(logs)
	if err != nil {
		return err
	}
	defer leave()
	if err := l.Create(); err != nil {
		return err
	}
	line := train.New(l, layout.Plain())
	lock, err := takeLock(line.LockPath())
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := line.Began(version, time.Now()); err != nil {
		logs.Warn("this start is not noted", "error", err)
	}
	if err := l.Check(); err != nil {
		return err // what runs from there could be anybody's
	}
	s, err := service.New(service.Config{Name: serviceName})
	if err != nil {
		return err
	}
	return s.Run(context.Background(), func(ctx context.Context, n *service.Notifier) error {
		programs, err := launcher.NewInstalled(launcher.InstalledConfig{Layout: l, Disk: layout.Plain()})
		if err != nil {
			return err
		}
		settings, err := launcher.ReadSettings(layout.Plain(), filepath.Join(l.State(), launcher.SettingsFile))
		if err != nil {
			logs.Warn("settings of the launcher not used", "error", err)
		}
		logs.Info("launcher starts", "version", version, "root", l.Root)
		a := agents{layout: l, programs: programs}
		return launcher.New(launcher.Config{
			Journal:  journal.NewStore(journal.Config{Dir: l.Update(), Disk: layout.Plain(), Lock: journal.FileLock(l.Update())}),
			Programs: programs, Folders: l.Create, Start: a.start, Probe: a.probe,
			Times: settings.Times, Bounds: settings.Bounds,
			Boot: process.Boot(), Ready: n.Ready, Beat: func() { n.Alive(); guard.Alive() }, Log: logs,
			Proved: func() error { return line.Proved(version) },
		}).Run(ctx)
	})
}

// takeLock waits for who only looks whether the lock is held (train.Mend).
func takeLock(path string) (lock *layout.FileLock, err error) {
	for range 20 {
		if lock, err = layout.Lock(path); !errors.Is(err, layout.ErrLocked) {
			return lock, err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, err
}

// agents starts programs of this installation.
type agents struct {
	layout   layout.Layout
	programs *launcher.Installed
}

// environment is ours, but for what is between the service manager and us.
func environment(more ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "NOTIFY_SOCKET=") || strings.HasPrefix(v, "WATCHDOG_") || strings.HasPrefix(v, journal.EnvLauncher+"=")
	})
	return append(env, more...)
}

func (a agents) start(ctx context.Context) (launcher.Child, error) {
	return process.Start(ctx, process.Config{
		Path: a.layout.Program(), Args: []string{"run", "--dir", a.layout.Root},
		Env: environment(journal.EnvLauncher + "=" + version), Stderr: os.Stderr,
	})
}

// probeWithin bounds one try of the old program.
const probeWithin = 30 * time.Second

// probe lets a program's copy say whether it would reach the collector.
func (a agents) probe(ctx context.Context, p journal.Program) error {
	if err := a.programs.Has(p); err != nil {
		return err
	}
	child, err := process.Start(ctx, process.Config{
		Path: a.programs.Path(p), Args: []string{"selftest", "--dial", "--dir", a.layout.Root}, Env: environment(),
	})
	if err != nil {
		return err
	}
	defer child.Wait()
	t := time.NewTimer(probeWithin)
	defer t.Stop()
	done := ctx.Done()
	for {
		select {
		case _, open := <-child.Lines():
			if open {
				continue
			}
			if e := child.Wait(); e.Code != 0 {
				return fmt.Errorf("the old program does not reach the collector: %s", e.Text)
			}
			return nil
		case <-t.C:
			child.Kill()
		case <-done:
			child.Kill()
			done = nil
		}
	}
}
