package web

import (
	"cmp"
	"errors"
	"net/http"
	"strconv"
	"time"

	"hausmeister/collector/access"
)

// accountMain is the page of one's own account.
type accountMain struct {
	Name, Role, Scope string
	Done              string
	Sessions          []sessionRow
	Others            bool // there are sessions beside this one
	Form              form // password
}

type sessionRow struct {
	ID, Client, Opened, Seen string
	Here                     bool
}

// clientNames are names that are the same in every language.
var clientNames = map[string]string{"chrome": "Chrome", "edge": "Edge", "firefox": "Firefox", "opera": "Opera", "safari": "Safari", "samsung": "Samsung Internet",
	"android": "Android", "chromeos": "ChromeOS", "ios": "iOS", "linux": "Linux", "macos": "macOS", "windows": "Windows"}

// client says what opened a session: "Firefox, Windows".
func (v *visit) client(c access.Client) string {
	browser := cmp.Or(clientNames[c.Browser], v.say.Say("account.client.other"))
	if system := clientNames[c.System]; system != "" {
		return browser + ", " + system
	}
	return browser
}

func (s *Server) accountPage(v *visit) error {
	return s.showAccount(v, http.StatusOK, v.passwordForm())
}

func (v *visit) passwordForm() form {
	return form{Action: "/account/password", Send: v.say.Say("account.password.change"), For: v.caller.Name, Fields: []field{
		{Name: "old", Label: v.say.Say("account.password.old"), Type: "password", Max: 1000, Complete: "current-password"},
		{Name: "new", Label: v.say.Say("account.password.new"), Help: v.say.Say("account.password.help"), Type: "password", Max: 1000, Complete: "new-password"},
	}}
}

func (s *Server) showAccount(v *visit, code int, f form) error {
	sessions, err := s.cfg.Access.Sessions(v.r.Context(), v.caller, v.caller.ID)
	if err != nil {
		return err
	}
	names, err := v.ownerNames()
	if err != nil {
		return err
	}
	main := accountMain{Name: v.caller.Name, Role: v.roleWord(v.caller.Role), Scope: v.scopeWords(v.caller.Owners, names), Done: v.done(), Form: f, Others: len(sessions) > 1}
	for _, o := range sessions {
		main.Sessions = append(main.Sessions, sessionRow{o.ID, v.client(o.Client), v.say.Day(o.Opened, s.cfg.Now()), v.say.Time(o.Seen), o.ID == v.session})
	}
	p := v.at("account", v.say.Say("account.title"), main)
	p.Back = "/account"
	return v.show(code, "account", p)
}

func (s *Server) changePassword(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	f := v.passwordForm()
	err = s.cfg.Access.ChangePassword(v.r.Context(), v.caller, typed.Get("old"), typed.Get("new"), v.session)
	var slow *access.SlowDown
	code := http.StatusUnprocessableEntity
	switch {
	case errors.Is(err, access.ErrSignIn):
		f.refuse("old", v.say.Say("account.password.wrong"))
	case errors.Is(err, access.ErrPassword):
		f.refuse("new", v.say.Say("account.password.weak"))
	case errors.As(err, &slow):
		wait := retryAfter(err)
		v.w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)))
		code = http.StatusTooManyRequests
		f.refuse("old", v.say.Say("signin.slow", "wait", v.say.Span(wait)))
	default:
		return v.acted("/account", "password", err)
	}
	return s.showAccount(v, code, f)
}

// endOwnSessions ends the session that the form names, or all others.
func (s *Server) endOwnSessions(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	if id := typed.Get("session"); id != "" {
		err = s.cfg.Access.EndSession(v.r.Context(), v.caller, v.caller.ID, id)
	} else {
		err = s.cfg.Access.EndSessions(v.r.Context(), v.caller, v.caller.ID, v.session)
	}
	return v.acted("/account", "sessions", err)
}
