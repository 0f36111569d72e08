package health_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/health"
	"hausmeister/proto/block"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

func TestMergeDays(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		a, b := &sender{w: w, device: w.device(t, "DEMO000001")}, &sender{w: w, device: w.device(t, "DEMO000002")}
		monday := noon.Truncate(health.Day).Add(7 * time.Hour)
		w.now = monday.Add(9 * time.Hour) // the day is told; its minutes are not the future
		for _, s := range []*sender{a, b} {
			day(t, s, monday, 32)
		}
		if n, err := w.MergeDays(t.Context()); err != nil || n != 0 {
			t.Errorf("merged %d days while the day runs, %v", n, err)
		}
		w.now = monday.Add(26 * time.Hour)
		day(t, a, monday.Add(24*time.Hour), 4)
		if n, err := w.MergeDays(t.Context()); err != nil || n != 2 {
			t.Fatalf("merged %d days, %v, want 2", n, err)
		}
		if got := w.rows(t, "health_blocks", "device_id = $1", a.device.ID); got != 1+4 {
			t.Errorf("%d rows of blocks after the day, want 1 and today's 4", got)
		}
		span := health.Span{Reading: "volume_free", From: monday, To: monday.Add(24 * time.Hour), Step: health.Day}
		h, err := w.History(t.Context(), reader, a.device.ID, span)
		if err != nil || len(h.Points) == 0 || h.Instance != "/" || h.Points[0].Max != 479_000 || h.Points[0].Min != 0 {
			t.Errorf("volume_free of the merged day: %+v, %v", h, err)
		}
		checkRow := func(want map[string]any) {
			t.Helper()
			got := map[string]any{}
			for name, v := range want {
				err := d.Read(t.Context(), func(tx *db.Tx) error {
					row := tx.QueryRow(t.Context(), `SELECT `+name+` FROM health_days WHERE device_id = $1 AND day = $2`, a.device.ID, monday.UnixMilli()/86_400_000)
					if _, isText := v.(string); isText {
						var s string
						err := row.Scan(&s)
						got[name] = s
						return err
					}
					var n int64
					err := row.Scan(&n)
					got[name] = n
					return err
				})
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("daily row (-want +got):\n%s", d)
			}
		}
		checkRow(map[string]any{"memory_used": int64(239), "volume_free": int64(0), "os_name": "Debian 12", "memory_total": int64(8 << 30),
			"battery_health": int64(680), "system_crashes": int64(2), "disk_encryption": "partly", "disk_wear": int64(310)})

		// What comes late for that day is merged too, and loses nothing.
		late := quarter(t, monday.Add(10*time.Hour), block.Minute, 15, func(i int) int64 { return 10_000 })
		a.send(t, blockEntry(late))
		if n, err := w.MergeDays(t.Context()); err != nil || n != 1 {
			t.Errorf("merged %d days, %v, want the late one", n, err)
		}
		if got := w.rows(t, "health_blocks", "device_id = $1 AND spool = 0", a.device.ID); got != 1 {
			t.Errorf("%d merged rows, want 1", got)
		}
		checkRow(map[string]any{"memory_used": int64((239*480 + 120 + 10_000*15) / 495), "os_name": "Debian 12"})

		// Days are kept when the blocks are gone.
		w.now = w.now.Add(40 * health.Day)
		if _, err := w.MergeDays(t.Context()); err != nil { // of the other days
			t.Fatal(err)
		}
		if _, err := w.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := w.rows(t, "health_blocks", "device_id = $1", a.device.ID); got != 0 {
			t.Errorf("%d rows of blocks after 40 days", got)
		}
		h, err = w.History(t.Context(), reader, a.device.ID, health.Span{Reading: "battery_health", From: monday, To: monday.Add(health.Day), Step: health.Day})
		if err != nil || len(h.Points) == 0 || h.Points[0].Mean != 680 {
			t.Errorf("battery_health of a day without blocks: %+v, %v", h.Points, err)
		}
		w.now = w.now.Add(800 * health.Day)
		if _, err := w.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := w.rows(t, "health_days", "1 = 1"); got != 0 {
			t.Errorf("%d daily rows after their time", got)
		}
	})
}

// TestDailyRowIsTheTable: the columns of the daily row are the readings that
// say Daily, no more and no less, and a text has a text's column.
func TestDailyRowIsTheTable(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		for r := range reading.All() {
			err := d.Read(t.Context(), func(tx *db.Tx) error {
				rows, err := tx.Query(t.Context(), `SELECT `+r.Name+` FROM health_days LIMIT 1`)
				if err != nil {
					return err
				}
				return rows.Close()
			})
			if (err == nil) != (r.Daily != 0) {
				t.Errorf("%s: daily %v, column %v", r.Name, r.Daily != 0, err)
			}
		}
	})
}

