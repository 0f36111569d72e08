//go:build unix

package sysinfo

import (
	"time"

	"golang.org/x/sys/unix"
)

// rusage is the CPU time of this process.
func rusage() (time.Duration, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
