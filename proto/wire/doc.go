// Package wire carries sessions between agent and collector: streams, frames,
// limits, versions and close codes, over QUIC and over TLS 1.3 with yamux on
// TCP. It knows which message may be how long, not what it means; that is
// written in proto/PROTOCOL.md and done by the packages that open the streams.
package wire
