package finding_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"hausmeister/agent/finding"
	words "hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/inventory"
	"hausmeister/proto/reading"
)

const (
	notice   = hmpb.Severity_SEVERITY_NOTICE
	warning  = hmpb.Severity_SEVERITY_WARNING
	critical = hmpb.Severity_SEVERITY_CRITICAL
)

// row is one rule of the table test: what makes things bad, worse and good.
type row struct {
	code, instance string
	severity       hmpb.Severity
	standard       []*hmpb.StandardSoftware
	good, bad      func(d *device)
	edge           func(d *device) // between raise and clear; nil: there is no between
	args           map[string]any
	hold, calm     time.Duration
}

func num(id uint32, instance string, n int64) func(*device) {
	return func(d *device) { d.number(id, instance, n) }
}

func txt(id uint32, instance, s string) func(*device) {
	return func(d *device) { d.text(id, instance, s) }
}

func both(fs ...func(*device)) func(*device) {
	return func(d *device) {
		for _, f := range fs {
			f(d)
		}
	}
}

func volume(free, total int64) func(*device) {
	return both(num(reading.VolumeFree, "/", free), num(reading.VolumeTotal, "/", total))
}

func memory(used, total int64) func(*device) {
	return both(num(reading.MemoryUsed, "", used), num(reading.MemoryTotal, "", total))
}

// ago is a date before or after now, by the true time.
func ago(id uint32, days int) func(*device) {
	return func(d *device) { d.number(id, "", dawn.Add(d.now).AddDate(0, 0, -days).UnixMilli()) }
}

func programs(list ...inventory.Program) func(*device) {
	return func(d *device) { d.programs = list }
}

func facts(f finding.Facts) func(*device) { return func(d *device) { d.agent = f } }

func boots(ms ...int64) func(*device) {
	return func(d *device) {
		for i, n := range ms {
			d.number(reading.BootDuration, "", n+int64(i)) // no two boots take the same time
			d.look(time.Minute)
		}
	}
}

var (
	office  = []*hmpb.StandardSoftware{standard("24.2", "LibreOffice", "libreoffice-common")}
	minutes = func(n int) time.Duration { return time.Duration(n) * time.Minute }
	endDay  = dawn.AddDate(0, 0, -1)
)

