package health_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/agent/health"
	"hausmeister/platform/sysinfo"
	"hausmeister/proto/block"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// A device is a machine whose clock may be wrong, and which remembers what was
// read of it, by the minute of the right time.
type device struct {
	machine
	clockMu sync.Mutex
	off     time.Duration // device's clock minus ours
	booted  time.Time     // by our clock

	right bool // samples are remembered by our minute, not the device's
	n     int64
	read  map[int64]int64 // minute: cpu_used
	takes time.Duration   // a Read
}

func newDevice(snap sysinfo.Snapshot) *device {
	d := &device{booted: time.Now().Add(-time.Hour), read: map[int64]int64{}}
	d.snap = snap
	return d
}

func (d *device) now() time.Time {
	d.clockMu.Lock()
	defer d.clockMu.Unlock()
	return time.Now().Add(d.off)
}

func (d *device) setClock(off time.Duration) {
	d.clockMu.Lock()
	defer d.clockMu.Unlock()
	d.off = off
}

func (d *device) Read(ctx context.Context) sysinfo.Snapshot {
	s := d.machine.Read(ctx)
	d.clockMu.Lock()
	defer d.clockMu.Unlock()
	at := time.Now()
	if !d.right {
		at = at.Add(d.off)
	}
	d.n = (d.n*7 + 13) % 1000
	s.CPU.Used = sysinfo.Some(d.n)
	s.CPU.CoreUsed = sysinfo.Some([]int64{d.n, 1000 - d.n})
	s.CPU.Throttled = sysinfo.Some[int64](1)
	s.BootTime = sysinfo.Some(d.booted.Add(d.off).Truncate(time.Second))
	d.read[at.UnixMilli()/60_000] = d.n
	if d.takes > 0 {
		d.clockMu.Unlock()
		time.Sleep(d.takes)
		d.clockMu.Lock()
	}
	return s
}

// heldMinutes reads the blocks of a sink: cpu_used by the minute. No minute may be there
// twice, and no block may reach over a quarter of an hour.
func heldMinutes(t *testing.T, s *sink) map[int64]int64 {
	t.Helper()
	got := map[int64]int64{}
	for _, e := range s.entries((*hmpb.Entry).HasBlock) {
		m := e.GetBlock()
		b, err := block.Decode(m.GetPacked())
		if err != nil {
			t.Fatal(err)
		}
		if b.Start != m.GetStartMs() || m.GetStepS() != 60 || b.Step != block.Minute || b.Count != int(m.GetSteps()) {
			t.Errorf("block %+v is announced as %d, %d, %d", b.Head(), m.GetStartMs(), m.GetStepS(), m.GetSteps())
		}
		const quarter = 15 * block.Minute
		if b.Start/quarter != (b.Head().End()-1)/quarter {
			t.Errorf("block %+v reaches over a quarter of an hour", b.Head())
		}
		for _, series := range b.Series {
			row, ok := reading.ByID(series.ID)
			if !ok || row.Retain != reading.Fine {
				t.Errorf("series %v is not kept by the minute", series.Key)
			}
			for i, v := range series.Values {
				minute := b.Start/block.Minute + int64(i)
				switch {
				case v.N == 0:
				case series.ID == reading.CPUUsed:
					if _, twice := got[minute]; twice {
						t.Errorf("minute %v is there twice", time.UnixMilli(minute*block.Minute).UTC())
					}
					got[minute] = v.Mean
				case series.ID == reading.CPUCoreUsed && series.Instance == "2":
					if want := 1000 - got[minute]; v.Mean != want {
						t.Errorf("core 2 in minute %d = %d, want %d", minute, v.Mean, want)
					}
				}
			}
		}
	}
	return got
}

// wantRead holds the blocks against what was read; missing minutes are named by
// the test.
func wantRead(t *testing.T, d *device, s *sink, missing func(minute int64) bool) {
	t.Helper()
	got := heldMinutes(t, s)
	for minute, v := range d.read {
		g, ok := got[minute]
		if !ok && !missing(minute) || ok && g != v {
			t.Errorf("minute %v: got %d (there: %v), read was %d", time.UnixMilli(minute*60_000).UTC(), g, ok, v)
		}
	}
	for minute := range got {
		if _, ok := d.read[minute]; !ok {
			t.Errorf("minute %v was never read", time.UnixMilli(minute*60_000).UTC())
		}
	}
}

func none(int64) bool { return false }

func startDevice(t *testing.T, d *device, change func(*health.Config)) *run {
	return startWith(t, &d.machine, func(c *health.Config) {
		c.Source, c.Now = d, d.now
		if change != nil {
			change(c)
		}
	})
}

func TestBlocksHoldWhatWasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(desktop())
		r := startDevice(t, d, nil)
		time.Sleep(5*time.Hour + 7*min)
		r.stop()
		wantRead(t, d, r.s, none)
		if n := len(heldMinutes(t, r.s)); n != 5*60+7 {
			t.Errorf("%d minutes in 5 h and 7 min", n)
		}
		blocks := r.s.entries((*hmpb.Entry).HasBlock)
		if len(blocks) != 21 {
			t.Errorf("%d blocks, want 20 whole ones and the rest", len(blocks))
		}
		for _, e := range blocks[:20] {
			if e.GetBlock().GetSteps() != 15 {
				t.Errorf("a block of %d minutes", e.GetBlock().GetSteps())
			}
		}
	})
}

// TestStopAndStart: what was read before the end is told, and the next run does
// not tell it again.
func TestStopAndStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(desktop())
		kept := &sink{begin: time.Now()}
		for range 12 {
			r := startDevice(t, d, func(c *health.Config) { c.Sink = kept })
			time.Sleep(7*min + 30*time.Second)
			r.stop()
			time.Sleep(90 * time.Second)
		}
		// The first read of a run is a beginning for means and no look.
		wantRead(t, d, kept, func(minute int64) bool { return true })
		if n := len(heldMinutes(t, kept)); n < 12*7 || n > 12*8 {
			t.Errorf("%d minutes of 12 runs of 7.5 minutes", n)
		}
	})
}

func TestClockJumps(t *testing.T) {
	for _, c := range []struct {
		name string
		to   func(now time.Time) time.Time
		lost int // minutes
	}{
		{"to 1970", func(time.Time) time.Time { return time.Date(1970, 1, 1, 0, 20, 0, 0, time.UTC) }, 0},
		{"before 1970", func(time.Time) time.Time { return time.Date(1969, 12, 31, 23, 50, 0, 0, time.UTC) }, 10},
		{"to 2099", func(time.Time) time.Time { return time.Date(2099, 5, 5, 5, 5, 5, 0, time.UTC) }, 0},
		// The hour that comes again is told already.
		{"back an hour", func(now time.Time) time.Time { return now.Add(-time.Hour) }, 61},
		{"back four minutes", func(now time.Time) time.Time { return now.Add(-4 * min) }, 5},
		{"on four minutes", func(now time.Time) time.Time { return now.Add(4 * min) }, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDevice(desktop())
				r := startDevice(t, d, nil)
				time.Sleep(2*time.Hour + 7*min + min/2)
				before := len(d.looks())
				d.setClock(time.Until(c.to(time.Now())))
				time.Sleep(3 * time.Hour)
				// And back: by the network's time, say.
				d.setClock(0)
				time.Sleep(time.Hour)
				r.stop()
				got := heldMinutes(t, r.s)
				if all := 6*60 + 7; len(got) < all-2*c.lost-2 || len(got) > all+2 {
					t.Errorf("%d minutes of %d are told, may lack %d", len(got), all, 2*c.lost)
				}
				if before < 2*60 {
					t.Errorf("%d reads in two hours", before)
				}
				for _, e := range r.s.entries((*hmpb.Entry).HasBlock) {
					b, err := block.DecodeKey(e.GetBlock().GetPacked(), block.Key{ID: reading.CPUUsed})
					if err != nil {
						t.Fatal(err)
					}
					for i, v := range b.Series[0].Values {
						if v.N == 0 {
							t.Errorf("block %+v goes on over a jump: nothing in minute %d", b.Head(), i)
						}
					}
				}
				// What is there twice in d.read is told as it was first.
				for minute := range got {
					if _, ok := d.read[minute]; !ok {
						t.Errorf("minute %v was never read", time.UnixMilli(minute*60_000).UTC())
					}
				}
			})
		})
	}
}

// TestCollectorsTime: with a word of the collector the device's clock may say
// and do what it wants; blocks have the right time. Also in the next run of the
// same boot, while the collector is silent.
func TestCollectorsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(desktop())
		d.right = true
		d.setClock(-20 * 365 * 24 * time.Hour)
		var mu sync.Mutex
		var facts health.Facts
		hear := func() {
			mu.Lock()
			defer mu.Unlock()
			facts.Heard, facts.ClockOffset = d.now(), time.Since(d.now())
		}
		kept, remembered := &sink{begin: time.Now()}, &memory{}
		begin := func() *run {
			mu.Lock()
			facts = health.Facts{}
			mu.Unlock()
			return startDevice(t, d, func(c *health.Config) {
				c.Sink, c.Memory = kept, remembered
				c.About = func() health.Facts {
					mu.Lock()
					defer mu.Unlock()
					return facts
				}
			})
		}
		r := begin()
		hear()
		time.Sleep(time.Hour)
		for _, off := range []time.Duration{5 * time.Hour, 5*time.Hour - 3*min, 5*time.Hour + 40*time.Second} {
			time.Sleep(20*time.Minute + 17*time.Second)
			d.setClock(off)
		}
		time.Sleep(10 * time.Minute)
		hear()
		time.Sleep(20 * time.Minute)
		r.stop()
		time.Sleep(time.Until(time.Now().Truncate(min).Add(min)))
		d.setClock(d.off - 90*time.Second) // set while no agent runs
		r = begin()
		time.Sleep(time.Hour)
		r.stop()
		wantRead(t, d, kept, func(int64) bool { return false })
		if r.s.told[0].GetDeviceMs() == time.Now().UnixMilli() {
			t.Error("an entry's device_ms was put right")
		}
		if got := r.s.last()["clock_offset"]; got == "" {
			t.Error("no clock_offset is told")
		}
	})
}

