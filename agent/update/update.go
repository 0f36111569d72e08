package update

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"hausmeister/agent/update/fetch"
	"hausmeister/agent/update/journal"
	"hausmeister/platform/layout"
	"hausmeister/platform/supervise"
	"hausmeister/platform/wake"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
)

// Sink takes what is told; *spool.Spool is one.
type Sink interface {
	Append(ctx context.Context, e *hmpb.Entry) (seq uint64, err error)
}

// Journal is the machine's memory; *journal.Store is one.
type Journal interface {
	Load() (journal.Journal, error)
	Do(ctx context.Context, e journal.Event) (journal.Journal, []journal.Effect, error)
}

// Programs are the good copies; *layout.Versions is one.
type Programs interface {
	Put(version string, sum layout.Sum, r io.Reader) error
	Check(version string, sum layout.Sum) error
	Open(version string) (layout.File, error)
	Path(version string) string
	Prune(keep ...string) error
}

// Fetcher brings bytes; *fetch.Client is one.
type Fetcher interface {
	Target(ctx context.Context, t fetch.Target, part fetch.Part) (fetched int64, err error)
	Metadata(ctx context.Context, name string, nonce []byte, root uint64) (fetch.Metadata, error)
	Program(ctx context.Context, p fetch.Plan) (fetch.Stats, error)
}

// Lookups finds what is signed under a path, or all that roles sign, after a look
// whether anything is newer; *manifest.Client is one.
type Lookups interface {
	Lookup(ctx context.Context, path string) (manifest.Target, manifest.State, error)
	List(ctx context.Context, roles ...string) ([]manifest.Target, manifest.State, error)
}

// Parts are what is here of a download.
type Parts interface {
	Part(sha256 []byte) (fetch.Part, error)
	Done(sha256 []byte)
	// Out gives an empty file for the program, Unpacked opens it.
	Out() (io.WriteCloser, error)
	Unpacked() (io.ReadCloser, error)
	// Sweep removes everything.
	Sweep() error
	// Free is how much room there is for parts and programs, Held how much of it parts
	// have already.
	Free() (uint64, error)
	Held() (uint64, error)
}

// Hindrance says what speaks against an update just now.
type Hindrance struct {
	Support bool // somebody helps at this device
	Battery bool // it is on battery, and that is low
	Metered bool // its connection costs by volume
}

// Config of an Updater. All is needed unless said otherwise.
type Config struct {
	Parent *Parent // nil = there is no launcher: no updates
	Device manifest.Device
	Sum    layout.Sum // of the program that runs
	Root   []byte     // that the program was built with; nil = what Trust holds
	Build  time.Time
	Trust  manifest.Store
	Lock   func() (release func() error, err error) // of Trust
	// Lookups is for simulators, whose thousand devices need not each verify the same
	// bytes; nil = the files that Fetch brings, held against Root and Trust.
	Lookups  Lookups
	Journal  Journal
	Programs Programs
	Parts    Parts
	Files    Files // of notes; a folder of this program alone
	Fetch    Fetcher
	Sink     Sink
	// Launchers is the launcher's own train; nil = it stays as it is.
	Launchers Launchers
	// Policies keep signed policies; nil = nobody does.
	Policies Policies
	// Selftest runs a program that is about to be armed; an error of its own is
	// ErrSelftest.
	Selftest func(ctx context.Context, path string) error
	// Hindrance is asked before and after what takes long, and each minute or so of it;
	// nil = nothing ever is.
	Hindrance func() Hindrance
	// Wishes are what the person at the device says; nil = nobody can.
	Wishes Wishes
	// Trusted is told of the time that was signed; nil = nobody wants it.
	Trusted func(time.Time)
	// Changed is called when Status did; nil = nobody looks.
	Changed func()
	Pulse   *wake.Pulse      // waits go with it; nil = by themselves
	Now     func() time.Time // device clock; nil = time.Now
	Random  func() float64   // in [0, 1); nil = math/rand
	Log     *slog.Logger     // nil = slog.Default
}

// ErrSelftest: the new program says that it cannot run here, or says nothing.
var ErrSelftest = errors.New("the new program does not pass its test")

// Why updates are off.
const (
	NoLauncher = "no_launcher"
	NoRoot     = "no_root"
	NoJournal  = "no_journal" // it cannot be read, or the launcher adopted no program
)

