package web

import (
	"context"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
)

// Accounts says who somebody is; *access.Service.
type Accounts interface {
	SignIn(ctx context.Context, login, password string) (secret string, expires time.Time, err error)
	Session(ctx context.Context, secret string) (access.Session, error)
	Rotate(ctx context.Context, secret string) (string, time.Time, error)
	SignOut(ctx context.Context, secret string) error
	Token(ctx context.Context, bearer string) (access.Caller, error)
}

// Fleet knows the devices and schools that a caller may see; *fleet.Fleet.
type Fleet interface {
	List(ctx context.Context, caller access.Caller, filter fleet.Filter) (fleet.Page, error)
	Counts(ctx context.Context, caller access.Caller, filter fleet.Filter) (fleet.Counts, error)
	Device(ctx context.Context, caller access.Caller, id string) (fleet.Device, error)
	Schools(ctx context.Context, caller access.Caller) ([]fleet.School, error)
}

// Health knows what devices told; *health.Health.
type Health interface {
	Latest(ctx context.Context, caller access.Caller, device string) (health.Latest, error)
	History(ctx context.Context, caller access.Caller, device string, span health.Span) (health.History, error)
	Findings(ctx context.Context, caller access.Caller, device string) ([]health.Finding, error)
	Inventory(ctx context.Context, caller access.Caller, device string) (health.Inventory, error)
	OpenLook(ctx context.Context, caller access.Caller, device, reason string) (health.Look, error)
	Looks(ctx context.Context, caller access.Caller, device string) ([]health.Look, error)
	Looking(ctx context.Context, caller access.Caller, device string) (until time.Time, err error)
}
