package sysinfo

import (
	"bufio"
	"context"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// statfs asks for total and what an ordinary program may use, in bytes.
func statfs(path string) (total, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, 0, err
	}
	return int64(st.Blocks) * st.Bsize, int64(st.Bavail) * st.Bsize, nil
}

// diskSystems are file systems on a disk of this machine; all else (overlay,
// tmpfs, squashfs of snaps, network, FUSE) is not a volume.
var diskSystems = map[string]bool{
	"ext2": true, "ext3": true, "ext4": true, "xfs": true, "btrfs": true, "f2fs": true, "zfs": true, "jfs": true,
	"reiserfs": true, "bcachefs": true, "vfat": true, "exfat": true, "ntfs": true, "ntfs3": true, "fuseblk": true,
}

// commonMounts may be told by name; others may hold a person's or a school's.
var commonMounts = []string{"/", "/boot", "/boot/efi", "/efi", "/home", "/opt", "/srv", "/tmp", "/usr", "/var"}

type mount struct{ source, point string }

func (l *linux) volumes(context.Context) ([]Volume, error) {
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
	if err := sc.Err(); err != nil {
		return nil, err
	}
	var vs []Volume
	others := 0
	for _, m := range oncePerSource(mounts) {
		total, free, err := l.statfs(m.point)
		if err == nil && total <= 0 {
			continue // mounted, but nothing there
		}
		name := m.point
		if !slices.Contains(commonMounts, name) {
			others++
			name = numbered("other", others)
		}
		vs = append(vs, Volume{Name: name, Total: orNone(total, err), Free: orNone(free, err)})
	}
	if len(vs) == 0 {
		return nil, errAbsent{NoHardware}
	}
	return vs, nil
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
	return mount{source, point}, true
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
