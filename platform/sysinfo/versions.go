package sysinfo

import "strings"

// naturally orders names and versions as people do, "disk9" before "disk10":
// runs of digits by number, other runs by byte, and "~" before everything, as
// dpkg and rpm do. It stands in for both of their rules where versions of one
// package of one system are compared.
func naturally(a, b string) int {
	for a != "" && b != "" {
		var x, y string
		x, a = segment(a)
		y, b = segment(b)
		if c := compareSegments(x, y); c != 0 {
			return c
		}
	}
	switch {
	case a == b:
		return 0
	case strings.HasPrefix(a, "~"), a == "" && !strings.HasPrefix(b, "~"):
		return -1
	}
	return 1
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// segment cuts a run of digits, or a run of others, off the front; "~" stands alone.
func segment(s string) (head, rest string) {
	n := 1
	for n < len(s) && s[0] != '~' && s[n] != '~' && isDigit(s[n]) == isDigit(s[0]) {
		n++
	}
	return s[:n], s[n:]
}

func compareSegments(x, y string) int {
	switch {
	case x == y:
		return 0
	case x == "~":
		return -1
	case y == "~":
		return 1
	case isDigit(x[0]) && isDigit(y[0]):
		x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
		if len(x) != len(y) {
			return len(x) - len(y)
		}
	// A number is newer than what stands in its place: 1.1 after 1.rc.
	case isDigit(x[0]):
		return 1
	case isDigit(y[0]):
		return -1
	}
	return strings.Compare(x, y)
}
