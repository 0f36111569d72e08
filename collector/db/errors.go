package db

import (
	"errors"
	"fmt"
)

// What callers branch on. The text of the database's own error is kept behind
// each of them.
var (
	// ErrNoRows: the row that QueryRow should have read is not there.
	ErrNoRows = errors.New("no such row")
	// ErrText: an argument is text that no row can hold, NUL or not UTF-8. It
	// is an ErrNoRows too, since who looks for it finds nothing.
	ErrText = fmt.Errorf("%w: not UTF-8 text, or a zero byte in it", ErrNoRows)
	// ErrUnique: a row with this key is there already.
	ErrUnique = errors.New("a row with this key exists")
	// ErrFull: disk or database is full; nothing was written, and writing
	// works again as soon as there is space.
	ErrFull = errors.New("no space left for the database")
	// ErrUnavailable: the database is locked, away, read-only or closed; try
	// again later.
	ErrUnavailable = errors.New("database not available")
	// ErrNewer: a newer version of this program wrote the database.
	ErrNewer = errors.New("database was written by a newer version")
	// ErrDamaged: the file is no database of ours, or its content is broken.
	ErrDamaged = errors.New("database is damaged or not ours")
)
