package link_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
	"hausmeister/proto/wire"
	"hausmeister/testenv/netsim"
)

// watchedDevice counts what is asked of it.
type watchedDevice struct {
	w                     *world
	flushes, begun, taken int
	none                  bool
}

func (d *watchedDevice) Flush() { d.w.collector.set(func() { d.flushes++ }) }

func (d *watchedDevice) Live() func(context.Context) []*hmpb.Reading {
	d.w.collector.set(func() { d.begun++ })
	if d.none {
		return nil
	}
	return func(context.Context) []*hmpb.Reading {
		d.w.collector.set(func() { d.taken++ })
		return []*hmpb.Reading{hmpb.Reading_builder{Id: proto.Uint32(reading.CPUUsed), Number: proto.Int64(42)}.Build()}
	}
}

// viewer is the collector's end of live streams.
type viewer struct {
	w                            *world
	streams, open, most, samples int
	last                         time.Time
	ended, reset                 int
	resetAfter                   int // samples; 0 = never
}

func (v *viewer) serve(f *wire.Framed) {
	count := func(n *int, by int) { v.w.collector.set(func() { *n += by; v.most = max(v.most, v.open) }) }
	if f.ReadMsg(&hmpb.LiveHeader{}) != nil {
		return
	}
	count(&v.streams, 1)
	count(&v.open, 1)
	defer count(&v.open, -1)
	for n := 1; ; n++ {
		var up hmpb.LiveUp
		err := f.ReadMsg(&up)
		switch {
		case errors.Is(err, io.EOF):
			count(&v.ended, 1)
			f.CloseWrite()
			return
		case err != nil:
			count(&v.reset, 1)
			return
		}
		if len(up.GetReadings()) != 1 || up.GetReadings()[0].GetNumber() != 42 || up.GetDeviceMs() == 0 {
			v.w.Errorf("sample %v", &up)
		}
		count(&v.samples, 1)
		v.w.collector.set(func() { v.last = time.Now() })
		if n == v.resetAfter {
			f.Reset(hmpb.Code_CODE_NORMAL)
			return
		}
	}
}

// watch says Watch on the newest session.
func (w *world) watch(seconds uint32, flush bool) {
	w.Helper()
	var down *wire.Framed
	w.collector.set(func() { down = w.collector.down })
	m := hmpb.ControlDown_builder{Watch: hmpb.Watch_builder{LiveS: &seconds, Flush: &flush}.Build()}.Build()
	if err := down.WriteMsg(m); err != nil {
		w.Fatal(err)
	}
}

func inLive(t *testing.T, f func(w *world, d *watchedDevice, v *viewer)) {
	in(t, func(w *world) {
		d, v := &watchedDevice{w: w}, &viewer{w: w}
		w.config.Watched = d
		w.collector.onLive = v.serve
		w.collector.start()
		w.run()
		w.until("connected", 5*time.Second, w.connected)
		f(w, d, v)
	})
}

// quiet fails when samples still come.
func (v *viewer) quiet(t *testing.T, d *watchedDevice) {
	t.Helper()
	var before, after, open, taken int
	v.w.collector.set(func() { before, taken = v.samples, d.taken })
	time.Sleep(time.Minute)
	v.w.collector.set(func() { after, open = v.samples, v.open; taken = d.taken - taken })
	if after != before || open != 0 || taken != 0 {
		t.Errorf("%d samples arrived and %d were taken after the end, %d streams are open", after-before, taken, open)
	}
}

