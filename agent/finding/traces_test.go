package finding_test

import (
	"fmt"
	"testing"
	"time"

	words "hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/inventory"
	"hausmeister/proto/reading"
)

// TestClockJumps: whatever the device's clock does, nothing is raised, cleared
// or hurried.
func TestClockJumps(t *testing.T) {
	d := newDevice(t)
	both(ago(reading.OSSupportEnd, -200), ago(reading.UpdatesLast, 3), num(reading.UpdatesSecurity, "", 1),
		num(reading.AntivirusAge, "", 86_400), num(reading.BatteryHealth, "", 600))(d)
	d.run(2*time.Hour, time.Minute)
	if m := only(t, "a worn battery", d.all); m.GetCode() != words.BatteryWorn {
		t.Fatalf("raised %v", m)
	}
	for _, wrong := range []time.Duration{-20000 * day, 26000 * day, -time.Hour, 3 * day, 40 * day, 0} {
		// The offset that is known is the one from before the jump.
		d.synced, d.wrong = false, wrong
		none(t, fmt.Sprintf("jump to %v", wrong), d.run(30*time.Minute, time.Minute))
		// Measured anew, the clock is wrong, which is another trace's matter.
		d.synced = true
		none(t, fmt.Sprintf("offset of %v", wrong), d.run(10*time.Minute, time.Minute))
		d.wrong = 0
		none(t, "set right", d.run(10*time.Minute, time.Minute))
	}
	d.wrong = 40 * day
	d.run(30*time.Minute, time.Minute)
	if m := only(t, "clock off", d.all[1:]); m.GetCode() != words.ClockOff || m.GetSeverity() != critical || words.Values(m)["offset"].(int64) > -40*86_400_000+10 {
		t.Errorf("raised %v, want %s by -40 days", m, words.ClockOff)
	}
	d.wrong = 0
	d.run(16*time.Minute, time.Minute)
	if m := only(t, "clock right", d.all[2:]); m.GetRaised() {
		t.Errorf("raised %v", m)
	}
}

// TestRaisedBeforeTheCatchUp: how long a device slept is known only when the
// collector is heard again; a raise in between is none of the day before.
func TestRaisedBeforeTheCatchUp(t *testing.T) {
	d := newDevice(t)
	d.run(minutes(20), time.Minute)
	d.synced = false
	d.sleep(20 * time.Hour)
	r := rows[0]
	r.bad(d)
	only(t, "low", d.run(r.hold+minutes(5), time.Minute))
	r.good(d)
	only(t, "good", d.run(r.calm+minutes(5), time.Minute))
	d.synced = true
	r.bad(d)
	none(t, "low again", d.run(22*time.Hour, time.Minute))
	only(t, "the next day", d.run(2*time.Hour, time.Minute))
}

// TestNotSynced: what needs a date waits for the collector's.
func TestNotSynced(t *testing.T) {
	d := newDevice(t)
	d.synced = false
	both(ago(reading.OSSupportEnd, 100), ago(reading.UpdatesLast, 100), num(reading.AntivirusAge, "", 100*86_400))(d)
	none(t, "without the collector", d.run(3*day, 10*time.Minute))
	d.synced = true
	if got := d.run(2*day, 10*time.Minute); len(got) != 3 {
		t.Errorf("with the collector: %v, want three", got)
	}
}

// TestLevels: what gets worse is told at once, what gets better by a level when it has
// been that for a day, and worse again not before the day after.
func TestLevels(t *testing.T) {
	d := newDevice(t)
	volume(9*giB, 100*giB)(d)
	only(t, "low", d.run(time.Hour, time.Minute))
	worse := func(when string) {
		t.Helper()
		volume(1*giB, 100*giB)(d)
		got := d.run(20*time.Minute, time.Minute)
		if len(got) != 2 || got[0].m.GetRaised() || got[0].m.GetSeverity() != warning || !got[1].m.GetRaised() || got[1].m.GetSeverity() != critical {
			t.Errorf("%s: %v, want warning cleared and critical raised", when, got)
		}
	}
	worse("worse within the hour")
	volume(8*giB, 100*giB)(d)
	none(t, "better for a day", d.run(24*time.Hour, time.Minute))
	better := func(when string) {
		t.Helper()
		got := d.run(time.Hour, time.Minute)
		if len(got) != 2 || got[0].m.GetSeverity() != critical || got[1].m.GetSeverity() != warning {
			t.Errorf("%s: %v, want critical cleared and warning raised", when, got)
		}
	}
	better("better for longer")
	volume(1*giB, 100*giB)(d)
	none(t, "worse on the day that it was told to be better", d.run(22*time.Hour, time.Minute))
	volume(8*giB, 100*giB)(d)
	none(t, "better again", d.run(20*time.Hour, time.Minute))
	worse("worse again, more than a day after")
	volume(50*giB, 100*giB)(d)
	only(t, "good", d.run(time.Hour, time.Minute))
}

