package wake

import "time"

// Event is what happened since the event before.
type Event struct {
	// Network: addresses, links or the default route changed.
	Network bool
	// Slept is how long the machine slept; 0 if it did not.
	Slept time.Duration
}

// Transient says whether an error of sending a datagram means only that it could
// not be sent now: no route, no network, address gone, buffers full. Such a
// datagram is as good as lost on the way.
func Transient(err error) bool { return transient(err) }

// Network describes the network that this machine is in: adapters, prefixes and,
// where the system tells them, routers, so that two homes with the same private
// prefix differ. It is the same each time that the machine comes there, says
// where somebody is, and so may be kept only as a hash and told to nobody.
func Network() (string, error) { return newSystem().place() }
