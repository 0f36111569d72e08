package health

import (
	"errors"
	"time"

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

// list collects what a look tells. Each reading passes the table's check or is
// left out, so nothing else can leave.
type list struct {
	rs    []*hmpb.Reading
	count map[uint32]int // instances so far
}

// readings is what the machine's snapshot and the agent itself have to tell.
func readings(s sysinfo.Snapshot, o own) []*hmpb.Reading {
	l := &list{count: make(map[uint32]int)}
	l.cpu(s.CPU)
	l.memory(s.Memory)
	l.pressure(s.Pressure)
	l.volumes(s.Volumes)
	l.disks(s.Disks)
	l.power(s.Power)
	l.temperatures(s.Temperatures)
	l.fans(s.Fans)
	l.links(s.Links)
	yesNo(l, reading.Metered, s.Metered)
	l.boot(s)
	l.identity(s.Identity)
	l.updates(s)
	l.protection(s.Protection)
	l.crashes(s.Crashes)
	l.printers(s.Printers)
	l.self(s.Self)
	l.own(o)
	return l.rs
}

// fine keeps of rs what blocks hold, in rs' own memory.
func fine(rs []*hmpb.Reading) []*hmpb.Reading {
	out := rs[:0]
	for _, r := range rs {
		if row, ok := reading.ByID(r.GetId()); ok && row.Retain == reading.Fine {
			out = append(out, r)
		}
	}
	return out
}

func (l *list) number(id uint32, instance string, o sysinfo.Opt[int64]) {
	v, ok := o.Get()
	if !ok {
		l.absent(id, instance, o.Why)
		return
	}
	m := &hmpb.Reading{}
	m.SetNumber(v)
	l.add(id, instance, m)
}

func (l *list) time(id uint32, o sysinfo.Opt[time.Time]) {
	l.number(id, "", convert(o, time.Time.UnixMilli))
}

// text is for texts and codes.
func text[T ~string](l *list, id uint32, instance string, o sysinfo.Opt[T]) {
	v, ok := o.Get()
	if !ok {
		l.absent(id, instance, o.Why)
		return
	}
	m := &hmpb.Reading{}
	m.SetText(string(v))
	l.add(id, instance, m)
}

func yesNo(l *list, id uint32, o sysinfo.Opt[bool]) { choice(l, id, "", o, "yes", "no") }

// choice tells a bool as one of two codes.
func choice(l *list, id uint32, instance string, o sysinfo.Opt[bool], yes, no string) {
	text(l, id, instance, convert(o, func(v bool) string {
		if v {
			return yes
		}
		return no
	}))
}

// convert makes another value of one that is there.
func convert[A, B any](o sysinfo.Opt[A], f func(A) B) sysinfo.Opt[B] {
	v, ok := o.Get()
	if !ok {
		return sysinfo.None[B](o.Why)
	}
	return sysinfo.Some(f(v))
}

// each tells the things of a group one by one, or, where the group could not be
// read, that its readings ids are absent.
func each[T any](l *list, o sysinfo.Opt[[]T], tell func(T), ids ...uint32) {
	things, ok := o.Get()
	if !ok {
		for _, id := range ids {
			l.absent(id, "", o.Why)
		}
	}
	for _, v := range things {
		tell(v)
	}
}

// absent adds a reading without a value; one that was not read is not told.
func (l *list) absent(id uint32, instance string, why sysinfo.Absence) {
	if a, ok := absences[why]; ok {
		m := &hmpb.Reading{}
		m.SetAbsent(a)
		l.add(id, instance, m)
	}
}

// add is the one way into a list. A number or code outside the table's range
// becomes absent; what has another fault (a text with control characters, an
// instance too many, a number that the table does not hold) is left out.
func (l *list) add(id uint32, instance string, m *hmpb.Reading) {
	m.SetId(id)
	if instance != "" { // an empty one would be sent too, two bytes in most readings
		m.SetInstance(instance)
	}
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
