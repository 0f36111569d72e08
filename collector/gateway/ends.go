package gateway

import (
	"context"
	"sync"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/bus"
)

const (
	// endAgain is how long an end waits that the store did not take.
	endAgain = 5 * time.Second
	// maxEnds bounds those that wait, one per device. Above it a device stays
	// "connected" until its next session or this collector's next start.
	maxEnds = 200_000
)

// ends are the ends of sessions that the store did not take: without them a
// device that never comes back would be "connected" for good.
type ends struct {
	mu sync.Mutex
	// below is guarded by mu
	open map[string]ending // by device
}

// ending is the end of a device's session.
type ending struct {
	device access.Caller
	number int64
}

func (e *ends) add(s *session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if known, ok := e.open[s.peer.Device]; !ok && len(e.open) >= maxEnds || known.number > s.number {
		return
	}
	e.open[s.peer.Device] = ending{s.device, s.number}
}

// done takes an end out, unless a later one of the same device came meanwhile.
func (e *ends) done(device string, end ending) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.open[device].number == end.number {
		delete(e.open, device)
	}
}

func (e *ends) all() map[string]ending {
	e.mu.Lock()
	defer e.mu.Unlock()
	open := make(map[string]ending, len(e.open))
	for device, end := range e.open {
		open[device] = end
	}
	return open
}

// storeEnds tries again what the store did not take, until it refuses again. One
// that is over by a newer session changes nothing (health.End).
func (g *Gateway) storeEnds(ctx context.Context) {
	for device, end := range g.ends.all() {
		if err := g.cfg.Health.End(ctx, end.device, end.number); err != nil {
			return
		}
		g.ends.done(device, end)
		g.disconnected(device, end.device)
	}
}

// disconnected tells the pages, after the store knows it.
func (g *Gateway) disconnected(device string, caller access.Caller) {
	if g.presence.has(device) {
		return
	}
	e := bus.Event{Kind: bus.Disconnected, Device: device}
	if len(caller.Owners) == 1 {
		e.Owner = caller.Owners[0]
	}
	g.cfg.Bus.Publish(e)
}
