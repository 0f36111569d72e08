package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"hausmeister/platform/supervise"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
)

const (
	// stagger is how long one address has before the next is tried beside it
	// (RFC 8305 section 5), maxAddresses how many at most.
	stagger      = 250 * time.Millisecond
	maxAddresses = 4
)

// Dialer dials over QUIC from one endpoint, which is kept for the whole run:
// quic-go kills a session with the socket that it ever used.
type Dialer struct {
	Endpoint *wire.Endpoint
	// Lookup finds a host's addresses; nil = the system's resolver.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

// Dial opens a session to address, HOST:PORT. Of several addresses of a host
// the first that answers wins: a school's IPv6 may lead nowhere.
func (d Dialer) Dial(ctx context.Context, address string, conf *tls.Config) (wire.Session, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("collector's address %q: %w", address, err)
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil {
		return nil, fmt.Errorf("collector's address %q: %w", address, err)
	}
	lookup := d.Lookup
	if lookup == nil {
		lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	ips, err := lookup(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("finding the collector: %w", err)
	}
	if len(ips) == 0 {
		return nil, fmt.Errorf("finding the collector: %s has no address", host)
	}
	var addrs []net.Addr
	for _, ip := range ips[:min(len(ips), maxAddresses)] {
		addrs = append(addrs, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip.Unmap(), uint16(number))))
	}
	if len(addrs) == 1 {
		return d.Endpoint.Dial(ctx, addrs[0], conf)
	}
	return d.race(ctx, addrs, conf)
}

// dialled is the outcome of one try.
type dialled struct {
	session wire.Session
	err     error
}

func (d Dialer) race(ctx context.Context, addrs []net.Addr, conf *tls.Config) (wire.Session, error) {
	crew := supervise.NewCrew(ctx, len(addrs))
	results := make(chan dialled, len(addrs))
	next := time.NewTimer(0)
	defer next.Stop()
	var winner wire.Session
	var errs []error
	for begun, over := 0, 0; winner == nil && over < len(addrs) && ctx.Err() == nil; {
		select {
		case <-next.C:
			if begun == len(addrs) {
				continue
			}
			addr := addrs[begun]
			begun++
			crew.TryGo(func(ctx context.Context) {
				s, err := d.Endpoint.Dial(ctx, addr, conf)
				results <- dialled{s, err}
			})
			next.Reset(stagger)
		case r := <-results:
			over++
			winner = r.session
			if r.err != nil {
				errs = append(errs, r.err)
				next.Reset(0)
			}
		case <-ctx.Done():
		}
	}
	crew.Stop()
	crew.Wait()
	close(results)
	for late := range results {
		if late.session != nil {
			late.session.Close(hmpb.Code_CODE_NORMAL, "another address was quicker")
		}
	}
	if winner == nil {
		return nil, errors.Join(append(errs, context.Cause(ctx))...)
	}
	return winner, nil
}
