package db_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
)

// TestGuarded: of many changes that were all made for the same state only one
// happens; the check reads what its own transaction sees, and writes nothing.
func TestGuarded(t *testing.T) {
	dbtest.Run(t, tables, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		read := func(ctx context.Context) (n int64, err error) {
			err = d.Read(ctx, func(tx *db.Tx) error {
				return tx.QueryRow(ctx, `SELECT count(*) FROM store WHERE name LIKE 'guard%'`).Scan(&n)
			})
			return n, err
		}
		insert := func(name string) func(*db.Tx) error {
			return func(tx *db.Tx) error {
				_, err := tx.Exec(ctx, `INSERT INTO store (name, value) VALUES ($1, $2)`, name, []byte{1})
				return err
			}
		}
		stale := errors.New("stale")
		still := func(want int64) func(context.Context) error {
			return func(ctx context.Context) error {
				n, err := read(ctx)
				if err == nil && n != want {
					err = stale
				}
				return err
			}
		}
		for round := range int64(5) {
			var happened, refused atomic.Int64
			var wg sync.WaitGroup
			for i := range 16 {
				wg.Go(func() {
					err := d.Write(db.Guarded(ctx, still(round)), insert("guard"+string(rune('a'+round))+string(rune('a'+i))))
					switch {
					case err == nil:
						happened.Add(1)
					case errors.Is(err, stale):
						refused.Add(1)
					default:
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if happened.Load() != 1 || refused.Load() != 15 {
				t.Errorf("round %d: %d happened, %d were refused; want 1 and 15", round, happened.Load(), refused.Load())
			}
		}
		// A second Write of the context is not held against the first.
		both := db.Guarded(ctx, still(5))
		for _, name := range []string{"guard1", "guard2"} {
			if err := d.Write(both, insert(name)); err != nil {
				t.Errorf("writing %s: %v", name, err)
			}
		}
		err := d.Write(db.Guarded(ctx, func(ctx context.Context) error { return d.Write(ctx, insert("guard3")) }), insert("guard4"))
		if err == nil {
			t.Error("a check wrote")
		}
		if n, err := read(ctx); err != nil || n != 7 {
			t.Errorf("%d rows, %v, want 7", n, err)
		}
	})
}
