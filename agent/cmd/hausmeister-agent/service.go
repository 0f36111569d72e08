package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"hausmeister/platform/layout"
	"hausmeister/platform/service"
)

// serviceName is final from the first release on.
const serviceName = "hausmeister-agent"

// service describes the service that runs this program's installed copy.
func (p *program) service() (*service.Service, error) {
	program, err := p.installed()
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
	})
}

// installed is where this version's program lies once it is installed.
func (p *program) installed() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding the running program: %w", err)
	}
	root, err := filepath.Abs(p.layout.Root)
	if err != nil {
		return "", err
	}
	p.layout = layout.Layout{Root: root} // the service runs in another folder
	return filepath.Join(p.layout.Versions(), version, serviceName+filepath.Ext(self)), nil
}

// install copies this program to its place and makes the service known.
func (p *program) install(ctx context.Context) error {
	s, err := p.service()
	if err != nil {
		return err
	}
	if err := p.layout.Create(); err != nil {
		return err
	}
	if err := p.copySelf(); err != nil {
		return err
	}
	if err := s.Install(ctx); err != nil {
		return err
	}
	return p.done("installed")
}

// copySelf puts the running program where the service expects it.
func (p *program) copySelf() error {
	to, err := p.installed()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if a, err := os.Stat(self); err == nil {
		if b, err := os.Stat(to); err == nil && os.SameFile(a, b) {
			return nil
		}
	}
	f, err := os.Open(self)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return fmt.Errorf("reading the program: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return layout.WriteFile(to, data, 0o755)
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
