package health

import (
	"errors"

	"hausmeister/platform/sysinfo"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// key is one row of a State.
type key struct {
	id       uint32
	instance string
}

func byKey(rs []*hmpb.Reading) map[key]*hmpb.Reading {
	m := make(map[key]*hmpb.Reading, len(rs))
	for _, r := range rs {
		m[key{r.GetId(), r.GetInstance()}] = r
	}
	return m
}

// moved says whether anything differs from what was told by more than its dead
// band; a reading that came, went or changed its reason to be absent did.
func moved(told map[key]*hmpb.Reading, now []*hmpb.Reading) bool {
	if len(told) != len(now) {
		return true
	}
	for _, n := range now {
		t := told[key{n.GetId(), n.GetInstance()}]
		if t == nil || t.WhichValue() != n.WhichValue() || t.GetText() != n.GetText() || t.GetAbsent() != n.GetAbsent() {
			return true
		}
		row, _ := reading.ByID(n.GetId())
		if n.HasNumber() && row.Moved(t.GetNumber(), n.GetNumber()) {
			return true
		}
	}
	return false
}

// absences gives the wire's words for sysinfo's.
var absences = map[sysinfo.Absence]hmpb.Absent{
	sysinfo.NoHardware:   hmpb.Absent_ABSENT_NO_HARDWARE,
	sysinfo.NotSupported: hmpb.Absent_ABSENT_NOT_SUPPORTED,
	sysinfo.Denied:       hmpb.Absent_ABSENT_DENIED,
	sysinfo.TimedOut:     hmpb.Absent_ABSENT_TIMEOUT,
	sysinfo.Failed:       hmpb.Absent_ABSENT_FAILED,
}

// list collects what a State tells. Each reading passes the table's check or is
// left out, so nothing else can leave.
type list struct {
	rs    []*hmpb.Reading
	count map[uint32]int // instances so far
}

// readings is the State for a snapshot.
func readings(s sysinfo.Snapshot) []*hmpb.Reading {
	l := &list{count: make(map[uint32]int)}
	l.number(reading.CPUUsed, "", s.CPU.Used)
	l.number(reading.CPUCores, "", s.CPU.Cores)
	l.number(reading.Load1, "", s.CPU.Load1)
	l.number(reading.MemoryTotal, "", s.Memory.Total)
	l.number(reading.MemoryUsed, "", s.Memory.Used)
	l.number(reading.SwapTotal, "", s.Memory.SwapTotal)
	l.number(reading.SwapUsed, "", s.Memory.SwapUsed)
	l.volumes(s.Volumes)
	l.number(reading.BatteryCharge, "", s.Power.Charge)
	text(l, reading.BatteryState, s.Power.State)
	l.number(reading.BatteryHealth, "", s.Power.Health)
	l.number(reading.BatteryCycles, "", s.Power.Cycles)
	text(l, reading.PowerSource, s.Power.Source)
	l.temperatures(s.Temperatures)
	l.links(s.Links)
	boot := sysinfo.None[int64](s.BootTime.Why)
	if t, ok := s.BootTime.Get(); ok {
		boot = sysinfo.Some(t.UnixMilli())
	}
	l.number(reading.BootTime, "", boot)
	text(l, reading.OSName, s.Identity.OSName)
	text(l, reading.OSBuild, s.Identity.OSBuild)
	text(l, reading.Architecture, s.Identity.Architecture)
	text(l, reading.Manufacturer, s.Identity.Manufacturer)
	text(l, reading.Model, s.Identity.Model)
	text(l, reading.Serial, s.Identity.Serial)
	l.number(reading.AgentMemory, "", s.Self.Memory)
	l.number(reading.AgentCPU, "", s.Self.CPU)
	return l.rs
}

func (l *list) volumes(o sysinfo.Opt[[]sysinfo.Volume]) {
	vs, ok := o.Get()
	if !ok {
		l.absent(reading.VolumeTotal, o.Why)
		l.absent(reading.VolumeFree, o.Why)
	}
	for _, v := range vs {
		l.number(reading.VolumeTotal, v.Name, v.Total)
		l.number(reading.VolumeFree, v.Name, v.Free)
	}
}

func (l *list) temperatures(o sysinfo.Opt[[]sysinfo.Temperature]) {
	ts, ok := o.Get()
	if !ok {
		l.absent(reading.Temperature, o.Why)
	}
	for _, t := range ts {
		l.number(reading.Temperature, t.Place, sysinfo.Some(t.MilliCelsius))
	}
}

func (l *list) links(o sysinfo.Opt[[]sysinfo.Link]) {
	ls, ok := o.Get()
	if !ok {
		l.absent(reading.LinkState, o.Why)
	}
	for _, k := range ls {
		state := "down"
		if k.Up {
			state = "up"
		}
		m := &hmpb.Reading{}
		m.SetText(state)
		l.add(reading.LinkState, k.Name, m)
		if k.Up { // no speed without a link, and no reason to give for that
			l.number(reading.LinkSpeed, k.Name, k.Speed)
		}
	}
}

func (l *list) number(id uint32, instance string, o sysinfo.Opt[int64]) {
	v, ok := o.Get()
	if !ok {
		l.absentOf(id, instance, o.Why)
		return
	}
	m := &hmpb.Reading{}
	m.SetNumber(v)
	l.add(id, instance, m)
}

func text[T ~string](l *list, id uint32, o sysinfo.Opt[T]) {
	v, ok := o.Get()
	if !ok {
		l.absent(id, o.Why)
		return
	}
	m := &hmpb.Reading{}
	m.SetText(string(v))
	l.add(id, "", m)
}

func (l *list) absent(id uint32, why sysinfo.Absence) { l.absentOf(id, "", why) }

// absentOf adds a reading without a value; one that was not read is not told.
func (l *list) absentOf(id uint32, instance string, why sysinfo.Absence) {
	if a, ok := absences[why]; ok {
		m := &hmpb.Reading{}
		m.SetAbsent(a)
		l.add(id, instance, m)
	}
}

// add is the one way into a State. A number or code outside the table's range
// becomes absent; what has another fault (a text with control characters, an
// instance too many) is left out.
func (l *list) add(id uint32, instance string, m *hmpb.Reading) {
	m.SetId(id)
	m.SetInstance(instance)
	err := reading.Check(m)
	if errors.Is(err, reading.ErrRange) {
		m.SetAbsent(hmpb.Absent_ABSENT_OUT_OF_RANGE)
		err = reading.Check(m)
	}
	if err != nil || l.count[id] >= reading.MaxInstances {
		return
	}
	l.count[id]++
	l.rs = append(l.rs, m)
}
