package web

import (
	"context"
	"errors"
	"time"

	"hausmeister/collector/access"
	"hausmeister/proto/hmpb"
)

// Until access, fleet and health have landed whole, these stand for them.

var (
	ErrSignIn    = errors.New("sign-in refused")
	ErrNoSession = errors.New("no session")
)

type SlowDown struct{ RetryAfter time.Duration }

func (e *SlowDown) Error() string { return "slow down" }

type Session struct {
	Caller  access.Caller
	Expires time.Time
}

type Accounts interface {
	SignIn(ctx context.Context, name, password string) (secret string, expires time.Time, err error)
	Session(ctx context.Context, secret string) (Session, error)
	SignOut(ctx context.Context, secret string) error
	Token(ctx context.Context, bearer string) (access.Caller, error)
}

type State string

type Filter struct {
	Query  string
	State  State
	School string
	Cursor string
	Limit  int
}

type Device struct {
	ID, Inventory, Serial, Manufacturer, Model, OS string
	Owner, OwnerName, School, SchoolName           string
	State                                          State
	LastDay                                        string
	Battery, DiskFree                              *int64
}

type Page struct {
	Items  []Device
	Total  int64
	Cursor string
}

type School struct{ ID, Code, Name, OwnerName string }

type Fleet interface {
	List(ctx context.Context, c access.Caller, f Filter) (Page, error)
	Counts(ctx context.Context, c access.Caller) (map[State]int64, error)
	Device(ctx context.Context, c access.Caller, id string) (Device, error)
	Schools(ctx context.Context, c access.Caller, query string, limit int) ([]School, error)
}

type Latest struct {
	Readings []*hmpb.Reading
}

type Health interface {
	Latest(ctx context.Context, c access.Caller, id string) (Latest, error)
}
