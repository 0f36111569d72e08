package db

import (
	"context"
	"database/sql"
)

// engine is what differs between the two databases.
type engine interface {
	dialect() Dialect
	name() string
	writers() *sql.DB
	readers() *sql.DB
	prepares() bool
	beginRead() string
	// writeContext bounds the statements of one write transaction.
	writeContext() (context.Context, context.CancelFunc)
	beginWrite() string
	// check finds out early, and in clear words, what would fail later:
	// rights, locks, settings.
	check(ctx context.Context, writers *sql.DB) error
	classify(err error) error
	// alive says of a failed BEGIN that a new connection would not help.
	alive(err error) bool
	// rolledBack says of a failed ROLLBACK that there was nothing to undo any
	// more: the connection is good.
	rolledBack(err error) bool
	integrity(ctx context.Context, tx *Tx) error
}
