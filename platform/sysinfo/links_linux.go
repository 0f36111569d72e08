package sysinfo

import (
	"context"
	"os"
	"slices"
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
		if a.link.Up {
			a.link.Speed = l.linkSpeed(dir)
		}
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
