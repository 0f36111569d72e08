package link

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
)

const (
	// batchBytes of entries make a batch: far below the limit of its frame,
	// large enough that six weeks of holidays are told in a minute, if nobody
	// else is back: the collector says how fast.
	batchBytes = 64 << 10
	// ackWithin is for a collector whose network lives; a dead network is
	// noticed by the transport or the probe. Devices that have much to tell
	// take turns there, and a whole fleet may be back from its holidays.
	ackWithin = 10 * time.Minute
)

// errNoProgress: the collector answered and has got no further.
var errNoProgress = errors.New("collector does not move on")

// report sends batches, one at a time: the next when the one before is
// acknowledged. A stream that fails is opened again while the session lives.
func (h *held) report(ctx context.Context) {
	sp := h.l.c.Spool
	sent := sp.Acked()
	b := backoff{random: h.l.c.Random}
	var f *wire.Framed
	for probing := false; ctx.Err() == nil && h.s.Context().Err() == nil; {
		select {
		case <-h.kick: // whatever is asked from here on, its answer shows that the path lives
			probing = true
		default:
		}
		from := sent
		// What a collector that answers no pings knows already it acknowledges and
		// does not store. Others are pinged: the last report may be the list of
		// programs, 10 kB at each change of network.
		if probing && sent == sp.Last() && sent > 0 && h.ponged.Load() == 0 {
			from = sent - 1
		}
		batch, err := sp.Batch(from, batchBytes)
		if err == nil && batch == nil {
			signal(h.quiet)
			if probing {
				h.ping() // there is nothing to tell, not even once more
			}
			if probing = h.idle(ctx); ctx.Err() != nil {
				return
			}
			continue
		}
		through := from
		if err == nil {
			if !h.take(ctx) { // the mover has it: whatever is to be told is told over its session
				return
			}
			f, through, err = h.tell(ctx, f, batch, from, from < sent)
			<-h.turn
		}
		if err == nil {
			if probing {
				probing = false
				signal(h.alive)
			}
			b.failures = 0
			sent = max(sent, through)
			if through < from { // the collector wants older ones again
				sent = through
			}
			continue
		}
		if !h.retry(ctx, err, &b) {
			return
		}
	}
}

// take waits for the turn to tell; false when the session ends first.
func (h *held) take(ctx context.Context) bool {
	select {
	case h.turn <- struct{}{}:
		return true
	case <-h.s.Context().Done():
	case <-ctx.Done():
	}
	return false
}

// idle waits until there is something to send, and says whether that is a probe.
func (h *held) idle(ctx context.Context) (probing bool) {
	select {
	case <-h.l.c.Spool.Changed():
	case <-h.kick:
		return true
	case <-h.s.Context().Done():
	case <-ctx.Done():
	}
	return false
}

// ping asks the collector whether it is there, where no batch can. One that did
// not answer the ping at the session's begin knows none: that its path is dead is
// then for the transport to notice.
func (h *held) ping() {
	switch h.ponged.Load() {
	case 0:
		signal(h.alive)
	case h.pinged.Load():
		h.sendPing() // an error is the session's end, which watch sees
	default: // one is on its way, and its answer is as good
	}
}

// sendPing is seen by guard, too, which leaves a dead path sooner than the probe.
func (h *held) sendPing() error {
	id := h.pinged.Add(1)
	h.saying()
	return h.control.WriteMsg(hmpb.ControlUp_builder{Ping: hmpb.Ping_builder{Id: &id}.Build()}.Build())
}

// pong takes the answer to a ping. The first, asked before any event, says only
// that there are answers.
func (h *held) pong(id uint64) {
	if id <= h.ponged.Load() || id > h.pinged.Load() {
		return
	}
	h.ponged.Store(id)
	if id > 1 {
		signal(h.alive)
	}
}

// retry waits after an error; false when it is the session that ended.
func (h *held) retry(ctx context.Context, err error, b *backoff) bool {
	if ctx.Err() != nil || h.s.Context().Err() != nil {
		return false
	}
	wait := b.next(ending{})
	h.l.c.Log.Warn("reporting interrupted", "error", err, "retry_in", wait.Round(time.Millisecond))
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-h.s.Context().Done():
	case <-ctx.Done():
	}
	return false
}

// tell sends one batch and waits for the answer: how far the collector has got.
// It opens the stream when f is nil and returns the one to go on with.
func (h *held) tell(ctx context.Context, f *wire.Framed, batch *hmpb.Batch, from uint64, again bool) (*wire.Framed, uint64, error) {
	if f == nil {
		openCtx, cancel := context.WithTimeout(ctx, greetWithin)
		defer cancel()
		var err error
		if f, err = wire.Open(openCtx, h.s, hmpb.StreamType_STREAM_TYPE_REPORT, &hmpb.ReportHeader{}); err != nil {
			return nil, from, err
		}
	}
	asked := time.Now()
	h.stream.Store(f)
	h.waiting.Store(true)
	defer h.waiting.Store(false)
	h.saying()
	signal(h.told)
	f.SetDeadline(asked.Add(ackWithin))
	if err := f.WriteBatch(batch); err != nil {
		f.Reset(hmpb.Code_CODE_NORMAL)
		return nil, from, fmt.Errorf("sending a batch: %w", err)
	}
	if !again {
		h.l.c.Sent(batch)
	}
	through, err := h.answer(f, asked)
	if err != nil {
		f.Reset(hmpb.Code_CODE_NORMAL)
		return nil, from, fmt.Errorf("waiting for an acknowledgement: %w", err)
	}
	if through == from {
		return f, from, errNoProgress
	}
	return f, through, nil
}

// answer reads the answer to a batch and tells the spool.
func (h *held) answer(f *wire.Framed, asked time.Time) (uint64, error) {
	var down hmpb.ReportDown
	if err := f.ReadMsg(&down); err != nil {
		return 0, err
	}
	var through uint64
	var ms int64
	switch down.WhichKind() {
	case hmpb.ReportDown_Ack_case:
		through, ms = down.GetAck().GetThroughSeq(), down.GetAck().GetTimeMs()
	case hmpb.ReportDown_Resend_case:
		if down.GetResend().GetFromSeq() == 0 {
			return 0, h.outOfOrder("asks for sequence 0")
		}
		through, ms = down.GetResend().GetFromSeq()-1, down.GetResend().GetTimeMs()
	default:
		return 0, h.outOfOrder("neither acknowledgement nor resend")
	}
	if last := h.l.c.Spool.Last(); through > last {
		return 0, h.outOfOrder(fmt.Sprintf("acknowledges %d of %d", through, last))
	}
	h.l.c.Spool.Ack(through)
	h.l.tellTime(asked, ms, &h.rtt)
	h.l.c.Changed()
	return through, nil
}

// outOfOrder ends a session in which the collector says what cannot be.
func (h *held) outOfOrder(what string) error {
	err := &wire.Error{Code: hmpb.Code_CODE_WRONG_ORDER, Text: "collector " + what}
	h.end(ending{problem: OutOfOrder, err: err})
	return err
}
