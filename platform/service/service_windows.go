package service

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf16"
	"unsafe"

	kservice "github.com/kardianos/service"
	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/mgr"
)

func packaged(string) bool { return false }

func beforeInstall(Config) error { return nil }

// afterInstall sets what the library cannot: the command of a service that was
// there before, more than one step of recovery, and recovery also when the
// program ends orderly with an error; and the task that mends.
func afterInstall(c Config) error {
	if err := change(c, recovery); err != nil {
		return err
	}
	return planMend(c)
}

// kept says whether the service should run though it counts as stopped: one that the
// manager gave up may count so, too, and nobody can tell.
func kept(Config) (bool, error) { return true, nil }

// givesUp: the manager starts nothing again that did not come up, nor what failed
// more often than there are steps of recovery.
const givesUp = true

// follow sets the command: no link leads to it, it names the version. What would
// leave a bad one again must be there first.
func follow(c Config) error {
	if _, err := os.Stat(taskFile(c)); err != nil {
		if err := planMend(c); err != nil {
			return err
		}
	}
	return change(c, func(*mgr.Service, Config) error { return nil })
}

// planMend has the task scheduler run Mend at each start of the machine, every half
// hour, and at wake when a half hour was slept through. The service's recovery is not
// enough: what does not come up at all, and what hangs, is no failure there.
func planMend(c Config) error {
	if len(c.Mend) == 0 {
		return nil
	}
	dir := "" // in our own folder nobody changes the file before it is read
	if len(c.WritePaths) > 0 {
		dir = c.WritePaths[0]
	}
	f, err := os.CreateTemp(dir, "task-*.xml")
	if err != nil {
		return fmt.Errorf("planning the repair: %w", err)
	}
	defer os.Remove(f.Name())
	var arguments []string
	for _, a := range c.Mend[1:] {
		arguments = append(arguments, windows.EscapeArg(a))
	}
	_, err = f.Write(utf16Text(MendTask(c, strings.Join(arguments, " "))))
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("planning the repair: %w", err)
	}
	return schtasks("/Create", "/TN", mendName(c), "/XML", f.Name(), "/F")
}

// utf16Text is as the task scheduler writes its own files.
func utf16Text(s string) []byte {
	b := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(strings.ReplaceAll(s, "\n", "\r\n"))) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// systemFolder is not taken from the environment, which belongs to who calls.
func systemFolder() string {
	dir, err := windows.GetSystemDirectory()
	if err != nil {
		dir = `C:\Windows\System32`
	}
	return dir
}

// taskFile is where the scheduler keeps the task.
func taskFile(c Config) string { return filepath.Join(systemFolder(), "Tasks", mendName(c)) }

func schtasks(args ...string) error {
	if out, err := exec.Command(filepath.Join(systemFolder(), "schtasks.exe"), args...).CombinedOutput(); err != nil {
		return fmt.Errorf("schtasks %s: %w: %.300s", args[0], err, out)
	}
	return nil
}

