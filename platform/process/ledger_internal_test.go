package process

import (
	"testing"
	"time"
)

// TestLedger: whoever ends, and however a look falls between, nothing is counted twice and
// nothing is taken back. The steps are looks, at a parent and at children of its.
func TestLedger(t *testing.T) {
	parent := life{1, 1}
	look := func(own, left int, children map[int]int) map[life]taken {
		all := map[life]taken{parent: {cpu: time.Duration(own), left: time.Duration(left), written: uint64(left)}}
		for pid, cpu := range children {
			all[life{pid, 1}] = taken{cpu: time.Duration(cpu), written: uint64(cpu)}
		}
		return all
	}
	for name, c := range map[string]struct {
		looks []map[life]taken
		cpu   []int
	}{
		"waited for":                     {[]map[life]taken{look(1, 0, map[int]int{2: 10}), look(1, 12, nil)}, []int{11, 13}},
		"never seen":                     {[]map[life]taken{look(1, 0, nil), look(1, 12, nil)}, []int{1, 13}},
		"lost":                           {[]map[life]taken{look(1, 0, map[int]int{2: 10}), look(2, 0, nil), look(2, 0, map[int]int{3: 5})}, []int{11, 12, 17}},
		"ends after its parent was read": {[]map[life]taken{look(1, 0, map[int]int{2: 10}), look(1, 0, nil), look(1, 12, nil)}, []int{11, 11, 13}},
		"lost, and another waited for":   {[]map[life]taken{look(1, 0, map[int]int{2: 10}), look(1, 0, nil), look(1, 0, nil), look(1, 20, nil)}, []int{11, 11, 11, 31}},
		"another of its number":          {[]map[life]taken{look(1, 0, map[int]int{2: 10}), look(1, 0, map[int]int{2: 4})}, []int{11, 15}},
	} {
		var l ledger
		for i, now := range c.looks {
			u := l.add(now)
			if u.CPU != time.Duration(c.cpu[i]) || name != "another of its number" && u.Written > uint64(c.cpu[i]) {
				t.Errorf("%s: look %d = %d, %d written, want %d", name, i+1, u.CPU, u.Written, c.cpu[i])
			}
		}
	}
}
