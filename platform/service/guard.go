package service

import (
	"context"
	"sync/atomic"
	"time"
)

// A Guard ends a program that does not get on, where the service manager has no
// watchdog: it then starts the program again, as after a crash. It is in the program
// itself, so that one which is frozen as a whole is not helped; systemd's watchdog,
// from outside, is the better one, and where it watches a Guard does nothing.
type Guard struct {
	beats atomic.Uint64
	idle  bool
	ticks <-chan time.Time
	end   func()
}

const (
	guardEvery = time.Minute
	// guardLooks without a sign of life: between three minutes and four, as systemd
	// has three. They are counted, so that a machine that slept has lost one at most.
	guardLooks = 4
)

// NewGuard makes a Guard that looks at each tick, and calls end at most once; nil ticks
// are a minute apart. n says whether anybody else watches.
func NewGuard(n *Notifier, ticks <-chan time.Time, end func()) *Guard {
	if ticks == nil {
		ticks = time.Tick(guardEvery)
	}
	return &Guard{idle: n.watchdog > 0 && n.socket != "", ticks: ticks, end: end}
}

// Alive says that the program gets on.
func (g *Guard) Alive() { g.beats.Add(1) }

// Run guards until ctx ends or the program is given up.
func (g *Guard) Run(ctx context.Context) {
	if g.idle {
		return
	}
	seen, silent := g.beats.Load(), 0
	for {
		select {
		case <-g.ticks:
		case <-ctx.Done():
			return
		}
		if now := g.beats.Load(); now != seen {
			seen, silent = now, 0
			continue
		}
		if silent++; silent == guardLooks {
			g.end()
			return
		}
	}
}
