package sysinfo_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"hausmeister/platform/sysinfo"
)

// tree lays a recorded tree out and gives its root. Each archive says in its
// first lines where it comes from.
func tree(t testing.TB, name string) string {
	t.Helper()
	a, err := txtar.ParseFile(filepath.Join("testdata", name+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for _, f := range a.Files {
		path := filepath.Join(root, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func write(t *testing.T, root, file, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(root, file), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// disks answers for mount points of the recorded trees.
func disks(path string) (sysinfo.Space, error) {
	s := sysinfo.Space{Total: 1000 + int64(len(path)), Free: 10 + int64(len(path)), Inodes: 4000, InodesFree: 1000}
	switch path {
	case "/archiv":
		return sysinfo.Space{}, errors.New("input/output error")
	case "/boot/efi":
		s.Inodes = 0
	}
	return s, nil
}

func gib(kib int64) sysinfo.Opt[int64] { return sysinfo.Some(kib << 10) }

func num(n int64) sysinfo.Opt[int64] { return sysinfo.Some(n) }

func none(why sysinfo.Absence) sysinfo.Opt[int64] { return sysinfo.None[int64](why) }

func str(s string) sysinfo.Opt[string] { return sysinfo.Some(s) }

func noStr(why sysinfo.Absence) sysinfo.Opt[string] { return sysinfo.None[string](why) }

// bare is what a tree tells that has none of the newer files.
func bare(s sysinfo.Snapshot) sysinfo.Snapshot {
	no := none(sysinfo.NotSupported)
	s.CPU.Used, s.CPU.SpeedLimit, s.CPU.Throttled = none(sysinfo.Unread), no, no
	s.Pressure = sysinfo.None[[]sysinfo.Pressure](sysinfo.NotSupported)
	s.Disks = sysinfo.None[[]sysinfo.Disk](sysinfo.NoHardware)
	s.Fans = sysinfo.None[[]sysinfo.Fan](sysinfo.NoHardware)
	s.Metered = sysinfo.None[bool](sysinfo.NotSupported)
	s.BootDuration = sysinfo.None[time.Duration](sysinfo.NotSupported)
	s.Restart = sysinfo.Some(false)
	s.Protection = sysinfo.Protection{
		Encryption: sysinfo.Some(sysinfo.Off), Firewall: sysinfo.Some(sysinfo.Off),
		Antivirus: noGuard(), AntivirusAge: no, SecureBoot: noGuard(), TPM: noStr(sysinfo.NoHardware),
	}
	s.Crashes = sysinfo.Crashes{System: no, Programs: no, PowerOffs: no}
	s.Printers = sysinfo.None[[]sysinfo.Printer](sysinfo.NotSupported)
	return s
}

func noGuard() sysinfo.Opt[sysinfo.Guard] { return sysinfo.None[sysinfo.Guard](sysinfo.NotSupported) }

// volume of disks().
func volume(name string, length int64) sysinfo.Volume {
	return sysinfo.Volume{
		Name: name, Total: num(1000 + length), Free: num(10 + length), InodesFree: num(250),
		Errors: none(sysinfo.NotSupported), ReadOnly: sysinfo.Some(false),
	}
}

// with changes a volume.
func with(v sysinfo.Volume, change func(*sysinfo.Volume)) sysinfo.Volume { change(&v); return v }

func wantNotebook() sysinfo.Snapshot {
	s := bare(sysinfo.Snapshot{})
	s.CPU = sysinfo.CPU{
		Used: none(sysinfo.Unread), Cores: num(4), Load1: num(1250), SpeedLimit: num(700), Throttled: none(sysinfo.Unread),
	}
	s.Memory = sysinfo.Memory{Total: gib(8_000_000), Used: gib(5_000_000), SwapTotal: gib(2_000_000), SwapUsed: gib(500_000)}
	failed := none(sysinfo.Failed)
	s.Volumes = sysinfo.Some([]sysinfo.Volume{
		with(volume("/", 1), func(v *sysinfo.Volume) { v.Errors = num(7) }),
		{
			Name: "other", Total: failed, Free: failed, InodesFree: failed,
			Errors: none(sysinfo.NotSupported), ReadOnly: sysinfo.Some(true), // the file system gave up
		},
		with(volume("/boot", 5), func(v *sysinfo.Volume) { v.Errors = num(3) }),
		with(volume("/boot/efi", 9), func(v *sysinfo.Volume) { v.InodesFree = none(sysinfo.NotSupported) }),
		volume("other 2", 17), // read-only for this process alone
	})
	s.Power = sysinfo.Power{
		Source: sysinfo.Some(sysinfo.Battery), State: sysinfo.Some(sysinfo.Discharging),
		Charge: num(500), Health: num(625), Cycles: num(312),
		Full: num(50_000), Design: num(80_000), Charger: sysinfo.Some(sysinfo.ChargerDisconnected),
	}
	s.Temperatures = sysinfo.Some([]sysinfo.Temperature{{"cpu", 54000}, {"disk", 38850}})
	wired, radio := none(sysinfo.NoHardware), none(sysinfo.NotSupported)
	s.Links = sysinfo.Some([]sysinfo.Link{
		{Name: "wired", Errors: none(sysinfo.NotSupported), Signal: wired},
		{Name: "wifi", Up: true, Speed: none(sysinfo.NotSupported), Errors: none(sysinfo.NotSupported), Signal: num(-47)},
		{Name: "mobile", Errors: none(sysinfo.NotSupported), Signal: radio},
		{Name: "wired 2", Up: true, Speed: num(1e9), Errors: none(sysinfo.Unread), Signal: wired},
	})
	s.BootTime = sysinfo.Some(time.Unix(1795000000, 0))
	s.Identity = sysinfo.Identity{
		OS: "linux", OSName: str("Ubuntu 24.04.2 LTS"), OSBuild: str("6.8.0-60-generic"), OSPatch: str("24.04.2"),
		SupportEnd:   sysinfo.Some(time.Date(2029, 5, 31, 0, 0, 0, 0, time.UTC)),
		Manufacturer: str("LENOVO"), Model: str("ThinkPad T490"), Serial: str("DEMO0001"),
	}
	s.Pressure = sysinfo.Some([]sysinfo.Pressure{{"cpu", 153}, {"memory", 0}, {"io", 2}})
	no := none(sysinfo.NotSupported)
	s.Disks = sysinfo.Some([]sysinfo.Disk{
		{Name: "disk", Health: sysinfo.Some(sysinfo.DiskWarning), Wear: num(400), Spare: no, Errors: no, PowerOn: no},
		{Name: "disk 2", Health: sysinfo.None[sysinfo.DiskHealth](sysinfo.NotSupported), Wear: no, Spare: no, Errors: no, PowerOn: no},
	})
	s.Fans = sysinfo.Some([]sysinfo.Fan{{"fan", 2714}})
	s.Restart = sysinfo.Some(true)
	s.Protection.Firewall, s.Protection.TPM = sysinfo.Some(sysinfo.On), str("2.0")
	s.Printers = sysinfo.Some([]sysinfo.Printer{{"printer", sysinfo.PrinterReady}, {"printer 2", sysinfo.PrinterStopped}})
	return s
}

func wantVM() sysinfo.Snapshot {
	s := bare(sysinfo.Snapshot{})
	s.CPU.Cores, s.CPU.Load1 = num(2), num(9710)
	s.Memory = sysinfo.Memory{
		Total: gib(24684092), Used: gib(24684092 - 23594832), SwapTotal: num(0), SwapUsed: none(sysinfo.NoHardware),
	}
	s.Volumes = sysinfo.Some([]sysinfo.Volume{volume("/", 1)})
	s.Power = noBattery()
	s.Temperatures = sysinfo.None[[]sysinfo.Temperature](sysinfo.NoHardware)
	s.Links = sysinfo.Some([]sysinfo.Link{{
		Name: "wired", Up: true, Speed: none(sysinfo.NotSupported), Errors: none(sysinfo.NotSupported), Signal: none(sysinfo.NoHardware),
	}})
	s.BootTime = sysinfo.Some(time.Unix(1795489652, 0))
	s.Identity = sysinfo.Identity{
		OS: "linux", OSName: str("Debian GNU/Linux 12 (bookworm)"), OSBuild: str("6.18.44"), OSPatch: str("12"),
		SupportEnd:   sysinfo.Some(time.Date(2028, 6, 30, 0, 0, 0, 0, time.UTC)),
		Manufacturer: noStr(sysinfo.NotSupported), Model: noStr(sysinfo.NotSupported), Serial: noStr(sysinfo.NotSupported),
	}
	return s
}

func wantProcfs() sysinfo.Snapshot {
	s := bare(sysinfo.Snapshot{})
	s.CPU.Cores, s.CPU.Load1 = num(8), num(20)
	s.Memory = sysinfo.Memory{
		// A kernel before 3.14, without MemAvailable: free, cached and reclaimable are it.
		Total: gib(15666184), Used: gib(15666184 - 440324 - 12007640 - 1738124),
		SwapTotal: num(0), SwapUsed: none(sysinfo.NoHardware),
	}
	s.Volumes = sysinfo.Some([]sysinfo.Volume{volume("/", 1)})
	s.Power = sysinfo.Power{
		Source: sysinfo.Some(sysinfo.Battery), State: sysinfo.Some(sysinfo.Discharging),
		// The maker's 0 cycles with a new battery above its design are not believed.
		Charge: num(980), Health: num(1053), Cycles: none(sysinfo.NotSupported),
		Full: num(50_060), Design: num(47_520), Charger: sysinfo.Some(sysinfo.ChargerDisconnected),
	}
	s.Temperatures = sysinfo.Some([]sysinfo.Temperature{{"disk", 45850}})
	s.Links = sysinfo.Some([]sysinfo.Link{{
		Name: "wired", Up: true, Speed: num(1e9), Errors: none(sysinfo.NotSupported), Signal: none(sysinfo.NoHardware),
	}})
	s.BootTime = sysinfo.Some(time.Unix(1418183276, 0))
	s.Restart = sysinfo.None[bool](sysinfo.Failed)
	s.Identity = sysinfo.Identity{
		OS: "linux", OSName: noStr(sysinfo.Failed), OSBuild: noStr(sysinfo.Failed), OSPatch: noStr(sysinfo.Failed),
		SupportEnd:   sysinfo.None[time.Time](sysinfo.Failed),
		Manufacturer: str("Dell Inc."), Model: str("PowerEdge R6515"), Serial: str("7N62AI2"),
	}
	return s
}

func TestRecordedTrees(t *testing.T) {
	for name, want := range map[string]sysinfo.Snapshot{"notebook": wantNotebook(), "vm": wantVM(), "procfs": wantProcfs()} {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(1800000000, 0)
			r := sysinfo.New(sysinfo.Config{Root: tree(t, name), Statfs: disks, Now: func() time.Time { return now }})
			got := r.Read(t.Context())
			want.Time = now
			// Of the live machine: this process and the processor's kind.
			want.Self, want.Identity.Architecture = got.Self, got.Identity.Architecture
			if len(got.CutOff) > 0 || got.CouldNot != nil && name != "procfs" {
				t.Errorf("cut off %v, could not %v", got.CutOff, got.CouldNot)
			}
			got.CouldNot = nil
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("Read (-want +got):\n%s", d)
			}
		})
	}
}

func noBattery() sysinfo.Power {
	n := none(sysinfo.NoHardware)
	return sysinfo.Power{
		Source: sysinfo.Some(sysinfo.Mains), State: sysinfo.None[sysinfo.BatteryState](sysinfo.NoHardware),
		Charge: n, Health: n, Cycles: n, Full: n, Design: n, Charger: sysinfo.None[sysinfo.Charger](sysinfo.NoHardware),
	}
}

// TestNothingPersonal: what stands in the notebook's tree and must not come out.
func TestNothingPersonal(t *testing.T) {
	r := sysinfo.New(sysinfo.Config{Root: tree(t, "notebook"), Statfs: disks})
	s := fmt.Sprintf("%+v", r.Read(t.Context()))
	for _, secret := range []string{"erika", "URLAUB", "schule", "archiv", "server", "00e04c680001", "wlp2s0", "enp0s31f6", "docker", "Lehrerzimmer", "Aula", "Muster", "SAMSUNG"} {
		if strings.Contains(s, secret) {
			t.Errorf("the snapshot holds %q:\n%s", secret, s)
		}
	}
}

// TestUsedIsTheMeanBetweenReads and never a mean since boot.
func TestUsedIsTheMeanBetweenReads(t *testing.T) {
	root := tree(t, "notebook")
	r := sysinfo.New(sysinfo.Config{Root: root, Statfs: disks})
	for i, c := range []struct {
		stat string
		want sysinfo.Opt[int64]
	}{
		{"cpu 1000 0 500 8000 500 0 0 0 0 0\n", none(sysinfo.Unread)},    // nothing to compare with
		{"cpu 1150 50 550 8600 650 0 0 0 150 0\n", num(250)},             // 250 of 1000; guest is in user
		{"cpu 1150 50 550 8600 650 0 0 0 150 0\n", none(sysinfo.Unread)}, // no time has passed
		{"cpu 1150 50 550 9600 640 0 0 0 150 0\n", num(0)},               // iowait went back: it may
		{"cpu 2150 50 550 9600 640 0 0 0 150 0\n", num(1000)},            //
		{"cpu 10 0 10 10 10 0 0 0 0 0\n", none(sysinfo.Unread)},          // counters began anew
		{"cpu 20 0 10 20 10 0 0 0 0 0\n", num(500)},                      //
		{"intr 1 2 3\n", none(sysinfo.Failed)},                           // unreadable
		{"cpu 1000 0 500 8000 500 0 0 0 0 0\n", none(sysinfo.Unread)},    // the mean begins anew
		{"cpu 1100 0 500 8000 500 0 0 100 0 0\n", num(1000)},             // stolen time is not ours to use
	} {
		write(t, root, "proc/stat", c.stat+"btime 1795000000\n")
		if got := r.Read(t.Context()).CPU.Used; got != c.want {
			t.Errorf("read %d of %q: used = %+v, want %+v", i, c.stat, got, c.want)
		}
	}
}

func TestUnreadableIsAbsent(t *testing.T) {
	root := t.TempDir() // no files at all
	r := sysinfo.New(sysinfo.Config{Root: root, Statfs: disks})
	s := r.Read(t.Context())
	failed := none(sysinfo.Failed)
	if s.CPU.Used != failed || s.CPU.Cores != failed || s.CPU.Load1 != failed {
		t.Errorf("CPU = %+v, want all failed", s.CPU)
	}
	if s.Memory != (sysinfo.Memory{Total: failed, Used: failed, SwapTotal: failed, SwapUsed: failed}) {
		t.Errorf("Memory = %+v, want all failed", s.Memory)
	}
	if s.Volumes.Why != sysinfo.Failed || s.BootTime.Why != sysinfo.Failed || s.Links.Why != sysinfo.NoHardware {
		t.Errorf("volumes %v, boot %v, links %v", s.Volumes.Why, s.BootTime.Why, s.Links.Why)
	}
	for _, group := range []string{"cpu", "cores", "load", "memory", "volumes", "boot"} {
		if s.CouldNot[group] == nil {
			t.Errorf("no error names %s: %v", group, s.CouldNot)
		}
	}
	if s.CouldNot["temperatures"] != nil {
		t.Errorf("a machine without sensors counts as broken: %v", s.CouldNot["temperatures"])
	}
}

func TestMemoryMustMakeSense(t *testing.T) {
	root := tree(t, "notebook")
	for _, meminfo := range []string{
		"", "MemTotal: 0 kB\n", "MemAvailable: 5 kB\n", "MemTotal: 100 kB\nMemAvailable: 200 kB\n", "garbage\n\n\x00",
	} {
		write(t, root, "proc/meminfo", meminfo)
		s := sysinfo.New(sysinfo.Config{Root: root, Statfs: disks}).Read(t.Context())
		if s.Memory.Total.Why == sysinfo.Present || s.Memory.Used.Why == sysinfo.Present {
			t.Errorf("%q: memory = %+v, want absent", meminfo, s.Memory)
		}
	}
}

func TestSerialDenied(t *testing.T) {
	if os.Geteuid() == 0 {
		// Root reads every file: a folder in its place fails otherwise, and that
		// is told as a failure and not as a machine without a serial number.
		root := tree(t, "notebook")
		serial := filepath.Join(root, "sys/class/dmi/id/product_serial")
		if err := errors.Join(os.Remove(serial), os.Mkdir(serial, 0o755)); err != nil {
			t.Fatal(err)
		}
		id := sysinfo.New(sysinfo.Config{Root: root}).Identify(t.Context())
		if id.Serial.Why != sysinfo.Failed || id.Model.Value != "ThinkPad T490" {
			t.Errorf("Identify = %+v, want a failed serial and the model", id)
		}
		return
	}
	root := tree(t, "notebook")
	if err := os.Chmod(filepath.Join(root, "sys/class/dmi/id/product_serial"), 0); err != nil {
		t.Fatal(err)
	}
	id := sysinfo.New(sysinfo.Config{Root: root}).Identify(t.Context())
	if id.Serial.Why != sysinfo.Denied {
		t.Errorf("Serial = %+v, want denied", id.Serial)
	}
}

// TestThisMachine: on the machine that runs the test the basics are there.
func TestThisMachine(t *testing.T) {
	r := sysinfo.New(sysinfo.Config{Within: time.Minute}) // none is cut off by what else runs here
	s := r.Read(t.Context())
	if len(s.CutOff) != 0 || len(s.CouldNot) != 0 {
		t.Errorf("cut off %v, could not %v", s.CutOff, s.CouldNot)
	}
	total, ok1 := s.Memory.Total.Get()
	used, ok2 := s.Memory.Used.Get()
	if !ok1 || !ok2 || used <= 0 || used >= total {
		t.Errorf("memory = %+v", s.Memory)
	}
	if boot, ok := s.BootTime.Get(); !ok || !boot.Before(time.Now()) {
		t.Errorf("boot time = %+v", s.BootTime)
	}
	if rss, ok := s.Self.Memory.Get(); !ok || rss < 1<<20 {
		t.Errorf("own memory = %+v", s.Self.Memory)
	}
	if name, _ := os.Hostname(); len(name) > 3 && strings.Contains(fmt.Sprintf("%+v", s), name) {
		t.Errorf("the snapshot holds the host name %q: %+v", name, s)
	}
}
