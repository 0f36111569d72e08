package sysinfo

// A cell is one battery as its system tells it. Amounts are in one unit per
// machine, 0 when not known.
type cell struct {
	now, full, design float64
	perMWh            float64 // so many of the unit are a milliwatt hour; 0: not known
	permille          int64   // as the system reckons the charge
	hasPermille       bool
	cycles            int64        // 0: not known
	state             BatteryState // "": not known
}

// cells adds batteries up.
type cells struct {
	count     int
	sum       cell
	byAmount  bool // all batteries so far know now and full
	byDesign  bool // and design
	byEnergy  bool // and what they mean in milliwatt hours
	permilles int64
	withPM    int
	states    map[BatteryState]int
}

func (cs *cells) add(c cell) {
	if cs.count == 0 {
		cs.byAmount, cs.byDesign, cs.byEnergy = true, true, true
		cs.sum.perMWh = c.perMWh
		cs.states = make(map[BatteryState]int)
	}
	cs.count++
	cs.sum.now += c.now
	cs.sum.full += c.full
	cs.sum.design += c.design
	cs.byAmount = cs.byAmount && c.full > 0
	cs.byDesign = cs.byDesign && c.full > 0 && c.design > 0
	cs.byEnergy = cs.byEnergy && c.perMWh > 0 && c.perMWh == cs.sum.perMWh
	if c.hasPermille {
		cs.permilles += c.permille
		cs.withPM++
	}
	cs.sum.cycles = max(cs.sum.cycles, c.cycles)
	cs.states[c.state]++
}

// power tells all batteries as one; the source is for the caller to add.
func (cs *cells) power() Power {
	p := noPower(NotSupported)
	switch {
	// The system's own reckoning first: it is what the teacher sees.
	case cs.count == 1 && cs.withPM == 1:
		p.Charge = Some(min(max(cs.permilles, 0), 1000))
	case cs.byAmount:
		p.Charge = Some(min(int64(1000*cs.sum.now/cs.sum.full+0.5), 1000))
	case cs.withPM > 0:
		p.Charge = Some(min(max(cs.permilles/int64(cs.withPM), 0), 1000))
	}
	if cs.byDesign {
		p.Health = Some(int64(1000*cs.sum.full/cs.sum.design + 0.5))
	}
	if cs.byAmount && cs.byEnergy {
		p.Full = Some(int64(cs.sum.full/cs.sum.perMWh + 0.5))
	}
	if cs.byDesign && cs.byEnergy {
		p.Design = Some(int64(cs.sum.design/cs.sum.perMWh + 0.5))
	}
	if cs.sum.cycles > 0 { // 0 is what those say that do not count
		p.Cycles = Some(cs.sum.cycles)
	}
	// One that discharges or charges tells what the machine does.
	for _, s := range []BatteryState{Discharging, Charging, Idle, Full} {
		if cs.states[s] > 0 {
			p.State = Some(s)
			break
		}
	}
	return p
}
