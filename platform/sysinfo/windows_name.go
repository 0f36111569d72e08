package sysinfo

import "strings"

// windowsName makes the name of a Windows: the registry of Windows 11 still
// says "Windows 10", which it is not from build 22000 on (client editions; the
// servers of those builds are named right).
func windowsName(product, display string, build uint32) string {
	if rest, ok := strings.CutPrefix(product, "Windows 10"); ok && build >= 22000 {
		product = "Windows 11" + rest
	}
	return clean(product + " " + display)
}
