package finding

import (
	"math"
	"time"
)

const (
	day = 24 * time.Hour
	// keepDays is how far back the trend of free space looks: what was a month
	// ago says little about next month.
	keepDays = 30
	// minDays is how many days a trend needs.
	minDays = 5
	// significant is how many times its own error a fall must be: Student's t at
	// 5 days and 97.5 %.
	significant = 3.18
	// recent is how many days back a fall must still have gone on, by leastShare of
	// what the whole trend says.
	recent     = 7
	leastShare = 0.25
	// far stands for "not within sight", in days.
	far = 36_525
)

// dayMin is the least free space of one day. Days are counted by the watcher's
// own age, not by a calendar.
type dayMin struct {
	Day  int64 `json:"d"`
	Free int64 `json:"f"`
}

// trend is the least free space of the system volume, a value a day.
type trend struct {
	days []dayMin
}

// note takes a value of today. A rise of more than a twentieth of the volume
// from one day to the next is a clean-up: what was before it says nothing about
// what comes.
func (t *trend) note(today, free, total int64) {
	n := len(t.days)
	switch {
	case n > 0 && t.days[n-1].Day == today:
		t.days[n-1].Free = min(t.days[n-1].Free, free)
	case n > 0 && t.days[n-1].Day > today:
		return
	default:
		if n >= 2 && t.days[n-1].Free-t.days[n-2].Free > total/20 {
			t.days = append(t.days[:0], t.days[n-1])
		}
		t.days = append(t.days, dayMin{today, free})
	}
	for len(t.days) > 0 && t.days[0].Day <= today-keepDays {
		t.days = t.days[1:]
	}
}

// project fits a line through the days before today and says in how many days
// it comes to nothing, with the standard error of that. ok is false where there
// are too few days, the fall could be chance, or it is over.
func (t *trend) project(today int64) (days, stderr float64, ok bool) {
	var n, sx, sy float64
	for _, p := range t.days {
		if p.Day < today {
			n, sx, sy = n+1, sx+float64(p.Day-today), sy+float64(p.Free)
		}
	}
	if n < minDays {
		return 0, 0, false
	}
	mx, my := sx/n, sy/n
	var sxx, sxy, rest float64
	for _, p := range t.days {
		if p.Day < today {
			x, y := float64(p.Day-today)-mx, float64(p.Free)-my
			sxx, sxy = sxx+x*x, sxy+x*y
		}
	}
	slope := sxy / sxx // days differ, so sxx is not 0
	for _, p := range t.days {
		if p.Day < today {
			r := float64(p.Free) - my - slope*(float64(p.Day-today)-mx)
			rest += r * r
		}
	}
	scatter := math.Sqrt(rest / (n - 2))
	if slope >= 0 || -slope < significant*scatter/math.Sqrt(sxx) || !t.stillFalls(today, slope) {
		return 0, 0, false
	}
	at := mx - my/slope
	// The error of where a fitted line meets a level (inverse prediction).
	stderr = scatter / -slope * math.Sqrt(1/n+(at-mx)*(at-mx)/sxx)
	return max(at, 0), stderr, true
}

// stillFalls says whether the last week had a share in the fall: a month that
// began with a large installation is a line that falls, too.
func (t *trend) stillFalls(today int64, slope float64) bool {
	var from, to dayMin // newest that is a week older than to, or the oldest
	for _, p := range t.days {
		if p.Day < today {
			to = p
		}
	}
	for i, p := range t.days {
		if i == 0 || p.Day <= to.Day-recent {
			from = p
		}
	}
	return float64(from.Free-to.Free) >= -slope*float64(to.Day-from.Day)*leastShare
}
