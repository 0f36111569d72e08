package gateway

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/collector/access"
	"hausmeister/collector/health"
	"hausmeister/collector/pace"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
)

const (
	// maxFetches is how many fetch streams a session may have at a time.
	maxFetches = 3
	// chunkSize is what goes in one frame. It is small, because whatever is more
	// urgent waits for at most one that was begun.
	chunkSize = 8 << 10
	// chunkWithin is how long a chunk may take to leave: a device that takes less
	// than 270 bytes a second holds a seat that others need.
	chunkWithin = 30 * time.Second
	// metadataWithin bounds a file of metadata.
	metadataWithin = time.Minute
	// yieldMost is how long a chunk waits for what is more urgent. A store that is
	// slow today must not stop all updates.
	yieldMost = 100 * time.Millisecond
	// storeAway spreads who comes while there is nothing to say about leases.
	storeAwayMin, storeAwaySpan = 30 * time.Second, time.Minute
)

// Bounds of a FetchHeader, see update.proto.
const (
	maxName  = 128
	maxLease = 64
	hashSize = 32
)

// checkFetch says whether a header is one; what it asks for may not be there.
func checkFetch(h *hmpb.FetchHeader) error {
	switch h.WhichWhat() {
	case hmpb.FetchHeader_Metadata_case:
		m := h.GetMetadata()
		if !validName(m.GetName()) {
			return fmt.Errorf("name %.140q", m.GetName())
		}
		if n := len(m.GetNonce()); n != 0 && n != hashSize {
			return fmt.Errorf("nonce of %d bytes", n)
		}
	case hmpb.FetchHeader_Sha256_case:
		if n := len(h.GetSha256()); n != hashSize {
			return fmt.Errorf("hash of %d bytes", n)
		}
	default:
		return errors.New("nothing is asked for")
	}
	if n := len(h.GetLease()); n > maxLease {
		return fmt.Errorf("lease of %d bytes", n)
	}
	if h.GetOffset() > math.MaxInt64 {
		return fmt.Errorf("offset %d", h.GetOffset())
	}
	return nil
}

// validName is what a file of metadata may be called: 3.root.json, and nothing
// that means something to a file system.
func validName(name string) bool {
	if len(name) == 0 || len(name) > maxName || name[0] == '.' {
		return false
	}
	for i, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
		case c == '.' && name[i-1] != '.':
		default:
			return false
		}
	}
	return true
}

func (s *session) beginFetch() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fetches >= maxFetches {
		return false
	}
	s.fetches++
	return true
}

func (s *session) endFetch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetches--
}

// fetch serves one fetch stream.
func (s *session) fetch(ctx context.Context, f *wire.Framed) {
	defer s.endFetch()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.Context(), cancel)() // a seat is not kept for who is gone
	header := &hmpb.FetchHeader{}
	f.SetReadDeadline(time.Now().Add(helloTimeout))
	if err := f.ReadMsg(header); err != nil {
		f.Reset(hmpb.Code_CODE_TIMEOUT)
		return
	}
	f.SetReadDeadline(time.Time{})
	if err := checkFetch(header); err != nil {
		s.log().Info("fetch stream refused", "error", err)
		f.Reset(hmpb.Code_CODE_MALFORMED_FRAME)
		return
	}
	if header.WhichWhat() == hmpb.FetchHeader_Metadata_case {
		s.fetchMetadata(ctx, f, header)
	} else {
		s.fetchTarget(ctx, f, header)
	}
}

func (s *session) fetchMetadata(ctx context.Context, f *wire.Framed, h *hmpb.FetchHeader) {
	m := h.GetMetadata()
	data, fresh, err := s.g.cfg.Updates.Metadata(ctx, s.device, m.GetName(), m.GetNonce(), m.GetRootVersion())
	if err != nil {
		s.notFetched(f, err)
		return
	}
	until := time.Now().Add(metadataWithin)
	f.SetWriteDeadline(until)
	ok := s.begins(f, int64(len(data)), fresh)
	for at := min(h.GetOffset(), uint64(len(data))); ok && at < uint64(len(data)); at += chunkSize {
		s.urgent.yield(ctx)
		ok = writeChunk(f, data[at:min(at+chunkSize, uint64(len(data)))])
	}
	s.endsFetch(f, ok)
}

