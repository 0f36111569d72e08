package gateway

import (
	"testing"
	"time"

	"hausmeister/collector/bus"
)

// TestLookEndsNobodysLive: a look that is opened keeps what others watch, the end
// of the last viewer ends it, and nothing is kept of what is over.
func TestLookEndsNobodysLive(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	g := &Gateway{cfg: Config{Now: func() time.Time { return now }}, live: map[string]time.Time{}}
	until := now.Add(30 * time.Second)
	if got := g.liveUntil(bus.Event{Device: "a", Flush: true}); !got.IsZero() {
		t.Errorf("a look where nobody watches: %v", got)
	}
	if got := g.liveUntil(bus.Event{Device: "a", Live: until}); !got.Equal(until) {
		t.Errorf("watched: %v, want %v", got, until)
	}
	if got := g.liveUntil(bus.Event{Device: "a", Flush: true}); !got.Equal(until) {
		t.Errorf("a look meanwhile: %v, want %v", got, until)
	}
	if got := g.liveUntil(bus.Event{Device: "a", Live: now}); got.After(now) || got.IsZero() {
		t.Errorf("the last viewer is gone: %v, want an end", got)
	}
	if got := g.liveUntil(bus.Event{Device: "a", Flush: true}); !got.IsZero() {
		t.Errorf("a look after that: %v", got)
	}
	g.liveUntil(bus.Event{Device: "b", Live: until})
	now = now.Add(time.Minute)
	g.liveUntil(bus.Event{Device: "c", Flush: true})
	if len(g.live) != 0 {
		t.Errorf("kept of what is over: %v", g.live)
	}
}
