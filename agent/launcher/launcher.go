package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"hausmeister/agent/update/journal"
	"hausmeister/platform/layout"
	"hausmeister/platform/process"
)

// ExitSwap is the exit code of an agent that has armed an update.
const ExitSwap = journal.ExitSwap

// Programs are the agents of an installation; *Installed are the real ones. They
// are more than five methods because a simulated device has them all too.
type Programs interface {
	// Sum is that of what bin/ holds.
	Sum() (layout.Sum, error)
	// Has says whether there is a whole copy.
	Has(p journal.Program) error
	// Swap puts a copy in the place of what runs.
	Swap(ctx context.Context, p journal.Program) error
	// Restore puts it there whatever is there.
	Restore(ctx context.Context, p journal.Program) error
	// Sweep removes what swaps that were cut left beside what runs.
	Sweep() error
	// Prune removes all copies but those of these versions.
	Prune(keep []string) error
	// SetGood notes that a version was settled.
	SetGood(version string) error
	// Kept are the whole copies, the best first.
	Kept() ([]layout.Kept, error)
	// Packaged is what a package's note says, and the note itself; zero = none.
	Packaged() (journal.Program, string, error)
}

// Child is the agent that runs; *process.Child is one.
type Child interface {
	Lines() <-chan string
	Say(line string)
	Hangup()
	Kill()
	Wait() process.Exit
	Usage() (process.Usage, error)
}

// Journal is the memory; *journal.Store is one.
type Journal interface {
	Load() (journal.Journal, error)
	Do(ctx context.Context, e journal.Event) (journal.Journal, []journal.Effect, error)
	Reserve() error
}

// Times are the launcher's patience. The zero value of each is its default.
type Times struct {
	AliveWithin time.Duration // 90 s: a start must be alive
	HangAfter   time.Duration // 5 min: without progress it hangs; a look at a slow machine may take two
	BoundFor    time.Duration // 10 min: it must keep within its bounds
	ProbeEvery  time.Duration // 1 min: whether the old program would reach the collector
	GiveUpAfter time.Duration // 15 min: of that
	Again       time.Duration // 5 s: pause before the next start
	AgainMost   time.Duration // 1 min: where nothing else helps
	BackAgain   time.Duration // 2 min: until the program that should run is tried again; doubled up to backMost
	StopWithin  time.Duration // 12 s: to end orderly
	AgeEvery    time.Duration // 1 h: whether the previous program may go
}

func (t Times) withDefaults() Times {
	for _, d := range []struct {
		p *time.Duration
		v time.Duration
	}{
		{&t.AliveWithin, 90 * time.Second}, {&t.HangAfter, 5 * time.Minute}, {&t.BoundFor, 10 * time.Minute}, {&t.ProbeEvery, time.Minute},
		{&t.GiveUpAfter, 15 * time.Minute}, {&t.Again, 5 * time.Second}, {&t.AgainMost, time.Minute}, {&t.StopWithin, 12 * time.Second},
		{&t.AgeEvery, time.Hour}, {&t.BackAgain, 2 * time.Minute},
	} {
		if *d.p <= 0 {
			*d.p = d.v
		}
	}
	return t
}

// Bounds are what a program may take.
type Bounds struct {
	CPUPermille int    // of one core over BoundFor; 0 = 250
	MemoryTimes int    // of the settled program's; 0 = 2
	MemoryMore  uint64 // bytes on top; 0 = 100 MB
	MemoryMost  uint64 // bytes while that one was not measured yet; 0 = 256 MB, sixteen times an agent's budget
	Handles     int    // open at once; 0 = 1000, some ten times what an agent has
	Written     uint64 // bytes to disks in BoundFor; 0 = 512 MB, some ten times an update
}

func (b Bounds) withDefaults() Bounds {
	if b.CPUPermille == 0 {
		b.CPUPermille = 250
	}
	if b.MemoryTimes == 0 {
		b.MemoryTimes = 2
	}
	if b.MemoryMore == 0 {
		b.MemoryMore = 100 << 20
	}
	if b.MemoryMost == 0 {
		b.MemoryMost = 256 << 20
	}
	if b.Handles == 0 {
		b.Handles = 1000
	}
	if b.Written == 0 {
		b.Written = 512 << 20
	}
	return b
}

// Config is all that a launcher needs.
type Config struct {
	Journal  Journal
	Programs Programs
	// Folders makes what is missing of the installation's folders, with their rights;
	// nil = they are there.
	Folders func() error
	// Start starts what bin/ holds.
	Start func(ctx context.Context) (Child, error)
	// Probe says whether a program's copy reaches the collector, without a session;
	// nil = nobody knows.
	Probe  func(ctx context.Context, p journal.Program) error
	Times  Times
	Bounds Bounds
	Boot   string // changes with each start of the machine; "" = unknown
	// Ready is called when the agent is alive, or once it is clear that it will
	// not be soon; Beat whenever the launcher itself gets on. nil = nobody listens.
	Ready func()
	Beat  func()
	// Proved is called when an agent has been alive for BoundFor under this launcher, which
	// does its work, and again after an error. nil = nobody asks.
	Proved func() error
	Now    func() time.Time
	Log    *slog.Logger
}

