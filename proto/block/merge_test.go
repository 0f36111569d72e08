package block_test

import (
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hausmeister/proto/block"
)

// minutes is a block of series 1 from minute on; -1 is absent.
func minutes(minute int64, v ...int64) block.Block {
	b := block.Block{Start: monday + minute*block.Minute, Step: block.Minute, Count: len(v)}
	s := block.Series{Key: block.Key{ID: 1}, Values: make([]block.Value, len(v))}
	for i, x := range v {
		if x >= 0 {
			s.Values[i] = block.Sample(x)
		}
	}
	b.Series = []block.Series{s}
	return b
}

func TestMerge(t *testing.T) {
	renamed := func(b block.Block, id uint32) block.Block { b.Series[0].ID = id; return b }
	coded := func(b block.Block) block.Block { b.Series[0].Code = true; return b }
	two := minutes(0, 1, 2, -1, -1, -1)
	two.Series = append(two.Series, renamed(minutes(0, -1, -1, -1, 3, 4), 2).Series...)
	for _, c := range []struct {
		name   string
		blocks []block.Block
		want   block.Block
		err    error
	}{
		{"one", []block.Block{minutes(0, 1, 2)}, minutes(0, 1, 2), nil},
		{"side by side", []block.Block{minutes(0, 1, 2), minutes(2, 3, 4)}, minutes(0, 1, 2, 3, 4), nil},
		{"backwards", []block.Block{minutes(2, 3, 4), minutes(0, 1, 2)}, minutes(0, 1, 2, 3, 4), nil},
		{"with a gap", []block.Block{minutes(0, 1, 2), minutes(4, 5)}, minutes(0, 1, 2, -1, -1, 5), nil},
		{"the later wins", []block.Block{minutes(0, 1, 2, 3), minutes(1, 7, 8)}, minutes(0, 1, 7, 8), nil},
		{"but not the absent", []block.Block{minutes(0, 1, 2, 3), minutes(1, -1, 8)}, minutes(0, 1, 2, 8), nil},
		{"both halves of a restart", []block.Block{minutes(0, 1, 2, -1, -1, -1), minutes(0, -1, -1, -1, 4, 5)}, minutes(0, 1, 2, -1, 4, 5), nil},
		{"different series", []block.Block{renamed(minutes(3, 3, 4), 2), minutes(0, 1, 2)}, two, nil},
		{"without series", []block.Block{{Start: monday, Step: block.Minute, Count: 1}, minutes(1, 1)}, minutes(0, -1, 1), nil},
		{"none", nil, block.Block{}, block.ErrMismatch},
		{"other steps", []block.Block{minutes(0, 1), {Start: monday, Step: block.Hour, Count: 1}}, block.Block{}, block.ErrMismatch},
		{"codes and numbers", []block.Block{minutes(0, 1), coded(minutes(1, 1))}, block.Block{}, block.ErrMismatch},
		{"too long", []block.Block{minutes(0, 1), minutes(block.MaxSteps, 1)}, block.Block{}, block.ErrLimit},
		{"much too long", []block.Block{{Start: 0, Step: 1000, Count: 1}, {Start: 253_402_300_000_000, Step: 1000, Count: 1}}, block.Block{}, block.ErrLimit},
		{"a broken one", []block.Block{minutes(0, 1), {}}, block.Block{}, block.ErrRange},
	} {
		got, err := block.Merge(c.blocks...)
		if d := cmp.Diff(c.want, got); !errors.Is(err, c.err) || d != "" {
			t.Errorf("%s: %v, want %v (-want +got):\n%s", c.name, err, c.err, d)
		}
	}
}

// TestMergeDay: what the daily job makes of a day is the day.
func TestMergeDay(t *testing.T) {
	want := machine(1, 1440)
	var blocks []block.Block
	for _, q := range quarters(want) {
		b, err := block.Decode(encode(t, q))
		if err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, b)
	}
	got, err := block.Merge(blocks...)
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}

