package netsim

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// ListenTCP opens a listening TCP port.
func (h *Host) ListenTCP(port uint16) (net.Listener, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.net.closed || h.tcp[port] != nil {
		return nil, fmt.Errorf("opening TCP port %d of %s: %w", port, h.addr, syscall.EADDRINUSE)
	}
	l := &listener{host: h, port: port, waiting: make(chan net.Conn), done: make(chan struct{})}
	h.tcp[port] = l
	return l, nil
}

type listener struct {
	host    *Host
	port    uint16
	waiting chan net.Conn
	done    chan struct{}
	once    sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.waiting:
		return c, nil
	case <-l.done:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.host.net.mu.Lock()
		delete(l.host.tcp, l.port)
		l.host.net.mu.Unlock()
	})
	return nil
}

func (l *listener) Addr() net.Addr {
	l.host.net.mu.Lock()
	defer l.host.net.mu.Unlock()
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(l.host.addr, l.port))
}

// path is the way between two hosts as it was when a connection began.
type path struct {
	a, b         *Host
	addrA, addrB netip.Addr
}

func newPath(a, b *Host) *path {
	a.net.mu.Lock()
	defer a.net.mu.Unlock()
	return &path{a: a, b: b, addrA: a.addr, addrB: b.addr}
}

// state says whether bytes pass, and gives channels that close when that may
// have changed.
func (p *path) state() (open bool, a, b <-chan struct{}) {
	n := p.a.net
	n.mu.Lock()
	defer n.mu.Unlock()
	open = !p.a.weather.cut() && !p.b.weather.cut() && p.a.addr == p.addrA && p.b.addr == p.addrB
	return open, p.a.changed, p.b.changed
}

var errGivenUp = errors.New("given up waiting for the line")

// wait returns nil once bytes pass, else when one of the channels closes.
func (p *path) wait(give ...<-chan struct{}) error {
	var quit [2]<-chan struct{}
	copy(quit[:], give)
	for {
		open, a, b := p.state()
		if open {
			return nil
		}
		select {
		case <-a:
		case <-b:
		case <-quit[0]:
			return errGivenUp
		case <-quit[1]:
			return errGivenUp
		}
	}
}

// pipe makes a TCP connection: what is written on one side waits for the line
// and the latency, then can be read on the other.
func pipe(p *path, near, far net.Addr) (net.Conn, net.Conn) {
	up, down := newQueue(), newQueue()
	return newConn(down, up, p, near, far), newConn(up, down, p, far, near)
}

type conn struct {
	in, out       *queue
	path          *path
	local, remote net.Addr
	reads, writes *deadline
	closed        chan struct{}
	once          sync.Once
}

func newConn(in, out *queue, p *path, local, remote net.Addr) *conn {
	return &conn{in: in, out: out, path: p, local: local, remote: remote,
		reads: newDeadline(), writes: newDeadline(), closed: make(chan struct{})}
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) Read(b []byte) (int, error) { return c.in.take(b, c.reads) }

func (c *conn) Write(b []byte) (int, error) {
	for {
		open, near, far := c.path.state()
		select {
		case <-c.closed:
			return 0, net.ErrClosed
		default:
		}
		switch {
		case c.writes.passed():
			return 0, os.ErrDeadlineExceeded
		case open:
			time.Sleep(c.path.a.net.cfg.Latency)
			return c.out.put(b, c.writes)
		case !c.writes.wait(near, far, c.closed):
			return 0, os.ErrDeadlineExceeded
		}
	}
}

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.reads.set(t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.writes.set(t)
	return nil
}

// Close tells the other side at once, also over a cut line: a pipe cannot wait.
// What was written before can still be read there.
func (c *conn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.out.end(true, false)
		c.in.end(false, true)
	})
	return nil
}
