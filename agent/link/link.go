package link

import (
	"context"
	"crypto/tls"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"hausmeister/agent/config"
	"hausmeister/agent/spool"
	"hausmeister/platform/wake"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
)

// Dialer opens a session to the collector, over whichever transport works.
// ctx carries the deadline.
type Dialer interface {
	Dial(ctx context.Context, conf *tls.Config) (wire.Session, error)
}

// DialFunc is a Dialer.
type DialFunc func(ctx context.Context, conf *tls.Config) (wire.Session, error)

// Dial calls f.
func (f DialFunc) Dial(ctx context.Context, conf *tls.Config) (wire.Session, error) {
	return f(ctx, conf)
}

// Ways are other ways to the collector than the one of the present session;
// agent/link/path chooses them.
type Ways interface {
	// DialQUIC tries QUIC alone.
	DialQUIC(ctx context.Context, conf *tls.Config) (wire.Session, error)
	// DialAround dials while a session over QUIC lives that is not answered.
	DialAround(ctx context.Context, conf *tls.Config) (wire.Session, error)
	// Worked is told of each session that got its Welcome.
	Worked(s wire.Session)
	// Inspection is who opened our connections lately, in whatever network.
	Inspection() config.Inspection
}

// Identity is who this device is and whom it trusts; *enroll.Keeper is one.
type Identity interface {
	// TLSConfig is that of the next session, nil without an identity.
	TLSConfig() *tls.Config
	// RaiseEpoch gives the connection epoch of the next session, stored already.
	RaiseEpoch() (uint64, error)
	// Trust takes the collector's clock.
	Trust(t time.Time)
	SetRoots(roots [][]byte, cs tls.ConnectionState) error
	NeedsRenewal() bool
	// Renew gets a new certificate over s; sessions opened later use it.
	Renew(ctx context.Context, s wire.Session) error
}

// Memory remembers which store the collector had; *config.Memory is one.
type Memory interface {
	StoreID() []byte
	SetStoreID(id []byte) error
}

// Watched is asked when somebody looks at this device; *health.Health is one.
type Watched interface {
	// Flush tells what is not told yet of the minutes so far. It never waits.
	Flush()
	// Live begins samples by the second, each a call of sample; nil = there are none.
	Live() (sample func(ctx context.Context) []*hmpb.Reading)
}

// Looks keeps who looked at this device.
type Looks interface {
	// Last is the id of the newest look that is kept; empty = none.
	Last() string
	// Take keeps looks; some may be kept already.
	Take([]*hmpb.Look)
}

// About is what Hello says of this program and machine.
type About struct {
	Version      string
	Hash         []byte // SHA-256 of the running program
	BootID       []byte // 16 bytes, new at each boot of the machine
	Capabilities []string
}

// Config of a Link. Dialer, Identity, Memory and Spool are needed.
type Config struct {
	Dialer   Dialer
	Identity Identity
	Memory   Memory
	Spool    *spool.Spool
	About    About
	// Watched is nil on a device of which nobody can have a closer look.
	Watched Watched
	// Looks is nil on a device that keeps no list of who looked; then the
	// collector tells it none.
	Looks Looks
	// Updates is nil for a program that nobody can update.
	Updates Updates
	// Ways lets the link change its path; nil = there is one way only.
	Ways Ways
	// Settings takes the collector's policy, at each Welcome and when it changes.
	Settings func(*hmpb.Settings)
	// Sent takes each batch once it is on its way.
	Sent func(*hmpb.Batch)
	// Shown takes each sample once it is on its way to who watches; nil = nobody
	// wants them.
	Shown func(*hmpb.LiveUp)
	// Pulse is beaten once a minute at least; nil = it is not.
	Pulse *wake.Pulse
	// Saving says whether power is short: then life signs and attempts to reach the
	// collector go with the Pulse, so that they wake no machine that sleeps; nil =
	// never.
	Saving func() bool
	// Changed is called after each change of State or Problem, and after each
	// answer to a batch.
	Changed func()
	Now     func() time.Time // device clock; nil = time.Now
	Random  func() float64   // in [0, 1); nil = math/rand
	Log     *slog.Logger     // nil = slog.Default
}

// State is where the link is; only Run changes it, by set.
//
//	            +--------- come back, lost, network changed ---------+
//	            v                                                    |
//	Waiting -> Dialing -> Greeting -> Connected ----- ended ---------+
//	   ^          |          |                                       |
//	   +----------+----------+---- refused, needs help -> Refused ---+
//	                                                        |
//	any -> Stopped when Run returns        slow retry -> Dialing
type State string

const (
	Waiting   State = "waiting"   // until Status.RetryAt
	Dialing   State = "dialing"   // network and TLS
	Greeting  State = "greeting"  // Hello said, no Welcome yet
	Connected State = "connected" // welcome
	Refused   State = "refused"   // like Waiting, but somebody has to help
	Stopped   State = "stopped"
)

