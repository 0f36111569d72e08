package sysinfo

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// smbiosSystem is what structure type 1 of the firmware's table says.
type smbiosSystem struct{ maker, product, version, serial string }

var errSMBIOS = errors.New("SMBIOS table is broken")

// parseRawSMBIOS reads what Windows' GetSystemFirmwareTable('RSMB') gives: 4
// bytes of version, the length, the structures.
func parseRawSMBIOS(b []byte) (smbiosSystem, error) {
	if len(b) < 8 {
		return smbiosSystem{}, errSMBIOS
	}
	size := binary.LittleEndian.Uint32(b[4:])
	b = b[8:]
	if uint64(size) < uint64(len(b)) {
		b = b[:size]
	}
	return parseSMBIOS(b)
}

// parseSMBIOS walks the structures (DSP0134, 6.1): type, length and handle, the
// formatted area, then strings ended by NUL and one NUL more.
func parseSMBIOS(b []byte) (smbiosSystem, error) {
	for len(b) >= 4 {
		kind, size := b[0], int(b[1])
		if size < 4 || size > len(b) {
			return smbiosSystem{}, errSMBIOS
		}
		area := b[:size]
		text, rest, ok := bytes.Cut(b[size:], []byte{0, 0})
		if !ok {
			return smbiosSystem{}, errSMBIOS
		}
		const system, end = 1, 127
		switch {
		case kind == system && size >= 8:
			str := smbiosStrings(text)
			return smbiosSystem{maker: str(area[4]), product: str(area[5]), version: str(area[6]), serial: str(area[7])}, nil
		case kind == end:
			return smbiosSystem{}, errAbsent{NoHardware}
		}
		b = rest
	}
	return smbiosSystem{}, errAbsent{NoHardware}
}

// smbiosStrings gives the nth string, counted from 1; 0 means none.
func smbiosStrings(text []byte) func(n byte) string {
	all := bytes.Split(text, []byte{0})
	return func(n byte) string {
		if n == 0 || int(n) > len(all) {
			return ""
		}
		return string(all[n-1])
	}
}

// model gives the name that people know: Lenovo writes the type number into the
// product and the name into the version.
func (s smbiosSystem) model() string {
	if s.maker == "LENOVO" && hasAlnum(s.version) {
		return s.version
	}
	return s.product
}
