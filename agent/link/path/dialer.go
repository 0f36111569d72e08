package path

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"hausmeister/agent/config"
	"hausmeister/platform/netpath"
	"hausmeister/platform/supervise"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
)

const (
	// headStart is what the way that begins has before the others.
	headStart = 500 * time.Millisecond
	// stagger is how long one address has before the next is tried beside it
	// (RFC 8305 section 5), maxAddresses how many at most.
	stagger      = 250 * time.Millisecond
	maxAddresses = 4
	// raceMost bounds one race; what the caller's deadline leaves after that
	// is for finding out why.
	raceMost = 15 * time.Second
)

// The transports, as the device's state names them.
const (
	QUIC     = "quic"
	TCP      = "tcp"
	TCPProxy = "tcp_proxy"
)

// Endpoint dials over QUIC; *wire.Endpoint does.
type Endpoint interface {
	Dial(ctx context.Context, addr net.Addr, conf *tls.Config) (wire.Session, error)
}

// Config of a Dialer. Endpoint is needed.
type Config struct {
	// Endpoint is kept for the whole run: quic-go kills a session with the
	// socket that it ever used.
	Endpoint Endpoint
	// Connect opens a TCP connection to HOST:PORT; nil = there is only QUIC.
	Connect func(ctx context.Context, address string) (net.Conn, error)
	// Lookup finds a host's addresses, best first; nil = the system's resolver.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// Proxies names proxies for HOST:PORT, best first; nil = there are none.
	Proxies func(ctx context.Context, address string) ([]*url.URL, error)
	// Network describes the network that we are in; nil = always the same.
	Network func() (string, error)
	// Networks remembers; nil = nobody does.
	Networks *config.Networks
	// PortalProbe is as in config.Settings.
	PortalProbe string
	Now         func() time.Time // device clock; nil = time.Now
	Log         *slog.Logger     // nil = slog.Default
}

// Dialer dials. Its methods may be called by several goroutines.
type Dialer struct {
	c Config

	mu sync.Mutex
	// below is guarded by mu
	probe     probe
	diagnosed time.Time // when a handshake was last repeated to learn a name
}

