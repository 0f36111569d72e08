package web

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/enroll"
	"hausmeister/proto/ident"
)

// apiOwner is a Schulträger.
type apiOwner struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

func (s *Server) apiOwners(v *visit) error {
	owners, err := s.cfg.Fleet.Owners(v.r.Context(), v.caller)
	if err != nil {
		return err
	}
	items := make([]apiOwner, len(owners))
	for i, o := range owners {
		items[i] = apiOwner{o.ID, o.Name}
	}
	return sendList(v, items)
}

type apiSchoolItem struct {
	ID    string   `json:"id"`
	Code  string   `json:"code"`
	Name  string   `json:"name"`
	Owner apiPlace `json:"owner"`
}

// apiClaim is a claim without its secret; claim is there only in the answer to
// its making.
type apiClaim struct {
	ID        string  `json:"id"`
	Owner     string  `json:"owner"`
	School    *string `json:"school"`
	Cap       int64   `json:"cap"`
	Used      int64   `json:"used"`
	PerSerial bool    `json:"per_serial"`
	Note      string  `json:"note"`
	CreatedBy string  `json:"created_by"`
	Created   string  `json:"created"`
	Expires   string  `json:"expires"`
	Revoked   *string `json:"revoked"`
	Claim     string  `json:"claim,omitempty"`
}

func claimOf(c enroll.Claim) apiClaim {
	out := apiClaim{ID: c.ID, Owner: c.Owner, School: present(c.School), Cap: c.Cap, Used: c.Used, PerSerial: c.PerSerial, Note: c.Note,
		CreatedBy: c.CreatedBy, Created: stamp(c.Created), Expires: stamp(c.Expires)}
	if !c.Revoked.IsZero() {
		out.Revoked = present(stamp(c.Revoked))
	}
	return out
}

func stamp(t time.Time) string { return t.UTC().Format(apiTime) }

// limit reads the length of a page.
func (v *visit) limit() (int, error) {
	if !v.asked.Has("limit") {
		return pageSize, nil
	}
	n, err := strconv.Atoi(v.asked.Get("limit"))
	if err != nil || n < 1 || n > maxPage {
		return 0, &badRequest{"limit", "want a number from 1 to " + strconv.Itoa(maxPage)}
	}
	return n, nil
}

// idCursor reads where a page of things begins that are listed by their ids.
func (v *visit) idCursor() (string, error) {
	cursor := v.asked.Get("cursor")
	if cursor != "" && !ident.ValidID(cursor) {
		return "", &badRequest{"cursor", "this list did not give it"}
	}
	return cursor, nil
}

// maxPage is the longest page of a list.
const maxPage = 500

// apiPage is a part of a list whose whole nobody counts.
type apiPage[T any] struct {
	Items  []T     `json:"items"`
	Cursor *string `json:"cursor"` // null on the last page
}

func (s *Server) apiClaims(v *visit) error {
	limit, err := v.limit()
	if err != nil {
		return err
	}
	cursor, err := v.idCursor()
	if err != nil {
		return err
	}
	claims, err := s.cfg.Claims.LatestClaims(v.r.Context(), v.caller, cursor, limit)
	if err != nil {
		return err
	}
	page := apiPage[apiClaim]{Items: make([]apiClaim, len(claims))}
	for i, c := range claims {
		page.Items[i] = claimOf(c)
	}
	if len(claims) == limit {
		page.Cursor = &claims[limit-1].ID
	}
	return v.sendJSON(page)
}

