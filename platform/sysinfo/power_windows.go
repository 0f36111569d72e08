package sysinfo

import (
	"context"
	"time"
	"unsafe"

	"github.com/distatus/battery"
)

var getSystemPowerStatus = kernel32.NewProc("GetSystemPowerStatus")

func (w *windowsSource) power(context.Context) (Power, error) {
	var st struct { // SYSTEM_POWER_STATUS
		ac, flag, percent, saver byte
		left, full               uint32
	}
	if ok, _, err := getSystemPowerStatus.Call(uintptr(unsafe.Pointer(&st))); ok == 0 {
		return Power{}, err
	}
	const noSystemBattery, unknown = 128, 255
	if st.flag != unknown && st.flag&noSystemBattery != 0 {
		return noBattery(), nil
	}
	var sum cells
	// An error may concern one of several; the others are there.
	batteries, _ := battery.GetAll()
	for _, b := range batteries {
		if b == nil {
			continue
		}
		c := cell{now: known(b.Current), full: known(b.Full), design: known(b.Design)}
		switch b.State.Raw {
		case battery.Charging:
			c.state = Charging
		case battery.Discharging, battery.Empty:
			c.state = Discharging
		case battery.Full:
			c.state = Full
		case battery.Idle:
			c.state = Idle
		}
		sum.add(c)
	}
	p := sum.power()
	// What distatus/battery does not tell hardly changes.
	if infos, err := w.keptBatteries.get(time.Hour, batteryInfos); err == nil {
		relative := false
		cycles := int64(0)
		for _, b := range infos {
			relative = relative || b.relative()
			cycles = max(cycles, int64(b.cycles))
		}
		if !relative {
			p.energy(sum.sum.full, sum.sum.design)
		}
		if cycles > 0 && cycles < 1<<16 { // 0 is what those say that do not count
			p.Cycles = Some(cycles)
		}
	}
	p.Source = None[PowerSource](NotSupported)
	switch st.ac {
	case 0:
		p.Source = Some(Battery)
	case 1:
		p.Source = Some(Mains)
	}
	p.charger()
	if st.percent <= 100 { // what the taskbar shows
		p.Charge = Some(10 * int64(st.percent))
	}
	return p, nil
}

// known: all ones is how a battery says that it does not know.
func known(amount float64) float64 {
	const unknown = 1<<32 - 1
	if amount >= unknown {
		return 0
	}
	return amount
}
