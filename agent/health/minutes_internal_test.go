package health

import (
	"testing"

	"hausmeister/proto/block"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// TestOver: a block ends with its quarter, and when the clock goes back by a minute;
// else minutes that it has would be written over, and those behind them cut off.
func TestOver(t *testing.T) {
	m := minutes{}
	at := func(minute int64) int64 { return 1000*quarter + minute*block.Minute + 30_000 }
	used := &hmpb.Reading{}
	used.SetId(reading.CPUUsed)
	used.SetNumber(100)
	for minute := int64(3); minute <= 7; minute++ {
		if err := m.put(at(minute), []*hmpb.Reading{used}); err != nil {
			t.Fatal(err)
		}
	}
	for minute, want := range map[int64]bool{-1: true, 2: true, 6: true, 7: false, 8: false, 14: false, 15: true} {
		if got := m.over(at(minute)); got != want {
			t.Errorf("after minutes 3 to 7, over(minute %d) = %v, want %v", minute, got, want)
		}
	}
	b, err := m.close()
	if err != nil || b.GetSteps() != 5 {
		t.Errorf("close = %v, %v, want 5 minutes", b, err)
	}
	if m.over(at(6)) {
		t.Error("a block is over while there is none")
	}
}
