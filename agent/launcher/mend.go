package launcher

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"hausmeister/agent/update/journal"
	"hausmeister/platform/layout"
	"hausmeister/platform/swap"
)

// swapIn does what the agent armed.
func (l *Launcher) swapIn(ctx context.Context) {
	l.beReady() // a file that is held takes longer than a start may
	if !l.step(ctx, journal.Event{Kind: journal.SwapTry}) {
		l.j.State = journal.Idle // for this run: what cannot be counted is not tried
		l.untried = true
		l.owed = slices.DeleteFunc(l.owed, func(e journal.Event) bool { return e.Kind == journal.SwapTry })
		return
	}
	if l.j.State != journal.Armed {
		return
	}
	began := time.Now()
	reason, err := l.trySwap(ctx)
	if ctx.Err() != nil && reason != journal.None {
		return
	}
	if reason != journal.None {
		l.c.Log.Warn("program not swapped", "version", l.j.Next.Version, "reason", reason.String(), "error", err)
		if !l.step(ctx, journal.Event{Kind: journal.SwapFail, Reason: reason}) {
			l.j.State = journal.Idle // for this run: mend makes bin/ hold Good
		}
		return
	}
	l.c.Log.Info("program swapped", "version", l.j.Next.Version, "took", time.Since(began).Round(time.Millisecond))
	if !l.step(ctx, journal.Event{Kind: journal.SwapDone}) {
		l.j.State = journal.Swapped // it is so, and found so again
	}
}

// swapWithin bounds a swap with all its patience: less than the service manager's
// watchdog has.
const swapWithin = 100 * time.Second

// restore is Programs' within that bound: several may come one after the other.
func (l *Launcher) restore(ctx context.Context, p journal.Program) error {
	l.c.Beat()
	ctx, cancel := context.WithTimeout(ctx, swapWithin)
	defer cancel()
	return l.c.Programs.Restore(ctx, p)
}

func (l *Launcher) trySwap(ctx context.Context) (journal.Reason, error) {
	ctx, cancel := context.WithTimeout(ctx, swapWithin)
	defer cancel()
	if sum, err := l.c.Programs.Sum(); err == nil && sum == l.j.Next.Sum {
		return journal.None, nil // it was, and we ended before we could say so
	}
	if err := l.c.Programs.Has(l.j.Next); err != nil {
		return lost(err), err
	}
	err := l.c.Programs.Swap(ctx, l.j.Next)
	if errors.Is(err, fs.ErrNotExist) {
		err = l.c.Programs.Restore(ctx, l.j.Next) // nothing was there to swap with
	}
	switch {
	case err == nil:
		return journal.None, nil
	case errors.Is(err, swap.ErrHeld), errors.Is(err, context.DeadlineExceeded):
		return journal.Held, err
	case full(err):
		return journal.Space, err
	case errors.Is(err, layout.ErrOtherBytes):
		return journal.Damaged, err
	case layout.IsTaken(err): // what was made of the copy
		return journal.Quarantined, err
	}
	return journal.Disk, err
}

// lost is the reason for a program that is not as it must be.
func lost(err error) journal.Reason {
	if layout.IsTaken(err) {
		return journal.Quarantined
	}
	return journal.Damaged
}

// gone says that there is no such copy any more, or that it is taken away again and
// again; else it is the disk's fault, which may pass.
func gone(err error) bool {
	return layout.IsTaken(err) || errors.Is(err, layout.ErrOtherBytes) || errors.Is(err, layout.ErrForeign)
}

// full says that there is too little room for a program.
func full(err error) bool { return errors.Is(err, swap.ErrSpace) || layout.IsFull(err) }

