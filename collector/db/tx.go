package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"
)

// Tx is a transaction, for one goroutine and only within the function that got
// it. After a statement has failed, every further one fails with the same
// error and so does the transaction, on both databases: PostgreSQL gives no
// choice. Where a row may be there already, say ON CONFLICT.
type Tx struct {
	conn   *conn
	engine engine
	ctx    context.Context // of a write's statements, see run; nil in reads
	err    error           // of the first statement that failed
	open   *Rows           // not closed yet
	asked  func(query string, args []any)
}

// Dialect is for the rare statement that cannot be the same on both.
func (tx *Tx) Dialect() Dialect { return tx.engine.dialect() }

// Exec runs a statement and returns how many rows it touched.
func (tx *Tx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	run, err := tx.ready(ctx, args)
	if err != nil {
		return 0, err
	}
	var result sql.Result
	stmt, err := tx.conn.stmt(run, query)
	switch {
	case err != nil:
	case stmt != nil:
		result, err = stmt.ExecContext(run, args...)
	default:
		result, err = tx.conn.c.ExecContext(run, query, args...)
	}
	if err != nil {
		return 0, tx.fail(err)
	}
	n, err := result.RowsAffected()
	return n, tx.fail(err)
}

// Query runs a statement that returns rows. The caller closes them before the
// next statement of this transaction.
func (tx *Tx) Query(ctx context.Context, query string, args ...any) (*Rows, error) {
	run, err := tx.ready(ctx, args)
	if err != nil {
		return nil, err
	}
	if tx.asked != nil {
		tx.asked(query, args)
	}
	var rows *sql.Rows
	stmt, err := tx.conn.stmt(run, query)
	switch {
	case err != nil:
	case stmt != nil:
		rows, err = stmt.QueryContext(run, args...)
	default:
		rows, err = tx.conn.c.QueryContext(run, query, args...)
	}
	if err != nil {
		return nil, tx.fail(err)
	}
	tx.open = &Rows{tx: tx, rows: rows}
	return tx.open, nil
}

// QueryRow runs a statement that returns at most one row of interest.
func (tx *Tx) QueryRow(ctx context.Context, query string, args ...any) Row {
	rows, err := tx.Query(ctx, query, args...)
	return Row{rows: rows, err: err}
}

// ready gives the context that the statement runs in, and brings args into the
// form that both databases understand alike.
func (tx *Tx) ready(ctx context.Context, args []any) (context.Context, error) {
	if tx.err != nil {
		return nil, tx.err
	}
	if err := context.Cause(ctx); err != nil {
		return nil, tx.fail(err)
	}
	if tx.open != nil {
		return nil, tx.fail(errors.New("rows of an earlier query are still open"))
	}
	for i, arg := range args {
		switch v := arg.(type) {
		case bool:
			n := int64(0)
			if v {
				n = 1
			}
			args[i] = n
		case string:
			if !Holds(v) {
				return nil, tx.fail(fmt.Errorf("argument $%d: %w", i+1, ErrText))
			}
		case time.Time:
			return nil, tx.fail(fmt.Errorf("argument $%d is a time.Time, want milliseconds", i+1))
		default:
			if r := reflect.ValueOf(arg); r.Kind() == reflect.String && !Holds(r.String()) {
				return nil, tx.fail(fmt.Errorf("argument $%d: %w", i+1, ErrText))
			}
		}
	}
	if tx.ctx != nil {
		return tx.ctx, nil
	}
	return ctx, nil
}

// Holds says whether a row can hold the text. PostgreSQL takes UTF-8 without
// NUL; SQLite would take anything, and could then not be moved to PostgreSQL.
func Holds(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

// end closes what fn left open and gives the transaction's error: fn's own, or
// that of a statement which fn passed over.
func (tx *Tx) end(err error) error {
	if tx.open != nil {
		tx.open.Close()
		tx.fail(errors.New("rows of the last query were left open"))
	}
	if err == nil {
		err = tx.err
	}
	return err
}

func (tx *Tx) fail(err error) error {
	if err == nil {
		return nil
	}
	err = tx.engine.classify(err)
	if tx.err == nil {
		tx.err = err
	}
	return err
}

// Rows are the result of a query.
type Rows struct {
	tx     *Tx
	rows   *sql.Rows
	closed bool
}

// Next moves to the next row and says whether there is one.
func (r *Rows) Next() bool { return r.rows.Next() }

// Scan copies the current row into dest.
func (r *Rows) Scan(dest ...any) error {
	if err := r.rows.Scan(dest...); err != nil {
		return r.tx.fail(err)
	}
	return nil
}

// Close ends the query and returns what went wrong in it, if anything; it may
// be called more than once.
func (r *Rows) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	r.tx.open = nil
	err := r.rows.Err()
	if closeErr := r.rows.Close(); err == nil {
		err = closeErr
	}
	return r.tx.fail(err)
}

// Err is what ended Next early, if anything.
func (r *Rows) Err() error { return r.tx.fail(r.rows.Err()) }

// Row is the result of QueryRow.
type Row struct {
	rows *Rows
	err  error
}

// Scan copies the row into dest; without a row it returns ErrNoRows.
func (r Row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	if !r.rows.Next() {
		if err := r.rows.Close(); err != nil {
			return err
		}
		return ErrNoRows
	}
	err := r.rows.Scan(dest...)
	if closeErr := r.rows.Close(); err == nil {
		err = closeErr
	}
	return err
}

// conn is one connection with its prepared statements.
type conn struct {
	c       *sql.Conn
	prepare bool // pgx keeps prepared statements itself
	stmts   map[string]*sql.Stmt
}

// maxStmts bounds the prepared statements of a connection. The subjects have
// far fewer fixed texts; lists of changing length may come on top.
const maxStmts = 256

// stmt gives the prepared form of query, nil where the driver keeps its own.
// Without it SQLite parses each statement anew, a third of an insert's time.
func (c *conn) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if !c.prepare {
		return nil, nil
	}
	if s := c.stmts[query]; s != nil {
		return s, nil
	}
	if len(c.stmts) >= maxStmts {
		for _, s := range c.stmts {
			s.Close()
		}
		c.stmts = nil
	}
	s, err := c.c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if c.stmts == nil {
		c.stmts = map[string]*sql.Stmt{}
	}
	c.stmts[query] = s
	return s, nil
}

// exec runs a statement of the transaction's own: BEGIN, SAVEPOINT, COMMIT.
func (c *conn) exec(ctx context.Context, statement string) (sql.Result, error) {
	s, err := c.stmt(ctx, statement)
	switch {
	case err != nil:
		return nil, err
	case s != nil:
		return s.ExecContext(ctx)
	}
	return c.c.ExecContext(ctx, statement)
}

func (c *conn) close() error {
	for _, s := range c.stmts {
		s.Close()
	}
	return c.c.Close()
}

// drop ends a connection whose state is not known, so that the driver does not
// hand it out again.
func (c *conn) drop() {
	for _, s := range c.stmts {
		s.Close()
	}
	c.c.Raw(func(any) error { return driver.ErrBadConn })
	c.c.Close()
}

// Texts gives the one column of all rows of a query.
func Texts(ctx context.Context, tx *Tx, query string, args ...any) ([]string, error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Close()
}
