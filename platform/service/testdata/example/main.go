// Command example is a service for the test on a real systemd: it installs
// itself by verbs, and as a service it writes down what it could read and what
// it was kept from.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"hausmeister/platform/layout"
	"hausmeister/platform/service"
	"hausmeister/platform/supervise"
	"hausmeister/platform/sysinfo"
	"hausmeister/platform/wake"
)

const root = "/opt/example"

// Report is what the service found.
type Report struct {
	Snapshot sysinfo.Snapshot
	CouldNot map[string]string // of the snapshot, as texts
	Written  []string          // places outside its own that it could write
	Watching bool              // wake.Watcher came up
	Start    int               // which start this is
}

func main() {
	if err := run(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, verb string) error {
	s, err := service.New(service.Config{
		Name: "example-agent", DisplayName: "Example", Description: "a test",
		Executable: root + "/bin/example", Arguments: []string{"run"}, WritePaths: []string{root},
		Mend: []string{"/bin/touch", root + "/mended"},
	})
	if err != nil {
		return err
	}
	switch verb {
	case "revive":
		return s.Revive(ctx)
	case "by-hand":
		is, err := s.StoppedByHand(ctx)
		if err == nil {
			fmt.Println(is)
		}
		return err
	case "install":
		return s.Install(ctx)
	case "uninstall":
		return s.Uninstall(ctx)
	case "start":
		return s.Start(ctx)
	case "stop":
		return s.Stop(ctx)
	case "status":
		status, err := s.Status(ctx)
		fmt.Println(status)
		return err
	}
	return s.Run(ctx, serve)
}

func serve(ctx context.Context, n *service.Notifier) error {
	w := wake.NewWatcher(nil)
	return supervise.Run(ctx, slog.Default(),
		supervise.Part{Name: "watcher", Run: w.Run},
		supervise.Part{Name: "report", Run: func(ctx context.Context, ready func()) error {
			if err := report(ctx); err != nil {
				return err
			}
			n.Ready()
			ready()
			return n.Watchdog(ctx, nil, func() bool { return true })
		}})
}

func report(ctx context.Context) error {
	l := layout.Layout{Root: root}
	if err := l.Create(); err != nil {
		return err
	}
	r := Report{Watching: true}
	file := filepath.Join(l.State(), "report.json")
	if b, err := os.ReadFile(file); err == nil {
		if err := json.Unmarshal(b, &r); err != nil {
			return err
		}
		r.Written = nil
	}
	r.Start++
	r.Snapshot = sysinfo.New(sysinfo.Config{}).Read(ctx)
	r.CouldNot = make(map[string]string)
	for k, v := range r.Snapshot.CouldNot {
		r.CouldNot[k] = v.Error()
	}
	r.Snapshot.CouldNot = nil // errors do not come back from JSON
	for _, place := range []string{"/etc/x", "/usr/x", "/root/x", "/home/x", "/var/lib/x", "/proc/sys/kernel/hostname", "/boot/x"} {
		if f, err := os.OpenFile(place, os.O_WRONLY|os.O_CREATE, 0o600); err == nil {
			r.Written = append(r.Written, place)
			f.Close()
		}
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return layout.WriteFile(file, b, 0o600)
}
