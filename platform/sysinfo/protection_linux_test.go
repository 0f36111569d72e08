package sysinfo_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"hausmeister/platform/sysinfo"
)

func TestEncryption(t *testing.T) {
	line := func(dev, point, system, source string) string {
		return "30 1 " + dev + " / " + point + " rw - " + system + " " + source + " rw\n"
	}
	luksOn := func(dm string) map[string]string {
		return map[string]string{"sys/block/" + dm + "/dm/uuid": "CRYPT-LUKS2-0123-luks\n", "sys/block/" + dm + "/dm/name": "luks-0123\n"}
	}
	lvm := map[string]string{
		"sys/block/dm-1/dm/uuid": "LVM-abc\n", "sys/block/dm-1/slaves/dm-0/size": "1", "sys/dev/block/254:1/uevent": "DEVNAME=dm-1\n",
	}
	for _, c := range []struct {
		name   string
		mounts string
		trees  []map[string]string
		want   sysinfo.Opt[sysinfo.Guard]
	}{
		{"plain", line("259:2", "/", "ext4", "/dev/nvme0n1p2"), nil, sysinfo.Some(sysinfo.Off)},
		{"Fedora's btrfs on LUKS, plain /boot", recording(t, "linux/mountinfo-btrfs.txt") + line("259:2", "/boot", "ext4", "/dev/nvme0n1p2"),
			[]map[string]string{luksOn("dm-1")}, sysinfo.Some(sysinfo.On)},
		{"by its mapped name", line("0:28", "/", "btrfs", "/dev/mapper/luks-0123"), []map[string]string{luksOn("dm-3")}, sysinfo.Some(sysinfo.On)},
		{"LVM on LUKS", line("254:1", "/", "ext4", "/dev/mapper/vg-root"), []map[string]string{luksOn("dm-0"), lvm}, sysinfo.Some(sysinfo.On)},
		{"home only", line("8:1", "/", "ext4", "/dev/sda1") + line("254:1", "/home", "ext4", "/dev/mapper/vg-home"),
			[]map[string]string{luksOn("dm-0"), lvm}, sysinfo.Some(sysinfo.Partly)},
		{"verity hides nothing", line("254:0", "/", "ext4", "/dev/dm-0"),
			[]map[string]string{{"sys/block/dm-0/dm/uuid": "CRYPT-VERITY-1-root\n"}}, sysinfo.Some(sysinfo.Off)},
		{"ZFS keeps it to itself", line("0:30", "/", "zfs", "rpool/ROOT"), nil, noGuard()},
	} {
		m := machineOf(t, map[string]string{"proc/self/mountinfo": c.mounts})
		for _, files := range c.trees {
			for name, content := range files {
				m.put(t, name, content)
			}
		}
		if got := m.read(t).Protection.Encryption; got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestFirewall(t *testing.T) {
	const nft = "nft -t list ruleset"
	running := "sys/fs/cgroup/system.slice/firewalld.service/cgroup.procs"
	for _, c := range []struct {
		name     string
		files    map[string]string
		programs map[string]string
		want     sysinfo.Opt[sysinfo.Guard]
	}{
		{"no program for it", nil, nil, sysinfo.Some(sysinfo.Off)},
		{"ufw on", map[string]string{"etc/ufw/ufw.conf": recording(t, "linux/ufw-on.synthetic.conf")}, nil, sysinfo.Some(sysinfo.On)},
		{"ufw installed", map[string]string{"etc/ufw/ufw.conf": "ENABLED=no\n"}, map[string]string{nft: "\n"}, sysinfo.Some(sysinfo.Off)},
		{"firewalld runs", map[string]string{running: "812\n"}, nil, sysinfo.Some(sysinfo.On)},
		{"firewalld lets all in", map[string]string{running: "812\n", "etc/firewalld/firewalld.conf": "# x\nDefaultZone=trusted\n"}, nil, sysinfo.Some(sysinfo.Off)},
		{"firewalld was stopped", map[string]string{running: ""}, map[string]string{nft: recording(t, "linux/nft-open.txt")}, sysinfo.Some(sysinfo.Off)},
		{"own rules", nil, map[string]string{nft: recording(t, "linux/nft-openwrt.txt")}, sysinfo.Some(sysinfo.On)},
		{"no rights", nil, map[string]string{nft: "DENIED"}, sysinfo.None[sysinfo.Guard](sysinfo.Denied)},
		{"iptables of old", map[string]string{"proc/net/ip_tables_names": "filter\n"},
			map[string]string{"iptables-legacy -S INPUT": "-P INPUT DROP\n"}, sysinfo.Some(sysinfo.On)},
		{"iptables of old, unseen", map[string]string{"proc/net/ip_tables_names": "filter\n"}, nil, noGuard()},
		{"iptables on nft", map[string]string{"usr/sbin/iptables-nft": ""},
			map[string]string{"iptables-nft -S INPUT": recording(t, "linux/iptables-firewalld.txt")}, sysinfo.Some(sysinfo.On)},
	} {
		m := machineOf(t, c.files)
		if c.programs != nil {
			m.programs = c.programs
		}
		if got := m.read(t).Protection.Firewall; got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestAntivirus(t *testing.T) {
	head := recording(t, "linux/clamav-daily-head.txt")
	age := num(int64(time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC).Sub(time.Date(2020, 4, 16, 11, 58, 0, 0, time.UTC)).Seconds()))
	for _, c := range []struct {
		name  string
		files map[string]string
		guard sysinfo.Opt[sysinfo.Guard]
		age   sysinfo.Opt[int64]
	}{
		{"none", nil, noGuard(), none(sysinfo.NotSupported)},
		{"the daemon runs", map[string]string{"usr/sbin/clamd": "", "var/lib/clamav/daily.cvd": head,
			"sys/fs/cgroup/system.slice/clamav-daemon.service/cgroup.procs": "7\n"}, sysinfo.Some(sysinfo.On), age},
		{"Fedora's", map[string]string{"usr/sbin/clamd": "",
			"sys/fs/cgroup/system.slice/system-clamd.slice/clamd@scan.service/cgroup.procs": "7\n"}, sysinfo.Some(sysinfo.On), none(sysinfo.NotSupported)},
		{"by hand only", map[string]string{"usr/bin/clamscan": "", "var/lib/clamav/daily.cld": head}, sysinfo.Some(sysinfo.Off), age},
		{"Defender, on version 1 of the groups", map[string]string{"opt/microsoft/mdatp/sbin/wdavdaemon": "",
			"sys/fs/cgroup/systemd/system.slice/mdatp.service/cgroup.procs": "9\n"}, sysinfo.Some(sysinfo.On), none(sysinfo.NotSupported)},
		{"Defender stopped", map[string]string{"opt/microsoft/mdatp/sbin/wdavdaemon": ""}, sysinfo.Some(sysinfo.Off), none(sysinfo.NotSupported)},
	} {
		p := machineOf(t, c.files).read(t).Protection
		if p.Antivirus != c.guard || p.AntivirusAge != c.age {
			t.Errorf("%s: %+v, %+v; want %+v, %+v", c.name, p.Antivirus, p.AntivirusAge, c.guard, c.age)
		}
	}
}

func TestSecureBootAndTPM(t *testing.T) {
	const vars = "sys/firmware/efi/efivars/"
	secure, shim := vars+"SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", vars+"MokSBStateRT-605dab50-e046-4300-abb6-3dd810dd8b23"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  sysinfo.Opt[sysinfo.Guard]
	}{
		{"a BIOS", nil, noGuard()},
		{"on", map[string]string{secure: "\x06\x00\x00\x00\x01"}, sysinfo.Some(sysinfo.On)},
		{"off", map[string]string{secure: "\x06\x00\x00\x00\x00"}, sysinfo.Some(sysinfo.Off)},
		{"cut", map[string]string{secure: "\x06"}, sysinfo.Some(sysinfo.Off)},
		{"the shim's check is off", map[string]string{secure: "\x06\x00\x00\x00\x01", shim: "\x06\x00\x00\x00\x01"}, sysinfo.Some(sysinfo.Partly)},
	} {
		if got := machineOf(t, c.files).read(t).Protection.SecureBoot; got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	for version, want := range map[string]sysinfo.Opt[string]{"2\n": str("2.0"), "1\n": str("1.2"), "x": noStr(sysinfo.Failed)} {
		m := machineOf(t, map[string]string{"sys/class/tpm/tpm0/tpm_version_major": version})
		if got := m.read(t).Protection.TPM; got != want {
			t.Errorf("tpm %q: %+v, want %+v", version, got, want)
		}
	}
}

func TestCrashes(t *testing.T) {
	const day = 24 * time.Hour
	m := machineOf(t, map[string]string{"proc/stat": "cpu 1 1 1 1\nbtime 1795500000\n"})
	no := none(sysinfo.NotSupported)
	if got := m.read(t).Crashes; got != (sysinfo.Crashes{System: no, Programs: no, PowerOffs: no}) {
		t.Errorf("a system that notes nothing: %+v", got)
	}
	for _, part := range []string{"1", "2", "3"} { // one panic, three parts, and its dump after the restart
		m.at(t, "var/lib/systemd/pstore/1795/00"+part+"/dmesg-efi_pstore-"+part, 3*day)
	}
	m.at(t, "var/crash/202611210803/dump.202611210803", 3*day-3*time.Minute)
	m.at(t, "var/crash/202611210803/dmesg.202611210803", 3*day-3*time.Minute)
	m.at(t, "sys/fs/pstore/dmesg-erst-77", 10*day)
	m.at(t, "sys/fs/pstore/dmesg-erst-11", 31*day)
	m.at(t, "var/lib/systemd/coredump/core.firefox.1000.abc.812.zst", day)
	m.at(t, "var/lib/systemd/coredump/core.firefox.1000.abc.813.zst", 40*day)
	m.at(t, "var/crash/_usr_bin_gedit.1000.crash", 2*day)
	m.at(t, "var/crash/_usr_bin_gedit.1000.uploaded", 2*day)
	s := m.read(t)
	if want := (sysinfo.Crashes{System: num(2), Programs: num(2), PowerOffs: no}); s.Crashes != want {
		t.Errorf("crashes = %+v, want %+v", s.Crashes, want)
	}
	if text := fmt.Sprintf("%+v", s); strings.Contains(text, "firefox") || strings.Contains(text, "gedit") {
		t.Errorf("a program's name came out: %s", text)
	}

	// Without wtmp the journal tells, from within the 30 days.
	m.put(t, "var/log/journal/0123/system.journal", "")
	m.programs["journalctl --quiet --no-pager --system --output=json --output-fields=_BOOT_ID,MESSAGE_ID --since=@"+
		fmt.Sprint(m.now.Add(-30*day).Unix())+" MESSAGE_ID=f77379a8490b408bbe5f6940505a777b"] =
		`{"_BOOT_ID":"a","MESSAGE_ID":"f77379a8490b408bbe5f6940505a777b"}` + "\n" + `{"_BOOT_ID":"b","MESSAGE_ID":"f77379a8490b408bbe5f6940505a777b"}` + "\n"
	if got := m.read(t).Crashes.PowerOffs; got != num(1) {
		t.Errorf("power-offs by the journal: %+v, want 1", got)
	}
}
