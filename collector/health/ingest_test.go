package health_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hausmeister/collector/access"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/health"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

func TestIngest(t *testing.T) {
	type step struct {
		batch       *hmpb.Batch
		ack, resend uint64
	}
	tests := []struct {
		name   string
		steps  []step
		want   health.Tally
		latest uint64
	}{
		{"in order", []step{
			{batch: batch(1, 1, 2, 3), ack: 3},
			{batch: batch(4, 4), ack: 4},
		}, health.Tally{Reports: 4, Last: 4}, 4},
		{"the same twice", []step{
			{batch: batch(1, 1, 2, 3), ack: 3},
			{batch: batch(1, 1, 2, 3), ack: 3},
		}, health.Tally{Reports: 3, Last: 3}, 3},
		{"overlapping", []step{
			{batch: batch(1, 1, 2, 3), ack: 3},
			{batch: batch(2, 2, 3, 4, 5), ack: 5},
		}, health.Tally{Reports: 5, Last: 5}, 5},
		{"an older one late", []step{
			{batch: batch(1, 1, 2, 3, 4, 5), ack: 5},
			{batch: batch(2, 2, 3), ack: 5},
		}, health.Tally{Reports: 5, Last: 5}, 5},
		{"reordered: the second first", []step{
			{batch: batch(4, 4, 5), resend: 1},
			{batch: batch(1, 1, 2, 3), ack: 3},
			{batch: batch(4, 4, 5), ack: 5},
		}, health.Tally{Reports: 5, Last: 5}, 5},
		{"unnamed gap between batches", []step{
			{batch: batch(1, 1, 2), ack: 2},
			{batch: batch(5, 5, 6), resend: 3},
			{batch: batch(3, 3, 4, 5, 6), ack: 6},
		}, health.Tally{Reports: 6, Last: 6}, 6},
		{"unnamed gap within a batch", []step{
			{batch: batch(1, 1, 2, 5, 6), resend: 3},
			{batch: batch(3, 3, 4, 5, 6), ack: 6},
		}, health.Tally{Reports: 6, Last: 6}, 6},
		{"named range within a batch", []step{
			{batch: dropped(batch(1, 1, 2, 6), 3, 5), ack: 6},
		}, health.Tally{Reports: 3, Last: 6, Dropped: 3}, 6},
		{"named range first, then entries", []step{
			{batch: dropped(batch(1, 101, 102), 1, 100), ack: 102},
		}, health.Tally{Reports: 2, Last: 102, Dropped: 100}, 102},
		{"a batch of nothing but a range", []step{
			{batch: batch(1, 1), ack: 1},
			{batch: dropped(batch(2), 2, 9), ack: 9},
			{batch: batch(10, 10), ack: 10},
		}, health.Tally{Reports: 2, Last: 10, Dropped: 8}, 10},
		{"a range known in part is counted once", []step{
			{batch: dropped(batch(1), 1, 5), ack: 5},
			{batch: dropped(batch(1, 9), 1, 8), ack: 9},
		}, health.Tally{Reports: 1, Last: 9, Dropped: 8}, 9},
		{"a range that names too little", []step{
			{batch: dropped(batch(1, 1, 6), 2, 4), resend: 5},
		}, health.Tally{Reports: 1, Last: 4, Dropped: 3}, 1},
		{"blocks that were thinned", []step{
			{batch: thinned(batch(1, 1, 5, 6), 2, 4), ack: 6},
		}, health.Tally{Reports: 3, Last: 6}, 6},
		{"thinned and dropped taking turns", []step{
			{batch: thinned(dropped(batch(1, 7, 8), 1, 1, 3, 3, 5, 5), 2, 2, 4, 4, 6, 6), ack: 8},
		}, health.Tally{Reports: 2, Last: 8, Dropped: 3}, 8},
		{"thinned in part after the rest was told", []step{
			{batch: batch(1, 1, 2), ack: 2},
			{batch: thinned(batch(1, 4), 1, 3), ack: 4},
		}, health.Tally{Reports: 3, Last: 4}, 4},
		{"a gap that is thinned in part", []step{
			{batch: thinned(batch(1, 1, 6), 2, 4), resend: 5},
		}, health.Tally{Reports: 1, Last: 4}, 1},
		{"what is stored is not dropped later", []step{
			{batch: batch(1, 1, 2, 3), ack: 3},
			{batch: dropped(batch(1, 4), 1, 3), ack: 4},
		}, health.Tally{Reports: 4, Last: 4}, 4},
		{"sequences at the end of int64", []step{
			{batch: dropped(batch(1), 1, math.MaxInt64-1), ack: math.MaxInt64 - 1},
			{batch: batch(math.MaxInt64, math.MaxInt64), ack: math.MaxInt64},
		}, health.Tally{Reports: 1, Last: math.MaxInt64, Dropped: math.MaxInt64 - 1}, 0},
	}
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		for i, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				device := w.device(t, fmt.Sprintf("DEMO%06d", i))
				for i, s := range test.steps {
					if ack, resend := w.ingest(t, device, s.batch); ack != s.ack || resend != s.resend {
						t.Fatalf("step %d: ack %d, resend %d, want %d, %d", i, ack, resend, s.ack, s.resend)
					}
				}
				if d := cmp.Diff(test.want, w.tally(t, device)); d != "" {
					t.Errorf("stored (-want +got):\n%s", d)
				}
				if got := w.latest(t, device); got != test.latest {
					t.Errorf("latest state is of sequence %d, want %d", got, test.latest)
				}
				cursor, err := w.Begin(t.Context(), device, 1, epoch("A"), "1.0.0")
				if err != nil || cursor != test.want.Last {
					t.Errorf("cursor for the Welcome = %d, %v, want %d", cursor, err, test.want.Last)
				}
			})
		}
		// 3 once; 3 of 6 that took turns; 3, of which 2 were known; 3 before a gap.
		if got := w.Stats().Thinned; got != 3+3+1+3 {
			t.Errorf("Stats.Thinned = %d, want 10", got)
		}
	})
}

