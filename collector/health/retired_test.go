package health_test

import (
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/health"
	"hausmeister/proto/block"
	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/inventory"
	"hausmeister/proto/reading"
)

// revoked notes when all credentials of a device were revoked, zero = it is enrolled.
func (w *world) revoked(t *testing.T, device access.Caller, at time.Time) {
	t.Helper()
	var ms any
	if !at.IsZero() {
		ms = at.UnixMilli()
	}
	err := w.db.Write(t.Context(), func(tx *db.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO enrolled (device, revoked_ms) VALUES ($1, $2) ON CONFLICT (device) DO UPDATE SET revoked_ms = excluded.revoked_ms`, device.ID, ms)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

var readTables = []string{"health_state", "health_blocks", "health_days", "health_findings", "health_inventory", "health_inventory_differences", "health_agents"}

// What was read from a device goes 30 days after its last credential was revoked,
// unless it was enrolled again before; who looked, and the record, stay.
func TestRetiredDevice(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		gone, back, other := w.device(t, "DEMO000001"), w.device(t, "DEMO000002"), w.device(t, "DEMO000003")
		programs := func(version string) *hmpb.Entry {
			list, err := inventory.Pack([]inventory.Program{{Name: "vim", Version: version}})
			if err != nil {
				t.Fatal(err)
			}
			return hmpb.Entry_builder{Inventory: list}.Build()
		}
		for _, device := range []access.Caller{gone, back, other} {
			w.now = noon
			if _, err := w.Begin(t.Context(), device, 1, epoch("A"), "1.0.0"); err != nil {
				t.Fatal(err)
			}
			s := &sender{w: w, device: device}
			s.send(t, stateEntry(used(1)), programs("9.0"), programs("9.1"),
				findingEntry(finding.DiskLow, "C:", true, hmpb.Severity_SEVERITY_WARNING, argument("free", 1e9), argument("total", 256e9)),
				blockEntry(quarter(t, noon.Add(-15*time.Minute), block.Minute, 15, func(int) int64 { return 1 << 20 })))
			w.now = noon.Add(2 * health.Day)
			if _, err := w.MergeDays(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := w.OpenLook(t.Context(), support, device.ID, "a good reason"); err != nil {
				t.Fatal(err)
			}
			if err := w.End(t.Context(), device, 1); err != nil {
				t.Fatal(err)
			}
		}
		// More days than one step deletes.
		err := d.Write(t.Context(), func(tx *db.Tx) error {
			for day := range int64(601) {
				if _, err := tx.Exec(t.Context(), `INSERT INTO health_days (device_id, day) VALUES ($1, $2)`, gone.ID, noon.UnixMilli()/dayMS-1-day); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		kept := func(device access.Caller, want bool) {
			t.Helper()
			for _, table := range readTables {
				if table == "health_blocks" && want {
					continue // they may be over by their own age
				}
				if n := w.rows(t, table, "device_id = $1", device.ID); (n > 0) != want {
					t.Errorf("%d rows of %s, want any: %v", n, table, want)
				}
			}
			if n := w.tally(t, device).Reports; (n > 0) != want {
				t.Errorf("%d reports, want any: %v", n, want)
			}
			if n := w.rows(t, "health_looks", "device_id = $1", device.ID); n != 1 {
				t.Errorf("%d looks, want 1", n)
			}
		}
		sweep := func(now time.Time) {
			t.Helper()
			w.now = now
			if _, err := w.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		at := noon.Add(2 * health.Day)
		w.revoked(t, gone, at)
		w.revoked(t, back, at)
		w.revoked(t, other, time.Time{})
		sweep(at.Add(reading.KeepRetired))
		kept(gone, true)
		w.revoked(t, back, time.Time{})
		sweep(at.Add(reading.KeepRetired + time.Second))
		kept(gone, false)
		kept(back, true)
		kept(other, true)
		sweep(w.now.Add(time.Hour))
		if n := w.rows(t, "audit", "action = 'device.values_deleted'"); n != 1 {
			t.Errorf("%d entries say that values were deleted, want 1", n)
		}
		if n := w.rows(t, "audit", "action = 'device.values_deleted' AND subject = $1", "device:"+gone.ID); n != 1 {
			t.Errorf("%d of them name the device, want 1", n)
		}
		// It can be asked for as one that never reported.
		if l, err := w.Latest(t.Context(), reader, gone.ID); err != nil || len(l.Values) != 0 || !l.Day.IsZero() {
			t.Errorf("Latest of the retired device = %+v, %v, want nothing", l, err)
		}
		if inv, err := w.Inventory(t.Context(), reader, gone.ID); err != nil || len(inv.Programs)+len(inv.Changes) != 0 {
			t.Errorf("Inventory of the retired device = %+v, %v, want nothing", inv, err)
		}
		if all, err := w.Findings(t.Context(), reader, gone.ID); err != nil || len(all) != 0 {
			t.Errorf("Findings of the retired device = %+v, %v, want none", all, err)
		}
		span := health.Span{Reading: "memory_used", From: noon.Add(-health.Day), To: noon.Add(health.Day), Step: health.Day}
		if hist, err := w.History(t.Context(), reader, gone.ID, span); err != nil || len(hist.Points) != 0 {
			t.Errorf("History of the retired device = %+v, %v, want no points", hist, err)
		}
		// Found again after that, it begins anew where its spool was.
		w.revoked(t, gone, time.Time{})
		if cursor, err := w.Begin(t.Context(), gone, 2, epoch("A"), "1.0.0"); err != nil || cursor != 5 {
			t.Errorf("cursor of the device that came back = %d, %v, want 5", cursor, err)
		}
		if ack, _ := w.ingest(t, gone, batch(6, 6)); ack != 6 || w.latest(t, gone) != 6 {
			t.Errorf("ack %d, latest %d of the device that came back, want 6, 6", ack, w.latest(t, gone))
		}
	})
}
