package finding

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestVersionOrder: each row rises from left to right; "=" joins equal ones.
func TestVersionOrder(t *testing.T) {
	for _, row := range []string{
		// Debian, from deb-version(7) and real packages
		"1.0~~ < 1.0~~a < 1.0~ < 1.0 < 1.0a",
		"1.0~rc1-1 < 1.0-1 < 1.0-1+b1 < 1.0-1.1 < 1.0-2",
		"2.4.57-2 < 2.4.57-2+deb12u1 < 2.4.62-1~deb12u1 < 2.4.62-1~deb12u2",
		"4:7.4.7-1+deb12u5 < 4:24.2.5-1",
		"9.9 < 1:0.1",
		"1.2-5 < 1.2.1 < 1.2.1-1",
		"3.0.15+dfsg-1 < 3.0.15.1-1",
		// Fedora
		"4.18.0-305.el8 < 4.18.0-553.el8",
		// Windows
		"10.0.19045.3570 < 10.0.19045.4046 < 10.0.22631.1",
		"9.20 < 16.04 < 23.01",
		"115.0.2 = 115.0.2 (x64 de)",
		"115.0.2 (x64 de) < 115.0.10 (x64 de)",
		"8.0.3790.1830 < 8.0.50727.42",
		"2.0 beta 1 < 2.0 beta 2 < 2.0 RC1 < 2.0",
		// macOS
		"13.6 < 14.1 = 14.1 (23B74) < 14.1.2 (23B92)",
		"16.78 (23100802) < 16.100.1",
		// general
		"1.2 = 1.2.0 = v1.2 = 1.02 = 1_2 < 1.2.0.1 < 1.10",
		"1.2-rc1 < 1.2 < 1.2b < 1.2.1",
		" = 0 < 0.1",
		"99999999999999999999998 < 99999999999999999999999 < 100000000000000000000000",
	} {
		for _, pair := range pairs(row) {
			if got := compareVersions(pair.a, pair.b); sign(got) != pair.want {
				t.Errorf("compareVersions(%q, %q) = %d, want %d", pair.a, pair.b, sign(got), pair.want)
			}
			if got := compareVersions(pair.b, pair.a); sign(got) != -pair.want {
				t.Errorf("compareVersions(%q, %q) = %d, want %d", pair.b, pair.a, sign(got), -pair.want)
			}
		}
	}
}

type versionPair struct {
	a, b string
	want int
}

// pairs are the neighbours of a row, and its ends.
func pairs(row string) []versionPair {
	var out []versionPair
	var versions, signs []string
	for i, f := range strings.Split(" "+row+" ", " < ") {
		for j, g := range strings.Split(f, " = ") {
			if j > 0 {
				signs = append(signs, "=")
			} else if i > 0 {
				signs = append(signs, "<")
			}
			versions = append(versions, strings.TrimSpace(g))
		}
	}
	rose := false
	for i, s := range signs {
		want := 0
		if s == "<" {
			want, rose = -1, true
		}
		out = append(out, versionPair{versions[i], versions[i+1], want})
	}
	if rose {
		out = append(out, versionPair{versions[0], versions[len(versions)-1], -1})
	}
	return out
}

func sign(n int) int { return min(max(n, -1), 1) }

func TestAtLeast(t *testing.T) {
	for _, c := range []struct {
		installed, least string
		want             bool
	}{
		{"4:24.2.5-1", "24.2", true},
		{"4:7.4.7-1", "24.2", false}, // the epoch says nothing that the owner meant
		{"4:7.4.7-1", "4:7.4", true},
		{"4:7.4.7-1", "5:1.0", false},
		{"24.2", "4:24.2", false},
		{"2.0", "1:1.2", false}, // deb-version(7): no epoch is epoch 0
		{"115.0.2 (x64 de)", "115.0.2", true},
		{"1.2.0-1", "1.2", true},
		{"1.2", "1.2.0", true},
		{"1.2~rc1-1", "1.2", false},
		{"unknown", "1", false},
	} {
		if got := atLeast(c.installed, c.least); got != c.want {
			t.Errorf("atLeast(%q, %q) = %v, want %v", c.installed, c.least, got, c.want)
		}
	}
}

// TestVersionsAreAnOrder: whatever texts come, comparing is an order.
func TestVersionsAreAnOrder(t *testing.T) {
	version := rapid.StringOfN(rapid.SampledFrom([]rune("0019a~.-+:( rcé")), 0, 8, -1)
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := version.Draw(t, "a"), version.Draw(t, "b"), version.Draw(t, "c")
		ab, ba := sign(compareVersions(a, b)), sign(compareVersions(b, a))
		if ab != -ba {
			t.Fatalf("%q to %q is %d, back %d", a, b, ab, ba)
		}
		if compareVersions(a, a) != 0 {
			t.Fatalf("%q is not itself", a)
		}
		if ab <= 0 && compareVersions(b, c) <= 0 && compareVersions(a, c) > 0 {
			t.Fatalf("%q <= %q <= %q, but not first to last", a, b, c)
		}
	})
}
