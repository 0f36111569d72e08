package web

import (
	"errors"
	"slices"
	"strings"

	"hausmeister/collector/access"
	"hausmeister/collector/web/words"
)

// A person signs in to the API as to the pages, and sends the secret of the session
// as programs send their token. It is the same kind of session: it stands in the list
// of the person's sessions, ends with the password, and what it does is written down
// as done by that person. The cookie of a page is no credential here, so no other site
// can make a browser call the API.

// apiSignIn asks for a session.
type apiSignIn struct {
	Login    string `json:"login" is:"text"`
	Password string `json:"password" is:"text"`
}

// apiSecret is a session that was just opened; it is told this once.
type apiSecret struct {
	Secret  string `json:"secret" is:"text"` // bearer of the calls that follow
	Expires string `json:"expires" is:"time"`
}

func (s *Server) apiSignIn(v *visit) error {
	var body apiSignIn
	if err := v.readJSON(&body); err != nil {
		return err
	}
	if body.Login == "" || body.Password == "" {
		return &badRequest{"login", "want login and password"}
	}
	secret, expires, err := s.cfg.Access.SignIn(v.r.Context(), body.Login, body.Password, v.r.UserAgent())
	if err != nil {
		return err
	}
	return v.sendJSON(apiSecret{secret, stamp(expires)})
}

// apiSignOut ends the session that the call came with, and answers with whose it was.
func (s *Server) apiSignOut(v *visit) error {
	if err := s.cfg.Access.SignOut(v.r.Context(), v.secret); err != nil {
		return err
	}
	return v.sendJSON(v.account())
}

// person refuses programs: an account's own things are a person's.
func (v *visit) person() error {
	if v.caller.Kind != access.KindUser {
		return errPerson
	}
	return nil
}

// apiAccount is whoever asks.
type apiAccount struct {
	ID      string   `json:"id" is:"uuid"`
	Kind    string   `json:"kind" is:"caller"` // user or token
	Name    string   `json:"name" is:"text"`
	Role    string   `json:"role" is:"role"`
	Owners  []string `json:"owners" is:"uuid"`  // null = everybody's data
	Session *string  `json:"session" is:"uuid"` // id; null of tokens
}

func (v *visit) account() apiAccount {
	c := v.caller
	return apiAccount{ID: c.ID, Kind: string(c.Kind), Name: c.Name, Role: string(c.Role), Owners: c.Owners, Session: present(v.session)}
}

func (s *Server) apiAccount(v *visit) error { return v.sendJSON(v.account()) }

// apiNewPassword changes one's own password.
type apiNewPassword struct {
	Old string `json:"old" is:"text"`
	New string `json:"new" is:"text"`
}

// apiChangePassword leaves the session of the call; all others of the account end.
func (s *Server) apiChangePassword(v *visit) error {
	var body apiNewPassword
	if err := v.readJSON(&body); err != nil {
		return err
	}
	err := s.cfg.Access.ChangePassword(v.r.Context(), v.caller, body.Old, body.New, v.session)
	switch {
	case errors.Is(err, access.ErrSignIn):
		return &badRequest{"old", "this is not the password"}
	case errors.Is(err, access.ErrPassword):
		_, why, _ := strings.Cut(err.Error(), access.ErrPassword.Error()+": ")
		return &badRequest{"new", why}
	case err != nil:
		return err
	}
	return v.sendJSON(v.account())
}

// apiOwnSession is a session of one's own, with the times that others are not told.
type apiOwnSession struct {
	Browser string `json:"browser,omitempty" is:"text"`
	System  string `json:"system,omitempty" is:"text"`
	ID      string `json:"id" is:"uuid"`
	Opened  string `json:"opened" is:"time"`
	LastUse string `json:"last_use" is:"time"` // exact to five minutes
	Expires string `json:"expires" is:"time"`  // at the latest
	Here    bool   `json:"here"`               // this call came with it
}

func (s *Server) apiOwnSessions(v *visit) error {
	sessions, err := s.cfg.Access.Sessions(v.r.Context(), v.caller, v.caller.ID)
	if err != nil {
		return err
	}
	return sendList(v, each(sessions, func(o access.OpenSession) apiOwnSession {
		return apiOwnSession{o.Client.Browser, o.Client.System, o.ID, stamp(o.Opened), stamp(o.Seen), stamp(o.Expires), o.ID == v.session}
	}))
}

