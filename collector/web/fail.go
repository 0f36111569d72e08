package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/enroll"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	questions "hausmeister/collector/question"
	"hausmeister/collector/rollout"
)

var (
	errNoPage    = errors.New("no such page")
	errMethod    = errors.New("method not allowed")
	errCrossSite = errors.New("request made by another site")
	errBroken    = errors.New("page broke")
	errTooMany   = errors.New("too many live streams")
	errPerson    = errors.New("a call of a person's session, made with a token")
)

// badRequest is a request that the sender can mend; field names the parameter.
type badRequest struct{ field, detail string }

func (e *badRequest) Error() string { return e.field + ": " + e.detail }

// fault is one kind of error as the outside sees it. Its name is the last part
// of the problem type and of the message keys, and is never changed.
type fault struct {
	code int
	name string
}

// faultOf sorts an error. What is sorted under "internal" is logged.
func faultOf(err error) fault {
	var bad *badRequest
	var tooLong *http.MaxBytesError
	var slow *access.SlowDown
	var later *busy
	if f, ok := rolloutFault(err); ok {
		return f
	}
	switch {
	case errors.Is(err, access.ErrNoSession):
		return fault{http.StatusUnauthorized, "unauthenticated"}
	case errors.Is(err, access.ErrSignIn):
		return fault{http.StatusUnauthorized, "sign-in-refused"}
	case errors.As(err, &slow), errors.Is(err, errRate):
		return fault{http.StatusTooManyRequests, "rate-limited"}
	case errors.Is(err, errStreams):
		return fault{http.StatusTooManyRequests, "too-many-streams"}
	case errors.Is(err, errTooMany): // of all callers together
		return fault{http.StatusServiceUnavailable, "too-many-streams"}
	case errors.Is(err, errPerson):
		return fault{http.StatusForbidden, "person-needed"}
	case errors.Is(err, access.ErrKey):
		return fault{http.StatusUnprocessableEntity, "idempotency-key"}
	case errors.Is(err, access.ErrUnderWay):
		return fault{http.StatusConflict, "under-way"}
	case errors.Is(err, errStale):
		return fault{http.StatusPreconditionFailed, "precondition-failed"}
	case errors.Is(err, fleet.ErrUndo):
		return fault{http.StatusConflict, "not-undoable"}
	case errors.Is(err, access.ErrExists), errors.Is(err, fleet.ErrViewTaken):
		return fault{http.StatusConflict, "exists"}
	case errors.Is(err, access.ErrInvalid), errors.Is(err, enroll.ErrInvalid):
		return fault{http.StatusBadRequest, "bad-request"}
	case errors.Is(err, access.ErrSelf):
		return fault{http.StatusForbidden, "self"}
	case errors.Is(err, health.ErrLookNeeded):
		return fault{http.StatusForbidden, "look-needed"}
	case errors.Is(err, access.ErrForbidden):
		return fault{http.StatusForbidden, "forbidden"}
	case errors.Is(err, errCrossSite):
		return fault{http.StatusForbidden, "cross-site"}
	case errors.Is(err, access.ErrNotFound), errors.Is(err, errNoPage):
		return fault{http.StatusNotFound, "not-found"}
	case errors.Is(err, errMethod):
		return fault{http.StatusMethodNotAllowed, "method-not-allowed"}
	case errors.As(err, &bad), errors.Is(err, errForm), errors.Is(err, db.ErrText), errors.Is(err, health.ErrHistory), errors.Is(err, health.ErrReason), errors.Is(err, health.ErrUntil):
		return fault{http.StatusBadRequest, "bad-request"}
	case errors.As(err, &tooLong):
		return fault{http.StatusRequestEntityTooLarge, "too-large"}
	case errors.Is(err, questions.ErrInvalid), errors.Is(err, questions.ErrCursor):
		return fault{http.StatusBadRequest, "bad-request"}
	case errors.Is(err, questions.ErrBusy):
		return fault{http.StatusServiceUnavailable, "question-busy"}
	case errors.Is(err, questions.ErrTooLong):
		return fault{http.StatusServiceUnavailable, "question-too-long"}
	case errors.Is(err, questions.ErrTooMany):
		return fault{http.StatusConflict, "too-many-questions"}
	case errors.Is(err, db.ErrUnavailable), errors.Is(err, db.ErrFull), errors.As(err, &later):
		return fault{http.StatusServiceUnavailable, "unavailable"}
	}
	return fault{http.StatusInternalServerError, "internal"}
}

// fail answers with the page or the problem of an error.
func (s *Server) fail(v *visit, err error) {
	if errors.Is(err, context.Canceled) && v.r.Context().Err() != nil {
		return // the peer went away
	}
	f := faultOf(err)
	if f.name == "internal" || errors.Is(err, db.ErrUnavailable) || errors.Is(err, db.ErrFull) {
		s.cfg.Log.Error("answering a request", "path", v.r.URL.Path, "error", err)
	}
	switch f.code {
	case http.StatusServiceUnavailable:
		v.w.Header().Set("Retry-After", strconv.Itoa(5))
		if later := (*busy)(nil); errors.As(err, &later) {
			v.w.Header().Set("Retry-After", later.retryAfter())
		}
	case http.StatusTooManyRequests:
		v.w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter(err)/time.Second)))
	case http.StatusConflict:
		if f.name == "under-way" { // the first of the two calls ends by itself
			v.w.Header().Set("Retry-After", "1")
		}
	}
	if v.door == program || v.door == scrape || strings.HasPrefix(v.r.URL.Path, "/api/") || strings.HasPrefix(v.r.URL.Path, "/updates/") {
		s.problem(v, f, err)
		return
	}
	if f.name == "unauthenticated" {
		s.askToSignIn(v)
		return
	}
	words := f.name
	if errors.Is(err, errForm) { // only pages have forms: no kind of its own
		words = "form"
	}
	title := v.say.Say("error." + words + ".title")
	main := message{Text: v.say.Say("error." + words + ".text"), Doors: v.doors(f)}
	p := v.page(title, main)
	if v.caller.Name != "" && f.code < 500 { // a store that does not answer is not asked again
		p = v.framed(p)
	}
	if err := v.show(f.code, "message", p); err != nil {
		s.cfg.Log.Error("showing an error", "path", v.r.URL.Path, "error", err)
		http.Error(v.w, title, f.code)
	}
}

// retryAfter is how long whoever asked too much waits, in whole seconds.
func retryAfter(err error) time.Duration {
	var slow *access.SlowDown
	if errors.As(err, &slow) {
		return max(slow.RetryAfter.Round(time.Second), time.Second)
	}
	return time.Second
}

// message is a page of one sentence and the ways on.
type message struct {
	Text  string
	Doors []link
}

type link struct{ Href, Word string }

// doors are the next steps that an error page offers.
func (v *visit) doors(f fault) []link {
	list := link{"/devices", v.say.Say("error.to_list")}
	if v.caller.Name == "" {
		list = link{"/sign-in", v.say.Say("error.to_sign_in")}
	}
	if f.name == "older-release" {
		return []link{v.rolloutDoor()}
	}
	if f.code >= 500 && v.r.Method == http.MethodGet {
		return []link{{localPath(v.r.URL.RequestURI()), v.say.Say("error.again")}, list}
	}
	return []link{list}
}

// rolloutDoor leads back to the rollout that a page is about, or to the list of them all.
func (v *visit) rolloutDoor() link {
	if rest, ok := strings.CutPrefix(v.r.URL.Path, "/rollouts/"); ok {
		id, _, _ := strings.Cut(rest, "/")
		return link{"/rollouts/" + url.PathEscape(id), v.say.Say("error.to_rollout")}
	}
	return link{"/updates", v.say.Say("error.to_rollouts")}
}

