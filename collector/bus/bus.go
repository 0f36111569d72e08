// Package bus tells parts of one collector what just happened: a device's
// state changed, a credential was revoked. It carries hints, not data: the
// truth is in the database, an event only says when to look.
//
// Publishing never waits. A subscription is a bounded queue; when its reader
// falls behind, new events for it are dropped and Lagged says so, upon which
// the reader looks at everything anew. Nothing survives a crash and nothing
// needs to. Several collectors will share one bus over NATS, in this package.
package bus

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hausmeister/proto/hmpb"
)

// Kind is what happened.
type Kind int

const (
	Changed      Kind = iota + 1 // new state of a device is stored
	Revoked                      // a credential was revoked: live sessions end
	Connected                    // a device's session was admitted
	Disconnected                 // its last session ended
	Settings                     // what the device should do was changed
	Watch                        // somebody looks at the device: see Event.Flush and Event.Live
	Noted                        // something happened to a device that somebody may want to hear of
	Sample                       // a live sample of the device came: see Event.Live
	Offers                       // what a device, an owner's or all may install was changed
	Repository                   // the signed metadata became newer
)

func (k Kind) String() string {
	names := [...]string{"", "changed", "revoked", "connected", "disconnected", "settings", "watch", "noted", "sample", "offers", "repository"}
	if k < 1 || int(k) >= len(names) {
		return "unknown"
	}
	return names[k]
}

// Event says what happened to which device.
type Event struct {
	Kind       Kind
	Device     string
	Owner      string // of the device, where the publisher knows it
	Credential string // of Revoked: only this one; empty = all of the device
	// Of Watch: the device is to report its running block; and to sample each
	// second until then, for whoever watches. The zero time ends nothing: live
	// mode ends when nobody asks again.
	Flush bool
	Live  time.Time
	// Readings of Sample. They are the one thing that goes over the bus itself,
	// because it is stored nowhere; nobody changes them.
	Readings []*hmpb.Reading
}

// queue is how many events a subscription holds. A page's reader needs a few;
// the gateway's revocations must survive a burst of a revoked school.
const queue = 256

// Bus connects publishers and subscribers. The zero value is not usable.
type Bus struct {
	mu sync.RWMutex
	// below is guarded by mu
	subs map[*Subscription]struct{}
}

// New makes an empty bus.
func New() *Bus { return &Bus{subs: map[*Subscription]struct{}{}} }

// Subscription is one reader's queue.
type Subscription struct {
	// C gives the events in the order of publishing. It is never closed; a
	// reader also watches its own context.
	C <-chan Event

	c      chan Event
	kinds  []Kind // empty = all
	bus    *Bus
	lagged atomic.Bool
}

// Subscribe opens a queue for events of these kinds, of all kinds without
// any. The caller closes it.
func (b *Bus) Subscribe(kinds ...Kind) *Subscription {
	c := make(chan Event, queue)
	s := &Subscription{C: c, c: c, kinds: slices.Clone(kinds), bus: b}
	b.mu.Lock()
	b.subs[s] = struct{}{}
	b.mu.Unlock()
	return s
}

// Publish hands e to every subscription that has room, and never waits.
func (b *Bus) Publish(e Event) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for s := range b.subs {
		if len(s.kinds) > 0 && !slices.Contains(s.kinds, e.Kind) {
			continue
		}
		select {
		case s.c <- e:
		default:
			s.lagged.Store(true)
		}
	}
}

// Lagged says whether events were dropped since it was last asked. A reader
// that gets true looks at the database instead of waiting for what it missed.
// It asks after each event: a drop means that the queue was full, so there
// always is a next one.
func (s *Subscription) Lagged() bool { return s.lagged.Swap(false) }

// Close ends the subscription; it may be called more than once.
func (s *Subscription) Close() {
	s.bus.mu.Lock()
	delete(s.bus.subs, s)
	s.bus.mu.Unlock()
}
