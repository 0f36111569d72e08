package link

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/agent/link/path"
	"hausmeister/platform/supervise"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
)

// How long each step may take: generous for a school line in the first week
// of term, short for a person who waits at the desk.
const (
	dialWithin  = 20 * time.Second
	greetWithin = 15 * time.Second
	renewWithin = 60 * time.Second
	probeWithin = 5 * time.Second
	byeWithin   = time.Second
	// A renewal that failed is tried again once an hour; there are 90 days.
	renewEvery  = time.Hour
	renewSpread = time.Minute
)

// session is one session from dialling to its end.
func (l *Link) session(ctx context.Context) ending {
	select {
	case <-l.anew: // this session is the new one
	default:
	}
	conf := l.c.Identity.TLSConfig()
	if conf == nil {
		return ending{problem: NotEnrolled}
	}
	epoch, err := l.c.Identity.RaiseEpoch()
	if err != nil {
		return ending{problem: DiskTrouble, err: err}
	}
	l.set(Dialing, func(*Status) {})
	dial := l.c.Dialer.Dial
	if l.around {
		dial = l.c.Ways.DialAround
	}
	l.around = false
	dialCtx, cancel := context.WithTimeout(ctx, l.within(dialWithin))
	s, err := dial(dialCtx, conf)
	cancel()
	if err != nil {
		p := problemOf(err, Unreachable)
		if p == Lost {
			p = Unreachable
		}
		return ending{problem: p, err: fmt.Errorf("dialling: %w", err)}
	}
	// Whatever happens below, no session outlives this function.
	defer func() { s.Close(hmpb.Code_CODE_NORMAL, "") }()
	l.set(Greeting, func(*Status) {})
	control, welcome, end := l.greet(ctx, s, epoch)
	// Some networks let a handshake through and drop what follows.
	l.around = end.problem == Lost && l.c.Ways != nil && s.Transport() == path.QUIC
	switch {
	case end.problem == Expired:
		return l.renewExpired(ctx, s)
	case welcome == nil:
		return end
	}
	for in := (&entered{s, control, welcome}); ; {
		if err := l.admitted(in.s, in.welcome); err != nil {
			return *err
		}
		next, end := l.hold(ctx, in)
		if next == nil {
			return end
		}
		s, in = next.s, next
	}
}

// entered is a session that got its Welcome.
type entered struct {
	s       wire.Session
	control *wire.Framed
	welcome *hmpb.Welcome
}

// renewExpired uses a session that the collector now keeps for renewal only.
// The next one has the new certificate.
func (l *Link) renewExpired(ctx context.Context, s wire.Session) ending {
	ctx, cancel := context.WithTimeout(ctx, renewWithin)
	defer cancel()
	err := l.c.Identity.Renew(ctx, s)
	if err == nil {
		return ending{soon: true}
	}
	p := problemOf(err, Expired)
	if wire.CodeOf(err) == hmpb.Code_CODE_CERTIFICATE_EXPIRED {
		p = TooOld
	}
	return ending{problem: p, err: fmt.Errorf("renewing an expired certificate: %w", err)}
}

