package block_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hausmeister/proto/block"
)

// FuzzDecode: whatever is accepted holds the invariants, and is the same after
// another way through the encoder; whatever is not has one of our errors.
func FuzzDecode(f *testing.F) {
	add := func(b block.Block, err error) {
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encode(f, b))
	}
	m := machine(1, 15)
	add(m, nil)
	add(golden(), nil)
	add(block.Thin(machine(1, 120), block.Hour))
	add(block.Block{Step: block.Minute, Count: 1}, nil)
	flags := machine(2, 1440)
	flags.Series = flags.Series[24:]
	add(flags, nil) // by zstd
	m.Series = m.Series[:3]
	add(m, nil)
	f.Fuzz(func(t *testing.T, data []byte) {
		h, headErr := block.ReadHead(data)
		b, err := block.Decode(data)
		if err != nil {
			for _, known := range []error{block.ErrFormat, block.ErrVersion, block.ErrLimit, block.ErrOrder, block.ErrRange} {
				if errors.Is(err, known) {
					return
				}
			}
			t.Fatalf("an error of nobody: %v", err)
		}
		if headErr != nil || h != b.Head() {
			t.Fatalf("head %+v, %v, but block %+v", h, headErr, b.Head())
		}
		if err := b.Check(); err != nil {
			t.Fatalf("decoded, but %v", err)
		}
		// Columns that another encoder made shorter than ours may not fit again.
		again, err := block.Encode(b)
		if errors.Is(err, block.ErrLimit) {
			return
		}
		if err != nil {
			t.Fatalf("encoding what was decoded: %v", err)
		}
		c, err := block.Decode(again)
		if err != nil {
			t.Fatalf("decoding again: %v", err)
		}
		same := func(a, b block.Series) bool {
			return a.Key == b.Key && a.Code == b.Code && slices.Equal(a.Values, b.Values)
		}
		if b.Head() != c.Head() || !slices.EqualFunc(b.Series, c.Series, same) { // half a million values: too many to let cmp look first
			t.Fatalf("not the same after a round trip (-first +second):\n%s", cmp.Diff(b, c))
		}
		for _, s := range b.Series {
			if s.Empty() {
				t.Fatalf("series %v has no value", s.Key)
			}
		}
		if len(b.Series) == 0 {
			return
		}
		last := b.Series[len(b.Series)-1].Key
		if one, err := block.DecodeKey(data, last); err != nil || len(one.Series) != 1 {
			t.Fatalf("DecodeKey(%v): %d series, %v", last, len(one.Series), err)
		}
	})
}
