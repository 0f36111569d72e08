package main

import (
	"context"
	"errors"
	"path/filepath"

	"hausmeister/agent/update/train"
	"hausmeister/platform/layout"
	"hausmeister/platform/service"
)

// mend looks after the launcher: the system's own timer calls it, since nobody else
// runs where that one does not come up. After a new one that failed it starts the
// service with the one before; and a service that nobody else would start again.
func (p *program) mend(ctx context.Context) error {
	if _, err := p.launcherPath(); err != nil && !errors.Is(err, layout.ErrVersion) { // makes the folder's path absolute
		return err
	}
	if err := p.layout.Create(); err != nil {
		return err
	}
	// Two at once, a slow one and the next, would count twice.
	lock, err := layout.Lock(filepath.Join(p.layout.Update(), "mend.lock"))
	if errors.Is(err, layout.ErrLocked) {
		return p.done("mend." + string(train.Waiting))
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	times := train.ReadTimes(filepath.Join(p.layout.State(), "launcher.json"))
	line := train.New(p.layout, layout.Plain())
	outcome, err := line.Mend(ctx, times, p.follow, func() bool { return p.stoppedByHand(ctx) })
	if err != nil {
		return err
	}
	s, err := p.service() // only now: its program is the one that is pointed to
	if err != nil {
		return err
	}
	if outcome == train.Back {
		if err = errors.Join(s.Follow(), s.Revive(ctx)); err == nil {
			err = notYet(line.Over(ctx, times))
		}
	} else { // it may have failed too often for the service manager
		err = s.Rouse(ctx)
	}
	if err != nil {
		return err
	}
	return p.done("mend." + string(outcome))
}

// stoppedByHand: where nobody can tell, nobody stopped it.
func (p *program) stoppedByHand(ctx context.Context) bool {
	s, err := p.service()
	if err != nil {
		return false
	}
	is, err := s.StoppedByHand(ctx)
	return is && err == nil
}

// notYet says in the words for a slow service manager that no launcher came up.
func notYet(err error) error {
	if errors.Is(err, train.ErrNotSeen) {
		return errors.Join(service.ErrSlow, err)
	}
	return err
}
