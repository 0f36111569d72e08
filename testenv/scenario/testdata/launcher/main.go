// Command launcher is a launcher for Windows as its service manager and its repair know
// it. The real one takes itself for a program in a terminal in Wine, where services run
// in another session. By its build it is well, or hangs: before it speaks to the service
// manager, or once it runs, and then it listens to nothing that it is told.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/windows/svc"

	"hausmeister/agent/update/train"
	"hausmeister/platform/layout"
)

var version, hangs = "dev", ""

func main() {
	if len(os.Args) < 2 || os.Args[1] != "run" {
		fmt.Println(version)
		return
	}
	if hangs == "at its start" {
		hang()
	}
	self, err := os.Executable()
	must(err)
	line := train.New(layout.Layout{Root: filepath.Dir(filepath.Dir(filepath.Dir(self)))}, layout.Plain())
	lock, err := layout.Lock(line.LockPath())
	must(err)
	defer lock.Close()
	must(line.Began(version, time.Now()))
	must(svc.Run("hausmeister-agent", service{}))
}

type service struct{}

func (service) Execute(_ []string, told <-chan svc.ChangeRequest, says chan<- svc.Status) (bool, uint32) {
	says <- svc.Status{State: svc.Running, Accepts: svc.AcceptStop}
	if hangs == "later" {
		hang()
	}
	for r := range told {
		if r.Cmd == svc.Stop {
			break
		}
		says <- r.CurrentStatus
	}
	says <- svc.Status{State: svc.StopPending}
	return false, 0
}

func hang() {
	for {
		time.Sleep(time.Hour) // and not for ever, which Go takes for a mistake
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