func (s *Server) apiClaim(v *visit) error {
	c, err := s.cfg.Claims.Claim(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	return v.sendJSON(claimOf(c))
}

// apiNewClaim asks for a claim: with serials one that admits each of these
// machines once, else one for any cap machines.
type apiNewClaim struct {
	Owner   string   `json:"owner"`
	School  string   `json:"school,omitempty"`
	Cap     int64    `json:"cap,omitempty"`
	Expires string   `json:"expires"`
	Serials []string `json:"serials,omitempty"`
	Note    string   `json:"note,omitempty"`
}

func (s *Server) apiMakeClaim(v *visit) error {
	var body apiNewClaim
	if err := v.readJSON(&body); err != nil {
		return err
	}
	expires, err := moment("expires", body.Expires)
	if err != nil {
		return err
	}
	c, text, err := s.cfg.Claims.CreateClaim(v.r.Context(), v.caller, enroll.NewClaim{Owner: body.Owner, School: body.School, Cap: body.Cap,
		Expires: expires, Serials: body.Serials, Note: body.Note})
	if errors.Is(err, access.ErrNotFound) {
		return &badRequest{"owner", "no such owner, or a school that is not one of its"}
	}
	if err != nil {
		return err
	}
	out := claimOf(c)
	out.Claim = text
	return v.sendMade("/api/v1/claims/"+c.ID, out)
}

func moment(name, text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, &badRequest{name, "want a time as in RFC 3339"}
	}
	return t, nil
}

func (s *Server) apiRevokeClaim(v *visit) error {
	id := v.r.PathValue("id")
	if err := s.cfg.Claims.RevokeClaim(v.r.Context(), v.caller, id); err != nil {
		return err
	}
	return s.apiClaim(v)
}

// apiUser is an account; password is there only in the answer to its making or
// to a reset.
type apiUser struct {
	ID       string   `json:"id"`
	Login    string   `json:"login"`
	Role     string   `json:"role"`
	Owners   []string `json:"owners"` // null = everybody's data
	Created  string   `json:"created"`
	Disabled bool     `json:"disabled"`
	Password string   `json:"password,omitempty"`
}

func userOf(u access.User) apiUser {
	return apiUser{ID: u.ID, Login: u.Login, Role: string(u.Role), Owners: u.Owners, Created: stamp(u.Created), Disabled: u.Disabled}
}

func (s *Server) apiUsers(v *visit) error {
	users, err := s.cfg.Access.Users(v.r.Context(), v.caller)
	if err != nil {
		return err
	}
	items := make([]apiUser, len(users))
	for i, u := range users {
		items[i] = userOf(u)
	}
	return sendList(v, items)
}

