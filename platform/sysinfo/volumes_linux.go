package sysinfo

import (
	"bufio"
	"context"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// statfs asks for total and what an ordinary program may use.
func statfs(path string) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Space{}, err
	}
	return Space{
		Total: int64(st.Blocks) * st.Bsize, Free: int64(st.Bavail) * st.Bsize,
		Inodes: int64(st.Files), InodesFree: int64(st.Ffree),
	}, nil
}

// diskSystems are file systems on a disk of this machine; all else (overlay,
// tmpfs, squashfs of snaps, network, FUSE) is not a volume.
var diskSystems = map[string]bool{
	"ext2": true, "ext3": true, "ext4": true, "xfs": true, "btrfs": true, "f2fs": true, "zfs": true, "jfs": true,
	"reiserfs": true, "bcachefs": true, "vfat": true, "exfat": true, "ntfs": true, "ntfs3": true, "fuseblk": true,
}

// commonMounts may be told by name; others may hold a person's or a school's.
var commonMounts = []string{"/", "/boot", "/boot/efi", "/efi", "/home", "/opt", "/srv", "/tmp", "/usr", "/var"}

type mount struct {
	source, point, system string
	device                string // major:minor; of btrfs it is nobody's
	readOnly              bool
}

func (l *linux) volumes(context.Context) ([]Volume, error) {
	mounts, err := l.mounts()
	if err != nil {
		return nil, err
	}
	var vs []Volume
	others := 0
	for _, m := range mounts {
		space, err := l.statfs(m.point)
		if err == nil && space.Total <= 0 {
			continue // mounted, but nothing there
		}
		v := Volume{
			Name: m.point, Total: orNone(space.Total, err), Free: orNone(space.Free, err),
			InodesFree: orNone(space.Inodes, err), Errors: l.volumeErrors(m), ReadOnly: Some(m.readOnly),
		}
		if !slices.Contains(commonMounts, v.Name) {
			others++
			v.Name = numbered("other", others)
		}
		switch {
		case err != nil:
		case space.Inodes <= 0: // btrfs and FAT make them as needed
			v.InodesFree = None[int64](NotSupported)
		default:
			v.InodesFree = Some(int64(1000 * float64(space.InodesFree) / float64(space.Inodes)))
		}
		vs = append(vs, v)
	}
	if len(vs) == 0 {
		return nil, errAbsent{NoHardware}
	}
	return vs, nil
}

// mounts lists the volumes, each once, sorted by mount point.
func (l *linux) mounts() ([]mount, error) {
	f, err := os.Open(l.path("/proc/self/mountinfo"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var mounts []mount
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		if m, ok := parseMount(sc.Text()); ok {
			mounts = append(mounts, m)
		}
	}
	return oncePerSource(mounts), sc.Err()
}

// blockName is the kernel's name of the device below m: "sda1", "dm-0".
func (l *linux) blockName(m mount) string {
	// The number names it also where the source is /dev/root or /dev/mapper/x.
	if uevent, err := l.line("/sys/dev/block/" + m.device + "/uevent"); err == nil {
		for line := range strings.Lines(uevent) {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), "DEVNAME="); ok {
				return name
			}
		}
	}
	name := strings.TrimPrefix(m.source, "/dev/")
	mapped, ok := strings.CutPrefix(name, "mapper/")
	if !ok {
		return name
	}
	for _, f := range l.glob("/sys/block/dm-*/dm/name") {
		if n, err := l.line(f); err == nil && n == mapped {
			return strings.Split(f, "/")[3]
		}
	}
	return ""
}

// volumeErrors reads what the file system itself has noted: ext4 since the last
// e2fsck (Documentation/ABI/testing/sysfs-fs-ext4), btrfs since the counters
// were last reset, over all its devices (Linux 5.14, sysfs-fs-btrfs). XFS and
// the others keep no count.
func (l *linux) volumeErrors(m mount) Opt[int64] {
	name := l.blockName(m)
	switch m.system {
	case "ext4", "ext3", "ext2": // the driver of ext4 does all three
		n, err := l.number("/sys/fs/ext4/" + name + "/errors_count")
		if err != nil {
			return None[int64](NotSupported)
		}
		return Some(n)
	case "btrfs":
		for _, dir := range l.glob("/sys/fs/btrfs/*/devices/" + name) {
			stats := l.glob(path.Dir(path.Dir(dir)) + "/devinfo/*/error_stats")
			var sum int64
			for _, f := range stats {
				text, err := l.line(f)
				if err != nil {
					return None[int64](why(err))
				}
				sum += sumOfCounters(text)
			}
			if len(stats) > 0 {
				return Some(sum)
			}
		}
	}
	return None[int64](NotSupported)
}

// sumOfCounters adds lines of "name number".
func sumOfCounters(text string) (sum int64) {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 2 {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			sum += n
		}
	}
	return sum
}

// parseMount reads one line of mountinfo (proc_pid_mountinfo(5)) and says
// whether it is a real volume:
//
//	36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/root rw,errors=continue
func parseMount(line string) (mount, bool) {
	left, right, ok := strings.Cut(line, " - ")
	a, b := strings.Fields(left), strings.Fields(right)
	if !ok || len(a) < 6 || len(b) < 2 {
		return mount{}, false
	}
	root, point := unescape(a[3]), unescape(a[4])
	system, source := b[0], unescape(b[1])
	switch {
	case !diskSystems[system]:
		return mount{}, false
	// A part of a volume bound elsewhere, as containers and service sandboxes
	// do; a btrfs subvolume looks alike and is a volume.
	case root != "/" && point != "/" && system != "btrfs":
		return mount{}, false
	case system != "zfs" && !strings.HasPrefix(source, "/dev/"):
		return mount{}, false
	}
	for _, p := range []string{"/dev/loop", "/dev/ram", "/dev/zram", "/dev/sr", "/dev/fd"} {
		if strings.HasPrefix(source, p) {
			return mount{}, false
		}
	}
	for _, p := range []string{"/media/", "/run/", "/mnt/", "/snap/", "/var/lib/docker/", "/proc/", "/sys/", "/dev/"} {
		if strings.HasPrefix(point, p) {
			return mount{}, false
		}
	}
	// Of the two sets of options the file system's own: a service's sandbox
	// (ProtectSystem=) mounts what is writable read-only for itself, and a file
	// system that gave up after errors is read-only there.
	readOnly := len(b) > 2 && takesNoData(b[2])
	return mount{source: source, point: point, system: system, device: a[2], readOnly: readOnly}, true
}

// takesNoData reads a file system's options. From Linux 6.15 on ext4 that gave up
// after errors stays rw by name and says emergency_ro, and shutdown where it was
// ended by EXT4_IOC_SHUTDOWN (both seen on 6.18).
func takesNoData(options string) bool {
	return slices.ContainsFunc(strings.Split(options, ","), func(o string) bool {
		return o == "ro" || o == "emergency_ro" || o == "shutdown"
	})
}

// oncePerSource keeps the shortest mount point of each device, sorted.
func oncePerSource(ms []mount) []mount {
	slices.SortFunc(ms, func(a, b mount) int {
		if c := len(a.point) - len(b.point); c != 0 {
			return c
		}
		return strings.Compare(a.point, b.point)
	})
	seen := make(map[string]bool)
	ms = slices.DeleteFunc(ms, func(m mount) bool {
		dup := seen[m.source]
		seen[m.source] = true
		return dup
	})
	slices.SortFunc(ms, func(a, b mount) int { return strings.Compare(a.point, b.point) })
	return ms
}

// unescape undoes the kernel's octal escapes of blanks and the like.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