// greet says Hello and waits for the Welcome; without one it says why.
func (l *Link) greet(ctx context.Context, s wire.Session, epoch uint64) (*wire.Framed, *hmpb.Welcome, ending) {
	ctx, cancel := context.WithTimeout(ctx, l.within(greetWithin))
	defer cancel()
	fail := func(err error) (*wire.Framed, *hmpb.Welcome, ending) {
		// The stream's error may be the session's end seen from below, and
		// that one knows the code.
		if cause := context.Cause(s.Context()); cause != nil {
			err = cause
		}
		return nil, nil, ending{problem: problemOf(err, Lost), err: fmt.Errorf("greeting: %w", err)}
	}
	asked := time.Now()
	f, err := wire.Open(ctx, s, hmpb.StreamType_STREAM_TYPE_CONTROL, l.hello(epoch))
	if err != nil {
		return fail(err)
	}
	stop := context.AfterFunc(ctx, func() { f.Reset(hmpb.Code_CODE_TIMEOUT) })
	defer stop()
	var down hmpb.ControlDown
	if err := f.ReadMsg(&down); err != nil {
		return fail(err)
	}
	switch down.WhichKind() {
	case hmpb.ControlDown_Welcome_case:
		w := down.GetWelcome()
		if v := w.GetVersion(); v < wire.VersionMin || v > wire.VersionMax || len(w.GetStoreId()) == 0 {
			err := &wire.Error{Code: hmpb.Code_CODE_MALFORMED_FRAME, Text: fmt.Sprintf("welcome with version %d", v)}
			s.Close(err.Code, err.Text)
			return fail(err)
		}
		if !stop() {
			return fail(context.DeadlineExceeded)
		}
		l.tellTime(asked, w.GetTimeMs(), nil)
		return f, w, ending{}
	case hmpb.ControlDown_Refused_case:
		f.CloseWrite() // the collector waits for that before it listens for anything else
		return nil, nil, refused(down.GetRefused())
	case hmpb.ControlDown_ComeBack_case:
		return nil, nil, comeBack(down.GetComeBack())
	}
	err = &wire.Error{Code: hmpb.Code_CODE_WRONG_ORDER, Text: "neither welcome nor refused"}
	s.Close(hmpb.Code_CODE_WRONG_ORDER, "neither welcome nor refused")
	return nil, nil, ending{problem: OutOfOrder, err: err}
}

func refused(r *hmpb.Refused) ending {
	err := &wire.Error{Code: r.GetCode(), Remote: true, Text: r.GetText()}
	return ending{
		problem:    problemOf(err, OutOfOrder),
		err:        fmt.Errorf("refused: %w", err),
		retryAfter: time.Duration(r.GetRetryAfterS()) * time.Second,
	}
}

func comeBack(c *hmpb.ComeBack) ending {
	return ending{problem: Busy, retryAfter: time.Duration(c.GetRetryAfterS()) * time.Second}
}

func (l *Link) hello(epoch uint64) *hmpb.Hello {
	sp, a := l.c.Spool, l.c.About
	var lastLook *string
	if l.c.Looks != nil {
		lastLook = proto.String(l.c.Looks.Last())
	}
	return hmpb.Hello_builder{
		VersionMin:      proto.Uint32(wire.VersionMin),
		VersionMax:      proto.Uint32(wire.VersionMax),
		AgentVersion:    proto.String(a.Version),
		AgentHash:       a.Hash,
		BootId:          a.BootID,
		ConnectionEpoch: proto.Uint64(epoch),
		SpoolEpoch:      sp.Epoch(),
		SpoolFirst:      proto.Uint64(sp.First()),
		SpoolLast:       proto.Uint64(sp.Last()),
		Capabilities:    a.Capabilities,
		TimeMs:          proto.Int64(l.c.Now().UnixMilli()),
		StoreId:         l.c.Memory.StoreID(),
		LastLook:        lastLook,
	}.Build()
}

// admitted takes over what a Welcome says. An ending means: not with this session.
func (l *Link) admitted(s wire.Session, w *hmpb.Welcome) *ending {
	if roots := w.GetTrustRoots(); len(roots) > 0 {
		if err := l.c.Identity.SetRoots(roots, s.ConnectionState()); err != nil {
			l.c.Log.Warn("roots of the welcome not taken", "error", err)
		}
	}
	if err := l.c.Memory.SetStoreID(w.GetStoreId()); err != nil {
		// It is for the collector's information only, and a full disk must
		// not keep a device from telling that its disk is full.
		l.c.Log.Warn("store id not stored", "error", err)
	}
	l.c.Spool.Expire(time.UnixMilli(w.GetTimeMs()))
	renewed, err := l.c.Spool.Resume(w.GetCursor())
	if err != nil {
		return &ending{problem: DiskTrouble, err: err}
	}
	if renewed {
		l.c.Log.Warn("spool was set back, begins a new epoch", "cursor", w.GetCursor())
		return &ending{soon: true}
	}
	l.set(Connected, func(st *Status) { st.Transport, st.Problem, st.Detail = s.Transport(), NoProblem, "" })
	l.c.Log.Info("connected", "transport", s.Transport(), "cursor", w.GetCursor(), "waiting", l.c.Spool.Last()-w.GetCursor())
	if l.c.Ways != nil {
		l.c.Ways.Worked(s)
	}
	if set := w.GetSettings(); set != nil {
		l.settings(set)
	}
	l.heard(w)
	return nil
}

