package sysinfo

import (
	"bufio"
	"bytes"
	"errors"
	"strings"

	"howett.net/plist"
)

// What macOS' programs print, apart from calling them, so that it is tested on
// every system.

// parsePlatform reads `ioreg -rd1 -c IOPlatformExpertDevice -a`.
func parsePlatform(out []byte) (serial string, err error) {
	var devices []struct {
		Serial string `plist:"IOPlatformSerialNumber"`
	}
	if _, err := plist.Unmarshal(out, &devices); err != nil {
		return "", err
	}
	if len(devices) == 0 {
		return "", errors.New("ioreg told of no platform device")
	}
	return devices[0].Serial, nil
}

// smartBattery is one AppleSmartBattery of ioreg.
type smartBattery struct {
	Installed *bool `plist:"BatteryInstalled"` // where it is missing, the entry says it
	External  bool  `plist:"ExternalConnected"`
	Charging  bool  `plist:"IsCharging"`
	Full      bool  `plist:"FullyCharged"`
	// In mAh, or on Apple silicon in percent with the mAh in AppleRaw...
	Current    int64 `plist:"CurrentCapacity"`
	Max        int64 `plist:"MaxCapacity"`
	RawCurrent int64 `plist:"AppleRawCurrentCapacity"`
	RawMax     int64 `plist:"AppleRawMaxCapacity"`
	Design     int64 `plist:"DesignCapacity"`
	Cycles     int64 `plist:"CycleCount"`
	Voltage    int64 `plist:"Voltage"` // mV
	// Negative while it empties; signed, or the same bits unsigned.
	Amperage any `plist:"Amperage"`
	// macOS 27 has moved the mAh in here.
	Data struct {
		RawCurrent int64 `plist:"AppleRawCurrentCapacity"`
		RawMax     int64 `plist:"AppleRawMaxCapacity"`
		Design     int64 `plist:"DesignCapacity"`
	} `plist:"BatteryData"`
}

// parseBattery reads `ioreg -rn AppleSmartBattery -a`; a Mac without a battery
// prints nothing.
func parseBattery(out []byte) (Power, error) {
	if len(bytes.TrimSpace(out)) == 0 {
		return noBattery(), nil
	}
	var batteries []smartBattery
	if _, err := plist.Unmarshal(out, &batteries); err != nil {
		return Power{}, err
	}
	var sum cells
	external := false
	var full, design float64 // mWh
	for _, b := range batteries {
		if b.Installed != nil && !*b.Installed {
			continue
		}
		external = external || b.External
		c := b.cell()
		// The voltage is today's for both, so that their ratio stays that of the mAh.
		full += c.full * float64(b.Voltage) / 1000
		design += c.design * float64(b.Voltage) / 1000
		sum.add(c)
	}
	if sum.count == 0 {
		return noBattery(), nil
	}
	p := sum.power()
	p.Source = Some(Battery)
	if external {
		p.Source = Some(Mains)
	}
	p.energy(full, design)
	p.charger()
	return p, nil
}

func (b smartBattery) cell() cell {
	if b.RawMax == 0 {
		b.RawMax, b.RawCurrent = b.Data.RawMax, b.Data.RawCurrent
	}
	if b.Design == 0 {
		b.Design = b.Data.Design
	}
	if b.RawMax == 0 && b.Max <= 100 { // shares only
		b.Design = 0
	}
	c := cell{now: float64(b.Current), full: float64(b.Max), design: float64(b.Design), cycles: b.Cycles}
	if b.Max > 0 {
		c.permille, c.hasPermille = 1000*b.Current/b.Max, true
	}
	if b.RawMax > 0 {
		c.now, c.full = float64(b.RawCurrent), float64(b.RawMax)
	}
	switch {
	case b.Charging:
		c.state = Charging
	case b.Full:
		c.state = Full
	case b.External && !emptying(b.Amperage):
		c.state = Idle
	default:
		c.state = Discharging
	}
	return c
}

// emptying: a battery that rests takes or gives some milliamperes too.
func emptying(amperage any) bool {
	const resting = -100 // mA
	switch v := amperage.(type) {
	case int64:
		return v < resting
	case uint64:
		return int64(v) < resting
	}
	return false
}

// parseHardwarePorts reads `networksetup -listallhardwareports`: which device
// is what kind of link. Bridges, Bluetooth and Thunderbolt are none of ours.
func parseHardwarePorts(out []byte) map[string]string {
	kinds := make(map[string]string)
	port := ""
	sc := bufio.NewScanner(bytes.NewReader(out))
	for sc.Scan() {
		if v, ok := strings.CutPrefix(sc.Text(), "Hardware Port: "); ok {
			port = v
		}
		device, ok := strings.CutPrefix(sc.Text(), "Device: ")
		switch {
		case !ok:
		case port == "Wi-Fi" || port == "AirPort":
			kinds[device] = "wifi"
		case strings.HasPrefix(port, "Ethernet Adapt"): // the chip's own, to nowhere
		case strings.Contains(port, "Ethernet") || strings.Contains(port, "LAN"):
			kinds[device] = "wired"
		case strings.Contains(port, "iPhone") || strings.Contains(port, "WWAN"):
			kinds[device] = "mobile"
		}
	}
	return kinds
}
