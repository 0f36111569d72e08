package sysinfo

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// recording reads a file of testenv/recorded; its SOURCES.md says from where it is.
func recording(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../testenv/recorded", path))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// printed are the words that PowerShell prints for WMI's numbers.
var printed = map[string]map[string]string{
	"HealthStatus": {"Healthy": "0", "Warning": "1", "Unhealthy": "2"},
	"BusType":      {"USB": "7", "SATA": "11", "NVMe": "17"},
	"MediaType":    {"HDD": "3", "SSD": "4"},
}

// objectsIn reads what PowerShell's Format-List printed back into rows.
func objectsIn(t testing.TB, path string) []row {
	t.Helper()
	var rows []row
	for _, block := range strings.Split(strings.TrimSpace(string(recording(t, path))), "\n\n") {
		r := row{}
		for _, line := range strings.Split(block, "\n") {
			name, v, ok := strings.Cut(line, ":")
			name, v = strings.TrimSpace(name), strings.TrimSpace(v)
			if n, known := printed[name][v]; known {
				v = n
			}
			switch {
			case !ok || v == "":
			case v == "True" || v == "False":
				r[name] = v == "True"
			default:
				r[name] = v
			}
		}
		rows = append(rows, r)
	}
	return rows
}

func TestWindowsDisks(t *testing.T) {
	none, some := None[int64](NotSupported), Some[int64]
	disk := blankDisk("disk", NotSupported)
	disk.Health, disk.Wear = Some(DiskOK), some(0)
	got, err := diskAnswers{
		disks:    objectsIn(t, "windows/physical-disk-nvme.txt"),
		counters: objectsIn(t, "windows/reliability-counter-empty.txt"),
	}.readings()
	if d := cmp.Diff([]Disk{disk}, got); d != "" || err != nil {
		t.Errorf("an NVMe disk that tells little: %v (-want +got):\n%s", err, d)
	}

	counters := objectsIn(t, "windows/reliability-counter-hdd.txt")
	counters[0]["DeviceId"] = "0"
	counters[0]["PowerOnHours"] = int32(1200)
	got, err = diskAnswers{
		disks:    objectsIn(t, "windows/disks.synthetic.txt"),
		counters: counters,
		nvme:     map[int64][]byte{2: nvmeLog(1, 9, 104, 7, 300)},
		predicted: []row{
			{"InstanceName": `SCSI\Disk&Ven_ATA&Prod_X\4&215468a5&0&030000_0`, "PredictFailure": true},
			{"InstanceName": `SCSI\Disk&Ven_ATA&Prod_Y\4&215468a5&0&000000_0`, "PredictFailure": false},
		},
		drives: []row{
			{"Index": int32(3), "PNPDeviceID": `SCSI\DISK&VEN_ATA&PROD_X\4&215468A5&0&030000`},
			{"Index": int32(0), "PNPDeviceID": `SCSI\DISK&VEN_ATA&PROD_Y\4&215468A5&0&000000`},
			{"Index": int32(2), "PNPDeviceID": ""},
		},
	}.readings()
	want := []Disk{
		{Name: "disk", Health: Some(DiskWarning), Wear: None[int64](NoHardware), Spare: None[int64](NoHardware), Errors: some(0), PowerOn: some(1200 * 3600)},
		{Name: "disk 2", Health: Some(DiskWarning), Wear: some(1040), Spare: some(90), Errors: some(7), PowerOn: some(300 * 3600)},
		{Name: "disk 3", Health: Some(DiskFailing), Wear: none, Spare: none, Errors: none, PowerOn: none},
	}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("four disks, one not built in: %v (-want +got):\n%s", err, d)
	}
	if _, err := (diskAnswers{}).readings(); why(err) != NoHardware {
		t.Errorf("no disks: %v", err)
	}
}

// nvmeLog makes a health log page; synthetic, by the NVMe specification.
func nvmeLog(warning, spare, used byte, mediaErrors, hours uint64) []byte {
	b := make([]byte, nvmeHealthSize)
	b[0], b[3], b[4], b[5] = warning, spare, 10, used
	binary.LittleEndian.PutUint64(b[128:], hours)
	binary.LittleEndian.PutUint64(b[160:], mediaErrors)
	return b
}

