package block_test

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"hausmeister/proto/block"
)

// draw makes any block that may be: rarely a realistic one, but each form.
func draw(t *rapid.T, step int64) block.Block {
	b := block.Block{
		Start: step * rapid.Int64Range(0, min(1<<20, 253_000_000_000_000/step)).Draw(t, "start"),
		Step:  step,
		Count: rapid.IntRange(1, 100).Draw(t, "count"),
	}
	keys := map[block.Key]bool{}
	for range rapid.IntRange(0, 6).Draw(t, "series") {
		key := block.Key{
			ID:       rapid.OneOf(rapid.Uint32Range(1, 4), rapid.Uint32Range(1, block.MaxID)).Draw(t, "id"),
			Instance: rapid.SampledFrom([]string{"", "/", "C:", "wlan0", "übergroß", "0123456789012345678901234567890123456789abcdefgh"}).Draw(t, "instance"),
		}
		if keys[key] {
			continue
		}
		keys[key] = true
		s := block.Series{Key: key, Code: codeOf(key), Values: drawValues(t, b.Count)}
		if s.Empty() {
			s.Values[rapid.IntRange(0, b.Count-1).Draw(t, "one")] = block.Sample(drawNumber(t))
		}
		b.Series = append(b.Series, s)
	}
	slices.SortFunc(b.Series, func(a, b block.Series) int { return a.Compare(b.Key) })
	return b
}

// codeOf makes the same key the same kind in each block.
func codeOf(key block.Key) bool { return key.ID%3 == 0 }

func drawNumber(t *rapid.T) int64 {
	return rapid.OneOf(rapid.Int64Range(-3, 3), rapid.Int64Range(0, 1000), rapid.Int64(),
		rapid.SampledFrom([]int64{math.MinInt64, math.MaxInt64, math.MinInt64 + 1, 1 << 62, -1 << 62})).Draw(t, "number")
}

func drawValues(t *rapid.T, count int) []block.Value {
	values := make([]block.Value, count)
	gaps := rapid.SampledFrom([]int{0, 0, 2, 10}).Draw(t, "gaps")
	thinned := rapid.Bool().Draw(t, "thinned")
	unit := rapid.SampledFrom([]int64{1, 7, 1000, 4096, -1}).Draw(t, "unit")
	walk := rapid.Bool().Draw(t, "walk")
	last := int64(0)
	for i := range values {
		if gaps > 0 && rapid.IntRange(0, gaps).Draw(t, "gap") == 0 {
			continue
		}
		if walk {
			last += unit * rapid.Int64Range(-20, 100).Draw(t, "step")
		} else {
			last = drawNumber(t)
		}
		values[i] = block.Sample(last)
		if thinned {
			v := []int64{last, drawNumber(t), drawNumber(t)}
			slices.Sort(v)
			values[i] = block.Value{Min: v[0], Mean: v[1], Max: v[2], N: rapid.IntRange(1, block.MaxN).Draw(t, "n")}
		}
	}
	return values
}

func equal(t *rapid.T, what string, got, want block.Block, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if len(want.Series) == 0 && len(got.Series) == 0 {
		got.Series, want.Series = nil, nil
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

func TestRoundTrip(t *testing.T) {
	var e block.Encoder // used again, to notice what it would keep
	rapid.Check(t, func(t *rapid.T) {
		b := draw(t, rapid.SampledFrom([]int64{1000, block.Minute, block.Hour, block.MaxStep}).Draw(t, "step"))
		data, err := e.Append([]byte("before"), b)
		if err != nil {
			t.Fatal(err)
		}
		if fresh, err := block.Encode(b); err != nil || string(fresh) != string(data[6:]) {
			t.Fatalf("a used encoder gives other bytes than a new one: %v", err)
		}
		got, err := block.Decode(data[6:])
		equal(t, "decoded", got, b, err)
	})
}

func TestMergeOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := draw(t, block.Minute)
		// Cut into disjoint blocks: nothing to win or lose, so any order is good.
		var parts []block.Block
		for at := 0; at < b.Count; {
			n := rapid.IntRange(1, b.Count-at).Draw(t, "part")
			p := block.Block{Start: b.Start + int64(at)*b.Step, Step: b.Step, Count: n}
			for _, s := range b.Series {
				s.Values = s.Values[at : at+n]
				p.Series = append(p.Series, s)
			}
			parts = append(parts, p)
			at += n
		}
		got, err := block.Merge(rapid.Permutation(parts).Draw(t, "order")...)
		equal(t, "merged", got, b, err)
		again, err := block.Merge(got, got)
		equal(t, "merged with itself", again, b, err)
	})
}

