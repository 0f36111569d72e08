package wake

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

type darwin struct{}

func newSystem() system { return darwin{} }

// slept: CLOCK_MONOTONIC goes on while a Mac sleeps, CLOCK_UPTIME_RAW does not
// (clock_gettime(3) of macOS, which is not Linux' meaning of the names).
func (darwin) slept() (time.Duration, error) {
	var all, awake unix.Timespec
	const clockMonotonic = 6 // missing in x/sys
	if err := unix.ClockGettime(clockMonotonic, &all); err != nil {
		return 0, err
	}
	if err := unix.ClockGettime(unix.CLOCK_UPTIME_RAW, &awake); err != nil {
		return 0, err
	}
	return time.Duration(all.Nano() - awake.Nano()), nil
}

func (darwin) network() (string, error) { return addresses() }

func (darwin) place() (string, error) { return prefixes() }

// open listens at the routing socket (route(4)), which tells of addresses,
// links and routes; waking shows there too, since links come up.
func (darwin) open(hints chan<- hint) (*notices, error) {
	fd, err := unix.Socket(unix.AF_ROUTE, unix.SOCK_RAW, unix.AF_UNSPEC)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(fd), "route")
	read := func() error {
		buf := make([]byte, 4<<10)
		for {
			n, err := f.Read(buf)
			switch {
			case errors.Is(err, os.ErrClosed):
				return nil
			case errors.Is(err, unix.ENOBUFS):
				send(hints, hint{})
			case err != nil:
				return err
			case n >= 4: // every message: length (2), version, type
				send(hints, hint{gone: buf[3] == unix.RTM_DELADDR})
			}
		}
	}
	return &notices{loops: []func() error{read}, close: func() { f.Close() }}, nil
}
