package service

import (
	"context"
	"errors"
	"io/fs"
	"os"
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

func afterInstall(Config) error { return nil }

func (p *program) endedByItself(context.Context) {}
