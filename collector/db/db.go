// Package db owns the one database of a collector: SQLite in a file, or
// PostgreSQL by one setting. It opens, migrates, reads, writes, backs up and
// restores; it holds no business SQL. That sits, with its migrations, in the
// subject that owns the tables.
//
// The same SQL text runs on both: parameters are $1, $2, ...; columns are
// BIGINT, BYTEA and TEXT; booleans are BIGINT 0 or 1, times BIGINT
// milliseconds since 1970 UTC. Text compares and sorts by bytes on both. Bytes
// of length 0 may come back as nil; whether there were any, IS NULL tells. Text
// that PostgreSQL cannot hold is refused on both with ErrText.
//
// Write is the group commit. Functions of many callers run in one transaction
// that is made durable once, so a caller who has its nil back knows that its
// rows survive a power cut. Writes of one collector are serial. Read sees one
// snapshot and never waits for a writer. Guarded puts a check of somebody else's
// before a write, in its transaction.
//
// A crash in the middle leaves the last commit: SQLite by its write-ahead log
// with synchronous=FULL, PostgreSQL by its own. A transaction whose answer was
// lost with the connection may or may not have happened; callers whose rows
// must not double bring their own key, as reports do.
package db

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Dialect names the kind of database.
type Dialect string

const (
	SQLite   Dialect = "sqlite"
	Postgres Dialect = "postgres"
)

// Migrations are the SQL files of one subject, below migrations/ in FS, named
// YYYYMMDDHHMMSS_NAME_what.sql. Open merges those of all subjects into one
// order by their time; they only go forward.
type Migrations struct {
	Name string
	FS   fs.FS
}

// Config says which database to open.
type Config struct {
	Path       string       // file of the SQLite database, if URL is empty
	URL        string       // PostgreSQL: postgres://... or "host=... dbname=..."
	Migrations []Migrations // of every subject that keeps tables
	Log        *slog.Logger // nil = slog.Default
	// Asked hears each query of a read before it runs, for tests that look at
	// how a database would answer it; it must not keep args. nil = nobody.
	Asked func(query string, args []any)
}

// DB is an open database. Its methods may be used by many goroutines at once.
type DB struct {
	cfg     Config
	dialect Dialect
	engine  engine
	storeID []byte
	version int64

	writers *sql.DB    // at most one connection
	readers *sql.DB    // at most maxReaders
	pool    chan *conn // maxReaders places; nil = not connected yet

	group group

	closing  sync.Once
	closeErr error // of the one closing
}

// maxReaders bounds reading transactions at once. Each SQLite reader costs its
// page cache; more readers than this only queue on two to eight cores anyway.
const maxReaders = 8

// rollbackTimeout is for a PostgreSQL that no longer answers.
const rollbackTimeout = 5 * time.Second

// Open opens the database, migrates it to the newest version this program
// knows, and gives it an id if it is new. It refuses with ErrNewer what a
// newer program has written.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	d := &DB{cfg: cfg}
	var err error
	if cfg.URL != "" {
		d.dialect = Postgres
		d.engine, err = openPostgres(cfg.URL)
	} else {
		d.dialect = SQLite
		d.engine, err = openSQLite(cfg.Path)
	}
	if err != nil {
		return nil, err
	}
	d.connect()
	if err := d.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", d.engine.name(), err), d.Close())
	}
	return d, nil
}

// OpenReadOnly opens a database to look at it, also one that a collector is
// using. Nothing is migrated; Write gets ErrUnavailable. Version is that of
// the database, which may be older than this program's.
func OpenReadOnly(ctx context.Context, cfg Config) (*DB, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	d := &DB{cfg: cfg, dialect: SQLite, engine: &sqliteEngine{path: cfg.Path}}
	if cfg.URL != "" {
		e, err := openPostgres(cfg.URL)
		if err != nil {
			return nil, err
		}
		d.dialect, d.engine = Postgres, e
	} else if _, err := os.Stat(cfg.Path); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	d.connect()
	d.group.close()
	err := d.look(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", d.engine.name(), d.engine.classify(err)), d.Close())
	}
	return d, nil
}

func (d *DB) look(ctx context.Context) error {
	p, err := d.provider()
	if err != nil {
		return err
	}
	if d.version, err = d.refuseNewer(ctx, p, d.readers); err != nil {
		return err
	}
	if d.version == 0 {
		return fmt.Errorf("%w: it holds no tables of ours", ErrDamaged)
	}
	return d.Read(ctx, func(tx *Tx) error {
		return tx.QueryRow(ctx, `SELECT value FROM store WHERE name = 'id'`).Scan(&d.storeID)
	})
}