func (s *Server) apiUser(v *visit) error {
	u, err := s.cfg.Access.User(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	return v.sendJSON(userOf(u))
}

// apiNewUser asks for an account. It says whose data that is to see, by their ids
// or with all_owners; nothing does not mean all.
type apiNewUser struct {
	Login     string   `json:"login"`
	Role      string   `json:"role"`
	Owners    []string `json:"owners,omitempty"`
	AllOwners bool     `json:"all_owners,omitempty"`
}

// askedScope reads whose data a new account or token is to see.
func (v *visit) askedScope(owners []string, all bool) ([]string, error) {
	switch {
	case all && len(owners) > 0:
		return nil, &badRequest{"owners", "want a list of owners or all_owners, not both"}
	case all:
		return nil, nil
	case len(owners) == 0:
		return nil, &badRequest{"owners", "want the ids of owners, or all_owners true for everybody's data"}
	}
	unknown, err := v.unknownOwner(owners)
	if unknown != nil {
		err = &badRequest{"owners", "no such owner: " + strconv.Quote(*unknown)}
	}
	return owners, err
}

func (s *Server) apiMakeUser(v *visit) error {
	var body apiNewUser
	if err := v.readJSON(&body); err != nil {
		return err
	}
	if err := v.caller.Allow(access.WriteUsers); err != nil {
		return err
	}
	owners, err := v.askedScope(body.Owners, body.AllOwners)
	if err != nil {
		return err
	}
	password := access.GeneratePassword()
	u, err := s.cfg.Access.CreateUser(v.r.Context(), v.caller, access.NewUser{Login: body.Login, Password: password, Role: access.Role(body.Role), Owners: owners})
	if err != nil {
		return err
	}
	out := userOf(u)
	out.Password = password
	return v.sendMade("/api/v1/users/"+u.ID, out)
}

// apiRole is what an account may do, and to whose data; without owners and
// all_owners to whose data it might before.
type apiRole struct {
	Role      string   `json:"role"`
	Owners    []string `json:"owners,omitempty"`
	AllOwners bool     `json:"all_owners,omitempty"`
}

func (s *Server) apiSetRole(v *visit) error {
	var body apiRole
	if err := v.readJSON(&body); err != nil {
		return err
	}
	if err := v.caller.Allow(access.WriteUsers); err != nil {
		return err
	}
	if body.Owners != nil || body.AllOwners {
		if _, err := v.askedScope(body.Owners, body.AllOwners); err != nil {
			return err
		}
	}
	n := access.NewRole{Role: access.Role(body.Role), All: body.AllOwners}
	if !n.All {
		n.Owners = body.Owners
	}
	if err := s.cfg.Access.SetRole(v.r.Context(), v.caller, v.r.PathValue("id"), n); err != nil {
		return err
	}
	return s.apiUser(v)
}

func (s *Server) apiResetPassword(v *visit) error {
	ctx := v.r.Context()
	password := access.GeneratePassword()
	if err := s.cfg.Access.SetPassword(ctx, v.caller, v.r.PathValue("id"), password); err != nil {
		return err
	}
	u, err := s.cfg.Access.User(ctx, v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	out := userOf(u)
	out.Password = password
	return v.sendJSON(out)
}

// apiAct answers an act on an account with the account.
func (s *Server) apiAct(act func(v *visit, id string) error) func(*visit) error {
	return func(v *visit) error {
		if err := act(v, v.r.PathValue("id")); err != nil {
			return err
		}
		return s.apiUser(v)
	}
}

func (s *Server) disable(v *visit, id string) error {
	return s.cfg.Access.DisableUser(v.r.Context(), v.caller, id)
}

func (s *Server) enable(v *visit, id string) error {
	return s.cfg.Access.EnableUser(v.r.Context(), v.caller, id)
}

// apiSession is an open session. Its days say enough to tell it from others; when
// somebody works they do not.
type apiSession struct {
	ID      string `json:"id"`
	Browser string `json:"browser,omitempty"`
	System  string `json:"system,omitempty"`
	Opened  string `json:"opened"` // a day
	LastUse string `json:"last_use"`
}

func (s *Server) apiSessions(v *visit) error {
	u, err := s.cfg.Access.User(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	open, err := s.cfg.Access.Sessions(v.r.Context(), v.caller, u.ID)
	if err != nil {
		return err
	}
	day := func(t time.Time) string { return t.In(v.say.Zone()).Format(time.DateOnly) }
	items := make([]apiSession, len(open))
	for i, o := range open {
		items[i] = apiSession{o.ID, o.Client.Browser, o.Client.System, day(o.Opened), day(o.Seen)}
	}
	return sendList(v, items)
}

func (s *Server) endSession(v *visit, id string) error {
	return s.cfg.Access.EndSession(v.r.Context(), v.caller, id, v.r.PathValue("session"))
}

func (s *Server) endSessions(v *visit, id string) error {
	return s.cfg.Access.EndSessions(v.r.Context(), v.caller, id, "")
}

// apiToken is an API token; secret is there only in the answer to its making.
type apiToken struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Role    string   `json:"role"`
	Owners  []string `json:"owners"` // null = everybody's data
	Created string   `json:"created"`
	Expires *string  `json:"expires"`  // null = never
	LastUse *string  `json:"last_use"` // a day
	Revoked bool     `json:"revoked"`
	Secret  string   `json:"secret,omitempty"`
}

func tokenOf(t access.Token) apiToken {
	out := apiToken{ID: t.ID, Name: t.Name, Role: string(t.Role), Owners: t.Owners, Created: stamp(t.Created), LastUse: present(t.UsedDay), Revoked: t.Revoked}
	if !t.Expires.IsZero() {
		out.Expires = present(stamp(t.Expires))
	}
	return out
}

func (s *Server) apiTokens(v *visit) error {
	tokens, err := s.cfg.Access.Tokens(v.r.Context(), v.caller)
	if err != nil {
		return err
	}
	items := make([]apiToken, len(tokens))
	for i, t := range tokens {
		items[i] = tokenOf(t)
	}
	return sendList(v, items)
}

// apiNewToken asks for a token, for owners as apiNewUser; expires missing = never.
type apiNewToken struct {
	Name      string   `json:"name"`
	Role      string   `json:"role"`
	Owners    []string `json:"owners,omitempty"`
	AllOwners bool     `json:"all_owners,omitempty"`
	Expires   string   `json:"expires,omitempty"`
}

func (s *Server) apiMakeToken(v *visit) error {
	var body apiNewToken
	if err := v.readJSON(&body); err != nil {
		return err
	}
	if err := v.caller.Allow(access.WriteUsers); err != nil {
		return err
	}
	owners, err := v.askedScope(body.Owners, body.AllOwners)
	if err != nil {
		return err
	}
	n := access.NewToken{Name: body.Name, Role: access.Role(body.Role), Owners: owners}
	if body.Expires != "" {
		if n.Expires, err = moment("expires", body.Expires); err != nil {
			return err
		}
	}
	secret, t, err := s.cfg.Access.CreateToken(v.r.Context(), v.caller, n)
	if err != nil {
		return err
	}
	out := tokenOf(t)
	out.Secret = secret
	return v.sendMade("/api/v1/tokens/"+t.ID, out)
}

func (s *Server) apiToken(v *visit) error {
	t, err := s.token(v)
	if err != nil {
		return err
	}
	return v.sendJSON(tokenOf(t))
}

func (s *Server) apiRevokeToken(v *visit) error {
	t, err := s.token(v)
	if err != nil {
		return err
	}
	if err := s.cfg.Access.RevokeToken(v.r.Context(), v.caller, t.ID); err != nil {
		return err
	}
	return s.apiToken(v)
}

// apiEntry is an entry of the audit record.
type apiEntry struct {
	ID      string            `json:"id"` // its number in the chain
	Time    string            `json:"time"`
	Actor   string            `json:"actor"`
	Action  string            `json:"action"`
	Subject string            `json:"subject"`
	Owner   *string           `json:"owner"`
	Details map[string]string `json:"details"`
}

func entryOf(e audit.Entry) apiEntry {
	out := apiEntry{ID: strconv.FormatInt(e.Seq, 10), Time: stamp(time.UnixMilli(e.AtMS)), Actor: e.Actor, Action: e.Action, Subject: e.Subject, Owner: present(e.Owner), Details: e.Details}
	if out.Details == nil {
		out.Details = map[string]string{}
	}
	return out
}

func (s *Server) apiRecord(v *visit) error {
	limit, err := v.limit()
	if err != nil {
		return err
	}
	values := v.asked
	if cursor := values.Get("cursor"); cursor != "" {
		values.Set("before", cursor)
	}
	f, err := recordQuestion(values, time.UTC)
	var bad *badRequest
	if errors.As(err, &bad) && bad.field == "before" {
		return &badRequest{"cursor", "this list did not give it"}
	}
	if err != nil {
		return err
	}
	f.Limit = limit
	entries, err := s.cfg.Access.AuditLog(v.r.Context(), v.caller, f)
	if err != nil {
		return err
	}
	page := apiPage[apiEntry]{Items: make([]apiEntry, len(entries))}
	for i, e := range entries {
		page.Items[i] = entryOf(e)
	}
	if len(entries) == limit {
		page.Cursor = &page.Items[limit-1].ID
	}
	return v.sendJSON(page)
}

// sendMade answers with what was made and says where it is.
func (v *visit) sendMade(location string, body any) error {
	v.w.Header().Set("Location", location)
	return v.sendJSONAs(http.StatusCreated, body)
}
