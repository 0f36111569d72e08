package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"hausmeister/collector/access"
	"hausmeister/collector/bus"
	"hausmeister/collector/enroll"
	"hausmeister/collector/health"
	"hausmeister/platform/supervise"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
)

// session is one session of a device with a good certificate.
type session struct {
	wire.Session // counts and limits its streams
	g            *Gateway
	peer         enroll.Peer
	device       access.Caller
	number       int64
	control      *wire.Framed
	cursor, last uint64 // of the device's spool at its Hello: what is stored, what there is
	program      program
	urgent       urgent // what goes before the bytes of updates

	// next and welcomed are guarded by presence.mu
	next     *session
	welcomed bool

	mu sync.Mutex
	// below is guarded by mu
	report    *wire.Framed // the report stream that counts
	stopTurns context.CancelFunc
	renewing  bool
	living    bool   // a live stream is open
	lastLook  string // id of the newest look that the device was told, here or before
	// keepsLooks: this agent has a list of them; one from before 2026-11-24 has none.
	keepsLooks bool
	fetches    int       // fetch streams that are open
	ended      hmpb.Code // why we ended it; unspecified = we did not

	offering sync.Mutex // held while the device is told its offer, which then is the latest
	// below is guarded by offering
	lease string // that the device was told; empty = none

	leased atomic.Bool // lease is not empty
}

func (s *session) log() *slog.Logger {
	return s.g.cfg.Log.With("device", s.peer.Device, "tenant", s.peer.Owner, "session", s.number)
}

// end closes the session with a code of ours; the first one counts.
func (s *session) end(code hmpb.Code, text string) {
	s.mu.Lock()
	if s.ended == hmpb.Code_CODE_UNSPECIFIED {
		s.ended = code
	}
	s.mu.Unlock()
	s.Close(code, text)
}

// handle is the life of one session, from after its handshake on.
func (g *Gateway) handle(ctx context.Context, crew *supervise.Crew, ws wire.Session) {
	// Whatever happens, a panic too: the peer is not left waiting.
	defer ws.Close(hmpb.Code_CODE_INTERNAL, "")
	ws = g.counted(ws)
	peer, err := g.cfg.Enroll.Authenticate(ctx, ws.ConnectionState())
	switch {
	case err != nil:
		g.refuse(ws, err)
	case peer.May == enroll.MayAll:
		s := &session{Session: ws, g: g, peer: peer, device: peer.Caller(), number: g.numbers.Add(1)}
		s.live(ctx, crew)
	default:
		g.visit(ctx, ws, peer)
	}
}

// refuse ends a session that never was in, and writes down why where somebody
// may have to act.
func (g *Gateway) refuse(s wire.Session, err error) {
	code := codeOf(err)
	g.stats.refused.add(code)
	level := slog.LevelDebug
	switch code {
	case hmpb.Code_CODE_FOREIGN_CERTIFICATE, hmpb.Code_CODE_REVOKED, hmpb.Code_CODE_UNKNOWN_DEVICE, hmpb.Code_CODE_EPOCH_REPLAY,
		hmpb.Code_CODE_CERTIFICATE_EXPIRED, hmpb.Code_CODE_VERSION_TOO_OLD, hmpb.Code_CODE_VERSION_TOO_NEW,
		hmpb.Code_CODE_CLAIM_REFUSED, hmpb.Code_CODE_CSR_REFUSED:
		level = slog.LevelInfo
	case hmpb.Code_CODE_INTERNAL:
		level = slog.LevelWarn
	case hmpb.Code_CODE_STORE_UNAVAILABLE:
		g.storeLog.Do(func() { g.cfg.Log.Warn("sessions are refused, the database does not answer", "error", err) })
	}
	g.cfg.Log.Log(context.Background(), level, "session refused", "code", code, "transport", s.Transport(), "error", err)
	s.Close(code, "")
}

// codeOf is the code for an error; one without any is ours.
func codeOf(err error) hmpb.Code {
	if code := wire.CodeOf(err); code != hmpb.Code_CODE_UNSPECIFIED {
		return code
	}
	switch {
	case health.Unavailable(err):
		return hmpb.Code_CODE_STORE_UNAVAILABLE
	case errors.Is(err, health.ErrMalformed):
		return hmpb.Code_CODE_MALFORMED_FRAME
	}
	return hmpb.Code_CODE_INTERNAL
}

