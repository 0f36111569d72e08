package gateway

import (
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A device that comes again and again is one whose network flaps, or two
// machines with one key: eight at once, then one in ten seconds.
const (
	deviceBurst = 8
	deviceEvery = 10 * time.Second
)

// Who is told to come back gets a slot: the first free second at the admitted
// rate, at most maxWait away. It is kept slotFor beyond its time, and whoever
// comes with a slot that is due is let in. So a herd comes back as the even
// stream that it was spread to, and nobody is sent away twice.
const (
	maxWait = 5 * time.Minute
	slotFor = 2 * time.Minute
	// maxSlots bounds what is remembered: above it people are told to come back
	// without a promise.
	maxSlots = 200_000
)

// admission decides who may come in now, and when the others may.
type admission struct {
	perSecond float64
	all       *rate.Limiter

	mu sync.Mutex
	// below is guarded by mu
	devices map[string]*seen
	pruned  time.Time
	// next is the first slot that nobody has.
	next time.Time
}

// seen is what is remembered of one device.
type seen struct {
	// full is when its bucket is full again; a generic cell rate algorithm
	// needs no more than that.
	full time.Time
	slot time.Time // promised; zero = none
}

func newAdmission(perSecond, burst int) *admission {
	return &admission{
		perSecond: float64(perSecond),
		all:       rate.NewLimiter(rate.Limit(perSecond), burst),
		devices:   map[string]*seen{},
	}
}

// admit says how long a device has to wait; 0 = it may come in now.
func (a *admission) admit(device string, now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pruneLocked(now)
	d := a.devices[device]
	if d == nil {
		d = &seen{}
		if len(a.devices) < maxSlots {
			a.devices[device] = d
		}
	}
	if d.full.Before(now) {
		d.full = now
	}
	if early := d.full.Sub(now) - (deviceBurst-1)*deviceEvery; early > 0 {
		return early
	}
	switch {
	case !d.slot.IsZero() && now.Before(d.slot.Add(-time.Second)):
		return d.slot.Sub(now) // came too early
	case !d.slot.IsZero():
		// Its slot was taken out of the rate when it was promised.
	case a.next.After(now) || !a.all.AllowN(now, 1):
		if a.next.Before(now) {
			a.next = now
		}
		a.next = a.next.Add(time.Duration(float64(time.Second) / a.perSecond))
		if wait := a.next.Sub(now); wait <= maxWait {
			d.slot = a.next
			return wait
		}
		a.next = now.Add(maxWait)
		return maxWait/2 + rand.N(maxWait/2)
	}
	d.slot = time.Time{}
	d.full = d.full.Add(deviceEvery)
	return 0
}

// pruneLocked forgets devices about which there is nothing to remember.
func (a *admission) pruneLocked(now time.Time) {
	if now.Sub(a.pruned) < time.Minute {
		return
	}
	a.pruned = now
	for id, d := range a.devices {
		if d.full.Before(now) && d.slot.Add(slotFor).Before(now) {
			delete(a.devices, id)
		}
	}
}

// seconds rounds a wait up to what the wire carries; never 0, which would mean
// the agent's own schedule.
func seconds(d time.Duration) uint32 {
	return uint32(max(1, math.Ceil(d.Seconds())))
}