func TestNVMeHealth(t *testing.T) {
	for warning, want := range map[byte]DiskHealth{0: DiskOK, 2: DiskOK, 1: DiskWarning, 16: DiskWarning, 4: DiskFailing, 9: DiskFailing} {
		if d, err := parseNVMeHealth(nvmeLog(warning, 100, 0, 0, 1)); err != nil || d.Health != Some(want) {
			t.Errorf("critical warning %d: %+v, %v; want %s", warning, d.Health, err, want)
		}
	}
	b := nvmeLog(0, 100, 0, 1<<63, 1<<40)
	if d, err := parseNVMeHealth(b); err != nil || d.Errors.Why != NotSupported || d.PowerOn.Why != NotSupported {
		t.Errorf("numbers that make no sense: %+v, %v", d, err)
	}
	if _, err := parseNVMeHealth(b[:511]); err == nil {
		t.Error("a log that is cut was taken")
	}
}

func FuzzNVMeHealth(f *testing.F) {
	f.Add(nvmeLog(1, 9, 104, 7, 300))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parseNVMeHealth(b)
		if v, ok := d.Errors.Get(); err == nil && ok && v < 0 {
			t.Errorf("errors %d", v)
		}
	})
}

func TestBootEvent(t *testing.T) {
	event := recording(t, "windows/boot-event-100.synthetic.xml")
	began, took, err := parseBootEvent(event)
	if want := time.Date(2015, 6, 1, 6, 2, 36, 734000400, time.UTC); !began.Equal(want) || took != 165331*time.Millisecond || err != nil {
		t.Errorf("parseBootEvent = %v, %v, %v", began, took, err)
	}
	if d, err := bootTook(began, took, began.Add(9*time.Minute), began.Add(time.Hour)); d != took || err != nil {
		t.Errorf("this boot, with the clock set: %v, %v", d, err)
	}
	booted := began.Add(time.Hour)
	if _, err := bootTook(began, took, booted, booted.Add(time.Hour)); why(err) != NotSupported {
		t.Errorf("the event of an older boot: %v", err)
	}
	if _, err := bootTook(time.Time{}, 0, booted, booted.Add(time.Minute)); why(err) != Unread {
		t.Errorf("no event yet: %v", err)
	}
	for _, bad := range []string{"", "<Event>", "<Event/>", strings.Replace(string(event), ">165331<", ">-1<", 1),
		strings.Replace(string(event), "2015-06-01T06:02:36.734000400Z", "yesterday", 1)} {
		if _, _, err := parseBootEvent([]byte(bad)); err == nil {
			t.Errorf("parseBootEvent(%.40q) took it", bad)
		}
	}
}

func TestEncryptionOf(t *testing.T) {
	volumes := objectsIn(t, "windows/encryptable-volumes.synthetic.txt")
	locked := row{"DriveLetter": "F:", "VolumeType": int32(1), "ProtectionStatus": int32(2)}
	for _, c := range []struct {
		name    string
		volumes []row
		want    Guard
	}{
		{"one of two; what has no letter and what is portable do not count", volumes, Partly},
		{"the system's", volumes[:1], On},
		{"the system's, and one that is locked", append(volumes[:1:1], locked), On},
		{"another alone", volumes[1:2], Off},
	} {
		if got, err := encryptionOf(c.volumes); got != c.want || err != nil {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
	}
	if _, err := encryptionOf(volumes[3:]); why(err) != NotSupported {
		t.Errorf("nothing fixed: %v", err)
	}
}

func TestAntivirusOf(t *testing.T) {
	products := objectsIn(t, "windows/antivirus-products.txt")
	on := objectsIn(t, "windows/defender-on.txt")[0]
	noRealTime := objectsIn(t, "windows/defender-no-real-time.txt")[0]
	stepped := row{"AntivirusEnabled": false, "AntivirusSignatureAge": "4294967295"}
	unknown := None[int64](NotSupported)
	for _, c := range []struct {
		name     string
		products []row
		defender row
		want     antivirus
	}{
		{"another runs, Defender stepped back", products, stepped, antivirus{On, unknown}},
		{"Defender alone", products[1:], on, antivirus{On, Some[int64](0)}},
		{"a server with Defender", nil, on, antivirus{On, Some[int64](0)}},
		{"Defender without its guard", products[1:], noRealTime, antivirus{Partly, Some[int64](24 * 60 * 60)}},
		{"all off", products[1:], stepped, antivirus{Off, unknown}},
		{"snoozed", []row{{"productState": int32(0x62100)}}, nil, antivirus{Off, unknown}},
	} {
		if got, err := antivirusOf(c.products, c.defender); got != c.want || err != nil {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, err, c.want)
		}
	}
	if _, err := antivirusOf(nil, nil); why(err) != NotSupported {
		t.Errorf("nothing known: %v", err)
	}
}

