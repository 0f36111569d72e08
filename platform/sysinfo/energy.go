package sysinfo

// energy fills Full and Design, in milliwatt hours. Amounts that cannot be such
// are told in another unit: some batteries know only shares of themselves.
func (p *Power) energy(full, design float64) {
	const least, most = 1000, 1e6 // a phone's 3 Wh to four times what may fly
	if full >= least && full <= most {
		p.Full = Some(int64(full + 0.5))
	}
	if design >= least && design <= most {
		p.Design = Some(int64(design + 0.5))
	}
}

// charger tells from the source and the state what the power supply does.
func (p *Power) charger() {
	source, ok := p.Source.Get()
	if !ok {
		p.Charger = None[Charger](p.Source.Why)
		return
	}
	state, _ := p.State.Get()
	switch {
	case source == Battery:
		p.Charger = Some(ChargerDisconnected)
	case state == Discharging:
		p.Charger = Some(ChargerTooWeak)
	default:
		p.Charger = Some(ChargerConnected)
	}
}
