package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"hausmeister/agent/config"
	"hausmeister/agent/enroll"
	"hausmeister/agent/finding"
	"hausmeister/agent/health"
	"hausmeister/agent/link"
	"hausmeister/agent/spool"
	"hausmeister/agent/update"
	"hausmeister/platform/supervise"
	"hausmeister/platform/wake"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
)

// Config is all that an agent needs from outside.
type Config struct {
	Version string
	Hash    []byte // SHA-256 of the running program
	System  string // that it was built for, as linux/amd64; "" = not told
	// Disk holds the spool, Files the settings and what is remembered.
	Disk  spool.Disk
	Files config.Files
	// Open reads the identity; it is asked again while there is none, since
	// another process may enrol this device.
	Open func() (*enroll.Keeper, error)
	// Dial opens a session to the collector at address.
	Dial func(ctx context.Context, address string, conf *tls.Config) (wire.Session, error)
	// Ways are those that Dial chooses from; nil = there is one only.
	Ways Ways
	// Pulse is beaten at each look at the machine; nil = nobody follows.
	Pulse  *wake.Pulse
	Source health.Source
	// Live makes a source with means of its own, for when somebody watches this
	// device by the second; nil = nobody can.
	Live func() health.Source
	// Watcher tells of sleep and network; nil = nobody does.
	Watcher Watcher
	// Rest gives memory back now and then; nil = nobody wants it.
	Rest func()
	// Leave and Tidy are as in health.Config.
	Leave, Tidy func()
	// Publish replaces a file that everybody at this machine may read; nil =
	// nobody reads them.
	Publish func(name string, data []byte) error
	// Ready is called when the start is over, be it to wait for an identity.
	Ready func()
	// Alive is called when the agent got on since the last time, each minute or so;
	// nil = nobody listens.
	Alive func()
	// Updates makes the part that prepares updates; nil = there is none.
	Updates func(Means) Updates

	Now    func() time.Time
	Random func() float64
	Log    *slog.Logger
}

// Means are what the agent has for updates.
type Means struct {
	Sink update.Sink
	// Open and Address are of the present session.
	Open    func(ctx context.Context, header *hmpb.FetchHeader) (*wire.Framed, error)
	Address func() string
	// Power and connection, as health saw them last.
	BatteryLow, Metered func() bool
	Trust               func(time.Time)
	Policies            update.Policies
	Changed             func()
	Pulse               *wake.Pulse
}

// Updates prepares updates; *update.Updater is one.
type Updates interface {
	link.Updates
	Run(ctx context.Context, ready func()) error
	Status() update.Status
	SignedTime() time.Time
}

// Ways is link.Ways for whatever address the identity has; *path.Dialer is one.
type Ways interface {
	DialQUIC(ctx context.Context, address string, conf *tls.Config) (wire.Session, error)
	DialAround(ctx context.Context, address string, conf *tls.Config) (wire.Session, error)
	Worked(s wire.Session)
	Inspection() config.Inspection
}

// Watcher tells what happens to the machine; *wake.Watcher is one.
type Watcher interface {
	Run(ctx context.Context, ready func()) error
	Events() <-chan wake.Event
}

// Agent is one device's agent.
type Agent struct {
	c      Config
	public *publisher

	mu sync.Mutex
	// below is guarded by mu and nil before Run got so far
	keeper *enroll.Keeper
	link   *link.Link
	spool  *spool.Spool
	health *health.Health
	update Updates
}

