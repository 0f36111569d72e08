package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"hausmeister/proto/hmpb"
)

// EndpointConfig is what the two ends of QUIC sessions may set.
type EndpointConfig struct {
	// StatelessResetKey lets a restarted collector tell the peers of its
	// former sessions at their next packet that these are gone. It is kept on
	// disk and shared by all collectors of one name; nil turns that off.
	StatelessResetKey *[32]byte
	// TokenKey protects address validation tokens, kept and shared likewise;
	// nil takes a random one.
	TokenKey *[32]byte
	// HandshakeTimeout ends a handshake in which the peer is silent for so
	// long, and any after twice that. Default 10 s.
	HandshakeTimeout time.Duration
}

const defaultHandshakeTimeout = 10 * time.Second

// Endpoint is one UDP socket with any number of QUIC sessions, dialled and
// accepted. It stays open as long as any session that ever used it: quic-go
// kills them with their transport.
type Endpoint struct {
	transport *quic.Transport
	conf      EndpointConfig
}

// NewEndpoint takes over pc, which Close closes. Nothing is sent before Dial
// or Listen.
func NewEndpoint(pc net.PacketConn, conf EndpointConfig) *Endpoint {
	if conf.HandshakeTimeout <= 0 {
		conf.HandshakeTimeout = defaultHandshakeTimeout
	}
	return &Endpoint{conf: conf, transport: &quic.Transport{
		Conn:              pc,
		StatelessResetKey: (*quic.StatelessResetKey)(conf.StatelessResetKey),
		TokenGeneratorKey: (*quic.TokenGeneratorKey)(conf.TokenKey),
	}}
}

