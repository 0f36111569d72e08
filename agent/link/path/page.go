package path

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"time"
)

// pageWithin bounds one try of DialPage; somebody who waits for nothing has time.
const pageWithin = 10 * time.Second

// DialPage opens a connection for HTTP/1.1 to where the collector has its pages, at
// address, HOST:PORT: directly, or through a proxy, the way that worked here last
// first.
//
// Whose certificate is shown there is not judged. It is the browser certificate,
// of an authority that this device has no pin of and perhaps no root; in many a
// school it is that of a proxy which opens all connections. So nothing secret may
// be sent, and what comes is worth only what its hash or its signatures say.
func (d *Dialer) DialPage(ctx context.Context, address string) (net.Conn, error) {
	if d.c.Connect == nil {
		return nil, errNoWay
	}
	a, err := d.attempt(address, nil, plan{network: d.network()})
	if err != nil {
		return nil, err
	}
	tries := []func(context.Context) (net.Conn, error){a.pageDirect, a.pageThrough}
	if proxied(d.way(a.plan.network)) {
		tries[0], tries[1] = tries[1], tries[0]
	}
	var errs []error
	for _, try := range tries {
		conn, err := try(ctx)
		if err == nil {
			return conn, nil
		}
		if err != errNoWay {
			errs = append(errs, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func proxied(way string) bool { return len(way) > len(TCPProxy) && way[:len(TCPProxy)] == TCPProxy }

func (a *attempt) pageDirect(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*pageWithin)
	defer cancel()
	ips, err := a.lookup(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, ip := range ips {
		to := netip.AddrPortFrom(ip.Unmap(), a.port).String()
		conn, err := a.page(ctx, func(ctx context.Context) (net.Conn, error) { return a.d.c.Connect(ctx, to) })
		if err == nil {
			return conn, nil
		}
		errs = append(errs, fmt.Errorf("pages at %s: %w", to, err))
	}
	return nil, errors.Join(errs...)
}

func (a *attempt) pageThrough(ctx context.Context) (net.Conn, error) {
	all, err := a.d.c.Proxies(ctx, a.address)
	if err != nil {
		a.d.c.Log.Debug("a proxy is set up that is of no use", "error", err)
	}
	errs := []error{}
	for _, proxy := range all[:min(len(all), maxAddresses)] {
		conn, err := a.page(ctx, func(ctx context.Context) (net.Conn, error) { return a.connectProxy(ctx, proxy) })
		if err == nil {
			return conn, nil
		}
		errs = append(errs, fmt.Errorf("pages: %w", err))
	}
	if len(errs) == 0 {
		return nil, errNoWay
	}
	return nil, errors.Join(errs...)
}

// connectProxy has a proxy connect us with the collector.
func (a *attempt) connectProxy(ctx context.Context, proxy *url.URL) (net.Conn, error) {
	conn, err := a.d.c.Connect(ctx, proxy.Host)
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", proxy.Host, err)
	}
	return connectThrough(ctx, conn, proxy, a.address)
}

// page makes a connection one for HTTP/1.1.
func (a *attempt) page(ctx context.Context, connect func(context.Context) (net.Conn, error)) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, pageWithin, errors.New("nobody answered in time"))
	defer cancel()
	conn, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	tc := tls.Client(conn, &tls.Config{ServerName: a.host, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, InsecureSkipVerify: true})
	if err := tc.HandshakeContext(ctx); err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	return tc, nil
}
