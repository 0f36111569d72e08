package health_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/health"
	"hausmeister/proto/block"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/inventory"
)

// TestLate: only minutes of a day that is over are late, and those that are
// told twice are not.
func TestLate(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		s := &sender{w: w, device: w.device(t, "DEMO000001")}
		s.send(t, blockEntry(quarter(t, noon.Add(-15*time.Minute), block.Minute, 15, func(int) int64 { return 1 })))
		if w.Late() {
			t.Error("today's minutes are late")
		}
		old := blockEntry(quarter(t, noon.Add(-3*24*time.Hour), block.Minute, 15, func(int) int64 { return 1 }))
		s.send(t, old)
		if !w.Late() {
			t.Error("minutes of three days ago are not late")
		}
		first := uint64(2)
		old.SetOffset(0)
		w.ingest(t, s.device, hmpb.Batch_builder{SpoolEpoch: epoch("A"), FirstSeq: &first, Entries: []*hmpb.Entry{old}}.Build())
		if w.Late() {
			t.Error("minutes that were stored already are late")
		}
		// Shortly after midnight the day before still runs, for who was cut off.
		w.now = noon.Truncate(health.Day).Add(25 * time.Hour)
		s.send(t, blockEntry(quarter(t, noon.Add(11*time.Hour), block.Minute, 15, func(int) int64 { return 1 })))
		if w.Late() {
			t.Error("yesterday's minutes are late at one o'clock")
		}
	})
}

// TestInventoryDays: what changed stands under the day on which the device
// noticed, be it told weeks later; a clock that cannot be is not believed.
func TestInventoryDays(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		s := &sender{w: w, device: w.device(t, "DEMO000001")}
		tell := func(at time.Time, version string) *hmpb.Entry {
			m, err := inventory.Pack([]inventory.Program{{Name: "Firefox", Version: version}})
			if err != nil {
				t.Fatal(err)
			}
			ms := at.UnixMilli()
			return hmpb.Entry_builder{DeviceMs: &ms, Inventory: m}.Build()
		}
		day := func(n int) time.Time { return noon.Truncate(health.Day).AddDate(0, 0, n) }
		s.send(t, tell(day(-20), "143.0"), tell(day(-9).Add(7*time.Hour), "144.0"), tell(day(-2).Add(20*time.Hour), "145.0"), tell(day(4000), "146.0"))
		got, err := w.Inventory(t.Context(), reader, s.device.ID)
		if err != nil {
			t.Fatal(err)
		}
		change := func(at time.Time, from, to string) health.InventoryChange {
			return health.InventoryChange{Day: at, Change: inventory.Change{Name: "Firefox", From: from, To: to}}
		}
		want := []health.InventoryChange{change(day(0), "145.0", "146.0"), change(day(-2), "144.0", "145.0"), change(day(-9), "143.0", "144.0")}
		if d := cmp.Diff(want, got.Changes); d != "" {
			t.Errorf("changes (-want +got):\n%s", d)
		}
		if !got.Day.Equal(day(0)) {
			t.Errorf("told on %v", got.Day)
		}
	})
}
