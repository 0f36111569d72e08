package db_test

import (
	"errors"
	"testing"

	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
)

type word string

// TestTextThatNoRowHolds: both databases refuse it alike, and who looks for it
// finds nothing.
func TestTextThatNoRowHolds(t *testing.T) {
	dbtest.Run(t, tables, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		for _, arg := range []any{"a\x00b", "\xff", "M\xfcller", "\xed\xa0\x80", word("\x00")} {
			err := d.Write(ctx, func(tx *db.Tx) error {
				_, err := tx.Exec(ctx, `INSERT INTO parents (id, n) VALUES ($1, 1)`, arg)
				return err
			})
			if !errors.Is(err, db.ErrText) {
				t.Errorf("inserting %q: %v, want ErrText", arg, err)
			}
			err = d.Read(ctx, func(tx *db.Tx) error {
				var n int64
				return tx.QueryRow(ctx, `SELECT n FROM parents WHERE id = $1`, arg).Scan(&n)
			})
			if !errors.Is(err, db.ErrNoRows) || !errors.Is(err, db.ErrText) {
				t.Errorf("looking for %q: %v, want ErrText and so ErrNoRows", arg, err)
			}
		}
		// A refusal does not end the writer, nor is other text refused.
		for _, id := range []string{"", "äöü 🔧 \ufffd", "a\tb\nc"} {
			if err := d.Write(ctx, func(tx *db.Tx) error { return insert(ctx, tx, id, 1) }); err != nil {
				t.Errorf("inserting %q: %v", id, err)
			}
		}
		if n := count(t, d); n != 3 {
			t.Errorf("%d rows, want 3", n)
		}
	})
}
