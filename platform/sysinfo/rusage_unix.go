//go:build unix

package sysinfo

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// rusage is the CPU time of this process and of the programs that it ran and
// waited for: what they are asked for is its cost too.
func rusage() (time.Duration, error) {
	var sum time.Duration
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if err := unix.Getrusage(who, &u); err != nil {
			return 0, fmt.Errorf("reading the CPU time: %w", err)
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum, nil
}
