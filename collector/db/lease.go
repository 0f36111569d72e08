package db

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A lease is the right to do what only one collector on a database may do at a
// time: jobs, the merging of days, the deleting of what is old. It is a row with
// the name of its holder and the time until which nobody else takes it. What is
// written under it renews it, in the same transaction: so a holder that was
// paused, and that somebody followed meanwhile, cannot write any more, whatever
// the clocks say.
//
//	free -> held -> free
//	         | its holder died, or paused: LeaseFor
//	         +-> held by another

// LeaseFor is how long a lease outlives what was written under it last.
const LeaseFor = 30 * time.Second

// skewed is how far the clock of another collector may be ahead. A lease that
// ends later than any clock can say was given by one that was wrong.
const skewed = time.Minute

var (
	// ErrLeased: another collector holds the lease.
	ErrLeased = errors.New("another collector does this now")
	// ErrLeaseLost: another collector took the lease meanwhile; nothing was written.
	ErrLeaseLost = errors.New("another collector has taken this over")
)

// Lease is one of the leases on a database, as this DB may take it.
type Lease struct {
	db     *DB
	name   string
	holder string
	now    func() time.Time
	held   sync.Mutex // by whoever does what it is for
}

// Lease gives the one of this name. It takes nothing yet.
func (d *DB) Lease(name string, now func() time.Time) *Lease {
	return &Lease{db: d, name: name, holder: rand.Text(), now: now}
}

// Hold takes the lease and runs work, each Write of whose context happens only if
// the lease still is ours, and renews it. It is given back when work returns, also
// when ctx has ended. Without it Hold returns ErrLeased, and work does not run.
// Holds of one Lease take turns.
func (l *Lease) Hold(ctx context.Context, work func(context.Context) error) error {
	l.held.Lock()
	defer l.held.Unlock()
	term, err := l.take(ctx)
	if err != nil {
		return err
	}
	defer l.release(context.WithoutCancel(ctx), term)
	return work(context.WithValue(ctx, leaseKey{}, held{l, term}))
}

// take takes it when it is free or over. A lease of our own was left by an answer
// of the database that never came.
func (l *Lease) take(ctx context.Context) (term int64, err error) {
	now := l.now()
	err = l.db.Write(ctx, func(tx *Tx) error {
		err := tx.QueryRow(ctx, `INSERT INTO leases (name, holder, term, until_ms) VALUES ($1, $2, 1, $3)
			ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, term = leases.term + 1, until_ms = excluded.until_ms
			WHERE leases.holder = excluded.holder OR leases.until_ms <= $4 OR leases.until_ms > $5 RETURNING term`,
			l.name, l.holder, now.Add(LeaseFor).UnixMilli(), now.UnixMilli(), now.Add(LeaseFor+skewed).UnixMilli()).Scan(&term)
		if errors.Is(err, ErrNoRows) {
			return ErrLeased
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("taking the lease %q: %w", l.name, err)
	}
	return term, nil
}

// release gives it back. If that fails, it ends by itself.
func (l *Lease) release(ctx context.Context, term int64) {
	err := l.db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, `UPDATE leases SET until_ms = 0 WHERE name = $1 AND holder = $2 AND term = $3`, l.name, l.holder, term)
		return err
	})
	if err != nil {
		l.db.cfg.Log.Warn("giving back a lease", "lease", l.name, "error", err)
	}
}

type leaseKey struct{}

// held is a lease in the context of what is done under it.
type held struct {
	lease *Lease
	term  int64
}

// leased is fn behind the lease of its context, if there is one of this database.
func (d *DB) leased(ctx context.Context, fn func(*Tx) error) func(*Tx) error {
	h, ok := ctx.Value(leaseKey{}).(held)
	if !ok || h.lease.db != d {
		return fn
	}
	return func(tx *Tx) error {
		n, err := tx.Exec(ctx, `UPDATE leases SET until_ms = $4 WHERE name = $1 AND holder = $2 AND term = $3`,
			h.lease.name, h.lease.holder, h.term, h.lease.now().Add(LeaseFor).UnixMilli())
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("lease %q: %w", h.lease.name, ErrLeaseLost)
		}
		return fn(tx)
	}
}
