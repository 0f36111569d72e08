package sysinfo

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRecordedBatteries(t *testing.T) {
	some := Some[int64]
	for file, want := range map[string]Power{
		"battery-discharging.plist": {
			Source: Some(Battery), State: Some(Discharging), Charge: some(780), Health: some(872), Cycles: some(338),
			Full: some(48094), Design: some(55180), Charger: Some(ChargerDisconnected),
		},
		// Just plugged in, and what the machine needs is not all there yet.
		"battery-45w-charger.plist": {
			Source: Some(Mains), State: Some(Discharging), Charge: some(760), Health: some(873), Cycles: some(338),
			Full: some(48091), Design: some(55080), Charger: Some(ChargerTooWeak),
		},
		"battery-macos27.synthetic.plist": {
			Source: Some(Mains), State: Some(Full), Charge: some(1000), Health: some(800), Cycles: some(212),
			Full: some(50000), Design: some(62500), Charger: Some(ChargerConnected),
		},
	} {
		got, err := parseBattery(recording(t, "darwin/"+file))
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", file, err, d)
		}
	}
}

func TestDarwinDisks(t *testing.T) {
	names, err := parseWholeDisks(recording(t, "darwin/diskutil-list.synthetic.plist"))
	if d := cmp.Diff([]string{"disk0", "disk4"}, names); d != "" || err != nil {
		t.Errorf("parseWholeDisks: %v (-want +got):\n%s", err, d)
	}
	apple := recording(t, "darwin/diskutil-info-apple-ssd.synthetic.plist")
	got, ok, err := parseDiskInfo(apple)
	want := blankDisk("", NotSupported)
	want.Health, want.Wear, want.Spare = Some(DiskOK), Some[int64](30), Some[int64](1000)
	if d := cmp.Diff(want, got); d != "" || !ok || err != nil {
		t.Errorf("an Apple SSD: %v, %v (-want +got):\n%s", ok, err, d)
	}
	got, ok, err = parseDiskInfo(recording(t, "darwin/diskutil-info-intel.plist"))
	want = blankDisk("", NotSupported)
	want.Health = Some(DiskOK)
	if d := cmp.Diff(want, got); d != "" || !ok || err != nil {
		t.Errorf("of an Intel Mac: %v, %v (-want +got):\n%s", ok, err, d)
	}
	change := func(old, with string) []byte { return []byte(strings.Replace(string(apple), old, with, 1)) }
	if _, ok, err := parseDiskInfo(change("<key>Internal</key><true/>", "<key>Internal</key><false/>")); ok || err != nil {
		t.Errorf("a stick is told: %v, %v", ok, err)
	}
	if d, _, err := parseDiskInfo(change("Verified", "Failing")); d.Health != Some(DiskFailing) || err != nil {
		t.Errorf("failing: %+v, %v", d.Health, err)
	}
	if d, _, err := parseDiskInfo(change("<integer>3</integer>", "<integer>999</integer>")); d.Wear.Why != NotSupported || err != nil {
		t.Errorf("a wear that is none: %+v, %v", d.Wear, err)
	}
	if _, _, err := parseDiskInfo([]byte("<plist><dict>")); err == nil {
		t.Error("a cut answer was taken")
	}
}

func TestParseTherm(t *testing.T) {
	for file, want := range map[string]Opt[int64]{
		"therm-intel.txt": Some[int64](1000), "therm-throttled.txt": Some[int64](280), "therm-apple-silicon.txt": None[int64](NotSupported),
	} {
		got, err := parseTherm(recording(t, "darwin/"+file))
		if n, ok := want.Get(); ok && (got.limit != want || err != nil) || !ok && why(err) != want.Why {
			t.Errorf("%s: %+v, %v; want %d", file, got, err, n)
		}
	}
	if _, err := parseTherm([]byte("CPU_Speed_Limit = much\n")); why(err) != Failed {
		t.Errorf("no number: %v", err)
	}
}

func TestParseSignal(t *testing.T) {
	if got, err := parseSignal(recording(t, "darwin/wdutil-info.synthetic.txt")); got != -56 || err != nil {
		t.Errorf("parseSignal = %d, %v", got, err)
	}
	for _, off := range []string{"", "    RSSI                 : 0 dBm\n", "    RSSI                 : None\n"} {
		if _, err := parseSignal([]byte(off)); why(err) != NotSupported {
			t.Errorf("parseSignal(%q): %v", off, err)
		}
	}
}

func TestDarwinUpdates(t *testing.T) {
	for file, want := range map[string]int64{"software-update-none.plist": 0, "software-update-one.synthetic.plist": 1} {
		if got, err := parsePending(recording(t, "darwin/"+file)); got != Some(want) || err != nil {
			t.Errorf("%s: %+v, %v; want %d", file, got, err, want)
		}
	}
	if got, err := parsePending(plistOf("")[:]); err == nil {
		t.Errorf("a list instead of the settings: %+v", got)
	}
	never := []byte(`<plist version="1.0"><dict><key>AutomaticCheckEnabled</key><true/></dict></plist>`)
	if got, err := parsePending(never); got.Why != NotSupported || err != nil {
		t.Errorf("never looked: %+v, %v", got, err)
	}
	for file, want := range map[string]time.Time{
		"install-history.plist":                time.Date(2023, 7, 17, 8, 45, 50, 0, time.UTC),
		"install-history-data.synthetic.plist": time.Date(2026, 9, 20, 8, 0, 0, 0, time.UTC),
	} {
		if got, err := parseInstallHistory(recording(t, "darwin/"+file)); got != Some(want) || err != nil {
			t.Errorf("%s: %+v, %v; want %v", file, got, err, want)
		}
	}
}

