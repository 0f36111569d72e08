package sysinfo

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// bootDuration asks systemd when the last start job was done: the time of
// firmware and boot loader before the kernel's clock began, and that of kernel
// and services on it, as `systemd-analyze time` adds them up. A notebook without
// EFI variables tells no firmware time. A container's clock is its host's and ran
// long before it: there only what came after its first process counts.
func (l *linux) bootDuration(ctx context.Context) (time.Duration, error) {
	if !l.exists("/run/systemd/system") { // sd_booted(3)
		return 0, errNotSupported
	}
	out, err := l.ask(ctx, "systemctl", "show", "--property=FirmwareTimestampMonotonic",
		"--property=UserspaceTimestampMonotonic", "--property=FinishTimestampMonotonic")
	if err != nil {
		return 0, err
	}
	container := l.exists("/run/systemd/container") // systemd writes it, see systemd.io/CONTAINER_INTERFACE
	return parseBootDuration(string(out), container)
}

func parseBootDuration(text string, container bool) (time.Duration, error) {
	stamps := make(map[string]int64)
	for line := range strings.Lines(text) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			continue
		}
		stamps[k] = n
	}
	finish, ok := stamps["FinishTimestampMonotonic"]
	switch {
	case !ok:
		return 0, fmt.Errorf("systemd told no FinishTimestampMonotonic")
	case finish == 0: // it still starts
		return 0, errAbsent{Unread}
	}
	micros := finish + stamps["FirmwareTimestampMonotonic"]
	if container {
		micros = finish - stamps["UserspaceTimestampMonotonic"]
	}
	d := time.Duration(micros) * time.Microsecond
	if d < 0 || d > 24*time.Hour {
		return 0, fmt.Errorf("boot took %v", d)
	}
	return d, nil
}

// restart: a package asked for it (Debian's and Ubuntu's update-notifier and
// unattended-upgrades), or a newer kernel than the running one lies there, or,
// with rpm, one of the packages was replaced since boot that Fedora's
// needs-restarting -r looks at. That program itself takes seconds of Python.
func (l *linux) restart(ctx context.Context) (bool, error) {
	if l.exists("/run/reboot-required") || l.exists("/var/run/reboot-required") {
		return true, nil
	}
	running, err := l.line("/proc/sys/kernel/osrelease")
	if err != nil {
		return false, err
	}
	if newerKernel(running, l.kernels()) {
		return true, nil
	}
	if !l.hasRPM() {
		return false, nil
	}
	return l.replacedSinceBoot(ctx)
}

// rebootPackages are of the kind that dnf5-needs-restarting(8) names (kernel,
// systemd, and those of access.redhat.com/solutions/27943, which was not to be
// had here: the list is from general knowledge). Advisories are not looked at.
var rebootPackages = []string{
	"kernel-core", "kernel-rt-core", "glibc", "linux-firmware", "systemd", "dbus", "dbus-broker", "dbus-daemon", "microcode_ctl",
}

func (l *linux) replacedSinceBoot(ctx context.Context) (bool, error) {
	boot, err := l.bootTime(ctx)
	if err != nil {
		return false, err
	}
	// It ends with an error when one is not installed, and says so among the lines.
	out, err := l.ask(ctx, "rpm", append([]string{"-q", "--qf", `%{INSTALLTIME}\n`}, rebootPackages...)...)
	newest, found := newestTime(string(out))
	if !found {
		if err == nil {
			err = errNotSupported
		}
		return false, err
	}
	return newest.After(boot), nil
}

// newestTime takes the highest of lines of Unix seconds.
func newestTime(text string) (t time.Time, found bool) {
	for line := range strings.Lines(text) {
		sec, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		if err == nil && sec > 0 && (!found || sec > t.Unix()) {
			t, found = time.Unix(sec, 0), true
		}
	}
	return t, found
}

// hasRPM and hasDpkg say which packages a system is made of.
func (l *linux) hasRPM() bool {
	return l.exists("/usr/lib/sysimage/rpm") || l.exists("/var/lib/rpm/rpmdb.sqlite") || l.exists("/var/lib/rpm/Packages")
}

func (l *linux) hasDpkg() bool { return l.exists("/var/lib/dpkg/status") }

// kernels are the releases of the installed ones; Fedora keeps them with their
// modules too, and on some machines only there.
func (l *linux) kernels() []string {
	var ks []string
	for _, f := range l.glob("/boot/vmlinuz-*") {
		ks = append(ks, strings.TrimPrefix(path.Base(f), "vmlinuz-"))
	}
	for _, f := range append(l.glob("/lib/modules/*/vmlinuz"), l.glob("/usr/lib/modules/*/vmlinuz")...) {
		ks = append(ks, path.Base(path.Dir(f)))
	}
	return ks
}

// newerKernel compares releases of one flavour: "6.1.0-40-amd64" with
// "6.1.0-37-amd64", not with "-rt-amd64", and never with rescue images.
func newerKernel(running string, installed []string) bool {
	return slices.ContainsFunc(installed, func(k string) bool {
		return flavour(k) == flavour(running) && startsWithDigit(k) && !strings.HasPrefix(k, "0-") && naturally(k, running) > 0
	})
}

// flavour is a kernel's release without its numbers.
func flavour(release string) string {
	_, rest, _ := strings.Cut(release, "-")
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r == '.' || r == '-' || r == '+' {
			return -1
		}
		return r
	}, rest)
}