// settings takes the collector's policy; the keep-alive is the link's own too.
func (l *Link) settings(s *hmpb.Settings) {
	keep := time.Duration(s.GetKeepAliveS()) * time.Second
	if keep == 0 {
		keep = wire.DefaultKeepAlive
	}
	l.keepAlive.Store(uint32(min(max(keep, wire.MinKeepAlive), wire.MaxKeepAlive) / time.Second))
	l.c.Settings(s)
}

// held is a session that is in.
type held struct {
	l       *Link
	s       wire.Session
	control *wire.Framed
	kick    chan struct{}      // asks the reporter for a probe; holds one
	alive   chan struct{}      // its answer; holds one
	over    chan ending        // why listen or report want it to end; holds one
	quiet   chan struct{}      // all that was in the spool is acknowledged; holds one
	watches chan time.Duration // how long somebody watches from now on; holds the newest
	rtt     time.Duration      // shortest so far; only the reporter's

	// For the mover, see move.go.
	said    chan struct{} // something was sent; holds one
	before  atomic.Uint64 // what the session had heard just before that
	told    chan struct{} // a batch was sent; holds one; stillHere takes it
	changed chan struct{} // the network changed; holds one
	turn    chan struct{} // holds a token while a batch is told, or the mover greets
	stream  atomic.Pointer[wire.Framed]
	waiting atomic.Bool // for the answer to a batch
	moving  atomic.Bool // a Hello is said on another session
	probing atomic.Bool // the session ends soon if nothing is answered
	moved   chan *entered
	unheard bool // no Welcome came over another session over QUIC; only the mover's

	pinged atomic.Uint64 // id of the last Ping sent
	ponged atomic.Uint64 // and answered; 0 = this collector answers none
}

// hold runs a session until it ends, here or there, or until there is a better
// one, which it returns.
func (l *Link) hold(ctx context.Context, in *entered) (*entered, ending) {
	h := &held{l: l, s: in.s, control: in.control, kick: make(chan struct{}, 1), alive: make(chan struct{}, 1), over: make(chan ending, 1),
		said: make(chan struct{}, 1), told: make(chan struct{}, 1), changed: make(chan struct{}, 1), turn: make(chan struct{}, 1), moved: make(chan *entered, 1),
		quiet: make(chan struct{}, 1), watches: make(chan time.Duration, 1)}
	crew := supervise.NewCrew(context.WithoutCancel(ctx), 5)
	listening, reporting := make(chan struct{}), make(chan struct{})
	crew.TryGo(func(context.Context) { defer close(listening); h.listen() })
	crew.TryGo(func(ctx context.Context) { defer close(reporting); h.report(ctx) })
	crew.TryGo(h.stillHere)
	crew.TryGo(h.live)
	if l.c.Ways != nil {
		crew.TryGo(h.move)
	}
	l.present.Store(&h.s)
	since := time.Now()
	next, end := h.watch(ctx, in.welcome.GetRenew(), listening, reporting)
	l.present.Store(nil)
	end.lasted = max(time.Since(since), 1)
	if next == nil && ctx.Err() != nil {
		h.lastWords()
		h.goodbye(listening)
	}
	// The goodbye of a session that was left for a better one may wait for
	// nobody: over a dead path there is none.
	h.s.Close(hmpb.Code_CODE_NORMAL, "")
	crew.Stop()
	crew.Wait()
	select {
	case late := <-h.moved: // it came about as the session ended for another reason
		if next == nil {
			late.s.Close(hmpb.Code_CODE_NORMAL, "")
		}
	default:
	}
	return next, end
}

