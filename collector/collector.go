// Package collector is the only place that knows all parts of a collector: it
// opens the data folder, plugs the subjects into each other, shares the one
// port between devices and browsers, and runs everything until it is told to
// stop. Settings, backup, restore and the doctor, which need no running
// collector, are here too.
//
// One process owns a data folder, by a lock in it. What cannot work is refused
// before anything is served: a folder that is not writable, data of a newer
// version, a port that is taken. Stopping goes in the reverse order of
// starting: no new connections, then pages, then devices (told to come back),
// then the database, which waits for the writes under way. A crash at any point
// leaves what each subject says of itself, and the next start repairs it.
package collector

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/admin"
	"hausmeister/collector/audit"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/collector/enroll"
	"hausmeister/collector/fleet"
	"hausmeister/collector/gateway"
	"hausmeister/collector/health"
	"hausmeister/collector/pace"
	"hausmeister/collector/question"
	"hausmeister/collector/rollout"
	"hausmeister/collector/web"
	"hausmeister/platform/layout"
	"hausmeister/platform/supervise"
	"hausmeister/platform/sysinfo"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
	"hausmeister/proto/wire"
)

const (
	codeNormal       = hmpb.Code_CODE_NORMAL
	codeShuttingDown = hmpb.Code_CODE_SHUTTING_DOWN
)

// migrations of every subject that keeps tables.
var migrations = []db.Migrations{audit.Migrations, access.Migrations, fleet.Migrations, enroll.Migrations, health.Migrations, question.Migrations, rollout.Migrations}

// Collector is one collector that is not running yet.
type Collector struct {
	cfg     Config
	running atomic.Bool
}

// New checks the Config; it opens nothing.
func New(cfg Config) (*Collector, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return &Collector{cfg: cfg}, nil
}

// opened is what Run has open, to be closed in reverse.
type opened struct {
	cfg      Config
	lock     *layout.FileLock
	db       *db.DB
	ports    ports
	endpoint *wire.Endpoint

	bus     *bus.Bus
	access  *access.Service
	fleet   *fleet.Fleet
	enroll  *enroll.Enroll
	health  *health.Health
	asked   *question.Questions
	rollout *rollout.Rollouts
	gateway *gateway.Gateway
	pace    *pace.Pacer // of the bytes of updates, whichever way they go
	browser *browserCertificate
	split   *splitter
	quic    wire.Listener
	web     *web.Server
	admin   *admin.Server
}

// Run serves until ctx ends. Config.Ready is called, and /readyz agrees, once
// all parts are there.
func (c *Collector) Run(ctx context.Context) error {
	o := &opened{cfg: c.cfg}
	if err := o.open(ctx, c.ready(o)); err != nil {
		return errors.Join(err, o.close())
	}
	c.cfg.Log.Info("collector starts", "version", c.cfg.Version, "data_dir", c.cfg.DataDir, "database", o.db.Name(),
		"listen", o.ports.tcp.Addr().String(), "public", o.cfg.Public)
	err := supervise.Run(ctx, c.cfg.Log, c.parts(o)...)
	c.running.Store(false)
	c.cfg.Log.Info("collector ends")
	return errors.Join(err, o.close())
}

// parts in the order in which they start. None is restarted: each mends what
// it can by itself, and what it cannot needs the process anew.
func (c *Collector) parts(o *opened) []supervise.Part {
	parts := []supervise.Part{
		{Name: "health", Run: o.health.Run, StopWithin: 10 * time.Second},
		{Name: "jobs", Run: o.fleet.Run, StopWithin: 10 * time.Second},
		{Name: "questions", Run: o.asked.Run, StopWithin: 10 * time.Second},
		{Name: "rollouts", Run: o.rollout.Run, StopWithin: 10 * time.Second},
		{Name: "authority", Run: o.enroll.Run},
		{Name: "admin", Run: o.admin.Run},
		{Name: "revocations", Run: o.gateway.Run},
		{Name: "devices", Run: serve(o.devices), StopWithin: 10 * time.Second},
		{Name: "pages", Run: serve(func(ctx context.Context) error { return o.web.Serve(ctx, &o.split.browsers) }), StopWithin: 10 * time.Second},
		{Name: "port", Run: func(ctx context.Context, ready func()) error {
			return o.split.Run(ctx, func() { c.serving(o); ready() })
		}},
	}
	if dir := c.cfg.UpdatesRepository; dir != "" {
		parts = append(parts, supervise.Part{Name: "repository", StopWithin: 10 * time.Second, Run: func(ctx context.Context, ready func()) error {
			ready()
			return o.rollout.Follow(ctx, dir)
		}})
	}
	return parts
}

