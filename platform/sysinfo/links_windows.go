package sysinfo

import (
	"context"
	"errors"
	"unsafe"

	"golang.org/x/sys/windows"
)

func (*windowsSource) links(context.Context) ([]Link, error) {
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
	wlan := openWLAN()
	defer wlan.close()
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
		if kind == "" {
			continue
		}
		row, ok := hardware(a.Luid)
		if !ok {
			continue
		}
		count[kind]++
		l := Link{
			Name:   numbered(kind, count[kind]),
			Up:     a.OperStatus == windows.IfOperStatusUp,
			Errors: Some(int64(row.InErrors + row.OutErrors)),
			Signal: None[int64](NoHardware), // a cable has none
		}
		if kind != "wired" {
			l.Signal = None[int64](NotSupported)
		}
		if l.Up && kind == "wifi" {
			l.Signal = orNone(wlan.signal(row.InterfaceGuid))
		}
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

// hardware tells a piece of hardware from a switch of Hyper-V or a tunnel, and
// gives its counters.
func hardware(luid uint64) (windows.MibIfRow2, bool) {
	row := windows.MibIfRow2{InterfaceLuid: luid}
	const hardwareInterface = 1 // bit 0 of InterfaceAndOperStatusFlags
	err := windows.GetIfEntry2Ex(windows.MibIfTableNormal, &row)
	return row, err == nil && row.InterfaceAndOperStatusFlags&hardwareInterface != 0
}

var (
	wlanapi        = windows.NewLazySystemDLL("wlanapi.dll")
	wlanOpenHandle = wlanapi.NewProc("WlanOpenHandle")
	wlanQuery      = wlanapi.NewProc("WlanQueryInterface")
	wlanFreeMemory = wlanapi.NewProc("WlanFreeMemory")
	wlanClose      = wlanapi.NewProc("WlanCloseHandle")
)

// wlanClient is a handle of the WLAN service, 0 where there is none.
type wlanClient struct{ handle uintptr }

func openWLAN() wlanClient {
	if wlanOpenHandle.Find() != nil {
		return wlanClient{}
	}
	const version = 2
	var negotiated uint32
	var h uintptr
	if r, _, _ := wlanOpenHandle.Call(version, 0, uintptr(unsafe.Pointer(&negotiated)), uintptr(unsafe.Pointer(&h))); r != 0 {
		return wlanClient{}
	}
	return wlanClient{h}
}

func (w wlanClient) close() {
	if w.handle != 0 {
		_, _, _ = wlanClose.Call(w.handle, 0)
	}
}

// signal asks for the strength alone: the question for the connection, which
// people know, answers with the network's name too.
func (w wlanClient) signal(adapter windows.GUID) (int64, error) {
	if w.handle == 0 {
		return 0, errAbsent{NotSupported}
	}
	const opcodeRSSI = 0x10000102 // wlan_intf_opcode_rssi: a LONG, dBm
	var size uint32
	var data *int32
	r, _, _ := wlanQuery.Call(w.handle, uintptr(unsafe.Pointer(&adapter)), opcodeRSSI, 0,
		uintptr(unsafe.Pointer(&size)), uintptr(unsafe.Pointer(&data)), 0)
	if r != 0 {
		err := windows.Errno(r)
		if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
			return 0, err
		}
		return 0, errAbsent{NotSupported}
	}
	defer func() { _, _, _ = wlanFreeMemory.Call(uintptr(unsafe.Pointer(data))) }()
	if size < 4 || data == nil || *data >= 0 || *data < -120 {
		return 0, errAbsent{NotSupported}
	}
	return int64(*data), nil
}
