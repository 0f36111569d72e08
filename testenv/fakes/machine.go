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
	{8, "windows", "Windows 11 Education", "10.0.26100.4061", "amd64", "Microsoft Corporation", "Surface Go 3", 8 * gibi, 119 * gibi, 4, "24H2 (4061)", "2027-10-12"},
	{4, "darwin", "macOS 15", "24B91", "arm64", "Apple Inc.", "MacBookAir10,1", 8 * gibi, 228 * gibi, 8, "15.1", "2027-09-30"},
}

// oldModel is what its system's maker has given up.
var oldModel = model{0, "windows", "Windows 10 Education", "10.0.19045.5131", "amd64", "Microsoft Corporation", "Surface Go", 8 * gibi, 119 * gibi, 4, "22H2 (5131)", "2025-10-14"}

func (m model) end() sysinfo.Opt[time.Time] {
	t, err := time.Parse(time.DateOnly, m.supportEnd)
	if err != nil {
		return sysinfo.None[time.Time](sysinfo.Failed)
	}
	return sysinfo.Some(t)
}

// A Machine is the n-th invented device; it stands in for platform/sysinfo.
// What it changes slowly follows from its story and the day (see tale), what it
// changes fast from what it was a moment ago. It can be made to live through its
// past first, see History.
type Machine struct {
	model  model
	number int
	now    func() time.Time
	tale   tale
	rhythm rhythm
	today  time.Time // the midnight before the machine was made
	since  time.Time // from when it is in use; of the present, not of its past
	booted time.Time // the present boot

	mu sync.Mutex
	// below is guarded by mu
	random *rand.Rand
	boot   time.Time

	cpu, charge, memory, heat float64 // as last read
	mains                     bool
	last                      time.Time
}

// NewMachine makes the n-th machine, which was switched on some hours ago. now
// is the device's clock, see ClockOf.
func NewMachine(n int, now func() time.Time) *Machine {
	t := newTale(n)
	m := &Machine{number: n, now: now, random: rand.New(rand.NewPCG(seed, uint64(n))), tale: t, rhythm: newRhythm(n, t.story == NeverRestarts)}
	m.model = m.tale.pick(m.random.IntN(100))
	made := now()
	m.today = midnight(made)
	m.since = awakeSince(made, 0.4+5.6*m.random.Float64())
	if m.booted = m.since; m.rhythm.awake {
		m.booted = m.today.AddDate(0, 0, restartDay-1).Add(7*time.Hour + m.rhythm.early)
	}
	m.switchOn(m.since, m.booted)
	m.charge = 350 + 600*m.random.Float64()
	m.last = m.since
	// What the hours until now made of it.
	for t := m.since; t.Before(made); t = t.Add(10 * time.Minute) {
		m.pass(t)
	}
	m.pass(made)
	return m
}

// switchOn begins a use at t of the boot at boot.
func (m *Machine) switchOn(t, boot time.Time) {
	fresh := !boot.Equal(m.boot)
	m.boot, m.last = boot, t
	m.cpu, m.heat = 350+200*m.random.Float64(), 40+4*m.random.Float64()
	if fresh {
		m.memory = 0.36 + 0.2*(m.tale.noise(31)+1)/2
	}
	if m.random.IntN(4) > 0 { // it was on its charger
		m.charge = 930 + 70*m.random.Float64()
	}
	m.mains = m.tale.story == DustyFan || m.random.IntN(4) == 0
}

// day is where t stands in the tale.
func (m *Machine) day(t time.Time) float64 {
	begin := midnight(t)
	return math.Round(begin.Sub(m.today).Hours()/24) + min(0.999, t.Sub(begin).Hours()/24)
}

// pick chooses a kind of device; some stories need their own.
func (t *tale) pick(percent int) model {
	switch t.story {
	case Healthy, AgingBattery, WornBattery, SwappedBattery, MendedClock, NoEncryption:
		for _, m := range models {
			if percent -= m.share; percent < 0 {
				return m
			}
		}
	case OldSystem:
		return oldModel
	}
	return models[0]
}

// OS is what the machine's operating system is called on the wire.
func (m *Machine) OS() string { return m.model.os }

// Arch is what its processor is called there.
func (m *Machine) Arch() string { return m.model.arch }

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
	return m.at(m.now())
}

// at is Read at a time. m.mu is held.
func (m *Machine) at(now time.Time) sysinfo.Snapshot {
	m.pass(now)
	day := m.day(now)
	s := m.fine(now, day)
	s.Disks = sysinfo.Some(m.disks(day))
	s.BootTime, s.Identity = sysinfo.Some(m.boot), m.Identity()
	m.add(&s, now, day)
	return s
}

