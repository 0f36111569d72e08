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

// watch tells a device that somebody looks at it.
func (g *Gateway) watch(crew *supervise.Crew, e bus.Event) {
	w := hmpb.Watch_builder{Flush: &e.Flush}.Build()
	if !e.Live.IsZero() {
		w.SetLiveS(seconds(max(0, e.Live.Sub(g.cfg.Now()))))
	}
	for _, s := range g.presence.of(e.Device) {
		crew.Go(func(context.Context) { s.say(hmpb.ControlDown_builder{Watch: w}.Build()) })
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

// say sends a frame on the control stream of a session that is in.
func (s *session) say(m *hmpb.ControlDown) {
	if !s.g.presence.in(s) {
		return // the Welcome comes first, and says the settings itself
	}
	s.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err := s.control.WriteMsg(m); err != nil {
		s.log().Debug("device not told", "error", err)
	}
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
