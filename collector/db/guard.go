package db

import (
	"context"
	"errors"
	"sync/atomic"
)

// A guard is a check that a caller far above puts before a change: "only if it is
// still as I saw it". It has to run in the transaction of the change, or another
// change comes between the two.

type (
	guardKey  struct{}
	withinKey struct{}
)

type guard struct {
	check func(context.Context) error
	taken atomic.Bool // by the first Write, whose it is for good
}

// Guarded gives a context whose first Write runs check before its function, in the
// same transaction; an error of check is that Write's, and undoes nothing since
// nothing was done. Read with the context that check gets sees that transaction.
// Like the function, check may run again, and must not Write.
func Guarded(ctx context.Context, check func(context.Context) error) context.Context {
	return context.WithValue(ctx, guardKey{}, &guard{check: check})
}

// guarded is fn behind the guard of its context, if there is one that no Write has
// taken yet.
func (d *DB) guarded(ctx context.Context, fn func(*Tx) error) func(*Tx) error {
	g, _ := ctx.Value(guardKey{}).(*guard)
	if g == nil || !g.taken.CompareAndSwap(false, true) {
		return fn
	}
	return func(tx *Tx) error {
		if err := g.check(context.WithValue(ctx, withinKey{}, within{d, tx})); err != nil {
			return err
		}
		return fn(tx)
	}
}

// within is the transaction that a check runs in.
type within struct {
	db *DB
	tx *Tx
}

// txWithin gives that transaction to a Read of the same database; nil = none.
func (d *DB) txWithin(ctx context.Context) *Tx {
	if w, ok := ctx.Value(withinKey{}).(within); ok && w.db == d {
		return w.tx
	}
	return nil
}

var errWithin = errors.New("a check may not write")
