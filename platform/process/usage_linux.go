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
func usage(pid int) (u Usage, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	// The name in parentheses may hold anything.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 22 {
		return u, fmt.Errorf("%d fields in stat", len(f))
	}
	number := func(i int) (n uint64) {
		if err == nil {
			n, err = strconv.ParseUint(string(f[i]), 10, 64)
		}
		return n
	}
	ticks := number(11) + number(12)
	pages := number(21)
	u.CPU, u.Memory = time.Duration(ticks)*time.Second/userHz, pages*uint64(os.Getpagesize())
	if names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)); err == nil {
		u.Handles = len(names)
	}
	u.Written = written(pid)
	return u, err
}

// written reads proc_pid_io(5), which a kernel may be without.
func written(pid int) uint64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0
	}
	_, after, _ := bytes.Cut(b, []byte("\nwrite_bytes: "))
	line, _, _ := bytes.Cut(after, []byte("\n"))
	n, err := strconv.ParseUint(string(line), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
