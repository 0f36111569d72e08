package sysinfo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// disks lists the built-in ones and asks smartctl for their health. Without it,
// or for a disk that it does not know, eMMC tells its own in /sys; of all
// others the kernel knows nothing.
func (l *linux) disks(ctx context.Context) ([]Disk, error) {
	names, err := l.names("/sys/block")
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !l.builtIn(n) })
	if len(names) == 0 {
		return nil, errAbsent{NoHardware}
	}
	slices.SortFunc(names, naturally)
	ds := make([]Disk, len(names))
	for i, n := range names {
		d, err := l.diskHealth(ctx, n)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			d = noDisk(why(err))
		}
		d.Name = numbered("disk", i+1)
		ds[i] = d
	}
	return ds, nil
}

// builtIn: a disk of this machine, and not a part, a stick, a card or a
// construct of the kernel's.
func (l *linux) builtIn(name string) bool {
	for _, p := range []string{"loop", "ram", "zram", "sr", "fd", "dm-", "md", "nbd", "mtd", "drbd", "rbd", "bcache", "zd"} {
		if rest, ok := strings.CutPrefix(name, p); ok && (rest == "" || startsWithDigit(rest) || p == "mtd") {
			return false
		}
	}
	dir := "/sys/block/" + name
	if !l.exists(dir + "/device") {
		return false
	}
	for _, flag := range []string{"/removable", "/hidden"} { // hidden: one path to an NVMe disk of several
		if v, err := l.number(dir + flag); err == nil && v != 0 {
			return false
		}
	}
	if strings.HasPrefix(name, "mmcblk") {
		kind, _ := l.line(dir + "/device/type")
		return kind == "MMC" && !strings.Contains(name, "boot") && !strings.Contains(name, "rpmb")
	}
	// The link leads through the bus that it hangs on.
	real, err := filepath.EvalSymlinks(l.path(dir))
	return err != nil || !strings.Contains(real, "/usb")
}

func (l *linux) diskHealth(ctx context.Context, name string) (Disk, error) {
	if strings.HasPrefix(name, "mmcblk") {
		return l.eMMC("/sys/block/" + name + "/device/")
	}
	for _, p := range []string{"vd", "xvd"} {
		if strings.HasPrefix(name, p) {
			return Disk{}, errNotSupported // a virtual machine's
		}
	}
	// One that sleeps is not woken: its old answer stands.
	out, err := l.ask(ctx, "smartctl", "-j", "-H", "-A", "-n", "standby", "/dev/"+name)
	if errors.As(err, new(errAbsent)) || ctx.Err() != nil || len(out) == 0 && err != nil {
		return Disk{}, err
	}
	d, asleep, err := parseSmart(out)
	if asleep {
		if old, ok := l.slept[name]; ok {
			return old, nil
		}
		return Disk{}, errAbsent{Unread}
	}
	if err == nil {
		l.slept[name] = d
	}
	return d, err
}

// eMMC reads the registers of JESD84-B51 as the kernel shows them
// (Documentation/driver-api/mmc/mmc-dev-attrs.rst): the used life of both kinds
// of cells in steps of 10 %, of which the upper end of the worse is told, and
// what is left of the reserve.
func (l *linux) eMMC(dir string) (Disk, error) {
	d := noDisk(NotSupported)
	if text, err := l.line(dir + "life_time"); err == nil {
		var worst int64
		for _, f := range strings.Fields(text) {
			n, err := strconv.ParseInt(f, 0, 64)
			if err != nil {
				return d, fmt.Errorf("reading the life time of an eMMC: %w", err)
			}
			worst = max(worst, n)
		}
		if worst >= 1 && worst <= 11 {
			d.Wear = Some(100 * worst)
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return d, err
	}
	switch text, _ := l.line(dir + "pre_eol_info"); text {
	case "0x01":
		d.Health = Some(DiskOK)
	case "0x02": // 80 % of the reserve is used
		d.Health = Some(DiskWarning)
	case "0x03": // urgent
		d.Health = Some(DiskFailing)
	}
	if d.Wear.Value > 1000 && d.Health.Value == DiskOK {
		d.Health = Some(DiskWarning)
	}
	return d, nil
}
