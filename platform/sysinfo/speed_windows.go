package sysinfo

import (
	"context"
	"fmt"
	"time"
	"unsafe"

	"github.com/shirou/gopsutil/v3/cpu"
	"golang.org/x/sys/windows"
)

func (*windowsSource) coreTimes(ctx context.Context) ([]cpuTimes, error) {
	ts, err := cpu.TimesWithContext(ctx, true)
	if err != nil {
		return nil, err
	}
	each := make([]cpuTimes, len(ts))
	for i, t := range ts {
		each[i] = cpuTimes{busy: t.User + t.System, total: t.User + t.System + t.Idle}
	}
	return each, nil
}

var (
	pdh            = windows.NewLazySystemDLL("pdh.dll")
	pdhOpen        = pdh.NewProc("PdhOpenQueryW")
	pdhAdd         = pdh.NewProc("PdhAddEnglishCounterW")
	pdhCollect     = pdh.NewProc("PdhCollectQueryData")
	pdhFormatValue = pdh.NewProc("PdhGetFormattedCounterValue")
	pdhClose       = pdh.NewProc("PdhCloseQuery")
)

// speed is the performance counter that WMI calls PercentPerformanceLimit, asked
// for directly: through WMI the question starts every provider of counters that
// the machine has. Once a minute is enough. Windows counts no slowing down.
func (w *windowsSource) speed(context.Context) (speed, error) {
	percent, err := w.keptSpeed.get(50*time.Second, performanceLimit)
	if err != nil {
		return speed{}, err
	}
	return speed{limit: Some(10 * percent), throttled: None[int64](NotSupported)}, nil
}

func performanceLimit() (int64, error) {
	if pdhAdd.Find() != nil {
		return 0, errAbsent{NotSupported}
	}
	path, err := windows.UTF16PtrFromString(`\Processor Information(_Total)\% Performance Limit`)
	if err != nil {
		return 0, err
	}
	var query, counter uintptr
	if r, _, _ := pdhOpen.Call(0, 0, uintptr(unsafe.Pointer(&query))); r != 0 {
		return 0, pdhError(r)
	}
	defer func() { _, _, _ = pdhClose.Call(query) }()
	if r, _, _ := pdhAdd.Call(query, uintptr(unsafe.Pointer(path)), 0, uintptr(unsafe.Pointer(&counter))); r != 0 {
		return 0, pdhError(r)
	}
	if r, _, _ := pdhCollect.Call(query); r != 0 {
		return 0, pdhError(r)
	}
	const large = 0x400
	var v struct {
		status uint32
		_      uint32
		large  int64
	}
	if r, _, _ := pdhFormatValue.Call(counter, large, 0, uintptr(unsafe.Pointer(&v))); r != 0 {
		return 0, pdhError(r)
	}
	if v.status > 1 || v.large <= 0 || v.large > 1000 { // PDH_CSTATUS_VALID_DATA, ..._NEW_DATA
		return 0, errAbsent{NotSupported}
	}
	return v.large, nil
}

func pdhError(r uintptr) error {
	switch uint32(r) {
	case 0xc0000bb8, 0xc0000bb9, 0x800007d1, 0x800007d5: // no such object, counter, instance, data
		return errAbsent{NotSupported}
	}
	return fmt.Errorf("asking a performance counter: code %#08x", uint32(r))
}
