package fakes_test

import (
	"testing"
	"time"

	"hausmeister/testenv/fakes"
)

func TestKindOf(t *testing.T) {
	for day, want := range map[string]fakes.DayKind{
		"2026-11-24": fakes.SchoolDay,
		"2026-11-22": fakes.Weekend,
		"2026-01-01": fakes.PublicHoliday,
		"2026-04-03": fakes.PublicHoliday, // Good Friday, in the school holidays
		"2026-05-14": fakes.PublicHoliday, // Ascension
		"2026-05-25": fakes.PublicHoliday, // Whit Monday
		"2026-06-04": fakes.PublicHoliday, // Corpus Christi
		"2026-06-05": fakes.SchoolDay,     // which schools may declare free
		"2027-03-29": fakes.PublicHoliday, // Easter Monday
		"2028-06-15": fakes.PublicHoliday,
		"2026-10-03": fakes.PublicHoliday, // also a Saturday
		"2026-10-05": fakes.SchoolHoliday,
		"2026-10-17": fakes.Weekend,
		"2026-10-19": fakes.SchoolDay,
		"2026-06-26": fakes.SchoolDay, // before the 44 days
		"2026-06-29": fakes.SchoolHoliday,
		"2026-08-07": fakes.SchoolHoliday,
		"2026-08-10": fakes.SchoolDay,
		"2026-12-25": fakes.PublicHoliday,
		"2026-12-28": fakes.SchoolHoliday,
	} {
		noon, err := time.Parse(time.DateTime, day+" 12:00:00")
		if err != nil {
			t.Fatal(err)
		}
		if got := fakes.KindOf(noon); got != want {
			t.Errorf("KindOf(%s) = %d, want %d", day, got, want)
		}
	}
	// The day is Berlin's: it is Sunday there already.
	if got := fakes.KindOf(time.Date(2026, 11, 27, 23, 30, 0, 0, time.UTC)); got != fakes.Weekend {
		t.Errorf("KindOf of Saturday half past midnight in Berlin = %d", got)
	}
}

// TestRhythm: devices are used on school days, by day, seldom otherwise, and
// one use ends before the next begins.
func TestRhythm(t *testing.T) {
	now := time.Date(2026, 11, 24, 10, 30, 0, 0, time.UTC)
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	used := map[fakes.DayKind]float64{}
	days := map[fakes.DayKind]float64{}
	hours, night := 0.0, 0.0
	for n := 1; n <= 100; n++ {
		m := fakes.NewMachine(n, func() time.Time { return now })
		uses := m.Relive(50, now).Uses()
		seen := map[string]bool{}
		for i, u := range uses {
			if !u.From.Before(u.To) || i > 0 && u.From.Before(uses[i-1].To) {
				t.Fatalf("machine %d: %v to %v after %v", n, u.From, u.To, uses[i-1].To)
			}
			if u.To.Sub(u.From) > 9*time.Hour {
				t.Errorf("machine %d is used from %v to %v", n, u.From, u.To)
			}
			if h := u.From.In(berlin).Hour(); h < 6 || h > 21 {
				night++
			}
			hours += u.To.Sub(u.From).Hours()
			if day := u.From.Format(time.DateOnly); !seen[day] {
				seen[day] = true
				used[fakes.KindOf(u.From)]++
			}
		}
		if last := uses[len(uses)-1]; !last.To.Equal(now) {
			t.Errorf("machine %d was last used until %v", n, last.To)
		}
		for d := range 51 {
			days[fakes.KindOf(now.AddDate(0, 0, -d))]++
		}
	}
	for kind, want := range map[fakes.DayKind][2]float64{fakes.SchoolDay: {0.85, 0.97}, fakes.Weekend: {0.08, 0.3}, fakes.SchoolHoliday: {0.1, 0.3}} {
		if share := used[kind] / days[kind]; share < want[0] || share > want[1] {
			t.Errorf("devices are used on %.2f of the days of kind %d, want %v", share, kind, want)
		}
	}
	if perDay := hours / used[fakes.SchoolDay]; perDay < 5 || perDay > 9 || night > 0 {
		t.Errorf("%.1f hours a day, %.0f uses begin at night", perDay, night)
	}
}
