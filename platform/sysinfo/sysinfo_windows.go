package sysinfo

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"github.com/distatus/battery"
	"github.com/shirou/gopsutil/v3/cpu"
	"github.com/shirou/gopsutil/v3/host"
	"github.com/shirou/gopsutil/v3/mem"
	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

const osName = "windows"

const (
	tempEvery  = 5 * time.Minute // a WMI query
	powerEvery = 0
)

var (
	kernel32               = windows.NewLazySystemDLL("kernel32.dll")
	getSystemPowerStatus   = kernel32.NewProc("GetSystemPowerStatus")
	getSystemFirmwareTable = kernel32.NewProc("GetSystemFirmwareTable")
	getProcessMemoryInfo   = kernel32.NewProc("K32GetProcessMemoryInfo")
)

type windowsSource struct{ unsupported }

func newSource(Config) source { return windowsSource{} }

func (windowsSource) cpuTimes(ctx context.Context) (cpuTimes, error) {
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

func (windowsSource) cores(ctx context.Context) (int64, error) {
	n, err := cpu.CountsWithContext(ctx, true)
	return int64(n), err
}

// load1: Windows has none; gopsutil's is a goroutine that reckons one.
func (windowsSource) load1(context.Context) (int64, error) { return 0, errAbsent{NotSupported} }

func (windowsSource) memory(ctx context.Context) (Memory, error) {
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
func (windowsSource) volumes(context.Context) ([]Volume, error) {
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
		vs = append(vs, Volume{Name: name, Total: orNone(int64(total), err), Free: orNone(int64(free), err)})
	}
	if len(vs) == 0 {
		return nil, errAbsent{NoHardware}
	}
	return vs, nil
}

func (windowsSource) power(context.Context) (Power, error) {
	var st struct { // SYSTEM_POWER_STATUS
		ac, flag, percent, saver byte
		left, full               uint32
	}
	if ok, _, err := getSystemPowerStatus.Call(uintptr(unsafe.Pointer(&st))); ok == 0 {
		return Power{}, err
	}
	const noSystemBattery, unknown = 128, 255
	if st.flag != unknown && st.flag&noSystemBattery != 0 {
		return noBattery(), nil
	}
	var sum cells
	// An error may concern one of several; the others are there.
	batteries, _ := battery.GetAll()
	for _, b := range batteries {
		if b == nil {
			continue
		}
		c := cell{now: b.Current, full: b.Full, design: b.Design}
		switch b.State.Raw {
		case battery.Charging:
			c.state = Charging
		case battery.Discharging, battery.Empty:
			c.state = Discharging
		case battery.Full:
			c.state = Full
		case battery.Idle:
			c.state = Idle
		}
		sum.add(c)
	}
	p := sum.power()
	p.Source = None[PowerSource](NotSupported)
	switch st.ac {
	case 0:
		p.Source = Some(Battery)
	case 1:
		p.Source = Some(Mains)
	}
	if st.percent <= 100 { // what the taskbar shows
		p.Charge = Some(10 * int64(st.percent))
	}
	return p, nil
}

// temperatures: the zones that ACPI tells to administrators; many machines have
// none, and the query then ends with one of several errors.
func (windowsSource) temperatures(ctx context.Context) ([]Temperature, error) {
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

func (windowsSource) links(context.Context) ([]Link, error) {
	size := uint32(16 << 10)
	var buf []byte
	for {
		buf = make([]byte, size)
		const flags = windows.GAA_FLAG_SKIP_ANYCAST | windows.GAA_FLAG_SKIP_MULTICAST | windows.GAA_FLAG_SKIP_DNS_SERVER | windows.GAA_FLAG_SKIP_UNICAST
		first := (*windows.IpAdapterAddresses)(unsafe.Pointer(&buf[0]))
		err := windows.GetAdaptersAddresses(windows.AF_UNSPEC, flags, 0, first, &size)
		if errors.Is(err, windows.ERROR_BUFFER_OVERFLOW) && size < 1<<20 {
			continue
		}
		if errors.Is(err, windows.ERROR_NO_DATA) {
			return nil, errAbsent{NoHardware}
		}
		if err != nil {
			return nil, err
		}
		return adapterLinks(first)
	}
}

func adapterLinks(a *windows.IpAdapterAddresses) ([]Link, error) {
	count := make(map[string]int)
	var links []Link
	for ; a != nil; a = a.Next {
		const wwanPP, wwanPP2 = 243, 244
		kind := ""
		switch a.IfType {
		case windows.IF_TYPE_ETHERNET_CSMACD:
			kind = "wired"
		case windows.IF_TYPE_IEEE80211:
			kind = "wifi"
		case wwanPP, wwanPP2:
			kind = "mobile"
		}
		if kind == "" || !hardware(a.Luid) {
			continue
		}
		count[kind]++
		l := Link{Name: numbered(kind, count[kind]), Up: a.OperStatus == windows.IfOperStatusUp}
		if l.Up {
			l.Speed = None[int64](NotSupported)
			// All ones, or 2^63-1: not known.
			if s := a.TransmitLinkSpeed; s > 0 && s < 1<<62 {
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

// hardware tells a piece of hardware from a switch of Hyper-V or a tunnel.
func hardware(luid uint64) bool {
	row := windows.MibIfRow2{InterfaceLuid: luid}
	const hardwareInterface = 1 // bit 0 of InterfaceAndOperStatusFlags
	err := windows.GetIfEntry2Ex(windows.MibIfTableNormalWithoutStatistics, &row)
	return err == nil && row.InterfaceAndOperStatusFlags&hardwareInterface != 0
}

func (windowsSource) bootTime(context.Context) (time.Time, error) {
	return time.Now().Add(-windows.DurationSinceBoot()), nil
}

func (windowsSource) self(context.Context) (footprint, error) {
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

func (windowsSource) identity(context.Context) (Identity, error) {
	id := noIdentity(NotSupported)
	name, build, err := version()
	id.OSName, id.OSBuild = orNone(name, err), orNone(build, err)
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

// version gives "Windows 11 Pro 24H2" and "10.0.26100.4061".
func version() (name, build string, err error) {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, `SOFTWARE\Microsoft\Windows NT\CurrentVersion`, registry.QUERY_VALUE|registry.WOW64_64KEY)
	if err != nil {
		return "", "", err
	}
	defer k.Close()
	product, _, err := k.GetStringValue("ProductName")
	if err != nil {
		return "", "", err
	}
	display, _, _ := k.GetStringValue("DisplayVersion")
	patch, _, _ := k.GetIntegerValue("UBR")
	major, minor, number := windows.RtlGetNtVersionNumbers()
	return windowsName(product, display, number), fmt.Sprintf("%d.%d.%d.%d", major, minor, number, patch), nil
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
