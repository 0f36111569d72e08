package sysinfo

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Inside the package, since these hold the parsers against what is recorded in
// testenv/recorded; the whole is tested from outside.

// recorded reads a file whose source testenv/recorded/SOURCES.md names.
func recorded(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "testenv", "recorded", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestEveryRecordingHasASource(t *testing.T) {
	const root = "../../testenv/recorded"
	sources, err := os.ReadFile(root + "/SOURCES.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, system := range []string{"linux", "debian-12", "ubuntu-24.04", "fedora-43"} {
		files, err := filepath.Glob(filepath.Join(root, system, "*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%d files of %s, %v", len(files), system, err)
		}
		for _, f := range files {
			name := filepath.ToSlash(strings.TrimPrefix(f, filepath.FromSlash(root+"/")))
			found := false
			for line := range strings.Lines(string(sources)) {
				pattern, _, _ := strings.Cut(strings.TrimPrefix(line, "| `"), "`")
				ok, _ := filepath.Match(pattern, name)
				found = found || ok
			}
			if !found {
				t.Errorf("%s is not in SOURCES.md", name)
			}
		}
	}
}

func TestSmart(t *testing.T) {
	no := None[int64](NotSupported)
	for file, want := range map[string]Disk{
		"smartctl-nvme-mp510.json": {
			Health: Some(DiskOK), Wear: Some[int64](10), Spare: Some[int64](1000), Errors: Some[int64](0), PowerOn: Some[int64](6487 * 3600),
		},
		"smartctl-sata-850pro.json": {
			Health: Some(DiskOK), Wear: Some[int64](10), Spare: no, Errors: Some[int64](0), PowerOn: Some[int64](846 * 3600),
		},
		"smartctl-sata-failing.json": {
			Health: Some(DiskFailing), Wear: no, Spare: no, Errors: Some[int64](1975 + 8), PowerOn: Some[int64](65592 * 3600),
		},
		// A counter that goes up and one of gigabytes are not taken for wear, and
		// an attribute that failed once is a warning.
		"smartctl-sata-endurance.synthetic.json": {
			Health: Some(DiskWarning), Wear: Some[int64](370), Spare: Some[int64](980), Errors: no, PowerOn: Some[int64](12000*3600 + 1800),
		},
		"smartctl-nvme-readonly.synthetic.json": {
			Health: Some(DiskFailing), Wear: Some[int64](1310), Spare: Some[int64](20), Errors: Some[int64](17), PowerOn: Some[int64](30001 * 3600),
		},
	} {
		got, asleep, err := parseSmart([]byte(recorded(t, "linux/"+file)))
		if d := cmp.Diff(want, got); d != "" || asleep || err != nil {
			t.Errorf("%s: asleep %v, %v (-want +got):\n%s", file, asleep, err, d)
		}
	}
	if _, asleep, err := parseSmart([]byte(recorded(t, "linux/smartctl-standby.synthetic.json"))); !asleep || err != nil {
		t.Errorf("a sleeping disk: asleep %v, %v", asleep, err)
	}
	if _, _, err := parseSmart([]byte(recorded(t, "linux/smartctl-denied.synthetic.json"))); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("without rights: %v, want a permission error", err)
	}
	for _, broken := range []string{"", "[]", `{"ata_smart_attributes": {"table": 7}}`} {
		if _, _, err := parseSmart([]byte(broken)); err == nil {
			t.Errorf("%q was taken", broken)
		}
	}
}

// TestWearWithoutTheCommonFields: what smartctl before 7.4 tells of other makers.
func TestWearWithoutTheCommonFields(t *testing.T) {
	for _, c := range []struct {
		id    int
		name  string
		value int64
		want  Opt[int64]
	}{
		{231, "SSD_Life_Left", 83, Some[int64](170)},
		{202, "Percent_Lifetime_Remain", 96, Some[int64](40)},
		{233, "Media_Wearout_Indicator", 99, Some[int64](10)},
		{233, "NAND_GiB_Written_TLC", 100, None[int64](NotSupported)},
		{230, "Media_Wearout_Indicator", 1, None[int64](NotSupported)},
		{231, "SSD_Life_Left", 253, None[int64](NotSupported)}, // not filled in yet
		{177, "Wear_Leveling_Count", 1, Some[int64](990)},
	} {
		r := smartReport{}
		r.ATA = &struct{ Table []smartAttribute }{[]smartAttribute{{ID: c.id, Name: c.name, Value: c.value}}}
		d := noDisk(NotSupported)
		if r.ata(&d); d.Wear != c.want {
			t.Errorf("%d %s at %d: wear %+v, want %+v", c.id, c.name, c.value, d.Wear, c.want)
		}
	}
}

