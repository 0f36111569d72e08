package sysinfo

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/windows"
)

// batteryInfo is BATTERY_INFORMATION (poclass.h), of which distatus/battery
// tells the capacities alone.
type batteryInfo struct {
	capabilities             uint32
	technology               uint8
	_                        [3]uint8
	chemistry                [4]uint8
	designed, fullCharged    uint32
	alert1, alert2, critical uint32
	cycles                   uint32
}

// relative: its capacities are shares, not milliwatt hours.
func (b batteryInfo) relative() bool { return b.capabilities&0x40000000 != 0 }

var guidBattery = windows.GUID{Data1: 0x72631e54, Data2: 0x78a4, Data3: 0x11d0, Data4: [8]byte{0xbc, 0xf7, 0x00, 0xaa, 0x00, 0xb7, 0xb3, 0x2a}}

// batteryInfos asks the drivers, not WMI: a query that hangs there would take
// the whole power group with it.
func batteryInfos() ([]batteryInfo, error) {
	paths, err := windows.CM_Get_Device_Interface_List("", &guidBattery, windows.CM_GET_DEVICE_INTERFACE_LIST_PRESENT)
	if err != nil {
		return nil, err
	}
	var all []batteryInfo
	for _, path := range paths {
		b, askErr := askBattery(path)
		if askErr != nil {
			err = errors.Join(err, askErr)
			continue
		}
		all = append(all, b)
	}
	if len(all) > 0 {
		return all, nil // an empty bay has a driver, too
	}
	return nil, err
}

func askBattery(path string) (batteryInfo, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return batteryInfo{}, err
	}
	h, err := windows.CreateFile(name, windows.GENERIC_READ|windows.GENERIC_WRITE,
		windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE, nil, windows.OPEN_EXISTING, windows.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		return batteryInfo{}, err
	}
	defer func() { _ = windows.CloseHandle(h) }()
	const queryTag, queryInformation = 0x294040, 0x294044
	var wait, tag, got uint32
	err = windows.DeviceIoControl(h, queryTag, (*byte)(unsafe.Pointer(&wait)), 4, (*byte)(unsafe.Pointer(&tag)), 4, &got, nil)
	if err != nil {
		return batteryInfo{}, err
	}
	query := struct {
		tag    uint32
		level  int32 // 0: BatteryInformation
		atRate int32
	}{tag: tag}
	var b batteryInfo
	err = windows.DeviceIoControl(h, queryInformation, (*byte)(unsafe.Pointer(&query)), uint32(unsafe.Sizeof(query)),
		(*byte)(unsafe.Pointer(&b)), uint32(unsafe.Sizeof(b)), &got, nil)
	return b, err
}
