package sysinfo

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// encryption asks of each volume that holds data whether dm-crypt lies below it
// (the device mapper's names begin with CRYPT-; its integrity and verity targets
// of the same prefix hide nothing). Boot volumes hold none. ZFS's and fscrypt's
// own encryption and a disk's (OPAL) are not seen.
func (l *linux) encryption(context.Context) (Guard, error) {
	mounts, err := l.mounts()
	if err != nil {
		return "", err
	}
	var with, without int
	for _, m := range mounts {
		if m.system == "zfs" || slices.Contains([]string{"/boot", "/boot/efi", "/efi"}, m.point) {
			continue
		}
		if name := l.blockName(m); name != "" && l.encrypted(name, 8) {
			with++
		} else {
			without++
		}
	}
	switch {
	case with+without == 0:
		return "", errNotSupported
	case without == 0:
		return On, nil
	case with > 0:
		return Partly, nil
	}
	return Off, nil
}

// encrypted looks through logical volumes and arrays, all of whose parts must be.
func (l *linux) encrypted(name string, deep int) bool {
	dir := "/sys/block/" + name
	uuid, _ := l.line(dir + "/dm/uuid")
	if strings.HasPrefix(uuid, "CRYPT-") && !strings.HasPrefix(uuid, "CRYPT-VERITY") && !strings.HasPrefix(uuid, "CRYPT-INTEGRITY") {
		return true
	}
	below, _ := l.names(dir + "/slaves")
	return deep > 0 && len(below) > 0 && !slices.ContainsFunc(below, func(n string) bool { return !l.encrypted(n, deep-1) })
}

// firewall: one of the two usual front ends is on, or the kernel has a rule that
// refuses what comes in. Off is said only where all rules could be seen.
func (l *linux) firewall(ctx context.Context) (Guard, error) {
	if l.setting("/etc/ufw/ufw.conf", "ENABLED") == "yes" {
		return On, nil
	}
	if l.serviceRuns("firewalld.service") {
		if l.setting("/etc/firewalld/firewalld.conf", "DefaultZone") == "trusted" {
			return Off, nil // its zone that lets everything in
		}
		return On, nil
	}
	// iptables-legacy has its own tables, which nft does not show. The file is
	// root's; no file means that the module was never loaded.
	legacy, err := l.line("/proc/net/ip_tables_names")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if slices.Contains(strings.Fields(legacy), "filter") {
		rules, err := l.ask(ctx, "iptables-legacy", "-S", "INPUT")
		switch {
		case err != nil:
			return "", err
		case iptablesRefuses(string(rules)):
			return On, nil
		}
	}
	rules, err := l.ask(ctx, "nft", "-t", "list", "ruleset") // -t leaves the elements of sets out
	switch {
	case errors.As(err, new(errAbsent)):
		// Without its program there are rules only where another program of
		// netfilter's made them, and iptables comes with iptables-nft.
		if l.exists("/usr/sbin/iptables-nft") || l.exists("/usr/sbin/xtables-nft-multi") {
			rules, err = l.ask(ctx, "iptables-nft", "-S", "INPUT")
			if err != nil {
				return "", err
			}
			if iptablesRefuses(string(rules)) {
				return On, nil
			}
		}
		return Off, nil
	case err != nil:
		return "", err
	case nftRefuses(string(rules)):
		return On, nil
	}
	return Off, nil
}

// setting reads NAME=value of a shell-like file, "" when there is none.
func (l *linux) setting(file, name string) string {
	text, err := l.read(file)
	if err != nil {
		return ""
	}
	value := ""
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok && k == name {
			value = strings.Trim(strings.TrimSpace(v), `"'`)
		}
	}
	return value
}

// nftRefuses: a chain at the input hook drops by its policy, or has a rule
// without a condition that drops or rejects, as its last one would.
func nftRefuses(rules string) bool {
	input := false
	for line := range strings.Lines(rules) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "chain "), line == "}":
			input = false
		case strings.HasPrefix(line, "type ") && strings.Contains(line, " hook input "):
			// Of the family netdev there is an ingress hook only.
			input = strings.HasPrefix(line, "type filter ")
			if input && strings.Contains(line, "policy drop") {
				return true
			}
		case input:
			f := strings.Fields(line)
			if len(f) > 4 && f[0] == "counter" && f[1] == "packets" {
				f = f[5:]
			}
			if len(f) > 0 && (f[0] == "drop" || f[0] == "reject") {
				return true
			}
		}
	}
	return false
}