func TestMalformed(t *testing.T) {
	short := batch(1, 1)
	short.SetSpoolEpoch([]byte("short"))
	falling := batch(1, 1, 2, 3)
	e := falling.GetEntries()
	falling.SetEntries([]*hmpb.Entry{e[0], e[2], e[1]})
	twice := batch(1, 1)
	twice.SetEntries(append(twice.GetEntries(), twice.GetEntries()[0]))
	tests := map[string]*hmpb.Batch{
		"no epoch":                {},
		"short epoch":             short,
		"empty":                   batch(1),
		"first sequence 0":        batch(0, 0, 1),
		"first beyond int64":      batch(math.MaxInt64+1, math.MaxInt64+1),
		"offset beyond int64":     batch(math.MaxInt64, math.MaxInt64, math.MaxInt64+1),
		"falling sequences":       falling,
		"the same sequence twice": twice,
		"range backwards":         dropped(batch(1), 5, 4),
		"range before the first":  dropped(batch(5, 5), 1, 4),
		"range beyond int64":      dropped(batch(1), 1, math.MaxUint64),
		"range over an entry":     dropped(batch(1, 1, 2, 3), 2, 2),
		"ranges that overlap":     dropped(batch(1), 1, 5, 5, 9),
		"thinned backwards":       thinned(batch(1), 5, 4),
		"thinned before first":    thinned(batch(5, 5), 1, 4),
		"thinned beyond int64":    thinned(batch(1), 1, math.MaxUint64),
		"thinned over an entry":   thinned(batch(1, 1, 2, 3), 2, 2),
		"thinned and dropped":     thinned(dropped(batch(1), 1, 5), 3, 3),
	}
	w := newWorld(t, dbtest.Open(t, migrations))
	device := w.device(t, "DEMO000001")
	for name, b := range tests {
		t.Run(name, func(t *testing.T) {
			if down, err := w.Ingest(t.Context(), device, b); !errors.Is(err, health.ErrMalformed) {
				t.Errorf("Ingest = %v, %v, want ErrMalformed", down, err)
			}
		})
	}
	if got := w.tally(t, device); got != (health.Tally{}) {
		t.Errorf("stored %+v of malformed batches, want nothing", got)
	}
	if got := w.Stats().Malformed; got != uint64(len(tests)) {
		t.Errorf("counted %d malformed batches, want %d", got, len(tests))
	}
}

// Nobody but a device may report, and only for itself.
func TestIngestCallers(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations))
	for _, caller := range []access.Caller{{}, {Kind: access.KindUser, ID: "u", Role: access.RoleAdmin}} {
		if _, err := w.Ingest(t.Context(), caller, batch(1, 1)); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("Ingest by %s = %v, want ErrForbidden", caller.Actor(), err)
		}
	}
}

