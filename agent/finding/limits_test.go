package finding_test

import (
	"slices"
	"testing"
	"time"

	words "hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// limit is one level of a rule: bad is the first value that reaches it, ok the
// one beside it; keep is the last value on the way back at which it stays, gone
// the one beside that.
type limit struct {
	code, instance      string
	severity            hmpb.Severity
	set                 func(d *device, n int64)
	ok, bad, keep, gone int64
}

func reads(id uint32, instance string) func(*device, int64) {
	return func(d *device, n int64) { d.number(id, instance, n) }
}

// supportEnded was n whole days before the collector's now.
func supportEnded(d *device, n int64) {
	d.number(reading.OSSupportEnd, "", dawn.Add(d.now-time.Duration(n)*day-time.Hour).UnixMilli())
}

// updatedBefore was n whole days before the collector's now, and security updates
// wait.
func updatedBefore(d *device, n int64) {
	d.number(reading.UpdatesLast, "", dawn.Add(d.now-time.Duration(n)*day-time.Hour).UnixMilli())
	d.number(reading.UpdatesSecurity, "", 2)
}

// ordinaryBefore is updatedBefore, but no security update waits.
func ordinaryBefore(d *device, n int64) {
	updatedBefore(d, n)
	d.number(reading.UpdatesSecurity, "", 0)
	d.number(reading.UpdatesPending, "", 2)
}

// clockWrong is n milliseconds or, by the jitter of measuring, up to six more.
func clockWrong(d *device, n int64) { d.wrong = -time.Duration(n) * time.Millisecond }

// bootsTook gives three boots, the middle one of which took n.
func bootsTook(d *device, n int64) {
	if d.values[slot{reading.BootDuration, ""}].GetNumber() == n {
		return
	}
	for _, ms := range []int64{n / 2, 2 * n, n} {
		d.number(reading.BootDuration, "", ms)
		d.look(time.Minute)
	}
}

var limits = []limit{
	{words.DiskLow, "/", warning, func(d *device, n int64) { volume(n*100*miB, 100_000*miB)(d) }, 100, 99, 119, 120},
	{words.DiskLow, "/", critical, func(d *device, n int64) { volume(n*100*miB, 100_000*miB)(d) }, 30, 29, 49, 50},
	{words.InodesLow, "/", warning, reads(reading.VolumeInodesFree, "/"), 50, 49, 79, 80},
	{words.BatteryWorn, "", notice, reads(reading.BatteryHealth, ""), 700, 699, 729, 730},
	{words.BatteryWorn, "", warning, reads(reading.BatteryHealth, ""), 500, 499, 529, 530},
	{words.DiskWear, "disk", notice, reads(reading.DiskWear, "disk"), 799, 800, 780, 779},
	{words.DiskWear, "disk", warning, reads(reading.DiskWear, "disk"), 949, 950, 930, 929},
	{words.VolumeErrors, "/", warning, reads(reading.VolumeErrors, "/"), 0, 1, 1, 0},
	{words.MemoryPressure, "", notice, func(d *device, n int64) { memory(n*miB, 1000*miB)(d) }, 929, 930, 880, 879},
	{words.Hot, "disk", warning, reads(reading.Temperature, "disk"), 69_999, 70_000, 62_000, 61_999},
	{words.Hot, "disk", critical, reads(reading.Temperature, "disk"), 79_999, 80_000, 72_000, 71_999},
	{words.SlowBoot, "", notice, bootsTook, 179_999, 180_000, 120_000, 119_999},
	{words.SlowBoot, "", warning, bootsTook, 599_999, 600_000, 420_000, 419_999},
	{words.OSUnsupported, "", warning, supportEnded, 0, 1, 1, 0},
	{words.OSUnsupported, "", critical, supportEnded, 364, 365, 365, 364},
	{words.OSSupportEnds, "", notice, func(d *device, n int64) { supportEnded(d, -n) }, 180, 179, 189, 190},
	{words.OSSupportEnds, "", warning, func(d *device, n int64) { supportEnded(d, -n) }, 60, 59, 69, 70},
	{words.UpdatesStuck, "", notice, updatedBefore, 29, 30, 14, 13},
	{words.UpdatesStuck, "", warning, updatedBefore, 59, 60, 45, 44},
	{words.UpdatesStuck, "", notice, ordinaryBefore, 59, 60, 44, 43},
	{words.Throttled, "", notice, reads(reading.CPUSpeedLimit, ""), 700, 699, 849, 850},
	{words.ClockOff, "", warning, clockWrong, 119_990, 120_000, 60_000, 59_990},
	{words.ClockOff, "", critical, clockWrong, 86_399_990, 86_400_000, 3_600_000, 3_599_990},
	{words.AntivirusStale, "", warning, func(d *device, n int64) { d.number(reading.AntivirusAge, "", n*86_400) }, 6, 7, 3, 2},
	{words.SystemCrashes, "", warning, reads(reading.SystemCrashes, ""), 2, 3, 2, 1},
	{words.SystemCrashes, "", critical, reads(reading.SystemCrashes, ""), 9, 10, 6, 5},
	{words.ProgramCrashes, "", notice, reads(reading.ProgramCrashes, ""), 19, 20, 10, 9},
	{words.HardPowerOffs, "", notice, reads(reading.HardPowerOffs, ""), 4, 5, 3, 2},
	{words.HardPowerOffs, "", warning, reads(reading.HardPowerOffs, ""), 14, 15, 9, 8},
	{words.AgentUnwell, words.UnwellMemory, notice, reads(reading.AgentMemory, ""), 60*miB - 1, 60 * miB, 40 * miB, 40*miB - 1},
	{words.AgentUnwell, words.UnwellCPU, notice, reads(reading.AgentCPU, ""), 9_999, 10_000, 5_000, 4_999},
}

// stays holds a value for some time and gives what was told of the limit's code.
func (l limit) stays(d *device, n int64, lasts time.Duration) (out []told) {
	for end := d.now + lasts; d.now < end; {
		l.set(d, n)
		out = append(out, d.look(10*time.Minute)...)
	}
	return slices.DeleteFunc(out, func(x told) bool { return x.m.GetCode() != l.code || x.m.GetInstance() != l.instance })
}

// TestLimits: each level of a rule begins and ends where the table says, not one
// beside it.
func TestLimits(t *testing.T) {
	for _, l := range limits {
		t.Run(row{code: l.code, instance: l.instance, severity: l.severity}.name(), func(t *testing.T) {
			d := newDevice(t)
			for _, x := range l.stays(d, l.ok, 2*day) {
				if x.m.GetSeverity() >= l.severity {
					t.Errorf("at %d: %v, want nothing as bad as %v", l.ok, x, l.severity)
				}
			}
			d = newDevice(t)
			if m := only(t, "reached", l.stays(d, l.bad, 2*day)); m.GetSeverity() != l.severity {
				t.Errorf("at %d: raised as %v, want %v", l.bad, m.GetSeverity(), l.severity)
			}
			none(t, "on the way back", l.stays(d, l.keep, 4*day))
			if got := l.stays(d, l.gone, 4*day); len(got) == 0 || got[0].m.GetRaised() {
				t.Errorf("at %d on the way back: %v, want it cleared", l.gone, got)
			}
		})
	}
}

// TestDiskFullSoonLevels: a disk that fills by the same each day is worth a
// warning below 30 days and critical below 7.
func TestDiskFullSoonLevels(t *testing.T) {
	d := newDevice(t)
	d.look(0)
	const last = 40 // on this day half of a day's growth is free
	raised := map[hmpb.Severity]int64{}
	for today := range int64(last) {
		volume((last-today)*10*giB+5*giB, 4000*giB)(d)
		for _, x := range d.run(day, 10*time.Minute) {
			if x.m.GetCode() == words.DiskFullSoon && x.m.GetRaised() {
				raised[x.m.GetSeverity()] = today
			}
		}
	}
	// last+1 days from the first one on, so 29 are left on day 12 and 6 on day 35.
	if len(raised) != 2 || raised[warning] != last+1-29 || raised[critical] != last+1-6 {
		t.Errorf("raised on days %v, want the warning on day %d and critical on day %d", raised, last+1-29, last+1-6)
	}
}

// TestSettled: what a boot causes is looked at from ten minutes after it on, and
// has to hold from then.
func TestSettled(t *testing.T) {
	clock := func(wrong time.Duration) func(*device) { return func(d *device) { d.wrong = wrong } }
	all := append(slices.Clone(rows), row{code: words.ClockOff, severity: warning, good: clock(0), bad: clock(-3 * time.Hour), hold: minutes(15)})
	seen := map[string]bool{words.SlowBoot: true} // its values are boots
	for _, r := range all {
		if !slices.Contains(causedByBoot, r.code) || r.code == words.SlowBoot {
			continue
		}
		seen[r.code] = true
		t.Run(r.name(), func(t *testing.T) {
			d := newDevice(t, r.standard...)
			r.good(d)
			none(t, "good", d.run(minutes(20), time.Minute))
			d.reboot(10 * time.Hour)
			r.bad(d)
			none(t, "bad since the boot", d.run(minutes(9)+r.hold, time.Minute))
			if m := only(t, "ten minutes after it, and long enough", d.run(minutes(2), time.Minute)); m.GetCode() != r.code {
				t.Errorf("raised %v", m)
			}
		})
	}
	for _, code := range causedByBoot {
		if !seen[code] {
			t.Errorf("no trace shows when %s is looked at after a boot", code)
		}
	}
}
