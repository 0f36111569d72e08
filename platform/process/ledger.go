package process

import (
	"sync"
	"time"
)

// life tells a process from a later one with its number.
type life struct {
	pid   int
	began uint64 // 0 where the system does not tell
}

// taken is what one process took.
type taken struct {
	cpu     time.Duration // its own
	left    time.Duration // of children that ended, and that it waited for
	written uint64        // with those
	memory  uint64        // now
	handles int           // now
}

// ledger adds up what a child and its descendants took, also those that ended. What one of
// them had taken goes to its parent if that waits for it, and else is told by nobody any
// more. So the sum of all that live now would fall when one ends, and a sum of what
// each was seen to take would count twice what a parent got.
type ledger struct {
	mu sync.Mutex
	// below is guarded by mu
	seen    map[life]taken // at the look before
	cpu     time.Duration
	written uint64
	cpuOf   estate
	writeOf estate
}

// add is all that was taken, with a look at all that live now.
func (l *ledger) add(now map[life]taken) Usage {
	l.mu.Lock()
	defer l.mu.Unlock()
	var u Usage
	var left, written, goneCPU, goneWritten int64
	for id, p := range now {
		before := l.seen[id]
		if p.cpu < before.cpu { // another one, of the same number
			before = taken{}
		}
		l.cpu += p.cpu - before.cpu
		left += int64(p.left - before.left)
		written += int64(p.written) - int64(before.written)
		u.Memory += p.memory
		u.Handles += p.handles
	}
	for id, p := range l.seen {
		if _, lives := now[id]; !lives {
			goneCPU += int64(p.cpu + p.left)
			goneWritten += int64(p.written)
		}
	}
	l.cpu += time.Duration(l.cpuOf.inherit(left, goneCPU))
	l.written += uint64(l.writeOf.inherit(written, goneWritten))
	l.seen = now
	u.CPU, u.Written = l.cpu, l.written
	return u
}

// estate is what was counted of those that were gone at the look before, and that nobody
// had got by then: a parent may be read a moment before its child ends.
type estate int64

// inherit is what is new of what came to those that live, where gone was counted already.
// What nobody gets at the next look either is forgotten, or it would hide what others
// leave for ever.
func (e *estate) inherit(came, gone int64) (more int64) {
	owed := gone + int64(*e)
	*e = estate(min(gone, max(0, owed-came)))
	return max(0, came-owed)
}
