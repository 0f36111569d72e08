package health_test

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"hausmeister/collector/bus"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/health"
	"hausmeister/proto/hmpb"
)

// FuzzIngest sends whatever decodes as a batch: it is stored, asked for again
// or refused as malformed. What is acknowledged stays acknowledged.
func FuzzIngest(f *testing.F) {
	for _, b := range []*hmpb.Batch{batch(1, 1, 2, 3), dropped(batch(1, 1, 6), 2, 5), batch(0), dropped(batch(1), 1, 1<<62), thinned(dropped(batch(1, 5), 1, 2), 3, 4), batchOf("B", 1, 1, 9)} {
		raw, err := proto.Marshal(b)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	w := newWorld(f, dbtest.Open(f, migrations))
	device := w.device(f, "DEMO000001")
	sub := w.bus.Subscribe(bus.Changed) // nobody reads it, as a page that hangs
	defer sub.Close()
	f.Fuzz(func(t *testing.T, raw []byte) {
		var b hmpb.Batch
		if proto.Unmarshal(raw, &b) != nil {
			return
		}
		first, err := w.Ingest(t.Context(), device, &b)
		if err != nil {
			if !errors.Is(err, health.ErrMalformed) {
				t.Fatalf("Ingest = %v, want an answer or ErrMalformed", err)
			}
			return
		}
		again, err := w.Ingest(t.Context(), device, &b)
		if err != nil || again.GetAck().GetThroughSeq() != first.GetAck().GetThroughSeq() || again.GetResend().GetFromSeq() != first.GetResend().GetFromSeq() {
			t.Fatalf("the same batch again = %v, %v, want %v", again, err, first)
		}
		if _, err := w.Latest(t.Context(), system, device.ID); err != nil {
			t.Fatalf("Latest = %v", err)
		}
	})
}