// watch waits for whatever ends the session.
func (h *held) watch(ctx context.Context, renew bool, listening, reporting <-chan struct{}) (*entered, ending) {
	l := h.l
	renewal := l.waitFor(time.Second + spread(l.c.Random, renewSpread))
	defer func() { renewal.Stop() }()
	probe := time.NewTimer(time.Hour)
	probe.Stop()
	defer probe.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ending{}
		case next := <-h.moved:
			return next, ending{}
		case e := <-h.over:
			return h.outcome(ctx), e
		case <-h.s.Context().Done():
			return h.outcome(ctx), h.lost()
		case <-listening:
			return h.outcome(ctx), h.lost()
		case <-reporting:
			return h.outcome(ctx), h.lost()
		case <-l.anew:
			return nil, ending{soon: true, err: errors.New("another identity")}
		case e := <-l.events:
			l.c.Log.Info("probing the session", "network_changed", e.Network, "slept", e.Slept)
			if h.probing.CompareAndSwap(false, true) {
				probe.Reset(probeWithin)
			}
			signal(h.kick)
			signal(h.changed)
		case <-h.alive:
			h.probing.Store(false)
			probe.Stop()
		case <-probe.C:
			return h.outcome(ctx), ending{problem: Lost, err: errors.New("no answer after a change of network or sleep"), soon: true}
		case <-renewal.C:
			if renew || l.c.Identity.NeedsRenewal() {
				h.renew(ctx)
			}
			renew = false
			renewal.Stop()
			renewal = l.waitFor(renewEvery + spread(l.c.Random, renewSpread))
		}
	}
}

// unanswered life signs end a session.
const unanswered = 3

// stillHere says so at each keep-alive. Before that it asks once for a Pong, to
// know whether this collector gives any. A write that waits, waits for a network,
// and that it fails is seen by watch.
//
// A batch does all that a life sign does: routers see it, it is longer than a
// reset, and it is answered. So the keep-alive begins anew with each.
func (h *held) stillHere(ctx context.Context) {
	if h.sendPing() != nil {
		return
	}
	heard, silent := h.s.Heard(), 0
	for {
		if told, ok := h.nextSign(ctx); !ok {
			return
		} else if told {
			continue
		}
		if now := h.s.Heard(); now != heard {
			heard, silent = now, 0
		} else if silent++; silent >= unanswered && h.answers() {
			h.end(ending{problem: Lost, err: errors.New("no answer to signs of life")})
			return
		}
		h.saying()
		if h.sign() != nil {
			return
		}
	}
}

// nextSign waits until the next life sign is due, or a batch was told, which is one.
func (h *held) nextSign(ctx context.Context) (told, ok bool) {
	every := time.Duration(h.l.keepAlive.Load()) * time.Second
	if h.l.c.Saving() {
		every = wire.MaxKeepAlive
	}
	t := h.l.pulse().Timer(every - every/10)
	defer t.Stop()
	select {
	case <-t.C:
	case <-h.told:
		return true, true
	case <-ctx.Done():
		return false, false
	}
	return false, true
}

// answers says whether life signs bring something back: over QUIC the transport's
// own acknowledgement, over TCP the Pong of a collector that knows Pings.
func (h *held) answers() bool {
	return h.s.Transport() == path.QUIC || h.ponged.Load() > 0
}

// sign is a life sign. Over QUIC only the padding of a StillHere makes a collector
// that was restarted answer that it knows nothing of this session; see the message.
// Over TCP only a Ping shows that somebody is there.
func (h *held) sign() error {
	if h.s.Transport() != path.QUIC && h.ponged.Load() == h.pinged.Load() {
		return h.sendPing()
	}
	return h.sayStillHere()
}

// saying is called just before something is sent whose answer shows that the path
// lives. The answer is often there before guard looks.
func (h *held) saying() {
	h.before.Store(h.s.Heard())
	signal(h.said)
}

func (h *held) sayStillHere() error {
	return h.control.WriteMsg(hmpb.ControlUp_builder{
		StillHere: hmpb.StillHere_builder{Padding: make([]byte, 16)}.Build(),
	}.Build())
}

// end tells watch to end the session; the first reason counts.
func (h *held) end(e ending) {
	select {
	case h.over <- e:
	default:
	}
}

