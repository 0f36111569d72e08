package web

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"strconv"
	"strings"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/enroll"
)

// apiOwner is a Schulträger.
type apiOwner struct {
	ID   string `json:"id" is:"uuid"`
	Name string `json:"name" is:"text"`
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

// owner is one that the caller may see.
func (v *visit) owner(id string) (apiOwner, error) {
	owners, err := v.s.cfg.Fleet.Owners(v.r.Context(), v.caller)
	if err != nil {
		return apiOwner{}, err
	}
	for _, o := range owners {
		if o.ID == id {
			return apiOwner{o.ID, o.Name}, nil
		}
	}
	return apiOwner{}, access.ErrNotFound
}

func (s *Server) apiOwner(v *visit) error {
	o, err := v.owner(v.r.PathValue("id"))
	if err != nil {
		return err
	}
	return v.sendJSON(o)
}

type apiSchoolItem struct {
	ID    string   `json:"id" is:"uuid"`
	Code  string   `json:"code" is:"text"`
	Name  string   `json:"name" is:"text"`
	Owner apiPlace `json:"owner"`
}

// apiClaim is a claim without its secret; claim is there only in the answer to
// its making.
type apiClaim struct {
	ID        string  `json:"id" is:"uuid"`
	Owner     string  `json:"owner" is:"uuid"`
	School    *string `json:"school" is:"uuid"`
	Cap       int64   `json:"cap" is:"cap"`
	Used      int64   `json:"used"`
	PerSerial bool    `json:"per_serial"`
	Note      string  `json:"note" is:"text"`
	Actor     string  `json:"actor" is:"text"`
	Created   string  `json:"created" is:"time"`
	Expires   string  `json:"expires" is:"time"`
	Revoked   *string `json:"revoked" is:"time"`
	Claim     string  `json:"claim,omitempty" is:"text"`
}

func claimOf(c enroll.Claim) apiClaim {
	out := apiClaim{ID: c.ID, Owner: c.Owner, School: present(c.School), Cap: c.Cap, Used: c.Used, PerSerial: c.PerSerial, Note: c.Note,
		Actor: c.CreatedBy, Created: stamp(c.Created), Expires: stamp(c.Expires)}
	if !c.Revoked.IsZero() {
		out.Revoked = present(stamp(c.Revoked))
	}
	return out
}

func stamp(t time.Time) string { return t.UTC().Format(apiTime) }

func (s *Server) apiClaims(v *visit) error {
	limit, cursor, err := v.idPage()
	if err != nil {
		return err
	}
	ctx := v.r.Context()
	claims, err := s.cfg.Claims.LatestClaims(ctx, v.caller, cursor, limit)
	if err != nil {
		return err
	}
	return sendPage(v, limit, claims, func() (int64, error) { return s.cfg.Claims.CountClaims(ctx, v.caller) }, claimOf, func(c enroll.Claim) string { return c.ID })
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
	Owner   string   `json:"owner" is:"uuid"`
	School  string   `json:"school,omitempty" is:"uuid"`
	Cap     int64    `json:"cap,omitempty" is:"cap"`
	Expires string   `json:"expires" is:"time"`
	Serials []string `json:"serials,omitempty" is:"text"`
	Note    string   `json:"note,omitempty" is:"text"`
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
	ID       string   `json:"id" is:"uuid"`
	Login    string   `json:"login" is:"text"`
	Role     string   `json:"role" is:"role"`
	Owners   []string `json:"owners" is:"uuid"` // null = everybody's data
	Created  string   `json:"created" is:"time"`
	Disabled bool     `json:"disabled"`
	Password string   `json:"password,omitempty" is:"text"`
}

func userOf(u access.User) apiUser {
	return apiUser{ID: u.ID, Login: u.Login, Role: string(u.Role), Owners: u.Owners, Created: stamp(u.Created), Disabled: u.Disabled}
}

func (s *Server) apiUsers(v *visit) error {
	users, err := s.cfg.Access.Users(v.r.Context(), v.caller)
	if err != nil {
		return err
	}
	return sendList(v, each(users, userOf))
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
	Login     string   `json:"login" is:"text"`
	Role      string   `json:"role" is:"role"`
	Owners    []string `json:"owners,omitempty" is:"uuid"`
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
	Role      string   `json:"role" is:"role"`
	Owners    []string `json:"owners,omitempty" is:"uuid"`
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
	ID      string `json:"id" is:"uuid"`
	Browser string `json:"browser,omitempty" is:"text"`
	System  string `json:"system,omitempty" is:"text"`
	Opened  string `json:"opened" is:"day"`
	LastUse string `json:"last_use" is:"day"`
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
	return sendList(v, each(open, func(o access.OpenSession) apiSession {
		return apiSession{o.ID, o.Client.Browser, o.Client.System, day(o.Opened), day(o.Seen)}
	}))
}

func (s *Server) endSession(v *visit, id string) error {
	return s.cfg.Access.EndSession(v.r.Context(), v.caller, id, v.r.PathValue("session"))
}

func (s *Server) endSessions(v *visit, id string) error {
	return s.cfg.Access.EndSessions(v.r.Context(), v.caller, id, "")
}

// apiToken is an API token; secret is there only in the answer to its making.
type apiToken struct {
	ID      string   `json:"id" is:"uuid"`
	Name    string   `json:"name" is:"text"`
	Role    string   `json:"role" is:"role"`
	Owners  []string `json:"owners" is:"uuid"` // null = everybody's data
	Created string   `json:"created" is:"time"`
	Expires *string  `json:"expires" is:"time"` // null = never
	LastUse *string  `json:"last_use" is:"day"` // a day
	Revoked bool     `json:"revoked"`
	Ended   *string  `json:"revoked_at" is:"time"` // null = it is not
	Secret  string   `json:"secret,omitempty" is:"text"`
}

func tokenOf(t access.Token) apiToken {
	out := apiToken{ID: t.ID, Name: t.Name, Role: string(t.Role), Owners: t.Owners, Created: stamp(t.Created), LastUse: present(t.UsedDay), Revoked: t.Revoked}
	if !t.Expires.IsZero() {
		out.Expires = present(stamp(t.Expires))
	}
	if t.Revoked {
		out.Ended = present(stamp(t.RevokedAt))
	}
	return out
}

func (s *Server) apiTokens(v *visit) error {
	tokens, err := s.cfg.Access.Tokens(v.r.Context(), v.caller)
	if err != nil {
		return err
	}
	return sendList(v, each(tokens, tokenOf))
}

// apiNewToken asks for a token, for owners as apiNewUser; expires missing = never.
type apiNewToken struct {
	Name      string   `json:"name" is:"text"`
	Role      string   `json:"role" is:"role"`
	Owners    []string `json:"owners,omitempty" is:"uuid"`
	AllOwners bool     `json:"all_owners,omitempty"`
	Expires   string   `json:"expires,omitempty" is:"time"`
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
	ID      string            `json:"id" is:"number"` // its number in the chain
	Time    string            `json:"time" is:"time"`
	Actor   string            `json:"actor" is:"text"`
	Action  string            `json:"action" is:"text"`
	Subject string            `json:"subject" is:"text"`
	Owner   *string           `json:"owner" is:"uuid"`
	Details map[string]string `json:"details" is:"text"`
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
	place, counted, _ := strings.Cut(v.asked.Get("cursor"), ".")
	if v.asked.Get("cursor") != "" {
		v.asked.Set("before", cmp.Or(place, "none"))
	}
	f, err := recordQuestion(v.asked, v.zone())
	var bad *badRequest
	if errors.As(err, &bad) && bad.field == "before" {
		return &badRequest{"cursor", "this list did not give it"}
	}
	if err != nil {
		return err
	}
	f.Limit = limit
	ctx := v.r.Context()
	entries, err := s.cfg.Access.AuditLog(ctx, v.caller, f)
	if err != nil {
		return err
	}
	total, known := readCount(counted, f, v.caller)
	count := func() (int64, error) {
		if !known {
			total, err = s.cfg.Access.CountAudit(ctx, v.caller, f)
		}
		return total, err
	}
	return sendPage(v, limit, entries, count, entryOf, func(e audit.Entry) string {
		return strconv.FormatInt(e.Seq, 10) + "." + writeCount(total, f, v.caller)
	})
}

// writeCount lets a cursor of the record say how many entries its first page counted:
// there may be a million, and a program that reads all of them counts them once. It is
// good for the question that it was counted for.
func writeCount(total int64, f audit.Filter, caller access.Caller) string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%q %d %d %q", f.Action, f.FromMS, f.ToMS, caller.Owners)
	return strconv.FormatInt(total, 36) + "." + strconv.FormatUint(h.Sum64(), 36)
}

func readCount(text string, f audit.Filter, caller access.Caller) (total int64, known bool) {
	number, _, _ := strings.Cut(text, ".")
	total, err := strconv.ParseInt(number, 36, 64)
	return total, err == nil && total >= 0 && text == writeCount(total, f, caller)
}

// apiRecordState is whether the record's chain holds, and up to where it was read.
type apiRecordState struct {
	Holds   bool   `json:"holds"`
	Entry   int64  `json:"entry"` // the last one that fits
	Head    string `json:"head" is:"text"`
	Checked string `json:"checked" is:"time"` // when all of it was read
	Broken  string `json:"broken,omitempty" is:"text"`
}

func (s *Server) apiRecordState(v *visit) error {
	state, err := s.cfg.Access.AuditState(v.r.Context(), v.caller)
	if err != nil {
		return err
	}
	return v.sendJSON(apiRecordState{state.Broken == "", state.Head.Seq, hex.EncodeToString(state.Head.Hash), stamp(state.Checked), state.Broken})
}

// sendMade answers with what was made and says where it is.
func (v *visit) sendMade(location string, body any) error {
	v.w.Header().Set("Location", location)
	return v.sendJSONAs(http.StatusCreated, body)
}
