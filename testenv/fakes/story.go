package fakes

import (
	"math"
	"math/rand/v2"
	"time"

	"hausmeister/platform/sysinfo"
)

// A Story is what happens to a device over the weeks.
type Story string

// The stories. Most devices have none.
const (
	Healthy        Story = "healthy"
	Filling        Story = "filling"         // the disk is full within weeks
	NearlyFull     Story = "nearly_full"     // the disk is full within days
	FullDisk       Story = "full"            // there is hardly room left
	AgingBattery   Story = "aging_battery"   // falls below 70 % of its capacity
	WornBattery    Story = "worn_battery"    // falls below half of its capacity
	SwappedBattery Story = "swapped_battery" // had a worn one until lately
	Crashing       Story = "crashing"        // since an update
	WrongClock     Story = "wrong_clock"     // three quarters of an hour slow
	MendedClock    Story = "mended_clock"    // was wrong until lately
	HeavyProgram   Story = "heavy_program"   // a program takes all memory, each day anew
	DustyFan       Story = "dusty_fan"       // hot, and slowed down for it
	SlowStart      Story = "slow_start"      // takes minutes to boot since lately
	WornDisk       Story = "worn_disk"       // near the end of its promised life
	NoEncryption   Story = "no_encryption"   // was set up without
	NoFirewall     Story = "no_firewall"     // somebody switched it off
	NeverRestarts  Story = "never_restarts"  // an update waits, the lid is only ever closed
	OldSystem      Story = "old_system"      // its maker gives no more updates
)

// stories of each fifty devices, by number: ten in a row have about three, and
// the devices that other tests take (1, 7) are well.
var stories = map[int]Story{
	2: Filling, 5: WornBattery, 8: OldSystem, 11: Crashing, 14: NearlyFull, 17: SwappedBattery, 20: SlowStart,
	22: NoFirewall, 25: WrongClock, 27: HeavyProgram, 30: AgingBattery, 33: NeverRestarts, 36: FullDisk, 38: MendedClock,
	41: DustyFan, 43: NoEncryption, 46: WornDisk,
}

const perStory = 50

// StoryOf says what happens to the n-th device.
func StoryOf(n int) Story {
	if s, ok := stories[n%perStory]; ok {
		return s
	}
	return Healthy
}

// Days before the demo's today on which things happen.
const (
	swapDay     = -12
	updateDay   = -11 // on which some systems get a driver that they do not bear
	mendDay     = -8
	clockDay    = -9
	dustDay     = -16
	slowDay     = -13
	firewallDay = -6
	restartDay  = -8
)

// A tale is a story with its numbers: all that a machine changes slowly, each
// value a function of the days since the machine was made, which are below zero
// for the past. So past and present are one.
type tale struct {
	story                         Story
	salt                          uint64
	free, fill                    float64 // share of the disk that is free today; that is lost in a day
	health, fade                  float64 // of the battery, permille; lost in a day
	cycles                        float64
	wear                          float64 // of the disk, permille
	powerOn                       float64 // hours
	boot                          time.Duration
	antivirusAge                  time.Duration
	printers                      int
	signal                        int64
	metered                       bool
	pending                       int64
	late                          int // how many days after the first the device gets an update
	crashes, programs, hardOffs   []int
	encryption, firewall, secured sysinfo.Guard
}

func newTale(n int) tale {
	r := rand.New(rand.NewPCG(seed+1, uint64(n)))
	t := tale{
		story: StoryOf(n), salt: uint64(n) * 0x9e3779b97f4a7c15,
		// Most have room. Log-normal, and what is below a fifth is a story's.
		free: min(0.8, max(0.2, 0.42*math.Exp(0.4*r.NormFloat64()))), fill: 0.0001 + 0.0005*r.Float64(),
		health: min(950, max(745, 840+50*r.NormFloat64())), fade: 0.05 + 0.1*r.Float64(), cycles: 150 + 350*r.Float64(),
		wear: 20 + 380*r.Float64(), powerOn: 3500 + 4500*r.Float64(),
		boot:         14*time.Second + time.Duration(r.Int64N(int64(45*time.Second))),
		antivirusAge: time.Hour + time.Duration(r.Int64N(int64(20*time.Hour))),
		printers:     r.IntN(3), signal: -42 - r.Int64N(25), metered: r.IntN(40) == 0, pending: max(0, r.Int64N(8)-5), late: r.IntN(4),
		encryption: sysinfo.On, firewall: sysinfo.On, secured: sysinfo.On,
	}
	for range r.IntN(5) {
		t.programs = append(t.programs, -r.IntN(45))
	}
	if r.IntN(6) == 0 {
		t.hardOffs = []int{-r.IntN(40)}
	}
	t.tell()
	return t
}

