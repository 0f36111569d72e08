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
func usage(pid int) (u Usage, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "/bin/ps", "-o", "rss=,time=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return u, err
	}
	f := strings.Fields(string(out))
	if len(f) != 2 {
		return u, fmt.Errorf("ps says %q", out)
	}
	kib, err := strconv.ParseUint(f[0], 10, 64)
	if err != nil {
		return u, err
	}
	// minutes:seconds.hundredths, or hours before that
	for part := range strings.SplitSeq(f[1], ":") {
		s, err := strconv.ParseFloat(strings.Replace(part, ",", ".", 1), 64)
		if err != nil {
			return u, err
		}
		u.CPU = u.CPU*60 + time.Duration(s*float64(time.Second))
	}
	u.Memory = kib << 10
	return u, nil
}