// fetchTarget sends a file at the pace of the device's school.
func (s *session) fetchTarget(ctx context.Context, f *wire.Framed, h *hmpb.FetchHeader) {
	c, err := s.g.cfg.Updates.Target(ctx, s.device, h.GetLease(), h.GetSha256())
	if err != nil {
		s.notFetched(f, err)
		return
	}
	offset := int64(min(h.GetOffset(), uint64(c.Size)))
	seat, wait := s.g.cfg.Pace.Enter(c.Line, s.peer.Device, c.Size-offset)
	code := hmpb.Code_CODE_COME_BACK
	if seat != nil {
		code = s.send(ctx, f, c, offset, seat)
		seat.Leave()
	}
	if c.Close != nil {
		c.Close()
	}
	switch {
	case seat == nil:
		s.refuseFetch(f, code, wait)
	case code != hmpb.Code_CODE_UNSPECIFIED:
		f.Reset(code)
	default:
		s.endsFetch(f, true)
	}
}

// send sends a file from offset on. A code says why it is not all on its way.
func (s *session) send(ctx context.Context, f *wire.Framed, c pace.Content, offset int64, seat *pace.Seat) hmpb.Code {
	f.SetWriteDeadline(time.Now().Add(chunkWithin))
	if !s.begins(f, c.Size, nil) {
		return hmpb.Code_CODE_TIMEOUT
	}
	buf := make([]byte, chunkSize)
	for began := time.Now(); offset < c.Size; {
		if seat.Over() || c.Lasts > 0 && time.Since(began) >= c.Lasts {
			return hmpb.Code_CODE_COME_BACK
		}
		n, err := c.ReadAt(buf[:min(chunkSize, c.Size-offset)], offset)
		if n == 0 {
			s.log().Warn("file of an update not read", "error", err)
			return hmpb.Code_CODE_INTERNAL
		}
		if seat.Take(ctx, n) != nil {
			return hmpb.Code_CODE_NORMAL
		}
		s.urgent.yield(ctx)
		f.SetWriteDeadline(time.Now().Add(chunkWithin))
		if !writeChunk(f, buf[:n]) {
			return hmpb.Code_CODE_TIMEOUT
		}
		s.g.stats.fetched.Add(uint64(n))
		offset += int64(n)
	}
	return hmpb.Code_CODE_UNSPECIFIED
}

func (s *session) begins(f *wire.Framed, length int64, fresh []byte) bool {
	return f.WriteMsg(hmpb.FetchDown_builder{Begin: hmpb.FetchBegin_builder{Length: new(uint64(length)), Freshness: fresh}.Build()}.Build()) == nil
}

func writeChunk(f *wire.Framed, b []byte) bool {
	return f.WriteMsg(hmpb.FetchDown_builder{Chunk: b}.Build()) == nil
}

// endsFetch ends a stream whose bytes are all on their way, or which the device
// does not take.
func (s *session) endsFetch(f *wire.Framed, ok bool) {
	if !ok {
		f.Reset(hmpb.Code_CODE_TIMEOUT)
		return
	}
	// The device ends its side once it has read all, which at a slow line takes as
	// long as a chunk may.
	f.Finish(chunkWithin)
}

// notFetched refuses what Updates has no bytes for.
func (s *session) notFetched(f *wire.Framed, err error) {
	code, wait := hmpb.Code_CODE_INTERNAL, time.Duration(0)
	var later *pace.LaterError
	switch {
	case errors.As(err, &later):
		code, wait = hmpb.Code_CODE_COME_BACK, later.After
	case errors.Is(err, access.ErrNotFound):
		code = hmpb.Code_CODE_NOT_FOUND
	case errors.Is(err, access.ErrForbidden):
		code = hmpb.Code_CODE_STREAM_NOT_ALLOWED
	case health.Unavailable(err):
		code, wait = hmpb.Code_CODE_COME_BACK, storeAwayMin+rand.N(storeAwaySpan)
	default:
		s.log().Warn("nothing fetched", "error", err)
	}
	s.refuseFetch(f, code, wait)
}

