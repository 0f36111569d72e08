package link

import "hausmeister/agent/link/path"

// Path is how the device reaches its collector, for its state.
type Path struct {
	// Transport of the present session: "quic", "tcp", "tcp_proxy"; "" without one.
	Transport string
	// Obstacle is what the network has against a session, or against one over
	// QUIC; NoProblem when nothing is in the way.
	Obstacle Problem
	// InspectionIssuer calls by its own name who opened our connections lately,
	// in this network or in another; InspectedDay (YYYY-MM-DD by the device's
	// clock) is when that was.
	InspectionIssuer, InspectedDay string
}

// Path is how the device reaches its collector now.
func (l *Link) Path() Path {
	st := l.Status()
	p := Path{Transport: st.Transport}
	switch {
	case st.Transport == "tcp" || st.Transport == path.TCPProxy:
		p.Obstacle = UDPBlocked
	case st.State != Connected && st.Problem.ofTheNetwork():
		p.Obstacle = st.Problem
	}
	if l.c.Ways != nil {
		seen := l.c.Ways.Inspection()
		p.InspectionIssuer, p.InspectedDay = seen.Issuer, seen.Day
	}
	return p
}