func removeMend(c Config) error {
	if _, err := os.Stat(taskFile(c)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return schtasks("/Delete", "/TN", mendName(c), "/F")
}

// failed tells a service that failed from one that was told to stop, which the
// library does not: by its exit code, which the manager sets for one that crashed or
// did not come up.
func failed(c Config) (is bool, err error) {
	err = open(c, windows.SERVICE_QUERY_STATUS, func(s *mgr.Service) error {
		status, err := s.Query()
		is = status.State == svc.Stopped && status.Win32ExitCode != 0 && status.Win32ExitCode != uint32(windows.ERROR_SERVICE_NEVER_STARTED)
		return err
	})
	return is, err
}

// endWithin is how long a process may take to be gone after it was ended.
const endWithin = 10 * time.Second

// end ends the process of a service that does not do as it is told.
func end(c Config) error {
	return open(c, windows.SERVICE_QUERY_STATUS, func(s *mgr.Service) error {
		status, err := s.Query()
		if err != nil || status.ProcessId == 0 {
			return err
		}
		h, err := windows.OpenProcess(windows.PROCESS_TERMINATE, false, status.ProcessId)
		if err != nil {
			return err
		}
		defer windows.CloseHandle(h)
		if err := windows.TerminateProcess(h, 1); err != nil {
			return err
		}
		// The manager hears of it a little later, and may start it again itself.
		pid := status.ProcessId
		for end := time.Now().Add(endWithin); err == nil && status.ProcessId == pid; status, err = s.Query() {
			if time.Now().After(end) {
				return ErrSlow
			}
			time.Sleep(50 * time.Millisecond)
		}
		return err
	})
}

// open does something with the service, for which it needs no more than this access.
func open(c Config, access uint32, do func(*mgr.Service) error) error {
	manager, err := windows.OpenSCManager(nil, nil, windows.SC_MANAGER_CONNECT)
	if err != nil {
		return err
	}
	defer windows.CloseServiceHandle(manager)
	name, err := windows.UTF16PtrFromString(c.Name)
	if err != nil {
		return err
	}
	h, err := windows.OpenService(manager, name, access)
	if err != nil {
		return err
	}
	s := &mgr.Service{Name: c.Name, Handle: h}
	defer s.Close()
	return do(s)
}

// stopPatience is how long a service may take after it was told to stop, for which
// the manager itself waits up to 30 s.
const stopPatience = 20 * time.Second

// stop is not the library's, which never gives up and so would keep what comes next
// waiting.
func stop(_ kservice.Service, c Config) error {
	return open(c, windows.SERVICE_STOP|windows.SERVICE_QUERY_STATUS, func(s *mgr.Service) error {
		status, err := s.Control(svc.Stop)
		for end := time.Now().Add(stopPatience); err == nil && status.State != svc.Stopped; status, err = s.Query() {
			if time.Now().After(end) {
				return ErrSlow
			}
			time.Sleep(50 * time.Millisecond)
		}
		if errors.Is(err, windows.ERROR_SERVICE_NOT_ACTIVE) {
			return nil
		}
		return err
	})
}

// change sets the command of a service, and what else there is to set.
func change(c Config, more func(*mgr.Service, Config) error) error {
	// A restart among the steps of recovery takes the right to start.
	return open(c, windows.SERVICE_CHANGE_CONFIG|windows.SERVICE_START, func(s *mgr.Service) error {
		if err := setCommand(s, c); err != nil {
			return fmt.Errorf("setting the command: %w", err)
		}
		return more(s, c)
	})
}

// setCommand leaves what it does not name as it is; the library's way writes back all
// that it can read.
func setCommand(s *mgr.Service, c Config) error {
	command, err := windows.UTF16PtrFromString(windows.ComposeCommandLine(append([]string{c.Executable}, c.Arguments...)))
	if err != nil {
		return err
	}
	title, err := windows.UTF16PtrFromString(c.DisplayName)
	if err != nil {
		return err
	}
	about, err := windows.UTF16PtrFromString(c.Description)
	if err != nil {
		return err
	}
	const same = windows.SERVICE_NO_CHANGE
	if err := windows.ChangeServiceConfig(s.Handle, same, same, same, command, nil, nil, nil, nil, nil, title); err != nil {
		return err
	}
	d := windows.SERVICE_DESCRIPTION{Description: about}
	return windows.ChangeServiceConfig2(s.Handle, windows.SERVICE_CONFIG_DESCRIPTION, (*byte)(unsafe.Pointer(&d)))
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
	if err := s.SetRecoveryActionsOnNonCrashFailures(true); err != nil && !errors.Is(err, windows.ERROR_INVALID_LEVEL) { // Wine's answer
		return fmt.Errorf("setting the recovery of an orderly end: %w", err)
	}
	return nil
}

// endedByItself ends the process when run returned without being told to: the
// library's loop waits for the service manager only, and would keep a dead
// service "running". The manager sees a crash and starts it again.
func (p *program) endedByItself(ctx context.Context) {
	if ctx.Err() == nil && !kservice.Interactive() {
		os.Exit(1)
	}
}
