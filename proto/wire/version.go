package wire

import (
	"fmt"

	"hausmeister/proto/hmpb"
)

// ALPN is the application protocol of every session, on UDP and on TCP. Its
// number changes only when even the control stream could not be understood.
const ALPN = "hausmeister/1"

// VersionMin and VersionMax are the protocol versions that this build speaks;
// what each means is in PROTOCOL.md. A collector speaks its newest and the
// three before.
const (
	VersionMin uint32 = 1
	VersionMax uint32 = 1
)

// Negotiate returns the highest version that a peer speaking theirMin to
// theirMax shares with this build. The error is an *Error with
// CODE_VERSION_TOO_OLD or CODE_VERSION_TOO_NEW, seen from the peer: its
// versions are too old or too new for us; or CODE_MALFORMED_FRAME when the
// range is none.
func Negotiate(theirMin, theirMax uint32) (uint32, error) {
	return negotiate(theirMin, theirMax, VersionMin, VersionMax)
}

func negotiate(theirMin, theirMax, ourMin, ourMax uint32) (uint32, error) {
	refuse := func(code hmpb.Code) error {
		return &Error{Code: code, Text: fmt.Sprintf("peer speaks versions %d to %d, this build %d to %d", theirMin, theirMax, ourMin, ourMax)}
	}
	switch {
	case theirMin == 0 || theirMin > theirMax:
		return 0, refuse(hmpb.Code_CODE_MALFORMED_FRAME)
	case theirMax < ourMin:
		return 0, refuse(hmpb.Code_CODE_VERSION_TOO_OLD)
	case theirMin > ourMax:
		return 0, refuse(hmpb.Code_CODE_VERSION_TOO_NEW)
	}
	return min(theirMax, ourMax), nil
}