func (c *Collector) serving(o *opened) {
	c.running.Store(true)
	if c.cfg.Ready != nil {
		c.cfg.Ready(o.ports.tcp.Addr().String())
	}
}

// devices serves both transports. They stop together: each gives its sessions a
// second to go, and an operator who waits should wait for one.
func (o *opened) devices(ctx context.Context) error {
	listeners := []wire.Listener{o.quic, &o.split.sessions}
	errs := make([]error, len(listeners))
	crew := supervise.NewCrew(ctx, len(listeners))
	for i, ln := range listeners {
		crew.TryGo(func(ctx context.Context) {
			errs[i] = o.gateway.Serve(ctx, ln)
			crew.Stop() // one that failed takes the other along
		})
	}
	crew.Wait()
	return errors.Join(errs...)
}

// serve is a part that is ready as soon as it runs: its connections wait in a
// queue until it takes them.
func serve(run func(context.Context) error) func(context.Context, func()) error {
	return func(ctx context.Context, ready func()) error {
		ready()
		return run(ctx)
	}
}

// ready says whether devices and people can be served now.
func (c *Collector) ready(o *opened) func(context.Context) error {
	return func(ctx context.Context) error {
		if !c.running.Load() {
			return errors.New("starting or stopping")
		}
		return o.db.Read(ctx, func(tx *db.Tx) error {
			return tx.QueryRow(ctx, `SELECT 1`).Scan(new(int64))
		})
	}
}

func (o *opened) open(ctx context.Context, ready func(context.Context) error) (err error) {
	c := o.cfg
	if err := prepareDataDir(c.DataDir); err != nil {
		return err
	}
	if o.lock, err = lockDataDir(c); err != nil {
		return err
	}
	if o.db, err = db.Open(ctx, c.database()); err != nil {
		return fmt.Errorf("data folder %s: %w", c.DataDir, err)
	}
	if o.ports, err = listenPorts(c.Listen); err != nil {
		return err
	}
	o.cfg.Public = publicPort(c.Public, o.ports)
	keys, err := transportKeys(c.keysPath())
	if err != nil {
		return err
	}
	o.endpoint = o.ports.endpoint(keys)
	if o.browser, err = openBrowserCertificate(c); err != nil {
		return err
	}
	if err := o.subjects(ctx); err != nil {
		return err
	}
	return o.edges(ready)
}

// subjects plugs the subjects into each other.
func (o *opened) subjects(ctx context.Context) (err error) {
	c := o.cfg
	o.bus = bus.New()
	o.access = access.New(access.Config{DB: o.db, Now: c.Now, Log: c.Log})
	if o.rollout, err = rollout.New(rollout.Config{DB: o.db, Bus: o.bus, Now: c.Now, Log: c.Log, Dir: c.updatesDir(),
		Root: manifest.BuiltInRoot(), Build: manifest.BuildTime(), Fresh: c.fresh(), Pace: c.pace()}); err != nil {
		return err
	}
	if o.health, err = health.New(health.Config{DB: o.db, Bus: o.bus, Updates: o.rollout, Now: c.Now, Log: c.Log, Keep: time.Duration(c.KeepDays) * 24 * time.Hour}); err != nil {
		return err
	}
	if o.fleet, err = fleet.New(fleet.Config{DB: o.db, Now: c.Now, SilentDays: c.SilentDays, Log: c.Log, Quieter: o.health, Updates: o.rollout}); err != nil {
		return err
	}
	if o.asked, err = question.New(question.Config{DB: o.db, Now: c.Now, Log: c.Log}); err != nil {
		return err
	}
	if o.enroll, err = enroll.New(ctx, enroll.Config{DB: o.db, Bus: o.bus, Records: o.fleet, Reimaged: o.health.Reimaged, Dir: c.authorityDir(),
		Address: c.Public, Names: c.Names, Now: c.Now, Log: c.Log}); err != nil {
		return fmt.Errorf("device authority: %w", err)
	}
	return nil
}

