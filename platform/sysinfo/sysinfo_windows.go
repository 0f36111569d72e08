package sysinfo

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"github.com/shirou/gopsutil/v3/cpu"
	"github.com/shirou/gopsutil/v3/host"
	"github.com/shirou/gopsutil/v3/mem"
	"golang.org/x/sys/windows"
)

const osName = "windows"

const (
	tempEvery  = 5 * time.Minute // a WMI query
	powerEvery = 0
)

var (
	kernel32               = windows.NewLazySystemDLL("kernel32.dll")
	getSystemFirmwareTable = kernel32.NewProc("GetSystemFirmwareTable")
	getProcessMemoryInfo   = kernel32.NewProc("K32GetProcessMemoryInfo")
)

// windowsSource has no pressure and no fans: Windows measures no waiting for a
// resource, and its class of fans is filled by no driver.
type windowsSource struct {
	unsupported

	keptUpdates   kept[Updates]
	keptSpeed     kept[int64]
	keptBatteries kept[[]batteryInfo]
}

func newSource(Config) source { return &windowsSource{} }

func (*windowsSource) cpuTimes(ctx context.Context) (cpuTimes, error) {
	ts, err := cpu.TimesWithContext(ctx, false)
	if err != nil {
		return cpuTimes{}, err
	}
	if len(ts) == 0 {
		return cpuTimes{}, errors.New("no times of the processor")
	}
	t := ts[0]
	return cpuTimes{busy: t.User + t.System, total: t.User + t.System + t.Idle}, nil
}

func (*windowsSource) cores(ctx context.Context) (int64, error) {
	n, err := cpu.CountsWithContext(ctx, true)
	return int64(n), err
}

// load1: Windows has none; gopsutil's is a goroutine that reckons one.
func (*windowsSource) load1(context.Context) (int64, error) { return 0, errAbsent{NotSupported} }

func (*windowsSource) memory(ctx context.Context) (Memory, error) {
	v, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		return Memory{}, err
	}
	if v.Total == 0 || v.Available > v.Total {
		return Memory{}, errors.New("memory makes no sense")
	}
	m := Memory{Total: Some(int64(v.Total)), Used: Some(int64(v.Total - v.Available))}
	// Page files, not gopsutil's "swap", which is the commit charge with the
	// memory in it.
	files, err := mem.SwapDevicesWithContext(ctx)
	if err != nil {
		m.SwapTotal, m.SwapUsed = None[int64](why(err)), None[int64](why(err))
		return m, nil
	}
	var used, total uint64
	for _, f := range files {
		used += f.UsedBytes
		total += f.UsedBytes + f.FreeBytes
	}
	m.SwapTotal, m.SwapUsed = Some(int64(total)), Some(int64(used))
	if total == 0 {
		m.SwapUsed = None[int64](NoHardware)
	}
	return m, nil
}

