package process

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// userHz is what the kernel counts CPU time in for us; it is 100 on all systems
// that Go knows (USER_HZ).
const userHz = 100

// usage reads /proc (proc_pid_stat(5)).
func usage(pid int) (cpu time.Duration, rss uint64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The name in parentheses may hold anything.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 22 {
		return 0, 0, fmt.Errorf("%d fields in stat", len(f))
	}
	number := func(i int) (n uint64) {
		if err == nil {
			n, err = strconv.ParseUint(string(f[i]), 10, 64)
		}
		return n
	}
	ticks := number(11) + number(12)
	pages := number(21)
	return time.Duration(ticks) * time.Second / userHz, pages * uint64(os.Getpagesize()), err
}
