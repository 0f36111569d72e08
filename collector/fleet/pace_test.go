package fleet

import (
	"testing"
	"time"
)

// TestPace: a job finds out how many devices a transaction can take. It never
// holds others up for long to find that out, and gives way when others come.
func TestPace(t *testing.T) {
	for _, c := range []struct {
		name string
		each time.Duration // device
		want [2]int64      // devices once it is at its pace
	}{
		{"quick", 50 * time.Microsecond, [2]int64{300, fastest}},
		{"usual", 300 * time.Microsecond, [2]int64{45, 100}},
		{"busy", 2 * time.Millisecond, [2]int64{slowest, 15}},
		{"hardly", 50 * time.Millisecond, [2]int64{slowest, slowest}},
	} {
		for act := range firstPace {
			f := &Fleet{paces: map[Act]*pace{}}
			p := f.paceOf(act)
			for range 40 {
				took := time.Duration(p.devices) * c.each
				if most := 50 * c.each; took > max(most, 2*stepFor) {
					t.Errorf("%s, %s: a transaction of %d devices took %v", c.name, act, p.devices, took)
				}
				p.took(took)
			}
			if p.devices < c.want[0] || p.devices > c.want[1] {
				t.Errorf("%s, %s: %d devices in the end, want %v", c.name, act, p.devices, c.want)
			}
			p.took(0)
		}
	}
}
