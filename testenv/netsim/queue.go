package netsim

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// bufferSize is what one direction of a connection holds between its ends, as
// the buffers of two real sockets do. Without any, two ends that both write
// would wait for each other for ever, which no real network does.
const bufferSize = 256 << 10

// queue is one direction.
type queue struct {
	mu sync.Mutex
	// below is guarded by mu
	data    []byte
	changed chan struct{} // closed and made anew at each change
	ended   bool          // no more will be written
	gone    bool          // nobody reads any more
}

func newQueue() *queue { return &queue{changed: make(chan struct{})} }

func (q *queue) changeLocked() {
	close(q.changed)
	q.changed = make(chan struct{})
}

func (q *queue) end(ended, gone bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended, q.gone = q.ended || ended, q.gone || gone
	q.changeLocked()
}

// put waits for room until the deadline.
func (q *queue) put(b []byte, until *deadline) (n int, err error) {
	for {
		q.mu.Lock()
		switch {
		case q.ended || q.gone:
			q.mu.Unlock()
			return n, io.ErrClosedPipe
		case len(q.data) < bufferSize:
			m := min(len(b)-n, bufferSize-len(q.data))
			q.data = append(q.data, b[n:n+m]...)
			n += m
			q.changeLocked()
		}
		changed := q.changed
		q.mu.Unlock()
		if n == len(b) {
			return n, nil
		}
		if !until.wait(changed) {
			return n, os.ErrDeadlineExceeded
		}
	}
}

// take waits for bytes until the deadline.
func (q *queue) take(b []byte, until *deadline) (int, error) {
	for {
		if until.passed() {
			return 0, os.ErrDeadlineExceeded
		}
		q.mu.Lock()
		changed := q.changed
		switch {
		case q.gone:
			q.mu.Unlock()
			return 0, net.ErrClosed
		case len(q.data) > 0:
			n := copy(b, q.data)
			q.data = q.data[n:]
			q.changeLocked()
			q.mu.Unlock()
			return n, nil
		case q.ended:
			q.mu.Unlock()
			return 0, io.EOF
		}
		q.mu.Unlock()
		if !until.wait(changed) {
			return 0, os.ErrDeadlineExceeded
		}
	}
}

// deadline of one direction; it may move while somebody waits.
type deadline struct {
	mu sync.Mutex
	// below is guarded by mu
	at    time.Time
	moved chan struct{} // closed and made anew when at changes
}

func newDeadline() *deadline { return &deadline{moved: make(chan struct{})} }

func (d *deadline) set(at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = at
	close(d.moved)
	d.moved = make(chan struct{})
}

func (d *deadline) get() (time.Time, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at, d.moved
}

func (d *deadline) passed() bool {
	at, _ := d.get()
	return !at.IsZero() && !time.Now().Before(at)
}

// wait returns true when one of the channels closes, and false when the deadline passes first.
func (d *deadline) wait(changed ...<-chan struct{}) bool {
	var c [3]<-chan struct{}
	copy(c[:], changed)
	for {
		at, moved := d.get()
		var due <-chan time.Time
		if !at.IsZero() {
			t := time.NewTimer(time.Until(at))
			defer t.Stop()
			due = t.C
		}
		select {
		case <-c[0]:
			return true
		case <-c[1]:
			return true
		case <-c[2]:
			return true
		case <-due:
			return false
		case <-moved:
		}
	}
}
