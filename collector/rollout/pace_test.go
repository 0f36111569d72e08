package rollout_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"hausmeister/collector/rollout"
)

// TestRingsOfAFleet: a ring that would add nothing is left out, one of more than 10 % of
// the fleet takes two persons, unless it is of a hundred devices at most.
func TestRingsOfAFleet(t *testing.T) {
	for fleet, want := range map[int64]string{
		0: "1", 1: "1", 20: "20", 21: "20 21", 100: "20 100", 101: "20 100 101!", 360: "20 100 350! 360!",
		20_000: "20 100 350 1400 2000 6000! 20000!", 70_000: "20 100 350 1400 7000 21000! 70000!", 100_001: "20 100 501 2001 10001! 30001! 100001!",
	} {
		var got []string
		for _, s := range rollout.DefaultPace().Steps(fleet) {
			text := fmt.Sprint(s.End)
			if s.Wide {
				text += "!"
			}
			got = append(got, text)
		}
		if got := strings.Join(got, " "); got != want {
			t.Errorf("the rings of %d devices end at %s, want %s", fleet, got, want)
		}
	}
}

// TestPaceOutOfBounds: a pace that devices would not obey, or that never ends, is none.
func TestPaceOutOfBounds(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		const day = 24 * time.Hour
		for name, c := range map[string]struct {
			pace rollout.Pace
			fits bool
		}{
			"14 days":                    {rollout.Pace{Lease: 14 * day}, true},
			"more":                       {rollout.Pace{Lease: 14*day + 1}, false},
			"spread over all of it":      {rollout.Pace{Lease: time.Hour, Spread: time.Hour}, true},
			"spread over more":           {rollout.Pace{Lease: time.Hour, Spread: time.Hour + 1}, false},
			"no ring of the whole fleet": {rollout.Pace{Rings: []rollout.Ring{{Devices: 20}}}, false},
		} {
			cfg := w.cfg
			cfg.Pace = c.pace
			if _, err := rollout.New(cfg); (err == nil) != c.fits {
				t.Errorf("%s: New = %v", name, err)
			}
		}
	})
}
