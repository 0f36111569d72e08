package tufrepo_test

import (
	"testing"
	"time"

	"hausmeister/testenv/tufrepo"
)

func TestFakeTime(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	for spec, want := range map[string]time.Time{
		"":                         now,
		"+18d":                     now.Add(18 * 24 * time.Hour),
		"+1787866":                 now.Add(1787866 * time.Second), // what faketime(1) makes of a date
		"-3.5h":                    now.Add(-210 * time.Minute),
		"-1,5m":                    now.Add(-90 * time.Second),
		"+2y":                      now.Add(730 * 24 * time.Hour),
		"+10d x2":                  now.Add(10 * 24 * time.Hour),
		"@2027-01-02 03:04:05":     time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC),
		"2020-12-24 20:30:00":      time.Date(2020, 12, 24, 20, 30, 0, 0, time.UTC),
		"2020-12-24 20:30:00.5":    time.Date(2020, 12, 24, 20, 30, 0, 5e8, time.UTC),
		"2020-12-24 20:30:00 i2,0": time.Date(2020, 12, 24, 20, 30, 0, 0, time.UTC),
	} {
		if got, err := tufrepo.FakeTime(spec, now); err != nil || !got.Equal(want) {
			t.Errorf("FakeTime(%q): got %v, %v, want %v", spec, got, err, want)
		}
	}
	for _, bad := range []string{"soon", "+d", "+1w", "2020-13-01 00:00:00", "+9999y"} {
		if got, err := tufrepo.FakeTime(bad, now); err == nil {
			t.Errorf("FakeTime(%q): got %v, want an error", bad, got)
		}
	}
}
