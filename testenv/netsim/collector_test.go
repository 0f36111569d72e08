package netsim_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/collector/enroll"
	"hausmeister/collector/fleet"
	"hausmeister/collector/gateway"
	"hausmeister/collector/health"
	"hausmeister/collector/question"
	"hausmeister/collector/rollout"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
	"hausmeister/testenv/netsim"
)

var (
	migrations = []db.Migrations{audit.Migrations, access.Migrations, fleet.Migrations, enroll.Migrations, health.Migrations, question.Migrations, rollout.Migrations}
	system     = access.System("test")
)

const port = 8443

// site is where a collector runs: what outlives its process.
type site struct {
	host  *netsim.Host
	dir   string
	plant plant // a fault, or nil
	stage stage
	log   *slog.Logger
	// totals of all runs
	duplicates, replaced, welcomed uint64
}

func (s *site) database() db.Config {
	return db.Config{Path: filepath.Join(s.dir, "hausmeister.db"), Migrations: migrations, Log: s.log}
}

// collector is one run of the data path of a collector: everything that a
// report passes between the network and the disk is the real thing.
type collector struct {
	site     *site
	db       *db.DB
	fleet    *fleet.Fleet
	health   *health.Health
	enroll   *enroll.Enroll
	gateway  *gateway.Gateway
	endpoint *wire.Endpoint
	cancel   context.CancelFunc
	running  sync.WaitGroup
	dying    atomic.Bool
}

func (s *site) start(t *testing.T) *collector {
	t.Helper()
	c := &collector{site: s}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	c.db, err = db.Open(t.Context(), s.database())
	check(err)
	b := bus.New()
	c.fleet, err = fleet.New(fleet.Config{DB: c.db, Now: time.Now})
	check(err)
	c.enroll, err = enroll.New(t.Context(), enroll.Config{DB: c.db, Bus: b, Records: c.fleet, Dir: filepath.Join(s.dir, "ca"),
		Address: s.host.Addr(port).String(), Now: time.Now, Log: s.log})
	check(err)
	c.health, err = health.New(health.Config{DB: c.db, Bus: b, Now: time.Now, Log: s.log})
	check(err)
	var h gateway.Health = c.health
	if s.plant != nil {
		h = s.plant(h, c.db)
	}
	c.gateway, err = gateway.New(gateway.Config{Enroll: c.enroll, Health: &staged{h, &s.stage}, Bus: b, StoreID: c.db.StoreID(), Now: time.Now, Log: s.log})
	check(err)
	pc, err := s.host.ListenPacket(port)
	check(err)
	c.endpoint = wire.NewEndpoint(pc, wire.EndpointConfig{StatelessResetKey: &[32]byte{1}, TokenKey: &[32]byte{2}})
	ln, err := c.endpoint.Listen(c.enroll.TLSConfig())
	check(err)
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	for _, part := range []func(context.Context, func()) error{c.health.Run, c.enroll.Run, c.gateway.Run} {
		ready := make(chan struct{})
		c.running.Go(func() { c.report(t, part(ctx, sync.OnceFunc(func() { close(ready) }))) })
		<-ready
	}
	c.running.Go(func() { c.report(t, c.gateway.Serve(ctx, ln)) })
	return c
}

func (c *collector) report(t *testing.T, err error) {
	if err != nil && !c.dying.Load() {
		t.Errorf("a part of the collector ended: %v", err)
	}
}

// kill ends the collector as kill -9 does: nobody hears a word from it, and on
// the disk is what was committed.
func (c *collector) kill(t *testing.T) {
	c.dying.Store(true)
	c.endpoint.Close()
	c.stop(t)
}

// stop ends it in good order.
func (c *collector) stop(t *testing.T) {
	t.Helper()
	c.cancel()
	c.running.Wait()
	c.endpoint.Close()
	if err := c.db.Close(); err != nil {
		t.Errorf("closing the database: %v", err)
	}
	st := c.gateway.Stats()
	c.site.duplicates += c.health.Stats().Duplicates
	c.site.replaced += st.Replaced
	c.site.welcomed += st.Welcomed
}

// stage is where a test stops the collector in the middle of a report. Each of
// its hooks works once.
type stage struct {
	// overlap makes the next batch come between a newer session of its device
	// and that one's first batch.
	overlap atomic.Pointer[overlap]
	// committed gets a value when a batch is committed; its answer is not sent.
	committed atomic.Pointer[chan struct{}]
}

// overlap is the scene of two sessions of one device: the batch of the first is
// held until the second has got its cursor, and stored before its Welcome is sent.
type overlap struct {
	held, begun, stored chan struct{} // closed in this order

	mu     sync.Mutex
	device string // whose batch is held
}

func newOverlap() *overlap {
	return &overlap{held: make(chan struct{}), begun: make(chan struct{}), stored: make(chan struct{})}
}

// hold takes the first batch that comes.
func (o *overlap) hold(device string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.device != "" {
		return false
	}
	o.device = device
	close(o.held)
	return true
}

// begins says whether a session that has its cursor is the one that is waited for.
func (o *overlap) begins(device string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case <-o.begun:
		return false
	default:
	}
	if o.device != device {
		return false
	}
	close(o.begun)
	return true
}

type staged struct {
	gateway.Health
	stage *stage
}

func (s *staged) Begin(ctx context.Context, device access.Caller, session int64, epoch []byte, version string) (uint64, error) {
	cursor, err := s.Health.Begin(ctx, device, session, epoch, version)
	if o := s.stage.overlap.Load(); o != nil && err == nil && o.begins(device.ID) {
		select {
		case <-o.stored:
		case <-ctx.Done():
		}
	}
	return cursor, err
}

func (s *staged) Ingest(ctx context.Context, device access.Caller, b *hmpb.Batch) (*hmpb.ReportDown, error) {
	if o := s.stage.overlap.Load(); o != nil && o.hold(device.ID) {
		select {
		case <-o.begun:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		defer close(o.stored)
	}
	tell := s.stage.committed.Swap(nil)
	down, err := s.Health.Ingest(ctx, device, b)
	if tell != nil && err == nil {
		*tell <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return down, err
}
