package web

import (
	"bytes"
	"compress/gzip"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/web/words"
)

//go:embed templates/*.html
var templates embed.FS

func loadPages() (*template.Template, error) {
	t, err := template.ParseFS(templates, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("reading the pages: %w", err)
	}
	return t, nil
}

// Names of cookies. The prefix binds each to this host and to HTTPS.
const (
	sessionCookie = "__Host-session"
	langCookie    = "__Host-lang"
	themeCookie   = "__Host-theme"
	keysCookie    = "__Host-keys"
)

// visit is one request on its way through: who asks, in which language, and
// where the answer goes.
type visit struct {
	s     *Server
	w     http.ResponseWriter
	r     *http.Request
	door  door
	say   *words.Speaker
	theme string     // light, dark or empty for the system's
	keys  bool       // single keys are on
	asked url.Values // the parameters of the address, each of them UTF-8

	secret  string // of the session or the token, empty without one
	session string // its id
	caller  access.Caller
}

func (s *Server) newVisit(w http.ResponseWriter, r *http.Request, d door) *visit {
	v := &visit{s: s, w: w, r: r, door: d, keys: cookie(r, keysCookie) != "off"}
	lang, ok := words.ParseLang(cookie(r, langCookie))
	v.theme = cookie(r, themeCookie)
	if chosen := v.theme == "light" || v.theme == "dark" || v.theme == systemTheme; (!ok || !chosen) && (d == open || d == signed) {
		house := s.houseNow(r.Context())
		if !ok {
			lang, ok = words.ParseLang(house.Language)
		}
		if !chosen {
			v.theme = house.Theme
		}
	}
	if !ok {
		lang = words.FromAccept(r.Header.Get("Accept-Language"))
	}
	v.say = s.say[lang]
	if v.theme != "light" && v.theme != "dark" {
		v.theme = ""
	}
	return v
}

// systemTheme in the cookie is the choice of the system's, whatever the house likes.
const systemTheme = "system"

func cookie(r *http.Request, name string) string {
	c, err := r.Cookie(name)
	if err != nil {
		return ""
	}
	return c.Value
}

// setCookie keeps a value in the browser; maxAge in seconds, negative removes.
func (v *visit) setCookie(name, value string, maxAge int) {
	http.SetCookie(v.w, &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: maxAge,
		Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

// answer makes a handler of a route: it opens the door or not, and turns what
// the route returns into a page or a problem.
func (s *Server) answer(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := s.newVisit(w, r, rt.door)
		err := v.enter()
		if err == nil {
			err = v.parse()
		}
		c, described := calls[rt.method+" "+rt.path]
		thing := taggedBy(rt)
		if err == nil && described {
			err = v.mayCall(rt, c)
		}
		switch {
		case err != nil:
		case described && rt.method != http.MethodGet && thing == "" && len(r.Header.Values("If-Match")) > 0:
			err = errNoTag
		case c.Made:
			err = s.once(v, rt.do)
		case thing != "":
			err = s.matched(v, rt, thing)
		default:
			err = rt.do(v)
		}
		if err != nil {
			s.fail(v, err)
		}
	})
}

// mayCall refuses whoever may not make a call before anything of it is read: what
// is wrong with a request is for those who may send it.
func (v *visit) mayCall(rt route, c call) error {
	if c.Person {
		if err := v.person(); err != nil {
			return err
		}
	}
	if c.Needs != "" {
		if err := v.caller.Allow(c.Needs); err != nil {
			return err
		}
	}
	if err := v.s.there(v, rt); err != nil {
		return err
	}
	return c.accepts(v.asked)
}

// enter finds the Caller that the door of the route asks for.
func (v *visit) enter() error {
	switch v.door {
	case signed:
		return v.recognise()
	case program:
		return v.bearer()
	case scrape:
		if v.s.cfg.MetricsOpen && v.r.Header.Get("Authorization") == "" && v.fromHere() {
			v.caller = access.System("metrics")
			return nil
		}
		if err := v.bearer(); err != nil {
			return err
		}
		if v.caller.Owners != nil { // what is measured is of all owners together
			return fmt.Errorf("%w: metrics are of the whole fleet", access.ErrForbidden)
		}
		return v.caller.Allow(access.ReadMetrics)
	}
	// Open pages look different to somebody who is signed in.
	if err := v.recognise(); err != nil && !errors.Is(err, access.ErrNoSession) {
		return err
	}
	return nil
}

// parse reads the parameters of the address strictly: URL.Query leaves out what
// it cannot read, and a filter that is left out gives all devices.
func (v *visit) parse() error {
	asked, err := url.ParseQuery(v.r.URL.RawQuery)
	if err != nil {
		return &badRequest{"query", "it cannot be read: " + err.Error()}
	}
	for name, values := range asked {
		if !utf8.ValidString(name) {
			return &badRequest{"query", "a name in it is not UTF-8"}
		}
		if slices.ContainsFunc(values, func(s string) bool { return !utf8.ValidString(s) }) {
			return &badRequest{name, "not UTF-8"}
		}
	}
	v.asked = asked
	return nil
}

// recognise finds the session that the cookie names.
func (v *visit) recognise() error {
	secret := cookie(v.r, sessionCookie)
	if secret == "" {
		return access.ErrNoSession
	}
	session, err := v.s.cfg.Access.Session(v.r.Context(), secret)
	if err != nil {
		return err
	}
	v.secret, v.session, v.caller = secret, session.ID, session.Caller
	// A stream's answer has no place for a cookie, parts of pages may come
	// several at once: the next whole page renews the secret.
	if session.Stale && v.r.Method == http.MethodGet && v.r.Header.Get("Sec-Fetch-Dest") == "document" {
		return v.renew()
	}
	return nil
}

