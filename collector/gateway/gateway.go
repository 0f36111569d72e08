// Package gateway owns the sessions of devices: who may open one, which streams
// it may have, when it is slowed down, and how it ends. It authenticates and
// admits through enroll and hands reports to health; it stores nothing itself.
//
//	             no certificate        ended certificate       good certificate
//	session ---> enrolment only, or    renewal only, or   ,    Hello in time?
//	                                                            version? admitted?
//	                                                            epoch? -> Welcome
//	Welcome ---> report stream (one, the newer counts), renewal stream, fetch streams
//	end     ---> peer gone, replaced by its newer session, revoked, bad frame,
//	             or we stop: ComeBack with jitter, CODE_SHUTTING_DOWN
//
// Only Welcome means "in". A peer that sends more than it needs is read more
// slowly, not refused: what it holds back waits in its spool. Limits are per
// identity and for all together, never per address, for a school is one.
//
// A crash leaves the connected flag of the devices behind, which health clears
// at the next start; everything else is memory.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"hausmeister/collector/access"
	"hausmeister/collector/bus"
	"hausmeister/collector/enroll"
	"hausmeister/collector/health"
	"hausmeister/collector/pace"
	"hausmeister/platform/supervise"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
)

const (
	// helloTimeout is how long a session may take to its Hello. Its agent has
	// it ready: this bounds who opens sessions and says nothing.
	helloTimeout = 10 * time.Second
	// visitTimeout bounds a session that may only enrol or renew.
	visitTimeout = time.Minute
	// writeTimeout bounds a small frame to a peer that does not read.
	writeTimeout = 10 * time.Second
	// farewell is how long a peer may take to go by itself once it was told.
	farewell = time.Second
	// perSession is how many goroutines one session has at most: its own, its
	// control stream's, its report streams' (old and new), a renewal's, live mode's,
	// its fetch streams', and one that tells it its offer.
	perSession = 7 + maxFetches
)

// Enroll knows who a peer is.
type Enroll interface {
	Authenticate(ctx context.Context, cs tls.ConnectionState) (enroll.Peer, error)
	Connect(ctx context.Context, p enroll.Peer, epoch uint64) error
	ServeEnroll(ctx context.Context, s wire.Session, f *wire.Framed) error
	ServeRenew(ctx context.Context, s wire.Session, f *wire.Framed, p enroll.Peer) error
	TrustRoots() [][]byte
}

// Health takes reports.
type Health interface {
	Begin(ctx context.Context, device access.Caller, session int64, epoch []byte, version string) (cursor uint64, err error)
	End(ctx context.Context, device access.Caller, session int64) error
	Ingest(ctx context.Context, device access.Caller, b *hmpb.Batch) (*hmpb.ReportDown, error)
	// Settings are what the device's owner wants of it; nil = the agent's defaults.
	Settings(ctx context.Context, device access.Caller) (*hmpb.Settings, error)
	// LooksAfter are the looks at the device that it may not have yet, oldest first.
	LooksAfter(ctx context.Context, device access.Caller, known string) ([]health.Look, error)
}

// Updates has what devices may install; collector/rollout does. Its errors are
// access.ErrNotFound where there is no such file, access.ErrForbidden where the
// lease does not hold, and db.ErrUnavailable.
type Updates interface {
	// Repository says how new the metadata is. It is asked at each Hello and answers
	// out of memory.
	Repository(ctx context.Context) (*hmpb.Repository, error)
	// Offer is the lease that this device holds or gets now, being what its Hello
	// said; nil = none.
	Offer(ctx context.Context, device access.Caller, version string, hash []byte, capabilities []string) (*hmpb.Offer, error)
	// Metadata is a file of signed metadata. With a nonce there is a statement of
	// freshness with it.
	Metadata(ctx context.Context, device access.Caller, name string, nonce []byte, root uint64) (data, freshness []byte, err error)
	// Target is a target's file, for whoever holds the lease.
	Target(ctx context.Context, device access.Caller, lease string, sha256 []byte) (pace.Content, error)
}