// visit serves a peer that may only enrol or renew.
func (g *Gateway) visit(ctx context.Context, s wire.Session, peer enroll.Peer) {
	select {
	case g.visitors <- struct{}{}:
		defer func() { <-g.visitors }()
	default:
		g.stats.refused.add(hmpb.Code_CODE_COME_BACK)
		s.Close(hmpb.Code_CODE_COME_BACK, "too many enrolments at once")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, visitTimeout)
	defer cancel()
	// A peer that opens streams which it may not have gets a few tries.
	for range wire.MaxStreams {
		t, f, err := wire.Accept(ctx, s)
		switch {
		case err != nil:
			s.Close(codeOf(late(err)), "")
			return
		case peer.May == enroll.MayEnroll && t == hmpb.StreamType_STREAM_TYPE_ENROLL:
			err = g.cfg.Enroll.ServeEnroll(ctx, s, f)
		case peer.May == enroll.MayRenew && t == hmpb.StreamType_STREAM_TYPE_RENEW:
			err = g.cfg.Enroll.ServeRenew(ctx, s, f, peer)
		default:
			g.notForVisitor(s, f, t, peer)
			continue
		}
		if err != nil {
			g.refuse(s, err)
			return
		}
		s.Close(hmpb.Code_CODE_NORMAL, "")
		return
	}
	s.Close(hmpb.Code_CODE_TOO_MANY_STREAMS, "")
}

// notForVisitor answers a stream that needs a good certificate. A device whose
// clock is wrong does not know that its own has ended.
func (g *Gateway) notForVisitor(s wire.Session, f *wire.Framed, t hmpb.StreamType, peer enroll.Peer) {
	code := hmpb.Code_CODE_STREAM_NOT_ALLOWED
	switch {
	case t == hmpb.StreamType_STREAM_TYPE_ENROLL:
	case peer.May == enroll.MayRenew:
		code = hmpb.Code_CODE_CERTIFICATE_EXPIRED
	case peer.May == enroll.MayEnroll:
		code = hmpb.Code_CODE_NO_CERTIFICATE
	}
	g.stats.refused.add(code)
	if t == hmpb.StreamType_STREAM_TYPE_CONTROL {
		tell(f, code, 0, "")
		return
	}
	f.Reset(code)
}

// tell answers a Hello with a refusal.
func tell(control *wire.Framed, code hmpb.Code, wait time.Duration, text string) {
	refused := hmpb.Refused_builder{Code: &code, Text: &text}
	if wait > 0 {
		refused.RetryAfterS = new(seconds(wait))
	}
	control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if control.WriteMsg(hmpb.ControlDown_builder{Refused: refused.Build()}.Build()) == nil {
		control.Finish(farewell)
	}
}

// live takes a device from its Hello to its end.
func (s *session) live(ctx context.Context, crew *supervise.Crew) {
	// Entered before the credential is looked at for the last time (Connect):
	// a revocation either comes before that, or finds the session here.
	if !s.g.presence.enter(s, s.g.cfg.MaxSessions) {
		s.g.stats.refused.add(hmpb.Code_CODE_COME_BACK)
		s.Close(hmpb.Code_CODE_COME_BACK, "too many sessions")
		return
	}
	begun := false
	defer func() {
		others := s.g.presence.leave(s)
		if begun {
			s.over(ctx, others)
		}
	}()
	hello, err := s.hello(ctx)
	if err != nil {
		s.g.refuse(s, err)
		return
	}
	welcome, wait, err := s.admit(ctx, hello)
	if err != nil {
		if s.control != nil {
			tell(s.control, codeOf(err), wait, "")
		}
		s.g.refuse(s, fmt.Errorf("device %s: %w", s.peer.Device, err))
		return
	}
	begun = true
	older, newest := s.g.presence.welcome(s)
	if !newest {
		tell(s.control, hmpb.Code_CODE_REPLACED, 0, "")
		s.end(hmpb.Code_CODE_REPLACED, "")
		return
	}
	if err := s.control.WriteMsgWithin(hmpb.ControlDown_builder{Welcome: welcome}.Build(), writeTimeout); err != nil {
		s.end(hmpb.Code_CODE_TIMEOUT, "")
		return
	}
	s.g.stats.welcomed.Add(1)
	s.g.cfg.Bus.Publish(bus.Event{Kind: bus.Connected, Device: s.peer.Device, Owner: s.peer.Owner})
	s.log().Debug("session begins", "transport", s.Transport(), "agent", hello.GetAgentVersion())
	for _, o := range older { // after the Welcome: closing may wait for its peer
		s.g.stats.replaced.Add(1)
		o.end(hmpb.Code_CODE_REPLACED, "")
	}
	s.streams(ctx, crew)
}

