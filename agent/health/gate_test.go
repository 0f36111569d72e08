package health

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/agent/finding"
	"hausmeister/platform/sysinfo"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
	"hausmeister/testenv/fakes"
)

// Inside the package, since no source can name a reading that the table lacks.

// TestUnknownReadingsStay tries to tell a reading that is not in the table, and
// to keep one by the minute that the table does not keep so.
func TestUnknownReadingsStay(t *testing.T) {
	l := &list{count: map[uint32]int{}}
	unknown := uint32(reading.Len() + 1)
	for _, id := range []uint32{0, unknown, 1 << 31} {
		l.add(id, "", hmpb.Reading_builder{Number: proto.Int64(1)}.Build())
	}
	if len(l.rs) != 0 {
		t.Errorf("%v are in the list", l.rs)
	}
	var m minutes
	forged := []*hmpb.Reading{
		hmpb.Reading_builder{Id: &unknown, Number: proto.Int64(1)}.Build(),
		hmpb.Reading_builder{Id: proto.Uint32(reading.BootTime), Number: proto.Int64(1)}.Build(),
		hmpb.Reading_builder{Id: proto.Uint32(reading.Serial), Text: proto.String("x")}.Build(),
		hmpb.Reading_builder{Id: proto.Uint32(reading.CPUUsed), Absent: hmpb.Absent_ABSENT_FAILED.Enum()}.Build(),
	}
	if err := m.put(0, forged); err != nil || m.running != nil {
		t.Errorf("put = %v, block %v; want none", err, m.running)
	}
	if got := fine(forged); len(got) != 1 || got[0].GetId() != reading.CPUUsed {
		t.Errorf("a live sample would hold %v", got)
	}
}

// TestStretches: what is remembered of told minutes is bounded.
func TestStretches(t *testing.T) {
	var m minutes
	for i := range int64(1000) {
		m.note(stretch{i * 10, i*10 + 5})
		m.note(stretch{i*10 + 6, i*10 + 7})
	}
	if len(m.told) != maxStretches || m.told[maxStretches-1] != (stretch{9990, 9997}) {
		t.Errorf("%d stretches, the last %v", len(m.told), m.told[len(m.told)-1])
	}
}

// nowhere takes everything.
type nowhere struct{}

func (nowhere) Append(context.Context, *hmpb.Entry) (uint64, error) { return 1, nil }

type forgetful struct{}

func (forgetful) ClockOffset(time.Time) (time.Duration, bool)   { return 0, false }
func (forgetful) SetClockOffset(time.Time, time.Duration) error { return nil }
func (forgetful) InventoryHash() []byte                         { return nil }
func (forgetful) SetInventoryHash([]byte) error                 { return nil }

type still struct{ s sysinfo.Snapshot }

func (s still) Read(context.Context) sysinfo.Snapshot { return s.s }

// BenchmarkMinute is the agent's own work of a minute: readings, findings,
// block and State, without reading the machine and without the disk.
func BenchmarkMinute(b *testing.B) {
	n := sysinfo.Some[int64]
	machine := fakes.NewMachine(7, time.Now)
	s := machine.Read(b.Context())
	s.CPU.Used = n(100)
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	h := New(Config{Source: still{s}, Sink: nowhere{}, Memory: forgetful{}, Findings: finding.New(finding.Config{}), Log: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return now }})
	w := &watch{}
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Minute)
		w.lastTold = time.Time{} // each minute a State
		h.look(b.Context(), w)
	}
}