// TestFlappingBetweenLevels: values that come and go at the edge of the higher level
// raise each level once, in the first day, and then nothing for as long as it goes on:
// in minutes, and with more than a day at the lower level in between.
func TestFlappingBetweenLevels(t *testing.T) {
	for _, r := range []struct {
		name          string
		lower, higher func(*device)
		low, high     time.Duration
		most          int // raises in 20 days
	}{
		{"disk low", volume(31*giB/10, 100*giB), volume(29*giB/10, 100*giB), 40 * time.Minute, 40 * time.Minute, 2},
		{"disk low, far apart", volume(9*giB, 100*giB), volume(1*giB, 100*giB), 40 * time.Minute, 40 * time.Minute, 2},
		{"firewall", txt(reading.Firewall, "", "partly"), txt(reading.Firewall, "", "off"), 40 * time.Minute, 40 * time.Minute, 2},
		{"disk health", txt(reading.DiskHealth, "disk", "warning"), txt(reading.DiskHealth, "disk", "failing"), 26 * time.Hour, 30 * time.Minute, 21},
	} {
		t.Run(r.name, func(t *testing.T) {
			d := newDevice(t)
			for d.now < 20*day {
				r.lower(d)
				d.run(r.low, 2*time.Minute)
				r.higher(d)
				d.run(r.high, 2*time.Minute)
			}
			byDay, raises := map[time.Duration]int{}, 0
			for _, x := range d.all {
				if x.m.GetRaised() {
					raises++
					byDay[x.at/day]++
				}
			}
			if raises < 2 || raises > r.most {
				t.Errorf("%d raises in 20 days, want 2 to %d: %v", raises, r.most, d.all)
			}
			for n, raises := range byDay {
				if raises > 1 && n > 1 {
					t.Errorf("%d raises on day %d", raises, n+1)
				}
			}
		})
	}
}

// TestFlappingOverRestarts: at the edge between two levels the higher one stands also on
// a device that is shut down and started in between, and asleep at night.
func TestFlappingOverRestarts(t *testing.T) {
	for name, between := range map[string]func(d *device){
		"restarts": func(d *device) {
			if err := d.restart(nil); err != nil {
				t.Fatal(err)
			}
		},
		"reboots": func(d *device) { d.reboot(5 * time.Hour) },
		"sleeps":  func(d *device) { d.sleep(9 * time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t)
			for d.now < 20*day {
				volume(31*giB/10, 100*giB)(d)
				d.run(100*time.Minute, 2*time.Minute)
				between(d)
				volume(29*giB/10, 100*giB)(d)
				d.run(100*time.Minute, 2*time.Minute)
				between(d)
			}
			raises := 0
			for _, x := range d.all {
				if x.m.GetRaised() {
					raises++
				}
			}
			if raises != 2 {
				t.Errorf("%d raises in 20 days, want one for each level: %v", raises, d.all)
			}
		})
	}
}