func TestClocks(t *testing.T) {
	tests := []struct {
		name                 string
		deviceMS             int64
		wantFuture, wantPast uint64
	}{
		{"right", noon.UnixMilli(), 0, 0},
		{"a little ahead", noon.Add(health.FutureSlack).UnixMilli(), 0, 0},
		{"44 days old", noon.Add(-44 * 24 * time.Hour).UnixMilli(), 0, 0},
		{"tomorrow", noon.Add(24 * time.Hour).UnixMilli(), 1, 0},
		{"2099", time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli(), 1, 0},
		{"1970", 0, 0, 1},
		{"end of time", math.MaxInt64, 1, 0},
		{"begin of time", math.MinInt64, 0, 1},
	}
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		for i, test := range tests {
			device := w.device(t, fmt.Sprintf("DEMO%06d", i))
			before := w.Stats()
			b := batch(1, 1)
			b.GetEntries()[0].SetDeviceMs(test.deviceMS)
			if ack, _ := w.ingest(t, device, b); ack != 1 {
				t.Errorf("%s: ack %d, want 1", test.name, ack)
			}
			after := w.Stats()
			if f, p := after.FutureClock-before.FutureClock, after.PastClock-before.PastClock; f != test.wantFuture || p != test.wantPast {
				t.Errorf("%s: counted %d future, %d past, want %d, %d", test.name, f, p, test.wantFuture, test.wantPast)
			}
			var deviceMS, collectorMS, marks int64
			err := d.Read(t.Context(), func(tx *db.Tx) error {
				return tx.QueryRow(t.Context(), `SELECT device_ms, collector_ms, marks FROM health_reports r JOIN health_spools s ON s.id = r.spool WHERE s.device_id = $1`, device.ID).
					Scan(&deviceMS, &collectorMS, &marks)
			})
			if err != nil || deviceMS != test.deviceMS || collectorMS != noon.UnixMilli() {
				t.Errorf("%s: stored times %d, %d, %v, want %d, %d", test.name, deviceMS, collectorMS, err, test.deviceMS, noon.UnixMilli())
			}
			if want := int64(test.wantFuture)*health.MarkFuture | int64(test.wantPast)*health.MarkPast; marks != want {
				t.Errorf("%s: marks %d, want %d", test.name, marks, want)
			}
		}
	})
}

func TestReadings(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		device := w.device(t, "DEMO000001")
		unknown := number(60_000, "", 1)
		b := batch(1, 1)
		b.SetEntries([]*hmpb.Entry{entry(0, noon.UnixMilli(),
			unknown,
			number(reading.BatteryCharge, "", 5000), // out of range
			text(reading.OSName, "Debian\x00GNU"),   // not printable; PostgreSQL would choke on it
			used(7), used(8),                        // the second is one too many
			number(reading.BootTime, "", noon.Add(-50*time.Hour).UnixMilli()),
			absent(reading.BatteryHealth, hmpb.Absent_ABSENT_NO_HARDWARE),
			number(reading.VolumeTotal, "/home", 1000), number(reading.VolumeFree, "/home", 1),
			number(reading.VolumeTotal, "/", 200), number(reading.VolumeFree, "/", 50),
		)})
		if ack, _ := w.ingest(t, device, b); ack != 1 {
			t.Fatalf("ack %d, want 1", ack)
		}
		stats := w.Stats()
		if stats.UnknownReadings != 1 || stats.BadReadings != 3 {
			t.Errorf("counted %d unknown, %d bad readings, want 1, 3", stats.UnknownReadings, stats.BadReadings)
		}
		l, err := w.Latest(t.Context(), system, device.ID)
		if err != nil {
			t.Fatal(err)
		}
		type value struct {
			Name, Instance string
			Number         int64
			Absent         hmpb.Absent
		}
		var got []value
		for _, v := range l.Values {
			got = append(got, value{v.Reading.Name, v.Instance, v.Number, v.Absent})
		}
		want := []value{
			{Name: "memory_used", Number: 7},
			{Name: "volume_total", Instance: "/", Number: 200},
			{Name: "volume_total", Instance: "/home", Number: 1000},
			{Name: "volume_free", Instance: "/", Number: 50},
			{Name: "volume_free", Instance: "/home", Number: 1},
			{Name: "battery_health", Absent: hmpb.Absent_ABSENT_NO_HARDWARE},
			// Two days before, without the time of day.
			{Name: "boot_time", Number: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC).UnixMilli()},
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("latest values (-want +got):\n%s", d)
		}
		if day := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC); !l.Day.Equal(day) {
			t.Errorf("last contact %v, want the day %v", l.Day, day)
		}
		in, err := w.fleet.Device(t.Context(), system, device.ID)
		if err != nil {
			t.Fatal(err)
		}
		if in.DiskFree.Value != 50 || in.DiskPermille.Value != 250 || in.Battery.Known {
			t.Errorf("list shows disk %+v of %+v, battery %+v, want 50 of the system volume, no battery", in.DiskFree, in.DiskPermille, in.Battery)
		}
	})
}

