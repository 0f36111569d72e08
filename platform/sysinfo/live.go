package sysinfo

import "slices"

// NewLive makes a Reader of the groups that are cheap enough for each second:
// those of which no answer is used twice. The others stay Unread. Its counters
// are its own, so that means over the time between two of its reads say nothing
// about, and do nothing to, those of another Reader.
func NewLive(c Config) *Reader {
	r := New(c)
	r.probes = slices.DeleteFunc(r.probes, func(p *probe) bool { return p.every > 0 })
	return r
}