// TestLessonsOnly: on a device that runs for a lesson at a time what is permanently so
// is found within a week, though it never runs for as long as a change must hold.
func TestLessonsOnly(t *testing.T) {
	d := newDevice(t, office...)
	bad := both(num(reading.AntivirusAge, "", 40*86_400), num(reading.BatteryHealth, "", 300), num(reading.DiskWear, "disk", 990),
		txt(reading.DiskEncryption, "", "off"), ago(reading.OSSupportEnd, 400), num(reading.UpdatesSecurity, "", 30), ago(reading.UpdatesLast, 90))
	for range 7 {
		for range 2 {
			bad(d)
			d.programs = []inventory.Program{{Name: "x", Version: "1"}}
			d.run(45*time.Minute, time.Minute)
			d.reboot(2 * time.Hour)
		}
		d.reboot(18*time.Hour + 30*time.Minute)
	}
	found := map[string]bool{}
	for _, x := range d.all {
		found[x.m.GetCode()] = found[x.m.GetCode()] || x.m.GetRaised()
	}
	for _, code := range []string{words.AntivirusStale, words.BatteryWorn, words.DiskWear, words.EncryptionOff, words.OSUnsupported, words.UpdatesStuck, words.SoftwareMissing} {
		if !found[code] {
			t.Errorf("%s was not raised in a week of lessons: %v", code, d.all)
		}
	}
}

// TestRaiseOnItsWayBack: what waits for the end of the day with its raise and is on its
// way to the better then, is not raised any more.
func TestRaiseOnItsWayBack(t *testing.T) {
	d := newDevice(t)
	low, high := volume(9*giB, 100*giB), volume(50*giB, 100*giB)
	low(d)
	only(t, "low", d.run(time.Hour, time.Minute))
	high(d)
	only(t, "high", d.run(time.Hour, time.Minute))
	low(d)
	none(t, "low again on the same day", d.run(22*time.Hour, time.Minute))
	high(d)
	none(t, "high again before the day is over", d.run(2*time.Hour, time.Minute))
}

// TestPatternsNeedTheTime: the age of virus patterns is reckoned by the device's clock.
func TestPatternsNeedTheTime(t *testing.T) {
	for wrong, want := range map[time.Duration]int{0: 1, day - time.Minute: 1, day + time.Minute: 0, -day - time.Minute: 0} {
		d := newDevice(t)
		d.wrong = wrong
		num(reading.AntivirusAge, "", 40*86_400)(d)
		n := 0
		for _, x := range d.run(4*time.Hour, time.Minute) {
			if x.m.GetCode() == words.AntivirusStale {
				n++
			}
		}
		if n != want {
			t.Errorf("a clock %v ahead: %d raises, want %d", wrong, n, want)
		}
	}
}

// TestGlimpses: what is bad for some minutes after each start and then mended is not
// made a fact by counting the starts.
func TestGlimpses(t *testing.T) {
	d := newDevice(t)
	for range 14 {
		num(reading.AntivirusAge, "", 40*86_400)(d)
		d.run(20*time.Minute, time.Minute)
		num(reading.AntivirusAge, "", 3600)(d)
		d.run(20*time.Minute, time.Minute)
		d.reboot(23 * time.Hour)
	}
	none(t, "mended each time", d.all)
}

// TestArgumentsStayFresh: what is raised is told anew once a day while its numbers
// move, also over a restart, and never while they stay.
func TestArgumentsStayFresh(t *testing.T) {
	d := newDevice(t)
	volume(9*giB, 100*giB)(d)
	only(t, "low", d.run(time.Hour, time.Minute))
	none(t, "level", d.run(5*day, 10*time.Minute))
	if len(d.again) != 0 {
		t.Errorf("told again though nothing moved: %v", d.again)
	}
	for i := range int64(5) {
		volume((9-i)*giB+giB/2, 100*giB)(d)
		none(t, "lower", d.run(12*time.Hour, 10*time.Minute))
		if err := d.restart(nil); err != nil {
			t.Fatal(err)
		}
		none(t, "lower, restarted", d.run(12*time.Hour, 10*time.Minute))
	}
	if n := len(d.again); n < 4 || n > 6 {
		t.Fatalf("told again %d times in five days of falling", n)
	}
	if free := words.Values(d.again[len(d.again)-1].m)["free"]; free != int64(5*giB+giB/2) {
		t.Errorf("last told %v bytes free", free)
	}
}

// TestLevelDisk: the projection ends when the fall does.
func TestLevelDisk(t *testing.T) {
	d := newDevice(t)
	for i := range int64(12) {
		volume((60-3*i)*giB, 200*giB)(d)
		d.run(day, time.Hour)
	}
	if len(d.all) != 1 || d.all[0].m.GetCode() != words.DiskFullSoon {
		t.Fatalf("raised %v", d.all)
	}
	if m := only(t, "level for ten days", d.run(10*day, time.Hour)); m.GetRaised() {
		t.Errorf("raised %v", m)
	}
}