// An entry of a kind that a newer agent sends keeps its place: the ones behind
// it are stored and nothing is asked for again for ever.
func TestNewerKindOfEntry(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		device := w.device(t, "DEMO000001")
		b := batch(1, 1, 2, 3)
		b.GetEntries()[2].ClearKind()
		if ack, _ := w.ingest(t, device, b); ack != 3 {
			t.Errorf("ack %d, want 3", ack)
		}
		if got := w.latest(t, device); got != 2 {
			t.Errorf("latest state is of sequence %d, want 2", got)
		}
	})
}

// More than one transaction should hold is stored in part, and the rest asked
// for: honest progress for a batch that is legal but huge.
func TestHugeBatch(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations))
	device := w.device(t, "DEMO000001")
	b := hmpb.Batch_builder{SpoolEpoch: epoch("A"), FirstSeq: new(uint64(1))}.Build()
	var entries []*hmpb.Entry
	for i := range uint32(health.MaxEntries + 10) {
		entries = append(entries, entry(i, 0))
	}
	b.SetEntries(entries)
	for range 2 {
		if _, resend := w.ingest(t, device, b); resend != health.MaxEntries+1 {
			t.Fatalf("resend from %d, want %d", resend, health.MaxEntries+1)
		}
	}
	if ack, _ := w.ingest(t, device, batch(health.MaxEntries+1, health.MaxEntries+1)); ack != health.MaxEntries+1 {
		t.Errorf("ack %d of the rest, want %d", ack, health.MaxEntries+1)
	}
}

func TestNewSpool(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		device := w.device(t, "DEMO000001")
		begin := func(number int64, spool string, want uint64) {
			t.Helper()
			if cursor, err := w.Begin(t.Context(), device, number, epoch(spool), "1.0.0"); err != nil || cursor != want {
				t.Fatalf("Begin with spool %s = %d, %v, want %d", spool, cursor, err, want)
			}
		}
		begin(1, "A", 0)
		w.ingest(t, device, batchOf("A", 1, 1, 2, 3))
		begin(2, "B", 0)
		w.ingest(t, device, batchOf("B", 1, 1))
		if got := w.latest(t, device); got != 1 {
			t.Errorf("latest = %d, want 1 of the new spool", got)
		}
		// What the old spool's session still had on its way is stored and does
		// not become the latest state.
		if ack, _ := w.ingest(t, device, batchOf("A", 4, 4)); ack != 4 {
			t.Errorf("ack %d of the old spool, want 4", ack)
		}
		if got := w.latest(t, device); got != 1 {
			t.Errorf("latest = %d after a late report of the old spool, want 1", got)
		}
		// A session that was overtaken on its way changes nothing.
		begin(1, "A", 4)
		w.ingest(t, device, batchOf("B", 2, 2))
		if got := w.latest(t, device); got != 2 {
			t.Errorf("latest = %d, want 2", got)
		}
		// The disk of before is put back: its reports count again.
		begin(3, "A", 4)
		w.ingest(t, device, batchOf("A", 5, 5))
		if got := w.latest(t, device); got != 5 {
			t.Errorf("latest = %d after the old disk came back, want 5", got)
		}
		// A spool that begins in mid-session is the one in use.
		w.ingest(t, device, batchOf("C", 1, 1))
		if got := w.latest(t, device); got != 1 {
			t.Errorf("latest = %d, want 1 of the spool begun in mid-session", got)
		}
	})
}

func TestConnectedFlag(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		device := w.device(t, "DEMO000001")
		check := func(when string, want bool) {
			t.Helper()
			l, err := w.Latest(t.Context(), system, device.ID)
			if err != nil || l.Connected != want {
				t.Errorf("%s: connected = %v, %v, want %v", when, l.Connected, err, want)
			}
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		begin := func(n int64) { _, err := w.Begin(t.Context(), device, n, epoch("A"), "1.0.0"); must(err) }
		check("never seen", false)
		begin(7)
		check("begun", true)
		begin(8)
		must(w.End(t.Context(), device, 7))
		check("the older session ends late", true)
		must(w.End(t.Context(), device, 8))
		check("ended", false)
		begin(9)
		must(w.ClearSessions(t.Context()))
		check("after a restart", false)
	})
}

