package sysinfo

import (
	"strings"
	"time"
)

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
//   - Windows: https://learn.microsoft.com/lifecycle/products/windows-11-home-and-pro,
//     .../windows-11-enterprise-and-education and the same two for Windows 10, as
//     collected by github.com/altrhombus/DataForGeeks (there the day after the last
//     day), pureinfotech.com/windows-11-lifecycle (25H2) and the release notes of
//     github.com/Atliso-Dev/win11-eos-audit (LTSC, 26H1, 26H2, read from
//     https://learn.microsoft.com/windows/release-health on 2026-10-23 and
//     2026-11-04). 26H2 for Enterprise and Education was not found.
//   - macOS: Apple names no dates; https://endoflife.date/macos takes the day on
//     which the third following version came.
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

// windowsEnds by build: Home and Pro, then Enterprise and Education.
var windowsEnds = map[uint32][2]string{
	19042: {"2022-05-10", "2023-05-09"},
	19043: {"2022-12-13", "2022-12-13"},
	19044: {"2023-06-13", "2024-06-11"},
	19045: {"2025-10-14", "2025-10-14"},
	22000: {"2023-10-10", "2024-10-08"},
	22621: {"2024-10-08", "2025-10-14"},
	22631: {"2025-11-11", "2026-11-10"},
	26100: {"2026-10-13", "2027-10-12"},
	26200: {"2027-10-12", "2028-10-10"},
	26300: {"2028-10-10", ""},
	28000: {"2028-03-14", "2029-03-13"},
}

// ltscEnds by build: Enterprise LTSC (before 2019: LTSB); IoT lives longer and is not told.
var ltscEnds = map[uint32]string{14393: "2026-10-13", 17763: "2029-01-09", 19044: "2027-01-12"}

// windowsSupportEnd takes the edition from the name of the product, as
// windowsName gives it: "Windows 11 Education 24H2".
func windowsSupportEnd(name string, build uint32) (time.Time, bool) {
	name = strings.ToLower(name)
	switch {
	case strings.Contains(name, "server"), strings.Contains(name, "iot"):
		return time.Time{}, false
	case strings.Contains(name, "lts"):
		return day(ltscEnds[build])
	// Pro Education is sold and kept like Pro.
	case strings.Contains(name, "enterprise"), strings.Contains(name, "education") && !strings.Contains(name, "pro "):
		return day(windowsEnds[build][1])
	}
	return day(windowsEnds[build][0])
}

// macOSEnds by major version.
var macOSEnds = map[string]string{"11": "2023-09-26", "12": "2024-09-16", "13": "2025-09-15"}

func macOSSupportEnd(major string) (time.Time, bool) { return day(macOSEnds[major]) }

func day(s string) (time.Time, bool) {
	t, err := time.Parse(time.DateOnly, s)
	return t, err == nil
}
