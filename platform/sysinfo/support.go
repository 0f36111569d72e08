package sysinfo

import "time"

// The last day on which the maker of an operating system patches it for all who
// have it; paid extensions (ESU, Ubuntu Pro, Debian ELTS) do not count. What is
// not here has no date. Looked up on 2026-11-24:
//
//   - Debian, Ubuntu: the tables of the package distro-info-data 0.58+deb12u6
//     (https://salsa.debian.org/debian/distro-info-data), columns eol-lts and eol
//     (https://wiki.debian.org/LTS, https://ubuntu.com/about/release-cycle).
//   - Fedora: SUPPORT_END of its os-release where known (42, 43), else
//     https://endoflife.date/fedora, which follows
//     https://fedorapeople.org/groups/schedule/. All of them carry SUPPORT_END
//     themselves since Fedora 36, so this is the second choice.
//
// Windows and macOS: support_clients.go.
var linuxEnds = map[string]map[string]string{
	"debian": {"10": "2024-06-30", "11": "2026-08-31", "12": "2028-06-30", "13": "2030-06-30"},
	"ubuntu": {
		"20.04": "2025-05-29", "22.04": "2027-06-01", "24.04": "2029-05-31", "26.04": "2031-05-29",
		"23.10": "2024-07-11", "24.10": "2025-07-10", "25.04": "2026-01-15", "25.10": "2026-07-09",
	},
	"fedora": {
		"39": "2024-11-26", "40": "2025-05-13", "41": "2025-12-15", "42": "2026-05-13", "43": "2026-12-02",
	},
}

func linuxSupportEnd(id, version string) (time.Time, bool) { return day(linuxEnds[id][version]) }

func day(s string) (time.Time, bool) {
	t, err := time.Parse(time.DateOnly, s)
	return t, err == nil
}
