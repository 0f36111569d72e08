package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"hausmeister/proto/hmpb"
)

// A Session is one authenticated connection between an agent and a collector,
// over QUIC or over TLS on TCP; both behave alike, as the conformance suite
// in this package proves.
type Session interface {
	// OpenStream opens a stream without a header; use Open for a typed one.
	// It waits while the peer's stream limit is reached.
	OpenStream(ctx context.Context) (Stream, error)
	// AcceptStream waits for the next stream that the peer opened.
	AcceptStream(ctx context.Context) (Stream, error)
	// ConnectionState is that of the TLS handshake below; it also gives the
	// exporter that enrolment binds to.
	ConnectionState() tls.ConnectionState
	// Transport is "quic" or "tcp"; whoever wraps a session may know it better.
	Transport() string
	// Heard grows with whatever arrives from the peer, be it only that it got
	// something: over QUIC each thing sent is answered within a round trip, so
	// that silence after sending means a dead path, however busy the peer is.
	// TCP's own acknowledgements are the system's and not seen here.
	Heard() uint64
	RemoteAddr() net.Addr
	// Close ends the session and all its streams at once, with what they had
	// not yet sent: see Framed.Finish. The peer sees the code, and over QUIC
	// also the text, which is for logs and cut to MaxCloseText bytes.
	Close(code hmpb.Code, text string) error
	// Context ends with the session; its cause is an *Error.
	Context() context.Context
}

// A Stream is a two-way byte stream of a Session. It counts against the
// peer's limit until both sides have ended: read it to io.EOF and CloseWrite,
// or Reset it. A passed deadline gives os.ErrDeadlineExceeded, and the stream
// lives on.
type Stream interface {
	io.Reader
	io.Writer
	// CloseWrite ends this side's bytes: the peer reads io.EOF after them.
	CloseWrite() error
	// Reset gives up both directions at once; the peer's reads and writes end
	// with an *Error that carries the code.
	Reset(code hmpb.Code)
	SetDeadline(t time.Time) error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// A Listener gives the sessions of one transport, after their TLS handshake.
type Listener interface {
	Accept(ctx context.Context) (Session, error)
	Addr() net.Addr
	Close() error
}

// Error is how a session or a stream ended.
type Error struct {
	Code   hmpb.Code
	Remote bool // the peer ended it
	Stream bool // only a stream ended, the session lives
	Text   string
	Cause  error // what the transport said, if anything
}

func (e *Error) Error() string {
	what, who := "session", "here"
	if e.Stream {
		what = "stream"
	}
	if e.Remote {
		who = "by the peer"
	}
	s := fmt.Sprintf("%s ended %s: %s", what, who, e.Code)
	if e.Text != "" {
		s += " (" + e.Text + ")"
	}
	return s
}

func (e *Error) Unwrap() error { return e.Cause }

// CodeOf returns the code of the first *Error in err's chain, else
// CODE_UNSPECIFIED.
func CodeOf(err error) hmpb.Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return hmpb.Code_CODE_UNSPECIFIED
}
