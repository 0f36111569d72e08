package scenario

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hausmeister/agent"
	"hausmeister/installer/bundle"
	"hausmeister/platform/sysinfo"
	"hausmeister/testenv/need"
	"hausmeister/testenv/programs"
)

// What the service told, held value by value against the tools of the system
// that it runs on: totals within 2 %, what is used within 10 %. The tools are
// asked before and after, and a value may lie anywhere between.

// told is what a device told, by the name of the reading and its instance.
type told map[string]map[string]agent.ReportReading

// tools is what the system's own tools say at one moment.
type tools struct {
	free, df, lscpu, dpkg, uptime, osRelease string
	smartctl                                 string            // JSON of its scan; empty = there is no smartctl
	files                                    map[string]string // first lines below /proc and /sys
}

// A check is one comparison: what does not fit, and how many values could be compared.
type check struct {
	told          told
	software      map[string]string
	before, after tools
	compared      int
	faults        []string
}

// comparisons by what a machine lacks on which one finds nothing to compare.
var comparisons = []struct {
	name, lacks string
	compare     func(*check)
}{
	{"memory", "memory", (*check).memory},
	{"volumes", "a file system on a disk (or loop devices to make one)", (*check).volumes},
	{"processor", "a processor that lscpu knows", (*check).processor},
	{"load", "a load average", (*check).load},
	{"boot", "a time of boot", (*check).boot},
	{"system", "an os-release", (*check).system},
	{"maker", "a maker and model in its firmware", (*check).maker},
	{"battery", "a battery", (*check).battery},
	{"temperatures", "sensors of temperature", (*check).temperatures},
	{"adapters", "a network adapter of its own", (*check).adapters},
	{"disks", "smartctl and a disk that it knows", (*check).disks},
	{"software", "packages of dpkg", (*check).packages},
}

// againstTools compares a report that was made after a restart of the service.
func (d device) againstTools() {
	d.t.Helper()
	before := d.tools()
	began := time.Now()
	d.exec("systemctl", "restart", bundle.Unit) // each start makes a report soon
	told := d.toldSince(began)
	software := d.software()
	after := d.tools()
	for _, c := range comparisons {
		d.t.Run("tools/"+c.name, func(t *testing.T) {
			h := &check{told: told, software: software, before: before, after: after}
			c.compare(h)
			for _, fault := range h.faults {
				t.Error(fault)
			}
			if h.compared == 0 && len(h.faults) == 0 {
				need.Skip(t, "%s", c.lacks)
			}
			t.Logf("%d values agree", h.compared)
			// A comparison that no wrong report can fail shows nothing.
			wrong := &check{told: told.falsified(), software: falsified(software), before: before, after: after}
			if c.compare(wrong); len(wrong.faults) < h.compared {
				t.Errorf("of a report with %d wrong values %d were noticed: %v", h.compared, len(wrong.faults), wrong.faults)
			}
			nothing := &check{before: before, after: after}
			if c.compare(nothing); len(nothing.faults) == 0 {
				t.Error("a report without a value was not noticed")
			}
		})
	}
}

// toldSince waits for the State of the service that was made after a moment.
func (d device) toldSince(began time.Time) told {
	d.t.Helper()
	out := told{}
	eventually(d.t, 3*time.Minute, "a State is told and shown", func() (bool, error) {
		text, err := d.Exec(d.t.Context(), "cat", "/opt/hausmeister/public/"+agent.LastReportFile)
		if err != nil {
			return false, err
		}
		var r agent.Report
		if err := json.Unmarshal([]byte(text), &r); err != nil || r.State == nil || r.State.DeviceTime.Before(began) {
			return false, err
		}
		for _, v := range r.Readings {
			if out[v.Name] == nil {
				out[v.Name] = map[string]agent.ReportReading{}
			}
			out[v.Name][v.Instance] = v
		}
		return true, nil
	})
	return out
}

