package web

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"hausmeister/collector/access"
	"hausmeister/collector/fleet"
)

// metrics is what /metrics shows: the Measures of the other parts, the fleet by
// state, and how this server answers.
type metrics struct {
	s        *Server
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	page     http.Handler
}

func newMetrics(s *Server) (*metrics, error) {
	m := &metrics{s: s,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hausmeister_http_requests_total",
			Help: "Answered requests of browsers and programs."}, []string{"route", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "hausmeister_http_request_duration_seconds",
			Help:    "Time to answer a request, live streams and files of updates left out.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}}, []string{"route"}),
	}
	registry := prometheus.NewRegistry()
	all := []prometheus.Collector{m.requests, m.duration, fleetCollector{s},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		s.live.collector("page", &s.live.pages), s.live.collector("api", &s.live.programs),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "hausmeister_build_info", Help: "Always 1; the version is a label.",
			ConstLabels: prometheus.Labels{"version": s.cfg.Version}}, func() float64 { return 1 }),
	}
	for _, measure := range s.cfg.Measures {
		all = append(all, measure.collector())
	}
	for _, c := range all {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("registering a measure: %w", err)
		}
	}
	m.page = promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 2, Timeout: 10 * time.Second})
	return m, nil
}

func (l *liveStreams) collector(kind string, open *atomic.Int64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "hausmeister_live_streams", Help: "Event streams open now: of pages, and of programs by the API.",
		ConstLabels: prometheus.Labels{"kind": kind}}, func() float64 { return float64(open.Load()) })
}

func (m Measure) collector() prometheus.Collector {
	if m.Counter {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: m.Name, Help: m.Help, ConstLabels: m.Labels}, m.Read)
	}
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: m.Name, Help: m.Help, ConstLabels: m.Labels}, m.Read)
}

func (m *metrics) serve(v *visit) error {
	m.page.ServeHTTP(v.w, v.r)
	return nil
}

// lasting are the routes whose answers take as long as somebody listens or a line is
// slow, which is no time to answer.
var lasting = map[string]bool{"GET /devices/{id}/live": true, "GET /news": true, "GET /api/v1/events": true, "GET /api/v1/devices/{id}/live": true, "GET /updates/{file}": true}

// count notes an answer under its route; what has none is one label together,
// so that a stranger cannot make series at will.
func (m *metrics) count(r *http.Request, code int, took time.Duration) {
	route := r.Pattern
	if route == "" || route == "/" {
		route = "none"
	}
	m.requests.WithLabelValues(route, strconv.Itoa(code)).Inc()
	if !lasting[r.Pattern] {
		m.duration.WithLabelValues(route).Observe(took.Seconds())
	}
}

// fleetCollector counts devices by state when it is asked.
type fleetCollector struct{ s *Server }

var devicesDesc = prometheus.NewDesc("hausmeister_devices", "Devices by state.", []string{"state"}, nil)

func (c fleetCollector) Describe(ch chan<- *prometheus.Desc) { ch <- devicesDesc }

func (c fleetCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	counts, err := c.s.cfg.Fleet.Counts(ctx, access.System("metrics"), fleet.Filter{})
	if err != nil {
		ch <- prometheus.NewInvalidMetric(devicesDesc, err)
		return
	}
	for _, state := range fleet.States {
		ch <- prometheus.MustNewConstMetric(devicesDesc, prometheus.GaugeValue, float64(counts.States[state]), string(state))
	}
}