// askToSignIn leads to the sign-in page and from there back here. A stream or
// a part of a page cannot be led anywhere; it is told why it ends.
func (s *Server) askToSignIn(v *visit) {
	to := "/sign-in"
	if v.r.Method == http.MethodGet && v.r.URL.Path != "/" {
		to += "?next=" + url.QueryEscape(v.r.URL.RequestURI())
	}
	switch {
	case v.r.Header.Get("HX-Request") == "true":
		v.w.Header().Set("HX-Redirect", to)
		v.w.WriteHeader(http.StatusUnauthorized)
	case strings.Contains(v.r.Header.Get("Accept"), "text/event-stream"):
		// A status is nothing that a page could hear: one whose line broke while the
		// session ended would come back for ever.
		st := &stream{v: v, out: http.NewResponseController(v.w)}
		st.begin()
		st.put(eventEnd, "")
		if err := st.flush(); err != nil {
			s.cfg.Log.Debug("a page is not told that its session is over", "error", err)
		}
	default:
		v.redirect(to)
	}
}

// apiProblem is an error, RFC 9457.
type apiProblem struct {
	Type   string `json:"type" is:"text"`
	Title  string `json:"title" is:"text"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty" is:"text"`
	Field  string `json:"field,omitempty" is:"text"`
}

// problem answers as RFC 9457. Types are stable names; texts may change.
func (s *Server) problem(v *visit, f fault, err error) {
	p := apiProblem{
		Type:   problemType(f.name),
		Title:  s.say["en"].Say("error." + f.name + ".title"),
		Status: f.code,
		Detail: s.say["en"].Say("error." + f.name + ".text"),
	}
	var bad *badRequest
	var slow *access.SlowDown
	var unfit *rollout.InvalidError
	var noClaim *enroll.InvalidError
	switch {
	case errors.As(err, &slow):
		p.Detail = slow.Error()
	case errors.As(err, &bad):
		p.Detail, p.Field = bad.detail, bad.field
	case errors.Is(err, rollout.ErrNoRollout):
		p.Detail = s.say["en"].Say("error.not-found.rollout")
	case errors.Is(err, rollout.ErrNoRepository):
		p.Detail = s.say["en"].Say("error.not-found.repository")
	case errors.As(err, &unfit):
		p.Detail, p.Field = unfit.Detail, unfit.Field
	case errors.As(err, &noClaim):
		p.Detail, p.Field = noClaim.Error(), noClaim.Field
	case errors.Is(err, rollout.ErrReason):
		p.Detail, p.Field = rollout.ErrReason.Error(), "reason"
	case errors.Is(err, rollout.ErrState):
		if _, why, ok := strings.Cut(err.Error(), rollout.ErrState.Error()+": "); ok {
			p.Detail = why
		}
	case errors.Is(err, access.ErrPast):
		p.Detail, p.Field = err.Error(), "expires"
	case errors.Is(err, access.ErrExists), errors.Is(err, access.ErrInvalid), errors.Is(err, enroll.ErrInvalid):
		p.Detail = err.Error()
	case errors.Is(err, health.ErrReason):
		p.Detail, p.Field = health.ErrReason.Error(), "reason"
	case errors.Is(err, health.ErrUntil):
		p.Detail, p.Field = health.ErrUntil.Error()+"; a day is written 2026-12-24", "until"
	case errors.Is(err, health.ErrHistory):
		_, p.Detail, _ = strings.Cut(err.Error(), health.ErrHistory.Error()+": ")
	}
	if f.name == "unauthenticated" {
		p.Detail = s.say["en"].Say("error.unauthenticated.api")
	}
	if f.code == http.StatusUnauthorized {
		v.w.Header().Set("WWW-Authenticate", `Bearer realm="hausmeister"`)
	}
	body, _ := json.Marshal(p) // strings and a number, cannot fail
	v.send(f.code, "application/problem+json", append(body, '\n'))
}
