// Package wire carries sessions between agent and collector: typed streams,
// frames, limits, versions and close codes, over QUIC and over TLS 1.3 with
// yamux on TCP. It knows how long which message may be, not what it means;
// that is written in proto/PROTOCOL.md and done by the packages that open the
// streams.
//
// It promises that no byte of a peer makes it allocate more than the limit of
// the message that it waits for, that a frame which is none ends the session
// with its code, that every end of a session or stream is an *Error with the
// same code on both transports, and that Close leaves no goroutine behind. It
// keeps nothing on disk, so a crash leaves nothing.
package wire