func (s *session) refuseFetch(f *wire.Framed, code hmpb.Code, wait time.Duration) {
	r := hmpb.FetchRefused_builder{Code: new(uint32(code))}
	if wait > 0 {
		r.RetryAfterS = new(seconds(min(wait, pace.MaxWait)))
	}
	f.SetWriteDeadline(time.Now().Add(writeTimeout))
	if f.WriteMsg(hmpb.FetchDown_builder{Refused: r.Build()}.Build()) == nil {
		f.Finish(farewell)
		return
	}
	f.Reset(code)
}

// urgent lets the bytes of updates wait for what is more urgent on a session:
// acknowledgements of reports and frames of the control stream. QUIC's own streams
// take turns by the packet, TCP's by the frame; neither knows an order.
type urgent struct {
	mu sync.Mutex
	// below is guarded by mu
	count int
	idle  chan struct{} // closed when count is 0 again; nil = nobody waits
}

// begin says that something urgent is under way until the function is called that
// it returns.
func (u *urgent) begin() (done func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.count++
	return u.done
}

func (u *urgent) done() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.count--; u.count == 0 && u.idle != nil {
		close(u.idle)
		u.idle = nil
	}
}

// yield waits while something urgent is under way, but not for ever.
func (u *urgent) yield(ctx context.Context) {
	u.mu.Lock()
	if u.count == 0 {
		u.mu.Unlock()
		return
	}
	if u.idle == nil {
		u.idle = make(chan struct{})
	}
	idle := u.idle
	u.mu.Unlock()
	t := time.NewTimer(yieldMost)
	defer t.Stop()
	select {
	case <-idle:
	case <-t.C:
	case <-ctx.Done():
	}
}

// program is what the Hello said of the agent, for its offers.
type program struct {
	version      string
	hash         []byte
	capabilities []string
}

// Bounds of what is kept of a Hello for as long as its session lasts.
const (
	maxVersion      = 64
	maxCapabilities = 32
)

func programOf(h *hmpb.Hello) program {
	p := program{version: h.GetAgentVersion(), hash: h.GetAgentHash(), capabilities: h.GetCapabilities()}
	if len(p.version) > maxVersion {
		p.version = ""
	}
	if len(p.hash) != hashSize {
		p.hash = nil
	}
	p.capabilities = p.capabilities[:min(len(p.capabilities), maxCapabilities)]
	return p
}

// repository is nil where there are no updates, or nobody can say now.
func (g *Gateway) repository(ctx context.Context) *hmpb.Repository {
	if g.cfg.Updates == nil {
		return nil
	}
	r, err := g.cfg.Updates.Repository(ctx)
	if err != nil {
		g.storeLog.Do(func() { g.cfg.Log.Warn("devices are not told how new the metadata is", "error", err) })
		return nil
	}
	return proto.CloneOf(r)
}

// tellOffer tells the device what it may install, or that it may not any more what
// it was told before. At the beginning of a session nobody knows what that was.
func (s *session) tellOffer(ctx context.Context, first bool) {
	s.offering.Lock()
	defer s.offering.Unlock()
	offer, err := s.g.cfg.Updates.Offer(ctx, s.device, s.program.version, s.program.hash, s.program.capabilities)
	switch {
	case err != nil: // what was said holds
		if ctx.Err() == nil {
			s.g.storeLog.Do(func() { s.log().Warn("device not told its offer, will be with its next session", "error", err) })
		}
	case offer != nil:
		if s.say(hmpb.ControlDown_builder{Offer: offer}.Build()) {
			s.lease = offer.GetLease()
			s.leased.Store(s.lease != "")
		}
	case first || s.lease != "":
		if s.say(hmpb.ControlDown_builder{Withdrawn: hmpb.Withdrawn_builder{Lease: &s.lease}.Build()}.Build()) {
			s.lease = ""
			s.leased.Store(false)
		}
	}
}