// hello waits for the control stream and reads its header.
func (s *session) hello(ctx context.Context) (*hmpb.Hello, error) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	for range wire.MaxStreams {
		t, f, err := wire.Accept(ctx, s)
		if err != nil {
			return nil, late(err)
		}
		if t != hmpb.StreamType_STREAM_TYPE_CONTROL {
			f.Reset(hmpb.Code_CODE_WRONG_ORDER)
			continue
		}
		hello := &hmpb.Hello{}
		f.SetReadDeadline(time.Now().Add(helloTimeout))
		if err := f.ReadMsg(hello); err != nil {
			return nil, late(err)
		}
		f.SetReadDeadline(time.Time{})
		s.control = f
		return hello, nil
	}
	return nil, &wire.Error{Code: hmpb.Code_CODE_TOO_MANY_STREAMS}
}

// late gives a timeout of ours its code, and so the end of our own context.
func late(err error) error {
	if errors.Is(err, context.Canceled) {
		return &wire.Error{Code: hmpb.Code_CODE_SHUTTING_DOWN, Cause: err}
	}
	if wire.CodeOf(err) == hmpb.Code_CODE_UNSPECIFIED {
		return &wire.Error{Code: hmpb.Code_CODE_TIMEOUT, Text: "no Hello", Cause: err}
	}
	return err
}

// admit judges a Hello. With an error it may say how long to wait.
func (s *session) admit(ctx context.Context, hello *hmpb.Hello) (*hmpb.Welcome, time.Duration, error) {
	version, err := wire.Negotiate(hello.GetVersionMin(), hello.GetVersionMax())
	if err != nil {
		return nil, 0, err
	}
	if len(hello.GetSpoolEpoch()) != health.EpochSize {
		return nil, 0, &wire.Error{Code: hmpb.Code_CODE_MALFORMED_FRAME, Text: "spool epoch"}
	}
	if wait := s.g.admission.admit(s.peer.Device, time.Now()); wait > 0 {
		return nil, wait, &wire.Error{Code: hmpb.Code_CODE_COME_BACK}
	}
	if err := s.g.cfg.Enroll.Connect(ctx, s.peer, hello.GetConnectionEpoch()); err != nil {
		return nil, retryAfter(err), err
	}
	cursor, err := s.g.cfg.Health.Begin(ctx, s.device, s.number, hello.GetSpoolEpoch(), hello.GetAgentVersion())
	if err != nil {
		return nil, retryAfter(err), err
	}
	settings, err := s.g.cfg.Health.Settings(ctx, s.device)
	if err != nil {
		return nil, retryAfter(err), err
	}
	s.cursor, s.last = cursor, hello.GetSpoolLast()
	s.program = programOf(hello)
	s.mu.Lock()
	s.lastLook, s.keepsLooks = hello.GetLastLook(), hello.HasLastLook()
	s.mu.Unlock()
	return hmpb.Welcome_builder{
		AgentVersion: &s.program.version, AgentHash: s.program.hash, Repository: s.g.repository(ctx),
		Version: &version, TimeMs: new(s.g.cfg.Now().UnixMilli()), StoreId: s.g.cfg.StoreID, Cursor: &cursor,
		Settings: settings, TrustRoots: s.g.cfg.Enroll.TrustRoots(), Renew: &s.peer.RenewDue,
	}.Build(), 0, nil
}

// retryAfter spreads those who come while we cannot store.
func retryAfter(err error) time.Duration {
	if code := codeOf(err); code == hmpb.Code_CODE_STORE_UNAVAILABLE || code == hmpb.Code_CODE_INTERNAL {
		return 5*time.Second + rand.N(25*time.Second)
	}
	return 0
}

