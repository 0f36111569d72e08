package web

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"hausmeister/collector/fleet"
)

// viewCounts keeps for a while how many devices saved views have, so that the list
// itself need not count them: whoever sees the same owners sees the same number.
type viewCounts struct {
	mu sync.Mutex
	// below is guarded by mu
	of map[string]viewCount
}

type viewCount struct {
	n  int64
	at time.Time
}

const (
	countsFor = 30 * time.Second
	maxCounts = 2000
)

func countKey(v *visit, sv fleet.View) string { return fmt.Sprintf("%q %q", sv.ID, v.caller.Owners) }

func (c *viewCounts) get(key string, now time.Time) (int64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	got, ok := c.of[key]
	return got.n, ok && now.Sub(got.at) < countsFor
}

func (c *viewCounts) put(key string, n int64, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil || len(c.of) >= maxCounts {
		c.of = map[string]viewCount{}
	}
	c.of[key] = viewCount{n, now}
}

// forget lets a view that was changed be counted anew.
func (c *viewCounts) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of = nil
}

// countView counts the devices of a view.
func (s *Server) countView(v *visit, sv fleet.View) (int64, error) {
	key, now := countKey(v, sv), s.cfg.Now()
	if n, ok := s.viewCounts.get(key, now); ok {
		return n, nil
	}
	counts, err := s.cfg.Fleet.Counts(v.r.Context(), v.caller, sv.Filter)
	if err != nil {
		return 0, err
	}
	n := counts.Total
	if sv.Filter.State != "" {
		n = counts.States[sv.Filter.State]
	}
	s.viewCounts.put(key, n, now)
	return n, nil
}

// viewCountPart is the number beside a view's name, for a page that was there
// before it was counted.
func (s *Server) viewCountPart(v *visit) error {
	sv, err := s.cfg.Fleet.View(v.r.Context(), v.caller, v.r.PathValue("name"))
	if err != nil {
		return err
	}
	n, err := s.countView(v, sv)
	if err != nil {
		return err
	}
	v.send(http.StatusOK, "text/html; charset=utf-8", []byte(v.say.Number(n)))
	return nil
}
