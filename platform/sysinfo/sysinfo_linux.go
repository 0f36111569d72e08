package sysinfo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/shirou/gopsutil/v3/common"
	"github.com/shirou/gopsutil/v3/cpu"
	"github.com/shirou/gopsutil/v3/load"
	"github.com/shirou/gopsutil/v3/mem"
)

const osName = "linux"

// Sensors and batteries are files here and cheap to read.
const (
	tempEvery  = 0
	powerEvery = 0
)

// linux reads below root, which is "" on a live machine.
type linux struct {
	root   string
	env    common.EnvMap // for gopsutil
	statfs func(path string) (Space, error)
	run    runFunc
	now    func() time.Time

	// Each belongs to the one group that its method reads, of which there is one at a time.
	slept map[string]Disk // what a disk said before it went to sleep
	spun  map[string]bool // fans that have turned
}

func newSource(c Config) source {
	l := &linux{
		root: strings.TrimSuffix(c.Root, "/"), statfs: c.Statfs, run: c.Run, now: c.Now,
		slept: make(map[string]Disk), spun: make(map[string]bool),
	}
	if l.statfs == nil {
		l.statfs = statfs
	}
	switch {
	case l.run != nil:
	case l.root != "": // a recorded tree must not mix with the live machine
		l.run = func(context.Context, string, ...string) ([]byte, error) { return nil, exec.ErrNotFound }
	default:
		l.run = runProgram
	}
	l.env = common.EnvMap{
		common.HostProcEnvKey: l.path("/proc"),
		common.HostSysEnvKey:  l.path("/sys"),
		common.HostEtcEnvKey:  l.path("/etc"),
	}
	return l
}

func (l *linux) path(p string) string { return l.root + p }

// psutil gives the context by which gopsutil finds the root.
func (l *linux) psutil(ctx context.Context) context.Context {
	return context.WithValue(ctx, common.EnvKey, l.env)
}

// ask runs a program of the system. One that is not installed is no failure.
func (l *linux) ask(ctx context.Context, name string, args ...string) ([]byte, error) {
	out, err := l.run(ctx, name, args...)
	if errors.Is(err, exec.ErrNotFound) {
		return nil, errNotSupported
	}
	return out, err
}

// read gives a whole file.
func (l *linux) read(p string) ([]byte, error) { return os.ReadFile(l.path(p)) }

// exists says whether there is such a file or folder.
func (l *linux) exists(p string) bool {
	_, err := os.Stat(l.path(p))
	return err == nil
}

// glob finds files; the names come without the root.
func (l *linux) glob(pattern string) []string {
	found, _ := filepath.Glob(l.path(pattern)) // an error is a broken pattern
	for i, f := range found {
		found[i] = strings.TrimPrefix(f, l.root)
	}
	return found
}

// serviceRuns asks the control groups whether a system service has processes,
// which costs no program and shows nobody's processes. systemd keeps a group for
// as long as the service runs; version 1 has its own hierarchy for that.
func (l *linux) serviceRuns(pattern string) bool {
	for _, tree := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"} {
		// A template's instances have a slice of their own: system-clamd.slice/clamd@scan.service.
		for _, deep := range []string{"/system.slice/", "/system.slice/system-*.slice/"} {
			for _, dir := range l.glob(tree + deep + pattern) {
				if procs, err := l.line(dir + "/cgroup.procs"); err == nil && procs != "" {
					return true
				}
			}
		}
	}
	return false
}

// line reads a file of one value.
func (l *linux) line(p string) (string, error) {
	b, err := os.ReadFile(l.path(p))
	return strings.TrimSpace(strings.TrimRight(string(b), "\x00")), err
}

// number reads a file of one integer.
func (l *linux) number(p string) (int64, error) {
	s, err := l.line(p)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(s, 10, 64)
}