func (d *DB) connect() {
	d.writers, d.readers = d.engine.writers(), d.engine.readers()
	d.pool = make(chan *conn, maxReaders)
	for range maxReaders {
		d.pool <- nil
	}
}

func (d *DB) prepare(ctx context.Context) error {
	if err := d.engine.check(ctx, d.writers); err != nil {
		return d.engine.classify(err)
	}
	if err := d.migrate(ctx); err != nil {
		return d.engine.classify(err)
	}
	return d.Write(ctx, func(tx *Tx) error {
		// Read first: a reopening must not need a free page.
		err := tx.QueryRow(ctx, `SELECT value FROM store WHERE name = 'id'`).Scan(&d.storeID)
		if !errors.Is(err, ErrNoRows) {
			return err
		}
		d.storeID = newStoreID()
		_, err = tx.Exec(ctx, `INSERT INTO store (name, value) VALUES ('id', $1)`, d.storeID)
		return err
	})
}

func newStoreID() []byte {
	id := make([]byte, 16)
	rand.Read(id)
	return id
}

// Close waits for the writes under way and ends all connections; later calls
// of Read and Write get ErrUnavailable. It may be called more than once.
func (d *DB) Close() error {
	d.closing.Do(func() { d.closeErr = d.close() })
	return d.closeErr
}

func (d *DB) close() error {
	d.group.close()
	var errs []error
	for range maxReaders {
		if c := <-d.pool; c != nil {
			errs = append(errs, c.close())
		}
	}
	close(d.pool)
	if c := d.group.conn; c != nil {
		errs = append(errs, c.close())
	}
	return errors.Join(append(errs, d.readers.Close(), d.writers.Close())...)
}

// StoreID is 16 random bytes that name this store; a restore changes them.
func (d *DB) StoreID() []byte { return d.storeID }

// Dialect is the kind of database.
func (d *DB) Dialect() Dialect { return d.dialect }

// Version is the version of the schema, that of its last migration.
func (d *DB) Version() int64 { return d.version }

// Name says for logs and people which database this is, without a password.
func (d *DB) Name() string { return d.engine.name() }

// Read runs fn in a transaction that sees one snapshot and can change nothing.
// When ctx ends, the statement under way ends too.
func (d *DB) Read(ctx context.Context, fn func(*Tx) error) error {
	if tx := d.txWithin(ctx); tx != nil {
		return fn(tx)
	}
	var c *conn
	select {
	case got, ok := <-d.pool:
		if !ok {
			return fmt.Errorf("%w: the database is closed", ErrUnavailable)
		}
		c = got
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { d.pool <- c }()
	var err error
	if c, err = d.begin(ctx, d.readers, c, d.engine.beginRead()); err != nil {
		if ctx.Err() != nil { // whatever that did to the connection
			return context.Cause(ctx)
		}
		return err
	}
	tx := &Tx{conn: c, engine: d.engine, asked: d.cfg.Asked}
	defer func() {
		// Also when fn panics. A reader has nothing to commit; a rollback that
		// fails means that the connection is lost.
		tx.end(nil)
		if !d.rollback(ctx, c) {
			c = nil
		}
	}()
	err = tx.end(fn(tx))
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// rollback ends a transaction on c, and c itself where that is not possible;
// then it returns false.
func (d *DB) rollback(ctx context.Context, c *conn) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	if _, err := c.exec(ctx, "ROLLBACK"); err != nil && !d.engine.rolledBack(err) {
		c.drop()
		return false
	}
	return true
}

// begin starts a transaction on c, or on a new connection when c is nil or has
// died while it lay in the pool. It gives back the connection to keep, also
// with an error.
func (d *DB) begin(ctx context.Context, from *sql.DB, c *conn, statement string) (*conn, error) {
	if c != nil {
		_, err := c.exec(ctx, statement)
		if err == nil {
			return c, nil
		}
		if d.engine.alive(err) {
			return c, d.engine.classify(err)
		}
		c.drop()
	}
	sc, err := from.Conn(ctx)
	if err != nil {
		return nil, d.engine.classify(err)
	}
	c = &conn{c: sc, prepare: d.engine.prepares()}
	if _, err := c.exec(ctx, statement); err != nil {
		c.drop()
		return nil, d.engine.classify(err)
	}
	return c, nil
}

// Check reads the whole database and reports damage.
func (d *DB) Check(ctx context.Context) error {
	return d.Read(ctx, func(tx *Tx) error { return d.engine.integrity(ctx, tx) })
}
