package web

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"hausmeister/collector/access"
)

// peopleMain is the page of who and what may come in.
type peopleMain struct {
	May    bool
	Done   string
	People []personRow
	Tokens []tokenRow
}

type personRow struct {
	Href, Name, Role, Scope string
	State                   mark
}

type tokenRow struct {
	Name, Role, Scope, Expires, Used string
	State                            mark
	Revoke                           string
}

func (s *Server) peoplePage(v *visit) error {
	ctx := v.r.Context()
	users, err := s.cfg.Access.Users(ctx, v.caller)
	if err != nil {
		return err
	}
	tokens, err := s.cfg.Access.Tokens(ctx, v.caller)
	if err != nil {
		return err
	}
	names, err := v.ownerNames()
	if err != nil {
		return err
	}
	main := peopleMain{May: v.caller.Allow(access.WriteUsers) == nil, Done: v.done()}
	for _, u := range users {
		main.People = append(main.People, personRow{"/people/" + u.ID, u.Login, v.roleWord(u.Role), v.scopeWords(u.Owners, names), v.personState(u)})
	}
	for _, t := range tokens {
		main.Tokens = append(main.Tokens, v.tokenRow(t, names, main.May))
	}
	return v.show(http.StatusOK, "people", v.at("people", v.say.Say("people.title"), main))
}

func (v *visit) roleWord(r access.Role) string { return v.say.Say("role." + string(r)) }

func (v *visit) personState(u access.User) mark {
	if u.Disabled {
		return mark{"off", v.say.Say("people.state.disabled")}
	}
	return mark{"ok", v.say.Say("people.state.active")}
}

func (v *visit) tokenRow(t access.Token, names map[string]string, may bool) tokenRow {
	now := v.s.cfg.Now()
	r := tokenRow{Name: t.Name, Role: v.roleWord(t.Role), Scope: v.scopeWords(t.Owners, names),
		Expires: v.say.Say("tokens.never_expires"), Used: v.say.Say("devices.never")}
	if !t.Expires.IsZero() {
		r.Expires = v.say.Day(t.Expires, now)
	}
	if day, err := time.Parse(time.DateOnly, t.UsedDay); err == nil {
		r.Used = v.say.Day(day, now)
	}
	switch {
	case t.Revoked:
		r.State = mark{"off", v.say.Say("tokens.state.revoked")}
	case !t.Expires.IsZero() && !t.Expires.After(now):
		r.State = mark{"idle", v.say.Say("tokens.state.expired")}
	default:
		r.State = mark{"ok", v.say.Say("tokens.state.valid")}
		if may {
			r.Revoke = "/tokens/" + t.ID + "/revoke"
		}
	}
	return r
}

// newPersonForm asks for an account. Its password is made here: nobody invents
// a good one for somebody else.
func (v *visit) newPersonForm() (form, error) {
	owners, err := v.scopeField()
	f := form{Action: "/people", Send: v.say.Say("people.make"), Cancel: "/people", Fields: []field{
		{Name: "login", Label: v.say.Say("people.login"), Help: v.say.Say("people.login.help"), Max: 100, Complete: "off"},
		v.roleField(), owners,
	}}
	f.hideOnce()
	return f, err
}

func (s *Server) newPersonPage(v *visit) error {
	if err := v.caller.Allow(access.WriteUsers); err != nil {
		return err
	}
	f, err := v.newPersonForm()
	if err != nil {
		return err
	}
	return v.showForm(http.StatusOK, "people", v.say.Say("people.new"), v.say.Say("people.new.text"), f)
}

