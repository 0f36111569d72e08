package sysinfo

import (
	"fmt"
	"strings"
)

// windowsVersion is what a Windows says of itself.
type windowsVersion struct {
	registered           string // ProductName
	release              string // "24H2"
	major, minor, number uint32
	revision             uint64 // UBR, which the monthly updates raise
}

// product corrects the name: the registry of Windows 11 still says "Windows 10",
// which it is not from build 22000 on (client editions; the servers of those
// builds are named right).
func (v windowsVersion) product() string {
	if rest, ok := strings.CutPrefix(v.registered, "Windows 10"); ok && v.number >= 22000 {
		return "Windows 11" + rest
	}
	return v.registered
}

// name is "Windows 11 Pro 24H2".
func (v windowsVersion) name() string { return clean(v.product() + " " + v.release) }

// build is "10.0.26100.4061".
func (v windowsVersion) build() string {
	return fmt.Sprintf("%d.%d.%s", v.major, v.minor, v.patch())
}

// patch is "26100.4061", the "OS build" of Microsoft's update history.
func (v windowsVersion) patch() string { return fmt.Sprintf("%d.%d", v.number, v.revision) }
