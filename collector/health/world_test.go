package health_test

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/collector/enroll"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/reading"
)

var (
	migrations = []db.Migrations{access.Migrations, audit.Migrations, enroll.Migrations, fleet.Migrations, health.Migrations}
	noon       = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	system     = access.System("test")
)

// world is health with devices that fleet admitted, and a clock.
type world struct {
	*health.Health
	db    *db.DB
	fleet *fleet.Fleet
	bus   *bus.Bus
	now   time.Time
	owner string
}

func newWorld(t testing.TB, d *db.DB) *world {
	t.Helper()
	w := &world{db: d, bus: bus.New(), now: noon}
	clock := func() time.Time { return w.now }
	var err error
	if w.Health, err = health.New(health.Config{DB: d, Bus: w.bus, Now: clock, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	if w.fleet, err = fleet.New(fleet.Config{DB: d, Now: clock}); err != nil {
		t.Fatal(err)
	}
	o, err := w.fleet.AddOwner(context.Background(), system, "Landkreis Ahorn")
	if err != nil {
		t.Fatal(err)
	}
	w.owner = o.ID
	return w
}

// device admits one and gives it as a caller.
func (w *world) device(t testing.TB, serial string) access.Caller {
	t.Helper()
	var id string
	err := w.db.Write(context.Background(), func(tx *db.Tx) (err error) {
		id, _, err = w.fleet.Admit(context.Background(), tx, system, w.owner, "", ident.Hardware{Manufacturer: "FUJITSU", Model: "LIFEBOOK", Serial: serial})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return access.ForDevice(id, w.owner)
}

// ingest sends a batch that must be stored, and gives the answer as ack or
// resend.
func (w *world) ingest(t testing.TB, device access.Caller, b *hmpb.Batch) (ack, resend uint64) {
	t.Helper()
	down, err := w.Ingest(context.Background(), device, b)
	if err != nil {
		t.Fatalf("Ingest(%v) = %v, want an answer", b, err)
	}
	return down.GetAck().GetThroughSeq(), down.GetResend().GetFromSeq()
}

func epoch(name string) []byte { h := sha256.Sum256([]byte(name)); return h[:health.EpochSize] }

// batch is of spool A: states whose memory_used is their sequence, so that it
// can be seen which one is the latest.
func batch(first uint64, seqs ...uint64) *hmpb.Batch { return batchOf("A", first, seqs...) }

func batchOf(spool string, first uint64, seqs ...uint64) *hmpb.Batch {
	b := hmpb.Batch_builder{SpoolEpoch: epoch(spool), FirstSeq: &first}.Build()
	for _, seq := range seqs {
		b.SetEntries(append(b.GetEntries(), entry(uint32(seq-first), noon.UnixMilli(), used(seq))))
	}
	return b
}

func entry(offset uint32, deviceMS int64, readings ...*hmpb.Reading) *hmpb.Entry {
	return hmpb.Entry_builder{Offset: &offset, DeviceMs: &deviceMS, State: hmpb.State_builder{Readings: readings}.Build()}.Build()
}

func used(seq uint64) *hmpb.Reading { return number(reading.MemoryUsed, "", int64(seq)) }

func number(id uint32, instance string, n int64) *hmpb.Reading {
	return hmpb.Reading_builder{Id: &id, Instance: &instance, Number: &n}.Build()
}

func text(id uint32, s string) *hmpb.Reading {
	return hmpb.Reading_builder{Id: &id, Text: &s}.Build()
}

func absent(id uint32, why hmpb.Absent) *hmpb.Reading {
	return hmpb.Reading_builder{Id: &id, Absent: &why}.Build()
}

func dropped(b *hmpb.Batch, ranges ...uint64) *hmpb.Batch {
	for i := 0; i < len(ranges); i += 2 {
		b.SetDropped(append(b.GetDropped(), hmpb.Range_builder{From: &ranges[i], To: &ranges[i+1]}.Build()))
	}
	return b
}

func thinned(b *hmpb.Batch, ranges ...uint64) *hmpb.Batch {
	for i := 0; i < len(ranges); i += 2 {
		b.SetThinned(append(b.GetThinned(), hmpb.Range_builder{From: &ranges[i], To: &ranges[i+1]}.Build()))
	}
	return b
}

// latest is the sequence of the state that counts, 0 = none.
func (w *world) latest(t testing.TB, device access.Caller) uint64 {
	t.Helper()
	l, err := w.Latest(context.Background(), system, device.ID)
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Values) == 0 {
		return 0
	}
	return uint64(l.Values[0].Number)
}

func (w *world) tally(t testing.TB, device access.Caller) health.Tally {
	t.Helper()
	got, err := w.Tally(context.Background(), system, device.ID)
	if err != nil {
		t.Fatal(err)
	}
	return got
}
