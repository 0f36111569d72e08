package gateway

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"hausmeister/collector/bus"
	"hausmeister/platform/supervise"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
	"hausmeister/proto/wire"
)

// liveEvery is how often a device may send a sample of live mode, liveBurst
// how many may come at once after a pause of the network.
const (
	liveEvery = 800 * time.Millisecond
	liveBurst = 5
)

// looksAtOnce is how many looks go into one frame: far below its limit, each
// being at most 800 bytes.
const looksAtOnce = 32

// watch tells a device that somebody looks at it, and before that who and why.
func (g *Gateway) watch(crew *supervise.Crew, e bus.Event) {
	w := hmpb.Watch_builder{Flush: &e.Flush}.Build()
	if until := g.liveUntil(e); !until.IsZero() {
		w.SetLiveS(seconds(max(0, until.Sub(g.cfg.Now()))))
	}
	for _, s := range g.presence.of(e.Device) {
		crew.Go(func(ctx context.Context) {
			if e.Flush { // a look was opened
				s.tellLooks(ctx)
			}
			s.say(hmpb.ControlDown_builder{Watch: w}.Build())
		})
	}
}

// liveUntil is until when the device's samples are wanted once e is there: a look
// that is opened ends nobody else's, the end of the last viewer does. It is of the
// one loop that hears these events.
func (g *Gateway) liveUntil(e bus.Event) time.Time {
	now := g.cfg.Now()
	for device, until := range g.live {
		if !until.After(now) && device != e.Device {
			delete(g.live, device)
		}
	}
	switch {
	case e.Live.IsZero():
	case e.Live.After(now):
		g.live[e.Device] = e.Live
	default:
		delete(g.live, e.Device)
		return e.Live
	}
	return g.live[e.Device]
}

// tellLooks tells the device who looked at it since it heard of that last, while
// it was off too. A look that could not be told comes with its next session: the
// device says in each Hello what it has. Two of these at once may tell the same,
// which the device knows by the ids.
func (s *session) tellLooks(ctx context.Context) {
	s.mu.Lock()
	known, keeps := s.lastLook, s.keepsLooks
	s.mu.Unlock()
	if !keeps {
		return
	}
	looks, err := s.g.cfg.Health.LooksAfter(ctx, s.device, known)
	if err != nil {
		s.log().Warn("device not told who looked, will be with its next session", "error", err)
		return
	}
	for some := range slices.Chunk(looks, looksAtOnce) {
		m := make([]*hmpb.Look, len(some))
		for i, l := range some {
			m[i] = hmpb.Look_builder{Id: &l.ID, Name: &l.Name, Role: new(string(l.Role)), Reason: &l.Reason,
				OpenedMs: new(l.Opened.UnixMilli()), UntilMs: new(l.Until.UnixMilli())}.Build()
		}
		if !s.say(hmpb.ControlDown_builder{Looks: hmpb.Looks_builder{Looks: m}.Build()}.Build()) {
			return
		}
		s.mu.Lock()
		s.lastLook = max(s.lastLook, some[len(some)-1].ID)
		s.mu.Unlock()
	}
}

// settings tells the devices of an owner what they should do from now on.
func (g *Gateway) settings(ctx context.Context, crew *supervise.Crew, e bus.Event) {
	for _, s := range g.presence.all() {
		if e.Owner != "" && s.peer.Owner != e.Owner {
			continue
		}
		crew.Go(func(context.Context) {
			set, err := g.cfg.Health.Settings(ctx, s.device)
			if err != nil {
				s.log().Warn("new settings not sent, they come with the next session", "error", err)
				return
			}
			s.say(hmpb.ControlDown_builder{Settings: set}.Build())
		})
	}
}

// say sends a frame on the control stream of a session that is in, and says
// whether it is on its way.
func (s *session) say(m *hmpb.ControlDown) bool {
	if !s.g.presence.in(s) {
		return false // the Welcome comes first, and says the settings itself; looks come after it
	}
	if err := s.write(m); err != nil {
		s.log().Debug("device not told", "error", err)
		return false
	}
	return true
}

// samples serves a live stream: samples go to whoever watches, and nowhere else.
func (s *session) samples(ctx context.Context, f *wire.Framed) {
	defer s.endLive()
	f.SetReadDeadline(time.Now().Add(helloTimeout))
	if err := f.ReadMsg(&hmpb.LiveHeader{}); err != nil {
		f.Reset(hmpb.Code_CODE_TIMEOUT)
		return
	}
	f.SetReadDeadline(time.Time{})
	pace := rate.NewLimiter(rate.Every(liveEvery), liveBurst)
	for {
		up := &hmpb.LiveUp{}
		if err := f.ReadMsg(up); err != nil {
			if errors.Is(err, io.EOF) {
				f.CloseWrite()
			}
			return
		}
		readings := slices.DeleteFunc(up.GetReadings(), func(m *hmpb.Reading) bool { return reading.Check(m) != nil })
		if len(readings) > 0 {
			s.g.cfg.Bus.Publish(bus.Event{Kind: bus.Sample, Device: s.peer.Device, Owner: s.peer.Owner, Readings: readings})
		}
		if pace.Wait(ctx) != nil {
			f.Reset(hmpb.Code_CODE_NORMAL)
			return
		}
	}
}

// beginLive makes sure that there is one live stream at a time.
func (s *session) beginLive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.living {
		return false
	}
	s.living = true
	return true
}

func (s *session) endLive() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.living = false
}