// goBack makes bin/ hold Good. On a full disk the copy of what failed makes room for it:
// nobody needs that any more, and what is in bin/ stays until the other one is.
func (l *Launcher) goBack(ctx context.Context) error {
	if sum, err := l.c.Programs.Sum(); err != nil || sum != l.j.Good.Sum {
		err := l.restore(ctx, l.j.Good)
		if full(err) && l.c.Programs.Has(l.j.Next) == nil {
			l.c.Log.Warn("the copy of what failed makes room for what is gone back to", "version", l.j.Next.Version, "error", err)
			if err := l.c.Programs.Prune([]string{l.j.Good.Version, l.j.Previous.Version}); err != nil {
				l.c.Log.Warn("not all copies that may go are gone", "error", err) // another one may be held open
			}
			err = l.restore(ctx, l.j.Good)
		}
		if err != nil {
			l.c.Log.Error("not gone back", "version", l.j.Good.Version, "error", err)
			return err
		}
	}
	if !l.step(ctx, journal.Event{Kind: journal.Restored}) {
		l.j.State = journal.RolledBack // for this run
	}
	l.fails = 0
	return nil
}

// mend makes bin/ hold what the journal expects.
func (l *Launcher) mend(ctx context.Context) error {
	want := l.j.Expected()
	sum, err := l.c.Programs.Sum()
	if err == nil && sum == want.Sum {
		return nil
	}
	if err == nil {
		err = layout.ErrOtherBytes
	}
	reason := lost(err)
	l.c.Log.Warn("program mended from its copy", "version", want.Version, "reason", reason.String(), "error", err)
	if err := l.restore(ctx, want); err != nil {
		l.c.Log.Error("not mended", "version", want.Version, "error", err)
		if !gone(err) {
			return err
		}
		// The copy is gone too: what there was to try is tried.
		l.step(ctx, journal.Event{Kind: journal.Repair, Reason: journal.Quarantined})
		l.step(ctx, journal.Event{Kind: journal.Repair, Reason: journal.Quarantined})
		return err
	}
	l.step(ctx, journal.Event{Kind: journal.Repair, Reason: reason})
	return nil
}

// anyKnown is for when what the journal wants cannot be had, and why: what bin/ holds may
// run if a copy or the journal vouches for it, else the best copy is put there. It is
// there for a while only (watch.again), unless what is wanted is gone: then it is the one
// that should run, or a healthy program would be ended for one that never comes.
func (l *Launcher) anyKnown(ctx context.Context, why error) error {
	l.astray = true
	sum, err := l.c.Programs.Sum()
	inBin := func(p journal.Program) bool { return err == nil && p.Known() && p.Sum == sum }
	failed := func(p layout.Sum) bool { return l.j.State == journal.RollingBack && p == l.j.Next.Sum }
	if inBin(l.j.Good) || inBin(l.j.Next) && !failed(sum) {
		return nil
	}
	kept, kerr := l.c.Programs.Kept()
	kept = slices.DeleteFunc(kept, func(k layout.Kept) bool { return failed(k.Sum) })
	fit := slices.DeleteFunc(slices.Clone(kept), func(k layout.Kept) bool {
		_, barred := l.j.BarredFor(k.Sum)
		return barred
	})
	if len(fit) > 0 || inBin(l.j.Next) || !gone(why) { // else one that failed here once is better than none
		kept = fit
	}
	for _, k := range kept {
		if p := (journal.Program{Version: k.Version, Sum: k.Sum}); inBin(p) {
			if gone(why) {
				l.took(ctx, p, lost(why))
			}
			return nil
		}
	}
	errs := []error{errors.New("no copy of any program is whole"), kerr}
	for _, k := range kept {
		p := journal.Program{Version: k.Version, Sum: k.Sum}
		if err := l.restore(ctx, p); err != nil {
			errs = append(errs, err)
			continue
		}
		if gone(why) || p == l.j.Expected() {
			l.took(ctx, p, lost(err))
		}
		return nil
	}
	if inBin(l.j.Next) { // it fails, but there is no other
		return nil
	}
	return errors.Join(errs...)
}

// took notes which copy lies in bin/ now, and is the one that should.
func (l *Launcher) took(ctx context.Context, p journal.Program, why journal.Reason) {
	e := journal.Event{Kind: journal.Adopt, Program: p, Note: l.j.Packaged}
	switch { // what was held, or found no room, a moment ago
	case l.j.State == journal.RollingBack && p == l.j.Good:
		e = journal.Event{Kind: journal.Restored}
	case p == l.j.Expected():
		e = journal.Event{Kind: journal.Repair, Reason: why}
	}
	l.step(ctx, e)
}
