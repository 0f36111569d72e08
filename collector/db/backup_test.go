package db_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
)

func family(t *testing.T, d *db.DB, id string) {
	t.Helper()
	err := d.Write(t.Context(), func(tx *db.Tx) error {
		if err := insert(t.Context(), tx, id, 7); err != nil {
			return err
		}
		_, err := tx.Exec(t.Context(), `INSERT INTO children (id, parent) VALUES ($1, $1)`, id)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func nothing(*db.DB) error { return nil }

func mustOpen(t *testing.T, cfg db.Config) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// From each kind of database into each: SQLite to SQLite, SQLite to
// PostgreSQL, and so on.
func TestBackupAndRestore(t *testing.T) {
	dbtest.Each(t, tables, func(t *testing.T, source db.Config) {
		ctx := t.Context()
		from := mustOpen(t, source)
		family(t, from, "a")
		file := filepath.Join(t.TempDir(), "backup.db")
		if err := from.Backup(ctx, file); err != nil {
			t.Fatalf("Backup = %v", err)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("backup file = %v, %v, want it readable for its owner only", info.Mode(), err)
		}
		if err := from.Backup(ctx, file); !errors.Is(err, fs.ErrExist) {
			t.Errorf("Backup over an existing file = %v, want fs.ErrExist", err)
		}
		id := from.StoreID()
		from.Close()
		dbtest.Each(t, tables, func(t *testing.T, target db.Config) {
			to := mustOpen(t, target)
			for i := range 5 {
				family(t, to, fmt.Sprint("to be replaced", i))
			}
			to.Close()
			checked := false
			err := db.Restore(ctx, target, file, func(d *db.DB) error { checked = count(t, d) == 1; return nil })
			if err != nil || !checked {
				t.Fatalf("Restore = %v, own check saw the backup: %v", err, checked)
			}
			to = mustOpen(t, target)
			if n := count(t, to); n != 1 {
				t.Errorf("%d rows, want the 1 of the backup", n)
			}
			if bytes.Equal(to.StoreID(), id) {
				t.Error("the store id is still that of the backup")
			}
			family(t, to, "after")
			if err := to.Check(ctx); err != nil {
				t.Error(err)
			}
		})
	})
}

// A backup under load is one moment: no child without its parent, and every
// row that was promised before it began.
func TestBackupWhileWriting(t *testing.T) {
	dbtest.Run(t, tables, func(t *testing.T, d *db.DB) {
		var promised atomic.Int64
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
						family(t, d, fmt.Sprint(w, "-", i))
						promised.Add(1)
					}
				}
			})
		}
		for promised.Load() < 50 {
			runtime.Gosched()
		}
		before := promised.Load()
		file := filepath.Join(t.TempDir(), "backup.db")
		err := d.Backup(t.Context(), file)
		close(stop)
		wg.Wait()
		if err != nil {
			t.Fatal(err)
		}
		err = d.CheckBackup(t.Context(), file, func(b *db.DB) error {
			if n := count(t, b); int64(n) < before {
				t.Errorf("backup has %d rows, want at least the %d promised before", n, before)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestRestoreRefuses(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good.db")
	source := mustOpen(t, dbtest.SQLite(t, tables))
	for i := range 400 {
		family(t, source, fmt.Sprint("row with some length to fill the page ", i))
	}
	if err := source.Backup(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	newer := append([]db.Migrations{{Name: "later", FS: fstest.MapFS{
		"migrations/20990101000000_later_what.sql": {Data: []byte("-- +goose Up\nCREATE TABLE later (id TEXT PRIMARY KEY);\n")},
	}}}, tables...)
	fromNewer := filepath.Join(dir, "newer.db")
	if err := mustOpen(t, dbtest.SQLite(t, newer)).Backup(t.Context(), fromNewer); err != nil {
		t.Fatal(err)
	}
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	broken := bytes.Clone(content)
	for i := len(broken) / 2; i < len(broken)/2+20000; i++ {
		broken[i] ^= 0x5a
	}
	refusal := errors.New("the caller's own check")
	tests := []struct {
		name  string
		file  string
		check func(*db.DB) error
		want  error
	}{
		{"missing", filepath.Join(dir, "missing"), nothing, fs.ErrNotExist},
		{"empty", write("empty", nil), nothing, db.ErrDamaged},
		{"truncated", write("truncated", content[:len(content)/2]), nothing, db.ErrDamaged},
		{"broken in the middle", write("broken", broken), nothing, db.ErrDamaged},
		{"something else", write("else", []byte("a letter to the mayor, much longer than the header of a database")), nothing, db.ErrDamaged},
		{"newer", fromNewer, nothing, db.ErrNewer},
		{"refused by the caller", good, func(*db.DB) error { return refusal }, refusal},
	}
	dbtest.Each(t, tables, func(t *testing.T, cfg db.Config) {
		d := mustOpen(t, cfg)
		family(t, d, "mine")
		id := d.StoreID()
		d.Close()
		for _, tt := range tests {
			if err := db.Restore(t.Context(), cfg, tt.file, tt.check); !errors.Is(err, tt.want) {
				t.Errorf("%s: Restore = %v, want %v", tt.name, err, tt.want)
			}
		}
		d = mustOpen(t, cfg)
		if n := count(t, d); n != 1 || !bytes.Equal(d.StoreID(), id) {
			t.Errorf("after refused restores %d rows and store %x, want 1 and %x", n, d.StoreID(), id)
		}
	})
}

// Restoring over a damaged database is what a restore is for.
func TestRestoreOverDamage(t *testing.T) {
	cfg := dbtest.SQLite(t, tables)
	d := mustOpen(t, cfg)
	family(t, d, "a")
	file := filepath.Join(t.TempDir(), "backup.db")
	if err := d.Backup(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	d.Close()
	if err := os.WriteFile(cfg.Path, bytes.Repeat([]byte("gone"), 9000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Open(t.Context(), cfg); !errors.Is(err, db.ErrDamaged) {
		t.Fatalf("Open of a damaged file = %v, want ErrDamaged", err)
	}
	if err := db.Restore(t.Context(), cfg, file, nothing); err != nil {
		t.Fatal(err)
	}
	if n := count(t, mustOpen(t, cfg)); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
	if _, err := os.Stat(cfg.Path + ".before-restore"); err != nil {
		t.Errorf("the old file was not kept: %v", err)
	}
}
