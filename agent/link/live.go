package link

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
)

const (
	// liveEvery is the distance of samples; liveAtMost is how long they go on
	// without another Watch, whatever the collector asks for.
	liveEvery, liveAtMost = time.Second, time.Hour
	// liveWithin is how long a sample may take to leave: who watches wants to see
	// the present, and a network that is slower has none to spare.
	liveWithin = 5 * time.Second
)

// watched takes a Watch. It never waits.
func (h *held) watched(w *hmpb.Watch) {
	if h.l.c.Watched == nil {
		return
	}
	if w.GetFlush() {
		h.l.c.Watched.Flush()
	}
	d := min(time.Duration(w.GetLiveS())*time.Second, liveAtMost)
	for {
		select {
		case h.watches <- d:
			return
		default:
		}
		select { // only the newest counts
		case <-h.watches:
		default:
		}
	}
}

// live shows samples while somebody watches; there is one such goroutine in a
// session, and so one live stream at most.
func (h *held) live(ctx context.Context) {
	for {
		select {
		case d := <-h.watches:
			if d > 0 {
				h.show(ctx, d)
			}
		case <-ctx.Done():
			return
		}
	}
}

// show opens a stream and sends a sample each second, until the time is over, a
// Watch says so, the collector ends the stream, or the session ends. The samples
// are nowhere else; Config.Shown may keep the last.
func (h *held) show(ctx context.Context, d time.Duration) {
	sample := h.l.c.Watched.Live()
	if sample == nil {
		return
	}
	f, err := h.openLive(ctx)
	if err != nil {
		h.l.c.Log.Debug("nobody takes live samples", "error", err)
		return
	}
	h.l.c.Log.Info("somebody watches this device live", "for", d)
	defer h.l.c.Log.Info("live samples over")
	over := time.NewTimer(d)
	defer over.Stop()
	tick := time.NewTicker(liveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			f.Reset(hmpb.Code_CODE_NORMAL)
			return
		case <-over.C:
			f.Finish(liveWithin)
			return
		case d := <-h.watches:
			if d == 0 {
				f.Finish(liveWithin)
				return
			}
			over.Reset(d)
		case <-tick.C:
			up := hmpb.LiveUp_builder{DeviceMs: proto.Int64(h.l.c.Now().UnixMilli()), Readings: sample(ctx)}.Build()
			f.SetWriteDeadline(time.Now().Add(liveWithin))
			if err := f.WriteMsg(up); err != nil {
				f.Reset(hmpb.Code_CODE_NORMAL)
				return
			}
			if h.l.c.Shown != nil {
				h.l.c.Shown(up)
			}
		}
	}
}

func (h *held) openLive(ctx context.Context) (*wire.Framed, error) {
	ctx, cancel := context.WithTimeout(ctx, greetWithin)
	defer cancel()
	return wire.Open(ctx, h.s, hmpb.StreamType_STREAM_TYPE_LIVE, &hmpb.LiveHeader{})
}
