package db_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/testenv/need"
)

// fill writes rows of 8 KiB until it fails, and gives how many were promised.
func fill(t *testing.T, d *db.DB, name string) (promised int, err error) {
	t.Helper()
	blob := bytes.Repeat([]byte{0xa5}, 8<<10)
	for i := range 10_000 {
		err := d.Write(t.Context(), func(tx *db.Tx) error {
			_, err := tx.Exec(t.Context(), `INSERT INTO parents (id, n, b) VALUES ($1, 1, $2)`, fmt.Sprint(name, i), blob)
			return err
		})
		if err != nil {
			return i, err
		}
	}
	t.Fatal("never became full")
	return 0, nil
}

func TestFullDatabase(t *testing.T) {
	d := dbtest.Open(t, tables)
	if err := d.LimitPages(t.Context(), 64); err != nil {
		t.Fatal(err)
	}
	promised, err := fill(t, d, "a")
	if !errors.Is(err, db.ErrFull) {
		t.Fatalf("Write when full = %v, want ErrFull", err)
	}
	if n := count(t, d); n != promised {
		t.Errorf("%d rows, want the %d promised", n, promised)
	}
	// A group in which one is too large: the others are not undone with it.
	small := func(id string) func() error {
		return func() error {
			return d.Write(t.Context(), func(tx *db.Tx) error { return insert(t.Context(), tx, id, 1) })
		}
	}
	large := func() error {
		return d.Write(t.Context(), func(tx *db.Tx) error {
			_, err := tx.Exec(t.Context(), `INSERT INTO parents (id, n, b) VALUES ('large', 1, $1)`, make([]byte, 4<<20))
			return err
		})
	}
	errs := together(t, d, small("x"), large, small("y"))
	if errs[0] != nil || !errors.Is(errs[1], db.ErrFull) || errs[2] != nil {
		t.Errorf("group with one too large = %v, want nil, ErrFull, nil", errs)
	}
	if err := d.LimitPages(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if err := large(); err != nil {
		t.Errorf("Write with space again = %v", err)
	}
	if err := d.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// The same on a real file system of 3 MB, with many writers.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", dir).CombinedOutput(); err != nil {
		need.Skip(t, "the right to mount a small file system: %v: %s", err, out)
	}
	defer exec.Command("umount", "-l", dir).Run()
	cfg := db.Config{Path: filepath.Join(dir, "full.db"), Migrations: tables, Log: slog.New(slog.DiscardHandler)}
	d, err := db.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	promised := 0
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			n, err := fill(t, d, fmt.Sprint("w", w, "-"))
			mu.Lock()
			defer mu.Unlock()
			promised += n
			if !errors.Is(err, db.ErrFull) {
				t.Errorf("writer %d = %v, want ErrFull", w, err)
			}
		})
	}
	wg.Wait()
	if n := count(t, d); n != promised {
		t.Errorf("%d rows, want the %d promised", n, promised)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := d.Write(t.Context(), func(tx *db.Tx) error { return insert(t.Context(), tx, "again", 1) }); err != nil {
		t.Errorf("Write with space again = %v", err)
	}
	if err := d.Check(t.Context()); err != nil {
		t.Error(err)
	}
	// Opening on a full disk needs no space either.
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d2, err := db.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("reopening = %v", err)
	}
	defer d2.Close()
	if n := count(t, d2); n != promised+1 {
		t.Errorf("after reopening %d rows, want %d", n, promised+1)
	}
}

