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

	coreTimes(ctx context.Context) ([]cpuTimes, error)
	speed(ctx context.Context) (speed, error)
	pressure(ctx context.Context) ([]Pressure, error)
	disks(ctx context.Context) ([]Disk, error)
	fans(ctx context.Context) ([]Fan, error)
	metered(ctx context.Context) (bool, error)
	bootDuration(ctx context.Context) (time.Duration, error)
	updates(ctx context.Context) (Updates, error)
	restart(ctx context.Context) (bool, error)
	encryption(ctx context.Context) (Guard, error)
	firewall(ctx context.Context) (Guard, error)
	antivirus(ctx context.Context) (antivirus, error)
	secureBoot(ctx context.Context) (Guard, error)
	tpm(ctx context.Context) (string, error)
	crashes(ctx context.Context) (Crashes, error)
	printers(ctx context.Context) ([]Printer, error)
	software(ctx context.Context) ([]Program, error)
}

// speed of the processor. throttled counts since boot.
type speed struct {
	limit, throttled Opt[int64]
}

// antivirus program; an age without a value where it does not say.
type antivirus struct {
	guard Guard
	age   Opt[int64] // seconds
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
	var cores []cpuTimes
	var throttled Opt[int64]
	var linkErrors map[string]int64
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
			func(s *Snapshot, l []Link) { s.Links, linkErrors = Some(sinceBefore(l, linkErrors)), countErrors(l) },
			func(s *Snapshot, why Absence) { s.Links, linkErrors = None[[]Link](why), nil }),
		// Read each time: that it moves is how one knows that the clock was set.
		group("boot", 0, src.bootTime,
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
		group("processor cores", 0, src.coreTimes,
			func(s *Snapshot, t []cpuTimes) { s.CPU.CoreUsed, cores = usedEach(cores, t), t },
			func(s *Snapshot, why Absence) { s.CPU.CoreUsed, cores = None[[]int64](why), nil }),
		group("processor speed", 0, src.speed,
			func(s *Snapshot, v speed) {
				s.CPU.SpeedLimit, s.CPU.Throttled = v.limit, sinceCount(throttled, v.throttled)
				throttled = v.throttled
			},
			func(s *Snapshot, why Absence) { s.CPU.SpeedLimit, s.CPU.Throttled = None[int64](why), None[int64](why) }),
		group("pressure", 0, src.pressure,
			func(s *Snapshot, p []Pressure) { s.Pressure = Some(p) },
			func(s *Snapshot, why Absence) { s.Pressure = None[[]Pressure](why) }),
		group("disks", time.Hour, src.disks,
			func(s *Snapshot, d []Disk) { s.Disks = Some(d) },
			func(s *Snapshot, why Absence) { s.Disks = None[[]Disk](why) }),
		group("fans", tempEvery, src.fans,
			func(s *Snapshot, f []Fan) { s.Fans = Some(f) },
			func(s *Snapshot, why Absence) { s.Fans = None[[]Fan](why) }),
		group("metered", 10*time.Minute, src.metered,
			func(s *Snapshot, v bool) { s.Metered = Some(v) },
			func(s *Snapshot, why Absence) { s.Metered = None[bool](why) }),
		// It does not change; while the system still starts it is unread, which is not kept.
		group("boot duration", 24*time.Hour, src.bootDuration,
			func(s *Snapshot, d time.Duration) { s.BootDuration = Some(d) },
			func(s *Snapshot, why Absence) { s.BootDuration = None[time.Duration](why) }),
		patient(group("updates", 12*time.Hour, src.updates,
			func(s *Snapshot, u Updates) { s.Updates = u },
			func(s *Snapshot, why Absence) {
				s.Updates = Updates{Pending: None[int64](why), Security: None[int64](why), Last: None[time.Time](why)}
			})),
		group("restart", programEvery, src.restart,
			func(s *Snapshot, v bool) { s.Restart = Some(v) },
			func(s *Snapshot, why Absence) { s.Restart = None[bool](why) }),
		group("encryption", time.Hour, src.encryption,
			func(s *Snapshot, g Guard) { s.Protection.Encryption = Some(g) },
			func(s *Snapshot, why Absence) { s.Protection.Encryption = None[Guard](why) }),
		group("firewall", programEvery, src.firewall,
			func(s *Snapshot, g Guard) { s.Protection.Firewall = Some(g) },
			func(s *Snapshot, why Absence) { s.Protection.Firewall = None[Guard](why) }),
		group("antivirus", time.Hour, src.antivirus,
			func(s *Snapshot, a antivirus) {
				s.Protection.Antivirus, s.Protection.AntivirusAge = Some(a.guard), a.age
			},
			func(s *Snapshot, why Absence) {
				s.Protection.Antivirus, s.Protection.AntivirusAge = None[Guard](why), None[int64](why)
			}),
		group("secure boot", time.Hour, src.secureBoot,
			func(s *Snapshot, g Guard) { s.Protection.SecureBoot = Some(g) },
			func(s *Snapshot, why Absence) { s.Protection.SecureBoot = None[Guard](why) }),
		group("tpm", 24*time.Hour, src.tpm,
			func(s *Snapshot, v string) { s.Protection.TPM = Some(v) },
			func(s *Snapshot, why Absence) { s.Protection.TPM = None[string](why) }),
		group("crashes", time.Hour, src.crashes,
			func(s *Snapshot, c Crashes) { s.Crashes = c },
			func(s *Snapshot, why Absence) {
				n := None[int64](why)
				s.Crashes = Crashes{System: n, Programs: n, PowerOffs: n}
			}),
		group("printers", programEvery, src.printers,
			func(s *Snapshot, p []Printer) { s.Printers = Some(p) },
			func(s *Snapshot, why Absence) { s.Printers = None[[]Printer](why) }),
	}
}

