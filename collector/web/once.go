package web

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"hausmeister/collector/access"
)

// once answers a call that makes something, which a program may send again with
// the same Idempotency-Key when it got no answer.
func (s *Server) once(v *visit, do func(*visit) error) error {
	key := v.r.Header.Get("Idempotency-Key")
	if key == "" {
		return do(v)
	}
	body, err := io.ReadAll(v.r.Body) // bounded by guard
	if err != nil {
		return formError(err)
	}
	to, packed := v.w, v.r.Header.Get("Accept-Encoding")
	defer func() { v.w = to }()
	answer, err := s.cfg.Access.Once(v.r.Context(), v.caller, key, append([]byte(v.r.URL.Path+"\n"), body...), func() (access.Answer, error) {
		record := &recorder{header: http.Header{}}
		v.w, v.r.Body = record, io.NopCloser(bytes.NewReader(body))
		v.r.Header.Del("Accept-Encoding") // kept as it is
		err := do(v)
		return access.Answer{Status: record.code, Location: record.header.Get("Location"), Body: record.body.Bytes()}, err
	})
	if err != nil {
		return err
	}
	v.w = to
	v.r.Header.Set("Accept-Encoding", packed)
	v.w.Header().Set("Location", answer.Location)
	v.send(answer.Status, "application/json", answer.Body)
	return nil
}

// onceField is the hidden field of a form that makes something whose secret is shown
// in the answer only. That answer cannot be a redirect, so it can be asked for again.
const onceField = "once"

// hideOnce gives a form a key of its own.
func (f *form) hideOnce() {
	if f.Hidden == nil {
		f.Hidden = map[string]string{}
	}
	f.Hidden[onceField] = rand.Text()
}

// madeOnce makes what a form asks for; the same form again, as a reload of the answer
// sends it, gives the same thing and its secret and makes no second one. A form that
// was changed meanwhile is another.
func (v *visit) madeOnce(typed url.Values, do func() (id, secret string, err error)) (id, secret string, err error) {
	if typed.Get(onceField) == "" {
		return do()
	}
	asked := sha256.Sum256([]byte(v.r.URL.Path + "\n" + typed.Encode()))
	answer, err := v.s.cfg.Access.Once(v.r.Context(), v.caller, hex.EncodeToString(asked[:]), asked[:], func() (access.Answer, error) {
		id, secret, err := do()
		return access.Answer{Status: http.StatusCreated, Location: id, Body: []byte(secret)}, err
	})
	return answer.Location, string(answer.Body), err
}

// recorder takes an answer that is to be kept before it is sent.
type recorder struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(code int)        { r.code = code }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }

// Bounds of what one token may ask. A page of a program that shows a device asks
// some ten things at once; an export of 70,000 devices takes 140 calls.
const (
	callsPerSecond = 50
	callsAtOnce    = 500
	// maxTokens bounds the memory; there are never so many in use at once.
	maxTokens = 10_000
)

// errRate: more calls than a token may make.
var errRate = errors.New("too many calls with this token")

// limits slows down tokens that ask too much, each by itself.
type limits struct {
	mu sync.Mutex
	// below is guarded by mu
	tokens map[string]*rate.Limiter
}

// allow takes a call of a token, or says after how long it may come again.
func (l *limits) allow(token string, now time.Time) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	one := l.tokens[token]
	if one == nil {
		if l.tokens == nil || len(l.tokens) >= maxTokens {
			l.tokens = map[string]*rate.Limiter{}
		}
		one = rate.NewLimiter(callsPerSecond, callsAtOnce)
		l.tokens[token] = one
	}
	if one.AllowN(now, 1) {
		return 0
	}
	return time.Second / callsPerSecond
}