// TestSpike: a short low within a longer one does not set the level.
func TestSpike(t *testing.T) {
	d := newDevice(t)
	volume(9*giB, 100*giB)(d)
	d.run(9*time.Minute, time.Minute)
	volume(1*giB, 100*giB)(d)
	if m := only(t, "nine minutes low, then very low", d.run(3*time.Minute, time.Minute)); m.GetSeverity() != warning {
		t.Errorf("raised as %v", m.GetSeverity())
	}
}

// TestAbsence: a value that is away keeps the state for a day and then clears
// it, with the reason.
func TestAbsence(t *testing.T) {
	for what, away := range map[string]func(d *device){
		"absent": func(d *device) { d.absent(reading.DiskHealth, "disk") },
		"gone":   func(d *device) { d.remove(reading.DiskHealth, "disk") },
		"group":  func(d *device) { d.remove(reading.DiskHealth, "disk"); d.absent(reading.DiskHealth, "") },
	} {
		t.Run(what, func(t *testing.T) {
			d := newDevice(t)
			away(d)
			none(t, "from the start", d.run(2*day, time.Hour))
			d.text(reading.DiskHealth, "disk", "failing")
			only(t, "failing", d.run(2*time.Hour, 5*time.Minute))
			away(d)
			none(t, "less than a day", d.run(23*time.Hour, 5*time.Minute))
			m := only(t, "a day", d.run(2*time.Hour, 5*time.Minute))
			if w, ok := words.Reason(m); m.GetRaised() || !ok || w.EN != "no longer measurable" {
				t.Errorf("told %v, want it cleared as vanished", m)
			}
			d.text(reading.DiskHealth, "disk", "failing")
			only(t, "back", d.run(time.Hour, 5*time.Minute))
			for range 10 {
				away(d)
				d.run(20*time.Hour, time.Hour)
				d.text(reading.DiskHealth, "disk", "failing")
				d.run(time.Hour, time.Hour)
			}
			if len(d.all) != 3 {
				t.Errorf("a sensor that comes and goes: %v", d.all[3:])
			}
		})
	}
}

// TestAbsenceDoesNotHurry: a look now and then is no fact.
func TestAbsenceDoesNotHurry(t *testing.T) {
	d := newDevice(t)
	d.number(reading.Temperature, "cpu", 99_000)
	d.look(0)
	d.sleep(12 * time.Hour)
	none(t, "hot before and after a night", d.run(3*time.Minute, time.Minute))
}

// TestDiskFullSoon: a volume that fills by 2 GiB a day.
func TestDiskFullSoon(t *testing.T) {
	d := newDevice(t)
	total := int64(200 * giB)
	free := func() int64 {
		// Up to 2 GiB, without a trend: by the hour, and by the day, which has an error.
		noise := int64(d.now/time.Hour)*7919%giB + int64(d.now/day)*3%5*giB/4
		return 100*giB - int64(d.now.Hours()/24*2*giB) + noise
	}
	var m *hmpb.Finding
	for m == nil {
		volume(free(), total)(d)
		for _, x := range d.look(10 * time.Minute) {
			m = x.m
		}
		if d.now > 60*day {
			t.Fatal("never raised")
		}
	}
	left := int64(50 - d.now/day)
	v := words.Values(m)
	days, stderr := v["days"].(int64), v["error_days"].(int64)
	if m.GetCode() != words.DiskFullSoon || m.GetInstance() != "/" || m.GetSeverity() != warning || days+stderr > 30 || days < left-3 || days > left+3 || stderr < 1 || stderr > 3 {
		t.Errorf("raised on day %d: %v, want about %d days", d.now/day, v, left)
	}
	t.Logf("raised on day %d: in %d ± %d days", d.now/day, days, stderr)
	// Cleaned up: the trend is over.
	for end := d.now + 4*day; d.now < end; {
		volume(150*giB, total)(d)
		d.look(10 * time.Minute)
	}
	if got := d.all[1:]; len(got) != 1 || got[0].m.GetRaised() {
		t.Errorf("after the clean-up: %v, want one clear", got)
	}
	// Steady use raises nothing.
	for end := d.now + 30*day; d.now < end; {
		volume(150*giB+int64(d.now/time.Hour)*7919%giB, total)(d)
		none(t, "steady", d.look(time.Hour))
	}
}

