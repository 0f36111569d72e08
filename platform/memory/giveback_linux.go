package memory

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// GiveBack collects garbage and returns free memory to the system, and leaves the
// program's own file.
func GiveBack() error {
	debug.FreeOSMemory()
	return LeaveProgram()
}

// LeaveProgram gives back the pages of the program's own file that are mapped but
// were perhaps touched at the start only, or once in a while. The kernel maps 16
// pages around each one that is touched, so that a Go program after its start has
// nearly all of its file resident.
//
// Those pages stay in the kernel's cache and come back by a fault without reading
// the disk; what changes is that the kernel sees which of them the program really
// uses, and may take the rest when somebody needs memory.
func LeaveProgram() error {
	all, err := own()
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range all {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED); errno != 0 {
			errs = append(errs, fmt.Errorf("giving back %x-%x: %w", m.from, m.to, errno))
		}
	}
	return errors.Join(errs...)
}

// own lists the mappings of our own file that can be left. They are where they are
// since the start, and what is not written by then never is: asking the kernel each
// time would cost ten times what leaving them does.
var own = sync.OnceValues(readOwn)

func readOwn() ([]mapping, error) {
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return nil, fmt.Errorf("reading our own mappings: %w", err)
	}
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil, fmt.Errorf("asking for our own file: %w", err)
	}
	return pure(maps, self), nil
}

// mapping is a range of addresses, to exclusive.
type mapping struct{ from, to uintptr }

// pure lists the mappings of a file that hold nothing but what the file holds:
// read only, and without one page of our own, be it in memory or in the swap. A position-independent program has
// pages that were changed at its start and read only since; given back, they
// would come again unchanged and the program would crash.
//
// The format is proc_pid_smaps(5): a line as in maps, and lines "Name: n kB".
func pure(smaps []byte, file string) (found []mapping) {
	candidate, unchanged := false, false
	var m mapping
	for line := range bytes.Lines(smaps) {
		f := bytes.Fields(line)
		if len(f) >= 5 && !bytes.HasSuffix(f[0], []byte(":")) {
			unchanged = false
			from, to, ok := bytes.Cut(f[0], []byte("-"))
			candidate = ok && len(f) == 6 && string(f[5]) == file && (string(f[1]) == "r-xp" || string(f[1]) == "r--p")
			if candidate {
				m.from, candidate = address(from)
				var sound bool
				m.to, sound = address(to)
				candidate = candidate && sound && m.from < m.to
			}
			continue
		}
		if !candidate || len(f) != 3 {
			continue
		}
		switch string(f[0]) {
		case "Anonymous:":
			unchanged = string(f[1]) == "0"
		case "Swap:": // comes after it: of all pages of our own, those that are not in memory
			if unchanged && string(f[1]) == "0" {
				found = append(found, m)
			}
			candidate = false
		}
	}
	return found
}

func address(hex []byte) (uintptr, bool) {
	n, err := strconv.ParseUint(string(hex), 16, strconv.IntSize)
	return uintptr(n), err == nil
}