// volumes tells of fixed drives by their letter; removable ones and shares are
// somebody's.
func (*windowsSource) volumes(context.Context) ([]Volume, error) {
	drives, err := windows.GetLogicalDrives()
	if err != nil {
		return nil, err
	}
	var vs []Volume
	for i := range 26 {
		if drives&(1<<i) == 0 {
			continue
		}
		name := string(rune('A'+i)) + ":"
		root, err := windows.UTF16PtrFromString(name + `\`)
		if err != nil {
			return nil, err
		}
		if windows.GetDriveType(root) != windows.DRIVE_FIXED {
			continue
		}
		var free, total, freeAll uint64
		err = windows.GetDiskFreeSpaceEx(root, &free, &total, &freeAll)
		v := Volume{Name: name, Total: orNone(int64(total), err), Free: orNone(int64(free), err)}
		volumeState(&v, root)
		vs = append(vs, v)
	}
	if len(vs) == 0 {
		return nil, errAbsent{NoHardware}
	}
	return vs, nil
}

// temperatures: the zones that ACPI tells to administrators; many machines have
// none, and the query then ends with one of several errors.
func (*windowsSource) temperatures(ctx context.Context) ([]Temperature, error) {
	ts, err := host.SensorsTemperaturesWithContext(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, errAbsent{NotSupported}
	}
	var all []Temperature
	for _, t := range ts {
		if t.Temperature > -40 && t.Temperature < 150 {
			all = append(all, Temperature{"case", int64(t.Temperature * 1000)})
		}
	}
	if len(all) == 0 {
		return nil, errAbsent{NoHardware}
	}
	return hottest(all), nil
}

func (*windowsSource) bootTime(context.Context) (time.Time, error) {
	return time.Now().Add(-windows.DurationSinceBoot()), nil
}

func (*windowsSource) self(context.Context) (footprint, error) {
	var c struct { // PROCESS_MEMORY_COUNTERS
		size, faults                                          uint32
		peak, workingSet                                      uintptr
		peakPaged, paged, peakNonPaged, nonPaged, file, peakF uintptr
	}
	c.size = uint32(unsafe.Sizeof(c))
	me := windows.CurrentProcess()
	if ok, _, err := getProcessMemoryInfo.Call(uintptr(me), uintptr(unsafe.Pointer(&c)), uintptr(c.size)); ok == 0 {
		return footprint{}, err
	}
	var begin, end, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(me, &begin, &end, &kernel, &user); err != nil {
		return footprint{}, err
	}
	ticks := func(f windows.Filetime) time.Duration { // of 100 ns
		return time.Duration(int64(f.HighDateTime)<<32|int64(f.LowDateTime)) * 100
	}
	return footprint{resident: int64(c.workingSet), cpu: ticks(kernel) + ticks(user)}, nil
}

func (*windowsSource) identity(context.Context) (Identity, error) {
	id := noIdentity(NotSupported)
	v, err := version()
	id.OSName, id.OSBuild, id.OSPatch = orNone(v.name(), err), orNone(v.build(), err), orNone(v.patch(), err)
	if end, ok := clientSupportEnd(v.product(), v.release); ok {
		id.SupportEnd = Some(end)
	}
	id.Architecture = Some(architecture())
	raw, err := firmwareTable()
	if err == nil {
		var sys smbiosSystem
		if sys, err = parseRawSMBIOS(raw); err == nil {
			id.machine(sys)
		}
	}
	if err != nil {
		n := None[string](why(err))
		id.Manufacturer, id.Model, id.Serial = n, n, n
	}
	return id, nil
}

// firmwareTable is the SMBIOS table, which needs neither rights nor WMI.
func firmwareTable() ([]byte, error) {
	const rsmb = 'R'<<24 | 'S'<<16 | 'M'<<8 | 'B'
	size, _, err := getSystemFirmwareTable.Call(rsmb, 0, 0, 0)
	if size == 0 || size > 1<<20 {
		return nil, fmt.Errorf("size of the firmware table: %w", err)
	}
	b := make([]byte, size)
	n, _, err := getSystemFirmwareTable.Call(rsmb, 0, uintptr(unsafe.Pointer(&b[0])), size)
	if n == 0 || n > size {
		return nil, fmt.Errorf("reading the firmware table: %w", err)
	}
	return b[:n], nil
}

// version is what the registry says; the kernel says which number it is.
func version() (windowsVersion, error) {
	k, err := openKey(`SOFTWARE\Microsoft\Windows NT\CurrentVersion`)
	if err != nil {
		return windowsVersion{}, err
	}
	defer k.Close()
	v := windowsVersion{}
	if v.registered, _, err = k.GetStringValue("ProductName"); err != nil {
		return windowsVersion{}, err
	}
	// DisplayVersion since 2009, ReleaseId before.
	if v.release, _, err = k.GetStringValue("DisplayVersion"); err != nil {
		v.release, _, _ = k.GetStringValue("ReleaseId")
	}
	v.revision, _, _ = k.GetIntegerValue("UBR")
	v.major, v.minor, v.number = windows.RtlGetNtVersionNumbers()
	return v, nil
}

// architecture is the machine's, also for a program that runs translated.
func architecture() string {
	var process, native uint16
	if err := windows.IsWow64Process2(windows.CurrentProcess(), &process, &native); err == nil {
		switch native { // IMAGE_FILE_MACHINE_...
		case 0x8664:
			return "amd64"
		case 0xaa64:
			return "arm64"
		}
	}
	return runtime.GOARCH
}