func TestLiveEnds(t *testing.T) {
	for _, c := range []struct {
		name    string
		seconds uint32
		end     func(w *world, v *viewer)
		samples [2]int
	}{
		{"when its time is over", 30, func(*world, *viewer) { time.Sleep(32 * time.Second) }, [2]int{29, 30}},
		{"by a Watch of 0", 600, func(w *world, _ *viewer) {
			time.Sleep(20 * time.Second)
			w.watch(0, false)
			time.Sleep(2 * time.Second)
		}, [2]int{19, 21}},
		{"by a Watch that only flushes", 600, func(w *world, _ *viewer) {
			time.Sleep(20 * time.Second)
			w.watch(0, true)
			time.Sleep(2 * time.Second)
		}, [2]int{19, 21}},
		{"by the collector's reset", 600, func(w *world, v *viewer) { time.Sleep(20 * time.Second) }, [2]int{5, 5}},
		{"with the session", 600, func(w *world, _ *viewer) {
			time.Sleep(20 * time.Second)
			w.collector.stop()
			w.collector.start()
			w.until("connected", time.Minute, w.connected)
		}, [2]int{18, 21}},
		{"when the network is dead", 600, func(w *world, _ *viewer) {
			time.Sleep(20 * time.Second)
			w.device.Set(netsim.Weather{CutUp: true, CutDown: true})
			time.Sleep(10 * time.Minute)
			w.device.Set(netsim.Weather{})
			w.until("connected", 10*time.Minute, w.connected)
		}, [2]int{18, 21}},
		{"after an hour, whatever was asked for", 1 << 31, func(*world, *viewer) { time.Sleep(time.Hour + 2*time.Second) }, [2]int{3599, 3600}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inLive(t, func(w *world, d *watchedDevice, v *viewer) {
				if c.samples[1] == 5 {
					v.resetAfter = 5
				}
				w.watch(c.seconds, false)
				c.end(w, v)
				v.quiet(t, d)
				w.collector.set(func() {
					if v.samples < c.samples[0] || v.samples > c.samples[1] || v.streams != 1 {
						t.Errorf("%d samples on %d streams, want %v on one", v.samples, v.streams, c.samples)
					}
				})
			})
		})
	}
}

// TestLiveGoesOn: a later Watch replaces an earlier one, and there is never more
// than one stream; nothing of it is in the spool.
func TestLiveGoesOn(t *testing.T) {
	inLive(t, func(w *world, d *watchedDevice, v *viewer) {
		for range 10 {
			w.watch(30, false)
			w.watch(30, false)
			time.Sleep(20 * time.Second)
		}
		time.Sleep(12 * time.Second)
		v.quiet(t, d)
		w.watch(5, false) // and it can begin again
		time.Sleep(10 * time.Second)
		w.collector.set(func() {
			if v.samples < 205 || v.samples > 216 || v.streams != 2 || v.most != 1 || d.begun != 2 {
				t.Errorf("%d samples on %d streams, %d at once, %d times begun", v.samples, v.streams, v.most, d.begun)
			}
		})
		if w.spool.Last() != 0 {
			t.Errorf("%d entries in the spool", w.spool.Last())
		}
		if took := w.stop(); took > time.Second {
			t.Errorf("stopping took %v", took)
		}
	})
}

func TestStopWhileWatched(t *testing.T) {
	inLive(t, func(w *world, d *watchedDevice, v *viewer) {
		w.watch(600, false)
		time.Sleep(10 * time.Second)
		if took := w.stop(); took > time.Second {
			t.Errorf("stopping took %v", took)
		}
	})
}

func TestFlushIsPassedOn(t *testing.T) {
	inLive(t, func(w *world, d *watchedDevice, v *viewer) {
		w.watch(0, true)
		time.Sleep(time.Second)
		synctest.Wait()
		w.collector.set(func() {
			if d.flushes != 1 || d.begun != 0 || v.streams != 0 {
				t.Errorf("%d flushes, %d live", d.flushes, d.begun)
			}
		})
	})
}

// TestNothingToWatch: a device without live samples, and one that cannot be
// watched at all, take a Watch and go on.
func TestNothingToWatch(t *testing.T) {
	inLive(t, func(w *world, d *watchedDevice, v *viewer) {
		d.none = true
		w.watch(60, false)
		time.Sleep(10 * time.Second)
		w.collector.set(func() {
			if v.streams != 0 {
				t.Error("a live stream without samples")
			}
		})
	})
	in(t, func(w *world) {
		w.collector.start()
		w.run()
		w.until("connected", 5*time.Second, w.connected)
		w.watch(60, true)
		time.Sleep(time.Minute)
		if !w.connected() {
			t.Error("a Watch ended the session")
		}
	})
}
