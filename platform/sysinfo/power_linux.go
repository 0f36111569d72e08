package sysinfo

import (
	"context"
	"strings"
)

// power reads /sys/class/power_supply (Documentation/ABI/testing/sysfs-class-power).
func (l *linux) power(context.Context) (Power, error) {
	names, err := l.names("/sys/class/power_supply")
	if err != nil {
		return Power{}, err
	}
	var sum cells
	var adapters, online int
	for _, n := range names {
		dir := "/sys/class/power_supply/" + n + "/"
		if scope, _ := l.line(dir + "scope"); scope == "Device" {
			continue // a mouse's or a pen's
		}
		switch kind, _ := l.line(dir + "type"); kind {
		case "Battery":
			if present, err := l.number(dir + "present"); err == nil && present == 0 {
				continue
			}
			sum.add(l.cell(dir))
		case "Mains", "USB":
			adapters++
			if on, err := l.number(dir + "online"); err == nil && on > 0 {
				online++
			}
		}
	}
	if sum.count == 0 {
		return noBattery(), nil
	}
	p := sum.power()
	switch {
	case online > 0:
		p.Source = Some(Mains)
	// USB-C ports of some machines never say "online": what the battery does
	// decides, and the adapters only where it does not tell.
	case p.State.Value == Discharging, p.State.Why != Present && adapters > 0:
		p.Source = Some(Battery)
	default:
		p.Source = Some(Mains)
	}
	switch {
	case adapters == 0:
	case online == 0:
		p.Charger = Some(ChargerDisconnected)
	case p.State.Value == Discharging:
		p.Charger = Some(ChargerTooWeak)
	default:
		p.Charger = Some(ChargerConnected)
	}
	return p, nil
}

// cell reads one battery.
func (l *linux) cell(dir string) cell {
	var c cell
	// Energy in µWh, or charge in µAh; the voltage makes one of the other, so
	// that two batteries can be added up.
	const microwattHours = 1000 // per milliwatt hour
	c.perMWh = microwattHours
	c.now, c.full, c.design = l.amount(dir, "energy"), l.amount(dir, "energy_full"), l.amount(dir, "energy_full_design")
	if c.full <= 0 {
		volt := 1.0
		if uv, err := l.number(dir + "voltage_min_design"); err == nil && uv > 0 {
			volt = float64(uv) / 1e6
		} else {
			c.perMWh = 0 // microampere hours
		}
		c.now, c.full, c.design = volt*l.amount(dir, "charge"), volt*l.amount(dir, "charge_full"), volt*l.amount(dir, "charge_full_design")
	}
	if pct, err := l.number(dir + "capacity"); err == nil {
		c.permille, c.hasPermille = 10*pct, true
	}
	c.cycles, _ = l.number(dir + "cycle_count")
	switch s, _ := l.line(dir + "status"); s {
	case "Charging":
		c.state = Charging
	case "Discharging":
		c.state = Discharging
	case "Full":
		c.state = Full
	case "Not charging":
		c.state = Idle
	}
	return c
}

// amount reads NAME, or NAME_now for the current one; 0 when there is none.
func (l *linux) amount(dir, name string) float64 {
	if !strings.Contains(name, "_") {
		name += "_now"
	}
	v, err := l.number(dir + name)
	if err != nil || v < 0 {
		return 0
	}
	return float64(v)
}