func (s *Server) makePerson(v *visit) error {
	if err := v.caller.Allow(access.WriteUsers); err != nil {
		return err
	}
	typed, err := v.typed()
	if err != nil {
		return err
	}
	f, err := v.newPersonForm()
	if err != nil {
		return err
	}
	f.fill(typed)
	owners, wrong, err := v.scope(typed["owners"])
	if err != nil {
		return err
	}
	if wrong != "" {
		f.refuse("owners", wrong)
	}
	v.refuseEmpty(&f, typed, "login", "people.login.none")
	var id, password string
	if !f.refused() {
		id, password, err = v.madeOnce(typed, func() (string, string, error) {
			password := access.GeneratePassword()
			user, err := s.cfg.Access.CreateUser(v.r.Context(), v.caller, access.NewUser{Login: typed.Get("login"), Password: password, Role: access.Role(typed.Get("role")), Owners: owners})
			return user.ID, password, err
		})
		if err := v.refuse(&f, "login", err); err != nil {
			return err
		}
	}
	if f.refused() {
		return v.showForm(http.StatusUnprocessableEntity, "people", v.say.Say("people.new"), v.say.Say("people.new.text"), f)
	}
	user, err := s.cfg.Access.User(v.r.Context(), v.caller, id)
	if err != nil {
		return err
	}
	return v.showSecret(http.StatusCreated, "people", v.say.Say("people.made", "name", user.Login), v.say.Say("people.password.once", "name", user.Login), password, "/people/"+user.ID)
}

// refuseEmpty says all that was left out, and not one after the other.
func (v *visit) refuseEmpty(f *form, typed url.Values, name, word string) {
	if strings.TrimSpace(typed.Get(name)) == "" {
		f.refuse(name, v.say.Say(word))
	}
	if typed.Get("role") == "" {
		f.refuse("role", v.say.Say("people.role.none"))
	}
}

// refuse turns errors about what was typed into words at the field and passes
// the others on.
func (v *visit) refuse(f *form, name string, err error) error {
	switch {
	case errors.Is(err, access.ErrExists):
		f.refuse(name, v.say.Say("people.exists"))
	case errors.Is(err, access.ErrInvalid):
		f.refuse(name, v.say.Say("people.name.wrong"))
	default:
		return err
	}
	return nil
}

// secretMain shows what is shown once.
type secretMain struct{ Text, Secret, Next string }

func (v *visit) showSecret(code int, place, title, text, secret, next string) error {
	p := v.at(place, title, secretMain{text, secret, next})
	p.Back = next
	return v.show(code, "secret", p)
}

// personMain is the page of an account.
type personMain struct {
	ID, Name, Role, Scope, Since  string
	State                         mark
	Sessions                      string
	Open                          []sessionRow // by the day: when somebody works is nobody's business
	Done                          string       // what was just done
	May, Self, Disabled, SignedIn bool
	Form                          form // role and scope
}

// doneWords are what a page says after an act; ?done= names them.
var doneWords = []string{"role", "disabled", "enabled", "sessions", "password", "saved", "removed", "quiet", "loud", "house", "kept", "claim_revoked", "token_revoked", "renamed_place", "labelled", "unlabelled", "revoked", "deleted", "renamed", "restored",
	"rollout_started", "rollout_paused", "rollout_aborted", "rollout_resumed", "rollout_approved", "rollout_promoted", "rollout_asked", "rollout_noted", "rollout_moved", "part_blocked", "part_freed", "release_blocked", "hours", "hours_removed"}

func (v *visit) done() string {
	if what := v.asked.Get("done"); slices.Contains(doneWords, what) {
		return v.say.Say("done." + what)
	}
	return ""
}

func (s *Server) personPage(v *visit) error { return s.showPerson(v, http.StatusOK, nil) }