func TestDarwinGuards(t *testing.T) {
	bridge := string(recording(t, "darwin/bridge-m4.json"))
	for _, c := range []struct {
		what  string
		parse func([]byte) (Guard, error)
		out   string
		want  Guard
		why   Absence
	}{
		{"FileVault", parseFileVault, "FileVault is On.\n", On, 0},
		{"FileVault", parseFileVault, "FileVault is Off.\n", Off, 0},
		{"FileVault", parseFileVault, "FileVault is Off.\nDeferred enablement appears to be active for user 'x'.\n", Off, 0},
		{"FileVault", parseFileVault, "FileVault is On.\nEncryption in progress: Percent completed = 42\n", Partly, 0},
		{"FileVault", parseFileVault, "Encryption in progress: Percent completed = 31.2\n", Partly, 0},
		{"FileVault", parseFileVault, "Decryption in progress: Percent completed = 12.0\n", Partly, 0},
		{"FileVault", parseFileVault, "Error: This command may only be run by root.\n", "", Failed},
		{"firewall", parseFirewall, "Firewall is enabled. (State = 1) \n", On, 0},
		{"firewall", parseFirewall, "Firewall is blocking all non-essential incoming connections. (State = 2) \n", On, 0},
		{"firewall", parseFirewall, "Firewall is disabled. (State = 0)\n", Off, 0},
		{"firewall", parseFirewall, "", "", Failed},
		{"secure boot", parseSecureBoot, bridge, On, 0},
		{"secure boot", parseSecureBoot, strings.Replace(bridge, "Full", "Medium", 1), Partly, 0},
		{"secure boot", parseSecureBoot, strings.Replace(bridge, "Full", "Reduced", 1), Partly, 0},
		{"secure boot", parseSecureBoot, strings.Replace(bridge, "Full", "Permissive", 1), Off, 0},
		{"secure boot", parseSecureBoot, strings.Replace(bridge, "Full Security", "Sécurité maximale", 1), "", NotSupported},
		{"secure boot", parseSecureBoot, `{"SPiBridgeDataType" : []}`, "", NoHardware},
		{"secure boot", parseSecureBoot, `{`, "", Failed},
	} {
		got, err := c.parse([]byte(c.out))
		if got != c.want || (err == nil) != (c.why == 0) || err != nil && why(err) != c.why {
			t.Errorf("%s of %.60q: %q, %v; want %q", c.what, c.out, got, err, c.want)
		}
	}
}

func TestCrashesOf(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	at := func(days int) time.Time { return now.AddDate(0, 0, -days) }
	got := crashesOf([]reportFile{
		{"panic-full-2026-11-20-101112.0002.panic", at(4)},
		{"Kernel_2026-11-01-101112_mac.panic", at(23)},
		{"panic-full-2026-09-20-101112.0002.panic", at(65)},
		{"WindowServer-2026-11-20-101112.ips", at(4)},
		{"coreaudiod_2026-11-20-101112_mac.crash", at(4)},
		{"JetsamEvent-2026-11-20-101112.ips", at(4)},
		{"ExcUserFault_mds-2026-11-20-101112.ips", at(4)},
		{"WindowServer_2026-11-20-101112_mac.cpu_resource.diag", at(4)},
	}, now)
	want := Crashes{System: Some[int64](2), Programs: Some[int64](2), PowerOffs: None[int64](NotSupported)}
	if got != want {
		t.Errorf("crashesOf = %+v, want %+v", got, want)
	}
}

func TestParseQueues(t *testing.T) {
	got, err := parseQueues(recording(t, "darwin/lpstat.synthetic.txt"))
	want := []Printer{
		{"printer", PrinterReady}, {"printer 2", Printing}, {"printer 3", PrinterStopped}, {"printer 4", PrinterOffline}, {"printer 5", PrinterTrouble},
	}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("parseQueues: %v (-want +got):\n%s", err, d)
	}
	for _, none := range []string{"", "lpstat: No destinations added.\n", "\tPaused\n"} {
		if _, err := parseQueues([]byte(none)); !errors.Is(err, errAbsent{NoHardware}) {
			t.Errorf("parseQueues(%q): %v", none, err)
		}
	}
}

func TestDarwinNames(t *testing.T) {
	release, extra, err := parseVersion(recording(t, "darwin/SystemVersion-rsr.synthetic.plist"))
	if release != "13.3.1" || extra != "(a)" || err != nil {
		t.Errorf("parseVersion = %q, %q, %v", release, extra, err)
	}
	app := recording(t, "darwin/Info.synthetic.plist")
	if got, err := parseApp(app, "GeoGebra.app"); got != (Program{"GeoGebra Classic 6", "6.0.848"}) || err != nil {
		t.Errorf("parseApp = %+v, %v", got, err)
	}
	bare := []byte(`<plist version="1.0"><dict><key>CFBundleVersion</key><string>7</string></dict></plist>`)
	if got, err := parseApp(bare, "Notes.app"); got != (Program{"Notes", "7"}) || err != nil {
		t.Errorf("an application without a name: %+v, %v", got, err)
	}
}

func FuzzDarwinState(f *testing.F) {
	f.Add(recording(f, "darwin/diskutil-info-apple-ssd.synthetic.plist"))
	f.Add(recording(f, "darwin/lpstat.synthetic.txt"))
	f.Add(recording(f, "darwin/bridge-m4.json"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, ok, err := parseDiskInfo(b); err == nil && ok {
			if v, has := d.Wear.Get(); has && (v < 0 || v > 2550) {
				t.Errorf("wear %d", v)
			}
		}
		_, _ = parseTherm(b)
		_, _ = parseSignal(b)
		_, _ = parsePending(b)
		_, _ = parseInstallHistory(b)
		_, _ = parseSecureBoot(b)
		_, _ = parseQueues(b)
		_, _ = parseApp(b, "x.app")
	})
}
