package web

import (
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
)

// policy lets a page load from this server and from nowhere else, and run or
// style nothing that stands inside the page itself.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// guard stands before every route: the headers that every answer carries, the
// bound of the body, and the refusal of requests that another site made
// (Sec-Fetch-Site, else Origin against Host; reading stays allowed).
func (s *Server) guard(next http.Handler) http.Handler {
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(s.newVisit(w, r, open), errCrossSite)
	}))
	inner := cross.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY") // for what does not know frame-ancestors
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=(), display-capture=(), usb=(), payment=()")
		h.Set("Cache-Control", "no-store") // static files say otherwise
		if !local(r.Host) {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		if r.Body != nil {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		}
		// Not every writer has deadlines (tests record in memory).
		http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeWithin))
		counted := &countedWriter{ResponseWriter: w}
		start := time.Now()
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					panic(p)
				}
				s.cfg.Log.Error("a page panicked", "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				if counted.code == 0 {
					s.fail(s.newVisit(counted, r, open), errBroken)
				}
			}
			s.metrics.count(r, counted.code, time.Since(start))
		}()
		if err := misaddressed(r); err != nil {
			s.fail(s.newVisit(counted, r, open), err)
			return
		}
		inner.ServeHTTP(counted, r)
	})
}

// misaddressed refuses what the mux would answer by itself, in plain English, and
// hosts that are none: over HTTP/2 net/http passes on whatever a peer sends, and pages
// name the host. What net/http refuses before it asks any handler keeps its answer: a
// request line or header that cannot be read (400), a header of more than maxHeader
// (431), a version, transfer coding or expectation that it does not know (505, 501,
// 417). No browser sends these; TestErrorsAreOfTheHouse lists them.
func misaddressed(r *http.Request) error {
	switch {
	case r.Method == http.MethodConnect:
		return errMethod
	case r.RequestURI == "*":
		return &badRequest{"address", "want a path"}
	case !hostLike(r.Host):
		return &badRequest{"host", "want a name or an address, and maybe a port"}
	}
	return nil
}

// hostLike says whether a Host can be one; none at all is what HTTP/1.0 sends.
func hostLike(host string) bool {
	return len(host) <= 260 && !strings.ContainsFunc(host, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune(".-_:[]%", c)
	})
}

// local says whether a browser reached this server under a name of its own
// machine; a promise of HTTPS for localhost would bind every other program there.
func local(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || net.ParseIP(host).IsLoopback()
}

// countedWriter remembers the status for the metrics.
type countedWriter struct {
	http.ResponseWriter
	code int
}

func (w *countedWriter) WriteHeader(code int) {
	if w.code == 0 {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *countedWriter) Write(b []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController find the deadlines and the flush.
func (w *countedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
