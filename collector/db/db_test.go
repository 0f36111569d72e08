package db_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
)

// tables is a subject of this test's own, with a reference between tables.
var tables = []db.Migrations{{Name: "test", FS: fstest.MapFS{
	"migrations/20270101000000_test_rows.sql": {Data: []byte(`-- +goose Up
CREATE TABLE parents (id TEXT PRIMARY KEY, n BIGINT NOT NULL, b BYTEA);
CREATE TABLE children (id TEXT PRIMARY KEY, parent TEXT NOT NULL REFERENCES parents (id));
CREATE VIEW family AS SELECT c.id AS child, p.n AS n FROM children c JOIN parents p ON p.id = c.parent;
`)},
}}}

func insert(ctx context.Context, tx *db.Tx, id string, n int64) error {
	_, err := tx.Exec(ctx, `INSERT INTO parents (id, n) VALUES ($1, $2)`, id, n)
	return err
}

func count(t *testing.T, d *db.DB) int {
	t.Helper()
	var n int
	err := d.Read(context.Background(), func(tx *db.Tx) error {
		return tx.QueryRow(context.Background(), `SELECT COUNT(*) FROM parents`).Scan(&n)
	})
	if err != nil {
		t.Fatalf("counting rows: %v", err)
	}
	return n
}

func TestValuesComeBackAlike(t *testing.T) {
	dbtest.Run(t, tables, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		type row struct {
			ID   string
			N    int64
			B    []byte
			Null bool
		}
		rows := []row{
			{"plain", 1, []byte{0, 1, 255}, false},
			{"empty bytes", -1 << 63, []byte{}, false},
			{"no bytes", 1<<63 - 1, nil, true},
			{"äöü 🔧 ' \" ; --", 0, []byte("text"), false},
		}
		for _, r := range rows {
			err := d.Write(ctx, func(tx *db.Tx) error {
				// Parameters out of order and twice.
				_, err := tx.Exec(ctx, `INSERT INTO parents (b, id, n) SELECT $3, $1, $2 WHERE $1 <> ''`, r.ID, r.N, r.B)
				return err
			})
			if err != nil {
				t.Fatalf("insert of %q = %v", r.ID, err)
			}
		}
		var got []row
		err := d.Read(ctx, func(tx *db.Tx) error {
			q, err := tx.Query(ctx, `SELECT id, n, b, CASE WHEN b IS NULL THEN 1 ELSE 0 END FROM parents`)
			if err != nil {
				return err
			}
			defer q.Close()
			for q.Next() {
				var r row
				if err := q.Scan(&r.ID, &r.N, &r.B, &r.Null); err != nil {
					return err
				}
				got = append(got, r)
			}
			return q.Close()
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(rows, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
	})
}

func TestTextSortsByBytes(t *testing.T) {
	dbtest.Run(t, tables, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		want := []string{"B", "Z", "_", "a", "b", "ä"}
		var got []string
		err := d.Write(ctx, func(tx *db.Tx) error {
			for _, id := range []string{"b", "ä", "_", "Z", "a", "B"} {
				if err := insert(ctx, tx, id, 1); err != nil {
					return err
				}
			}
			rows, err := tx.Query(ctx, `SELECT id FROM parents ORDER BY id`)
			if err != nil {
				return err
			}
			defer rows.Close()
			got = nil
			for rows.Next() {
				var id string
				if err := rows.Scan(&id); err != nil {
					return err
				}
				got = append(got, id)
			}
			return rows.Close()
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
	})
}

func TestErrors(t *testing.T) {
	dbtest.Run(t, tables, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		own := errors.New("the caller's own")
		write := func(fn func(tx *db.Tx) error) error { return d.Write(ctx, fn) }
		if err := write(func(tx *db.Tx) error { return insert(ctx, tx, "a", 1) }); err != nil {
			t.Fatal(err)
		}
		tests := []struct {
			name string
			fn   func(tx *db.Tx) error
			want error
		}{
			{"same key", func(tx *db.Tx) error { return insert(ctx, tx, "a", 1) }, db.ErrUnique},
			{"no row", func(tx *db.Tx) error {
				return tx.QueryRow(ctx, `SELECT n FROM parents WHERE id = 'x'`).Scan(new(int64))
			}, db.ErrNoRows},
			{"own error undoes", func(tx *db.Tx) error {
				if err := insert(ctx, tx, "b", 1); err != nil {
					return err
				}
				return own
			}, own},
			{"a failed statement cannot be passed over", func(tx *db.Tx) error {
				insert(ctx, tx, "a", 1)
				if err := insert(ctx, tx, "c", 1); !errors.Is(err, db.ErrUnique) {
					t.Errorf("statement after a failed one = %v, want its ErrUnique", err)
				}
				return nil
			}, db.ErrUnique},
		}
		for _, tt := range tests {
			if err := write(tt.fn); !errors.Is(err, tt.want) {
				t.Errorf("%s: Write = %v, want %v", tt.name, err, tt.want)
			}
		}
		misuse := map[string]func(tx *db.Tx) error{
			"rows left open": func(tx *db.Tx) error { _, err := tx.Query(ctx, `SELECT id FROM parents`); return err },
			"statement while rows are open": func(tx *db.Tx) error {
				rows, err := tx.Query(ctx, `SELECT id FROM parents`)
				if err != nil {
					return err
				}
				defer rows.Close()
				insert(ctx, tx, "z", 1)
				return nil
			},
			"time as an argument": func(tx *db.Tx) error { tx.Exec(ctx, `UPDATE parents SET n = $1`, time.Now()); return nil },
			"bad SQL":             func(tx *db.Tx) error { _, err := tx.Exec(ctx, `SELEKT 1`); return err },
			"missing parent": func(tx *db.Tx) error {
				_, err := tx.Exec(ctx, `INSERT INTO children (id, parent) VALUES ('k', 'nobody')`)
				return err
			},
		}
		for name, fn := range misuse {
			if err := write(fn); err == nil {
				t.Errorf("%s: Write = nil, want an error", name)
			}
		}
		if err := d.Read(ctx, func(tx *db.Tx) error { return insert(ctx, tx, "r", 1) }); err == nil {
			t.Error("Read let a row be written")
		}
		if n := count(t, d); n != 1 {
			t.Errorf("%d rows, want the first one only", n)
		}
	})
}

// Many writers at once: what was promised is there, and who failed hurt nobody.
func TestGroupCommit(t *testing.T) {
	dbtest.Run(t, tables, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		refused := errors.New("refused")
		var wg sync.WaitGroup
		for i := range 400 {
			wg.Go(func() {
				err := d.Write(ctx, func(tx *db.Tx) error {
					if err := insert(ctx, tx, fmt.Sprint(i), int64(i)); err != nil {
						return err
					}
					switch i % 4 {
					case 1:
						return refused
					case 2:
						return insert(ctx, tx, fmt.Sprint(i), 0)
					}
					return nil
				})
				want := [...]error{nil, refused, db.ErrUnique, nil}[i%4]
				if !errors.Is(err, want) {
					t.Errorf("writer %d = %v, want %v", i, err, want)
				}
			})
		}
		wg.Wait()
		if n := count(t, d); n != 200 {
			t.Errorf("%d rows, want 200", n)
		}
	})
}

// block keeps the leader busy until release is called, so that others gather
// behind it.
func block(t *testing.T, d *db.DB) (release func()) {
	t.Helper()
	entered, gate, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- d.Write(context.Background(), func(*db.Tx) error {
			close(entered)
			<-gate
			return nil
		})
	}()
	<-entered
	return func() {
		close(gate)
		if err := <-done; err != nil {
			t.Errorf("the blocking writer = %v", err)
		}
	}
}

