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

func packaged(string) bool { return false }

// beforeInstall removes the plist of an earlier Install: the library writes a
// new one only where there is none.
func beforeInstall(c Config) error {
	err := os.Remove("/Library/LaunchDaemons/" + c.Name + ".plist")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// kept says whether launchd will start the service again though nothing runs: it keeps
// alive whatever it has loaded, and lets ten seconds pass in between.
func kept(c Config) (bool, error) {
	err := exec.Command("launchctl", "list", c.Name).Run()
	if _, unknown := errors.AsType[*exec.ExitError](err); unknown {
		return false, nil
	}
	return err == nil, err
}

// givesUp: it starts again whatever ended, however often.
const givesUp = false

func failed(Config) (bool, error) { return false, nil } // the library knows

func mendPlist(c Config) string { return "/Library/LaunchDaemons/" + mendName(c) + ".plist" }

// afterInstall has launchd run Mend at each start of the machine and every half hour.
func afterInstall(c Config) error {
	if len(c.Mend) == 0 {
		return nil
	}
	if err := removeMend(c); err != nil {
		return err
	}
	if err := os.WriteFile(mendPlist(c), []byte(MendJob(c)), 0o644); err != nil {
		return err
	}
	return launchctl("load", mendPlist(c))
}

func removeMend(c Config) error {
	if _, err := os.Stat(mendPlist(c)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(launchctl("unload", mendPlist(c)), os.Remove(mendPlist(c)))
}

func launchctl(args ...string) error {
	if out, err := exec.Command("launchctl", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("launchctl %s: %w: %.300s", args[0], err, out)
	}
	return nil
}

func stop(m kservice.Service, _ Config) error { return m.Stop() }

// end has launchd kill the process of a service that does not end by itself, and
// start it anew.
func end(c Config) error { return launchctl("kickstart", "-k", "system/"+c.Name) }

func follow(Config) error { return nil }

func (p *program) endedByItself(context.Context) {}