// Updater is the part of the agent that prepares updates.
type Updater struct {
	c    Config
	tufs Lookups       // nil = nobody is trusted
	kick chan struct{} // holds one

	mu sync.Mutex
	// below is guarded by mu
	offered   *hmpb.Offer // not taken yet; the latest word
	withdrawn *string     // the same; an empty one means any lease
	repo      *hmpb.Repository
	lease     string // that is worked on
	sum       layout.Sum
	quiet     []calm                  // of that offer
	cancel    context.CancelCauseFunc // of the work; nil = none goes on
	status    Status

	// below is Run's
	note     note
	known    *refreshed // of the update that is under way; nil = not asked yet
	failures int        // in a row, of what is tried again
	again    time.Time  // when, by a clock that no one sets
	looked   time.Time  // for launchers and policies, by that clock
	lent     string     // lease that was offered in this start
	lentTill time.Time  // by that clock
	cutOff   bool       // it is tried again because nobody was reached
	left     string     // launcher that did not come up here, as it was at the start
	began    time.Time  // this run, by that clock
	swapAt   time.Time  // not before this is ended for what was armed before this run
}

// errWord ends work because the collector said something new.
var errWord = errors.New("the collector said something new")

// New makes an Updater; where updates are off, one that says so.
func New(c Config) *Updater {
	if c.Hindrance == nil {
		c.Hindrance = func() Hindrance { return Hindrance{} }
	}
	if c.Wishes == nil {
		c.Wishes = nobody{}
	}
	if c.Trusted == nil {
		c.Trusted = func(time.Time) {}
	}
	if c.Changed == nil {
		c.Changed = func() {}
	}
	if c.Lock == nil {
		c.Lock = func() (func() error, error) { return func() error { return nil }, nil }
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
	u := &Updater{c: c, kick: make(chan struct{}, 1)}
	if c.Launchers != nil {
		var err error
		if u.left, err = c.Launchers.Left(); err != nil {
			c.Log.Warn("which launcher was left is not known", "error", err)
		}
		u.status.LauncherLeft = u.left
	}
	if c.Parent == nil {
		u.status.Off = NoLauncher
		return u
	}
	// A word of the launcher comes behind a step of its own, which is to be told.
	c.Parent.follow(u.wake)
	if c.Lookups != nil {
		u.tufs = c.Lookups
		return u
	}
	u.status.Off = NoRoot
	if !u.trusts() {
		return u
	}
	m := &metadata{u: u}
	var err error
	if len(c.Root) > 0 {
		err = manifest.Check(manifest.Root, c.Root)
	}
	var tufs *manifest.Client
	if err == nil {
		tufs, err = manifest.New(manifest.Config{Fetch: m, Fresh: m.fresh, Store: c.Trust, Root: c.Root, Build: c.Build, Now: c.Now})
	}
	if err != nil { // which must not keep the agent from running
		c.Log.Error("there are no updates: the root of trust cannot be used", "error", err)
		return u
	}
	u.tufs, u.status.Off = tufs, ""
	return u
}

// Heard is of the Parent's pipe, see Parent.Welcomed. With each session the collector
// gets what was not told yet: the launcher writes without a word where the one that it
// said got lost, and at rest nobody looks for an hour.
func (u *Updater) Heard(version string, hash []byte) {
	u.c.Parent.Welcomed(version, hash)
	u.wake()
}

// Repository is what the collector says of its metadata.
func (u *Updater) Repository(r *hmpb.Repository) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.repo = r
}

// Offered takes an offer. It ends the work for another one, also for another lease of the
// same program, under which it goes on, and where lessons are others than it was begun
// with; what came stays.
func (u *Updater) Offered(o *hmpb.Offer) {
	u.mu.Lock()
	u.offered = o // what was withdrawn before it stays so: nothing may come of this one
	if o.GetRepository() != nil {
		u.repo = o.GetRepository()
	}
	if u.cancel != nil && (o.GetLease() != u.lease || string(o.GetSha256()) != string(u.sum[:]) || !slices.Equal(quietOf(o), u.quiet)) {
		u.cancel(errWord)
	}
	u.mu.Unlock()
	u.wake()
}

// Withdrawn ends a lease, an empty one whichever there is. One that was not taken yet has
// replaced the one that is worked on all the same: both end.
func (u *Updater) Withdrawn(lease string) {
	u.mu.Lock()
	if u.offered != nil && (lease == "" || u.offered.GetLease() == lease) {
		u.offered, lease = nil, ""
	}
	if u.withdrawn == nil || lease == "" || *u.withdrawn != "" {
		u.withdrawn = &lease
	}
	if u.cancel != nil && (lease == "" || lease == u.lease) {
		u.cancel(errWord)
	}
	u.mu.Unlock()
	u.wake()
}

