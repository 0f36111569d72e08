// Package web owns what a browser or a program sees of the collector: the
// pages in German and English, the JSON API under /api/v1, /metrics, /healthz
// and /readyz. It holds no data: each page asks the subjects' data functions
// with the Caller of its request, and shows what they give.
//
// It promises that every answer carries the security headers, that a request
// which changes something is refused when another site made it, that pages
// ask no other host for anything, and that they can be read and their forms be
// sent without script. What is finer than a day would tell when a teacher
// works, so no page and no answer of the API names a time of day of a device.
// Texts and formats are in collector/web/words. After a crash nothing of it is
// left; sessions live in collector/access.
package web

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"hausmeister/collector/bus"
	"hausmeister/collector/pace"
	"hausmeister/collector/web/words"
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

// Config is what the pages need.
type Config struct {
	Access    Accounts
	Claims    Claims
	Fleet     Fleet
	Health    Health
	Questions Questions
	Rollouts  Rollouts
	Bus       *bus.Bus

	// Updates is nil where this collector has none; Pace is that of their bytes,
	// shared with the gateway, nil = one of its own.
	Updates Updates
	Pace    *pace.Pacer
	// NeedsRoot: no root of trust is built in, the first import names one.
	NeedsRoot bool

	// Address is the HOST:PORT at which devices come; empty = that of each request.
	Address string

	// Ready says whether the collector can serve now (/readyz).
	Ready    func(context.Context) error
	Measures []Measure
	Now      func() time.Time
	Log      *slog.Logger
	Version  string // of the program, for /metrics
	// MetricsOpen lets programs on this machine read /metrics without a token.
	MetricsOpen bool
}

// Server answers browsers and programs.
type Server struct {
	cfg     Config
	assets  *assets
	pages   *template.Template
	say     map[words.Lang]*words.Speaker
	routes  []route
	mux     *http.ServeMux
	handler http.Handler
	metrics *metrics

	limits     limits
	statements *rate.Limiter // of freshness
	viewCounts viewCounts

	viewers struct {
		sync.Mutex
		of map[string]int // pages that show a device, by its id
	}
	live    liveStreams
	house   house
	streams streams       // of what happens, by caller
	ending  chan struct{} // closed when live streams must end
}

// New checks the Config and prepares pages and static files. It starts nothing.
func New(cfg Config) (*Server, error) {
	if cfg.Access == nil || cfg.Claims == nil || cfg.Fleet == nil || cfg.Health == nil || cfg.Questions == nil || cfg.Rollouts == nil || cfg.Bus == nil || cfg.Ready == nil || cfg.Now == nil || cfg.Log == nil {
		return nil, errors.New("making the pages: a field of the Config is missing")
	}
	if cfg.Pace == nil {
		cfg.Pace = pace.New(pace.Config{})
	}
	s := &Server{cfg: cfg, ending: make(chan struct{}), statements: newStatements()}
	s.viewers.of = map[string]int{}
	var err error
	if s.assets, err = loadAssets(); err != nil {
		return nil, fmt.Errorf("preparing static files: %w", err)
	}
	if s.say, err = words.Speakers(); err != nil {
		return nil, err
	}
	if s.pages, err = loadPages(); err != nil {
		return nil, err
	}
	if s.metrics, err = newMetrics(s); err != nil {
		return nil, err
	}
	s.routes = s.allRoutes()
	s.mux = s.newMux()
	s.handler = s.guard(s.mux)
	return s, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }
