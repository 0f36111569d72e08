package update_test

import (
	"strings"
	"testing"
	"time"

	"hausmeister/agent/update"
	"hausmeister/agent/update/journal"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
	"hausmeister/testenv/tufrepo"
)

func TestAttack27_NotNow(t *testing.T) {
	for reason, h := range map[journal.Reason]update.Hindrance{
		journal.Support: {Support: true}, journal.Battery: {Battery: true}, journal.Metered: {Metered: true},
	} {
		inBubble(t, func(w *world) {
			r := w.release(manifest.Release{Version: newVersion})
			w.hindrance = h
			u := w.updater(oldVersion)
			u.Offered(offer(r, "lease"))
			if w.runFor(u, 5*time.Hour) || !strings.HasSuffix(w.told(), "waiting:"+reason.String()) || w.fetched != 0 {
				w.Errorf("%s: told %s, %d downloads", reason, w.told(), w.fetched)
			}
			if n := strings.Count(w.told(), "waiting:"+reason.String()); n != 1 {
				w.Errorf("%s: told %d times", reason, n)
			}
			if w.meta > 60 {
				w.Errorf("%s: %d requests while it waited", reason, w.meta)
			}
			w.hindrance = update.Hindrance{}
			if !w.runFor(u, time.Hour) {
				w.Errorf("after %s: told %s", reason, w.told())
			}
		})
		inBubble(t, func(w *world) { // three persons signed that it cannot wait
			w.hindrance = h
			if !w.offered(w.release(manifest.Release{Version: newVersion, Urgent: true}), "lease", time.Hour) {
				w.Errorf("an urgent one waits for %s: told %s", reason, w.told())
			}
		})
	}
}

// TestAttack27_BeginsInTheMiddle: what speaks against an update ends it also while its bytes
// come, for as long as it lasts; one that cannot wait goes on.
func TestAttack27_BeginsInTheMiddle(t *testing.T) {
	for reason, h := range map[journal.Reason]update.Hindrance{
		journal.Support: {Support: true}, journal.Battery: {Battery: true}, journal.Metered: {Metered: true},
	} {
		for _, urgent := range []bool{false, true} {
			inBubble(t, func(w *world) {
				w.slow = time.Hour
				set := func(h update.Hindrance) func() {
					return func() { w.mu.Lock(); w.hindrance = h; w.mu.Unlock() }
				}
				var begun []time.Time
				var soon string
				w.onFetch = func() {
					if begun = append(begun, time.Now()); len(begun) == 1 {
						time.AfterFunc(10*time.Minute, set(h))
						time.AfterFunc(13*time.Minute, func() { soon = w.told() })
						time.AfterFunc(30*time.Minute, set(update.Hindrance{}))
					}
				}
				u := w.updater(oldVersion)
				u.Offered(offer(w.release(manifest.Release{Version: newVersion, Urgent: urgent}), "lease"))
				armed := w.runFor(u, 4*time.Hour)
				held := strings.HasSuffix(soon, "offered waiting:"+reason.String())
				if !armed || held == urgent || len(begun) != map[bool]int{false: 2, true: 1}[urgent] {
					t.Fatalf("%s, urgent %t: 3 minutes after it began told %s; downloads began at %v, told %s", reason, urgent, soon, begun, w.told())
				}
				if !urgent && begun[1].Sub(begun[0]) < 30*time.Minute {
					t.Errorf("%s: it goes on %v after it began, the hindrance being over after 30 minutes", reason, begun[1].Sub(begun[0]))
				}
			})
		}
	}
}

// quietly is an offer that says in which times nothing may begin, from now on.
func quietly(o *hmpb.Offer, spans ...time.Duration) *hmpb.Offer {
	var all []*hmpb.Quiet
	for i := 0; i < len(spans); i += 2 {
		all = append(all, hmpb.Quiet_builder{FromMs: new(time.Now().Add(spans[i]).UnixMilli()), ToMs: new(time.Now().Add(spans[i+1]).UnixMilli())}.Build())
	}
	o.SetQuiet(all)
	return o
}

