package admin

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/collector/enroll"
	"hausmeister/collector/fleet"
)

// None is the argument or answer of a verb that has none.
type None struct{}

// Named is the argument of a verb about one thing.
type Named struct {
	Name   string `json:"name"`
	Reason string `json:"reason,omitempty"`
}

// Claim is a claim as people see it. Text is the claim itself and is there
// only in the answer to its creation.
type Claim struct {
	ID        string     `json:"id"`
	Text      string     `json:"claim,omitempty"`
	Owner     string     `json:"owner"`
	School    string     `json:"school,omitempty"`
	Cap       int64      `json:"cap"`
	Used      int64      `json:"used"`
	PerSerial bool       `json:"per_serial"`
	Note      string     `json:"note,omitempty"`
	Expires   time.Time  `json:"expires"`
	Revoked   *time.Time `json:"revoked,omitempty"`
}

// NewClaim asks for a claim.
type NewClaim struct {
	Owner    string        `json:"owner"`
	NewOwner bool          `json:"new_owner,omitempty"` // make the owner if there is none of this name
	School   string        `json:"school,omitempty"`
	Cap      int64         `json:"cap,omitempty"`
	Life     time.Duration `json:"life"`
	Serials  []string      `json:"serials,omitempty"`
	Note     string        `json:"note,omitempty"`
}

// School is a school as people see it.
type School struct {
	ID      string `json:"id"`
	Owner   string `json:"owner"`
	Code    string `json:"code"`
	Name    string `json:"name"`
	Kind    string `json:"kind,omitempty"`
	Planned int64  `json:"planned,omitempty"`
	Devices int64  `json:"devices"`
}

// Import is what came of a list of schools.
type Import struct {
	Owners    int            `json:"owners_added"`
	Added     int            `json:"schools_added"`
	Changed   int            `json:"schools_changed"`
	Unchanged int            `json:"schools_unchanged"`
	Encoding  fleet.Encoding `json:"encoding"`
	Errors    []LineError    `json:"errors"`
}

// LineError is a line that was left out.
type LineError struct {
	Line int    `json:"line"`
	Text string `json:"error"`
}

// User is an account as people see it. Password is there only in the request.
type User struct {
	ID       string      `json:"id,omitempty"`
	Login    string      `json:"login"`
	Password string      `json:"password,omitempty"`
	Role     access.Role `json:"role"`
	Owners   []string    `json:"owners,omitempty"` // names; none = all owners' data
	Created  time.Time   `json:"created,omitzero"`
	Disabled bool        `json:"disabled,omitempty"`
}

// Token is an API token. Secret is there only in the answer to its creation.
type Token struct {
	ID      string        `json:"id,omitempty"`
	Name    string        `json:"name"`
	Secret  string        `json:"token,omitempty"`
	Role    access.Role   `json:"role"`
	Owners  []string      `json:"owners,omitempty"`
	Life    time.Duration `json:"life,omitempty"` // of the request; 0 = for ever
	Expires time.Time     `json:"expires,omitzero"`
	Revoked bool          `json:"revoked,omitempty"`
	UsedDay string        `json:"last_used,omitempty"`
}

// Device is a device as people see it: days, no times.
type Device struct {
	ID           string      `json:"id"`
	Inventory    string      `json:"inventory_number,omitempty"`
	Serial       string      `json:"serial,omitempty"`
	Manufacturer string      `json:"manufacturer,omitempty"`
	Model        string      `json:"model,omitempty"`
	OS           string      `json:"os,omitempty"`
	Owner        string      `json:"owner"`
	School       string      `json:"school,omitempty"`
	State        fleet.State `json:"state"`
	LastDay      string      `json:"last_contact,omitempty"`
	Reports      uint64      `json:"reports,omitempty"` // of `device show`: kept now
}

// DeviceFilter asks for a part of the list.
type DeviceFilter struct {
	Query  string      `json:"query,omitempty"`
	State  fleet.State `json:"state,omitempty"`
	Cursor string      `json:"cursor,omitempty"`
	Limit  int         `json:"limit,omitempty"`
}

