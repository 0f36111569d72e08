package crowd_test

import (
	"slices"
	"testing"

	"hausmeister/collector/crowd"
)

// told are the numbers that are told, -1 = left out; nil = none may be.
func told(devices []int64) []int64 {
	hidden, ok := crowd.Hide(devices)
	if !ok {
		return nil
	}
	out := slices.Clone(devices)
	for i := range out {
		if hidden[i] {
			out[i] = -1
		}
	}
	return out
}

func TestFewAreNotTold(t *testing.T) {
	for _, c := range []struct{ devices, told []int64 }{
		{[]int64{9, 18, 0, 13, 6}, []int64{9, 18, 0, 13, 6}},
		{[]int64{9, 18, 4, 13, 6}, []int64{9, 18, -1, 13, -1}},
		{[]int64{3, 18, 4, 13, 6}, []int64{-1, 18, -1, 13, 6}},
		{[]int64{1, 1, 7, 20, 6}, []int64{-1, -1, 7, 20, -1}},
		{[]int64{20, 9, 9, 4}, []int64{20, -1, -1, -1}}, // 13 of two, none above 9, are 9 and 4
		{[]int64{40, 10, 9, 4}, []int64{40, 10, -1, -1}},
		{[]int64{3, 40}, []int64{-1, -1}},
		{[]int64{1, 1, 1, 1, 1}, nil}, // five numbers of five devices
		{[]int64{4, 0, 0}, nil},
		{[]int64{2}, nil},
		{[]int64{}, []int64{}},
	} {
		if got := told(c.devices); !slices.Equal(got, c.told) || (got == nil) != (c.told == nil) {
			t.Errorf("of %d is told %d, want %d; -1 = left out", c.devices, got, c.told)
		}
	}
}

// TestNobodyCanCalculate tries all small distributions, those in falling order, too:
// each number that is left out could be two at least, by what is told.
func TestNobodyCanCalculate(t *testing.T) {
	const most = 11
	for n := 1; n <= 4; n++ {
		for d := make([]int64, n); d != nil; d = next(d, most) {
			got := told(d)
			for i, v := range got {
				if v != -1 && v != d[i] || v > 0 && v < crowd.FewPersons {
					t.Fatalf("of %d is told %d", d, got)
				}
			}
			for _, falling := range []bool{false, true} {
				if falling && !slices.IsSortedFunc(d, func(a, b int64) int { return int(b - a) }) {
					continue
				}
				could := make([]map[int64]bool, n)
				for i := range could {
					could[i] = map[int64]bool{}
				}
				guess(got, sum(d), falling, nil, could)
				for i, values := range could {
					if got != nil && got[i] == -1 && len(values) < 2 {
						t.Errorf("of %d is told %d, in falling order %v: what was left out at %d is known", d, got, falling, i)
					}
				}
			}
		}
	}
}

// guess puts all that could have been in the places of what was left out.
func guess(told []int64, left int64, falling bool, begun []int64, could []map[int64]bool) {
	i := len(begun)
	if i == len(told) {
		few := !slices.Contains(told, -1)
		for i, v := range begun {
			few = few || told[i] == -1 && v < crowd.FewPersons
		}
		if left == 0 && few {
			for i, v := range begun {
				could[i][v] = true
			}
		}
		return
	}
	from, to := told[i], told[i]
	if told[i] == -1 {
		from, to = 1, left
	}
	if falling && i > 0 {
		to = min(to, begun[i-1])
	}
	for v := from; v <= to && v <= left; v++ {
		guess(told, left-v, falling, append(begun[:i:i], v), could)
	}
}

func sum(all []int64) (n int64) {
	for _, v := range all {
		n += v
	}
	return n
}

// next counts d up in numbers from 0 to most; nil = there is no next.
func next(d []int64, most int64) []int64 {
	for i := range d {
		if d[i] < most {
			d[i]++
			return d
		}
		d[i] = 0
	}
	return nil
}
