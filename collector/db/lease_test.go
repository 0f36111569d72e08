package db_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
)

// TestLease: of two collectors one holds it. When it dies or pauses, the other has
// it after LeaseFor, and what the first still wanted to write under it is refused.
func TestLease(t *testing.T) {
	dbtest.Each(t, tables, func(t *testing.T, cfg db.Config) {
		ctx := t.Context()
		clock := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
		now := func() time.Time { return clock }
		a, err := db.Open(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		add := func(ctx context.Context, d *db.DB, id string) error {
			return d.Write(ctx, func(tx *db.Tx) error { return insert(ctx, tx, id, 1) })
		}
		refused := func(what string, err, want error) {
			t.Helper()
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", what, err, want)
			}
		}
		first := a.Lease("jobs", now)
		err = first.Hold(ctx, func(held context.Context) error {
			if err := add(held, a, "first"); err != nil {
				return err
			}
			clock = clock.Add(db.LeaseFor - time.Second)
			if err := add(held, a, "renews"); err != nil {
				return err
			}
			b := dbtest.Second(t, cfg)
			second := b.Lease("jobs", now)
			clock = clock.Add(db.LeaseFor - time.Second)
			refused("a lease that was just renewed", second.Hold(ctx, func(context.Context) error { t.Error("both hold it"); return nil }), db.ErrLeased)
			if err := b.Lease("days", now).Hold(ctx, func(held context.Context) error { return add(held, b, "other") }); err != nil {
				t.Errorf("another lease: %v", err)
			}
			clock = clock.Add(2 * time.Second)
			err := second.Hold(ctx, func(later context.Context) error {
				if b.Dialect() == db.SQLite { // on PostgreSQL nobody but the second writes
					refused("a write of the first while the second holds it", add(held, a, "late"), db.ErrLeaseLost)
				}
				return add(later, b, "second")
			})
			if err != nil {
				t.Errorf("taking over: %v", err)
			}
			if err := b.Close(); err != nil {
				t.Error(err)
			}
			if err := add(ctx, a, "without"); err != nil {
				t.Errorf("a write that needs no lease: %v", err)
			}
			return add(held, a, "later")
		})
		refused("a write of the first after the second had it", err, db.ErrLeaseLost)
		if n := count(t, a); n != 5 {
			t.Errorf("%d rows, want 5", n)
		}
		if err := first.Hold(ctx, func(held context.Context) error { return add(held, a, "again") }); err != nil {
			t.Errorf("holding it again: %v", err)
		}
		// It is given back also when the work ended with its context.
		stopped, stop := context.WithCancel(ctx)
		first.Hold(stopped, func(context.Context) error { stop(); return nil })
		b := dbtest.Second(t, cfg)
		if err := b.Lease("jobs", now).Hold(ctx, func(held context.Context) error { return add(held, b, "free") }); err != nil {
			t.Errorf("a lease that was given back: %v", err)
		}
		// Who held it last had a clock that was years ahead, and died.
		err = b.Lease("jobs", func() time.Time { return clock.AddDate(9, 0, 0) }).Hold(ctx, func(context.Context) error {
			return b.Write(ctx, func(tx *db.Tx) error { _, err := tx.Exec(ctx, `UPDATE leases SET holder = 'gone'`); return err })
		})
		if err == nil {
			err = b.Lease("jobs", now).Hold(ctx, func(held context.Context) error { return add(held, b, "clock") })
		}
		if err != nil {
			t.Errorf("a lease of a clock that was ahead: %v", err)
		}
	})
}

// TestLeaseOfMany: whoever wants it, never two hold it at once.
func TestLeaseOfMany(t *testing.T) {
	cfg := dbtest.SQLite(t, tables)
	var inside, done atomic.Int64
	var wg sync.WaitGroup
	for c := range 3 {
		d := dbtest.Second(t, cfg)
		l := d.Lease("jobs", time.Now)
		for w := range 2 {
			wg.Go(func() {
				for i := 0; i < 10; {
					err := l.Hold(t.Context(), func(ctx context.Context) error {
						if inside.Add(1) != 1 {
							t.Error("two hold it")
						}
						defer inside.Add(-1)
						return d.Write(ctx, func(tx *db.Tx) error { return insert(ctx, tx, fmt.Sprint(c, w, i), 1) })
					})
					switch {
					case err == nil:
						done.Add(1)
						i++
					case !errors.Is(err, db.ErrLeased):
						t.Error(err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	if done.Load() != 60 {
		t.Errorf("%d rounds, want 60", done.Load())
	}
}
