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
// and the latency, then is read on the other.
func pipe(p *path, near, far net.Addr) (net.Conn, net.Conn) {
	a, b := net.Pipe()
	return newConn(a, p, near, far), newConn(b, p, far, near)
}

type conn struct {
	net.Conn
	path          *path
	local, remote net.Addr
	closed        chan struct{}
	once          sync.Once

	mu       sync.Mutex
	deadline *time.Timer   // guarded by mu; of writes
	until    time.Time     // guarded by mu; when that is
	expired  chan struct{} // guarded by mu; closed when the deadline has passed
}

func newConn(c net.Conn, p *path, local, remote net.Addr) *conn {
	return &conn{Conn: c, path: p, local: local, remote: remote, closed: make(chan struct{}), expired: make(chan struct{})}
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	expired := c.expired
	c.mu.Unlock()
	if err := c.path.wait(c.closed, expired); err != nil {
		select {
		case <-c.closed:
			return 0, net.ErrClosed
		default:
			return 0, os.ErrDeadlineExceeded
		}
	}
	time.Sleep(c.path.a.net.cfg.Latency)
	return c.Conn.Write(b)
}

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.deadline != nil {
		c.deadline.Stop()
	}
	c.deadline, c.until = nil, t
	select {
	case <-c.expired:
		c.expired = make(chan struct{})
	default: // a Write that waits already keeps to the new deadline
	}
	if !t.IsZero() {
		c.deadline = time.AfterFunc(time.Until(t), func() { c.expire(t) })
	}
	return c.Conn.SetWriteDeadline(t)
}

// expire frees a Write that waits, unless the deadline has moved meanwhile.
func (c *conn) expire(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.until.Equal(t) {
		c.until = time.Time{}
		close(c.expired)
	}
}

// Close tells the other side at once, also over a cut line: a pipe cannot wait.
func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	c.mu.Lock()
	if c.deadline != nil {
		c.deadline.Stop()
	}
	c.mu.Unlock()
	return c.Conn.Close()
}
