package finding

import (
	"time"

	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// rule is one row: when a code is raised and cleared.
type rule struct {
	code string
	only string // the one instance of the code that this rule is about
	look evaluator
	// below: the value is bad when it is low.
	below  bool
	levels []level // worse ones later
	// hold is how long a worse value must stay before it counts, calm a better one.
	hold, calm time.Duration
	// boot: a boot causes it, so it is not judged within settle of one.
	boot bool
	// asked says whether the owner still asks for an instance; nil = always.
	asked func(v *view, instance string) bool
}

// level is reached at raise (at or above; below it where rule.below) and left
// at clear (below; at or above it where rule.below). What is between keeps its level.
type level struct {
	severity     hmpb.Severity
	raise, clear int64
}

// levelOf is the level that a value has, coming from one.
func (r *rule) levelOf(from int, value int64) int {
	for i := len(r.levels); i > from; i-- {
		if r.reaches(value, r.levels[i-1].raise) {
			return i
		}
	}
	for from > 0 && !r.reaches(value, r.levels[from-1].clear) {
		from--
	}
	return from
}

func (r *rule) reaches(value, limit int64) bool {
	if r.below {
		return value < limit
	}
	return value >= limit
}

// hottest are the limits of sensors in thousandths of a degree: where makers
// begin to slow down or warn, and batteries begin to suffer.
var hottest = map[string]int64{
	"cpu": 95_000, "gpu": 95_000, "disk": 70_000, "battery": 55_000, "wifi": 90_000, "case": 70_000,
}

const (
	miB    = 1 << 20
	minute = int64(time.Minute / time.Millisecond)
)

var rules = []rule{
	{
		code: finding.DiskLow, look: roomLeft, below: true, // permille; TE-5
		levels: []level{{warning, 100, 120}, {critical, 30, 50}},
		hold:   10 * time.Minute, calm: 30 * time.Minute,
	},
	{
		code: finding.InodesLow, look: inodesLeft, below: true, // permille
		levels: []level{{warning, 50, 80}},
		hold:   10 * time.Minute, calm: 30 * time.Minute,
	},
	{
		code: finding.DiskFullSoon, look: daysToFull, below: true, // days with their error
		levels: []level{{warning, 30, 45}, {critical, 7, 14}},
		hold:   2 * time.Hour, calm: 2 * time.Hour,
	},
	{
		code: finding.BatteryWorn, look: number(reading.BatteryHealth), below: true, // permille; TE-5
		levels: []level{{notice, 700, 730}, {warning, 500, 530}},
		hold:   time.Hour, calm: day,
	},
	{
		code: finding.DiskWear, look: number(reading.DiskWear), // permille of the promised life
		levels: []level{{notice, 800, 780}, {warning, 950, 930}},
		hold:   time.Hour, calm: time.Hour,
	},
	{
		code: finding.DiskFailing, look: rank(reading.DiskHealth, healths),
		levels: []level{{warning, 1, 1}, {critical, 2, 2}},
		hold:   10 * time.Minute, calm: day,
	},
	{
		code: finding.VolumeErrors, look: number(reading.VolumeErrors),
		levels: []level{{warning, 1, 1}},
		hold:   10 * time.Minute, calm: time.Hour,
	},
	{
		code: finding.VolumeReadOnly, look: turnedReadOnly, boot: true,
		levels: []level{{critical, 1, 1}},
		hold:   5 * time.Minute, calm: 10 * time.Minute,
	},
	{
		code: finding.MemoryPressure, look: stalledMemory, boot: true, // permille
		levels: []level{{notice, 930, 880}},
		hold:   30 * time.Minute, calm: 30 * time.Minute,
	},
	{
		code: finding.Hot, look: overLimit(reading.Temperature, hottest), boot: true, // above the limit
		levels: []level{{warning, 0, -8_000}, {critical, 10_000, 2_000}},
		hold:   15 * time.Minute, calm: 30 * time.Minute,
	},
	{
		code: finding.Throttled, look: slowedDown, boot: true,
		levels: []level{{notice, 2, 1}},
		hold:   30 * time.Minute, calm: 30 * time.Minute,
	},
	{
		code: finding.RestartPending, look: rank(reading.RestartPending, yes), boot: true,
		levels: []level{{notice, 1, 1}},
		hold:   3 * day, calm: 10 * time.Minute,
	},
	{
		code: finding.SlowBoot, look: medianBoot, boot: true, // milliseconds
		levels: []level{{notice, 3 * minute, 2 * minute}, {warning, 10 * minute, 7 * minute}},
		hold:   10 * time.Minute, calm: 10 * time.Minute,
	},
	{
		code: finding.OSUnsupported, look: daysPast(reading.OSSupportEnd), // days since the end, which is the last with support
		levels: []level{{warning, 1, 1}, {critical, 365, 365}},
		hold:   time.Hour, calm: time.Hour,
	},
	{
		code: finding.OSSupportEnds, look: daysTo(reading.OSSupportEnd), below: true, // days to the end
		levels: []level{{notice, 180, 190}, {warning, 60, 70}},
		hold:   time.Hour, calm: time.Hour,
	},
	{
		// A device that comes back from the holidays has a day to catch up.
		code: finding.UpdatesStuck, look: updatesOverdue, boot: true, // days since the last one
		levels: []level{{notice, 30, 14}, {warning, 60, 45}},
		hold:   day, calm: time.Hour,
	},
	{
		code: finding.EncryptionOff, look: rank(reading.DiskEncryption, offOrPartly), boot: true,
		levels: []level{{notice, 1, 1}, {warning, 2, 2}},
		hold:   time.Hour, calm: 30 * time.Minute,
	},
	{
		code: finding.FirewallOff, look: rank(reading.Firewall, offOrPartly), boot: true,
		levels: []level{{notice, 1, 1}, {warning, 2, 2}},
		hold:   30 * time.Minute, calm: 30 * time.Minute,
	},
	{
		code: finding.AntivirusOff, look: rank(reading.Antivirus, offOrPartly), boot: true,
		levels: []level{{notice, 1, 1}, {warning, 2, 2}},
		hold:   30 * time.Minute, calm: 30 * time.Minute,
	},
	{
		code: finding.AntivirusStale, look: patternsAge, boot: true, // days
		levels: []level{{warning, 7, 3}},
		hold:   2 * time.Hour, calm: 30 * time.Minute,
	},
	{
		// Sign-ins by Kerberos fail from 5 minutes on, certificates from a day on.
		code: finding.ClockOff, look: distance(reading.ClockOffset), boot: true, // milliseconds
		levels: []level{{warning, 2 * minute, minute}, {critical, 24 * 60 * minute, 60 * minute}},
		hold:   15 * time.Minute, calm: 15 * time.Minute,
	},
	{
		code: finding.SystemCrashes, look: number(reading.SystemCrashes), boot: true, // in 30 days
		levels: []level{{warning, 3, 2}, {critical, 10, 6}},
		hold:   10 * time.Minute, calm: time.Hour,
	},
	{
		code: finding.ProgramCrashes, look: number(reading.ProgramCrashes), boot: true, // in 30 days
		levels: []level{{notice, 20, 10}},
		hold:   10 * time.Minute, calm: time.Hour,
	},
	{
		code: finding.HardPowerOffs, look: number(reading.HardPowerOffs), boot: true, // in 30 days
		levels: []level{{notice, 5, 3}, {warning, 15, 9}},
		hold:   10 * time.Minute, calm: time.Hour,
	},
	{
		code: finding.SoftwareMissing, look: missing, boot: true, asked: asked,
		levels: []level{{warning, 1, 1}},
		hold:   2 * time.Hour, calm: 10 * time.Minute,
	},
	{
		code: finding.SoftwareOld, look: old, boot: true, asked: asked,
		levels: []level{{notice, 1, 1}},
		hold:   2 * time.Hour, calm: 10 * time.Minute,
	},
	{
		code: finding.AgentUnwell, only: finding.UnwellStore, look: fact(storeFailing),
		levels: []level{{warning, 1, 1}},
		hold:   10 * time.Minute, calm: 30 * time.Minute,
	},
	{
		code: finding.AgentUnwell, only: finding.UnwellSpool, look: fact(reportsDropped),
		levels: []level{{notice, 1, 1}},
		hold:   10 * time.Minute, calm: time.Hour,
	},
	{
		code: finding.AgentUnwell, only: finding.UnwellMemory, look: number(reading.AgentMemory), boot: true, // bytes; TE-6
		levels: []level{{notice, 60 * miB, 40 * miB}},
		hold:   30 * time.Minute, calm: 30 * time.Minute,
	},
	{
		code: finding.AgentUnwell, only: finding.UnwellCPU, look: number(reading.AgentCPU), boot: true, // millionths of a core; TE-6
		levels: []level{{notice, 10_000, 5_000}},
		hold:   time.Hour, calm: time.Hour,
	},
	{
		code: finding.AgentUnwell, only: finding.UnwellReadings, look: fact(readingsHang), boot: true,
		levels: []level{{notice, 1, 1}},
		hold:   time.Hour, calm: time.Hour,
	},
}
