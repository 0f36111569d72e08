package sysinfo

import (
	"context"
	"errors"
	"sync"
	"time"

	"hausmeister/platform/supervise"
)

// Config of a Reader; the zero value reads this machine.
type Config struct {
	// Root stands in for "/" where files are read (Linux): recorded trees.
	Root string
	// Statfs stands in for the system's call of that name (Linux).
	Statfs func(path string) (Space, error)
	// Run stands in for running a program of the system (Linux). A program that
	// is not installed is exec.ErrNotFound. nil runs the real ones; with a Root
	// it means that none is installed.
	Run func(ctx context.Context, name string, args ...string) ([]byte, error)
	// Within is how long one group may take; 0 means 5 s.
	Within time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Space of a file system in bytes, and the entries that it can have; 0 entries
// where it does not count them.
type Space struct{ Total, Free, Inodes, InodesFree int64 }

// A Reader reads snapshots. It remembers the last counters, from which means
// over the time between two reads come, and what changes too seldom to be read
// each time. One Read at a time; others wait.
type Reader struct {
	now func() time.Time

	programs supervise.Cutoff[[]Program]
	within   time.Duration
	source   source

	mu     sync.Mutex
	probes []*probe // the cache in them
	first  time.Time
}

// A fill writes what a group found into a snapshot.
type fill func(*Snapshot)

// A probe reads one group.
type probe struct {
	name   string
	within time.Duration
	every  time.Duration // an answer this old is used again; 0: never
	later  time.Duration // not read so soon after the first Read; absent as Unread until then
	read   func(ctx context.Context) (fill, error)
	absent func(s *Snapshot, why Absence)

	// patience makes Read wait a fifth of within only and take the answer at a
	// later Read, for up to patience times within.
	patience time.Duration
	late     late
	begun    time.Time // when what runs now was begun

	cut  supervise.Cutoff[fill]
	last fill
	at   time.Time
	keep time.Duration // how long last is used
}

// New makes a Reader for this machine.
func New(c Config) *Reader {
	if c.Within == 0 {
		c.Within = 5 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	src := newSource(c)
	r := &Reader{now: c.Now, within: c.Within, source: src, probes: probes(src)}
	for _, p := range r.probes {
		p.within = c.Within
	}
	return r
}

// Read reads all groups side by side and returns when each has answered or is
// cut off. The dearest group may go on after that and answers at a later Read;
// it ends with ctx.
func (r *Reader) Read(ctx context.Context) Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Snapshot{Time: r.now()}
	if r.first.IsZero() || s.Time.Before(r.first) { // or the clock was set back
		r.first = s.Time
	}
	r.readLocked(ctx, &s, r.probes)
	return s
}

// Identify reads what the machine is, for enrolment.
func (r *Reader) Identify(ctx context.Context) Identity {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Snapshot{Time: r.now()}
	for _, p := range r.probes {
		if p.name == groupIdentity {
			r.readLocked(ctx, &s, []*probe{p})
		}
	}
	return s.Identity
}

// Software lists what is installed, sorted by name and each name once (with its
// highest place in the system's own order). It is asked for seldom and so is
// not part of a Snapshot. The error says why there is no list.
func (r *Reader) Software(ctx context.Context) ([]Program, error) {
	return r.programs.Do(ctx, 6*r.within, r.source.software)
}

const groupIdentity = "identity"

func (r *Reader) readLocked(ctx context.Context, s *Snapshot, probes []*probe) {
	type answer struct {
		fill fill
		err  error
	}
	answers := make([]answer, len(probes))
	crew := supervise.NewCrew(context.WithoutCancel(ctx), len(probes)+1)
	for i, p := range probes {
		if p.fresh(s.Time) || s.Time.Sub(r.first) < p.later {
			continue
		}
		// The crew has a place for each and its context does not end: no error.
		_ = crew.Go(func(context.Context) {
			f, err := p.ask(ctx, s.Time)
			answers[i] = answer{f, err}
		})
	}
	crew.Wait()
	for i, p := range probes {
		a := answers[i]
		switch {
		case a.fill != nil && a.err == nil:
			p.remember(a.fill, s.Time, p.every)
		case a.err != nil && !errors.Is(a.err, errLater):
			p.missed(a.err, s.Time)
		case p.last == nil: // its time has not come
			p.absent(s, Unread)
			continue
		}
		p.last(s)
	}
}

// late is where an answer waits that came after its Read.
type late struct {
	mu    sync.Mutex
	there bool
	fill  fill
	err   error
}

func (l *late) put(f fill, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.there, l.fill, l.err = true, f, err
}

func (l *late) take() (fill, error, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, err, there := l.fill, l.err, l.there
	l.there, l.fill, l.err = false, nil, nil
	return f, err, there
}

// errLater: the answer is on its way, what was known before still holds.
var errLater = errAbsent{Unread}

func (p *probe) ask(ctx context.Context, now time.Time) (fill, error) {
	if p.patience == 0 {
		return p.cut.Do(ctx, p.within, p.read)
	}
	if f, err, ok := p.late.take(); ok {
		return p.ended(f, err)
	}
	most := p.patience * p.within
	if p.begun.IsZero() {
		p.begun = now
	}
	_, err := p.cut.Do(ctx, p.within/5, func(context.Context) (fill, error) {
		ctx, cancel := context.WithTimeout(ctx, most)
		defer cancel()
		p.late.put(p.read(ctx))
		return nil, nil
	})
	if f, err, ok := p.late.take(); ok {
		return p.ended(f, err)
	}
	switch {
	case !errors.Is(err, supervise.ErrCutOff):
		return p.ended(nil, err)
	case now.Sub(p.begun) < most:
		return nil, errLater
	}
	return nil, err
}

// ended: what was begun is over.
func (p *probe) ended(f fill, err error) (fill, error) {
	p.begun = time.Time{}
	if errors.Is(err, context.DeadlineExceeded) {
		err = supervise.ErrCutOff
	}
	return f, err
}

func (p *probe) remember(f fill, now time.Time, keep time.Duration) {
	p.last, p.at, p.keep = f, now, keep
}

// missed remembers why there is no answer. "There is none" is an answer; what
// failed is asked again sooner, but not at each Read, since what is read seldom
// is dear also when it fails.
func (p *probe) missed(err error, now time.Time) {
	reason := why(err)
	keep := p.every / 10
	switch {
	case reason == Unread:
		keep = 0
	case errors.As(err, new(errAbsent)):
		keep = p.every
	}
	p.remember(func(s *Snapshot) {
		s.note(p.name, err)
		p.absent(s, reason)
	}, now, keep)
}

// fresh: the last answer may be used again. A clock set back makes it stale.
func (p *probe) fresh(now time.Time) bool {
	if p.last == nil || p.keep == 0 {
		return false
	}
	age := now.Sub(p.at)
	return age >= 0 && age < p.keep
}

func (s *Snapshot) note(group string, err error) {
	if errors.As(err, new(errAbsent)) {
		return // nothing went wrong
	}
	if errors.Is(err, supervise.ErrCutOff) {
		s.CutOff = append(s.CutOff, group)
		return
	}
	if s.CouldNot == nil {
		s.CouldNot = make(map[string]error)
	}
	s.CouldNot[group] = err
}