// Many devices at once, each batch sent by two sessions, in random pieces:
// every report is stored exactly once and every ack is true.
func TestExactlyOnceTogether(t *testing.T) {
	const devices, reports = 8, 60
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		var wg sync.WaitGroup
		var callers []access.Caller
		for i := range devices {
			callers = append(callers, w.device(t, fmt.Sprintf("DEMO%06d", i)))
		}
		for i, device := range callers {
			for s := range 2 {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(uint64(i), uint64(s)))
					for next := uint64(1); next <= reports; {
						from := next - uint64(r.IntN(int(min(next, 3)))) // sometimes again what is known
						var seqs []uint64
						for q := from; q <= min(reports, from+uint64(r.IntN(9))); q++ {
							seqs = append(seqs, q)
						}
						down, err := w.Ingest(context.Background(), device, batch(from, seqs...))
						if err != nil {
							t.Errorf("device %d: %v", i, err)
							return
						}
						if ack := down.GetAck().GetThroughSeq(); ack < slices.Max(seqs) {
							t.Errorf("device %d: ack %d after sending %d", i, ack, slices.Max(seqs))
							return
						} else {
							next = ack + 1
						}
					}
				})
			}
		}
		wg.Wait()
		for _, device := range callers {
			if got := w.tally(t, device); got != (health.Tally{Reports: reports, Last: reports}) {
				t.Errorf("stored %+v, want %d reports", got, reports)
			}
		}
		if got := w.Stats().Stored; got != devices*reports {
			t.Errorf("counted %d stored, want %d", got, devices*reports)
		}
	})
}

// What the bus tells is durable already.
func TestChangedComesAfterCommit(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations))
	device := w.device(t, "DEMO000001")
	sub := w.bus.Subscribe(bus.Changed)
	defer sub.Close()
	w.ingest(t, device, batch(1, 1))
	select {
	case e := <-sub.C:
		if e.Device != device.ID || e.Owner != w.owner {
			t.Errorf("event %+v, want device %s of %s", e, device.ID, w.owner)
		}
	default:
		t.Fatal("no event after a new state")
	}
	w.ingest(t, device, batch(1, 1))
	select {
	case e := <-sub.C:
		t.Errorf("event %+v after a duplicate, want none", e)
	default:
	}
}

// A collector that dies after its commit and before its ack, and one that was
// set back to an older backup: the device sends again, the result is the same.
func TestRestartAndRestore(t *testing.T) {
	cfg := dbtest.SQLite(t, migrations)
	open := func() (*world, func()) {
		d, err := db.Open(context.Background(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		return newWorld(t, d), func() {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	w, closeDB := open()
	device := w.device(t, "DEMO000001")
	w.ingest(t, device, batch(1, 1, 2, 3))
	backup := filepath.Join(t.TempDir(), "backup.db")
	if err := w.db.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	w.ingest(t, device, batch(4, 4, 5)) // its ack is lost
	id := w.db.StoreID()
	closeDB()

	w, closeDB = open()
	if cursor, err := w.Begin(t.Context(), device, 1, epoch("A"), "1.0.0"); err != nil || cursor != 5 {
		t.Errorf("cursor after a restart = %d, %v, want 5", cursor, err)
	}
	if ack, _ := w.ingest(t, device, batch(4, 4, 5, 6)); ack != 6 {
		t.Errorf("ack %d, want 6", ack)
	}
	if got := w.tally(t, device); got != (health.Tally{Reports: 6, Last: 6}) {
		t.Errorf("stored %+v, want 6 reports", got)
	}
	closeDB()

	if err := db.Restore(t.Context(), cfg, backup, func(*db.DB) error { return nil }); err != nil {
		t.Fatal(err)
	}
	w, closeDB = open()
	defer closeDB()
	if slices.Equal(w.db.StoreID(), id) {
		t.Error("store id is the same after a restore")
	}
	if cursor, err := w.Begin(t.Context(), device, 1, epoch("A"), "1.0.0"); err != nil || cursor != 3 {
		t.Errorf("cursor after the restore = %d, %v, want 3", cursor, err)
	}
	// The agent still has 5 and 6; 4 it threw away, as it was acknowledged.
	if ack, _ := w.ingest(t, device, dropped(batch(4, 5, 6), 4, 4)); ack != 6 {
		t.Errorf("ack %d, want 6", ack)
	}
	if got := w.tally(t, device); got != (health.Tally{Reports: 5, Last: 6, Dropped: 1}) {
		t.Errorf("stored %+v, want 5 reports and 1 dropped", got)
	}
}
