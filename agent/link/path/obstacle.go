package path

import (
	"errors"
	"fmt"

	"hausmeister/proto/ident"
)

// Obstacle is the code of what is in the way; the programs have the words.
type Obstacle string

const (
	NoName       Obstacle = "name_not_found"    // the collector's name has no address
	ProxyLogin   Obstacle = "proxy_needs_login" // 407
	ProxyRefused Obstacle = "proxy_refused"     // any other no of a proxy
	Portal       Obstacle = "captive_portal"    // a page to sign in at answers in the collector's place
)

// Error is a try that met an obstacle.
type Error struct {
	Obstacle Obstacle
	Proxy    string // HOST:PORT of the proxy that said so, if one did
	Err      error
}

func (e *Error) Error() string {
	if e.Proxy != "" {
		return fmt.Sprintf("proxy %s: %v", e.Proxy, e.Err)
	}
	return e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// answered is an error of a connection that came about and was ended by whoever
// was at its other end, before it was a session.
type answered struct{ err error }

func (a *answered) Error() string { return a.err.Error() }
func (a *answered) Unwrap() error { return a.err }

// met finds the obstacles in a tree of errors; errors.As gives only the first.
func met(err error, found map[Obstacle]*Error) {
	var e *Error
	switch {
	case err == nil:
		return
	case errors.As(err, &e) && err == error(e):
		found[e.Obstacle] = e
		return
	}
	switch u := err.(type) {
	case interface{ Unwrap() []error }:
		for _, inner := range u.Unwrap() {
			met(inner, found)
		}
	case interface{ Unwrap() error }:
		met(u.Unwrap(), found)
	}
}

// ObstacleIn names the obstacle that explains an error best, "" for none. A
// portal explains everything else, an inspected connection (an
// *ident.InspectionError, which has no Obstacle here) more than a proxy's no,
// and a missing name the least: behind a proxy it is no obstacle at all.
func ObstacleIn(err error) Obstacle {
	found := map[Obstacle]*Error{}
	met(err, found)
	var inspected *ident.InspectionError
	switch {
	case found[Portal] != nil:
		return Portal
	case errors.As(err, &inspected):
		return ""
	}
	for _, o := range []Obstacle{ProxyLogin, ProxyRefused, NoName} {
		if found[o] != nil {
			return o
		}
	}
	return ""
}