// A device begins nothing in a lesson, whatever it has already, and whichever time its
// clock shows; after it, it does.
func TestLessons(t *testing.T) {
	for name, clock := range map[string]time.Duration{"clock right": 0, "clock a day late": -24 * time.Hour, "clock half a day early": 12 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) { // offered before, and come into a lesson while it waits for power
				w.now = func() time.Time { return time.Now().Add(clock) }
				begin := time.Now()
				r := w.release(manifest.Release{Version: newVersion})
				u := w.updater(oldVersion)
				w.hindrance = update.Hindrance{Battery: true}
				u.Offered(quietly(offer(r, "lease"), time.Hour, 7*time.Hour))
				if w.runFor(u, 2*time.Hour) {
					w.Fatal("armed while on battery")
				}
				w.hindrance = update.Hindrance{}
				u = w.updater(oldVersion) // the agent starts anew; no session brings the offer
				if w.runFor(u, 4*time.Hour) || w.fetched != 0 || !strings.HasSuffix(w.told(), "waiting:lesson") {
					w.Fatalf("in a lesson: told %s, %d downloads, want none and a wait for the lesson", w.told(), w.fetched)
				}
				if s := u.Status(); s.Waits != journal.Lesson.String() || s.Begins.Sub(begin.Add(7*time.Hour+clock)).Abs() > 2*time.Minute {
					w.Errorf("status = %+v, want it to begin with the end of the lesson", s)
				}
				if !w.runFor(u, 2*time.Hour) || time.Since(begin) < 7*time.Hour {
					w.Errorf("%v after the offer: told %s", time.Since(begin), w.told())
				}
			})
			inBubble(t, func(w *world) { // everything is here already when the lesson comes near
				w.now = func() time.Time { return time.Now().Add(clock) }
				begin := time.Now()
				r := w.release(manifest.Release{Version: newVersion})
				u := w.updater(oldVersion)
				tested := false
				w.onTest = func() error {
					tested = true
					time.Sleep(time.Until(begin.Add(25 * time.Minute)))
					return nil
				}
				u.Offered(quietly(offer(r, "lease"), 30*time.Minute, 7*time.Hour))
				if w.runFor(u, 6*time.Hour) || !tested || w.journal().State != journal.Staged || !strings.HasSuffix(w.told(), "waiting:lesson") {
					w.Fatalf("in a lesson: %v, told %s, want it staged and waiting for the lesson", w.journal().State, w.told())
				}
				if !w.runFor(u, 2*time.Hour) || time.Since(begin) < 7*time.Hour {
					w.Errorf("%v after the offer: told %s", time.Since(begin), w.told())
				}
			})
		})
	}
	inBubble(t, func(w *world) { // a lesson begins in the middle of the download
		begin := time.Now()
		u := w.updater(oldVersion)
		w.onFetch = func() {
			if w.journal().Fetched == 0 && time.Since(begin) < 30*time.Minute {
				time.Sleep(time.Until(begin.Add(40 * time.Minute)))
			}
		}
		u.Offered(quietly(offer(w.release(manifest.Release{Version: newVersion}), "lease"), 30*time.Minute, 7*time.Hour))
		if w.runFor(u, 6*time.Hour) || w.fetched != 1 || w.journal().State != journal.Offered || !strings.HasSuffix(w.told(), "waiting:lesson") {
			w.Fatalf("in a lesson: %v, told %s, %d downloads", w.journal().State, w.told(), w.fetched)
		}
		if !w.runFor(u, 2*time.Hour) || time.Since(begin) < 7*time.Hour {
			w.Errorf("%v after the offer: told %s", time.Since(begin), w.told())
		}
	})
	inBubble(t, func(w *world) { // three persons signed that it cannot wait
		u := w.updater(oldVersion)
		u.Offered(quietly(offer(w.release(manifest.Release{Version: newVersion, Urgent: true}), "lease"), 0, 7*time.Hour))
		if !w.runFor(u, time.Hour) {
			w.Errorf("an urgent one waits for a lesson: told %s", w.told())
		}
	})
}

// TestAsleepIntoALesson: the clock that no one sets stands still while the device sleeps,
// so that nobody knows afterwards how long it is until a lesson.
func TestAsleepIntoALesson(t *testing.T) {
	for name, slept := range map[string]func(w *world, sleep func()){
		"waiting": func(w *world, sleep func()) {
			w.hindrance = update.Hindrance{Battery: true}
			time.AfterFunc(20*time.Minute, func() {
				sleep()
				w.mu.Lock()
				defer w.mu.Unlock()
				w.hindrance = update.Hindrance{}
			})
		},
		"in the download": func(w *world, sleep func()) {
			w.slow = time.Hour
			time.AfterFunc(20*time.Minute, sleep)
		},
	} {
		inBubble(t, func(w *world) {
			asleep := w.clockOf(0)
			w.fleet = tufrepo.NewFleet(w.now) // everybody's goes on meanwhile
			u := w.updater(oldVersion)
			slept(w, func() { asleep.Store(int64(3 * time.Hour)) })
			u.Offered(quietly(offer(w.release(manifest.Release{Version: newVersion}), "lease"), 2*time.Hour, 7*time.Hour))
			if w.runFor(u, 25*time.Minute); u.Status().Waits != journal.Lesson.String() {
				t.Errorf("%s: 5 minutes after it woke it waits for %q, told %s", name, u.Status().Waits, w.told())
			}
			fetched := w.fetched
			if w.runFor(u, 3*time.Hour) || w.fetched != fetched || w.journal().State != journal.Offered {
				t.Errorf("%s: in class: %s, %d downloads, told %s", name, w.journal().State, w.fetched-fetched, w.told())
			}
			if !w.runFor(u, 3*time.Hour) {
				t.Errorf("%s: behind the lesson: told %s", name, w.told())
			}
		})
	}
}

// TestOtherLessonsWhileItDownloads: lessons that are changed hold at once.
func TestOtherLessonsWhileItDownloads(t *testing.T) {
	inBubble(t, func(w *world) {
		r := w.release(manifest.Release{Version: newVersion})
		u := w.updater(oldVersion)
		w.onFetch = func() {
			w.onFetch = nil
			o := offer(r, "lease")
			o.SetQuiet([]*hmpb.Quiet{hmpb.Quiet_builder{FromMs: new(time.Now().Add(-time.Minute).UnixMilli()), ToMs: new(time.Now().Add(5 * time.Hour).UnixMilli())}.Build()})
			u.Offered(o)
		}
		u.Offered(offer(r, "lease"))
		w.runFor(u, 4*time.Hour)
		if s := u.Status(); s.State != "offered" || s.Waits != "lesson" {
			t.Errorf("%s, waits for %s in a lesson that was told while it downloaded, want it offered and waiting", s.State, s.Waits)
		}
		if !w.runFor(u, 2*time.Hour) {
			t.Error("not armed after the lesson")
		}
	})
	inBubble(t, func(w *world) { // the same again, as with each session, does not
		r := w.release(manifest.Release{Version: newVersion})
		u := w.updater(oldVersion)
		same := quietly(offer(r, "lease"), 5*time.Hour, 7*time.Hour)
		w.onFetch = func() {
			if w.fetched <= 3 {
				u.Offered(same)
			}
		}
		u.Offered(same)
		if !w.runFor(u, 4*time.Hour) || w.fetched != 1 {
			t.Errorf("%d downloads, told %s", w.fetched, w.told())
		}
	})
}