func TestThin(t *testing.T) {
	hour := func(v ...block.Value) block.Block {
		return block.Block{Start: monday, Step: block.Hour, Count: len(v), Series: []block.Series{{Key: block.Key{ID: 1}, Values: v}}}
	}
	extreme := minutes(0, 0, 0, 0)
	for i, v := range []int64{math.MinInt64, math.MaxInt64, math.MaxInt64} {
		extreme.Series[0].Values[i] = block.Sample(v)
	}
	codes := minutes(58, 3, 1, 2, 0)
	codes.Series[0].Code = true
	codesWant := hour(block.Value{Min: 1, Mean: 1, Max: 3, N: 2}, block.Value{Min: 0, Mean: 0, Max: 2, N: 2})
	codesWant.Series[0].Code = true
	weighed := hour(block.Value{Min: 0, Mean: 10, Max: 20, N: 60}, block.Value{Min: 40, Mean: 70, Max: 90, N: 30})
	full := hour(block.Value{N: block.MaxN}, block.Value{N: block.MaxN})
	for _, c := range []struct {
		name string
		b    block.Block
		step int64
		want block.Block
		err  error
	}{
		{"mean", minutes(0, 1, 2, 6), block.Hour, hour(block.Value{Min: 1, Mean: 3, Max: 6, N: 3}), nil},
		{"half rounds up", minutes(0, 1, 2), block.Hour, hour(block.Value{Min: 1, Mean: 2, Max: 2, N: 2}), nil},
		{"absent counts nothing", minutes(0, 1, -1, 5), block.Hour, hour(block.Value{Min: 1, Mean: 3, Max: 5, N: 2}), nil},
		{"nothing stays nothing", minutes(0, -1, -1), block.Hour, hour(block.Value{}), nil},
		{"over the hour", minutes(59, 1, 7), block.Hour, hour(block.Sample(1), block.Sample(7)), nil},
		{"late in the hour", minutes(45, 4), block.Hour, hour(block.Sample(4)), nil},
		{"codes", codes, block.Hour, codesWant, nil},
		{"again, weighed", weighed, 2 * block.Hour, block.Block{Start: monday, Step: 2 * block.Hour, Count: 1, Series: []block.Series{
			{Key: block.Key{ID: 1}, Values: []block.Value{{Min: 0, Mean: 30, Max: 90, N: 90}}},
		}}, nil},
		{"no overflow", extreme, block.Hour, hour(block.Value{Min: math.MinInt64, Mean: math.MaxInt64 / 3, Max: math.MaxInt64, N: 3}), nil},
		{"n has an end", full, 2 * block.Hour, block.Block{Start: monday, Step: 2 * block.Hour, Count: 1, Series: []block.Series{
			{Key: block.Key{ID: 1}, Values: []block.Value{{N: block.MaxN}}},
		}}, nil},
		{"same step", minutes(0, 1, 2), block.Minute, minutes(0, 1, 2), nil},
		{"finer", hour(block.Sample(1)), block.Minute, block.Block{}, block.ErrRange},
		{"no multiple", minutes(0, 1), 90_000, block.Block{}, block.ErrRange},
		{"step zero", minutes(0, 1), 0, block.Block{}, block.ErrRange},
		{"more than a year", minutes(0, 1), block.MaxStep + block.Hour, block.Block{}, block.ErrRange},
		{"a broken one", block.Block{}, block.Hour, block.Block{}, block.ErrRange},
	} {
		got, err := block.Thin(c.b, c.step)
		if d := cmp.Diff(c.want, got); !errors.Is(err, c.err) || d != "" {
			t.Errorf("%s: %v, want %v (-want +got):\n%s", c.name, err, c.err, d)
		}
	}
}

// TestThinSpool: four blocks of 15 minutes become the step of an hour.
func TestThinSpool(t *testing.T) {
	hour := machine(5, 60)
	merged, err := block.Merge(quarters(hour)...)
	if err != nil {
		t.Fatal(err)
	}
	thin, err := block.Thin(merged, block.Hour)
	if err != nil || thin.Count != 1 || len(thin.Series) != 40 {
		t.Fatalf("%d steps of %d series, %v", thin.Count, len(thin.Series), err)
	}
	for _, s := range thin.Series {
		if s.Values[0].N != 60 {
			t.Errorf("series %v stands for %d samples, want 60", s.Key, s.Values[0].N)
		}
	}
	size := len(encode(t, thin))
	if size > 500 {
		t.Errorf("an hour takes %d bytes, want at most 500", size)
	}
	t.Logf("an hour of 40 series in %d bytes", size)
}

