package sysinfo

import (
	"fmt"

	"github.com/shirou/gopsutil/v3/disk"
	"github.com/shirou/gopsutil/v3/mem"
)

// SpaceAt gives the free and total bytes of the file system that holds path;
// free is what an ordinary program may use.
func SpaceAt(path string) (free, total uint64, err error) {
	u, err := disk.Usage(path)
	if err != nil {
		return 0, 0, fmt.Errorf("reading the space at %s: %w", path, err)
	}
	return u.Free, u.Total, nil
}

// TotalMemory is the machine's memory in bytes.
func TotalMemory() (uint64, error) {
	m, err := mem.VirtualMemory()
	if err != nil {
		return 0, fmt.Errorf("reading the size of memory: %w", err)
	}
	return m.Total, nil
}
