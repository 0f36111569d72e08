package health_test

import (
	"bytes"
	"testing"
	"time"

	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/proto/block"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/inventory"
)

const dayMS = 24 * 60 * 60 * 1000

// numbers reads the columns of one row, NULL as 0.
func numbers(t *testing.T, d *db.DB, n int, query string, args ...any) []int64 {
	t.Helper()
	out := make([]int64, n)
	err := d.Read(t.Context(), func(tx *db.Tx) error {
		to := make([]any, n)
		for i := range out {
			to[i] = &out[i]
		}
		return tx.QueryRow(t.Context(), query, args...).Scan(to...)
	})
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return out
}

// toldPrograms is a batch of one list of programs, noticed then.
func toldPrograms(t *testing.T, seq uint64, at time.Time, programs ...inventory.Program) *hmpb.Batch {
	t.Helper()
	list, err := inventory.Pack(programs)
	if err != nil {
		t.Fatal(err)
	}
	e := hmpb.Entry_builder{Offset: new(uint32), DeviceMs: new(at.UnixMilli()), Inventory: list}.Build()
	return hmpb.Batch_builder{SpoolEpoch: epoch("A"), FirstSeq: &seq, Entries: []*hmpb.Entry{e}}.Build()
}

// What is stored of a device that fell silent has its time of day for as long as the
// catalogue says, and the day after that.
func TestTimesOfDayEnd(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		device := w.device(t, "DEMO000001")
		if _, err := w.Begin(t.Context(), device, 7, epoch("A"), "1.0.0"); err != nil {
			t.Fatal(err)
		}
		came := noon.Add(7*time.Minute + 13*time.Second)
		w.now = came
		w.ingest(t, device, batch(1, 1))
		w.ingest(t, device, toldPrograms(t, 2, came, inventory.Program{Name: "vim", Version: "9.0"}))
		if err := w.End(t.Context(), device, 7); err != nil {
			t.Fatal(err)
		}
		midnight := came.UnixMilli() - came.UnixMilli()%dayMS
		times := func(after time.Duration) []int64 {
			t.Helper()
			w.now = came.Add(after)
			if _, err := w.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			return append(numbers(t, d, 4, `SELECT s.used_ms, s.at_ms, r.device_ms, r.collector_ms FROM health_spools s JOIN health_reports r ON r.spool = s.id`),
				append(numbers(t, d, 1, `SELECT told_ms FROM health_inventory`),
					numbers(t, d, 1, `SELECT COALESCE(contact_ms, 0) FROM health_state`)...)...)
		}
		names := []string{"spool used", "clock of the spool", "device's time", "collector's time", "list told", "last contact"}
		for _, test := range []struct {
			after time.Duration
			want  []int64
		}{
			{0, []int64{midnight, came.UnixMilli(), noon.UnixMilli(), came.UnixMilli(), midnight, came.UnixMilli()}},
			{3 * 24 * time.Hour, []int64{midnight, came.UnixMilli(), noon.UnixMilli(), came.UnixMilli(), midnight, came.UnixMilli()}},
			{3*24*time.Hour + time.Second, []int64{midnight, midnight, midnight, midnight, midnight, came.UnixMilli()}},
			{30*24*time.Hour + time.Second, []int64{midnight, midnight, midnight, midnight, midnight, 0}},
		} {
			for i, got := range times(test.after) {
				if got != test.want[i] {
					t.Errorf("%s after %v = %v, want %v", names[i], test.after, time.UnixMilli(got).UTC(), time.UnixMilli(test.want[i]).UTC())
				}
			}
		}
		// The spool goes on where it was, and what it had sent is not stored again.
		if got := w.latest(t, device); got != 1 {
			t.Errorf("latest state after the cut = %d, want 1", got)
		}
		if ack, _ := w.ingest(t, device, batch(3, 3)); ack != 3 || w.latest(t, device) != 3 {
			t.Errorf("ack %d, latest %d after the cut, want 3, 3", ack, w.latest(t, device))
		}
	})
}

