package tufrepo

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// FakeTime reads what libfaketime takes in FAKETIME: an absolute time or @ and
// one, in local time, or a shift such as +18d, -3.5h or +1787866 seconds.
// Clocks that run faster (x2) or in steps (i2) mean their start here, for a program
// that looks at the clock once.
func FakeTime(spec string, now time.Time) (time.Time, error) {
	spec = strings.TrimSpace(spec)
	if spec == "" {
		return now, nil
	}
	if fields := strings.Fields(spec); len(fields) > 1 {
		last := fields[len(fields)-1]
		if strings.HasPrefix(last, "x") || strings.HasPrefix(last, "i") {
			spec = strings.Join(fields[:len(fields)-1], " ")
		}
	}
	if spec[0] == '+' || spec[0] == '-' {
		return shifted(spec, now)
	}
	absolute := strings.TrimPrefix(spec, "@")
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04:05.999999999", time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, absolute, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("FAKETIME=%q is no time", spec)
}

func shifted(spec string, now time.Time) (time.Time, error) {
	unit := time.Second
	number := spec
	switch spec[len(spec)-1] {
	case 's':
		number = spec[:len(spec)-1]
	case 'm':
		number, unit = spec[:len(spec)-1], time.Minute
	case 'h':
		number, unit = spec[:len(spec)-1], time.Hour
	case 'd':
		number, unit = spec[:len(spec)-1], 24*time.Hour
	case 'y':
		number, unit = spec[:len(spec)-1], 365*24*time.Hour
	}
	n, err := strconv.ParseFloat(strings.Replace(number, ",", ".", 1), 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("FAKETIME=%q is no shift: %w", spec, err)
	}
	const most = 250 * 365 * 24 * 3600 // a Duration holds 292 years
	if s := n * unit.Seconds(); s > most || s < -most {
		return time.Time{}, fmt.Errorf("FAKETIME=%q is too far", spec)
	}
	return now.Add(time.Duration(n * float64(unit))), nil
}