var rows = []row{
	{code: "disk_low", instance: "/", severity: warning, good: volume(120*giB/10, 100*giB), bad: volume(99*giB/10, 100*giB), edge: volume(11*giB, 100*giB),
		args: map[string]any{"free": int64(99 * giB / 10), "total": int64(100 * giB)}, hold: minutes(10), calm: minutes(30)},
	{code: "disk_low", instance: "/", severity: critical, good: volume(50*giB, 100*giB), bad: volume(2*giB, 100*giB),
		args: map[string]any{"free": int64(2 * giB), "total": int64(100 * giB)}, hold: minutes(10), calm: minutes(30)},
	{code: "inodes_low", instance: "/", severity: warning, good: num(reading.VolumeInodesFree, "/", 80), bad: num(reading.VolumeInodesFree, "/", 49), edge: num(reading.VolumeInodesFree, "/", 60),
		args: map[string]any{"free": int64(49)}, hold: minutes(10), calm: minutes(30)},
	{code: "battery_worn", severity: notice, good: num(reading.BatteryHealth, "", 730), bad: num(reading.BatteryHealth, "", 699), edge: num(reading.BatteryHealth, "", 715),
		args: map[string]any{"health": int64(699)}, hold: time.Hour, calm: day},
	{code: "battery_worn", severity: warning, good: num(reading.BatteryHealth, "", 1100), bad: num(reading.BatteryHealth, "", 300),
		args: map[string]any{"health": int64(300)}, hold: time.Hour, calm: day},
	{code: "disk_wear", instance: "disk", severity: notice, good: num(reading.DiskWear, "disk", 779), bad: num(reading.DiskWear, "disk", 800), edge: num(reading.DiskWear, "disk", 790),
		args: map[string]any{"wear": int64(800)}, hold: time.Hour, calm: time.Hour},
	{code: "disk_failing", instance: "disk", severity: warning, good: txt(reading.DiskHealth, "disk", "ok"), bad: txt(reading.DiskHealth, "disk", "warning"),
		args: map[string]any{"health": "warning"}, hold: minutes(10), calm: day},
	{code: "disk_failing", instance: "disk 2", severity: critical, good: txt(reading.DiskHealth, "disk 2", "ok"), bad: txt(reading.DiskHealth, "disk 2", "failing"),
		args: map[string]any{"health": "failing"}, hold: minutes(10), calm: day},
	{code: "volume_errors", instance: "/home", severity: warning, good: num(reading.VolumeErrors, "/home", 0), bad: num(reading.VolumeErrors, "/home", 3),
		args: map[string]any{"errors": int64(3)}, hold: minutes(10), calm: time.Hour},
	{code: "volume_read_only", instance: "/", severity: critical, good: txt(reading.VolumeMode, "/", "read_write"), bad: txt(reading.VolumeMode, "/", "read_only"),
		args: map[string]any{}, hold: minutes(5), calm: minutes(10)},
	{code: "memory_pressure", severity: notice, good: memory(7*giB, 8*giB), bad: memory(7900*miB, 8*giB), edge: memory(7400*miB, 8*giB),
		args: map[string]any{"used": int64(7900 * miB), "total": int64(8 * giB)}, hold: minutes(30), calm: minutes(30)},
	{code: "hot", instance: "cpu", severity: warning, good: num(reading.Temperature, "cpu", 86_999), bad: num(reading.Temperature, "cpu", 95_000), edge: num(reading.Temperature, "cpu", 90_000),
		args: map[string]any{"temperature": int64(95_000)}, hold: minutes(15), calm: minutes(30)},
	{code: "hot", instance: "battery", severity: critical, good: num(reading.Temperature, "battery", 30_000), bad: num(reading.Temperature, "battery", 66_000),
		args: map[string]any{"temperature": int64(66_000)}, hold: minutes(15), calm: minutes(30)},
	{code: "throttled", severity: notice, good: num(reading.CPUSpeedLimit, "", 1000), bad: num(reading.CPUSpeedLimit, "", 400), edge: num(reading.CPUSpeedLimit, "", 800),
		args: map[string]any{}, hold: minutes(30), calm: minutes(30)},
	{code: "throttled", severity: notice, good: num(reading.CPUThrottled, "", 0), bad: num(reading.CPUThrottled, "", 17),
		args: map[string]any{}, hold: minutes(30), calm: minutes(30)},
	{code: "restart_pending", severity: notice, good: txt(reading.RestartPending, "", "no"), bad: txt(reading.RestartPending, "", "yes"),
		args: map[string]any{}, hold: 3 * day, calm: minutes(10)},
	{code: "slow_boot", severity: notice, good: boots(30_000, 40_000, 35_000), bad: boots(200_000, 30_000, 190_000),
		args: map[string]any{"duration": int64(190_002)}, hold: minutes(10), calm: minutes(10)},
	{code: "os_unsupported", severity: warning, good: ago(reading.OSSupportEnd, -700), bad: func(d *device) { d.number(reading.OSSupportEnd, "", endDay.UnixMilli()) },
		args: map[string]any{"end": endDay.UnixMilli()}, hold: time.Hour, calm: time.Hour},
	{code: "os_support_ends", severity: notice, good: ago(reading.OSSupportEnd, -700), bad: func(d *device) { d.number(reading.OSSupportEnd, "", dawn.AddDate(0, 0, 170).UnixMilli()) },
		args: map[string]any{"end": dawn.AddDate(0, 0, 170).UnixMilli()}, hold: time.Hour, calm: time.Hour},
	{code: "updates_stuck", severity: notice, good: both(ago(reading.UpdatesLast, 0), num(reading.UpdatesSecurity, "", 0)), bad: both(ago(reading.UpdatesLast, 40), num(reading.UpdatesSecurity, "", 2)),
		edge: both(ago(reading.UpdatesLast, 20), num(reading.UpdatesSecurity, "", 2)), args: map[string]any{"days": int64(41)}, hold: day, calm: time.Hour},
	{code: "encryption_off", severity: notice, good: txt(reading.DiskEncryption, "", "on"), bad: txt(reading.DiskEncryption, "", "partly"),
		args: map[string]any{"state": "partly"}, hold: time.Hour, calm: minutes(30)},
	{code: "encryption_off", severity: warning, good: txt(reading.DiskEncryption, "", "on"), bad: txt(reading.DiskEncryption, "", "off"),
		args: map[string]any{"state": "off"}, hold: time.Hour, calm: minutes(30)},
	{code: "firewall_off", severity: warning, good: txt(reading.Firewall, "", "on"), bad: txt(reading.Firewall, "", "off"),
		args: map[string]any{"state": "off"}, hold: minutes(30), calm: minutes(30)},
	{code: "antivirus_off", severity: warning, good: txt(reading.Antivirus, "", "on"), bad: txt(reading.Antivirus, "", "off"),
		args: map[string]any{"state": "off"}, hold: minutes(30), calm: minutes(30)},
	{code: "antivirus_stale", severity: warning, good: num(reading.AntivirusAge, "", 2*86_400), bad: num(reading.AntivirusAge, "", 8*86_400), edge: num(reading.AntivirusAge, "", 5*86_400),
		args: map[string]any{"days": int64(8)}, hold: 2 * time.Hour, calm: minutes(30)},
	{code: "system_crashes", severity: warning, good: num(reading.SystemCrashes, "", 0), bad: num(reading.SystemCrashes, "", 3), edge: num(reading.SystemCrashes, "", 2),
		args: map[string]any{"count": int64(3)}, hold: minutes(10), calm: time.Hour},
	{code: "program_crashes", severity: notice, good: num(reading.ProgramCrashes, "", 9), bad: num(reading.ProgramCrashes, "", 20), edge: num(reading.ProgramCrashes, "", 15),
		args: map[string]any{"count": int64(20)}, hold: minutes(10), calm: time.Hour},
	{code: "hard_power_offs", severity: warning, good: num(reading.HardPowerOffs, "", 0), bad: num(reading.HardPowerOffs, "", 15),
		args: map[string]any{"count": int64(15)}, hold: minutes(10), calm: time.Hour},
	{code: "software_missing", instance: "LibreOffice", severity: warning, standard: office, good: programs(inventory.Program{Name: "libreoffice-COMMON", Version: "4:24.2.5-1"}), bad: programs(inventory.Program{Name: "Writer", Version: "1"}),
		args: map[string]any{}, hold: 2 * time.Hour, calm: minutes(10)},
	{code: "software_old", instance: "LibreOffice", severity: notice, standard: office, good: programs(inventory.Program{Name: "LIBREOFFICE", Version: "24.2.0.3"}), bad: programs(inventory.Program{Name: "libreoffice", Version: "7.4"}),
		args: map[string]any{"installed": "7.4", "least": "24.2"}, hold: 2 * time.Hour, calm: minutes(10)},
	{code: "agent_unwell", instance: "store", severity: warning, good: facts(finding.Facts{}), bad: facts(finding.Facts{StoreFailing: true}),
		args: map[string]any{}, hold: minutes(10), calm: minutes(30)},
	{code: "agent_unwell", instance: "readings", severity: notice, good: facts(finding.Facts{}), bad: facts(finding.Facts{Hanging: []string{"disks"}}),
		args: map[string]any{}, hold: time.Hour, calm: time.Hour},
	{code: "agent_unwell", instance: "memory", severity: notice, good: num(reading.AgentMemory, "", 16*miB), bad: num(reading.AgentMemory, "", 70*miB), edge: num(reading.AgentMemory, "", 50*miB),
		args: map[string]any{}, hold: minutes(30), calm: minutes(30)},
	{code: "agent_unwell", instance: "cpu", severity: notice, good: num(reading.AgentCPU, "", 300), bad: num(reading.AgentCPU, "", 20_000), edge: num(reading.AgentCPU, "", 7_000),
		args: map[string]any{}, hold: time.Hour, calm: time.Hour},
}