// renew gives the session another secret, so that a stolen one is soon worth
// nothing. Of two pages at once one is too late, and keeps the old one for now.
func (v *visit) renew() error {
	secret, expires, err := v.s.cfg.Access.Rotate(v.r.Context(), v.secret)
	switch {
	case errors.Is(err, access.ErrNoSession), errors.Is(err, db.ErrFull), errors.Is(err, db.ErrUnavailable):
		return nil
	case err != nil:
		return err
	}
	v.secret = secret
	v.keepSession(secret, expires)
	return nil
}

// again asks who has the visit's secret: the program whose token it is, or the
// person whose session. An error leaves the caller as he was.
func (v *visit) again() error {
	if access.IsToken(v.secret) {
		caller, err := v.s.cfg.Access.Token(v.r.Context(), v.secret)
		if err == nil {
			v.caller = caller
		}
		return err
	}
	session, err := v.s.cfg.Access.Session(v.r.Context(), v.secret)
	if err == nil {
		v.session, v.caller = session.ID, session.Caller
	}
	return err
}

func (v *visit) bearer() error {
	token, ok := bearerOf(v.r)
	if !ok {
		return access.ErrNoSession
	}
	v.secret = token
	if err := v.again(); err != nil {
		return err
	}
	if wait := v.s.limits.allow(v.caller.ID, v.s.cfg.Now()); wait > 0 {
		return errRate
	}
	return nil
}

// fromHere says whether the request comes from a program on this machine and
// not through a proxy on it, as far as that proxy says what it is: nginx by
// itself does not.
func (v *visit) fromHere() bool {
	for _, h := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"} {
		if v.r.Header.Get(h) != "" {
			return false
		}
	}
	host, _, err := net.SplitHostPort(v.r.RemoteAddr)
	return err == nil && net.ParseIP(host).IsLoopback()
}

// view is what the templates see. Its methods are their functions.
type view struct {
	v       *visit
	Title   string
	Main    any
	OnList  bool   // the search field belongs to the list's filters
	Query   string // what stands in the search field
	Current string // aria-current of the list in the navigation
	Place   string // the page in the navigation that this is, if not the list
	Devices int64  // how many the caller sees; -1 unknown
	Back    string // address of this page, for forms that return here
}

func (w view) T(key string, pairs ...any) string { return w.v.say.Say(key, pairs...) }
func (w view) Lang() string                      { return string(w.v.say.Lang) }
func (w view) Theme() string                     { return w.v.theme }
func (w view) Keys() bool                        { return w.v.keys }
func (w view) Number(n int64) string             { return w.v.say.Number(n) }
func (w view) Static(name string) string         { return w.v.s.assets.href[name] }
func (w view) Icon(name string) icon             { return icon{name, w.v.s.assets.href["icons.svg"]} }

// Card gives a template one card and its picture.
func (w view) Card(g group) card { return card{g, w.Icon(g.Icon)} }

type card struct {
	group
	Picture icon
}

// part gives a template one thing and the words around it.
type part struct {
	view
	Item any
}

// With: see part.
func (w view) With(item any) part { return part{w, item} }

// Account is the name of whoever is signed in, empty for nobody.
func (w view) Account() string { return w.v.caller.Name }

// Role is the word for what the account may do.
func (w view) Role() string {
	switch w.v.caller.Role {
	case access.RoleAdmin:
		return w.T("role.admin")
	case access.RoleRelease:
		return w.T("role.release")
	case access.RoleSupport:
		return w.T("role.support")
	default:
		return w.T("role.read")
	}
}

// icon is one picture of the sprite, which a program built without npm lacks.
type icon struct{ Name, Sprite string }

// page fills a view for this visit.
func (v *visit) page(title string, main any) view {
	return view{v: v, Title: title, Main: main, Devices: -1, Back: v.r.URL.RequestURI()}
}

// show renders a page. It is rendered whole before the first byte leaves, so a
// page is never half an error.
func (v *visit) show(code int, name string, data any) error {
	var body bytes.Buffer
	if err := v.s.pages.ExecuteTemplate(&body, name, data); err != nil {
		return fmt.Errorf("rendering %s: %w", name, err)
	}
	v.send(code, "text/html; charset=utf-8", body.Bytes())
	return nil
}

var packers = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

// send writes an answer, compressed where that pays. Secrets never stand in a
// page beside what a stranger can choose, so compression tells nothing (BREACH).
func (v *visit) send(code int, mime string, body []byte) {
	h := v.w.Header()
	h.Set("Content-Type", mime)
	h.Add("Vary", "Accept-Encoding, Accept-Language, Cookie, HX-Request")
	if len(body) > 1000 && acceptsGzip(v.r) {
		var packed bytes.Buffer
		z := packers.Get().(*gzip.Writer)
		z.Reset(&packed)
		z.Write(body)
		z.Close()
		packers.Put(z)
		h.Set("Content-Encoding", "gzip")
		body = packed.Bytes()
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	v.w.WriteHeader(code)
	if v.r.Method != http.MethodHead {
		v.w.Write(body) // the peer may be gone; nobody else needs to know
	}
}

func (v *visit) redirect(to string) error {
	v.w.Header().Set("Location", to)
	v.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// localPath gives the path that a form wants to go to next if it is one of
// ours; a foreign address would make the sign-in page a helper of fraud.
func localPath(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || !strings.HasPrefix(u.Path, "/") ||
		strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\x00\r\n\t") || strings.HasPrefix(u.Path, "//") {
		return "/"
	}
	return u.RequestURI()
}
