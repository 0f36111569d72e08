package sysinfo_test

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"hausmeister/platform/sysinfo"
	"hausmeister/testenv/need"
)

// The machine that runs the tests, held against its own tools: totals within
// 2 %, what is used within 10 % (issue 4).

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	path := need.Programs(t, name)[0]
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return string(out)
}

func near(t *testing.T, what string, got sysinfo.Opt[int64], want int64, percent, floor float64) {
	t.Helper()
	v, ok := got.Get()
	if !ok || math.Abs(float64(v-want)) > max(math.Abs(float64(want))*percent/100, floor) {
		t.Errorf("%s = %+v, want %d within %v %%", what, got, want, percent)
	}
}

// between is near for what is one or the other, or on the way from one to the other.
func between(t *testing.T, what string, got sysinfo.Opt[int64], one, other int64, percent, floor float64) {
	t.Helper()
	v := max(min(one, other), min(got.Value, max(one, other)))
	near(t, what, got, v, percent, floor)
}

func number(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// slowly lets no group be cut off on a machine that runs many tests at once.
var slowly = sysinfo.Config{Within: time.Minute}

// memory is what free says: of all, of what is used, both of memory and of swap.
func memory(t *testing.T) (total, used, swap, swapped int64) {
	t.Helper()
	for line := range strings.Lines(tool(t, "free", "-b")) {
		f := strings.Fields(line)
		switch {
		case len(f) > 6 && f[0] == "Mem:":
			// free's "used" leaves out what can be had back; ours is total minus available.
			total, used = number(t, f[1]), number(t, f[1])-number(t, f[6])
		case len(f) > 2 && f[0] == "Swap:":
			swap, swapped = number(t, f[1]), number(t, f[2])
		}
	}
	return total, used, swap, swapped
}

// TestLiveMemory holds ours against what free says before and after: other programs of
// this machine begin and end meanwhile.
func TestLiveMemory(t *testing.T) {
	total, used, swap, swapped := memory(t)
	m := sysinfo.New(slowly).Read(t.Context()).Memory
	_, usedThen, _, swappedThen := memory(t)
	near(t, "total memory", m.Total, total, 2, 0)
	between(t, "used memory", m.Used, used, usedThen, 10, 64<<20)
	near(t, "total swap", m.SwapTotal, swap, 2, 0)
	if swap > 0 {
		between(t, "used swap", m.SwapUsed, swapped, swappedThen, 10, 16<<20)
	}
}

func TestLiveVolumes(t *testing.T) {
	bytesOf := strings.Fields(strings.SplitN(tool(t, "df", "-B1", "--output=size,avail", "/"), "\n", 2)[1])
	inodes := strings.Fields(strings.SplitN(tool(t, "df", "--output=itotal,iavail", "/"), "\n", 2)[1])
	for _, v := range sysinfo.New(slowly).Read(t.Context()).Volumes.Value {
		if v.Name != "/" {
			continue
		}
		near(t, "size of /", v.Total, number(t, bytesOf[0]), 2, 0)
		near(t, "free on /", v.Free, number(t, bytesOf[1]), 10, 0)
		if total := number(t, inodes[0]); total > 0 {
			near(t, "free entries of /", v.InodesFree, 1000*number(t, inodes[1])/total, 2, 1)
		}
		return
	}
	need.Skip(t, "a volume at /")
}

func TestLiveProcessor(t *testing.T) {
	out := tool(t, "lscpu", "-J", "--bytes")
	var cpu struct {
		Lscpu []struct{ Field, Data string }
	}
	if err := json.Unmarshal([]byte(out), &cpu); err != nil {
		t.Fatal(err)
	}
	r := sysinfo.New(slowly)
	r.Read(t.Context())
	for _, f := range cpu.Lscpu {
		if f.Field == "CPU(s):" {
			near(t, "cores", r.Read(t.Context()).CPU.Cores, number(t, f.Data), 0, 0)
			return
		}
	}
	t.Errorf("lscpu told no number of processors:\n%s", out)
}

func TestLiveSoftware(t *testing.T) {
	out := tool(t, "dpkg", "-l")
	want := make(map[string]bool)
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) > 2 && len(f[0]) == 2 && f[0][1] == 'i' {
			name, _, _ := strings.Cut(f[1], ":") // an architecture
			want[name] = true
		}
	}
	got, err := sysinfo.New(slowly).Software(t.Context())
	if err != nil || len(got) < len(want) {
		t.Fatalf("%d programs, %v; dpkg -l has %d", len(got), err, len(want))
	}
	for i, p := range got {
		delete(want, p.Name)
		if i > 0 && got[i-1].Name >= p.Name {
			t.Errorf("%s stands after %s", p.Name, got[i-1].Name)
		}
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

func TestLiveDisks(t *testing.T) {
	path := need.Programs(t, "smartctl")[0]
	need.Root(t)
	out, err := exec.Command(path, "-j", "--scan").Output()
	var scan struct {
		Devices []struct{ Name, Protocol string }
	}
	if err != nil || json.Unmarshal(out, &scan) != nil || len(scan.Devices) == 0 {
		need.Skip(t, "a disk that smartctl knows")
	}
	ds := sysinfo.New(slowly).Read(t.Context()).Disks.Value
	healthy := 0
	for _, d := range ds {
		if d.Health.Why == sysinfo.Present {
			healthy++
		}
	}
	if healthy == 0 {
		t.Errorf("smartctl finds %+v, none of %+v has its health", scan.Devices, ds)
	}
}

// TestLiveKernel: what the kernel tells in its own files, read another way.
func TestLiveKernel(t *testing.T) {
	s := sysinfo.New(slowly).Read(t.Context())
	if _, err := os.Stat("/proc/pressure/cpu"); err == nil && len(s.Pressure.Value) != 3 {
		t.Errorf("pressure = %+v, want three", s.Pressure)
	}
	if chips, _ := os.ReadDir("/sys/class/tpm"); (len(chips) > 0) != (s.Protection.TPM.Why == sysinfo.Present) {
		t.Errorf("tpm = %+v with %d chips", s.Protection.TPM, len(chips))
	}
	if _, err := os.Stat("/sys/firmware/efi"); os.IsNotExist(err) && s.Protection.SecureBoot.Why != sysinfo.NotSupported {
		t.Errorf("secure boot = %+v without EFI", s.Protection.SecureBoot)
	}
	if b, err := os.ReadFile("/etc/debian_version"); err == nil && s.Identity.OSPatch.Value != string(bytes.TrimSpace(b)) && b[0] <= '9' {
		t.Errorf("patch level = %+v, want %s", s.Identity.OSPatch, b)
	}
	for what, why := range map[string]sysinfo.Absence{
		"restart": s.Restart.Why, "encryption": s.Protection.Encryption.Why, "firewall": s.Protection.Firewall.Why,
		"antivirus": s.Protection.Antivirus.Why, "disks": s.Disks.Why, "fans": s.Fans.Why, "printers": s.Printers.Why,
		"metered": s.Metered.Why, "crashes": s.Crashes.System.Why,
	} {
		if why == sysinfo.Unread || why == sysinfo.Failed || why == sysinfo.TimedOut {
			t.Errorf("%s: absence %d, want a value or an honest reason", what, why)
		}
	}
	t.Logf("%+v", s)
}

// TestLiveUpdates asks apt itself, which takes some seconds.
func TestLiveUpdates(t *testing.T) {
	need.Programs(t, "apt-get")
	now := time.Now()
	r := sysinfo.New(sysinfo.Config{Within: 5 * time.Minute, Now: func() time.Time { return now }})
	r.Read(t.Context())
	now = now.Add(6 * time.Minute)
	s := r.Read(t.Context())
	u := s.Updates
	if u.Pending.Why == sysinfo.NotSupported {
		need.Skip(t, "package lists that are not too old")
	}
	if u.Pending.Why != sysinfo.Present || u.Security.Why != sysinfo.Present || u.Security.Value > u.Pending.Value {
		t.Errorf("updates = %+v (%v)", u, s.CouldNot)
	}
	if last, ok := u.Last.Get(); ok && last.After(now.Add(time.Hour)) {
		t.Errorf("last update at %v", last)
	}
	t.Logf("%+v, and own CPU with the programs %+v", u, s.Self.CPU)
}
