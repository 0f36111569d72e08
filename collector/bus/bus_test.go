package bus_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hausmeister/collector/bus"
)

func drain(s *bus.Subscription) []bus.Event {
	var out []bus.Event
	for {
		select {
		case e := <-s.C:
			out = append(out, e)
		default:
			return out
		}
	}
}

func TestKindsAndOrder(t *testing.T) {
	b := bus.New()
	all, some := b.Subscribe(), b.Subscribe(bus.Revoked, bus.Settings)
	defer all.Close()
	defer some.Close()
	events := []bus.Event{{Kind: bus.Changed, Device: "a"}, {Kind: bus.Revoked, Device: "b"}, {Kind: bus.Connected, Device: "c"}, {Kind: bus.Settings, Device: "d"}}
	for _, e := range events {
		b.Publish(e)
	}
	if diff := cmp.Diff(events, drain(all)); diff != "" {
		t.Errorf("all kinds (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]bus.Event{events[1], events[3]}, drain(some)); diff != "" {
		t.Errorf("two kinds (-want +got):\n%s", diff)
	}
}

// A reader that sleeps costs the publisher and the other readers nothing, and
// learns that it missed something once it reads again.
func TestSlowReaderLags(t *testing.T) {
	b := bus.New()
	slow, quick := b.Subscribe(), b.Subscribe()
	defer slow.Close()
	defer quick.Close()
	for i := range 1000 {
		b.Publish(bus.Event{Kind: bus.Changed, Device: fmt.Sprint(i)})
		if e := <-quick.C; e.Device != fmt.Sprint(i) {
			t.Fatalf("quick reader got %v, want %d", e, i)
		}
	}
	if quick.Lagged() {
		t.Error("the quick reader lags")
	}
	got := drain(slow)
	if len(got) == 0 || len(got) == 1000 || got[0].Device != "0" {
		t.Errorf("slow reader got %d events, want the oldest up to the bound", len(got))
	}
	if !slow.Lagged() {
		t.Error("the slow reader was not told that it lags")
	}
	if slow.Lagged() {
		t.Error("told twice of one lag")
	}
	b.Publish(bus.Event{Kind: bus.Changed, Device: "next"})
	if got := drain(slow); len(got) != 1 || slow.Lagged() {
		t.Errorf("after the lag got %v", got)
	}
}

func TestClosedSubscription(t *testing.T) {
	b := bus.New()
	s := b.Subscribe()
	s.Close()
	s.Close()
	b.Publish(bus.Event{Kind: bus.Changed})
	if got := drain(s); got != nil {
		t.Errorf("after Close got %v", got)
	}
}

func TestPublishersAndReadersAtOnce(t *testing.T) {
	b := bus.New()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				b.Publish(bus.Event{Kind: bus.Changed})
			}
		})
		wg.Go(func() {
			for range 50 {
				s := b.Subscribe(bus.Changed)
				drain(s)
				s.Lagged()
				s.Close()
			}
		})
	}
	wg.Wait()
}

func TestKindNames(t *testing.T) {
	for k := bus.Changed; k <= bus.Repository; k++ {
		if k.String() == "" || k.String() == "unknown" {
			t.Errorf("kind %d has no name", k)
		}
	}
	if got := bus.Kind(0).String(); got != "unknown" {
		t.Errorf("Kind(0) = %q", got)
	}
}
