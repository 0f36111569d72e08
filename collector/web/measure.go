package web

import (
	"time"

	"hausmeister/collector/health"
	"hausmeister/collector/web/words"
	"hausmeister/proto/finding"
	"hausmeister/proto/reading"
)

// measure writes a number in the unit that people use for it. memory says that
// bytes are of main memory, which is counted in powers of two.
func measure(say *words.Speaker, n int64, unit reading.Unit, memory bool, now time.Time) string {
	switch unit {
	case reading.Permille:
		return say.Percent(n)
	case reading.Milli:
		return say.Fixed2(n)
	case reading.Bytes:
		if memory {
			return say.Memory(n)
		}
		return say.Bytes(n)
	case reading.MilliCelsius:
		return say.Celsius(n)
	case reading.BitPerSecond:
		return say.BitRate(n)
	case reading.UnixMilli:
		return say.Day(time.UnixMilli(n), now)
	case reading.PPM:
		return say.Say("device.of_a_core", "share", say.SmallPercent(n))
	case reading.Milliseconds:
		return spanOf(say, n, time.Millisecond)
	case reading.Seconds:
		return spanOf(say, n, time.Second)
	case reading.PerMinute:
		return say.Say("format.per_minute", "n", say.Number(n))
	case reading.MilliwattHours:
		return say.Unit((n+500)/1000, "Wh")
	case reading.DecibelMilliwatts:
		return say.Unit(n, "dBm")
	case finding.Days:
		return say.Say("format.days", "n", n)
	case finding.Times:
		return say.Say("format.times", "n", n)
	}
	return say.Number(n)
}

// spanOf writes a span that may be negative: a clock that is behind.
func spanOf(say *words.Speaker, n int64, unit time.Duration) string {
	const most = int64(100 * 366 * 24 * time.Hour)
	n = min(max(n, -most/int64(unit)), most/int64(unit))
	d := time.Duration(n) * unit
	switch {
	case d < 0:
		return "−" + say.Span(-d)
	case d > 0 && d < time.Second:
		return say.Unit(d.Milliseconds(), "ms")
	}
	return say.Span(d)
}

// pick chooses a text of a table by the reader's language.
func pick(lang words.Lang, w reading.Words) string {
	if lang == words.English {
		return w.EN
	}
	return w.DE
}

// texts says a finding in words. Its error only tells that texts and arguments
// do not fit, which a test of proto/finding holds, and what is said is still
// the best that can be said.
func (s *Server) texts(lang words.Lang, row finding.Finding, f health.Finding) finding.Texts {
	say := s.say[lang]
	texts, _ := row.Render(f.Instance, f.Arguments, finding.Speech{
		Pick: func(w reading.Words) string { return pick(lang, w) },
		Number: func(n int64, u reading.Unit) string {
			if row.Code == finding.ClockOff {
				return clockError(say, n)
			}
			return measure(say, n, u, row.Code == finding.MemoryPressure, s.cfg.Now())
		},
		Name: func(_ finding.Finding, instance string) string { return pick(lang, reading.InstanceWord(instance)) },
	})
	return texts
}

// clockError says which way a clock is wrong; offset is what the collector's is
// ahead of it, in milliseconds.
func clockError(say *words.Speaker, offset int64) string {
	if max(offset, -offset) < time.Second.Milliseconds() {
		return say.Say("device.clock.right")
	}
	if offset < 0 {
		return say.Say("device.clock.fast", "span", spanOf(say, -offset, time.Millisecond))
	}
	return say.Say("device.clock.slow", "span", spanOf(say, offset, time.Millisecond))
}
