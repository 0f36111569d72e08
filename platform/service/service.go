package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	kservice "github.com/kardianos/service"

	"hausmeister/platform/supervise"
)

// Config describes a service.
type Config struct {
	Name        string // "example-agent"
	DisplayName string
	Description string
	Executable  string // absolute; "" means the running program
	Arguments   []string
	// WritePaths are the folders that it may write (systemd).
	WritePaths []string
	// Mend is a command that repairs the service from outside, see mend.go; nil = none.
	Mend []string
}

// Status is how the service manager sees the service.
type Status string

const (
	NotInstalled Status = "not_installed"
	Stopped      Status = "stopped"
	Running      Status = "running"
	Failing      Status = "failed"
)

var (
	// ErrPackaged: the service belongs to a package of the system, which is the
	// one to install or remove it.
	ErrPackaged = errors.New("installed by a package")
	// ErrSlow: the service manager did not finish in time.
	ErrSlow = errors.New("the service manager takes too long")
)

// within bounds each call of the service manager; systemd gives a service 20 s
// to stop (see the unit), Windows as long by default.
const within = 45 * time.Second

// Service is one service of this machine.
type Service struct {
	config Config
	calls  supervise.Cutoff[struct{}]
}

// New checks the config.
func New(c Config) (*Service, error) {
	if c.Executable == "" {
		exe, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("finding the running program: %w", err)
		}
		c.Executable = exe
	}
	if c.Name == "" || strings.ContainsAny(c.Name, `/\ `) {
		return nil, fmt.Errorf("service name %q is not usable", c.Name)
	}
	for _, s := range slices.Concat([]string{c.Executable}, c.Arguments, c.WritePaths, c.Mend) {
		// The library's template would take {{ for its own.
		if strings.ContainsAny(s, "\x00\r\n") || strings.Contains(s, "{{") {
			return nil, fmt.Errorf("%q cannot stand in the command of a service", s)
		}
	}
	if !filepath.IsAbs(c.Executable) {
		return nil, fmt.Errorf("program %q is not an absolute path", c.Executable)
	}
	return &Service{config: c}, nil
}

// manager makes the library's object.
func (s *Service) manager(p kservice.Interface, wait func()) (kservice.Service, error) {
	c := s.config
	option := kservice.KeyValue{
		"SystemdScript": Unit(c),
		"RunAtLoad":     true, // launchd
		// Windows; afterInstall replaces it by more than one step.
		"OnFailure": "restart", "OnFailureDelayDuration": "5s", "OnFailureResetPeriod": 86400,
	}
	if wait != nil {
		option["RunWait"] = wait
	}
	return kservice.New(p, &kservice.Config{
		Name: c.Name, DisplayName: c.DisplayName, Description: c.Description,
		Executable: c.Executable, Arguments: c.Arguments, Option: option,
	})
}

// idle stands in where nothing is run.
type idle struct{}

func (idle) Start(kservice.Service) error { return nil }
func (idle) Stop(kservice.Service) error  { return nil }

// call asks the service manager, for at most `within`.
func (s *Service) call(ctx context.Context, doing string, f func(kservice.Service) error) error {
	m, err := s.manager(idle{}, nil)
	if err != nil {
		return fmt.Errorf("finding the service manager: %w", err)
	}
	_, err = s.calls.Do(ctx, within, func(context.Context) (struct{}, error) { return struct{}{}, f(m) })
	switch {
	case errors.Is(err, supervise.ErrCutOff):
		err = ErrSlow
	case err == nil:
		return nil
	}
	return fmt.Errorf("%s service %s: %w", doing, s.config.Name, err)
}

// Status asks how the service is.
func (s *Service) Status(ctx context.Context) (Status, error) {
	status := NotInstalled
	err := s.call(ctx, "asking for", func(m kservice.Service) error {
		ks, err := m.Status()
		switch {
		case errors.Is(err, kservice.ErrNotInstalled):
			return nil
		// The library has no value for it, only this text.
		case err != nil && strings.Contains(err.Error(), "failed state"):
			status = Failing
			return nil
		case err != nil:
			return err
		}
		status = Stopped
		if ks == kservice.StatusRunning {
			status = Running
			return nil
		}
		is, err := failed(s.config)
		if is {
			status = Failing
		}
		return err
	})
	if err != nil {
		return "", err // and not status: a call that was given up may still write it
	}
	return status, nil
}

// Install makes the service known and has it start with the machine; it does
// not start it now.
func (s *Service) Install(ctx context.Context) error {
	return s.call(ctx, "installing", func(m kservice.Service) error {
		if packaged(s.config.Name) {
			return ErrPackaged
		}
		if err := beforeInstall(s.config); err != nil {
			return err
		}
		if err := m.Install(); err != nil && !alreadyThere(err) {
			return err
		}
		return afterInstall(s.config)
	})
}

// alreadyThere knows the library's texts for a service that is installed.
func alreadyThere(err error) bool {
	return strings.Contains(err.Error(), "already exists")
}

// Uninstall stops the service and removes it.
func (s *Service) Uninstall(ctx context.Context) error {
	if packaged(s.config.Name) {
		return fmt.Errorf("removing service %s: %w", s.config.Name, ErrPackaged)
	}
	status, err := s.Status(ctx)
	if err != nil || status == NotInstalled {
		return err
	}
	if err := s.Stop(ctx); err != nil {
		return err
	}
	if err := s.call(ctx, "removing the repair of", func(kservice.Service) error { return removeMend(s.config) }); err != nil {
		return err
	}
	err = s.call(ctx, "removing", kservice.Service.Uninstall)
	// On Windows the library removes the service and then complains that a log
	// source is missing which only its own Install makes.
	if status, serr := s.Status(ctx); err != nil && serr == nil && status == NotInstalled {
		return nil
	}
	return err
}

// Start starts the service now.
func (s *Service) Start(ctx context.Context) error {
	if status, err := s.Status(ctx); err != nil || status == Running {
		return err
	}
	err := s.call(ctx, "starting", kservice.Service.Start)
	if err == nil {
		return nil
	}
	// The manager itself may have been quicker, as after a crash.
	if status, serr := s.Status(ctx); serr == nil && status == Running {
		return nil
	}
	return err
}

// Stop stops the service now.
func (s *Service) Stop(ctx context.Context) error {
	status, err := s.Status(ctx)
	// A failing one is stopped too: systemd is about to start it again. Where nobody
	// is, there is nothing to stop.
	if err != nil || status == Stopped || status == NotInstalled || status == Failing && givesUp {
		return err
	}
	return s.call(ctx, "stopping", func(m kservice.Service) error { return stop(m, s.config) })
}
