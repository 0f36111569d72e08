package sysinfo

import (
	"testing"
	"time"
)

func TestSupportEndOfOthers(t *testing.T) {
	check := func(what string, got time.Time, ok bool, want string) {
		t.Helper()
		if day, known := day(want); ok != known || !got.Equal(day) {
			t.Errorf("%s: %v, %v; want %q", what, got, ok, want)
		}
	}
	for _, c := range []struct {
		name  string
		build uint32
		want  string
	}{
		{"Windows 10 Pro 22H2", 19045, "2025-10-14"},
		{"Windows 11 Pro 24H2", 26100, "2026-10-13"},
		{"Windows 11 Education 24H2", 26100, "2027-10-12"},
		{"Windows 11 Pro Education 24H2", 26100, "2026-10-13"}, // kept like Pro
		{"Windows 11 Enterprise 26H2", 26300, ""},
		{"Windows 10 Enterprise LTSC 2021", 19044, "2027-01-12"},
		{"Windows 10 IoT Enterprise LTSC 2021", 19044, ""},
		{"Windows Server 2022 Standard 21H2", 20348, ""},
		{"Windows 11 Home", 99999, ""},
	} {
		got, ok := windowsSupportEnd(c.name, c.build)
		check(c.name, got, ok, c.want)
	}
	for major, want := range map[string]string{"13": "2025-09-15", "15": "", "": ""} {
		got, ok := macOSSupportEnd(major)
		check("macOS "+major, got, ok, want)
	}
	for _, ends := range windowsEnds {
		for _, end := range ends {
			// The last updates come on a second Tuesday.
			if d, ok := day(end); ok && (d.Weekday() != time.Tuesday || d.Day() < 8 || d.Day() > 14) {
				t.Errorf("%s is no day of updates", end)
			}
		}
	}
}
