// Package dbtest runs a suite on both databases: SQLite in a temporary folder
// and PostgreSQL in a cluster of the test program's own, started at first use
// and gone with the program, also when that is killed.
//
// A machine without PostgreSQL fails the tests and says what to install. Only
// HAUSMEISTER_NO_POSTGRES=1 leaves them out, loudly.
package dbtest

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"

	"hausmeister/collector/db"
)

// Run runs suite once per database, each time on a fresh one with these
// migrations.
func Run(t *testing.T, migrations []db.Migrations, suite func(t *testing.T, d *db.DB)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { suite(t, fresh(t, migrations)) })
	t.Run("postgres", func(t *testing.T) { suite(t, freshPostgres(t, migrations)) })
}

// Each runs suite once per database with the Config of a fresh one, for tests
// that open it themselves, perhaps more than once.
func Each(t *testing.T, migrations []db.Migrations, suite func(t *testing.T, cfg db.Config)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { suite(t, SQLite(t, migrations)) })
	t.Run("postgres", func(t *testing.T) { suite(t, Postgres(t, migrations)) })
}

// Open gives a fresh SQLite database, for tests of what does not depend on the
// kind of database.
func Open(t testing.TB, migrations []db.Migrations) *db.DB {
	t.Helper()
	return fresh(t, migrations)
}

// SQLite gives the Config of a fresh SQLite database.
func SQLite(t testing.TB, migrations []db.Migrations) db.Config {
	t.Helper()
	return db.Config{Path: filepath.Join(t.TempDir(), "hausmeister.db"), Migrations: migrations, Log: slog.New(slog.DiscardHandler)}
}

// Postgres gives the Config of a fresh database in the test's own cluster.
func Postgres(t testing.TB, migrations []db.Migrations) db.Config {
	t.Helper()
	return db.Config{URL: startedCluster(t).create(t), Migrations: migrations, Log: slog.New(slog.DiscardHandler)}
}

func open(t testing.TB, cfg db.Config) *db.DB {
	t.Helper()
	d, err := db.Open(context.Background(), cfg)
	if err != nil {
		t.Fatalf("opening the test's database: %v", err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("closing the test's database: %v", err)
		}
	})
	return d
}

// Second opens a database that another DB has open already, as a second collector
// would. PostgreSQL lets only one of them write: there the other loses the
// connection that it writes through, as when the network was cut, and has it back
// when the second is closed.
func Second(t testing.TB, cfg db.Config) *db.DB {
	t.Helper()
	if cfg.URL != "" {
		err := db.AdminExec(t.Context(), cfg.URL, "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE l.locktype = 'advisory' AND d.datname = current_database()")
		if err != nil {
			t.Fatalf("cutting off the first collector: %v", err)
		}
	}
	return open(t, cfg)
}