// Dial opens a session. That it succeeds says only that the collector's
// certificate is good: the collector judges ours afterwards, and only its
// welcome means "in". A refused handshake is an *Error.
func (e *Endpoint) Dial(ctx context.Context, addr net.Addr, conf *tls.Config) (Session, error) {
	conn, err := e.transport.Dial(ctx, addr, withALPN(conf), &quic.Config{
		HandshakeIdleTimeout: e.conf.HandshakeTimeout,
		MaxIdleTimeout:       Idle,
		KeepAlivePeriod:      Idle / 2,
		// Down come settings now and update bytes later, for one device.
		InitialStreamReceiveWindow:     128 << 10,
		MaxStreamReceiveWindow:         1 << 20,
		InitialConnectionReceiveWindow: 192 << 10,
		MaxConnectionReceiveWindow:     2 << 20,
		MaxIncomingStreams:             MaxStreams,
		MaxIncomingUniStreams:          -1,
		// Each end would try four sizes above 1280 in each session: 12 kB with the
		// answers (measured), a fortieth of what a device may use in a day. A
		// report never fills one packet, and an update of 12 MB would have 0.6 %
		// less headers.
		DisablePathMTUDiscovery: true,
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, quicError(err)
	}
	return newQUICSession(conn), nil
}

// Listen accepts sessions on the endpoint. Whoever calls Accept hands over
// and comes back at once: quic-go refuses peers while 32 wait. Closing the
// listener leaves its sessions alone.
func (e *Endpoint) Listen(conf *tls.Config) (Listener, error) {
	ln, err := e.transport.Listen(withALPN(conf), &quic.Config{
		HandshakeIdleTimeout: e.conf.HandshakeTimeout,
		MaxIdleTimeout:       MaxIdle,
		// 70,000 of these: what one peer can make us hold at most is
		// MaxConnectionReceiveWindow, what it needs is one batch on its way.
		InitialStreamReceiveWindow:     64 << 10,
		MaxStreamReceiveWindow:         256 << 10,
		InitialConnectionReceiveWindow: 96 << 10,
		MaxConnectionReceiveWindow:     512 << 10,
		MaxIncomingStreams:             MaxStreams,
		MaxIncomingUniStreams:          -1,
		// See Dial.
		DisablePathMTUDiscovery: true,
	})
	if err != nil {
		return nil, fmt.Errorf("listening for QUIC: %w", err)
	}
	return &quicListener{ln}, nil
}

// LocalAddr is that of the socket.
func (e *Endpoint) LocalAddr() net.Addr { return e.transport.Conn.LocalAddr() }

// Close ends the endpoint and its socket. Sessions that are still open end
// without telling the peer; close them first.
func (e *Endpoint) Close() error {
	return errors.Join(e.transport.Close(), e.transport.Conn.Close())
}

// withALPN makes sure that a TLS config says which protocol we speak.
func withALPN(conf *tls.Config) *tls.Config {
	if len(conf.NextProtos) > 0 {
		return conf
	}
	conf = conf.Clone()
	conf.NextProtos = []string{ALPN}
	return conf
}

type quicListener struct{ ln *quic.Listener }

func (l *quicListener) Accept(ctx context.Context) (Session, error) {
	conn, err := l.ln.Accept(ctx)
	switch {
	case err == nil:
		return newQUICSession(conn), nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	default:
		return nil, fmt.Errorf("accepting a QUIC session: %w: %w", net.ErrClosed, err)
	}
}

func (l *quicListener) Addr() net.Addr { return l.ln.Addr() }
func (l *quicListener) Close() error   { return l.ln.Close() }

type quicSession struct {
	conn *quic.Conn
	ctx  context.Context
}

func newQUICSession(conn *quic.Conn) *quicSession {
	// The connection's own context cannot serve: its cause is quic-go's.
	ctx, cancel := context.WithCancelCause(context.Background())
	context.AfterFunc(conn.Context(), func() { cancel(quicError(context.Cause(conn.Context()))) })
	return &quicSession{conn: conn, ctx: ctx}
}

func (s *quicSession) OpenStream(ctx context.Context) (Stream, error) {
	return s.stream(ctx, s.conn.OpenStreamSync)
}

func (s *quicSession) AcceptStream(ctx context.Context) (Stream, error) {
	return s.stream(ctx, s.conn.AcceptStream)
}

func (s *quicSession) stream(ctx context.Context, get func(context.Context) (*quic.Stream, error)) (Stream, error) {
	st, err := get(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, quicError(err)
	}
	return &quicStream{Stream: st}, nil
}

func (s *quicSession) ConnectionState() tls.ConnectionState { return s.conn.ConnectionState().TLS }
func (s *quicSession) Transport() string                    { return "quic" }
func (s *quicSession) RemoteAddr() net.Addr                 { return s.conn.RemoteAddr() }
func (s *quicSession) Context() context.Context             { return s.ctx }
func (s *quicSession) Heard() uint64                        { return s.conn.ConnectionStats().PacketsReceived }

func (s *quicSession) Close(code hmpb.Code, text string) error {
	err := s.conn.CloseWithError(quic.ApplicationErrorCode(code), cutText(text))
	<-s.ctx.Done()
	return err
}

// cutText shortens a close text to MaxCloseText bytes of whole runes.
func cutText(text string) string {
	if len(text) > MaxCloseText {
		text = text[:MaxCloseText]
	}
	return strings.ToValidUTF8(text, "")
}

type quicStream struct {
	*quic.Stream
	reset atomic.Pointer[Error] // by the peer
}

func (s *quicStream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	return n, s.error(err)
}

func (s *quicStream) Write(b []byte) (int, error) {
	n, err := s.Stream.Write(b)
	return n, s.error(err)
}

// error gives the other direction up as well when the peer has reset the
// stream: quic-go counts it as open until both ends have. What that direction
// would then say is hidden, it is the peer's reset too.
func (s *quicStream) error(err error) error {
	if err == nil {
		return nil
	}
	if reset := s.reset.Load(); reset != nil {
		return reset
	}
	err = quicError(err)
	if e, ok := err.(*Error); ok && e.Stream && e.Remote {
		s.reset.Store(e)
		s.Reset(e.Code)
	}
	return err
}

// CloseWrite is quic-go's Close.
func (s *quicStream) CloseWrite() error { return s.error(s.Stream.Close()) }

func (s *quicStream) Reset(code hmpb.Code) {
	// In this order: who waits in a Read is woken by the second, and his own code comes late.
	s.CancelWrite(quic.StreamErrorCode(code))
	s.CancelRead(quic.StreamErrorCode(code))
}

// quicError says in our words how quic-go ended something.
func quicError(err error) error {
	var (
		stream    *quic.StreamError
		app       *quic.ApplicationError
		transport *quic.TransportError
	)
	switch {
	case err == nil || err == io.EOF || errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case errors.Is(err, quic.ErrStreamClosed):
		return io.ErrClosedPipe
	case errors.As(err, &stream):
		return &Error{Code: codeOf(uint64(stream.ErrorCode)), Remote: stream.Remote, Stream: true, Cause: err}
	case errors.As(err, &app):
		return &Error{Code: codeOf(uint64(app.ErrorCode)), Remote: app.Remote, Text: app.ErrorMessage, Cause: err}
	case errors.As(err, &transport):
		return &Error{Code: transportCode(transport), Remote: transport.Remote, Text: transport.Error(), Cause: err}
	}
	// Silence, a stateless reset, our own transport closed.
	return &Error{Code: hmpb.Code_CODE_LOST, Text: err.Error(), Cause: err}
}

// codeOf takes a number from the peer; one that is no Code stays what it is,
// a newer peer may know more.
func codeOf(n uint64) hmpb.Code {
	if n > 1<<31-1 {
		return hmpb.Code_CODE_UNSPECIFIED
	}
	return hmpb.Code(n)
}

func transportCode(err *quic.TransportError) hmpb.Code {
	switch {
	case err.ErrorCode == quic.ConnectionRefused:
		return hmpb.Code_CODE_COME_BACK // its accept queue was full
	case err.ErrorCode == quic.StreamLimitError:
		return hmpb.Code_CODE_TOO_MANY_STREAMS
	case err.ErrorCode.IsCryptoError():
		return alertCode(uint8(err.ErrorCode))
	}
	return hmpb.Code_CODE_LOST
}

// alertCode is what a TLS alert (RFC 8446 section 6.2) means to us.
func alertCode(alert uint8) hmpb.Code {
	switch alert {
	case 42, 43, 44, 46, 48: // bad, unsupported, revoked, unknown certificate; unknown authority
		return hmpb.Code_CODE_FOREIGN_CERTIFICATE
	case 45:
		return hmpb.Code_CODE_CERTIFICATE_EXPIRED
	case 116:
		return hmpb.Code_CODE_NO_CERTIFICATE
	}
	return hmpb.Code_CODE_LOST
}