// TestOneWakeAMinute: on battery, however much there is to do, and also while
// the clock is put right all the time.
func TestOneWakeAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		snap := desktop()
		snap.Power.Source = sysinfo.Some(sysinfo.Battery)
		d := newDevice(snap)
		drift := time.Duration(0)
		r := startDevice(t, d, func(c *health.Config) {
			c.Settings = health.Settings{Interval: 10 * time.Second, BatteryInterval: min}
		})
		for range 8 * 60 {
			time.Sleep(min)
			drift += 300 * time.Millisecond
			d.setClock(drift)
		}
		r.stop()
		if n := len(r.m.looks()); n > int((8*time.Hour+drift)/min)+2 || n < 8*60-4 {
			t.Errorf("%d reads in 8 hours on battery", n)
		}
		for i, at := range r.m.looks()[2:] {
			if gap := at.Sub(r.m.looks()[i+1]); gap < 50*time.Second {
				t.Errorf("reads %v apart", gap)
			}
		}
		minutes := heldMinutes(t, r.s)
		if len(minutes) < 8*60-2 {
			t.Errorf("%d minutes in 8 hours", len(minutes))
		}
	})
}

// TestSpoolFull: the newest four blocks wait; older ones are given up, and named
// in the log. Nothing is told twice.
func TestSpoolFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(desktop())
		r := startDevice(t, d, nil)
		time.Sleep(time.Hour)
		r.s.fail(errors.New("no space left on device"))
		time.Sleep(3 * time.Hour)
		r.s.fail(nil)
		time.Sleep(time.Hour)
		r.stop()
		begin := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
		wantRead(t, d, r.s, func(minute int64) bool {
			at := time.UnixMilli(minute * 60_000).Sub(begin)
			return at >= time.Hour && at < 3*time.Hour
		})
		if n := len(heldMinutes(t, r.s)); n != 3*60 {
			t.Errorf("%d minutes told, want two hours and the last hour of the trouble", n)
		}
		if n := strings.Count(r.log.String(), "minutes lost"); n != 8 {
			t.Errorf("%d log lines about lost minutes, want 8", n)
		}
	})
}

// TestHangingReads: a source that needs its whole patience costs no minute.
func TestHangingReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(desktop())
		d.takes = 6 * time.Second
		d.snap.CutOff = []string{"volumes"}
		d.snap.Volumes = sysinfo.None[[]sysinfo.Volume](sysinfo.TimedOut)
		r := startDevice(t, d, nil)
		time.Sleep(2 * time.Hour)
		r.stop()
		wantRead(t, d, r.s, func(minute int64) bool { return minute == time.Now().UnixMilli()/60_000 })
		if got := r.s.last(); got["volume_free"] != "ABSENT_TIMEOUT" || got["memory_used"] != "4294967296" {
			t.Errorf("State %v", got)
		}
	})
}

// TestFlush: somebody looks, and has the minutes so far within seconds.
func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(desktop())
		d.takes = 6 * time.Second
		r := startDevice(t, d, nil)
		for i := range 20 {
			time.Sleep(4*min + time.Duration(i)*3*time.Second) // also in the middle of a look
			r.Flush()
			r.Flush()
			at := time.Now().UnixMilli() / 60_000
			time.Sleep(10 * time.Second)
			synctest.Wait()
			got := heldMinutes(t, r.s)
			if _, ok := got[at-1]; !ok {
				t.Errorf("10 s after a flush the minute before it is not there")
			}
		}
		r.stop()
		wantRead(t, d, r.s, none)
	})
}

// TestLooksByTheSecond: where settings want States oftener than by the minute, the last
// look of a minute counts, and what counts since the look before adds up.
func TestLooksByTheSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(desktop())
		r := startDevice(t, d, func(c *health.Config) { c.Settings = health.Settings{Interval: 10 * time.Second} })
		time.Sleep(32*min + 3*time.Second)
		r.stop()
		wantRead(t, d, r.s, none)
		first, whole := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli(), 0
		for _, e := range r.s.entries((*hmpb.Entry).HasBlock) {
			b, err := block.DecodeKey(e.GetBlock().GetPacked(), block.Key{ID: reading.CPUThrottled})
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range b.Series[0].Values {
				minute := (b.Start-first)/block.Minute + int64(i)
				if minute < 1 || minute > 31 {
					continue // not all of its looks were there
				}
				if whole++; v.Mean != 6 {
					t.Errorf("%d throttle events in minute %d of 6 looks", v.Mean, minute)
				}
			}
		}
		if whole != 31 {
			t.Errorf("%d minutes with all their looks, want 31", whole)
		}
	})
}