// together starts writers while the leader is held, lets all of them queue up,
// and gives their results.
func together(t *testing.T, d *db.DB, writers ...func() error) []error {
	t.Helper()
	release := block(t, d)
	errs := make([]error, len(writers))
	var wg sync.WaitGroup
	for i, w := range writers {
		wg.Go(func() { errs[i] = w() })
	}
	for d.Waiting() < len(writers) {
		runtime.Gosched()
	}
	release()
	wg.Wait()
	return errs
}

func TestPanicStaysWithItsCaller(t *testing.T) {
	dbtest.Run(t, tables, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		good := func(id string) func() error {
			return func() error {
				return d.Write(ctx, func(tx *db.Tx) error { return insert(ctx, tx, id, 1) })
			}
		}
		panics := func() (err error) {
			defer func() { err = fmt.Errorf("%v", recover()) }()
			return d.Write(ctx, func(tx *db.Tx) error {
				if err := insert(ctx, tx, "p", 1); err != nil {
					return err
				}
				panic("oh dear")
			})
		}
		errs := together(t, d, good("a"), panics, good("b"))
		if errs[0] != nil || errs[2] != nil || !strings.Contains(fmt.Sprint(errs[1]), "oh dear") {
			t.Errorf("results = %v", errs)
		}
		if n := count(t, d); n != 2 {
			t.Errorf("%d rows, want the 2 of the others", n)
		}
	})
}

// A function that ends its goroutine must neither hang the others nor lose
// their rows unseen.
func TestGoexitDoesNotHang(t *testing.T) {
	dbtest.Run(t, tables, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		exits := func() error {
			done := make(chan struct{})
			go func() {
				defer close(done)
				d.Write(ctx, func(*db.Tx) error { runtime.Goexit(); return nil })
			}()
			<-done
			return nil
		}
		exits()
		if err := d.Write(ctx, func(tx *db.Tx) error { return insert(ctx, tx, "a", 1) }); err != nil {
			t.Errorf("Write after Goexit = %v", err)
		}
	})
}

