package sysinfo

import (
	"cmp"
	"slices"
	"strings"
)

// eachOnce sorts programs by name and keeps each name's highest version.
func eachOnce(ps []Program) []Program {
	slices.SortFunc(ps, func(a, b Program) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), -compareVersions(a.Version, b.Version))
	})
	return slices.CompactFunc(ps, func(a, b Program) bool { return a.Name == b.Name })
}

// compareVersions compares runs of digits as numbers and the rest as text, which
// is right for the versions of Windows' and macOS' programs.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		x, restA := chunk(a)
		y, restB := chunk(b)
		if digit(x[0]) && digit(y[0]) {
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			if c := cmp.Compare(len(x), len(y)); c != 0 {
				return c
			}
		}
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
		a, b = restA, restB
	}
	return cmp.Compare(len(a), len(b))
}

// chunk cuts the leading run of digits, or of what is none.
func chunk(s string) (run, rest string) {
	n := 1
	for n < len(s) && digit(s[n]) == digit(s[0]) {
		n++
	}
	return s[:n], s[n:]
}

func digit(c byte) bool { return c >= '0' && c <= '9' }
