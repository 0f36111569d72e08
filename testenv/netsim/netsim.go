// Package netsim is a network in memory for tests in a synctest bubble: a day
// with loss, outages and changes of network passes in seconds, and always the
// same way for the same seed.
//
// Each Host is one node with an access line of its own. Its Weather says what
// the line does just now; a packet must get through the sender's line and the
// receiver's. UDP runs over quic-go's simnet, TCP over pipes that stall while
// the line is cut, as a real connection does. Nothing here knows what the
// bytes mean.
package netsim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"
)

// Weather is what the access line of a host does. The zero value is a good line.
type Weather struct {
	LossUp, LossDown float64 // share of UDP packets lost, 0..1
	CutUp, CutDown   bool    // nothing passes, and nobody is told
	UDPBlocked       bool    // UDP is dropped both ways, TCP passes
	Unreachable      bool    // sending fails with ENETUNREACH, as without any network
}

// cut says whether TCP stalls: it needs both directions.
func (w Weather) cut() bool { return w.CutUp || w.CutDown || w.Unreachable }

// Config of a network.
type Config struct {
	Seed    uint64
	Latency time.Duration // from any host to any other, one way
}

// Network joins hosts.
type Network struct {
	cfg Config

	mu sync.Mutex
	// below is guarded by mu
	random *rand.Rand
	hosts  map[netip.Addr]*Host
	nets   []*simnet.Simnet
	socks  []*simnet.SimConn
	conns  []net.Conn
	closed bool
}

// New makes an empty network.
func New(cfg Config) *Network {
	return &Network{cfg: cfg, random: rand.New(rand.NewPCG(cfg.Seed, 0)), hosts: map[netip.Addr]*Host{}}
}

// Close ends all sockets, connections and goroutines of the network. Whoever
// uses them must have been told to stop.
func (n *Network) Close() error {
	n.mu.Lock()
	n.closed = true
	nets, socks, conns := n.nets, n.socks, n.conns
	n.nets, n.socks, n.conns = nil, nil, nil
	n.mu.Unlock()
	var errs []error
	for _, c := range conns {
		c.Close()
	}
	// A link that delivers into a full socket goes on only when that closes.
	for _, s := range socks {
		errs = append(errs, s.Close())
	}
	for _, s := range nets {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// Host adds a host; addr is an IP address that no other host has.
func (n *Network) Host(addr string) *Host {
	ip := netip.MustParseAddr(addr)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts[ip] != nil {
		panic("netsim: two hosts at " + addr)
	}
	h := &Host{net: n, home: ip, addr: ip, changed: make(chan struct{}),
		udp: map[uint16]*simnet.SimulatedLink{}, tcp: map[uint16]*listener{}, nextPort: 40000}
	n.hosts[ip] = h
	return h
}

// Host is one machine with one access line.
type Host struct {
	net  *Network
	home netip.Addr // what its sockets believe; never changes

	// below is guarded by net.mu
	addr     netip.Addr // what others see
	weather  Weather
	changed  chan struct{} // closed and made anew when the weather changes
	udp      map[uint16]*simnet.SimulatedLink
	tcp      map[uint16]*listener
	nextPort uint16
	sent     int64
}

// Sent is how many bytes the host put on its line as UDP, with the headers of
// UDP and IPv4, lost ones too.
func (h *Host) Sent() int64 {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return h.sent
}

// Set changes the weather.
func (h *Host) Set(w Weather) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.weather = w
	h.wakeLocked()
}

func (h *Host) wakeLocked() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// Move gives the host another address, as a router does that forgot its table
// or a laptop that roams behind one: sockets live on, packets to the old
// address are lost, TCP connections stall for ever.
func (h *Host) Move(addr string) {
	ip := netip.MustParseAddr(addr)
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	delete(h.net.hosts, h.addr)
	h.addr = ip
	h.net.hosts[ip] = h
	h.wakeLocked()
}

// Addr is where others reach the given port of the host now.
func (h *Host) Addr(port uint16) *net.UDPAddr {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(h.addr, port))
}

