package question_test

import (
	"slices"
	"testing"

	"hausmeister/collector/crowd"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/question"
	"hausmeister/proto/reading"
)

// TestFewAreNotTold: no bar and no week gives a number under five.
func TestFewAreNotTold(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		s := w.schools()["S1"]
		for i := range 30 {
			id := w.admit(s, "LIFEBOOK")
			charge := int64(450)
			if i < 4 {
				charge = 950
			}
			w.tells(id, noon.AddDate(0, 0, -1), number(reading.BatteryCharge, charge), text(reading.OSBuild, map[bool]string{true: "rare", false: "usual"}[i < 3]))
			if i < 4 {
				w.tells(id, noon.AddDate(0, 0, -15), number(reading.BatteryCharge, 100), text(reading.OSBuild, "rare"))
			}
		}
		w.merges()
		for _, show := range []string{"battery_charge", "os_build"} {
			a, _, _, err := w.Ask(t.Context(), system, question.Question{Show: show}, question.Page{})
			w.must(err)
			few, told := 0, int64(0)
			for _, b := range a.Bars {
				if b.Few {
					few++
				}
				if b.Few && b.Devices != 0 || b.Devices > 0 && b.Devices < crowd.FewPersons {
					t.Errorf("%s tells %+v", show, b)
				}
				told += b.Devices
			}
			if few != 2 || told != 0 || a.InBars != 30 {
				t.Errorf("%s has the bars %+v of %d devices, want 30 and none of two told", show, a.Bars, a.InBars)
			}
		}
		// How many match is told, and would be one of the bars.
		for _, asked := range []string{"battery_charge.gt.900", "os_build.is.rare"} {
			a, _, _, err := w.Ask(t.Context(), system, ask(t, asked), question.Page{})
			w.must(err)
			if a.Bars != nil || a.InBars != 30 || a.Matching == 0 {
				t.Errorf("%s has the bars %+v of %d devices and %d matching, want 30 and no bars", asked, a.Bars, a.InBars, a.Matching)
			}
			if len(a.Trend) != 2 || !a.Trend[0].Few || a.Trend[0].Known != 0 || !a.Trend[1].Few || a.Trend[1].Matching != 0 {
				t.Errorf("%s has the trend %+v, want two weeks of few", asked, a.Trend)
			}
		}
	})
}

// TestFewCannotBeCalculated: what is left out is neither one bar nor so few that
// the rest to the sum tells of them.
func TestFewCannotBeCalculated(t *testing.T) {
	for _, c := range []struct {
		devices []int64
		match   int
		told    []int64
	}{
		{[]int64{9, 18, 0, 13, 6}, 0, []int64{9, 18, 0, 13, 6}},
		{[]int64{9, 18, 4, 13, 6}, 0, []int64{9, 18, -1, 13, -1}},
		{[]int64{3, 18, 4, 13, 6}, 0, []int64{-1, 18, -1, 13, 6}},
		{[]int64{1, 1, 7, 20, 6}, 0, []int64{-1, -1, 7, 20, -1}},
		{[]int64{6, 0, 2, 6}, 0, []int64{6, 0, -1, -1}},
		{[]int64{3, 40}, 0, []int64{-1, -1}},
		{[]int64{1, 1, 1, 1, 1}, 0, nil}, // five bars of five devices
		{[]int64{4, 0, 0}, 0, nil},
		{[]int64{2}, 0, nil},
		{nil, 0, nil},
		// The page says how many match: 22 below the limit, of 41.
		{[]int64{9, 10, 3, 13, 6}, 3, []int64{-1, 10, -1, 13, 6}},
		{[]int64{9, 10, 3, 13, 4}, 3, []int64{-1, 10, -1, -1, -1}},
		{[]int64{3, 18, 4, 13}, 1, nil}, // 3 match
	} {
		if told := question.HideFew(c.devices, c.match); !slices.Equal(told, c.told) {
			t.Errorf("of %d, %d of which match, is told %d, want %d; -1 = left out", c.devices, c.match, told, c.told)
		}
	}
}

// TestNoSumTellsOfFew tries all small distributions: whoever knows what the answer
// tells, that is how many devices there are, how many match and the bars that are
// named, finds two numbers at least that each other bar could have. Bars may be in
// the order of their devices.
func TestNoSumTellsOfFew(t *testing.T) {
	const most = 9
	for n := 1; n <= 4; n++ {
		bars := make([]int64, n)
		for {
			for match := 0; match <= n; match++ {
				told := question.HideFew(bars, match)
				for _, part := range [][2]int{{0, match}, {match, n}} {
					if told == nil {
						continue
					}
					var hidden []int64
					var sum int64
					for i := part[0]; i < part[1]; i++ {
						switch {
						case told[i] == -1:
							hidden, sum = append(hidden, bars[i]), sum+bars[i]
						case told[i] > 0 && told[i] < crowd.FewPersons, told[i] != bars[i]:
							t.Fatalf("of %d is told %d", bars, told)
						}
					}
					if i := certain(len(hidden), sum); i >= 0 {
						t.Fatalf("of %d, %d of which match, is told %d: what was left out at %d is known", bars, match, told, i)
					}
				}
			}
			i := 0
			for i < n && bars[i] == most {
				bars[i], i = 0, i+1
			}
			if i == n {
				break
			}
			bars[i]++
		}
	}
}

// certain gives the place of a bar that can have one number only, if there are so
// many in falling order with this sum and none is empty; -1 = none.
func certain(bars int, sum int64) int {
	could := make([]map[int64]bool, bars)
	for i := range could {
		could[i] = map[int64]bool{}
	}
	var try func(at int, left, most int64, so []int64)
	try = func(at int, left, most int64, so []int64) {
		if at == bars {
			for i, n := range so {
				if left == 0 {
					could[i][n] = true
				}
			}
			return
		}
		for n := int64(1); n <= min(left, most); n++ {
			try(at+1, left-n, n, append(so, n))
		}
	}
	try(0, sum, sum, nil)
	return slices.IndexFunc(could, func(numbers map[int64]bool) bool { return len(numbers) < 2 })
}
