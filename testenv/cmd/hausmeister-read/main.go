// Command hausmeister-read reads this machine once, or twice with a pause, and
// prints what it found as JSON: for looking at a system that no agent runs on,
// and for the tests that run it in Wine.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"hausmeister/platform/sysinfo"
)

// answer is a snapshot, and how long it took.
type answer struct {
	Took     string
	Snapshot sysinfo.Snapshot
	// CouldNot is the snapshot's, whose errors JSON cannot tell.
	CouldNot      map[string]string
	Software      []sysinfo.Program
	SoftwareError string `json:",omitempty"`
}

func main() {
	within := flag.Duration("within", 5*time.Second, "how long one group of readings may take")
	pause := flag.Duration("pause", 0, "read a second time after this `pause`, for what is a mean over time")
	out := flag.String("o", "", "`file` to write to; default: standard output")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *within, *pause, *out); err != nil {
		fmt.Fprintln(os.Stderr, "read:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, within, pause time.Duration, out string) error {
	r := sysinfo.New(sysinfo.Config{Within: within})
	begin := time.Now()
	s := r.Read(ctx)
	if pause > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		begin = time.Now()
		s = r.Read(ctx)
	}
	a := answer{Took: time.Since(begin).Round(time.Millisecond).String(), Snapshot: s, CouldNot: map[string]string{}}
	for group, err := range s.CouldNot {
		a.CouldNot[group] = err.Error()
	}
	a.Snapshot.CouldNot = nil
	var err error
	if a.Software, err = r.Software(ctx); err != nil {
		a.SoftwareError = err.Error()
	}
	b, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	if out == "" {
		_, err = os.Stdout.Write(append(b, '\n'))
		return errors.Join(err, ctx.Err())
	}
	return errors.Join(os.WriteFile(out, b, 0o600), ctx.Err())
}