// Launcher is one service.
type Launcher struct {
	c     Config
	j     journal.Journal
	blind bool // the journal cannot be read, and is not written
	owed  []journal.Event
	// shut: the last step was not made, since somebody else keeps the journal's lock.
	shut  bool
	fails int // starts in a row that came to nothing
	// astray: bin/ does not hold what the journal wants, strays times in a row.
	astray bool
	strays int
	// untried: what is armed was not swapped in, since a try could not be counted.
	untried bool
	ready   bool
	works   bool // Proved was told
}

// New makes a Launcher that Run then runs.
func New(c Config) *Launcher {
	c.Times, c.Bounds = c.Times.withDefaults(), c.Bounds.withDefaults()
	if c.Ready == nil {
		c.Ready = func() {}
	}
	if c.Beat == nil {
		c.Beat = func() {}
	}
	if c.Folders == nil {
		c.Folders = func() error { return nil }
	}
	if c.Proved == nil {
		c.Proved = func() error { return nil }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Launcher{c: c}
}

// Run runs agents until ctx ends. It does not return before: what fails is tried
// again.
func (l *Launcher) Run(ctx context.Context) error {
	if err := l.c.Journal.Reserve(); err != nil {
		l.c.Log.Warn("no reserve for the journal", "error", err)
	}
	for ctx.Err() == nil {
		err := l.Prepare(ctx)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			l.c.Log.Error("no program to run", "error", err)
			l.beReady()
			l.fails++
			l.pause(ctx)
			continue
		}
		if l.run(ctx) {
			continue // at once: it was asked for
		}
		l.pause(ctx)
	}
	return nil
}

// backMost is the longest that a program goes on that should not run: who ends one that
// lives for nothing, as long as the disk is broken, does so seldom.
const backMost = time.Hour

// backAgain is how long one goes on that should not run.
func (l *Launcher) backAgain() time.Duration {
	wait := l.c.Times.BackAgain
	for i := 1; i < l.strays && wait < backMost; i++ {
		wait *= 2
	}
	return min(wait, max(backMost, l.c.Times.BackAgain))
}

