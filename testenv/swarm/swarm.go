// Package swarm simulates a fleet: the real agent's code over the real wire, many
// times in one process. Only what a device is made of is invented (readings,
// disk, keys; see testenv/fakes), and many devices share a UDP socket, because
// the number of open files is bounded and the number of devices is not.
package swarm

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"hausmeister/agent"
	"hausmeister/agent/config"
	"hausmeister/agent/enroll"
	"hausmeister/agent/health"
	"hausmeister/agent/link"
	"hausmeister/platform/supervise"
	"hausmeister/platform/sysinfo"
	"hausmeister/platform/wake"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
	"hausmeister/testenv/fakes"
)

// A Device is one simulated device.
type Device struct {
	Number int    // which of testenv/fakes' machines
	Claim  string // that admits it
}

// Config of a Swarm.
type Config struct {
	Devices []Device
	// PerSocket is how many devices share a UDP socket; 0 means 500.
	PerSocket int
	// AtOnce is how many enrol at the same time; 0 means 32.
	AtOnce int
	// Together lets no device report before all are enrolled, so that the cost
	// of each can be told apart.
	Together bool
	// Source gives the readings of a device; nil means testenv/fakes' machine.
	Source func(d Device, m *fakes.Machine) Source
	// Past brings a device what it has to tell from before, into its spool and
	// files, after it enrolled and before its agent runs; nil means it is new. As
	// many at the same time as there are processors.
	Past func(ctx context.Context, d Device, m *fakes.Machine, spool, files *fakes.Disk) error
	// Acked takes how long a batch of a device waited for its answer, in
	// whatever goroutine that is; nil means nobody asks.
	Acked func(d Device, took time.Duration)
	// Updates lets devices take updates; nil means they have no launcher.
	Updates *Updates
	// Settings is the agents' settings file; nil means none.
	Settings []byte
	// Random gives the numbers in [0, 1) that the agents' waits are spread by;
	// nil means math/rand.
	Random func() float64
	Now    func() time.Time // nil means time.Now
	Log    *slog.Logger     // nil means slog.Default
}

// Source reads a machine.
type Source interface {
	Read(ctx context.Context) sysinfo.Snapshot
}

// Swarm is a simulated fleet.
type Swarm struct {
	c       Config
	members []*member
	// enrolling has a place for each device that may enrol now.
	enrolling chan struct{}
	// remembering has a place for each device whose past may be made now.
	remembering chan struct{}
	enrolled    atomic.Int64
	all         chan struct{} // closed when every device is enrolled
}

// member is one device.
type member struct {
	device   Device
	now      func() time.Time // its own clock
	acked    func(d Device, took time.Duration)
	endpoint *wire.Endpoint
	machine  *fakes.Machine
	spool    *fakes.Disk
	files    *fakes.Disk
	agent    *agent.Agent

	mu sync.Mutex
	id string // guarded by mu; record id once enrolled
}