// ListenPacket opens a UDP socket; port 0 takes a free one.
func (h *Host) ListenPacket(port uint16) (net.PacketConn, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if port == 0 {
		port = h.nextPort
		h.nextPort++
	}
	if h.net.closed || h.udp[port] != nil {
		return nil, fmt.Errorf("opening UDP port %d of %s: %w", port, h.addr, syscall.EADDRINUSE)
	}
	// One Simnet per socket: a link that is added to a running one never starts.
	s := &simnet.Simnet{Router: (*router)(h)}
	conn := s.NewEndpoint(net.UDPAddrFromAddrPort(netip.AddrPortFrom(h.home, port)),
		simnet.NodeBiDiLinkSettings{Latency: h.net.cfg.Latency, Downlink: simnet.LinkSettings{MTU: 1500}, Uplink: simnet.LinkSettings{MTU: 1500}})
	if err := s.Start(); err != nil {
		return nil, err
	}
	h.net.nets = append(h.net.nets, s)
	h.net.socks = append(h.net.socks, conn)
	return &socket{SimConn: conn, host: h, port: port}, nil
}

// socket frees its port when it closes, and fails to send as the weather says.
type socket struct {
	*simnet.SimConn
	host *Host
	port uint16
}

func (s *socket) WriteTo(b []byte, addr net.Addr) (int, error) {
	s.host.net.mu.Lock()
	unreachable := s.host.weather.Unreachable
	s.host.net.mu.Unlock()
	if unreachable {
		return 0, &net.OpError{Op: "write", Net: "udp", Addr: addr, Err: syscall.ENETUNREACH}
	}
	return s.SimConn.WriteTo(b, addr)
}

func (s *socket) Close() error {
	s.host.net.mu.Lock()
	delete(s.host.udp, s.port)
	s.host.net.mu.Unlock()
	return s.SimConn.Close()
}

// router is a host seen by the link of one of its sockets.
type router Host

func (r *router) host() *Host { return (*Host)(r) }

// AddNode is called by ListenPacket, which holds the lock.
func (r *router) AddNode(addr net.Addr, to simnet.PacketReceiver) {
	r.udp[uint16(addr.(*net.UDPAddr).Port)] = to.(*simnet.SimulatedLink)
}

// SendPacket takes a packet off the sender's line and puts it on the receiver's.
func (r *router) SendPacket(p simnet.Packet) error {
	from := r.host()
	target := p.To.(*net.UDPAddr).AddrPort()
	n := from.net
	n.mu.Lock()
	from.sent += int64(len(p.Data)) + 28
	to := n.hosts[target.Addr().Unmap()]
	if to == nil || n.lostLocked(from.weather, to.weather) {
		n.mu.Unlock()
		return nil
	}
	link := to.udp[target.Port()]
	p.From = net.UDPAddrFromAddrPort(netip.AddrPortFrom(from.addr, uint16(p.From.(*net.UDPAddr).Port)))
	n.mu.Unlock()
	if link != nil {
		link.RecvPacket(p)
	}
	return nil
}

func (n *Network) lostLocked(from, to Weather) bool {
	if from.CutUp || to.CutDown || from.UDPBlocked || to.UDPBlocked || to.Unreachable {
		return true
	}
	return n.random.Float64() < from.LossUp || n.random.Float64() < to.LossDown
}

// DialTCP connects to a listener of another host. While a line is cut it waits
// until ctx ends.
func (h *Host) DialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	h.net.mu.Lock()
	peer := h.net.hosts[to.Addr().Unmap()]
	h.net.mu.Unlock()
	if peer == nil {
		<-ctx.Done()
		return nil, fmt.Errorf("connecting to %s: %w", to, context.Cause(ctx))
	}
	p := newPath(h, peer)
	if err := p.wait(ctx.Done()); err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", to, context.Cause(ctx))
	}
	time.Sleep(2 * h.net.cfg.Latency) // the TCP handshake
	h.net.mu.Lock()
	l := peer.tcp[to.Port()]
	port := h.nextPort
	h.nextPort++
	local := netip.AddrPortFrom(h.addr, port)
	h.net.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("connecting to %s: %w", to, syscall.ECONNREFUSED)
	}
	near, far := pipe(p, net.TCPAddrFromAddrPort(local), net.TCPAddrFromAddrPort(to))
	select {
	case l.waiting <- far:
		h.net.mu.Lock()
		h.net.conns = append(h.net.conns, near, far)
		h.net.mu.Unlock()
		return near, nil
	case <-l.done:
		return nil, fmt.Errorf("connecting to %s: %w", to, syscall.ECONNREFUSED)
	case <-ctx.Done():
		return nil, fmt.Errorf("connecting to %s: %w", to, context.Cause(ctx))
	}
}
