package db_test

import (
	"context"
	"errors"
	"testing"

	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
)

func TestValues(t *testing.T) {
	dbtest.Run(t, nil, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		err := d.Write(ctx, func(tx *db.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO store (name, value) VALUES ($1, $2)`, "a", []byte{})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		err = d.Write(ctx, func(tx *db.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO store (name, value) VALUES ($1, $2)`, "a", []byte{1})
			return err
		})
		if !errors.Is(err, db.ErrUnique) {
			t.Fatalf("second insert = %v, want ErrUnique", err)
		}
	})
}