// tell gives the story its numbers.
func (t *tale) tell() {
	switch t.story {
	case Filling:
		t.free, t.fill = 0.135, 0.0078
	case NearlyFull:
		t.free, t.fill = 0.073, 0.0138
	case FullDisk:
		t.free, t.fill = 0.021, 0
	case AgingBattery:
		t.health, t.fade, t.cycles = 683, 0.9, 611
	case WornBattery:
		t.health, t.fade, t.cycles = 488, 0.85, 874
	case Crashing:
		t.crashes = []int{updateDay, updateDay, updateDay + 1, updateDay + 3, updateDay + 4, updateDay + 7}
		t.hardOffs = []int{-27, updateDay, updateDay, updateDay + 1, updateDay + 3, updateDay + 7}
		t.programs = []int{-28, -20, updateDay, updateDay + 2, updateDay + 4, updateDay + 5}
		t.late = 0
	case WornDisk:
		t.wear, t.powerOn = 962, 11_400
	case NoEncryption:
		t.encryption = sysinfo.Off
	}
}

// noise is a number in [-1, 1) that belongs to this device and key.
func (t *tale) noise(key int) float64 {
	x := t.salt ^ uint64(int64(key))*0xbf58476d1ce4e5b9
	x ^= x >> 30
	x *= 0x94d049bb133111eb
	x ^= x >> 31
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 29
	return float64(x>>11)/(1<<52) - 1
}

// freeShare is what is free of the disk; within a day things are put down, and
// some of them are gone on the next.
func (t *tale) freeShare(day float64) float64 {
	whole := math.Floor(day)
	free := t.free - t.fill*day + 0.003*t.noise(int(whole)) - 0.004*(day-whole)
	switch t.story {
	case FullDisk: // filled up to here, and since then kept alive by hand
		free += max(0, -12-day) * 0.0045
	case Filling, NearlyFull:
		free = t.free - t.fill*day + 0.0012*t.noise(int(whole))
	}
	return min(0.95, max(0.004, free))
}

// battery gives its health in permille and its cycles.
func (t *tale) battery(day float64) (health, cycles int64) {
	wobble := t.noise(int(math.Floor(day/6)) + 7000) // its own reckoning is put right now and then
	switch {
	case t.story == SwappedBattery && day < swapDay:
		return int64(438 - 0.6*(day-swapDay) + wobble), int64(812 + 0.8*(day-swapDay))
	case t.story == SwappedBattery:
		return int64(991 - 0.15*(day-swapDay)), int64(3 + 0.7*(day-swapDay))
	}
	return int64(t.health - t.fade*day + wobble), int64(t.cycles + 0.6*day)
}

// diskWear in permille.
func (t *tale) diskWear(day float64) int64 {
	if t.story == WornDisk {
		return int64(t.wear + 0.85*day)
	}
	return int64(t.wear + 0.05*day)
}

// happened counts the days of a list in the 30 days before day.
func happened(list []int, day float64) (n int64) {
	for _, d := range list {
		if at := float64(d) + 0.4; at <= day && at > day-30 {
			n++
		}
	}
	return n
}

// bootTook is how long the boot of that day took; key tells two of a day apart.
func (t *tale) bootTook(day float64, key int) time.Duration {
	d := time.Duration(float64(t.boot) * (1 + 0.15*t.noise(key)))
	if t.story == SlowStart && day >= slowDay {
		d = 225*time.Second + time.Duration(30*t.noise(key)*float64(time.Second))
	}
	return d.Truncate(100 * time.Millisecond)
}

// waits says that an update waits for a restart.
func (t *tale) waits(day float64) bool { return t.story == NeverRestarts && day >= restartDay }

func (t *tale) firewallNow(day float64) sysinfo.Guard {
	if t.story == NoFirewall && day >= firewallDay {
		return sysinfo.Off
	}
	return t.firewall
}

// clockError is by how much the device's clock is ahead.
func (t *tale) clockError(day float64) time.Duration {
	small := time.Duration(400*t.noise(9000)) * time.Millisecond
	switch {
	case t.story == WrongClock && day >= clockDay:
		return -49*time.Minute + small // its battery was empty
	case t.story == MendedClock && day < mendDay:
		return 7*time.Minute + small
	}
	return small
}

// breaks says whether the device's power is gone on that day before it is shut down.
func (t *tale) breaks(day int) bool {
	for _, d := range t.hardOffs {
		if d == day {
			return true
		}
	}
	return false
}

// ClockOf is the clock of the n-th device, which need not be right.
func ClockOf(n int, now func() time.Time) func() time.Time {
	t := newTale(n)
	wrong := t.clockError(0)
	if t.story != WrongClock {
		return now // a fraction of a second is nobody's trouble
	}
	return func() time.Time { return now().Add(wrong) }
}