// iptablesRefuses reads `iptables -S INPUT`.
func iptablesRefuses(rules string) bool {
	for line := range strings.Lines(rules) {
		line = strings.TrimSpace(line)
		switch line {
		case "-P INPUT DROP", "-P INPUT REJECT", "-A INPUT -j DROP", "-A INPUT -j REJECT":
			return true
		}
		if strings.HasPrefix(line, "-A INPUT -j REJECT --reject-with ") {
			return true
		}
	}
	return false
}

// antiviruses by where they are installed and the service that watches. ClamAV's
// and Defender's are looked up (github.com/Cisco-Talos/clamav pull 859,
// github.com/juju4/mde-baseline); folders and units of the other five are from
// general knowledge and not tried on a machine that has them.
var antiviruses = []struct{ installed, service string }{
	{"/opt/microsoft/mdatp", "mdatp.service"},
	{"/opt/eset/eea", "eea.service"},
	{"/opt/kaspersky/kesl", "kesl.service"},
	{"/opt/sophos-spl", "sophos-spl.service"},
	{"/opt/CrowdStrike", "falcon-sensor.service"},
	{"/opt/sentinelone", "sentinelone.service"},
	{"/usr/sbin/clamd", "clamav-daemon.service"}, // Debian, Ubuntu
	{"/usr/sbin/clamd", "clamd@*.service"},       // Fedora
	{"/usr/sbin/clamd", "clamd.service"},
	{"/usr/bin/clamscan", "clamav-daemon.service"}, // by hand only, unless the daemon is there too
}

// antivirus: one runs, or one is installed and does not. A Linux without any is
// as it is delivered, and no finding: absent.
func (l *linux) antivirus(context.Context) (antivirus, error) {
	a := antivirus{age: l.patternsAge()}
	installed := false
	for _, av := range antiviruses {
		if !l.exists(av.installed) {
			continue
		}
		installed = true
		if l.serviceRuns(av.service) {
			a.guard = On
			return a, nil
		}
	}
	if !installed {
		return antivirus{}, errNotSupported
	}
	a.guard = Off
	return a, nil
}

// patternsAge is that of ClamAV's daily patterns; other makers tell it to their
// own programs only. The head of the file names the time of its making:
//
//	ClamAV-VDB:07 Nov 2024 04-33 -0500:27450:2066993:90:...
func (l *linux) patternsAge() Opt[int64] {
	var made time.Time
	for _, f := range []string{"/var/lib/clamav/daily.cld", "/var/lib/clamav/daily.cvd"} {
		file, err := os.Open(l.path(f))
		if err != nil {
			continue
		}
		head := make([]byte, 512)
		n, _ := file.Read(head)
		file.Close()
		if t, ok := madeAt(string(head[:n])); ok && t.After(made) {
			made = t
		}
	}
	if made.IsZero() {
		return None[int64](NotSupported)
	}
	return Some(max(int64(l.now().Sub(made).Seconds()), 0))
}

func madeAt(head string) (time.Time, bool) {
	f := strings.Split(head, ":")
	if len(f) < 3 || f[0] != "ClamAV-VDB" {
		return time.Time{}, false
	}
	t, err := time.Parse("02 Jan 2006 15-04 -0700", f[1])
	return t, err == nil
}

// secureBoot reads the EFI variable: four bytes of attributes, one of value. The
// shim's own switch (mokutil --disable-validation) leaves the firmware's check
// on and lets everything after it pass.
func (l *linux) secureBoot(context.Context) (Guard, error) {
	const vars = "/sys/firmware/efi/efivars/"
	b, err := l.read(vars + "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c")
	switch {
	case errors.Is(err, fs.ErrNotExist): // a BIOS, or a firmware before UEFI 2.3.1
		return "", errNotSupported
	case err != nil:
		return "", err
	case len(b) < 5 || b[4] != 1:
		return Off, nil
	}
	if mok, err := l.read(vars + "MokSBStateRT-605dab50-e046-4300-abb6-3dd810dd8b23"); err == nil && len(mok) > 4 && mok[4] == 1 {
		return Partly, nil
	}
	return On, nil
}

// tpm reads the version's number (Documentation/ABI/stable/sysfs-class-tpm,
// since Linux 5.5); 1 is always 1.2.
func (l *linux) tpm(context.Context) (string, error) {
	chips, err := l.names("/sys/class/tpm")
	if err != nil {
		return "", err
	}
	if len(chips) == 0 {
		return "", errAbsent{NoHardware}
	}
	major, err := l.number("/sys/class/tpm/" + chips[0] + "/tpm_version_major")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", errNotSupported
	case err != nil:
		return "", err
	case major == 1:
		return "1.2", nil
	}
	return strconv.FormatInt(major, 10) + ".0", nil
}