func TestThinnedBlockReplacesItsHour(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations))
	s := &sender{w: w, device: w.device(t, "DEMO000001")}
	hour := noon.Add(-4 * time.Hour)
	var fine []block.Block
	for q := range 4 {
		m := quarter(t, hour.Add(time.Duration(q)*15*time.Minute), block.Minute, 15, func(i int) int64 { return int64(q*15 + i) })
		b, err := block.Decode(m.GetPacked())
		if err != nil {
			t.Fatal(err)
		}
		fine = append(fine, b)
	}
	merged, err := block.Merge(fine...)
	if err != nil {
		t.Fatal(err)
	}
	thin, err := block.Thin(merged, block.Hour)
	if err != nil {
		t.Fatal(err)
	}
	// The acknowledgement of two quarters was lost, so the device thinned what
	// the collector has already.
	s.send(t, blockEntry(packed(t, fine[0])), blockEntry(packed(t, fine[1])))
	s.send(t, blockEntry(packed(t, thin)))
	if _, err := w.OpenLook(t.Context(), support, s.device.ID, "a good reason"); err != nil {
		t.Fatal(err)
	}
	h, err := w.History(t.Context(), support, s.device.ID, health.Span{Reading: "memory_used", From: hour, To: hour.Add(time.Hour), Step: time.Hour})
	want := []block.Point{{T: hour.UnixMilli(), Value: block.Value{Min: 0, Mean: 30, Max: 59, N: 60}}}
	if d := cmp.Diff(want, h.Points); err != nil || d != "" {
		t.Errorf("the hour: %v (-want +got):\n%s", err, d)
	}
}

func TestBlocksOfWrongClocks(t *testing.T) {
	for name, start := range map[string]time.Time{"1970": time.Unix(0, 0), "2099": time.Date(2099, 1, 1, 8, 0, 0, 0, time.UTC)} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, dbtest.Open(t, migrations))
			s := &sender{w: w, device: w.device(t, "DEMO000001")}
			s.send(t, blockEntry(quarter(t, start, block.Minute, 15, func(i int) int64 { return 5 })))
			h, err := w.History(t.Context(), reader, s.device.ID, health.Span{Reading: "memory_used", From: noon.Add(-health.Day), To: noon, Step: health.Day})
			if err != nil || len(h.Points) != 1 {
				t.Errorf("history of a device in %s: %+v, %v, want today", name, h.Points, err)
			}
		})
	}
}

func TestBadBlocksAreLeftOut(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations))
	s := &sender{w: w, device: w.device(t, "DEMO000001")}
	good := quarter(t, noon.Add(-time.Hour), block.Minute, 15, func(i int) int64 { return 5 })
	lies := proto.CloneOf(good)
	lies.SetSteps(14)
	torn := proto.CloneOf(good)
	torn.SetPacked(good.GetPacked()[:len(good.GetPacked())/2])
	odd := block.Block{Start: noon.Add(-2 * time.Hour).UnixMilli(), Step: block.Minute, Count: 15}
	for key, v := range map[block.Key]int64{{ID: reading.CPUUsed}: 2000, {ID: reading.Serial}: 4711, {ID: 60_000}: 1, {ID: reading.VolumeFree, Instance: "x\x1b"}: 1, {ID: reading.MemoryUsed}: 77} {
		if err := odd.Set(odd.Start, key, false, v); err != nil {
			t.Fatal(err)
		}
	}
	s.send(t, blockEntry(lies), blockEntry(torn), blockEntry(&hmpb.Block{}), blockEntry(packed(t, odd)))
	stats := w.Stats()
	if stats.BadBlocks != 3 || stats.BadReadings != 4 {
		t.Errorf("counted %d bad blocks and %d bad readings, want 3 and 4", stats.BadBlocks, stats.BadReadings)
	}
	if got := w.rows(t, "health_blocks", "1 = 1"); got != 1 {
		t.Errorf("%d blocks stored, want the one with a good series", got)
	}
	h, err := w.History(t.Context(), reader, s.device.ID, health.Span{Reading: "memory_used", From: noon.Add(-health.Day), To: noon, Step: health.Day})
	if err != nil || len(h.Points) != 1 || h.Points[0].Mean != 77 {
		t.Errorf("the good series: %+v, %v", h.Points, err)
	}
}
