package fakes

import (
	"context"
	"math"
	"slices"
	"strings"

	"hausmeister/platform/sysinfo"
)

// A release is one version of a program, from a day of the fleet on; the first
// one of a program was always there.
type release struct {
	day     int
	version string // "" removes it
}

// title is a program with its releases, oldest first.
type title struct {
	name     string
	only     string // a maker that installs it, "windows" or "darwin"; "" = Windows, whoever made the machine
	share    int    // of ten devices; 0 = all
	releases []release
}

func always(name, version string) title {
	return title{name: name, releases: []release{{-99, version}}}
}

func from(maker string, t title) title {
	t.only = maker
	return t
}

const long = -99

// titles that most devices have, in the versions of late 2026.
var titles = []title{
	always("7-Zip 24.09 (x64)", "24.09"), always("Audacity 3.7.5", "3.7.5"), always("Cisco Webex Meetings", "45.11"),
	always("DigitaleSchule Connector", "2.4.1"), always("Drehbuch 4", "4.2"),
	always("GIMP 2.10.38", "2.10.38"), always("Git", "2.47.1"), always("Inkscape", "1.4.2"),
	from("FUJITSU", always("FUJITSU DeskUpdate", "5.03.0112")), from("FUJITSU", always("FUJITSU Function Manager", "9.2.0")),
	from("FUJITSU", always("Synaptics Pointing Device Driver", "19.5.35")), from("Microsoft Corporation", always("Surface App", "74.1022.139.0")),
	always("Intel(R) Wireless Bluetooth(R)", "23.60.0"), always("Java 8 Update 431", "8.0.4310.10"),
	always("KeePassXC", "2.7.10"), always("Microsoft Visual C++ 2015-2022 Redistributable (x64)", "14.42.34433.0"),
	always("Microsoft Windows Desktop Runtime - 8.0.11 (x64)", "8.0.11"), always("MuseScore 4", "4.5.2"), always("Notepad++ (64-bit x64)", "8.7.1"),
	always("OBS Studio", "31.0.3"), always("PDF24 Creator", "11.23.0"), always("Python 3.13.1 (64-bit)", "3.13.1150.0"),
	always("Realtek Audio Driver", "6.0.9549.1"), always("Scratch 3", "3.31.1"), always("SMART Notebook", "24.1"),
	always("Stellarium 24.4", "24.4"), always("VeraCrypt", "1.26.20"), always("VLC media player", "3.0.21"),
	{name: "Adobe Acrobat Reader (64-bit)", releases: []release{{long, "25.001.20813"}, {-17, "25.001.20997"}}},
	{name: "GeoGebra Classic 6", releases: []release{{long, "6.0.905"}, {-23, "6.0.908"}}},
	{name: "Google Chrome", releases: []release{{long, "141.0.7390.122"}, {-25, "142.0.7444.59"}, {-5, "143.0.7499.41"}}},
	{name: "Intel(R) Graphics Driver", releases: []release{{long, "31.0.101.2130"}, {updateDay, "31.0.101.2134"}}},
	{name: "LibreOffice 25.8.2.2", releases: []release{{long, "25.8.2.2"}, {-15, ""}}},
	{name: "LibreOffice 25.8.3.2", releases: []release{{-15, "25.8.3.2"}}},
	{name: "Microsoft 365 Apps for Enterprise - de-de", releases: []release{{long, "16.0.19231.20216"}, {updateDay, "16.0.19328.20190"}}},
	{name: "Microsoft Edge", releases: []release{{long, "141.0.3537.99"}, {-24, "142.0.3595.53"}, {-4, "143.0.3650.46"}}},
	{name: "Microsoft Edge WebView2 Runtime", releases: []release{{long, "141.0.3537.99"}, {-24, "142.0.3595.53"}, {-4, "143.0.3650.46"}}},
	{name: "Microsoft OneDrive", releases: []release{{long, "25.189.928.2"}, {-19, "25.199.1012.2"}}},
	{name: "Microsoft Teams", releases: []release{{long, "25275.2601"}, {-13, "25290.302"}}},
	{name: "Mozilla Firefox ESR (x64 de)", releases: []release{{long, "140.4.0"}, {-20, "140.5.0"}}},
	{name: "Mozilla Firefox (x64 de)", share: 4, releases: []release{{-7, "145.0.1"}}},
	{name: "OpenBoard", share: 9, releases: []release{{long, "1.7.2"}, {-10, "1.7.3"}}},
	{name: "Zoom Workplace (64-bit)", share: 8, releases: []release{{long, "6.2.10"}, {-21, "6.2.11"}}},
	from("darwin", always("GarageBand", "10.4.12")), from("darwin", always("Keynote", "14.4")), from("darwin", always("Pages", "14.4")),
	from("darwin", always("Numbers", "14.4")), from("darwin", always("VLC", "3.0.21")), from("darwin", always("Scratch 3", "3.31.1")),
	from("darwin", always("GeoGebra Classic 6", "6.0.908")), from("darwin", always("KeePassXC", "2.7.10")),
	{name: "Firefox", only: "darwin", releases: []release{{long, "144.0.2"}, {-7, "145.0.1"}}},
	{name: "Microsoft Word", only: "darwin", releases: []release{{long, "16.102"}, {updateDay, "16.103"}}},
	{name: "Microsoft Teams", only: "darwin", releases: []release{{long, "25275.2601"}, {-13, "25290.302"}}},
	{name: "zoom.us", only: "darwin", releases: []release{{long, "6.2.10"}, {-21, "6.2.11"}}},
}

// Software lists what is installed.
func (m *Machine) Software(context.Context) ([]sysinfo.Program, error) {
	m.mu.Lock()
	day := m.day(m.now())
	m.mu.Unlock()
	return m.programs(day), nil
}

// programs that are installed on a day.
func (m *Machine) programs(day float64) []sysinfo.Program {
	list := make([]sysinfo.Program, 0, len(titles))
	for i, t := range titles {
		maker := t.only == "" && m.model.os == "windows" || t.only == m.model.os || t.only == m.model.manufacturer
		if !maker || t.share > 0 && int(5*(m.tale.noise(i+100)+1)) >= t.share {
			continue
		}
		if v := t.on(int(math.Floor(day)) - m.tale.late); v != "" {
			list = append(list, sysinfo.Program{Name: t.name, Version: v})
		}
	}
	slices.SortFunc(list, func(a, b sysinfo.Program) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// on is the version of that day.
func (t title) on(day int) (version string) {
	for _, r := range t.releases {
		if r.day <= day {
			version = r.version
		}
	}
	return version
}
