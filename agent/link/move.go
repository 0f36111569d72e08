package link

import (
	"context"
	"crypto/tls"
	"errors"
	"time"

	"hausmeister/agent/link/path"
	"hausmeister/platform/supervise"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
)

// How a session is left for a better one. The other one is dialled and has its
// Welcome before the old one is let go, and no batch is under way while it gets
// that: the cursor that it brings is then the true one. The collector ends the
// old session itself (CODE_REPLACED), which may be seen here before the Welcome.
const (
	// A path over QUIC is silent when nothing at all arrives for silentFor after
	// something was sent. With lookEvery and pingAfter, and a dial, that is within
	// the 5 s that a network which begins to drop UDP may cost. Only four of QUIC's
	// own repetitions fall into that time, so that a line which loses 15 % each way
	// looked dead each few minutes (measured): from pingAfter on we add our own.
	silentFor = 2 * time.Second
	lookEvery = 250 * time.Millisecond
	// pingAfter: a batch that waits so long for its answer is either with a busy
	// collector, which still answers a StillHere on QUIC's level, or lost. Each
	// answer doubles the wait before the next, up to pingMost: a collector that is
	// slow for everybody must not be asked by everybody each second.
	pingAfter = 700 * time.Millisecond
	pingMost  = 20 * time.Second
	// proven: after so long a silent session over QUIC may as well mean that its
	// collector was started anew. Then QUIC is dialled first again, half a second
	// before TCP, or each restart would send the whole fleet over to TCP and back.
	proven = time.Minute
	// QUIC is tried again after seekFirst, then after twice that, up to
	// seekLast; and seekSoon after a change of network. A session over QUIC that
	// lasted for seekTrust shows that it works here again.
	seekFirst, seekLast, seekTrust = time.Minute, 30 * time.Minute, 10 * time.Minute
	seekSoon                       = 2 * time.Second
	seekWithin                     = 5 * time.Second
	// enterWithin bounds Hello to Welcome on the other session, settleWithin the
	// wait for a batch that is under way.
	enterWithin  = 8 * time.Second
	settleWithin = 2 * time.Second
)

// move looks for a better path while the session lives.
func (h *held) move(ctx context.Context) {
	if h.s.Transport() != path.QUIC {
		h.seek(ctx)
		return
	}
	began := time.Now()
	h.guard(ctx, began)
	if time.Since(began) >= seekTrust {
		h.l.seekWait = seekFirst
	}
}

// guard leaves a path over QUIC that has gone silent.
func (h *held) guard(ctx context.Context, began time.Time) {
	for {
		select {
		case <-h.said:
		case <-ctx.Done():
			return
		}
		if !h.answered(ctx) && (ctx.Err() != nil || h.leave(ctx, time.Since(began) >= proven)) {
			return
		}
	}
}

// answered says whether anything comes after what was just sent. While a batch
// waits it goes on asking, since what came may have been for things before. What
// it asks with is not itself a thing to be answered: each question would bring the
// next, one a second for as long as the session lives (seen: 480 kB an hour).
func (h *held) answered(ctx context.Context) bool {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	heard, since := h.before.Load(), time.Now()
	ping, wait := since.Add(pingAfter), pingAfter
	var asked time.Time // when something came while the batch still waited
	for {
		select {
		case <-look.C:
		case <-ctx.Done():
			return false
		}
		now := h.s.Heard()
		switch {
		case now != heard && !h.waiting.Load():
			return true
		case now != heard:
			if asked.IsZero() {
				asked = time.Now()
			}
			if time.Since(asked) >= wait {
				wait = min(2*wait, pingMost)
				asked = time.Time{}
				heard, since = h.s.Heard(), time.Now()
				ping = since
			}
		case time.Since(since) >= silentFor:
			return false
		}
		if asked.IsZero() && !time.Now().Before(ping) {
			ping = time.Now().Add(pingAfter / 2)
			if h.sayStillHere() != nil {
				return true // the session has ended, which others see
			}
		}
	}
}

// leave dials around a silent path until it answers again, which makes true, or
// another session is in. Whatever is dead for good ends by the idle timeout, or,
// while power is short, after one attempt: QUIC's repetitions, like ours, would
// wake the machine between the beats.
func (h *held) leave(ctx context.Context, proven bool) (left bool) {
	l := h.l
	dial := l.c.Ways.DialAround
	if proven {
		dial = l.c.Dialer.Dial
	}
	began, heard := time.Now(), h.s.Heard()
	again := func() bool { return h.s.Heard() != heard }
	l.c.Log.Info("path is silent, looking for another", "transport", h.s.Transport())
	for n := 1; ctx.Err() == nil; n++ {
		in, _ := h.enter(ctx, l.within(dialWithin), dial, again, 0)
		if h.unheard { // a handshake gets through over QUIC, and what follows does not
			dial = l.c.Ways.DialAround
		}
		switch {
		case in != nil:
			l.c.Log.Info("moved to another path", "from", h.s.Transport(), "to", in.s.Transport(), "took", time.Since(began).Round(time.Millisecond))
			h.moved <- in
			return true
		case again():
			l.c.Log.Info("path answers again", "transport", h.s.Transport(), "after", time.Since(began).Round(time.Millisecond))
			return false
		case l.c.Saving() && h.probing.Load():
			h.saying() // a network that comes up may be silent for longer: until the probe ends it is asked
			return false
		case l.c.Saving():
			h.end(ending{problem: Lost, err: errors.New("path is silent, and there is no other")})
			return true
		}
		pause(ctx, spread(l.c.Random, ceiling(n))/2+ceiling(n)/2, again)
	}
	return false
}

