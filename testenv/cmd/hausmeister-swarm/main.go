// Command hausmeister-swarm lets simulated devices report to a collector: the
// real agent's code on invented machines.
//
//	hausmeister-swarm -claim 'hausmeister://...' -devices 2000
//
// A claim that admits so many devices comes from `hausmeister-collector claim`;
// a running demo has one in its demo.json.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"hausmeister/platform/supervise"
	"hausmeister/testenv/swarm"
)

func main() {
	claim := flag.String("claim", "", "`claim` that admits the devices")
	devices := flag.Int("devices", 100, "`number` of devices")
	first := flag.Int("first", 1_000_001, "`number` of the first one; the same number is the same device")
	perSocket := flag.Int("per-socket", 500, "`number` of devices that share a UDP socket")
	atOnce := flag.Int("at-once", 32, "`number` of devices that enrol at the same time")
	together := flag.Bool("together", false, "no device reports before all are enrolled")
	flag.Parse()
	c := swarm.Config{PerSocket: *perSocket, AtOnce: *atOnce, Together: *together}
	if err := run(c, *claim, *devices, *first); err != nil {
		fmt.Fprintln(os.Stderr, "swarm:", err)
		os.Exit(1)
	}
}

func run(c swarm.Config, claim string, devices, first int) error {
	if claim == "" || devices < 1 || flag.NArg() > 0 {
		return errors.New("give -claim CLAIM and -devices NUMBER, nothing else")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	c.Log = log
	for n := range devices {
		c.Devices = append(c.Devices, swarm.Device{Number: first + n, Claim: claim})
	}
	s := swarm.New(c)
	begin := time.Now()
	return supervise.Run(ctx, log,
		supervise.Part{Name: "devices", StartWithin: 24 * time.Hour, Run: func(ctx context.Context, ready func()) error {
			return s.Run(ctx, ready)
		}},
		supervise.Part{Name: "count", Run: func(ctx context.Context, ready func()) error {
			fmt.Printf("%d devices enrolled in %v\n", devices, time.Since(begin).Round(time.Millisecond))
			ready()
			for {
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(10 * time.Second):
					n := s.Count()
					fmt.Printf("%v: %d connected, %d reports waiting\n", time.Since(begin).Round(time.Second), n.Connected, n.Waiting)
				}
			}
		}},
	)
}
