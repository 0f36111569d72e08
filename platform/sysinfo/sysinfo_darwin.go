package sysinfo

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/shirou/gopsutil/v3/cpu"
	"github.com/shirou/gopsutil/v3/load"
	"github.com/shirou/gopsutil/v3/mem"
	"golang.org/x/sys/unix"
)

const osName = "darwin"

const (
	tempEvery  = 0
	powerEvery = 2 * time.Minute // starts a program
	portsEvery = time.Hour       // starts a program
)

// darwin tells no pressure (the kernel's level of 1, 2 or 4 is no share of
// time), no fans (they answer as the temperatures do), no duration of the boot,
// no restart that an update waits for, and whether a network costs by volume
// only to programs with a window.
type darwin struct {
	unsupported

	mach func() (*mach, error)
	// Written by the one call of links at a time.
	ports   map[string]string
	portsAt time.Time

	keptSpeed  kept[speed]
	keptSignal kept[Opt[int64]]
}

func newSource(Config) source { return &darwin{mach: sync.OnceValues(openMach)} }

func (d *darwin) cpuTimes(context.Context) (cpuTimes, error) {
	m, err := d.mach()
	if err != nil {
		return cpuTimes{}, err
	}
	t, err := m.cpuTicks()
	return timesOf(t), err
}

func timesOf(ticks [4]uint32) cpuTimes {
	busy := (float64(ticks[0]) + float64(ticks[1]) + float64(ticks[3])) / 100
	return cpuTimes{busy: busy, total: busy + float64(ticks[2])/100}
}

func (d *darwin) coreTimes(context.Context) ([]cpuTimes, error) {
	m, err := d.mach()
	if err != nil {
		return nil, err
	}
	cores, err := m.coreTicks()
	if err != nil {
		return nil, err
	}
	each := make([]cpuTimes, len(cores))
	for i, t := range cores {
		each[i] = timesOf(t)
	}
	return each, nil
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
	v := Volume{
		Name: "/", Total: Some(int64(st.Blocks) * size), Free: Some(int64(st.Bavail) * size),
		// APFS makes entries as they are needed and counts no errors.
		InodesFree: None[int64](NotSupported), Errors: None[int64](NotSupported),
	}
	// Since macOS 10.15 the system's own volume is sealed; what is written lies beside it.
	var data unix.Statfs_t
	if err := unix.Statfs("/System/Volumes/Data", &data); err != nil {
		data = st
	}
	v.ReadOnly = Some(data.Flags&unix.MNT_RDONLY != 0)
	return []Volume{v}, nil
}

func (*darwin) power(ctx context.Context) (Power, error) {
	out, err := program(ctx, "/usr/sbin/ioreg", "-rn", "AppleSmartBattery", "-a")
	if err != nil {
		return Power{}, err
	}
	return parseBattery(out)
}

// temperatures: the sensors answer to the SMC's private interface only.
func (*darwin) temperatures(context.Context) ([]Temperature, error) {
	return nil, errAbsent{NotSupported}
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
	if end, ok := clientSupportEnd("macOS", version); ok {
		id.SupportEnd = Some(end)
	}
	id.OSPatch = osPatch()
	arch := "amd64"
	if arm, err := unix.SysctlUint32("hw.optional.arm64"); err == nil && arm == 1 {
		arch = "arm64" // also where this program runs translated
	}
	id.Architecture = Some(arch)
	model, _ := unix.Sysctl("hw.model")
	out, err := program(ctx, "/usr/sbin/ioreg", "-rd1", "-c", "IOPlatformExpertDevice", "-a")
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

// systemVersions: that of a rapid security response lies over the system's own.
var systemVersions = []string{
	"/System/Cryptexes/OS/System/Library/CoreServices/SystemVersion.plist",
	"/System/Library/CoreServices/SystemVersion.plist",
}

// osPatch is "13.3.1 (a)".
func osPatch() Opt[string] {
	last := None[string](NotSupported)
	for _, path := range systemVersions {
		b, err := file(path)
		if err != nil {
			continue
		}
		release, extra, err := parseVersion(b)
		if err == nil && release != "" {
			return Some(clean(release + " " + extra))
		}
		last = None[string](Failed)
	}
	return last
}