// Status is how the link is now.
type Status struct {
	State     State
	Since     time.Time // device clock
	RetryAt   time.Time // of Waiting and Refused
	Transport string    // of Connected: "quic", "tcp", "tcp_proxy"
	Problem   Problem   // what ended or prevented the last session; kept until the next Welcome
	Detail    string    // for logs and support, English
	// ClockOffset is collector's clock minus device's, once Heard is not zero.
	ClockOffset time.Duration
	Heard       time.Time // device clock at the last word of the collector
}

// Link is the part of the agent that talks.
type Link struct {
	c      Config
	events chan wake.Event // holds one
	anew   chan struct{}   // asks for a new session; holds one
	// keepAlive is that of the collector's settings, in seconds.
	keepAlive atomic.Uint32
	// present is the session that is in; nil = none.
	present atomic.Pointer[wire.Session]
	// seekWait is the wait before QUIC is tried again; only the mover's and,
	// between sessions, Run's.
	seekWait time.Duration
	around   bool // the next session is not to begin with QUIC; only Run's

	mu     sync.Mutex
	status Status
}

// New makes a Link that Run then runs.
func New(c Config) *Link {
	if c.Settings == nil {
		c.Settings = func(*hmpb.Settings) {}
	}
	if c.Sent == nil {
		c.Sent = func(*hmpb.Batch) {}
	}
	if c.Changed == nil {
		c.Changed = func() {}
	}
	if c.Saving == nil {
		c.Saving = func() bool { return false }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Float64
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	l := &Link{c: c, events: make(chan wake.Event, 1), anew: make(chan struct{}, 1), seekWait: seekFirst, status: Status{State: Waiting, Since: c.Now()}}
	l.keepAlive.Store(uint32(wire.DefaultKeepAlive / time.Second))
	return l
}

// Status is how the link is now.
func (l *Link) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

// Notice tells the link what happened to the machine. It never waits.
func (l *Link) Notice(e wake.Event) {
	select {
	case l.events <- e:
	default: // one is waiting already, and one is as good as two
	}
}

// Reconnect ends the session, if there is one, for a new one by the identity as it
// is now, and cuts every wait short: what was refused or asked for concerned the
// one of before. It never waits.
func (l *Link) Reconnect() { signal(l.anew) }

// Run keeps the session until ctx ends, which is its only end.
func (l *Link) Run(ctx context.Context, ready func()) error {
	ready()
	defer l.set(Stopped, func(*Status) {})
	b := backoff{random: l.c.Random}
	for ctx.Err() == nil {
		end := l.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		wait := b.next(end)
		l.pause(ctx, wait, end, end.retryAfter == 0 && !b.atOnce(end) && l.c.Saving())
	}
	return nil
}

// pause waits before the next session, with the pulse where that is wanted. A
// change of network cuts short what is only our own patience, not what the
// collector asked for.
func (l *Link) pause(ctx context.Context, wait time.Duration, end ending, withPulse bool) {
	state := Waiting
	if end.problem.NeedsHelp() {
		state = Refused
	}
	level := slog.LevelDebug // the same again: the first line of it says all
	if l.Status().Problem != end.problem {
		level = slog.LevelInfo
	}
	l.set(state, func(s *Status) {
		s.RetryAt = l.c.Now().Add(wait)
		s.Problem, s.Detail = end.problem, end.detail()
	})
	l.c.Log.Log(ctx, level, "session over", "problem", end.problem, "detail", end.detail(), "retry_in", wait.Round(time.Millisecond))
	t := time.NewTimer(wait)
	defer t.Stop()
	var beat <-chan time.Time
	if withPulse {
		p := l.c.Pulse.Between(wait, wait+slack)
		defer p.Stop()
		beat = p.C
		t.Stop()
	}
	for {
		select {
		case <-t.C:
			return
		case <-beat:
			return
		case <-ctx.Done():
			return
		case <-l.anew:
			t.Reset(min(wait, spread(l.c.Random, hurry)))
		case <-l.events:
			if state == Waiting && end.retryAfter == 0 {
				t.Reset(min(wait, spread(l.c.Random, hurry)))
			}
		}
	}
}

// pulse is that of the machine while its power is short; otherwise each wait keeps
// its own time.
func (l *Link) pulse() *wake.Pulse {
	if l.c.Saving() {
		return l.c.Pulse
	}
	return nil
}

// waitFor fires after wait; while power is short, at the beat that comes after it.
func (l *Link) waitFor(wait time.Duration) *wake.Timer {
	return l.pulse().Between(wait, wait+slack)
}

// burst bounds each of dialling and greeting while power is short: an attempt is
// then a part of the wake in which it began, and over long before the next beat.
const burst = 7 * time.Second

// within is how long a step may take that may take most on mains.
func (l *Link) within(most time.Duration) time.Duration {
	if l.c.Saving() {
		return min(most, burst)
	}
	return most
}

// set changes the state; no other place does.
func (l *Link) set(state State, more func(*Status)) {
	l.mu.Lock()
	if l.status.State != state {
		l.status.Since = l.c.Now()
	}
	l.status.State = state
	l.status.RetryAt, l.status.Transport = time.Time{}, ""
	more(&l.status)
	l.mu.Unlock()
	l.c.Changed()
}
