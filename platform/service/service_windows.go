package service

import (
	"context"
	"fmt"
	"os"
	"time"

	kservice "github.com/kardianos/service"
	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc/mgr"
)

func packaged(string) bool { return false }

func beforeInstall(Config) error { return nil }

// afterInstall sets what the library cannot: the command of a service that was
// there before, more than one step of recovery, and recovery also when the
// program ends orderly with an error.
func afterInstall(c Config) error { return change(c, recovery) }

// stoppedIsAWish: a service that the manager gave up is stopped here, too.
const stoppedIsAWish = false

// follow sets the command: no link leads to it, it names the version.
func follow(c Config) error { return change(c, func(*mgr.Service, Config) error { return nil }) }

func removeMend(Config) error { return nil } // it goes with the service

// change sets the command of a service, and what else there is to set.
func change(c Config, more func(*mgr.Service, Config) error) error {
	m, err := mgr.Connect()
	if err != nil {
		return err
	}
	defer m.Disconnect()
	s, err := m.OpenService(c.Name)
	if err != nil {
		return err
	}
	defer s.Close()
	config, err := s.Config()
	if err != nil {
		return err
	}
	config.BinaryPathName = windows.ComposeCommandLine(append([]string{c.Executable}, c.Arguments...))
	config.DisplayName, config.Description = c.DisplayName, c.Description
	if err := s.UpdateConfig(config); err != nil {
		return fmt.Errorf("setting the command: %w", err)
	}
	return more(s, c)
}

// recovery has three restarts tried, and then again and again the command that mends,
// which starts the service itself.
func recovery(s *mgr.Service, c Config) error {
	restart := func(after time.Duration) mgr.RecoveryAction {
		return mgr.RecoveryAction{Type: mgr.ServiceRestart, Delay: after}
	}
	const day = 24 * 60 * 60 // after this long without a failure it begins anew
	steps := []mgr.RecoveryAction{restart(time.Second), restart(10 * time.Second), restart(time.Minute)}
	if len(c.Mend) > 0 {
		if err := s.SetRecoveryCommand(windows.ComposeCommandLine(c.Mend)); err != nil {
			return fmt.Errorf("setting the repair: %w", err)
		}
		steps = append(steps, mgr.RecoveryAction{Type: mgr.RunCommand, Delay: time.Minute})
	}
	if err := s.SetRecoveryActions(steps, day); err != nil {
		return fmt.Errorf("setting the recovery: %w", err)
	}
	return s.SetRecoveryActionsOnNonCrashFailures(true)
}

// endedByItself ends the process when run returned without being told to: the
// library's loop waits for the service manager only, and would keep a dead
// service "running". The manager sees a crash and starts it again.
func (p *program) endedByItself(ctx context.Context) {
	if ctx.Err() == nil && !kservice.Interactive() {
		os.Exit(1)
	}
}