// edges puts gateway, pages and admin socket on top of the subjects.
func (o *opened) edges(ready func(context.Context) error) (err error) {
	c := o.cfg
	o.pace = pace.New(c.Updates.lines())
	if o.gateway, err = gateway.New(gateway.Config{Enroll: o.enroll, Health: o.health, Updates: rollout.Gateway{Rollouts: o.rollout}, Bus: o.bus, Pace: o.pace, StoreID: o.db.StoreID(), Now: c.Now, Log: c.Log}); err != nil {
		return err
	}
	devices := o.enroll.TLSConfig()
	if o.quic, err = o.endpoint.Listen(devices); err != nil {
		return fmt.Errorf("listening for QUIC: %w", err)
	}
	devices = devices.Clone()
	devices.NextProtos = []string{wire.ALPN}
	o.split = newSplitter(o.ports.tcp, devices, o.browser.get, c.Log)
	if o.web, err = web.New(web.Config{Access: o.access, Claims: o.enroll, Fleet: o.fleet, Health: o.health, Questions: o.asked, Rollouts: o.rollout, Updates: rollout.Public{Rollouts: o.rollout}, NeedsRoot: manifest.BuiltInRoot() == nil, Bus: o.bus, Pace: o.pace, Address: c.Public,
		Ready: ready, Measures: o.measures(), Now: c.Now, Log: c.Log, Version: c.Version, MetricsOpen: c.MetricsOpen}); err != nil {
		return err
	}
	o.admin, err = admin.New(admin.Config{Socket: c.SocketPath(), DB: o.db, Access: o.access, Enroll: o.enroll, Fleet: o.fleet, Health: o.health, Rollouts: o.rollout,
		Status: admin.Status{Version: c.Version, PID: os.Getpid(), DataDir: c.DataDir, Listen: o.ports.tcp.Addr().String(), Public: c.Public,
			Database: o.db.Name(), Schema: o.db.Version()}, Now: c.Now, Log: c.Log})
	return err
}

func (o *opened) close() error {
	var errs []error
	if o.quic != nil {
		errs = append(errs, o.quic.Close())
	}
	if o.endpoint != nil {
		errs = append(errs, o.endpoint.Close())
	}
	if o.ports.tcp != nil {
		// Both may be closed already, by the parts that used them.
		o.ports.close()
	}
	if o.db != nil {
		errs = append(errs, o.db.Close())
	}
	if o.lock != nil {
		errs = append(errs, o.lock.Close())
	}
	return errors.Join(errs...)
}

func (c Config) database() db.Config {
	return db.Config{Path: c.databasePath(), URL: c.Database, Migrations: migrations, Log: c.Log}
}

// publicPort puts the port that was really taken in the place of 0.
func publicPort(public string, p ports) string {
	host, port, err := net.SplitHostPort(public)
	if err != nil || port != "0" {
		return public
	}
	_, port, _ = net.SplitHostPort(p.tcp.Addr().String())
	return net.JoinHostPort(host, port)
}

// prepareDataDir makes the folder and finds out whether it can be written, in
// clearer words than whoever would write first.
func prepareDataDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	probe, err := os.CreateTemp(dir, ".writable-*")
	if err != nil {
		return fmt.Errorf("data folder %s is not writable: %w", dir, err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// ErrInUse: a collector runs on this data folder.
var ErrInUse = errors.New("a collector is running on this data folder")

func lockDataDir(c Config) (*layout.FileLock, error) {
	lock, err := layout.Lock(c.lockPath())
	if errors.Is(err, layout.ErrLocked) {
		return nil, fmt.Errorf("%w: %s", ErrInUse, c.DataDir)
	}
	return lock, err
}

// Restore replaces the database by the backup in file, which is checked first:
// its pages, its version and its audit chain. No collector may be running.
func Restore(ctx context.Context, cfg Config, file string) error {
	if err := cfg.check(); err != nil {
		return err
	}
	if err := prepareDataDir(cfg.DataDir); err != nil {
		return err
	}
	lock, err := lockDataDir(cfg)
	if err != nil {
		return err
	}
	abs, err := filepath.Abs(file)
	if err == nil {
		err = db.Restore(ctx, cfg.database(), abs, func(d *db.DB) error {
			_, err := audit.Verify(ctx, d)
			return err
		})
	}
	return errors.Join(err, lock.Close())
}

// TuneMemory sets the garbage collector for tens of thousands of mostly idle
// connections: half as much garbage as Go's default for a few percent of a
// core, and a limit below the machine's memory, near which it works harder
// before the kernel ends the process. GOGC and GOMEMLIMIT win.
func TuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	if total, err := sysinfo.TotalMemory(); err == nil {
		debug.SetMemoryLimit(int64(total / 10 * 8))
	}
}
