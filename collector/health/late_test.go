package health_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/health"
	"hausmeister/proto/block"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/inventory"
	"hausmeister/proto/reading"
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
		w.now = noon.AddDate(0, -2, 0)
		s := &sender{w: w, device: w.device(t, "DEMO000001")}
		w.now = noon
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

// TestTwoOfOneName: programs of the same name are several programs, whose
// differences of one day do not cover each other, while what a single one went
// through on a day is one difference.
func TestTwoOfOneName(t *testing.T) {
	type list []string // of the kernel's versions; a program with none is always there
	version := func(from, to string) inventory.Change { return inventory.Change{Name: "kernel", From: from, To: to} }
	added := func(to string) inventory.Change { return inventory.Change{Name: "kernel", To: to, Added: true} }
	removed := func(from string) inventory.Change { return inventory.Change{Name: "kernel", From: from, Removed: true} }
	for name, c := range map[string]struct {
		told []list
		want []inventory.Change
	}{
		"both updated":                      {[]list{{"1", "2"}, {"3", "4"}}, []inventory.Change{version("1", "3"), version("2", "4")}},
		"one updated, one added":            {[]list{{"1"}, {"2", "3"}}, []inventory.Change{version("1", "2"), added("3")}},
		"one came, later an older one went": {[]list{{"1", "2"}, {"1", "2", "3"}, {"2", "3"}}, []inventory.Change{added("3"), removed("1")}},
		"one went, later a newer one came":  {[]list{{"1", "2"}, {"2"}, {"2", "3"}}, []inventory.Change{version("1", "3")}},
		"both twice":                        {[]list{{"1", "2"}, {"3", "4"}, {"5", "6"}}, []inventory.Change{version("1", "5"), version("2", "6")}},
		"both went, the second came back":   {[]list{{"1", "2"}, {}, {"2"}}, []inventory.Change{removed("1")}},
		"two new ones, one of which went":   {[]list{{}, {"1", "2"}, {"2"}}, []inventory.Change{added("2")}},
		"one without a version beside":      {[]list{{"", "1"}, {"", "2"}, {"2"}}, []inventory.Change{version("1", "2"), removed("")}},
		"all as before":                     {[]list{{"1", "2"}, {"3", "4"}, {"1", "2"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
				w := newWorld(t, d)
				s := &sender{w: w, device: w.device(t, "DEMO000001")}
				for i, versions := range c.told {
					programs := []inventory.Program{{Name: "shell"}}
					for _, v := range versions {
						programs = append(programs, inventory.Program{Name: "kernel", Version: v})
					}
					m, err := inventory.Pack(inventory.Clean(programs))
					if err != nil {
						t.Fatal(err)
					}
					ms := noon.Add(time.Duration(i) * time.Hour).UnixMilli()
					s.send(t, hmpb.Entry_builder{DeviceMs: &ms, Inventory: m}.Build())
				}
				got, err := w.Inventory(t.Context(), reader, s.device.ID)
				if err != nil {
					t.Fatal(err)
				}
				var changes []inventory.Change
				for _, x := range got.Changes {
					if !x.Day.Equal(noon.Truncate(health.Day)) {
						t.Errorf("%+v stands on another day", x)
					}
					changes = append(changes, x.Change)
				}
				if d := cmp.Diff(c.want, changes); d != "" {
					t.Errorf("changes (-want +got):\n%s", d)
				}
				// They go when their time is over, all of a name.
				w.now = noon.AddDate(3, 0, 0)
				if _, err := w.Sweep(t.Context()); err != nil {
					t.Fatal(err)
				}
				if n := w.rows(t, "health_inventory_differences", "1 = 1"); n != 0 {
					t.Errorf("%d differences are left after three years", n)
				}
			})
		})
	}
}

// TestSweepWaitsForTheMerge: minutes of so long ago that they would be deleted have
// their day in the daily rows first, also when they come between merging and sweeping.
func TestSweepWaitsForTheMerge(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		s := &sender{w: w, device: w.device(t, "DEMO000001")}
		old := noon.Add(-35 * health.Day)
		if _, err := w.MergeDays(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.send(t, blockEntry(quarter(t, old, block.Minute, 15, func(int) int64 { return 7 << 20 })))
		for range 2 {
			if _, err := w.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := w.MergeDays(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		h, err := w.History(t.Context(), reader, s.device.ID, health.Span{Reading: "memory_used", From: old.Add(-health.Day), To: noon, Step: health.Day})
		if err != nil || len(h.Points) != 1 || h.Points[0].Mean != 7<<20 {
			t.Errorf("the day of 35 days ago is %+v, %v; want one mean of 7 MiB", h.Points, err)
		}
		if n := w.rows(t, "health_blocks", "1 = 1"); n != 0 {
			t.Errorf("%d rows of blocks stay after their time", n)
		}
		// The rest of that day does not take the place of what its blocks said.
		s.send(t, blockEntry(quarter(t, old.Add(time.Hour), block.Minute, 15, func(int) int64 { return 70 << 20 })))
		if n, err := w.MergeDays(t.Context()); err != nil || n != 1 {
			t.Fatalf("merged %d days, %v", n, err)
		}
		if _, err := w.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		h, err = w.History(t.Context(), reader, s.device.ID, health.Span{Reading: "memory_used", From: old.Add(-health.Day), To: noon, Step: health.Day})
		if err != nil || len(h.Points) != 1 || h.Points[0].Mean != 7<<20 {
			t.Errorf("after the rest of the day it is %+v, %v; want what its first minutes said", h.Points, err)
		}
	})
}

// TestDayOfThinnedBlocks: in a daily row every minute weighs the same, also those of an
// hour that came as one value, and what counts of the battery is its last value.
func TestDayOfThinnedBlocks(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		s := &sender{w: w, device: w.device(t, "DEMO000001")}
		minutes := func(from time.Time, count int, memory func(i int) int64, battery int64) block.Block {
			b := block.Block{Start: from.UnixMilli(), Step: block.Minute, Count: count}
			for i := range count {
				at := from.UnixMilli() + int64(i)*block.Minute
				if err := errors.Join(b.Set(at, block.Key{ID: reading.MemoryUsed}, false, memory(i)), b.Set(at, block.Key{ID: reading.BatteryHealth}, false, battery)); err != nil {
					t.Fatal(err)
				}
			}
			return b
		}
		hour, err := block.Thin(minutes(noon.Add(-12*time.Hour).Add(8*time.Hour), 60, func(i int) int64 { return 1000 + int64(i%2) }, 690), block.Hour)
		if err != nil {
			t.Fatal(err)
		}
		s.send(t, blockEntry(packed(t, hour)), blockEntry(packed(t, minutes(noon.Add(-12*time.Hour).Add(10*time.Hour), 15, func(int) int64 { return 100 }, 680))))
		w.now = noon.Add(-12 * time.Hour).Add(2 * health.Day)
		if n, err := w.MergeDays(t.Context()); err != nil || n != 1 {
			t.Fatalf("merged %d days, %v", n, err)
		}
		for name, want := range map[string]int64{"memory_used": (60*1000 + 15*100) / 75, "battery_health": 680} {
			var got int64
			err := d.Read(t.Context(), func(tx *db.Tx) error {
				return tx.QueryRow(t.Context(), `SELECT `+name+` FROM health_days WHERE device_id = $1`, s.device.ID).Scan(&got)
			})
			if err != nil || got != want {
				t.Errorf("%s of the day is %d, %v; want %d", name, got, err, want)
			}
		}
	})
}
