package spool_test

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/agent/spool"
	"hausmeister/testenv/fault"
)

func TestExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(today)) // a bubble begins in 2000, before any release
		d := fault.NewDisk()
		c := spool.Config{Disk: d, MaxBytes: 64 << 10}
		s := open(t, c)
		addNotes(t, s, numbered(1, 20)...)
		time.Sleep(20 * 24 * time.Hour)
		addNotes(t, s, numbered(21, 40)...)
		s.Close()
		s = open(t, c)
		time.Sleep(30 * 24 * time.Hour)
		addNotes(t, s, numbered(41, 45)...)
		s.Expire(time.Now())
		got := readAll(t, s, 0)
		if got.Texts[len(got.Texts)-1] != "report 45" || len(got.Texts) < 25 || len(got.Texts) > 45-10 {
			t.Errorf("after 50 and 30 days %q are left, want those of the last 44 days", got.Texts)
		}
		if st := s.Stats(); st.Lost == 0 || st.Lost != st.Dropped {
			t.Errorf("Stats.Lost = %d of %d dropped, want all: nobody knows what was in them", st.Lost, st.Dropped)
		}
		// All gone: the epoch and its sequences go on.
		epoch, last := s.Epoch(), s.Last()
		time.Sleep(45 * 24 * time.Hour)
		s.Expire(time.Now())
		if s.First() != 0 || d.Bytes() != 0 {
			t.Errorf("First %d, %d bytes after all expired", s.First(), d.Bytes())
		}
		add(t, s, "next")
		if s.Last() != last+1 || !bytes.Equal(s.Epoch(), epoch) {
			t.Errorf("next sequence is %d, want %d", s.Last(), last+1)
		}
	})
}

// TestExpireWithWrongClock: a device's clock that jumps costs no report of this run.
func TestExpireWithWrongClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		off := time.Duration(0)
		s := open(t, spool.Config{Disk: fault.NewDisk(), Now: func() time.Time { return time.Now().Add(off) }})
		off = -30 * 365 * 24 * time.Hour // the battery of the clock is empty
		add(t, s, "at 1970")
		off = 0
		s.Expire(time.Now())
		if got := readAll(t, s, 0); len(got.Texts) != 1 {
			t.Errorf("entries %q after the clock was set, want the one made a moment ago", got.Texts)
		}
	})
}

// TestExpireAfterSleep: the monotonic clock stands still while a notebook sleeps,
// and 44 days are 44 days all the same, but for a clock that was set meanwhile.
func TestExpireAfterSleep(t *testing.T) {
	const day = 24 * time.Hour
	for _, test := range []struct {
		name          string
		before, after time.Duration // slept before and after the entry
		set           time.Duration // of the device's clock, after the entry
		heard         bool          // the collector, in this run before that
		left          int
	}{
		{"slept through the holidays", 0, 45 * day, 0, true, 0},
		{"not quite so long", 0, 43 * day, 0, true, 1},
		{"made after it", 45 * day, 0, 0, true, 1},
		{"made in the middle", 43 * day, 43 * day, 0, true, 1},
		{"clock set, and what was when nobody knows", 10 * day, 40 * day, 30 * day, true, 1},
		{"clock of 1970 put right", 0, time.Hour, 20000 * day, true, 1},
		{"collector not heard before", 0, 45 * day, 0, false, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Until(today))
				slept, wrong := time.Duration(0), -test.set
				collector := func() time.Time { return time.Now().Add(slept) }
				s := open(t, spool.Config{Disk: fault.NewDisk(), Now: func() time.Time { return collector().Add(wrong) }})
				if test.heard {
					s.Expire(collector())
				}
				time.Sleep(time.Hour)
				slept += test.before
				add(t, s, "told too late")
				time.Sleep(time.Hour)
				slept += test.after
				wrong = 0
				for range 2 {
					s.Expire(collector())
					if got := readAll(t, s, 0); len(got.Texts) != test.left {
						t.Errorf("entries %q, want %d", got.Texts, test.left)
					}
				}
				slept += 45 * day // from then on its age is known
				s.Expire(collector())
				if got := readAll(t, s, 0); len(got.Texts) != 0 {
					t.Errorf("entries %q after another 45 days", got.Texts)
				}
			})
		})
	}
}

// TestExpireWithoutClock: a device whose clock always stands at 1970 keeps what
// it made before a restart; how old that is nobody knows, so it counts from then.
func TestExpireWithoutClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(today))
		c := spool.Config{Disk: fault.NewDisk(), Now: func() time.Time { return time.Unix(60, 0) }}
		s := open(t, c)
		add(t, s, "before the restart")
		s.Close()
		s = open(t, c)
		s.Expire(time.Now())
		if got := readAll(t, s, 0); len(got.Texts) != 1 {
			t.Errorf("entries %q, want the one of before", got.Texts)
		}
		time.Sleep(45 * 24 * time.Hour)
		s.Expire(time.Now())
		if got := readAll(t, s, 0); len(got.Texts) != 0 {
			t.Errorf("entries %q after 45 days, want none", got.Texts)
		}
	})
}

var today = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
