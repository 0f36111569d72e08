package web

import (
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// The cards of a device page: which readings stand together, and how.

func (s *sheet) memory() group {
	return s.group("memory", "memory", []uint32{reading.MemoryTotal, reading.MemoryUsed, reading.SwapTotal, reading.SwapUsed}, func() []block {
		return []block{{
			Figure: s.share("memory", reading.MemoryUsed, reading.MemoryTotal, "", "device.used_of"),
			Meter:  s.meter("memory", reading.MemoryUsed, reading.MemoryTotal, ""),
			Facts:  s.swap(),
		}}
	})
}

// swap is one line where there is none: how much of nothing is used is no fact.
func (s *sheet) swap() []fact {
	total, ok := s.all[reading.SwapTotal][""]
	if ok && (total.Absent == hmpb.Absent_ABSENT_NO_HARDWARE || total.Absent == hmpb.Absent_ABSENT_UNSPECIFIED && total.Number == 0) {
		return []fact{{s.word(total.Reading.Word), cell{total.Reading.Name, s.absent(s.say.Say("device.no_swap"))}}}
	}
	return s.facts("", reading.SwapUsed, reading.SwapTotal)
}

func (s *sheet) processor() group {
	return s.group("cpu", "cpu", []uint32{reading.CPUUsed, reading.CPUCores, reading.Load1, reading.Architecture}, func() []block {
		blocks := []block{{
			Figure: s.figure("cpu", reading.CPUUsed, "", s.say.Say("device.busy")),
			Meter:  s.permille("cpu", reading.CPUUsed, ""),
			Facts:  append(s.facts("", reading.Load1, reading.CPUCores, reading.Architecture), s.told("", reading.CPUSpeedLimit, reading.CPUThrottled)...),
		}}
		for _, number := range []uint32{reading.CPUCoreUsed, reading.Pressure} {
			if facts := s.each(number); len(facts) > 0 {
				row, _ := reading.ByID(number)
				blocks = append(blocks, block{Title: s.word(row.Word), Facts: facts})
			}
		}
		return blocks
	})
}

func (s *sheet) volumes() group {
	return s.group("volumes", "disk", []uint32{reading.VolumeTotal, reading.VolumeFree}, func() []block {
		var blocks []block
		for _, name := range s.instances(reading.VolumeTotal, reading.VolumeFree) {
			key := "volume." + short(name)
			blocks = append(blocks, block{
				Title:  name,
				Figure: s.share(key, reading.VolumeFree, reading.VolumeTotal, name, "device.free_of"),
				Meter:  s.meter(key, reading.VolumeFree, reading.VolumeTotal, name),
				Facts:  s.told(name, reading.VolumeMode, reading.VolumeInodesFree, reading.VolumeErrors),
			})
		}
		return blocks
	})
}

func (s *sheet) battery() group {
	return s.group("battery", "battery", []uint32{reading.BatteryCharge, reading.BatteryState, reading.BatteryHealth, reading.BatteryCycles}, func() []block {
		return []block{{
			Figure: s.figure("battery", reading.BatteryCharge, "", s.say.Say("device.charged")),
			Meter:  s.permille("battery", reading.BatteryCharge, ""),
			Facts: append(s.facts("", reading.BatteryState, reading.PowerSource, reading.BatteryHealth, reading.BatteryCycles),
				s.told("", reading.BatteryFull, reading.BatteryDesign, reading.Charger)...),
		}}
	})
}

func (s *sheet) temperatures() group {
	return s.group("temperature", "temperature", []uint32{reading.Temperature, reading.FanSpeed}, func() []block {
		return []block{{Facts: append(s.each(reading.Temperature), s.each(reading.FanSpeed)...)}}
	})
}

func (s *sheet) network() group {
	return s.group("network", "network", []uint32{reading.LinkState, reading.LinkSpeed}, func() []block {
		var blocks []block
		for _, name := range s.instances(reading.LinkState, reading.LinkSpeed) {
			blocks = append(blocks, block{Title: s.word(reading.InstanceWord(name)), Facts: append(s.facts(name, reading.LinkState, reading.LinkSpeed), s.told(name, reading.LinkSignal, reading.LinkErrors)...)})
		}
		if path := s.told("", reading.CollectorPath, reading.NetworkTrouble, reading.InspectionIssuer, reading.Metered); len(path) > 0 {
			blocks = append(blocks, block{Facts: path})
		}
		return blocks
	})
}

func (s *sheet) system() group {
	return s.group("system", "system", []uint32{reading.OSName, reading.OSBuild, reading.BootTime}, func() []block {
		return []block{
			{Facts: append(s.facts("", reading.OSName, reading.OSBuild), s.told("", reading.OSPatch, reading.OSSupportEnd, reading.SoftwareCount)...)},
			{Facts: append(s.facts("", reading.BootTime), s.told("", reading.BootDuration, reading.RestartPending, reading.UpdatesPending, reading.UpdatesSecurity, reading.UpdatesLast, reading.ClockOffset)...)},
		}
	})
}

func (s *sheet) agent() group {
	return s.group("agent", "activity", []uint32{reading.AgentMemory, reading.AgentCPU}, func() []block {
		return []block{{Facts: append(s.facts("", reading.AgentMemory, reading.AgentCPU), s.told("", reading.SpoolWaiting)...)}}
	})
}

// protection says of each guard also why it is not known: that is a fact too.
func (s *sheet) protection() group {
	of := []uint32{reading.DiskEncryption, reading.Firewall, reading.Antivirus, reading.AntivirusAge, reading.SecureBoot, reading.TPM}
	return s.group("protection", "shield", of, func() []block { return []block{{Facts: s.facts("", of...)}} })
}

func (s *sheet) disks() group {
	return s.group("disks", "disk", []uint32{reading.DiskHealth, reading.DiskWear, reading.DiskPowerOn}, func() []block {
		var blocks []block
		for _, name := range s.instances(reading.DiskHealth, reading.DiskWear, reading.DiskPowerOn) {
			blocks = append(blocks, block{Title: s.word(reading.InstanceWord(name)),
				Facts: s.told(name, reading.DiskHealth, reading.DiskWear, reading.DiskSpare, reading.DiskErrors, reading.DiskPowerOn)})
		}
		return blocks
	})
}

func (s *sheet) printers() group {
	if len(s.instances(reading.PrinterState)) == 0 {
		return group{} // most devices have none, and that is no news
	}
	return s.group("printers", "printer", []uint32{reading.PrinterState}, func() []block { return []block{{Facts: s.each(reading.PrinterState)}} })
}

func (s *sheet) crashes() group {
	of := []uint32{reading.SystemCrashes, reading.ProgramCrashes, reading.HardPowerOffs}
	if len(s.told("", of...)) == 0 {
		return group{}
	}
	return s.group("crashes", "activity", of, func() []block { return []block{{Facts: s.told("", of...)}} })
}
