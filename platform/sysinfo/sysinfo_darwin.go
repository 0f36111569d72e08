package sysinfo

import (
	"context"
	"errors"
	"math"
	"net"
	"os/exec"
	"sync"
	"time"
	"unsafe"

	"github.com/shirou/gopsutil/v3/cpu"
	"github.com/shirou/gopsutil/v3/load"
	"github.com/shirou/gopsutil/v3/mem"
	"golang.org/x/net/route"
	"golang.org/x/sys/unix"
)

const osName = "darwin"

const (
	tempEvery  = 0
	powerEvery = 2 * time.Minute // starts a program
	portsEvery = time.Hour       // starts a program
)

type darwin struct {
	unsupported

	mach func() (*mach, error)
	// Written by the one call of links at a time.
	ports   map[string]string
	portsAt time.Time
}

func newSource(Config) source { return &darwin{mach: sync.OnceValues(openMach)} }

func (d *darwin) cpuTimes(context.Context) (cpuTimes, error) {
	m, err := d.mach()
	if err != nil {
		return cpuTimes{}, err
	}
	t, err := m.cpuTicks()
	busy := (float64(t[0]) + float64(t[1]) + float64(t[3])) / 100
	return cpuTimes{busy: busy, total: busy + float64(t[2])/100}, err
}

func (*darwin) cores(ctx context.Context) (int64, error) {
	n, err := cpu.CountsWithContext(ctx, true)
	return int64(n), err
}

func (*darwin) load1(ctx context.Context) (int64, error) {
	a, err := load.AvgWithContext(ctx)
	if err != nil {
		return 0, err
	}
	return int64(a.Load1*1000 + 0.5), nil
}

// memory starts vm_stat: gopsutil has no other way without cgo.
func (*darwin) memory(ctx context.Context) (Memory, error) {
	v, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		return Memory{}, err
	}
	if v.Total == 0 || v.Available > v.Total {
		return Memory{}, errors.New("memory makes no sense")
	}
	m := Memory{Total: Some(int64(v.Total)), Used: Some(int64(v.Total - v.Available))}
	swap, err := mem.SwapMemoryWithContext(ctx)
	if err != nil {
		m.SwapTotal, m.SwapUsed = None[int64](why(err)), None[int64](why(err))
		return m, nil
	}
	m.SwapTotal, m.SwapUsed = Some(int64(swap.Total)), Some(int64(swap.Used))
	return m, nil
}

// volumes tells of the system's container only: its volumes share their space,
// and others carry names that people gave them.
func (*darwin) volumes(context.Context) ([]Volume, error) {
	var st unix.Statfs_t
	if err := unix.Statfs("/", &st); err != nil {
		return nil, err
	}
	size := int64(st.Bsize)
	return []Volume{{Name: "/", Total: Some(int64(st.Blocks) * size), Free: Some(int64(st.Bavail) * size)}}, nil
}

func (*darwin) power(ctx context.Context) (Power, error) {
	out, err := exec.CommandContext(ctx, "/usr/sbin/ioreg", "-rn", "AppleSmartBattery", "-a").Output()
	if err != nil {
		return Power{}, err
	}
	return parseBattery(out)
}

// temperatures: the sensors answer to the SMC's private interface only.
func (*darwin) temperatures(context.Context) ([]Temperature, error) {
	return nil, errAbsent{NotSupported}
}

func (d *darwin) links(ctx context.Context) ([]Link, error) {
	if d.ports == nil || time.Since(d.portsAt) > portsEvery {
		out, err := exec.CommandContext(ctx, "/usr/sbin/networksetup", "-listallhardwareports").Output()
		if err != nil {
			return nil, err
		}
		d.ports, d.portsAt = parseHardwarePorts(out), time.Now()
	}
	adapters, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	speeds := linkSpeeds()
	count := make(map[string]int)
	var links []Link
	for _, a := range adapters {
		kind := d.ports[a.Name]
		if kind == "" {
			continue
		}
		count[kind]++
		l := Link{Name: numbered(kind, count[kind]), Up: connected(a)}
		if l.Up {
			l.Speed = None[int64](NotSupported)
			if s := speeds[a.Index]; s > 0 && s < math.MaxUint32 {
				l.Speed = Some(int64(s))
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

// linkSpeeds reads bits per second by adapter index from the routing table
// (route(4), RTM_IFINFO).
func linkSpeeds() map[int]uint32 {
	speeds := make(map[int]uint32)
	b, err := route.FetchRIB(unix.AF_UNSPEC, route.RIBTypeInterface, 0)
	if err != nil {
		return speeds
	}
	const size = int(unsafe.Sizeof(unix.IfMsghdr{}))
	for len(b) >= 4 {
		n := int(*(*uint16)(unsafe.Pointer(&b[0])))
		if n < 4 || n > len(b) {
			break
		}
		if b[3] == unix.RTM_IFINFO && n >= size {
			h := (*unix.IfMsghdr)(unsafe.Pointer(&b[0]))
			speeds[int(h.Index)] = h.Data.Baudrate
		}
		b = b[n:]
	}
	return speeds
}

func (*darwin) bootTime(context.Context) (time.Time, error) {
	tv, err := unix.SysctlTimeval("kern.boottime")
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(tv.Unix()), nil
}

func (d *darwin) self(context.Context) (footprint, error) {
	m, err := d.mach()
	if err != nil {
		return footprint{}, err
	}
	resident, err := m.resident()
	if err != nil {
		return footprint{}, err
	}
	used, err := rusage()
	return footprint{resident: resident, cpu: used}, err
}

func (*darwin) identity(ctx context.Context) (Identity, error) {
	id := noIdentity(NotSupported)
	version, err := unix.Sysctl("kern.osproductversion")
	id.OSName = orNone("macOS "+clean(version), err)
	build, err := unix.Sysctl("kern.osversion")
	id.OSBuild = orNone(clean(build), err)
	arch := "amd64"
	if arm, err := unix.SysctlUint32("hw.optional.arm64"); err == nil && arm == 1 {
		arch = "arm64" // also where this program runs translated
	}
	id.Architecture = Some(arch)
	model, _ := unix.Sysctl("hw.model")
	out, err := exec.CommandContext(ctx, "/usr/sbin/ioreg", "-rd1", "-c", "IOPlatformExpertDevice", "-a").Output()
	serial := ""
	if err == nil {
		serial, err = parsePlatform(out)
	}
	id.machine(smbiosSystem{maker: "Apple Inc.", product: model, serial: serial})
	if err != nil {
		id.Serial = None[string](why(err))
	}
	return id, nil
}
