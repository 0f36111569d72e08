package sysinfo

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// coreTimes reads the lines cpu0, cpu1 ... of /proc/stat (proc_stat(5)), in
// hundredths of a second. A core that is switched off has none.
func (l *linux) coreTimes(context.Context) ([]cpuTimes, error) {
	b, err := l.read("/proc/stat")
	if err != nil {
		return nil, err
	}
	var cores []cpuTimes
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 5 || !strings.HasPrefix(f[0], "cpu") || f[0] == "cpu" {
			continue
		}
		var t cpuTimes
		// user nice system idle iowait irq softirq steal; guest is contained in user.
		for i, s := range f[1:min(len(f), 9)] {
			v, err := strconv.ParseFloat(s, 64)
			if err != nil {
				return nil, fmt.Errorf("reading %s in /proc/stat: %w", f[0], err)
			}
			t.total += v
			if i != 3 && i != 4 {
				t.busy += v
			}
		}
		cores = append(cores, t)
	}
	if len(cores) == 0 {
		return nil, errNotSupported
	}
	return cores, nil
}

// speed reads how far the frequency is limited (Documentation/admin-guide/pm/cpufreq:
// the limits of the user, the governor's policy and the firmware meet in
// scaling_max_freq and bios_limit) and how often a core or the whole package
// was slowed down for heat (thermal_throttle, x86 only).
func (l *linux) speed(context.Context) (speed, error) {
	s := speed{limit: None[int64](NotSupported), throttled: None[int64](NotSupported)}
	var may, can int64
	for _, policy := range l.glob("/sys/devices/system/cpu/cpufreq/policy*") {
		most, err := l.number(policy + "/cpuinfo_max_freq")
		if err != nil || most <= 0 {
			continue
		}
		limit, err := l.number(policy + "/scaling_max_freq")
		if err != nil {
			continue
		}
		if firmware, err := l.number(policy + "/bios_limit"); err == nil && firmware > 0 {
			limit = min(limit, firmware)
		}
		may, can = may+min(limit, most), can+most
	}
	if can > 0 {
		s.limit = Some((1000*may + can/2) / can)
	}
	// Each core counts what befell its package too, and each thread what befell
	// its core: the highest of them, so that one event is counted once.
	for _, kind := range []string{"core", "package"} {
		for _, f := range l.glob("/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/" + kind + "_throttle_count") {
			if n, err := l.number(f); err == nil {
				s.throttled = Some(max(n, s.throttled.Value))
			}
		}
	}
	return s, nil
}

// pressure reads pressure stall information (Documentation/accounting/psi.rst).
// A kernel without it has no such folder, one where it is switched off answers
// with EOPNOTSUPP.
func (l *linux) pressure(context.Context) ([]Pressure, error) {
	var ps []Pressure
	for _, name := range []string{"cpu", "memory", "io"} {
		text, err := l.line("/proc/pressure/" + name)
		switch {
		case err != nil && !l.exists("/proc/pressure"):
			return nil, errNotSupported
		case errors.Is(err, errors.ErrUnsupported):
			return nil, errNotSupported
		case err != nil:
			return nil, err
		}
		permille, err := parsePressure(text)
		if err != nil {
			return nil, fmt.Errorf("reading the pressure of %s: %w", name, err)
		}
		ps = append(ps, Pressure{name, permille})
	}
	return ps, nil
}

// parsePressure takes the mean of a minute in which some task waited, in permille.
func parsePressure(text string) (int64, error) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 3 || f[0] != "some" {
			continue
		}
		v, ok := strings.CutPrefix(f[2], "avg60=")
		pct, err := strconv.ParseFloat(v, 64)
		if !ok || err != nil || pct < 0 || pct > 100 {
			return 0, fmt.Errorf("mean of a minute is %q", f[2])
		}
		return int64(10*pct + 0.5), nil
	}
	return 0, errors.New("no line of some")
}
