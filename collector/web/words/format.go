package words

import (
	"fmt"
	"time"

	"golang.org/x/text/number"
)

// nb is the no-break space that stands before units and after weekdays.
const nb = "\u00a0"

// Number writes a whole number: 69.214, in English 69,214.
func (s *Speaker) Number(n int64) string { return s.printer.Sprint(number.Decimal(n)) }

// figure writes a figure with at most one decimal place, and that only below
// ten: 4,1 and 162, never 162,3. A reader compares two digits at a glance.
func (s *Speaker) figure(f float64) string {
	if f > -9.95 && f < 9.95 && f != 0 {
		return s.printer.Sprint(number.Decimal(f, number.MinFractionDigits(1), number.MaxFractionDigits(1)))
	}
	return s.printer.Sprint(number.Decimal(f, number.MaxFractionDigits(0)))
}

// Bytes writes a size on a disk or a wire in powers of ten, as disks are sold.
func (s *Speaker) Bytes(n int64) string {
	return s.scaled(float64(n), 1000, "B", "kB", "MB", "GB", "TB")
}

// Memory writes a size of main memory in powers of two under the names that
// are printed on the modules (JEDEC JESD100B.01): 8 GB is 8 × 2^30.
func (s *Speaker) Memory(n int64) string {
	return s.scaled(float64(n), 1024, "B", "KB", "MB", "GB", "TB")
}

// BitRate writes a speed of a link.
func (s *Speaker) BitRate(n int64) string {
	return s.scaled(float64(n), 1000, "bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s")
}

func (s *Speaker) scaled(f, step float64, units ...string) string {
	i := 0
	// 999.5 would be written as 1000, so it already belongs to the next unit.
	for i < len(units)-1 && f >= step-step/2000 {
		f /= step
		i++
	}
	if i == 0 {
		return s.printer.Sprint(number.Decimal(f, number.MaxFractionDigits(0))) + nb + units[i]
	}
	return s.figure(f) + nb + units[i]
}

// Percent writes a share given in permille: 61 %, in English 61%.
func (s *Speaker) Percent(permille int64) string {
	if s.Lang == English {
		return s.figure(float64(permille)/10) + "%"
	}
	return s.figure(float64(permille)/10) + nb + "%"
}

// SmallPercent writes a share given in millionths, with two decimal places,
// since what it is used for is mostly far below one percent.
func (s *Speaker) SmallPercent(ppm int64) string {
	f := s.printer.Sprint(number.Decimal(float64(ppm)/10_000, number.MinFractionDigits(2), number.MaxFractionDigits(2)))
	if s.Lang == English {
		return f + "%"
	}
	return f + nb + "%"
}

// Celsius writes a temperature given in thousandths of a degree.
func (s *Speaker) Celsius(milli int64) string {
	return s.printer.Sprint(number.Decimal(float64(milli)/1000, number.MaxFractionDigits(0))) + nb + "°C"
}

// Fixed2 writes a number given in thousandths with two decimal places.
func (s *Speaker) Fixed2(milli int64) string {
	return s.printer.Sprint(number.Decimal(float64(milli)/1000, number.MinFractionDigits(2), number.MaxFractionDigits(2)))
}

// Unit writes a whole number and its unit.
func (s *Speaker) Unit(n int64, unit string) string { return s.Number(n) + nb + unit }

// Span writes a length of time by its two largest parts: 1 h 50 min, 3 Tage 4 h.
func (s *Speaker) Span(d time.Duration) string {
	d = d.Round(time.Second)
	switch {
	case d < time.Second:
		return s.Unit(0, "s")
	case d < time.Minute:
		return s.Unit(int64(d/time.Second), "s")
	case d < 10*time.Minute && d%time.Minute != 0: // as far as a boot or a wait takes
		return s.Unit(int64(d/time.Minute), "min") + nb + s.Unit(int64(d%time.Minute/time.Second), "s")
	case d < time.Hour:
		return s.Unit(int64(d/time.Minute), "min")
	case d < 24*time.Hour:
		h, m := int64(d/time.Hour), int64(d%time.Hour/time.Minute)
		if m == 0 {
			return s.Unit(h, "h")
		}
		return s.Unit(h, "h") + nb + s.Unit(m, "min")
	default:
		days, h := int64(d/(24*time.Hour)), int64(d%(24*time.Hour)/time.Hour)
		if h == 0 || days > 6 {
			return s.Say("format.days", "n", days)
		}
		return s.Say("format.days", "n", days) + " " + s.Unit(h, "h")
	}
}

var (
	weekdays = map[Lang][7]string{
		German:  {"So", "Mo", "Di", "Mi", "Do", "Fr", "Sa"},
		English: {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"},
	}
	months = [13]string{"", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"}
)

// Day writes the day of t as seen at now: heute, gestern, Fr 20.11., and with
// the year when it is another one.
func (s *Speaker) Day(t, now time.Time) string {
	t, now = t.In(s.zone), now.In(s.zone)
	switch daysBetween(t, now) {
	case 0:
		return s.Say("format.today")
	case 1:
		return s.Say("format.yesterday")
	}
	if t.Year() == now.Year() {
		return s.date(t, false)
	}
	return s.date(t, true)
}

// Date writes the full date of t: Mo 10.08.2026.
func (s *Speaker) Date(t time.Time) string { return s.date(t.In(s.zone), true) }

// Zone is the zone of all times on the pages.
func (s *Speaker) Zone() *time.Location { return s.zone }

// Clock writes the time of day: 07:52 Uhr.
func (s *Speaker) Clock(t time.Time) string {
	if s.Lang == English {
		return t.In(s.zone).Format("15:04")
	}
	return t.In(s.zone).Format("15:04") + nb + "Uhr"
}

// Time writes date and time of day: Mo 10.08.2026, 07:52 Uhr.
func (s *Speaker) Time(t time.Time) string { return s.Date(t) + ", " + s.Clock(t) }

func (s *Speaker) date(t time.Time, year bool) string {
	day := weekdays[s.Lang][t.Weekday()] + nb
	if s.Lang == English {
		day += fmt.Sprintf("%d%s%s", t.Day(), nb, months[t.Month()])
		if year {
			day += fmt.Sprintf("%s%d", nb, t.Year())
		}
		return day
	}
	day += t.Format("02.01.")
	if year {
		day += t.Format("2006")
	}
	return day
}

// DaysSince counts the midnights in Berlin between t and now.
func (s *Speaker) DaysSince(t, now time.Time) int {
	return daysBetween(t.In(s.zone), now.In(s.zone))
}

func daysBetween(t, now time.Time) int {
	a := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	b := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, time.UTC)
	return int(b.Sub(a) / (24 * time.Hour))
}
