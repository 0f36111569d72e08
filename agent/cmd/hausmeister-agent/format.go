package main

import (
	"strconv"
	"strings"
	"time"

	"hausmeister/agent"
	"hausmeister/proto/finding"
	"hausmeister/proto/reading"
)

// nbsp stands between number and unit, as on the pages.
const nbsp = "\u00a0"

// decimal writes n/scale with as many digits behind the comma.
func (w words) decimal(v float64, digits int) string {
	whole, fraction, _ := strings.Cut(strconv.FormatFloat(v, 'f', digits, 64), ".")
	sign := ""
	if rest, ok := strings.CutPrefix(whole, "-"); ok {
		sign, whole = "-", rest
	}
	thousand, point := ",", "."
	if w.lang == "de" {
		thousand, point = ".", ","
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + thousand + whole[i:]
	}
	if fraction != "" {
		whole += point + fraction
	}
	return sign + whole
}

func (w words) whole(n int64) string { return w.decimal(float64(n), 0) }

// bytes in steps of 1024, as the systems of these devices show them.
func (w words) bytes(n int64) string { return w.scaled(n, 1024) }

// scaled writes a size in steps of so many.
func (w words) scaled(n int64, step float64) string {
	v, unit := float64(n), "B"
	for _, next := range []string{"kB", "MB", "GB", "TB"} {
		if v < step {
			break
		}
		v, unit = v/step, next
	}
	digits := 0
	if unit != "B" && v < 100 {
		digits = 1
	}
	return w.decimal(v, digits) + nbsp + unit
}

// when writes a time of this machine; empty for none.
func (w words) when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	if w.lang == "de" {
		return t.Local().Format("02.01.2006, 15:04:05") + nbsp + "Uhr"
	}
	return t.Local().Format("2 Jan 2006, 15:04:05")
}

// day writes a day alone, which is the same in each time zone.
func (w words) day(t time.Time) string {
	if w.lang == "de" {
		return t.Format("02.01.2006")
	}
	return t.Format("2 Jan 2006")
}

// lasting writes a duration in the largest unit of which there are two or more.
func (w words) lasting(d time.Duration) string {
	const day = 24 * time.Hour
	in := func(unit time.Duration) string { return w.whole(int64(d.Round(unit) / unit)) }
	switch {
	case d >= 2*365*day:
		return w.text("years", in(365*day))
	case d >= 2*day:
		return w.text("days", in(day))
	case d >= 2*time.Hour:
		return w.text("hours", in(time.Hour))
	case d >= 2*time.Minute:
		return w.text("minutes", in(time.Minute))
	}
	return w.text("seconds", in(time.Second))
}

// clockGoes says how a clock goes that is offset from being right: behind above 0.
func (w words) clockGoes(offset time.Duration) string {
	if offset > 0 {
		return w.text("clock_slow", w.lasting(offset))
	}
	return w.text("clock_fast", w.lasting(-offset))
}

func (w words) reportsWait(n uint64) string {
	if n == 1 {
		return w.text("report_waits")
	}
	return w.text("reports_wait", w.whole(int64(n)))
}

func (w words) reportsDropped(n uint64) string {
	if n == 1 {
		return w.text("report_dropped")
	}
	return w.text("reports_dropped", w.whole(int64(n)))
}

func (w words) pick(of reading.Words) string {
	if w.lang == "de" {
		return of.DE
	}
	return of.EN
}

// name of a reading in a report.
func (w words) name(v agent.ReportReading) string {
	name := w.pick(reading.Words{DE: v.WordDE, EN: v.WordEN})
	if name == "" {
		name = v.Name
	}
	if v.Instance != "" {
		name += " (" + w.pick(reading.InstanceWord(v.Instance)) + ")"
	}
	return name
}

// series writes what a reading was at each step, as it was read from JSON; "-"
// where it has no value.
func (w words) series(v agent.ReportReading, values []any) string {
	out := make([]string, len(values))
	for i, x := range values {
		v.Number, v.Text = nil, nil
		switch x := x.(type) {
		case float64: // exact up to 2^53: larger than any reading
			v.Number = new(int64(x))
		case string:
			v.Text = &x
		}
		if out[i] = w.value(v); out[i] == "" {
			out[i] = "-"
		}
	}
	return strings.Join(out, "  ")
}

// value writes one reading of a report.
func (w words) value(v agent.ReportReading) string {
	switch {
	case v.Absent != "":
		return w.text("absent." + v.Absent)
	case v.Text != nil:
		if r, ok := reading.ByName(v.Name); ok {
			if word, ok := r.CodeWord(*v.Text); ok {
				if w.lang == "de" {
					return word.DE
				}
				return word.EN
			}
		}
		return *v.Text
	case v.Number == nil:
		return ""
	}
	n := *v.Number
	switch v.Unit {
	case reading.Bytes:
		if r, ok := reading.ByName(v.Name); ok && r.Instanced {
			return w.scaled(n, 1000) // a volume, as it is sold
		}
		return w.bytes(n)
	case reading.Permille:
		if w.lang == "de" {
			return w.decimal(float64(n)/10, 1) + nbsp + "%"
		}
		return w.decimal(float64(n)/10, 1) + "%"
	case reading.Milli:
		return w.decimal(float64(n)/1000, 2)
	case reading.MilliCelsius:
		return w.decimal(float64(n)/1000, 1) + nbsp + "°C"
	case reading.BitPerSecond:
		return w.decimal(float64(n)/1e6, 0) + nbsp + "Mbit/s"
	case reading.UnixMilli:
		if t := time.UnixMilli(n).UTC(); t.Equal(t.Truncate(24 * time.Hour)) {
			return w.day(t) // not a moment but a day, such as the end of support
		}
		return w.when(time.UnixMilli(n))
	case reading.Milliseconds:
		return w.decimal(float64(n)/1000, 1) + nbsp + "s"
	case reading.Seconds:
		return w.text("hours", w.decimal(float64(n)/3600, 1))
	case finding.Days:
		return w.text("days", w.whole(n))
	case reading.PerMinute:
		return w.text("per_minute", w.whole(n))
	case reading.MilliwattHours:
		return w.decimal(float64(n)/1000, 1) + nbsp + "Wh"
	case reading.DecibelMilliwatts:
		return w.whole(n) + nbsp + "dBm"
	case reading.PPM:
		return w.decimal(float64(n)/10000, 2) + nbsp + "%"
	}
	return w.whole(n)
}
