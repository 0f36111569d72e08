package fakes

import (
	"time"
	_ "time/tzdata" // teachers live in Europe/Berlin also on a machine without zone files
)

var berlin = func() *time.Location {
	l, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err) // the zones are embedded
	}
	return l
}()

// A DayKind says what a day is to a school in Hesse.
type DayKind int

// Kinds of days.
const (
	SchoolDay DayKind = iota
	Weekend
	PublicHoliday
	SchoolHoliday
)

// A date is a day without a time, as year*10000 + month*100 + day.
type date int

func dateOf(t time.Time) date {
	y, m, d := t.Date()
	return date(y*10000 + int(m)*100 + d)
}

// schoolHolidays of Hesse, first and last day (Kultusministerkonferenz, as
// published in November 2026). Later years have none here.
var schoolHolidays = [][2]date{
	{20251222, 20260110}, {20260330, 20260410}, {20260629, 20260807}, {20261005, 20261017},
	{20261223, 20270112}, {20270322, 20270402}, {20270628, 20270806}, {20271004, 20271016},
	{20271223, 20280111},
}

// KindOf says what the day of t is, in Berlin.
func KindOf(t time.Time) DayKind {
	t = t.In(berlin)
	d := dateOf(t)
	if publicHoliday(t) {
		return PublicHoliday
	}
	if w := t.Weekday(); w == time.Saturday || w == time.Sunday {
		return Weekend
	}
	for _, h := range schoolHolidays {
		if h[0] <= d && d <= h[1] {
			return SchoolHoliday
		}
	}
	return SchoolDay
}

// publicHoliday knows the ten of Hesse.
func publicHoliday(t time.Time) bool {
	switch dateOf(t) % 10000 {
	case 101, 501, 1003, 1225, 1226:
		return true
	}
	switch t.YearDay() - easter(t.Year()).YearDay() {
	case -2, 1, 39, 50, 60: // Good Friday, Easter Monday, Ascension, Whit Monday, Corpus Christi
		return true
	}
	return false
}

// easter is Easter Sunday by the rule of Meeus, Jones and Butcher.
func easter(year int) time.Time {
	a, b, c := year%19, year/100, year%100
	d, e, f := b/4, b%4, (b+8)/25
	g := (b - f + 1) / 3
	h := (19*a + b - d - g + 15) % 30
	i, k := c/4, c%4
	l := (32 + 2*e + 2*i - h - k) % 7
	m := (a + 11*h + 22*l) / 451
	n := h + l - 7*m + 114
	return time.Date(year, time.Month(n/31), n%31+1, 0, 0, 0, 0, time.UTC)
}

// midnight is the begin of t's day in Berlin.
func midnight(t time.Time) time.Time {
	y, m, d := t.In(berlin).Date()
	return time.Date(y, m, d, 0, 0, 0, 0, berlin)
}