// TestDiskFullSoonOverNights: days count while the device is off, as the
// collector's time tells, and the trend outlives restarts.
func TestDiskFullSoonOverNights(t *testing.T) {
	d := newDevice(t)
	for i := range 12 {
		volume(int64(60-3*i)*giB, 200*giB)(d)
		d.run(7*time.Hour, 10*time.Minute)
		d.reboot(17 * time.Hour)
	}
	if m := only(t, "twelve school days", d.all); m.GetCode() != words.DiskFullSoon {
		t.Errorf("raised %v", m)
	}
}

func TestLargeAndSealedVolumes(t *testing.T) {
	d := newDevice(t)
	volume(400*giB, 4000*giB)(d)
	d.number(reading.VolumeFree, "other", 0)
	d.number(reading.VolumeTotal, "other", giB)
	d.number(reading.VolumeInodesFree, "other", 0)
	d.text(reading.VolumeMode, "other", "read_only")
	none(t, "a large volume and a full image", d.run(day, 10*time.Minute))
	d.text(reading.VolumeMode, "other", "read_write")
	if got := d.run(day, 10*time.Minute); len(got) != 2 {
		t.Errorf("a volume that takes data is full: %v, want two findings", got)
	}
	volume(399*giB, 4000*giB)(d) // TE-5 knows no size that is enough
	if m := only(t, "less than a tenth of a large volume", d.run(day, 10*time.Minute)); m.GetCode() != words.DiskLow || m.GetSeverity() != warning {
		t.Errorf("raised %v", m)
	}
}

// TestFullMemoryThatNobodyWaitsFor is a cache.
func TestFullMemoryThatNobodyWaitsFor(t *testing.T) {
	d := newDevice(t)
	memory(8*giB-1, 8*giB)(d)
	d.number(reading.Pressure, "memory", 0)
	none(t, "nobody waits", d.run(2*time.Hour, time.Minute))
	d.number(reading.Pressure, "memory", 19)
	none(t, "hardly anybody waits", d.run(2*time.Hour, time.Minute))
	d.number(reading.Pressure, "memory", 20)
	only(t, "waiting", d.run(2*time.Hour, time.Minute))
}

func TestThrottledOnBattery(t *testing.T) {
	d := newDevice(t)
	d.number(reading.CPUSpeedLimit, "", 300)
	d.text(reading.PowerSource, "", "battery")
	none(t, "to save power", d.run(5*time.Hour, time.Minute))
	d.text(reading.PowerSource, "", "mains")
	only(t, "on mains", d.run(time.Hour, time.Minute))
	d.text(reading.PowerSource, "", "battery")
	none(t, "on battery it is not judged", d.run(3*day, 10*time.Minute))
}

func TestOrdinaryUpdatesMayWait(t *testing.T) {
	d := newDevice(t)
	both(ago(reading.UpdatesLast, 50), num(reading.UpdatesPending, "", 5), num(reading.UpdatesSecurity, "", 0))(d)
	none(t, "50 days", d.run(2*day, 10*time.Minute))
	ago(reading.UpdatesLast, 65)(d)
	only(t, "65 days", d.run(2*day, 10*time.Minute))
	d.number(reading.UpdatesPending, "", 0)
	only(t, "none is waiting", d.run(day, 10*time.Minute))
}

// TestLastDayOfSupport: that support ends soon holds until its last day is over, and
// then it is over.
func TestLastDayOfSupport(t *testing.T) {
	d := newDevice(t)
	d.number(reading.OSSupportEnd, "", dawn.Add(2*day).UnixMilli())
	if m := only(t, "two days before", d.run(day, 10*time.Minute)); m.GetCode() != words.OSSupportEnds {
		t.Errorf("raised %v", m)
	}
	none(t, "up to the end of the last day", d.run(2*day-10*time.Minute, 10*time.Minute))
	over := map[string]bool{}
	for _, x := range d.run(3*time.Hour, 10*time.Minute) {
		over[x.m.GetCode()] = x.m.GetRaised()
	}
	if soon, told := over[words.OSSupportEnds]; !over[words.OSUnsupported] || soon || !told {
		t.Errorf("after the last day told %v, want one raised and the other cleared", over)
	}
}

