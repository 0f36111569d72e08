package update_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hausmeister/agent/update"
	"hausmeister/agent/update/journal"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
	"hausmeister/testenv/need"
)

// clockOf makes the device's clock wrong by what is in it.
func (w *world) clockOf(off time.Duration) *atomic.Int64 {
	var wrong atomic.Int64
	wrong.Store(int64(off))
	w.now = func() time.Time { return time.Now().Add(time.Duration(wrong.Load())) }
	return &wrong
}

func TestAttack13_ClockOf1970And2099(t *testing.T) {
	for name, off := range map[string]time.Duration{"1970": -30 * 365 * 24 * time.Hour, "2099": 99 * 365 * 24 * time.Hour} {
		inBubble(t, func(w *world) {
			begin := time.Now()
			w.now = func() time.Time { return time.Now().Add(off) }
			r := w.release(manifest.Release{Version: newVersion})
			if !w.offered(r, "lease", time.Hour) {
				w.Errorf("with a clock of %s: told %s", name, w.told())
			}
			if w.trusted.Before(begin) || w.trusted.After(begin.Add(2*time.Hour)) {
				w.Errorf("with a clock of %s the time of TLS is %v, it is %v", name, w.trusted, begin)
			}
		})
	}
	// A clock that is set right while it waits for its moment.
	inBubble(t, func(w *world) {
		off := 20 * 365 * 24 * time.Hour
		w.now = func() time.Time { return time.Now().Add(off) }
		u := w.updater(oldVersion)
		u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease"))
		w.hindrance.Battery = true
		w.runFor(u, 20*time.Minute)
		off, w.hindrance.Battery = 0, false
		if !w.runFor(w.updater(oldVersion), time.Hour) {
			w.Errorf("after the clock was set back by 20 years: told %s", w.told())
		}
	})
}

// TestAttack13_ClockSetRightAfterTheOffer: the clock is of 1970 at each start, the offer
// comes, and minutes later the network's time.
func TestAttack13_ClockSetRightAfterTheOffer(t *testing.T) {
	need.Plain(t)
	const late = -30 * 365 * 24 * time.Hour
	inBubble(t, func(w *world) {
		off := w.clockOf(late)
		u := w.updater(oldVersion)
		o := offer(w.release(manifest.Release{Version: newVersion}), "lease")
		o.SetWithinS(3600)
		u.Offered(o)
		time.AfterFunc(2*time.Minute, func() { off.Store(0) })
		if !w.runFor(u, 2*time.Hour) || strings.Contains(w.told(), "refused") {
			t.Errorf("in the same session: told %s", w.told())
		}
	})
	for _, wrong := range []time.Duration{late, -late} { // its lease ends all the same
		inBubble(t, func(w *world) {
			off := w.clockOf(wrong)
			w.hindrance.Battery = true
			u := w.updater(oldVersion)
			u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease"))
			time.AfterFunc(2*time.Minute, func() { off.Store(0) })
			if w.runFor(u, 71*time.Hour) || strings.Contains(w.told(), "refused") {
				t.Errorf("clock wrong by %v, while its lease of three days goes on: told %s", wrong, w.told())
			}
			if w.runFor(u, 2*time.Hour) || !strings.HasSuffix(w.told(), "refused:withdrawn") {
				t.Errorf("clock wrong by %v, behind its end: told %s", wrong, w.told())
			}
		})
	}
	inBubble(t, func(w *world) { // a start later only the collector can say whether it holds
		off := w.clockOf(late)
		w.hindrance.Battery = true
		o := offer(w.release(manifest.Release{Version: newVersion}), "lease")
		u := w.updater(oldVersion)
		u.Offered(o)
		w.runFor(u, 30*time.Minute)
		w.hindrance.Battery = false
		off.Store(0)
		u = w.updater(oldVersion)
		if w.runFor(u, 2*time.Hour) || !strings.HasSuffix(w.told(), "waiting:schedule") {
			t.Errorf("before anybody says so: told %s", w.told())
		}
		u.Offered(o)
		if !w.runFor(u, time.Hour) {
			t.Errorf("with the next session: told %s", w.told())
		}
	})
}

