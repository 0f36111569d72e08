package sysinfo

import (
	"sync"
	"time"
)

// kept keeps the answer of what is dear to ask for, for use by a group that is
// asked for more often. A call that was cut off and ends later leaves its answer
// here too, so that what takes longer than a group may is there at the next Read.
type kept[T any] struct {
	mu sync.Mutex // held while asking: one call at a time
	v  T
	at time.Time // zero: there is none
}

// get gives the answer if it is younger than every, else asks. A failure is not kept.
func (k *kept[T]) get(every time.Duration, ask func() (T, error)) (T, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.at.IsZero() && time.Since(k.at) < every {
		return k.v, nil
	}
	v, err := ask()
	if err != nil {
		var none T
		return none, err
	}
	k.v, k.at = v, time.Now()
	return v, nil
}
