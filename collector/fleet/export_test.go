package fleet

import "context"

// StepJobs carries out so many steps of jobs, as if the program ended after them.
func (f *Fleet) StepJobs(ctx context.Context, steps int) error { return f.runJobs(ctx, steps) }

// LookAtMost lets counts look up so many devices' states one by one.
func (f *Fleet) LookAtMost(n int64) { f.looked = n }