// streams serves the streams of a welcomed session until it ends or ctx does.
func (s *session) streams(ctx context.Context, crew *supervise.Crew) {
	crew.TryGo(s.member(func(ctx context.Context) {
		s.tellLooks(ctx)
		s.listen()
	}))
	if s.g.cfg.Updates != nil {
		crew.TryGo(s.member(func(ctx context.Context) { s.tellOffer(ctx, true) }))
	}
	for {
		t, f, err := wire.Accept(ctx, s)
		if err != nil {
			if ctx.Err() != nil {
				s.farewell()
			}
			return
		}
		var serve func(context.Context)
		switch {
		case t == hmpb.StreamType_STREAM_TYPE_REPORT:
			turns := s.replaceReport(f)
			serve = func(ctx context.Context) { s.reports(ctx, turns, f) }
		case t == hmpb.StreamType_STREAM_TYPE_RENEW && s.beginRenewal():
			serve = func(ctx context.Context) { s.renew(ctx, f) }
		case t == hmpb.StreamType_STREAM_TYPE_LIVE && s.beginLive():
			serve = func(ctx context.Context) { s.samples(ctx, f) }
		case t == hmpb.StreamType_STREAM_TYPE_FETCH && s.g.cfg.Updates != nil:
			if !s.beginFetch() {
				f.Reset(hmpb.Code_CODE_TOO_MANY_STREAMS)
				continue
			}
			serve = func(ctx context.Context) { s.fetch(ctx, f) }
		default:
			f.Reset(hmpb.Code_CODE_STREAM_NOT_ALLOWED)
			continue
		}
		if !crew.TryGo(s.member(serve)) {
			f.Reset(hmpb.Code_CODE_TOO_MANY_STREAMS)
			if t == hmpb.StreamType_STREAM_TYPE_FETCH {
				s.endFetch()
			}
		}
	}
}

// member makes a panic in one of the session's goroutines the session's end:
// the peer would wait for an answer for ever.
func (s *session) member(f func(context.Context)) func(context.Context) {
	return func(ctx context.Context) {
		returned := false
		defer func() {
			if !returned {
				s.end(hmpb.Code_CODE_INTERNAL, "")
			}
		}()
		f(ctx)
		returned = true
	}
}

// listen reads the control stream, so that its end and the peer's Goodbye are
// noticed and Pings answered, no faster than the pace. The session ends with it, by the peer that ended it if it is quick.
func (s *session) listen() {
	pace := rate.NewLimiter(1, 32)
	for {
		up := &hmpb.ControlUp{}
		if err := s.control.ReadMsg(up); err != nil {
			if wire.CodeOf(err) == hmpb.Code_CODE_UNSPECIFIED { // its bytes end, the session does not yet
				s.control.CloseWrite()
				s.await(farewell)
				s.end(hmpb.Code_CODE_NORMAL, "")
			}
			return
		}
		switch up.WhichKind() {
		case hmpb.ControlUp_Goodbye_case:
			s.log().Debug("device says goodbye", "reason", up.GetGoodbye().GetReason())
		case hmpb.ControlUp_Ping_case:
			pong := hmpb.Pong_builder{Id: new(up.GetPing().GetId())}.Build()
			if err := s.write(hmpb.ControlDown_builder{Pong: pong}.Build()); err != nil {
				return
			}
		}
		if pace.Wait(s.Context()) != nil {
			return
		}
	}
}

// write sends a frame on the control stream of a session that is in. Who does not read
// there, or has a part of a frame, understands nothing any more: the session ends.
func (s *session) write(m *hmpb.ControlDown) error {
	defer s.urgent.begin()()
	err := s.control.WriteMsgWithin(m, writeTimeout)
	if err != nil {
		s.end(hmpb.Code_CODE_TIMEOUT, "")
	}
	return err
}

// farewell tells the device that this collector stops and when to come back,
// and gives it a moment to go by itself: closing at once may overtake the frame.
func (s *session) farewell() {
	come := hmpb.ComeBack_builder{RetryAfterS: new(seconds(s.g.spread()))}.Build()
	s.control.SetWriteDeadline(time.Now().Add(farewell)) // for who is writing now
	if s.control.WriteMsgWithin(hmpb.ControlDown_builder{ComeBack: come}.Build(), farewell) == nil {
		s.control.CloseWrite()
		s.await(farewell)
	}
	s.end(hmpb.Code_CODE_SHUTTING_DOWN, "")
}

// await gives the peer some time to end the session itself.
func (s *session) await(most time.Duration) {
	wait := time.NewTimer(most)
	defer wait.Stop()
	select {
	case <-s.Context().Done():
	case <-wait.C:
	}
}

// spread is a time to come back after a restart such that all who are here now
// come at half the rate that is let in, and a few come soon.
func (g *Gateway) spread() time.Duration {
	all := time.Duration(float64(g.Live()) / g.admission.perSecond * 2 * float64(time.Second))
	return time.Second + rand.N(max(2*time.Second, min(all, maxWait)))
}