// Config is what the gateway needs.
type Config struct {
	Enroll  Enroll
	Health  Health
	Bus     *bus.Bus
	StoreID []byte // of the database as opened
	Now     func() time.Time
	Log     *slog.Logger

	// Updates is nil where this collector has none: then fetch streams are refused.
	Updates Updates
	// Pace is that of the bytes of updates, shared with the pages' way of fetching
	// them; nil = one of its own.
	Pace *pace.Pacer

	// MaxSessions at once; 0 = 100,000.
	MaxSessions int
	// AdmitRate is how many sessions a second are let in when many come at
	// once, after a first AdmitBurst; 0 = 300 and 600.
	AdmitRate, AdmitBurst int
	// BacklogRate is how many entries a second are taken at most from all
	// devices together that have many to tell; 0 = 4000.
	BacklogRate int
}

// Gateway holds the sessions of one collector.
type Gateway struct {
	cfg       Config
	admission *admission
	backlog   *backlog
	presence  presence
	stats     stats
	visitors  chan struct{} // places of sessions without a Welcome to come
	ends      ends
	storeLog  rate.Sometimes // a full disk fails all devices: one line tells it
	numbers   atomic.Int64
	live      map[string]time.Time // until when a device's samples are wanted, see liveUntil
}

// maxVisitors bounds the sessions that enrol or renew at once: 60/s for five
// minutes is the worst day planned for, each takes well under a second.
const maxVisitors = 512

// New checks the Config.
func New(cfg Config) (*Gateway, error) {
	if cfg.Enroll == nil || cfg.Health == nil || cfg.Bus == nil || cfg.Now == nil || cfg.Log == nil || len(cfg.StoreID) == 0 {
		return nil, errors.New("making the gateway: Enroll, Health, Bus, StoreID, Now and Log are needed")
	}
	if cfg.MaxSessions <= 0 {
		cfg.MaxSessions = 100_000
	}
	if cfg.AdmitRate <= 0 {
		cfg.AdmitRate = 300
	}
	if cfg.AdmitBurst <= 0 {
		cfg.AdmitBurst = 2 * cfg.AdmitRate
	}
	if cfg.BacklogRate <= 0 {
		cfg.BacklogRate = 4000
	}
	if cfg.Pace == nil {
		cfg.Pace = pace.New(pace.Config{})
	}
	g := &Gateway{
		cfg:       cfg,
		admission: newAdmission(cfg.AdmitRate, cfg.AdmitBurst),
		backlog:   newBacklog(cfg.BacklogRate),
		presence:  presence{live: map[string]*session{}},
		visitors:  make(chan struct{}, maxVisitors),
		ends:      ends{open: map[string]ending{}},
		live:      map[string]time.Time{},
		storeLog:  rate.Sometimes{Interval: 10 * time.Second},
	}
	// Numbers rise over restarts too, so that the flag of an earlier run that
	// was not cleared gives way.
	g.numbers.Store(cfg.Now().Unix() << 24)
	return g, nil
}

// Serve takes the sessions of ln until ctx ends, tells them to come back, and
// returns when all are over. The listener stays the caller's to close. An end
// of the listener alone is an error.
func (g *Gateway) Serve(ctx context.Context, ln wire.Listener) error {
	crew := supervise.NewCrew(ctx, perSession*g.cfg.MaxSessions)
	crew.OnPanic = func(p *supervise.PanicError) { g.cfg.Log.Error("session panicked", "error", p) }
	defer crew.Wait()
	for {
		// Nothing but handing over: behind this the transport refuses peers
		// while 32 wait.
		s, err := ln.Accept(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			crew.Stop()
			return fmt.Errorf("accepting sessions on %s: %w", ln.Addr(), err)
		}
		g.stats.accepted.Add(1)
		if !crew.TryGo(func(ctx context.Context) { g.handle(ctx, crew, s) }) {
			// Over MaxSessions by far, or stopping. Closing may wait for the
			// peer, which this loop must not.
			crew.Go(func(context.Context) { s.Close(hmpb.Code_CODE_COME_BACK, "too many sessions") })
		}
	}
}

