package rollsim_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/collector/health"
	"hausmeister/collector/pace"
	"hausmeister/collector/rollout"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
	"hausmeister/testenv/tufrepo"
)

// errAway: the collector is not there, or went before it could answer.
var errAway = errors.New("the collector is away")

// running is a collector between two starts.
type running struct {
	db     *db.DB
	roll   *rollout.Rollouts
	gate   rollout.Gateway
	health *health.Health
	pace   *pace.Pacer
}

// collector is the one that all devices know, and plays collector/gateway's part.
type collector struct {
	w     *world
	dir   string
	path  string // of the database
	repo  *tufrepo.Fleet
	bus   *bus.Bus
	dirty bool // somebody told something since the last round

	up sync.RWMutex // held for writing only while nothing waits
	// below is guarded by up
	now  *running // nil = away
	mute bool     // it does what it is asked, and its answers are lost

	mu sync.Mutex
	// below is guarded by mu
	version  int // of what is published
	sessions int64
	tickets  []time.Time // opened about devices with the new version
	told     int         // entries that were acknowledged
	lost     int         // answers
	r        *rand.Rand
}

func (c *collector) random() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.r.Float64()
}

func newCollector(w *world, path string) *collector {
	c := &collector{w: w, dir: filepath.Dir(path), path: path, bus: bus.New(), r: rand.New(rand.NewPCG(w.seed, 0))}
	c.repo = tufrepo.NewFleet(w.now)
	return c
}

func (c *collector) start() error {
	d, err := db.Open(context.Background(), db.Config{Path: c.path, Migrations: migrations, Log: nolog})
	if err != nil {
		return err
	}
	r := &running{db: d, pace: pace.New(pace.Config{Random: c.random})}
	cfg := rollout.Config{DB: d, Bus: c.bus, Now: c.w.now, Log: nolog, Dir: filepath.Join(c.dir, "updates"), Root: c.repo.Root(), Fresh: c.repo.Fresh, Pace: c.w.pace()}
	if c.w.annoying > 0 {
		cfg.Tickets = c
	}
	if r.roll, err = rollout.New(cfg); err != nil {
		return errors.Join(err, d.Close())
	}
	r.gate = rollout.Gateway{Rollouts: r.roll}
	r.health, err = health.New(health.Config{DB: d, Bus: c.bus, Now: c.w.now, Log: nolog, Updates: r.roll})
	if err == nil {
		err = r.health.ClearSessions(context.Background())
	}
	if err != nil {
		return errors.Join(err, d.Close())
	}
	c.up.Lock()
	defer c.up.Unlock()
	c.now, c.mute = r, false
	return nil
}

// stop ends it. What was under way in its last moment is done, and nobody hears so.
func (c *collector) stop() error {
	c.up.Lock()
	c.mute = true
	c.up.Unlock()
	time.Sleep(30 * time.Second)
	c.up.Lock()
	defer c.up.Unlock()
	r := c.now
	c.now = nil
	return r.db.Close()
}

// call asks the collector something, if it is there.
func (c *collector) call(ask func(r *running) error) error {
	c.up.RLock()
	defer c.up.RUnlock()
	if c.now == nil {
		return errAway
	}
	if err := ask(c.now); err != nil {
		return err
	}
	if c.mute {
		c.mu.Lock()
		c.lost++
		c.mu.Unlock()
		return errAway
	}
	return nil
}

// is says whether it is still the one that it was.
func (c *collector) is(r *running) bool {
	c.up.RLock()
	defer c.up.RUnlock()
	return c.now == r && !c.mute
}

// publish signs anew, as who holds the online keys does each day, and imports it.
func (c *collector) publish() error {
	c.repo.Publish()
	return c.imports()
}

