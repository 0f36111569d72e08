//go:build unix

package wake

import (
	"errors"

	"golang.org/x/sys/unix"
)

// EMSGSIZE is not among them: QUIC learns the path's packet size from it.
var transientErrors = []error{
	unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.EHOSTDOWN, unix.EADDRNOTAVAIL, unix.ENOBUFS,
	unix.ENODEV, // the adapter was just unplugged
	unix.EPERM,  // a packet filter dropped it on the way out
}

func transient(err error) bool {
	for _, t := range transientErrors {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}