func TestMergeLaterWins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw(t, block.Minute), draw(t, block.Minute)
		b.Start = a.Start + block.Minute*rapid.Int64Range(0, 50).Draw(t, "later")
		got, err := block.Merge(a, b)
		if err != nil {
			t.Fatal(err)
		}
		lookup := func(x block.Block, key block.Key, at int64) block.Value {
			for _, s := range x.Series {
				if i := (at - x.Start) / x.Step; s.Key == key && at >= x.Start && i < int64(x.Count) {
					return s.Values[i]
				}
			}
			return block.Value{}
		}
		for _, s := range got.Series {
			for i, v := range s.Values {
				at := got.Start + int64(i)*got.Step
				want := lookup(b, s.Key, at)
				if want.N == 0 {
					want = lookup(a, s.Key, at)
				}
				if v != want {
					t.Fatalf("%v at %d: %v, want %v", s.Key, at, v, want)
				}
			}
		}
		if err := got.Check(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestThinConserves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := draw(t, block.Minute)
		for i := range b.Series {
			for j := range b.Series[i].Values {
				b.Series[i].Values[j].N = min(b.Series[i].Values[j].N, 1000) // so that no sum reaches MaxN
			}
		}
		step := block.Minute * rapid.Int64Range(1, 90).Draw(t, "minutes")
		thin, err := block.Thin(b, step)
		if err != nil {
			t.Fatal(err)
		}
		if err := thin.Check(); err != nil { // min <= mean <= max among others
			t.Fatal(err)
		}
		for i, s := range b.Series {
			want := total(s.Values)
			got := total(thin.Series[i].Values)
			if got.n != want.n || got.min != want.min || got.max != want.max {
				t.Fatalf("%v: %+v, want %+v", s.Key, got, want)
			}
			// Each step's mean is off by half at most, and so weighs at most N/2.
			off := new(big.Int).Sub(got.sum, want.sum)
			if !s.Code && off.Abs(off).Cmp(big.NewInt(int64(want.n+1)/2)) > 0 {
				t.Fatalf("%v: sum %v, want %v", s.Key, got.sum, want.sum)
			}
			points, err := block.Points(s.Key, thin.Start, thin.Head().End(), step, b)
			if err != nil {
				t.Fatal(err)
			}
			var values []block.Value
			for _, v := range thin.Series[i].Values {
				if v.N != 0 {
					values = append(values, v)
				}
			}
			var shown []block.Value
			for _, p := range points {
				shown = append(shown, p.Value)
			}
			if d := cmp.Diff(values, shown); d != "" {
				t.Fatalf("%v: points of the same step as thinned (-thinned +points):\n%s", s.Key, d)
			}
		}
	})
}

type totals struct {
	n        int
	min, max int64
	sum      *big.Int
}

func (t totals) String() string { return fmt.Sprintf("n %d, %d..%d, sum %v", t.n, t.min, t.max, t.sum) }

func total(values []block.Value) totals {
	t := totals{min: math.MaxInt64, max: math.MinInt64, sum: new(big.Int)}
	for _, v := range values {
		if v.N == 0 {
			continue
		}
		t.n += v.N
		t.min, t.max = min(t.min, v.Min), max(t.max, v.Max)
		t.sum.Add(t.sum, new(big.Int).Mul(big.NewInt(v.Mean), big.NewInt(int64(v.N))))
	}
	return t
}

func TestThinTwiceCodes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := draw(t, block.Minute)
		for i := range b.Series {
			b.Series[i].Code = true
		}
		thin := func(b block.Block, step int64) block.Block {
			b, err := block.Thin(b, step)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		equal(t, "in two steps", thin(thin(b, 15*block.Minute), block.Hour), thin(b, block.Hour), nil)
	})
}