// signal leaves a value in a channel that holds one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// lost is the ending of a session that ended by itself. What it was told just
// before (come back in n seconds) counts more than how it ended, and the
// session's end, which has the code, may come a moment after its streams'.
func (h *held) lost() ending {
	t := time.NewTimer(byeWithin)
	defer t.Stop()
	select {
	case <-h.s.Context().Done():
	case <-t.C:
	}
	select {
	case e := <-h.over:
		return e
	default:
	}
	err := context.Cause(h.s.Context())
	if err == nil {
		err = errors.New("collector ended the control stream")
	}
	return ending{problem: problemOf(err, Lost), err: err}
}

func (h *held) renew(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, renewWithin)
	defer cancel()
	if err := h.l.c.Identity.Renew(ctx, h.s); err != nil && ctx.Err() == nil {
		h.l.c.Log.Warn("certificate not renewed, will try again", "error", err)
	}
}

// lastWords gives what the other parts told at their end a moment to arrive: else
// it would come with the next start, after the night or the holidays.
func (h *held) lastWords() {
	select {
	case <-h.quiet: // of an earlier time
	default:
	}
	if h.l.c.Spool.Acked() >= h.l.c.Spool.Last() {
		return
	}
	t := time.NewTimer(byeWithin)
	defer t.Stop()
	select {
	case <-h.quiet:
	case <-h.s.Context().Done():
	case <-t.C:
	}
}

// goodbye tells the collector that this is no failure, and gives it a moment.
func (h *held) goodbye(listening <-chan struct{}) {
	bye := hmpb.ControlUp_builder{Goodbye: hmpb.Goodbye_builder{
		Reason: hmpb.Goodbye_REASON_STOPPING.Enum(),
	}.Build()}.Build()
	h.control.SetWriteDeadline(time.Now().Add(byeWithin))
	if h.control.WriteMsg(bye) != nil || h.control.CloseWrite() != nil {
		return
	}
	t := time.NewTimer(byeWithin)
	defer t.Stop()
	select {
	case <-listening: // the collector ended its side: it has read ours
	case <-h.s.Context().Done():
	case <-t.C:
	}
}

// listen takes what the collector says on the control stream.
func (h *held) listen() {
	for {
		var down hmpb.ControlDown
		if err := h.control.ReadMsg(&down); err != nil {
			return // watch sees the session's end, or that this stream is over
		}
		switch down.WhichKind() {
		case hmpb.ControlDown_Settings_case:
			h.l.settings(down.GetSettings())
		case hmpb.ControlDown_ComeBack_case:
			h.end(comeBack(down.GetComeBack()))
			return
		case hmpb.ControlDown_Refused_case:
			h.end(refused(down.GetRefused()))
			return
		case hmpb.ControlDown_Watch_case:
			h.watched(down.GetWatch())
		case hmpb.ControlDown_Looks_case:
			if h.l.c.Looks != nil {
				h.l.c.Looks.Take(down.GetLooks().GetLooks())
			}
		case hmpb.ControlDown_Offer_case, hmpb.ControlDown_Withdrawn_case, hmpb.ControlDown_Repository_case:
			h.offered(&down)
		case hmpb.ControlDown_Pong_case:
			h.pong(down.GetPong().GetId())
		case hmpb.ControlDown_Welcome_case:
			h.s.Close(hmpb.Code_CODE_WRONG_ORDER, "second welcome")
			return
		}
		// Anything else is a newer collector's: legal, and not for us.
	}
}

// tellTime takes the collector's clock from an answer to what was asked at
// asked, and the offset of ours from it where the answer was quick enough to
// say something: its error is half the time that the answer took.
func (l *Link) tellTime(asked time.Time, collectorMs int64, shortest *time.Duration) {
	if collectorMs <= 0 {
		return
	}
	took := time.Since(asked)
	collector, now := time.UnixMilli(collectorMs), l.c.Now()
	l.c.Identity.Trust(collector)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status.Heard = now
	if shortest == nil || *shortest == 0 || took <= *shortest {
		l.status.ClockOffset = collector.Add(took / 2).Sub(now.Round(0)).Round(time.Millisecond)
		if shortest != nil {
			*shortest = took
		}
	}
}
