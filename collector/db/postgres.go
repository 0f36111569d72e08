package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

type postgresEngine struct {
	config *pgx.ConnConfig
}

func openPostgres(dsn string) (*postgresEngine, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		// pgx hides the password in its own message; ours adds nothing of dsn.
		return nil, fmt.Errorf("reading the database URL: %w", err)
	}
	for name, value := range map[string]string{
		"application_name":  "hausmeister-collector",
		"timezone":          "UTC",
		"lock_timeout":      "5s",
		"statement_timeout": "5min", // for readers without a deadline
		// A collector that froze must not hold back PostgreSQL's cleaning.
		"idle_in_transaction_session_timeout": "5min",
	} {
		if _, given := config.RuntimeParams[name]; !given {
			config.RuntimeParams[name] = value
		}
	}
	return &postgresEngine{config: config}, nil
}

func (e *postgresEngine) dialect() Dialect { return Postgres }
func (e *postgresEngine) prepares() bool   { return false }

func (e *postgresEngine) name() string {
	return fmt.Sprintf("PostgreSQL database %q at %s", e.config.Database, e.config.Host)
}

func (e *postgresEngine) beginRead() string {
	return "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
}
func (e *postgresEngine) beginWrite() string { return "BEGIN" }

func (e *postgresEngine) writeContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), writeTimeout)
}

// writerLock is the advisory lock (any number that is ours) that makes this
// collector the only writer, as the audit chain and the serial Write need it.
const writerLock = 0x4861757304

// lockNotAvailable is PostgreSQL's code for the end of lock_timeout.
const lockNotAvailable = "55P03"

func (e *postgresEngine) writers() *sql.DB {
	w := stdlib.OpenDB(*e.config, stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
		// Waits for lock_timeout: the server takes a moment to notice that our
		// own last connection is gone.
		_, err := c.Exec(ctx, "SELECT pg_advisory_lock($1)", int64(writerLock))
		var pe *pgconn.PgError
		if errors.As(err, &pe) && pe.Code == lockNotAvailable {
			return fmt.Errorf("%w: another collector uses this database", ErrUnavailable)
		}
		return err
	}))
	w.SetMaxOpenConns(1)
	return w
}

func (e *postgresEngine) readers() *sql.DB {
	r := stdlib.OpenDB(*e.config)
	r.SetMaxOpenConns(maxReaders)
	return r
}

func (e *postgresEngine) check(ctx context.Context, writers *sql.DB) error {
	var encoding, collation string
	err := writers.QueryRowContext(ctx, `SELECT pg_encoding_to_char(encoding), datcollate
		FROM pg_database WHERE datname = current_database()`).Scan(&encoding, &collation)
	if err != nil {
		return err
	}
	// Pages of lists continue after the last text shown; that only works when
	// both databases and this program sort by bytes.
	if !sortsByBytes(collation) {
		return fmt.Errorf("the database sorts by %q, want by bytes: CREATE DATABASE ... TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'", collation)
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the database's encoding is %s, want UTF8", encoding)
	}
	return nil
}

func sortsByBytes(collation string) bool {
	return slices.Contains([]string{"C", "POSIX", "C.UTF-8", "C.UTF8"}, strings.ToUpper(collation))
}

// integrity reads every row once: PostgreSQL has no check of its own short of
// an extension, but a broken page or a lost TOAST value does not read.
func (e *postgresEngine) integrity(ctx context.Context, tx *Tx) error {
	tables, err := Texts(ctx, tx, `SELECT table_name FROM information_schema.tables
		WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' ORDER BY table_name`)
	if err != nil {
		return err
	}
	for _, table := range tables {
		var n int64
		q := `SELECT COUNT(*) FROM (SELECT md5(t::text) FROM ` + pgx.Identifier{table}.Sanitize() + ` t OFFSET 0) rows_read`
		if err := tx.QueryRow(ctx, q).Scan(&n); err != nil {
			return fmt.Errorf("reading table %s: %w", table, err)
		}
	}
	return nil
}

func (e *postgresEngine) classify(err error) error {
	if err == nil || classified(err) {
		return err
	}
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		switch {
		case pe.Code == "23505":
			return fmt.Errorf("%w: %w", ErrUnique, err)
		case pe.Code == "53100": // disk full
			return fmt.Errorf("%w: %w", ErrFull, err)
		case pe.Code == "XX001" || pe.Code == "XX002": // data or index corrupted
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		// 08 connection, 53 resources, 55P03 lock, 57 operator, 58 system,
		// 25006 read-only (a standby), 28 and 3D sign-in and missing database.
		case strings.HasPrefix(pe.Code, "08"), strings.HasPrefix(pe.Code, "53"), pe.Code == lockNotAvailable,
			strings.HasPrefix(pe.Code, "57"), strings.HasPrefix(pe.Code, "58"), pe.Code == "25006",
			strings.HasPrefix(pe.Code, "28"), strings.HasPrefix(pe.Code, "3D"):
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		return err
	}
	var connect *pgconn.ConnectError
	var network net.Error
	if errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, driver.ErrBadConn) ||
		errors.Is(err, sql.ErrConnDone) || errors.Is(err, net.ErrClosed) || errors.Is(err, context.DeadlineExceeded) ||
		strings.Contains(err.Error(), "conn closed") || strings.Contains(err.Error(), "unexpected EOF") {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// BEGIN waits for nothing; if it fails the connection is gone.
func (e *postgresEngine) alive(error) bool { return false }

// PostgreSQL only warns there.
func (e *postgresEngine) rolledBack(error) bool { return false }

// AdminExec runs one statement on a PostgreSQL server outside of any
// transaction, such as CREATE DATABASE.
func AdminExec(ctx context.Context, dsn, statement string) error {
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, statement)
	return errors.Join(err, c.Close(ctx))
}