func (s *Server) showPerson(v *visit, code int, change func(*personMain)) error {
	ctx := v.r.Context()
	if err := v.caller.Allow(access.ReadUsers); err != nil {
		return err
	}
	u, err := s.cfg.Access.User(ctx, v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	sessions, err := s.cfg.Access.Sessions(ctx, v.caller, u.ID)
	if err != nil {
		return err
	}
	names, err := v.ownerNames()
	if err != nil {
		return err
	}
	main := personMain{ID: u.ID, Name: u.Login, Role: v.roleWord(u.Role), Scope: v.scopeWords(u.Owners, names), Since: v.say.Day(u.Created, s.cfg.Now()),
		State: v.personState(u), Sessions: v.say.Say("people.sessions", "n", len(sessions)), SignedIn: len(sessions) > 0, Done: v.done(),
		May: v.caller.Allow(access.WriteUsers) == nil, Self: v.caller.ID == u.ID, Disabled: u.Disabled}
	for _, o := range sessions {
		main.Open = append(main.Open, sessionRow{ID: o.ID, Client: v.client(o.Client), Opened: v.say.Day(o.Opened, s.cfg.Now()), Seen: v.say.Day(o.Seen, s.cfg.Now())})
	}
	if main.Form, err = v.roleForm(u); err != nil {
		return err
	}
	if change != nil {
		change(&main)
	}
	p := v.at("people", u.Login, main)
	p.Back = "/people/" + u.ID
	return v.show(code, "person", p)
}

func (v *visit) roleForm(u access.User) (form, error) {
	owners, err := v.scopeField()
	owners.Values = u.Owners
	if u.Owners == nil {
		owners.Values = []string{everybody}
	}
	role := v.roleField()
	role.Value = string(u.Role)
	return form{Action: "/people/" + u.ID + "/role", Send: v.say.Say("people.save"), Fields: []field{role, owners}}, err
}

func (s *Server) setRole(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	id := v.r.PathValue("id")
	owners, wrong, err := v.scope(typed["owners"])
	if err != nil {
		return err
	}
	if wrong != "" {
		return s.showPerson(v, http.StatusUnprocessableEntity, func(m *personMain) {
			m.Form.fill(typed)
			m.Form.refuse("owners", wrong)
		})
	}
	return v.acted("/people/"+id, "role", s.cfg.Access.SetRole(v.r.Context(), v.caller, id, access.NewRole{Role: access.Role(typed.Get("role")), All: owners == nil, Owners: owners}))
}

// acted leads back to a page that says what was done.
func (v *visit) acted(page, what string, err error) error {
	if err != nil {
		return err
	}
	return v.redirect(page + "?done=" + what)
}

func (s *Server) disablePerson(v *visit) error {
	id := v.r.PathValue("id")
	return v.acted("/people/"+id, "disabled", s.cfg.Access.DisableUser(v.r.Context(), v.caller, id))
}

func (s *Server) enablePerson(v *visit) error {
	id := v.r.PathValue("id")
	return v.acted("/people/"+id, "enabled", s.cfg.Access.EnableUser(v.r.Context(), v.caller, id))
}

// endPersonsSessions ends the session that the form names, or all.
func (s *Server) endPersonsSessions(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	id := v.r.PathValue("id")
	if session := typed.Get("session"); session != "" {
		err = s.cfg.Access.EndSession(v.r.Context(), v.caller, id, session)
	} else {
		err = s.cfg.Access.EndSessions(v.r.Context(), v.caller, id, "")
	}
	return v.acted("/people/"+id, "sessions", err)
}

// resetPassword makes a new password and shows it once.
func (s *Server) resetPassword(v *visit) error {
	ctx := v.r.Context()
	u, err := s.cfg.Access.User(ctx, v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	password := access.GeneratePassword()
	if err := s.cfg.Access.SetPassword(ctx, v.caller, u.ID, password); err != nil {
		return err
	}
	if v.caller.ID == u.ID { // all its sessions ended, this one too
		v.setCookie(sessionCookie, "", -1)
	}
	return v.showSecret(http.StatusOK, "people", v.say.Say("people.password.new", "name", u.Login), v.say.Say("people.password.once", "name", u.Login), password, "/people/"+u.ID)
}

// newTokenForm asks for an API token.
func (v *visit) newTokenForm() (form, error) {
	owners, err := v.scopeField()
	expires := field{Name: "days", Label: v.say.Say("tokens.life"), Type: "select", Value: "365"}
	for _, days := range []int{30, 90, 365} {
		expires.Options = append(expires.Options, option{strconv.Itoa(days), v.say.Say("format.days", "n", days)})
	}
	expires.Options = append(expires.Options, option{"0", v.say.Say("tokens.never_expires")})
	f := form{Action: "/tokens", Send: v.say.Say("tokens.make"), Cancel: "/people", Fields: []field{
		{Name: "name", Label: v.say.Say("tokens.name"), Help: v.say.Say("tokens.name.help"), Max: 100, Complete: "off"},
		v.roleField(), owners, expires,
	}}
	f.hideOnce()
	return f, err
}

func (s *Server) newTokenPage(v *visit) error {
	if err := v.caller.Allow(access.WriteUsers); err != nil {
		return err
	}
	f, err := v.newTokenForm()
	if err != nil {
		return err
	}
	return v.showForm(http.StatusOK, "people", v.say.Say("tokens.new"), v.say.Say("tokens.new.text"), f)
}

func (s *Server) makeToken(v *visit) error {
	if err := v.caller.Allow(access.WriteUsers); err != nil {
		return err
	}
	typed, err := v.typed()
	if err != nil {
		return err
	}
	f, err := v.newTokenForm()
	if err != nil {
		return err
	}
	f.fill(typed)
	owners, wrong, err := v.scope(typed["owners"])
	if err != nil {
		return err
	}
	if wrong != "" {
		f.refuse("owners", wrong)
	}
	v.refuseEmpty(&f, typed, "name", "tokens.name.none")
	n := access.NewToken{Name: strings.TrimSpace(typed.Get("name")), Role: access.Role(typed.Get("role")), Owners: owners}
	if days, err := strconv.Atoi(typed.Get("days")); err == nil && days > 0 && days <= 3650 {
		n.Expires = s.cfg.Now().Add(time.Duration(days) * 24 * time.Hour)
	} else if typed.Get("days") != "0" {
		return &badRequest{"days", "want 0 to 3650"}
	}
	secret := ""
	if !f.refused() {
		_, secret, err = v.madeOnce(typed, func() (string, string, error) {
			secret, t, err := s.cfg.Access.CreateToken(v.r.Context(), v.caller, n)
			return t.ID, secret, err
		})
		if err := v.refuse(&f, "name", err); err != nil {
			return err
		}
	}
	if f.refused() {
		return v.showForm(http.StatusUnprocessableEntity, "people", v.say.Say("tokens.new"), v.say.Say("tokens.new.text"), f)
	}
	return v.showSecret(http.StatusCreated, "people", v.say.Say("tokens.made", "name", n.Name), v.say.Say("tokens.once"), secret, "/people")
}

// token finds one by its id.
func (s *Server) token(v *visit) (access.Token, error) {
	tokens, err := s.cfg.Access.Tokens(v.r.Context(), v.caller)
	if err != nil {
		return access.Token{}, err
	}
	i := slices.IndexFunc(tokens, func(t access.Token) bool { return t.ID == v.r.PathValue("id") })
	if i < 0 {
		return access.Token{}, access.ErrNotFound
	}
	return tokens[i], nil
}

func (s *Server) revokeTokenPage(v *visit) error {
	if err := v.caller.Allow(access.WriteUsers); err != nil {
		return err
	}
	t, err := s.token(v)
	if err != nil {
		return err
	}
	f := form{Action: "/tokens/" + t.ID + "/revoke", Send: v.say.Say("tokens.revoke"), Cancel: "/people", Danger: true}
	return v.showForm(http.StatusOK, "people", v.say.Say("tokens.revoke.title", "name", t.Name), v.say.Say("tokens.revoke.text"), f)
}

func (s *Server) revokeToken(v *visit) error {
	t, err := s.token(v)
	if err != nil {
		return err
	}
	if err := s.cfg.Access.RevokeToken(v.r.Context(), v.caller, t.ID); err != nil {
		return err
	}
	return v.acted("/people", "token_revoked", nil)
}
