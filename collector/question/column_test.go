package question_test

import (
	"bytes"
	"log/slog"
	"math"
	"reflect"
	"testing"

	"hausmeister/collector/question"
)

var discard = slog.New(slog.DiscardHandler)

// TestColumn: what is packed comes out, at both ends of every width.
func TestColumn(t *testing.T) {
	v := func(n int64) *int64 { return &n }
	for _, values := range [][]*int64{
		nil, {nil}, {v(0)}, {v(5), nil, v(5)}, {v(0), v(255)}, {v(-1), v(255)}, {v(math.MinInt64), v(math.MaxInt64)},
		{nil, nil, nil, nil, nil, nil, nil, v(7), nil, v(1 << 40)}, make([]*int64, 130),
	} {
		got, _, err := question.Roundtrip(nil, values)
		if err != nil || len(got) != len(values) {
			t.Errorf("%d values come out as %d, %v", len(values), len(got), err)
			continue
		}
		for i := range values {
			if !reflect.DeepEqual(got[i], values[i]) {
				t.Errorf("value %d of %d differs", i, len(values))
			}
		}
	}
	got, words, err := question.Roundtrip([]string{"", "äöü"}, []*int64{v(1), nil, v(0)})
	if err != nil || *got[0] != 1 || got[1] != nil || *got[2] != 0 || !reflect.DeepEqual(words, []string{"", "äöü"}) {
		t.Errorf("words come out as %v %q, %v", got, words, err)
	}
}

func FuzzColumn(f *testing.F) {
	f.Add([]byte("C\x01\x03\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01\x02"))
	f.Add([]byte("C\x01\x02\x01\x02ab\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("C\x01\xff\xff\xff\x07\x00"))
	f.Fuzz(func(t *testing.T, body []byte) {
		again, err := question.Decode(body)
		if err != nil {
			return
		}
		third, err := question.Decode(again)
		if err != nil || !bytes.Equal(again, third) {
			t.Errorf("%q is read as a column and written as %q, which reads as %q, %v", body, again, third, err)
		}
	})
}
