package sysinfo

import (
	"strings"
	"testing"
)

func FuzzParseMount(f *testing.F) {
	for _, line := range []string{
		"27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw",
		`30 22 8:1 / /media/erika/URLAUB\0402026 rw - vfat /dev/sda1 rw`,
		"32 22 259:2 /dir /srv rw - ext4 /dev/nvme0n1p2 rw",
		"1 1 0:5 /  /root rw,nosuid shared:8 - rootfs rootfs rw",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		m, ok := parseMount(line)
		if ok && (m.source == "" || m.point == "" || strings.HasPrefix(m.point, "/media/") || strings.HasPrefix(m.source, "/dev/loop")) {
			t.Errorf("parseMount(%q) = %+v", line, m)
		}
	})
}

// TestMountTakesNoData: of the two sets of options the file system's own says so,
// by more words than ro.
func TestMountTakesNoData(t *testing.T) {
	for line, want := range map[string]bool{
		"27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw":                             false,
		"27 1 254:0 / / ro,relatime shared:1 - ext4 /dev/vda rw":                             false, // a sandbox's
		"27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,errors=remount-ro":           false,
		"27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda ro,errors=remount-ro":           true,
		recordedMount("rw,errors=remount-ro,emergency_ro"):                                   true,
		recordedMount("rw,shutdown"):                                                         true,
		"30 22 259:1 / /home rw shared:1 - btrfs /dev/nvme0n1p1 rw,subvol=/emergency_ro,ssd": false,
	} {
		if m, ok := parseMount(line); !ok || m.readOnly != want {
			t.Errorf("parseMount(%q) = %+v, %v; want readOnly %v", line, m, ok, want)
		}
	}
}

// recordedMount is a line of Linux 6.18 with an image in a loop device, which is no
// volume, put on a disk.
func recordedMount(options string) string {
	const line = "36 35 7:0 / /mnt rw,relatime shared:1 - ext4 /dev/loop0 rw,errors=remount-ro,emergency_ro"
	return strings.NewReplacer("/dev/loop0", "/dev/sda2", "rw,errors=remount-ro,emergency_ro", options).Replace(line)
}
