package sysinfo_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hausmeister/platform/sysinfo"
)

// A made machine is a tree of files and the answers of programs, by the name and
// the beginning of their arguments; one that has no answer is not installed.
type made struct {
	root string
	now  time.Time

	mu       sync.Mutex // groups ask side by side
	programs map[string]string
	calls    []string
}

func machineOf(t *testing.T, files map[string]string) *made {
	t.Helper()
	m := &made{root: t.TempDir(), programs: map[string]string{}, now: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)}
	for name, content := range files {
		m.put(t, name, content)
	}
	return m
}

func (m *made) put(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(m.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// at puts a file that was changed so long ago.
func (m *made) at(t *testing.T, name string, ago time.Duration) {
	t.Helper()
	when := m.now.Add(-ago)
	if err := os.Chtimes(m.put(t, name, ""), when, when); err != nil {
		t.Fatal(err)
	}
}

func (m *made) config() sysinfo.Config {
	return sysinfo.Config{Root: m.root, Statfs: disks, Run: m.run, Now: func() time.Time { return m.now }}
}

func (m *made) run(_ context.Context, name string, args ...string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	call := strings.Join(append([]string{name}, args...), " ")
	m.calls = append(m.calls, call)
	best := ""
	for c := range m.programs {
		if strings.HasPrefix(call, c) && len(c) > len(best) {
			best = c
		}
	}
	switch out := m.programs[best]; {
	case best == "":
		return nil, fmt.Errorf("%s: %w", name, exec.ErrNotFound)
	case out == "DENIED":
		return nil, fs.ErrPermission
	default:
		// Most of them end with a status of their own.
		return []byte(out), errors.New("exit status 4")
	}
}

// ok makes answers that end well, when all must.
func (m *made) ok(ctx context.Context, name string, args ...string) ([]byte, error) {
	out, err := m.run(ctx, name, args...)
	if out != nil {
		err = nil
	}
	return out, err
}

func (m *made) read(t *testing.T) sysinfo.Snapshot {
	t.Helper()
	c := m.config()
	c.Run = m.ok
	return sysinfo.New(c).Read(t.Context())
}

func recording(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "testenv", "recorded", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDisksBySmartctl(t *testing.T) {
	m := machineOf(t, map[string]string{
		"sys/block/nvme0n1/device/model": "x", "sys/block/sda/device/model": "x", "sys/block/sdb/device/model": "x",
		"sys/devices/usb1/sdc/device/model": "x", "sys/block/vda/device/model": "x", "sys/block/dm-0/size": "1",
	})
	if err := os.Symlink("../devices/usb1/sdc", filepath.Join(m.root, "sys/block/sdc")); err != nil {
		t.Fatal(err)
	}
	const ask = "smartctl -j -H -A -n standby /dev/"
	m.programs[ask+"nvme0n1"] = recording(t, "linux/smartctl-nvme-mp510.json")
	m.programs[ask+"sda"] = recording(t, "linux/smartctl-sata-failing.json")
	m.programs[ask+"sdb"] = recording(t, "linux/smartctl-denied.synthetic.json")
	r := sysinfo.New(m.config()) // smartctl's exit status is a set of bits
	no := none(sysinfo.NotSupported)
	denied := none(sysinfo.Denied)
	want := []sysinfo.Disk{
		{Name: "disk", Health: sysinfo.Some(sysinfo.DiskOK), Wear: num(10), Spare: num(1000), Errors: num(0), PowerOn: num(6487 * 3600)},
		{Name: "disk 2", Health: sysinfo.Some(sysinfo.DiskFailing), Wear: no, Spare: no, Errors: num(1983), PowerOn: num(65592 * 3600)},
		{Name: "disk 3", Health: sysinfo.None[sysinfo.DiskHealth](sysinfo.Denied), Wear: denied, Spare: denied, Errors: denied, PowerOn: denied},
		{Name: "disk 4", Health: sysinfo.None[sysinfo.DiskHealth](sysinfo.NotSupported), Wear: no, Spare: no, Errors: no, PowerOn: no},
	}
	s := r.Read(t.Context())
	if d := cmp.Diff(sysinfo.Some(want), s.Disks); d != "" {
		t.Errorf("disks (-want +got):\n%s", d)
	}
	// Asleep an hour later: what it said stands, and it was not woken.
	m.programs[ask+"sda"] = recording(t, "linux/smartctl-standby.synthetic.json")
	m.now = m.now.Add(2 * time.Hour)
	if d := cmp.Diff(sysinfo.Some(want), r.Read(t.Context()).Disks); d != "" {
		t.Errorf("asleep (-want +got):\n%s", d)
	}
}

func TestUpdatesOfDebian(t *testing.T) {
	m := machineOf(t, map[string]string{
		"var/lib/dpkg/status": recording(t, "debian-12/dpkg-status.txt"),
		"var/log/dpkg.log":    "2026-11-01 00:00:01 status installed wine:all 8.0\n",
		"var/log/dpkg.log.1":  recording(t, "debian-12/dpkg.log"),
	})
	m.programs["apt-get -s -q -o Debug::NoLocking=true -o Dir::Log::Planner=/dev/null --with-new-pkgs upgrade"] = recording(t, "debian-12/apt-get-upgrade.txt")
	c := m.config()
	c.Run = m.ok
	r := sysinfo.New(c)
	last := sysinfo.Some(time.Date(2026, 5, 9, 7, 29, 2, 0, time.Local))
	unread := sysinfo.Updates{Pending: none(sysinfo.Unread), Security: none(sysinfo.Unread), Last: sysinfo.None[time.Time](sysinfo.Unread)}
	if got := r.Read(t.Context()).Updates; got != unread || len(m.calls) > 0 && strings.Contains(strings.Join(m.calls, "\n"), "apt") {
		t.Errorf("right after the start: %+v, asked %v", got, m.calls)
	}
	m.now = m.now.Add(6 * time.Minute)
	want := sysinfo.Updates{Pending: none(sysinfo.NotSupported), Security: none(sysinfo.NotSupported), Last: last}
	if got := r.Read(t.Context()).Updates; got != want {
		t.Errorf("without lists: %+v, want %+v", got, want)
	}
	// Kept for twelve hours, as there is nothing that failed.
	m.at(t, "var/lib/apt/lists/deb.debian.org_debian_dists_bookworm_main_binary-amd64_Packages", 100*24*time.Hour)
	m.at(t, "var/lib/apt/periodic/update-success-stamp", time.Hour)
	old := m.now.Add(-90 * 24 * time.Hour)
	if err := os.Chtimes(filepath.Join(m.root, "var/lib/apt/lists"), old, old); err != nil {
		t.Fatal(err)
	}
	m.now = m.now.Add(12 * time.Hour)
	want.Pending, want.Security = num(124), num(77)
	if got := r.Read(t.Context()).Updates; got != want {
		t.Errorf("with lists: %+v, want %+v", got, want)
	}
	m.at(t, "var/lib/apt/periodic/update-success-stamp", 60*24*time.Hour)
	m.now = m.now.Add(12 * time.Hour)
	if got := r.Read(t.Context()).Updates.Pending; got != none(sysinfo.NotSupported) {
		t.Errorf("lists of 60 days ago: %+v, want no count", got)
	}
}

// TestLastUpdateInRotatedLogs: the newest that has one counts, and neither a damaged
// log nor one that unpacks to far too much is in the way.
func TestLastUpdateInRotatedLogs(t *testing.T) {
	zip := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		io.WriteString(z, text)
		z.Close()
		return b.String()
	}
	none := "2026-11-01 00:00:01 status installed wine:all 8.0\n"
	m := machineOf(t, map[string]string{
		"var/lib/dpkg/status":    recording(t, "debian-12/dpkg-status.txt"),
		"var/log/dpkg.log":       none,
		"var/log/dpkg.log.1":     none,
		"var/log/dpkg.log.2.gz":  "no gzip at all",
		"var/log/dpkg.log.3.gz":  zip(strings.Repeat("\x00", 64<<20)),
		"var/log/dpkg.log.4.gz":  zip(none),
		"var/log/dpkg.log.5.gz":  zip("2026-06-02 10:00:00 upgrade bash:amd64 1 2\n2026-06-03 11:00:00 upgrade vim:amd64 1 2\n" + none),
		"var/log/dpkg.log.10.gz": zip("2026-01-02 10:00:00 upgrade bash:amd64 1 2\n"),
	})
	r := sysinfo.New(m.config())
	r.Read(t.Context())
	m.now = m.now.Add(6 * time.Minute)
	want := sysinfo.Some(time.Date(2026, 6, 3, 11, 0, 0, 0, time.Local))
	if got := r.Read(t.Context()).Updates.Last; got != want {
		t.Errorf("last update %+v, want %+v", got, want)
	}
}

func TestUpdatesOfFedora(t *testing.T) {
	m := machineOf(t, map[string]string{"usr/lib/sysimage/rpm/rpmdb.sqlite": "", "proc/sys/kernel/osrelease": "6.18.9-200.fc43.x86_64\n",
		"proc/stat": "cpu 1 1 1 1\nbtime 1795500000\n"})
	m.programs["rpm -qa --qf"] = "1795000000\n1795511111\n1700000000\n"
	c := m.config() // check-update ends with 100
	r := sysinfo.New(c)
	r.Read(t.Context())
	later := func() sysinfo.Snapshot { m.now = m.now.Add(12 * time.Hour); return r.Read(t.Context()) }
	want := sysinfo.Updates{Pending: none(sysinfo.NotSupported), Security: none(sysinfo.NotSupported), Last: sysinfo.Some(time.Unix(1795511111, 0))}
	if got := later().Updates; got != want {
		t.Errorf("without a cache: %+v, want %+v", got, want)
	}
	m.at(t, "var/cache/libdnf5/updates-0123/repodata/repomd.xml", time.Hour)
	m.programs["dnf -q -C check-update"] = recording(t, "fedora-43/dnf4-check-update.txt")
	m.programs["dnf -q -C check-update --security"] = recording(t, "fedora-43/dnf4-security.txt")
	want.Pending, want.Security = num(11), num(1)
	if got := later().Updates; got != want {
		t.Errorf("with a cache: %+v, want %+v", got, want)
	}

	// A package that needs a restart was replaced before boot, and after.
	m.programs["rpm -q --qf"] = "1795000000\npackage kernel-rt-core is not installed\n"
	if got := later().Restart; got != sysinfo.Some(false) {
		t.Errorf("restart = %+v, want none", got)
	}
	m.programs["rpm -q --qf"] = "1795000000\n1795500001\n"
	if got := later().Restart; got != sysinfo.Some(true) {
		t.Errorf("restart = %+v after glibc was replaced", got)
	}
}

func TestRestart(t *testing.T) {
	release := map[string]string{"proc/sys/kernel/osrelease": "6.1.0-37-amd64\n"}
	m := machineOf(t, release)
	if got := m.read(t).Restart; got != sysinfo.Some(false) {
		t.Errorf("restart = %+v, want none", got)
	}
	m.put(t, "run/reboot-required", "*** System restart required ***\n")
	if got := m.read(t).Restart; got != sysinfo.Some(true) {
		t.Errorf("restart = %+v, want one", got)
	}
	m = machineOf(t, release)
	m.put(t, "boot/vmlinuz-6.1.0-40-amd64", "")
	if got := m.read(t).Restart; got != sysinfo.Some(true) {
		t.Errorf("restart = %+v beside a newer kernel, want one", got)
	}
}

func TestAskedPrograms(t *testing.T) {
	m := machineOf(t, map[string]string{
		"run/NetworkManager/resolv.conf": "", "run/systemd/system/x": "",
		"sys/fs/cgroup/system.slice/cups.service/cgroup.procs": "1\n",
		"etc/cups/printers.conf":                               recording(t, "linux/printers-p1102w.conf"),
	})
	m.programs["busctl --auto-start=no --json=short get-property org.freedesktop.NetworkManager"] = `{"type":"u","data":1}`
	m.programs["systemctl show --property=FirmwareTimestampMonotonic"] = recording(t, "linux/systemctl-show-debian13.txt")
	m.programs["lpstat -l -p"] = recording(t, "linux/lpstat-states.synthetic.txt")
	s := m.read(t)
	if s.Metered != sysinfo.Some(true) || s.BootDuration != sysinfo.Some(36361245*time.Microsecond) {
		t.Errorf("metered %+v, boot %+v", s.Metered, s.BootDuration)
	}
	want := []sysinfo.Printer{
		{"printer", sysinfo.PrinterReady}, {"printer 2", sysinfo.Printing}, {"printer 3", sysinfo.PrinterStopped},
		{"printer 4", sysinfo.PrinterTrouble}, {"printer 5", sysinfo.PrinterOffline},
	}
	if d := cmp.Diff(sysinfo.Some(want), s.Printers); d != "" {
		t.Errorf("printers (-want +got):\n%s", d)
	}
	for data, want := range map[string]sysinfo.Opt[bool]{
		`{"type":"u","data":4}`: sysinfo.Some(false), `{"type":"u","data":3}`: sysinfo.Some(true),
		`{"type":"u","data":0}`: sysinfo.None[bool](sysinfo.NotSupported), `Call failed`: sysinfo.None[bool](sysinfo.Failed),
	} {
		m.programs["busctl --auto-start=no --json=short get-property org.freedesktop.NetworkManager"] = data
		if got := m.read(t).Metered; got != want {
			t.Errorf("%s: metered %+v, want %+v", data, got, want)
		}
	}
	m.programs["busctl --auto-start=no --json=short get-property org.freedesktop.NetworkManager"] = `{"type":"u","data":2}`
	// Still starting: told at a later Read, and then kept.
	m.programs["systemctl show --property=FirmwareTimestampMonotonic"] = "FinishTimestampMonotonic=0\n"
	c := m.config()
	c.Run = m.ok
	r := sysinfo.New(c)
	if got := r.Read(t.Context()).BootDuration; got != sysinfo.None[time.Duration](sysinfo.Unread) {
		t.Errorf("boot duration while it starts: %+v", got)
	}
	m.programs["systemctl show --property=FirmwareTimestampMonotonic"] = recording(t, "linux/systemctl-show-slow.synthetic.txt")
	if got := r.Read(t.Context()).BootDuration; got != sysinfo.Some(73643085*time.Microsecond) {
		t.Errorf("boot duration after that: %+v", got)
	}
	asked := len(m.calls)
	m.now = m.now.Add(time.Minute)
	r.Read(t.Context())
	if len(m.calls) != asked {
		t.Errorf("a minute later %v were run again", m.calls[asked:])
	}
}

// TestWhatIsNotThereIsNotAskedAgain: a machine without all these programs costs
// nothing, and each has a reason.
func TestWhatIsNotThereIsNotAskedAgain(t *testing.T) {
	m := machineOf(t, map[string]string{"run/NetworkManager/x": "", "run/systemd/system/x": "", "sys/block/sda/device/model": "x"})
	r := sysinfo.New(m.config())
	r.Read(t.Context())
	asked := len(m.calls)
	m.now = m.now.Add(time.Minute)
	s := r.Read(t.Context())
	if asked == 0 || len(m.calls) != asked {
		t.Errorf("%d programs looked for at first, and %v a minute later", asked, m.calls[asked:])
	}
	if s.Metered.Why != sysinfo.NotSupported || s.Disks.Value[0].Wear.Why != sysinfo.NotSupported {
		t.Errorf("metered %+v, disks %+v", s.Metered, s.Disks)
	}
}

func TestHangingProgram(t *testing.T) {
	m := machineOf(t, map[string]string{"run/NetworkManager/x": "", "sys/class/tpm/tpm0/tpm_version_major": "2\n"})
	c := m.config()
	c.Within = 50 * time.Millisecond
	c.Run = func(ctx context.Context, name string, args ...string) ([]byte, error) {
		if name == "busctl" {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return nil, exec.ErrNotFound
	}
	s := sysinfo.New(c).Read(t.Context())
	if !slices.Equal(s.CutOff, []string{"metered"}) || s.Metered.Why != sysinfo.TimedOut {
		t.Errorf("cut off %v, metered %+v", s.CutOff, s.Metered)
	}
	if s.Protection.TPM != str("2.0") || s.Protection.Firewall != sysinfo.Some(sysinfo.Off) {
		t.Errorf("the others suffered: %+v", s.Protection)
	}
}

func TestSystems(t *testing.T) {
	date := func(s string) sysinfo.Opt[time.Time] {
		d, err := time.Parse(time.DateOnly, s)
		if err != nil {
			return sysinfo.None[time.Time](sysinfo.NotSupported)
		}
		return sysinfo.Some(d)
	}
	for _, c := range []struct {
		name, patch, end string
		files            map[string]string
	}{
		{"Debian GNU/Linux 12 (bookworm)", "12.11", "2028-06-30", map[string]string{
			"etc/os-release": recording(t, "debian-12/os-release"), "etc/debian_version": recording(t, "debian-12/debian_version")}},
		{"Debian GNU/Linux 12 (bookworm)", "12", "2031-01-01", map[string]string{ // the machine's own table is newer than ours
			"usr/lib/os-release": recording(t, "debian-12/os-release"), "etc/debian_version": "bookworm/sid\n",
			"usr/share/distro-info/debian.csv": "version,codename,series,created,release,eol,eol-lts\n12,B,b,2021-08-14,2023-06-10,2026-07-11,2031-01-01\n"}},
		{"Ubuntu 24.04.3 LTS", "24.04.3", "2029-05-31", map[string]string{"etc/os-release": recording(t, "ubuntu-24.04/os-release")}},
		{"Fedora Linux 38 (Container Image)", "38", "2024-05-14", map[string]string{"etc/os-release": recording(t, "fedora-43/os-release-38")}},
		{"Fedora Linux 43 (Workstation Edition)", "43", "2026-12-02", map[string]string{"etc/os-release": recording(t, "fedora-43/os-release.synthetic")}},
		{"Something 7", "7", "", map[string]string{"etc/os-release": "ID=something\nVERSION_ID=7\nPRETTY_NAME='Something 7'\n"}},
	} {
		id := sysinfo.New(machineOf(t, c.files).config()).Identify(t.Context())
		if id.OSName != str(c.name) || id.OSPatch != str(c.patch) || id.SupportEnd != date(c.end) {
			t.Errorf("%s: %+v, %+v, %+v; want %s, %s", c.name, id.OSName, id.OSPatch, id.SupportEnd, c.patch, c.end)
		}
	}
}

func TestSoftware(t *testing.T) {
	m := machineOf(t, map[string]string{
		"var/lib/dpkg/status": recording(t, "debian-12/dpkg-status.txt") +
			"\nPackage: firefox\nStatus: install ok installed\nVersion: 1:1snap1-0ubuntu5\n",
		"snap/firefox/current/meta/snap.yaml": "name: firefox\nversion: 145.0-1\nsummary: x\napps:\n  firefox:\n    name: y\n",
		"var/lib/flatpak/app/org.gimp.GIMP/x": "",
	})
	m.programs["flatpak list --system --app --columns=application,version"] = "org.gimp.GIMP\t3.0.6\n"
	c := m.config()
	c.Run = m.ok
	got, err := sysinfo.New(c).Software(t.Context())
	want := []sysinfo.Program{
		{"bash", "5.2.15-2+b8"}, {"firefox", "145.0-1"}, {"libc6", "2.36-9+deb12u14"}, {"linux-libc-dev", "6.1.187-1"},
		{"org.gimp.GIMP", "3.0.6"}, {"squid", "5.7-2+deb12u6"}, {"tzdata", "2025b-0+deb12u2"}, {"zlib1g", "1:1.2.13.dfsg-1"},
	}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("Software: %v (-want +got):\n%s", err, d)
	}
	if _, err := sysinfo.New(machineOf(t, nil).config()).Software(t.Context()); err == nil {
		t.Error("a system without packages has software")
	}
	m = machineOf(t, map[string]string{"usr/lib/sysimage/rpm/rpmdb.sqlite": ""})
	m.programs["rpm -qa --qf"] = recording(t, "fedora-43/rpm-qa.synthetic.txt")
	c = m.config()
	c.Run = m.ok
	if got, err := sysinfo.New(c).Software(t.Context()); len(got) != 5 || err != nil {
		t.Errorf("Fedora: %v, %v", got, err)
	}
}

func TestLinksCountAndSignal(t *testing.T) {
	m := machineOf(t, map[string]string{
		"sys/class/net/wlan0/operstate": "up", "sys/class/net/wlan0/device/x": "", "sys/class/net/wlan0/phy80211/x": "", "sys/class/net/wlan0/type": "1",
		"sys/class/net/wlan0/statistics/rx_errors": "5", "sys/class/net/wlan0/statistics/tx_errors": "2",
	})
	r := sysinfo.New(m.config())
	for _, c := range []struct {
		wireless, rx   string
		signal, errors sysinfo.Opt[int64]
	}{
		{"", "5", none(sysinfo.NotSupported), none(sysinfo.Unread)},
		{strings.ReplaceAll(recording(t, "linux/wireless-7265.txt"), "wlp2s0", "wlan0"), "9", num(-47), num(4)},
		{recording(t, "linux/wireless-percent.txt"), "9", none(sysinfo.NotSupported), num(0)},
		{recording(t, "linux/wireless-empty.txt"), "3", none(sysinfo.NotSupported), none(sysinfo.Unread)}, // the driver was loaded anew
	} {
		m.put(t, "proc/net/wireless", c.wireless)
		m.put(t, "sys/class/net/wlan0/statistics/rx_errors", c.rx)
		l := r.Read(t.Context()).Links.Value[0]
		if l.Signal != c.signal || l.Errors != c.errors {
			t.Errorf("%q, %s: signal %+v, errors %+v; want %+v, %+v", c.wireless, c.rx, l.Signal, l.Errors, c.signal, c.errors)
		}
	}
}

func TestTooWeakCharger(t *testing.T) {
	bat := "sys/class/power_supply/BAT0/"
	m := machineOf(t, map[string]string{
		"sys/class/power_supply/AC/type": "Mains", "sys/class/power_supply/AC/online": "1",
		bat + "type": "Battery", bat + "status": "Discharging", bat + "capacity": "40",
		bat + "charge_now": "2000000", bat + "charge_full": "4000000", bat + "charge_full_design": "5000000",
	})
	p := m.read(t).Power
	if p.Charger != sysinfo.Some(sysinfo.ChargerTooWeak) || p.Source != sysinfo.Some(sysinfo.Mains) {
		t.Errorf("power = %+v, want a charger that is too weak", p)
	}
	if p.Full.Why != sysinfo.NotSupported || p.Health != num(800) { // ampere hours without a voltage are no energy
		t.Errorf("full = %+v, health = %+v", p.Full, p.Health)
	}
	m.put(t, bat+"status", "Charging")
	m.put(t, bat+"voltage_min_design", "11550000")
	p = m.read(t).Power
	if p.Charger != sysinfo.Some(sysinfo.ChargerConnected) || p.Full != num(46_200) || p.Design != num(57_750) {
		t.Errorf("power = %+v", p)
	}
}

func TestCoresAndThrottling(t *testing.T) {
	m := machineOf(t, map[string]string{"sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "0"})
	r := sysinfo.New(m.config())
	for _, c := range []struct {
		stat, count string
		cores       sysinfo.Opt[[]int64]
		throttled   sysinfo.Opt[int64]
	}{
		{"cpu 0\ncpu0 100 0 0 100\ncpu1 100 0 0 100\n", "0", sysinfo.None[[]int64](sysinfo.Unread), none(sysinfo.Unread)},
		{"cpu 0\ncpu0 150 0 0 150\ncpu1 100 0 0 200\n", "3", sysinfo.Some([]int64{500, 0}), num(3)},
		{"cpu 0\ncpu0 250 0 0 150\n", "3", sysinfo.None[[]int64](sysinfo.Unread), num(0)}, // a core was switched off
	} {
		m.put(t, "proc/stat", c.stat)
		m.put(t, "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", c.count)
		s := r.Read(t.Context())
		if d := cmp.Diff(c.cores, s.CPU.CoreUsed); d != "" || s.CPU.Throttled != c.throttled {
			t.Errorf("%q: throttled %+v, cores (-want +got):\n%s", c.stat, s.CPU.Throttled, d)
		}
	}
}