func (u *Updater) wake() {
	select {
	case u.kick <- struct{}{}:
	default:
	}
}

// Waits between looks.
const (
	tellEvery     = time.Minute // what the spool did not take, or the launcher wrote in a trial
	tellSeldom    = time.Hour   // what the launcher wrote else
	lookEvery     = time.Minute // for the person's wish, while something is under way
	hinderedFor   = time.Minute // until battery or network are looked at again
	backoffFirst  = time.Minute
	backoffMost   = 2 * time.Hour
	lookUpAgain   = time.Hour // how long what was signed is believed before arming
	selftestLasts = 2 * time.Minute
	swapAgain     = 15 * time.Minute // for an update that the launcher could not swap in before it started us
)

// Run prepares updates and tells what became of them until ctx ends; ErrSwap when
// one is armed.
func (u *Updater) Run(ctx context.Context, ready func()) error {
	ready()
	if u.c.Parent == nil {
		<-ctx.Done()
		return nil
	}
	u.began = time.Now()
	if err := u.readNote(); err != nil {
		u.c.Log.Warn("what was offered is forgotten", "error", err)
	}
	// The launcher swaps before it starts a program, unless its disk takes no journal:
	// the device has an agent meanwhile, and does not only start one after the other.
	if j, err := u.c.Journal.Load(); err == nil && j.State == journal.Armed {
		u.swapAt = time.Now().Add(swapAgain)
	}
	for {
		wait, err := u.turn(ctx)
		if errors.Is(err, ErrSwap) {
			return supervise.Wanted(err)
		}
		if err != nil && ctx.Err() == nil {
			u.c.Log.Warn("update not gone on with", "error", err)
			u.giveBack(err)
			wait = u.backoff()
		}
		if !u.pause(ctx, wait) {
			return nil
		}
	}
}

// beatWithin is how long a wait may last beyond its time for a look at the machine,
// which wakes it anyway.
const beatWithin = 90 * time.Second

