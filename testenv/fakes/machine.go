package fakes

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"hausmeister/platform/sysinfo"
)

// seed is the day on which the first of the real devices were decided on.
const seed = 20210128

const (
	mebi = 1 << 20
	gibi = 1 << 30
)

// A model is a kind of device and its share among those that run an agent.
type model struct {
	share               int // per hundred
	os, osName, osBuild string
	arch                string
	manufacturer, name  string
	memory, disk        int64
	cores               int64
	patch               string
	supportEnd          string
}

var models = []model{
	{70, "windows", "Windows 11 Education", "10.0.26100.4061", "amd64", "FUJITSU", "LIFEBOOK A3510", 8 * gibi, 238 * gibi, 4, "24H2 (4061)", "2027-10-12"},
	{18, "windows", "Windows 11 Education", "10.0.26100.2314", "amd64", "FUJITSU", "LIFEBOOK U7311", 16 * gibi, 476 * gibi, 8, "24H2 (2314)", "2027-10-12"},
	{8, "windows", "Windows 10 Education", "10.0.19045.5131", "amd64", "Microsoft Corporation", "Surface Go 2", 8 * gibi, 119 * gibi, 4, "22H2 (5131)", "2025-10-14"},
	{4, "darwin", "macOS 15", "24B91", "arm64", "Apple Inc.", "MacBookAir10,1", 8 * gibi, 228 * gibi, 8, "15.1", "2027-09-30"},
}

func (m model) end() sysinfo.Opt[time.Time] {
	t, err := time.Parse(time.DateOnly, m.supportEnd)
	if err != nil {
		return sysinfo.None[time.Time](sysinfo.Failed)
	}
	return sysinfo.Some(t)
}

// A Machine is the n-th invented device; it stands in for platform/sysinfo.
type Machine struct {
	model  model
	number int
	now    func() time.Time
	boot   time.Time
	traits traits

	mu sync.Mutex
	// below is guarded by mu
	random *rand.Rand

	cpu, charge, memory, free, heat float64 // as last read
	health, cycles                  int64
	mains                           bool
	last                            time.Time
}

// NewMachine makes the n-th machine, which was switched on some hours ago.
func NewMachine(n int, now func() time.Time) *Machine {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	m := &Machine{number: n, now: now, random: r, model: pick(r.IntN(100)), last: now()}
	m.boot = now().Add(-time.Duration(r.Int64N(int64(9 * time.Hour))))
	m.cpu = 30 + 120*r.Float64()
	m.charge = 200 + 800*r.Float64()
	m.memory = 0.35 + 0.4*r.Float64()
	// Most have room, some little: log-normal, about 6 % below a tenth.
	m.free = min(0.9, 0.4*math.Exp(0.9*r.NormFloat64()))
	m.heat = 38 + 8*r.Float64()
	m.health = int64(min(1000, max(250, 680+120*r.NormFloat64())))
	m.cycles = 200 + r.Int64N(500)
	m.mains = r.IntN(3) == 0
	m.traits = newTraits(n)
	return m
}

func pick(percent int) model {
	for _, m := range models {
		if percent -= m.share; percent < 0 {
			return m
		}
	}
	return models[0]
}

// OS is what the machine's operating system is called on the wire.
func (m *Machine) OS() string { return m.model.os }

// Identity is what the machine is.
func (m *Machine) Identity() sysinfo.Identity {
	return sysinfo.Identity{
		OS:           m.model.os,
		OSName:       sysinfo.Some(m.model.osName),
		OSBuild:      sysinfo.Some(m.model.osBuild),
		OSPatch:      sysinfo.Some(m.model.patch),
		SupportEnd:   m.model.end(),
		Architecture: sysinfo.Some(m.model.arch),
		Manufacturer: sysinfo.Some(m.model.manufacturer),
		Model:        sysinfo.Some(m.model.name),
		Serial:       sysinfo.Some(fmt.Sprintf("DEMO%06d", m.number)),
	}
}

// Read lets the time since the last Read pass and tells how the machine is.
func (m *Machine) Read(context.Context) sysinfo.Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.live(now.Sub(m.last).Minutes())
	m.last = now
	total := m.model.memory - 180*mebi // what the firmware and the graphics keep
	volume := "/"
	if m.model.os == "windows" {
		volume = "C:"
	}
	load := sysinfo.None[int64](sysinfo.NotSupported)
	if m.model.os != "windows" {
		load = sysinfo.Some(int64(m.cpu) * m.model.cores)
	}
	s := sysinfo.Snapshot{
		Time:   now,
		CPU:    sysinfo.CPU{Used: sysinfo.Some(int64(m.cpu)), Cores: sysinfo.Some(m.model.cores), Load1: load},
		Memory: sysinfo.Memory{Total: sysinfo.Some(total), Used: sysinfo.Some(int64(m.memory * float64(total))), SwapTotal: sysinfo.Some[int64](2 * gibi), SwapUsed: sysinfo.Some(int64(m.memory * gibi))},
		Volumes: sysinfo.Some([]sysinfo.Volume{{
			Name: volume, Total: sysinfo.Some(m.model.disk), Free: sysinfo.Some(int64(m.free * float64(m.model.disk))),
		}}),
		Power:        m.power(),
		Temperatures: sysinfo.Some([]sysinfo.Temperature{{Place: "cpu", MilliCelsius: int64(m.heat * 1000)}}),
		Links:        sysinfo.Some([]sysinfo.Link{{Name: "wifi", Up: true, Speed: sysinfo.Some[int64](433_000_000)}}),
		BootTime:     sysinfo.Some(m.boot),
		Identity:     m.Identity(),
		Self:         sysinfo.Self{Memory: sysinfo.Some[int64](12 * mebi), CPU: sysinfo.Some[int64](150)},
	}
	m.add(&s, now)
	return s
}

// live moves everything on by so many minutes.
func (m *Machine) live(minutes float64) {
	minutes = min(max(minutes, 0), 60)
	step := math.Sqrt(minutes) * m.random.NormFloat64()
	m.cpu = min(1000, max(5, m.cpu+60*step-0.1*minutes*(m.cpu-90)))
	m.memory = min(0.95, max(0.2, m.memory+0.02*step))
	m.heat = min(92, max(30, 36+0.045*m.cpu+0.5*step))
	m.free = min(0.95, max(0.01, m.free-0.0001*minutes*m.random.Float64()))
	if m.mains {
		m.charge = min(1000, m.charge+12*minutes)
	} else {
		m.charge = max(20, m.charge-4*minutes)
	}
	// The charger is plugged in when it is needed, and taken out some time later.
	if m.charge < 150 {
		m.mains = true
	} else if m.charge >= 1000 && m.random.Float64() < 0.02*minutes {
		m.mains = false
	}
}
