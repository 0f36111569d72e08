// Command hausmeister-demo shows a whole Hausmeister on this machine; make demo
// builds the programs and calls it.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"hausmeister/testenv/demo"
)

func main() {
	port := flag.Int("port", 8443, "UDP and TCP `port` of the collector")
	devices := flag.Int("devices", 50, "`number` of simulated devices")
	dir := flag.String("dir", filepath.Join(os.TempDir(), "hausmeister-demo"), "`folder` of the demo")
	tour := flag.Bool("tour", false, "end with a signed update that goes over all devices")
	bin := flag.String("bin", "", "`folder` with the programs; default: beside this one")
	flag.Parse()
	if err := run(*port, *devices, *dir, *bin, *tour); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(port, devices int, dir, bin string, tour bool) error {
	if flag.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flag.Arg(0))
	}
	if bin == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		bin = filepath.Dir(self)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return demo.Run(ctx, demo.Config{
		Bin: bin, Dir: dir, Port: port, Devices: devices, Tour: tour, Out: os.Stdout,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
}
