package collector

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"hausmeister/platform/supervise"
	"hausmeister/platform/wake"
	"hausmeister/proto/wire"
)

const (
	// handshakeWithin ends a TCP connection that has not finished its TLS
	// handshake, as QUIC ends its own.
	handshakeWithin = 10 * time.Second
	// maxHandshakes bounds handshakes under way. Above it new connections are
	// closed at once: whoever opens thousands and says nothing holds each place
	// for ten seconds, and waiting for them would stop everybody.
	maxHandshakes = 4096
)

// ports is the one port number of the collector, UDP and TCP.
type ports struct {
	udp *net.UDPConn
	tcp *net.TCPListener
}

// listenPorts takes both, and says clearly when it cannot.
func listenPorts(address string) (ports, error) {
	ta, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return ports{}, fmt.Errorf("%w: listen: %w", ErrConfig, err)
	}
	// Port 0 takes a free one of TCP, which may not be free for UDP.
	for try := 0; ; try++ {
		tcp, err := net.ListenTCP("tcp", ta)
		if err != nil {
			return ports{}, portError("TCP", address, err)
		}
		bound := tcp.Addr().(*net.TCPAddr)
		udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: ta.IP, Port: bound.Port, Zone: ta.Zone})
		if err == nil {
			return ports{udp: udp, tcp: tcp}, nil
		}
		tcp.Close()
		if ta.Port != 0 || try == 10 {
			return ports{}, portError("UDP", address, err)
		}
	}
}

func portError(network, address string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listening on %s (%s): another program uses this port: %w", address, network, err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("listening on %s (%s): ports below 1024 need a right (CAP_NET_BIND_SERVICE): %w", address, network, err)
	}
	return fmt.Errorf("listening on %s (%s): %w", address, network, err)
}

func (p ports) close() error { return errors.Join(p.tcp.Close(), p.udp.Close()) }

// endpoint makes the QUIC side of the port.
func (p ports) endpoint(keys wire.EndpointConfig) *wire.Endpoint {
	return wire.NewEndpoint(wire.TolerantSocket(p.udp, wake.Transient), keys)
}

// splitter shares the TCP side between devices and browsers: by the protocol
// that the TLS handshake settles on. Each handshake runs beside the others, so
// one that stalls holds up nobody.
type splitter struct {
	tcp     *net.TCPListener
	devices *tls.Config   // of sessions
	pages   *tls.Config   // of everything else
	within  time.Duration // of a handshake
	log     *slog.Logger

	sessions sessionQueue
	browsers connQueue
	refused  atomic.Uint64 // connections closed because of maxHandshakes
	failed   atomic.Uint64 // handshakes
}

func newSplitter(tcp *net.TCPListener, devices *tls.Config, pages func(*tls.ClientHelloInfo) (*tls.Certificate, error), log *slog.Logger) *splitter {
	return &splitter{
		tcp: tcp, devices: devices, log: log, within: handshakeWithin,
		pages:    &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: pages},
		sessions: sessionQueue{addr: tcp.Addr(), c: make(chan wire.Session)},
		browsers: connQueue{addr: tcp.Addr(), c: make(chan net.Conn), closed: make(chan struct{})},
	}
}

// Run accepts until ctx ends.
func (s *splitter) Run(ctx context.Context, ready func()) error {
	crew := supervise.NewCrew(ctx, maxHandshakes+1)
	crew.OnPanic = func(p *supervise.PanicError) { s.log.Error("handshake panicked", "error", p, "stack", string(p.Stack)) }
	defer crew.Wait()
	defer crew.Stop()
	if err := crew.Go(func(ctx context.Context) {
		<-ctx.Done()
		s.tcp.Close() // ends Accept below
	}); err != nil {
		return nil
	}
	choose := &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Contains(hello.SupportedProtos, wire.ALPN) {
			return s.devices, nil
		}
		return s.pages, nil
	}}
	ready()
	for {
		conn, err := s.tcp.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if !passing(err) {
				return fmt.Errorf("accepting on %s: %w", s.tcp.Addr(), err)
			}
			s.log.Warn("accepting TCP connections pauses", "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		if !crew.TryGo(func(ctx context.Context) { s.handshake(ctx, tls.Server(conn, choose)) }) {
			s.refused.Add(1)
			conn.Close()
		}
	}
}

// passing says of an error of Accept that the next may work: the peer had gone
// again, or this process has no file left for the moment.
func passing(err error) bool {
	return errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) ||
		errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

// handshake finishes one connection and hands it to its side.
func (s *splitter) handshake(ctx context.Context, conn *tls.Conn) {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		s.failed.Add(1)
		s.log.Debug("TLS handshake failed", "error", err)
		conn.Close()
		return
	}
	if conn.ConnectionState().NegotiatedProtocol != wire.ALPN {
		s.browsers.put(ctx, conn)
		return
	}
	session, err := wire.ServeTCP(conn)
	if err != nil {
		s.failed.Add(1)
		s.log.Debug("session over TCP failed at its start", "error", err)
		conn.Close()
		return
	}
	s.sessions.put(ctx, session)
}

// sessionQueue is the wire.Listener of sessions over TCP.
type sessionQueue struct {
	addr net.Addr
	c    chan wire.Session
}

func (q *sessionQueue) put(ctx context.Context, session wire.Session) {
	select {
	case q.c <- session:
	case <-ctx.Done():
		session.Close(codeShuttingDown, "not taken in time")
	}
}

func (q *sessionQueue) Accept(ctx context.Context) (wire.Session, error) {
	select {
	case session := <-q.c:
		return session, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (q *sessionQueue) Addr() net.Addr { return q.addr }
func (q *sessionQueue) Close() error   { return nil } // the splitter owns the socket

// connQueue is the net.Listener of browsers' connections.
type connQueue struct {
	addr   net.Addr
	c      chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (q *connQueue) put(ctx context.Context, conn net.Conn) {
	select {
	case q.c <- conn:
	case <-q.closed:
		conn.Close()
	case <-ctx.Done():
		conn.Close()
	}
}

func (q *connQueue) Accept() (net.Conn, error) {
	select {
	case conn := <-q.c:
		return conn, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

func (q *connQueue) Addr() net.Addr { return q.addr }
func (q *connQueue) Close() error   { q.once.Do(func() { close(q.closed) }); return nil }
