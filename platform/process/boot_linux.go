package process

import (
	"os"
	"strings"
)

// Boot names the time since the machine was started: another string after each
// start; "" = unknown.
func Boot() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
