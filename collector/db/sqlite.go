package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

type sqliteEngine struct {
	path string
}

func openSQLite(path string) (*sqliteEngine, error) {
	if path == "" {
		return nil, errors.New("no database configured: neither a file nor a URL")
	}
	// SQLite's own words for a folder it may not write are "unable to open
	// database file (14)"; the operating system says which file and why.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: folder %s does not exist", ErrUnavailable, filepath.Dir(path))
		}
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return &sqliteEngine{path: path}, nil
}

func (e *sqliteEngine) dialect() Dialect { return SQLite }
func (e *sqliteEngine) name() string     { return e.path }
func (e *sqliteEngine) prepares() bool   { return true }

func (e *sqliteEngine) beginRead() string  { return "BEGIN" }
func (e *sqliteEngine) beginWrite() string { return "BEGIN IMMEDIATE" }

// A context that can end costs a goroutine per statement in the driver, and
// SQLite's file is local: nothing to wait for.
func (e *sqliteEngine) writeContext() (context.Context, context.CancelFunc) {
	return context.Background(), func() {}
}

// dsn: pages of 16 KiB because packed health blocks of 2-3 KB waste half of a
// 4 KiB page (measured: x1.10 instead of x1.74). The page size only takes hold
// before the first write, hence first.
func (e *sqliteEngine) dsn(pragmas ...string) string {
	q := url.Values{"_pragma": append([]string{
		"busy_timeout(5000)", "page_size(16384)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
	}, pragmas...)}
	return (&url.URL{Scheme: "file", Opaque: url.PathEscape(filepath.ToSlash(e.path)), RawQuery: q.Encode()}).String()
}

func (e *sqliteEngine) writers() *sql.DB {
	// 16 MiB of cache keep the indices' hot pages; a WAL that a long reader
	// let grow is cut back to 64 MiB.
	w := openSQL(e.dsn("cache_size(-16384)", "journal_size_limit(67108864)"))
	w.SetMaxOpenConns(1)
	return w
}

func (e *sqliteEngine) readers() *sql.DB {
	r := openSQL(e.dsn("query_only(1)", "cache_size(-32768)"))
	r.SetMaxOpenConns(maxReaders)
	return r
}

func openSQL(dsn string) *sql.DB {
	d, err := sql.Open("sqlite", dsn)
	if err != nil {
		panic(err) // only an unknown driver name fails here
	}
	return d
}

func (e *sqliteEngine) check(ctx context.Context, writers *sql.DB) error {
	c, err := writers.Conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	// Takes the write lock, so another program that holds it is found now.
	if _, err := c.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	_, err = c.ExecContext(ctx, "ROLLBACK")
	return err
}

func (e *sqliteEngine) integrity(ctx context.Context, tx *Tx) error {
	var report string
	if err := tx.QueryRow(ctx, "PRAGMA integrity_check(1)").Scan(&report); err != nil {
		return err
	}
	if report != "ok" {
		return fmt.Errorf("%w: %s", ErrDamaged, report)
	}
	rows, err := tx.Query(ctx, "PRAGMA foreign_key_check")
	if err != nil {
		return err
	}
	broken := rows.Next()
	if err := rows.Close(); err != nil {
		return err
	}
	if broken {
		return fmt.Errorf("%w: a row refers to one that is not there", ErrDamaged)
	}
	return nil
}

func (e *sqliteEngine) classify(err error) error {
	var se *sqlite.Error
	if !errors.As(err, &se) || classified(err) {
		return err
	}
	switch se.Code() {
	case lib.SQLITE_CONSTRAINT_UNIQUE, lib.SQLITE_CONSTRAINT_PRIMARYKEY, lib.SQLITE_CONSTRAINT_ROWID:
		return fmt.Errorf("%w: %w", ErrUnique, err)
	case lib.SQLITE_IOERR_SHMSIZE: // the only growth that does not say FULL
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	switch se.Code() & 0xff {
	case lib.SQLITE_FULL:
		return fmt.Errorf("%w: %w", ErrFull, err)
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED:
		return fmt.Errorf("%w: locked by another program: %w", ErrUnavailable, err)
	case lib.SQLITE_READONLY, lib.SQLITE_PERM, lib.SQLITE_CANTOPEN, lib.SQLITE_IOERR:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB:
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// Whoever waited five seconds for a lock need not wait again.
func (e *sqliteEngine) alive(err error) bool {
	var se *sqlite.Error
	return errors.As(err, &se) && (se.Code()&0xff == lib.SQLITE_BUSY || se.Code()&0xff == lib.SQLITE_FULL)
}

// A full disk makes SQLite roll back by itself. It has no code for this case.
func (e *sqliteEngine) rolledBack(err error) bool {
	return strings.Contains(err.Error(), "no transaction is active")
}

// classified says whether err already bears one of our own names, so that an
// error which passes twice is not named twice.
func classified(err error) bool {
	for _, known := range []error{ErrNoRows, ErrUnique, ErrFull, ErrUnavailable, ErrNewer, ErrDamaged} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}