// software is the list of programs as the agent's own reader makes it. The
// service reads it minutes after its start, which is long to wait for.
func (d device) software() map[string]string {
	d.t.Helper()
	program, err := os.ReadFile(filepath.Join(programs.Build(d.t), "hausmeister-read"))
	must(d.t, err)
	must(d.t, d.WriteFile("/root/hausmeister-read", program, 0o755))
	var answer struct {
		Software      []sysinfo.Program
		SoftwareError string
	}
	must(d.t, json.Unmarshal([]byte(d.exec("/root/hausmeister-read")), &answer))
	if answer.SoftwareError != "" {
		d.t.Errorf("list of programs: %s", answer.SoftwareError)
	}
	out := map[string]string{}
	for _, p := range answer.Software {
		out[p.Name] = p.Version
	}
	return out
}

// firstLines prints the first line of each file that a pattern fits.
const firstLines = `for f; do [ -e "$f" ] && printf '%s\t%s\n' "$f" "$(head -n 1 "$f" 2>/dev/null)"; done; true`

func (d device) tools() tools {
	d.t.Helper()
	files := `/proc/loadavg /proc/sys/kernel/osrelease /etc/debian_version /sys/class/dmi/id/sys_vendor /sys/class/dmi/id/product_name
		/sys/class/net/*/device /sys/class/net/*/operstate /sys/class/net/*/type
		/sys/class/power_supply/*/type /sys/class/power_supply/*/scope /sys/class/power_supply/*/capacity
		/sys/class/hwmon/*/temp*_input /sys/class/thermal/thermal_zone*/temp`
	t := tools{
		free:      d.exec("free", "-b"),
		df:        d.exec("df", "-B1", "--output=target,fstype,size,avail,itotal,iavail"),
		lscpu:     d.exec("lscpu", "-J"),
		dpkg:      d.exec("env", "COLUMNS=1000", "dpkg", "-l"),
		uptime:    d.exec("uptime", "-s"),
		osRelease: d.exec("cat", "/etc/os-release"),
		files:     map[string]string{},
	}
	if _, err := d.Exec(d.t.Context(), "sh", "-c", "command -v smartctl"); err == nil {
		t.smartctl = d.exec("smartctl", "-j", "--scan")
	}
	for line := range strings.Lines(d.exec("sh", "-c", "set -- "+strings.Join(strings.Fields(files), " ")+"; "+firstLines)) {
		name, value, _ := strings.Cut(strings.TrimRight(line, "\n"), "\t")
		t.files[name] = strings.TrimSpace(value)
	}
	return t
}

// falsified is a report in which no value is right.
func (t told) falsified() told {
	out := told{}
	for name, all := range t {
		out[name] = map[string]agent.ReportReading{}
		for instance, v := range all {
			if v.Number != nil {
				v.Number = new(2**v.Number + 1<<31)
			}
			if v.Text != nil {
				v.Text = new(*v.Text + "x")
			}
			out[name][instance] = v
		}
	}
	return out
}

func falsified(software map[string]string) map[string]string {
	out := map[string]string{}
	for name, version := range software {
		out[name] = version + "x"
	}
	return out
}

func (h *check) fault(format string, args ...any) {
	h.faults = append(h.faults, fmt.Sprintf(format, args...))
}

// number compares what was told with what a tool said before and after it.
func (h *check) number(name, instance string, before, after int64, percent, floor float64) {
	h.compared++
	v := h.told[name][instance]
	slack := max(float64(max(before, after))*percent/100, floor)
	if v.Number == nil || float64(*v.Number) < float64(min(before, after))-slack || float64(*v.Number) > float64(max(before, after))+slack {
		h.fault("%s %s is told as %s, the tool says %d to %d", name, instance, shown(v), before, after)
	}
}

func (h *check) text(name, want string) {
	h.compared++
	if v := h.told[name][""]; v.Text == nil || *v.Text != want {
		h.fault("%s is told as %s, the tool says %q", name, shown(v), want)
	}
}

// none holds that a reading is told as absent, which counts as no value.
func (h *check) none(name string) {
	all := h.told[name]
	for instance, v := range all {
		if v.Number != nil || v.Text != nil {
			h.fault("%s %s is told as %s on a machine without", name, instance, shown(v))
		}
	}
	if len(all) == 0 {
		h.fault("%s is not told at all, not even why it is not there", name)
	}
}

