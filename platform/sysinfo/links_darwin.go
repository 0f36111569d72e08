package sysinfo

import (
	"context"
	"math"
	"net"
	"time"
	"unsafe"

	"golang.org/x/net/route"
	"golang.org/x/sys/unix"
)

func (d *darwin) links(ctx context.Context) ([]Link, error) {
	if d.ports == nil || time.Since(d.portsAt) > portsEvery {
		out, err := program(ctx, "/usr/sbin/networksetup", "-listallhardwareports")
		if err != nil {
			return nil, err
		}
		d.ports, d.portsAt = parseHardwarePorts(out), time.Now()
	}
	adapters, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	counters := linkCounters()
	count := make(map[string]int)
	var links []Link
	for _, a := range adapters {
		kind := d.ports[a.Name]
		if kind == "" {
			continue
		}
		count[kind]++
		l := Link{
			Name: numbered(kind, count[kind]), Up: connected(a),
			Errors: None[int64](NotSupported), Signal: None[int64](NotSupported),
		}
		c, counted := counters[a.Index]
		if counted {
			l.Errors = Some(int64(c.Ierrors) + int64(c.Oerrors))
		}
		if kind == "wired" {
			l.Signal = None[int64](NoHardware) // a cable has none
		}
		if l.Up && kind == "wifi" {
			l.Signal = d.signal(ctx)
		}
		if l.Up {
			l.Speed = None[int64](NotSupported)
			if counted && c.Baudrate > 0 && c.Baudrate < math.MaxUint32 {
				l.Speed = Some(int64(c.Baudrate))
			}
		}
		links = append(links, l)
	}
	if len(links) == 0 {
		return nil, errAbsent{NoHardware}
	}
	return links, nil
}

// connected: an adapter runs also without a network; then it has no address but
// the one it gives itself.
func connected(a net.Interface) bool {
	if a.Flags&net.FlagRunning == 0 {
		return false
	}
	addrs, _ := a.Addrs()
	for _, addr := range addrs {
		if ip, ok := addr.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() {
			return true
		}
	}
	return false
}

// signal of the Wi-Fi in use, by a program that root may ask.
func (d *darwin) signal(ctx context.Context) Opt[int64] {
	s, err := d.keptSignal.get(5*time.Minute, func() (Opt[int64], error) {
		// A link without its strength is better than no links.
		short, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		out, err := program(short, "/usr/bin/wdutil", "info")
		switch {
		case short.Err() != nil:
			return None[int64](TimedOut), nil
		case err != nil: // not this macOS, or not root
			return None[int64](NotSupported), nil
		}
		return orNone(parseSignal(out)), nil
	})
	if err != nil {
		return None[int64](why(err))
	}
	return s
}

// linkCounters reads speeds and errors by adapter index from the routing table
// (route(4), RTM_IFINFO). The counters have 32 bits and begin anew.
func linkCounters() map[int]unix.IfData {
	counters := make(map[int]unix.IfData)
	b, err := route.FetchRIB(unix.AF_UNSPEC, route.RIBTypeInterface, 0)
	if err != nil {
		return counters
	}
	const size = int(unsafe.Sizeof(unix.IfMsghdr{}))
	for len(b) >= 4 {
		n := int(*(*uint16)(unsafe.Pointer(&b[0])))
		if n < 4 || n > len(b) {
			break
		}
		if b[3] == unix.RTM_IFINFO && n >= size {
			h := (*unix.IfMsghdr)(unsafe.Pointer(&b[0]))
			counters[int(h.Index)] = h.Data
		}
		b = b[n:]
	}
	return counters
}
