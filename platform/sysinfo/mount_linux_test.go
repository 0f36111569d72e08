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