// More devices than one step cuts are all cut.
func TestTimesOfDayEndInSteps(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		device := w.device(t, "DEMO000001")
		w.now = noon.Add(time.Second)
		w.ingest(t, device, batch(1, 1))
		const spools = 1203
		err := d.Write(t.Context(), func(tx *db.Tx) error {
			for i := range int64(spools) {
				e := bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 8)
				if _, err := tx.Exec(t.Context(), `INSERT INTO health_spools (id, device_id, epoch, last_seq, dropped, used_ms, at_ms) VALUES ($1, $2, $3, 1, 0, $4, $5)`,
					i+2, "silent", e, noon.UnixMilli()-noon.UnixMilli()%dayMS, w.now.UnixMilli()); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(4 * 24 * time.Hour)
		if _, err := w.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := numbers(t, d, 2, `SELECT COUNT(*), COUNT(CASE WHEN at_ms % 86400000 <> 0 THEN 1 END) FROM health_spools`); got[0] != spools+1 || got[1] != 0 {
			t.Errorf("%d spools, %d with a time of day, want %d, 0", got[0], got[1], spools+1)
		}
	})
}

// The clock of a spool follows what the collector dates: a block has its own times,
// and says nothing of when the next entry was made.
func TestBlocksDoNotMoveTheClock(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		s := &sender{w: w, device: w.device(t, "DEMO000001")}
		s.send(t, stateEntry(used(1)))
		w.now = noon.Add(time.Hour)
		s.send(t, blockEntry(quarter(t, noon, block.Minute, 15, func(int) int64 { return 1 })))
		if got := numbers(t, d, 1, `SELECT at_ms FROM health_spools`)[0]; got != noon.UnixMilli() {
			t.Errorf("clock of the spool after a block = %v, want that of the state before, %v", time.UnixMilli(got).UTC(), noon)
		}
		w.now = noon.Add(2 * time.Hour)
		s.send(t, stateEntry(used(2)))
		if got := numbers(t, d, 1, `SELECT at_ms FROM health_spools`)[0]; got != w.now.UnixMilli() {
			t.Errorf("clock of the spool after a state = %v, want %v", time.UnixMilli(got).UTC(), w.now)
		}
	})
}

// Differences of a list of programs have no time of day, in the database either.
func TestDifferencesAreStoredByTheDay(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		device := w.device(t, "DEMO000001")
		w.ingest(t, device, toldPrograms(t, 1, noon, inventory.Program{Name: "vim", Version: "9.0"}))
		w.ingest(t, device, toldPrograms(t, 2, noon, inventory.Program{Name: "vim", Version: "9.1"}))
		if got := numbers(t, d, 2, `SELECT COUNT(*), COALESCE(MAX(told_ms), 0) FROM health_inventory_differences`); got[0] != 1 || got[1] != noon.Truncate(24*time.Hour).UnixMilli() {
			t.Errorf("%d differences, told at %v, want one of the day", got[0], time.UnixMilli(got[1]).UTC())
		}
	})
}

// A connection that is open for longer than its times are kept still has its begin.
func TestOpenConnectionKeepsItsBegin(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		device := w.device(t, "DEMO000001")
		if _, err := w.Begin(t.Context(), device, 7, epoch("A"), "1.0.0"); err != nil {
			t.Fatal(err)
		}
		w.now = noon.AddDate(0, 0, 40)
		if _, err := w.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := numbers(t, d, 2, `SELECT COALESCE(began_ms, 0), COALESCE(contact_ms, 0) FROM health_state`); got[0] != noon.UnixMilli() || got[1] != noon.UnixMilli() {
			t.Errorf("begin and contact of an open connection = %v, want both %d", got, noon.UnixMilli())
		}
		if err := w.End(t.Context(), device, 7); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.AddDate(0, 0, 31)
		if _, err := w.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := numbers(t, d, 2, `SELECT COALESCE(began_ms, 0), COALESCE(contact_ms, 0) FROM health_state`); got[0] != 0 || got[1] != 0 {
			t.Errorf("begin and contact 31 days after its end = %v, want none", got)
		}
	})
}
