package sysinfo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/windows"
)

// disks are told whole to administrators only; others learn of the health.
func (*windowsSource) disks(context.Context) ([]Disk, error) {
	a := diskAnswers{nvme: make(map[int64][]byte)}
	var err error
	if a.disks, err = wmi(nsStorage, "MSFT_PhysicalDisk", "DeviceId", "HealthStatus", "BusType", "MediaType"); err != nil {
		return nil, err
	}
	// Each of these is a driver's to give; without them there is less to tell.
	a.counters, _ = wmi(nsStorage, "MSFT_StorageReliabilityCounter", "DeviceId", "Wear", "ReadErrorsUncorrected", "WriteErrorsUncorrected", "PowerOnHours")
	a.predicted, _ = wmi(nsWMI, "MSStorageDriver_FailurePredictStatus", "InstanceName", "PredictFailure")
	if len(a.predicted) > 0 {
		a.drives, _ = wmi(nsCIM, "Win32_DiskDrive", "Index", "PNPDeviceID")
	}
	const busNVMe = 17 // MSFT_PhysicalDisk.BusType
	numbers, rows := a.builtIn()
	for _, n := range numbers {
		if bus, _ := rows[n].number("BusType"); bus == busNVMe {
			if log, err := nvmeHealth(n); err == nil {
				a.nvme[n] = log
			}
		}
	}
	return a.readings()
}

// nvmeHealth reads the health log page of disk n through the storage stack's
// protocol query (learn.microsoft.com, "Working with NVMe drives").
func nvmeHealth(n int64) ([]byte, error) {
	path, err := windows.UTF16PtrFromString(`\\.\PhysicalDrive` + strconv.FormatInt(n, 10))
	if err != nil {
		return nil, err
	}
	// The query needs no right to the content; some drivers want both all the same.
	for _, access := range []uint32{0, windows.GENERIC_READ | windows.GENERIC_WRITE} {
		var h windows.Handle
		if h, err = windows.CreateFile(path, access, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE, nil, windows.OPEN_EXISTING, 0, 0); err != nil {
			continue
		}
		var log []byte
		log, err = askNVMeHealth(h)
		_ = windows.CloseHandle(h)
		if err == nil {
			return log, nil
		}
	}
	return nil, fmt.Errorf("asking disk %d for its health: %w", n, err)
}

func askNVMeHealth(h windows.Handle) ([]byte, error) {
	const (
		ioctlQueryProperty     = 0x2d1400
		deviceProtocolSpecific = 50
		typeNVMe, dataLogPage  = 3, 2
		healthLog              = 2
		head, protocolHead     = 8, 40
	)
	buf := make([]byte, head+protocolHead+nvmeHealthSize)
	// STORAGE_PROPERTY_QUERY, then STORAGE_PROTOCOL_SPECIFIC_DATA: protocol, kind,
	// what, further, offset of the answer behind this head, its length.
	for i, v := range []uint32{deviceProtocolSpecific, 0, typeNVMe, dataLogPage, healthLog, 0, protocolHead, nvmeHealthSize} {
		binary.LittleEndian.PutUint32(buf[4*i:], v)
	}
	var got uint32
	size := uint32(len(buf))
	if err := windows.DeviceIoControl(h, ioctlQueryProperty, &buf[0], size, &buf[0], size, &got, nil); err != nil {
		return nil, err
	}
	offset := binary.LittleEndian.Uint32(buf[head+16:])
	length := binary.LittleEndian.Uint32(buf[head+20:])
	if offset != protocolHead || length < nvmeHealthSize || int(got) < len(buf) {
		return nil, errors.New("the answer is cut")
	}
	return buf[head+protocolHead:], nil
}

// volumeState adds what NTFS tells of a volume: whether it can be written, and
// whether there is something that chkdsk should see to. NTFS counts no errors,
// so Errors is 1 or 0, and it makes entries as they are needed.
func volumeState(v *Volume, root *uint16) {
	v.InodesFree, v.Errors, v.ReadOnly = None[int64](NotSupported), None[int64](NotSupported), None[bool](NotSupported)
	var flags uint32
	const readOnlyVolume = 0x80000
	if err := windows.GetVolumeInformation(root, nil, 0, nil, nil, &flags, nil, 0); err == nil {
		v.ReadOnly = Some(flags&readOnlyVolume != 0)
	}
	dirty, err := volumeDirty(v.Name)
	v.Errors = orNone(dirty, err)
}

func volumeDirty(name string) (int64, error) {
	path, err := windows.UTF16PtrFromString(`\\.\` + name)
	if err != nil {
		return 0, err
	}
	h, err := windows.CreateFile(path, windows.GENERIC_READ, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE, nil, windows.OPEN_EXISTING, 0, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = windows.CloseHandle(h) }()
	const fsctlIsVolumeDirty, isDirty = 0x90078, 1
	var state [4]byte
	var got uint32
	if err := windows.DeviceIoControl(h, fsctlIsVolumeDirty, nil, 0, &state[0], uint32(len(state)), &got, nil); err != nil {
		if errors.Is(err, windows.ERROR_NOT_SUPPORTED) || errors.Is(err, windows.ERROR_INVALID_FUNCTION) || errors.Is(err, windows.ERROR_INVALID_PARAMETER) {
			return 0, errAbsent{NotSupported}
		}
		return 0, err
	}
	return int64(state[0] & isDirty), nil
}
