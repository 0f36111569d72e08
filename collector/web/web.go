// Package web owns what a browser or a program sees of the collector: the
// pages in German and English, the JSON API under /api/v1, /metrics, /healthz
// and /readyz. It holds no data: each page asks the subjects' data functions
// with the Caller of its request, and shows what they give.
//
// It promises that every answer carries the security headers, that a request
// which changes something is refused when another site made it, that pages
// ask no other host for anything, and that they can be read and their forms be
// sent without script. Texts and formats are in collector/web/words. After a
// crash nothing of it is left; sessions live in collector/access.
package web

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Measure is one number of another part of the collector for /metrics. Names
// and units follow Prometheus: hausmeister_..., base units, _total for counters.
type Measure struct {
	Name    string
	Help    string
	Counter bool              // only ever rises
	Labels  map[string]string // fixed for this measure
	Read    func() float64    // called at each scrape, cheap
}

// Config is what the pages need. The data functions of access, fleet, health
// and the bus join it as they land.
type Config struct {
	// Ready says whether the collector can serve now (/readyz).
	Ready    func(context.Context) error
	Measures []Measure
	Now      func() time.Time
	Log      *slog.Logger
	Version  string // of the program, shown in the account menu
}

// Server answers browsers and programs.
type Server struct {
	cfg Config
}

// New checks the Config and prepares pages and static files. It starts nothing.
func New(cfg Config) (*Server, error) {
	if cfg.Now == nil || cfg.Log == nil || cfg.Ready == nil {
		return nil, errors.New("making the pages: Now, Log and Ready are needed")
	}
	return &Server{cfg: cfg}, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }

// Serve answers the connections of ln, which gives *tls.Conn that may have
// negotiated h2 or http/1.1, until ctx ends; then it ends live streams, lets
// answers finish for a moment, and returns nil. It closes ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	return (&http.Server{Handler: s}).Serve(ln)
}
