package health_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/health"
)

func TestSweep(t *testing.T) {
	const day = 24 * time.Hour
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		busy, silent, gone := w.device(t, "DEMO000001"), w.device(t, "DEMO000002"), w.device(t, "DEMO000003")
		// One with a report each hour for 40 days, more than one step of the
		// sweep; one that fell silent on the first day; one whose spool was
		// replaced then.
		w.ingest(t, silent, batch(1, 1, 2, 3))
		w.ingest(t, gone, batchOf("A", 1, 1, 2))
		w.ingest(t, gone, batchOf("B", 1, 1))
		hours := uint64(0)
		for ; hours < 40*24; hours++ {
			w.ingest(t, busy, batch(hours+1, hours+1))
			w.now = w.now.Add(time.Hour)
		}
		deleted, err := w.Sweep(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for name, test := range map[string]struct {
			device access.Caller
			want   health.Tally
		}{
			"busy":               {busy, health.Tally{Reports: 3 * 24, Last: hours}},
			"silent keeps one":   {silent, health.Tally{Reports: 1, Last: 3}},
			"old spool is empty": {gone, health.Tally{Reports: 1, Last: 1}},
		} {
			if got := w.tally(t, test.device); got != test.want {
				t.Errorf("%s: kept %+v, want %+v", name, got, test.want)
			}
		}
		// And of the two that fell silent, when they were last heard of.
		if want := int64(37*24 + 2 + 2 + 2); deleted != want {
			t.Errorf("Sweep = %d, want %d", deleted, want)
		}
		if got := w.latest(t, silent); got != 3 {
			t.Errorf("latest state of the silent device = %d, want 3", got)
		}
		// What was deleted is not stored again when an agent sends it again.
		if ack, _ := w.ingest(t, silent, batch(1, 1, 2, 3)); ack != 3 || w.tally(t, silent).Reports != 1 {
			t.Errorf("ack %d, %d reports after sending deleted ones again, want 3, 1", ack, w.tally(t, silent).Reports)
		}
		if cursor, err := w.Begin(t.Context(), gone, 1, epoch("A"), "1.0.0"); err != nil || cursor != 2 {
			t.Errorf("cursor of the old spool = %d, %v, want 2", cursor, err)
		}
		w.now = w.now.Add(401 * day)
		if _, err := w.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if cursor, err := w.Begin(t.Context(), gone, 2, epoch("A"), "1.0.0"); err != nil || cursor != 0 {
			t.Errorf("cursor of the old spool after 400 days = %d, %v, want it forgotten", cursor, err)
		}
		if got := w.latest(t, silent); got != 3 {
			t.Errorf("latest state of the silent device after 400 days = %d, want 3", got)
		}
	})
}

// A full database stores nothing of a batch and says that it is full; with
// space again the same batch is stored once.
func TestFullDatabase(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations))
	device := w.device(t, "DEMO000001")
	w.ingest(t, device, batch(1, 1))
	limit := func(pages string) {
		t.Helper()
		err := w.db.Write(t.Context(), func(tx *db.Tx) error {
			var n int64
			return tx.QueryRow(t.Context(), "PRAGMA max_page_count = "+pages).Scan(&n)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	limit("1") // not below what there is already
	next, stored := uint64(2), uint64(1)
	var err error
	for ; next < 20_000; next += 100 {
		var seqs []uint64
		for q := next; q < next+100; q++ {
			seqs = append(seqs, q)
		}
		if _, err = w.Ingest(t.Context(), device, batch(next, seqs...)); err != nil {
			break
		}
		stored += 100
	}
	if !errors.Is(err, db.ErrFull) || !health.Unavailable(err) {
		t.Fatalf("Ingest when full = %v, want ErrFull", err)
	}
	if got := w.tally(t, device); got != (health.Tally{Reports: stored, Last: stored}) {
		t.Errorf("stored %+v, want %d reports", got, stored)
	}
	limit("1000000")
	if ack, _ := w.ingest(t, device, batch(next, next)); ack != next {
		t.Errorf("ack %d with space again, want %d", ack, next)
	}
}

func TestLatestIsForItsOwners(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations))
	device := w.device(t, "DEMO000001")
	w.ingest(t, device, batch(1, 1))
	own := access.Caller{Kind: access.KindUser, ID: "u", Role: access.RoleRead, Owners: []string{w.owner}}
	foreign := own
	foreign.Owners = []string{"another"}
	if l, err := w.Latest(t.Context(), own, device.ID); err != nil || len(l.Values) == 0 {
		t.Errorf("Latest for its owner = %+v, %v, want values", l, err)
	}
	for what, id := range map[string]string{"a foreign device": device.ID, "no device": "x"} {
		if _, err := w.Latest(t.Context(), foreign, id); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("Latest of %s = %v, want ErrNotFound", what, err)
		}
	}
	if _, err := w.Latest(t.Context(), access.Caller{}, device.ID); !errors.Is(err, access.ErrForbidden) {
		t.Errorf("Latest for nobody = %v, want ErrForbidden", err)
	}
}

// A collector that died could not say that its sessions ended: the next one says
// so before it is ready.
func TestStartClearsSessions(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		device := w.device(t, "DEMO000001")
		connected := func() bool {
			t.Helper()
			l, err := w.Latest(t.Context(), system, device.ID)
			if err != nil {
				t.Fatal(err)
			}
			return l.Connected
		}
		if _, err := w.Begin(t.Context(), device, 7, epoch("A"), "1.0.0"); err != nil || !connected() {
			t.Fatalf("connected = %v after Begin = %v, want true", connected(), err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		err := w.Run(ctx, func() {
			if connected() {
				t.Error("ready, and the device is connected from the run before")
			}
			cancel()
		})
		if err != nil || ctx.Err() == nil {
			t.Errorf("Run = %v, ready called: %v", err, ctx.Err() != nil)
		}
	})
}
