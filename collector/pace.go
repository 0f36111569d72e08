package collector

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"hausmeister/collector/pace"
	"hausmeister/collector/rollout"
)

// Updates are the settings of [updates]: how quickly releases go over the fleet, and
// their bytes over the lines.
type Updates struct {
	Rings     []UpdateRing `toml:"rings"`
	Lease     Span         `toml:"lease"`
	Silent    Span         `toml:"silent"`
	Overdue   Span         `toml:"overdue"`
	Every     Span         `toml:"look_every"`
	PerSchool int64        `toml:"per_school"`
	InFlight  int64        `toml:"under_way"`
	Share     float64      `toml:"under_way_percent"`
	Total     int64        `toml:"bytes_per_second"`
	Line      int64        `toml:"school_bytes_per_second"`
	Parallel  int          `toml:"school_parallel"`
}

// UpdateRing is a rollout.Ring in the words of the config file.
type UpdateRing struct {
	Devices   int64   `toml:"devices"`
	Percent   float64 `toml:"percent"`
	Soak      Span    `toml:"soak"`
	SchoolDay bool    `toml:"school_day"`
}

// Span is a time.Duration that is written as "30m", "24h" or "14d".
type Span time.Duration

// UnmarshalText reads it; without a unit it is none.
func (s *Span) UnmarshalText(text []byte) error {
	if days, ok := strings.CutSuffix(string(text), "d"); ok {
		n, err := strconv.ParseInt(days, 10, 32)
		if err != nil || n > 10_000 {
			return fmt.Errorf("%q is no time such as \"30m\", \"24h\" or \"14d\"", text)
		}
		*s = Span(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	d, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is no time such as \"30m\", \"24h\" or \"14d\"", text)
	}
	*s = Span(d)
	return nil
}

// String is what UnmarshalText reads.
func (s Span) String() string {
	d, day := time.Duration(s), 24*time.Hour
	if d > day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} { // "24h0m0s"
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// millionths of a fleet in a percent of it
const millionths = rollout.Whole / 100

func defaultUpdates() Updates {
	p := rollout.DefaultPace()
	u := Updates{
		Lease: Span(p.Lease), Silent: Span(p.Silent), Overdue: Span(p.Overdue), Every: Span(p.Every),
		PerSchool: p.PerSchool, InFlight: p.Gate.InFlight, Share: p.Gate.InFlightShare * 100,
		Total: pace.DefaultTotal, Line: pace.DefaultRate, Parallel: pace.DefaultParallel,
	}
	for _, r := range p.Rings {
		u.Rings = append(u.Rings, UpdateRing{Devices: r.Devices, Percent: float64(r.Millions) / millionths, Soak: Span(r.Soak), SchoolDay: r.SchoolDay})
	}
	return u
}

const (
	maxRings = 20
	// maxLine is 8 Tbit/s, far above any line, and far below what overflows.
	maxLine = 1_000_000_000_000
)

// check refuses what cannot be, in the words of the config file.
func (u Updates) check(spread time.Duration) error {
	if err := checkRings(u.Rings); err != nil {
		return err
	}
	for _, s := range []struct {
		name           string
		got, low, high Span
	}{
		{"lease", u.Lease, Span(max(spread, time.Second)), Span(14 * 24 * time.Hour)},
		{"silent", u.Silent, Span(time.Second), Span(30 * 24 * time.Hour)},
		{"overdue", u.Overdue, Span(time.Hour), Span(366 * 24 * time.Hour)},
		{"look_every", u.Every, Span(50 * time.Millisecond), Span(10 * time.Minute)},
	} {
		if s.got < s.low || s.got > s.high {
			why := ""
			if s.name == "lease" {
				why = ", which is updates_spread,"
			}
			return fmt.Errorf("updates.%s: %v is not within %v%s to %v", s.name, s.got, s.low, why, s.high)
		}
	}
	for _, n := range []struct {
		name           string
		got, low, high int64
	}{
		{"per_school", u.PerSchool, 1, 1000},
		{"under_way", u.InFlight, 1, 100_000},
		{"bytes_per_second", u.Total, pace.MinRate, maxLine},
		{"school_bytes_per_second", u.Line, pace.MinRate, u.Total},
		{"school_parallel", int64(u.Parallel), 1, 1000},
	} {
		if n.got < n.low || n.got > n.high {
			why := ""
			if n.name == "school_bytes_per_second" {
				why = ", which is bytes_per_second of all schools together"
			}
			return fmt.Errorf("updates.%s: %d is not within %d to %d%s", n.name, n.got, n.low, n.high, why)
		}
	}
	if !(u.Share > 0 && u.Share <= 100) {
		return fmt.Errorf("updates.under_way_percent: %v is not above 0 and up to 100", u.Share)
	}
	return nil
}

func checkRings(rings []UpdateRing) error {
	bad := func(i int, format string, args ...any) error {
		return fmt.Errorf("updates.rings: ring %d: %s", i+1, fmt.Sprintf(format, args...))
	}
	if len(rings) == 0 || len(rings) > maxRings {
		return fmt.Errorf("updates.rings: %d rings; want 1 to %d", len(rings), maxRings)
	}
	for i, r := range rings {
		switch {
		case r.Devices < 0 || !(r.Percent >= 0 && r.Percent <= 100):
			return bad(i, "devices is 0 or more, percent 0 to 100")
		case r.Devices == 0 && r.Percent == 0:
			return bad(i, "says neither devices nor percent")
		case r.Soak < 0 || r.Soak > Span(30*24*time.Hour):
			return bad(i, "soak %v is not within 0s to 30d", r.Soak)
		case i > 0 && r.Devices <= rings[i-1].Devices && r.Percent <= rings[i-1].Percent:
			return bad(i, "is no larger than the one before, which it holds")
		case i < len(rings)-1 && r.Percent == 100:
			return bad(i, "is the whole fleet, and others follow")
		}
	}
	if rings[len(rings)-1].Percent != 100 {
		return bad(len(rings)-1, "the last must have percent = 100: otherwise a part of the fleet never gets an update")
	}
	return nil
}

// pace is how rollouts go.
func (c Config) pace() rollout.Pace {
	p, u := rollout.DefaultPace(), c.Updates
	// A spread of zero would be the default there.
	p.Lease, p.Spread, p.Silent = time.Duration(u.Lease), max(c.UpdatesSpread, 1), time.Duration(u.Silent)
	p.Overdue, p.Every, p.PerSchool = time.Duration(u.Overdue), time.Duration(u.Every), u.PerSchool
	p.Gate.InFlight, p.Gate.InFlightShare = u.InFlight, u.Share/100
	p.Rings = nil
	for _, r := range u.Rings {
		p.Rings = append(p.Rings, rollout.Ring{Devices: r.Devices, Millions: int64(math.Round(r.Percent * millionths)), Soak: time.Duration(r.Soak), SchoolDay: r.SchoolDay})
	}
	return p
}

// lines is how the bytes go.
func (u Updates) lines() pace.Config {
	return pace.Config{Rate: u.Total, LineRate: u.Line, LineParallel: u.Parallel}
}