// elsewhere are codes and instances with a trace of their own below.
var elsewhere = []string{"disk_full_soon", "clock_off", "agent_unwell spool"}

func TestEachCodeHasARule(t *testing.T) {
	have := strings.Join(elsewhere, "\n")
	for _, r := range rows {
		have += "\n" + r.code + " " + r.instance
	}
	for f := range words.All() {
		if !strings.Contains(have, f.Code) {
			t.Errorf("no trace shows %s", f.Code)
		}
		if f.Code != words.AgentUnwell {
			continue
		}
		for _, i := range f.Instances {
			if !strings.Contains(have, f.Code+" "+i.Code) {
				t.Errorf("no trace shows %s %s", f.Code, i.Code)
			}
		}
	}
}

func (r row) name() string { return fmt.Sprintf("%s %s %v", r.code, r.instance, r.severity) }

// TestRules: a real problem is raised within its debounce, not before, with its
// arguments; it stays at the edge and is cleared once it is over.
func TestRules(t *testing.T) {
	for _, r := range rows {
		t.Run(r.name(), func(t *testing.T) {
			d := newDevice(t, r.standard...)
			step := max(time.Minute, max(r.hold, r.calm)/200)
			r.good(d)
			none(t, "good", d.run(2*r.calm+minutes(20), step))
			r.bad(d)
			none(t, "bad, not long enough", d.run(r.hold-2*step, step))
			m := only(t, "bad for long", d.run(5*step, step))
			if m.GetCode() != r.code || m.GetInstance() != r.instance || m.GetSeverity() != r.severity || !m.GetRaised() {
				t.Errorf("raised %v, want %s", m, r.name())
			}
			if diff := cmp.Diff(r.args, words.Values(m)); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
			if r.edge != nil {
				r.edge(d)
				none(t, "at the edge", d.run(3*r.calm, step))
			}
			none(t, "still", d.run(time.Hour, step))
			r.good(d)
			none(t, "good again, not long enough", d.run(r.calm-4*step, step))
			m = only(t, "good for long", d.run(7*step, step))
			if m.GetCode() != r.code || m.GetRaised() || len(m.GetArguments()) != 0 || m.GetSeverity() != r.severity {
				t.Errorf("cleared %v", m)
			}
			none(t, "and stays so", d.run(2*r.calm, step))
			if r.edge != nil {
				r.edge(d)
				none(t, "from good to the edge", d.run(3*r.hold, step))
			}
		})
	}
}

