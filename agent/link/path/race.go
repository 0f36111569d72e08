package path

import (
	"context"
	"errors"
	"slices"
	"time"

	"hausmeister/platform/supervise"
	"hausmeister/proto/hmpb"
)

type try func(context.Context) (*session, error)

// entry is one runner of a race.
type entry struct {
	after time.Duration // its handicap, unless one before it gave up already
	try   try
}

// errNoWay is a way that there is not: no proxy is set up.
var errNoWay = errors.New("no such way")

// race gives the first session; the others are closed. It returns when all of
// its runners have.
func race(ctx context.Context, entries []entry) (*session, error) {
	type outcome struct {
		session *session
		err     error
	}
	crew := supervise.NewCrew(ctx, max(1, len(entries)))
	results := make(chan outcome, len(entries))
	began := time.Now()
	next := time.NewTimer(0)
	defer next.Stop()
	var winner *session
	var errs []error
	for begun, over := 0, 0; winner == nil && over < len(entries) && ctx.Err() == nil; {
		select {
		case <-next.C:
			if begun == len(entries) {
				continue
			}
			run := entries[begun].try
			crew.TryGo(func(ctx context.Context) {
				s, err := run(ctx)
				results <- outcome{s, err}
			})
			if begun++; begun < len(entries) {
				next.Reset(time.Until(began.Add(entries[begun].after)))
			}
		case r := <-results:
			over++
			winner = r.session
			if winner == nil {
				errs = append(errs, r.err)
				next.Reset(0)
			}
		case <-ctx.Done():
		}
	}
	crew.Stop()
	crew.Wait()
	close(results)
	for late := range results {
		switch {
		case late.session == nil:
			errs = append(errs, late.err) // the end of the race, or what it had found out
		case winner == nil:
			winner = late.session
		default:
			late.session.Close(hmpb.Code_CODE_NORMAL, "another way was quicker")
		}
	}
	if winner != nil {
		return winner, nil
	}
	errs = slices.DeleteFunc(append(errs, context.Cause(ctx)), func(err error) bool { return err == nil || err == errNoWay })
	if len(errs) == 0 {
		return nil, errNoWay
	}
	return nil, errors.Join(errs...)
}