// New makes a swarm that Run then runs.
func New(c Config) *Swarm {
	if c.PerSocket <= 0 {
		c.PerSocket = 500
	}
	if c.AtOnce <= 0 {
		c.AtOnce = 32
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	s := &Swarm{c: c, enrolling: make(chan struct{}, c.AtOnce), remembering: make(chan struct{}, runtime.GOMAXPROCS(0)), all: make(chan struct{})}
	for _, d := range c.Devices {
		now := fakes.ClockOf(d.Number, c.Now)
		m := &member{device: d, now: now, acked: c.Acked, machine: fakes.NewMachine(d.Number, now), spool: fakes.NewDisk(), files: fakes.NewDisk()}
		if c.Settings != nil {
			m.files.Put(config.SettingsFile, c.Settings)
		}
		s.members = append(s.members, m)
	}
	return s
}

// Run runs all devices until ctx ends; ready is called once all are enrolled. A
// device that fails for good ends the swarm.
func (s *Swarm) Run(ctx context.Context, ready func()) error {
	if len(s.members) == 0 {
		ready()
		return nil
	}
	sockets, err := s.openSockets()
	defer func() {
		for _, e := range sockets {
			e.Close()
		}
	}()
	if err != nil {
		return err
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	crew := supervise.NewCrew(ctx, len(s.members)+1)
	crew.Go(func(ctx context.Context) {
		select {
		case <-s.all:
			ready()
		case <-ctx.Done():
		}
	})
	for _, m := range s.members {
		crew.Go(func(ctx context.Context) {
			if err := s.live(ctx, m); err != nil {
				fail(fmt.Errorf("simulated device %d: %w", m.device.Number, err))
			}
		})
	}
	crew.Wait()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// openSockets gives every member its endpoint.
func (s *Swarm) openSockets() (sockets []*wire.Endpoint, err error) {
	for i, m := range s.members {
		if i%s.c.PerSocket == 0 {
			conn, err := net.ListenUDP("udp", nil)
			if err != nil {
				return sockets, fmt.Errorf("opening a socket for simulated devices: %w", err)
			}
			sockets = append(sockets, wire.NewEndpoint(wire.TolerantSocket(conn, wake.Transient), wire.EndpointConfig{}))
		}
		m.endpoint = sockets[len(sockets)-1]
	}
	return sockets, nil
}

// live is the life of one device: enrol, have a past, then be an agent.
func (s *Swarm) live(ctx context.Context, m *member) error {
	log := s.c.Log.With("simulated", m.device.Number)
	keeper, err := enroll.Open(enroll.Config{
		Files: m.files,
		Keys:  fakes.NewKeys(),
		Hardware: func(context.Context) ident.Hardware {
			id := m.machine.Identity()
			return ident.Hardware{Manufacturer: id.Manufacturer.Value, Model: id.Model.Value, Serial: id.Serial.Value, OS: id.OS}
		},
		BuildTime: s.c.Now().Add(-24 * time.Hour),
		Dial:      m.dial,
		Log:       slog.New(slog.DiscardHandler), // thousands of "enrolled" help nobody
	})
	if err != nil {
		return err
	}
	identity, err := s.enroll(ctx, m, keeper)
	if err != nil || ctx.Err() != nil {
		return err
	}
	m.mu.Lock()
	m.id = identity.Device
	m.mu.Unlock()
	if s.enrolled.Add(1) == int64(len(s.members)) {
		close(s.all)
	}
	if s.c.Together {
		select {
		case <-s.all:
		case <-ctx.Done():
			return nil
		}
	}
	if err := s.remember(ctx, m); err != nil || ctx.Err() != nil {
		return err
	}
	var source Source = m.machine
	if s.c.Source != nil {
		source = s.c.Source(m.device, m.machine)
	}
	conf := agent.Config{
		Version: "0.0.0-simulated",
		Disk:    m.spool,
		Files:   m.files,
		Open:    func() (*enroll.Keeper, error) { return keeper, nil },
		Dial:    m.dial,
		Source:  source,
		Live:    func() health.Source { return m.machine },
		Now:     m.now,
		Random:  s.c.Random,
		Log:     log,
	}
	if s.c.Updates != nil {
		return s.launch(ctx, m, func(p program) agent.Config {
			conf := conf
			conf.Version, conf.Hash, conf.System = p.version, p.sum[:], m.machine.OS()+"/"+m.machine.Arch()
			return conf
		})
	}
	hash := sha256.Sum256([]byte("simulated"))
	conf.Hash = hash[:]
	a := agent.New(conf)
	m.set(a)
	return a.Run(ctx)
}

// set is called at each start of an agent.
func (m *member) set(a *agent.Agent) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.agent = a
}

// remember gives the device its past.
func (s *Swarm) remember(ctx context.Context, m *member) error {
	if s.c.Past == nil {
		return nil
	}
	select {
	case s.remembering <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	defer func() { <-s.remembering }()
	err := s.c.Past(ctx, m.device, m.machine, m.spool, m.files)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// enroll tries until the device is in, as people who set up devices do; what
// no further try can cure ends it.
func (s *Swarm) enroll(ctx context.Context, m *member, k *enroll.Keeper) (enroll.Identity, error) {
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		select {
		case s.enrolling <- struct{}{}:
		case <-ctx.Done():
			return enroll.Identity{}, nil
		}
		id, err := k.Enroll(ctx, m.device.Claim)
		<-s.enrolling
		if err == nil || ctx.Err() != nil {
			return id, nil
		}
		var refused *enroll.Error
		if !errors.As(err, &refused) || !refused.Again() {
			return id, err
		}
		pause := time.NewTimer(max(refused.RetryAfter, time.Duration(rand.Int64N(int64(wait)))))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return enroll.Identity{}, nil
		}
	}
}

// dial opens a session over the socket that the device shares with others.
func (m *member) dial(ctx context.Context, address string, conf *tls.Config) (wire.Session, error) {
	addr, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, err
	}
	s, err := m.endpoint.Dial(ctx, addr, conf)
	if err != nil || m.acked == nil {
		return s, err
	}
	return &timed{Session: s, told: func(took time.Duration) { m.acked(m.device, took) }}, nil
}

// Enrolled gives the record id of each device, "" for one that is not enrolled.
func (s *Swarm) Enrolled() []string {
	ids := make([]string, len(s.members))
	for i, m := range s.members {
		m.mu.Lock()
		ids[i] = m.id
		m.mu.Unlock()
	}
	return ids
}

// Told says whether the collector has all that the i-th device had to report.
func (s *Swarm) Told(i int) bool {
	m := s.members[i]
	m.mu.Lock()
	a := m.agent
	m.mu.Unlock()
	if a == nil {
		return false
	}
	st := a.Status()
	return st.SpoolEntries > 0 && st.SpoolWaiting == 0
}

// Spool is the disk with the reports of the i-th device.
func (s *Swarm) Spool(i int) *fakes.Disk { return s.members[i].spool }

// Count is how many devices are enrolled and connected, and how many reports
// wait in their spools.
type Count struct {
	Enrolled, Connected int
	Waiting             uint64
}

// Count looks at all devices.
func (s *Swarm) Count() Count {
	c := Count{Enrolled: int(s.enrolled.Load())}
	for _, m := range s.members {
		m.mu.Lock()
		a := m.agent
		m.mu.Unlock()
		if a == nil {
			continue
		}
		st := a.Status()
		if st.State == link.Connected {
			c.Connected++
		}
		c.Waiting += st.SpoolWaiting
	}
	return c
}
