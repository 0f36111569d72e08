package health

import (
	"time"

	"hausmeister/platform/sysinfo"
	"hausmeister/proto/reading"
)

// Facts is what the agent knows of itself and no source can read.
type Facts struct {
	// Path of the present session, a code of collector_path; empty without one.
	Path string
	// Trouble is a code of network_trouble; empty when nobody knows.
	Trouble string
	// InspectionIssuer is who opens the network's TLS connections, as its own
	// certificate names it; empty for nobody.
	InspectionIssuer string
	// ClockOffset is collector's clock minus device's, as of Heard by the
	// device's clock; Heard is zero before the first word of the collector.
	ClockOffset time.Duration
	Heard       time.Time
	// SpoolWaiting entries are not acknowledged; SpoolDropped were given up
	// untold since the start; SpoolFailing says that the last was not stored.
	SpoolWaiting, SpoolDropped uint64
	SpoolFailing               bool
	// SpoolLost counts what was given up or damaged since the start and may have been
	// a finding or a list of programs: the collector cannot be brought to the present
	// state by what is told from now on.
	SpoolLost uint64
	// Store names the collector's store as last heard; nil before the first time.
	Store []byte
}

// own is the agent's part of a look.
type own struct {
	facts    Facts
	offset   sysinfo.Opt[time.Duration]
	software sysinfo.Opt[int64]
	waiting  sysinfo.Opt[int64] // in the spool
}

// own tells nothing of what nobody knows: no absence, since there is no reason.
func (l *list) own(o own) {
	l.number(reading.ClockOffset, "", convert(o.offset, time.Duration.Milliseconds))
	l.number(reading.SoftwareCount, "", o.software)
	text(l, reading.CollectorPath, "", known(o.facts.Path))
	text(l, reading.NetworkTrouble, "", known(o.facts.Trouble))
	text(l, reading.InspectionIssuer, "", known(o.facts.InspectionIssuer))
	l.number(reading.SpoolWaiting, "", o.waiting)
}

func known(s string) sysinfo.Opt[string] {
	if s == "" {
		return sysinfo.Opt[string]{}
	}
	return sysinfo.Some(s)
}