func TestPoints(t *testing.T) {
	key := block.Key{ID: 1}
	at := func(minute int64, v block.Value) block.Point {
		return block.Point{T: monday + minute*block.Minute, Value: v}
	}
	early, late := minutes(0, 1, 2, -1, 4), minutes(10, 5, 9)
	hour := block.Block{Start: monday + block.Hour, Step: block.Hour, Count: 1, Series: []block.Series{
		{Key: key, Values: []block.Value{{Min: 0, Mean: 10, Max: 50, N: 60}}},
	}}
	coded := func(b block.Block) block.Block {
		b.Series = []block.Series{{Key: key, Code: true, Values: b.Series[0].Values}}
		return b
	}
	for _, c := range []struct {
		name           string
		from, to, step int64 // from and to in minutes
		blocks         []block.Block
		want           []block.Point
		err            error
	}{
		{"as they are", 0, 60, block.Minute, []block.Block{early},
			[]block.Point{at(0, block.Sample(1)), at(1, block.Sample(2)), at(3, block.Sample(4))}, nil},
		{"cut", 1, 3, block.Minute, []block.Block{early}, []block.Point{at(1, block.Sample(2))}, nil},
		{"from elsewhere", 1, 60, 2 * block.Minute, []block.Block{early}, []block.Point{at(1, block.Sample(2)), at(3, block.Sample(4))}, nil},
		{"coarser, without the gap", 0, 60, 5 * block.Minute, []block.Block{late, early},
			[]block.Point{at(0, block.Value{Min: 1, Mean: 2, Max: 4, N: 3}), at(10, block.Value{Min: 5, Mean: 7, Max: 9, N: 2})}, nil},
		{"one stretch of several blocks and steps", 0, 120, 2 * block.Hour, []block.Block{hour, early},
			[]block.Point{at(0, block.Value{Min: 0, Mean: 10, Max: 50, N: 63})}, nil},
		{"finer than the block", 0, 120, block.Minute, []block.Block{hour},
			[]block.Point{at(60, block.Value{Min: 0, Mean: 10, Max: 50, N: 60})}, nil},
		{"the last code, however they come", 0, 60, block.Hour, []block.Block{coded(late), coded(early)},
			[]block.Point{at(0, block.Value{Min: 1, Mean: 9, Max: 9, N: 5})}, nil},
		{"a finer grid than anybody can hold", 0, 1 << 30, 1, []block.Block{early},
			[]block.Point{at(0, block.Sample(1)), at(1, block.Sample(2)), at(3, block.Sample(4))}, nil},
		{"nothing there", 30, 60, block.Minute, []block.Block{early}, []block.Point{}, nil},
		{"no blocks", 0, 60, block.Minute, nil, []block.Point{}, nil},
		{"to before from", 60, 0, block.Minute, []block.Block{early}, []block.Point{}, nil},
		{"codes and numbers", 0, 60, block.Minute, []block.Block{early, coded(late)}, nil, block.ErrMismatch},
		{"no step", 0, 60, 0, []block.Block{early}, nil, block.ErrRange},
		{"before 1970", math.MinInt64/block.Minute - monday/block.Minute + 1, 60, block.Minute, []block.Block{early}, nil, block.ErrRange},
		{"a broken one", 0, 60, block.Minute, []block.Block{{}}, nil, block.ErrRange},
	} {
		got, err := block.Points(key, monday+c.from*block.Minute, monday+c.to*block.Minute, c.step, c.blocks...)
		if d := cmp.Diff(c.want, got); !errors.Is(err, c.err) || d != "" {
			t.Errorf("%s: %v, want %v (-want +got):\n%s", c.name, err, c.err, d)
		}
	}
	if got, err := block.Points(block.Key{ID: 2}, monday, monday+block.Hour, block.Minute, early); err != nil || len(got) != 0 {
		t.Errorf("of another key: %v, %v", got, err)
	}
}

// quarters cuts a block into those of 15 steps.
func quarters(m block.Block) []block.Block {
	var out []block.Block
	for at := 0; at < m.Count; at += 15 {
		q := block.Block{Start: m.Start + int64(at)*m.Step, Step: m.Step, Count: min(15, m.Count-at)}
		for _, s := range m.Series {
			s.Values = s.Values[at : at+q.Count]
			q.Series = append(q.Series, s)
		}
		out = append(out, q)
	}
	return out
}
