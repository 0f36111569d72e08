package calendar_test

import (
	"testing"
	"time"

	"hausmeister/collector/calendar"
)

func at(s string) time.Time {
	t, err := time.ParseInLocation("2006-01-02 15:04", s, calendar.Berlin)
	if err != nil {
		panic(err)
	}
	return t
}

func TestLessons(t *testing.T) {
	l := calendar.DefaultLessons()
	l.Free = []calendar.Span{{From: "2027-05-07", To: "2027-05-07"}}
	tests := []struct {
		at   string
		want bool
		why  string
	}{
		{"2026-12-01 07:29", false, "before the first lesson"},
		{"2026-12-01 07:30", true, "Tuesday morning"},
		{"2026-12-01 13:14", true, "the last minute"},
		{"2026-12-01 13:15", false, "over"},
		{"2026-11-28 09:00", false, "Saturday"},
		{"2026-06-04 09:00", false, "Fronleichnam"},
		{"2026-12-25 09:00", false, "Christmas"},
		{"2026-12-23 09:00", false, "first day of the holidays"},
		{"2027-01-12 09:00", false, "last day of the holidays"},
		{"2027-01-13 09:00", true, "the day after"},
		{"2027-05-06 09:00", false, "Ascension"},
		{"2027-05-07 09:00", false, "this school's own day"},
		{"2028-06-20 09:00", true, "beyond what is known: taken as a school day"},
	}
	for _, tt := range tests {
		if got := l.During(at(tt.at)); got != tt.want {
			t.Errorf("During(%s) = %v, want %v: %s", tt.at, got, tt.want, tt.why)
		}
		// The same moment, told by a clock elsewhere.
		if got := l.During(at(tt.at).In(time.FixedZone("far away", 9*3600))); got != tt.want {
			t.Errorf("During(%s, far away) = %v, want %v", tt.at, got, tt.want)
		}
	}
}

func TestUntil(t *testing.T) {
	l := calendar.DefaultLessons()
	tests := []struct {
		at   string
		want time.Duration
	}{
		{"2026-12-01 08:00", 0},
		{"2026-12-01 06:30", time.Hour},
		{"2026-12-01 13:15", 18*time.Hour + 15*time.Minute},
		{"2026-12-04 13:30", 66 * time.Hour},               // Friday, to Monday
		{"2027-03-27 07:30", 9*24*time.Hour - time.Hour},   // over Easter, its holidays, and the change of clocks
		{"2027-06-28 07:30", 14 * 24 * time.Hour},          // in the summer: as far as it looks
		{"2026-10-24 07:30", 2*24*time.Hour + 1*time.Hour}, // clocks go back on Sunday
	}
	for _, tt := range tests {
		if got := l.Until(at(tt.at)); got != tt.want {
			t.Errorf("Until(%s) = %v, want %v", tt.at, got, tt.want)
		}
	}
}

func TestTaught(t *testing.T) {
	l := calendar.DefaultLessons()
	tests := []struct {
		from, to string
		want     bool
	}{
		{"2026-12-01 07:00", "2026-12-01 13:15", true},
		{"2026-12-01 08:00", "2026-12-01 18:00", false},
		{"2026-12-04 12:00", "2026-12-07 12:00", false}, // Friday noon to Monday noon
		{"2026-12-04 12:00", "2026-12-07 13:15", true},
		{"2026-12-23 06:00", "2027-01-12 23:00", false},
	}
	for _, tt := range tests {
		if got := l.Taught(at(tt.from), at(tt.to)); got != tt.want {
			t.Errorf("Taught(%s, %s) = %v, want %v", tt.from, tt.to, got, tt.want)
		}
	}
}

func TestHolidaysAreThoseOfHesse(t *testing.T) {
	for year := 2026; year <= 2030; year++ {
		n := 0
		for d := calendar.DayOf(time.Date(year, 1, 1, 12, 0, 0, 0, calendar.Berlin)); d[:4] == calendar.DayOf(time.Date(year, 6, 1, 12, 0, 0, 0, calendar.Berlin))[:4]; d = d.Next() {
			if calendar.Holiday(d) != "" {
				n++
			}
		}
		if n != 10 {
			t.Errorf("%d has %d public holidays, want 10", year, n)
		}
	}
}