func TestWriteContext(t *testing.T) {
	dbtest.Run(t, tables, func(t *testing.T, d *db.DB) {
		release := block(t, d)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			err := d.Write(ctx, func(*db.Tx) error { t.Error("the function ran although its caller had gone"); return nil })
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Write = %v, want context.Canceled", err)
			}
		})
		for d.Waiting() < 1 {
			runtime.Gosched()
		}
		cancel()
		wg.Wait() // although the leader is still held
		release()
		// Within the function: the next statement notices, nothing stays.
		ctx, cancel = context.WithCancel(t.Context())
		err := d.Write(ctx, func(tx *db.Tx) error {
			if err := insert(ctx, tx, "a", 1); err != nil {
				return err
			}
			cancel()
			return insert(ctx, tx, "b", 1)
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Write = %v, want context.Canceled", err)
		}
		if n := count(t, d); n != 0 {
			t.Errorf("%d rows, want none", n)
		}
	})
}

func TestReadSeesOneSnapshot(t *testing.T) {
	dbtest.Run(t, tables, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		err := d.Read(ctx, func(tx *db.Tx) error {
			var before, after int
			if err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM parents`).Scan(&before); err != nil {
				return err
			}
			// A reader does not hold up a writer either.
			if err := d.Write(ctx, func(tx *db.Tx) error { return insert(ctx, tx, "a", 1) }); err != nil {
				return err
			}
			if err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM parents`).Scan(&after); err != nil {
				return err
			}
			if before != 0 || after != 0 {
				t.Errorf("one transaction saw %d rows, then %d", before, after)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := count(t, d); n != 1 {
			t.Errorf("afterwards %d rows, want 1", n)
		}
	})
}

// A reader whose context ends stops in the middle of its statement, and its
// place is good for the next.
func TestReadContext(t *testing.T) {
	dbtest.Run(t, tables, func(t *testing.T, d *db.DB) {
		for range 10 { // more than there are places
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			err := d.Read(ctx, func(tx *db.Tx) error {
				var n int64
				return tx.QueryRow(ctx, `WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r WHERE x < 2000000000)
					SELECT COUNT(*) FROM r`).Scan(&n)
			})
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("Read = %v, want context.DeadlineExceeded", err)
			}
		}
		count(t, d)
	})
}

func TestClosed(t *testing.T) {
	dbtest.Each(t, tables, func(t *testing.T, cfg db.Config) {
		d, err := db.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		count(t, d)
		if err := d.Close(); err != nil {
			t.Fatalf("Close = %v", err)
		}
		if err := d.Write(t.Context(), func(*db.Tx) error { return nil }); !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("Write = %v, want ErrUnavailable", err)
		}
		if err := d.Read(t.Context(), func(*db.Tx) error { return nil }); !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("Read = %v, want ErrUnavailable", err)
		}
	})
}

// What Write returned for is on the disk, also when the power is cut: an ack to a
// device says so.
func TestCommitsAreSynced(t *testing.T) {
	d, err := db.Open(t.Context(), db.Config{Path: filepath.Join(t.TempDir(), "test.db"), Migrations: tables})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for pragma, want := range map[string]string{"synchronous": "2", "journal_mode": "wal", "foreign_keys": "1"} { // 2 = FULL
		var got string
		err := d.Write(t.Context(), func(tx *db.Tx) error {
			return tx.QueryRow(t.Context(), "PRAGMA "+pragma).Scan(&got)
		})
		if err != nil || got != want {
			t.Errorf("%s of the writing connection = %q, %v, want %q", pragma, got, err, want)
		}
	}
}

func TestStoreIDStays(t *testing.T) {
	dbtest.Each(t, tables, func(t *testing.T, cfg db.Config) {
		var ids [][]byte
		for range 2 {
			d, err := db.Open(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, d.StoreID())
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if len(ids[0]) != 16 || !cmp.Equal(ids[0], ids[1]) {
			t.Errorf("store ids %x and %x, want one of 16 bytes", ids[0], ids[1])
		}
	})
}

// A look beside a working collector changes nothing and may not write.
func TestOpenReadOnly(t *testing.T) {
	dbtest.Each(t, tables, func(t *testing.T, cfg db.Config) {
		if _, err := db.OpenReadOnly(t.Context(), cfg); err == nil {
			t.Error("OpenReadOnly of nothing = nil")
		}
		d, err := db.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if err := d.Write(t.Context(), func(tx *db.Tx) error { return insert(t.Context(), tx, "a", 1) }); err != nil {
			t.Fatal(err)
		}
		look, err := db.OpenReadOnly(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if n := count(t, look); n != 1 || look.Version() != d.Version() || !cmp.Equal(look.StoreID(), d.StoreID()) {
			t.Errorf("look sees %d rows, version %d, store %x", n, look.Version(), look.StoreID())
		}
		if err := look.Check(t.Context()); err != nil {
			t.Error(err)
		}
		if err := look.Write(t.Context(), func(tx *db.Tx) error { return nil }); !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("Write = %v, want ErrUnavailable", err)
		}
		if err := look.Close(); err != nil {
			t.Error(err)
		}
		if err := d.Write(t.Context(), func(tx *db.Tx) error { return insert(t.Context(), tx, "b", 1) }); err != nil {
			t.Errorf("Write after the look = %v", err)
		}
	})
}