// pause waits, or for a word, and says false when ctx ended.
func (u *Updater) pause(ctx context.Context, wait time.Duration) bool {
	if wait <= 0 {
		return ctx.Err() == nil
	}
	t := u.c.Pulse.Between(wait, wait+beatWithin)
	defer t.Stop()
	select {
	case <-t.C:
	case <-u.kick:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// turn does what can be done now and says when to look again.
func (u *Updater) turn(ctx context.Context) (time.Duration, error) {
	defer u.show()
	j, err := u.c.Journal.Load()
	if err != nil {
		return 0, err
	}
	u.heed(j)
	if u.tufs != nil {
		if j, err = u.words(ctx, j); err != nil {
			return 0, err
		}
	}
	wait := tellSeldom
	switch {
	case j.State == journal.Armed && time.Now().Before(u.swapAt):
		wait = time.Until(u.swapAt)
	case j.State == journal.Armed:
		u.tell(ctx, j)
		return 0, ErrSwap
	case u.tufs != nil && preparing(j):
		if wait, err = u.prepare(ctx, j); errors.Is(err, errWord) {
			wait, err = 0, nil
		}
	}
	if now, loadErr := u.c.Journal.Load(); loadErr == nil {
		j = now
	}
	if u.tufs != nil && (u.c.Launchers != nil || u.c.Policies != nil) && resting(j) {
		wait = min(wait, u.beside(ctx))
	}
	if !u.tell(ctx, j) || j.State == journal.Swapped || j.State == journal.Trial {
		wait = min(wait, tellEvery) // the launcher writes without a word
	}
	return wait, err
}

func preparing(j journal.Journal) bool {
	return j.State == journal.Offered || j.State == journal.Downloaded || j.State == journal.Staged
}

// do is one step of the journal and its effects.
func (u *Updater) do(ctx context.Context, e journal.Event) (journal.Journal, error) {
	e.At = u.c.Now().UnixMilli()
	j, effects, err := u.c.Journal.Do(ctx, e)
	if err != nil {
		return j, err
	}
	for _, effect := range effects {
		if effect != journal.DoPrune { // the others are the launcher's
			continue
		}
		if err := errors.Join(u.c.Programs.Prune(j.Kept()...), u.c.Parts.Sweep()); err != nil {
			u.c.Log.Warn("what is left of an update is not removed", "error", err)
		}
	}
	return j, nil
}

// words takes what collector and person said since.
func (u *Updater) words(ctx context.Context, j journal.Journal) (journal.Journal, error) {
	u.mu.Lock()
	o, w := u.offered, u.withdrawn
	u.mu.Unlock()
	var err error
	again := o != nil && string(o.GetSha256()) == string(j.Next.Sum[:]) // which came behind it
	if w != nil && preparing(j) && (*w == "" || *w == j.Lease) && !again {
		if j, err = u.do(ctx, journal.Event{Kind: journal.Withdraw, Lease: j.Lease}); err != nil {
			return j, err
		}
		u.known = nil
	}
	if o != nil {
		if u.cutOff { // whoever offers is reached: a boot or a new network is over
			u.cutOff, u.again = false, time.Time{}
		}
		if j, err = u.offer(ctx, j, o); err != nil {
			return j, err
		}
	}
	u.mu.Lock()
	if u.withdrawn == w {
		u.withdrawn = nil
	}
	if u.offered == o {
		u.offered = nil
	}
	u.mu.Unlock()
	return u.wished(ctx, j)
}

// Bounds of an offer, as the protocol has them.
const (
	maxLease   = 64
	maxTarget  = 256
	maxValid   = 14 * 24 * time.Hour
	sumLength  = 32
	maxVersion = 64
)

// offer takes an offer, unless it is none, or was refused before.
func (u *Updater) offer(ctx context.Context, j journal.Journal, o *hmpb.Offer) (journal.Journal, error) {
	if len(o.GetLease()) > maxLease || o.GetLease() == "" || len(o.GetTarget()) > maxTarget || len(o.GetSha256()) != sumLength ||
		len(o.GetVersion()) > maxVersion || !manifest.ValidVersion(o.GetVersion()) {
		u.c.Log.Warn("an offer that is none", "lease", o.GetLease())
		return j, nil
	}
	p := journal.Program{Version: o.GetVersion(), Sum: layout.Sum(o.GetSha256())}
	switch {
	case u.note.Refused == o.GetLease():
		return j, nil // the collector has not heard of it yet
	case j.Good.Known() && p.Sum == j.Good.Sum, p.Sum == u.c.Sum:
		return j, nil // here already
	case p.Version == j.Good.Version || p.Version == j.Previous.Version && p.Sum != j.Previous.Sum:
		// Their copies lie under that name, and one of them may be needed.
		u.c.Log.Warn("an offer of other bytes under a version that is here", "version", p.Version)
		return j, nil
	case !preparing(j) && !resting(j):
		u.c.Log.Info("an offer while another update is under way", "version", p.Version)
		return j, nil
	}
	now := u.c.Now()
	valid := min(time.Duration(o.GetValidS())*time.Second, maxValid)
	n := u.note
	if same := preparing(j) && j.Next.Sum == p.Sum && n.Sum == p.Sum; !same {
		n.Begin = now.Add(time.Duration(u.c.Random() * float64(min(time.Duration(o.GetWithinS())*time.Second, valid)))).UnixMilli()
		u.known, u.failures, u.again = nil, 0, time.Time{}
	}
	if n.Target != o.GetTarget() {
		u.known = nil
	}
	n.Lease, n.Target, n.Sum, n.Quiet = o.GetLease(), o.GetTarget(), p.Sum, quietOf(o)
	// The note first: a journal that knows of an offer without a target would wait
	// for the next session.
	if err := u.writeNote(n); err != nil {
		return j, err
	}
	next, err := u.do(ctx, journal.Event{Kind: journal.Offer, Program: p, Lease: n.Lease, Until: now.Add(valid).UnixMilli()})
	if errors.Is(err, journal.ErrNotNow) {
		u.c.Log.Info("an offer that does not fit", "version", p.Version, "error", err)
		return j, nil
	}
	u.lent, u.lentTill = n.Lease, time.Now().Add(valid)
	if err == nil && !preparing(next) { // barred; the journal tells it
		n.Refused = n.Lease
		err = u.writeNote(n)
	}
	return next, err
}

func resting(j journal.Journal) bool {
	return j.State == journal.Idle || j.State == journal.Committed || j.State == journal.Pruned || j.State == journal.RolledBack
}

// backoff is full jitter over the upper half of a ceiling that doubles.
func (u *Updater) backoff() time.Duration {
	ceiling := min(backoffFirst<<min(u.failures, 7), backoffMost)
	u.failures++
	return ceiling/2 + time.Duration(u.c.Random()*float64(ceiling/2))
}
