// Package calendar knows the days of Hesse's schools: public holidays, school
// holidays, and with what an owner says of his schools whether there are lessons at a
// moment. It is pure; all days are those of Europe/Berlin, whatever the clocks of
// machines and people.
//
// School holidays are known as far as the state has published them to us. Behind the
// last of them every working day counts as a school day: an update that waits for the
// afternoon harms nobody.
package calendar

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"time"
	_ "time/tzdata" // a server need not have it
)

//go:embed holidays.json
var holidaysJSON []byte

//go:embed school_holidays.json
var schoolHolidaysJSON []byte

// Berlin is where the schools are.
var Berlin = func() *time.Location {
	l, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err) // it is embedded
	}
	return l
}()

// Day is a date, as YYYY-MM-DD: it sorts as days do.
type Day string

// DayOf is the date in Berlin.
func DayOf(t time.Time) Day { return Day(t.In(Berlin).Format(time.DateOnly)) }

// Valid says whether it is a date.
func (d Day) Valid() bool {
	_, err := time.Parse(time.DateOnly, string(d))
	return err == nil
}

// At is a minute of the day. On the two days when clocks change it is what the clock
// on the wall shows.
func (d Day) At(minute int) time.Time {
	t, err := time.Parse(time.DateOnly, string(d))
	if err != nil {
		return time.Time{}
	}
	return time.Date(t.Year(), t.Month(), t.Day(), minute/60, minute%60, 0, 0, Berlin)
}

// Next is the day after it.
func (d Day) Next() Day { return DayOf(d.At(12*60).AddDate(0, 0, 1)) }

// Span is a run of days, both ends in it.
type Span struct {
	From Day    `json:"from"`
	To   Day    `json:"to"`
	Name string `json:"name,omitempty"`
}

// Holds says whether the day is in it.
func (s Span) Holds(d Day) bool { return s.From <= d && d <= s.To }

// holidays by day, and the school holidays.
var holidays, schoolHolidays = read()

func read() (map[Day]string, []Span) {
	h, s := map[Day]string{}, []Span{}
	if err := json.Unmarshal(holidaysJSON, &h); err != nil {
		panic(fmt.Sprintf("public holidays: %v", err))
	}
	if err := json.Unmarshal(schoolHolidaysJSON, &s); err != nil {
		panic(fmt.Sprintf("school holidays: %v", err))
	}
	return h, s
}

// Holiday is the name of the public holiday on a day, empty = none.
func Holiday(d Day) string { return holidays[d] }

// SchoolHoliday is the name of the school holidays that a day is in, empty = none.
func SchoolHoliday(d Day) string {
	for _, s := range schoolHolidays {
		if s.Holds(d) {
			return s.Name
		}
	}
	return ""
}

// Lessons are when an owner's schools teach, in minutes of the day, and which days his
// schools have off beside the state's holidays.
type Lessons struct {
	From, To int
	Free     []Span
}

// DefaultLessons are from 07:30 to 13:15.
func DefaultLessons() Lessons { return Lessons{From: 7*60 + 30, To: 13*60 + 15} }

// SchoolDay says whether there are lessons on a day.
func (l Lessons) SchoolDay(d Day) bool {
	switch d.At(12 * 60).Weekday() {
	case time.Saturday, time.Sunday:
		return false
	}
	return Holiday(d) == "" && SchoolHoliday(d) == "" && !slices.ContainsFunc(l.Free, func(s Span) bool { return s.Holds(d) })
}

// During says whether there are lessons at a moment.
func (l Lessons) During(t time.Time) bool {
	d := DayOf(t)
	return l.SchoolDay(d) && !t.Before(d.At(l.From)) && t.Before(d.At(l.To))
}

// Until is how long it is to the next lesson: how long something may take that is
// not to run into it. It looks ahead two weeks.
func (l Lessons) Until(t time.Time) time.Duration {
	const ahead = 14
	if l.During(t) {
		return 0
	}
	d := DayOf(t)
	for range ahead {
		if start := d.At(l.From); l.SchoolDay(d) && start.After(t) {
			return start.Sub(t)
		}
		d = d.Next()
	}
	return ahead * 24 * time.Hour
}

// Taught says whether a whole morning of lessons lay between two moments.
func (l Lessons) Taught(from, to time.Time) bool {
	for d := DayOf(from); d <= DayOf(to); d = d.Next() {
		if l.SchoolDay(d) && !d.At(l.From).Before(from) && !d.At(l.To).After(to) {
			return true
		}
	}
	return false
}
