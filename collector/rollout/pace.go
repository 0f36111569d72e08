package rollout

import (
	"errors"
	"time"

	"hausmeister/collector/rollout/gate"
)

// Ring is a part of the fleet that a rollout comes to, with all rings before it.
type Ring struct {
	// A ring ends at so many devices, or at this share of the fleet in millionths,
	// whichever is more.
	Devices  int64 `json:"devices"`
	Millions int64 `json:"millions"`
	// Soak is how long it is watched at least, SchoolDay that a morning of lessons must
	// lie in it.
	Soak      time.Duration `json:"soak"`
	SchoolDay bool          `json:"school_day"`
}

// Whole is the share of all devices.
const Whole = 1_000_000

// Pace is how quickly rollouts go; zero values are those of the design.
type Pace struct {
	Rings []Ring
	Gate  gate.Params
	// Lease is how long a device may take to begin, Spread within which time it begins
	// at a random moment.
	Lease, Spread time.Duration
	// Silent is after what a device that had begun counts as silent, see gate.Lost.
	Silent time.Duration
	// PerSchool is how many devices of a school may be under way at once.
	PerSchool int64
	// Overdue is how long behind the end of the signed ramp a closed day of an owner is
	// passed over for devices below the floor.
	Overdue time.Duration
	// Every is how often rings are looked at.
	Every time.Duration
}

// DefaultRings are 20, 100, 0.5 %, 2 %, 10 %, 30 % and all.
func DefaultRings() []Ring {
	return []Ring{
		{Devices: 20, Soak: time.Hour},
		{Devices: 100, Soak: 4 * time.Hour},
		{Devices: 350, Millions: 5_000, Soak: 24 * time.Hour, SchoolDay: true},
		{Devices: 1400, Millions: 20_000, Soak: 24 * time.Hour, SchoolDay: true},
		{Millions: 100_000, Soak: 24 * time.Hour, SchoolDay: true},
		{Millions: 300_000, Soak: 24 * time.Hour, SchoolDay: true},
		{Millions: Whole},
	}
}

// DefaultPace is that of the design.
func DefaultPace() (p Pace) {
	if err := p.fill(); err != nil {
		panic(err) // the rings above are wrong
	}
	return p
}

func (p *Pace) fill() error {
	if p.Rings == nil {
		p.Rings = DefaultRings()
	}
	if p.Gate.Limits == nil {
		p.Gate = gate.Defaults()
	}
	for _, d := range []struct {
		field  *time.Duration
		normal time.Duration
	}{{&p.Lease, 24 * time.Hour}, {&p.Spread, 30 * time.Minute}, {&p.Silent, 2 * time.Hour}, {&p.Overdue, 14 * 24 * time.Hour}, {&p.Every, 5 * time.Second}} {
		if *d.field == 0 {
			*d.field = d.normal
		}
	}
	if p.PerSchool == 0 {
		p.PerSchool = 5
	}
	if p.Lease > 14*24*time.Hour || p.Spread > p.Lease {
		return errors.New("a lease is for 14 days at most, and longer than the time within which it is begun")
	}
	if p.Rings[len(p.Rings)-1].Millions != Whole {
		return errors.New("the last ring must be the whole fleet")
	}
	return nil
}

// step is a ring of one rollout, as large as it was at the start.
type step struct {
	Ring
	End  int64 `json:"end"`  // of how many devices it and those before are
	Wide bool  `json:"wide"` // more than 10 % of the fleet: two persons
}

// wide is the share of a fleet above which two persons are needed; the few devices of
// a first ring, or of a fleet that is no larger, need none.
const (
	wide = 100_000
	few  = 100
)

// steps cuts a fleet of so many devices. A ring that would add nothing is left out.
func (p Pace) steps(fleet int64) (out []step) {
	before := int64(0)
	for i, r := range p.Rings {
		end := min(fleet, max(r.Devices, (r.Millions*fleet+Whole-1)/Whole))
		if i == len(p.Rings)-1 {
			end = max(fleet, 1)
		}
		if end <= before {
			continue
		}
		out = append(out, step{Ring: r, End: end, Wide: end > few && end*Whole > wide*fleet})
		before = end
	}
	return out
}
