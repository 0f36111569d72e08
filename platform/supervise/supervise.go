package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Run runs the parts until ctx ends, until all are done, or until one fails for
// good. It starts them in the order given, each when the one before is ready,
// and stops them in reverse, the next when the one before has returned or is
// given up. The end of ctx is no error; failures and lateness are, each with
// its part's name.
func Run(ctx context.Context, log *slog.Logger, parts ...Part) error {
	// One part's end must not cancel another out of order: each has a context
	// of its own, cut from ctx's end but with its values.
	base := context.WithoutCancel(ctx)
	failed := make(chan struct{}, 1)
	var jobs []*job
	stopped := false
	for _, p := range parts {
		j := newJob(base, log, p.withDefaults())
		jobs = append(jobs, j)
		go func() {
			defer close(j.done)
			if j.err = j.loop(); j.err != nil {
				select {
				case failed <- struct{}{}:
				default:
				}
			}
		}()
		select {
		case <-j.ready:
		case <-j.done:
			stopped = j.err != nil
		case <-failed:
			stopped = true
		case <-ctx.Done():
			stopped = true
		}
		if stopped {
			break
		}
	}
	if !stopped {
		waitAll(ctx, failed, jobs)
	}
	return stopAll(jobs)
}

// waitAll returns when ctx ended, a part failed for good, or all are done.
func waitAll(ctx context.Context, failed <-chan struct{}, jobs []*job) {
	for _, j := range jobs {
		select {
		case <-j.done:
		case <-failed:
			return
		case <-ctx.Done():
			return
		}
	}
}

func stopAll(jobs []*job) error {
	var errs []error
	for i := len(jobs) - 1; i >= 0; i-- {
		j := jobs[i]
		j.cancel()
		<-j.done // bounded: the loop gives its part up after StopWithin
		if j.err != nil {
			errs = append(errs, fmt.Errorf("part %s: %w", j.part.Name, j.err))
		}
	}
	return errors.Join(errs...)
}

// A job is a part with its life: attempts and waits between them.
type job struct {
	part   Part
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	ready  chan struct{} // closed at the first readiness; later attempts find it closed
	done   chan struct{} // closed when no attempt will follow
	err    error         // why it failed for good; set before done is closed

	once sync.Once // guards closing ready
}

func newJob(base context.Context, log *slog.Logger, p Part) *job {
	ctx, cancel := context.WithCancel(base)
	return &job{part: p, log: log.With("part", p.Name), ctx: ctx, cancel: cancel,
		ready: make(chan struct{}), done: make(chan struct{})}
}

// loop runs attempts until the part is done, told to stop, or failed for good.
func (j *job) loop() error {
	failures := 0
	for {
		readyFor, err := j.attempt()
		if err == nil {
			return nil
		}
		if readyFor >= j.part.Restart.Forget {
			failures = 0
		}
		failures++
		if pe := (*PanicError)(nil); errors.As(err, &pe) {
			j.log.Error("part panicked", "panic", pe.Value, "stack", string(pe.Stack))
		}
		if errors.As(err, new(wanted)) {
			j.log.Info("part ends, and the others with it", "why", err)
			return err
		}
		pol := j.part.Restart
		if j.ctx.Err() != nil || errors.Is(err, ErrLate) || errors.As(err, new(permanent)) ||
			pol.Tries >= 0 && failures > pol.Tries {
			j.log.Error("part failed for good", "error", err, "failures", failures)
			return err
		}
		wait := pol.wait(failures)
		j.log.Warn("part failed, will be restarted", "error", err, "failures", failures, "wait", wait)
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-j.ctx.Done():
			t.Stop()
			return nil // it failed, was waiting for a restart, and need not any more
		}
	}
}

// attempt runs the part once and says how long it was ready before it failed.
func (j *job) attempt() (readyFor time.Duration, err error) {
	ctx, cancel := context.WithCancel(j.ctx)
	defer cancel()
	isReady := make(chan struct{})
	var once sync.Once
	result := make(chan error, 1)
	go func() {
		err := errVanished
		defer func() { result <- err }()
		err = contain(func() error {
			return j.part.Run(ctx, func() { once.Do(func() { close(isReady) }) })
		})
	}()

	start := time.NewTimer(j.part.StartWithin)
	defer start.Stop()
	select {
	case err := <-result:
		return 0, j.ended(err)
	case <-j.ctx.Done():
		return 0, j.awaitStop(result)
	case <-start.C:
		j.log.Error("part is late to start", "start_within", j.part.StartWithin)
		cancel()
		if err := j.awaitStop(result); errors.Is(err, ErrLate) {
			return 0, err
		}
		return 0, ErrNotReady
	case <-isReady:
	}
	since := time.Now()
	j.once.Do(func() { close(j.ready) })
	j.log.Debug("part is ready")
	select {
	case err := <-result:
		return time.Since(since), j.ended(err)
	case <-j.ctx.Done():
		return time.Since(since), j.awaitStop(result)
	}
}

// awaitStop waits for a part whose context has ended.
func (j *job) awaitStop(result <-chan error) error {
	t := time.NewTimer(j.part.StopWithin)
	defer t.Stop()
	select {
	case err := <-result:
		return j.ended(err)
	case <-t.C:
		j.log.Error("part is late to stop and given up", "stop_within", j.part.StopWithin)
		return ErrLate
	}
}

// ended judges what Run returned: the end of our own context is success.
func (j *job) ended(err error) error {
	if err == nil || j.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
