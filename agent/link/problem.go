package link

import (
	"errors"

	"hausmeister/agent/link/path"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
)

// Problem is the code of what is in the way; the programs have the words.
type Problem string

const (
	NoProblem      Problem = ""
	NotEnrolled    Problem = "not_enrolled"
	Unreachable    Problem = "collector_unreachable"
	Lost           Problem = "connection_lost"
	Inspected      Problem = "connection_inspected" // somebody else's certificate: Detail names its issuer
	WrongCollector Problem = "collector_name"       // ours, but for another name
	StaleCollector Problem = "collector_expired"
	Busy           Problem = "come_back"
	OutOfOrder     Problem = "collector_fault" // it said what it may not say
	Elsewhere      Problem = "replaced"        // another session of this device took over
	VersionRefused Problem = "version_refused"
	Revoked        Problem = "revoked"
	UnknownDevice  Problem = "device_unknown"
	Foreign        Problem = "certificate_foreign"
	Expired        Problem = "certificate_expired"
	TooOld         Problem = "certificate_too_old" // expired too long ago to renew
	Copied         Problem = "device_copied"       // an older connection epoch than the collector knows
	DiskTrouble    Problem = "state_unwritable"
	NoName         Problem = "name_not_found"
	Portal         Problem = "captive_portal"
	ProxyLogin     Problem = "proxy_needs_login"
	ProxyRefused   Problem = "proxy_refused"
	UDPBlocked     Problem = "udp_blocked" // a session is there, but not over QUIC; only in Path
)

// NeedsHelp says whether trying again is of no use until somebody did something.
func (p Problem) NeedsHelp() bool {
	switch p {
	case NotEnrolled, VersionRefused, Revoked, UnknownDevice, Foreign, TooOld, Copied:
		return true
	}
	return false
}

var problems = map[hmpb.Code]Problem{
	hmpb.Code_CODE_NORMAL:              Lost,
	hmpb.Code_CODE_LOST:                Lost,
	hmpb.Code_CODE_TIMEOUT:             Lost,
	hmpb.Code_CODE_SHUTTING_DOWN:       Busy,
	hmpb.Code_CODE_COME_BACK:           Busy,
	hmpb.Code_CODE_INTERNAL:            Busy,
	hmpb.Code_CODE_STORE_UNAVAILABLE:   Busy,
	hmpb.Code_CODE_TOO_MANY_STREAMS:    Busy,
	hmpb.Code_CODE_VERSION_TOO_OLD:     VersionRefused,
	hmpb.Code_CODE_VERSION_TOO_NEW:     VersionRefused,
	hmpb.Code_CODE_NO_CERTIFICATE:      Foreign,
	hmpb.Code_CODE_FOREIGN_CERTIFICATE: Foreign,
	hmpb.Code_CODE_CERTIFICATE_EXPIRED: Expired,
	hmpb.Code_CODE_REVOKED:             Revoked,
	hmpb.Code_CODE_UNKNOWN_DEVICE:      UnknownDevice,
	hmpb.Code_CODE_EPOCH_REPLAY:        Copied,
	hmpb.Code_CODE_REPLACED:            Elsewhere,
	hmpb.Code_CODE_MALFORMED_FRAME:     OutOfOrder,
	hmpb.Code_CODE_FRAME_TOO_LONG:      OutOfOrder,
	hmpb.Code_CODE_WRONG_ORDER:         OutOfOrder,
}

var obstacles = map[path.Obstacle]Problem{
	path.NoName:       NoName,
	path.Portal:       Portal,
	path.ProxyLogin:   ProxyLogin,
	path.ProxyRefused: ProxyRefused,
}

// ofTheNetwork says whether a problem is one of the network that the device is in.
func (p Problem) ofTheNetwork() bool {
	switch p {
	case NoName, Portal, ProxyLogin, ProxyRefused, UDPBlocked, Inspected, Unreachable:
		return true
	}
	return false
}

// problemOf finds the code for an error; otherwise is for those without one.
func problemOf(err error, otherwise Problem) Problem {
	var inspected *ident.InspectionError
	if p, ok := obstacles[path.ObstacleIn(err)]; ok {
		return p
	}
	switch {
	case errors.As(err, &inspected):
		return Inspected
	case errors.Is(err, ident.ErrServerName):
		return WrongCollector
	case errors.Is(err, ident.ErrServerExpired):
		return StaleCollector
	}
	if p, ok := problems[wire.CodeOf(err)]; ok {
		return p
	}
	return otherwise
}