// replaceReport makes f the report stream, and gives a context that ends when
// another replaces it or the session ends. An older one has been given up by
// its agent, or will be now.
func (s *session) replaceReport(f *wire.Framed) context.Context {
	turns, cancel := context.WithCancel(s.Context())
	s.mu.Lock()
	old, stop := s.report, s.stopTurns
	s.report, s.stopTurns = f, cancel
	s.mu.Unlock()
	if old != nil {
		stop()
		old.Reset(hmpb.Code_CODE_REPLACED)
	}
	return turns
}

func (s *session) beginRenewal() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.renewing {
		return false
	}
	s.renewing = true
	return true
}

func (s *session) renew(ctx context.Context, f *wire.Framed) {
	defer func() {
		s.mu.Lock()
		s.renewing = false
		s.mu.Unlock()
	}()
	ctx, cancel := context.WithTimeout(ctx, visitTimeout)
	defer cancel()
	if err := s.g.cfg.Enroll.ServeRenew(ctx, s, f, s.peer); err != nil {
		s.log().Info("certificate not renewed", "error", err)
		f.Reset(codeOf(err))
	}
}

// reports serves one report stream. What came from it is stored though its
// session ends; turns ends with the stream.
func (s *session) reports(ctx, turns context.Context, f *wire.Framed) {
	f.SetReadDeadline(time.Now().Add(helloTimeout))
	if err := f.ReadMsg(&hmpb.ReportHeader{}); err != nil {
		f.Reset(hmpb.Code_CODE_TIMEOUT)
		return
	}
	f.SetReadDeadline(time.Time{})
	pace, ok := s.g.backlog.begin(turns, s.cursor, s.last)
	if !ok {
		return
	}
	defer pace.stored()
	for {
		b, err := f.ReadBatch()
		if err != nil {
			if errors.Is(err, io.EOF) {
				f.CloseWrite()
			} else {
				f.Reset(hmpb.Code_CODE_NORMAL)
			}
			return
		}
		pace.arrived()
		entries, through := len(b.GetEntries()), lastOf(b)
		done := s.urgent.begin()
		down, err := s.g.cfg.Health.Ingest(ctx, s.device, b)
		pace.stored()
		if err != nil {
			done()
			s.notStored(ctx, f, err)
			return
		}
		f.SetWriteDeadline(time.Now().Add(writeTimeout))
		err = f.WriteMsg(down)
		done()
		if err != nil {
			f.Reset(hmpb.Code_CODE_TIMEOUT)
			return
		}
		if !pace.next(turns, entries, through) {
			return
		}
	}
}

// lastOf is the sequence of a batch's last entry.
func lastOf(b *hmpb.Batch) uint64 {
	n := len(b.GetEntries())
	if n == 0 {
		return b.GetFirstSeq()
	}
	return b.GetFirstSeq() + uint64(b.GetEntries()[n-1].GetOffset())
}

// notStored ends a report stream, or the session of who sends nonsense. What
// was not acknowledged stays in the device's spool.
func (s *session) notStored(ctx context.Context, f *wire.Framed, err error) {
	code := codeOf(err)
	switch {
	case ctx.Err() != nil:
		return // the farewell is on its way
	case code == hmpb.Code_CODE_MALFORMED_FRAME:
		s.log().Info("session ended", "code", code, "error", err)
		s.end(code, err.Error())
		return
	}
	s.g.storeLog.Do(func() { s.log().Warn("reports are not stored; devices keep them and come again", "error", err) })
	f.Reset(code)
}

// over notes the end of a session that was in.
func (s *session) over(ctx context.Context, others bool) {
	s.mu.Lock()
	code := s.ended
	s.mu.Unlock()
	if code == hmpb.Code_CODE_UNSPECIFIED {
		code = wire.CodeOf(context.Cause(s.Context()))
	}
	s.g.stats.ended.add(code)
	s.log().Debug("session ends", "code", code)
	if !others {
		s.g.cfg.Bus.Publish(bus.Event{Kind: bus.Disconnected, Device: s.peer.Device, Owner: s.peer.Owner})
	}
	if ctx.Err() != nil {
		return // stopping: the next start clears all flags at once
	}
	if err := s.g.cfg.Health.End(ctx, s.device, s.number); err != nil && ctx.Err() == nil {
		s.g.ends.add(s) // Run tries again
		s.g.storeLog.Do(func() { s.log().Warn("the end of a session is not stored yet", "error", err) })
	}
}