// TestFlapping: a week at the edge of a limit, in the worst rhythm for the
// debounce, gives at most one raise a day.
func TestFlapping(t *testing.T) {
	for _, r := range rows {
		t.Run(r.name(), func(t *testing.T) {
			d := newDevice(t, r.standard...)
			step := max(time.Minute, min(r.hold, r.calm)/5)
			week := max(7*day, 3*(r.hold+r.calm))
			r.good(d)
			d.run(r.calm, step)
			for d.now < week {
				r.bad(d)
				d.run(r.hold+5*step, step)
				r.good(d)
				d.run(r.calm+5*step, step)
			}
			raises := 0
			for _, x := range d.all {
				if x.m.GetRaised() {
					raises++
				}
			}
			// That two are a day apart, the device itself minds.
			if raises < 1 || raises > int(week/day)+1 {
				t.Errorf("%d raises in %v", raises, week)
			}
			t.Logf("%d raises in %v", raises, week)
		})
	}
}

// TestNoise: values that change faster than the debounce raise nothing.
func TestNoise(t *testing.T) {
	for _, r := range rows {
		if r.code == words.SlowBoot {
			continue // its values are boots, not minutes
		}
		t.Run(r.name(), func(t *testing.T) {
			d := newDevice(t, r.standard...)
			for range 24 * 20 {
				r.bad(d)
				d.run(2*time.Minute, time.Minute)
				r.good(d)
				d.run(time.Minute, time.Minute)
			}
			none(t, "noise", d.all)
		})
	}
}

