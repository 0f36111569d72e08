package finding

import (
	"math"
	"testing"
)

const giB = 1 << 30

// filled is a trend of days with f(day) bytes free.
func filled(days int64, f func(d int64) float64) *trend {
	t := &trend{}
	for d := range days {
		t.note(d, int64(f(d)), 256*giB)
	}
	return t
}

// wobble is a fixed noise of up to 1.
func wobble(d int64) float64 { return math.Sin(float64(d) * 12.9898) }

// bow is a noise of five days that no line has a share in.
func bow(d int64) float64 { return float64((d-2)*(d-2) - 2) }

func TestProject(t *testing.T) {
	for _, c := range []struct {
		name      string
		days      int64
		f         func(d int64) float64
		want, err float64 // about; err is the most that is believed
		ok        bool
	}{
		{"a straight fall", 11, func(d int64) float64 { return (30 - float64(d)) * giB }, 20, 0.01, true},
		{"a fall with noise", 21, func(d int64) float64 { return (60 - 2*float64(d) + wobble(d)) * giB }, 10, 2, true},
		{"over for a week", 22, func(d int64) float64 { return max(60-3*float64(d), 60-3*13) * giB }, 0, 0, false},
		{"over for three days", 22, func(d int64) float64 { return max(60-2*float64(d), 60-2*18) * giB }, 13, 4, true},
		{"one step, then level", 20, func(d int64) float64 {
			if d < 3 {
				return 90 * giB
			}
			return (60 + wobble(d)/10) * giB
		}, 0, 0, false},
		{"as good as full", 11, func(d int64) float64 { return max(10-float64(d), 0.01) * giB }, 0, 1, true},
		{"no fall", 20, func(d int64) float64 { return (30 + wobble(d)) * giB }, 0, 0, false},
		{"a rise", 20, func(d int64) float64 { return (30 + float64(d)) * giB }, 0, 0, false},
		{"too few days", 5, func(d int64) float64 { return (30 - float64(d)) * giB }, 0, 0, false}, // today does not count
		{"noise larger than the fall", 10, func(d int64) float64 { return (30 - 0.05*float64(d) + 3*wobble(d)) * giB }, 0, 0, false},
		// Five days, of which Student's t is 3.07 and 3.29.
		{"a fall that could be chance", 6, func(d int64) float64 { return (60 - 2.10*float64(d) + bow(d)) * giB }, 0, 0, false},
		{"a fall that hardly could", 6, func(d int64) float64 { return (60 - 2.25*float64(d) + bow(d)) * giB }, 21.7, 8, true},
		{"cleaned up since", 12, func(d int64) float64 {
			if d < 9 {
				return (20 - 2*float64(d)) * giB
			}
			return 120 * giB
		}, 0, 0, false},
	} {
		tr := filled(c.days, c.f)
		days, stderr, ok := tr.project(c.days - 1)
		if ok != c.ok || ok && (math.Abs(days-c.want) > max(c.err, 0.5) || stderr > c.err) {
			t.Errorf("%s: project = %.2f ± %.2f, %v, want %.0f ± at most %.2f, %v", c.name, days, stderr, ok, c.want, c.err, c.ok)
		}
	}
}

// TestProjectError: the error that is told is the one that the projection has,
// over many noises.
func TestProjectError(t *testing.T) {
	within, total := 0, 0
	for seed := range int64(200) {
		tr := filled(20, func(d int64) float64 { return (60 - 2*float64(d) + 2*wobble(d+seed*31)) * giB })
		days, stderr, ok := tr.project(19)
		if !ok {
			continue
		}
		total++
		if math.Abs(days-11) <= stderr {
			within++
		}
	}
	// One standard error holds 68 % of normal noise; this one is not quite normal.
	if share := float64(within) / float64(total); total < 190 || share < 0.5 || share > 0.9 {
		t.Errorf("%d of %d projections are within their error", within, total)
	}
}

// TestTrendCleanUp: a rise of more than a twentieth of the volume begins anew.
func TestTrendCleanUp(t *testing.T) {
	for _, c := range []struct {
		rise float64 // of 256 GiB, of which a twentieth is 12.8
		want int64   // the first day that is kept
	}{{12.7, 0}, {12.9, 5}} {
		tr := filled(7, func(d int64) float64 {
			if d < 5 {
				return 30 * giB
			}
			return (30 + c.rise) * giB
		})
		if got := tr.days[0].Day; got != c.want {
			t.Errorf("after a rise of %.1f GiB on day 5 the trend begins with day %d, want %d", c.rise, got, c.want)
		}
	}
}

func TestTrendKeepsAMonth(t *testing.T) {
	tr := filled(100, func(d int64) float64 { return 1000 * giB })
	if n := len(tr.days); n != keepDays {
		t.Errorf("after 100 days %d are kept, want %d", n, keepDays)
	}
	tr.note(5, 1, 256*giB)
	if last := tr.days[len(tr.days)-1]; last.Day != 99 || last.Free != 1000*giB {
		t.Errorf("a day of the past changed the last one to %v", last)
	}
	tr.note(99, 7, 256*giB)
	if last := tr.days[len(tr.days)-1]; last.Free != 7 {
		t.Errorf("the day's least is %d, want 7", last.Free)
	}
}