// TestUpdatesWithoutADate: a device that never updates has no date of its last
// update, or loses it as its logs are rotated. It is raised all the same, over
// nights and restarts, and cleared only when none wait any more.
func TestUpdatesWithoutADate(t *testing.T) {
	days := func(d *device, n int) (out []told) {
		for range n {
			out = append(out, d.run(8*time.Hour, 10*time.Minute)...)
			d.reboot(16 * time.Hour)
		}
		return out
	}
	t.Run("never one", func(t *testing.T) {
		d := newDevice(t)
		both(num(reading.UpdatesPending, "", 9), num(reading.UpdatesSecurity, "", 2))(d)
		none(t, "29 days", days(d, 29))
		if m := only(t, "30 days and those that it must hold", days(d, 6)); m.GetCode() != words.UpdatesStuck || m.GetSeverity() != notice {
			t.Errorf("raised %v", m)
		}
		both(num(reading.UpdatesPending, "", 0), num(reading.UpdatesSecurity, "", 0))(d)
		if m := only(t, "updated", days(d, 3)); m.GetRaised() || len(m.GetArguments()) != 0 {
			t.Errorf("cleared %v, want it without a reason", m)
		}
		num(reading.UpdatesSecurity, "", 1)(d)
		none(t, "others wait, not yet for long", days(d, 29))
	})
	t.Run("date lost", func(t *testing.T) {
		d := newDevice(t)
		both(ago(reading.UpdatesLast, 40), num(reading.UpdatesSecurity, "", 2))(d)
		only(t, "40 days", d.run(2*day, 10*time.Minute))
		d.remove(reading.UpdatesLast, "")
		none(t, "the log is gone", days(d, 10))
		if got := days(d, 15); len(got) != 2 || got[1].m.GetSeverity() != warning {
			t.Errorf("later told %v, want it as a warning", got)
		}
	})
}

// TestDroppedReports: the queue gave up reports.
func TestDroppedReports(t *testing.T) {
	d := newDevice(t)
	d.run(time.Hour, time.Minute)
	d.agent.Dropped = 5
	if m := only(t, "dropped", d.run(time.Hour, time.Minute)); m.GetInstance() != words.UnwellSpool {
		t.Errorf("raised %v", m)
	}
	none(t, "the same day", d.run(20*time.Hour, time.Minute))
	only(t, "a day without", d.run(6*time.Hour, time.Minute))
}

func TestStandardSoftware(t *testing.T) {
	d := newDevice(t)
	d.programs = []inventory.Program{{Name: "Firefox", Version: "115.0"}, {Name: "firefox", Version: "128.0"}, {Name: "GIMP", Version: ""}}
	none(t, "nothing is known to be asked for", d.run(5*time.Hour, 10*time.Minute))
	d.w.Require([]*hmpb.StandardSoftware{
		standard("", "VLC"), standard("120", "Firefox"), standard("2.10", "gimp"), standard("1"), standard("", "bad\x1bname"), standard("", "", "x"), standard("", "VLC"),
	})
	if m := only(t, "VLC is missing", d.run(5*time.Hour, 10*time.Minute)); m.GetInstance() != "VLC" || m.GetCode() != words.SoftwareMissing {
		t.Errorf("raised %v", m)
	}
	if err := d.restart(nil); err != nil {
		t.Fatal(err)
	}
	none(t, "after a restart nothing is known", d.run(2*day, 10*time.Minute))
	d.w.Require([]*hmpb.StandardSoftware{})
	d.programs = []inventory.Program{}
	m := only(t, "no longer asked for", d.run(time.Hour, 10*time.Minute))
	if w, ok := words.Reason(m); m.GetRaised() || !ok || w.EN != "no longer asked for" {
		t.Errorf("told %v", m)
	}
}
