package path

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"hausmeister/proto/ident"
)

const (
	// probeEvery is the least time between two looks for a portal, and between
	// two handshakes that serve only to learn a name.
	probeEvery  = time.Minute
	probeWithin = 3 * time.Second
)

// probe is the last look for a captive portal.
type probe struct {
	at      time.Time // monotonic
	network string
	portal  bool
	turn    int // which target is next
}

// explain finds out why nothing worked; nil when there is nothing to add. ctx
// has a little left for it.
func (a *attempt) explain(ctx context.Context) error {
	if a.d.c.Connect == nil || a.plan.order[0] == QUIC && len(a.plan.order) == 1 {
		return nil
	}
	a.mu.Lock()
	portal, issuer, broken := a.portal, a.inspected, a.broken
	a.mu.Unlock()
	if issuer == "" && broken != nil && !portal {
		issuer = a.issuer(ctx, broken)
	}
	if portal || a.probePortal(ctx) {
		return &Error{Obstacle: Portal, Err: errors.New("a page to sign in at answers in the collector's place")}
	}
	if issuer != "" {
		a.d.inspected(a.plan.network, issuer)
		return &ident.InspectionError{Issuer: issuer}
	}
	return nil
}

// issuer repeats a handshake that failed, with less pride: a box that inspects
// may speak TLS 1.2 only, or know no protocol but HTTP, and then fails before it
// shows its certificate. Nothing is sent over what comes about.
func (a *attempt) issuer(ctx context.Context, connect func(context.Context) (net.Conn, error)) string {
	a.d.mu.Lock()
	early := !a.d.diagnosed.IsZero() && time.Since(a.d.diagnosed) < probeEvery
	if !early {
		a.d.diagnosed = time.Now()
	}
	a.d.mu.Unlock()
	if early {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, probeWithin)
	defer cancel()
	// Without ALPN our own collector would show its browser certificate. It
	// never refuses ours, so whoever does is not it.
	for _, protocols := range [][]string{{ident.ALPN}, nil} {
		conn, err := connect(ctx)
		if err != nil {
			return ""
		}
		tc := tls.Client(conn, &tls.Config{
			MinVersion: tls.VersionTLS12, ServerName: a.conf.ServerName, NextProtos: protocols,
			InsecureSkipVerify: true, // nothing is sent; VerifyConnection below judges
		})
		err = tc.HandshakeContext(ctx)
		state := tc.ConnectionState()
		conn.Close()
		if err == nil {
			var inspected *ident.InspectionError
			if a.conf.VerifyConnection != nil && errors.As(a.conf.VerifyConnection(state), &inspected) {
				return inspected.Issuer
			}
			return ""
		}
		// The peer's alert; crypto/tls has no other name for one over TCP.
		var op *net.OpError
		if !errors.As(err, &op) || op.Op != "remote error" {
			return ""
		}
	}
	return ""
}

// probePortal asks in plain HTTP where our collector would not answer; at most
// once a minute, in between the last answer holds.
func (a *attempt) probePortal(ctx context.Context) bool {
	d := a.d
	d.mu.Lock()
	p := &d.probe
	if !p.at.IsZero() && time.Since(p.at) < probeEvery {
		known := p.portal && p.network == a.plan.network
		d.mu.Unlock()
		return known
	}
	p.at, p.network, p.portal = time.Now(), a.plan.network, false
	targets := a.targets()
	target := targets[p.turn%len(targets)]
	p.turn++
	d.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, probeWithin)
	defer cancel()
	got, err := a.get(ctx, target.address, target.host, target.path)
	is := err == nil && target.portal(got)
	if is {
		d.c.Log.Info("a captive portal answers", "status", got.status)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.probe.portal = is
	return is
}

// target is where a probe goes to, and how its answer is judged.
type target struct {
	address, host, path string
	portal              func(answer) bool
}

// targets: the address from the settings, else by turns the collector's own port,
// which speaks no plain HTTP, and port 80 of its host, which portals like best.
// There some other web server may live.
func (a *attempt) targets() []target {
	if u, err := url.Parse(a.d.c.PortalProbe); err == nil && u.Host != "" {
		at := u.Host
		if u.Port() == "" {
			at = net.JoinHostPort(u.Hostname(), "80")
		}
		return []target{{at, u.Host, u.RequestURI(), func(got answer) bool { return got.status != 204 }}}
	}
	return []target{
		{a.at(a.port), a.address, "/", func(got answer) bool { return got.isPortal("") }},
		{a.at(80), strings.TrimSuffix(net.JoinHostPort(a.host, ""), ":"), "/", func(got answer) bool { return got.isPortal(a.host) }},
	}
}

// at is a port of the collector's host, by its address where that is known.
func (a *attempt) at(port uint16) string {
	host := a.host
	if len(a.ips) > 0 {
		host = a.ips[0].Unmap().String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// get asks for a page and says of us only that we ask.
func (a *attempt) get(ctx context.Context, address, host, path string) (answer, error) {
	conn, err := a.d.c.Connect(ctx, address)
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	if strings.ContainsAny(host+path, "\r\n ") {
		return answer{}, fmt.Errorf("probing %q: not an address", host)
	}
	return ask(ctx, conn, "GET "+path+" HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
}
