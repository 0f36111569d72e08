package sysinfo

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func (l *linux) identity(context.Context) (Identity, error) {
	id := noIdentity(NotSupported)
	os, err := l.osRelease()
	if err != nil {
		id.OSName, id.OSPatch, id.SupportEnd = None[string](why(err)), None[string](why(err)), None[time.Time](why(err))
	} else {
		id.OSName, id.OSPatch = textOr(os["PRETTY_NAME"]), textOr(l.osPatch(os))
		id.SupportEnd = l.supportEnd(os)
	}
	release, err := l.line("/proc/sys/kernel/osrelease")
	id.OSBuild = orNone(clean(release), err)
	id.Architecture = Some(architecture())
	l.machine(&id)
	return id, nil
}

func textOr(s string) Opt[string] {
	if s = clean(s); s == "" {
		return None[string](NotSupported)
	}
	return Some(s)
}

// osRelease reads os-release(5).
func (l *linux) osRelease() (map[string]string, error) {
	b, err := l.read("/etc/os-release")
	if err != nil {
		if b, err = l.read("/usr/lib/os-release"); err != nil {
			return nil, fmt.Errorf("reading os-release: %w", err)
		}
	}
	values := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[k] = strings.Trim(v, `"'`)
		}
	}
	return values, nil
}

// osPatch is the point release: Debian tells it in a file of its own ("12.11"),
// Ubuntu before the name of the version ("24.04.2 LTS (Noble Numbat)"). Fedora
// has none: what is installed is told by the kernel and the pending updates.
func (l *linux) osPatch(os map[string]string) string {
	if os["ID"] == "debian" || os["ID"] == "raspbian" {
		if v, err := l.line("/etc/debian_version"); err == nil && startsWithDigit(v) {
			return v
		}
	}
	if v, _, _ := strings.Cut(os["VERSION"], " "); startsWithDigit(v) && strings.HasPrefix(v, os["VERSION_ID"]) {
		return v
	}
	return os["VERSION_ID"]
}

func startsWithDigit(s string) bool { return s != "" && s[0] >= '0' && s[0] <= '9' }

// supportEnd: what the system says of itself, then what its package of release
// dates says, which is updated within a release, then our own table.
func (l *linux) supportEnd(os map[string]string) Opt[time.Time] {
	if day, err := time.Parse(time.DateOnly, os["SUPPORT_END"]); err == nil {
		return Some(day)
	}
	system, version := os["ID"], os["VERSION_ID"]
	if system == "debian" || system == "ubuntu" {
		if b, err := l.read("/usr/share/distro-info/" + system + ".csv"); err == nil {
			if day, ok := distroInfo(string(b), version); ok {
				return Some(day)
			}
		}
	}
	if day, ok := linuxSupportEnd(system, version); ok {
		return Some(day)
	}
	return None[time.Time](NotSupported)
}

// distroInfo finds the last day of free updates in a table of the package
// distro-info-data: eol-lts for Debian, else eol, which is the same as
// eol-server in every Ubuntu of today. What is sold or made by others (esm,
// legacy, elts) does not count.
func distroInfo(csv, version string) (time.Time, bool) {
	var columns []string
	for line := range strings.Lines(csv) {
		f := strings.Split(strings.TrimSpace(line), ",")
		if columns == nil {
			columns = f
			continue
		}
		if v, _, _ := strings.Cut(f[0], " "); v != version || version == "" {
			continue
		}
		var end string
		for i, c := range columns {
			if i < len(f) && (c == "eol" || c == "eol-lts") && f[i] > end {
				end = f[i]
			}
		}
		day, err := time.Parse(time.DateOnly, end)
		return day, err == nil
	}
	return time.Time{}, false
}

// machine reads the firmware's names: DMI, or the device tree of ARM boards.
func (l *linux) machine(id *Identity) {
	const dmi = "/sys/class/dmi/id/"
	if maker, err := l.line(dmi + "sys_vendor"); err == nil {
		sys := smbiosSystem{maker: maker}
		sys.product, _ = l.line(dmi + "product_name")
		sys.version, _ = l.line(dmi + "product_version")
		sys.serial, err = l.line(dmi + "product_serial") // root only
		id.machine(sys)
		if err != nil {
			id.Serial = None[string](why(err))
		}
		return
	}
	const tree = "/proc/device-tree/"
	if model, err := l.line(tree + "model"); err == nil {
		serial, _ := l.line(tree + "serial-number")
		maker, _, _ := strings.Cut(model, " ") // "Raspberry Pi 4 Model B", "Pine64 ..."
		id.machine(smbiosSystem{maker: maker, product: model, serial: serial})
	}
}

func architecture() string {
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		switch m := unix.ByteSliceToString(u.Machine[:]); m {
		case "x86_64":
			return "amd64"
		case "aarch64":
			return "arm64"
		}
	}
	return runtime.GOARCH
}
