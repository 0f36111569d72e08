package sysinfo

import (
	"strconv"
	"strings"
	"time"
)

// Until when the makers of the clients patch them. Windows: Microsoft's
// lifecycle and release information (learn.microsoft.com/lifecycle, /windows/
// release-health), as collected in altrhombus/DataForGeeks and
// Atliso-Dev/win11-eos-audit (read 2026-11); paid extensions (ESU) are not seen.
// macOS: Apple names no days; it patches the newest three majors, so a major
// ends when the third after it comes out, as endoflife-date/endoflife.date
// counts. Majors whose end is not known are missing: absent, not guessed.

// clientEnds are by product and release: Home and Pro first, then Enterprise
// and Education.
var clientEnds = map[string][2]string{
	"10 1507": {"2017-05-09", "2017-05-09"},
	"10 1511": {"2017-10-10", "2017-10-10"},
	"10 1607": {"2018-04-10", "2019-04-09"},
	"10 1703": {"2018-10-09", "2019-10-08"},
	"10 1709": {"2019-04-09", "2020-10-13"},
	"10 1803": {"2019-11-12", "2021-05-11"},
	"10 1809": {"2020-11-10", "2021-05-11"},
	"10 1903": {"2020-12-08", "2020-12-08"},
	"10 1909": {"2021-05-11", "2022-05-10"},
	"10 2004": {"2021-12-14", "2021-12-14"},
	"10 20H2": {"2022-05-10", "2023-05-09"},
	"10 21H1": {"2022-12-13", "2022-12-13"},
	"10 21H2": {"2023-06-13", "2024-06-11"},
	"10 22H2": {"2025-10-14", "2025-10-14"},
	"11 21H2": {"2023-10-10", "2024-10-08"},
	"11 22H2": {"2024-10-08", "2025-10-14"},
	"11 23H2": {"2025-11-11", "2026-11-10"},
	"11 24H2": {"2026-10-13", "2027-10-12"},
	"11 25H2": {"2027-10-12", "2028-10-10"},
	"11 26H1": {"2028-03-14", "2029-03-13"},
	"11 26H2": {"2028-10-10", "2029-10-09"},
}

// longTermEnds are of the long-term channel, IoT Enterprise second.
var longTermEnds = map[string][2]string{
	"10 1507": {"2025-10-14", "2025-10-14"},
	"10 1607": {"2026-10-13", "2026-10-13"},
	"10 1809": {"2029-01-09", "2029-01-09"},
	"10 21H2": {"2027-01-12", "2032-01-13"},
	"11 24H2": {"2029-10-09", "2034-10-10"},
}

var serverEnds = map[string]string{
	"Windows Server 2012": "2023-10-10",
	"Windows Server 2016": "2027-01-12",
	"Windows Server 2019": "2029-01-09",
	"Windows Server 2022": "2031-10-14",
	"Windows Server 2025": "2034-11-14",
}

var macEnds = map[int]string{
	10: "2022-09-12", // Catalina, the last of them
	11: "2023-09-26",
	12: "2024-09-16",
	13: "2025-09-15",
}

// clientSupportEnd is the last day of support of a Windows ("Windows 11
// Education", "24H2") or a macOS ("macOS", "13.7.8").
func clientSupportEnd(product, release string) (time.Time, bool) {
	day := ""
	switch {
	case product == "macOS":
		major, _, _ := strings.Cut(release, ".")
		n, err := strconv.Atoi(major)
		if err != nil {
			return time.Time{}, false
		}
		day = macEnds[n]
	case strings.HasPrefix(product, "Windows Server "):
		for name, end := range serverEnds {
			if strings.HasPrefix(product, name) {
				day = end
			}
		}
	default:
		day = windowsEnd(product, release)
	}
	end, err := time.Parse(time.DateOnly, day)
	return end, err == nil
}

func windowsEnd(product, release string) string {
	name, ok := strings.CutPrefix(product, "Windows ")
	if !ok {
		return ""
	}
	number, edition, _ := strings.Cut(name, " ")
	table, second := clientEnds, strings.HasPrefix(edition, "Enterprise") ||
		strings.HasPrefix(edition, "Education") || strings.HasPrefix(edition, "IoT Enterprise")
	if strings.Contains(edition, "LTSC") || strings.Contains(edition, "LTSB") || strings.Contains(edition, "Enterprise S") {
		table, second = longTermEnds, strings.Contains(edition, "IoT")
	}
	ends := table[number+" "+release]
	if second {
		return ends[1]
	}
	return ends[0]
}
