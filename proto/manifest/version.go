package manifest

import (
	"cmp"
	"fmt"
	"strings"
)

// ValidVersion says whether v is a semantic version (2.0.0) in its one form:
// three numbers, no leading v or zeros, an optional pre-release. Build data
// after + is refused, since two versions that differ only there order neither way.
func ValidVersion(v string) bool {
	_, ok := parseVersion(v)
	return ok
}

// Compare orders two versions as semver does: -1, 0, 1. What is no version is
// below every one, so that nothing is newer by being unreadable.
func Compare(a, b string) int {
	x, okA := parseVersion(a)
	y, okB := parseVersion(b)
	if !okA || !okB {
		return cmp.Compare(boolInt(okA), boolInt(okB))
	}
	for i := range x.core {
		if c := compareNumbers(x.core[i], y.core[i]); c != 0 {
			return c
		}
	}
	return comparePre(x.pre, y.pre)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

type version struct {
	core [3]string
	pre  []string
}

const maxVersion = 64 // bytes

func parseVersion(s string) (version, bool) {
	var v version
	if len(s) > maxVersion {
		return v, false
	}
	core, pre, hasPre := strings.Cut(s, "-")
	parts := strings.Split(core, ".")
	if len(parts) != 3 {
		return v, false
	}
	for i, p := range parts {
		if !isNumber(p) {
			return v, false
		}
		v.core[i] = p
	}
	if hasPre {
		v.pre = strings.Split(pre, ".")
		for _, p := range v.pre {
			if !isIdentifier(p) {
				return v, false
			}
		}
	}
	return v, true
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func isNumber(s string) bool { return digits(s) && (s == "0" || s[0] != '0') }

func isIdentifier(s string) bool {
	if digits(s) {
		return isNumber(s)
	}
	return s != "" && strings.Trim(s, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-") == ""
}

// compareNumbers of any length, so that none overflows.
func compareNumbers(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

func comparePre(a, b []string) int {
	switch {
	case len(a) == 0 || len(b) == 0:
		return cmp.Compare(boolInt(len(a) == 0), boolInt(len(b) == 0)) // none is the release itself
	}
	for i := range min(len(a), len(b)) {
		numA, numB := digits(a[i]), digits(b[i])
		var c int
		switch {
		case numA && numB:
			c = compareNumbers(a[i], b[i])
		case numA != numB:
			c = cmp.Compare(boolInt(numB), boolInt(numA)) // numbers come first
		default:
			c = cmp.Compare(a[i], b[i])
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

// ValidName holds for everything that becomes part of a path or names a role.
func ValidName(s string) bool {
	return s != "" && len(s) <= 40 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

func checkName(what, s string) error {
	if !ValidName(s) {
		return fmt.Errorf("%s %.60q is not of [a-z0-9-]", what, s)
	}
	return nil
}
