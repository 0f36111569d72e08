package dbtest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"hausmeister/collector/db"
)

// Migrating takes 0.4 s of a core under the race detector, and a package has
// dozens of tests: what they begin with is made once, and copied.

// Once gives a function that opens a fresh SQLite database with these migrations
// and what fill put into it. fill runs once, at the first call; the databases
// differ in their ids only.
func Once(migrations []db.Migrations, fill func(ctx context.Context, d *db.DB) error) func(t testing.TB) *db.DB {
	made := sync.OnceValues(func() ([]byte, error) { return template(migrations, fill) })
	return func(t testing.TB) *db.DB {
		t.Helper()
		file, err := made()
		if err != nil {
			t.Fatalf("making the file that tests begin with: %v", err)
		}
		cfg := SQLite(t, migrations)
		if err := os.WriteFile(cfg.Path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		return open(t, cfg)
	}
}

// template is the file of a database without an id.
func template(migrations []db.Migrations, fill func(ctx context.Context, d *db.DB) error) (file []byte, err error) {
	dir, err := os.MkdirTemp("", "hm-template-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "template.db")
	if err := filled(db.Config{Path: path, Migrations: migrations, Log: slog.New(slog.DiscardHandler)}, fill); err != nil {
		return nil, err
	}
	if left, err := os.Stat(path + "-wal"); err == nil && left.Size() > 0 {
		return nil, errors.New("the closed database is not whole in its file")
	}
	return os.ReadFile(path)
}

// filled makes a database, puts something into it, and closes it. The next one to
// open it, or a copy of it, gives it an id.
func filled(cfg db.Config, fill func(ctx context.Context, d *db.DB) error) error {
	ctx := context.Background()
	d, err := db.Open(ctx, cfg)
	if err != nil {
		return err
	}
	if fill != nil {
		err = fill(ctx, d)
	}
	if err == nil {
		err = d.Write(ctx, func(tx *db.Tx) error {
			_, err := tx.Exec(ctx, `DELETE FROM store WHERE name = 'id'`)
			return err
		})
	}
	return errors.Join(err, d.Close())
}

// migrated are this test program's templates that hold nothing yet.
var migrated = struct {
	sync.Mutex
	files map[[sha256.Size]byte]func(t testing.TB) *db.DB
	names map[[sha256.Size]byte]string // of PostgreSQL's databases
}{files: map[[sha256.Size]byte]func(t testing.TB) *db.DB{}, names: map[[sha256.Size]byte]string{}}

// fresh opens a database that has these migrations and no row of anybody's.
func fresh(t testing.TB, migrations []db.Migrations) *db.DB {
	t.Helper()
	key := keyOf(t, migrations)
	migrated.Lock()
	opened := migrated.files[key]
	if opened == nil {
		opened = Once(migrations, nil)
		migrated.files[key] = opened
	}
	migrated.Unlock()
	return opened(t)
}

// freshPostgres is fresh in the test's own cluster.
func freshPostgres(t testing.TB, migrations []db.Migrations) *db.DB {
	t.Helper()
	c := startedCluster(t)
	url := c.copyOf(t, templatePostgres(t, c, migrations))
	return open(t, db.Config{URL: url, Migrations: migrations, Log: slog.New(slog.DiscardHandler)})
}

// templatePostgres gives the name of a database that nobody has open.
func templatePostgres(t testing.TB, c *cluster, migrations []db.Migrations) string {
	t.Helper()
	key := keyOf(t, migrations)
	migrated.Lock()
	defer migrated.Unlock()
	if name, ok := migrated.names[key]; ok {
		return name
	}
	name := fmt.Sprintf("migrated%d", 1+len(migrated.names))
	c.createFrom(t, name, "template0")
	if err := filled(db.Config{URL: c.dsn(name), Migrations: migrations, Log: slog.New(slog.DiscardHandler)}, nil); err != nil {
		t.Fatalf("making the database that tests begin with: %v", err)
	}
	migrated.names[key] = name
	return name
}

// keyOf tells sets of migrations apart by what they do.
func keyOf(t testing.TB, migrations []db.Migrations) (key [sha256.Size]byte) {
	t.Helper()
	h := sha256.New()
	for _, m := range migrations {
		names, err := fs.Glob(m.FS, "migrations/*.sql")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			data, err := fs.ReadFile(m.FS, name)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(h, "%s %s %d\n%s", m.Name, name, len(data), data)
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}
