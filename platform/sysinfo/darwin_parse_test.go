package sysinfo

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Synthetic: written after the form of ioreg(8) and networksetup(8), not
// recorded; no Mac was at hand.

func plistOf(body string) []byte {
	return []byte(`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><array>` + body + `</array></plist>`)
}

func TestParseBattery(t *testing.T) {
	power := func(src PowerSource, st BatteryState, charge, health, cycles int64) Power {
		p := Power{Source: Some(src), State: Some(st), Charge: Some(charge), Health: Some(health), Cycles: Some(cycles),
			Full: None[int64](NotSupported), Design: None[int64](NotSupported), Charger: Some(ChargerDisconnected)}
		if src == Mains {
			p.Charger = Some(ChargerConnected)
		}
		return p
	}
	for _, c := range []struct {
		name, body string
		want       Power
	}{
		{"Intel, on battery", `<dict><key>BatteryInstalled</key><true/><key>ExternalConnected</key><false/><key>IsCharging</key><false/>
			<key>FullyCharged</key><false/><key>CurrentCapacity</key><integer>2000</integer><key>MaxCapacity</key><integer>4000</integer>
			<key>DesignCapacity</key><integer>5000</integer><key>CycleCount</key><integer>400</integer></dict>`,
			power(Battery, Discharging, 500, 800, 400)},
		{"Apple silicon, charging", `<dict><key>BatteryInstalled</key><true/><key>ExternalConnected</key><true/><key>IsCharging</key><true/>
			<key>FullyCharged</key><false/><key>CurrentCapacity</key><integer>81</integer><key>MaxCapacity</key><integer>100</integer>
			<key>AppleRawCurrentCapacity</key><integer>3600</integer><key>AppleRawMaxCapacity</key><integer>4500</integer>
			<key>DesignCapacity</key><integer>5000</integer><key>CycleCount</key><integer>12</integer></dict>`,
			power(Mains, Charging, 810, 900, 12)},
		{"taken out", `<dict><key>BatteryInstalled</key><false/></dict>`, noBattery()},
	} {
		got, err := parseBattery(plistOf(c.body))
		if d := cmp.Diff(c.want, got); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", c.name, err, d)
		}
	}
	if got, err := parseBattery([]byte("\n")); err != nil || got != noBattery() {
		t.Errorf("a Mac without a battery: %+v, %v", got, err)
	}
	if _, err := parseBattery([]byte("<plist><array><dict>")); err == nil {
		t.Error("a cut answer was taken")
	}
}

func TestParsePlatform(t *testing.T) {
	got, err := parsePlatform(plistOf(`<dict><key>IOPlatformSerialNumber</key><string>C02DEMO12345</string></dict>`))
	if got != "C02DEMO12345" || err != nil {
		t.Errorf("parsePlatform = %q, %v", got, err)
	}
	if _, err := parsePlatform(plistOf("")); err == nil {
		t.Error("no device is no error")
	}
}

func TestParseHardwarePorts(t *testing.T) {
	const out = `
Hardware Port: Ethernet Adapter (en4)
Device: en4
Ethernet Address: 00:00:5e:00:53:01

Hardware Port: USB 10/100/1000 LAN
Device: en7
Ethernet Address: 00:00:5e:00:53:02

Hardware Port: Ethernet
Device: en1
Ethernet Address: 00:00:5e:00:53:03

Hardware Port: Thunderbolt Bridge
Device: bridge0
Ethernet Address: 00:00:5e:00:53:04

Hardware Port: Wi-Fi
Device: en0
Ethernet Address: 00:00:5e:00:53:05

Hardware Port: iPhone USB
Device: en9
Ethernet Address: N/A

VLAN Configurations
===================
`
	want := map[string]string{"en7": "wired", "en1": "wired", "en0": "wifi", "en9": "mobile"}
	if d := cmp.Diff(want, parseHardwarePorts([]byte(out))); d != "" {
		t.Errorf("parseHardwarePorts (-want +got):\n%s", d)
	}
}

func FuzzParseBattery(f *testing.F) {
	f.Add(plistOf(`<dict><key>BatteryInstalled</key><true/><key>CurrentCapacity</key><integer>2000</integer></dict>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseBattery(b)
		if v, ok := p.Charge.Get(); err == nil && ok && (v < 0 || v > 1000) {
			t.Errorf("charge %d", v)
		}
	})
}
