package service

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
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

// stoppedIsAWish: launchd keeps a service alive that it has loaded.
const stoppedIsAWish = true

const mendEvery = 30 * 60 // seconds

func mendPlist(c Config) string { return "/Library/LaunchDaemons/" + mendName(c) + ".plist" }

// afterInstall has launchd run Mend at each start of the machine and every half hour.
func afterInstall(c Config) error {
	if len(c.Mend) == 0 {
		return nil
	}
	if err := removeMend(c); err != nil {
		return err
	}
	var words bytes.Buffer
	for _, w := range c.Mend {
		words.WriteString("\t\t<string>")
		if err := xml.EscapeText(&words, []byte(w)); err != nil {
			return err
		}
		words.WriteString("</string>\n")
	}
	text := fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>Label</key>
	<string>%s</string>
	<key>ProgramArguments</key>
	<array>
%s	</array>
	<key>RunAtLoad</key>
	<true/>
	<key>StartInterval</key>
	<integer>%d</integer>
</dict>
</plist>
`, mendName(c), words.String(), mendEvery)
	if err := os.WriteFile(mendPlist(c), []byte(text), 0o644); err != nil {
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

func follow(Config) error { return nil }

func (p *program) endedByItself(context.Context) {}
