package fakes

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"hausmeister/platform/sysinfo"
)

// traits are what a machine hardly changes.
type traits struct {
	wear, powerOn               int64 // permille; hours at the start
	bootDuration                time.Duration
	pending, security           int64
	updated                     time.Duration // before the start
	restart, metered            bool
	encryption, firewall        sysinfo.Guard
	antivirusAge                time.Duration
	crashes, programs, powerOff int64
	printers                    int
	signal                      int64
	missing                     int // which program is not installed; most have all
}

func newTraits(number int) traits {
	r := rand.New(rand.NewPCG(seed+1, uint64(number)))
	t := traits{
		wear:         r.Int64N(300),
		powerOn:      1000 + r.Int64N(6000),
		bootDuration: 14*time.Second + time.Duration(r.Int64N(int64(50*time.Second))),
		pending:      max(0, r.Int64N(12)-6),
		updated:      time.Duration(r.Int64N(int64(25 * 24 * time.Hour))),
		restart:      r.IntN(8) == 0,
		metered:      r.IntN(40) == 0,
		encryption:   sysinfo.On,
		firewall:     sysinfo.On,
		antivirusAge: time.Hour + time.Duration(r.Int64N(int64(30*time.Hour))),
		programs:     max(0, r.Int64N(9)-4),
		printers:     r.IntN(3),
		signal:       -42 - r.Int64N(35),
		missing:      r.IntN(20 * len(programs)),
	}
	t.security = min(t.pending, r.Int64N(3))
	switch r.IntN(25) {
	case 0:
		t.encryption = sysinfo.Off
	case 1:
		t.encryption = sysinfo.Partly
	case 2:
		t.firewall = sysinfo.Off
	case 3:
		t.crashes = 1 + r.Int64N(4)
	case 4:
		t.powerOff = 1 + r.Int64N(6)
	case 5:
		t.antivirusAge *= 20
	}
	return t
}

// disks has one, which wears slowly.
func (m *Machine) disks(now time.Time) []sysinfo.Disk {
	return []sysinfo.Disk{{
		Name: "disk", Health: sysinfo.Some(sysinfo.DiskOK), Wear: sysinfo.Some(m.traits.wear), Spare: sysinfo.Some[int64](1000),
		Errors: sysinfo.Some[int64](0), PowerOn: sysinfo.Some(m.traits.powerOn*3600 + max(0, int64(now.Sub(m.boot).Hours()))*3600),
	}}
}

// cores are busy unevenly, and as much as the processor on the whole.
func (m *Machine) cores() []int64 {
	each := make([]int64, m.model.cores)
	for i := range each {
		each[i] = min(1000, max(0, int64(m.cpu)+int64(i%3-1)*int64(m.cpu)/4))
	}
	return each
}

func (m *Machine) power() sysinfo.Power {
	p := sysinfo.Power{
		Source: sysinfo.Some(sysinfo.Battery), State: sysinfo.Some(sysinfo.Discharging), Charger: sysinfo.Some(sysinfo.ChargerDisconnected),
		Charge: sysinfo.Some(int64(m.charge)), Health: sysinfo.Some(m.health), Cycles: sysinfo.Some(m.cycles),
		Design: sysinfo.Some[int64](50_000), Full: sysinfo.Some(m.health * 50),
	}
	if m.mains {
		p.Source, p.State, p.Charger = sysinfo.Some(sysinfo.Mains), sysinfo.Some(sysinfo.Charging), sysinfo.Some(sysinfo.ChargerConnected)
		if m.charge >= 1000 {
			p.State = sysinfo.Some(sysinfo.Full)
		}
	}
	return p
}

// add tells what a machine of this kind has beside the oldest readings.
func (m *Machine) add(s *sysinfo.Snapshot, now time.Time) {
	t, windows := m.traits, m.model.os == "windows"
	some, none := sysinfo.Some[int64], sysinfo.None[int64]
	s.CPU.CoreUsed = sysinfo.Some(m.cores())
	s.CPU.SpeedLimit, s.CPU.Throttled = some(1000), some(0)
	if m.heat > 85 {
		s.CPU.SpeedLimit, s.CPU.Throttled = some(700), some(int64(m.heat)-80)
	}
	s.Pressure = sysinfo.None[[]sysinfo.Pressure](sysinfo.NotSupported)
	s.Disks = sysinfo.Some(m.disks(now))
	s.Fans = sysinfo.None[[]sysinfo.Fan](sysinfo.NotSupported)
	s.Metered = sysinfo.Some(t.metered)
	s.BootDuration = sysinfo.Some(t.bootDuration)
	s.Updates = sysinfo.Updates{Pending: some(t.pending), Security: some(t.security), Last: sysinfo.Some(m.boot.Add(-t.updated))}
	s.Restart = sysinfo.Some(t.restart)
	age := t.antivirusAge + max(0, now.Sub(m.boot))%(24*time.Hour)
	s.Protection = sysinfo.Protection{
		Encryption: sysinfo.Some(t.encryption), Firewall: sysinfo.Some(t.firewall), Antivirus: sysinfo.Some(sysinfo.On),
		AntivirusAge: some(int64(age.Seconds())), SecureBoot: sysinfo.Some(sysinfo.On), TPM: sysinfo.Some("2.0"),
	}
	s.Crashes = sysinfo.Crashes{System: some(t.crashes), Programs: some(t.programs), PowerOffs: some(t.powerOff)}
	printers := []sysinfo.Printer{}
	for i := range t.printers {
		printers = append(printers, sysinfo.Printer{Name: numbered("printer", i+1), State: sysinfo.PrinterReady})
	}
	s.Printers = sysinfo.Some(printers)
	v := &s.Volumes.Value[0]
	v.ReadOnly, v.InodesFree, v.Errors = sysinfo.Some(false), none(sysinfo.NotSupported), none(sysinfo.NotSupported)
	l := &s.Links.Value[0]
	l.Errors, l.Signal = some(0), some(t.signal)
	if !windows {
		s.Fans = sysinfo.None[[]sysinfo.Fan](sysinfo.NoHardware)
		s.Protection.TPM = sysinfo.None[string](sysinfo.NoHardware)
		v.InodesFree = some(996)
	}
}