// TestBootStorm: everything that a boot makes bad is bad, and well again after
// twelve minutes; each morning of a week.
func TestBootStorm(t *testing.T) {
	for _, wrong := range []time.Duration{0, -20000 * day, 26000 * day, -3 * time.Hour} {
		t.Run(wrong.String(), func(t *testing.T) {
			d := newDevice(t, office...)
			storm := func(d *device) {
				both(memory(8*giB-1, 8*giB), num(reading.Temperature, "cpu", 110_000), num(reading.CPUSpeedLimit, "", 100),
					txt(reading.Firewall, "", "off"), txt(reading.Antivirus, "", "off"), num(reading.AntivirusAge, "", 40*86_400),
					num(reading.UpdatesSecurity, "", 30), ago(reading.UpdatesLast, 44), txt(reading.DiskEncryption, "", "off"), programs(),
					num(reading.BootDuration, "", 500_000+int64(d.now/time.Second)), facts(finding.Facts{Hanging: []string{"all"}}),
					num(reading.AgentCPU, "", 900_000), num(reading.AgentMemory, "", 100*miB), txt(reading.VolumeMode, "/", "read_only"))(d)
				d.programs = []inventory.Program{}
			}
			calm := both(memory(4*giB, 8*giB), num(reading.Temperature, "cpu", 50_000), num(reading.CPUSpeedLimit, "", 1000),
				txt(reading.Firewall, "", "on"), txt(reading.Antivirus, "", "on"), num(reading.AntivirusAge, "", 0),
				num(reading.UpdatesSecurity, "", 0), txt(reading.DiskEncryption, "", "on"), programs(inventory.Program{Name: "libreoffice", Version: "25.2"}),
				num(reading.BootDuration, "", 40_000), facts(finding.Facts{}), num(reading.AgentCPU, "", 300), num(reading.AgentMemory, "", 16*miB),
				txt(reading.VolumeMode, "/", "read_write"))
			calm(d)
			d.run(time.Hour, time.Minute)
			for range 7 {
				d.reboot(10 * time.Hour)
				d.wrong, d.synced = wrong, false
				d.remove(reading.ClockOffset, "")
				storm(d)
				d.run(9*time.Minute, time.Minute)
				d.wrong, d.synced = 0, true // the clock is set, the collector reached
				d.run(3*time.Minute, time.Minute)
				calm(d)
				d.run(8*time.Hour, time.Minute)
			}
			none(t, "storms", d.all)
		})
	}
}

// TestRestart: an agent's restart tells nothing again, and what was over in the
// meantime is cleared.
func TestRestart(t *testing.T) {
	for _, r := range rows {
		t.Run(r.name(), func(t *testing.T) {
			d := newDevice(t, r.standard...)
			step := max(time.Minute, max(r.hold, r.calm)/50)
			r.good(d)
			d.run(minutes(20), step)
			r.bad(d)
			only(t, "bad", d.run(r.hold+6*step, step))
			for range 5 {
				if err := d.restart(nil); err != nil {
					t.Fatal(err)
				}
				r.bad(d)
				none(t, "restarted", d.run(2*r.hold/3, step))
			}
			if err := d.restart(nil); err != nil {
				t.Fatal(err)
			}
			r.good(d)
			only(t, "good", d.run(r.calm+6*step, step))
		})
	}
}

// TestToldAgain: what is open is told once more where the collector may not have
// it, at once and only once, and what is well is not.
func TestToldAgain(t *testing.T) {
	for _, c := range []struct {
		name  string
		doubt func(d *device)
		again bool
	}{
		{"another store", func(d *device) { d.agent.Store = []byte("two") }, true},
		{"findings given up", func(d *device) { d.agent.Lost++ }, true},
		{"the same store after a restart", func(d *device) {
			if err := d.restart(nil); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"another store after a restart", func(d *device) {
			if err := d.restart(nil); err != nil {
				t.Fatal(err)
			}
			d.agent.Store = []byte("two")
		}, true},
		{"no store is known", func(d *device) { d.agent.Store = nil }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDevice(t)
			d.agent.Store = []byte("one")
			both(txt(reading.Firewall, "", "off"), txt(reading.Antivirus, "", "on"))(d)
			first := only(t, "firewall off", d.run(time.Hour, time.Minute))
			c.doubt(d)
			d.repeats = c.again
			none(t, "in doubt", d.run(time.Hour, time.Minute))
			want := 0
			if c.again {
				want = 1
			}
			if len(d.again) != want || want == 1 && !proto.Equal(d.again[0].m, first) {
				t.Fatalf("told again: %v, want %d of %v", d.again, want, first)
			}
			d.repeats = false
			none(t, "a day later", d.run(25*time.Hour, time.Minute))
			d.text(reading.Firewall, "", "on")
			if m := only(t, "firewall on", d.run(time.Hour, time.Minute)); m.GetRaised() || len(d.again) != want {
				t.Errorf("told %v and again %v, want a clear", m, d.again)
			}
		})
	}
}

