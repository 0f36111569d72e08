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
	Statfs func(path string) (total, free int64, err error)
	// Within is how long one group may take; 0 means 5 s.
	Within time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

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
}

// A fill writes what a group found into a snapshot.
type fill func(*Snapshot)

// A probe reads one group.
type probe struct {
	name   string
	within time.Duration
	every  time.Duration // an answer this old is used again; 0: never
	read   func(ctx context.Context) (fill, error)
	absent func(s *Snapshot, why Absence)

	cut  supervise.Cutoff[fill]
	last fill
	at   time.Time
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
// cut off.
func (r *Reader) Read(ctx context.Context) Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Snapshot{Time: r.now()}
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
		if p.fresh(s.Time) {
			continue
		}
		// The crew has a place for each and its context does not end: no error.
		_ = crew.Go(func(context.Context) {
			f, err := p.cut.Do(ctx, p.within, p.read)
			answers[i] = answer{f, err}
		})
	}
	crew.Wait()
	for i, p := range probes {
		a := answers[i]
		switch {
		case a.fill != nil && a.err == nil:
			p.last, p.at = a.fill, s.Time
			a.fill(s)
		case a.err == nil:
			p.last(s)
		default:
			p.last = nil
			s.note(p.name, a.err)
			p.absent(s, why(a.err))
		}
	}
}

// fresh: the last answer may be used again. A clock set back makes it stale.
func (p *probe) fresh(now time.Time) bool {
	if p.last == nil || p.every == 0 {
		return false
	}
	age := now.Sub(p.at)
	return age >= 0 && age < p.every
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
