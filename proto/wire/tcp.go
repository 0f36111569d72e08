package wire

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-yamux/v5"

	"hausmeister/proto/hmpb"
)

const (
	// goAwayBase is added to our codes in a GoAway frame: yamux itself sends
	// 0, 1 and 2 there.
	goAwayBase = 0x100
	// lingerFor is how long Close waits for the peer to read the GoAway, and who cannot
	// write any more for one to be read.
	lingerFor = 500 * time.Millisecond
	// writeTimeout ends a session whose keep-alive is not answered or whose
	// write does not get away. yamux renews a deadline only when half of it is
	// over, so an outage of half this is always survived.
	writeTimeout = 40 * time.Second
)

// DialTCP makes a session of a connection to a collector, directly or through
// a proxy. It takes conn over and closes it when the handshake fails.
// As over QUIC only the welcome means "in".
func DialTCP(ctx context.Context, conn net.Conn, conf *tls.Config) (Session, error) {
	tc := tls.Client(conn, withALPN(conf))
	if err := tc.HandshakeContext(ctx); err != nil {
		conn.Close()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, handshakeError(err)
	}
	mux := muxConfig()
	mux.EnableKeepAlive, mux.KeepAliveInterval = true, Idle/2 // of silence
	return newTCPSession(tc, Idle, mux, yamux.Client)
}

// ServeTCP makes a session of a connection whose TLS handshake is done. It
// takes conn over.
func ServeTCP(conn *tls.Conn) (Session, error) {
	return newTCPSession(conn, MaxIdle, muxConfig(), yamux.Server)
}

func muxConfig() *yamux.Config {
	return &yamux.Config{
		// Twice, because the peer may learn that a stream has ended, and open
		// another, before yamux here has counted it off.
		AcceptBacklog:           2 * MaxStreams,
		MaxIncomingStreams:      2 * MaxStreams,
		PingBacklog:             2,
		MeasureRTTInterval:      24 * time.Hour, // only serves window growth, which is off
		ConnectionWriteTimeout:  writeTimeout,
		InitialStreamWindowSize: 256 << 10, // the least that yamux allows; held only as far as filled
		MaxStreamWindowSize:     256 << 10,
		MaxMessageSize:          16 << 10,
		ReadBufSize:             0, // TLS buffers
		LogOutput:               io.Discard,
	}
}

func handshakeError(err error) error {
	e := &Error{Code: hmpb.Code_CODE_LOST, Text: err.Error(), Cause: err}
	var (
		alert  tls.AlertError
		verify *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &alert):
		e.Code, e.Remote = alertCode(uint8(alert)), true
	case errors.As(err, &verify):
		e.Code = hmpb.Code_CODE_FOREIGN_CERTIFICATE
	}
	return e
}

// tcpSession is yamux over TLS. One goroutine of its own takes the peer's
// streams off yamux, whose accept knows no context, and learns how the session
// ended; Close waits for it.
type tcpSession struct {
	tls      *tls.Conn
	conn     *idleConn
	mux      *yamux.Session
	ctx      context.Context
	accepted chan *yamux.Stream
	places   chan struct{}           // one per stream that we have open
	ended    context.CancelCauseFunc // the first reason stays
	pumped   chan struct{}
	closing  atomic.Bool
	closed   chan struct{} // closed when the first Close is through
}

type muxSide func(net.Conn, *yamux.Config, func() (yamux.MemoryManager, error)) (*yamux.Session, error)