func FuzzSmart(f *testing.F) {
	for _, n := range []string{"smartctl-nvme-mp510.json", "smartctl-sata-failing.json"} {
		f.Add([]byte(recorded(f, "linux/"+n)))
	}
	f.Add([]byte(`{"ata_smart_attributes":{"table":[{"id":5,"raw":{"string":"99999999999999999999"}}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, asleep, err := parseSmart(b); (err != nil || asleep) && d != (Disk{}) {
			t.Errorf("an error or sleep, and %+v", d)
		}
	})
}

func TestApt(t *testing.T) {
	for file, want := range map[string][2]int64{
		"debian-12/apt-get-upgrade.txt":         {124, 77},
		"ubuntu-24.04/apt-get-dist-upgrade.txt": {3, 3}, // the new kernel comes along with its name
	} {
		if p, s := parseApt(recorded(t, file)); p != want[0] || s != want[1] {
			t.Errorf("%s: %d pending, %d security, want %v", file, p, s, want)
		}
	}
	if p, s := parseApt("Reading package lists...\n0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n"); p != 0 || s != 0 {
		t.Errorf("nothing to do: %d, %d", p, s)
	}
}

func TestDNF(t *testing.T) {
	for file, want := range map[string]int64{
		"dnf4-check-update.txt": 11, "dnf5-check-update.txt": 1, "dnf4-security.txt": 1,
	} {
		if got := parseDNF([]byte(recorded(t, "fedora-43/"+file))); got != want {
			t.Errorf("%s: %d, want %d", file, got, want)
		}
	}
	const obsoleting = "a.noarch 1 updates\nObsoleting Packages\nb.noarch 2 updates\n    c.noarch 1 @updates\n"
	if got := parseDNF([]byte(obsoleting)); got != 1 {
		t.Errorf("with obsoleting packages: %d, want 1", got)
	}
}

func TestLastUpgrade(t *testing.T) {
	got, ok := lastUpgrade([]byte(recorded(t, "debian-12/dpkg.log")))
	if want := time.Date(2026, 5, 9, 7, 29, 2, 0, time.Local); !ok || !got.Equal(want) {
		t.Errorf("lastUpgrade = %v, %v; want %v", got, ok, want)
	}
	// What looks like one and is none stands after it, and the first line is cut off.
	cut := "24 06:00:00 upgrade a:amd64 1 2\n2026-11-24 06:12:33 upgrade b:amd64 1 2\nbroken upgrade c:amd64\n"
	if got, ok := lastUpgrade([]byte(cut)); !ok || !got.Equal(time.Date(2026, 11, 24, 6, 12, 33, 0, time.Local)) {
		t.Errorf("lastUpgrade = %v, %v for a log that was cut", got, ok)
	}
	if _, ok := lastUpgrade([]byte("2026-11-24 15:38:02 status installed wine:all 8.0\nbroken upgrade\n")); ok {
		t.Error("an upgrade where there is none")
	}
}

func TestSoftwareLists(t *testing.T) {
	found := make(map[string]string)
	if err := addDpkg(found, strings.NewReader(recorded(t, "debian-12/dpkg-status.txt")+"\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n"+
		"\nPackage: held\nStatus: hold ok installed\nVersion: 2\n")); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"bash": "5.2.15-2+b8", "libc6": "2.36-9+deb12u14", "linux-libc-dev": "6.1.187-1", "squid": "5.7-2+deb12u6",
		"tzdata": "2025b-0+deb12u2", "zlib1g": "1:1.2.13.dfsg-1", "held": "2",
	}
	if d := cmp.Diff(want, found); d != "" {
		t.Errorf("dpkg (-want +got):\n%s", d)
	}
	found = make(map[string]string)
	addTabbed(found, []byte(recorded(t, "fedora-43/rpm-qa.synthetic.txt")))
	want = map[string]string{
		"kernel": "7.0.9-204.fc44", "kernel-core": "7.0.9-204.fc44", "kernel-modules": "7.0.9-204.fc44",
		"autocorr-en": "1:7.1.3.2-1.fc34", "bluez-libs": "5.58-2.fc34",
	}
	if d := cmp.Diff(want, found); d != "" {
		t.Errorf("rpm (-want +got):\n%s", d)
	}
}

func TestNaturally(t *testing.T) {
	for _, v := range [][2]string{ // the first is older
		{"6.1.0-9-amd64", "6.1.0-37-amd64"}, {"1.0~rc1", "1.0"}, {"1.0", "1.0a"}, {"1.0", "1.0.1"}, {"9", "010"},
		{"5.2.15-2+b8", "5.2.15-2+b10"}, {"disk9", "disk10"}, {"nvme0n1", "sda"}, {"", "0"}, {"~", ""},
	} {
		if a, b := naturally(v[0], v[1]), naturally(v[1], v[0]); a >= 0 || b <= 0 {
			t.Errorf("naturally(%q, %q) = %d, and %d the other way", v[0], v[1], a, b)
		}
		if naturally(v[0], v[0]) != 0 {
			t.Errorf("%q differs from itself", v[0])
		}
	}
}

func TestNewerKernel(t *testing.T) {
	for _, c := range []struct {
		running   string
		installed []string
		want      bool
	}{
		{"6.1.0-37-amd64", []string{"6.1.0-35-amd64", "6.1.0-37-amd64"}, false},
		{"6.1.0-37-amd64", []string{"6.1.0-37-amd64", "6.1.0-40-amd64"}, true},
		{"6.1.0-9-amd64", []string{"6.1.0-10-amd64"}, true},
		{"6.1.0-37-amd64", []string{"6.1.0-40-rt-amd64", "6.1.0-40-cloud-amd64"}, false},
		{"6.8.0-60-generic", []string{"6.8.0-63-generic"}, true},
		// ls /boot of a Fedora 43 (github search 29491327795).
		{"6.18.9-200.fc43.x86_64", []string{"6.18.12-200.fc43.x86_64", "0-rescue-1fc4ca9e45164ce08ecc02a63e3fd16c"}, true},
		{"6.18.12-200.fc43.x86_64", []string{"6.18.8-200.fc43.x86_64", "0-rescue-1fc4ca9e45164ce08ecc02a63e3fd16c"}, false},
		{"6.17.1-300.fc42.x86_64", []string{"6.18.8-200.fc43.x86_64"}, true},
		{"6.18.44", []string{"6.1.0-40-amd64"}, false}, // not a kernel of the distribution's
		{"6.1.0-37-amd64", nil, false},
	} {
		if got := newerKernel(c.running, c.installed); got != c.want {
			t.Errorf("newerKernel(%s, %v) = %v", c.running, c.installed, got)
		}
	}
}

func TestBootDuration(t *testing.T) {
	for _, c := range []struct {
		text      string
		container bool
		want      time.Duration
		why       Absence
	}{
		// systemd-analyze calls that 10.231s (firmware) + 7.539s (loader) + 5.422s (kernel) + 13.168s (userspace).
		{recorded(t, "linux/systemctl-show-debian13.txt"), false, 36361245 * time.Microsecond, Present},
		{recorded(t, "linux/systemctl-show-slow.synthetic.txt"), false, 73643085 * time.Microsecond, Present},
		{recorded(t, "linux/systemctl-show-container.txt"), true, 328515 * time.Microsecond, Present},
		{"FirmwareTimestampMonotonic=0\nFinishTimestampMonotonic=0\n", false, 0, Unread},
		{"", false, 0, Failed},
		{"FinishTimestampMonotonic=-5\n", false, 0, Failed},
	} {
		got, err := parseBootDuration(c.text, c.container)
		if o := orNone(got, err); o.Why != c.why || got != c.want {
			t.Errorf("parseBootDuration(%q) = %v, %v", c.text, got, err)
		}
	}
}

func TestPressureParsed(t *testing.T) {
	for text, want := range map[string]int64{
		recorded(t, "linux/pressure-cpu.txt"): 153,
		recorded(t, "linux/pressure-io.txt"):  2,
		"":                                    -1,
		"some avg10=0.00 avg60=101.00 avg300=0.00 total=0": -1,
		"full avg10=0.00 avg60=1.00 avg300=0.00 total=0":   -1,
	} {
		if got, err := parsePressure(text); got != want && (err == nil || want >= 0) {
			t.Errorf("parsePressure(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestRefusingRules(t *testing.T) {
	for file, want := range map[string]bool{
		"nft-firewalld.txt": true, "nft-openwrt.txt": true, "nft-counted.synthetic.txt": true,
		"nft-open.txt": false, "nft-pinhole.txt": false, "nft-forward.synthetic.txt": false,
	} {
		if got := nftRefuses(recorded(t, "linux/"+file)); got != want {
			t.Errorf("%s: refuses %v, want %v", file, got, want)
		}
	}
	for rules, want := range map[string]bool{
		recorded(t, "linux/iptables-firewalld.txt"): true,
		"-P INPUT DROP\n": true,
		"-P INPUT ACCEPT\n-A INPUT -s 10.0.0.1/32 -j DROP\n": false,
	} {
		if got := iptablesRefuses(rules); got != want {
			t.Errorf("%q: refuses %v, want %v", rules, got, want)
		}
	}
}

func TestPrinterStates(t *testing.T) {
	for file, want := range map[string][]PrinterState{
		"lpstat-idle.txt":             {PrinterReady, PrinterReady, PrinterReady, PrinterReady, PrinterReady},
		"lpstat-states.synthetic.txt": {PrinterReady, Printing, PrinterStopped, PrinterTrouble, PrinterOffline},
	} {
		if got := parseLpstat(recorded(t, "linux/"+file)); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", file, got, want)
		}
	}
	if got := parsePrintersConf(recorded(t, "linux/printers-p1102w.conf")); !slices.Equal(got, []PrinterState{PrinterStopped}) {
		t.Errorf("printers.conf: %v, want stopped", got)
	}
}

func TestPatternsMadeAt(t *testing.T) {
	got, ok := madeAt(recorded(t, "linux/clamav-daily-head.txt"))
	if want := time.Date(2020, 4, 16, 11, 58, 0, 0, time.UTC); !ok || !got.Equal(want) {
		t.Errorf("madeAt = %v, %v; want %v", got, ok, want)
	}
	if _, ok := madeAt("ClamAV-VDB:yesterday:1:"); ok {
		t.Error("nonsense was taken")
	}
}

func TestSupportEnds(t *testing.T) {
	for _, c := range []struct{ csv, version, want string }{
		{recorded(t, "debian-12/debian.csv"), "12", "2028-06-30"},
		{recorded(t, "debian-12/debian.csv"), "13", "2030-06-30"},
		{recorded(t, "debian-12/debian.csv"), "14", ""}, // not released
		{recorded(t, "debian-12/debian.csv"), "", ""},   // sid
		{recorded(t, "ubuntu-24.04/ubuntu.csv"), "24.04", "2029-05-31"},
		{recorded(t, "ubuntu-24.04/ubuntu.csv"), "25.10", "2026-07-09"},
		{"", "12", ""},
	} {
		got, ok := distroInfo(c.csv, c.version)
		if want, known := day(c.want); ok != known || !got.Equal(want) {
			t.Errorf("distroInfo(%s) = %v, %v; want %s", c.version, got, ok, c.want)
		}
	}
	// Our own table says the same as the packages it was taken from.
	for system, file := range map[string]string{"debian": "debian-12/debian.csv", "ubuntu": "ubuntu-24.04/ubuntu.csv"} {
		csv := recorded(t, file)
		for version := range linuxEnds[system] {
			own, ok1 := linuxSupportEnd(system, version)
			theirs, ok2 := distroInfo(csv, version)
			if !ok1 || !ok2 || !own.Equal(theirs) {
				t.Errorf("%s %s: own table %v %v, distro-info %v %v", system, version, own, ok1, theirs, ok2)
			}
		}
	}
}

// record makes a record of wtmp.
func record(kind uint16, user, host string, at time.Time) []byte {
	b := make([]byte, utmpSize)
	binary.LittleEndian.PutUint16(b, kind)
	copy(b[44:76], user)
	copy(b[76:332], host)
	binary.LittleEndian.PutUint32(b[340:], uint32(at.Unix()))
	return b
}

func TestWtmp(t *testing.T) {
	at := func(hours int) time.Time { return time.Unix(1_795_000_000, 0).Add(time.Duration(hours) * time.Hour) }
	boot := func(h int) []byte { return record(2, "reboot", "6.1.0-37-amd64", at(h)) }
	down := func(h int) []byte { return record(1, "shutdown", "6.1.0-37-amd64", at(h)) }
	level := func(h int) []byte { return record(1, "runlevel", "6.1.0-37-amd64", at(h)) }
	login := func(h int) []byte { return record(7, "erika", ":0", at(h)) }
	for _, c := range []struct {
		name  string
		file  [][]byte
		since int
		want  int64
	}{
		{"nothing", nil, 0, 0},
		{"a first boot", [][]byte{boot(1), level(1), login(2)}, 0, 0},
		{"as it should be", [][]byte{boot(1), level(1), login(2), down(3), boot(4), down(5), boot(6)}, 0, 0},
		{"the plug pulled twice", [][]byte{boot(1), login(2), boot(3), level(3), down(4), boot(5), boot(6)}, 0, 2},
		{"long ago", [][]byte{boot(1), boot(3), down(4), boot(5)}, 4, 0},
		{"somebody called shutdown logs on", [][]byte{boot(1), record(7, "shutdown", ":0", at(2)), boot(3)}, 0, 1},
		{"a cut front", [][]byte{make([]byte, 100), boot(1), boot(3)}, 0, 1},
	} {
		if got := hardOffs(parseWtmp(slices.Concat(c.file...)), at(c.since)); got != c.want {
			t.Errorf("%s: %d hard power-offs, want %d", c.name, got, c.want)
		}
	}
}

func FuzzWtmp(f *testing.F) {
	f.Add(record(2, "reboot", "x", time.Unix(1, 0)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if turns := parseWtmp(b); len(turns) > len(b)/utmpSize {
			t.Errorf("%d turns of %d bytes", len(turns), len(b))
		}
	})
}

func TestJournalOffs(t *testing.T) {
	line := func(boot, message string) string {
		return `{"_BOOT_ID":"` + boot + `","MESSAGE_ID":"` + message + `","__REALTIME_TIMESTAMP":"1"}` + "\n"
	}
	for _, c := range []struct {
		name, out string
		want      int64
	}{
		{"nothing", "", 0},
		{"this boot", line("a", journalStart), 0},
		{"through the initrd, and as it should be", line("a", journalStart) + line("a", journalStop) + line("a", journalStart) +
			line("a", shuttingDown) + line("a", journalStart) + line("a", journalStop) + line("b", journalStart), 0},
		{"pulled after the journal was restarted", line("a", journalStart) + line("a", journalStop) + line("a", journalStart) +
			line("b", journalStart), 1},
		{"broken lines", "{\n" + line("a", journalStart) + "Hint: You are currently not seeing\n" + line("b", journalStart), 1},
	} {
		if got := journalOffs([]byte(c.out)); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestOccasions(t *testing.T) {
	at := func(minutes ...int) (ts []time.Time) {
		for _, m := range minutes {
			ts = append(ts, time.Unix(int64(60*m), 0))
		}
		return ts
	}
	for _, c := range []struct {
		at   []time.Time
		want int64
	}{{nil, 0}, {at(1), 1}, {at(1, 1, 5, 12), 1}, {at(1, 2, 60, 61), 2}} {
		if got := occasions(c.at, 15*time.Minute); got != c.want {
			t.Errorf("occasions(%v) = %d, want %d", c.at, got, c.want)
		}
	}
}

func TestSinceCount(t *testing.T) {
	for _, c := range []struct{ before, now, want Opt[int64] }{
		{Opt[int64]{}, Some[int64](7), None[int64](Unread)},
		{Some[int64](0), Some[int64](5), Some[int64](5)}, // the first that ever happened
		{Some[int64](7), Some[int64](7), Some[int64](0)},
		{Some[int64](7), Some[int64](2), None[int64](Unread)},
		{Some[int64](7), None[int64](NotSupported), None[int64](NotSupported)},
	} {
		if got := sinceCount(c.before, c.now); got != c.want {
			t.Errorf("sinceCount(%+v, %+v) = %+v, want %+v", c.before, c.now, got, c.want)
		}
	}
}

// TestPrograms: the real runner, on programs that every Linux has.
func TestPrograms(t *testing.T) {
	t.Setenv("LC_ALL", "de_DE.UTF-8")
	t.Setenv("SECRET", "canary")
	out, err := runProgram(t.Context(), "env")
	if err != nil || strings.Contains(string(out), "canary") || !strings.Contains(string(out), "LC_ALL=C\n") {
		t.Errorf("env = %q, %v; want our own environment only", out, err)
	}
	if _, err := runProgram(t.Context(), "no-such-program-of-ours"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("a program that is not there: %v", err)
	}
	if out, err := runProgram(t.Context(), "ls", "/", "/no such folder"); err == nil || len(out) == 0 || strings.Contains(err.Error(), "folder") {
		t.Errorf("ls = %q, %v; want both, and not what it complained of", out, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	// A child of the child would hold the pipe open.
	if _, err := runProgram(ctx, "env", "sh", "-c", "sleep 60 & sleep 60"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a program that hangs: %v", err)
	}
	if _, err := runProgram(t.Context(), "yes"); err == nil {
		t.Error("a program that talks without end was let")
	}
	if !refused([]byte("Operation not permitted (you must be root)\nnetlink: ...")) || refused([]byte("no such table")) {
		t.Error("refusals are not recognised")
	}
}