func TestFirewallOf(t *testing.T) {
	other := []row{{"productState": int32(266240)}}
	for _, c := range []struct {
		profiles []bool
		others   []row
		want     Guard
	}{
		{[]bool{true, true, true}, nil, On},
		{[]bool{false, true, true}, nil, Partly},
		{[]bool{false, false, false}, nil, Off},
		{[]bool{false, false, false}, other, On},
	} {
		if got := firewallOf(c.profiles, c.others); got != c.want {
			t.Errorf("firewallOf(%v, %v) = %q, want %q", c.profiles, c.others, got, c.want)
		}
	}
}

func TestMeteredBy(t *testing.T) {
	for cost, want := range map[uint32]bool{1: false, 2: true, 4: true, 4 | 0x40000: true, 1 | 0x80000: false, 0x20000: false} {
		if got, err := meteredBy(cost); got != want || err != nil {
			t.Errorf("meteredBy(%#x) = %v, %v; want %v", cost, got, err, want)
		}
	}
	if _, err := meteredBy(0); why(err) != NotSupported {
		t.Errorf("a cost that is unknown: %v", err)
	}
}

func TestPrinterState(t *testing.T) {
	for _, c := range []struct {
		status, attributes uint32
		want               PrinterState
	}{
		{0, 0, PrinterReady},
		{0x20000, 0x40, PrinterReady}, // toner low
		{0x400 | 0x4000, 0, Printing},
		{0x8 | 0x400, 0, PrinterTrouble},
		{0x80, 0, PrinterOffline},
		{0, 0x400, PrinterOffline},
		{0x1 | 0x80, 0, PrinterStopped},
	} {
		if got := printerState(c.status, c.attributes); got != c.want {
			t.Errorf("printerState(%#x, %#x) = %q, want %q", c.status, c.attributes, got, c.want)
		}
	}
	for driver, want := range map[string]bool{
		"KONICA MINOLTA Universal PCL": true, "HP LaserJet Pro M404": true, "Microsoft Print To PDF": false,
		"Microsoft XPS Document Writer v4": false, "Send to Microsoft OneNote 16 Driver": false, "Microsoft Shared Fax Driver": false,
	} {
		if got := onPaper(driver); got != want {
			t.Errorf("onPaper(%q) = %v", driver, got)
		}
	}
}

func TestRenamesWait(t *testing.T) {
	const trash, next, old = `\??\C:\Windows\Temp\a.tmp`, `\??\C:\Windows\System32\x.dll.new`, `!\??\C:\Windows\System32\x.dll`
	for _, c := range []struct {
		pairs []string
		want  bool
	}{{nil, false}, {[]string{trash, ""}, false}, {[]string{trash}, false}, {[]string{trash, "", next, old}, true}} {
		if got := renamesWait(c.pairs); got != c.want {
			t.Errorf("renamesWait(%q) = %v", c.pairs, got)
		}
	}
}

func TestUpdatesOf(t *testing.T) {
	update := func(severity string, categories ...string) osUpdate {
		u := osUpdate{}
		u.categorize(categories, severity)
		return u
	}
	day := func(n int, definition bool) osUpdate {
		return osUpdate{date: time.Date(2026, 11, n, 9, 0, 0, 0, time.UTC), definition: definition}
	}
	waiting := []osUpdate{
		update("", strings.ToUpper(securityUpdates)), update("Critical"), update(""), update("", definitionUpdates),
	}
	got := updatesOf(waiting, []osUpdate{day(3, false), day(11, false), day(24, true)})
	want := Updates{Pending: Some[int64](3), Security: Some[int64](2), Last: Some(time.Date(2026, 11, 11, 9, 0, 0, 0, time.UTC))}
	if got != want {
		t.Errorf("updatesOf = %+v, want %+v", got, want)
	}
	if got := updatesOf(nil, nil); got.Last.Why != NotSupported || got.Pending != Some[int64](0) {
		t.Errorf("a new system: %+v", got)
	}
}