func newTCPSession(conn *tls.Conn, idle time.Duration, conf *yamux.Config, side muxSide) (Session, error) {
	if state := conn.ConnectionState(); state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != ALPN {
		conn.Close()
		return nil, fmt.Errorf("making a session: connection speaks %s with protocol %q, not TLS 1.3 with %s",
			tls.VersionName(state.Version), state.NegotiatedProtocol, ALPN)
	}
	ic := newIdleConn(conn, idle)
	mux, err := side(ic, conf, nil)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("making a session: %w", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	s := &tcpSession{
		tls: conn, conn: ic, mux: mux, ctx: ctx, ended: cancel,
		accepted: make(chan *yamux.Stream),
		places:   make(chan struct{}, MaxStreams),
		pumped:   make(chan struct{}),
		closed:   make(chan struct{}),
	}
	go s.pump()
	return s, nil
}

// pump ends with the session.
func (s *tcpSession) pump() {
	defer close(s.pumped)
	for {
		st, err := s.mux.AcceptStream()
		if err != nil {
			s.ended(sessionError(err))
			return
		}
		select {
		case s.accepted <- st:
		case <-s.mux.CloseChan():
		}
	}
}

func (s *tcpSession) OpenStream(ctx context.Context) (Stream, error) {
	select {
	case s.places <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-s.ctx.Done():
		return nil, context.Cause(s.ctx)
	}
	st, err := s.mux.OpenStream(ctx)
	if err != nil {
		<-s.places
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, s.otherError(err)
	}
	return &tcpStream{Stream: st, session: s, done: func() { <-s.places }}, nil
}

func (s *tcpSession) AcceptStream(ctx context.Context) (Stream, error) {
	select {
	case st := <-s.accepted:
		return &tcpStream{Stream: st, session: s, done: func() {}}, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-s.ctx.Done():
		return nil, context.Cause(s.ctx)
	}
}

func (s *tcpSession) ConnectionState() tls.ConnectionState { return s.tls.ConnectionState() }
func (s *tcpSession) Transport() string                    { return "tcp" }
func (s *tcpSession) RemoteAddr() net.Addr                 { return s.tls.RemoteAddr() }
func (s *tcpSession) Context() context.Context             { return s.ctx }
func (s *tcpSession) Heard() uint64                        { return s.conn.heard.Load() }

// Close sends the code only: yamux has no room for a text, which stays in
// this end's own error.
func (s *tcpSession) Close(code hmpb.Code, text string) error {
	if !s.closing.CompareAndSwap(false, true) {
		<-s.closed
		return nil
	}
	defer close(s.closed)
	if !s.mux.IsClosed() {
		s.ended(&Error{Code: code, Text: cutText(text)})
		s.conn.goAway(goAwayBase + uint32(code))
	}
	// Not mux.Close, which waits for whatever else ends it now: its receive
	// loop sees that the connection is closed, and ends all.
	s.conn.Close() // may be closed already, by the loop
	<-s.pumped
	s.conn.writing <- struct{}{} // for ever: no write is under way any more, nor will be
	return nil
}

// sessionError says in our words how yamux ended, if not by our Close.
func sessionError(err error) error {
	e := &Error{Code: hmpb.Code_CODE_LOST, Text: err.Error(), Cause: err}
	var away *yamux.GoAwayError
	if errors.As(err, &away) && away.Remote {
		e.Remote, e.Text = true, ""
		switch {
		case away.ErrorCode >= goAwayBase:
			e.Code = codeOf(uint64(away.ErrorCode - goAwayBase))
		case away.ErrorCode == 1: // yamux: protocol error
			e.Code = hmpb.Code_CODE_MALFORMED_FRAME
		}
	}
	return e
}

// streamError says in our words how a call on a stream ended.
func (s *tcpSession) streamError(err error) error {
	var stream *yamux.StreamError
	switch {
	case err == nil || err == io.EOF:
		return err
	case errors.Is(err, yamux.ErrTimeout):
		return os.ErrDeadlineExceeded
	case errors.Is(err, yamux.ErrStreamClosed):
		return io.ErrClosedPipe
	case errors.As(err, &stream):
		code := codeOf(uint64(stream.ErrorCode))
		if stream.Remote && stream.ErrorCode == 0 {
			// yamux's own reset; the peer's had a code.
			code = hmpb.Code_CODE_TOO_MANY_STREAMS
		}
		return &Error{Code: code, Remote: stream.Remote, Stream: true, Cause: err}
	}
	return s.otherError(err)
}

// otherError is for what is no end of a stream with a code.
func (s *tcpSession) otherError(err error) error {
	if !s.mux.IsClosed() {
		// A reset by a data frame, which has no code, or stream ids used up.
		return &Error{Code: hmpb.Code_CODE_LOST, Stream: true, Text: err.Error(), Cause: err}
	}
	<-s.ctx.Done() // the session ended, and pump knows how
	return context.Cause(s.ctx)
}

// tcpStream notices when both its directions have ended, and then makes room
// for another stream.
type tcpStream struct {
	*yamux.Stream
	session *tcpSession
	done    func()

	mu                  sync.Mutex
	readDone, writeDone bool
}

func (st *tcpStream) ended(read, write bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	before := st.readDone && st.writeDone
	st.readDone = st.readDone || read
	st.writeDone = st.writeDone || write
	if !before && st.readDone && st.writeDone {
		st.done()
	}
}

func (st *tcpStream) Read(b []byte) (int, error) {
	n, err := st.Stream.Read(b)
	if err = st.session.streamError(err); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		st.ended(true, err != io.EOF)
	}
	return n, err
}

