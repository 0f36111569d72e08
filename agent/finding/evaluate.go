package finding

import (
	"math"
	"slices"
	"time"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// A verdict is what an evaluator makes of one instance: the value that a rule's
// levels are held against, and the arguments for a raise, in their order.
type verdict struct {
	instance string
	value    int64
	args     []any // int64 or string
}

// An evaluator looks at what is there. ok false means that it cannot be judged
// now, and that this says nothing; what is left out has no value.
type evaluator func(v *view) (seen []verdict, ok bool)

// number is a reading as it is.
func number(id uint32) evaluator {
	return func(v *view) (seen []verdict, ok bool) {
		for instance, r := range v.of(id) {
			seen = append(seen, verdict{instance, r.GetNumber(), []any{r.GetNumber()}})
		}
		return seen, true
	}
}

// rank is a code by how bad it is; 0 is good. The code is the argument, where the finding has one.
func rank(id uint32, ranks map[string]int64) evaluator {
	return func(v *view) (seen []verdict, ok bool) {
		for instance, r := range v.of(id) {
			if n, known := ranks[r.GetText()]; known {
				seen = append(seen, verdict{instance, n, []any{r.GetText()}})
			}
		}
		return seen, true
	}
}

// distance is how far a number is from 0.
func distance(id uint32) evaluator {
	return func(v *view) (seen []verdict, ok bool) {
		for instance, r := range v.of(id) {
			n := r.GetNumber()
			seen = append(seen, verdict{instance, max(n, -n), []any{n}})
		}
		return seen, true
	}
}

// overLimit is how far a number is above the limit of its instance; what has no
// limit is not looked at.
func overLimit(id uint32, limits map[string]int64) evaluator {
	return func(v *view) (seen []verdict, ok bool) {
		for instance, limit := range limits {
			if n, has := v.number(id, instance); has {
				seen = append(seen, verdict{instance, n - limit, []any{n}})
			}
		}
		return seen, true
	}
}

// roomLeft is the free space of volumes in permille of their size.
func roomLeft(v *view) (seen []verdict, ok bool) {
	for instance := range v.of(reading.VolumeFree) {
		free, _ := v.number(reading.VolumeFree, instance)
		total, has := v.number(reading.VolumeTotal, instance)
		if has && !v.sealed(instance) {
			seen = append(seen, verdict{instance, permille(free, total), []any{free, total}})
		}
	}
	return seen, true
}

func permille(part, whole int64) int64 {
	return int64(math.Floor(float64(part) / float64(max(whole, 1)) * 1000))
}

// inodesLeft leaves sealed volumes out.
func inodesLeft(v *view) (seen []verdict, ok bool) {
	all, _ := number(reading.VolumeInodesFree)(v)
	return slices.DeleteFunc(all, func(x verdict) bool { return v.sealed(x.instance) }), true
}

// daysToFull is when the system volume is full at the latest speed, with the
// error on the safe side: days plus error must be below the limit.
func daysToFull(v *view) (seen []verdict, ok bool) {
	name := v.systemVolume()
	if name == "" {
		return nil, true
	}
	days, stderr, falling := v.w.trend.project(v.w.today())
	if !falling || days+stderr >= far {
		return []verdict{{name, far, nil}}, true
	}
	d, e := int64(math.Round(days)), int64(math.Ceil(stderr))
	return []verdict{{name, int64(math.Ceil(days + stderr)), []any{d, e}}}, true
}

// turnedReadOnly is 1 for volumes that took data once and no longer do. What was
// never writable (sealed system volumes of macOS, images) is as it should be.
func turnedReadOnly(v *view) (seen []verdict, ok bool) {
	for instance, r := range v.of(reading.VolumeMode) {
		if v.w.writable[instance] {
			seen = append(seen, verdict{instance, truth(r.GetText() == "read_only"), nil})
		}
	}
	return seen, true
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// stalledMemory is the share of memory in use in permille; where the system says
// how long programs wait for memory (Linux), full memory without waiting is a
// full cache and counts for nothing.
func stalledMemory(v *view) (seen []verdict, ok bool) {
	used, hasUsed := v.number(reading.MemoryUsed, "")
	total, hasTotal := v.number(reading.MemoryTotal, "")
	if !hasUsed || !hasTotal {
		return nil, true
	}
	value := permille(used, total)
	if stalled, has := v.number(reading.Pressure, "memory"); has && stalled < 20 {
		value = 0
	}
	return []verdict{{"", value, []any{used, total}}}, true
}

// slowedDown is 2 while the processor is throttled on mains, 0 when it runs
// freely and 1 in between. On battery it is slowed down to save power.
func slowedDown(v *view) (seen []verdict, ok bool) {
	if v.text(reading.PowerSource, "") == "battery" {
		return nil, false
	}
	events, hasEvents := v.number(reading.CPUThrottled, "")
	limit, hasLimit := v.number(reading.CPUSpeedLimit, "")
	switch {
	case !hasEvents && !hasLimit:
		return nil, true
	case hasEvents && events > 0, hasLimit && limit < 700:
		return []verdict{{"", 2, nil}}, true
	case hasLimit && limit < 850:
		return []verdict{{"", 1, nil}}, true
	}
	return []verdict{{"", 0, nil}}, true
}

// bootsJudged is how many boots slow_boot looks at: one with updates is slow.
const bootsJudged = 3

// medianBoot is the middle one of the last boots.
func medianBoot(v *view) (seen []verdict, ok bool) {
	if len(v.w.boots) < bootsJudged {
		return nil, true
	}
	m := slices.Sorted(slices.Values(v.w.boots))[bootsJudged/2]
	return []verdict{{"", m, []any{m}}}, true
}

// daysPast is how many days ago a date was.
func daysPast(id uint32) evaluator {
	return func(v *view) (seen []verdict, ok bool) {
		date, has := v.number(id, "")
		if !has {
			return nil, true
		}
		days, ok := v.daysSince(date)
		return []verdict{{"", days, []any{date}}}, ok
	}
}

// daysTo is how many days a date is away; one that is past is another finding's.
func daysTo(id uint32) evaluator {
	return func(v *view) (seen []verdict, ok bool) {
		seen, ok = daysPast(id)(v)
		for i := range seen {
			if seen[i].value = -seen[i].value; seen[i].value < 0 {
				seen[i].value = far
			}
		}
		return seen, ok
	}
}

// updatesOverdue is how many days ago the last update was while security
// updates wait; others may wait a month longer. Where no date is known, the last
// one that was counts, or since when updates have been seen to wait.
func updatesOverdue(v *view) (seen []verdict, ok bool) {
	security, none := v.updatesWait()
	switch {
	case none:
		return []verdict{{"", 0, []any{int64(0)}}}, true
	case v.w.updated == 0:
		return nil, true
	}
	days, ok := v.daysSince(v.w.updated)
	if !ok {
		return nil, false
	}
	days = max(days, 0)
	value := days - 30
	if security {
		value = days
	}
	return []verdict{{"", value, []any{days}}}, true
}

// patternsAge is the age of the virus patterns in days. It is reckoned by the
// device's clock, so a wrong one says nothing.
func patternsAge(v *view) (seen []verdict, ok bool) {
	age, has := v.number(reading.AntivirusAge, "")
	if !has {
		return nil, true
	}
	if off, known := v.number(reading.ClockOffset, ""); !known || max(off, -off) > int64(day/time.Millisecond) {
		return nil, false
	}
	days := age / int64(day/time.Second)
	return []verdict{{"", days, []any{days}}}, true
}

// missing is 1 for each program that the device must have and has not.
func missing(v *view) (seen []verdict, ok bool) {
	s := &v.w.software
	if s.installed == nil {
		return nil, false
	}
	for _, w := range s.standard {
		_, has := s.installed[w.name]
		seen = append(seen, verdict{w.name, truth(!has), nil})
	}
	return seen, true
}

// old is 1 for each program that is there, older than the device must have it.
func old(v *view) (seen []verdict, ok bool) {
	s := &v.w.software
	if s.installed == nil {
		return nil, false
	}
	for _, w := range s.standard {
		installed := s.installed[w.name]
		tooOld := installed != "" && w.least != "" && !atLeast(installed, w.least)
		seen = append(seen, verdict{w.name, truth(tooOld), []any{installed, w.least}})
	}
	return seen, true
}

func asked(v *view, instance string) bool {
	return v.w.software.installed == nil || v.w.software.asked(instance)
}

// fact is how the agent itself is.
func fact(f func(v *view) bool) evaluator {
	return func(v *view) ([]verdict, bool) { return []verdict{{"", truth(f(v)), nil}}, true }
}

func storeFailing(v *view) bool   { return v.agent.StoreFailing }
func readingsHang(v *view) bool   { return len(v.agent.Hanging) > 0 }
func reportsDropped(v *view) bool { return v.w.dropAge > 0 && v.w.age-v.w.dropAge < day }

// The ranks of codes.
var (
	offOrPartly = map[string]int64{"on": 0, "partly": 1, "off": 2}
	healths     = map[string]int64{"ok": 0, "warning": 1, "failing": 2}
	yes         = map[string]int64{"no": 0, "yes": 1}
)

const (
	notice   = hmpb.Severity_SEVERITY_NOTICE
	warning  = hmpb.Severity_SEVERITY_WARNING
	critical = hmpb.Severity_SEVERITY_CRITICAL
)