func numbered(kind string, n int) string {
	if n == 1 {
		return kind
	}
	return fmt.Sprintf("%s %d", kind, n)
}

// programs that most machines have, in the versions of late 2026.
var programs = []sysinfo.Program{
	{Name: "7-Zip 24.09 (x64)", Version: "24.09"}, {Name: "Adobe Acrobat Reader (64-bit)", Version: "25.001.20997"},
	{Name: "Audacity 3.7.5", Version: "3.7.5"}, {Name: "Cisco Webex Meetings", Version: "45.11"},
	{Name: "DigitaleSchule Connector", Version: "2.4.1"}, {Name: "Drehbuch 4", Version: "4.2"},
	{Name: "FUJITSU DeskUpdate", Version: "5.03.0112"}, {Name: "FUJITSU Function Manager", Version: "9.2.0"},
	{Name: "GeoGebra Classic 6", Version: "6.0.908"}, {Name: "GIMP 2.10.38", Version: "2.10.38"},
	{Name: "Git", Version: "2.47.1"}, {Name: "Google Chrome", Version: "143.0.7499.41"},
	{Name: "Inkscape", Version: "1.4.2"}, {Name: "Intel(R) Graphics Driver", Version: "31.0.101.2134"},
	{Name: "Intel(R) Wireless Bluetooth(R)", Version: "23.60.0"}, {Name: "Java 8 Update 431", Version: "8.0.4310.10"},
	{Name: "KeePassXC", Version: "2.7.10"}, {Name: "LibreOffice 25.8.3.2", Version: "25.8.3.2"},
	{Name: "Microsoft 365 Apps for Enterprise - de-de", Version: "16.0.19328.20190"}, {Name: "Microsoft Edge", Version: "143.0.3650.46"},
	{Name: "Microsoft Edge WebView2 Runtime", Version: "143.0.3650.46"}, {Name: "Microsoft OneDrive", Version: "25.199.1012.2"},
	{Name: "Microsoft Teams", Version: "25290.302"}, {Name: "Microsoft Visual C++ 2015-2022 Redistributable (x64)", Version: "14.42.34433.0"},
	{Name: "Microsoft Windows Desktop Runtime - 8.0.11 (x64)", Version: "8.0.11"}, {Name: "Mozilla Firefox ESR (x64 de)", Version: "140.5.0"},
	{Name: "MuseScore 4", Version: "4.5.2"}, {Name: "Notepad++ (64-bit x64)", Version: "8.7.1"},
	{Name: "OBS Studio", Version: "31.0.3"}, {Name: "OpenBoard", Version: "1.7.3"},
	{Name: "PDF24 Creator", Version: "11.23.0"}, {Name: "Python 3.13.1 (64-bit)", Version: "3.13.1150.0"},
	{Name: "Realtek Audio Driver", Version: "6.0.9549.1"}, {Name: "Scratch 3", Version: "3.31.1"},
	{Name: "SMART Notebook", Version: "24.1"}, {Name: "Stellarium 24.4", Version: "24.4"},
	{Name: "Synaptics Pointing Device Driver", Version: "19.5.35"}, {Name: "VeraCrypt", Version: "1.26.20"},
	{Name: "VLC media player", Version: "3.0.21"}, {Name: "Zoom Workplace (64-bit)", Version: "6.2.11"},
}

// Software lists what is installed: on one machine in twenty a program is missing.
func (m *Machine) Software(context.Context) ([]sysinfo.Program, error) {
	list := make([]sysinfo.Program, 0, len(programs))
	for i, p := range programs {
		if i != m.traits.missing {
			list = append(list, p)
		}
	}
	return list, nil
}
