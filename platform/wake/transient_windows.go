package wake

import (
	"errors"

	"golang.org/x/sys/windows"
)

// WSAEMSGSIZE is not among them: QUIC learns the path's packet size from it.
// WSAECONNRESET on a datagram socket is an ICMP "port unreachable" of earlier.
var transientErrors = []error{
	windows.WSAENETUNREACH, windows.WSAEHOSTUNREACH, windows.WSAENETDOWN, windows.WSAEHOSTDOWN, windows.WSAEADDRNOTAVAIL,
	windows.WSAENOBUFS, windows.WSAENETRESET, windows.WSAECONNRESET,
	windows.WSAEACCES, // a packet filter dropped it on the way out
}

func transient(err error) bool {
	for _, t := range transientErrors {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}
