package demo

import "testing"

// TestTourIsOver: not before the rollout says so, which it does a look after the last
// device, unless somebody waits for a teacher.
func TestTourIsOver(t *testing.T) {
	for _, c := range []struct {
		name                       string
		state                      string
		ok, bad                    int
		current, devices, teachers int
		over                       bool
	}{
		{"all well, and done", "done", 9, 0, 9, 9, 0, true},
		{"all well, not looked at yet", "running", 9, 0, 9, 9, 0, false},
		{"one waits for a charged battery", "running", 8, 0, 8, 9, 1, true},
		{"one is under way", "running", 8, 0, 8, 9, 0, false},
		{"one has the version and has not told that it stays", "running", 8, 0, 9, 9, 0, false},
		{"one failed", "running", 8, 1, 8, 9, 0, false},
		{"nobody is counted yet", "running", 0, 0, 0, 0, 0, false},
	} {
		r := aRollout{State: c.state, Rings: []aRing{{Adds: c.devices, OK: c.ok, Bad: c.bad}}}
		if got := r.over(compliance{Devices: c.devices, Counts: map[string]int{"current": c.current}, Teachers: c.teachers}); got != c.over {
			t.Errorf("%s: over = %v, want %v", c.name, got, c.over)
		}
	}
}