// apiEndSession ends one session, apiEndOthers all but that of the call. Both answer
// with those that are left.
func (s *Server) apiEndSession(v *visit) error {
	id := v.r.PathValue("id")
	if err := s.cfg.Access.EndSession(v.r.Context(), v.caller, v.caller.ID, id); err != nil {
		return err
	}
	return s.apiOwnSessions(v)
}

func (s *Server) apiEndOthers(v *visit) error {
	if err := s.cfg.Access.EndSessions(v.r.Context(), v.caller, v.caller.ID, v.session); err != nil {
		return err
	}
	return s.apiOwnSessions(v)
}

// Names under which access keeps the choices of a person, beside columnChoice. They
// are what a browser begins with in which nothing was chosen when the person signs
// in; what is chosen there stays there (see setPreferences).
const (
	languageChoice = "language"
	themeChoice    = "theme"
	keysChoice     = "keys"
)

var (
	themeChoices = append(slices.Clone(access.HouseThemes), systemTheme)
	keyChoices   = []string{"on", "off"}
)

// apiChoices is how a person wants the pages; null and an empty list are no choice.
type apiChoices struct {
	Language *string  `json:"language" is:"language"`
	Theme    *string  `json:"theme" is:"theme"`
	Keys     *string  `json:"keys" is:"keys"`      // whether single keys do something
	Columns  []string `json:"columns" is:"column"` // of the list of devices
}

func (v *visit) choices() (apiChoices, error) {
	out := apiChoices{Columns: []string{}}
	for name, to := range map[string]**string{languageChoice: &out.Language, themeChoice: &out.Theme, keysChoice: &out.Keys} {
		value, err := v.s.cfg.Access.Choice(v.r.Context(), v.caller, name)
		if err != nil {
			return out, err
		}
		*to = present(value)
	}
	kept, err := v.s.cfg.Access.Choice(v.r.Context(), v.caller, columnChoice)
	out.Columns = append(out.Columns, someColumns(kept)...)
	return out, err
}

func (s *Server) apiGetChoices(v *visit) error {
	out, err := v.choices()
	if err != nil {
		return err
	}
	return v.sendJSON(out)
}

// apiNewChoices changes what it names: an empty text or list forgets the choice, what
// is missing or null stays.
type apiNewChoices struct {
	Language *string  `json:"language,omitempty" is:"no_language"`
	Theme    *string  `json:"theme,omitempty" is:"no_theme"`
	Keys     *string  `json:"keys,omitempty" is:"no_keys"`
	Columns  []string `json:"columns,omitempty" is:"column"`
}

func (s *Server) apiSetChoices(v *visit) error {
	var body apiNewChoices
	if err := v.readJSON(&body); err != nil {
		return err
	}
	set := map[string]string{}
	for _, one := range []struct {
		name  string
		asked *string
		all   []string
	}{{languageChoice, body.Language, texts(words.Langs)}, {themeChoice, body.Theme, themeChoices}, {keysChoice, body.Keys, keyChoices}} {
		if one.asked == nil {
			continue
		}
		if *one.asked != "" && !slices.Contains(one.all, *one.asked) {
			return &badRequest{one.name, "want one of " + strings.Join(one.all, ", ")}
		}
		set[one.name] = *one.asked
	}
	if body.Columns != nil {
		if err := checkColumns(body.Columns); err != nil {
			return err
		}
		set[columnChoice] = strings.Join(someColumns(strings.Join(body.Columns, ",")), ",")
	}
	if err := s.cfg.Access.SetChoices(v.r.Context(), v.caller, set); err != nil {
		return err
	}
	return s.apiGetChoices(v)
}

// beginWithChoices gives a browser in which nothing was chosen the choices of whoever
// just signed in. They are an extra: without them the pages are there all the same.
func (v *visit) beginWithChoices(secret string) {
	if cookie(v.r, langCookie) != "" && cookie(v.r, themeCookie) != "" && cookie(v.r, keysCookie) != "" {
		return
	}
	session, err := v.s.cfg.Access.Session(v.r.Context(), secret)
	if err != nil {
		return
	}
	for name, choice := range map[string]string{langCookie: languageChoice, themeCookie: themeChoice, keysCookie: keysChoice} {
		if cookie(v.r, name) != "" {
			continue
		}
		if value, err := v.s.cfg.Access.Choice(v.r.Context(), session.Caller, choice); err == nil && value != "" {
			v.setCookie(name, value, year)
		}
	}
}