// fine is what blocks hold, and little else: it costs a tenth of the whole.
func (m *Machine) fine(now time.Time, day float64) sysinfo.Snapshot {
	total := m.model.memory - 180*mebi // what the firmware and the graphics keep
	volume := "/"
	if m.model.os == "windows" {
		volume = "C:"
	}
	load := sysinfo.None[int64](sysinfo.NotSupported)
	if m.model.os != "windows" {
		load = sysinfo.Some(int64(m.cpu) * m.model.cores)
	}
	limit, throttled := int64(1000), int64(0)
	if m.heat > 90 {
		limit, throttled = 610, int64(m.heat)-85
	}
	swing := m.tale.noise(int(now.Unix() / 300))
	return sysinfo.Snapshot{
		Time: now,
		CPU: sysinfo.CPU{Used: sysinfo.Some(int64(m.cpu)), Cores: sysinfo.Some(m.model.cores), Load1: load,
			CoreUsed: sysinfo.Some(m.cores()), SpeedLimit: sysinfo.Some(limit), Throttled: sysinfo.Some(throttled)},
		Memory: sysinfo.Memory{Total: sysinfo.Some(total), Used: sysinfo.Some(int64(m.memory * float64(total))), SwapTotal: sysinfo.Some[int64](2 * gibi), SwapUsed: sysinfo.Some(int64(m.memory * gibi))},
		Volumes: sysinfo.Some([]sysinfo.Volume{{
			Name: volume, Total: sysinfo.Some(m.model.disk), Free: sysinfo.Some(int64(m.tale.freeShare(day) * float64(m.model.disk))),
		}}),
		Power:        m.power(day),
		Temperatures: sysinfo.Some([]sysinfo.Temperature{{Place: "cpu", MilliCelsius: int64(m.heat * 1000)}}),
		Links: sysinfo.Some([]sysinfo.Link{{Name: "wifi", Up: true, Speed: sysinfo.Some[int64](433_000_000), Errors: sysinfo.Some[int64](0),
			Signal: sysinfo.Some(m.tale.signal + int64(4*swing))}}),
		Self: sysinfo.Self{Memory: sysinfo.Some(int64(12+swing) * mebi), CPU: sysinfo.Some(int64(150 + 60*swing))},
	}
}

// pass lets everything move on to now.
func (m *Machine) pass(now time.Time) {
	minutes := min(max(now.Sub(m.last).Minutes(), 0), 60)
	m.last = now
	step := math.Sqrt(minutes) * m.random.NormFloat64()
	usual := 60 + 70*(m.tale.noise(int(now.Unix()/2700))+1) // lessons differ
	if m.tale.story == DustyFan {
		usual += 150
	}
	m.cpu = min(950, max(5, m.cpu+45*step-min(1, 0.15*minutes)*(m.cpu-usual)))
	m.memory = m.fill(now, step)
	m.heat = m.warm(now, minutes)
	if m.mains {
		m.charge = min(1000, m.charge+9*minutes)
	} else {
		m.charge = max(20, m.charge-m.drain(now)*minutes)
	}
	// The charger is plugged in when it is needed, and taken out some time later.
	if m.charge < 150 {
		m.mains = true
	} else if m.charge >= 1000 && m.tale.story != DustyFan && m.random.Float64() < 0.02*minutes {
		m.mains = false
	}
}

// fill is the share of memory in use; a heavy program takes all of it within an
// hour of the boot and does not give it back.
func (m *Machine) fill(now time.Time, step float64) float64 {
	if m.tale.story == HeavyProgram {
		return min(0.955, 0.6+0.42*now.Sub(m.boot).Hours()) + 0.004*m.tale.noise(int(now.Unix()/60))
	}
	return min(0.83, max(0.25, m.memory+0.01*step))
}

// warm is the processor's temperature, which follows what it does.
func (m *Machine) warm(now time.Time, minutes float64) float64 {
	goal := 37 + 0.045*m.cpu
	if m.tale.story == DustyFan && m.day(now) >= dustDay {
		goal = 97.5 + 0.004*m.cpu
	}
	return min(104, m.heat+min(1, 0.25*minutes)*(goal-m.heat))
}

// drain is what a minute takes from the battery, in permille of what it holds.
func (m *Machine) drain(now time.Time) float64 {
	health, _ := m.tale.battery(m.day(now))
	return 2.9 * 1000 / float64(max(health, 100))
}