// TestToldAgainLater: what is in doubt while its value is missing is told with the
// next value, also of a later process.
func TestToldAgainLater(t *testing.T) {
	d := newDevice(t)
	d.agent.Store = []byte("one")
	d.text(reading.Firewall, "", "off")
	only(t, "firewall off", d.run(time.Hour, time.Minute))
	d.repeats = true
	d.remove(reading.Firewall, "")
	d.agent.Store = []byte("two")
	none(t, "without a value", d.run(time.Hour, time.Minute))
	d.reboot(time.Hour)
	d.text(reading.Firewall, "", "off")
	none(t, "after the boot", d.run(9*time.Minute, time.Minute))
	if len(d.again) != 0 {
		t.Fatalf("told again within ten minutes of a boot: %v", d.again)
	}
	none(t, "later", d.run(time.Hour, time.Minute))
	if len(d.again) != 1 {
		t.Errorf("told again: %v, want once", d.again)
	}
}

// TestFirstStore: what was told before the first collector waits in the spool.
func TestFirstStore(t *testing.T) {
	d := newDevice(t)
	d.text(reading.Firewall, "", "off")
	only(t, "firewall off", d.run(time.Hour, time.Minute))
	d.agent.Store = []byte("one")
	none(t, "enrolled", d.run(time.Hour, time.Minute))
	if len(d.again) != 0 {
		t.Errorf("told again: %v", d.again)
	}
}

// TestRestartPendingOverNights: what needs days to hold comes on a device that
// is shut down, though not restarted, each evening.
func TestRestartPendingOverNights(t *testing.T) {
	d := newDevice(t)
	d.text(reading.RestartPending, "", "yes")
	for range 6 {
		d.run(7*time.Hour, 5*time.Minute)
		d.reboot(17 * time.Hour)
	}
	only(t, "six days", d.all)
}

// TestHolidays: after 44 days nothing that held before counts, and what is
// stale has time to catch up.
func TestHolidays(t *testing.T) {
	d := newDevice(t)
	both(txt(reading.RestartPending, "", "yes"), ago(reading.UpdatesLast, 2), num(reading.UpdatesSecurity, "", 0), num(reading.AntivirusAge, "", 3600))(d)
	d.run(2*day, 10*time.Minute)
	d.reboot(44 * day)
	both(num(reading.UpdatesSecurity, "", 12), num(reading.AntivirusAge, "", 44*86_400))(d)
	d.run(time.Hour, time.Minute)
	both(num(reading.UpdatesSecurity, "", 0), ago(reading.UpdatesLast, 0), num(reading.AntivirusAge, "", 3600))(d)
	d.run(6*time.Hour, time.Minute)
	none(t, "first day after the holidays", d.all)
}

// TestDamagedSnapshot: it begins anew and says so.
func TestDamagedSnapshot(t *testing.T) {
	for name, damage := range map[string]func(b []byte) []byte{
		"cut":           func(b []byte) []byte { return b[:len(b)/2] },
		"other version": func(b []byte) []byte { return []byte(strings.Replace(string(b), `"version":1`, `"version":2`, 1)) },
		"long":          func(b []byte) []byte { return append(b, make([]byte, 300<<10)...) },
		"date in 2101":  func(b []byte) []byte { return []byte(`{"version":1,"age_ms":9,"updated_ms":4133980800000}`) },
		"negative age":  func(b []byte) []byte { return []byte(`{"version":1,"age_ms":-1}`) },
		"told, not raised": func(b []byte) []byte {
			return []byte(`{"version":1,"age_ms":9,"states":[{"code":"battery_worn","level":1,"told":1,"severity":1}]}`)
		},
		"bad instance": func(b []byte) []byte {
			return []byte(`{"version":1,"age_ms":9,"states":[{"code":"disk_wear","instance":"\u001b","level":1,"told":1,"raised_ms":1}]}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t)
			d.number(reading.BatteryHealth, "", 600)
			only(t, "worn", d.run(2*time.Hour, time.Minute))
			if err := d.restart(damage); !errors.Is(err, finding.ErrDamaged) {
				t.Errorf("Restore = %v, want %v", err, finding.ErrDamaged)
			}
			clear(d.open)
			clear(d.lastUp)
			only(t, "anew", d.run(2*time.Hour, time.Minute))
		})
	}
	w := finding.New(finding.Config{})
	if err := w.Restore(nil); err != nil {
		t.Errorf("Restore of nothing = %v", err)
	}
	unknown := []byte(`{"version":1,"age_ms":9,"states":[{"code":"too_loud","level":1},{"code":"battery_worn","level":7,"told":9,"severity":9,"raised_ms":1}]}`)
	if err := w.Restore(unknown); err != nil {
		t.Errorf("Restore of a later version's state = %v", err)
	}
}