// New makes a Dialer; nothing is sent before Dial.
func New(c Config) *Dialer {
	if c.Lookup == nil {
		c.Lookup = lookup
	}
	if c.Proxies == nil {
		c.Proxies = func(context.Context, string) ([]*url.URL, error) { return nil, nil }
	}
	if c.Network == nil {
		c.Network = func() (string, error) { return "", nil }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Dialer{c: c}
}

// session knows the way that it came.
type session struct {
	wire.Session
	transport string
	proxy     string // HOST:PORT
	network   string
	inspected bool // another way in this network was
}

func (s *session) Transport() string { return s.transport }

// way is how it is remembered. A password of the proxy's does not get there.
func (s *session) way() string { return strings.TrimSpace(s.transport + " " + s.proxy) }

// Dial opens a session to address, HOST:PORT, the quickest way that works.
func (d *Dialer) Dial(ctx context.Context, address string, conf *tls.Config) (wire.Session, error) {
	network := d.network()
	first, proxy, _ := strings.Cut(d.way(network), " ")
	order := []string{QUIC, TCP, TCPProxy}
	switch first {
	case TCP:
		order = []string{TCP, QUIC, TCPProxy}
	case TCPProxy:
		order = []string{TCPProxy, QUIC, TCP}
	}
	return d.dial(ctx, address, conf, plan{network: network, order: order, proxy: proxy})
}

// DialAround is Dial when QUIC has just stopped working. It comes last, and yet
// it comes: the router may only have forgotten the old connection.
func (d *Dialer) DialAround(ctx context.Context, address string, conf *tls.Config) (wire.Session, error) {
	network := d.network()
	_, proxy, _ := strings.Cut(d.way(network), " ")
	return d.dial(ctx, address, conf, plan{network: network, order: []string{TCP, TCPProxy, QUIC}, proxy: proxy})
}

// DialQUIC tries QUIC alone, to see whether it works again.
func (d *Dialer) DialQUIC(ctx context.Context, address string, conf *tls.Config) (wire.Session, error) {
	return d.dial(ctx, address, conf, plan{network: d.network(), order: []string{QUIC}})
}

// Worked remembers the way of a session that got its Welcome.
func (d *Dialer) Worked(s wire.Session) {
	way, ok := s.(*session)
	if !ok || d.c.Networks == nil {
		return
	}
	err := d.c.Networks.Worked(way.network, way.way())
	if way.transport != QUIC && !way.inspected {
		err = errors.Join(err, d.c.Networks.NotInspected(way.network))
	}
	if err != nil {
		d.c.Log.Warn("what works in this network is not stored", "error", err)
	}
}

// Inspection is who opened our connections lately, here or elsewhere.
func (d *Dialer) Inspection() config.Inspection {
	if d.c.Networks == nil {
		return config.Inspection{}
	}
	return d.c.Networks.Inspection(d.c.Now())
}

func (d *Dialer) way(network string) string {
	if d.c.Networks == nil {
		return ""
	}
	return d.c.Networks.Way(network)
}

// network is a name for where we are that tells nobody where that is.
func (d *Dialer) network() string {
	text, err := d.c.Network()
	if err != nil {
		return ""
	}
	hash := sha256.Sum256([]byte("hausmeister network\n" + text))
	return hex.EncodeToString(hash[:8])
}

// plan is what to try.
type plan struct {
	network string
	order   []string // transports
	proxy   string   // the one to begin with
}

// attempt is one call of dial.
type attempt struct {
	d       *Dialer
	plan    plan
	address string
	host    string
	port    uint16
	conf    *tls.Config

	found   chan struct{} // closed when ips and nameErr are there
	ips     []netip.Addr
	nameErr error

	mu sync.Mutex
	// below is guarded by mu
	inspected string                                      // issuer
	broken    func(ctx context.Context) (net.Conn, error) // a connection over which TLS failed
	portal    bool                                        // a page answered in the collector's place
}

func (d *Dialer) attempt(address string, conf *tls.Config, p plan) (*attempt, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("collector's address %q: %w", address, err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 || host == "" {
		return nil, fmt.Errorf("collector's address %q: not HOST:PORT", address)
	}
	return &attempt{d: d, plan: p, address: address, host: host, port: uint16(number), conf: conf, found: make(chan struct{})}, nil
}

func (d *Dialer) dial(ctx context.Context, address string, conf *tls.Config, p plan) (wire.Session, error) {
	a, err := d.attempt(address, conf, p)
	if err != nil {
		return nil, err
	}
	s, err := a.race(ctx)
	if err != nil {
		if cause := a.explain(ctx); cause != nil {
			err = errors.Join(cause, err)
		}
		return nil, err
	}
	a.mu.Lock()
	s.inspected = a.inspected != ""
	issuer := a.inspected
	a.mu.Unlock()
	if issuer != "" {
		d.inspected(p.network, issuer)
	}
	return s, nil
}

// inspected remembers who opened a connection.
func (d *Dialer) inspected(network, issuer string) {
	if d.c.Networks == nil {
		return
	}
	if err := d.c.Networks.Inspected(network, issuer, d.c.Now()); err != nil {
		d.c.Log.Warn("who inspects connections here is not stored", "error", err)
	}
}

// race runs all ways of the plan against each other.
func (a *attempt) race(ctx context.Context) (*session, error) {
	most := raceMost
	if until, ok := ctx.Deadline(); ok {
		most = min(most, time.Until(until)*3/4)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, most, errors.New("nobody answered in time"))
	defer cancel()
	crew := supervise.NewCrew(ctx, 1)
	defer crew.Wait()
	defer crew.Stop()
	crew.TryGo(func(ctx context.Context) {
		defer close(a.found)
		a.ips, a.nameErr = a.lookup(ctx)
	})
	var ways []entry
	for _, transport := range a.plan.order {
		e := entry{try: a.ways()[transport]}
		if len(ways) > 0 {
			e.after = headStart
		}
		if a.d.c.Connect != nil || transport == QUIC {
			ways = append(ways, e)
		}
	}
	return race(ctx, ways)
}

func (a *attempt) ways() map[string]try {
	return map[string]try{
		QUIC: func(ctx context.Context) (*session, error) { return a.direct(ctx, a.quic) },
		TCP: func(ctx context.Context) (*session, error) {
			return a.direct(ctx, func(ctx context.Context, to netip.AddrPort) (*session, error) {
				return a.tcp(ctx, func(ctx context.Context) (net.Conn, error) { return a.d.c.Connect(ctx, to.String()) })
			})
		},
		TCPProxy: a.proxies,
	}
}

func (a *attempt) lookup(ctx context.Context) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(a.host); err == nil {
		return []netip.Addr{ip}, nil
	}
	ips, err := a.d.c.Lookup(ctx, a.host)
	if err == nil && len(ips) == 0 {
		err = fmt.Errorf("%s has no address", a.host)
	}
	if err != nil {
		return nil, &Error{Obstacle: NoName, Err: fmt.Errorf("finding the collector: %w", err)}
	}
	return ips[:min(len(ips), maxAddresses)], nil
}

// direct tries the addresses of the collector, one beside the other.
func (a *attempt) direct(ctx context.Context, to func(context.Context, netip.AddrPort) (*session, error)) (*session, error) {
	select {
	case <-a.found:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if a.nameErr != nil {
		return nil, a.nameErr
	}
	var tries []entry
	for i, ip := range a.ips {
		at := netip.AddrPortFrom(ip.Unmap(), a.port)
		tries = append(tries, entry{after: time.Duration(i) * stagger, try: func(ctx context.Context) (*session, error) { return to(ctx, at) }})
	}
	return race(ctx, tries)
}

func (a *attempt) quic(ctx context.Context, to netip.AddrPort) (*session, error) {
	s, err := a.d.c.Endpoint.Dial(ctx, net.UDPAddrFromAddrPort(to), a.conf)
	if err != nil {
		return nil, fmt.Errorf("over QUIC to %s: %w", to, err)
	}
	return &session{Session: s, transport: QUIC, network: a.plan.network}, nil
}

// tcp makes a session over a connection, and keeps what its failure shows.
func (a *attempt) tcp(ctx context.Context, connect func(context.Context) (net.Conn, error)) (*session, error) {
	conn, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	s, err := wire.DialTCP(ctx, conn, a.conf)
	if err == nil {
		return &session{Session: s, transport: TCP, network: a.plan.network}, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var inspected *ident.InspectionError
	var noTLS tls.RecordHeaderError
	switch {
	case ctx.Err() != nil:
	case errors.As(err, &inspected):
		a.inspected = inspected.Issuer
	case errors.As(err, &noTLS) && isPage(noTLS.RecordHeader[:]):
		a.portal = true
	default:
		a.broken = connect
	}
	err = fmt.Errorf("over TCP to %s: %w", conn.RemoteAddr(), err)
	if ctx.Err() == nil {
		err = &answered{err}
	}
	return nil, err
}

// proxies tries them one beside the other, the one that worked here first.
func (a *attempt) proxies(ctx context.Context) (*session, error) {
	all, err := a.d.c.Proxies(ctx, a.address)
	if err != nil {
		a.d.c.Log.Debug("a proxy is set up that is of no use", "error", err)
	}
	var tries []entry
	for _, first := range []bool{true, false} {
		for _, proxy := range all {
			if (proxy.Host == a.plan.proxy) == first {
				tries = append(tries, entry{after: time.Duration(len(tries)) * stagger, try: func(ctx context.Context) (*session, error) {
					return a.through(ctx, proxy)
				}})
			}
		}
	}
	return race(ctx, tries)
}

func (a *attempt) through(ctx context.Context, proxy *url.URL) (*session, error) {
	s, err := a.tcp(ctx, func(ctx context.Context) (net.Conn, error) { return a.connectProxy(ctx, proxy) })
	if err != nil {
		if ObstacleIn(err) == Portal {
			a.mu.Lock()
			a.portal = true
			a.mu.Unlock()
		}
		return nil, err
	}
	s.transport, s.proxy = TCPProxy, proxy.Host
	return s, nil
}

// lookup asks for both kinds of addresses at once and does not wait for a
// resolver that swallows one of the questions. The kinds alternate, those
// without a route from here come last.
func lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	type answer struct {
		ips []netip.Addr
		err error
	}
	answers := make(chan answer, 2)
	crew := supervise.NewCrew(ctx, 2)
	defer crew.Wait()
	defer crew.Stop()
	for _, kind := range []string{"ip6", "ip4"} {
		crew.TryGo(func(ctx context.Context) {
			ips, err := net.DefaultResolver.LookupNetIP(ctx, kind, host)
			answers <- answer{ips, err}
		})
	}
	var all []netip.Addr
	var errs []error
	var late <-chan time.Time
	for n := 0; n < 2; n++ {
		select {
		case got := <-answers:
			all = append(all, got.ips...)
			if got.err != nil {
				errs = append(errs, got.err)
			}
			if len(all) > 0 {
				t := time.NewTimer(stagger)
				defer t.Stop()
				late = t.C
			}
		case <-late:
			n = 2
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if len(all) == 0 {
		return nil, errors.Join(errs...)
	}
	return arrange(all, netpath.Routed), nil
}

// arrange alternates the kinds, IPv6 first, and puts what has no route last.
func arrange(ips []netip.Addr, routed func(netip.Addr) bool) []netip.Addr {
	var kinds [2][]netip.Addr // IPv6, IPv4
	var without []netip.Addr
	for _, ip := range ips {
		ip = ip.Unmap()
		switch {
		case !routed(ip):
			without = append(without, ip)
		case ip.Is6():
			kinds[0] = append(kinds[0], ip)
		default:
			kinds[1] = append(kinds[1], ip)
		}
	}
	var all []netip.Addr
	for i := 0; i < max(len(kinds[0]), len(kinds[1])); i++ {
		for _, kind := range kinds {
			if i < len(kind) {
				all = append(all, kind[i])
			}
		}
	}
	return append(all, without...)
}
