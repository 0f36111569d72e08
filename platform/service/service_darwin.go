package service

import (
	"context"
	"errors"
	"io/fs"
	"os"
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

func afterInstall(Config) error { return nil }

func (p *program) endedByItself(context.Context) {}
