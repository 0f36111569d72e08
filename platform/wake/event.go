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
