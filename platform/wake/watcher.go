package wake

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"hausmeister/platform/supervise"
)

const (
	// Changes come in bursts (link, address, route): told when it is quiet for
	// settle, and anyway after settleMost.
	settle     = 500 * time.Millisecond
	settleMost = 2 * time.Second
	// Where the system tells of nothing, this often is looked.
	lookEvery = time.Minute
	// The clocks from which sleep is reckoned are read one after the other.
	leastSleep = 2 * time.Second
)

// A Watcher tells of sleep and of changes of the network.
type Watcher struct {
	events chan Event // holds one: what was not taken is merged
	system system
	pulse  *Pulse
}

// system is what the operating system knows, or a test.
type system interface {
	// open begins the notices; each on hints asks for a look, gone if something
	// was lost in between, even if it is back already.
	open(hints chan<- hint) (*notices, error)
	// slept is how long the machine slept since it was started.
	slept() (time.Duration, error)
	// network describes addresses, links and default routes; two descriptions
	// are only ever compared, and stay in memory.
	network() (string, error)
	// place describes the network that the machine is in, alike each time that
	// it comes there: without what is only lent to it for a day.
	place() (string, error)
}

// notices are the subscriptions at the operating system: loops that deliver
// hints until close is called, which makes each return nil.
type notices struct {
	loops []func() error
	close func()
}

type hint struct{ gone bool }

// NewWatcher makes a Watcher of this machine, which looks with pulse where the
// system tells of nothing.
func NewWatcher(pulse *Pulse) *Watcher { return newWatcher(newSystem(), pulse) }

func newWatcher(s system, pulse *Pulse) *Watcher {
	return &Watcher{events: make(chan Event, 1), system: s, pulse: pulse}
}

// Events gives what happened, for one reader; events that it does not take in
// time become one.
func (w *Watcher) Events() <-chan Event { return w.events }

// Run watches until ctx ends.
func (w *Watcher) Run(ctx context.Context, ready func()) error {
	hints := make(chan hint, 16)
	n, err := w.system.open(hints)
	if err != nil {
		return fmt.Errorf("asking for notices of network and sleep: %w", err)
	}
	crew := supervise.NewCrew(context.WithoutCancel(ctx), len(n.loops))
	ended := make(chan error, len(n.loops))
	for _, loop := range n.loops {
		_ = crew.Go(func(context.Context) { ended <- loop() }) // it has a place: no error
	}
	defer crew.Wait()
	defer n.close()

	slept, network, err := w.look()
	if err != nil {
		return err
	}
	ready()
	tick := w.pulse.Timer(lookEvery)
	defer tick.Stop()
	for {
		h := hint{}
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return fmt.Errorf("waiting for notices of network and sleep: %w", err)
		case <-tick.C:
			tick.Again()
		case h = <-hints:
			if h.gone, err = gather(ctx, hints, h.gone); err != nil {
				return nil
			}
		}
		s, net, err := w.look()
		if err != nil {
			return err
		}
		e := Event{Network: h.gone || net != network}
		if d := s - slept; d >= leastSleep {
			e.Slept = d
		}
		slept, network = s, net
		if e != (Event{}) {
			w.tell(e)
		}
	}
}

// gather waits for the end of a burst.
func gather(ctx context.Context, hints <-chan hint, gone bool) (bool, error) {
	most := time.NewTimer(settleMost)
	defer most.Stop()
	quiet := time.NewTimer(settle)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return gone, ctx.Err()
		case h := <-hints:
			gone = gone || h.gone
			quiet.Reset(settle)
		case <-quiet.C:
			return gone, nil
		case <-most.C:
			return gone, nil
		}
	}
}

func (w *Watcher) look() (time.Duration, string, error) {
	s, err := w.system.slept()
	if err != nil {
		return 0, "", fmt.Errorf("reading the clocks: %w", err)
	}
	n, err := w.system.network()
	if err != nil {
		return 0, "", fmt.Errorf("listing addresses: %w", err)
	}
	return s, n, nil
}

// tell hands over an event, merged with one that was not taken.
func (w *Watcher) tell(e Event) {
	select {
	case old := <-w.events:
		e = Event{Network: e.Network || old.Network, Slept: e.Slept + old.Slept}
	default:
	}
	w.events <- e // has room: this is the only sender
}

// send gives a hint without waiting: a full channel already asks for a look.
func send(hints chan<- hint, h hint) {
	select {
	case hints <- h:
	default:
	}
}

// addresses describes adapters that run, with their usable addresses.
func addresses() (string, error) {
	return adapters(func(ip *net.IPNet) string { return ip.String() })
}

// prefixes describes the same adapters by the networks that they are in.
func prefixes() (string, error) {
	return adapters(func(ip *net.IPNet) string { return (&net.IPNet{IP: ip.IP.Mask(ip.Mask), Mask: ip.Mask}).String() })
}

func adapters(say func(*net.IPNet) string) (string, error) {
	adapters, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	var all []string
	for _, a := range adapters {
		if a.Flags&net.FlagLoopback != 0 || a.Flags&net.FlagRunning == 0 {
			continue
		}
		addrs, err := a.Addrs()
		if err != nil {
			continue // gone since it was listed
		}
		for _, addr := range addrs {
			if ip, ok := addr.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() {
				all = append(all, a.Name+" "+say(ip))
			}
		}
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), "\n"), nil
}
