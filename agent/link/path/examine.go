package path

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"net/url"
	"time"

	"hausmeister/platform/supervise"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
)

// How long the parts of an examination may take: a person waits.
const (
	lookupWithin  = 4 * time.Second
	examineWithin = 5 * time.Second
)

// Tried is one way that was tried by itself.
type Tried struct {
	Err  error
	Took time.Duration
	// Opened: the way lets through, and then somebody else's certificate was
	// shown on it. Its error need not say so: see issuer.
	Opened bool
}

// Examination is what each way says when it is tried by itself.
type Examination struct {
	Addresses []netip.Addr
	Name      error // finding them
	UDP, TCP  Tried
	// Proxies by HOST:PORT, and what is wrong with the settings about them.
	Proxies  map[string]Tried
	Settings error
	Portal   bool
	Issuer   string // of whoever opened a connection
	// Session is one that came about, for its user to close; nil = none did.
	Session wire.Session
}

// Examine tries each way by itself, all at once.
func (d *Dialer) Examine(ctx context.Context, address string, conf *tls.Config) (*Examination, error) {
	a, err := d.attempt(address, conf, plan{network: d.network(), order: []string{QUIC, TCP, TCPProxy}})
	if err != nil {
		return nil, err
	}
	x := &Examination{Proxies: map[string]Tried{}}
	proxies, settings := d.c.Proxies(ctx, address)
	x.Settings = settings
	lookupCtx, cancel := context.WithTimeout(ctx, lookupWithin)
	a.ips, a.nameErr = a.lookup(lookupCtx)
	cancel()
	close(a.found)
	x.Addresses, x.Name = a.ips, a.nameErr

	type outcome struct {
		way   string
		proxy *url.URL
		tried Tried
		s     *session
	}
	crew := supervise.NewCrew(ctx, 2+len(proxies))
	outcomes := make(chan outcome, 2+len(proxies))
	run := func(o outcome, try try) {
		crew.TryGo(func(ctx context.Context) {
			ctx, cancel := context.WithTimeoutCause(ctx, examineWithin, errors.New("no answer"))
			defer cancel()
			began := time.Now()
			o.s, o.tried.Err = try(ctx)
			o.tried.Took = time.Since(began)
			outcomes <- o
		})
	}
	ways := a.ways()
	run(outcome{way: QUIC}, ways[QUIC])
	run(outcome{way: TCP}, ways[TCP])
	for _, proxy := range proxies {
		run(outcome{way: TCPProxy, proxy: proxy}, func(ctx context.Context) (*session, error) { return a.through(ctx, proxy) })
	}
	crew.Wait()
	close(outcomes)
	for o := range outcomes {
		switch {
		case o.way == QUIC:
			x.UDP = o.tried
		case o.way == TCP:
			x.TCP = o.tried
		default:
			x.Proxies[o.proxy.Host] = o.tried
		}
		switch {
		case o.s == nil:
		case x.Session == nil:
			x.Session = o.s
		default:
			o.s.Close(hmpb.Code_CODE_NORMAL, "only a test")
		}
	}
	a.judge(ctx, x)
	return x, nil
}

// judge finds out what stands in the way of TCP.
func (a *attempt) judge(ctx context.Context, x *Examination) {
	x.Issuer = a.inspected
	if x.Session == nil || x.TCP.Err != nil && x.Name == nil {
		err := a.explain(ctx)
		var inspected *ident.InspectionError
		if errors.As(err, &inspected) {
			x.Issuer = inspected.Issuer
		}
		x.Portal = ObstacleIn(err) == Portal
	}
	x.TCP.Opened = x.opened(x.TCP.Err)
	for host, t := range x.Proxies {
		t.Opened = x.opened(t.Err)
		x.Proxies[host] = t
	}
}

func (x *Examination) opened(err error) bool {
	var a *answered
	return x.Issuer != "" && errors.As(err, &a)
}