// DeviceList is a page of it.
type DeviceList struct {
	Items  []Device `json:"items"`
	Total  int64    `json:"total"`
	Cursor string   `json:"cursor,omitempty"`
}

// Inventory gives a device its number.
type Inventory struct {
	Device string `json:"device"`
	Number string `json:"inventory_number"`
}

// Backup says where the copy of the database goes, and then what it is.
type Backup struct {
	Path    string `json:"path"`
	Bytes   int64  `json:"bytes,omitempty"`
	Schema  int64  `json:"schema,omitempty"`
	Audited int64  `json:"audit_entries,omitempty"`
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /status", verb(s, func(context.Context, None) (Status, error) { return s.cfg.Status, nil }))
	mux.Handle("POST /claim/create", verb(s, s.createClaim))
	mux.Handle("POST /claim/list", verb(s, s.claims))
	mux.Handle("POST /claim/revoke", verb(s, func(ctx context.Context, in Named) (None, error) {
		return None{}, s.cfg.Enroll.RevokeClaim(ctx, operator, in.Name)
	}))
	mux.Handle("POST /school/import", verb(s, s.importSchools))
	mux.Handle("POST /school/list", verb(s, s.schools))
	mux.Handle("POST /user/add", verb(s, s.addUser))
	mux.Handle("POST /user/list", verb(s, s.users))
	mux.Handle("POST /user/passwd", verb(s, func(ctx context.Context, in User) (None, error) {
		return None{}, s.cfg.Access.SetPassword(ctx, operator, in.Login, in.Password)
	}))
	mux.Handle("POST /user/disable", verb(s, func(ctx context.Context, in Named) (None, error) {
		return None{}, s.cfg.Access.DisableUser(ctx, operator, in.Name)
	}))
	mux.Handle("POST /user/enable", verb(s, func(ctx context.Context, in Named) (None, error) {
		return None{}, s.cfg.Access.EnableUser(ctx, operator, in.Name)
	}))
	mux.Handle("POST /token/create", verb(s, s.createToken))
	mux.Handle("POST /token/list", verb(s, s.tokens))
	mux.Handle("POST /token/revoke", verb(s, func(ctx context.Context, in Named) (None, error) {
		return None{}, s.cfg.Access.RevokeToken(ctx, operator, in.Name)
	}))
	mux.Handle("POST /device/list", verb(s, s.devices))
	mux.Handle("POST /device/show", verb(s, s.device))
	mux.Handle("POST /device/set", verb(s, s.setInventory))
	mux.Handle("POST /device/revoke", verb(s, s.revokeDevice))
	mux.Handle("POST /settings/software/set", verb(s, s.setSoftware))
	mux.Handle("POST /settings/software/remove", verb(s, s.removeSoftware))
	mux.Handle("POST /settings/software/list", verb(s, s.software))
	s.rolloutRoutes(mux)
	mux.Handle("POST /backup", verb(s, s.backup))
	return mux
}

func (s *Server) createClaim(ctx context.Context, in NewClaim) (Claim, error) {
	if in.NewOwner {
		if _, err := s.cfg.Fleet.AddOwner(ctx, operator, in.Owner); err != nil {
			return Claim{}, err
		}
	}
	owner, school, err := s.cfg.Fleet.Place(ctx, operator, in.Owner, in.School)
	if err != nil {
		return Claim{}, err
	}
	claim, text, err := s.cfg.Enroll.CreateClaim(ctx, operator, enroll.NewClaim{Owner: owner, School: school, Cap: in.Cap,
		Expires: s.cfg.Now().Add(in.Life), Serials: in.Serials, Note: in.Note})
	if err != nil {
		return Claim{}, err
	}
	names, err := s.names(ctx)
	if err != nil {
		return Claim{}, err
	}
	out := names.claim(claim)
	out.Text = text
	return out, nil
}

func (s *Server) claims(ctx context.Context, _ None) ([]Claim, error) {
	names, err := s.names(ctx)
	if err != nil {
		return nil, err
	}
	out := []Claim{}
	after := ""
	for {
		page, err := s.cfg.Enroll.Claims(ctx, operator, after, 500)
		if err != nil {
			return nil, err
		}
		for _, c := range page {
			out = append(out, names.claim(c))
			after = c.ID
		}
		if len(page) < 500 {
			return out, nil
		}
	}
}