// New makes an Agent that Run then runs.
func New(c Config) *Agent {
	if c.Ready == nil {
		c.Ready = func() {}
	}
	if c.Alive == nil {
		c.Alive = func() {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	a := &Agent{c: c}
	a.public = newPublisher(a)
	return a
}

// Run runs the agent until ctx ends.
func (a *Agent) Run(ctx context.Context) error {
	keeper, err := a.identity(ctx)
	if keeper == nil {
		return err
	}
	policies := config.OpenPolicies(a.c.Files)
	settings, err := config.ReadSettingsOver(a.c.Files, policies.Begin())
	if err != nil {
		a.c.Log.Warn("settings file not used", "error", err)
	}
	sp, err := spool.Open(spool.Config{Disk: a.c.Disk, MaxBytes: settings.SpoolBytes, Now: a.c.Now})
	if err != nil {
		return err
	}
	memory := config.OpenMemory(a.c.Files)
	h := health.New(health.Config{
		Source:   a.c.Source,
		Live:     a.c.Live,
		Sink:     sp,
		Memory:   memory,
		Settings: healthSettings(settings),

		Findings:     a.watcher(memory),
		KeepFindings: memory.SetFindings,

		About:  func() health.Facts { return a.factsOf(memory) },
		Rest:   a.c.Rest,
		Leave:  a.c.Leave,
		Tidy:   a.c.Tidy,
		Pulse:  a.c.Pulse,
		Now:    a.c.Now,
		Random: a.c.Random,
		Log:    a.c.Log,
	})
	up := a.updates(keeper, sp, h, policies)
	lc := link.Config{
		Dialer:   link.DialFunc(at(keeper, a.c.Dial)),
		Identity: keeper,
		Memory:   memory,
		Spool:    sp,
		About:    link.About{Version: a.c.Version, Hash: a.c.Hash, BootID: a.bootID(ctx, memory), Capabilities: a.capabilities(settings, up, policies)},
		Watched:  h,
		Looks:    a.public.looks(memory),
		Pulse:    a.c.Pulse,
		Saving:   h.OnBattery,
		Settings: func(p *hmpb.Settings) {
			s := settings.Policy(p)
			h.Apply(healthSettings(s))
			standard := config.Standard(p)
			h.Require(standard)
			if err := memory.SetStandard(standard); err != nil {
				a.c.Log.Warn("standard software not remembered", "error", err)
			}
		},
		Sent:  a.public.sent,
		Shown: a.public.shown,

		Changed: a.public.changed,
		Now:     a.c.Now,
		Random:  a.c.Random,
		Log:     a.c.Log,
	}
	if a.c.Ways != nil {
		lc.Ways = ways{a.c.Ways, keeper}
	}
	if up != nil {
		lc.Updates = up
	}
	l := link.New(lc)
	a.mu.Lock()
	a.keeper, a.link, a.spool, a.health, a.update = keeper, l, sp, h, up
	a.mu.Unlock()
	a.c.Ready()
	a.c.Alive()
	parts := a.parts(keeper, h, l, policies)
	if up != nil {
		parts = append(parts, supervise.Part{Name: "updates", Run: up.Run, Restart: supervise.Always})
	}
	err = supervise.Run(ctx, a.c.Log, parts...)
	if ctx.Err() != nil {
		err = errors.Join(err, policies.Ended())
	}
	return errors.Join(err, sp.Close())
}

// capabilities are what the Hello tells of this program for updates: its system, the
// channel that it is on, whether it takes any, and how it stands with what no rollout
// brings it. What it is offered it judges itself once more.
func (a *Agent) capabilities(s config.Settings, up Updates, policies *config.Policies) []string {
	out := []string{"channel:" + s.Channel}
	if a.c.System != "" {
		out = append(out, "system:"+a.c.System)
	}
	if up == nil || up.Status().Off != "" {
		out = append(out, "updates:off")
	}
	tell := func(what, version string) {
		if version != "" {
			out = append(out, what+":"+version)
		}
	}
	if up != nil {
		tell("launcher", up.Status().Launcher)
		tell("launcher-left", up.Status().LauncherLeft)
	}
	tell("policy", policies.Version())
	tell("policy-left", policies.Left())
	return out
}

// updates makes the part for them, if there is to be one. What was signed at a time
// is not earlier than that, so that a dead clock's battery does not keep the device
// from its collector.
func (a *Agent) updates(k *enroll.Keeper, sp *spool.Spool, h *health.Health, policies *config.Policies) Updates {
	if a.c.Updates == nil {
		return nil
	}
	up := a.c.Updates(Means{
		Sink: sp,
		Open: func(ctx context.Context, header *hmpb.FetchHeader) (*wire.Framed, error) {
			l := a.present()
			if l == nil {
				return nil, link.ErrNoSession
			}
			return l.Fetch(ctx, header)
		},
		Address: func() string {
			id, _ := k.Enrolled()
			return id.Address
		},
		BatteryLow: h.BatteryLow,
		Metered:    h.Metered,
		Trust:      k.Trust,
		Policies:   policies,
		Changed:    a.public.changed,
		Pulse:      a.c.Pulse,
	})
	k.Trust(up.SignedTime())
	return up
}

// present is the link; nil before there is one.
func (a *Agent) present() *link.Link {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.link
}

// parts in the order of their start; the link stops after health, so that it
// can say goodbye last, and the public files show how it ended.
func (a *Agent) parts(k *enroll.Keeper, h *health.Health, l *link.Link, policies *config.Policies) []supervise.Part {
	var parts []supervise.Part
	if a.c.Publish != nil {
		parts = append(parts, supervise.Part{Name: "public files", Run: a.public.run, Restart: supervise.Always})
	}
	parts = append(parts,
		supervise.Part{Name: "link", Run: l.Run, Restart: supervise.Always},
		supervise.Part{Name: "health", Run: h.Run, Restart: supervise.Always},
		supervise.Part{Name: "identity", Restart: supervise.Always, Run: func(ctx context.Context, ready func()) error {
			ready()
			a.watchIdentity(ctx, k, l)
			return nil
		}},
		supervise.Part{Name: "alive", Restart: supervise.Always, Run: func(ctx context.Context, ready func()) error {
			ready()
			a.showAlive(ctx, policies)
			return nil
		}},
	)
	if a.c.Watcher != nil {
		parts = append(parts,
			supervise.Part{Name: "watcher", Run: a.c.Watcher.Run, Restart: supervise.Always},
			supervise.Part{Name: "events", Restart: supervise.Always, Run: func(ctx context.Context, ready func()) error {
				ready()
				for {
					select {
					case e := <-a.c.Watcher.Events():
						l.Notice(e)
						h.Nudge()
					case <-ctx.Done():
						return nil
					}
				}
			}},
		)
	}
	return parts
}

// aliveEvery is how often somebody is told that the agent gets on.
const aliveEvery = time.Minute

// provedAfter is how long the agent must have been alive with a new signed policy, as
// its launcher wants it of a new program.
const provedAfter = 10 * time.Minute

// showAlive says that the agent gets on when health has looked at the machine and
// link, spool and health answer: whichever of them hangs keeps it silent.
func (a *Agent) showAlive(ctx context.Context, policies *config.Policies) {
	began, proved := time.Now(), false
	tick := a.c.Pulse.Timer(aliveEvery)
	defer tick.Stop()
	looks := a.c.Pulse.Beats()
	for {
		select {
		case <-tick.C:
			tick.Again()
		case <-ctx.Done():
			return
		}
		if n := a.c.Pulse.Beats(); n != looks || a.c.Pulse == nil {
			looks = n
			_ = a.facts()
			_ = a.saving()
			a.c.Alive()
			if !proved && time.Since(began) >= provedAfter {
				proved = true
				if err := policies.Proved(); err != nil {
					a.c.Log.Warn("a signed policy stays on trial", "error", err)
				}
			}
		}
	}
}

const (
	// A person who enrols a device looks at it; later nobody waits.
	lookOften, lookSeldom = 2 * time.Second, 30 * time.Second
	lookOftenFor          = 10 * time.Minute
	// Another identity comes at most once in a device's life, from a person who
	// can wait a minute.
	lookAgain = time.Minute
)

// watchIdentity takes over an identity that another process put into the state
// folder (enroll --replace), with a new session.
func (a *Agent) watchIdentity(ctx context.Context, k *enroll.Keeper, l *link.Link) {
	tick := a.c.Pulse.Timer(lookAgain)
	defer tick.Stop()
	told := "" // each trouble once
	for {
		select {
		case <-tick.C:
			tick.Again()
		case <-ctx.Done():
			return
		}
		changed, err := k.Reload()
		switch {
		case err != nil && err.Error() != told:
			told = err.Error()
			a.c.Log.Warn("identity in the state folder not taken over", "error", err)
		case changed:
			id, _ := k.Enrolled()
			a.c.Log.Info("another identity", "device", id.Device, "collector", id.Address)
			l.Reconnect()
		}
	}
}

// identity waits until this device has an identity; nil when ctx ended first.
func (a *Agent) identity(ctx context.Context) (*enroll.Keeper, error) {
	begin := time.Now()
	for first := true; ; first = false {
		keeper, err := a.c.Open()
		if err != nil {
			return nil, fmt.Errorf("reading the identity: %w", err)
		}
		if _, ok := keeper.Enrolled(); ok {
			return keeper, nil
		}
		if first {
			a.c.Log.Info("not enrolled, waiting for an identity", "damage", keeper.Damage())
			a.public.write()
			a.c.Ready()
		}
		a.c.Alive()
		wait := lookOften
		if time.Since(begin) > lookOftenFor {
			wait = lookSeldom
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, nil
		}
	}
}

// at dials whatever address the identity has just now.
func at(k *enroll.Keeper, dial func(context.Context, string, *tls.Config) (wire.Session, error)) func(context.Context, *tls.Config) (wire.Session, error) {
	return func(ctx context.Context, conf *tls.Config) (wire.Session, error) {
		id, _ := k.Enrolled()
		return dial(ctx, id.Address, conf)
	}
}

// saving says whether power is short.
func (a *Agent) saving() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.health != nil && a.health.OnBattery()
}

// ways are the link's.
type ways struct {
	Ways
	keeper *enroll.Keeper
}

func (w ways) DialQUIC(ctx context.Context, conf *tls.Config) (wire.Session, error) {
	return at(w.keeper, w.Ways.DialQUIC)(ctx, conf)
}

func (w ways) DialAround(ctx context.Context, conf *tls.Config) (wire.Session, error) {
	return at(w.keeper, w.Ways.DialAround)(ctx, conf)
}

// bootID is unknown where the time of boot is.
func (a *Agent) bootID(ctx context.Context, m *config.Memory) []byte {
	boot, ok := a.c.Source.Read(ctx).BootTime.Get()
	if !ok {
		return nil
	}
	id, err := m.BootID(boot)
	if err != nil {
		a.c.Log.Warn("boot id not stored", "error", err)
	}
	return id
}

// watcher goes on where the last run stopped.
func (a *Agent) watcher(m *config.Memory) *finding.Watcher {
	w := finding.New(finding.Config{Standard: m.Standard()})
	if err := w.Restore(m.Findings()); err != nil {
		a.c.Log.Warn("findings begin anew", "error", err)
	}
	return w
}

// facts is how the agent is, for the reports.
func (a *Agent) facts() health.Facts {
	a.mu.Lock()
	l, sp := a.link, a.spool
	a.mu.Unlock()
	if l == nil {
		return health.Facts{}
	}
	ls, ss, way := l.Status(), sp.Stats(), l.Path()
	return health.Facts{
		Path:    way.Transport,
		Trouble: trouble(ls.State, way.Obstacle),

		InspectionIssuer: way.InspectionIssuer,

		ClockOffset:  ls.ClockOffset,
		Heard:        ls.Heard,
		SpoolWaiting: ss.Waiting,
		SpoolDropped: ss.Dropped + ss.Failures,
		SpoolFailing: ss.Failing,
		SpoolLost:    ss.Lost + ss.Damaged,
	}
}

// factsOf is facts with the collector's store.
func (a *Agent) factsOf(m *config.Memory) health.Facts {
	f := a.facts()
	f.Store = m.StoreID()
	return f
}

// trouble is the code of network_trouble for what is in the way; empty when
// nobody knows: a device without a network has no bad one.
func trouble(state link.State, p link.Problem) string {
	switch p {
	case link.UDPBlocked:
		return "udp_blocked"
	case link.Inspected:
		return "inspected"
	case link.Portal:
		return "captive_portal"
	case link.ProxyLogin:
		return "proxy_needs_login"
	}
	if state == link.Connected {
		return "none"
	}
	return ""
}

func healthSettings(s config.Settings) health.Settings {
	return health.Settings{Interval: s.StateInterval, BatteryInterval: s.BatteryInterval}
}
