package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	kservice "github.com/kardianos/service"

	"hausmeister/platform/supervise"
)

// stopWithin is how long run may take to return once it was told to stop.
const stopWithin = 15 * time.Second

// Run runs the program: as a service where the service manager started it, else
// in the foreground. The context of run ends with ctx, when the service manager
// stops the service or shuts the machine down, or by an interrupt. An error of
// run ends the program with an error, and the service manager starts it again.
func (s *Service) Run(ctx context.Context, run func(ctx context.Context, n *Notifier) error) error {
	n := NewNotifier(os.Getenv)
	ctx, cancel := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if kservice.Interactive() {
		// Also below systemd in a container, which the library takes for a
		// terminal: signals are all that is needed there.
		return direct(ctx, n, run)
	}
	crew := supervise.NewCrew(ctx, 1)
	p := &program{crew: crew, ended: make(chan struct{}), run: func(ctx context.Context) error { return run(ctx, n) }}
	m, err := s.manager(p, func() {
		select {
		case <-ctx.Done():
		case <-p.ended:
		}
		n.Stopping()
	})
	if err != nil {
		return fmt.Errorf("finding the service manager: %w", err)
	}
	err = m.Run()
	if !errors.Is(err, supervise.ErrLate) { // a late one is not waited for: the end of the process ends it
		crew.Wait()
	}
	return err
}

// direct runs without the library.
func direct(ctx context.Context, n *Notifier, run func(ctx context.Context, n *Notifier) error) error {
	return supervise.Run(ctx, slog.Default(), supervise.Part{
		Name: "program", StopWithin: stopWithin,
		Run: func(ctx context.Context, ready func()) error {
			ready()
			defer n.Stopping()
			return run(ctx, n)
		},
	})
}

// program is what the library starts and stops.
type program struct {
	crew  *supervise.Crew
	run   func(ctx context.Context) error
	ended chan struct{} // closed when run has returned
	err   error         // what it returned; read after ended
}

// Start must return soon; the library then waits for the end.
func (p *program) Start(kservice.Service) error {
	return p.crew.Go(func(ctx context.Context) {
		defer p.endedByItself(ctx)
		defer close(p.ended)
		// Until run has returned, a panic must look like one.
		p.err = errors.New("panicked")
		p.err = p.run(ctx)
	})
}

// Stop gives the result of the run; the library hands it out of Run.
func (p *program) Stop(kservice.Service) error {
	p.crew.Stop()
	t := time.NewTimer(stopWithin)
	defer t.Stop()
	select {
	case <-p.ended:
		return p.err
	case <-t.C:
		return fmt.Errorf("stopping: %w", supervise.ErrLate)
	}
}
