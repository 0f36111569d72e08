package agent

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/inventory"
)

// TestProgramsAreWrittenOutOnce: the file is what encoding/json makes of the whole
// report, also when the list in it is that of a file before, or another.
func TestProgramsAreWrittenOutOnce(t *testing.T) {
	at := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	var l lastSent
	seq := uint64(0)
	send := func(e *hmpb.Entry) {
		seq++
		e.SetDeviceMs(at.UnixMilli())
		l.take(hmpb.Batch_builder{FirstSeq: proto.Uint64(seq), Entries: []*hmpb.Entry{e}}.Build(), at)
	}
	check := func(programs int) {
		t.Helper()
		got, err := l.json()
		if err != nil {
			t.Fatal(err)
		}
		whole := l.report()
		if l.inventory.entry != nil {
			whole.Inventory = reportInventory(l.inventory)
			if n := len(whole.Inventory.Programs); n != programs {
				t.Errorf("%d programs, want %d", n, programs)
			}
		}
		want, err := json.MarshalIndent(whole, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("file is\n%s\nwant\n%s", got, want)
		}
	}
	state := func() *hmpb.Entry {
		r := hmpb.Reading_builder{Id: proto.Uint32(1), Number: proto.Int64(120)}.Build()
		return hmpb.Entry_builder{State: hmpb.State_builder{Readings: []*hmpb.Reading{r}}.Build()}.Build()
	}
	list := func(n int) *hmpb.Entry {
		var ps []inventory.Program
		for i := range n {
			ps = append(ps, inventory.Program{Name: fmt.Sprintf("program-%03d <&>", i), Version: "1.2"})
		}
		m, err := inventory.Pack(inventory.Clean(ps))
		if err != nil {
			t.Fatal(err)
		}
		return hmpb.Entry_builder{Inventory: m}.Build()
	}
	send(state())
	check(0)
	send(list(40))
	check(40)
	first := &l.programs[0]
	send(state())
	check(40)
	if &l.programs[0] != first {
		t.Error("the list was written out again though it is the same")
	}
	send(list(41))
	check(41)
}
