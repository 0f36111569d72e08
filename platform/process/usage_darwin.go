package process

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// usage asks ps: without cgo there is no call for another process's memory.
func usage(pid int) (cpu time.Duration, rss uint64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "/bin/ps", "-o", "rss=,time=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return 0, 0, err
	}
	f := strings.Fields(string(out))
	if len(f) != 2 {
		return 0, 0, fmt.Errorf("ps says %q", out)
	}
	kib, err := strconv.ParseUint(f[0], 10, 64)
	if err != nil {
		return 0, 0, err
	}
	// minutes:seconds.hundredths, or hours before that
	for part := range strings.SplitSeq(f[1], ":") {
		s, err := strconv.ParseFloat(strings.Replace(part, ",", ".", 1), 64)
		if err != nil {
			return 0, 0, err
		}
		cpu = cpu*60 + time.Duration(s*float64(time.Second))
	}
	return cpu, kib << 10, nil
}
