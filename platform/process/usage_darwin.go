package process

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// usage asks ps: without cgo there is no call for another process's memory. It tells of
// those of the child's group that live; what one took between the last look and its
// end is told by nobody.
func usage(pid int) (map[life]taken, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "/bin/ps", "-A", "-o", "pid=,pgid=,rss=,time=").Output()
	if err != nil {
		return nil, err
	}
	all := map[life]taken{}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) != 4 {
			return nil, fmt.Errorf("ps says %q", line)
		}
		if f[1] != strconv.Itoa(pid) { // it leads the group
			continue
		}
		id, err := strconv.Atoi(f[0])
		if err != nil {
			return nil, err
		}
		if all[life{pid: id}], err = told(f[2], f[3]); err != nil {
			return nil, err
		}
	}
	if _, lives := all[life{pid: pid}]; !lives {
		return nil, fmt.Errorf("ps tells of %d processes, and not of this one", len(all))
	}
	return all, nil
}

// told reads kibibytes, and minutes:seconds.hundredths, or hours before that.
func told(rss, cpu string) (p taken, err error) {
	kib, err := strconv.ParseUint(rss, 10, 64)
	if err != nil {
		return p, err
	}
	p.memory = kib << 10
	for part := range strings.SplitSeq(cpu, ":") {
		s, err := strconv.ParseFloat(strings.Replace(part, ",", ".", 1), 64)
		if err != nil {
			return p, err
		}
		p.cpu = p.cpu*60 + time.Duration(s*float64(time.Second))
	}
	return p, nil
}
