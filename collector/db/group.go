package db

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// The group commit. There is no writer goroutine: the first caller who finds
// nobody writing leads. A leader takes all who wait, runs their functions in
// one transaction, commits once, tells them, and passes the lead to the first
// of those who came meanwhile. If one of them fails, all is undone and done
// again with a savepoint before each, so that a refusal costs the others twice
// their time at most, and not a commit each. (Savepoints from the start cost
// half the rows per second on PostgreSQL: two round trips more for each.) While a disk is busy with one commit the next
// group gathers by itself, so a slow disk gets larger groups, not a longer
// queue.
//
//	Write -> waiting -> led by another -> told
//	            \----> promoted -> leads -> tells

// maxGroup bounds a group, so that the first of it does not wait for ever.
const maxGroup = 512

// writeTimeout bounds the statements of one group. Callers' contexts do not
// end a statement under way: SQLite would roll back the whole group for it,
// and pgx would close the connection.
const writeTimeout = 30 * time.Second

// errLost marks that the transaction is gone and with it what others of the
// group had written.
var errLost = errors.New("transaction lost")

// group is the state of the group commit.
type group struct {
	conn *conn // of the writes; belongs to the leader

	mu sync.Mutex
	// below is guarded by mu
	waiting []*write // bounded by the callers, each of whom waits for one
	leading bool
	closed  bool
	idle    chan struct{} // closed when closed and nobody leads
}

// write is one caller of Write.
type write struct {
	ctx  context.Context
	fn   func(*Tx) error
	wake chan struct{} // gets one value: finished, or promoted to leader

	// below is the leader's until wake, then the caller's
	finished bool
	err      error
	panicked any
}

// Write runs fn in a transaction and returns nil when it is durable. An error
// of fn undoes what fn wrote and is returned as it is.
//
// fn may run in the goroutine of another caller, together with the functions
// of others, and may be run again after the transaction was lost: it must set
// its results anew each time, and what it does to memory must wait until Write
// has returned. It must not wait for anything but the database, and not call
// Write again: it would wait for itself. When ctx ends
// before fn began, fn does not run; later ctx is looked at before each statement.
func (d *DB) Write(ctx context.Context, fn func(*Tx) error) error {
	if d.txWithin(ctx) != nil {
		return errWithin // it would wait for itself
	}
	w := &write{ctx: ctx, fn: d.leased(ctx, d.guarded(ctx, fn)), wake: make(chan struct{}, 1)}
	g := &d.group
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return fmt.Errorf("%w: the database is closed, or open to read only", ErrUnavailable)
	}
	g.waiting = append(g.waiting, w)
	leads := !g.leading
	g.leading = true
	g.mu.Unlock()
	if !leads {
		select {
		case <-w.wake:
		case <-ctx.Done():
			if g.withdraw(w) {
				return context.Cause(ctx)
			}
			<-w.wake
		}
	}
	if !w.finished {
		d.lead(g.take())
	}
	if w.panicked != nil {
		panic(w.panicked)
	}
	return w.err
}

// take removes the next group from those who wait.
func (g *group) take() []*write {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.waiting), maxGroup)
	batch := slices.Clone(g.waiting[:n])
	g.waiting = slices.Delete(g.waiting, 0, n)
	return batch
}

// pass gives the lead to the first who waits.
func (g *group) pass() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.passLocked()
}

func (g *group) passLocked() {
	if len(g.waiting) > 0 {
		g.waiting[0].wake <- struct{}{}
		return
	}
	g.leading = false
	if g.closed {
		close(g.idle)
	}
}

// withdraw takes w out while no leader has it; a lead that w was given goes on
// to the next.
func (g *group) withdraw(w *write) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting, w)
	if i < 0 {
		return false
	}
	g.waiting = slices.Delete(g.waiting, i, i+1)
	select {
	case <-w.wake:
		g.passLocked()
	default:
	}
	return true
}

// close lets those who wait finish and nobody new in.
func (g *group) close() {
	g.mu.Lock()
	if g.closed { // opened to read only
		g.mu.Unlock()
		return
	}
	g.closed = true
	g.idle = make(chan struct{})
	if !g.leading {
		close(g.idle)
	}
	g.mu.Unlock()
	<-g.idle
}

// lead runs batch and wakes its callers. It does so also when a function ends
// the goroutine (runtime.Goexit, as testing's FailNow does): the others must
// not hang.
func (d *DB) lead(batch []*write) {
	settled := false
	defer func() {
		if !settled && d.group.conn != nil {
			d.group.conn.drop()
			d.group.conn = nil
		}
		for _, w := range batch {
			if !settled {
				w.err = fmt.Errorf("%w: the writing goroutine ended", ErrUnavailable)
			}
			w.finished = true
			w.wake <- struct{}{}
		}
		d.group.pass()
	}()
	err := d.transact(batch, false)
	if errors.Is(err, errLost) && len(batch) > 1 {
		for _, w := range batch {
			w.err, w.panicked = nil, nil
		}
		err = d.transact(batch, true)
	}
	if errors.Is(err, errLost) && len(batch) > 1 {
		for i, w := range batch {
			if w.err == nil {
				d.transact(batch[i:i+1], false)
			}
		}
	}
	settled = true
}

// transact runs batch in one transaction. Whose function failed has its error
// in w.err. With errLost everything was undone by another's fault, and those
// without an error of their own may try again.
func (d *DB) transact(batch []*write, savepoints bool) error {
	ctx, cancel := d.engine.writeContext()
	defer cancel()
	c, err := d.begin(ctx, d.writers, d.group.conn, d.engine.beginWrite())
	d.group.conn = c
	if err != nil {
		return failAll(batch, err)
	}
	for _, w := range batch {
		if err := d.member(ctx, c, w, savepoints); err != nil {
			if !d.rollback(ctx, c) {
				d.group.conn = nil
			}
			if errors.Is(w.err, ErrUnavailable) {
				return failAll(batch, w.err)
			}
			return err
		}
	}
	if _, err := c.exec(ctx, "COMMIT"); err != nil {
		if !d.rollback(ctx, c) {
			d.group.conn = nil
		}
		return failAll(batch, d.engine.classify(err))
	}
	return nil
}

// member runs one function of a group. Its error is w.err; it returns errLost
// when that could not be undone alone.
func (d *DB) member(ctx context.Context, c *conn, w *write, savepoint bool) error {
	if w.err = context.Cause(w.ctx); w.err != nil {
		return nil // it did not begin
	}
	if savepoint {
		if _, err := c.exec(ctx, "SAVEPOINT member"); err != nil {
			w.err = d.engine.classify(err)
			return errLost
		}
	}
	tx := &Tx{conn: c, engine: d.engine, ctx: ctx}
	w.err = tx.end(w.call(tx))
	if !savepoint {
		if w.err != nil {
			return errLost
		}
		return nil
	}
	if w.err != nil {
		if _, err := c.exec(ctx, "ROLLBACK TO SAVEPOINT member"); err != nil {
			return errLost
		}
	}
	if _, err := c.exec(ctx, "RELEASE SAVEPOINT member"); err != nil {
		w.err = d.engine.classify(err)
		return errLost
	}
	return nil
}

// call runs the function; its panic goes back to its own caller.
func (w *write) call(tx *Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			w.panicked = fmt.Sprintf("%v\n%s", p, debug.Stack())
			err = errors.New("panicked")
		}
	}()
	return w.fn(tx)
}

func failAll(batch []*write, err error) error {
	for _, w := range batch {
		if w.err == nil {
			w.err = err
		}
	}
	return err
}
