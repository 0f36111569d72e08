package demo

import "testing"

func TestPlan(t *testing.T) {
	for _, devices := range []int{0, 1, 50, 3000} {
		p := planFor(devices)
		if len(p.devices) != devices || len(p.number) != devices || len(p.schools) < 1 {
			t.Fatalf("planFor(%d) has %d devices, %d numbers, %d schools", devices, len(p.devices), len(p.number), len(p.schools))
		}
		seen := map[string]bool{"AH-00001": true} // this machine's
		serials := map[int]bool{}
		for n, d := range p.devices {
			if seen[p.number[n]] || serials[d.Number] {
				t.Errorf("planFor(%d): number %s or machine %d is there twice", devices, p.number[n], d.Number)
			}
			seen[p.number[n]], serials[d.Number] = true, true
		}
	}
}
