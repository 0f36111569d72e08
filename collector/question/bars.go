package question

import (
	"cmp"
	"slices"

	"hausmeister/collector/crowd"
	"hausmeister/proto/reading"
)

// maxBars bounds a distribution.
const maxBars = 12

// bars spreads the shown reading over the devices that the conditions about
// other things leave.
func (r *result) bars() (bars []Bar, devices int64) {
	_, among := r.holds(r.now, r.reading.Name)
	among.keep(r.show.known)
	if r.reading.Kind == reading.Number {
		values := make([]int64, 0, among.count())
		among.each(func(n int) bool { values = append(values, r.show.values[n]); return true })
		bars = numberBars(r.reading, values)
	} else {
		counts := make([]int64, len(r.show.words))
		among.each(func(n int) bool { counts[r.show.values[n]]++; return true })
		bars = textBars(r.reading, r.show.words, counts)
	}
	r.side(bars, among)
	return hideFew(bars), among.count()
}

// side says of each bar whether what was asked of the shown reading is true of all
// of it or of none: how many devices match is told exactly, and is a sum of bars then.
func (r *result) side(bars []Bar, among set) {
	col := r.show
	var asks []func(int64) bool
	for _, c := range r.question.Conditions {
		if c.Name == r.reading.Name {
			asks = append(asks, c.test(col))
		}
	}
	if len(asks) == 0 {
		return
	}
	match := make([]int64, len(bars))
	among.each(func(n int) bool {
		v := col.values[n]
		if !slices.ContainsFunc(asks, func(ask func(int64) bool) bool { return !ask(v) }) {
			match[barOf(bars, col, v)]++
		}
		return true
	})
	for i := range bars {
		switch match[i] {
		case bars[i].Devices:
			bars[i].side = matches
		case 0:
			bars[i].side = apart
		default:
			bars[i].side = mixed
		}
	}
}

// barOf is the place of the bar that a value is in.
func barOf(bars []Bar, col *column, v int64) int {
	if len(col.words) > 0 {
		if i := slices.IndexFunc(bars, func(b Bar) bool { return !b.Rest && b.Text == col.words[v] }); i >= 0 {
			return i
		}
		return len(bars) - 1 // the rest
	}
	step := bars[0].To - bars[0].From
	return int(min(max(v-bars[0].From, 0)/step, int64(len(bars)-1)))
}

// side is where a bar stands to what was asked of its reading.
type side int

const (
	apart   side = iota // of no device of it that was true
	matches             // of all
	mixed
)

// hideFew leaves out numbers that would tell of few. How many devices all bars hold is
// told, and how many match: in each part whose sum is known more is left out. Where no
// part of that is enough, there are no bars.
func hideFew(bars []Bar) []Bar {
	parts := [2][]*Bar{}
	halved := !slices.ContainsFunc(bars, func(b Bar) bool { return b.side == mixed })
	for i := range bars {
		part := 0
		if halved && bars[i].side == matches {
			part = 1
		}
		parts[part] = append(parts[part], &bars[i])
	}
	for _, part := range parts {
		if !hidePart(part) {
			return nil
		}
	}
	return bars
}

// hidePart does so for bars whose sum is known, and says whether it could.
func hidePart(bars []*Bar) bool {
	devices := make([]int64, len(bars))
	for i, b := range bars {
		devices[i] = b.Devices
	}
	hidden, ok := crowd.Hide(devices)
	for i, b := range bars {
		if hidden[i] {
			b.Few, b.Devices = true, 0
		}
	}
	return ok
}

// numberBars are of equal width, but for what lies far out: one value in a
// hundred at each end may be in an open bar.
func numberBars(r reading.Reading, values []int64) []Bar {
	if len(values) == 0 {
		return nil
	}
	slices.Sort(values)
	low, high := values[len(values)/100], values[len(values)-1-len(values)/100]
	step := stepOf(r, low, high)
	first := floorTo(low, step)
	var bars []Bar
	for from := first; from <= high && len(bars) < maxBars; from += step {
		bars = append(bars, Bar{From: from, To: from + step})
	}
	last := len(bars) - 1
	bars[0].OpenLow, bars[last].OpenH = values[0] < bars[0].From, values[len(values)-1] >= bars[last].To
	for _, v := range values {
		at := 0
		if v >= first {
			at = int(min((v-first)/step, int64(last)))
		}
		bars[at].Devices++
	}
	return bars
}

func floorTo(v, step int64) int64 {
	out := v / step * step
	if out > v {
		out -= step
	}
	return out
}

// stepOf is the least width that looks round to a person and needs no more bars
// than there may be.
func stepOf(r reading.Reading, low, high int64) int64 {
	unit, factors := int64(1), []int64{1, 2, 5}
	times := int64(10)
	switch {
	case r.Unit == reading.UnixMilli:
		unit, factors = dayMS, []int64{1, 2, 7, 14, 30, 90, 365}
	case r.Unit == reading.Bytes && !r.Instanced: // of main memory, counted in powers of two
		factors, times = []int64{1}, 2
	case r.Unit == reading.Permille:
		unit = 10 // a whole per cent
	}
	for ; ; unit *= times {
		for _, f := range factors {
			step := unit * f
			// Unsigned, since the distance of two int64 need not fit into one.
			if uint64(high)-uint64(floorTo(low, step)) < uint64(step)*maxBars || step > 1<<58 {
				return step
			}
		}
	}
}

// textBars are of each text, that of most devices first; codes keep the order of
// their table.
func textBars(r reading.Reading, words []string, counts []int64) []Bar {
	var bars []Bar
	for i, word := range words {
		if counts[i] > 0 {
			bars = append(bars, Bar{Text: word, Devices: counts[i]})
		}
	}
	at := func(b Bar) int {
		return slices.IndexFunc(r.Codes, func(c reading.CodeValue) bool { return c.Code == b.Text })
	}
	slices.SortFunc(bars, func(a, b Bar) int {
		return cmp.Or(cmp.Compare(at(a), at(b)), cmp.Compare(b.Devices, a.Devices), cmp.Compare(a.Text, b.Text))
	})
	if len(bars) <= maxBars {
		return bars
	}
	rest := Bar{Rest: true}
	for _, b := range bars[maxBars-1:] {
		rest.Devices += b.Devices
	}
	return append(bars[:maxBars-1:maxBars-1], rest)
}