// TestAttack13_LeaseWhileAsleep: a lease that is over by a clock which was wrong for a while,
// or went on while the device slept, is one of which the collector has the next word.
func TestAttack13_LeaseWhileAsleep(t *testing.T) {
	const ahead = 40 * 24 * time.Hour
	for name, then := range map[string]func(w *world, u *update.Updater, off *atomic.Int64, o *hmpb.Offer) (armed bool, told string){
		"the clock is right again": func(w *world, u *update.Updater, off *atomic.Int64, o *hmpb.Offer) (bool, string) {
			off.Store(0)
			return w.runFor(u, 2*time.Hour), "armed"
		},
		"it holds": func(w *world, u *update.Updater, off *atomic.Int64, o *hmpb.Offer) (bool, string) {
			u.Offered(o)
			w.runFor(u, 10*time.Minute)
			off.Store(0) // else what was signed has expired
			return w.runFor(u, 2*time.Hour), "armed"
		},
		"it does not": func(w *world, u *update.Updater, off *atomic.Int64, o *hmpb.Offer) (bool, string) {
			u.Withdrawn("")
			return !w.runFor(u, 2*time.Hour), "refused:withdrawn"
		},
		"nobody says so": func(w *world, u *update.Updater, off *atomic.Int64, o *hmpb.Offer) (bool, string) {
			return !w.runFor(u, 73*time.Hour), "refused:withdrawn"
		},
	} {
		inBubble(t, func(w *world) {
			off := w.clockOf(0)
			o := offer(w.release(manifest.Release{Version: newVersion}), "lease")
			o.SetWithinS(3600)
			u := w.updater(oldVersion)
			u.Offered(o)
			w.runFor(u, time.Second)
			off.Store(int64(ahead))
			if w.runFor(u, 5*time.Minute); !strings.HasSuffix(w.told(), "waiting:schedule") {
				t.Errorf("%s: before: told %s", name, w.told())
			}
			if ok, told := then(w, u, off, o); !ok || !strings.HasSuffix(w.told(), told) {
				t.Errorf("%s: told %s, want %s at the end", name, w.told(), told)
			}
		})
	}
}

// TestAttack13_ClockSetWhilePostponed: a wish is for a day, whichever time the clock
// showed when it was said.
func TestAttack13_ClockSetWhilePostponed(t *testing.T) {
	need.Plain(t)
	for name, off := range map[string]time.Duration{"1970": -30 * 365 * 24 * time.Hour, "2099": 99 * 365 * 24 * time.Hour} {
		for _, start := range []string{"in this start", "in the next start"} {
			inBubble(t, func(w *world) {
				off := w.clockOf(off)
				o := offer(w.release(manifest.Release{Version: newVersion}), "lease")
				u := w.updater(oldVersion)
				u.Offered(o)
				w.postpone(newVersion)
				w.runFor(u, 20*time.Minute)
				off.Store(0)
				if start != "in this start" {
					u = w.updater(oldVersion)
					u.Offered(o)
				}
				if w.runFor(u, 23*time.Hour) {
					t.Errorf("from %s, %s: armed within a day of the wish", name, start)
				}
				w.fleet.Publish()
				if !w.runFor(u, 3*time.Hour) || strings.Count(w.told(), "waiting:postponed") != 1 {
					t.Errorf("from %s, %s: a day after it: told %s", name, start, w.told())
				}
			})
		}
	}
}

// TestAttack13_PostponedIsSaidAgain: while the clock is ahead of the lease's end the device
// waits for the collector's word; then it says again that it is put off.
func TestAttack13_PostponedIsSaidAgain(t *testing.T) {
	inBubble(t, func(w *world) {
		off := w.clockOf(0)
		u := w.updater(oldVersion)
		u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease"))
		w.runFor(u, time.Second)
		w.postpone(newVersion)
		w.runFor(u, 5*time.Minute)
		off.Store(int64(40 * 24 * time.Hour))
		w.runFor(u, 5*time.Minute)
		off.Store(0)
		w.runFor(u, time.Hour)
		const want = "waiting:postponed waiting:schedule waiting:postponed"
		if got := u.Status().Waits; got != journal.Postponed.String() || !strings.HasSuffix(w.told(), want) {
			t.Errorf("with the right clock: it waits for %q, told %s", got, w.told())
		}
	})
}