func shown(v agent.ReportReading) string {
	switch {
	case v.Number != nil:
		return strconv.FormatInt(*v.Number, 10)
	case v.Text != nil:
		return strconv.Quote(*v.Text)
	case v.Absent != "":
		return v.Absent
	}
	return "nothing"
}

// fields finds the line that begins with a word.
func fields(text, first string) []string {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 0 && f[0] == first {
			return f
		}
	}
	return nil
}

// at is a field as a number; -1, which fits nothing, where there is none.
func at(f []string, i int) int64 {
	if i >= len(f) {
		return -1
	}
	n, err := strconv.ParseInt(f[i], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

func (h *check) memory() {
	b, a := fields(h.before.free, "Mem:"), fields(h.after.free, "Mem:")
	h.number("memory_total", "", at(b, 1), at(a, 1), 2, 0)
	// free's "used" leaves out what can be had back; ours is total minus available.
	h.number("memory_used", "", at(b, 1)-at(b, 6), at(a, 1)-at(a, 6), 10, 64<<20)
	b, a = fields(h.before.free, "Swap:"), fields(h.after.free, "Swap:")
	h.number("swap_total", "", at(b, 1), at(a, 1), 2, 0)
	if at(a, 1) == 0 {
		h.none("swap_used")
		return
	}
	h.number("swap_used", "", at(b, 2), at(a, 2), 10, 16<<20)
}

// onDisk are file systems that lie on a disk of the machine; below elsewhere is
// what others brought: a stick, or what the container shows of its host.
var (
	onDisk    = []string{"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "vfat", "exfat"}
	elsewhere = regexp.MustCompile(`^/(run|media|mnt|proc|sys|dev)/`)
)

func (h *check) volumes() {
	there := map[string]bool{}
	for line := range strings.Lines(h.after.df) {
		f := strings.Fields(line)
		if len(f) != 6 || !slices.Contains(onDisk, f[1]) || elsewhere.MatchString(f[0]) {
			continue
		}
		b := fields(h.before.df, f[0])
		there[f[0]] = true
		h.number("volume_total", f[0], at(b, 2), at(f, 2), 2, 0)
		h.number("volume_free", f[0], at(b, 3), at(f, 3), 10, 1<<20)
		if total := at(f, 4); total > 0 {
			h.number("volume_inodes_free", f[0], 1000*at(b, 5)/total, 1000*at(f, 5)/total, 2, 1)
		}
	}
	if len(there) == 0 {
		h.none("volume_total")
		return
	}
	for instance := range h.told["volume_total"] {
		if !there[instance] {
			h.fault("volume %s is told, df has %v", instance, slices.Sorted(maps.Keys(there)))
		}
	}
}

func (h *check) processor() {
	var cpu struct {
		Lscpu []struct{ Field, Data string }
	}
	if err := json.Unmarshal([]byte(h.after.lscpu), &cpu); err != nil {
		h.fault("lscpu: %v", err)
	}
	for _, f := range cpu.Lscpu {
		switch f.Field {
		case "CPU(s):":
			n := at([]string{f.Data}, 0)
			h.number("cpu_cores", "", n, n, 0, 0)
		case "Architecture:":
			h.text("architecture", map[string]string{"x86_64": "amd64", "aarch64": "arm64"}[f.Data])
		}
	}
}

func (h *check) load() {
	milli := func(t tools) int64 {
		f := strings.Fields(t.files["/proc/loadavg"])
		if len(f) == 0 {
			return -1
		}
		v, err := strconv.ParseFloat(f[0], 64)
		if err != nil {
			return -1
		}
		return int64(1000 * v)
	}
	// It moves by some tenths in seconds on a machine that runs other tests.
	h.number("load_1", "", milli(h.before), milli(h.after), 10, 1000)
}

func (h *check) boot() {
	// uptime reckons in the zone of the machine, which is UTC, to the second.
	at, err := time.Parse(time.DateTime, h.after.uptime)
	if err != nil {
		h.fault("uptime -s: %v", err)
		return
	}
	h.number("boot_time", "", at.UnixMilli(), at.UnixMilli(), 0, 3000)
}

func (h *check) system() {
	for line := range strings.Lines(h.after.osRelease) {
		if k, v, _ := strings.Cut(strings.TrimSpace(line), "="); k == "PRETTY_NAME" {
			h.text("os_name", strings.Trim(v, `"`))
		}
	}
	h.text("os_patch", h.after.files["/etc/debian_version"])
	h.text("os_build", h.after.files["/proc/sys/kernel/osrelease"])
}

func (h *check) maker() {
	for name, file := range map[string]string{"manufacturer": "sys_vendor", "model": "product_name"} {
		if want := h.after.files["/sys/class/dmi/id/"+file]; want != "" {
			h.text(name, want)
		}
	}
	if h.compared == 0 {
		h.none("manufacturer")
	}
}

// below gives the values of files that fit a pattern.
func (t tools) below(pattern string) (values []string) {
	for name, value := range t.files {
		if ok, _ := filepath.Match(pattern, name); ok {
			values = append(values, value)
		}
	}
	return values
}

func (h *check) battery() {
	for name, kind := range h.after.files {
		dir, is := strings.CutSuffix(name, "/type")
		if !is || kind != "Battery" || h.after.files[dir+"/scope"] == "Device" {
			continue
		}
		b, a := at([]string{h.before.files[dir+"/capacity"]}, 0), at([]string{h.after.files[dir+"/capacity"]}, 0)
		h.number("battery_charge", "", 10*b, 10*a, 10, 20)
	}
	if h.compared == 0 {
		h.none("battery_charge")
	}
}

func (h *check) temperatures() {
	var low, high int64
	for _, t := range []tools{h.before, h.after} {
		for _, v := range append(t.below("/sys/class/hwmon/*/temp*_input"), t.below("/sys/class/thermal/*/temp")...) {
			n := at([]string{v}, 0)
			if low == 0 || n < low {
				low = n
			}
			high = max(high, n)
		}
	}
	if high <= 0 {
		h.none("temperature")
		return
	}
	for place := range h.told["temperature"] {
		h.number("temperature", place, low, high, 10, 5000)
	}
}

func (h *check) adapters() {
	up := map[bool]int{}
	for name := range h.after.files {
		if dir, is := strings.CutSuffix(name, "/device"); is && strings.HasPrefix(dir, "/sys/class/net/") {
			up[h.after.files[dir+"/operstate"] == "up"]++
		}
	}
	if len(up) == 0 {
		h.none("link_state")
		return
	}
	states := map[string]int{}
	for _, v := range h.told["link_state"] {
		states[shown(v)]++
	}
	for is, code := range map[bool]string{true: `"up"`, false: `"down"`} {
		if h.compared += min(up[is], 1); states[code] != up[is] {
			h.fault("%d adapters are told as %s, /sys has %d", states[code], code, up[is])
		}
	}
}

func (h *check) disks() {
	var scan struct {
		Devices []struct{ Name string }
	}
	if h.after.smartctl != "" {
		if err := json.Unmarshal([]byte(h.after.smartctl), &scan); err != nil {
			h.fault("smartctl: %v", err)
		}
	}
	healthy := 0
	for _, v := range h.told["disk_health"] {
		if v.Text != nil && !strings.HasSuffix(*v.Text, "x") {
			healthy++
		}
	}
	if len(scan.Devices) == 0 {
		return
	}
	if h.compared++; healthy == 0 {
		h.fault("smartctl knows %v, no health of a disk is told", scan.Devices)
	}
}

// packages compares names and versions whole, both ways.
func (h *check) packages() {
	want := map[string]string{}
	for line := range strings.Lines(h.after.dpkg) {
		if f := strings.Fields(line); len(f) > 2 && len(f[0]) == 2 && f[0][1] == 'i' {
			name, _, _ := strings.Cut(f[1], ":") // an architecture
			want[name] = f[2]
		}
	}
	for name, version := range want {
		if h.compared++; h.software[name] != version {
			h.fault("package %s is told with version %q, dpkg -l says %q", name, h.software[name], version)
		}
	}
	for name := range h.software {
		if want[name] == "" {
			h.fault("package %s is told, dpkg -l does not have it", name)
		}
	}
}