func TestProgramsOf(t *testing.T) {
	got := programsOf([]uninstall{
		{name: "LibreOffice 24.8.2.1", version: "24.8.2.1"},
		{name: "7-Zip 24.08 (x64)", version: "24.08"},
		{name: "Firefox", version: "9.0.2"},
		{name: "Firefox", version: "131.0.3"}, // in the other view too
		{name: "Microsoft Visual C++ Runtime", system: true},
		{name: "Update for Office", release: "Security Update"},
		{name: "Office part", parent: "Office16.PROPLUS"},
		{name: "  "},
	})
	want := []Program{{"7-Zip 24.08 (x64)", "24.08"}, {"Firefox", "131.0.3"}, {"LibreOffice 24.8.2.1", "24.8.2.1"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("programsOf (-want +got):\n%s", d)
	}
}

func TestCompareVersions(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"1.10", "1.9", 1}, {"1.9", "1.10", -1}, {"1.09", "1.9", 0}, {"2.0", "2.0.1", -1}, {"", "1", -1},
		{"6.0.848", "6.0.848", 0}, {"1.0b2", "1.0a9", 1}, {"24.8", "24.8 rc", -1},
	} {
		if got := compareVersions(c.a, c.b); got != c.want {
			t.Errorf("compareVersions(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestComError(t *testing.T) {
	for code, want := range map[uint32]Absence{
		0x8004100e: NotSupported, 0x80041010: NotSupported, 0x80040154: NotSupported,
		0x80041003: Denied, 0x80070005: Denied, 0x80041001: Failed,
	} {
		if got := why(comError(code, "x")); got != want {
			t.Errorf("why(comError(%#x)) = %d, want %d", code, got, want)
		}
	}
	if err := comError(0x80070005, "x"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("access denied is %v", err)
	}
}

func TestClientSupportEnd(t *testing.T) {
	for _, c := range []struct{ product, release, want string }{
		{"Windows 11 Pro", "24H2", "2026-10-13"},
		{"Windows 11 Pro Education", "24H2", "2026-10-13"},
		{"Windows 11 Education", "24H2", "2027-10-12"},
		{"Windows 11 Enterprise LTSC 2024", "24H2", "2029-10-09"},
		{"Windows 11 IoT Enterprise LTSC 2024", "24H2", "2034-10-10"},
		{"Windows 10 Enterprise LTSC 2021", "21H2", "2027-01-12"},
		{"Windows 10 Home", "22H2", "2025-10-14"},
		{"Windows 10 Enterprise 2016 LTSB", "1607", "2026-10-13"},
		{"Windows Server 2022 Standard", "21H2", "2031-10-14"},
		{"Windows 11 Pro", "27H2", ""},
		{"Windows 7 Professional", "", ""},
		{"macOS", "13.7.8", "2025-09-15"},
		{"macOS", "10.14.6", "2022-09-12"},
		{"macOS", "26.1", ""},
		{"macOS", "", ""},
	} {
		got, ok := clientSupportEnd(c.product, c.release)
		if text := got.Format(time.DateOnly); ok != (c.want != "") || ok && text != c.want {
			t.Errorf("clientSupportEnd(%q, %q) = %s, %v; want %q", c.product, c.release, text, ok, c.want)
		}
	}
	for release, ends := range clientEnds { // Microsoft ends on the second Tuesday of a month
		for _, end := range ends {
			if day, err := time.Parse(time.DateOnly, end); err != nil || day.Weekday() != time.Tuesday || day.Day() < 8 || day.Day() > 14 {
				t.Errorf("Windows %s ends on %s: %v", release, end, day.Weekday())
			}
		}
	}
}

func TestKept(t *testing.T) {
	asked := 0
	ask := func() (int, error) { asked++; return asked, nil }
	var k kept[int]
	if _, err := k.get(time.Hour, func() (int, error) { return 0, fs.ErrPermission }); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a failure is %v", err)
	}
	for range 3 {
		if v, err := k.get(time.Hour, ask); v != 1 || err != nil {
			t.Errorf("get = %d, %v; want the first answer", v, err)
		}
	}
	if v, _ := k.get(0, ask); v != 2 {
		t.Errorf("get after its time = %d, want a new answer", v)
	}
}