// Run ends the sessions that revocations concern, tells devices who looks at
// them and what their owner wants, and stores ends of sessions that could not be
// stored at once, until ctx ends. It is ready before the first session should be
// served.
func (g *Gateway) Run(ctx context.Context, ready func()) error {
	sub := g.cfg.Bus.Subscribe(bus.Revoked)
	defer sub.Close()
	// A queue of their own: a burst of looks must not push a revocation out.
	word := g.cfg.Bus.Subscribe(bus.Watch, bus.Settings)
	defer word.Close()
	crew := supervise.NewCrew(ctx, 64)
	defer crew.Wait()
	again := time.NewTicker(endAgain)
	defer again.Stop()
	storing := make(chan struct{}, 1)
	if g.cfg.Updates != nil {
		news := g.cfg.Bus.Subscribe(bus.Offers, bus.Repository)
		defer news.Close()
		crew.TryGo(func(ctx context.Context) { g.tellUpdates(ctx, news) })
	}
	ready()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
			select {
			case storing <- struct{}{}: // not while the last try is still waiting for the store
				if !crew.TryGo(func(ctx context.Context) { defer func() { <-storing }(); g.storeEnds(ctx) }) {
					<-storing
				}
			default:
			}
		case e := <-sub.C:
			for _, s := range g.presence.of(e.Device) {
				if e.Credential == "" || e.Credential == s.peer.Credential.String() {
					crew.Go(func(context.Context) { s.end(hmpb.Code_CODE_REVOKED, "") })
				}
			}
			if sub.Lagged() {
				g.recheck(ctx, crew)
			}
		case e := <-word.C:
			switch {
			case e.Kind == bus.Watch:
				g.watch(crew, e)
			case word.Lagged():
				g.settings(ctx, crew, bus.Event{Kind: bus.Settings})
			default:
				g.settings(ctx, crew, e)
			}
		}
	}
}

// recheck authenticates every live session anew after revocations were missed.
func (g *Gateway) recheck(ctx context.Context, crew *supervise.Crew) {
	for _, s := range g.presence.all() {
		crew.Go(func(context.Context) {
			_, err := g.cfg.Enroll.Authenticate(ctx, s.Session.ConnectionState())
			if code := wire.CodeOf(err); code == hmpb.Code_CODE_REVOKED || code == hmpb.Code_CODE_UNKNOWN_DEVICE {
				s.end(code, "")
			}
		})
	}
}

// presence is who is there. Several sessions of one device may overlap for a
// moment; they form a list.
type presence struct {
	mu sync.Mutex
	// below is guarded by mu
	live  map[string]*session // by device
	count int
}

// enter adds s, unless there are too many sessions.
func (p *presence) enter(s *session, most int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.count >= most {
		return false
	}
	p.count++
	s.next = p.live[s.peer.Device]
	p.live[s.peer.Device] = s
	return true
}

// leave takes s out and says whether a welcomed session of the device is left.
func (p *presence) leave(s *session) (others bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count--
	var kept *session
	for o := p.live[s.peer.Device]; o != nil; {
		next := o.next
		if o != s {
			o.next, kept = kept, o
			others = others || o.welcomed
		}
		o = next
	}
	if kept == nil {
		delete(p.live, s.peer.Device)
	} else {
		p.live[s.peer.Device] = kept
	}
	s.next = nil
	return others
}

// welcome marks s as in and gives the older sessions that it replaces. It is
// false when a newer one is in already.
func (p *presence) welcome(s *session) (older []*session, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for o := p.live[s.peer.Device]; o != nil; o = o.next {
		switch {
		case o == s || !o.welcomed:
		case o.number > s.number:
			return nil, false
		default:
			older = append(older, o)
		}
	}
	s.welcomed = true
	return older, true
}

// in says whether s was welcomed and is not over.
func (p *presence) in(s *session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return s.welcomed
}

// has says whether a welcomed session of the device is there.
func (p *presence) has(device string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := p.live[device]; s != nil; s = s.next {
		if s.welcomed {
			return true
		}
	}
	return false
}

func (p *presence) of(device string) (sessions []*session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := p.live[device]; s != nil; s = s.next {
		sessions = append(sessions, s)
	}
	return sessions
}

func (p *presence) all() (sessions []*session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.live {
		for ; s != nil; s = s.next {
			sessions = append(sessions, s)
		}
	}
	return sessions
}

// Live is how many devices' sessions are open, welcomed or about to be.
func (g *Gateway) Live() int {
	g.presence.mu.Lock()
	defer g.presence.mu.Unlock()
	return g.presence.count
}
