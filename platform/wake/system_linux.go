package wake

import (
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

type linux struct{}

func newSystem() system { return linux{} }

// slept: of these two clocks only one runs while the machine sleeps.
func (linux) slept() (time.Duration, error) {
	var boot, mono unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return 0, err
	}
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono); err != nil {
		return 0, err
	}
	return time.Duration(boot.Nano() - mono.Nano()), nil
}

func (linux) network() (string, error) {
	a, err := addresses()
	return a + "\n" + defaultRoutes("/proc/net/route", "/proc/net/ipv6_route"), err
}

func (linux) place() (string, error) {
	p, err := prefixes()
	return p + "\n" + defaultRoutes("/proc/net/route", "/proc/net/ipv6_route"), err
}

// defaultRoutes gives interface and gateway of each; a system without one of
// the files has none of that kind.
func defaultRoutes(v4, v6 string) string {
	var b strings.Builder
	four, _ := os.ReadFile(v4)
	for line := range strings.Lines(string(four)) {
		if f := strings.Fields(line); len(f) > 7 && f[1] == "00000000" && f[7] == "00000000" {
			b.WriteString(f[0] + " " + f[2] + "\n")
		}
	}
	six, _ := os.ReadFile(v6)
	for line := range strings.Lines(string(six)) {
		const none = "00000000000000000000000000000000"
		// The kernel's own "unreachable" default stands on lo.
		if f := strings.Fields(line); len(f) > 9 && f[0] == none && f[1] == "00" && f[9] != "lo" {
			b.WriteString(f[9] + " " + f[4] + "\n")
		}
	}
	return b.String()
}

// open begins with a routing socket (rtnetlink(7)) and with a timer that is
// never due but cancelled when the clock is set or the machine wakes
// (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET; since Linux 5.14 each waking).
func (linux) open(hints chan<- hint) (*notices, error) {
	routes, err := routeSocket()
	if err != nil {
		return nil, err
	}
	timer, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		routes.Close()
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	clock := os.NewFile(uintptr(timer), "timerfd")
	return &notices{
		loops: []func() error{
			func() error { return readRoutes(routes, hints) },
			func() error { return readClock(clock, hints) },
		},
		close: func() {
			routes.Close()
			clock.Close()
		},
	}, nil
}

func routeSocket() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	const groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR |
		unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	return os.NewFile(uintptr(fd), "rtnetlink"), nil
}

func readRoutes(f *os.File, hints chan<- hint) error {
	buf := make([]byte, 16<<10)
	for {
		n, err := f.Read(buf)
		switch {
		case errors.Is(err, os.ErrClosed):
			return nil
		case errors.Is(err, unix.ENOBUFS): // more came than the socket holds
			send(hints, hint{})
		case err != nil:
			return err
		default:
			send(hints, hint{gone: lost(buf[:n])})
		}
	}
}

// lost says whether one of the messages took a usable address or a default
// route away. It is asked because the same ones may be back before anybody looks,
// at another network behind another router.
func lost(b []byte) bool {
	for len(b) >= unix.SizeofNlMsghdr {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return false
		}
		body := b[unix.SizeofNlMsghdr:size]
		switch binary.NativeEndian.Uint16(b[4:]) {
		case unix.RTM_DELADDR: // ifaddrmsg: family, prefix length, flags, scope
			if len(body) >= 4 && body[3] == unix.RT_SCOPE_UNIVERSE {
				return true
			}
		case unix.RTM_DELROUTE: // rtmsg: family, length of destination, ..., table, protocol, scope, type
			if len(body) >= 8 && body[1] == 0 && body[7] == unix.RTN_UNICAST {
				return true
			}
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return false
}

func readClock(f *os.File, hints chan<- hint) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	never := unix.ItimerSpec{Value: unix.Timespec{Sec: 1 << 40}}
	buf := make([]byte, 8)
	for {
		// An error (a kernel that cannot) leaves a timer that is never due: the
		// look each minute must do then.
		_ = raw.Control(func(fd uintptr) {
			_ = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &never, nil)
		})
		_, err := f.Read(buf)
		switch {
		case errors.Is(err, os.ErrClosed):
			return nil
		case err == nil || errors.Is(err, unix.ECANCELED):
			send(hints, hint{})
		default:
			return err
		}
	}
}
