package health_test

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/agent/health"
	"hausmeister/platform/sysinfo"
	"hausmeister/proto/reading"
)

// whole is a notebook of which everything can be read.
func whole() sysinfo.Snapshot {
	n := sysinfo.Some[int64]
	s := desktop()
	s.CPU.Load1, s.CPU.CoreUsed = n(800), sysinfo.Some([]int64{100, 300, 50, 80})
	s.CPU.SpeedLimit, s.CPU.Throttled = n(1000), n(0)
	s.Memory.SwapUsed = n(1 << 28)
	s.Pressure = sysinfo.Some([]sysinfo.Pressure{{Name: "cpu", Stalled: 12}, {Name: "memory"}, {Name: "io", Stalled: 3}})
	s.Volumes = sysinfo.Some([]sysinfo.Volume{{Name: "C:", Total: n(256e9), Free: n(100e9), InodesFree: n(990), Errors: n(0), ReadOnly: sysinfo.Some(false)}})
	s.Disks = sysinfo.Some([]sysinfo.Disk{{Name: "disk", Health: sysinfo.Some(sysinfo.DiskWarning), Wear: n(120), Spare: n(1000), Errors: n(0), PowerOn: n(36e5)}})
	s.Power = sysinfo.Power{Source: sysinfo.Some(sysinfo.Mains), State: sysinfo.Some(sysinfo.Charging), Charge: n(640), Health: n(870), Cycles: n(211),
		Full: n(43_500), Design: n(50_000), Charger: sysinfo.Some(sysinfo.ChargerConnected)}
	s.Temperatures = sysinfo.Some([]sysinfo.Temperature{{Place: "cpu", MilliCelsius: 51_000}, {Place: "disk", MilliCelsius: 38_000}})
	s.Fans = sysinfo.Some([]sysinfo.Fan{{Name: "fan", Speed: 2100}})
	s.Links = sysinfo.Some([]sysinfo.Link{{Name: "wired"}, {Name: "wifi", Up: true, Speed: n(3e8), Errors: n(0), Signal: n(-61)}})
	s.Metered = sysinfo.Some(false)
	s.BootDuration = sysinfo.Some(21_400 * time.Millisecond)
	s.Identity.OSPatch, s.Identity.SupportEnd = sysinfo.Some("2026-11"), sysinfo.Some(time.Date(2027, 10, 12, 0, 0, 0, 0, time.UTC))
	s.Identity.Serial = sysinfo.Some("YLKA012345")
	s.Updates = sysinfo.Updates{Pending: n(3), Security: n(1), Last: sysinfo.Some(time.Date(2026, 11, 11, 9, 0, 0, 0, time.UTC))}
	s.Restart = sysinfo.Some(true)
	s.Protection = sysinfo.Protection{Encryption: sysinfo.Some(sysinfo.On), Firewall: sysinfo.Some(sysinfo.Partly), Antivirus: sysinfo.Some(sysinfo.Off),
		AntivirusAge: n(40_000), SecureBoot: sysinfo.Some(sysinfo.On), TPM: sysinfo.Some("2.0")}
	s.Crashes = sysinfo.Crashes{System: n(1), Programs: n(4), PowerOffs: n(2)}
	s.Printers = sysinfo.Some([]sysinfo.Printer{{Name: "printer", State: sysinfo.PrinterOffline}})
	s.Self.CPU = n(210)
	return s
}

// TestEveryReadingIsTold: each row of the table comes from some field.
func TestEveryReadingIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(40)
		s.snap = whole()
		r := startWith(t, s.machine, func(c *health.Config) {
			c.Source = s
			c.About = func() health.Facts {
				return health.Facts{Path: "tcp_proxy", Trouble: "udp_blocked", InspectionIssuer: "Schulfilter CA", ClockOffset: -1500 * time.Millisecond, Heard: time.Now(), SpoolWaiting: 3}
			}
		})
		time.Sleep(time.Hour)
		r.stop()
		told := map[string]bool{}
		last := r.s.told[len(r.s.told)-1]
		for _, m := range last.GetState().GetReadings() {
			row, _ := reading.ByID(m.GetId())
			if m.HasInstance() && m.GetInstance() == "" {
				t.Errorf("%s says that it has no instance, for two bytes", row.Name)
			}
			told[row.Name] = !m.HasAbsent()
		}
		for row := range reading.All() {
			if !told[row.Name] {
				t.Errorf("%s is not told", row.Name)
			}
		}
		for name, want := range map[string]string{
			"cpu_core_used 2": "300", "pressure io": "3", "volume_mode C:": "read_write", "disk_health disk": "warning", "boot_duration": "21400",
			"restart_pending": "yes", "metered": "no", "firewall": "partly", "printer_state printer": "offline", "clock_offset": "-1500",
			"collector_path": "tcp_proxy", "network_trouble": "udp_blocked", "inspection_issuer": "Schulfilter CA", "spool_waiting": "3", "software_count": "40",
			"charger": "connected", "tpm": "2.0", "link_signal wifi": "-61", "os_support_end": "1823299200000",
			"disk_power_on disk": "3542400", // 41 days
		} {
			if got := r.s.last()[name]; got != want {
				t.Errorf("%s = %q, want %q", name, got, want)
			}
		}
		t.Logf("a State with %d readings takes %d bytes", len(last.GetState().GetReadings()), proto.Size(last))
	})
}

// TestAbsenceOfGroups: what hangs or is refused costs the others nothing, and says why.
func TestAbsenceOfGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := whole()
		s.Disks = sysinfo.None[[]sysinfo.Disk](sysinfo.TimedOut)
		s.Fans = sysinfo.None[[]sysinfo.Fan](sysinfo.NoHardware)
		s.CPU.CoreUsed = sysinfo.None[[]int64](sysinfo.NotSupported)
		s.Metered = sysinfo.None[bool](sysinfo.Failed)
		s.Protection.TPM = sysinfo.None[string](sysinfo.Denied)
		s.CPU.Throttled = sysinfo.Opt[int64]{}
		r := start(t, s)
		defer r.stop()
		time.Sleep(s10)
		synctest.Wait()
		got := r.s.last()
		for name, want := range map[string]string{
			"disk_health": "ABSENT_TIMEOUT", "fan_speed": "ABSENT_NO_HARDWARE", "cpu_core_used": "ABSENT_NOT_SUPPORTED", "metered": "ABSENT_FAILED",
			"tpm": "ABSENT_DENIED", "cpu_throttled": "", "memory_used": "4294967296", "firewall": "partly",
		} {
			if got[name] != want {
				t.Errorf("%s = %q, want %q", name, got[name], want)
			}
		}
	})
}

// TestPathOutlivesItsSession: while there is no session the last path is told,
// and its coming and going is no news.
func TestPathOutlivesItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		r := startWith(t, &machine{snap: desktop()}, func(c *health.Config) {
			c.About = func() health.Facts {
				if time.Since(begin).Minutes() < 3 || time.Since(begin).Minutes() > 7 {
					return health.Facts{Path: "tcp", Trouble: "udp_blocked"}
				}
				return health.Facts{}
			}
		})
		defer r.stop()
		time.Sleep(10 * min)
		r.wantTimes(t, s10)
		if got := r.s.last(); got["collector_path"] != "tcp" || got["network_trouble"] != "udp_blocked" {
			t.Errorf("path %q, trouble %q", got["collector_path"], got["network_trouble"])
		}
	})
}
