package web

import (
	"context"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/enroll"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	questions "hausmeister/collector/question"
)

// Accounts says who somebody is; *access.Service.
type Accounts interface {
	SignIn(ctx context.Context, login, password, agent string) (secret string, expires time.Time, err error)
	Session(ctx context.Context, secret string) (access.Session, error)
	Rotate(ctx context.Context, secret string) (string, time.Time, error)
	SignOut(ctx context.Context, secret string) error
	Token(ctx context.Context, bearer string) (access.Caller, error)

	Users(ctx context.Context, caller access.Caller) ([]access.User, error)
	User(ctx context.Context, caller access.Caller, idOrLogin string) (access.User, error)
	CreateUser(ctx context.Context, caller access.Caller, u access.NewUser) (access.User, error)
	SetRole(ctx context.Context, caller access.Caller, idOrLogin string, n access.NewRole) error
	SetPassword(ctx context.Context, caller access.Caller, idOrLogin, password string) error
	ChangePassword(ctx context.Context, caller access.Caller, old, password, keep string) error
	DisableUser(ctx context.Context, caller access.Caller, idOrLogin string) error
	EnableUser(ctx context.Context, caller access.Caller, idOrLogin string) error
	Sessions(ctx context.Context, caller access.Caller, user string) ([]access.OpenSession, error)
	EndSession(ctx context.Context, caller access.Caller, user, id string) error
	EndSessions(ctx context.Context, caller access.Caller, user, keep string) error
	Tokens(ctx context.Context, caller access.Caller) ([]access.Token, error)
	CreateToken(ctx context.Context, caller access.Caller, t access.NewToken) (secret string, token access.Token, err error)
	RevokeToken(ctx context.Context, caller access.Caller, idOrName string) error
	Once(ctx context.Context, caller access.Caller, key string, request []byte, do func() (access.Answer, error)) (access.Answer, error)
	Choice(ctx context.Context, caller access.Caller, name string) (string, error)
	SetChoices(ctx context.Context, caller access.Caller, choices map[string]string) error
	SetChoice(ctx context.Context, caller access.Caller, name, value string) error
	House(ctx context.Context) (access.House, error)
	SetHouse(ctx context.Context, caller access.Caller, change func(*access.House)) error
	DeviceLog(ctx context.Context, caller access.Caller, device string, before time.Time, limit int) ([]audit.Entry, error)
	AuditLog(ctx context.Context, caller access.Caller, f audit.Filter) ([]audit.Entry, error)
	CountAudit(ctx context.Context, caller access.Caller, f audit.Filter) (int64, error)
	CountDeviceLog(ctx context.Context, caller access.Caller, device string) (int64, error)
	AuditState(ctx context.Context, caller access.Caller) (access.AuditState, error)
}

// Claims keeps what admits devices, and revokes it; *enroll.Enroll.
type Claims interface {
	LatestClaims(ctx context.Context, caller access.Caller, before string, limit int) ([]enroll.Claim, error)
	CountClaims(ctx context.Context, caller access.Caller) (int64, error)
	Claim(ctx context.Context, caller access.Caller, id string) (enroll.Claim, error)
	SomeClaims(ctx context.Context, caller access.Caller, ids []string) ([]enroll.Claim, error)
	CreateClaim(ctx context.Context, caller access.Caller, n enroll.NewClaim) (c enroll.Claim, text string, err error)
	RevokeClaim(ctx context.Context, caller access.Caller, id string) error
	RevokeDevice(ctx context.Context, caller access.Caller, device, reason string) error
}