func (c *collector) imports() error {
	dir := filepath.Join(c.dir, "published")
	if err := c.repo.WriteTo(dir); err != nil {
		return err
	}
	err := c.call(func(r *running) error {
		_, err := r.roll.Import(context.Background(), ada, dir, nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("importing: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version++
	return nil
}

func (c *collector) published() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version
}

// release publishes a version, packed, and with a patch from another one.
func (c *collector) release(version, from string) (manifest.Release, error) {
	r := manifest.Release{Product: manifest.ProductAgent, Version: version, OS: "linux", Arch: "amd64", Channel: manifest.RoleStable}
	r.Packed = r.Dir() + "agent.zst"
	c.repo.File(manifest.RoleStable, r.Packed, slices.Repeat([]byte("packed "+version+"\n"), packedSize/13))
	if from != "" {
		d := manifest.Delta{FromSHA256: program(from).Sum.String(), Target: r.Dir() + "from-" + from + ".zst"}
		c.repo.File(manifest.RoleStable, d.Target, slices.Repeat([]byte("patch "+version+"\n"), patchSize/12))
		r.Deltas = []manifest.Delta{d}
	}
	r = c.repo.Release(manifest.RoleStable, r, text(version))
	return r, errors.Join(c.imports(), c.named(version))
}

// named gives a release an id by the seed: it says in which ring each device is.
func (c *collector) named(version string) error {
	ctx := context.Background()
	return c.call(func(r *running) error {
		return r.db.Write(ctx, func(tx *db.Tx) error {
			var id string
			if err := tx.QueryRow(ctx, `SELECT id FROM rollout_releases WHERE version = $1`, version).Scan(&id); err != nil {
				return err
			}
			name := id[:14] + fmt.Sprintf("7000-%04x-%012x", 0x8000+c.published(), c.w.seed) // the time is the bubble's
			_, err := tx.Exec(ctx, `UPDATE rollout_releases SET id = $2 WHERE id = $1`, id, name)
			if err == nil {
				_, err = tx.Exec(ctx, `UPDATE rollout_targets SET release_id = $2 WHERE release_id = $1`, id, name)
			}
			return err
		})
	})
}

// begins a session of a device.
func (c *collector) begins(d *device, p journalProgram) error {
	c.mu.Lock()
	c.sessions++
	session := c.sessions
	c.mu.Unlock()
	err := c.call(func(r *running) error {
		_, err := r.health.Begin(context.Background(), d.caller, session, d.epoch(), p.Version)
		return err
	})
	if err == nil {
		d.session(session, p)
	}
	return err
}

func (c *collector) ends(d *device, session int64) {
	// One that is away clears all sessions when it comes back.
	err := c.call(func(r *running) error { return r.health.End(context.Background(), d.caller, session) })
	if err != nil && !errors.Is(err, errAway) {
		c.w.fault("ending a session: %v", err)
	}
}

// offers is what a device may install.
func (c *collector) offers(d *device, p journalProgram) (o *hmpb.Offer, err error) {
	err = c.call(func(r *running) (err error) {
		o, err = r.gate.Offer(context.Background(), d.caller, p.Version, p.Sum[:], []string{"system:linux/amd64"})
		return err
	})
	return o, err
}

// ingest takes what a device tells, and says up to which entry it is stored.
func (c *collector) ingest(d *device, first uint64, entries []*hmpb.Entry) (through uint64, err error) {
	err = c.call(func(r *running) error {
		down, err := r.health.Ingest(context.Background(), d.caller, hmpb.Batch_builder{SpoolEpoch: d.epoch(), FirstSeq: &first, Entries: entries}.Build())
		if err == nil && down.GetAck() == nil {
			return fmt.Errorf("answered %v to entries from %d on", down, first)
		}
		through = down.GetAck().GetThroughSeq()
		return err
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dirty = true
	if err == nil {
		c.told += len(entries)
	}
	return through, err
}

func (c *collector) wasDirty() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.dirty
	c.dirty = false
	return was
}

// Opened is what a desk would say of tickets.
func (c *collector) Opened(_ context.Context, _ *db.Tx, _ string, since time.Time) (n int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, at := range c.tickets {
		if !at.Before(since) {
			n++
		}
	}
	return n, nil
}

func (c *collector) ticket() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tickets = append(c.tickets, c.w.now())
}

// tell is what the gateway does with the bus: it asks anew for whoever is named, or
// for all who hold a lease, which may be gone. The gateway then asks for all others, one
// after the other; here they are those that are named in the rounds that follow.
func (c *collector) tell(ctx context.Context) {
	sub := c.bus.Subscribe(bus.Offers)
	defer sub.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-sub.C:
			if sub.Lagged() {
				e = bus.Event{}
			}
			if d := c.w.byID[e.Device]; d != nil {
				d.ask()
				continue
			}
			for _, d := range c.w.devices {
				if d.leased() {
					d.ask()
				}
			}
		}
	}
}

// people of the role release.
var ada, bea = person("ada"), person("bea")

func person(name string) access.Caller {
	return access.Caller{Kind: access.KindUser, ID: name, Name: name, Role: access.RoleRelease}
}