// sinceCount is what a counter grew by; one that went back began anew.
func sinceCount(before, now Opt[int64]) Opt[int64] {
	n, ok := now.Get()
	old, known := before.Get()
	switch {
	case !ok:
		return now
	case !known, n < old:
		return None[int64](Unread)
	}
	return Some(n - old)
}

// usedEach is used of each core; a core that came or went makes a new beginning.
func usedEach(before, now []cpuTimes) Opt[[]int64] {
	if len(before) != len(now) || len(now) == 0 {
		return None[[]int64](Unread)
	}
	each := make([]int64, len(now))
	for i := range now {
		u, ok := used(before[i], now[i]).Get()
		if !ok {
			return None[[]int64](Unread)
		}
		each[i] = u
	}
	return Some(each)
}

// countErrors remembers the counters of a Read, sinceBefore replaces them by
// what was added since. A link that is new or began anew has none yet.
func countErrors(links []Link) map[string]int64 {
	m := make(map[string]int64, len(links))
	for _, l := range links {
		if n, ok := l.Errors.Get(); ok {
			m[l.Name] = n
		}
	}
	return m
}

func sinceBefore(links []Link, before map[string]int64) []Link {
	out := make([]Link, len(links))
	for i, l := range links {
		if n, ok := l.Errors.Get(); ok {
			if old, known := before[l.Name]; known && n >= old {
				l.Errors = Some(n - old)
			} else {
				l.Errors = None[int64](Unread)
			}
		}
		out[i] = l
	}
	return out
}

// programEvery is how often a group is read for which some system runs a program
// (nft, rpm, lpstat; powershell takes more). On Linux one takes 20 ms of CPU, so
// that five of them at this interval take 0.003 s per minute of the 0.02 that
// all readings may.
const programEvery = 30 * time.Minute

// patient makes a probe of the dearest group (a simulated upgrade takes 1 to 3
// seconds of CPU, so 0.004 s per minute at every 12 hours): it may take longer,
// without holding the others up, and it leaves the first minutes after the
// agent's start to the lesson.
func patient(p *probe) *probe {
	p.patience, p.later = 24, 5*time.Minute // two minutes of 5 s each
	return p
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
	return Power{Source: None[PowerSource](why), State: None[BatteryState](why), Charge: n, Health: n, Cycles: n,
		Full: n, Design: n, Charger: None[Charger](why)}
}

// noBattery is the power of a machine that is always on mains.
func noBattery() Power {
	p := noPower(NoHardware)
	p.Source = Some(Mains)
	return p
}

func noIdentity(why Absence) Identity {
	n := None[string](why)
	return Identity{OS: osName, OSName: n, OSBuild: n, OSPatch: n, SupportEnd: None[time.Time](why), Architecture: n,
		Manufacturer: n, Model: n, Serial: n}
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
