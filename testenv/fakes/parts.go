package fakes

import (
	"fmt"
	"math"
	"time"

	"hausmeister/platform/sysinfo"
)

// disks has one, which wears slowly.
func (m *Machine) disks(day float64) []sysinfo.Disk {
	return []sysinfo.Disk{{
		Name: "disk", Health: sysinfo.Some(sysinfo.DiskOK), Wear: sysinfo.Some(m.tale.diskWear(day)), Spare: sysinfo.Some[int64](1000),
		Errors: sysinfo.Some[int64](0), PowerOn: sysinfo.Some(int64((m.tale.powerOn + 6*day) * 3600)),
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

func (m *Machine) power(day float64) sysinfo.Power {
	health, cycles := m.tale.battery(day)
	p := sysinfo.Power{
		Source: sysinfo.Some(sysinfo.Battery), State: sysinfo.Some(sysinfo.Discharging), Charger: sysinfo.Some(sysinfo.ChargerDisconnected),
		Charge: sysinfo.Some(int64(m.charge)), Health: sysinfo.Some(health), Cycles: sysinfo.Some(cycles),
		Design: sysinfo.Some[int64](50_000), Full: sysinfo.Some(health * 50),
	}
	if m.mains {
		p.Source, p.State, p.Charger = sysinfo.Some(sysinfo.Mains), sysinfo.Some(sysinfo.Charging), sysinfo.Some(sysinfo.ChargerConnected)
		if m.charge >= 1000 {
			p.State = sysinfo.Some(sysinfo.Full)
		}
	}
	return p
}

// updateEvery so many days a machine gets updates that nobody notices.
const updateEvery = 7

// add tells what a machine of this kind has beside what blocks hold.
func (m *Machine) add(s *sysinfo.Snapshot, now time.Time, day float64) {
	t, windows := &m.tale, m.model.os == "windows"
	some, none := sysinfo.Some[int64], sysinfo.None[int64]
	s.Pressure = sysinfo.None[[]sysinfo.Pressure](sysinfo.NotSupported)
	s.Fans = sysinfo.None[[]sysinfo.Fan](sysinfo.NotSupported)
	s.Metered = sysinfo.Some(t.metered)
	s.BootDuration = sysinfo.Some(t.bootTook(m.day(m.boot), int(m.boot.Unix())))
	s.Updates = m.updates(day)
	s.Restart = sysinfo.Some(t.waits(day))
	age := t.antivirusAge + max(0, now.Sub(m.boot))%(24*time.Hour)
	s.Protection = sysinfo.Protection{
		Encryption: sysinfo.Some(t.encryption), Firewall: sysinfo.Some(t.firewallNow(day)), Antivirus: sysinfo.Some(sysinfo.On),
		AntivirusAge: some(int64(age.Seconds())), SecureBoot: sysinfo.Some(t.secured), TPM: sysinfo.Some("2.0"),
	}
	s.Crashes = sysinfo.Crashes{System: some(happened(t.crashes, day)), Programs: some(happened(t.programs, day)), PowerOffs: some(happened(t.hardOffs, day))}
	printers := []sysinfo.Printer{}
	for i := range t.printers {
		printers = append(printers, sysinfo.Printer{Name: numbered("printer", i+1), State: sysinfo.PrinterReady})
	}
	s.Printers = sysinfo.Some(printers)
	v := &s.Volumes.Value[0]
	v.ReadOnly, v.InodesFree, v.Errors = sysinfo.Some(false), none(sysinfo.NotSupported), none(sysinfo.NotSupported)
	if !windows {
		s.Fans = sysinfo.None[[]sysinfo.Fan](sysinfo.NoHardware)
		s.Protection.TPM = sysinfo.None[string](sysinfo.NoHardware)
		v.InodesFree = some(996)
	}
}

// updates come each week; one that waits for a restart is not counted as new.
func (m *Machine) updates(day float64) sysinfo.Updates {
	t := &m.tale
	phase := float64(m.number % updateEvery)
	last := math.Floor((day+phase)/updateEvery)*updateEvery - phase
	pending := t.pending
	if t.waits(day) {
		last, pending = restartDay, 1
	}
	return sysinfo.Updates{Pending: sysinfo.Some(pending), Security: sysinfo.Some[int64](0), Last: sysinfo.Some(m.today.AddDate(0, 0, int(last)).Add(5 * time.Hour))}
}

func numbered(kind string, n int) string {
	if n == 1 {
		return kind
	}
	return fmt.Sprintf("%s %d", kind, n)
}