// seek tries QUIC now and then while the session is over TCP.
func (h *held) seek(ctx context.Context) {
	l := h.l
	for wait := l.jitter(l.seekWait); ; {
		changed, ok := h.seekDue(ctx, wait)
		switch {
		case !ok:
			return
		case changed:
			l.seekWait = seekFirst
			wait = seekSoon + spread(l.c.Random, hurry)
			continue
		}
		in, asked := h.enter(ctx, seekWithin, l.c.Ways.DialQUIC, nil, settleWithin)
		wait = max(l.jitter(l.seekWait), asked)
		l.seekWait = min(2*l.seekWait, seekLast) // also after a success: it may not last
		if in != nil {
			l.c.Log.Info("moved back to QUIC", "from", h.s.Transport())
			h.moved <- in
			return
		}
	}
}

// seekDue waits for the next try, or for a change of the network.
func (h *held) seekDue(ctx context.Context, wait time.Duration) (changed, ok bool) {
	t := h.l.waitFor(wait)
	defer t.Stop()
	select {
	case <-h.changed:
		return true, true
	case <-t.C:
		return false, true
	case <-ctx.Done():
		return false, false
	}
}

// jitter is d, more or less a quarter: what a whole school lost at once it does
// not look for at once.
func (l *Link) jitter(d time.Duration) time.Duration {
	return d*3/4 + spread(l.c.Random, d/2)
}

type dial func(ctx context.Context, conf *tls.Config) (wire.Session, error)

// enter opens another session beside the present one. It gives it up when no
// longer is true before the Hello; after settle a batch that is under way is
// given up. asked is how long the collector wants us to wait.
func (h *held) enter(ctx context.Context, within time.Duration, dial dial, noLonger func() bool, settle time.Duration) (in *entered, asked time.Duration) {
	l := h.l
	conf := l.c.Identity.TLSConfig()
	if conf == nil {
		return nil, 0
	}
	s, err := dialWhile(ctx, within, dial, conf, noLonger)
	if err != nil {
		l.c.Log.Debug("no other path", "error", err)
		return nil, 0
	}
	if noLonger != nil && noLonger() || !h.interrupt(ctx, settle) {
		s.Close(hmpb.Code_CODE_NORMAL, "not needed any more")
		return nil, 0
	}
	epoch, err := l.c.Identity.RaiseEpoch()
	if err != nil {
		l.c.Log.Warn("staying, since the connection epoch is not stored", "error", err)
		s.Close(hmpb.Code_CODE_NORMAL, "")
		<-h.turn
		return nil, 0
	}
	h.moving.Store(true)
	ctx, cancel := context.WithTimeout(ctx, enterWithin)
	defer cancel()
	control, welcome, end := l.greet(ctx, s, epoch)
	if welcome == nil {
		l.c.Log.Debug("not in over another path", "problem", end.problem, "detail", end.detail())
		h.unheard = h.unheard || s.Transport() == path.QUIC
		s.Close(hmpb.Code_CODE_NORMAL, "")
		h.moving.Store(false)
		<-h.turn
		return nil, end.retryAfter
	}
	return &entered{s, control, welcome}, 0
}

// interrupt takes the turn from the reporter; false when ctx ended first.
func (h *held) interrupt(ctx context.Context, settle time.Duration) bool {
	t := time.NewTimer(settle)
	defer t.Stop()
	for {
		select {
		case h.turn <- struct{}{}:
			return true
		case <-t.C:
			// What it carries is told again; the collector stores it once.
			if f := h.stream.Load(); f != nil {
				f.Reset(hmpb.Code_CODE_NORMAL)
			}
			t.Reset(lookEvery)
		case <-ctx.Done():
			return false
		}
	}
}

// dialWhile dials and gives up once noLonger is true.
func dialWhile(ctx context.Context, within time.Duration, dial dial, conf *tls.Config, noLonger func() bool) (wire.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if noLonger != nil {
		crew := supervise.NewCrew(ctx, 1)
		defer crew.Wait()
		defer crew.Stop()
		crew.TryGo(func(ctx context.Context) {
			pause(ctx, within, noLonger)
			cancel()
		})
	}
	return dial(ctx, conf)
}

// pause waits, but not once enough is true.
func pause(ctx context.Context, wait time.Duration, enough func() bool) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	t := time.NewTimer(wait)
	defer t.Stop()
	for !enough() {
		select {
		case <-look.C:
		case <-t.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// outcome waits for what becomes of a Hello that is said on another session: the
// collector ends this one when it welcomes that one, and the news may overtake
// the Welcome. It is nil when nothing better is there.
func (h *held) outcome(ctx context.Context) *entered {
	look := time.NewTicker(lookEvery / 3)
	defer look.Stop()
	for h.moving.Load() {
		select {
		case in := <-h.moved:
			return in
		case <-look.C:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}
