package access

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Kind says what sort of party asks.
type Kind string

const (
	KindUser   Kind = "user"   // a person with a session
	KindToken  Kind = "token"  // a program with an API token
	KindDevice Kind = "device" // a device, by its certificate
	KindSystem Kind = "system" // a part of the collector, or its operator at the admin socket
)

// Role is what a person or a token may do.
type Role string

const (
	RoleAdmin   Role = "admin"
	RoleRelease Role = "release" // takes new versions over the fleet
	RoleSupport Role = "support"
	RoleRead    Role = "read"
)

// Roles are all roles, the mightiest first.
var Roles = []Role{RoleAdmin, RoleRelease, RoleSupport, RoleRead}

// Permission is one thing that a Caller may or may not do.
type Permission string

const (
	ReadDevices   Permission = "devices.read"   // list, state, and what the list says about days
	WriteDevices  Permission = "devices.write"  // inventory number, labels, school
	RevokeDevices Permission = "devices.revoke" // end a device's credentials
	LookDevices   Permission = "devices.look"   // with a reason, see a device finer than by the day
	QuietFindings Permission = "findings.quiet" // with a reason, say that somebody takes care of a finding
	ReadSchools   Permission = "schools.read"
	WriteSchools  Permission = "schools.write"
	ReadClaims    Permission = "claims.read"
	WriteClaims   Permission = "claims.write"
	WriteSettings Permission = "settings.write" // what devices of an owner should do
	ReadUsers     Permission = "users.read"
	WriteUsers    Permission = "users.write" // users and API tokens
	ReadAudit     Permission = "audit.read"
	ReadMetrics   Permission = "metrics.read"
	Operate       Permission = "operate"       // backup, and other care of the collector
	SendReports   Permission = "reports.send"  // as a device, about itself
	RenewOwn      Permission = "renewal.own"   // as a device, its own certificate
	EnrolDevices  Permission = "devices.enrol" // admit a device that showed a claim
	ReadRollouts  Permission = "rollouts.read" // releases, rings, and why a device is not current
	RunRollouts   Permission = "rollouts.run"  // import, start, promote, halt
	FetchUpdates  Permission = "updates.fetch" // as a device, for itself
)

// Permissions are all permissions.
var Permissions = []Permission{ReadDevices, WriteDevices, RevokeDevices, LookDevices, QuietFindings, ReadSchools, WriteSchools, ReadClaims, WriteClaims,
	WriteSettings, ReadUsers, WriteUsers, ReadAudit, ReadMetrics, Operate, SendReports, RenewOwn, EnrolDevices, ReadRollouts, RunRollouts, FetchUpdates}

// granted is the whole table; testdata/permissions.golden shows it.
func granted(kind Kind, role Role, p Permission) bool {
	switch kind {
	case KindSystem:
		return slices.Contains(Permissions, p)
	case KindDevice:
		return p == SendReports || p == RenewOwn || p == FetchUpdates
	case KindUser, KindToken:
	default:
		return false
	}
	switch role {
	case RoleAdmin:
		return p != SendReports && p != RenewOwn && p != EnrolDevices && p != FetchUpdates && slices.Contains(Permissions, p)
	case RoleRelease:
		return p == RunRollouts || granted(kind, RoleRead, p)
	case RoleSupport:
		return p == WriteDevices || p == LookDevices || p == QuietFindings || p == ReadClaims || granted(kind, RoleRead, p)
	case RoleRead:
		return p == ReadDevices || p == ReadSchools || p == ReadMetrics || p == ReadRollouts
	}
	return false
}

var (
	// ErrForbidden: the caller may not do this at all, whatever it is about.
	ErrForbidden = errors.New("not allowed")
	// ErrNotFound: there is no such thing, or it is another owner's; the
	// caller cannot tell which.
	ErrNotFound = errors.New("not found")
)

// Caller is who asks. Every data function takes one. The zero Caller may do
// nothing and sees nobody's data.
type Caller struct {
	Kind   Kind
	ID     string   // of the user, token or device; the part's name for the system
	Name   string   // for pages: the user's login or the token's name
	Role   Role     // of users and tokens
	Owners []string // whose data it may see; nil = everybody's
}

// System is a part of the collector that acts by itself.
func System(name string) Caller { return Caller{Kind: KindSystem, ID: name, Name: name} }

// ForDevice is an authenticated device; it sees data of its owner only.
func ForDevice(id, owner string) Caller {
	return Caller{Kind: KindDevice, ID: id, Owners: []string{owner}}
}

// Allow returns nil or ErrForbidden.
func (c Caller) Allow(p Permission) error {
	if granted(c.Kind, c.Role, p) {
		return nil
	}
	return fmt.Errorf("%w: %s for %s", ErrForbidden, p, c.Actor())
}

// Actor is the caller's name in the audit record.
func (c Caller) Actor() string {
	if c.Kind == "" {
		return "nobody"
	}
	return string(c.Kind) + ":" + c.ID
}

// Sees says whether data of this owner is within the caller's scope. What it
// does not see is ErrNotFound to it.
func (c Caller) Sees(owner string) bool {
	return c.Kind != "" && (c.Owners == nil || slices.Contains(c.Owners, owner))
}

// Scope gives the SQL condition that keeps a query within the caller's owners:
// column names the owner's id, next is the number of the first free parameter.
//
//	where, args := caller.Scope("d.owner_id", 3) // "d.owner_id IN ($3, $4)"
func (c Caller) Scope(column string, next int) (where string, args []any) {
	switch {
	case c.Kind == "":
		return "1 = 0", nil
	case c.Owners == nil:
		return "1 = 1", nil
	case len(c.Owners) == 0:
		return "1 = 0", nil
	}
	params := make([]string, len(c.Owners))
	for i, owner := range c.Owners {
		params[i] = fmt.Sprintf("$%d", next+i)
		args = append(args, owner)
	}
	return column + " IN (" + strings.Join(params, ", ") + ")", args
}
