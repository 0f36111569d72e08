package block

import (
	"fmt"
	"maps"
	"math"
	"math/bits"
	"slices"
)

// Merge joins blocks of one step into one that reaches from the first to the
// last, in whatever order they come and with whatever gaps between. Where two
// have a value for the same series and step, that of the later argument stays;
// a value is never lost to an absent one. The blocks given are left as they are.
func Merge(blocks ...Block) (Block, error) {
	if len(blocks) == 0 {
		return Block{}, fmt.Errorf("merging blocks: %w: there are none", ErrMismatch)
	}
	out := Block{Start: math.MaxInt64, Step: blocks[0].Step}
	var end int64
	at := map[Key]int{}
	for _, b := range blocks {
		if err := b.Check(); err != nil {
			return Block{}, fmt.Errorf("merging blocks: %w", err)
		}
		if b.Step != out.Step {
			return Block{}, fmt.Errorf("merging blocks: %w: steps of %d and of %d ms", ErrMismatch, out.Step, b.Step)
		}
		out.Start, end = min(out.Start, b.Start), max(end, b.Head().End())
		for _, s := range b.Series {
			i, found := at[s.Key]
			if !found {
				at[s.Key] = len(out.Series)
				out.Series = append(out.Series, Series{Key: s.Key, Code: s.Code})
			} else if out.Series[i].Code != s.Code {
				return Block{}, fmt.Errorf("merging blocks: %w: series %v of codes and of numbers", ErrMismatch, s.Key)
			}
		}
	}
	// Not beyond an int: both ends are times before the year 10000, and a
	// check of the head comes before anything of that size is made.
	steps := (end - out.Start) / out.Step
	if steps > MaxSteps {
		return Block{}, fmt.Errorf("merging blocks: %w: %d steps", ErrLimit, steps)
	}
	out.Count = int(steps)
	if err := out.Head().check(); err != nil {
		return Block{}, fmt.Errorf("merging blocks: %w", err)
	}
	all := make([]Value, out.Count*len(out.Series))
	for i := range out.Series {
		out.Series[i].Values, all = all[:out.Count:out.Count], all[out.Count:]
	}
	for _, b := range blocks {
		offset := (b.Start - out.Start) / out.Step
		for _, s := range b.Series {
			to := out.Series[at[s.Key]].Values[offset:]
			for i, v := range s.Values {
				if v.N != 0 {
					to[i] = v
				}
			}
		}
	}
	slices.SortFunc(out.Series, func(a, b Series) int { return a.Compare(b.Key) })
	return out, nil
}

// Thin makes the steps of b coarser: step, in milliseconds, is a multiple of
// b's. The new steps lie on multiples of step since 1970 UTC, so that a first
// and last one may stand for less than it seems; N tells. Least and greatest
// value stay, the mean is weighed by N and rounded to the nearest; of codes the
// last one stays.
func Thin(b Block, step int64) (Block, error) {
	if err := b.Check(); err != nil {
		return Block{}, fmt.Errorf("thinning a block: %w", err)
	}
	if step < b.Step || step%b.Step != 0 || step > MaxStep {
		return Block{}, fmt.Errorf("thinning a block: %w: from steps of %d to %d ms", ErrRange, b.Step, step)
	}
	out := Block{Start: b.Start - b.Start%step, Step: step}
	out.Count = int((b.Head().End() - out.Start + step - 1) / step)
	out.Series = make([]Series, len(b.Series))
	for i, s := range b.Series {
		to := Series{Key: s.Key, Code: s.Code, Values: make([]Value, out.Count)}
		var sum summary
		at := 0
		for j, v := range s.Values {
			if now := int((b.Start + int64(j)*b.Step - out.Start) / step); now != at {
				to.Values[at] = sum.value(s.Code)
				at, sum = now, summary{}
			}
			sum.add(v)
		}
		to.Values[at] = sum.value(s.Code)
		out.Series[i] = to
	}
	return out, nil
}

// Point is what a history shows: the value of a stretch that begins at T.
type Point struct {
	T int64 // milliseconds since 1970 UTC
	Value
}

// Points gives one series of some blocks in stretches of step from from on,
// until before to; all in milliseconds, the times since 1970 UTC. A value
// belongs to the stretch in which its own step begins. Stretches without a
// value are left out. The blocks may have different steps and come in any
// order, but should not overlap: where they do, values count twice (Merge
// first). The caller limits how many stretches it asks for; memory follows the
// blocks, not them.
func Points(key Key, from, to, step int64, blocks ...Block) ([]Point, error) {
	if step < 1 || from < 0 || to > year10000 {
		return nil, fmt.Errorf("reading points: %w: from %d to %d by %d ms", ErrRange, from, to, step)
	}
	blocks = slices.Clone(blocks)
	// So that the last code is the last.
	slices.SortStableFunc(blocks, func(a, b Block) int { return int(min(max(a.Start-b.Start, -1), 1)) })
	var code bool
	sums := map[int64]*summary{}
	for i, b := range blocks {
		if err := b.Check(); err != nil {
			return nil, fmt.Errorf("reading points: %w", err)
		}
		at, found := b.find(key)
		if !found {
			continue
		}
		s := b.Series[at]
		if len(sums) > 0 && s.Code != code {
			return nil, fmt.Errorf("reading points: %w: block %d has codes or numbers and others not", ErrMismatch, i)
		}
		code = s.Code
		addPoints(sums, b, s, from, to, step)
	}
	points := make([]Point, 0, len(sums))
	for _, n := range slices.Sorted(maps.Keys(sums)) {
		points = append(points, Point{from + n*step, sums[n].value(code)})
	}
	return points, nil
}

func addPoints(sums map[int64]*summary, b Block, s Series, from, to, step int64) {
	var sum *summary
	last := int64(-1)
	for i, v := range s.Values {
		t := b.Start + int64(i)*b.Step
		if v.N == 0 || t < from || t >= to {
			continue
		}
		if n := (t - from) / step; n != last {
			last = n
			if sum = sums[n]; sum == nil {
				sum = &summary{}
				sums[n] = sum
			}
		}
		sum.add(v)
	}
}

// summary is many values as one.
type summary struct {
	min, max, last int64
	// hi and lo are the 128-bit sum of N times the mean, each mean moved up by
	// 2^63 so that it is not negative.
	hi, lo uint64
	n      uint64
}

func (s *summary) add(v Value) {
	if v.N == 0 {
		return
	}
	if s.n == 0 {
		s.min, s.max = v.Min, v.Max
	}
	s.min, s.max, s.last = min(s.min, v.Min), max(s.max, v.Max), v.Mean
	hi, lo := bits.Mul64(uint64(v.Mean)^1<<63, uint64(v.N))
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, lo, 0)
	s.hi, _ = bits.Add64(s.hi, hi, carry)
	s.n += uint64(v.N)
}

func (s *summary) value(code bool) Value {
	if s.n == 0 {
		return Value{}
	}
	v := Value{Min: s.min, Mean: s.last, Max: s.max, N: int(min(s.n, MaxN))}
	if !code {
		// The mean of numbers below 2^64 is below 2^64, also rounded: no overflow.
		lo, carry := bits.Add64(s.lo, s.n/2, 0)
		mean, _ := bits.Div64(s.hi+carry, lo, s.n)
		v.Mean = int64(mean ^ 1<<63)
	}
	return v
}