func TestOpenRefuses(t *testing.T) {
	newer := append([]db.Migrations{{Name: "later", FS: fstest.MapFS{
		"migrations/20990101000000_later_what.sql": {Data: []byte("-- +goose Up\nCREATE TABLE later (id TEXT PRIMARY KEY);\n")},
	}}}, tables...)
	dbtest.Each(t, newer, func(t *testing.T, cfg db.Config) {
		d, err := db.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if d.Version() != 20990101000000 {
			t.Errorf("Version = %d", d.Version())
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		cfg.Migrations = tables
		_, err = db.Open(t.Context(), cfg)
		if !errors.Is(err, db.ErrNewer) || !strings.Contains(err.Error(), "20990101000000") {
			t.Errorf("Open by an older program = %v, want ErrNewer with the version", err)
		}
	})
	refused := func(name string, want error, text string, path func(dir string) string) {
		t.Run(name, func(t *testing.T) {
			d, err := db.Open(t.Context(), db.Config{Path: path(t.TempDir()), Migrations: tables, Log: slog.New(slog.DiscardHandler)})
			if err == nil {
				d.Close()
			}
			if !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
				t.Errorf("Open = %v, want %v with %q", err, want, text)
			}
		})
	}
	refused("no folder", db.ErrUnavailable, "does not exist", func(dir string) string { return filepath.Join(dir, "missing", "x.db") })
	refused("folder as file", db.ErrUnavailable, "is a directory", func(dir string) string { return dir })
	refused("foreign file", db.ErrDamaged, "not a database", func(dir string) string {
		path := filepath.Join(dir, "x.db")
		if err := os.WriteFile(path, bytes.Repeat([]byte("letter to the mayor "), 1000), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	})
}

func TestNotWritable(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.db")
	d, err := db.Open(t.Context(), db.Config{Path: path, Migrations: tables, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	// The permission bits of the file do not bind root; a read-only mount does.
	if os.Geteuid() == 0 {
		if out, err := exec.Command("mount", "--bind", "-o", "ro", dir, dir).CombinedOutput(); err != nil {
			need.Skip(t, "the right to mount: %v: %s", err, out)
		}
		defer exec.Command("umount", "-l", dir).Run()
	} else if err := errors.Join(os.Chmod(path, 0o400), os.Chmod(dir, 0o500)); err != nil {
		t.Fatal(err)
	}
	_, err = db.Open(t.Context(), db.Config{Path: path, Migrations: tables, Log: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, db.ErrUnavailable) || !strings.Contains(err.Error(), path) {
		t.Errorf("Open = %v, want ErrUnavailable that names the file", err)
	}
}

// Another program that holds the write lock: an error that says so, and work
// as before as soon as it lets go.
func TestLocked(t *testing.T) {
	t.Parallel()
	cfg := dbtest.SQLite(t, tables)
	d, err := db.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	other, err := db.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	release := block(t, other)
	err = d.Write(t.Context(), func(tx *db.Tx) error { return insert(t.Context(), tx, "a", 1) })
	if !errors.Is(err, db.ErrUnavailable) || !strings.Contains(err.Error(), "locked by another program") {
		t.Errorf("Write = %v, want ErrUnavailable that tells of the lock", err)
	}
	release()
	if err := d.Write(t.Context(), func(tx *db.Tx) error { return insert(t.Context(), tx, "a", 1) }); err != nil {
		t.Errorf("Write after the lock = %v", err)
	}
}

func TestSecondCollectorOnPostgres(t *testing.T) {
	t.Parallel()
	cfg := dbtest.Postgres(t, tables)
	d, err := db.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	_, err = db.Open(t.Context(), cfg)
	if !errors.Is(err, db.ErrUnavailable) || !strings.Contains(err.Error(), "another collector") {
		t.Errorf("second Open = %v, want ErrUnavailable that tells of the other collector", err)
	}
}

// PostgreSQL ends our connections, as at a restart: at most the statement under
// way fails, and the next works.
func TestPostgresConnectionLost(t *testing.T) {
	cfg := dbtest.Postgres(t, tables)
	d, err := db.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ctx := t.Context()
	kill := `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`
	err = d.Write(ctx, func(tx *db.Tx) error {
		if err := insert(ctx, tx, "lost", 1); err != nil {
			return err
		}
		if err := db.AdminExec(ctx, cfg.URL, kill); err != nil {
			return err
		}
		return insert(ctx, tx, "lost too", 1)
	})
	if !errors.Is(err, db.ErrUnavailable) {
		t.Errorf("Write on a lost connection = %v, want ErrUnavailable", err)
	}
	if n := count(t, d); n != 0 {
		t.Errorf("%d rows, want none", n)
	}
	if err := d.Write(ctx, func(tx *db.Tx) error { return insert(ctx, tx, "a", 1) }); err != nil {
		t.Errorf("Write afterwards = %v", err)
	}
	// Connections that died while they lay idle are not noticed at all.
	if err := db.AdminExec(ctx, cfg.URL, kill); err != nil {
		t.Fatal(err)
	}
	if err := d.Write(ctx, func(tx *db.Tx) error { return insert(ctx, tx, "b", 1) }); err != nil {
		t.Errorf("Write after idle connections died = %v", err)
	}
	if n := count(t, d); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
}

func TestPostgresRefuses(t *testing.T) {
	cfg := dbtest.Postgres(t, tables)
	tests := []struct{ name, url, text string }{
		{"nobody there", "host=/nonexistent dbname=x", "/nonexistent"},
		{"no such database", strings.Replace(cfg.URL, "dbname=", "dbname=no", 1), "does not exist"},
		{"nonsense", "postgres://user:geheim@[", "database URL"},
	}
	for _, tt := range tests {
		_, err := db.Open(context.Background(), db.Config{URL: tt.url, Migrations: tables, Log: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: Open = %v, want an error with %q and no password", tt.name, err, tt.text)
		}
	}
}

// A database that sorts by language would lose rows between pages.
func TestSortsByBytes(t *testing.T) {
	for collation, want := range map[string]bool{"C": true, "POSIX": true, "C.UTF-8": true, "C.utf8": true,
		"de_DE.UTF-8": false, "en_US.utf8": false, "": false} {
		if got := db.SortsByBytes(collation); got != want {
			t.Errorf("SortsByBytes(%q) = %v, want %v", collation, got, want)
		}
	}
}

func TestMigrationsAreChecked(t *testing.T) {
	file := func(name, sql string) fstest.MapFS {
		return fstest.MapFS{"migrations/" + name: {Data: []byte("-- +goose Up\n" + sql + "\n")}}
	}
	tests := []struct {
		name       string
		migrations []db.Migrations
		text       string
	}{
		{"none", []db.Migrations{{Name: "a", FS: fstest.MapFS{}}}, "no file"},
		{"name of another subject", []db.Migrations{{Name: "a", FS: file("20270101000000_b_x.sql", "SELECT 1;")}}, "want a name like"},
		{"no time", []db.Migrations{{Name: "a", FS: file("1_a_x.sql", "SELECT 1;")}}, "want a name like"},
		{"one time twice", []db.Migrations{{Name: "a", FS: file("20270101000000_a_x.sql", "SELECT 1;")}, {Name: "b", FS: file("20270101000000_b_x.sql", "SELECT 1;")}}, "the same time"},
		{"backwards", []db.Migrations{{Name: "a", FS: file("20270101000000_a_x.sql", "SELECT 1;\n-- +goose Down\nSELECT 1;")}}, "goes down"},
		{"broken SQL", []db.Migrations{{Name: "a", FS: file("20270101000000_a_x.sql", "CREATE TABEL x;")}}, "20270101000000_a_x.sql"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := db.Open(t.Context(), db.Config{Path: filepath.Join(t.TempDir(), "x.db"), Migrations: tt.migrations, Log: slog.New(slog.DiscardHandler)})
			if err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("Open = %v, want an error with %q", err, tt.text)
			}
		})
	}
}

// A migration that fails half-way leaves nothing of itself, and the next try
// goes on from there.
func TestFailedMigrationIsUndone(t *testing.T) {
	two := func(second string) []db.Migrations {
		return []db.Migrations{{Name: "a", FS: fstest.MapFS{
			"migrations/20270101000000_a_one.sql": {Data: []byte("-- +goose Up\nCREATE TABLE one (id TEXT PRIMARY KEY);\n")},
			"migrations/20270102000000_a_two.sql": {Data: []byte("-- +goose Up\nCREATE TABLE two (id TEXT PRIMARY KEY);\n" + second + "\n")},
		}}}
	}
	dbtest.Each(t, nil, func(t *testing.T, cfg db.Config) {
		cfg.Migrations = two("CREATE TABEL x;")
		if _, err := db.Open(t.Context(), cfg); err == nil {
			t.Fatal("Open with a broken migration = nil")
		}
		cfg.Migrations = two("CREATE TABLE three (id TEXT PRIMARY KEY);")
		d, err := db.Open(t.Context(), cfg)
		if err != nil {
			t.Fatalf("Open with the mended migration = %v", err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
