package fleet

// LookAtMost lets counts look up so many devices' states one by one.
func (f *Fleet) LookAtMost(n int64) { f.looked = n }