// Fleet knows the devices and schools that a caller may see; *fleet.Fleet.
type Fleet interface {
	List(ctx context.Context, caller access.Caller, filter fleet.Filter) (fleet.Page, error)
	Counts(ctx context.Context, caller access.Caller, filter fleet.Filter) (fleet.Counts, error)
	Total(ctx context.Context, caller access.Caller) (int64, error)
	Device(ctx context.Context, caller access.Caller, id string) (fleet.Device, error)
	FindDevice(ctx context.Context, caller access.Caller, name string) (string, error)
	SearchSchools(ctx context.Context, caller access.Caller, query string, limit int) (some []fleet.School, all int, err error)
	FindSchool(ctx context.Context, caller access.Caller, code string) (fleet.School, error)
	Schools(ctx context.Context, caller access.Caller) ([]fleet.School, error)
	Owners(ctx context.Context, caller access.Caller) ([]fleet.Owner, error)
	OpenFindings(ctx context.Context, caller access.Caller) ([]fleet.CodeCount, error)
	OpenFinding(ctx context.Context, caller access.Caller, code string) (c fleet.CodeCount, ok bool, err error)
	School(ctx context.Context, caller access.Caller, id string) (fleet.School, error)
	ChangeSchool(ctx context.Context, caller access.Caller, id string, change func(*fleet.School)) (fleet.School, error)
	RenameOwner(ctx context.Context, caller access.Caller, id, name string) (fleet.Owner, error)
	Ways(ctx context.Context, caller access.Caller, school string) (fleet.Ways, error)
	SchoolFindings(ctx context.Context, caller access.Caller, school string) ([]fleet.CodeCount, error)
	SchoolStates(ctx context.Context, caller access.Caller, filter fleet.SchoolFilter) (fleet.SchoolPage, error)
	Spread(ctx context.Context, caller access.Caller, filter fleet.Filter, by fleet.Dimension) ([]fleet.Share, error)
	Spreads(ctx context.Context, caller access.Caller, filter fleet.Filter) (map[fleet.Dimension][]fleet.Share, error)
	Devices(ctx context.Context, caller access.Caller, ids []string) ([]fleet.Device, error)

	Views(ctx context.Context, caller access.Caller) ([]fleet.View, error)
	View(ctx context.Context, caller access.Caller, name string) (fleet.View, error)
	SaveView(ctx context.Context, caller access.Caller, v fleet.View) (fleet.View, error)
	ChangeView(ctx context.Context, caller access.Caller, id string, change func(*fleet.View)) (fleet.View, error)
	DeleteView(ctx context.Context, caller access.Caller, id string) error
	RestoreView(ctx context.Context, caller access.Caller, id string) (fleet.View, error)

	Labels(ctx context.Context, caller access.Caller) ([]fleet.LabelCount, error)
	LabelNames(ctx context.Context, caller access.Caller) ([]string, error)
	Models(ctx context.Context, caller access.Caller) ([]string, error)
	Builds(ctx context.Context, caller access.Caller) ([]string, error)
	SetLabel(ctx context.Context, caller access.Caller, device, label string, held bool) error
	StartJob(ctx context.Context, caller access.Caller, n fleet.NewJob) (fleet.Job, error)
	UndoJob(ctx context.Context, caller access.Caller, id string) (fleet.Job, error)
	UndoQuiet(ctx context.Context, caller access.Caller, act string) (fleet.Job, error)
	Job(ctx context.Context, caller access.Caller, id string) (fleet.Job, error)
	Jobs(ctx context.Context, caller access.Caller, before string, limit int) ([]fleet.Job, error)
	CountJobs(ctx context.Context, caller access.Caller) (int64, error)
	JobDevices(ctx context.Context, caller access.Caller, id string, outcome fleet.Outcome, after int64, limit int) ([]fleet.JobDevice, error)
	DeviceJobs(ctx context.Context, caller access.Caller, device string, limit int) ([]fleet.DeviceJob, error)
}

// Questions answers what is asked of the whole fleet; *question.Questions.
type Questions interface {
	Ask(ctx context.Context, caller access.Caller, q questions.Question, page questions.Page) (a questions.Answer, hits []questions.Hit, next string, err error)
	Export(ctx context.Context, caller access.Caller, q questions.Question, desc bool, give func([]questions.Hit) error) error
	Choices(ctx context.Context, caller access.Caller, name string) ([]string, error)
	List(ctx context.Context, caller access.Caller) ([]questions.Saved, error)
	Saved(ctx context.Context, caller access.Caller, id string) (questions.Saved, error)
	Save(ctx context.Context, caller access.Caller, d questions.Draft) (questions.Saved, error)
	Change(ctx context.Context, caller access.Caller, id string, d questions.Draft) (questions.Saved, error)
	Delete(ctx context.Context, caller access.Caller, id string) error
	Restore(ctx context.Context, caller access.Caller, id string) (questions.Saved, error)
}

// Health knows what devices told; *health.Health.
type Health interface {
	Latest(ctx context.Context, caller access.Caller, device string) (health.Latest, error)
	History(ctx context.Context, caller access.Caller, device string, span health.Span) (health.History, error)
	Since(ctx context.Context, caller access.Caller, device string) (time.Time, error)
	Findings(ctx context.Context, caller access.Caller, device string) ([]health.Finding, error)
	QuietFinding(ctx context.Context, caller access.Caller, device, code, instance string, n health.NewQuiet) (health.Quiet, error)
	LoudFinding(ctx context.Context, caller access.Caller, device, code, instance string) error
	Quiets(ctx context.Context, caller access.Caller, code string) ([]health.Quiet, error)
	EndQuiet(ctx context.Context, caller access.Caller, id string) (health.Quiet, error)
	Inventory(ctx context.Context, caller access.Caller, device string) (health.Inventory, error)
	OpenLook(ctx context.Context, caller access.Caller, device, reason string) (health.Look, error)
	Looks(ctx context.Context, caller access.Caller, device string) ([]health.Look, error)
	LookMonths(ctx context.Context, caller access.Caller) ([]health.LookMonth, error)
	Standard(ctx context.Context, caller access.Caller, owner string) ([]health.Standard, error)
	SetStandard(ctx context.Context, caller access.Caller, owner string, s health.Standard) error
	RemoveStandard(ctx context.Context, caller access.Caller, owner, label string) error
	Events(ctx context.Context, caller access.Caller, device string, before time.Time, limit int) (health.Events, error)
	CountEvents(ctx context.Context, caller access.Caller, device string) (int64, error)
	Retention(ctx context.Context, caller access.Caller, owner string) ([]health.Kept, error)
	Retentions(ctx context.Context, caller access.Caller) (usual []health.Kept, changed map[string][]health.Kept, err error)
	SetRetention(ctx context.Context, caller access.Caller, owner string, set map[health.KeptClass]int64) error
	LastChange(ctx context.Context, caller access.Caller) (health.Mark, error)
	Changes(ctx context.Context, caller access.Caller, after health.Mark, limit int) (list []health.Change, next health.Mark, err error)
	Looking(ctx context.Context, caller access.Caller, device string) (until time.Time, err error)
}