// names lists a folder, sorted; a folder that is not there has none.
func (l *linux) names(p string) ([]string, error) {
	entries, err := os.ReadDir(l.path(p))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

func (l *linux) cpuTimes(ctx context.Context) (cpuTimes, error) {
	ts, err := cpu.TimesWithContext(l.psutil(ctx), false)
	if err != nil {
		return cpuTimes{}, err
	}
	if len(ts) == 0 { // gopsutil says no more than that
		return cpuTimes{}, errors.New("no cpu line in /proc/stat")
	}
	t := ts[0]
	// Guest time is contained in user time.
	total := t.User + t.Nice + t.System + t.Irq + t.Softirq + t.Steal + t.Idle + t.Iowait
	return cpuTimes{busy: total - t.Idle - t.Iowait, total: total}, nil
}

func (l *linux) cores(ctx context.Context) (int64, error) {
	n, err := cpu.CountsWithContext(l.psutil(ctx), true)
	if err == nil && n < 1 {
		err = errors.New("no processor found")
	}
	return int64(n), err
}

func (l *linux) load1(ctx context.Context) (int64, error) {
	// Asked first, since gopsutil answers with the live machine's load instead.
	if _, err := os.Stat(l.path("/proc/loadavg")); err != nil {
		return 0, err
	}
	a, err := load.AvgWithContext(l.psutil(ctx))
	if err != nil {
		return 0, err
	}
	return int64(a.Load1*1000 + 0.5), nil
}

func (l *linux) memory(ctx context.Context) (Memory, error) {
	v, err := mem.VirtualMemoryWithContext(l.psutil(ctx))
	if err != nil {
		return Memory{}, err
	}
	if v.Total == 0 || v.Available > v.Total {
		return Memory{}, fmt.Errorf("memory of %d bytes with %d available", v.Total, v.Available)
	}
	m := Memory{
		Total:     Some(int64(v.Total)),
		Used:      Some(int64(v.Total - v.Available)),
		SwapTotal: Some(int64(v.SwapTotal)),
		SwapUsed:  Some(int64(v.SwapTotal - min(v.SwapFree, v.SwapTotal))),
	}
	if v.SwapTotal == 0 {
		m.SwapUsed = None[int64](NoHardware)
	}
	return m, nil
}

func (l *linux) bootTime(context.Context) (time.Time, error) {
	b, err := os.ReadFile(l.path("/proc/stat"))
	if err != nil {
		return time.Time{}, err
	}
	_, rest, found := strings.Cut(string(b), "\nbtime ")
	if !found {
		return time.Time{}, errors.New("no btime in /proc/stat")
	}
	s, _, _ := strings.Cut(rest, "\n")
	sec, err := strconv.ParseInt(s, 10, 64)
	return time.Unix(sec, 0), err
}

// self reads the live process, whatever the root.
func (l *linux) self(context.Context) (footprint, error) {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return footprint{}, err
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return footprint{}, errors.New("/proc/self/statm is too short")
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return footprint{}, err
	}
	used, err := rusage()
	return footprint{resident: pages * int64(os.Getpagesize()), cpu: used}, err
}

func (l *linux) temperatures(context.Context) ([]Temperature, error) {
	chips, err := l.names("/sys/class/hwmon")
	if err != nil {
		return nil, err
	}
	var all []Temperature
	for _, chip := range chips {
		dir := "/sys/class/hwmon/" + chip
		name, _ := l.line(dir + "/name")
		place := placeOf(name)
		if place == "" {
			continue
		}
		inputs, _ := filepath.Glob(l.path(dir) + "/temp*_input")
		for _, in := range inputs {
			all = l.appendTemp(all, place, strings.TrimPrefix(in, l.root))
		}
	}
	if len(all) == 0 { // phones' and boards' chips often have zones only
		zones, _ := filepath.Glob(l.path("/sys/class/thermal/thermal_zone*"))
		for _, z := range zones {
			dir := strings.TrimPrefix(z, l.root)
			kind, _ := l.line(dir + "/type")
			if place := placeOf(kind); place != "" {
				all = l.appendTemp(all, place, dir+"/temp")
			}
		}
	}
	if len(all) == 0 {
		return nil, errAbsent{NoHardware}
	}
	return hottest(all), nil
}

// appendTemp adds one sensor, unless it has nothing to say: asleep (an error),
// not connected (0 on many laptops), or broken (-273 °C).
func (l *linux) appendTemp(all []Temperature, place, file string) []Temperature {
	v, err := l.number(file)
	if err != nil || v == 0 || v < -40_000 || v > 150_000 {
		return all
	}
	return append(all, Temperature{place, v})
}

// placeOf tells where a sensor chip sits, "" when that is not known.
func placeOf(chip string) string {
	for _, p := range []struct{ prefix, place string }{
		{"coretemp", "cpu"}, {"k10temp", "cpu"}, {"k8temp", "cpu"}, {"zenpower", "cpu"},
		{"cpu", "cpu"}, {"x86_pkg_temp", "cpu"}, {"soc", "cpu"}, {"bcm2", "cpu"},
		{"amdgpu", "gpu"}, {"radeon", "gpu"}, {"nouveau", "gpu"}, {"i915", "gpu"}, {"xe", "gpu"}, {"gpu", "gpu"},
		{"nvme", "disk"}, {"drivetemp", "disk"},
		{"iwlwifi", "wifi"}, {"ath1", "wifi"}, {"mt7", "wifi"}, {"rtw", "wifi"},
		{"BAT", "battery"},
		{"acpitz", "case"}, {"pch_", "case"},
	} {
		if strings.HasPrefix(chip, p.prefix) {
			return p.place
		}
	}
	return ""
}
