package health

import (
	"strconv"

	"hausmeister/platform/sysinfo"
	"hausmeister/proto/reading"
)

func (l *list) cpu(c sysinfo.CPU) {
	l.number(reading.CPUUsed, "", c.Used)
	l.number(reading.CPUCores, "", c.Cores)
	l.number(reading.Load1, "", c.Load1)
	if each, ok := c.CoreUsed.Get(); ok {
		for i, used := range each {
			l.number(reading.CPUCoreUsed, strconv.Itoa(i+1), sysinfo.Some(used))
		}
	} else {
		l.absent(reading.CPUCoreUsed, "", c.CoreUsed.Why)
	}
	l.number(reading.CPUSpeedLimit, "", c.SpeedLimit)
	l.number(reading.CPUThrottled, "", c.Throttled)
}

func (l *list) memory(m sysinfo.Memory) {
	l.number(reading.MemoryTotal, "", m.Total)
	l.number(reading.MemoryUsed, "", m.Used)
	l.number(reading.SwapTotal, "", m.SwapTotal)
	l.number(reading.SwapUsed, "", m.SwapUsed)
}

func (l *list) pressure(o sysinfo.Opt[[]sysinfo.Pressure]) {
	each(l, o, func(p sysinfo.Pressure) {
		l.number(reading.Pressure, p.Name, sysinfo.Some(p.Stalled))
	}, reading.Pressure)
}

func (l *list) volumes(o sysinfo.Opt[[]sysinfo.Volume]) {
	each(l, o, func(v sysinfo.Volume) {
		l.number(reading.VolumeTotal, v.Name, v.Total)
		l.number(reading.VolumeFree, v.Name, v.Free)
		l.number(reading.VolumeInodesFree, v.Name, v.InodesFree)
		l.number(reading.VolumeErrors, v.Name, v.Errors)
		choice(l, reading.VolumeMode, v.Name, v.ReadOnly, "read_only", "read_write")
	}, reading.VolumeTotal, reading.VolumeFree)
}

// wholeDays cuts seconds to days: how many hours a disk ran since yesterday is how
// long somebody worked.
func wholeDays(o sysinfo.Opt[int64]) sysinfo.Opt[int64] {
	if v, ok := o.Get(); ok {
		return sysinfo.Some(v - v%(24*60*60))
	}
	return o
}

func (l *list) disks(o sysinfo.Opt[[]sysinfo.Disk]) {
	each(l, o, func(d sysinfo.Disk) {
		text(l, reading.DiskHealth, d.Name, d.Health)
		l.number(reading.DiskWear, d.Name, d.Wear)
		l.number(reading.DiskSpare, d.Name, d.Spare)
		l.number(reading.DiskErrors, d.Name, d.Errors)
		l.number(reading.DiskPowerOn, d.Name, wholeDays(d.PowerOn))
	}, reading.DiskHealth)
}

func (l *list) power(p sysinfo.Power) {
	l.number(reading.BatteryCharge, "", p.Charge)
	text(l, reading.BatteryState, "", p.State)
	l.number(reading.BatteryHealth, "", p.Health)
	l.number(reading.BatteryCycles, "", p.Cycles)
	l.number(reading.BatteryFull, "", p.Full)
	l.number(reading.BatteryDesign, "", p.Design)
	text(l, reading.PowerSource, "", p.Source)
	text(l, reading.Charger, "", p.Charger)
}

func (l *list) temperatures(o sysinfo.Opt[[]sysinfo.Temperature]) {
	each(l, o, func(t sysinfo.Temperature) {
		l.number(reading.Temperature, t.Place, sysinfo.Some(t.MilliCelsius))
	}, reading.Temperature)
}

func (l *list) fans(o sysinfo.Opt[[]sysinfo.Fan]) {
	each(l, o, func(f sysinfo.Fan) {
		l.number(reading.FanSpeed, f.Name, sysinfo.Some(f.Speed))
	}, reading.FanSpeed)
}

func (l *list) links(o sysinfo.Opt[[]sysinfo.Link]) {
	each(l, o, func(k sysinfo.Link) {
		choice(l, reading.LinkState, k.Name, sysinfo.Some(k.Up), "up", "down")
		if k.Up { // nothing to say without a link, and no reason to give for that
			l.number(reading.LinkSpeed, k.Name, k.Speed)
			l.number(reading.LinkErrors, k.Name, k.Errors)
			l.number(reading.LinkSignal, k.Name, k.Signal)
		}
	}, reading.LinkState)
}

func (l *list) printers(o sysinfo.Opt[[]sysinfo.Printer]) {
	each(l, o, func(p sysinfo.Printer) {
		text(l, reading.PrinterState, p.Name, sysinfo.Some(p.State))
	}, reading.PrinterState)
}
