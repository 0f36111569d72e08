package web

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/web/words"
)

type signInMain struct {
	Next, Name, Error, Note string
}

// home is what a role has most to do with, as ui.md 3 orders it.
func (s *Server) home(v *visit) error {
	if v.caller.Role == access.RoleRelease {
		return v.redirect("/updates")
	}
	return v.redirect("/devices")
}

func (s *Server) signInPage(v *visit) error {
	next := localPath(v.asked.Get("next"))
	if v.secret != "" {
		return v.redirect(next)
	}
	main := signInMain{Next: next}
	if v.asked.Has("out") {
		main.Note = v.say.Say("signin.out")
	}
	return v.showSignIn(http.StatusOK, main)
}

func (v *visit) showSignIn(code int, main signInMain) error {
	p := v.page(v.say.Say("signin.title"), main)
	p.Back = "/sign-in"
	return v.show(code, "signin", p)
}

// signIn opens a session under a new secret; the one that the browser came
// with, if any, ends, so that nobody can plant a session beforehand.
func (s *Server) signIn(v *visit) error {
	if err := v.r.ParseForm(); err != nil {
		return formError(err)
	}
	main := signInMain{Next: localPath(v.r.PostForm.Get("next")), Name: v.r.PostForm.Get("name")}
	password := v.r.PostForm.Get("password")
	if main.Name == "" || password == "" {
		main.Error = v.say.Say("signin.incomplete")
		return v.showSignIn(http.StatusUnprocessableEntity, main)
	}
	secret, expires, err := s.cfg.Access.SignIn(v.r.Context(), main.Name, password, v.r.UserAgent())
	var slow *access.SlowDown
	switch {
	case errors.As(err, &slow):
		wait := retryAfter(err)
		v.w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)))
		main.Error = v.say.Say("signin.slow", "wait", v.say.Span(wait))
		return v.showSignIn(http.StatusTooManyRequests, main)
	case errors.Is(err, access.ErrSignIn):
		main.Error = v.say.Say("signin.wrong")
		return v.showSignIn(http.StatusUnauthorized, main)
	case err != nil:
		return err
	}
	if v.secret != "" {
		if err := s.cfg.Access.SignOut(v.r.Context(), v.secret); err != nil && !errors.Is(err, access.ErrNoSession) {
			return err
		}
	}
	v.keepSession(secret, expires)
	v.beginWithChoices(secret)
	return v.redirect(main.Next)
}

func (v *visit) keepSession(secret string, expires time.Time) {
	v.setCookie(sessionCookie, secret, max(1, int(expires.Sub(v.s.cfg.Now())/time.Second)))
}

func (s *Server) signOut(v *visit) error {
	if v.secret != "" {
		if err := s.cfg.Access.SignOut(v.r.Context(), v.secret); err != nil && !errors.Is(err, access.ErrNoSession) {
			return err
		}
	}
	v.setCookie(sessionCookie, "", -1)
	return v.redirect("/sign-in?out")
}

const year = 365 * 24 * 60 * 60

// setPreferences keeps language, theme and keys in the browser, not with the
// account: a shared screen may need another theme than one's own. What a person
// chose by the API is only what a browser begins with.
func (s *Server) setPreferences(v *visit) error {
	if err := v.r.ParseForm(); err != nil {
		return formError(err)
	}
	form := v.r.PostForm
	if lang, ok := words.ParseLang(form.Get("lang")); ok {
		v.setCookie(langCookie, string(lang), year)
	}
	if form.Has("theme") {
		switch theme := form.Get("theme"); theme {
		case "light", "dark":
			v.setCookie(themeCookie, theme, year)
		default:
			v.setCookie(themeCookie, systemTheme, year)
		}
	}
	switch form.Get("keys") {
	case "off":
		v.setCookie(keysCookie, "off", year)
	case "on":
		v.setCookie(keysCookie, "on", year)
	}
	return v.redirect(localPath(form.Get("back")))
}

func (s *Server) keysPage(v *visit) error {
	return v.show(http.StatusOK, "keys", v.framed(v.page(v.say.Say("keys.title"), nil)))
}

// framed adds what the side bar shows.
func (v *visit) framed(p view) view {
	// The number is an extra: without it the page is still what was asked for.
	if n, err := v.s.cfg.Fleet.Total(v.r.Context(), v.caller); err == nil {
		p.Devices = n
	}
	return p
}

// formError keeps "too large" and calls the rest malformed.
func formError(err error) error {
	var tooLong *http.MaxBytesError
	if errors.As(err, &tooLong) {
		return err
	}
	return &badRequest{"body", "the form cannot be read"}
}