func (st *tcpStream) Write(b []byte) (int, error) {
	n, err := st.Stream.Write(b)
	return n, st.session.streamError(err)
}

func (st *tcpStream) CloseWrite() error {
	err := st.session.streamError(st.Stream.CloseWrite())
	st.ended(false, true)
	return err
}

func (st *tcpStream) Reset(code hmpb.Code) {
	st.Stream.ResetWithError(uint32(code))
	st.ended(true, true)
}

// idleConn ends a connection that says nothing for too long, which yamux does
// only for the side that pings, and says why it ends.
type idleConn struct {
	*tls.Conn
	idle      time.Duration
	writing   chan struct{} // holds one token while a frame is written
	away      bool          // the last frame is written; guarded by writing
	closed    chan struct{}
	closing   sync.Once
	ending    sync.Once
	readEnded chan struct{}
	heard     atomic.Uint64 // reads that brought something
}

func newIdleConn(conn *tls.Conn, idle time.Duration) *idleConn {
	return &idleConn{Conn: conn, idle: idle, writing: make(chan struct{}, 1),
		closed: make(chan struct{}), readEnded: make(chan struct{})}
}

func (c *idleConn) Read(b []byte) (int, error) {
	err := c.SetReadDeadline(time.Now().Add(c.idle))
	n := 0
	if err == nil {
		n, err = c.Conn.Read(b)
	}
	if n > 0 {
		c.heard.Add(1)
	}
	if err != nil {
		c.ending.Do(func() { close(c.readEnded) })
	}
	return n, err
}

// Write is called by yamux once per frame. Nothing follows the GoAway: yamux, which
// answers streams that come meanwhile, would take the error for the connection's and
// close it, with bytes unread, in the middle of goAway.
func (c *idleConn) Write(b []byte) (int, error) {
	select {
	case c.writing <- struct{}{}:
	case <-c.closed:
		return 0, net.ErrClosed
	}
	if c.away {
		<-c.writing
		return len(b), nil
	}
	n, err := c.Conn.Write(b)
	<-c.writing
	if err != nil {
		c.hearOut()
	}
	return n, err
}

// hearOut gives what came before a write failed the time to be read, for yamux closes
// the connection at once: a peer that ended the session, and then reset a connection on
// which we went on sending, has said why.
func (c *idleConn) hearOut() {
	t := time.NewTimer(lingerFor)
	defer t.Stop()
	select {
	case <-c.readEnded:
	case <-c.closed:
	case <-t.C:
	}
}

// goAway sends yamux's last frame and waits until the peer has closed, for
// lingerFor altogether: a socket closed with unread bytes sends a reset, which
// overtakes the frame. yamux could send it itself, but holds a lock meanwhile
// that its keep-alive then waits for.
func (c *idleConn) goAway(code uint32) {
	t := time.NewTimer(lingerFor)
	defer t.Stop()
	select {
	case c.writing <- struct{}{}:
	case <-c.closed:
		return
	case <-t.C:
		return // the peer reads nothing
	}
	frame := make([]byte, 12) // version 0, type, flags, stream id, code
	frame[1] = 3
	binary.BigEndian.PutUint32(frame[8:], code)
	c.SetWriteDeadline(time.Now().Add(lingerFor))
	_, err := c.Conn.Write(frame)
	c.away = true
	<-c.writing
	if err != nil {
		return
	}
	if half, ok := c.NetConn().(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	select {
	case <-c.readEnded:
	case <-t.C:
	}
}

// Close leaves TLS's own goodbye out: it can wait 5 s for a peer that does not
// read, and the GoAway has said it already, as safely.
func (c *idleConn) Close() error {
	c.closing.Do(func() { close(c.closed) })
	return c.NetConn().Close()
}
