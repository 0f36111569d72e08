package block

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// What a block may be. A decoder holds to it before it allocates.
const (
	// MaxID is the highest number of a reading.
	MaxID = 1<<16 - 1
	// MaxInstance is the longest instance in bytes, as in proto/reading.
	MaxInstance = 48
	// MaxSteps of a block: a week of minutes, or a year of hours.
	MaxSteps = 10_080
	// MaxSeries of a block.
	MaxSeries = 1024
	// MaxValues of a block, steps times series, absent ones too: at 32 bytes
	// each that is 16 MiB. Who takes blocks from devices asks [ReadHead] first
	// and allows less.
	MaxValues = 1 << 19
	// MaxSize is the most bytes of an encoded block, and of its body unpacked.
	MaxSize = 1 << 20
	// MaxN of one value; [Thin] stops counting there.
	MaxN = 1 << 24
	// MinStep and MaxStep bound a step, in milliseconds: a second and a year.
	// Steps are whole seconds.
	MinStep, MaxStep = 1000, 366 * 24 * 3600 * 1000
	// Minute and Hour are the steps of fresh and of thinned blocks, in milliseconds.
	Minute, Hour = 60_000, 3_600_000
)

// year10000 in milliseconds since 1970: times end there.
const year10000 = 253_402_300_800_000

var (
	// ErrFormat: bytes that are no block, or a broken one.
	ErrFormat = errors.New("not a block")
	// ErrVersion: a block of a version that this program does not know.
	ErrVersion = errors.New("unknown version of block")
	// ErrLimit: more steps, series or bytes than a block may have.
	ErrLimit = errors.New("block too large")
	// ErrOrder: series out of order, or one twice.
	ErrOrder = errors.New("series out of order")
	// ErrRange: a time, step, id, instance or value that cannot be.
	ErrRange = errors.New("out of a block's range")
	// ErrMismatch: blocks or values that do not go together.
	ErrMismatch = errors.New("blocks do not match")
)

// Key names a series.
type Key struct {
	ID       uint32 // number in the table of proto/reading, 1 to MaxID
	Instance string // which volume, sensor or link; empty for single ones
}

// Compare orders keys as blocks do: by number, then by the instance's bytes.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.ID, o.ID), strings.Compare(k.Instance, o.Instance))
}

func (k Key) check() error {
	if k.ID < 1 || k.ID > MaxID || len(k.Instance) > MaxInstance || !utf8.ValidString(k.Instance) {
		return fmt.Errorf("%w: series %d %.64q", ErrRange, k.ID, k.Instance)
	}
	return nil
}

// Value is what a reading was in one step, in the table's base unit. N is how
// many samples it stands for, and 0 says that there is none.
type Value struct {
	Min, Mean, Max int64
	N              int
}

// Sample is a value as it was read.
func Sample(v int64) Value { return Value{v, v, v, 1} }

// plain says that the mean says all.
func (v Value) plain() bool { return v.N == 1 && v.Min == v.Mean && v.Max == v.Mean }

func (v Value) check() error {
	switch {
	case v.N == 0 && v != (Value{}):
		return fmt.Errorf("%w: an absent value that has one", ErrRange)
	case v.N < 0 || v.N > MaxN:
		return fmt.Errorf("%w: %d samples", ErrRange, v.N)
	case v.Min > v.Mean || v.Mean > v.Max:
		return fmt.Errorf("%w: mean %d is not in %d..%d", ErrRange, v.Mean, v.Min, v.Max)
	}
	return nil
}

// Series is one reading of one instance.
type Series struct {
	Key
	// Code says that values are indexes in the table's Codes. A mean of codes
	// is none: in a thinned series Mean is the last code, since that can be
	// thinned again without another result, and Min < Max tells that there were
	// several.
	Code   bool
	Values []Value // one for each step of the block
}

// Empty says that no step has a value.
func (s Series) Empty() bool {
	return !slices.ContainsFunc(s.Values, func(v Value) bool { return v.N != 0 })
}

// Block is the readings of one device over Count steps.
type Block struct {
	Start  int64 // of the first step, milliseconds since 1970 UTC, a multiple of Step
	Step   int64 // milliseconds
	Count  int
	Series []Series // in the order of their keys
}

// Head is what a block covers.
type Head struct {
	Start  int64 // of the first step, milliseconds since 1970 UTC
	Step   int64 // milliseconds
	Count  int   // steps
	Series int   // how many there are
}

// End is when the last step ends, milliseconds since 1970 UTC.
func (h Head) End() int64 { return h.Start + int64(h.Count)*h.Step }

func (h Head) check() error {
	switch {
	case h.Step < MinStep || h.Step > MaxStep || h.Step%MinStep != 0:
		return fmt.Errorf("%w: step of %d ms", ErrRange, h.Step)
	case h.Start < 0 || h.Start > year10000 || h.Start%h.Step != 0:
		return fmt.Errorf("%w: start %d ms with steps of %d ms", ErrRange, h.Start, h.Step)
	case h.Count < 1 || h.Count > MaxSteps:
		return fmt.Errorf("%w: %d steps", ErrLimit, h.Count)
	case h.Series < 0 || h.Series > MaxSeries || h.Series*h.Count > MaxValues:
		return fmt.Errorf("%w: %d series of %d steps", ErrLimit, h.Series, h.Count)
	}
	return nil
}

// Head is what b covers.
func (b Block) Head() Head { return Head{b.Start, b.Step, b.Count, len(b.Series)} }

// Check says whether b holds the invariants. All functions of this package that
// take blocks check them.
func (b Block) Check() error {
	if err := b.Head().check(); err != nil {
		return err
	}
	for i, s := range b.Series {
		if err := s.check(); err != nil {
			return err
		}
		if i > 0 && b.Series[i-1].Compare(s.Key) >= 0 {
			return fmt.Errorf("%w: %v after %v", ErrOrder, s.Key, b.Series[i-1].Key)
		}
		if len(s.Values) != b.Count {
			return fmt.Errorf("%w: series %v has %d values for %d steps", ErrMismatch, s.Key, len(s.Values), b.Count)
		}
		for _, v := range s.Values {
			if err := v.check(); err != nil {
				return fmt.Errorf("series %v: %w", s.Key, err)
			}
		}
	}
	return nil
}

// Set puts in a sample that was read at t, milliseconds since 1970 UTC; the
// last one of a step stays. A code is its index in the table.
func (b *Block) Set(t int64, key Key, code bool, v int64) error {
	if err := b.Head().check(); err != nil {
		return err
	}
	if err := key.check(); err != nil {
		return err
	}
	if t < b.Start || t >= b.Head().End() {
		return fmt.Errorf("%w: %d ms is not in the block of %d ms", ErrRange, t, b.Start)
	}
	i, found := b.find(key)
	switch {
	case found && b.Series[i].Code != code:
		return fmt.Errorf("%w: series %v of codes and of numbers", ErrMismatch, key)
	case !found && (len(b.Series) >= MaxSeries || (len(b.Series)+1)*b.Count > MaxValues):
		return fmt.Errorf("%w: series %v is one too many", ErrLimit, key)
	case !found:
		b.Series = slices.Insert(b.Series, i, Series{Key: key, Code: code, Values: make([]Value, b.Count)})
	}
	b.Series[i].Values[(t-b.Start)/b.Step] = Sample(v)
	return nil
}

// find gives the place of a key.
func (b Block) find(key Key) (int, bool) {
	return slices.BinarySearchFunc(b.Series, key, func(s Series, k Key) int { return s.Compare(k) })
}
