package fleet

import "context"

// StepJobs carries out so many steps of jobs, as if the program ended after them.
func (f *Fleet) StepJobs(ctx context.Context, steps int) error { return f.runJobs(ctx, steps) }

// LookAtMost lets counts look up so many devices' states one by one.
func (f *Fleet) LookAtMost(n int64) { f.looked = n }

// WalkFrom lets lists go along all devices from so many on that are the filter's.
func (f *Fleet) WalkFrom(n int64) { f.many = n }

// AskEachFrom lets offers ask of each value from so many of one's devices on.
func (f *Fleet) AskEachFrom(n int64) { f.owned = n }
