package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"

	kservice "github.com/kardianos/service"
)

// packaged says whether a unit of that name came with a package.
func packaged(name string) bool {
	for _, dir := range []string{"/usr/lib/systemd/system/", "/lib/systemd/system/"} {
		if _, err := os.Stat(dir + name + ".service"); err == nil {
			return true
		}
	}
	return false
}

// beforeInstall removes the unit of an earlier Install: the library writes a
// new one only where there is none.
func beforeInstall(c Config) error {
	err := os.Remove("/etc/systemd/system/" + c.Name + ".service")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// kept says whether the manager will start the service again though it counts as stopped.
// One that fails is failed or being started, so that who is stopped was told to be.
func kept(Config) (bool, error) { return false, nil }

// givesUp: it starts again whatever ended, however often.
const givesUp = false

func failed(Config) (bool, error) { return false, nil } // the library knows

const units = "/etc/systemd/system/"

func afterInstall(c Config) error {
	if len(c.Mend) == 0 {
		return nil
	}
	service, timer := MendUnits(c)
	for ext, text := range map[string]string{".service": service, ".timer": timer} {
		if err := os.WriteFile(units+mendName(c)+ext, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return errors.Join(systemctl("daemon-reload"), systemctl("enable", "--now", mendName(c)+".timer"))
}

func removeMend(c Config) error {
	if _, err := os.Stat(units + mendName(c) + ".timer"); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{systemctl("disable", "--now", mendName(c)+".timer")}
	for _, ext := range []string{".timer", ".service"} {
		if err := os.Remove(units + mendName(c) + ext); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func systemctl(args ...string) error {
	if out, err := exec.Command("systemctl", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("systemctl %s: %w: %.300s", args[0], err, out)
	}
	return nil
}

func stop(m kservice.Service, _ Config) error { return m.Stop() }

// end is for what outlived systemd's own patience (TimeoutStopSec).
func end(c Config) error { return systemctl("kill", "--signal=KILL", c.Name) }

func follow(Config) error { return nil }

func (p *program) endedByItself(context.Context) {}