// labels turn ids into what people call owners and schools.
type labels struct{ owners, schools map[string]string }

func (s *Server) names(ctx context.Context) (labels, error) {
	l := labels{owners: map[string]string{}, schools: map[string]string{}}
	owners, err := s.cfg.Fleet.Owners(ctx, operator)
	if err != nil {
		return l, err
	}
	for _, o := range owners {
		l.owners[o.ID] = o.Name
	}
	schools, err := s.cfg.Fleet.Schools(ctx, operator)
	if err != nil {
		return l, err
	}
	for _, sc := range schools {
		l.schools[sc.ID] = sc.Code
	}
	return l, nil
}

func (l labels) claim(c enroll.Claim) Claim {
	out := Claim{ID: c.ID, Owner: l.owners[c.Owner], School: l.schools[c.School], Cap: c.Cap, Used: c.Used, PerSerial: c.PerSerial, Note: c.Note, Expires: c.Expires}
	if !c.Revoked.IsZero() {
		out.Revoked = &c.Revoked
	}
	return out
}

func (l labels) ownerNames(ids []string) []string {
	var out []string
	for _, id := range ids {
		out = append(out, l.owners[id])
	}
	return out
}

// ownerIDs finds the owners that a person named; none means all.
func (s *Server) ownerIDs(ctx context.Context, names []string) ([]string, error) {
	var ids []string
	for _, name := range names {
		id, _, err := s.cfg.Fleet.Place(ctx, operator, name, "")
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// File is the argument of a verb that takes a file: its bytes, for a JSON string
// would lose what is not UTF-8.
type File struct {
	Content []byte `json:"content"`
}

func (s *Server) importSchools(ctx context.Context, in File) (Import, error) {
	done, err := s.cfg.Fleet.ImportSchools(ctx, operator, bytes.NewReader(in.Content))
	if err != nil {
		return Import{}, err
	}
	out := Import{Owners: done.Owners, Added: done.Added, Changed: done.Changed, Unchanged: done.Unchanged, Encoding: done.Encoding, Errors: []LineError{}}
	for _, e := range done.Errors {
		out.Errors = append(out.Errors, LineError(e))
	}
	return out, nil
}

func (s *Server) schools(ctx context.Context, _ None) ([]School, error) {
	found, err := s.cfg.Fleet.Schools(ctx, operator)
	if err != nil {
		return nil, err
	}
	out := []School{}
	for _, sc := range found {
		out = append(out, School{ID: sc.ID, Owner: sc.OwnerName, Code: sc.Code, Name: sc.Title(), Kind: sc.Kind, Planned: sc.Planned, Devices: sc.Devices})
	}
	return out, nil
}

func (s *Server) addUser(ctx context.Context, in User) (User, error) {
	owners, err := s.ownerIDs(ctx, in.Owners)
	if err != nil {
		return User{}, err
	}
	u, err := s.cfg.Access.CreateUser(ctx, operator, access.NewUser{Login: in.Login, Password: in.Password, Role: in.Role, Owners: owners})
	if err != nil {
		return User{}, err
	}
	return User{ID: u.ID, Login: u.Login, Role: u.Role, Owners: in.Owners, Created: u.Created}, nil
}

func (s *Server) users(ctx context.Context, _ None) ([]User, error) {
	names, err := s.names(ctx)
	if err != nil {
		return nil, err
	}
	found, err := s.cfg.Access.Users(ctx, operator)
	if err != nil {
		return nil, err
	}
	out := []User{}
	for _, u := range found {
		out = append(out, User{ID: u.ID, Login: u.Login, Role: u.Role, Owners: names.ownerNames(u.Owners), Created: u.Created, Disabled: u.Disabled})
	}
	return out, nil
}

func (s *Server) createToken(ctx context.Context, in Token) (Token, error) {
	owners, err := s.ownerIDs(ctx, in.Owners)
	if err != nil {
		return Token{}, err
	}
	var expires time.Time
	if in.Life > 0 {
		expires = s.cfg.Now().Add(in.Life)
	}
	secret, t, err := s.cfg.Access.CreateToken(ctx, operator, access.NewToken{Name: in.Name, Role: in.Role, Owners: owners, Expires: expires})
	if err != nil {
		return Token{}, err
	}
	return Token{ID: t.ID, Name: t.Name, Secret: secret, Role: t.Role, Owners: in.Owners, Expires: t.Expires}, nil
}

func (s *Server) tokens(ctx context.Context, _ None) ([]Token, error) {
	names, err := s.names(ctx)
	if err != nil {
		return nil, err
	}
	found, err := s.cfg.Access.Tokens(ctx, operator)
	if err != nil {
		return nil, err
	}
	out := []Token{}
	for _, t := range found {
		out = append(out, Token{ID: t.ID, Name: t.Name, Role: t.Role, Owners: names.ownerNames(t.Owners), Expires: t.Expires, Revoked: t.Revoked, UsedDay: t.UsedDay})
	}
	return out, nil
}

func device(d fleet.Device) Device {
	out := Device{ID: d.ID, Inventory: d.Inventory, Serial: d.Serial, Manufacturer: d.Manufacturer, Model: d.Model, OS: d.OS,
		Owner: d.OwnerName, School: d.SchoolCode, State: d.State}
	if !d.LastDay.IsZero() {
		out.LastDay = d.LastDay.Format(time.DateOnly)
	}
	return out
}

func (s *Server) devices(ctx context.Context, in DeviceFilter) (DeviceList, error) {
	page, err := s.cfg.Fleet.List(ctx, operator, fleet.Filter{Query: in.Query, State: in.State, Cursor: in.Cursor, Limit: in.Limit})
	if err != nil {
		return DeviceList{}, err
	}
	out := DeviceList{Items: []Device{}, Total: page.Total, Cursor: page.Cursor}
	for _, d := range page.Items {
		out.Items = append(out.Items, device(d))
	}
	return out, nil
}

func (s *Server) device(ctx context.Context, in Named) (Device, error) {
	id, err := s.cfg.Fleet.FindDevice(ctx, operator, in.Name)
	if err != nil {
		return Device{}, err
	}
	d, err := s.cfg.Fleet.Device(ctx, operator, id)
	if err != nil {
		return Device{}, err
	}
	tally, err := s.cfg.Health.Tally(ctx, operator, id)
	if err != nil {
		return Device{}, err
	}
	out := device(d)
	out.Reports = tally.Reports
	return out, nil
}

func (s *Server) setInventory(ctx context.Context, in Inventory) (Device, error) {
	id, err := s.cfg.Fleet.FindDevice(ctx, operator, in.Device)
	if err != nil {
		return Device{}, err
	}
	if err := s.cfg.Fleet.SetInventory(ctx, operator, id, in.Number); err != nil {
		return Device{}, err
	}
	return s.device(ctx, Named{Name: id})
}

func (s *Server) revokeDevice(ctx context.Context, in Named) (None, error) {
	id, err := s.cfg.Fleet.FindDevice(ctx, operator, in.Name)
	if err != nil {
		return None{}, err
	}
	return None{}, s.cfg.Enroll.RevokeDevice(ctx, operator, id, in.Reason)
}

// backup writes the copy and reads it back: an unread backup is a hope.
func (s *Server) backup(ctx context.Context, in Backup) (Backup, error) {
	if !filepath.IsAbs(in.Path) {
		return Backup{}, fmt.Errorf("%w: backup path %q is not absolute", errRequest, in.Path)
	}
	if err := s.cfg.DB.Backup(ctx, in.Path); err != nil {
		return Backup{}, err
	}
	out := Backup{Path: in.Path, Schema: s.cfg.DB.Version()}
	err := s.cfg.DB.CheckBackup(ctx, in.Path, func(d *db.DB) error {
		head, err := audit.Verify(ctx, d)
		out.Audited = head.Seq
		return err
	})
	return out, err
}
