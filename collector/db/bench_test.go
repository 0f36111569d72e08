package db_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
)

// BenchmarkWrite is durable rows of 300 bytes from 64 writers at once, against
// what one fsync per row costs: a bare file with append and fsync, and Write
// by one writer alone.
func BenchmarkWrite(b *testing.B) {
	body := make([]byte, 300)
	one := func(b *testing.B, d *db.DB, id int64) {
		err := d.Write(b.Context(), func(tx *db.Tx) error {
			_, err := tx.Exec(b.Context(), `INSERT INTO parents (id, n, b) VALUES ($1, $2, $3)`, fmt.Sprintf("%016d", id), id, body)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	rate := func(b *testing.B) { b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s") }
	b.Run("bare file, fsync each", func(b *testing.B) {
		f, err := os.Create(filepath.Join(b.TempDir(), "bare"))
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		for b.Loop() {
			if _, err := f.Write(body); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
		}
		rate(b)
	})
	for name, config := range map[string]func(testing.TB, []db.Migrations) db.Config{"sqlite": dbtest.SQLite, "postgres": dbtest.Postgres} {
		d, err := db.Open(b.Context(), config(b, tables))
		if err != nil {
			b.Fatal(err)
		}
		defer d.Close()
		var next atomic.Int64
		b.Run(name+", one writer", func(b *testing.B) {
			for b.Loop() {
				one(b, d, next.Add(1))
			}
			rate(b)
		})
		b.Run(name+", 64 writers", func(b *testing.B) {
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					one(b, d, next.Add(1))
				}
			})
			rate(b)
		})
	}
}