// pause waits before the next start; while an update may still be undone it is
// short, so that this does not take long.
func (l *Launcher) pause(ctx context.Context) {
	l.c.Beat()
	wait := l.c.Times.Again
	for i := 3; i < l.fails && wait < l.c.Times.AgainMost; i++ {
		wait *= 2
	}
	t := time.NewTimer(min(wait, l.c.Times.AgainMost))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (l *Launcher) beReady() {
	if !l.ready {
		l.ready = true
		l.c.Ready()
	}
}

// step makes a step of the journal and does what follows from it. When it cannot
// be written it is owed: it is made before the next one, so that a full disk
// does not make failures uncounted.
func (l *Launcher) step(ctx context.Context, e journal.Event) bool {
	e.At, e.Boot = l.c.Now().UnixMilli(), l.c.Boot
	l.owed = append(l.owed, e)
	const most = 16 // the oldest is forgotten
	l.owed = l.owed[max(0, len(l.owed)-most):]
	for len(l.owed) > 0 {
		before := l.j
		effects, err := l.write(ctx, l.owed[0])
		if l.shut = errors.Is(err, layout.ErrLocked); err != nil {
			l.c.Log.Warn("journal not written", "event", l.owed[0].Kind.String(), "error", err)
			return false
		}
		l.owed = l.owed[1:]
		l.do(ctx, effects)
		if before.Good.Known() && !l.j.Good.Known() {
			l.c.Log.Warn("the journal is gone, and begun anew")
			if err := l.begin(ctx); err != nil {
				l.c.Log.Warn("left for the next start", "error", err)
			}
		}
	}
	return true
}

// write makes one step. Where the journal's folder is gone it is made first: who runs for
// months could arm no update until then.
func (l *Launcher) write(ctx context.Context, e journal.Event) ([]journal.Effect, error) {
	j, effects, err := l.c.Journal.Do(ctx, e)
	if errors.Is(err, fs.ErrNotExist) && l.c.Folders() == nil {
		j, effects, err = l.c.Journal.Do(ctx, e)
	}
	switch {
	case errors.Is(err, journal.ErrNotNow):
		l.c.Log.Debug("not counted", "event", e.Kind.String(), "error", err)
		return nil, nil
	case err != nil:
		return nil, err
	}
	if j.State != l.j.State {
		l.c.Log.Info("update", "state", j.State.String(), "before", l.j.State.String(), "good", j.Good.Version, "next", j.Next.Version, "why", j.Why.String())
	}
	l.j = j
	return effects, nil
}

// do does what a step calls for. What fails here is done again at the next start.
func (l *Launcher) do(ctx context.Context, effects []journal.Effect) {
	for _, e := range effects {
		var err error
		switch e {
		case journal.DoRestore:
			if l.j.State == journal.RollingBack {
				continue // Prepare does it, before anything else runs
			}
			if sum, serr := l.c.Programs.Sum(); serr != nil || sum != l.j.Good.Sum {
				err = l.restore(ctx, l.j.Good)
			}
		case journal.DoPrune:
			err = l.c.Programs.Prune(l.j.Kept())
		case journal.DoSettle:
			err = l.c.Programs.SetGood(l.j.Good.Version)
		}
		if err != nil {
			l.c.Log.Warn("left for later", "effect", int(e), "error", err)
		}
	}
}

// Prepare makes bin/ hold a program that is known, the one that the journal wants
// if that can be had. After nil there is one.
func (l *Launcher) Prepare(ctx context.Context) error {
	l.astray, l.untried = false, false
	err := l.prepare(ctx)
	if l.strays++; !l.astray {
		l.strays = 0
	}
	if err := l.c.Programs.Sweep(); err != nil {
		l.c.Log.Warn("not all that a swap left is gone", "error", err)
	}
	return err
}

func (l *Launcher) prepare(ctx context.Context) error {
	switch err := l.c.Folders(); {
	case errors.Is(err, layout.ErrForeign):
		return err // what runs from there could be anybody's
	case err != nil:
		l.c.Log.Warn("not all folders are there", "error", err)
	}
	j, err := l.c.Journal.Load()
	l.c.Beat()
	older := errors.Is(err, journal.ErrUnread)
	l.j, l.blind = j, err != nil && !errors.Is(err, journal.ErrTorn) && !older
	switch {
	case l.blind:
		l.c.Log.Warn("journal left as it is", "error", err)
		return l.anyKnown(ctx, nil)
	case older: // may be a step behind, which is made again
		l.c.Log.Warn("the older copy of the journal counts", "error", err)
	case err != nil:
		l.c.Log.Warn("journal begun anew", "error", err)
	}
	if !j.Good.Known() {
		if err := l.begin(ctx); err != nil {
			return err
		}
	}
	l.followPackage(ctx)
	l.step(ctx, journal.Event{Kind: journal.Age})
	// Each round ends in another state, or leaves; a mended program may have to be
	// gone back from.
	err = nil
	for i := 0; i < 4 && ctx.Err() == nil; i++ {
		switch l.j.State {
		case journal.Armed:
			l.swapIn(ctx)
			continue
		case journal.RollingBack:
			if err = l.goBack(ctx); err == nil {
				continue
			}
		default:
			if err = l.mend(ctx); err == nil && l.j.State != journal.RollingBack {
				return nil
			}
			if l.j.State == journal.RollingBack {
				continue
			}
		}
		break
	}
	if ctx.Err() != nil { // stopped in the middle: the next start goes on
		return context.Cause(ctx)
	}
	return l.anyKnown(ctx, err)
}

// begin makes a first journal from what is there.
func (l *Launcher) begin(ctx context.Context) error {
	kept, err := l.c.Programs.Kept()
	if err != nil {
		return fmt.Errorf("looking for programs: %w", err)
	}
	packaged, note, err := l.c.Programs.Packaged()
	if err != nil {
		l.c.Log.Warn("note of the package not read", "error", err)
	}
	sum, sumErr := l.c.Programs.Sum()
	var chosen, previous journal.Program
	choose := func(fits func(layout.Kept) bool) {
		for _, k := range kept {
			if p := (journal.Program{Version: k.Version, Sum: k.Sum}); !chosen.Known() && fits(k) {
				chosen = p
			}
		}
	}
	// What runs now ran until now; a copy vouches for it.
	choose(func(k layout.Kept) bool { return sumErr == nil && k.Sum == sum })
	choose(func(k layout.Kept) bool { return k.Sum == packaged.Sum && k.Version == packaged.Version })
	choose(func(k layout.Kept) bool { return true })
	if !chosen.Known() {
		return errors.New("no copy of any program is whole")
	}
	for _, k := range kept {
		if k.Good && k.Sum != chosen.Sum && !previous.Known() {
			previous = journal.Program{Version: k.Version, Sum: k.Sum}
		}
	}
	if !l.step(ctx, journal.Event{Kind: journal.Adopt, Program: chosen, Previous: previous, Note: note}) {
		l.j = journal.Journal{Good: chosen, Packaged: note} // for this run
	}
	return nil
}

// followPackage takes over what somebody installed by hand.
func (l *Launcher) followPackage(ctx context.Context) {
	p, note, err := l.c.Programs.Packaged()
	if err != nil || note == "" || note == l.j.Packaged {
		return
	}
	if err := l.c.Programs.Has(p); err != nil {
		l.c.Log.Warn("the package's program is not whole", "version", p.Version, "error", err)
		return
	}
	previous := journal.Program{}
	if l.j.Good.Sum != p.Sum && l.c.Programs.Has(l.j.Good) == nil {
		previous = l.j.Good
	} else if l.j.Good.Sum == p.Sum {
		previous = l.j.Previous
	}
	l.step(ctx, journal.Event{Kind: journal.Adopt, Program: p, Previous: previous, Note: note})
}
