package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"hausmeister/platform/layout"
	"hausmeister/platform/service"
)

// serviceName is final from the first release on.
const serviceName = "hausmeister-agent"

// service describes the service: the launcher, which runs the agent.
func (p *program) service() (*service.Service, error) {
	program, err := p.launcherPath()
	if err != nil {
		return nil, err
	}
	args := []string{"run"}
	if p.root != "" {
		args = append(args, "--dir", p.layout.Root)
	}
	return service.New(service.Config{
		Name:        serviceName,
		DisplayName: "Hausmeister",
		Description: "tells the school authority how this loan device is",
		Executable:  program,
		Arguments:   args,
		WritePaths:  []string{p.layout.Root},
		Mend:        append([]string{p.layout.Program(), "mend"}, args[1:]...),
	})
}

// follow has the service take the launcher that is pointed to, where no link does.
func (p *program) follow() error {
	s, err := p.service()
	if err != nil {
		return err
	}
	return s.Follow()
}

// launcherPath is what the service manager runs; before an installation, what it
// will run.
func (p *program) launcherPath() (string, error) {
	root, err := filepath.Abs(p.layout.Root)
	if err != nil {
		return "", err
	}
	p.layout = layout.Layout{Root: root} // the service runs in another folder
	path, err := p.layout.Launcher()
	if errors.Is(err, fs.ErrNotExist) {
		return filepath.Join(p.layout.Launchers(), "current", layout.LauncherName()), nil
	}
	return path, err
}

// install copies this program and the launcher beside it to their places and
// makes the service known.
func (p *program) install(ctx context.Context) error {
	if _, err := p.launcherPath(); err != nil { // makes the folder's path absolute
		return err
	}
	if err := p.layout.Create(); err != nil {
		return err
	}
	if err := p.copyLauncher(ctx); err != nil {
		return err
	}
	if err := p.copySelf(); err != nil {
		return err
	}
	s, err := p.service() // only now: the pointer says which launcher it is
	if err != nil {
		return err
	}
	if err := s.Install(ctx); err != nil {
		return err
	}
	return p.done("installed")
}

// copySelf keeps this program as a version, and leaves the launcher the note that
// it is the one to run from its next start on.
func (p *program) copySelf() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the running program: %w", err)
	}
	sum, err := sumOf(self)
	if err != nil {
		return err
	}
	f, err := os.Open(self)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := p.layout.VersionsOn(layout.Plain(), layout.AgentName()).Put(version, sum, f); err != nil {
		return err
	}
	note := version + " " + sum.String() + "\n"
	return layout.WriteFile(p.layout.Packaged(), []byte(note), 0o644)
}

// launcherWithin bounds the question which version the launcher is.
const launcherWithin = 10 * time.Second

// copyLauncher keeps the launcher that lies beside this program, unless this is
// the installed copy itself, and points to it.
func (p *program) copyLauncher(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the running program: %w", err)
	}
	path := filepath.Join(filepath.Dir(self), layout.LauncherName())
	sum, err := sumOf(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := p.layout.Launcher(); err == nil {
			return nil // a repair, by a copy that has none beside it
		}
		return &failure{code: "no_launcher", exit: exitRefused, err: err}
	} else if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, launcherWithin)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "version").Output()
	if err != nil {
		return fmt.Errorf("asking the launcher for its version: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	its := strings.TrimSpace(string(out))
	if err := p.layout.PutLauncher(layout.Plain(), its, sum, f); err != nil {
		return err
	}
	return p.layout.PointLauncher(layout.Plain(), its)
}

// sumOf hashes a file wherever it lies: it is ours because we were started from there.
func sumOf(path string) (layout.Sum, error) {
	f, err := os.Open(path)
	if err != nil {
		return layout.Sum{}, err
	}
	defer f.Close()
	return layout.SumOf(f)
}

// uninstall removes the service. Identity and reports stay, so that a repair
// does not make the device unknown; they go with the folder.
func (p *program) uninstall(ctx context.Context) error {
	return p.withService(ctx, (*service.Service).Uninstall, "uninstalled", p.layout.Root)
}

func (p *program) start(ctx context.Context) error {
	return p.withService(ctx, func(s *service.Service, ctx context.Context) error {
		if err := p.mustBeInstalled(ctx, s); err != nil {
			return err
		}
		return s.Start(ctx)
	}, "started")
}

func (p *program) stop(ctx context.Context) error {
	return p.withService(ctx, func(s *service.Service, ctx context.Context) error {
		if err := p.mustBeInstalled(ctx, s); err != nil {
			return err
		}
		return s.Stop(ctx)
	}, "stopped")
}

func (p *program) mustBeInstalled(ctx context.Context, s *service.Service) error {
	st, err := s.Status(ctx)
	if err == nil && st == service.NotInstalled {
		return &failure{code: "not_installed", exit: exitRefused, err: errors.New("the service manager does not know " + serviceName)}
	}
	return err
}

func (p *program) withService(ctx context.Context, do func(*service.Service, context.Context) error, said string, args ...any) error {
	s, err := p.service()
	if err != nil {
		return err
	}
	if err := do(s, ctx); err != nil {
		return err
	}
	return p.done(said, args...)
}

// done ends a verb that has nothing to show but that it was done.
func (p *program) done(said string, args ...any) error {
	if p.json {
		return p.print(map[string]any{"done": said})
	}
	p.say(said, args...)
	return nil
}
