package sysinfo

import (
	"context"
	"strconv"
	"time"
)

// source is what each operating system implements. A method may return an
// errAbsent; absences of single values are in the value itself.
type source interface {
	cpuTimes(ctx context.Context) (cpuTimes, error)
	cores(ctx context.Context) (int64, error)
	load1(ctx context.Context) (int64, error)
	memory(ctx context.Context) (Memory, error)
	volumes(ctx context.Context) ([]Volume, error)
	power(ctx context.Context) (Power, error)
	temperatures(ctx context.Context) ([]Temperature, error)
	links(ctx context.Context) ([]Link, error)
	bootTime(ctx context.Context) (time.Time, error)
	identity(ctx context.Context) (Identity, error)
	self(ctx context.Context) (footprint, error)
}

// cpuTimes are seconds since boot, of all cores together.
type cpuTimes struct{ busy, total float64 }

// footprint of this process.
type footprint struct {
	resident int64
	cpu      time.Duration // since it started
}

// probes are the groups of src. What a machine hardly changes is read seldom.
func probes(src source) []*probe {
	var times cpuTimes // of the Read before
	var own footprint
	var ownAt time.Time
	return []*probe{
		group("cpu", 0, src.cpuTimes,
			func(s *Snapshot, t cpuTimes) { s.CPU.Used, times = used(times, t), t },
			func(s *Snapshot, why Absence) { s.CPU.Used, times = None[int64](why), cpuTimes{} }),
		group("cores", time.Hour, src.cores,
			func(s *Snapshot, n int64) { s.CPU.Cores = Some(n) },
			func(s *Snapshot, why Absence) { s.CPU.Cores.Why = why }),
		group("load", 0, src.load1,
			func(s *Snapshot, n int64) { s.CPU.Load1 = Some(n) },
			func(s *Snapshot, why Absence) { s.CPU.Load1.Why = why }),
		group("memory", 0, src.memory,
			func(s *Snapshot, m Memory) { s.Memory = m },
			func(s *Snapshot, why Absence) {
				n := None[int64](why)
				s.Memory = Memory{Total: n, Used: n, SwapTotal: n, SwapUsed: n}
			}),
		group("volumes", 0, src.volumes,
			func(s *Snapshot, v []Volume) { s.Volumes = Some(v) },
			func(s *Snapshot, why Absence) { s.Volumes = None[[]Volume](why) }),
		group("power", powerEvery, src.power,
			func(s *Snapshot, p Power) { s.Power = p },
			func(s *Snapshot, why Absence) { s.Power = noPower(why) }),
		group("temperatures", tempEvery, src.temperatures,
			func(s *Snapshot, t []Temperature) { s.Temperatures = Some(t) },
			func(s *Snapshot, why Absence) { s.Temperatures = None[[]Temperature](why) }),
		group("links", 0, src.links,
			func(s *Snapshot, l []Link) { s.Links = Some(l) },
			func(s *Snapshot, why Absence) { s.Links = None[[]Link](why) }),
		group("boot", 10*time.Minute, src.bootTime,
			func(s *Snapshot, t time.Time) { s.BootTime = Some(t) },
			func(s *Snapshot, why Absence) { s.BootTime = None[time.Time](why) }),
		group(groupIdentity, time.Hour, src.identity,
			func(s *Snapshot, id Identity) { s.Identity = id },
			func(s *Snapshot, why Absence) { s.Identity = noIdentity(why) }),
		group("self", 0, src.self,
			func(s *Snapshot, f footprint) {
				s.Self.Memory = Some(f.resident)
				s.Self.CPU = share(f.cpu-own.cpu, s.Time.Sub(ownAt), ownAt.IsZero())
				own, ownAt = f, s.Time
			},
			func(s *Snapshot, why Absence) {
				s.Self = Self{Memory: None[int64](why), CPU: None[int64](why)}
				own, ownAt = footprint{}, time.Time{}
			}),
	}
}

// group makes a probe of one method. fill and absent run in Read, one at a time.
func group[T any](name string, every time.Duration, read func(context.Context) (T, error),
	set func(*Snapshot, T), absent func(*Snapshot, Absence)) *probe {
	return &probe{
		name:  name,
		every: every,
		read: func(ctx context.Context) (fill, error) {
			v, err := read(ctx)
			if err != nil {
				return nil, err
			}
			return func(s *Snapshot) { set(s, v) }, nil
		},
		absent: absent,
	}
}

// used is the share of busy time between two readings of the counters. They may
// go back a little (iowait on Linux does) or start anew; such a tick has none.
func used(before, now cpuTimes) Opt[int64] {
	busy, total := now.busy-before.busy, now.total-before.total
	if before.total == 0 || total <= 0 || busy < 0 {
		return None[int64](Unread)
	}
	return Some(min(int64(1000*busy/total+0.5), 1000))
}

// share is CPU time over elapsed time in millionths.
func share(cpu, elapsed time.Duration, first bool) Opt[int64] {
	if first || elapsed < time.Second || cpu < 0 {
		return None[int64](Unread)
	}
	return Some(int64(1e6 * cpu.Seconds() / elapsed.Seconds()))
}

func noPower(why Absence) Power {
	n := None[int64](why)
	return Power{Source: None[PowerSource](why), State: None[BatteryState](why), Charge: n, Health: n, Cycles: n}
}

// noBattery is the power of a machine that is always on mains.
func noBattery() Power {
	p := noPower(NoHardware)
	p.Source = Some(Mains)
	return p
}

func noIdentity(why Absence) Identity {
	n := None[string](why)
	return Identity{OS: osName, OSName: n, OSBuild: n, Architecture: n, Manufacturer: n, Model: n, Serial: n}
}

// places in the order in which they are told.
var places = []string{"cpu", "gpu", "disk", "wifi", "battery", "case"}

// hottest keeps the highest temperature of each place, in a fixed order.
func hottest(all []Temperature) []Temperature {
	var ts []Temperature
	for _, place := range places {
		top := Temperature{Place: place}
		found := false
		for _, t := range all {
			if t.Place == place && (!found || t.MilliCelsius > top.MilliCelsius) {
				top, found = t, true
			}
		}
		if found {
			ts = append(ts, top)
		}
	}
	return ts
}

// numbered names the nth thing of a kind: "wifi", "wifi 2".
func numbered(kind string, n int) string {
	if n == 1 {
		return kind
	}
	return kind + " " + strconv.Itoa(n)
}
