package sysinfo

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// links reads /sys/class/net (Documentation/ABI/testing/sysfs-class-net).
func (l *linux) links(context.Context) ([]Link, error) {
	names, err := l.names("/sys/class/net")
	if err != nil {
		return nil, err
	}
	type adapter struct {
		index int64
		kind  string
		link  Link
	}
	var as []adapter
	signals := l.signals()
	for _, n := range names {
		dir := "/sys/class/net/" + n
		kind := l.linkKind(dir)
		if kind == "" {
			continue
		}
		a := adapter{kind: kind}
		a.index, _ = l.number(dir + "/ifindex")
		state, _ := l.line(dir + "/operstate")
		carrier, _ := l.number(dir + "/carrier")
		// Drivers that never learned to tell say "unknown" and have a carrier.
		a.link.Up = state == "up" || state == "unknown" && carrier == 1
		a.link.Signal = None[int64](NoHardware)
		if kind == "wifi" || kind == "mobile" {
			a.link.Signal = None[int64](NotSupported)
		}
		if a.link.Up {
			a.link.Speed = l.linkSpeed(dir)
			if dBm, ok := signals[n]; ok {
				a.link.Signal = Some(dBm)
			}
		}
		a.link.Errors = l.linkErrors(dir)
		as = append(as, a)
	}
	if len(as) == 0 {
		return nil, errAbsent{NoHardware}
	}
	slices.SortStableFunc(as, func(a, b adapter) int { return int(a.index - b.index) })
	count := make(map[string]int)
	links := make([]Link, len(as))
	for i, a := range as {
		count[a.kind]++
		a.link.Name = numbered(a.kind, count[a.kind])
		links[i] = a.link
	}
	return links, nil
}

// linkKind says what an adapter is, "" for what is no piece of hardware.
func (l *linux) linkKind(dir string) string {
	if _, err := os.Stat(l.path(dir + "/device")); err != nil {
		return "" // loopback, bridges, tunnels
	}
	for _, d := range []string{"/phy80211", "/wireless"} {
		if _, err := os.Stat(l.path(dir + d)); err == nil {
			return "wifi"
		}
	}
	uevent, _ := l.line(dir + "/uevent")
	switch {
	case strings.Contains(uevent, "DEVTYPE=wwan"):
		return "mobile"
	case strings.Contains(uevent, "DEVTYPE="):
		return "" // bluetooth, bond, dsa ...
	}
	const ether = 1 // ARPHRD_ETHER
	if t, _ := l.number(dir + "/type"); t == ether {
		return "wired"
	}
	return ""
}

// linkSpeed reads Mbit/s; Wi-Fi and virtual adapters answer with EINVAL or -1.
func (l *linux) linkSpeed(dir string) Opt[int64] {
	mbit, err := l.number(dir + "/speed")
	if err != nil || mbit <= 0 {
		return None[int64](NotSupported)
	}
	return Some(mbit * 1_000_000)
}

// linkErrors adds what the adapter could not receive or send
// (Documentation/networking/statistics.rst). Dropped frames are left out: what
// nobody here speaks is dropped too.
func (l *linux) linkErrors(dir string) Opt[int64] {
	rx, err := l.number(dir + "/statistics/rx_errors")
	if err != nil {
		return None[int64](NotSupported)
	}
	tx, err := l.number(dir + "/statistics/tx_errors")
	return orNone(rx+tx, err)
}

// signals reads /proc/net/wireless by adapter. A level that is not negative is
// in the driver's own measure and told by nobody; kernels without wireless
// extensions (CONFIG_CFG80211_WEXT, and all Wi-Fi 7 drivers) have no file or line.
func (l *linux) signals() map[string]int64 {
	text, err := l.read("/proc/net/wireless")
	if err != nil {
		return nil
	}
	levels := make(map[string]int64)
	for line := range strings.Lines(string(text)) {
		name, rest, ok := strings.Cut(line, ":")
		f := strings.Fields(rest)
		if !ok || len(f) < 3 {
			continue
		}
		// Status, quality, level, noise; a point marks a value that is up to date.
		level, err := strconv.ParseInt(strings.TrimSuffix(f[2], "."), 10, 64)
		if err == nil && level < 0 && level > -127 {
			levels[strings.TrimSpace(name)] = level
		}
	}
	return levels
}

// metered asks NetworkManager, over the bus and without starting it (its
// property Metered, NMMetered in its D-Bus reference: 1 and 3 are yes and
// guessed yes, 2 and 4 no and guessed no). Nothing else on Linux knows.
func (l *linux) metered(ctx context.Context) (bool, error) {
	if !l.exists("/run/NetworkManager") {
		return false, errNotSupported
	}
	out, err := l.ask(ctx, "busctl", "--auto-start=no", "--json=short", "get-property", "org.freedesktop.NetworkManager",
		"/org/freedesktop/NetworkManager", "org.freedesktop.NetworkManager", "Metered")
	if err != nil {
		return false, err
	}
	var property struct{ Data uint32 }
	if err := json.Unmarshal(out, &property); err != nil {
		return false, fmt.Errorf("reading NetworkManager's property: %w", err)
	}
	switch property.Data {
	case 1, 3:
		return true, nil
	case 2, 4:
		return false, nil
	}
	return false, errNotSupported // not connected, or it does not know
}
